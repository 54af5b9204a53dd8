from __future__ import annotations

import contextlib
import os
import select
import signal
import socket

import psycopg2
import pytest

from greenshard.testing import ShardError, Shards, guard


@pytest.fixture(scope="module")
def shards():
    with Shards(2, settings={"max_prepared_transactions": 5}, tcp=True) as running:
        yield running


@pytest.fixture
def up(shards):
    """The same shards, running before every test."""
    shards.start()
    return shards


def fetch(dsn, statement):
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
        cur.execute(statement)
        return cur.fetchone()[0]


def test_shards_are_different_servers_found_by_number_and_name(up):
    assert [shard.name for shard in up] == list(up.dsns) == ["s0", "s1"]
    assert len(up) == 2
    assert up[1] is up["s1"]
    directories = {fetch(dsn, "SHOW data_directory") for dsn in up.dsns.values()}
    assert directories == {str(shard.data_dir) for shard in up}


def test_settings_and_encoding_are_in_force(up):
    assert fetch(up[0].dsn, "SHOW max_prepared_transactions") == "5"
    assert fetch(up[0].dsn, "SHOW fsync") == "off"
    assert fetch(up[0].dsn, "SHOW server_encoding") == "UTF8"


def test_tcp_needs_the_password_that_is_in_the_dsn(up):
    host, port = up[0].tcp_address
    assert fetch(up.tcp_dsns["s0"], "SHOW port") == str(port)
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(host=host, port=port, user="postgres", passfile="/nowhere")


def test_no_password_in_the_repr(up):
    password = up[0].tcp_dsn.partition("password=")[2]
    assert password
    assert password not in repr(up) + repr(vars(up[0]).keys()) + up[0].log()


def test_data_survives_stop_restart_and_kill(up):
    shard = up[0]
    fetch(shard.dsn, "CREATE TABLE kept AS SELECT 42 AS x; SELECT 1")
    shard.stop()
    shard.stop()
    assert not shard.running
    shard.start()
    shard.restart()
    first = shard.pid
    shard.kill()
    assert "stopped" in repr(shard)
    shard.start()
    assert shard.pid != first
    assert fetch(shard.dsn, "SELECT x FROM kept") == 42
    assert "not properly shut down" in shard.log()
    fetch(shard.dsn, "DROP TABLE kept; SELECT 1")


def test_kill_disconnects_a_client_whose_query_looks_at_no_signal(up):
    # A backend that computes does not notice the end of its postmaster.
    with contextlib.closing(psycopg2.connect(up[0].dsn, async_=True)) as conn:
        wait(conn)
        conn.cursor().execute("SELECT sum(i) FROM generate_series(1, 1e12) i")
        up[0].kill()
        with pytest.raises(psycopg2.OperationalError):
            wait(conn)


def wait(conn):
    while (state := conn.poll()) != psycopg2.extensions.POLL_OK:
        reading = state == psycopg2.extensions.POLL_READ
        ready = select.select([conn] * reading, [conn] * (not reading), [], 30)
        assert any(ready)


def test_start_works_after_somebody_else_killed_the_server(up):
    process = up[0]._process()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    up[0].start()
    assert fetch(up[0].dsn, "SELECT 1") == 1


def test_paused_shard_does_not_answer_until_resumed(up):
    with contextlib.closing(psycopg2.connect(up[1].dsn)) as conn, conn.cursor() as cur:
        up[1].pause()
        assert up[1].paused
        assert "paused" in repr(up[1])
        assert all(process.stopped for process in guard.members(up[1].data_dir.parent))
        with socket.create_connection(up[1].tcp_address) as frozen:
            # The kernel takes the connection, and nobody answers the SSL request.
            frozen.sendall((8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"))
            frozen.settimeout(0.2)
            with pytest.raises(TimeoutError):
                frozen.recv(1)
        up[1].resume()
        cur.execute("SELECT 1")
        assert cur.fetchone() == (1,)


def test_paused_shard_can_be_stopped_and_killed(up):
    for end in (up[1].stop, up[1].kill):
        up[1].pause()
        end()
        assert not up[1].paused
        up[1].start()


def test_stopped_shard_has_no_pid_and_cannot_be_paused(up):
    up[0].stop()
    for misuse in (lambda: up[0].pid, up[0].pause):
        with pytest.raises(ShardError, match="s0 is not running"):
            misuse()


def test_fork_may_connect_but_not_control(up):
    child = os.fork()
    if child == 0:
        try:
            up[0].stop()
        except ShardError:
            up.close()
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert fetch(up[0].dsn, "SELECT 1") == 1


def test_databases_are_new_and_dropped_whatever_the_test_left_behind(up):
    with contextlib.ExitStack() as stack:
        with up.databases() as dsns:
            names = {fetch(dsn, "SELECT current_database()") for dsn in dsns.values()}
            conn = stack.enter_context(contextlib.closing(psycopg2.connect(dsns["s0"])))
            conn.tpc_begin("left prepared")
            conn.cursor().execute("CREATE TABLE t ()")
            conn.tpc_prepare()
            up[0].restart()
            up[1].kill()
        (name,) = names
        for dsn in up.dsns.values():
            assert fetch(dsn, "SELECT count(*) FROM pg_prepared_xacts") == 0
            assert name not in fetch(dsn, "SELECT array_agg(datname::text) FROM pg_database")


def test_databases_of_an_unknown_template_are_an_error_with_psql_s_words(up):
    with (
        pytest.raises(ShardError, match=r'on s1: .*template database "none" does not exist'),
        up.databases(template="none"),
    ):
        pass


def test_failed_start_shows_the_end_of_the_log_and_leaves_nothing():
    shards = Shards(1, settings={"no_such_setting": 1})
    with pytest.raises(ShardError, match=r's0 ended while starting(.|\n)*"no_such_setting"'):
        shards.start()
    assert list(shards) == []


def test_failed_initdb_shows_its_output():
    with pytest.raises(ShardError, match=r'initdb(.|\n)*invalid locale name "nowhere"'):
        Shards(1, initdb_args=["--lc-collate=nowhere"]).start()


def test_initdb_that_takes_too_long_is_killed():
    with pytest.raises(ShardError, match=r"initdb .* failed"):
        Shards(1, timeout_s=0).start()


def test_server_that_is_not_ready_in_time_is_an_error(up, monkeypatch):
    up[0].stop()
    monkeypatch.setattr(up[0], "_timeout_s", -1)
    with pytest.raises(
        ShardError, match=r"did not start within -1 s; the end of its log:\n(?s:.*)LOG"
    ):
        up[0].start()


def test_without_tcp_there_is_no_address():
    with Shards(1, initdb_args=["--encoding=LATIN1"]) as shards:
        with pytest.raises(ShardError, match="tcp=True"):
            _ = shards.tcp_dsns
        assert fetch(shards[0].dsn, "SHOW listen_addresses") == ""
        assert fetch(shards[0].dsn, "SHOW server_encoding") == "LATIN1"
