from __future__ import annotations

import pytest

from greenshard.cli.shard_options import BadShards, shards_of, split_name, split_variable


@pytest.mark.parametrize(
    "dsn",
    [
        "dbname=a",
        "host=db1 dbname=a",
        "password=a=b",
        "password=dbname=a",
        "options=-csearch_path=x",
        "postgresql://u:p@db1/a?sslmode=require",
        "postgresql:///a?host=/tmp",
        "nonsense",
        "a=b",
    ],
)
def test_dsn_without_a_name_stays_whole(dsn: str) -> None:
    assert split_name(dsn) == (None, dsn)


@pytest.mark.parametrize(
    ("text", "name", "dsn"),
    [
        ("west=dbname=a", "west", "dbname=a"),
        ("db-1.eu=host = x dbname=a", "db-1.eu", "host = x dbname=a"),
        ("s7=postgres://db1/a", "s7", "postgres://db1/a"),
        ("s7=postgresql://u:p=q@db1/a", "s7", "postgresql://u:p=q@db1/a"),
        (" west=dbname=a\n", "west", "dbname=a"),
    ],
)
def test_name_before_a_dsn_is_taken_off(text: str, name: str, dsn: str) -> None:
    assert split_name(text) == (name, dsn)


def test_unnamed_shards_are_called_by_position() -> None:
    assert list(shards_of(["dbname=a", "x=dbname=b", "dbname=c"])) == ["s0", "x", "s2"]


def test_two_shards_of_one_name_are_refused_without_showing_a_dsn() -> None:
    with pytest.raises(BadShards) as raised:
        shards_of(["a=password=hush", "a=password=hush"])
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("", []),
        (" \n \n", []),
        ("postgresql://a/x\n postgresql://b/x \n", ["postgresql://a/x", "postgresql://b/x"]),
        ("postgresql://a/x b=postgresql://b/x", ["postgresql://a/x", "b=postgresql://b/x"]),
        ("host=a dbname=x\nwest=host=b dbname=x", ["host=a dbname=x", "west=host=b dbname=x"]),
    ],
)
def test_variable_holds_a_shard_a_line_or_urls_between_spaces(value: str, texts: list[str]) -> None:
    assert split_variable(value) == texts
