"""COPY from and to the program's files, over one shard as with psycopg2, and over a union."""

from __future__ import annotations

import contextlib
import io
import struct

import gevent
import psycopg2
import psycopg2.extras
import pytest

import greenshard
from greenshard._driver import TRANSACTION_FAILED, TRANSACTION_IDLE, TRANSACTION_OPEN


@pytest.fixture(scope="module")
def one_dsn(dsns):
    with contextlib.closing(psycopg2.connect(dsns["s0"])) as conn, conn, conn.cursor() as cur:
        cur.execute("CREATE TABLE one (a int PRIMARY KEY, b text)")
    return dsns["s0"]


@pytest.fixture
def one(one_dsn):
    """A cursor over one shard with an empty table ``one (a, b)``."""
    with contextlib.closing(greenshard.connect(one_dsn)) as conn:
        yield conn.cursor()


class Reader:
    """A file that lets other greenlets run, or fails, in its second read."""

    def __init__(self, then):
        self.then = then
        self.count = 0

    def read(self, size):
        self.count += 1
        if self.count > 1:
            self.then()
        return f"{self.count}\tx\n"


class Writer:
    def __init__(self, then):
        self.then = then

    def write(self, data):
        self.then()


def busy():
    gevent.sleep(30)


def fail():
    raise LookupError("no more")


ENDLESS = "COPY (SELECT repeat('x', 1000), generate_series(1, 10000000)) TO STDOUT"


@pytest.mark.parametrize("kind", [io.StringIO, io.BytesIO])
def test_rows_go_in_and_come_out_as_text_or_bytes(one, kind):
    text = "1\té\n2\t\\N\n"
    one.copy_from(kind(text if kind is io.StringIO else text.encode()), "one")
    assert (one.rowcount, one.statusmessage, one.description) == (2, "COPY 2", None)
    assert b"COPY" in one.query
    file = kind()
    one.copy_to(file, "one", columns=["b", "a"], sep="|", null="-")
    got = file.getvalue()
    assert (got if kind is io.StringIO else got.decode()) == "é|1\n-|2\n"
    assert one.connection.info.transaction_status == TRANSACTION_OPEN


def test_names_and_separators_are_quoted(one):
    one.execute('CREATE TEMP TABLE "a%s""b" ("x y" text, "%%" text)')
    one.copy_from(io.StringIO("1'2\n"), 'a%s"b', sep="'", columns=iter(["x y", "%%"]))
    file = io.StringIO()
    one.copy_to(file, 'a%s"b', sep="%", null="'")
    assert file.getvalue() == "1%2\n"


def test_in_autocommit_mode_each_copy_commits_by_itself(one, one_dsn):
    one.connection.autocommit = True
    one.copy_from(io.StringIO("7\tx\n"), "one")
    assert one.connection.info.transaction_status == TRANSACTION_IDLE
    with contextlib.closing(psycopg2.connect(one_dsn)) as other, other.cursor() as cur:
        cur.execute("DELETE FROM one RETURNING a")
        assert cur.fetchall() == [(7,)]
        other.commit()


def test_an_error_is_psycopg2s_with_the_line_and_fails_the_transaction(one):
    one.copy_from(io.StringIO("1\tx\n"), "one")
    with pytest.raises(psycopg2.errors.UniqueViolation) as caught:
        one.copy_expert("COPY one FROM STDIN", io.StringIO("2\ty\n1\tz\n"))
    assert isinstance(caught.value, greenshard.IntegrityError)
    assert caught.value.diag.context == "COPY one, line 2"
    assert one.rowcount == -1
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        one.copy_from(io.StringIO("3\tx\n"), "one")
    one.connection.rollback()
    one.execute("SELECT count(*) FROM one")
    assert one.fetchone() == (0,)


def test_what_read_raises_is_told_as_psycopg2_does_with_its_cause(one):
    with pytest.raises(psycopg2.errors.QueryCanceled, match="LookupError no more") as caught:
        one.copy_from(Reader(fail), "one")
    causes = [caught.value.__cause__, caught.value.__cause__.__cause__]
    assert any(isinstance(each, LookupError) for each in causes)
    assert one.connection.info.transaction_status == TRANSACTION_FAILED


@pytest.mark.parametrize("given", [None, 7, bytearray(b"1\tx\n")])
def test_what_read_gives_is_text_or_bytes(one, given):
    file = Reader(lambda: None)
    file.read = lambda size: given
    with pytest.raises(psycopg2.errors.QueryCanceled, match="neither str nor bytes"):
        one.copy_from(file, "one")


def test_what_write_raises_comes_out_and_nothing_is_left_running(one):
    with pytest.raises(LookupError):
        one.copy_expert(ENDLESS, Writer(fail))
    assert one.connection.info.transaction_status == TRANSACTION_FAILED
    one.connection.rollback()
    one.execute("SELECT 1")
    assert one.fetchone() == (1,)


@pytest.mark.parametrize("how", ["timeout", "gevent", "kill", "cancel"])
@pytest.mark.parametrize("way", ["in", "out"])
@pytest.mark.parametrize("where", ["file", "server"])
def test_a_stop_in_the_middle_ends_it_and_the_connection_survives(one, how, way, where):
    conn = one.connection
    then = busy if where == "file" else lambda: None
    if where == "server" and way == "in":
        one.execute("CREATE TEMP TABLE slow (a int, b text CHECK (pg_sleep(30) IS NOT NULL))")
        conn.commit()
    table = "slow" if where == "server" else "one"

    def copy():
        if way == "in":
            one.copy_from(Reader(then), table)
        elif where == "server":
            one.copy_expert("COPY (SELECT pg_sleep(30)) TO STDOUT", Writer(then))
        else:
            one.copy_expert(ENDLESS, Writer(then))

    if how == "timeout":
        one.timeout = 0.2
        with pytest.raises(greenshard.QueryTimeout):
            copy()
    elif how == "gevent":
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.2):
            copy()
    elif how == "kill":
        caller = gevent.spawn(copy)
        gevent.sleep(0.2)
        caller.kill()
        assert isinstance(caller.value, gevent.GreenletExit)
    else:
        gevent.spawn_later(0.2, conn.cancel)
        with pytest.raises(psycopg2.errors.QueryCanceled):
            copy()
    assert not conn.closed
    assert conn.info.transaction_status == TRANSACTION_FAILED
    conn.rollback()
    one.timeout = None
    one.execute("SELECT count(*) FROM one")
    assert one.fetchone() == (0,)


def test_others_run_meanwhile_and_are_refused_on_the_connection(one):
    caught = []

    def other():
        try:
            one.connection.cursor().execute("SELECT 1")
        except greenshard.ProgrammingError as error:
            caught.append(error.code)
        running.kill(block=False)

    running = gevent.spawn(one.copy_from, Reader(busy), "one")
    gevent.sleep(0.1)
    gevent.spawn(other).join()
    running.join()
    assert caught == ["GS302"]


def test_a_server_that_goes_away_closes_the_connection(one):
    conn = one.connection

    def end():
        with contextlib.closing(psycopg2.connect(conn.dsn)) as other, other.cursor() as cur:
            cur.execute("SELECT pg_terminate_backend(%s, 1000)", (conn.info.backend_pid,))

    with pytest.raises(psycopg2.OperationalError):
        one.copy_from(Reader(end), "one", size=1)
    assert conn.closed


def test_a_file_must_read_or_write(one):
    for call in (
        lambda: one.copy_expert("COPY one FROM STDIN", object()),
        lambda: one.copy_from(Writer(fail), "one"),
        lambda: one.copy_to(Reader(fail), "one"),
    ):
        with pytest.raises(TypeError):
            call()


def test_a_named_cursor_cannot_copy(one):
    with pytest.raises(greenshard.NotSupportedError) as caught:
        one.connection.cursor("named").copy_to(io.StringIO(), "one")
    assert caught.value.code == "GS402"


def test_the_programs_own_wait_callback_cannot_copy(one):
    ours = psycopg2.extensions.get_wait_callback()
    psycopg2.extensions.set_wait_callback(psycopg2.extras.wait_select)
    try:
        with pytest.raises(greenshard.NotSupportedError, match="callback") as caught:
            one.copy_to(io.StringIO(), "one")
    finally:
        psycopg2.extensions.set_wait_callback(ours)
    assert caught.value.code == "GS402"


# Over a union --------------------------------------------------------------------------------


def test_a_union_gives_the_rows_in_shard_order_under_one_header(cur):
    file = io.StringIO()
    cur.copy_expert("COPY t TO STDOUT WITH CSV HEADER", file)
    assert file.getvalue() == "a,shard\n0,s0\n1,s0\n2,s1\n3,s1\n4,s2\n5,s2\n"
    assert (cur.rowcount, cur.statusmessage) == (6, "COPY 6")


@pytest.mark.parametrize("empty", [(), ("s0",), ("s2",), ("s0", "s1", "s2")])
def test_a_union_gives_one_binary_file(cur, empty):
    for shard in empty:
        cur.connection.on(shard).cursor().execute("DELETE FROM t")
    file = io.BytesIO()
    cur.copy_expert("COPY t (a) TO STDOUT (FORMAT binary)", file)
    left = [n for n in range(6) if f"s{n // 2}" not in empty]
    rows = b"".join(struct.pack(">hii", 1, 4, n) for n in left)
    assert file.getvalue() == b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows + b"\xff\xff"


def test_a_union_does_not_know_where_rows_belong(cur):
    with pytest.raises(greenshard.NotSupportedError) as caught:
        cur.copy_from(io.StringIO("7\tx\n"), "t")
    assert caught.value.code == "GS401"
    assert "conn.on" in caught.value.hint


def test_rows_go_to_the_shard_that_is_named_or_to_all(cur):
    with cur.connection.on("s1"):
        cur.copy_from(io.StringIO("7\tnew\n"), "t")
    with cur.connection.broadcast():
        cur.copy_from(io.BytesIO(b"8\tnew\n9\tnew\n"), "t", size=3)
    cur.execute("SELECT a FROM t WHERE shard = 'new'")
    assert cur.fetchall() == [(8,), (9,), (7,), (8,), (9,), (8,), (9,)]


def test_a_slow_file_keeps_the_servers_waiting_and_not_the_memory(cur):
    sizes = []

    class Slow(io.RawIOBase):
        def write(self, data):
            sizes.append(len(data))
            gevent.sleep(0)

    cur.copy_expert(
        "COPY (SELECT repeat('x', 999) FROM generate_series(1, 2000)) TO STDOUT", Slow()
    )
    assert sum(sizes) == 3 * 2_000_000
    assert max(sizes) < 200_000


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_file_that_fails_ends_the_copy_on_all_shards(cur, way):
    conn = cur.connection
    if way == "in":
        with pytest.raises(psycopg2.errors.QueryCanceled, match="no more"), conn.broadcast():
            cur.copy_from(Reader(fail), "t")
    else:
        with pytest.raises(LookupError):
            cur.copy_expert(ENDLESS, Writer(fail))
    conn.rollback()
    cur.execute("SELECT 1")
    assert cur.fetchall() == [(1,)] * 3


def test_a_failing_shard_ends_the_copy_on_the_others(cur):
    conn = cur.connection
    with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
        # Though the rows of the first shard are not all written yet, nor ever will be.
        cur.copy_expert(
            "COPY (SELECT 1 / ((SELECT min(a) FROM t) - 2), generate_series(1, 1000000)) TO STDOUT",
            Writer(lambda: gevent.sleep(30)),
        )
    assert caught.value.shard == "s1"
    conn.rollback()
