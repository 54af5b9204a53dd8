"""Timeouts, kills, dead shards and limits, in every stage; and what is left behind."""

from __future__ import annotations

import contextlib
import logging
import uuid
import warnings

import gevent
import psycopg2
import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR

import greenshard
from greenshard.executor.strategies import filling
from greenshard.executor.strategies import table_rows as reading
from tests.postgres.one_database.conftest import SMALL_BATCHES

GATHERED = "SELECT count(*) FROM orders a JOIN orders b ON a.customer = b.id"

#: Statements that take a minute in one of their stages: where the shards read, or afterwards.
SLOW = {
    "route": "SELECT pg_sleep(60) FROM orders WHERE id = 1",
    "concatenate": "SELECT id, pg_sleep(60) FROM orders",
    "merge": "SELECT id, pg_sleep(60) FROM orders ORDER BY id LIMIT 3",
    "combine, partial": "SELECT count(pg_sleep(60)) FROM orders",
    "combine, combined": "SELECT max(note), pg_sleep(60) FROM orders",
    "gather, reading": GATHERED,  # waits for a lock
    "gather, gathered": f"SELECT pg_sleep(60) FROM ({GATHERED}) x",
}


@pytest.fixture
def tag():
    return f"tested {uuid.uuid4().hex[:8]}"


@pytest.fixture
def conn(shop, tag):
    with contextlib.closing(greenshard.connect(shop.cluster, application_name=tag)) as connection:
        yield connection


@pytest.fixture
def left(plain, tag):
    """What the servers do for the connection: a state for each session, by shard."""

    def look(columns="state"):
        found = {}
        for name, connection in plain.items():
            cur = connection.cursor()
            cur.execute(
                f"SELECT {columns} FROM pg_stat_activity WHERE application_name = %s"
                " AND datname = current_database()",
                (tag,),
            )
            found[name] = [row[0] for row in cur]
        return found

    return look


@pytest.fixture(params=["in the text", "as tables", "in batches"])
def way(request, monkeypatch):
    """How gathered rows go to the server."""
    if request.param == "as tables":
        monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 0)
    if request.param == "in batches":
        for name, number in SMALL_BATCHES.items():
            monkeypatch.setattr(reading, name, number)


def nothing_runs(left):
    with gevent.Timeout(5):
        while any("active" in states for states in left().values()):
            gevent.sleep(0.01)


def gatherer_is_clean(conn, plain, left):
    """It has no transaction and no temporary tables, if it is there."""
    beside = list(conn._session.beside.values())
    for physical in beside:
        assert not physical.alive or physical.transaction_status == TRANSACTION_STATUS_IDLE
    with gevent.Timeout(5):
        while True:
            tables = []
            for connection in plain.values():
                cur = connection.cursor()
                cur.execute("SELECT relname FROM pg_class WHERE relpersistence = 't'")
                tables += cur.fetchall()
            if not tables:
                return
            gevent.sleep(0.01)


def by_timeout(conn, call):
    conn.cursor().execute("SELECT 1")
    with pytest.raises(greenshard.QueryTimeout):
        call()


def by_gevent_timeout(conn, call):
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
        call()


def by_kill(conn, call):
    caller = gevent.spawn(call)
    gevent.sleep(0.3)
    caller.kill()
    assert isinstance(caller.value, gevent.GreenletExit)


def by_cancel(conn, call):
    canceller = gevent.spawn_later(0.3, conn.cancel)
    with pytest.raises(psycopg2.errors.QueryCanceled):
        call()
    canceller.get()


@pytest.mark.parametrize(
    ("stage", "tables"), [*((stage, False) for stage in SLOW), ("gather, gathered", True)]
)
@pytest.mark.parametrize("end", [by_timeout, by_gevent_timeout, by_kill, by_cancel])
def test_every_stage_ends_when_the_caller_does(conn, plain, left, monkeypatch, stage, tables, end):
    if tables:
        monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 0)
    assert f"strategy: {stage.partition(',')[0]}" in conn.explain(SLOW[stage])
    conn.cursor().execute(GATHERED)
    conn.commit()
    cur = conn.cursor()
    if end is by_timeout:
        cur.timeout = 0.3
    if stage == "gather, reading":
        plain["s1"].autocommit = False
        plain["s1"].cursor().execute("LOCK orders IN ACCESS EXCLUSIVE MODE")
    end(conn, lambda: cur.execute(SLOW[stage]))
    plain["s1"].rollback()
    plain["s1"].autocommit = True
    nothing_runs(left)
    gatherer_is_clean(conn, plain, left)
    conn.rollback()
    for query in ("SELECT count(*) FROM orders", GATHERED):
        cur = conn.cursor()
        cur.execute(query)
        assert cur.fetchone()[0] > 0


def test_stages_share_one_timeout(conn):
    conn.cursor().execute(GATHERED)
    cur = conn.cursor()
    cur.timeout = 1.0
    query = "SELECT sum(length(pg_sleep(0.02)::text)), pg_sleep(0.7) FROM orders"
    with pytest.raises(greenshard.QueryTimeout, match="within 1 s"):
        cur.execute(query)


@pytest.mark.usefixtures("way")
def test_error_where_rows_are_gathered_fails_the_transaction(conn, plain, left):
    cur = conn.cursor()
    cur.execute("UPDATE orders SET note = 'kept' WHERE id = 1")
    with pytest.raises(psycopg2.errors.DivisionByZero, match=r"shard s0 \(gathering\)") as caught:
        cur.execute("SELECT 1 / (a.id - b.id) FROM orders a JOIN orders b ON a.customer = b.id")
    assert caught.value.shard == "s0"
    assert caught.value.cursor is cur
    assert conn.get_transaction_status() == TRANSACTION_STATUS_INERROR
    gatherer_is_clean(conn, plain, left)
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        cur.execute("SELECT note FROM orders WHERE id = 1")


@pytest.mark.usefixtures("way")
def test_connection_that_gathers_is_opened_again_when_it_is_lost(conn, plain):
    cur = conn.cursor()
    cur.execute(GATHERED)
    expected = cur.fetchall()
    (gatherer,) = conn._session.beside.values()
    plain["s0"].cursor().execute(
        "SELECT pg_terminate_backend(%s)", (gatherer.raw.info.backend_pid,)
    )
    with pytest.raises(psycopg2.OperationalError):
        cur.execute(GATHERED)
    cur.execute(GATHERED)
    assert cur.fetchall() == expected
    assert conn.closed == 0


def test_connection_that_gathers_is_closed_with_the_others(conn, left):
    conn.cursor().execute(GATHERED)
    assert sorted(len(states) for states in left().values()) == [1, 1, 2]
    conn.close()
    with gevent.Timeout(5):
        while any(left().values()):
            gevent.sleep(0.01)


def test_too_many_rows_are_refused_and_the_transaction_goes_on(conn):
    cur = conn.cursor()
    cur.execute("UPDATE orders SET note = 'kept' WHERE id = 1")
    conn.gather_limit = 59
    with pytest.raises(greenshard.NotSupportedError, match="more than 59 rows") as caught:
        cur.execute(GATHERED)
    assert caught.value.code == "GS405"
    assert "orders" in str(caught.value)
    assert "gather_limit" in caught.value.hint
    conn.gather_limit = 60
    cur.execute(GATHERED)
    cur.execute("SELECT note FROM orders WHERE id = 1")
    assert cur.fetchall() == [("kept",)]


def test_limits_are_set_with_the_connection(shop):
    options = {"allow_scatter": False, "allow_gather": False, "gather_limit": 7}
    with contextlib.closing(greenshard.connect(shop.cluster, **options)) as conn:
        assert [getattr(conn, name) for name in options] == [False, False, 7]
    for wrong in ({"allow_scatter": 1}, {"allow_gather": "no"}, {"gather_limit": -1}):
        with pytest.raises(greenshard.ProgrammingError, match=next(iter(wrong))):
            greenshard.connect(shop.cluster, **wrong)
        with contextlib.closing(greenshard.connect(shop.cluster)) as conn:
            ((name, value),) = wrong.items()
            with pytest.raises(greenshard.ProgrammingError, match=name):
                setattr(conn, name, value)


def test_scatter_can_be_forbidden(conn):
    conn.allow_scatter = False
    cur = conn.cursor()
    for query in ("SELECT id FROM orders", "SELECT count(*) FROM orders", GATHERED,
                  "UPDATE orders SET note = ''", "SELECT id FROM orders ORDER BY 1"):  # fmt: skip
        with pytest.raises(greenshard.NotSupportedError, match="allow_scatter") as caught:
            cur.execute(query)
        assert caught.value.code == "GS406"
    for query in ("SELECT * FROM orders WHERE id = 1", "SELECT count(*) FROM orders WHERE id = 1",
                  "SELECT * FROM nation", "SET work_mem = '5MB'"):  # fmt: skip
        cur.execute(query)


def test_gathering_can_be_forbidden(conn):
    conn.allow_gather = False
    cur = conn.cursor()
    with pytest.raises(greenshard.NotSupportedError, match="allow_gather") as caught:
        cur.execute(GATHERED)
    assert caught.value.code == "GS407"
    cur.execute("SELECT count(*) FROM orders")
    assert cur.fetchall() == [(60,)]


PARTIAL = {
    "concatenate": "SELECT id FROM orders WHERE id >= %s",
    "merge": "SELECT id FROM orders WHERE id >= %s ORDER BY id DESC",
    "combine": "SELECT note, count(*) FROM orders WHERE id >= %s GROUP BY note ORDER BY 1",
    "gather": (
        "SELECT a.id, b.id FROM orders a JOIN orders b ON a.customer = b.id WHERE a.id >= %s"
        " ORDER BY 1"
    ),
}


@pytest.mark.parametrize("strategy", PARTIAL)
@pytest.mark.parametrize("gone", ["s0", "s1", "s2"])
def test_partial_answers_have_the_rows_of_the_shards_that_answer(
    shop, single, plain, strategy, gone
):
    query = PARTIAL[strategy]
    with contextlib.closing(greenshard.connect(shop.cluster, on_error="partial")) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute("SELECT 1")
        assert f"strategy: {strategy}" in conn.explain(query, (0,))
        pid = conn._session.physicals[gone].raw.info.backend_pid
        plain[gone].cursor().execute("SELECT pg_terminate_backend(%s)", (pid,))
        theirs = single.cursor()
        theirs.execute(
            "DELETE FROM orders WHERE id = ANY(%s)",
            ([key for key in range(60) if shop.shard_of(key) == gone],),
        )
        theirs.execute(query, (0,))
        for _ in range(2):  # lost while it is asked; known to be gone
            with pytest.warns(greenshard.PartialResultWarning, match=gone):
                cur.execute(query, (0,))
            assert list(cur.failures) == [gone]
            assert gone not in cur.timings
            assert sorted(cur.fetchall(), key=repr) == sorted(theirs.fetchall(), key=repr)
            theirs.scroll(0, "absolute")
        with pytest.raises(psycopg2.Error):
            cur.execute("UPDATE orders SET note = ''")


@pytest.mark.parametrize("strategy", PARTIAL)
def test_partial_answer_is_given_within_the_timeout(shop, plain, strategy):
    with contextlib.closing(
        greenshard.connect(shop.cluster, on_error="partial", timeout=2.0)
    ) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute(PARTIAL[strategy], (0,))
        plain["s1"].autocommit = False
        plain["s1"].cursor().execute("LOCK orders IN ACCESS EXCLUSIVE MODE")
        with pytest.warns(greenshard.PartialResultWarning, match="s1"):
            cur.execute(PARTIAL[strategy], (0,))
        plain["s1"].rollback()
        assert isinstance(cur.failures["s1"], greenshard.QueryTimeout)
        assert cur.fetchall()


def test_timings_tell_of_the_reading_too(conn):
    cur = conn.cursor()
    cur.execute(GATHERED)
    assert list(cur.timings) == ["s0", "s1", "s2"]
    assert sum(timing.rows for timing in cur.timings.values()) == 60
    assert all(0 < timing.first_result_s <= timing.total_s for timing in cur.timings.values())
    cur.execute("SELECT id FROM orders ORDER BY id LIMIT 3")
    assert sum(timing.rows for timing in cur.timings.values()) == 9


def test_log_tells_the_strategy(conn, caplog):
    caplog.set_level(logging.DEBUG, "greenshard")
    cur = conn.cursor()
    cur.execute("SELECT note FROM orders WHERE id = %s", (1,))
    assert "(route)" in caplog.text
    cur.execute(GATHERED)
    assert "on s0, s1, s2 (gather): " in caplog.text


def test_answers_that_are_whole_warn_of_nothing(shop):
    with contextlib.closing(greenshard.connect(shop.cluster, on_error="partial")) as conn:
        cur = conn.cursor()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for query in PARTIAL.values():
                cur.execute(query, (0,))
                assert cur.failures == {}


def test_large_values_are_gathered_in_pieces(conn, single):
    rows = []
    for connection in (conn, single):
        cur = connection.cursor()
        for key in range(12):
            cur.execute(
                "INSERT INTO blobs VALUES (%s, repeat(%s, 3000000), %s)",
                (key, "é" if key % 2 else "x", '{"a": [1, null]}' if key else None),
            )
        cur.execute(
            "SELECT a.id, length(a.body), md5(b.body), a.doc FROM blobs a"
            " JOIN blobs b ON length(a.body) = length(b.body) AND a.id = b.id + 1 ORDER BY 1"
        )
        rows.append(cur.fetchall())
    assert rows[0] == rows[1]
    assert len(rows[0]) == 11
