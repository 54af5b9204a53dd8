"""SQL that ends a transaction over several shards does what the connection's methods do.

What the program sees is compared with psycopg2 on one server that has all rows.
"""

from __future__ import annotations

import contextlib
from functools import partial

import psycopg2
import pytest
from psycopg2.extensions import (
    STATUS_BEGIN,
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INTRANS,
    AsIs,
)

import greenshard
from greenshard.executor import endings
from greenshard.executor.execution import Execution
from tests.initialised import initialised
from tests.postgres import psql

SCHEMA = """
CREATE TABLE kept (id int PRIMARY KEY, a int);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.a < 0 THEN RAISE unique_violation; END IF;
        RETURN NULL;
    END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON kept DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse();
"""
IDS = range(1, 9)


class World:
    """A declared cluster, or a union, and one server, with the same eight rows."""

    def __init__(self, dsns, single, *, declared):
        self.declared = declared
        cluster = greenshard.Cluster(dsns, {"kept": greenshard.Sharded("id")})
        self.shard_of = lambda key: cluster.placement.shards_for(key, "int4", cluster.names)
        self.single = single
        self.dsns = dsns
        self.source = initialised(cluster) if declared else dsns

    def fill(self):
        for name, dsn in {**self.dsns, None: self.single}.items():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute("DELETE FROM kept")
                for key in IDS:
                    if name in (None, self.shard_of(key)):
                        cur.execute("INSERT INTO kept VALUES (%s, 0)", (key,))

    def rows(self, dsns=None):
        found = []
        for dsn in (dsns or self.dsns).values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
                cur.execute("SELECT id, a FROM kept")
                found += cur
        return sorted(found)

    def rows_of_one(self):
        return self.rows({None: self.single})

    def connect(self, **options):
        return contextlib.closing(greenshard.connect(self.source, **options))

    def connect_to_one(self):
        return contextlib.closing(psycopg2.connect(self.single))


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}
        for dsn in (*dsns.values(), second["s1"]):
            psql.run(dsn, SCHEMA)
        yield dsns, second["s1"]


@pytest.fixture(params=["declared", "union"])
def world(dsns, request):
    world = World(*dsns, declared=request.param == "declared")
    world.fill()
    return world


def run(conn, script):
    """What the program sees of each statement: its tag or its error, and how it then stands."""
    seen = []
    for each in script:
        cur = conn.cursor()
        try:
            if callable(each):
                each(conn)
                tag = None
            elif isinstance(each, tuple):
                cur.execute(*each)
                tag = cur.statusmessage
            else:
                cur.execute(each)
                tag = cur.statusmessage
        except psycopg2.Error as error:
            tag = error.pgcode
        seen.append((each, tag, conn.status, conn.get_transaction_status()))
    return seen


def autocommit(conn):
    conn.autocommit = True


def no_autocommit(conn):
    conn.autocommit = False


def commit(conn):
    conn.commit()


def serializable(conn):
    conn.isolation_level = "SERIALIZABLE"


def enter(conn):
    conn.__enter__()


def leave(conn):
    conn.__exit__(None, None, None)


def rollback(conn):
    conn.rollback()


def name_of(script):
    return "; ".join(each.__name__ if callable(each) else str(each) for each in script)


UPDATE = "UPDATE kept SET a = a + 1"
TO_8 = "UPDATE kept SET a = 8"
NEGATIVE = "UPDATE kept SET a = -1 WHERE id = 3"
ONE = "UPDATE kept SET a = a + 5 WHERE id = 3"
SCRIPTS = [
    [UPDATE, "COMMIT", TO_8, rollback],
    [UPDATE, "END", rollback, TO_8, rollback],
    [UPDATE, "ROLLBACK", TO_8, rollback],
    [UPDATE, "/* undo */ ABORT WORK; -- now", "SELECT id FROM kept", commit],
    [UPDATE, ("END -- %s", (1,)), TO_8, rollback],
    [UPDATE, "COMMIT AND CHAIN", TO_8, rollback],
    [UPDATE, "ROLLBACK AND CHAIN", TO_8, "COMMIT WORK"],
    ["COMMIT", TO_8, rollback],
    [NEGATIVE, "COMMIT", TO_8, rollback],
    [UPDATE, NEGATIVE, "COMMIT", rollback],
    [UPDATE, NEGATIVE, "COMMIT AND CHAIN", "ROLLBACK", commit],
    [NEGATIVE, "COMMIT AND CHAIN", TO_8, rollback],  # the other shards had none
    [serializable, NEGATIVE, "COMMIT", TO_8, rollback],
    [UPDATE, "SAVEPOINT s", TO_8, "ROLLBACK TO s", "COMMIT", commit],
    [autocommit, "BEGIN", UPDATE, "COMMIT", TO_8],
    [autocommit, "BEGIN", UPDATE, "ROLLBACK", "COMMIT"],
    [autocommit, "BEGIN", UPDATE, "COMMIT AND CHAIN", TO_8, "ROLLBACK"],
    # One shard has written, the others have read or nothing.
    [autocommit, "BEGIN", ONE, "COMMIT AND CHAIN", TO_8, "COMMIT"],
    [autocommit, "BEGIN ISOLATION LEVEL SERIALIZABLE", ONE, "END AND CHAIN", TO_8, "COMMIT"],
    [autocommit, "BEGIN", UPDATE, NEGATIVE, "COMMIT", UPDATE],
    [autocommit, "BEGIN", UPDATE, NEGATIVE, commit, "COMMIT", UPDATE],
    [autocommit, "COMMIT"],
    [autocommit, enter, UPDATE, "COMMIT", TO_8, leave, UPDATE],
    [autocommit, enter, UPDATE, "ROLLBACK AND CHAIN", TO_8, leave],
    [enter, UPDATE, NEGATIVE, "COMMIT", TO_8, leave, UPDATE],
    [serializable, "UPDATE kept SET a = 1 WHERE id = 1", "COMMIT", TO_8, rollback],
    [autocommit, "ROLLBACK AND CHAIN", "COMMIT AND CHAIN"],
    # SQL begins it everywhere, and psycopg2 once more on one shard: it is one transaction.
    [autocommit, "BEGIN", UPDATE, no_autocommit, ONE, rollback, ONE, commit],
    [autocommit, "BEGIN", UPDATE, no_autocommit, ONE, commit, TO_8, rollback],
    [
        autocommit,
        "BEGIN",
        NEGATIVE,
        no_autocommit,
        "SELECT id FROM kept WHERE id = 3",
        UPDATE,
        commit,
        TO_8,
        rollback,
    ],
    [autocommit, "BEGIN", NEGATIVE, no_autocommit, ONE, "COMMIT", TO_8, rollback],
    [autocommit, "BEGIN", UPDATE, no_autocommit, rollback, ONE, "ROLLBACK", rollback, TO_8, commit],
    [autocommit, "BEGIN", UPDATE, no_autocommit, ONE, "COMMIT", TO_8, rollback],
    [autocommit, "BEGIN", UPDATE, no_autocommit, "COMMIT AND CHAIN", ONE, rollback],
    [autocommit, "BEGIN", UPDATE, no_autocommit, ONE, "ROLLBACK AND CHAIN", TO_8, rollback],
    [autocommit, "BEGIN", UPDATE, enter, ONE, rollback, leave, UPDATE],
    [autocommit, "BEGIN", UPDATE, enter, ONE, leave, UPDATE],
]


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_endings_by_sql_are_those_of_one_server(world, script):
    with world.connect_to_one() as one:
        expected = run(one, script)
    with world.connect() as conn:
        assert run(conn, script) == expected
        assert conn.closed == 0
    assert world.rows() == world.rows_of_one()


BROKEN = "UPDATE kept SET a = 1 / (id - 3)"
BROKEN_ON_ONE = "UPDATE kept SET a = 1 / 0 WHERE id = 3"
#: Where one server says ROLLBACK, we have an error. All else is the same.
ROLLED_BACK = [
    [UPDATE, BROKEN, "COMMIT AND CHAIN", TO_8, rollback],
    [BROKEN_ON_ONE, "END AND CHAIN", TO_8, rollback],
    [BROKEN_ON_ONE, "COMMIT AND CHAIN", TO_8, "COMMIT", UPDATE, rollback],
    [autocommit, "BEGIN", BROKEN, "COMMIT AND CHAIN", TO_8, "ROLLBACK", UPDATE],
    [BROKEN_ON_ONE, "COMMIT", TO_8, rollback],
    [serializable, BROKEN_ON_ONE, "COMMIT", TO_8, rollback],
]


@pytest.mark.parametrize("script", ROLLED_BACK, ids=name_of)
def test_commit_of_a_failed_transaction_goes_on_as_with_one_server(world, script):
    with world.connect_to_one() as one:
        told = run(one, script)
    expected = [
        (text, "25P02" if tag == "ROLLBACK" != text else tag, *state) for text, tag, *state in told
    ]
    assert expected != told
    with world.connect() as conn:
        assert run(conn, script) == expected
    assert world.rows() == world.rows_of_one()


NOSUCH = "DELETE FROM nosuch"
SELEC = "SELEC 1"
FAILING = [
    [UPDATE, NOSUCH, UPDATE, SELEC, "SELECT 1", rollback],
    [UPDATE, SELEC, NOSUCH, "SELECT nosuch FROM kept", "ROLLBACK", commit],
    [UPDATE, "SELECT nosuch(id) FROM kept", TO_8, rollback, UPDATE, commit],
    [SELEC, UPDATE, rollback, UPDATE, commit],
    [NOSUCH, "SELECT 1", rollback],
    ["SELECT id FROM nosuch", "COMMIT", UPDATE],
    ["SELECT id FROM nosuch", commit, UPDATE],
    [UPDATE, "SAVEPOINT s", TO_8, NOSUCH, TO_8, "ROLLBACK TO s", "SELECT id FROM kept", commit],
    [UPDATE, "SAVEPOINT s", SELEC, "RELEASE s", "ROLLBACK TO s", UPDATE, "COMMIT"],
    [autocommit, SELEC, UPDATE, NOSUCH],
    [autocommit, "BEGIN", UPDATE, NOSUCH, UPDATE, "ROLLBACK", UPDATE],
    [UPDATE, "COMMIT", NOSUCH, UPDATE, rollback],
]
#: What only a planner rejects before it sends anything: of a union, what each shard says counts.
PLANNED = [
    [UPDATE, "SELECT 1 / (count(*) - 8) FROM kept", UPDATE, rollback],
    [UPDATE, "SELECT max(DISTINCT nosuch) FROM kept", UPDATE, rollback],
]


@pytest.mark.parametrize("script", FAILING, ids=name_of)
def test_statement_that_is_wrong_fails_the_transaction(world, script):
    with world.connect_to_one() as one:
        expected = run(one, script)
    with world.connect() as conn:
        assert run(conn, script) == expected
    assert world.rows() == world.rows_of_one()


@pytest.mark.parametrize("script", PLANNED, ids=name_of)
def test_error_that_no_shard_has_raised_fails_it_too(dsns, script):
    world = World(*dsns, declared=True)
    world.fill()
    test_statement_that_is_wrong_fails_the_transaction(world, script)


def test_fetch_that_fails_where_rows_are_gathered_fails_it_too(dsns):
    world = World(*dsns, declared=True)
    world.fill()
    gathered = "SELECT a.id FROM kept a JOIN kept b ON a.a = b.a ORDER BY a.id"
    seen = []
    with world.connect_to_one() as one, world.connect() as conn:
        for each in (one, conn):
            each.cursor().execute("SAVEPOINT s")
            named = each.cursor("named")
            named.itersize = 2
            named.execute(gathered)
            seen.append([named.fetchone()])
            each.cursor().execute("ROLLBACK TO s")
            with pytest.raises(psycopg2.errors.InvalidCursorName):
                named.fetchall()
            seen[-1].append(each.get_transaction_status())
    assert seen[0] == seen[1]


def fetch_that_fails(conn):
    named = conn.cursor("failing")
    named.execute("SELECT 1 / (id - 3) FROM kept")
    named.fetchall()


def many_that_fail(conn):
    conn.cursor().executemany("UPDATE kept SET a = %s / (id - 3)", [(1,), (2,)])


def go_back_by_other_words(conn):
    conn.cursor().execute(b"/* SAVEPOINT */ ROLLBACK\tWORK TO\n%s", (AsIs("s"),))


BACK = ["SAVEPOINT s", "ROLLBACK TO s", "SELECT id, a FROM kept", commit]
#: It fails on one shard, which the others do not know.
FAILING_ON_ONE = [
    [UPDATE, "SAVEPOINT s", TO_8, BROKEN, *BACK],
    [UPDATE, "SAVEPOINT s", TO_8, BROKEN, "RELEASE SAVEPOINT s", *BACK[1:]],
    ["SAVEPOINT s", TO_8, BROKEN, "SAVEPOINT t", "ROLLBACK TO t", "SAVEPOINT s", *BACK[1:]],
    [UPDATE, "SAVEPOINT s", TO_8, fetch_that_fails, *BACK],
    [UPDATE, "SAVEPOINT s", TO_8, many_that_fail, *BACK],
    [UPDATE, "SAVEPOINT s", TO_8, BROKEN, "RELEASE s; SAVEPOINT s", *BACK],
    [UPDATE, "SAVEPOINT s", TO_8, BROKEN, "SAVEPOINT s", go_back_by_other_words, *BACK[2:]],
    [UPDATE, "SAVEPOINT s", TO_8, BROKEN, "CREATE TABLE made (a int)", *BACK],
    [UPDATE, "SAVEPOINT s", BROKEN, "ROLLBACK TO s", TO_8, BROKEN, "SAVEPOINT s", *BACK[1:]],
    [autocommit, "BEGIN", UPDATE, "SAVEPOINT s", TO_8, BROKEN, *BACK[:3], "COMMIT"],
]
BAD = "UPDATE kept SET a = 1 / 0 WHERE id = 3"
#: Likewise; what goes to one shard only is planned.
FAILING_WHERE_ROUTED = [
    [UPDATE, "SAVEPOINT s", TO_8, BAD, *BACK],
    ["SAVEPOINT s", BAD, "RELEASE s", *BACK[1:]],
    [ONE, "SAVEPOINT s", TO_8, "INSERT INTO kept VALUES (3)", *BACK],
    [UPDATE, "SAVEPOINT s", f"{ONE}; {BAD}; SAVEPOINT s", *BACK],
    [UPDATE, "SAVEPOINT s", TO_8, BAD, "SAVEPOINT s; UPDATE kept SET a = 7", *BACK],
    [BAD, "SAVEPOINT s", "ROLLBACK TO s", rollback, UPDATE, commit],  # the others had none
]


@pytest.mark.parametrize("script", FAILING_ON_ONE, ids=name_of)
def test_shards_go_back_to_one_point_after_an_error_on_one_of_them(world, script):
    test_statement_that_is_wrong_fails_the_transaction(world, script)


@pytest.mark.parametrize("script", FAILING_WHERE_ROUTED, ids=name_of)
def test_shards_go_back_to_one_point_after_an_error_of_one_shard(dsns, script):
    world = World(*dsns, declared=True)
    world.fill()
    test_statement_that_is_wrong_fails_the_transaction(world, script)


def test_failed_transaction_takes_nothing_but_what_may_be_partial(world):
    """Of shards that are named, those go on that it has not failed on."""
    with world.connect() as conn:
        cur, partly = conn.cursor(), conn.cursor()
        partly.on_error = "partial"
        for text in (UPDATE, "SAVEPOINT s", TO_8):
            cur.execute(text)
        named = conn.cursor("rows")
        named.execute("SELECT id FROM kept")
        for _ in range(2):  # one by one: the shards that answer go on answering
            with pytest.warns(greenshard.PartialResultWarning):
                partly.execute("SELECT id, 1 / (id - 3) FROM kept")
            assert list(partly.failures) == [world.shard_of(3)]
        others = [shard for shard in conn.shards if shard not in partly.failures]
        with conn.on(others[0]):
            cur.execute("SELECT 1")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            named.fetchall()
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            partly.execute("SAVEPOINT s")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction), conn.on(others[0]):
            cur.execute("SELECT 1")
        cur.execute("ROLLBACK TO s")
        conn.commit()
    assert world.rows() == [(key, 1) for key in IDS]


@pytest.mark.parametrize("text", ["SAVEPOINT s", "RELEASE s"])
def test_savepoint_that_was_stopped_on_one_shard_ends_the_transaction(world, text, monkeypatch):
    """An older one has its name: back there, the shards would differ."""
    stopped = "s1"

    def calls(self, shards, calls, *rest, **options):
        if stopping:
            raw = self.parts.of(stopped)
            stop = partial(raw.execute, "SELECT pg_cancel_backend(pg_backend_pid())")
            calls = {**calls, stopped: stop}
        return run_of(self, shards, calls, *rest, **options)

    stopping, run_of = False, Execution.run
    monkeypatch.setattr(Execution, "run", calls)
    with world.connect() as conn:
        cur = conn.cursor()
        for each in (UPDATE, "SAVEPOINT s", TO_8, "SAVEPOINT s"):
            cur.execute(each)
        stopping = True
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cur.execute(text)
        stopping = False
        with pytest.raises(psycopg2.Error):
            cur.execute("ROLLBACK TO s")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            conn.commit()
    assert world.rows() == [(key, 0) for key in IDS]


def test_swallowed_error_keeps_what_was_written_from_being_committed(dsns):
    world = World(*dsns, declared=True)
    world.fill()
    for rejected in (NOSUCH, SELEC):
        with world.connect() as conn:
            cur = conn.cursor()
            cur.execute("UPDATE kept SET a = 1 WHERE id = 1")
            with contextlib.suppress(psycopg2.ProgrammingError):
                cur.execute(rejected)
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                conn.commit()
            cur.execute("UPDATE kept SET a = 0 WHERE id = 1")
            with pytest.raises(greenshard.NotSupportedError):  # ours: the transaction goes on
                cur.execute("COPY kept TO '/nowhere'")
            conn.commit()
    assert world.rows() == [(key, 0) for key in IDS]


def test_deferred_constraint_that_fails_on_one_shard_commits_nowhere(world):
    with world.connect() as conn:
        cur = conn.cursor()
        cur.execute(UPDATE)
        cur.execute(NEGATIVE)
        with pytest.raises(psycopg2.errors.UniqueViolation) as caught:
            cur.execute("COMMIT")
        assert caught.value.shard == world.shard_of(3)
        assert caught.value.committed == ()
        assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
    assert world.rows() == [(key, 0) for key in IDS]


@pytest.mark.parametrize("mode", ["transaction", "autocommit"])
@pytest.mark.parametrize("text", ["COMMIT", "END AND CHAIN"])
def test_failed_transaction_is_rolled_back_when_the_error_says_so(world, mode, text):
    with world.connect() as conn:
        cur = conn.cursor()
        if mode == "autocommit":
            conn.autocommit = True
            cur.execute("BEGIN")
        cur.execute(UPDATE)
        with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
            cur.execute("UPDATE kept SET a = 1 / 0 WHERE id = 1")
        assert "autocommit" not in str(caught.value)
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction, match="rolled back") as failed:
            cur.execute(text)
        assert failed.value.code == "GS501"
        chained = TRANSACTION_STATUS_INTRANS if "CHAIN" in text else TRANSACTION_STATUS_IDLE
        assert {p.transaction_status for p in conn._session.alive} == {chained}
        cur.execute("SELECT count(*) FROM kept")
        cur.execute("COMMIT")
    assert world.rows() == [(key, 0) for key in IDS]


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("mode", ["transaction", "autocommit"])
def test_lost_shard_is_told_before_anything_is_committed(world, mode, noticed):
    with world.connect() as conn, world.connect() as other:
        cur = conn.cursor()
        if mode == "autocommit":
            conn.autocommit = True
            cur.execute("BEGIN")
        cur.execute(UPDATE)
        pid = conn._session.physicals["s1"].raw.info.backend_pid
        with other.on("s1") as killer:
            killer.cursor().execute("SELECT pg_terminate_backend(%s)", (pid,))
        if noticed:
            with pytest.raises(psycopg2.OperationalError) as caught:
                cur.execute(UPDATE)
            assert "committed" not in str(caught.value)
        with pytest.raises(psycopg2.Error) as caught:
            cur.execute("COMMIT")
        assert not isinstance(caught.value, greenshard.PartialCommitError)
        assert getattr(caught.value, "code", None) == ("GS501" if noticed else None)
        conn.commit()  # there is nothing left of it
    assert world.rows() == [(key, 0) for key in IDS]


def test_listener_is_told_where_a_transaction_has_ended(dsns):
    events = []
    with World(*dsns, declared=True).connect(on_event=events.append) as conn:
        cur = conn.cursor()
        cur.execute("SELECT id FROM kept")
        cur.execute("COMMIT")
    assert (events[-1].sql, events[-1].strategy, events[-1].error) == ("COMMIT", "broadcast", None)
    assert list(events[-1].shards) == ["s0", "s1", "s2"]
    assert cur.statusmessage == "COMMIT"
    assert cur.query == b"COMMIT"
    assert list(cur.timings) == ["s0", "s1", "s2"]


@pytest.mark.parametrize(
    "text", ["SELECT id FROM kept WHERE id = 1", "UPDATE kept SET a = 8 WHERE id = 1"]
)
def test_listener_is_told_where_a_transaction_of_one_shard_has_ended(dsns, text):
    events = []
    with World(*dsns, declared=True).connect(on_event=events.append) as conn:
        cur = conn.cursor()
        cur.execute(text)
        (shard,) = events[-1].shards
        cur.execute("COMMIT")
    assert list(events[-1].shards) == [shard]
    assert list(cur.timings) == [shard]


def test_untouched_shards_begin_no_transaction_either(dsns):
    world = World(*dsns, declared=True)
    world.fill()
    with world.connect() as conn:
        cur = conn.cursor()
        cur.execute("UPDATE kept SET a = 1 WHERE id = 1")
        cur.execute("COMMIT")
        cur.execute(TO_8)
        assert conn.status == STATUS_BEGIN  # as psycopg2 believes
    assert world.rows() == [(key, 8) for key in IDS]


def test_pool_opens_shards_as_the_others_are(dsns):
    world = World(*dsns, declared=True)
    world.fill()
    with contextlib.closing(greenshard.Pool(world.source)) as pool, pool.connection() as conn:
        cur = conn.cursor()
        cur.execute("UPDATE kept SET a = 1 WHERE id = 1")
        cur.execute("COMMIT")
        cur.execute(TO_8)
        conn.rollback()
    assert world.rows() == [(key, 8) for key in IDS]


REFUSED = {
    "SELECT 1; COMMIT": "GS411",
    "SET work_mem = '1MB'; COMMIT": "GS411",
    "PREPARE TRANSACTION 'it'": "GS410",
    "COMMIT PREPARED 'it'": "GS410",
}


def test_what_cannot_be_ended_alike_is_refused_and_nothing_ends(world):
    with world.connect() as conn:
        cur = conn.cursor()
        cur.execute(UPDATE)
        for text, code in REFUSED.items():
            if code == "GS411" and world.declared:
                continue  # see test_several_statements
            with pytest.raises(greenshard.NotSupportedError) as caught:
                cur.execute(text)
            assert caught.value.code == code
        conn.rollback()
    assert world.rows() == [(key, 0) for key in IDS]


def test_shards_that_are_named_end_alone_unless_the_transaction_has_failed(world):
    with world.connect() as conn:
        cur = conn.cursor()
        cur.execute(UPDATE)
        with conn.on(("s0", "s1")):
            cur.execute("COMMIT")
        conn.rollback()
        rows = dict(world.rows())
        assert {world.shard_of(key) for key, a in rows.items() if a} == {"s0", "s1"}
        cur.execute(TO_8)
        with pytest.raises(psycopg2.errors.DivisionByZero), conn.on("s2"):
            cur.execute("SELECT 1 / 0")
        with pytest.raises(greenshard.InternalError) as caught, conn.on("s0"):
            cur.execute("COMMIT")
        assert caught.value.code == "GS501"
    assert dict(world.rows()) == rows


def test_failed_transaction_that_is_rolled_back_at_a_refusal_leaves_none_to_begin(dsns):
    world = World(*dsns, declared=False)
    world.fill()
    with world.connect() as conn:
        cur = conn.cursor()
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cur.execute(BROKEN_ON_ONE)
        with pytest.raises(greenshard.InternalError, match="rolled back"):
            cur.execute("SELECT 1; COMMIT")
        cur.execute(TO_8)
        conn.rollback()
    assert world.rows() == [(key, 8) for key in IDS]


@pytest.mark.parametrize("end", ["commit", "roll_back"])
def test_connection_ends_what_psycopg2_does_not_know_of(dsns, end):
    with World(*dsns, declared=True).connect() as conn:
        cur = conn.cursor()
        for switch in (no_autocommit, enter):
            conn.autocommit = True
            cur.execute("BEGIN")
            switch(conn)
            for physical in conn._session.alive:
                getattr(physical, end)()
                assert (physical.idle, physical.in_transaction) == (True, False)
                assert physical.raw.autocommit is conn.autocommit


def test_kill_that_arrives_before_anything_is_sent_commits_nothing(world, monkeypatch):
    class Killed(BaseException):
        pass

    def arrive(*_, **__):
        raise Killed

    with world.connect() as conn:
        cur = conn.cursor()
        conn.autocommit = True
        cur.execute("BEGIN")
        cur.execute(UPDATE)
        enter(conn)
        with monkeypatch.context() as patch:
            patch.setattr(endings, "end_by_sql", arrive)
            with pytest.raises(Killed):
                cur.execute("COMMIT")
        assert {p.transaction_status for p in conn._session.alive} == {TRANSACTION_STATUS_INTRANS}
        cur.execute("ROLLBACK")
    assert world.rows() == [(key, 0) for key in IDS]


def test_failed_transaction_that_psycopg2_does_not_know_of_is_rolled_back(world):
    with world.connect() as conn:
        cur = conn.cursor()
        for end in ("ROLLBACK", "COMMIT"):
            conn.autocommit = True
            cur.execute("BEGIN")
            cur.execute(UPDATE)
            with pytest.raises(psycopg2.errors.DivisionByZero):
                cur.execute(BROKEN_ON_ONE)
            conn.autocommit = False
            with contextlib.suppress(psycopg2.errors.InFailedSqlTransaction):
                cur.execute(end)
            assert {p.transaction_status for p in conn._session.alive} == {TRANSACTION_STATUS_IDLE}
            assert conn.closed == 0
            conn.rollback()
    assert world.rows() == [(key, 0) for key in IDS]
