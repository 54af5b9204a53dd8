"""Named cursors of small pages give what one server gives, by each strategy, over many ties."""

from __future__ import annotations

import contextlib
import random

import psycopg2
import pytest

import greenshard
from tests.initialised import initialised
from tests.postgres.one_database.conftest import Shop, insert

#: For a server that is built with ICU, and for one that is not.
COLLATIONS = (
    (
        'CREATE COLLATION german FROM "de-x-icu";'
        "CREATE COLLATION loose (provider = icu, locale = 'en-u-ks-level2', deterministic = false)"
    ),
    'CREATE COLLATION german FROM "C.utf8"; CREATE COLLATION loose FROM "C.utf8"',
)
SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
CREATE TABLE words (
    id int PRIMARY KEY, word text, german text COLLATE german, loose text COLLATE loose,
    c text COLLATE "C", blank char(6), span interval, day date, number numeric, float float8,
    feeling mood, other int);
CREATE TABLE others (id int PRIMARY KEY, word text);
"""
LETTERS = ["", "a", "A", "ä", "Ä", "b", "B", "é", "z", "Z", "ß", "ss", "_", " a", "a ", "1", "10"]
TABLES = {"words": greenshard.Sharded("id"), "others": greenshard.Sharded("id")}
ROWS = 400


def random_rows(seed=7):
    pick = random.Random(seed)

    def maybe(value):
        return None if pick.random() < 0.15 else value

    def text():
        return "".join(pick.choice(LETTERS) for _ in range(pick.randint(0, 2)))

    return [
        (
            number, maybe(text()), maybe(text()), maybe(text()), maybe(text()), maybe(text()[:6]),
            maybe(pick.choice(["1 mon", "30 days", "1 day", "-1 day", "12:00"])),
            maybe(pick.choice(["2020-01-01", "infinity", "-infinity", "0044-03-15 BC"])),
            maybe(pick.choice(["1", "1.0", "1.00", "NaN", "-3"])),
            maybe(pick.choice([0.0, -0.0, 1])),
            maybe(pick.choice(["sad", "ok", "glad"])), pick.randrange(60),
        )
        for number in range(ROWS)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shop(greenshard_shards):
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}
        shop = Shop(initialised(greenshard.Cluster(dsns, TABLES)), second["s1"])
        rows = random_rows()
        for name, dsn in {**dsns, None: shop.single}.items():
            own = [row for row in rows if name is None or shop.cluster.placement.shards_for(
                row[0], "int4", shop.cluster.names) == name]  # fmt: skip
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(
                    "SELECT NOT EXISTS (SELECT FROM pg_collation WHERE collname = 'de-x-icu')"
                )
                cur.execute(COLLATIONS[cur.fetchone()[0]])
                cur.execute(SCHEMA)
                insert(cur, "words", own)
                insert(cur, "others", [(row[0], row[1]) for row in own])
        yield shop


@pytest.fixture(params=[1, 2, 7, 1000])
def itersize(request):
    return request.param


def rows_of(connection, statement, itersize, parameters=None):
    """All rows by iteration, as they are written: 1.0 is not 1.00."""
    with connection.cursor("rows") as cur:
        cur.itersize = itersize
        cur.execute(statement, parameters)
        return list(map(repr, cur))


ORDERS = [
    "word, id", "word DESC NULLS LAST, id DESC", "german, word, id", "loose, id",
    "loose DESC NULLS LAST, c, id", "c DESC, id", "blank, id", "span DESC, id", "day, loose, id",
    "number DESC, id", "float, word, id", "feeling DESC, german, id", 'word COLLATE "C", id',
    "word COLLATE german DESC, id",
]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rest", ["", " LIMIT 33 OFFSET 5"])
def test_merged_in_any_order(conn, single, order, rest, itersize):
    statement = f"SELECT id, word, loose, number::text FROM words ORDER BY {order}{rest}"
    assert rows_of(conn, statement, itersize) == rows_of(single, statement, itersize)


def test_hidden_columns_are_sorted_by(conn, single, itersize):
    statement = "SELECT id FROM words ORDER BY lower(word), german DESC, id"
    assert rows_of(conn, statement, itersize) == rows_of(single, statement, itersize)


def test_merge_ranked_by_the_server_goes_on_after_commit_with_hold(conn, single):
    rows = []
    for connection in (conn, single):
        cur = connection.cursor("held", withhold=True)
        cur.itersize = 7
        cur.execute("SELECT id FROM words ORDER BY word, id")
        connection.commit()
        rows.append(cur.fetchall())
        assert connection.get_transaction_status() == 0
        cur.close()
        connection.rollback()
    assert rows[0] == rows[1]


def test_ranked_merge_holds_pages(conn):
    cur = conn.cursor("rows")
    cur.itersize = 10
    cur.execute("SELECT id FROM words ORDER BY word, id")
    for given, _ in enumerate(cur, 1):
        fetched = sum(timing.rows for timing in cur.timings.values())
        assert fetched - given < 3 * 15
    assert given == ROWS


def test_one_deadline_for_all_pages_of_a_call(conn):
    cur = conn.cursor("rows")
    cur.itersize = 5
    cur.timeout = 0.5
    cur.execute("SELECT id, pg_sleep(0.01) FROM words ORDER BY word, id")
    with pytest.raises(greenshard.QueryTimeout, match=r"within 0.5 s"):
        cur.fetchall()
    conn.rollback()


COMBINED = {
    "groups": "SELECT other, count(*), avg(id), sum(number), min(word) FROM words GROUP BY other",
    "having": "SELECT span, count(*) FROM words GROUP BY span HAVING count(*) > 3",
    "expression": "SELECT lower(word) || '%%', max(day)::text FROM words WHERE id > %s GROUP BY 1",
    "distinct": "SELECT DISTINCT blank, feeling FROM words",
    "distinct numbers": "SELECT DISTINCT number::text, float FROM words ORDER BY 1, 2",
    "one row": "SELECT count(*), avg(id), max(word) FROM words",
    "empty": "SELECT other, count(*) FROM words WHERE id < 0 GROUP BY other",
    "limit": "SELECT other, avg(id) FROM words GROUP BY other ORDER BY 2 DESC LIMIT 5 OFFSET 2",
}
GATHERED = {
    "collated groups": "SELECT german, count(*) FROM words GROUP BY german ORDER BY german, 2",
    "union": "SELECT word FROM words UNION SELECT german FROM words WHERE other < 7",
    "join": "SELECT w.id, o.word FROM words w JOIN others o ON w.other = o.id ORDER BY 1",
    "window": "SELECT id, sum(other) OVER (ORDER BY id) FROM words WHERE id > %s ORDER BY id",
    "count distinct": "SELECT count(DISTINCT german), count(DISTINCT number) FROM words",
    "empty": "SELECT w.id FROM words w JOIN others o ON w.other = o.id + 1000",
    "functional dependency": "SELECT w.id, w.word, count(*) FROM words w JOIN others o"
    " ON w.other = o.id GROUP BY w.id ORDER BY 1",
}


@pytest.mark.parametrize("kind", COMBINED)
def test_combined(conn, single, kind, itersize):
    statement = COMBINED[kind]
    parameters = (7,) if "%s" in statement else None
    assert "strategy: combine" in conn.explain(statement, parameters)
    check_alike(conn, single, statement, itersize, parameters)


@pytest.mark.parametrize("kind", GATHERED)
def test_gathered(conn, single, kind, itersize):
    statement = GATHERED[kind]
    parameters = (7,) if "%s" in statement else None
    assert "strategy: gather" in conn.explain(statement, parameters)
    check_alike(conn, single, statement, itersize, parameters)


def check_alike(conn, single, statement, itersize, parameters):
    ours, theirs = (rows_of(c, statement, itersize, parameters) for c in (conn, single))
    if "ORDER BY" not in statement:
        ours, theirs = sorted(ours), sorted(theirs)
    assert ours == theirs
    assert no_cursors(conn)
    assert not conn._statements.portals.open
    assert all(p.transaction_status == 0 for p in conn._session.beside.values())


def no_cursors(conn):
    """Whether no server has a cursor of these sessions."""
    found = []
    for name in conn.shards:
        with conn.on(name):
            cur = conn.cursor()
            cur.execute("SELECT count(*) FROM pg_cursors")
            found.append(cur.fetchone()[0])
    return not any(found)
