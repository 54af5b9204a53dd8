"""A column whose type differs on a shard is not gathered as if it were the same."""

from __future__ import annotations

import contextlib

import pytest

import greenshard
from greenshard.executor.strategies import drift
from tests.postgres.psql import run

GATHERED = "SELECT cardinality(array_agg(DISTINCT coalesce(at))) FROM happened"
TABLES = {"happened": greenshard.Sharded("id"), "kinds": greenshard.Reference()}
COLUMNS = "id bigint PRIMARY KEY, at timestamp, name varchar(9), kind mood, other text"


@pytest.fixture
def dsns(greenshard_shards):
    with greenshard_shards.databases() as names:
        for shard in names:
            run(names[shard], "CREATE TYPE mood AS ENUM ('sad', 'glad')")
            run(
                names[shard],
                f"CREATE TABLE happened ({COLUMNS}); CREATE TABLE kinds (at timestamp)",
            )
        yield dict(names)


@pytest.fixture
def connect(dsns):
    with contextlib.ExitStack() as opened:

        def new(cluster=None, **options):
            cluster = cluster or greenshard.Cluster(dsns, TABLES)
            return opened.enter_context(contextlib.closing(greenshard.connect(cluster, **options)))

        yield new


@pytest.mark.parametrize("shard", ["s0", "s1"])
@pytest.mark.parametrize("named", [False, True])
def test_time_with_a_zone_on_one_shard_is_refused(dsns, connect, shard, named):
    run(dsns[shard], "ALTER TABLE happened ALTER at TYPE timestamptz")
    cur = connect().cursor(*["streamed"] * named)
    with pytest.raises(greenshard.ProgrammingError, match="timestamptz") as caught:
        cur.execute(GATHERED) or cur.fetchall()
    assert caught.value.code == "GS202"
    assert shard in str(caught.value)
    assert "pg_catalog.timestamp on shard" in str(caught.value).replace("timestamptz", "-")


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("ALTER name TYPE varchar(3)", "name"),
        ("ALTER kind TYPE text", "kind"),
        ("ALTER other TYPE varchar(5)", "other"),
    ],
)
def test_shorter_and_other_types_are_refused(dsns, connect, change, column):
    run(dsns["s1"], f"ALTER TABLE happened {change}")
    cur = connect().cursor()
    with pytest.raises(greenshard.ProgrammingError, match=f"column '{column}' of"):
        cur.execute(f"SELECT cardinality(array_agg(DISTINCT coalesce({column}))) FROM happened")
    cur.connection.rollback()
    cur.execute(GATHERED)  # only what is gathered counts
    assert cur.fetchall() == [(None,)]


def test_columns_in_another_order_and_more_of_them_are_gathered(dsns, connect):
    run(dsns["s1"], "DROP TABLE happened")
    run(dsns["s1"], "CREATE TABLE happened (more int, at timestamp, id bigint PRIMARY KEY)")
    cur = connect(check=False).cursor()  # else they are refused
    cur.execute(GATHERED)
    assert cur.fetchall() == [(None,)]


def test_shards_are_asked_once_for_each_table(dsns, connect, monkeypatch):
    cluster = greenshard.Cluster(dsns, TABLES)
    asked = []
    read = drift._read
    monkeypatch.setattr(drift, "_read", lambda *args: asked.append(args[1]) or read(*args))
    for conn in (connect(cluster), connect(cluster)):
        conn.cursor().execute(GATHERED)
        conn.cursor().execute("SELECT count(DISTINCT other) FROM happened, kinds")
    assert len(asked) == 2  # each shard


def test_what_was_alike_is_asked_again_with_a_new_catalog(dsns, connect):
    conn = connect()
    cur = conn.cursor()
    cur.execute(GATHERED)
    conn.commit()
    run(dsns["s1"], "ALTER TABLE happened ALTER at TYPE timestamptz")
    conn._statements.database._knowledge.expire()
    with pytest.raises(greenshard.ProgrammingError, match="timestamptz on shard s1"):
        cur.execute(GATHERED)
