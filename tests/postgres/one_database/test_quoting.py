"""A value stays a value: literals are written, planned and run by sessions that read them alike."""

from __future__ import annotations

import contextlib
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pytest
from psycopg2 import sql

import greenshard

JOIN = "orders a JOIN orders b ON a.id = b.id + 1"
GATHERED = f"SELECT count(*) FROM {JOIN} WHERE a.note <> %s"
ROUTED = "SELECT note FROM orders WHERE id = %s AND note <> %s"
SCATTERED = "SELECT id FROM orders WHERE note = %s ORDER BY id"
COMBINED = "SELECT customer, avg(total) FROM orders WHERE note <> %s GROUP BY 1 ORDER BY 1"
#: Ends its literal where backslashes are doubled for nobody; what follows would run.
ATTACK = "\\', (SELECT 1/0)) --"
OFF = "standard_conforming_strings"


def function(name, body):
    return f"CREATE FUNCTION {name}() RETURNS text LANGUAGE plpgsql AS $$BEGIN {body}; END$$"


WAYS = {
    "SET": f"SET {OFF} = off",
    "set in unicode": 'SET U&"standard\\005fconforming_strings" = off',
    "SET LOCAL": f"SET LOCAL {OFF} = off",
    "set_config": f"SELECT set_config('{OFF}', 'off', false)",
    "a function": "SELECT turn_off()",
    "an update of a view": f"UPDATE pg_settings SET setting = 'off' WHERE name = '{OFF}'",
}


@pytest.fixture
def cur(conn):
    return conn.cursor()


@pytest.fixture
def turn_off(plain):
    """A function on each shard that turns it off."""
    body = f"RETURN set_config('{OFF}', 'off', false)"
    for connection in plain.values():
        cur = connection.cursor()
        cur.execute(function("turn_off", body).replace("plpgsql", "plpgsql IMMUTABLE"))
    yield
    for connection in plain.values():
        connection.cursor().execute("DROP FUNCTION turn_off()")


def refused(cur, statement, parameters=None):
    with pytest.raises(greenshard.NotSupportedError) as caught:
        cur.execute(statement, parameters)
    assert caught.value.code == "GS413"
    assert caught.value.hint
    return caught.value


def turn_off_on(conn, way, shards):
    for shard in shards:
        with conn.on(shard):
            conn.cursor().execute(WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["all", "home", "another"])
def test_off_is_refused_however_it_was_set(conn, cur, turn_off, way, where):
    shards = {"all": conn.shards, "home": conn.shards[:1], "another": conn.shards[1:2]}[where]
    turn_off_on(conn, way, shards)
    for statement in (GATHERED, SCATTERED, COMBINED):
        error = refused(cur, statement, (ATTACK,))
        assert error.shard in shards
        assert OFF in str(error)
    refused(cur, "SELECT 'a\\b', count(*) FROM orders")
    for shard in shards:
        key = next(
            n
            for n in range(60)
            if conn.cluster.placement.shards_for(n, "int8", conn.shards) == shard
        )
        refused(cur, ROUTED, (key, ATTACK))
    conn.rollback()


def test_a_setting_of_the_role_is_refused(shop, plain):
    role = f"off_{uuid.uuid4().hex[:8]}"
    for connection in plain.values():
        with contextlib.suppress(psycopg2.errors.DuplicateObject):
            connection.cursor().execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
            connection.cursor().execute(f"ALTER ROLE {role} SET {OFF} = off")
    try:
        dsns = {n: psycopg2.extensions.make_dsn(d, user=role) for n, d in shop.dsns.items()}
        cluster = greenshard.Cluster(dsns, shop.cluster.tables)
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            cur = conn.cursor()
            refused(cur, GATHERED, (ATTACK,))
            cur.execute(f"SET {OFF} = on")
            # psycopg2 goes on to write E'...' without doubling backslashes.
            error = refused(cur, GATHERED, (ATTACK,))
            assert "was opened" in str(error)
            conn.rollback()
    finally:
        for connection in plain.values():
            with contextlib.suppress(psycopg2.errors.UndefinedObject):
                connection.cursor().execute(f"DROP ROLE {role}")


def test_options_of_the_connection_string_are_refused(shop):
    options = f"-c {OFF}=off"
    dsns = {n: psycopg2.extensions.make_dsn(d, options=options) for n, d in shop.dsns.items()}
    with contextlib.closing(
        greenshard.connect(greenshard.Cluster(dsns, shop.cluster.tables))
    ) as conn:
        refused(conn.cursor(), GATHERED, (ATTACK,))


def test_a_gathering_session_that_begins_with_it_off_is_refused(shop, plain, conn, cur):
    home = plain[conn.shards[0]].cursor()
    home.execute("SELECT current_database()")
    (database,) = home.fetchone()
    cur.execute("SELECT 1")
    home.execute(f"ALTER DATABASE {database} SET {OFF} = off")
    try:
        refused(cur, GATHERED, (ATTACK,))
        conn.rollback()
    finally:
        home.execute(f"ALTER DATABASE {database} RESET {OFF}")


@pytest.mark.parametrize(
    "end",
    [
        f"SET {OFF} = on",
        f"SET {OFF} TO DEFAULT",
        f"RESET {OFF}",
        "RESET ALL",
        "ROLLBACK",
        f"SELECT set_config('{OFF}', 'on', false)",
    ],
)
def test_what_ends_it_is_allowed(conn, cur, end):
    cur.execute("SELECT 1")
    cur.execute(f"SET {OFF} = off")
    refused(cur, GATHERED, ("x",))
    cur.execute(end)
    cur.execute(GATHERED, (ATTACK,))
    assert cur.fetchone() == (59 - 12,)
    conn.rollback()


def test_it_may_be_ended_by_a_parameter(conn, cur):
    cur.execute(f"SET {OFF} = off")
    cur.execute(f"SET {OFF} = %s", ("on",))
    cur.execute(GATHERED, (ATTACK,))
    conn.rollback()


@pytest.mark.parametrize("end", ["rollback", "reset"])
def test_methods_end_it(conn, cur, end):
    cur.execute(f"SET {OFF} = off")
    getattr(conn, end)()
    cur.execute(GATHERED, (ATTACK,))
    conn.rollback()


def test_commit_ends_what_is_local(conn, cur):
    cur.execute(f"SET LOCAL {OFF} = off")
    refused(cur, GATHERED, ("x",))
    conn.commit()
    cur.execute(GATHERED, ("x",))
    conn.rollback()


def test_one_shard_reads_what_was_written_for_it(conn, cur):
    cur.execute(f"SET {OFF} = off")
    with conn.on("s1"):
        cur.execute("SELECT %s, 'a\\tb'", (ATTACK,))
        assert cur.fetchone() == (ATTACK, "a\tb")
        psycopg2.extras.execute_values(cur, "SELECT * FROM (VALUES %s) AS v", [(ATTACK,)])
        assert cur.fetchone() == (ATTACK,)
    conn.rollback()


def test_what_is_written_beforehand_is_refused_too(conn, cur):
    turn_off_on(conn, "SET", conn.shards[:1])
    key = next(
        n
        for n in range(60)
        if conn.cluster.placement.shards_for(n, "int8", conn.shards) == conn.shards[2]
    )
    text = f"SELECT note FROM orders WHERE id = {key} AND note <> "
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        cur.mogrify(text + "%s", (ATTACK,))
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        cur.execute(sql.SQL(text) + sql.Literal(ATTACK))
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        cur.execute(text + sql.Literal(ATTACK).as_string(conn))
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        cur.execute(text + "%s AND %s", (ATTACK, psycopg2.extensions.AsIs("1 = 1")))
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        psycopg2.extras.execute_values(
            cur, "INSERT INTO orders (id, note) VALUES %s", [(key, ATTACK)]
        )
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        cur.executemany(
            "UPDATE orders SET note = %s WHERE id = %s", [(ATTACK, n) for n in range(60)]
        )
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        cur.callproc("lower", (ATTACK,))
    conn.rollback()


def test_a_named_cursor_is_refused_too(conn, cur):
    turn_off_on(conn, "SET", conn.shards[1:2])
    refused(conn.cursor("named"), SCATTERED, (ATTACK,))
    conn.rollback()


@pytest.mark.parametrize("encoding", ["GBK", "BIG5", "SJIS", "LATIN1", "SQL_ASCII"])
def test_an_encoding_that_psycopg2_does_not_know_of_is_refused(conn, cur, encoding):
    cur.execute(f"SET client_encoding = '{encoding}'")
    error = refused(cur, GATHERED, ("\u4e2d",))
    assert "client_encoding" in str(error)
    refused(cur, ROUTED, (7, "\u4e2d"))
    cur.execute("RESET client_encoding")
    cur.execute(GATHERED, ("\u4e2d",))
    assert cur.fetchone() == (59 - 12,)
    conn.rollback()


@pytest.mark.parametrize("encoding", ["UTF8", "utf-8", "unicode"])
def test_the_same_encoding_by_another_name_is_none(conn, cur, encoding):
    cur.execute(f"SET client_encoding = '{encoding}'")
    cur.execute(GATHERED, ("\u4e2d",))
    conn.rollback()
    conn.set_client_encoding(encoding)
    cur.execute(GATHERED, ("\u4e2d",))
    conn.rollback()


@pytest.mark.parametrize("encoding", ["GBK", "BIG5", "SJIS", "EUC_JP", "GB18030", "UHC"])
def test_letters_whose_second_byte_is_a_backslash(conn, single, encoding):
    """In several of these, letters end with the byte of a backslash or of a quote's neighbour."""
    letters = []
    for code in range(0x4E00, 0x9FA5):
        with contextlib.suppress(UnicodeEncodeError):
            codec = psycopg2.extensions.encodings[encoding]
            if chr(code).encode(codec)[-1:] in (b"\\", b"|", b"^"):
                letters.append(chr(code))
    value = "".join(letters[:50]) + "'\\"
    for connection in (conn, single):
        connection.rollback()
        connection.set_client_encoding(encoding)
    rows = []
    for connection in (conn, single):
        cur = connection.cursor()
        literal = "'" + value.replace("'", "''") + "'"
        cur.execute(
            f"SELECT %s, max({literal}), count(*), '%%'"
            " FROM items a JOIN items b ON a.order_id = b.order_id + 1 WHERE a.word <> %s",
            (value, value),
        )
        rows.append(cur.fetchall())
        connection.rollback()
    assert rows[0] == rows[1]
    assert rows[0][0][:2] == (value, value)


# Over shards that are just named ------------------------------------------------------------


@pytest.fixture
def union(shop):
    with contextlib.closing(greenshard.connect(shop.dsns)) as connection:
        yield connection


def test_sessions_that_are_all_off_read_what_was_written_for_one_of_them(union):
    cur = union.cursor()
    cur.execute(f"SET {OFF} = off")
    cur.execute("SELECT %s, 'a\\tb'", (ATTACK,))
    assert cur.fetchall() == [(ATTACK, "a\tb")] * 3
    cur.execute(cur.mogrify("SELECT %s", (ATTACK,)))
    assert cur.fetchall() == [(ATTACK,)] * 3


def test_sessions_that_differ_get_parameters_of_their_own(union):
    cur = union.cursor()
    turn_off_on(union, "SET", ["s1"])
    cur.execute("SELECT %s", (ATTACK,))
    assert cur.fetchall() == [(ATTACK,)] * 3


@pytest.mark.parametrize("shard", ["s0", "s1"])
def test_sessions_that_differ_do_not_get_what_was_written_for_one(union, shard):
    cur = union.cursor()
    turn_off_on(union, "SET", [shard])
    error = refused(cur, cur.mogrify("SELECT %s", (ATTACK,)))
    assert error.shard == shard
    refused(cur, sql.SQL("SELECT {}").format(sql.Literal(ATTACK)))
    refused(cur, "SELECT 'a\\b'")
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        psycopg2.extras.execute_values(cur, "SELECT * FROM (VALUES %s) AS v", [(ATTACK,)])
    with pytest.raises(greenshard.NotSupportedError, match="GS413"):
        psycopg2.extras.execute_batch(cur, "SELECT %s", [(ATTACK,), (ATTACK,)])
    cur.execute(f"SET {OFF} = on")
    cur.execute(cur.mogrify("SELECT %s", (ATTACK,)))
    assert cur.fetchall() == [(ATTACK,)] * 3


def test_encodings_that_differ_do_not_get_what_was_written_for_one(union):
    cur = union.cursor()
    with union.on("s1"):
        cur.execute("SET client_encoding = 'GBK'")
    refused(cur, cur.mogrify("SELECT %s", ("\u4e2d', (SELECT 1/0) --",)))
    refused(cur, "SELECT '\u4e2d'")
    cur.execute("RESET client_encoding")
    cur.execute("SELECT '\u4e2d'")


def test_given_connections_are_looked_at_too(shop):
    with contextlib.ExitStack() as stack:
        raws = {
            name: stack.enter_context(contextlib.closing(psycopg2.connect(dsn)))
            for name, dsn in shop.dsns.items()
        }
        raws["s2"].autocommit = True
        raws["s2"].cursor().execute(f"SET {OFF} = off")
        raws["s2"].autocommit = False
        conn = greenshard.connect(raws)
        cur = conn.cursor()
        refused(cur, cur.mogrify("SELECT %s", (ATTACK,)))
        conn.release()


def test_sessions_that_psycopg2_would_write_holes_for_are_refused(shop):
    """With plain psycopg2 such a parameter ends its literal."""
    options = f"-c {OFF}=off"
    dsns = {n: psycopg2.extensions.make_dsn(d, options=options) for n, d in shop.dsns.items()}
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        cur = conn.cursor()
        cur.execute("SELECT %s", (ATTACK,))
        assert cur.fetchall() == [(ATTACK,)] * 3
        cur.execute(f"SET {OFF} = on")
        refused(cur, "SELECT %s", (ATTACK,))
        with pytest.raises(greenshard.NotSupportedError, match="GS413"):
            cur.executemany("SELECT %s", [(ATTACK,)])
        with pytest.raises(greenshard.NotSupportedError, match="GS413"):
            cur.callproc("lower", (ATTACK,))
        cur.execute("SELECT 1")
