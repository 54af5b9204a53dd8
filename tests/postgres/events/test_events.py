from __future__ import annotations

import contextlib
import gc
import logging
import time
import weakref

import gevent
import psycopg2
import pytest

import greenshard

EVERY = ["s0", "s1", "s2"]
SLOW = "SELECT pg_sleep(60), id FROM orders"


def rows_of(event):
    return {shard: run.rows for shard, run in event.shards.items()}


def check_times(event, began):
    """Each shard's time is within the statement's, and that within the test's."""
    assert began - 0.01 <= event.started
    assert event.started + event.duration_s <= time.time() + 0.01
    for run in event.shards.values():
        assert 0 <= run.started_s <= event.duration_s
        assert 0 < run.duration_s <= event.duration_s


@pytest.mark.parametrize(
    ("strategy", "sql", "tables", "rows", "of_shards"),
    [
        ("reference", "SELECT name FROM nation", ("public.nation",), 1, {"s0": 1}),
        ("concatenate", "SELECT id FROM orders WHERE id < 0", ("public.orders",), 0,
         {"s0": 0, "s1": 0, "s2": 0}),
        ("merge", "SELECT id FROM orders ORDER BY id LIMIT 2", ("public.orders",), 2,
         {"s0": 2, "s1": 2, "s2": 2}),
        ("combine", "SELECT count(*) FROM orders", ("public.orders",), 1,
         {"s0": 1, "s1": 1, "s2": 1}),
        ("combine", "SELECT avg(total) FROM orders", ("public.orders",), 1,
         {"s0": 1, "s1": 1, "s2": 1}),
    ],
)  # fmt: skip
def test_statement_is_told(conn, heard, strategy, sql, tables, rows, of_shards):
    began = time.time()
    conn.cursor().execute(sql)
    event = heard.one()
    check_times(event, began)
    assert (event.strategy, event.tables, event.error) == (strategy, tables, None)
    assert (event.rows, rows_of(event)) == (rows, of_shards)
    assert event.parameter_sets is None


def test_gathered_rows_are_those_of_the_shards(conn, heard):
    began = time.time()
    conn.cursor().execute("SELECT o.id FROM orders o JOIN items i ON o.id = i.order_id + i.n")
    event = heard.one()
    check_times(event, began)
    assert event.strategy == "gather"
    assert event.rows == 29
    assert list(event.shards) == EVERY
    assert sum(rows_of(event).values()) == 60


def test_routed_statement_tells_its_one_shard_and_where_that_is(conn, heard, dsns):
    cur = conn.cursor()
    cur.execute("SELECT * FROM orders WHERE id = %s", (7,))
    event = heard.one()
    ((shard, run),) = event.shards.items()
    assert event.strategy == "route"
    assert run.rows == event.rows == 1
    parameters = psycopg2.extensions.parse_dsn(dsns[shard])
    assert run.server.database == parameters["dbname"]
    assert run.server.address == parameters["host"]


def test_union_is_told(union, heard):
    union.cursor().execute("SELECT 1")
    event = heard.one()
    assert (event.strategy, event.tables) == ("union", ())
    assert (event.rows, rows_of(event)) == (3, {"s0": 1, "s1": 1, "s2": 1})


def test_chosen_shards_are_told(conn, heard):
    with conn.on("s1"):
        conn.cursor().execute("SELECT count(*) FROM orders")
    assert list(heard.one().shards) == ["s1"]


def test_events_agree_with_what_the_cursor_tells(conn, heard):
    cur = conn.cursor()
    cur.execute("SELECT * FROM orders")
    event = heard.one()
    assert {s: run.duration_s for s, run in event.shards.items()} == {
        s: timing.first_result_s for s, timing in cur.timings.items()
    }
    assert event.rows == cur.rowcount


@pytest.mark.parametrize("connection", ["conn", "union"])
def test_executemany_is_one_event(request, heard, connection):
    cur = request.getfixturevalue(connection).cursor()
    cur.executemany("UPDATE items SET n = n WHERE order_id = %s", [(n,) for n in range(10)])
    event = heard.one()
    assert event.parameter_sets == 10
    assert event.sql == "UPDATE items SET n = n WHERE order_id = %s"
    assert list(event.shards) == EVERY


def test_executemany_of_what_cannot_be_split_is_one_event_too(conn, heard):
    cur = conn.cursor()
    cur.executemany("UPDATE items SET n = n WHERE n = %s", [(1,), (2,)])
    event = heard.one()
    assert (event.parameter_sets, event.rows) == (2, 30)
    assert list(event.shards) == EVERY


@pytest.mark.parametrize("connection", ["conn", "union"])
def test_callproc_is_told(request, heard, connection):
    request.getfixturevalue(connection).cursor().callproc("concat", ["s3cret"])
    event = heard.one()
    assert event.sql.startswith("SELECT * FROM concat(")
    assert "s3cret" not in event.sql


@pytest.mark.parametrize("connection", ["conn", "union"])
def test_no_value_is_told(request, heard, connection):
    cur = request.getfixturevalue(connection).cursor()
    cur.execute("SELECT %s, 's3cret', 4711 -- s3cret", ("parameter-s3cret",))
    assert "s3cret" not in repr(heard)
    assert "4711" not in repr(heard)


def test_password_is_not_told(cluster, heard):
    dsns = {name: f"{s.primary} password=s3cret" for name, s in cluster.shards.items()}
    with contextlib.closing(greenshard.connect(dsns, on_event=heard)) as conn:
        conn.cursor().execute("SELECT 1")
    assert "s3cret" not in repr(heard)


def test_named_cursor_is_told_once_when_it_is_declared(conn, heard):
    cur = conn.cursor("streamed")
    cur.execute("SELECT id FROM orders")
    event = heard.one()
    assert event.rows is None
    assert rows_of(event) == dict.fromkeys(EVERY)
    assert len(cur.fetchall()) == 30
    assert heard == []


def test_transaction_ends_are_not_told(conn, heard):
    conn.commit()
    conn.rollback()
    assert heard == []


# Failures -------------------------------------------------------------------------------------


def test_error_of_one_shard_is_told_and_what_became_of_the_others(union, heard):
    cur = union.cursor()
    cur.execute("SELECT pg_backend_pid()")
    heard.clear()
    with pytest.raises(greenshard.Error) as caught:
        cur.execute("SELECT 1 / (pg_backend_pid() - %s), pg_sleep(60)", cur.fetchone())
    event = heard.one()
    assert event.error is caught.value
    assert event.rows is None
    assert isinstance(event.shards["s0"].error, psycopg2.errors.DivisionByZero)
    for shard in ("s1", "s2"):
        assert isinstance(event.shards[shard].error, psycopg2.errors.QueryCanceled)


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM nothing", "SELECT pg_relation_size('orders')", "COPY orders TO STDOUT"]
)
def test_refusal_is_told_without_shards(conn, heard, sql):
    with pytest.raises(greenshard.Error) as caught:
        conn.cursor().execute(sql)
    event = heard.one()
    assert event.error is caught.value
    assert event.shards == {}


def test_wrong_parameters_are_told(conn, heard):
    with pytest.raises((TypeError, IndexError)) as caught:
        conn.cursor().execute("SELECT * FROM orders WHERE id = %s", ())
    assert heard.one().error is caught.value


@pytest.mark.parametrize("query", [None, 3, ["SELECT 1"]])
def test_what_is_no_statement_fails_as_without_a_listener(dsns, union, heard, query):
    messages = []
    with contextlib.closing(greenshard.connect(dsns)) as silent:
        for conn in (silent, union):
            with pytest.raises((greenshard.Error, TypeError)) as caught:
                conn.cursor().execute(query)
            messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert heard.one().error is caught.value


def test_timeout_is_told(conn, heard):
    cur = conn.cursor()
    cur.timeout = 0.5
    with pytest.raises(greenshard.QueryTimeout) as caught:
        cur.execute(SLOW)
    event = heard.one()
    assert event.error is caught.value
    assert event.duration_s >= 0.5
    assert list(event.shards) == EVERY
    assert all(run.error is not None for run in event.shards.values())


def test_time_limit_of_the_caller_is_told(conn, heard):
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.1):
        conn.cursor().execute(SLOW)
    assert heard.one().error is caught.value


def test_kill_is_told(conn, heard):
    greenlet = gevent.spawn(conn.cursor().execute, SLOW)
    while not conn.isexecuting():
        gevent.sleep(0.01)
    greenlet.kill()
    event = heard.one()
    assert isinstance(event.error, gevent.GreenletExit)
    assert list(event.shards) == EVERY
    conn.rollback()
    conn.cursor().execute("SELECT id FROM orders")
    assert heard.one().rows == 30


def test_shard_that_is_gone_is_told(dsns, heard):
    with contextlib.closing(greenshard.connect(dsns, on_event=heard)) as conn:
        _end_session(conn, "s1", dsns)
        with pytest.raises(greenshard.Error):
            conn.cursor().execute("SELECT 1")
        heard.clear()
        with pytest.raises(greenshard.Error, match="s1 is gone"):
            conn.cursor().execute("SELECT 1")
        event = heard.one()
    assert list(event.shards) == ["s1"]
    assert event.shards["s1"].error is event.error


def test_partial_answer_is_told_with_what_is_missing(dsns, heard):
    with contextlib.closing(greenshard.connect(dsns, on_event=heard, on_error="partial")) as conn:
        _end_session(conn, "s1", dsns)
        heard.clear()
        with pytest.warns(greenshard.PartialResultWarning):
            conn.cursor().execute("SELECT 1")
        event = heard.one()
    assert event.error is None
    assert event.rows == 2
    assert event.shards["s1"].error is not None
    assert event.shards["s1"].rows is None


def test_shard_that_was_too_slow_for_a_partial_answer_says_so(dsns, heard):
    with contextlib.closing(greenshard.connect(dsns, on_event=heard, on_error="partial")) as conn:
        with conn.on("s1"):
            conn.cursor().execute("SET application_name = 'slow'")
        conn.commit()
        heard.clear()
        cursor = conn.cursor()
        cursor.timeout = 0.3
        with pytest.warns(greenshard.PartialResultWarning):
            cursor.execute(
                "SELECT pg_sleep(CASE current_setting('application_name') WHEN 'slow' THEN 60"
                " ELSE 0 END)"
            )
        event = heard.one()
    # As the cursor says, and not how its greenlet was ended.
    assert event.shards["s1"].error is cursor.failures["s1"]
    assert isinstance(event.shards["s1"].error, greenshard.QueryTimeout)


def _end_session(conn, shard, dsns):
    pid = conn.on(shard).cursor()
    pid.execute("SELECT pg_backend_pid()")
    ((number,),) = pid.fetchall()
    conn.rollback()
    with contextlib.closing(psycopg2.connect(dsns[shard])) as other, other.cursor() as cur:
        cur.execute("SELECT pg_terminate_backend(%s, 10000)", (number,))


def test_use_by_two_greenlets_is_no_statement(conn, heard):
    first = gevent.spawn(conn.cursor().execute, SLOW)
    gevent.sleep(0.1)
    with pytest.raises(greenshard.ProgrammingError, match="busy"):
        conn.cursor().execute("SELECT 1")
    assert heard == []
    first.kill()


# Listeners ------------------------------------------------------------------------------------


def test_listener_that_raises_changes_nothing(cluster, caplog):
    def listener(event):
        raise ValueError("a bug of the listener")

    with contextlib.closing(greenshard.connect(cluster, on_event=listener)) as conn:
        cur = conn.cursor()
        cur.execute("SELECT id FROM orders")
        assert len(cur.fetchall()) == 30
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cur.execute("SELECT 1/0")
    failures = [record for record in caplog.records if record.name == "greenshard"]
    assert len(failures) == 2
    assert all(record.levelno == logging.ERROR for record in failures)


def test_listener_may_wait_and_others_may_use_the_connection(cluster):
    waiting, go = gevent.event.Event(), gevent.event.Event()

    def listener(event):
        if not waiting.is_set():
            waiting.set()
            go.wait()

    with contextlib.closing(greenshard.connect(cluster, on_event=listener)) as conn:
        cur = conn.cursor()
        first = gevent.spawn(cur.execute, "SELECT id FROM orders")
        waiting.wait()
        other = conn.cursor()
        other.execute("SELECT count(*) FROM items")
        assert other.fetchall() == [(30,)]
        go.set()
        first.get()
        assert len(cur.fetchall()) == 30


def test_listener_may_be_interrupted(cluster):
    with contextlib.closing(
        greenshard.connect(cluster, on_event=lambda event: gevent.sleep(60))
    ) as conn:
        cur = conn.cursor()
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
            cur.execute("SELECT id FROM orders")
        assert len(cur.fetchall()) == 30


def test_listener_may_run_statements_itself(cluster):
    counts = []

    def listener(event):
        if "nation" in event.sql:
            cur = conn.cursor()
            cur.execute("SELECT count(*) FROM orders")
            counts.append(cur.fetchone())

    with contextlib.closing(greenshard.connect(cluster, on_event=listener)) as conn:
        conn.cursor().execute("SELECT * FROM nation")
    assert counts == [(30,)]


class Text(str):
    """Text that can be watched."""

    __slots__ = ("__weakref__",)


def test_parameters_are_not_kept_for_the_listener(conn, heard):
    gc.disable()
    try:
        value = Text("x")
        watch = weakref.ref(value)
        cur = conn.cursor()
        cur.execute("SELECT id FROM orders WHERE id::text = %s", (value,))
        del value
        assert watch() is None
    finally:
        gc.enable()
    assert heard.one().rows == 0
