"""Two shards that are one database are found, however they are spelled; copies of a server are not.

In a copied server the system identifier and all OIDs are the original's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

import greenshard
from greenshard import Cluster, Sharded
from greenshard.links import identity
from greenshard.links.bearings import BEARINGS
from greenshard.testing import Shards
from tests.fault.relay import Relay

COUNT = "SELECT count(*) FROM t"


@pytest.fixture(scope="module")
def servers():
    """Two servers of which the second is a copy of the first, with a table of one row."""
    with Shards(2, tcp=True) as shards:
        ask(shards[0], "CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
        copy(*shards)
        yield shards


def copy(original, duplicate):
    """Make a server a copy of another one, in its own place."""
    original.stop()
    duplicate.stop()
    own = {
        name: (duplicate.data_dir / name).read_text()
        for name in ("postgresql.conf", "pg_hba.conf", "postgresql.auto.conf")
    }
    owner = duplicate.data_dir.stat()
    shutil.rmtree(duplicate.data_dir)
    shutil.copytree(original.data_dir, duplicate.data_dir)
    for name, text in own.items():
        (duplicate.data_dir / name).write_text(text)
    for directory, directories, files in os.walk(duplicate.data_dir):
        for name in (".", *directories, *files):
            os.chown(os.path.join(directory, name), owner.st_uid, owner.st_gid)
    original.start()
    duplicate.start()


def ask(shard, statement):
    with contextlib.closing(psycopg2.connect(shard.dsn)) as conn:
        conn.autocommit = True
        with conn.cursor() as cur:
            cur.execute(statement)
            return cur.fetchone()[0] if cur.description else None


def counted(shards, **arguments):
    with (
        contextlib.closing(greenshard.connect(shards, **arguments)) as conn,
        conn.cursor() as cur,
    ):
        cur.execute(COUNT)
        return cur.fetchall()


def refused(shards, **arguments):
    with pytest.raises(greenshard.ProgrammingError) as caught:
        greenshard.connect(shards, **arguments)
    assert caught.value.code == "GS108"
    return str(caught.value)


@pytest.fixture
def spellings(servers, tmp_path, monkeypatch):
    """Ways to write the same database."""
    parameters = parse_dsn(servers[0].tcp_dsn)
    port, password = parameters["port"], parameters["password"]
    (tmp_path / "services").write_text(
        "[here]\n" + "".join(f"{name}={value}\n" for name, value in parameters.items())
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with contextlib.closing(Relay(f"{parse_dsn(servers[0].dsn)['host']}/.s.PGSQL.{port}")) as relay:
        yield {
            "socket": servers[0].dsn,
            "address": servers[0].tcp_dsn,
            "name": make_dsn(servers[0].tcp_dsn, host="localhost"),
            "uri": f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres",
            "service": "service=here",
            "relay": make_dsn(servers[0].tcp_dsn, port=relay.port),
        }


SPELLED = ("socket", "address", "name", "uri", "service", "relay")


@pytest.mark.parametrize("second", SPELLED)
def test_same_database_is_found_however_it_is_spelled(spellings, second):
    for first in ("socket", "relay"):
        message = refused({"east": spellings[first], "west": spellings[second]})
        assert "shards east and west are the same database" in message


def test_same_database_is_found_in_a_cluster(spellings):
    dsns = {"a": spellings["socket"], "b": spellings["name"]}
    assert "a and b" in refused(Cluster(dsns, {"t": Sharded("id")}))


def test_copied_server_is_another_shard(servers):
    assert counted([shard.dsn for shard in servers]) == [(1,), (1,)]
    identifier = "SELECT system_identifier FROM pg_control_system()"
    assert ask(servers[0], identifier) == ask(servers[1], identifier)


def test_servers_that_started_in_the_same_microsecond_are_two_shards(servers, monkeypatch):
    """Which happens: servers that are started together."""
    started = f"SELECT '20260101000000000000', 7::int8, false, 'public', 5, {BEARINGS}"
    monkeypatch.setattr(identity, "_IDENTITY", started)
    assert counted([shard.dsn for shard in servers]) == [(1,), (1,)]
    assert "s0 and s1" in refused([servers[0].dsn, servers[0].tcp_dsn, servers[1].dsn])
    assert "s0 and s2" in refused([servers[0].dsn, servers[1].dsn, servers[0].tcp_dsn])
    # Who cannot be told apart is taken for the same.
    monkeypatch.setattr(identity, "_PROCESSES", "SELECT nothing()")
    refused([shard.dsn for shard in servers])


def test_other_databases_of_one_server_are_other_shards(servers):
    ask(servers[0], "CREATE DATABASE other TEMPLATE postgres")
    assert counted([servers[0].dsn, servers[0].dsn_of("other")]) == [(1,), (1,)]
    ask(servers[0], "DROP DATABASE other")


def test_same_database_can_be_allowed(spellings):
    dsns = [spellings["socket"], spellings["name"]]
    assert counted(dsns, allow_same_database=True) == [(1,), (1,)]
    with pytest.raises(greenshard.ProgrammingError, match="allow_same_database"):
        greenshard.connect(dsns, allow_same_database="yes")


def test_open_connections_are_compared_and_left_as_they_were(servers):
    with (
        contextlib.closing(psycopg2.connect(servers[0].dsn)) as idle,
        contextlib.closing(psycopg2.connect(servers[0].tcp_dsn)) as begun,
        contextlib.closing(psycopg2.connect(servers[1].dsn)) as other,
    ):
        begun.cursor().execute("CREATE TEMP TABLE mine (a int)")
        refused([idle, begun])
        assert begun.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_INTRANS
        begun.cursor().execute("SELECT * FROM mine")
        assert idle.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        assert not idle.autocommit
        conn = greenshard.connect([begun, other])
        conn.release()
        begun.cursor().execute("SELECT * FROM mine")


def test_open_connection_in_a_failed_transaction_is_not_asked(servers):
    with (
        contextlib.closing(psycopg2.connect(servers[0].dsn)) as failed,
        contextlib.closing(psycopg2.connect(servers[0].dsn)) as idle,
    ):
        with pytest.raises(psycopg2.Error):
            failed.cursor().execute("SELECT 1/0")
        greenshard.connect([failed, idle]).release()


def test_schemas_of_one_database_are_shards_of_a_union(servers):
    ask(servers[0], "CREATE SCHEMA one; CREATE TABLE one.t AS SELECT 1; CREATE SCHEMA two;")
    ask(servers[0], "CREATE TABLE two.t AS SELECT FROM generate_series(1, 5)")
    try:
        dsns = {s: make_dsn(servers[0].dsn, options=f"-csearch_path={s}") for s in ("one", "two")}
        assert counted(dsns) == [(1,), (5,)]
        refused([dsns["one"], dsns["one"]])
        paths = ("one,two", 'two,"one",nowhere', "two,public", "nowhere", "missing,nowhere")
        both = [make_dsn(servers[0].dsn, options=f"-csearch_path={path}") for path in paths]
        refused(both[:2])
        assert counted({"one": both[0], "two": both[2]}) == [(1,), (5,)]
        refused(both[3:])
        # What greenshard asks of a declared cluster names the tables' schema: the first one's.
        refused(Cluster(dsns, {"t": Sharded("id")}))
    finally:
        ask(servers[0], "DROP SCHEMA one, two CASCADE")


@pytest.mark.parametrize("revoked", ["pg_postmaster_start_time()", "pg_control_system()"])
def test_role_that_may_not_ask_is_not_stopped(servers, revoked):
    ask(servers[0], f"CREATE ROLE poor LOGIN; REVOKE EXECUTE ON FUNCTION {revoked} FROM PUBLIC")
    dsns = [make_dsn(shard.dsn, user="poor") for shard in servers]
    try:
        ask(servers[1], "CREATE ROLE poor LOGIN")
        for shard in servers:
            ask(shard, "GRANT SELECT ON t TO poor")
        assert counted(dsns) == [(1,), (1,)]
        with contextlib.closing(psycopg2.connect(dsns[0])) as begun:
            begun.cursor().execute("CREATE TEMP TABLE mine (a int)")
            greenshard.connect([begun, dsns[1]]).release()
            begun.cursor().execute("SELECT * FROM mine")
    finally:
        ask(servers[0], f"GRANT EXECUTE ON FUNCTION {revoked} TO PUBLIC")
        for shard in servers:
            ask(shard, "DROP OWNED BY poor; DROP ROLE poor")


def test_pool_compares_the_shards_when_they_are_reached(spellings):
    with greenshard.Pool({"a": spellings["socket"], "b": spellings["name"]}, 1) as pool:
        for _ in range(2):
            with pool.connection() as conn:
                cur = conn.cursor()
                with conn.on("a"):
                    cur.execute(COUNT)
                for _ in range(2):
                    with pytest.raises(greenshard.ProgrammingError, match="a and b") as caught:
                        cur.execute("UPDATE t SET id = id + 1")
                    assert caught.value.code == "GS108"
        assert ask_dsn(spellings["socket"], "SELECT min(id) FROM t") == 1
        assert not any(shard.down_s for shard in pool.stats().shards.values())


def ask_dsn(dsn, statement):
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        cur.execute(statement)
        return cur.fetchone()[0]


def test_failover_that_makes_two_shards_one_is_noticed(servers):
    """The second shard's address leads to the first one's server from one moment on."""
    sockets = [f"{parse_dsn(s.dsn)['host']}/.s.PGSQL.{s.tcp_address[1]}" for s in servers]
    link = servers[0].data_dir.parent / "link"
    link.symlink_to(sockets[1])
    with contextlib.closing(Relay(str(link))) as relay:
        moving = make_dsn(servers[1].tcp_dsn, port=relay.port)
        with greenshard.Pool({"a": servers[0].dsn, "b": moving}, 2, check_after=0.0) as pool:
            with pool.connection() as conn, conn.cursor() as cur:
                cur.execute(COUNT)
                assert cur.fetchall() == [(1,), (1,)]
            link.unlink()
            link.symlink_to(sockets[0])
            relay.tell("forward")  # closes what was connected
            password = parse_dsn(servers[1].tcp_dsn)["password"]
            ask(servers[0], f"ALTER ROLE postgres PASSWORD '{password}'")
            with (
                pytest.raises(greenshard.ProgrammingError, match="a and b are the same"),
                pool.connection() as conn,
            ):
                conn.cursor().execute(COUNT)
    link.unlink()


def test_standby_of_a_shard_is_the_same_database():
    with Shards(3) as shards:
        primary, standby, other = shards
        ask(primary, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
        ask(primary, "ALTER SYSTEM SET wal_level = replica")
        copy(primary, other)
        copy(primary, standby)
        standby.stop()
        (standby.data_dir / "standby.signal").touch()
        with (standby.data_dir / "postgresql.conf").open("a") as conf:
            conf.write(f"primary_conninfo = '{primary.dsn}'\nhot_standby = on\n")
        standby._launch()
        end = time.monotonic() + 20
        while not answers(standby):
            assert time.monotonic() < end, standby.log()
            time.sleep(0.1)
        dsns = [primary.dsn, standby.dsn]
        assert "a server and its standby" in refused(dsns)
        refused(Cluster({"s0": primary.dsn, "s1": standby.dsn}, {"t": Sharded("id")}))
        assert counted(dsns, allow_same_database=True) == [(1,), (1,)]
        with (
            greenshard.Pool(dsns, 1) as pool,
            pool.connection() as conn,
            pytest.raises(greenshard.ProgrammingError, match="its standby"),
        ):
            conn.cursor().execute(COUNT)
        # A standby that was promoted is a server of its own.
        ask(standby, "SELECT pg_promote()")
        assert counted([*dsns, other.dsn]) == [(1,), (1,), (1,)]


def answers(shard):
    try:
        return ask(shard, "SELECT true")
    except psycopg2.Error:
        return False
