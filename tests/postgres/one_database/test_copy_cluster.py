"""COPY over a declared cluster does what one server with all rows does, or is refused by name."""

from __future__ import annotations

import contextlib
import io
import random
import struct

import gevent
import psycopg2
import pytest

import greenshard
from greenshard._driver import TRANSACTION_FAILED, TRANSACTION_IDLE
from greenshard.executor.strategies import copy_in
from greenshard.links import copy_feed
from tests.postgres.one_database.compared import compared

SCHEMA = """
CREATE TABLE o (id bigint PRIMARY KEY, c text, x int CHECK (x < 1000));
CREATE TABLE made (
    id bigint, c text DEFAULT 'new', at timestamptz DEFAULT now(), d date DEFAULT current_date,
    u uuid DEFAULT gen_random_uuid(), num serial, g int GENERATED ALWAYS AS (length(c)) STORED);
CREATE TABLE counted (id bigint GENERATED ALWAYS AS IDENTITY, c text);
CREATE TABLE ref (id int PRIMARY KEY, c text, at timestamp DEFAULT now());
CREATE TABLE home (id int, c text);
CREATE TABLE days (id bigint, d date);
CREATE TABLE by_text (k varchar(5), n int);
CREATE TABLE by_day (k date, n int);
CREATE TABLE by_uuid (k uuid, n int);
CREATE VIEW seen AS SELECT * FROM o;
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE TABLE noted (id bigint, n int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO ref (id) VALUES (new.id); RETURN new; END $$;
CREATE TRIGGER note BEFORE INSERT ON noted FOR EACH ROW EXECUTE FUNCTION note();
"""
TABLES = {
    **dict.fromkeys(("o", "made", "counted", "days", "noted"), greenshard.Sharded("id")),
    **dict.fromkeys(("by_text", "by_day", "by_uuid"), greenshard.Sharded("k")),
    "ref": greenshard.Reference(),
    "home": greenshard.Single("s1"),
}


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        yield made


@pytest.fixture(scope="module")
def connections(databases):
    """To one server, and to the shards; greenshard's, both."""
    cluster, whole = databases
    with contextlib.ExitStack() as opened:
        yield [
            opened.enter_context(contextlib.closing(greenshard.connect(each)))
            for each in (whole, cluster)
        ]


@pytest.fixture
def sides(connections):
    """Cursors of these, whose transactions are rolled back."""
    yield [each.cursor() for each in connections]
    for each in connections:
        each.rollback()
        each.autocommit = False


@pytest.fixture
def cur(sides):
    return sides[1]


def copy_from(cur, sql, data):
    file = io.BytesIO(data) if isinstance(data, bytes) else io.StringIO(data)
    cur.copy_expert(sql, file)


def copy_to(cur, sql):
    file = io.BytesIO()
    cur.copy_expert(sql, file)
    return file.getvalue()


def rows(cur, query):
    cur.execute(query)
    return cur.fetchall()


def on_each(conn, table):
    """How many rows each shard has."""
    counts = []
    for shard in conn.shards:
        with conn.on(shard), conn.cursor() as cur:
            counts += [count for (count,) in rows(cur, f"SELECT count(*) FROM {table}")]
    return counts


def lines(first, last):
    return "".join(f"{n}\tc{n % 7}\t{n % 100}\n" for n in range(first, last))


# In ------------------------------------------------------------------------------------------


def test_each_row_is_where_its_key_says(sides):
    for cur in sides:
        cur.copy_from(io.StringIO(lines(-50, 400)), "o", size=100)
        assert (cur.rowcount, cur.statusmessage) == (450, "COPY 450")
        assert b"COPY" in cur.query
        assert rows(cur, "SELECT c, x FROM o WHERE id = 99") == [("c1", 99)]
    one, shards = (rows(cur, "SELECT * FROM o ORDER BY id") for cur in sides)
    assert one == shards
    assert all(count > 100 for count in on_each(sides[1].connection, "o"))


WRONG = [
    ("COPY o FROM STDIN", lines(0, 30) + "30\tx\t1000\n" + lines(31, 50)),
    ("COPY o FROM STDIN", lines(0, 30) + "3\tagain\t1\n"),
    ("COPY o FROM STDIN", lines(0, 30) + "thirty\tx\t1\n"),
    ("COPY o FROM STDIN", lines(0, 30) + "99999999999999999999\tx\t1\n"),
    ("COPY o FROM STDIN", lines(0, 30) + "30\tx\n"),
    ("COPY o FROM STDIN", lines(0, 30) + "30\tx\t1\t2\n"),
    ("COPY o FROM STDIN", lines(0, 30) + "\n"),
    ("COPY o FROM STDIN", lines(0, 30) + "\\N\tx\t1\n"),
    ("COPY o FROM STDIN", lines(0, 30) + "31\tx\t1\r\n"),
    ("COPY o (x, id) FROM STDIN CSV HEADER", 'x,id\n1,1\n2,"2\n"\n3,3\nx,4\n5,5\n'),
    ("COPY o FROM STDIN CSV", '1,"a\nb",1\n2,"c\n\nd",2\n3,e,x\n'),
    ("COPY o FROM STDIN CSV", '1,a,1\n2,"c,2\n'),
    ("COPY o FROM STDIN (FORMAT csv, HEADER match)", "id,x,c\n1,1,1\n"),
    ("COPY by_uuid FROM STDIN", "%s\t1\nzz\t2\n" % ("00" * 16)),
    ("COPY by_text FROM STDIN", b"a\t1\n\xff\t2\n"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "data"), WRONG)
def test_an_error_tells_the_line_and_leaves_nothing(sides, sql, data):
    told = []
    for cur in sides:
        with pytest.raises(psycopg2.Error) as caught:
            copy_from(cur, sql, data)
        error = caught.value
        assert cur.connection.info.transaction_status == TRANSACTION_FAILED
        context = error.diag.context or str(error).partition("CONTEXT:  ")[2].rstrip("\n")
        told.append((error.pgcode, context))
        cur.connection.rollback()
        assert rows(cur, "SELECT count(*) FROM o") == [(0,)]
    one, shards = told
    assert one[0] == shards[0]
    # What a row says itself comes behind the line.
    assert shards[1].split(":")[0].split(",")[:2] == one[1].split(":")[0].split(",")[:2]
    assert shards[1].startswith("COPY ")


def test_in_autocommit_mode_all_rows_are_committed_or_none(sides, databases):
    cur = sides[1]
    cur.connection.autocommit = True
    with pytest.raises(psycopg2.errors.CheckViolation):
        copy_from(cur, "COPY o FROM STDIN", lines(0, 300) + "300\tx\t1000\n")
    assert on_each(cur.connection, "o") == [0, 0]
    copy_from(cur, "COPY o FROM STDIN", lines(0, 300))
    assert cur.connection.info.transaction_status == TRANSACTION_IDLE
    assert sum(on_each(cur.connection, "o")) == 300
    cur.execute("DELETE FROM o")


def test_what_is_not_named_is_computed_once_for_all(sides):
    for form, data in (("text", "{0}\n"), ("csv", '"{0}"\n')):
        for cur in sides:
            sql = f"COPY made (id) FROM STDIN (FORMAT {form}, HEADER)"
            copy_from(cur, sql, "id\n" + "".join(data.format(n) for n in range(40)))
        counts = [
            rows(cur, "SELECT count(DISTINCT u), count(DISTINCT num), max(num) - min(num), min(g),"
                      " count(DISTINCT at), count(DISTINCT d), min(c),"
                      " sum(num - id) = 40 * min(num) FROM made")
            for cur in sides
        ]  # fmt: skip
        assert counts[0] == counts[1] == [(40, 40, 39, 3, 1, 1, "new", True)]
        for cur in sides:
            cur.connection.rollback()


def test_a_key_that_is_not_named_is_null(cur):
    copy_from(cur, "COPY by_text (n) FROM STDIN", "".join(f"{n}\n" for n in range(20)))
    homes = on_each(cur.connection, "by_text WHERE k IS NULL")
    assert homes == [20, 0]  # where PostgreSQL puts NULL
    cur.execute("INSERT INTO by_text (n) VALUES (1)")
    assert on_each(cur.connection, "by_text") == [21, 0]


def test_a_key_may_be_what_a_sequence_counts(sides):
    for cur in sides:
        copy_from(cur, "COPY counted (c) FROM STDIN", "".join(f"{n}\n" for n in range(40)))
        copy_from(cur, "COPY counted FROM STDIN", "77\tgiven\n")
    one, shards = (
        rows(cur, "SELECT c, id - min(id) OVER () FROM counted WHERE c <> 'given' ORDER BY id")
        for cur in sides
    )
    assert one == shards
    assert rows(sides[1], "SELECT c FROM counted WHERE id = 77 AND c = 'given'") == [("given",)]


def test_rows_that_are_counted_must_be_few(cur, monkeypatch):
    monkeypatch.setattr(copy_in, "LARGEST_COUNTED_BYTES", 10_000)
    with pytest.raises(greenshard.NotSupportedError, match="counted for all shards") as caught:
        copy_from(cur, "COPY counted (c) FROM STDIN", "x\n" * 10_000)
    assert caught.value.code == "GS402"


def test_every_shard_gets_the_rows_of_a_reference_table(cur):
    copy_from(cur, "COPY ref (id, c) FROM STDIN", "1\ta\n2\tb\n")
    copy_from(cur, "COPY ref (id, c, at) FROM STDIN CSV", "3,c,2020-01-01\n")
    assert cur.rowcount == 1
    assert on_each(cur.connection, "ref") == [3, 3]
    times = []
    for shard in cur.connection.shards:
        with cur.connection.on(shard):
            times.append(rows(cur, "SELECT * FROM ref ORDER BY id"))
    assert times[0] == times[1]
    with pytest.raises(psycopg2.errors.UniqueViolation):
        copy_from(cur, "COPY ref (id, c) FROM STDIN", "4\ta\n2\tb\n")


def test_a_table_of_one_shard_is_loaded_there(cur):
    copy_from(cur, "COPY home FROM STDIN", "1\ta\n2\tb\n")
    assert on_each(cur.connection, "home") == [0, 2]


def test_every_shard_gets_the_rows_of_a_temporary_table(cur):
    cur.execute("CREATE TEMP TABLE passing (a int, b text DEFAULT 'x')")
    cur.copy_from(io.StringIO("1\ta\n2\tb\n"), "passing")
    copy_from(cur, "COPY passing (a) FROM STDIN", "3\n")
    assert copy_to(cur, "COPY passing TO STDOUT") == b"1\ta\n2\tb\n3\tx\n"
    assert rows(cur, "SELECT count(*) FROM passing") == [(3,)]


def test_where_is_asked_by_each_shard(sides):
    for cur in sides:
        copy_from(cur, "COPY o FROM STDIN WHERE x > 50 AND c <> 'c1'", lines(0, 200))
    assert rows(sides[0], "SELECT * FROM o ORDER BY id") == rows(
        sides[1], "SELECT * FROM o ORDER BY id"
    )
    assert sides[0].rowcount == sides[1].rowcount > 0


def test_keys_are_read_as_their_type(sides):
    data = {
        "by_text": "ab\t1\nab   \t2\n\\x61b\t3\nabcde\t4\né\t5\n\\303\\251\t6\n\\N\t7\n",
        "by_day": "2024-02-29\t1\n\\N\t2\n",
        "by_uuid": f"{{{'0' * 8}-0000-0000-0000-{'0' * 11}A}}\t1\n{'0' * 31}a\t2\n",
    }
    for table, text in data.items():
        for cur in sides:
            copy_from(cur, f"COPY {table} FROM STDIN", text)
        one, shards = (sorted(rows(cur, f"SELECT * FROM {table}"), key=repr) for cur in sides)
        assert one == shards
    assert rows(sides[1], "SELECT n FROM by_text WHERE k = 'é' ORDER BY n") == [(5,), (6,)]
    assert rows(sides[1], "SELECT n FROM by_text WHERE k = 'ab' ORDER BY n") == [(1,), (3,)]


REFUSED = [
    ("COPY by_day FROM STDIN", "29.02.2024\t1\n"),
    ("COPY by_text FROM STDIN", "abcde  \t1\n"),
    ("COPY days FROM STDIN", "1\t2020-01-01\n2\t now\n"),
    ("COPY days FROM STDIN", "1\tn\\x6fw\n"),
    ("COPY days FROM STDIN CSV", '1,"to"day\n'),
    ("COPY o FROM STDIN WITH (ON_ERROR ignore)", "1\ta\t1\n"),
    ("COPY o FROM STDIN WITH (DEFAULT 'd')", "1\ta\t1\n"),
    ("COPY o FROM STDIN WHERE twice(x) > 1", "1\ta\t1\n"),
    ("COPY o FROM STDIN WITH (FREEZE)", "1\ta\t1\n"),
    ("COPY seen FROM STDIN", "1\ta\t1\n"),
    ("COPY noted FROM STDIN", "1\t1\n"),
    ("COPY o FROM STDIN", "1\ta\t1\n2\tb\\."),
    ("COPY o FROM '/nowhere/file'", ""),
    ("COPY o FROM PROGRAM 'echo'", ""),
    ("COPY o TO '/nowhere/file'", ""),
    ("COPY seen TO STDOUT", ""),
    ("COPY (INSERT INTO o VALUES (1) RETURNING id) TO STDOUT", ""),
    ("COPY (SELECT count(*) FROM o) TO STDOUT (FORMAT binary)", ""),
]


@pytest.mark.parametrize(("sql", "data"), REFUSED)
def test_what_could_come_out_otherwise_is_refused(cur, sql, data):
    with pytest.raises(greenshard.NotSupportedError) as caught:
        copy_from(cur, sql, data)
    assert caught.value.hint
    cur.connection.rollback()
    assert on_each(cur.connection, "o") == [0, 0]


def test_named_shards_are_not_given_rows_of_others(cur):
    with pytest.raises(greenshard.NotSupportedError), cur.connection.on("s0"):
        copy_from(cur, "COPY o FROM STDIN", lines(0, 9))


def test_without_a_file_it_is_refused(cur):
    with pytest.raises(greenshard.NotSupportedError, match="COPY") as caught:
        cur.execute("COPY o TO STDOUT")
    assert "copy_expert" in caught.value.hint


@pytest.mark.parametrize(
    ("encoding", "codec"), [("SJIS", "cp932"), ("GBK", "gbk"), ("BIG5", "big5")]
)
def test_letters_with_ascii_in_them_end_nothing(sides, encoding, codec):
    # Their second bytes are a backslash, a bar or the like.
    letters = {"SJIS": "ソ能ポ", "GBK": "乗乧亅", "BIG5": "功許育"}[encoding]
    assert any(byte in b"\\|" for byte in letters.encode(codec))
    data = f"{letters}|1|7\n{letters}\\|{letters}|2|8\n".encode(codec)
    for cur in sides:
        copy_from(cur, f"COPY o (c, id, x) FROM STDIN (DELIMITER '|', ENCODING '{encoding}')", data)
    one, shards = (rows(cur, "SELECT * FROM o ORDER BY id") for cur in sides)
    assert one == shards
    assert one[0][1] == letters


def test_binary_rows_are_split(sides):
    query = "SELECT n::int8, 'c' || n, NULL::int FROM generate_series(-9, 90) n"
    text = copy_to(sides[0], f"COPY ({query}) TO STDOUT (FORMAT binary)")
    for cur in sides:
        cur.copy_expert("COPY o FROM STDIN (FORMAT binary)", io.BytesIO(text), size=11)
    assert sides[1].rowcount == 100
    one, shards = (rows(cur, "SELECT * FROM o ORDER BY id") for cur in sides)
    assert one == shards
    for cur in sides:
        cur.connection.rollback()
    for cur in sides:
        copy_from(cur, "COPY o FROM STDIN (FORMAT binary)", text[:-2])
        assert cur.rowcount == 100
        cur.connection.rollback()
    for wrong in (
        text + b"x",
        text[:-9],
        b"PGCOPY\n\xff\r\n\1" + text[11:],
        b"",
        text[:300] + b"x",
    ):
        for cur in sides:
            with pytest.raises(psycopg2.Error) as caught:
                copy_from(cur, "COPY o FROM STDIN (FORMAT binary)", wrong)
            assert caught.value.pgcode == "22P04"
            cur.connection.rollback()


def test_no_shard_is_sent_more_than_it_takes(databases, cur, monkeypatch):
    """What waits for the shards is bounded, however large the file is."""
    held = []

    class Watched(copy_feed.Feed):
        def _put(self, rows):
            super()._put(rows)
            held.append(sum(self._sizes.values()))

    monkeypatch.setattr(copy_in, "Feed", Watched)
    monkeypatch.setattr(copy_feed, "LARGEST_BYTES", 1 << 16)
    monkeypatch.setattr(copy_feed, "PIECE_BYTES", 1 << 13)
    chance = random.Random(1)
    rows_ = (f"{chance.randrange(10**12)}\t{'x' * 1000}\t1\n".encode() for _ in range(8_000))

    class File(io.RawIOBase):
        def read(self, size=-1):
            return next(rows_, b"")

    cluster, _ = databases
    with contextlib.closing(psycopg2.connect(cluster.shards["s1"].primary)) as other:
        other.cursor().execute("LOCK TABLE o IN SHARE MODE")  # s1 takes no rows meanwhile
        gevent.spawn_later(1.0, other.rollback)
        cur.copy_expert("COPY o FROM STDIN", File())
    assert cur.rowcount == 8_000
    assert max(held) < 2 * (copy_feed.LARGEST_BYTES + 2 * copy_feed.PIECE_BYTES)


@pytest.mark.parametrize("how", ["timeout", "kill", "file"])
def test_a_stop_in_the_middle_ends_it_everywhere(cur, how):
    conn = cur.connection
    conn.autocommit = True
    count = 0

    class File(io.RawIOBase):
        def read(self, size=-1):
            nonlocal count
            count += 1
            if count == 3 and how == "file":
                raise LookupError("no more")
            if count == 3:
                gevent.sleep(30)
            return lines(count * 5_000, count * 5_000 + 5_000).encode()

    if how == "kill":
        caller = gevent.spawn(cur.copy_expert, "COPY o FROM STDIN", File())
        gevent.sleep(0.3)
        caller.kill()
        assert isinstance(caller.value, gevent.GreenletExit)
    else:
        cur.timeout = 0.4 if how == "timeout" else None
        expected = greenshard.QueryTimeout if how == "timeout" else psycopg2.errors.QueryCanceled
        with pytest.raises(expected):
            cur.copy_expert("COPY o FROM STDIN", File())
        cur.timeout = None
    assert on_each(conn, "o") == [0, 0]


# Out -----------------------------------------------------------------------------------------

OUT = [
    "COPY o TO STDOUT",
    "COPY o (x, c) TO STDOUT CSV HEADER",
    "COPY (SELECT id, c FROM o WHERE id = 7) TO STDOUT CSV HEADER",
    'COPY (SELECT id, c AS "a %s" FROM o ORDER BY x DESC, id LIMIT 9) TO STDOUT CSV HEADER',
    "COPY (SELECT c, count(*), avg(x), min(id::text) FROM o GROUP BY c ORDER BY c) TO STDOUT",
    "COPY (SELECT c, id FROM o WHERE id < 0 ORDER BY id) TO STDOUT CSV HEADER",
    "COPY (SELECT a.id, b.c FROM o a JOIN o b ON a.id = b.x ORDER BY 1, 2) TO STDOUT NULL '-'",
    "COPY (SELECT id, c FROM o ORDER BY 1 DESC) TO STDOUT (FORMAT csv, FORCE_QUOTE (id))",
    "COPY (SELECT array_agg(id ORDER BY id), NULL, E'a\\tb\\\\' FROM o) TO STDOUT",
    "COPY (SELECT 1 AS \"x,y\", 'a\"b') TO STDOUT CSV HEADER QUOTE ''''",
    "COPY ref TO STDOUT CSV HEADER",
    "COPY o TO STDOUT (FORMAT binary)",
]  # fmt: skip


@pytest.mark.parametrize("sql", OUT)
def test_what_comes_out_is_what_one_server_writes(sides, sql):
    for cur in sides:
        copy_from(cur, "COPY o FROM STDIN", lines(0, 60) + '60\t\\N\t\\N\n61\ta,"b\\tc\\\\\t1\n')
        copy_from(cur, "COPY ref FROM STDIN", "1\tone\t2020-01-01\n2\t\\N\t\\N\n")
    one, shards = (copy_to(cur, sql) for cur in sides)
    assert sides[0].rowcount == sides[1].rowcount
    assert sides[0].statusmessage == sides[1].statusmessage
    if "ORDER" in sql or "ref" in sql or sql.startswith("COPY (SELECT 1"):
        assert one == shards
    elif "binary" in sql:
        assert len(one) == len(shards)
        assert shards[:19] == one[:19]
        assert shards.endswith(struct.pack(">h", -1))
    else:
        assert sorted(one.splitlines()) == sorted(shards.splitlines())
        assert one.splitlines()[:1] == shards.splitlines()[:1] or "HEADER" not in sql


def test_what_comes_out_goes_in_again(cur):
    copy_from(cur, "COPY o FROM STDIN", lines(0, 300))
    before = rows(cur, "SELECT * FROM o ORDER BY id")
    for form in ("text", "csv", "binary"):
        file = io.BytesIO(copy_to(cur, f"COPY o TO STDOUT (FORMAT {form})"))
        cur.execute("DELETE FROM o")
        cur.copy_expert(f"COPY o FROM STDIN (FORMAT {form})", file)
        assert rows(cur, "SELECT * FROM o ORDER BY id") == before
