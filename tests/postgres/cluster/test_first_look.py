"""What makes answers wrong is seen when a declared cluster is first connected to."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from click.testing import CliRunner

import greenshard
from greenshard import checking
from greenshard.cli import main
from greenshard.cluster import Hash
from tests.postgres.cluster.test_encodings import databases
from tests.postgres.psql import run

SCHEMA = """
CREATE SCHEMA far;
CREATE TABLE t (k int PRIMARY KEY, c int);
CREATE TABLE far.t (k text, c int);
CREATE TABLE other (k int);
CREATE TABLE r (k int);
"""
TABLES = {
    "t": greenshard.Sharded("k"),
    "nowhere": greenshard.Sharded("k"),
    "r": greenshard.Reference(),
}


@pytest.fixture
def dsns(greenshard_shards):
    with greenshard_shards.databases() as one, greenshard_shards.databases() as other:
        found = {"s0": one["s0"], "s1": one["s1"], "s2": other["s0"], "s3": other["s1"]}
        for dsn in found.values():
            run(dsn, SCHEMA)
        yield found


def fill(dsns):
    """Each row by itself: the shards are not initialised, for a stamp would tell before rows do."""
    with contextlib.closing(greenshard.connect(greenshard.Cluster(dsns, TABLES))) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        for key in range(40):
            cur.execute("INSERT INTO t VALUES (%s, 1)", (key,))
            cur.execute("INSERT INTO far.t VALUES (%s, 1)", (str(key),))


def refusal(dsns, opens=greenshard.connect):
    """What is said when a cluster is connected to for the first time."""
    cluster = greenshard.Cluster(dsns, TABLES)
    for _ in range(2):  # not only the first one
        with pytest.raises(greenshard.ProgrammingError) as refused:
            opens(cluster)
    assert refused.value.code == "GS110"
    with contextlib.closing(greenshard.connect(cluster, check=False)) as conn:
        conn.cursor().execute("SELECT 1")
    return str(refused.value)


def lend(cluster):
    with greenshard.Pool(cluster) as pool, pool.connection() as conn:
        conn.cursor().execute("SELECT count(*) FROM t")


@pytest.mark.parametrize("opens", [greenshard.connect, lend])
def test_shards_that_were_exchanged_are_refused(dsns, opens):
    fill(dsns)
    exchanged = {**dsns, "s1": dsns["s2"], "s2": dsns["s1"]}
    assert "which belongs on s2" in refusal(exchanged, opens)
    opens(greenshard.Cluster(dsns, TABLES))


def test_a_row_that_is_elsewhere_is_no_exchange(dsns):
    fill(dsns)
    run(dsns["s1"], "DELETE FROM t", "INSERT INTO t VALUES (0, 1)")
    greenshard.connect(greenshard.Cluster(dsns, TABLES)).close()
    run(dsns["s1"], "DELETE FROM far.t")
    assert "belongs on" in refusal(dsns)


def test_a_table_that_was_placed_by_another_column_is_refused(dsns):
    fill(dsns)
    for dsn in dsns.values():
        run(dsn, "UPDATE far.t SET c = k::int + 7")
    cluster = greenshard.Cluster(dsns, {**TABLES, "far.t": greenshard.Sharded("c")})
    with pytest.raises(greenshard.ProgrammingError, match="keys of t that were looked") as refused:
        greenshard.connect(cluster)
    assert refused.value.code == "GS110"
    # One row that is elsewhere is told by a check; the application goes on.
    run(dsns["s1"], "DELETE FROM t", "INSERT INTO t VALUES (0, 1)")
    greenshard.connect(greenshard.Cluster(dsns, TABLES)).close()
    # So are rows of one key, as a table may have them all in one place.
    key = next(k for k in range(9) if Hash().shards_for(str(k), "text", tuple(dsns)) != "s2")
    run(dsns["s2"], "DELETE FROM far.t")
    run(dsns["s2"], f"INSERT INTO far.t SELECT {key} FROM generate_series(1, 20)")
    greenshard.connect(greenshard.Cluster(dsns, TABLES)).close()


NOWHERE = "SERVER nowhere OPTIONS (table_name 'x')"
UNFIT = f"""
CREATE EXTENSION postgres_fdw;
CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
CREATE USER MAPPING FOR PUBLIC SERVER nowhere;
CREATE VIEW v AS SELECT 1 / 0 AS k;
CREATE FOREIGN TABLE f (k int) {NOWHERE};
CREATE TABLE p (k int) PARTITION BY LIST (k);
CREATE FOREIGN TABLE p1 PARTITION OF p FOR VALUES IN (1) {NOWHERE};
CREATE TABLE q (k int) PARTITION BY LIST (k);
CREATE TABLE q1 PARTITION OF q DEFAULT;
CREATE TABLE i (k int);
CREATE FOREIGN TABLE i1 () INHERITS (i) {NOWHERE};
CREATE TABLE secret (k int);
INSERT INTO secret VALUES (1);
CREATE TABLE policed (k int);
INSERT INTO policed VALUES (1);
ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON policed USING (1 / (k - 1) = 1);
GRANT SELECT ON t, policed, f, v, p, q, i TO looker;
"""


def test_only_what_can_be_read_is_looked_at(dsns):
    """Not views, foreign tables and partitions, tables without rights, or with policies."""
    fill(dsns)
    names = ("v", "f", "p", "q", "i", "secret", "policed")
    tables = {**TABLES, **dict.fromkeys(names, greenshard.Sharded("k"))}
    for server in ("s0", "s1"):
        run(dsns[server], "DROP ROLE IF EXISTS looker", "CREATE ROLE looker LOGIN")
    try:
        for dsn in dsns.values():
            run(dsn, UNFIT)
        mine = {n: psycopg2.extensions.make_dsn(dsn, user="looker") for n, dsn in dsns.items()}
        greenshard.connect(greenshard.Cluster(mine, tables)).close()
        # They do not keep the others from being looked at.
        exchanged = {**mine, "s1": mine["s2"], "s2": mine["s1"]}
        with pytest.raises(greenshard.ProgrammingError, match="which belongs on s2"):
            greenshard.connect(greenshard.Cluster(exchanged, tables))
    finally:
        for name, dsn in dsns.items():
            last = name in ("s2", "s3")
            run(dsn, "DROP OWNED BY looker", *(["DROP ROLE looker"] if last else []))


def test_types_of_keys_that_differ_are_refused(dsns):
    run(dsns["s2"], "ALTER TABLE t ALTER k TYPE text")
    assert "the shard key of public.t is integer on s0, and text default on s2" in refusal(dsns)


def test_columns_in_another_order_are_refused(dsns):
    """INSERT INTO t VALUES (1, 2) would write others there."""
    # One more, or one less, is a change that is under way.
    run(dsns["s1"], "ALTER TABLE r ADD c int; ALTER TABLE far.t DROP c")
    greenshard.connect(greenshard.Cluster(dsns, TABLES)).close()
    run(dsns["s0"], "ALTER TABLE r ADD c int")
    run(dsns["s3"], "DROP TABLE r; CREATE TABLE r (c int, k int)")
    told = "the columns of public.r are in another order: k, c on s0, and c, k on s3"
    assert told in refusal(dsns)
    run(dsns["s3"], "DROP TABLE r")
    run(dsns["s2"], "ALTER TABLE t DROP k; ALTER TABLE t ADD k int")
    assert "public.t are in another order: k, c on s0, and c, k on s2" in refusal(dsns)


def test_what_cannot_be_asked_for_is_left_out(dsns):
    fill(dsns)
    exchanged = {**dsns, "s1": dsns["s2"], "s2": dsns["s1"]}
    with contextlib.closing(psycopg2.connect(dsns["s1"])) as locking:
        locking.cursor().execute("LOCK TABLE t, far.t")
        with contextlib.closing(psycopg2.connect(dsns["s2"])) as other:
            other.cursor().execute("LOCK TABLE t, far.t")
            greenshard.connect(greenshard.Cluster(exchanged, TABLES)).close()


def test_encodings_and_collations_that_differ_are_refused(greenshard_shards, dsns):
    with databases(greenshard_shards, "LATIN1", SCHEMA) as latin:
        assert "encoding of shard s0 is UTF8, that of s1 is LATIN1" in refusal(
            {**dsns, "s1": latin["s1"]}
        )
        lend(greenshard.Cluster(latin, TABLES))


def test_stamped_shards_that_are_declared_otherwise_are_refused(dsns, tmp_path):
    def init(shards, *options, placement=""):
        lines = [f'{name} = "{dsn}"' for name, dsn in shards.items()]
        path = tmp_path / "cluster.toml"
        path.write_text(
            "\n".join(["[shards]", *lines, "[tables]", 't = { shard_key = "k" }', placement])
        )
        done = CliRunner().invoke(main, ["init", *options, str(path)])
        return done.exit_code, done.output

    exchanged = {**dsns, "s1": dsns["s2"], "s2": dsns["s1"]}
    assert init(dsns) == (0, "initialised: s0, s1, s2, s3\n")
    assert init(dsns)[0] == 0
    code, said = init(exchanged)
    assert (code, "shard s1 is stamped already, as shard s2" in said) == (1, True)
    assert "shard s1 is stamped as shard s2" in refusal(exchanged)
    assert "stamped as shard s2" in refusal(exchanged, lend)
    with contextlib.closing(psycopg2.connect(dsns["s2"])) as locking:
        locking.cursor().execute("LOCK TABLE t")  # the stamp is asked for nevertheless
        assert "shard s1 is stamped as shard s2" in refusal(exchanged)
    ordered = {name: dsns[name] for name in ("s1", "s0", "s2", "s3")}
    assert "number 1 of 4, with 256 slots, and declared as number 0 of 4" in refusal(ordered)
    few = {name: dsns[name] for name in ("s0", "s1", "s2")}
    assert "number 0 of 4, with 256 slots, and declared as number 0 of 3" in refusal(few)
    assert init(dsns, "--again", placement="[placement]\nslots = 64")[0] == 0
    assert "with 64 slots, and declared as number 0 of 4, with 256" in refusal(dsns)
    run(dsns["s3"], "UPDATE greenshard.shard SET cluster = 'another', slots = 256")
    run(dsns["s0"], "UPDATE greenshard.shard SET slots = 256")
    run(dsns["s1"], "DROP SCHEMA greenshard CASCADE")
    run(dsns["s2"], "DROP SCHEMA greenshard CASCADE")
    assert "shard s3 is stamped as one of another cluster than s0" in refusal(dsns)
    with contextlib.closing(greenshard.connect(dsns)) as union:
        notes = checking.check(union, greenshard.Cluster(dsns, TABLES)).notes
    assert not any("greenshard" in note for note in notes)
