"""Sessions whose bearings differ from the moment they are opened, or change while they are idle."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

import greenshard
from greenshard.executor.knowledge import one_database
from greenshard.executor.knowledge import shared as knowledge

ROLE = "bearer"
SHARDS = ("s0", "s1")
SCHEMA = f"""
CREATE SCHEMA b;
CREATE TABLE t (id int PRIMARY KEY, v text, f float8, z timestamptz);
CREATE TABLE b.t (LIKE t INCLUDING ALL);
GRANT ALL ON ALL TABLES IN SCHEMA public, b TO {ROLE};
GRANT USAGE ON SCHEMA b TO {ROLE};
"""
ROWS = (
    "INSERT INTO {schema}t SELECT n, '{letter}' || n, 0.1::float8 + 0.2, '2020-01-01 12:00+00'"
    " FROM unnest(ARRAY[{keys}]) AS n"
)
QUERIES = {
    "concatenate": "SELECT v FROM t",
    "route": "SELECT v FROM t WHERE id = {on_s1}",
    "combine": "SELECT min(v), max(v) FROM t",
    "gather": "SELECT string_agg(DISTINCT v, ',' ORDER BY v) FROM t",
    "update": "UPDATE t SET v = 'lost'",
    "insert": "INSERT INTO t VALUES ({new_on_s1}, 'lost')",
}


class Scene:
    """The cluster, and an administrator of each of its databases."""

    def __init__(self, dsns):
        greenshard.init(greenshard.Cluster(dsns, {"t": greenshard.Sharded("id")}), [ROLE])
        self.dsns = {name: make_dsn(dsn, user=ROLE) for name, dsn in dsns.items()}
        self.cluster = greenshard.Cluster(self.dsns, {"t": greenshard.Sharded("id")})
        self._admins = {name: psycopg2.connect(dsn) for name, dsn in dsns.items()}
        for shard, admin in self._admins.items():
            admin.autocommit = True
            self.ask(shard, SCHEMA)
            keys = ", ".join(map(str, self.keys(shard, range(20))))
            for schema, letter in (("", "a"), ("b.", "b")):
                self.ask(shard, ROWS.format(schema=schema, letter=letter, keys=keys))

    def ask(self, shard, text):
        cur = self._admins[shard].cursor()
        cur.execute(text)
        return cur.fetchall() if cur.description else None

    @contextlib.contextmanager
    def default(self, shard, setting):
        """A setting that new sessions of a shard have."""
        database = parse_dsn(self.dsns[shard])["dbname"]
        self.ask(shard, f"ALTER ROLE {ROLE} IN DATABASE {database} SET {setting}")
        try:
            yield
        finally:
            self.ask(shard, f"ALTER ROLE {ROLE} IN DATABASE {database} RESET ALL")

    def keys(self, shard, among):
        placement = self.cluster.placement
        return [n for n in among if placement.shards_for(n, "int8", SHARDS) == shard]

    def query(self, name):
        old, new = (self.keys("s1", range(first, first + 20))[0] for first in (0, 20))
        return QUERIES[name].format(on_s1=old, new_on_s1=new)

    def close(self):
        for admin in self._admins.values():
            admin.close()


@pytest.fixture(scope="module")
def scene(greenshard_shards):
    with greenshard_shards.databases() as databases:
        dsns = {shard: databases[shard] for shard in SHARDS}
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(f"CREATE ROLE {ROLE} LOGIN; CREATE ROLE tenant; GRANT tenant TO {ROLE}")
        try:
            with contextlib.closing(Scene(dsns)) as scene:
                yield scene
        finally:
            for dsn in dsns.values():
                with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                    cur.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}; DROP ROLE tenant")


@pytest.fixture
def conn(scene):
    with contextlib.closing(greenshard.connect(scene.cluster)) as connection:
        yield connection


def ask(conn, text):
    cur = conn.cursor()
    cur.execute(text)
    return cur.fetchall() if cur.description else None


def refused(conn, text, match="in different places"):
    with pytest.raises(greenshard.NotSupportedError, match=match) as caught:
        ask(conn, text)
    assert caught.value.code == "GS410"
    return caught.value


@pytest.mark.parametrize("shard", ["s0", "s1"])
@pytest.mark.parametrize("how", ["database", "dsn", "role"])
def test_defaults_of_one_shard_alone(scene, shard, how):
    """Nothing is answered of two places, and nothing written."""
    with contextlib.ExitStack() as stack:
        cluster, setting = scene.cluster, "search_path = b, public"
        if how == "dsn":
            other = make_dsn(scene.dsns[shard], options="-c search_path=b,public")
            cluster = greenshard.Cluster({**scene.dsns, shard: other}, cluster.tables)
        else:
            setting = "role = 'tenant'" if how == "role" else setting
            stack.enter_context(scene.default(shard, setting))
        pool = stack.enter_context(greenshard.Pool(cluster, 1))
        for name in (*QUERIES, *QUERIES):
            with contextlib.closing(greenshard.connect(cluster)) as conn:
                refused(conn, scene.query(name))
            with pool.connection() as conn:
                refused(conn, scene.query(name))
                assert ask(conn.on("s0"), "SELECT 1") == [(1,)]
        # The way out goes to all shards.
        for conn in stack.enter_context(pool.connection()), greenshard.connect(cluster):
            ask(conn, "SET search_path = b" if how != "role" else "SET ROLE none")
            letter = "a" if how == "role" else "b"
            assert set(ask(conn, "SELECT left(v, 1) FROM t")) == {(letter,)}
            assert ask(conn, "SELECT cardinality(array_agg(DISTINCT coalesce(v))) FROM t") == [
                (20,)
            ]
            conn.rollback()
            refused(conn, scene.query("combine"))
            conn.close()


def later(monkeypatch):
    """Let all that is known of catalogs and sessions be too old."""
    monkeypatch.setattr(knowledge, "OLDEST_S", 0.0)


@pytest.mark.parametrize("shard", ["s0", "s1"])
def test_schema_that_another_session_makes(scene, conn, shard, monkeypatch):
    """Of the user's own name, which is on the path by default."""
    with greenshard.Pool(scene.cluster, 1) as pool:
        with pool.connection() as pooled:
            for each in conn, pooled:
                assert ask(each, "SELECT count(*) FROM t") == [(20,)]
        conn.rollback()
        scene.ask(
            shard,
            f"CREATE SCHEMA {ROLE} AUTHORIZATION {ROLE} CREATE TABLE t (LIKE b.t INCLUDING ALL);"
            f" GRANT ALL ON {ROLE}.t TO {ROLE}",
        )
        try:
            later(monkeypatch)
            for name in QUERIES:
                refused(conn, scene.query(name))
                with pool.connection() as pooled:
                    refused(pooled, scene.query(name))
        finally:
            conn.rollback()  # it may have locks, if it was not refused
            scene.ask(shard, f"DROP SCHEMA {ROLE} CASCADE")


def test_floats_of_a_shard_that_a_lease_has_not_used_yet(scene):
    query = "SELECT a.f FROM t a JOIN t b ON a.id = b.id + 1"
    with scene.default("s1", "extra_float_digits = 0"), greenshard.Pool(scene.cluster, 1) as pool:
        for first in "SELECT 1", f"SELECT f FROM t WHERE id = {scene.keys('s0', range(20))[0]}":
            with pool.connection() as conn:
                ask(conn, first)
                refused(conn, query, "extra_float_digits")


DIFFERENT = {
    "TimeZone": "'Asia/Tokyo'",
    "DateStyle": "'ISO, DMY'",
    "IntervalStyle": "iso_8601",
    "bytea_output": "escape",
    "default_text_search_config": "'pg_catalog.german'",
    "extra_float_digits": "0",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "xmlbinary": "hex",
    "quote_all_identifiers": "on",
}


def test_settings_that_decide_what_is_answered(scene, conn):
    query = "SELECT count(*) FROM t"
    for name, value in DIFFERENT.items():
        assert ask(conn, query) == [(20,)]
        ask(conn.on("s1"), f"SET {name} = {value}")
        error = refused(conn, query, f"differ in {name}: it is .* on shard s1 and .* elsewhere")
        assert f"SET {name}" in error.hint
        assert ask(conn, f"SELECT v FROM t WHERE id = {scene.keys('s0', range(20))[0]}")
        ask(conn, f"SET {name} = {value}")
        assert ask(conn, query) == [(20,)]
        conn.rollback()
        with scene.default("s1", f"{name} = {value}"), greenshard.Pool(scene.cluster, 1) as pool:
            for _ in range(2):
                with pool.connection() as pooled:
                    refused(pooled, query, f"differ in {name}")
    with (
        scene.default("s1", "TimeZone = 'Etc/UTC'"),
        scene.default("s0", "TimeZone = 'UTC'"),
        contextlib.closing(greenshard.connect(scene.cluster)) as other,
    ):
        assert ask(other, query) == [(20,)]


def test_user_that_one_session_has_changed_to(scene, greenshard_shards):
    """Shards may know the program by different names, but each sticks to its own."""
    admins = {shard: greenshard_shards[shard].dsn for shard in SHARDS}
    for shard, dsn in admins.items():
        admins[shard] = make_dsn(dsn, dbname=parse_dsn(scene.dsns[shard])["dbname"])
    mixed = greenshard.Cluster({**scene.dsns, "s0": admins["s0"]}, scene.cluster.tables)
    with contextlib.closing(greenshard.connect(mixed)) as conn:
        assert ask(conn, "SELECT count(*) FROM t") == [(20,)]
        ask(conn.on("s0"), f"SET SESSION AUTHORIZATION {ROLE}")
        refused(conn, "SELECT count(*) FROM t", f"as {ROLE}")
        conn.rollback()
        assert ask(conn, "SELECT count(*) FROM t") == [(20,)]


def test_session_that_gathers_has_the_homes_bearings(scene):
    """Also if it is opened later, after defaults have changed."""
    query = (
        "SELECT cardinality(array_agg(DISTINCT coalesce(v))),"
        " current_setting('search_path'), current_setting('TimeZone'),"
        " current_user, (ARRAY[max(z)])::text FROM t"
    )
    settings = ("search_path = public, b", "TimeZone = 'Asia/Tokyo'", "role = 'tenant'")
    with (
        contextlib.closing(greenshard.connect(scene.cluster)) as conn,
        greenshard.Pool(scene.cluster, 1) as pool,
        pool.connection() as pooled,
    ):
        for each in conn, pooled:
            ask(each, "SELECT v FROM t")
        with contextlib.ExitStack() as stack:
            for shard, setting in itertools.product(SHARDS, settings):
                stack.enter_context(scene.default(shard, setting))
            found = [ask(each, query) for each in (conn, pooled)]
            found += [ask(conn.on("s0"), query)]
            assert [row[1:4] for (row,) in found] == [found[2][0][1:4]] * 3
            assert found[0][0][4] == found[1][0][4] == found[2][0][4]
            assert found[0][0][0] == 20


def test_a_pool_asks_nothing_of_sessions_that_it_knows(scene, monkeypatch):
    asked = []
    for name in "ask_bearings", "ask_news":
        real = getattr(one_database, name)
        monkeypatch.setattr(
            one_database,
            name,
            lambda *args, real=real, **what: asked.append(1) or real(*args, **what),
        )
    with greenshard.Pool(scene.cluster, 1) as pool:
        for statements in ["SELECT v FROM t"], ["SET TimeZone = 'UTC'"], ["SELECT v FROM t"]:
            with pool.connection() as conn:
                for statement in statements:
                    ask(conn, statement)
    assert asked == []


@pytest.mark.parametrize("how", ["union", "cluster"])
def test_texts_that_a_session_reads_otherwise_may_leave_anything(scene, how):
    """With standard_conforming_strings = on, the call is within the literal."""
    text = r"SELECT 'a\'', set_config($$search_path$$, $$b$$, false) --'"
    with scene.default("s0", "standard_conforming_strings = off"):
        shards = scene.dsns if how == "union" else scene.cluster
        with greenshard.Pool(shards, 1) as pool:
            with pool.connection() as conn:
                before = ask(conn.on("s0"), "SHOW search_path")
            with pool.connection() as conn:
                ask(conn.on("s0"), text)
            with pool.connection() as conn:
                assert ask(conn.on("s0"), "SHOW search_path") == before


def test_server_that_does_not_tell_what_it_is(scene):
    """Then its sessions are asked for their bearings when they are first needed."""
    function = "FUNCTION pg_catalog.pg_postmaster_start_time()"
    for shard in SHARDS:
        scene.ask(shard, f"REVOKE EXECUTE ON {function} FROM PUBLIC")
    try:
        for setting in None, "search_path = b, public":
            with contextlib.ExitStack() as stack:
                if setting is not None:
                    stack.enter_context(scene.default("s1", setting))
                pool = stack.enter_context(greenshard.Pool(scene.cluster, 1))
                for _ in range(2):
                    conn = stack.enter_context(
                        contextlib.closing(greenshard.connect(scene.cluster))
                    )
                    pooled = stack.enter_context(contextlib.closing(pool.getconn()))
                    for each in conn, pooled:
                        if setting is None:
                            assert ask(
                                each, "SELECT cardinality(array_agg(DISTINCT coalesce(v))) FROM t"
                            ) == [(20,)]
                        else:
                            refused(each, "SELECT count(*) FROM t")
                    pooled.close()
    finally:
        for shard in SHARDS:
            scene.ask(shard, f"GRANT EXECUTE ON {function} TO PUBLIC")


def test_shard_that_does_not_answer_is_done_without(scene, monkeypatch):
    """Where the answer of some shards is good enough; others need not be asked at all."""
    with contextlib.closing(
        greenshard.connect(scene.cluster, timeout=3.0, cancel_grace=0.2, on_error="partial")
    ) as conn:
        conn.autocommit = True
        ((pid,),) = ask(conn.on("s1"), "SELECT pg_backend_pid()")
        assert ask(conn, "SELECT count(*) FROM t") == [(20,)]
        later(monkeypatch)
        os.kill(pid, signal.SIGSTOP)
        try:
            (key, *others) = scene.keys("s0", range(20))
            assert ask(conn, f"SELECT v FROM t WHERE id = {key}") == [(f"a{key}",)]
            with pytest.warns(greenshard.PartialResultWarning):
                assert ask(conn, "SELECT count(*) FROM t") == [(1 + len(others),)]
        finally:
            os.kill(pid, signal.SIGCONT)


def test_shard_that_has_moved_and_does_not_answer_is_done_without(scene):
    """As long as the statement does not need it, or can do without; on time."""
    (key, *others) = scene.keys("s0", range(20))
    away = "SELECT pg_backend_pid(), set_config('search_path', 'b', false)"
    for how, on_error in itertools.product(("moved", "exposed"), ("raise", "partial")):
        timeout_s = 2.0 if on_error == "partial" else 1.0
        with contextlib.closing(
            greenshard.connect(
                scene.cluster, timeout=timeout_s, cancel_grace=0.2, on_error=on_error
            )
        ) as conn:
            conn.autocommit = True
            ((pid, _),) = ask(conn.on("s1"), away if how == "moved" else away.replace("'b'", "''"))
            if how == "exposed":
                with conn.on("s1"):
                    conn.get_native_connection()
                raw = psycopg2.extensions.cursor(conn._session.physical("s1").raw)
                raw.execute("SET search_path = b")
                refused(conn, "SELECT count(*) FROM t")
                raw.execute("RESET search_path")
                assert ask(conn, "SELECT count(*) FROM t") == [(20,)]
                raw.execute("SET search_path = b")
                refused(conn, "SELECT count(*) FROM t")
            os.kill(pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                assert ask(conn, f"SELECT v FROM t WHERE id = {key}") == [(f"a{key}",)]
                assert time.monotonic() - began < 1.0
                if on_error == "partial":
                    # The other shard's part takes 0.1 s, for which time must be left.
                    slow = "SELECT count(*) FROM t WHERE pg_sleep(0.01) IS NOT NULL"
                    with pytest.warns(greenshard.PartialResultWarning):
                        assert ask(conn, slow) == [(1 + len(others),)]
                else:
                    with pytest.raises(greenshard.OperationalError):
                        ask(conn, "SELECT count(*) FROM t")
            finally:
                os.kill(pid, signal.SIGCONT)
