"""Whatever code has left in a session, wherever it hid: the next user finds nothing of it."""

from __future__ import annotations

import contextlib
import random

import psycopg2
import pytest

import greenshard
from greenshard.pool import supply
from tests.postgres.hiding import CLEAN, PLACES, SCHEMA, STATE

TABLES = {
    **dict.fromkeys(["t", "b.t", "triggered", "late", "defaulted"], greenshard.Sharded("id")),
    "numbered": greenshard.Sharded("x"),
    "identified": greenshard.Sharded("x"),
}


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        found = {"s0": dsns["s0"], "s1": dsns["s1"]}
        for dsn in found.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(SCHEMA)
        greenshard.init(greenshard.Cluster(found, TABLES))
        yield found


@pytest.fixture(params=["union", "declared", "one shard"])
def pool(request, make_pool, dsns):
    if request.param == "declared":
        # What is hidden is written on each shard, wherever the rows belong.
        return make_pool(greenshard.Cluster(dsns, TABLES), 1, check=False)
    if request.param == "one shard":
        return make_pool({"s0": dsns["s0"]}, 1)
    return make_pool(dsns, 1)


@pytest.fixture
def renewed(monkeypatch):
    """What was made new, by what it cost a round trip for."""
    done = []
    for name in ("renew", "forget_sequences"):
        original = getattr(supply, name)
        monkeypatch.setattr(
            supply, name, lambda *args, n=name, f=original: done.append(n) or f(*args)
        )
    return done


def look(conn):
    """What a user of the session finds there."""
    found = []
    for shard in conn.shards:
        cur = conn.on(shard).cursor()
        cur.execute(STATE)
        found += [cur.fetchone()]
        cur.execute("SELECT random()")
        found += [cur.fetchone() in SEEDED]
        for text in ("SELECT lastval()", "SELECT currval('counter')"):
            with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
                cur.execute(text)
            conn.rollback()
    return found


#: The first number after setseed(0.5), of versions until 14, and since.
SEEDED = {(0.2499104186659835,), (0.9851677175347999,)}


def run(conn, text, shards=None):
    with contextlib.suppress(greenshard.Error):
        (conn if shards is None else conn.on(shards)).cursor().execute(text)
        return
    conn.rollback()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_next_user_finds_nothing(pool, place, end):
    with pool.connection() as conn:
        expected = look(conn)
    with pool.connection() as conn:
        run(conn, PLACES[place])
        run(conn, PLACES[place], list(conn.shards))
        # Some make temporary tables on several shards beside what they write: these cannot commit
        # together, and are rolled back.
        with contextlib.suppress(greenshard.NotSupportedError):
            getattr(conn, end)()
    with pool.connection() as conn:
        assert look(conn) == expected


def test_random_numbers_after_a_known_seed_are_told(dsns):
    """Or the other tests would not see one."""
    with contextlib.closing(psycopg2.connect(dsns["s0"])) as conn, conn.cursor() as cur:
        cur.execute("SELECT setseed(0.5)")
        cur.execute("SELECT random()")
        assert cur.fetchone() in SEEDED


@pytest.mark.parametrize("kind", ["union", "declared"])
def test_clean_statements_cost_nothing(make_pool, dsns, renewed, kind):
    pool = make_pool(dsns if kind == "union" else greenshard.Cluster(dsns, TABLES), 1)
    with pool.connection() as conn:
        run(conn, CLEAN[0])
    renewed.clear()
    for text in CLEAN:
        with pool.connection() as conn:
            run(conn, text)
            if kind == "declared":
                run(conn, text, "s1")
    assert renewed == []


@pytest.mark.parametrize("kind", ["union", "declared"])
def test_counting_costs_one_message(make_pool, dsns, renewed, kind):
    pool = make_pool(dsns if kind == "union" else greenshard.Cluster(dsns, TABLES), 1)
    for _ in range(2):
        with pool.connection() as conn:
            conn.on("s0").cursor().execute("INSERT INTO numbered (x) VALUES (1)")
            renewed.clear()
    assert renewed == ["forget_sequences"]


def test_trigger_made_through_the_pool_is_known_at_once(pool):
    with pool.connection() as conn:
        expected = look(conn)
    with pool.connection() as conn:
        run(conn, "DROP TABLE IF EXISTS fresh; CREATE TABLE fresh (id int)", list(conn.shards))
    with pool.connection() as conn:
        run(conn, "INSERT INTO fresh VALUES (1)", conn.shards[0])
    with pool.connection() as conn:
        run(
            conn,
            "CREATE TRIGGER t BEFORE INSERT ON fresh FOR EACH ROW EXECUTE FUNCTION evil_trigger()",
            list(conn.shards),
        )
    with pool.connection() as conn:
        run(conn, "INSERT INTO fresh VALUES (1)", conn.shards[0])
    with pool.connection() as conn:
        assert look(conn) == expected


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_statements(pool, seed):
    rand = random.Random(seed)
    with pool.connection() as conn:
        expected = look(conn)
    for _ in range(12):
        with contextlib.suppress(greenshard.Error), pool.connection() as conn:
            conn.autocommit = rand.random() < 0.3
            for _ in range(rand.randrange(1, 4)):
                text = rand.choice([*CLEAN, *PLACES.values()])
                shards = rand.choice([None, conn.shards[0], list(conn.shards)])
                run(conn, text, shards)
                if not conn.autocommit and rand.random() < 0.3:
                    rand.choice([conn.commit, conn.rollback])()
        with pool.connection() as conn:
            assert look(conn) == expected


MAKER = """
CREATE OR REPLACE FUNCTION make(what text) RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN EXECUTE what; RETURN 1; END $$
"""


def test_trigger_that_a_function_has_made_is_known_at_once(pool):
    with pool.connection() as conn:
        expected = look(conn)
        run(conn, MAKER, list(conn.shards))
        run(conn, "DROP TABLE IF EXISTS quiet", list(conn.shards))
        run(conn, "CREATE TABLE quiet (id int)", list(conn.shards))
        conn.commit()
    for committed in (False, True):
        with pool.connection() as conn:
            run(conn, "INSERT INTO quiet VALUES (1)", conn.shards[0])
            conn.commit()
        with pool.connection() as conn:
            assert look(conn) == expected
            run(
                conn,
                "SELECT make('CREATE TRIGGER t BEFORE INSERT ON quiet"
                " FOR EACH ROW EXECUTE FUNCTION evil_trigger()')",
                list(conn.shards),
            )
            if committed:
                conn.commit()
    with pool.connection() as conn:
        run(conn, "INSERT INTO quiet VALUES (1)", conn.shards[0])
        conn.commit()
    with pool.connection() as conn:
        assert look(conn) == expected


def test_trigger_made_in_a_union_is_known_at_once(make_pool, dsns):
    pool = make_pool(dsns, 1)
    with pool.connection() as conn:
        expected = look(conn)
        run(conn, "DROP TABLE IF EXISTS still; CREATE TABLE still (id int)")
        conn.commit()
    with pool.connection() as conn:
        run(conn, "INSERT INTO still VALUES (1)", "s0")
        conn.commit()
    with pool.connection() as conn:
        run(
            conn,
            "CREATE TRIGGER t BEFORE INSERT ON still FOR EACH ROW EXECUTE FUNCTION evil_trigger()",
        )
        conn.commit()
    with pool.connection() as conn:
        run(conn, "INSERT INTO still VALUES (1)", "s0")
        conn.commit()
    with pool.connection() as conn:
        assert look(conn) == expected


def test_long_statement_on_one_shard_costs_nothing(make_pool, dsns, renewed):
    # Not the table whose rows other tests have put anywhere.
    cluster = greenshard.Cluster(dsns, {"t": TABLES["t"]})
    pool = make_pool(cluster, 1)
    text = f"INSERT INTO t VALUES (70, '{'x' * 50_000}') ON CONFLICT (id) DO NOTHING"
    for _ in range(2):
        with pool.connection() as conn:
            known = conn._statements.database._knowledge.known
            conn.on(cluster.placement.shards_for(70, "int4", conn.shards)).cursor().execute(text)
            conn.rollback()
            assert renewed == [] or known is None
            renewed.clear()
    assert known is not None
    with pool.connection() as conn:
        assert conn._statements.database._knowledge.known is known
