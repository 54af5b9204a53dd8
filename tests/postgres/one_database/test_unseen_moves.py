"""A search path that code has moved unseen: answers are of one place, or there is an error."""

from __future__ import annotations

import contextlib
import random

import psycopg2
import pytest

import greenshard
from greenshard.executor.knowledge import one_database
from greenshard.executor.knowledge.changes import ask_news
from greenshard.links.deadline import UNLIMITED
from greenshard.planner.code import Trace
from tests.initialised import initialised
from tests.postgres import psql
from tests.postgres.hiding import CLEAN, PLACES, SCHEMA

TABLES = {
    "t": greenshard.Sharded("id"),
    "b.t": greenshard.Sharded("id"),
    **dict.fromkeys(
        ["triggered", "late", "defaulted", "checked", "indexed", "made"],
        greenshard.Sharded("id", triggers=("before", "late")),
    ),
}
QUERIES = {
    "gather": ("SELECT string_agg(DISTINCT v, ',' ORDER BY v) FROM t", None),
    "combine": ("SELECT min(v), count(*) FROM t", None),
    "concatenate": ("SELECT v FROM t", None),
    "route": ("SELECT v FROM t WHERE id = %s", (7,)),
}


@pytest.fixture(scope="module")
def cluster(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        shards = {"s0": dsns["s0"], "s1": dsns["s1"]}
        for dsn in shards.values():
            psql.run(dsn, SCHEMA)
        cluster = initialised(greenshard.Cluster(shards, TABLES))
        with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
            for n in range(20):
                cur.execute("INSERT INTO t VALUES (%s, %s)", (n, f"a{n}"))
                cur.execute("INSERT INTO b.t VALUES (%s, %s)", (n, f"b{n}"))
            conn.commit()
        yield cluster


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        yield connection


def ask(conn, text, args=None):
    cur = conn.cursor()
    cur.execute(text, args)
    return cur.fetchall()


def check(conn, names=tuple(QUERIES)):
    """Answers are those of the schema in which the shards look for t, or there is an error.

    If they look in different ones, a statement that needs one shard may have its own answer.
    """
    answers = []
    for name in names:
        text, args = QUERIES[name]
        try:
            answers.append((name, ask(conn, text, args)))
        except greenshard.NotSupportedError:
            answers.append((name, None))
    said = "SELECT current_setting('search_path'), current_setting('TimeZone')"
    places = {shard: ask_on(conn, shard, said)[0] for shard in conn.shards}
    one = conn.cluster.placement.shards_for(7, "int4", conn.shards)
    for name, answer in answers:
        if len(set(places.values())) > 1 and (answer is None or name != "route"):
            assert answer is None, (name, places)
        else:
            path, _ = places[one]
            schema = "b" if "b, " in path else "a"
            assert answer is not None
            assert answer == expected(schema, name) or sorted(answer) == expected(schema, name)


def expected(schema, name):
    values = [f"{schema}{n}" for n in range(20)]
    return {
        "gather": [(",".join(sorted(values)),)],
        "combine": [(min(values), 20)],
        "concatenate": sorted((v,) for v in values),
        "route": [(f"{schema}7",)],
    }[name]


def ask_on(conn, shard, text):
    return ask_with(conn.on(shard).cursor(), text)


def ask_with(cur, text):
    cur.execute(text)
    return cur.fetchall()


def run(conn, text, shards=None):
    """Run a statement on shards, or as the planner says; whether it ran at all."""
    try:
        if shards is None:
            conn.cursor().execute(text)
        else:
            conn.on(shards).cursor().execute(text)
    except greenshard.NotSupportedError:
        return False
    except greenshard.Error:
        conn.rollback()
    return True


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_known(conn, place):
    database = conn._statements.database
    trace = database.trace_of(PLACES[place], False, conn.shards, UNLIMITED)
    assert trace is Trace.COUNT if place.startswith("lastval") else trace >= Trace.ANYTHING


@pytest.mark.parametrize("text", CLEAN)
def test_clean_statements_are_known(conn, text):
    assert conn._statements.database.trace_of(text, False, conn.shards, UNLIMITED) is Trace.NOTHING


def test_policies_count(conn):
    assert (
        conn._statements.database.trace_of("SELECT * FROM guarded", False, conn.shards, UNLIMITED)
        is Trace.UNSEEN
    )


@pytest.mark.parametrize(
    "change",
    [
        "CREATE DOMAIN odd AS int CHECK (quiet(VALUE) = 1)",
        "CREATE CAST (point AS int) WITH FUNCTION to_odd(point)",
        "CREATE OPERATOR = (LEFTARG = point, RIGHTARG = int, FUNCTION = odd_equal)",
    ],
)
def test_what_no_text_names_counts_for_all(conn, change):
    cur = conn.on("s0").cursor()
    cur.execute(
        "CREATE FUNCTION odd_equal(point, int) RETURNS bool LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION to_odd(point) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    assert (
        conn._statements.database.trace_of("SELECT 1", False, conn.shards, UNLIMITED)
        is Trace.NOTHING
    )
    cur.execute(change)
    assert (
        conn._statements.database.trace_of("SELECT 1", False, conn.shards, UNLIMITED)
        is Trace.UNSEEN
    )


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_answers_after_it_moved_on_one_shard(conn, place, autocommit):
    conn.autocommit = autocommit
    check(conn)
    run(conn, PLACES[place], "s1")
    check(conn)
    conn.commit()  # a deferred trigger has moved it now
    check(conn)


@pytest.mark.parametrize("place", PLACES)
def test_answers_after_it_moved_on_all_shards(conn, place):
    if run(conn, PLACES[place]):
        check(conn, ["gather"])
    run(conn, PLACES[place], ["s0", "s1"])
    check(conn)
    conn.rollback()
    check(conn)


def test_rollback_to_a_savepoint_moves_it_back(conn):
    conn.cursor().execute("SAVEPOINT s")
    run(conn, PLACES["a call"], "s1")
    check(conn, ["route"])
    conn.cursor().execute("ROLLBACK TO s")
    check(conn)


def test_named_cursor_runs_code_when_it_is_fetched_from(conn):
    cur = conn.on("s1").cursor("c")
    cur.itersize = 1
    cur.execute("SELECT CASE WHEN n = 3 THEN evil(1) END FROM generate_series(1, 5) AS n")
    cur.fetchone()
    check(conn, ["route"])
    cur.fetchmany(4)
    check(conn)


@pytest.mark.parametrize("how", ["executemany", "callproc", "reset", "native"])
def test_other_ways_to_run_code(conn, how):
    check(conn)
    if how == "executemany":
        conn.cursor().executemany("INSERT INTO triggered VALUES (%s, 1)", [(1,), (2,), (3,)])
    elif how == "callproc":
        conn.on("s0").cursor().callproc("evil", (1,))
    elif how == "reset":
        conn.cursor().execute("SET search_path = b, public")
        check(conn)
        conn.reset()
    else:
        with conn.on("s1"):
            conn.get_native_connection()
        raw = conn._session.physical("s1").raw
        psycopg2.extensions.cursor(raw).execute("SET search_path = b, public")
        check(conn)
        conn.cursor().execute("SET search_path = b, public")
    check(conn)


def test_setting_that_code_has_made_up_is_there_where_rows_are_gathered(conn):
    for shard in conn.shards:
        run(conn, "SELECT set_config('app.tenant', 'a7', false) FROM over_it", shard)
    conn.cursor().execute("SET search_path = public")
    run(conn, "SELECT evil(1)", list(conn.shards))
    conn.cursor().execute("SET search_path = public")
    for name, args in [("'app.tenant'", None), ("%s", ("app.tenant",))]:
        text = (
            "SELECT cardinality(array_agg(DISTINCT coalesce(v))),"
            f" current_setting({name}) FROM t WHERE v <> 'a7'"
        )
        assert ask(conn, text, args) == [(19, "other")]
    with pytest.raises(greenshard.NotSupportedError, match="computes the name of a setting"):
        ask(
            conn,
            "SELECT cardinality(array_agg(DISTINCT coalesce(v))),"
            " current_setting('app.' || 'tenant') FROM t",
        )


def test_gathering_session_keeps_nothing(conn):
    """A function declared IMMUTABLE runs there too."""
    for _ in range(2):
        assert ask(
            conn, "SELECT cardinality(array_agg(DISTINCT coalesce(v))), quiet(1) FROM t"
        ) == [(20, 1)]
        (beside,) = conn._session.beside.values()
        cur = psycopg2.extensions.cursor(beside.raw)
        cur.execute("SHOW search_path")
        assert "b" not in cur.fetchone()[0].split(", ")


def test_plans_ask_nothing_after_clean_statements(conn, monkeypatch):
    run(conn, CLEAN[0])  # the catalog is known
    conn.commit()
    asked = []
    for name in "ask_bearings", "ask_news":
        ask_shard = getattr(one_database, name)
        monkeypatch.setattr(
            one_database,
            name,
            lambda *args, ask=ask_shard, **what: asked.append(1) or ask(*args, **what),
        )
    for text in CLEAN:
        run(conn, text)
        conn.commit()
    assert not asked
    conn.cursor().execute("SET TimeZone = 'UTC'")
    run(conn, CLEAN[0])
    assert len(asked) == len(conn.shards)


def steps(rand, conn):
    """A statement or an end of a transaction, at random."""
    yield rand.choice(
        [
            lambda: run(conn, PLACES[rand.choice(list(PLACES))], rand.choice(conn.shards)),
            lambda: run(conn, PLACES[rand.choice(list(PLACES))], list(conn.shards)),
            lambda: run(conn, PLACES[rand.choice(list(PLACES))]),
            lambda: run(conn, rand.choice(CLEAN)),
            lambda: run(conn, rand.choice(CLEAN), rand.choice(conn.shards)),
            lambda: run(conn, "SET search_path = public"),
            lambda: run(conn, "DISCARD ALL"),
            conn.commit,
            conn.rollback,
        ]
    )


@pytest.mark.parametrize("seed", range(12))
def test_any_sequence_of_statements(cluster, seed):
    rand = random.Random(seed)
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        conn.autocommit = rand.random() < 0.3
        for _ in range(25):
            for step in steps(rand, conn):
                step()
            check(conn, rand.sample(list(QUERIES), 2))


MAKER = """
CREATE OR REPLACE FUNCTION make(what text) RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN EXECUTE what; RETURN 1; END $$
"""


@pytest.fixture
def pair(cluster):
    """Two connections that know the catalog, nothing doubted; the second in autocommit mode."""
    with (
        contextlib.closing(greenshard.connect(cluster)) as conn,
        contextlib.closing(greenshard.connect(cluster)) as other,
    ):
        other.autocommit = True
        run(other, MAKER, list(other.shards))
        settle(other)
        yield conn, other
        conn.rollback()
        run(other, "ALTER TABLE t DROP COLUMN IF EXISTS extra", list(other.shards))
        run(other, "DROP TABLE IF EXISTS fresh", list(other.shards))


def settle(other):
    make(other, "SELECT 1")
    ask(other, "SELECT v FROM t")
    knowledge = other._statements.database._knowledge
    assert (knowledge.current() is not None, knowledge.doubted) == (True, set())


def make(conn, what):
    ask(conn.on(list(conn.shards)), f"SELECT make('{what}')")


def columns(conn):
    conn.explain("SELECT v FROM t")
    relation = conn._statements.database._knowledge.known.catalog.relations["public", "t"]
    return [column.name for column in relation.columns]


ADD = "ALTER TABLE t ADD COLUMN extra int"


def test_doubt_that_arises_while_another_asks_stays(pair, monkeypatch):
    conn, other = pair
    make(other, "SELECT 1")

    asks = one_database.OneDatabase._ask

    def ask_and_wait(*args):
        found = asks(*args)
        monkeypatch.undo()
        make(other, ADD)
        return found

    monkeypatch.setattr(one_database.OneDatabase, "_ask", ask_and_wait)
    ask(conn, "SELECT v FROM t")
    assert conn._statements.database._knowledge.doubted == set(conn.shards)
    assert columns(other) == ["id", "v", "extra"]


@pytest.mark.parametrize("how", ["a statement", "a function"])
def test_own_changes_are_not_believed_for_others(pair, how):
    conn, other = pair
    knowledge = conn._statements.database._knowledge
    known, versions = knowledge.known, dict(knowledge._versions)
    if how == "a statement":
        run(conn, ADD, list(conn.shards))
    else:
        make(conn, ADD)
        conn.explain("SELECT 1")  # asks
    make(other, "SELECT 1")
    conn.explain("SELECT v FROM t")
    assert (knowledge.known, knowledge._versions) == (known, versions)
    assert knowledge.doubted == set(conn.shards)
    conn.commit()
    assert columns(other) == ["id", "v", "extra"]


def test_isolated_transaction_asks_once(pair, monkeypatch):
    conn, other = pair
    asked = []
    monkeypatch.setattr(
        one_database,
        "ask_news",
        lambda *args, version, **options: (
            asked.extend([args[0].shard] * version) or ask_news(*args, version=version, **options)
        ),
    )
    conn.isolation_level = "REPEATABLE READ"
    knowledge = conn._statements.database._knowledge
    ask(conn, "SELECT v FROM t")
    make(other, "SELECT 1")
    for _ in range(3):
        ask(conn, "SELECT v FROM t")
    assert (sorted(asked), knowledge.doubted) == (sorted(conn.shards), set(conn.shards))
    make(other, "CREATE TABLE fresh (id int)")
    conn.commit()
    ask(other, "SELECT v FROM t")
    assert knowledge.doubted == set()
    assert ("public", "fresh") in other._statements.database._knowledge.current().catalog.relations
