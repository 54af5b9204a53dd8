"""Adapters of the program's own: a row goes where its key belongs as it was written."""

from __future__ import annotations

import contextlib
import unicodedata

import psycopg2
import pytest
from psycopg2.extensions import AsIs, Binary, ISQLQuote, QuotedString, adapters, register_adapter
from psycopg2.extras import Json

import greenshard
from greenshard.checking.check import check
from greenshard.executor.strategies import table_rows as reading
from tests.initialised import initialised
from tests.postgres.one_database.conftest import SMALL_BATCHES

TABLES = {"words": greenshard.Sharded("k"), "numbers": greenshard.Sharded("k")}
SCHEMA = "CREATE TABLE words (k text, v text); CREATE TABLE numbers (k bigint, v text)"
FORMS = ("NFC", "NFD")
DECOMPOSED = [f"e\u0301 {n}" for n in range(40)]


class Composed:
    """Text in the normal form C."""

    def __init__(self, value):
        self._quoted = QuotedString(unicodedata.normalize("NFC", value))

    def prepare(self, conn):
        self._quoted.prepare(conn)

    def getquoted(self):
        return self._quoted.getquoted()


class Conforming:
    """Writes itself."""

    def __init__(self, quoted):
        self.quoted = quoted
        self.asked = 0

    def __conform__(self, protocol):
        return self

    def getquoted(self):
        self.asked += 1
        return self.quoted


class Counting:
    """Writes another value each time."""

    def __init__(self):
        self.next = 0

    def __conform__(self, protocol):
        self.next += 1
        return AsIs(self.next)


class Token(str):
    __slots__ = ()


@contextlib.contextmanager
def registered(kind, adapter):
    before = adapters.get((kind, ISQLQuote))
    register_adapter(kind, adapter)
    try:
        yield
    finally:
        if before is None:
            del adapters[kind, ISQLQuote]
        else:
            register_adapter(kind, before)


@pytest.fixture(scope="module")
def cluster(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn:
                conn.cursor().execute(SCHEMA)
        yield initialised(greenshard.Cluster(dsns, TABLES))


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        yield connection


@pytest.fixture
def cur(conn):
    return conn.cursor()


def misplaced(conn, table, type_name):
    """The keys that are not on the shard where they belong."""
    found = []
    for shard in conn.shards:
        with conn.on(shard), conn.cursor() as cur:
            cur.execute(f"SELECT k FROM {table}")
            keys = [key for (key,) in cur.fetchall()]
        shards_for = conn.cluster.placement.shards_for
        found += [key for key in keys if shards_for(key, type_name, conn.shards) != shard]
    return found


def test_rows_go_where_what_was_written_belongs(conn, cur):
    statement = "INSERT INTO words VALUES (%s, %s)"
    cur.execute(statement, ("planned before", ""))
    with registered(str, Composed):
        for word in DECOMPOSED:
            cur.execute(statement, (word, "one"))
        cur.executemany(statement, [(word, "many") for word in DECOMPOSED])
        assert misplaced(conn, "words", "text") == []
        for word in DECOMPOSED:
            cur.execute("SELECT k FROM words WHERE k = %s", (word,))
            assert cur.fetchall() == [(unicodedata.normalize("NFC", word),)] * 2
            cur.execute("SELECT count(*) FROM words WHERE k = ANY(%s)", (DECOMPOSED[:5],))
            assert cur.fetchone() == (10,)
            cur.execute("SELECT count(*) FROM words WHERE k IN %(k)s", {"k": tuple(DECOMPOSED)})
            assert cur.fetchone() == (80,)
            with conn.on(key=word, table="words"):
                cur.execute("SELECT count(*) FROM words WHERE k = %s", (word,))
                assert cur.fetchone() == (2,)
        cur.executemany("UPDATE words SET v = %s WHERE k = %s", [("new", w) for w in DECOMPOSED])
        assert cur.rowcount == 80
        cur.execute("DELETE FROM words WHERE k = %s", (DECOMPOSED[0],))
        assert cur.rowcount == 2
    conn.rollback()


def test_text_with_every_mark_is_read_as_it_was_written(conn, cur):
    words = [f"{mark}{n}" for n in range(9) for mark in ("\\", "'", "''", "\\'", "%s", "\n", '"')]
    with registered(str, Composed):
        for word in words:
            cur.execute("INSERT INTO words VALUES (%s)", (word,))
        assert misplaced(conn, "words", "text") == []
        cur.execute("SELECT k FROM words")
        assert sorted(word for (word,) in cur.fetchall()) == sorted(words)
    conn.rollback()


@pytest.mark.parametrize(
    "written", [b"7", b" -7", b"'7'", b"'7'::int8", b"'7'::bigint", b"7::int8", b"(7)", b"7.0"]
)
def test_a_value_that_writes_itself(conn, cur, written):
    for key in (7, -7):
        cur.execute("INSERT INTO numbers VALUES (%s)", (key,))
    cur.execute("SELECT k FROM numbers WHERE k = %s", (Conforming(written),))
    assert cur.fetchall() == [(-7 if b"-" in written else 7,)]
    conn.rollback()


def test_an_adapter_is_asked_once_for_what_is_sent(conn, cur):
    for _ in range(20):
        value = Counting()
        cur.execute("INSERT INTO numbers VALUES (%s)", (value,))
        assert value.next == 1
    assert misplaced(conn, "numbers", "int8") == []
    counting = Counting()
    cur.executemany("INSERT INTO numbers VALUES (%s, %s)", [(counting, "x")] * 30)
    assert counting.next == 30
    assert misplaced(conn, "numbers", "int8") == []
    conn.rollback()


def test_a_subclass_with_an_adapter_of_its_own(conn, cur):
    with registered(Token, lambda token: QuotedString(token[::-1])):
        for n in range(30):
            cur.execute("INSERT INTO words VALUES (%s, '')", (Token(f"token {n}"),))
        assert misplaced(conn, "words", "text") == []
        cur.execute("SELECT k FROM words WHERE k = %s", (Token("token 3"),))
        assert cur.fetchall() == [("3 nekot",)]
    conn.rollback()


@pytest.mark.parametrize("value", [Json({"n": 1}), Binary(b"'a'"), AsIs("'a' || 'b'")])
def test_strange_keys_are_right_or_refused(conn, cur, value):
    try:
        cur.execute("INSERT INTO words VALUES (%s)", (value,))
    except (greenshard.NotSupportedError, psycopg2.DatabaseError):
        conn.rollback()
    assert misplaced(conn, "words", "text") == []
    conn.rollback()


def test_a_literal_that_is_not_one_of_the_key_is_cast_or_looked_for_everywhere(conn, cur):
    with registered(int, lambda n: AsIs(f"{n}.4")):
        cur.executemany("INSERT INTO numbers VALUES (%s)", [(n,) for n in range(12, 20)])
        cur.execute("SELECT k FROM numbers WHERE k = floor(%s)", (12,))
        assert cur.fetchall() == [(12,)]
    # Each is on the shard of what the column has made of it.
    for key in range(12, 20):
        cur.execute("SELECT k FROM numbers WHERE k = %s", (key,))
        assert cur.fetchall() == [(key,)]
    with (
        registered(int, lambda n: AsIs(f"{n}.0")),
        pytest.raises(greenshard.ProgrammingError, match="GS103"),
    ):
        conn.on(key=12, table="numbers")
    conn.rollback()


def test_a_literal_of_the_text_is_no_adapter_s(conn, cur):
    with registered(str, Json):
        # Not certain to the client, so that a server is asked.
        cur.execute("INSERT INTO numbers VALUES ('+0000000000000000000000000007')")
        cur.execute("SELECT k FROM numbers WHERE k = 7")
        assert cur.fetchall() == [(7,)]
    conn.rollback()


def test_a_list_that_is_json_is_no_list_of_keys(conn, cur):
    for word in ('["a"]', "a"):
        cur.execute("INSERT INTO words VALUES (%s)", (word,))
    with registered(list, Json):
        cur.execute("SELECT k FROM words WHERE k = %s", (["a"],))
        assert cur.fetchall() == [('["a"]',)]
    conn.rollback()


def test_a_limit_that_an_adapter_has_written(conn, cur):
    cur.executemany("INSERT INTO numbers VALUES (%s)", [(n,) for n in range(30)])
    with registered(int, lambda n: AsIs(f"'{n}'")):
        cur.execute("SELECT k FROM numbers ORDER BY k LIMIT %s OFFSET %s", (3, 4))
        assert cur.fetchall() == [(4,), (5,), (6,)]
        cur.execute("SELECT count(*), sum(k) FROM numbers WHERE k < %s", (10,))
        assert cur.fetchone() == (10, 45)
    conn.rollback()


def test_a_mapping_with_values_that_it_does_not_list(conn, cur):
    class Made(dict):
        def __missing__(self, name):
            return 5

    cur.execute("INSERT INTO numbers VALUES (%s)", (5,))
    given = Made(odd=Conforming(b"'x'"))
    cur.execute("SELECT k, %(odd)s FROM numbers WHERE k = %(key)s", given)
    assert cur.fetchall() == [(5, "x")]
    conn.rollback()


@pytest.mark.parametrize("kind", [list, str, int])
def test_our_own_parameters_are_not_the_program_s_to_write(cluster, conn, cur, kind):
    """Those that types, settings, columns and the catalog are asked with."""
    cur.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    conn.commit()
    with (
        registered(kind, Json),
        contextlib.closing(greenshard.connect(cluster)) as other,
        other.cursor() as asking,
    ):
        asking.execute("SET work_mem = '8MB'")
        asking.execute(
            "SELECT cardinality(array_agg(DISTINCT coalesce(v))), max('sad'::mood) FROM words"
        )
        assert asking.fetchall() == [(None, None)]
        asking.execute("SELECT 'sad'::mood FROM words ORDER BY 1")
        assert asking.fetchall() == []
        dsns = {name: shard.primary for name, shard in cluster.shards.items()}
        with contextlib.closing(greenshard.connect(dsns)) as union:
            assert check(union, cluster).findings == []
    cur.execute("DROP TYPE mood")
    conn.commit()


TRAVELLING = {
    "in the text": "SELECT cardinality(array_agg(DISTINCT coalesce(v))) FROM words",
    "combined": "SELECT count(*) FROM (SELECT v FROM words GROUP BY v) AS q",
    "partial rows": 'SELECT v, avg(length(v)) FROM words GROUP BY v ORDER BY v COLLATE "C"',
    "ranked": "SELECT v FROM words ORDER BY v",
    "the time": "SELECT count(*), now() > '2020-01-01' FROM words GROUP BY 2",
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("in_batches", [False, True])
@pytest.mark.parametrize("statement", TRAVELLING.values(), ids=TRAVELLING)
def test_rows_travel_as_they_are(conn, cur, monkeypatch, statement, in_batches, named):
    """The program's adapter for text is for its own parameters, not for rows on their way."""
    cur.executemany(
        "INSERT INTO words VALUES (%s, %s)",
        [(f"{n} {form}", unicodedata.normalize(form, f"é{n}")) for n in range(9) for form in FORMS],
    )
    for name, value in SMALL_BATCHES.items() if in_batches else ():
        monkeypatch.setattr(reading, name, value)
    answers = []
    for adapter in (QuotedString, Composed, Json):
        with registered(str, adapter), conn.cursor(*["streamed"] * named) as asking:
            asking.execute(statement)
            answers.append(asking.fetchall())
    assert answers[1:] == answers[:1] * 2
    conn.rollback()
