"""Answers that stay in the server that made them end as PostgreSQL's own cursors do."""

from __future__ import annotations

import contextlib

import gevent
import psycopg2
import psycopg2.extras
import pytest

import greenshard
from greenshard.executor.strategies import table_rows as reading
from greenshard.links import gatherer
from tests.postgres.one_database.conftest import SMALL_BATCHES

COMBINED = "SELECT id % 50, count(*), avg(customer) FROM orders GROUP BY 1 HAVING count(*) < 9"
GATHERED = "SELECT a.id, b.note FROM orders a JOIN orders b ON a.id = b.id + 1 ORDER BY 1"
DISTINCT = "SELECT DISTINCT id % 50, note FROM orders"
STATEMENTS = {"combine": COMBINED, "gather": GATHERED, "distinct": DISTINCT}
every = pytest.mark.parametrize("strategy", STATEMENTS)
IDLE = 0


def opened(conn, strategy, name="rows", itersize=3, **options):
    statement = STATEMENTS[strategy]
    assert "strategy: route" not in conn.explain(statement)
    cur = conn.cursor(name, **options)
    cur.itersize = itersize
    cur.execute(statement)
    return cur


def gatherers(conn):
    """The connections that gather, and whether each has a transaction."""
    there = [physical for physical in conn._session.beside.values() if physical.alive]
    return [physical.transaction_status != IDLE for physical in there]


def is_clean(conn):
    """Whether nothing of a named cursor is left."""
    return not conn._statements.portals.open and not any(gatherers(conn))


@every
def test_rows_come_page_by_page(conn, single, strategy):
    cur = opened(conn, strategy)
    assert (cur.description, cur.rowcount) == (None, -1)
    rows = [cur.fetchone(), *cur.fetchmany(5)]
    assert cur.description is not None
    assert cur.rownumber == 6
    assert gatherers(conn) == [True]
    rows += [next(cur), *cur.fetchall()]
    assert cur.fetchone() is None
    assert is_clean(conn) is False  # the named cursor is open still
    assert gatherers(conn) == [False]
    with single.cursor() as theirs:
        theirs.execute(STATEMENTS[strategy])
        assert sorted(rows, key=repr) == sorted(theirs.fetchall(), key=repr)
    cur.close()
    assert is_clean(conn)


@every
@pytest.mark.parametrize("end", ["commit", "rollback", "sql commit", "sql rollback"])
def test_they_end_with_the_transaction(conn, strategy, end):
    cur = opened(conn, strategy)
    small = conn.cursor("small")
    small.execute("SELECT count(*) FROM orders")
    cur.fetchone()
    if end.startswith("sql"):
        conn.cursor().execute(end.removeprefix("sql "))
    else:
        getattr(conn, end)()
    assert is_clean(conn)
    for each in (cur, small):
        with pytest.raises(psycopg2.ProgrammingError, match="isn't valid anymore"):
            each.fetchone()
    cur.close()


@every
def test_with_hold_they_outlive_a_commit_and_not_a_rollback(conn, strategy):
    held = opened(conn, strategy, withhold=True)
    first = held.fetchone()
    conn.commit()
    conn.rollback()
    rest = held.fetchall()
    assert first not in rest
    assert len(rest) > 40
    assert conn.get_transaction_status() == IDLE
    held.close()
    assert is_clean(conn)
    lost = opened(conn, strategy, withhold=True)
    conn.rollback()
    assert is_clean(conn)
    with pytest.raises(psycopg2.ProgrammingError):
        lost.fetchall()


@every
def test_autocommit_allows_those_with_hold_only(conn, strategy):
    conn.autocommit = True
    with pytest.raises(psycopg2.ProgrammingError, match="outside of transactions"):
        opened(conn, strategy)
    held = opened(conn, strategy, withhold=True)
    assert len(held.fetchall()) > 40
    held.close()
    assert is_clean(conn)
    for name in conn.shards:
        with conn.on(name), conn.cursor() as cur:
            cur.execute("SELECT count(*) FROM pg_cursors")
            assert cur.fetchone() == (0,)


@every
def test_closing_with_rows_left_ends_everything(conn, plain, strategy):
    with opened(conn, strategy) as cur:
        cur.fetchone()
    assert is_clean(conn)
    for connection in plain.values():
        cur = connection.cursor()
        cur.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")
        assert cur.fetchone() == (0,)


@every
def test_it_is_executed_once(conn, strategy):
    cur = opened(conn, strategy)
    with pytest.raises(psycopg2.ProgrammingError, match="more than once"):
        cur.execute(STATEMENTS[strategy])


@every
def test_several_are_open_at_once(conn, strategy):
    cursors = [opened(conn, strategy, name) for name in ("first", "second", "third")]
    rows = [[next(cur) for cur in cursors] for _ in range(30)]
    assert all(len(set(map(repr, row))) == 1 for row in rows)
    assert gatherers(conn) == [True] * 3
    plain = conn.cursor()
    plain.execute(GATHERED)
    assert len(plain.fetchall()) == 59
    for cur in cursors:
        cur.close()
    assert gatherers(conn) == [False]  # of the connections, one is kept


@every
@pytest.mark.parametrize(
    "factory", [psycopg2.extras.DictCursor, psycopg2.extras.RealDictCursor,
                psycopg2.extras.NamedTupleCursor],
)  # fmt: skip
def test_factories_make_the_rows(conn, single, strategy, factory):
    rows = []
    for connection in (conn, single):
        cur = opened(conn, strategy, cursor_factory=factory) if connection is conn else None
        if cur is None:
            cur = connection.cursor("rows", cursor_factory=factory)
            cur.execute(STATEMENTS[strategy])
        rows.append(sorted(map(repr, cur)))
    assert rows[0] == rows[1]


@every
def test_they_cannot_be_scrolled(conn, strategy):
    cur = opened(conn, strategy)
    with pytest.raises(greenshard.NotSupportedError):
        cur.scroll(1)


@every
def test_in_a_failed_transaction_nothing_can_be_fetched(conn, strategy):
    cur = opened(conn, strategy)
    cur.fetchmany(3)
    with pytest.raises(psycopg2.errors.DivisionByZero):
        conn.cursor().execute("SELECT 1 / 0 FROM orders")
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        cur.fetchall()
    conn.rollback()
    assert is_clean(conn)


SLOW = {
    "combine": "SELECT id % 50, avg(id), pg_sleep(0.2) FROM orders GROUP BY 1",
    "gather": "SELECT a.id, pg_sleep(0.2) FROM orders a JOIN orders b ON a.id = b.id + 1",
}  # fmt: skip


@pytest.mark.parametrize("strategy", SLOW)
@pytest.mark.parametrize("way", ["timeout", "kill"])
def test_a_fetch_that_is_cut_short_leaves_nothing_running(conn, plain, strategy, way):
    cur = conn.cursor("rows")
    cur.itersize = 1
    statement = SLOW[strategy]
    cur.execute(statement)
    cur.itersize = 50
    cur.fetchone()
    if way == "timeout":
        cur.timeout = 0.5
        with pytest.raises(greenshard.QueryTimeout):
            cur.fetchall()
    else:
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.5):
            cur.fetchall()
    assert not any(gatherers(conn))
    with pytest.raises(psycopg2.Error):
        cur.fetchone()
    for connection in plain.values():
        asked = connection.cursor()
        asked.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                      " AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()")  # fmt: skip
        assert asked.fetchone() == (0,)
    conn.rollback()
    again = conn.cursor()
    again.execute("SELECT count(*) FROM orders")
    assert again.fetchone() == (60,)
    assert is_clean(conn)


@every
def test_its_server_dies_between_two_fetches(conn, plain, strategy):
    cur = opened(conn, strategy)
    cur.fetchone()
    (gatherer,) = conn._session.beside.values()
    plain["s0"].cursor().execute(
        "SELECT pg_terminate_backend(%s)", (gatherer.raw.info.backend_pid,)
    )
    with pytest.raises(psycopg2.OperationalError) as caught:
        cur.fetchall()
    assert caught.value.shard == "s0"
    conn.rollback()
    assert is_clean(conn)
    assert len(list(opened(conn, strategy))) > 40


def test_limit_of_rows_counts_partial_rows_and_those_on_their_way(conn):
    conn.gather_limit = 49
    for name in ("named", None):
        for statement in (COMBINED, DISTINCT, GATHERED):
            cur = conn.cursor(name)
            cur.itersize = 7
            with pytest.raises(greenshard.NotSupportedError, match="more than") as caught:
                cur.execute(statement)
            assert caught.value.code == "GS405"
    assert is_clean(conn)
    plain = conn.cursor()
    plain.execute("SELECT count(*) FROM pg_cursors")  # the transaction is as it was
    assert plain.fetchone() == (0,)


@pytest.mark.parametrize("statement", [COMBINED, DISTINCT, GATHERED])
def test_limit_of_bytes(conn, statement):
    conn.max_held_bytes = 200
    for name in ("named", None):
        cur = conn.cursor(name)
        with pytest.raises(greenshard.NotSupportedError, match="max_held_bytes is 200") as caught:
            cur.execute(statement)
        assert caught.value.code == "GS414"
    assert is_clean(conn)
    conn.max_held_bytes = 1_000_000
    cur = conn.cursor()
    cur.execute(statement)
    assert len(cur.fetchall()) > 40


def test_ordinary_answers_of_shards_are_not_counted(conn):
    conn.max_held_bytes = 0
    cur = conn.cursor()
    cur.execute("SELECT * FROM orders")
    assert len(cur.fetchall()) == 60


@every
def test_partial_answers_are_given_by_named_cursors_too(shop, strategy):
    with contextlib.closing(greenshard.connect(shop.cluster, on_error="partial")) as conn:
        conn.explain(STATEMENTS[strategy])
        conn._session.physicals["s2"].discard()
        cur = conn.cursor("rows")
        cur.itersize = 3
        with pytest.warns(greenshard.PartialResultWarning):
            cur.execute(STATEMENTS[strategy])
        assert list(cur.failures) == ["s2"]
        assert 0 < len(cur.fetchall()) < 59


def test_rows_of_a_type_that_the_transaction_made(conn):
    cur = conn.cursor()
    cur.execute("CREATE TYPE fresh AS ENUM ('x', 'y')")
    named = conn.cursor("rows")
    named.itersize = 2
    named.execute(
        "SELECT (CASE WHEN id % 2 = 0 THEN 'x' ELSE 'y' END)::fresh, count(*), avg(id)"
        " FROM orders GROUP BY 1, id"
    )
    assert len(named.fetchall()) == 60
    conn.rollback()


@pytest.fixture
def pool(shop):
    pool = greenshard.Pool(shop.cluster, max_size=3, max_gathers=1, timeout=5.0)
    yield pool
    pool.close(timeout=0)


def stays_clean(pool, plain):
    """Whether no session of the pool is in a transaction, and none of its gatherers is taken."""
    with gevent.Timeout(5):
        while pool.stats().gatherers.taken:
            gevent.sleep(0.01)
    for connection in plain.values():
        asked = connection.cursor()
        asked.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                      " AND pid <> pg_backend_pid() AND state <> 'idle'"
                          " AND application_name <> 'greenshard recovery'")  # fmt: skip
        assert asked.fetchone() == (0,)


@every
def test_a_pool_gets_back_what_an_open_named_cursor_holds(pool, plain, strategy):
    for _ in range(3):  # there is only one
        with pool.connection() as conn:
            opened(conn, strategy).fetchone()
            assert pool.stats().gatherers.taken == 1
        stays_clean(pool, plain)


def test_who_has_the_only_connection_that_gathers_does_not_wait_for_it(pool, plain):
    with pool.connection() as conn:
        cur = opened(conn, "gather")
        with pytest.raises(greenshard.PoolTimeout, match="named cursor") as caught, \
                gevent.Timeout(2):  # fmt: skip
            conn.cursor().execute(GATHERED)
        assert "max_gathers" in caught.value.hint
        assert len(cur.fetchall()) == 59
        conn.cursor().execute(GATHERED)
    stays_clean(pool, plain)


def test_a_dropped_connection_gives_back_what_its_named_cursor_holds(pool, plain):
    conn = pool.getconn()
    cur = opened(conn, "combine")
    cur.fetchone()
    del conn, cur
    with pool.connection() as conn:
        opened(conn, "combine").fetchone()
    stays_clean(pool, plain)


def test_closing_the_pool_ends_open_named_cursors(shop, plain):
    pool = greenshard.Pool(shop.cluster, max_size=2)
    conn = pool.getconn()
    cur = opened(conn, "combine")
    with gevent.Timeout(3):
        pool.close(timeout=0)
    with pytest.raises(psycopg2.Error):
        cur.fetchone()
    with gevent.Timeout(5):
        for connection in plain.values():
            asked = connection.cursor()
            while True:
                asked.execute("SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                              " AND datname = current_database()")  # fmt: skip
                if asked.fetchone() == (0,):
                    break
                gevent.sleep(0.02)


BATCHED = {
    "ordinary": lambda conn: conn.cursor(),
    "named": lambda conn: conn.cursor("rows"),
}


@pytest.fixture
def small_batches(monkeypatch):
    for name, number in SMALL_BATCHES.items():
        monkeypatch.setattr(reading, name, number)


@pytest.fixture
def held(monkeypatch):
    """How many characters of gathered rows were held at a time."""
    seen = []
    check = reading.check_held
    monkeypatch.setattr(reading, "check_held", lambda e, size: (seen.append(size), check(e, size)))
    return seen


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("kind", BATCHED)
def test_gathered_rows_travel_in_batches_and_few_are_held(conn, held, kind):
    statement = "SELECT count(*), max(b.id) FROM orders a JOIN orders b ON a.id = b.id + 1"
    cur = BATCHED[kind](conn)
    cur.execute(statement)
    assert cur.fetchone() == (59, 58)
    cur.close()
    assert len(held) > 3
    assert sum(timing.rows for timing in cur.timings.values()) == 60
    assert max(held) < sum(held) / 2
    assert is_clean(conn)
    plain = conn.cursor()
    for name in conn.shards:
        with conn.on(name):
            plain.execute("SELECT count(*) FROM pg_cursors")
            assert plain.fetchone() == (0,)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("kind", BATCHED)
@pytest.mark.parametrize("autocommit", [False, True])
def test_batches_that_are_cut_short_leave_no_cursor(conn, monkeypatch, kind, autocommit):
    if autocommit and kind == "named":
        pytest.skip("needs a transaction")
    conn.autocommit = autocommit
    conn.gather_limit = 100
    conn.cursor().execute(GATHERED)
    steps = []

    def cut(e, size):
        steps.append(size)
        if len(steps) == 3:
            raise gevent.Timeout

    monkeypatch.setattr(reading, "check_held", cut)
    with pytest.raises(gevent.Timeout):
        BATCHED[kind](conn).execute(GATHERED)
    monkeypatch.undo()
    assert is_clean(conn)
    plain = conn.cursor()
    for name in conn.shards:
        with conn.on(name):
            plain.execute("SELECT count(*) FROM pg_cursors")
            assert plain.fetchone() == (0,)
    conn.gather_limit = 40
    if not autocommit:
        conn.rollback()
    with pytest.raises(greenshard.NotSupportedError, match="more than 40 rows"):
        plain.execute(GATHERED)
    plain.execute("SELECT count(*) FROM orders")
    assert plain.fetchone() == (60,)


WIDE = "SELECT id, body, row_number() OVER (ORDER BY id) FROM blobs"


@pytest.mark.parametrize("autocommit", [False, True])
def test_wide_rows_for_a_named_cursor_are_held_in_small_parts_from_the_first_on(
    conn, held, autocommit
):
    conn.autocommit = autocommit
    cur = conn.cursor()
    # The server compresses them: what counts is how long they are when they travel.
    insert = "INSERT INTO blobs (id, body) VALUES (%s, repeat(%s, 20000))"
    cur.executemany(insert, [(n, f"é {n:7}") for n in range(120)])
    named = conn.cursor("wide", withhold=autocommit)
    named.itersize = 10
    try:
        named.execute(WIDE)
        assert sum(held) > 20_000_000
        assert max(held) < 8_000_000
        assert WIDE not in conn._statements.database.read_in_batches
        rows = named.fetchall()
        assert [(n, body[:9], number) for n, body, number in rows] == [
            (n, f"é {n:7}", n + 1) for n in range(120)
        ]
        named.close()
        cur.execute("DELETE FROM blobs WHERE id > 3")
        named = conn.cursor("few", withhold=autocommit)
        held.clear()
        named.execute(WIDE)
        assert len(named.fetchall()) == 4
        named.close()
    finally:
        cur.execute("DELETE FROM blobs")
    assert is_clean(conn)
    for shard in conn.shards:
        with conn.on(shard):
            cur.execute("SELECT count(*) FROM pg_cursors")
            assert cur.fetchone() == (0,)


def test_few_rows_come_at_once_and_many_in_batches_from_then_on(conn, monkeypatch):
    monkeypatch.setattr(reading, "ONCE_ROWS", 10)
    cur = conn.cursor()
    cur.execute(GATHERED)
    rows = cur.fetchall()
    assert GATHERED in conn._statements.database.read_in_batches
    cur.execute(GATHERED)
    assert cur.fetchall() == rows
    monkeypatch.undo()
    cur.execute(GATHERED)  # so few that once is enough
    assert GATHERED not in conn._statements.database.read_in_batches


SMALL = {
    "combine": "SELECT avg(id) FROM orders HAVING count(*) > 1",
    "gather": "SELECT id, row_number() OVER (ORDER BY id) FROM orders WHERE id < 3",
}


def asked(connection, ask, *args):
    """What psycopg2's error is, or that there is none."""
    try:
        ask(*args)
    except psycopg2.Error as error:
        return error.pgcode, isinstance(error, psycopg2.errors.lookup(error.pgcode or "XX000"))
    return None


def small_cursors(connection, names, **options):
    found = []
    for name, statement in zip(names, SMALL.values(), strict=True):
        found.append(connection.cursor(name, **options))
        found[-1].execute(statement)
    return found


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("way", ["text", "comment", "scope"])
def test_rolling_back_to_a_savepoint_ends_those_that_came_after_it(conn, single, hold, way):
    outcomes = []
    for connection in (conn, single):
        cur = connection.cursor()
        before = [*small_cursors(connection, ("a", "b"), withhold=hold)]
        large = connection.cursor("c", withhold=hold)
        large.itersize = 3
        large.execute(GATHERED)
        first = large.fetchone()
        cur.execute("SAVEPOINT s")
        after = [*small_cursors(connection, ("d", "e"), withhold=hold)]
        after.append(connection.cursor("f", withhold=hold))
        after[-1].itersize = 3
        after[-1].execute(GATHERED)
        assert after[-1].fetchone() == first
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cur.execute("SELECT 1 / 0 FROM orders")
        if way == "scope" and connection is conn:
            for shard in conn.shards:
                with conn.on(shard):
                    cur.execute("ROLLBACK TO s")
        else:
            cur.execute("rollback to s" if way == "text" else "/* back */ ROLLBACK TO s")
        outcomes.append([asked(connection, each.fetchone) for each in (*before, large)])
        for each in after:
            outcomes[-1].append(asked(connection, each.fetchone))
            if connection is not single or outcomes[-1][-1]:
                connection.cursor().execute("ROLLBACK TO s")
        outcomes[-1] += [len(large.fetchall()) > 50, len(before[0].fetchall())]
        again = connection.cursor("f")  # its name is free
        again.execute(GATHERED)
        assert again.fetchone() == first
        connection.rollback()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][:6] == [None] * 3 + [("34000", True)] * 3
    assert is_clean(conn)


def test_markers_are_declared_only_if_there_may_be_a_savepoint_and_are_closed(conn):
    def on_servers():
        found = conn.cursor()
        count = 0
        for shard in conn.shards:
            with conn.on(shard):
                found.execute("SELECT count(*) FROM pg_cursors")
                count += found.fetchone()[0]
        return count

    small_cursors(conn, ("a", "b"))
    assert on_servers() == 0
    conn.cursor().execute("SAVEPOINT s")
    cursors = small_cursors(conn, ("c", "d"))
    assert on_servers() == 2
    for cur in cursors:
        cur.close()
    assert on_servers() == 0
    conn.commit()
    small_cursors(conn, ("a", "b"))
    assert on_servers() == 0


def test_with_hold_they_are_lost_with_a_rollback_however_it_is_written(conn):
    cur = conn.cursor()
    for end in ("/* no */ ROLLBACK", "-- no\nabort"):
        held = opened(conn, "gather", withhold=True)
        cur.execute(end)
        with pytest.raises(psycopg2.ProgrammingError, match="isn't valid"):
            held.fetchone()
        assert is_clean(conn)
        conn.rollback()


NAMED = {**SMALL, "large": GATHERED, "streamed": "SELECT id FROM orders ORDER BY id"}


@pytest.mark.parametrize("first", NAMED)
@pytest.mark.parametrize("second", NAMED)
def test_a_second_one_of_the_same_name_is_refused_until_the_first_is_closed(conn, first, second):
    one = conn.cursor("same")
    one.execute(NAMED[first])
    two = conn.cursor("same")
    with pytest.raises(psycopg2.errors.DuplicateCursor):
        two.execute(NAMED[second])
    conn.rollback()
    one = conn.cursor("same")
    one.execute(NAMED[first])
    assert one.fetchone() is not None
    one.close()
    two = conn.cursor("same")
    two.execute(NAMED[second])
    assert two.fetchone() is not None
    conn.rollback()


def test_a_connection_that_could_not_be_made_one_that_gathers_is_not_kept(conn, monkeypatch):
    monkeypatch.setattr(gatherer, "_TEMP_BUFFERS", "SELECT 1 / 0;")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        conn.cursor().execute(GATHERED)
    assert conn._session.beside == {}
    monkeypatch.undo()
    conn.rollback()
    assert len(list(opened(conn, "gather"))) == 59


def _end_by_sql(conn):
    conn.cursor().execute("COMMIT")


#: psycopg2 does nothing for the encoding that a connection has.
OTHER = {"UTF8": "LATIN1", "LATIN1": "UTF8"}
ENDS = {
    "commit": greenshard.Connection.commit,
    "rollback": greenshard.Connection.rollback,
    "sql": _end_by_sql,
    "reset": greenshard.Connection.reset,
    "isolation": lambda conn: conn.set_isolation_level(2),
    "encoding": lambda conn: conn.set_client_encoding(OTHER[conn.encoding]),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_held_for_a_transaction_is_forgotten_however_it_ends(conn, end):
    transaction = conn._statements.transaction
    cur = conn.cursor()
    cur.execute("SAVEPOINT s")
    small_cursors(conn, ("a", "b"))
    assert (transaction.wrote, transaction.savepoints, transaction.is_open) == (True, True, True)
    end(conn)
    assert (transaction.wrote, transaction.savepoints, transaction.is_open) == (False, False, False)
    assert is_clean(conn)
    conn.rollback()  # of psycopg2's, which does not know of SQL
    for statement in ("SAVEPOINT s", "UPDATE orders SET total = total WHERE id = 1"):
        cur.execute(statement)  # and no named cursor
        assert transaction.is_noted
        end(conn)
        assert not transaction.is_noted
        conn.rollback()
    small_cursors(conn, ("c", "d"))
    for shard in conn.shards:  # no markers any more
        with conn.on(shard):
            cur.execute("SELECT count(*) FROM pg_cursors")
            assert cur.fetchone() == (0,)


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("first", NAMED)
def test_one_that_outlived_its_transaction_blocks_its_name_until_it_is_closed(
    conn, single, first, autocommit
):
    outcomes = []
    for connection in (conn, single):
        connection.autocommit = autocommit
        one = connection.cursor("same", withhold=True)
        one.execute(NAMED[first])
        if not autocommit:
            connection.commit()
        refused = []
        for statement in NAMED.values():
            two = connection.cursor("same", withhold=True)
            refused.append(asked(connection, two.execute, statement))
            connection.rollback()
        outcomes.append([refused, len(one.fetchall())])
        # To be at the end is not to be closed.
        two = connection.cursor("same", withhold=True)
        outcomes[-1].append(asked(connection, two.execute, NAMED["large"]))
        connection.rollback()
        one.close()
        two = connection.cursor("same", withhold=True)
        outcomes[-1].append(asked(connection, two.execute, NAMED["large"]))
        two.close()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == [("42P03", True)] * len(NAMED)
    assert outcomes[0][2:] == [("42P03", True), None]
    assert is_clean(conn)


def test_names_are_known_no_longer_than_the_servers_may_have_cursors_of_them(conn):
    portals, cur = conn._statements.portals, conn.cursor()
    for number, autocommit in enumerate([False, True, True]):
        conn.autocommit = autocommit
        one = conn.cursor(f"name {number}", withhold=True)
        one.execute(NAMED["streamed"])
        assert [*portals.declared, *portals.outlived] == [f"name {number}"]
        if not autocommit:
            conn.commit()
        one.close()
        assert [*portals.declared, *portals.outlived] == []
    lost = conn.cursor("lost", withhold=True)
    lost.execute(NAMED["streamed"])
    for shard in conn.shards:
        with conn.on(shard):
            cur.execute("CLOSE lost")
    again = conn.cursor("lost", withhold=True)
    again.execute(NAMED["large"])
    assert [*portals.declared, *portals.outlived] == []
    again.close()
    conn.autocommit = False
    for end in (conn.commit, conn.rollback):
        conn.cursor("plain").execute(NAMED["streamed"])
        assert [*portals.declared] == ["plain"]
        end()
        assert [*portals.declared, *portals.outlived] == []
