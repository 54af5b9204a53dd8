"""``greenshard init``: all shards or none, as often as one likes, and for nobody else."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from click.testing import CliRunner
from psycopg2.extensions import make_dsn

import greenshard
from greenshard import checking
from greenshard.cli import main
from greenshard.cluster import Hash
from greenshard.testing import Shards
from tests.postgres.psql import run

#: One of each shard.
KEYS = {Hash().shards_for(n, "int4", ("s0", "s1")): n for n in range(9)}
OLD = """
CREATE SCHEMA greenshard;
CREATE TABLE greenshard.shard (cluster text NOT NULL, name text NOT NULL, position int NOT NULL,
    shards int NOT NULL, slots int);
"""


CHANGES = {
    "the trigger x": "CREATE TRIGGER x BEFORE UPDATE ON greenshard.decision"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "the rule x": "CREATE RULE x AS ON INSERT TO greenshard.decision DO ALSO NOTHING",
    "policies": "ALTER TABLE greenshard.decision ENABLE ROW LEVEL SECURITY",
    "column more is integer": "ALTER TABLE greenshard.decision ADD more int",
    "column participants is not there": "ALTER TABLE greenshard.decision DROP participants",
    "column committed is text": "ALTER TABLE greenshard.decision ALTER committed TYPE text",
    "the default of gid": "ALTER TABLE greenshard.decision ALTER gid SET DEFAULT random()::text",
    "the constraint x": "ALTER TABLE greenshard.decision ADD CONSTRAINT x CHECK (gid <> '')",
    "the table public.heir": "CREATE TABLE heir () INHERITS (greenshard.decision)",
    "it is no plain table": "ALTER TABLE greenshard.decision SET UNLOGGED",
}


@pytest.fixture
def dsns(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        for dsn in dsns.values():
            run(dsn, "CREATE TABLE t (k int)")
        yield dsns


@pytest.fixture
def roles(greenshard_shards):
    """Some who can do little, on each server."""
    names = ("writer", "mallory", "migrator", "outsider")
    for shard in greenshard_shards:
        run(shard.dsn, *(f"CREATE ROLE {name} LOGIN" for name in names))
    yield names
    for shard in greenshard_shards:
        run(shard.dsn, *(f"DROP ROLE IF EXISTS {name}" for name in names))


def cluster_of(dsns, **options):
    given = {name: make_dsn(dsn, **options) for name, dsn in dsns.items()}
    return greenshard.Cluster(given, {"t": greenshard.Sharded("k")})


def rows(dsn, query):
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        cur.execute(query)
        return cur.fetchall()


def stamps(dsns):
    return [rows(dsn, "SELECT name, cluster, id FROM greenshard.shard") for dsn in dsns.values()]


def refused(cluster, *args, code="GS112", **options):
    with pytest.raises(greenshard.ProgrammingError) as refusal:
        greenshard.init(cluster, *args, **options)
    assert refusal.value.code == code
    return f"{refusal.value} {refusal.value.hint}"


def test_it_can_be_done_again_and_adds_to_what_was_there(dsns):
    run(dsns["s0"], OLD, "INSERT INTO greenshard.shard VALUES (repeat('ab', 16), 's0', 0, 2, 256)")
    # It must not wait for a migration that holds a publication's tables, nor for applications.
    for dsn in dsns.values():
        run(dsn, "CREATE PUBLICATION everything FOR ALL TABLES")
    assert greenshard.init(cluster_of(dsns)) == []
    ((s0,), (s1,)) = first = stamps(dsns)
    assert (s0[:2], s1[:2]) == (("s0", "ab" * 16), ("s1", "ab" * 16))
    assert s0[2] != s1[2]
    assert {len(s0[2]), len(s1[2])} == {32}
    with contextlib.closing(psycopg2.connect(dsns["s1"])) as busy:
        # Those that commit hold the barrier, and those that connect read the stamp.
        busy.cursor().execute(
            "LOCK greenshard.barrier IN ROW EXCLUSIVE MODE; TABLE greenshard.shard;"
            "TABLE greenshard.decision; TABLE greenshard.forgotten"
        )
        assert greenshard.init(cluster_of(dsns)) == []
        assert stamps(dsns) == first
    # With publications: rows of ours can be changed.
    assert greenshard.init(cluster_of(dsns), again=True) == []
    for dsn in dsns.values():
        run(dsn, "INSERT INTO greenshard.forgotten VALUES (now())")
        run(dsn, "UPDATE greenshard.forgotten SET until = now()")
        run(dsn, "UPDATE greenshard.shard SET slots = 1")
    assert refused(cluster_of(dsns), code="GS110").count("s0 is stamped already")
    greenshard.init(cluster_of(dsns), again=True)
    assert stamps(dsns) == first


def test_those_that_commit_may_do_that_and_no_more(dsns, roles):
    greenshard.init(cluster_of(dsns), ["writer"])
    mine = cluster_of(dsns, user="writer").shards["s0"].primary
    gid = "'g', true, '{}'"
    run(
        mine,
        f"INSERT INTO greenshard.decision VALUES ({gid}) ON CONFLICT (gid) DO NOTHING",
        "TABLE greenshard.shard; TABLE greenshard.decision; DELETE FROM greenshard.decision",
        "LOCK greenshard.barrier IN ROW EXCLUSIVE MODE; LOCK greenshard.barrier IN SHARE MODE",
        "INSERT INTO greenshard.forgotten VALUES (now()); TABLE greenshard.forgotten",
        "UPDATE greenshard.forgotten SET until = now()",
    )
    for forbidden in (
        "UPDATE greenshard.shard SET id = NULL",
        "DELETE FROM greenshard.shard",
        "UPDATE greenshard.decision SET committed = false",
        "CREATE TABLE greenshard.x ()",
        CHANGES["the trigger x"],
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(mine, forbidden)
    theirs = cluster_of(dsns, user="outsider").shards["s0"].primary
    run(theirs, "TABLE greenshard.shard")
    for table in ("decision", "barrier", "forgotten"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(theirs, f"SELECT FROM greenshard.{table}")
    # A role more; the first one keeps its rights.
    greenshard.init(cluster_of(dsns), ["outsider", "outsider"])
    run(theirs, "TABLE greenshard.decision")
    run(mine, "TABLE greenshard.decision")
    assert "no role nobody_such" in refused(cluster_of(dsns), ["writer", "nobody_such"])
    assert "may not change it" in refused(cluster_of(dsns, user="writer"))
    for dsn in dsns.values():
        run(dsn, "DROP SCHEMA greenshard CASCADE")
    assert "writer may not create a schema" in refused(cluster_of(dsns, user="writer"))


def test_what_fails_on_one_shard_is_undone_on_all(dsns):
    run(
        dsns["s1"],
        "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no tables here'; END $$",
        "CREATE EVENT TRIGGER no ON ddl_command_end WHEN TAG IN ('CREATE TABLE')"
        " EXECUTE FUNCTION no()",
    )
    with pytest.raises(greenshard.DatabaseError, match="no tables here") as failed:
        greenshard.init(cluster_of(dsns))
    assert failed.value.shard == "s1"
    for dsn in dsns.values():
        assert rows(dsn, "SELECT 1 FROM pg_namespace WHERE nspname = 'greenshard'") == []


def write_on_both(dsns, user=None):
    cluster = cluster_of(dsns) if user is None else cluster_of(dsns, user=user)
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        for shard in cluster.names:
            conn.on(shard).cursor().execute(f"INSERT INTO t VALUES ({KEYS[shard]})")
        conn.commit()


def test_what_somebody_else_has_made_is_refused_by_name(dsns, roles):
    for dsn in dsns.values():
        run(dsn, "GRANT CREATE ON DATABASE " + psycopg2.extensions.parse_dsn(dsn)["dbname"]
            + " TO mallory, migrator")  # fmt: skip
    try:
        run(cluster_of(dsns, user="mallory").shards["s1"].primary, "CREATE SCHEMA greenshard")
        assert "the schema greenshard belongs to mallory" in refused(cluster_of(dsns))
        run(dsns["s1"], "DROP SCHEMA greenshard")
        # Who owns the tables can do anything to those that write there already.
        mine = cluster_of(dsns, user="migrator")
        greenshard.init(mine, ["writer"])
        assert "belongs to migrator" in refused(cluster_of(dsns))
        run(dsns["s0"], "ALTER TABLE t OWNER TO migrator", "CREATE SCHEMA other")
        run(dsns["s1"], "ALTER TABLE t OWNER TO migrator")
        assert greenshard.init(cluster_of(dsns)) == []
        write_on_both(dsns)
        run(dsns["s0"], "CREATE TABLE other.t (k int)")  # two of that name: who knows?
        assert "belongs to migrator" in refused(cluster_of(dsns))
        with pytest.raises(greenshard.NotSupportedError, match="somebody else") as unfit:
            write_on_both(dsns)
        assert (unfit.value.code, unfit.value.shard) == ("GS503", "s0")
    finally:
        for dsn in dsns.values():
            run(dsn, "DROP SCHEMA greenshard CASCADE", "DROP OWNED BY mallory, migrator")


def test_a_role_that_may_not_commit_together_is_told_of_by_name(dsns, roles):
    greenshard.init(cluster_of(dsns), ["writer"])
    for dsn in dsns.values():
        run(dsn, "GRANT ALL ON t TO writer, outsider")
    write_on_both(dsns, "writer")
    with pytest.raises(greenshard.NotSupportedError, match="not for the role outsider") as unfit:
        write_on_both(dsns, "outsider")
    assert "greenshard init --role outsider" in str(unfit.value)
    for dsn in dsns.values():
        run(dsn, "DROP SCHEMA greenshard CASCADE", "DROP OWNED BY writer, outsider")


def test_what_was_changed_since_is_refused_by_name(dsns):
    greenshard.init(cluster_of(dsns))
    for what, change in CHANGES.items():
        run(dsns["s1"], change)
        told = refused(cluster_of(dsns))
        assert "shard s1" in told
        assert "greenshard.decision is not as it was made" in told
        assert what in told
        run(dsns["s1"], "DROP TABLE greenshard.decision CASCADE")
        run(dsns["s1"], "DROP TABLE IF EXISTS heir")
        greenshard.init(cluster_of(dsns))


def test_copies_of_a_shard_are_given_ids_of_their_own(dsns):
    cluster = cluster_of(dsns)
    greenshard.init(cluster)
    ((_, name, s0),) = stamps(dsns)[0]
    run(dsns["s1"], f"UPDATE greenshard.shard SET id = '{s0}'")
    assert "s1 has the same id as s0" in refused(cluster, code="GS110")
    with pytest.raises(greenshard.ProgrammingError, match="same id"):
        greenshard.connect(cluster)
    run(dsns["s0"], "UPDATE greenshard.shard SET name = 's1', position = 1")
    greenshard.init(cluster, again=True)
    ((first,), (second,)) = stamps(dsns)
    assert second == ("s1", name, s0)  # it was s1, so that s0 is the copy
    assert first[:2] == ("s0", name)
    assert first[2] not in (s0, None)


def test_two_schemas_of_one_database_are_no_two_shards(dsns):
    paths = {name: make_dsn(dsns["s0"], options=f"-c search_path={name}") for name in dsns}
    refused(cluster_of(paths), code="GS108")


def checked(dsns):
    """What `greenshard check` finds and notes."""
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        report = checking.check(conn, cluster_of(dsns), rows=False)
    assert all(finding.check == "init" for finding in report.findings)
    return [(each.shards, each.message) for each in report.findings], report.notes


def test_a_check_tells_what_is_not_as_it_was_made(dsns, roles):
    found, notes = checked(dsns)
    assert found == []
    assert any("not initialised for transactions that write on several" in note for note in notes)
    greenshard.init(cluster_of(dsns))
    assert checked(dsns) == ([], [])
    run(dsns["s1"], "DROP TABLE greenshard.barrier, greenshard.forgotten")
    ((where, what),), _ = checked(dsns)
    assert (where, "barrier, forgotten is gone" in what) == (("s1",), True)
    run(dsns["s1"], "ALTER TABLE greenshard.shard DROP id")
    (told, *_), _ = checked(dsns)
    assert told == (("s1",), "is not initialised, as others are: greenshard init")
    greenshard.init(cluster_of(dsns))
    assert checked(dsns) == ([], [])
    run(dsns["s1"], f"UPDATE greenshard.shard SET id = '{stamps(dsns)[0][0][2]}'")
    same = "shard s1 has the same id as s0: is one a copy of the other?"
    assert checked(dsns)[0] == [(("s1",), same)]
    run(dsns["s0"], CHANGES["the trigger x"])
    run(dsns["s1"], "ALTER SCHEMA greenshard OWNER TO mallory")
    (one, other), _ = checked(dsns)
    assert one[0] == ("s0",)
    assert "has the trigger x" in one[1]
    assert "the schema greenshard belongs to mallory" in other[1]
    run(dsns["s1"], "DROP SCHEMA greenshard CASCADE")


def test_two_at_a_time_write_one_stamp(dsns):
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(greenshard.init, [cluster_of(dsns)] * 4)) == [[]] * 4
    for found in stamps(dsns):
        assert len(found) == 1


def test_a_server_that_prepares_nothing_is_told(tmp_path):
    with Shards(2, settings={"max_prepared_transactions": 0, "max_connections": 30}) as shards:
        path = tmp_path / "cluster.toml"
        lines = [f"{name} = {json.dumps(dsn)}" for name, dsn in shards.dsns.items()]
        path.write_text("\n".join(["[shards]", *lines]))
        done = CliRunner().invoke(main, ["init", "--role", "postgres", str(path)])
        assert done.exit_code == 0, done.output
        assert done.stdout == "initialised: s0, s1\n"
        assert done.stderr.count("max_prepared_transactions = 30") == 2
        for dsn in shards.dsns.values():
            run(dsn, "CREATE TABLE t (k int)")
        # Who goes on without looking is told the same by the write, and not to run init again.
        with pytest.raises(greenshard.NotSupportedError) as refused_write:
            write_on_both(shards.dsns, "postgres")
        assert refused_write.value.code == "GS503"
        assert "s0 has max_prepared_transactions = 0" in str(refused_write.value)
        assert refused_write.value.hint.startswith("Add `max_prepared_transactions = N`")
        assert "greenshard init" not in refused_write.value.hint
        path.write_text("\n".join(["[shards]", lines[0]]))
        alone = CliRunner().invoke(main, ["init", "--again", str(path)])
        assert (alone.exit_code, alone.stderr) == (0, "")


@pytest.mark.parametrize("roles", ["postgres", [None], [5], [""]])
def test_roles_must_be_names(greenshard_shards, roles):
    with greenshard_shards.databases() as dsns:
        cluster = greenshard.Cluster(dsns, {"t": greenshard.Sharded("k")})
        with pytest.raises(greenshard.ProgrammingError, match="names of roles") as caught:
            greenshard.init(cluster, roles)
        assert caught.value.code == "GS104"
