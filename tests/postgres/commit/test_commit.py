"""A transaction over several shards is committed on all of them or on none."""

from __future__ import annotations

from contextlib import closing

import gevent
import psycopg2
import pytest
from psycopg2.extensions import ISQLQuote
from psycopg2.extras import Json

import greenshard
from greenshard import errors
from greenshard._driver import own_cursor
from greenshard.links import members
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.transaction import admission, asking_apart, barrier, gids, messages
from tests.postgres.commit.conftest import run

ALL = "UPDATE t SET c = c + 1"
ONE = {"s0": [1], "s1": [1], "s2": [1]}
NONE = {"s0": [0], "s1": [0], "s2": [0]}


def by_method(conn):
    conn.commit()


def by_sql(conn):
    with conn.cursor() as cursor:
        cursor.execute("COMMIT")
        assert cursor.statusmessage == "COMMIT"
    conn.rollback()


@pytest.mark.parametrize("commit", [by_method, by_sql])
@pytest.mark.parametrize("isolation", [None, "SERIALIZABLE"])
@pytest.mark.parametrize("named", [False, True])
def test_all_shards_commit_by_one_decision(world, conn, commit, isolation, named):
    conn.set_session(isolation_level=isolation)
    cursor = conn.cursor()
    if named:  # which psycopg2 begins the transaction for
        conn.cursor("rows").execute("SELECT c FROM t")
    cursor.execute(ALL)
    commit(conn)
    assert world.values() == ONE
    assert len(world.decisions()) == 1
    if commit is by_method:  # else of rollback(), as with psycopg2
        assert conn.notices == []
    # The session is as it was: the next transaction is its own.
    cursor.execute(ALL)
    conn.rollback()
    assert world.values() == ONE


@pytest.mark.parametrize("autocommit", [False, True])
def test_block_commits_together(world, conn, autocommit):
    conn.autocommit = autocommit
    with conn, conn.cursor() as cursor:
        cursor.execute(ALL)
    assert (world.values(), len(world.decisions())) == (ONE, 1)
    assert (conn.notices, conn.info.transaction_status) == ([], 0)


def test_statement_in_autocommit_mode_is_committed_together(world, conn):
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute(ALL)
        assert cursor.rowcount == 3
    assert (world.values(), len(world.decisions())) == (ONE, 1)


def test_transaction_that_sql_began_is_committed_together(world, conn):
    conn.autocommit = True
    with conn.cursor() as cursor:
        for text in ("BEGIN", ALL, "END"):
            cursor.execute(text)
    assert (world.values(), len(world.decisions())) == (ONE, 1)
    assert conn.info.transaction_status == 0


def test_one_writer_needs_no_decision(world, conn):
    with conn.cursor() as cursor:
        cursor.execute(f"UPDATE t SET c = 5 WHERE k = {world.keys['s1']}")
        conn.commit()
        cursor.execute("SELECT count(*) FROM t")
        cursor.execute(f"UPDATE t SET c = 6 WHERE k = {world.keys['s1']}")
        conn.commit()
    assert world.values() == {**NONE, "s1": [6]}
    # None where it commits alone; with others, which it has read, one that nobody needs.
    assert len(world.decisions()) == 1


def test_who_has_written_decides(world, conn):
    with conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM t")
        for shard in ("s2", "s1"):
            cursor.execute(f"UPDATE t SET c = 5 WHERE k = {world.keys[shard]}")
    conn.commit()
    assert world.values() == {"s0": [0], "s1": [5], "s2": [5]}
    found = world.everywhere("SELECT committed, cardinality(participants) FROM greenshard.decision")
    assert found == {"s0": [], "s1": [(True, 2)], "s2": []}


@pytest.mark.parametrize("modes", ["READ COMMITTED", "SERIALIZABLE, READ WRITE, DEFERRABLE"])
def test_chain_goes_on_in_such_a_transaction_on_all_shards(world, conn, modes):
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute(f"BEGIN ISOLATION LEVEL {modes}")
        cursor.execute(ALL)
        cursor.execute("COMMIT AND CHAIN")
        assert world.values() == ONE
        for shard in world.dsns:
            with conn.on(shard).cursor() as there:
                there.execute(
                    "SELECT upper(current_setting('transaction_isolation')),"
                    " current_setting('transaction_deferrable')"
                )
                isolation, deferrable = there.fetchone()
            assert modes.startswith(isolation)
            assert (deferrable == "on") is ("DEFERRABLE" in modes)
        cursor.execute(ALL)
        cursor.execute("ROLLBACK")
    assert world.values() == ONE


def test_deferred_constraint_that_fails_undoes_all(world, conn):
    for dsn in world.dsns.values():
        run(dsn, "ALTER TABLE t ADD UNIQUE (k, c) DEFERRABLE INITIALLY DEFERRED")
    key = world.keys["s1"]
    run(
        world.dsns["s1"], "ALTER TABLE t DROP CONSTRAINT t_pkey", f"INSERT INTO t VALUES ({key}, 7)"
    )
    with conn.cursor() as cursor:
        cursor.execute("UPDATE t SET c = 7")
        with pytest.raises(psycopg2.errors.UniqueViolation) as caught:
            conn.commit()
    assert caught.value.shard == "s1"
    assert world.values() == {"s0": [0], "s1": [0, 7], "s2": [0]}


def test_role_that_is_set_for_the_transaction_is_no_obstacle(world, conn):
    """What is prepared is its own who connected: who else could end it, is not said anywhere."""
    for dsn in world.dsns.values():
        exists = run(dsn, "SELECT 1 FROM pg_roles WHERE rolname = 'other_writer'")
        run(
            dsn, *([] if exists else ["CREATE ROLE other_writer"]), "GRANT ALL ON t TO other_writer"
        )
    try:
        with conn.cursor() as cursor:
            cursor.execute("SET LOCAL ROLE other_writer")
            cursor.execute(ALL)
            conn.commit()
            cursor.execute("SET ROLE other_writer")
            cursor.execute(ALL)
            conn.commit()
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("other_writer",)
            conn.commit()
        assert world.values() == {"s0": [2], "s1": [2], "s2": [2]}
    finally:
        conn.close()
        for dsn in world.dsns.values():
            run(dsn, "DROP OWNED BY other_writer")
        for dsn in world.dsns.values():
            run(dsn, "DROP ROLE IF EXISTS other_writer")


PAY = """CREATE FUNCTION pay(n int) RETURNS int LANGUAGE plpgsql AS
 'BEGIN UPDATE t SET c = c + n; RETURN n; END'"""


@pytest.fixture
def payers(world):
    """Functions that write, which a SELECT calls; and a view that does."""
    for dsn in world.dsns.values():
        run(dsn, PAY, "CREATE VIEW paid AS SELECT pay(1) AS n")
    return world


@pytest.mark.parametrize("union", [False, True])
@pytest.mark.parametrize("text", ["SELECT pay(1)", "SELECT * FROM paid"])
@pytest.mark.parametrize("commit", [by_method, by_sql])
def test_what_a_select_has_written_is_committed_together(payers, union, text, commit):
    shards = payers.dsns if union else payers.cluster
    with closing(greenshard.connect(shards, two_phase=True)) as conn:
        for shard in payers.dsns:
            conn.on(shard).cursor().execute(text)
        commit(conn)
    assert payers.values() == ONE
    assert len(payers.decisions()) == 1


@pytest.mark.parametrize("two_phase", [True, False])
@pytest.mark.parametrize("commit", [by_method, by_sql])
def test_what_a_select_has_written_is_undone_where_another_shard_has_failed(
    payers, two_phase, commit
):
    with closing(greenshard.connect(payers.cluster, two_phase=two_phase)) as conn:
        conn.on("s0").cursor().execute("SELECT pay(1)")
        conn.on("s2").cursor().execute("SELECT count(*) FROM t")
        with pytest.raises(psycopg2.errors.DivisionByZero):
            conn.on("s1").cursor().execute("SELECT 1 / 0")
        with pytest.raises(errors.InternalError, match="GS501"):
            commit(conn)
        conn.rollback()
        assert (payers.values(), payers.left()) == (NONE, {})


def test_one_select_that_has_written_commits_alone(payers, conn):
    conn.on("s1").cursor().execute("SELECT pay(1)")
    conn.cursor().execute("SELECT count(*) FROM t")
    conn.commit()
    assert payers.values() == {"s0": [0], "s1": [1], "s2": [0]}
    assert payers.decisions() == []


def test_what_was_only_read_costs_no_round_trip_more(world, conn, monkeypatch):
    rounds = []

    def noted(self, calls, *args, **options):
        rounds.append(len(calls))
        return real(self, calls, *args, **options)

    real = Session.run
    conn.cursor().execute("SELECT count(*) FROM t")
    monkeypatch.setattr(Session, "run", noted)
    conn.commit()
    assert rounds == [3]
    assert world.left() == {}


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize(
    "texts",
    [
        ["CREATE TEMP TABLE w (a int)", "DROP TABLE w"],
        [
            "CREATE TEMP TABLE w (a int)",
            "INSERT INTO w VALUES (1)",
            "DROP TABLE IF EXISTS pg_temp.w",
        ],
        [
            "CREATE TEMP TABLE w AS SELECT k FROM t",
            "UPDATE w SET k = 5",
            "TRUNCATE w",
            "DROP TABLE w",
        ],
        ["CREATE TEMP TABLE w (a int) ON COMMIT DROP", "INSERT INTO w VALUES (1)"],
        ["CREATE TEMP TABLE w (a int)", "DISCARD TEMP"],
    ],
)
@pytest.mark.parametrize("commits", [True, False])
def test_temporary_tables_may_be_dropped(world, conn, texts, autocommit, commits):
    conn.autocommit = autocommit
    if autocommit and "ON COMMIT" in texts[0]:
        return
    for text in texts:
        conn.cursor().execute(text)
        if commits and "ON COMMIT" not in text:
            conn.commit()
    conn.commit()
    assert world.left() == {}
    with pytest.raises(psycopg2.ProgrammingError):
        conn.cursor().execute("SELECT * FROM w")
    conn.rollback()


def test_dropping_a_temporary_table_does_not_hide_what_else_was_written(world, conn):
    with conn.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE w (a int)")
        cursor.execute("DROP TABLE w")
        cursor.execute(ALL)
        with pytest.raises(errors.NotSupportedError, match="GS505"):
            conn.commit()
    assert (world.values(), world.left()) == (NONE, {})


@pytest.mark.parametrize("commit", [by_method, by_sql])
def test_shard_that_decides_and_has_failed_does_not_let_the_others_commit(
    world, conn, monkeypatch, commit
):
    """To PostgreSQL, COMMIT is a ROLLBACK then, without an error."""

    def prepare(physical, gid):
        real(physical, gid)
        if physical.shard == "s1":
            with pytest.raises(psycopg2.errors.DivisionByZero):
                own_cursor(conn._session.physicals["s0"].raw).execute("SELECT 1 / 0")

    real = Physical.prepare
    conn.cursor().execute(ALL)
    monkeypatch.setattr(Physical, "prepare", prepare)
    with pytest.raises(errors.InternalError) as caught:
        commit(conn)
    assert (caught.value.code, caught.value.shard) == ("GS501", "s0")
    conn.rollback()
    assert (world.values(), world.left()) == (NONE, {})


def test_what_is_prepared_is_ended_on_its_own_connection_whatever_the_role(
    world, conn, monkeypatch
):
    monkeypatch.setattr(asking_apart, "ask", lambda *_: pytest.fail("asked over a new connection"))
    with conn.cursor() as cursor:
        cursor.execute(ALL)
        cursor.execute("SET ROLE pg_read_all_data")
        conn.commit()
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("pg_read_all_data",)
    assert world.values() == ONE


def test_shards_may_be_forgotten_by_another_commit_at_any_time(world, conn, monkeypatch):
    def ask_member(physical, sharded):
        known.clear()  # as another commit does that finds something gone
        return members.ask_member(physical, sharded)

    monkeypatch.setattr(admission, "ask_member", ask_member)
    known = conn._session.members.known
    for lost in (("s0",), ("s0", "s1", "s2")):
        with conn.cursor() as cursor:
            cursor.execute("UPDATE t SET c = 0")
        for shard in lost:
            known.pop(shard, None)
        with conn.cursor() as cursor:
            cursor.execute(ALL)
        for shard in lost:
            known.pop(shard, None)
        conn.commit()
    assert world.values() == ONE


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("end", ["COMMIT", "COMMIT AND CHAIN"])
def test_shard_that_cannot_be_asked_before_commit_as_sql_undoes_all(
    world, conn, monkeypatch, end, autocommit
):
    def ask_member(physical, sharded):
        raise psycopg2.OperationalError("no answer")

    conn.autocommit = autocommit
    with conn.cursor() as cursor:
        cursor.execute("BEGIN" if autocommit else "SELECT 1")
        cursor.execute(ALL)
        conn._session.members.known.clear()
        monkeypatch.setattr(admission, "ask_member", ask_member)
        with pytest.raises(psycopg2.OperationalError, match="no answer"):
            cursor.execute(end)
    assert (world.values(), world.left()) == (NONE, {})


def test_chain_whose_shards_cannot_tell_how_it_was_begun_undoes_all(world, conn, monkeypatch):
    def modes(physical):
        raise psycopg2.OperationalError("no answer")

    monkeypatch.setattr(messages, "modes", modes)
    with conn.cursor() as cursor:
        cursor.execute(ALL)
        with pytest.raises(psycopg2.OperationalError, match="no answer"):
            cursor.execute("COMMIT AND CHAIN")
    assert (world.values(), world.left()) == (NONE, {})


def test_lock_of_a_shard_that_was_only_read_is_kept_until_it_is_decided(world, conn, monkeypatch):
    seen = []

    def commit(physical, *args, **options):
        if options.get("decides"):
            seen.append(run(world.dsns["s2"], "SELECT pg_try_advisory_lock(4711)")[0][0])
        return real(physical, *args, **options)

    real = Physical.commit
    with conn.on("s2").cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(4711)")
    with conn.cursor() as cursor:
        cursor.execute(f"UPDATE t SET c = 1 WHERE k IN ({world.keys['s0']}, {world.keys['s1']})")
        monkeypatch.setattr(Physical, "commit", commit)
        conn.commit()
    assert seen == [False]
    assert run(world.dsns["s2"], "SELECT pg_try_advisory_lock(4711)") == [(True,)]


def test_search_path_of_somebody_changes_nothing(world, conn):
    for dsn in world.dsns.values():
        run(
            dsn,
            "CREATE SCHEMA evil",
            "CREATE TABLE evil.decision (gid text)",
            "CREATE FUNCTION evil.differs(text, text) RETURNS bool LANGUAGE sql"
            " AS 'SELECT NULL::bool'",
            "CREATE OPERATOR evil.<> (FUNCTION = evil.differs, LEFTARG = text, RIGHTARG = text)",
            "CREATE FUNCTION evil.pg_current_xact_id_if_assigned() RETURNS int LANGUAGE sql"
            " AS 'SELECT NULL::int'",
        )
    with conn.cursor() as cursor:
        cursor.execute("SET search_path = evil, public, pg_catalog")
        cursor.execute("UPDATE public.t SET c = 1")
        conn.commit()
    assert (world.values(), len(world.decisions())) == (ONE, 1)


def test_lock_timeout_of_the_program_does_not_hold_for_the_commit(world, conn):
    with conn.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1ms'")
        cursor.execute("SET statement_timeout = '5s'")
        conn.commit()
        cursor.execute(ALL)
        conn.commit()
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("1ms",)
    assert world.values() == ONE


@pytest.mark.parametrize("shards", [["s1"], ["s0", "s1"]])
def test_who_keeps_a_commit_from_its_lock_is_told(world, conn, monkeypatch, shards):
    monkeypatch.setattr(messages, "_FIRST", messages._FIRST.replace("10s", "50ms"))
    monkeypatch.setattr(messages, "BEFORE_COMMIT", messages.BEFORE_COMMIT.replace("10s", "50ms"))
    holder = psycopg2.connect(world.dsns["s1"], application_name="a backup")
    with closing(holder), holder.cursor() as locks:
        locks.execute("LOCK TABLE greenshard.barrier IN SHARE MODE")
        for shard in shards:
            conn.cursor().execute(f"UPDATE t SET c = 5 WHERE k = {world.keys[shard]}")
        with pytest.raises(psycopg2.errors.LockNotAvailable) as caught:
            conn.commit()
        assert caught.value.shard == "s1"
        assert f"process {holder.info.backend_pid} (a backup) has the barrier" in str(caught.value)
    conn.rollback()
    assert world.values() == NONE


@pytest.mark.parametrize("arrives", [gevent.GreenletExit, gevent.Timeout])
def test_what_arrives_while_that_is_asked_hides_no_error(world, conn, monkeypatch, arrives):
    """A kill is raised, with the error behind it; a timeout says less than the error."""
    for name in ("_FIRST", "BEFORE_COMMIT"):
        monkeypatch.setattr(messages, name, getattr(messages, name).replace("10s", "50ms"))
    slow = "FROM pg_catalog.pg_sleep(30), pg_catalog.pg_locks AS held"
    text = barrier._HOLDERS.replace("FROM pg_catalog.pg_locks AS held", slow)
    monkeypatch.setattr(barrier, "_HOLDERS", text)
    caught = []

    def commit():
        try:
            conn.commit()
        except BaseException as error:  # it is what is looked at
            caught.append(error)

    with closing(psycopg2.connect(world.dsns["s1"])) as holder, holder.cursor() as locks:
        locks.execute("LOCK TABLE greenshard.barrier IN SHARE MODE")
        conn.cursor().execute(ALL)
        committing = gevent.spawn(commit)
        asking = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        with gevent.Timeout(20):
            while not run(world.dsns["s1"], asking):
                gevent.sleep(0.02)
        committing.kill(arrives, block=False)
        assert committing.join(10) is None
    (error,) = caught
    if arrives is gevent.Timeout:
        assert isinstance(error, psycopg2.errors.LockNotAvailable)
    else:
        assert isinstance(error, arrives)
        assert isinstance(error.__context__, psycopg2.errors.LockNotAvailable)
    assert run(world.dsns["s1"], asking) == []
    conn.rollback()
    assert world.values() == NONE


# What cannot be prepared ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [("CREATE TEMP TABLE own AS SELECT 1", "temporary tables on s0"), ("LISTEN news", "LISTEN")],
)
def test_what_cannot_be_prepared_is_named(world, conn, text, named):
    with conn.cursor() as cursor:
        cursor.execute(text)
        cursor.execute(ALL)
        with pytest.raises(greenshard.NotSupportedError, match=named) as caught:
            conn.commit()
        assert caught.value.code == "GS505"
        assert world.values() == NONE
        cursor.execute(ALL)  # the connection goes on
        conn.commit()
    assert world.values() == ONE


def test_shard_with_a_cursor_with_hold_decides(world, conn):
    with conn.cursor() as cursor, conn.on("s1").cursor() as there:
        there.execute("DECLARE kept CURSOR WITH HOLD FOR SELECT 1")
        cursor.execute(ALL)
        conn.commit()
        assert world.values() == ONE
        there.execute("FETCH kept")
        assert there.fetchall() == [(1,)]
        # It is no part of the next transaction: any shard may decide that.
        cursor.execute(ALL)
        conn.commit()
    assert world.values() == {"s0": [2], "s1": [2], "s2": [2]}


@pytest.mark.parametrize(
    ("chosen", "held"),
    [*((less, "on") for less in ("off", "local", "remote_write", "on")), ("remote_apply",) * 2],
)
def test_decision_and_what_is_prepared_are_durable(world, monkeypatch, chosen, held):
    found = []

    def ready(physical, *args):
        checked = ask_ready(physical, *args)
        cursor = own_cursor(physical.raw)
        cursor.execute("SHOW synchronous_commit")
        found.extend(cursor.fetchone())
        return checked

    ask_ready = messages.ready
    monkeypatch.setattr(messages, "ready", ready)
    with world.connect() as conn, conn.cursor() as cursor:
        cursor.execute(f"SET synchronous_commit = {chosen}")
        conn.commit()
        cursor.execute(ALL)
        conn.commit()
        assert found == [held] * 3
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == (chosen,)
    assert world.values() == ONE


NOTIFYING = """
CREATE FUNCTION notifies() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN PERFORM pg_notify('news', NEW.k::text); RETURN NULL; END$$;
CREATE TRIGGER notifies AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION notifies()
"""


def test_triggers_that_notify_on_several_shards_are_named_with_a_way_out(world, conn):
    for dsn in world.dsns.values():
        run(dsn, NOTIFYING)
    try:
        with conn.cursor() as cursor:
            cursor.execute(ALL)
            with pytest.raises(greenshard.NotSupportedError, match="NOTIFY") as caught:
                conn.commit()
            assert caught.value.code == "GS505"
            assert "trigger" in caught.value.hint
            assert world.values() == NONE
            cursor.execute(f"UPDATE t SET c = 5 WHERE k = {world.keys['s1']}")
            conn.commit()
        assert world.values() == {**NONE, "s1": [5]}
    finally:
        for dsn in world.dsns.values():
            run(dsn, "DROP FUNCTION notifies() CASCADE")


def test_notify_beside_writes_of_other_shards_is_sent_with_their_commit(world, conn):
    def heard():
        listening.poll()
        told, listening.notifies[:] = [each.payload for each in listening.notifies], []
        return told

    with closing(psycopg2.connect(world.dsns["s0"])) as listening, conn.cursor() as cursor:
        listening.autocommit = True
        listening.cursor().execute("LISTEN news")
        for shard in ("s1", "s2"):
            cursor.execute(f"UPDATE t SET c = 5 WHERE k = {world.keys[shard]}")
        with conn.on("s0"):
            conn.cursor().execute("NOTIFY news, 'done'")
        assert heard() == []
        conn.commit()
        listening.cursor().execute("SELECT 1")
        assert heard() == ["done"]
    assert world.values() == {"s0": NONE["s0"], "s1": [5], "s2": [5]}


def test_temporary_tables_alone_need_not_be_prepared(world, conn):
    with conn.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE own AS SELECT 1 AS a")
        conn.commit()
        cursor.execute("INSERT INTO own VALUES (2)")
        cursor.execute(f"UPDATE t SET c = 5 WHERE k = {world.keys['s1']}")
        conn.commit()
        cursor.execute("SELECT sum(a) FROM own")
        assert cursor.fetchone() == (3,)
        conn.commit()
    assert world.values() == {**NONE, "s1": [5]}


def test_shard_that_cannot_prepare_decides(world, conn):
    with conn.cursor() as cursor, conn.on("s1").cursor() as there:
        there.execute("CREATE TEMP TABLE own AS SELECT 1")
        cursor.execute(ALL)
    conn.commit()
    assert world.values() == ONE
    assert [bool(rows) for rows in world.everywhere("TABLE greenshard.decision").values()] == [
        False,
        True,
        False,
    ] or len(world.decisions()) == 2  # s0 had noted one too, which nobody needs


# Shards that cannot commit together -------------------------------------------------------------


def refused(cursor, text=ALL):
    with pytest.raises(greenshard.NotSupportedError) as caught:
        cursor.execute(text)
    assert caught.value.code == "GS503"
    return str(caught.value)


@pytest.mark.parametrize("autocommit", [False, True])
def test_write_on_several_shards_is_refused_without_init(bare, autocommit):
    with bare.connect() as conn, conn.cursor() as cursor:
        conn.autocommit = autocommit
        told = refused(cursor)
        assert "is not initialised" in told
        assert "greenshard init" in told
        assert "two_phase=False" in told
        assert bare.values() == NONE
        # A write of one shard is none of this.
        cursor.execute("UPDATE t SET c = 1 WHERE k = %s", (bare.keys["s1"],))
        if not autocommit:
            refused(cursor, f"UPDATE t SET c = 1 WHERE k = {bare.keys['s0']}")
            conn.commit()
    assert bare.values() == {**NONE, "s1": [1]}


def test_init_is_seen_by_connections_that_are_open(bare):
    with bare.connect() as conn, conn.cursor() as cursor:
        refused(cursor)
        conn.rollback()
        greenshard.init(bare.cluster)
        cursor.execute(ALL)
        conn.commit()
    assert bare.values() == ONE


def test_shards_may_commit_one_by_one_who_says_so(bare):
    with bare.connect(two_phase=False) as conn, conn.cursor() as cursor:
        cursor.execute(ALL)
        conn.commit()
    cluster = greenshard.Cluster(bare.dsns, {"t": greenshard.Sharded("k")}, two_phase=False)
    with greenshard.Pool(cluster, max_size=1) as pool, pool.connection() as conn:
        conn.cursor().execute(ALL)
    assert bare.values() == {"s0": [2], "s1": [2], "s2": [2]}


def test_union_commits_one_by_one_if_it_is_not_told_otherwise(bare):
    with greenshard.connect(bare.dsns) as conn, conn.cursor() as cursor:
        cursor.execute(ALL)
    conn.close()
    assert bare.values() == ONE
    with greenshard.connect(bare.dsns, two_phase=True) as conn, conn.cursor() as cursor:
        refused(cursor)
    conn.close()


def test_union_commits_together_if_it_is_told_so(world):
    with greenshard.connect(world.dsns, two_phase=True) as conn, conn.cursor() as cursor:
        cursor.execute(ALL)
    conn.close()
    assert (world.values(), len(world.decisions())) == (ONE, 1)


def test_shard_that_was_made_by_copying_another_is_refused(world, conn):
    ((stamp,),) = run(world.dsns["s0"], "SELECT id FROM greenshard.shard")
    run(world.dsns["s2"], f"UPDATE greenshard.shard SET id = '{stamp}'")
    with conn.cursor() as cursor:
        assert "has the id of shard" in refused(cursor)


def test_shard_that_gets_another_id_meanwhile_is_asked_anew(world, conn):
    cursor = conn.cursor()
    cursor.execute(ALL)
    conn.commit()
    run(world.dsns["s2"], f"UPDATE greenshard.shard SET id = '{'e' * 32}'")
    cursor.execute(ALL)
    with pytest.raises(greenshard.Error, match="not the one that it was"):
        conn.commit()
    assert world.values() == ONE
    cursor.execute(ALL)
    conn.commit()
    assert world.values() == {"s0": [2], "s1": [2], "s2": [2]}


@pytest.mark.parametrize("keys", [("s1",), ("s0", "s1", "s2")])
def test_what_init_made_and_somebody_dropped_is_told(world, conn, keys):
    cursor = conn.cursor()
    cursor.execute(ALL)
    conn.commit()
    run(world.dsns["s1"], "DROP TABLE greenshard.barrier")
    write = f"UPDATE t SET c = 5 WHERE k IN ({', '.join(str(world.keys[s]) for s in keys)})"
    cursor.execute(write)
    with pytest.raises(psycopg2.errors.UndefinedTable):
        conn.commit()
    assert world.values() == ONE
    # It is known now: one shard commits as it can, and several not at all.
    if len(keys) == 1:
        cursor.execute(write)
        conn.commit()
        assert world.values() == {**ONE, "s1": [5]}
    else:
        refused(cursor)


def test_rights_that_are_missing_are_told(world):
    role = "no_committer"
    for dsn in {world.dsns["s0"], world.dsns["s1"]}:
        run(dsn, f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role} LOGIN")
    for dsn in world.dsns.values():
        run(dsn, f"GRANT ALL ON t TO {role}")
    try:
        with world.connect(user=role) as conn, conn.cursor() as cursor:
            assert f"not for the role {role}" in refused(cursor)
            conn.rollback()
            greenshard.init(world.cluster, roles=[role])
            cursor.execute(ALL)
            conn.commit()
        assert world.values() == ONE
    finally:
        for dsn in world.dsns.values():
            run(dsn, f"DROP OWNED BY {role}")
        for dsn in {world.dsns["s0"], world.dsns["s1"]}:
            run(dsn, f"DROP ROLE {role}")


def test_sequence_and_locks_are_no_writes(bare):
    for dsn in bare.dsns.values():
        run(
            dsn,
            "CREATE SEQUENCE numbers",
            "CREATE FUNCTION locked(k int) RETURNS int LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM FROM t WHERE t.k = $1 FOR UPDATE; RETURN 1; END'",
        )
    tables = {"t": greenshard.Sharded("k")}
    cluster = greenshard.Cluster(bare.dsns, tables, functions={"locked(int)": {"reads": "shard"}})
    conn = greenshard.connect(cluster)
    with conn.cursor() as cursor, conn.on("s0").cursor() as there:
        there.execute("SELECT nextval('numbers')")
        cursor.execute("SELECT locked(k) FROM t")
        there.execute("SELECT pg_current_xact_id_if_assigned()")
        assert there.fetchone() != (None,)
        cursor.execute("UPDATE t SET c = 1 WHERE k = %s", (bare.keys["s1"],))
    conn.commit()
    conn.close()
    assert bare.values() == {**NONE, "s1": [1]}


def test_what_a_shard_lacks_at_commit_undoes_all(bare):
    """A function that writes is taken for one that reads, if it is declared so."""
    for dsn in bare.dsns.values():
        run(
            dsn,
            "CREATE FUNCTION touched(k int) RETURNS int LANGUAGE plpgsql AS"
            " 'BEGIN UPDATE t SET c = c + 1 WHERE t.k = $1; RETURN 1; END'",
        )
    tables = {"t": greenshard.Sharded("k")}
    cluster = greenshard.Cluster(bare.dsns, tables, functions={"touched(int)": {"reads": "shard"}})
    conn = greenshard.connect(cluster)
    with conn.cursor() as cursor:
        cursor.execute("UPDATE t SET c = 1 WHERE k = %s", (bare.keys["s0"],))
        cursor.execute("SELECT touched(k) FROM t")
    with pytest.raises(errors.NotSupportedError, match="not initialised"):
        conn.commit()
    conn.close()
    assert bare.values() == NONE


@pytest.mark.parametrize("kind", [list, str])
def test_names_are_written_as_they_are_whatever_a_program_registers(world, conn, monkeypatch, kind):
    monkeypatch.setitem(psycopg2.extensions.adapters, (kind, ISQLQuote), Json)
    conn.cursor().execute(ALL)
    conn.commit()
    monkeypatch.undo()
    assert world.values() == ONE
    assert world.left() == {}
    found = world.everywhere("SELECT gid, participants FROM greenshard.decision")
    ((gid, participants),) = [row for rows in found.values() for row in rows]
    assert gids.read(gid) is not None
    assert [len(each) for each in participants] == [32, 32]
