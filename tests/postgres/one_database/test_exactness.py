"""Values travel as they are, whatever the session's settings would write of them."""

from __future__ import annotations

import contextlib
import time

import psycopg2
import pytest

import greenshard
from greenshard.executor.strategies import combine
from greenshard.executor.strategies.exactness import written
from tests.postgres.one_database.conftest import SMALL_BATCHES

SCHEMA = """
CREATE TYPE both_of AS (f float8, at timestamptz);
CREATE TABLE exacts (
    id bigint PRIMARY KEY, f float8, f4 float4, at timestamptz, spans tstzrange,
    many timestamptz[], both_of both_of, boths both_of[], floats float8[], place box, places box[],
    span interval, body bytea, day date, spans_of tstzmultirange, local timestamp);
"""
#: Floats that few digits do not tell apart; moments of the hour that comes twice, of local mean
#: time, before Christ, beyond Python's; spans that the styles write with signs of their own.
ROWS = """
INSERT INTO exacts SELECT n, f, f, at, tstzrange(at, at + '1 day'), ARRAY[at, NULL, at],
    (f, at)::both_of, ARRAY[(f, at)::both_of, NULL], ARRAY[[f, 1], [NULL, f]],
    box(point(f, 1), point(2, f)), ARRAY[box(point(f, 1), point(2, f)), NULL], span::interval,
    convert_to(E'a\\\\é\\'' || n, 'UTF8'), at::date,
    tstzmultirange(tstzrange(at, at + '1 hour')), at
FROM (SELECT n, 0.1::float8 + n * 1e-17 * (n % 4) AS f,
    (ARRAY['2024-10-27 00:30+00', '2024-10-27 01:30+00', '2024-06-01 12:00:00.000001+00',
        '1850-01-01 00:00+00', '0044-03-15 10:00+00 BC', '11111-11-11 11:11+00']::timestamptz[]
    )[n % 6 + 1] AS at,
    (ARRAY['-1 mon +2 days -03:04:05', '1 year 2 mons', '-1 days', '-00:00:01.5', NULL])[n % 5 + 1]
    AS span FROM generate_series(0, 23) AS n WHERE {where}) AS rows
"""
COLUMNS = (
    "f", "f4", "at", "spans", "many", "both_of", "boths", "floats", "place", "places", "span",
    "body", "day", "spans_of", "local",
)  # fmt: skip
SHOWN = ", ".join(f"a.{name}::text" for name in COLUMNS)
GATHERED = f"SELECT a.id, {SHOWN} FROM exacts a JOIN exacts b ON a.id = 23 - b.id ORDER BY 1"
#: What is said of rows is said by the user's settings.
CONDITIONS = (
    "SELECT count(*), count(DISTINCT a.at), min(a.f::text) FROM exacts a JOIN exacts b"
    " ON a.id = 23 - b.id WHERE a.at::text ~ '(CES?|IS)T' AND a.f::text = '0.1'"
    " AND a.day > '02.03.1999'"
)
TOLD_APART = "SELECT {} FROM exacts a JOIN exacts b ON a.id = 23 - b.id".format(
    ", ".join(f"count(DISTINCT a.{name})" for name in ("f", "at", "both_of", "boths", "floats"))
)
COMBINED = [
    f"SELECT {name}::text, avg(id)::text FROM exacts GROUP BY {name} ORDER BY {name}::text, 2"
    for name in COLUMNS if name not in ("place", "places")
] + ["SELECT max(at)::text, min(f)::text, max(f4)::text, avg(id)::text FROM exacts"]  # fmt: skip
MERGED = [f"SELECT f::text, at::text FROM exacts ORDER BY {name} DESC, id LIMIT 20"
          for name in COLUMNS if name not in ("place", "places")]  # fmt: skip
SETTINGS = (
    # IST is Israel's to the servers.
    "DateStyle = 'German'; SET TimeZone = 'Asia/Kolkata'",
    "DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'",
    "DateStyle = 'Postgres, MDY'; SET extra_float_digits = -10; SET bytea_output = 'escape'",
    "extra_float_digits = 0; SET IntervalStyle = 'iso_8601'",
    "IntervalStyle = 'postgres_verbose'",
)  # fmt: skip


@pytest.fixture(scope="module")
def exacts(shop):
    for name, dsn in {**shop.dsns, None: shop.single}.items():
        mine = [str(n) for n in range(24) if name in (None, shop.shard_of(n))]
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(SCHEMA + ROWS.replace("{where}", f"n IN ({', '.join(mine)})"))
    return greenshard.Cluster(shop.dsns, {"exacts": greenshard.Sharded("id")})


@pytest.fixture
def conn(exacts):
    with contextlib.closing(greenshard.connect(exacts)) as connection:
        yield connection


@pytest.fixture
def asked(conn, single):
    """The rows of a query, which are the same on one database with these settings."""

    def ask(setting, query, name=None):
        rows = []
        for connection in (conn, single):
            connection.cursor().execute(f"SET TimeZone = 'Europe/Berlin'; SET {setting}")
            cur = connection.cursor(name)
            cur.execute(query)
            rows.append(cur.fetchall())
            after = connection.cursor()
            after.execute(
                "SELECT current_setting('DateStyle'), current_setting('extra_float_digits')"
            )
            rows[-1] += after.fetchall()
            connection.rollback()
        assert rows[0] == rows[1], (setting, query)
        return rows[0]

    return ask


@pytest.mark.parametrize("in_batches", [False, True])
def test_values_are_gathered_as_they_are(conn, asked, monkeypatch, in_batches):
    if in_batches:
        for name, value in SMALL_BATCHES.items():
            monkeypatch.setattr(f"greenshard.executor.strategies.table_rows.{name}", value)
    assert "strategy: gather" in conn.explain(GATHERED)
    assert "strategy: gather" in conn.explain(CONDITIONS)
    for setting in SETTINGS:
        assert len(asked(setting, GATHERED)) == 25
        asked(setting, TOLD_APART)
        found = asked(setting, CONDITIONS)
        assert (found[0][0] > 0) == ("DateStyle" in setting), setting
    # A named cursor is over rows that were all brought before.
    assert len(asked(SETTINGS[2], GATHERED, "named")) == 25


def test_values_are_gathered_as_they_are_where_cursors_are_held(conn, asked, monkeypatch):
    """In autocommit mode batches come from cursors WITH HOLD, whose rows the servers keep."""
    for name, value in SMALL_BATCHES.items():
        monkeypatch.setattr(f"greenshard.executor.strategies.table_rows.{name}", value)
    conn.autocommit = True
    for query in (GATHERED, TOLD_APART):
        asked(SETTINGS[2], query)


@pytest.mark.parametrize("name", [None, "named"])
def test_values_are_combined_as_they_are(conn, asked, name):
    for at, query in enumerate(COMBINED):
        assert "strategy: combine" in conn.explain(query), query
        for setting in {SETTINGS[2], SETTINGS[at % len(SETTINGS)]}:
            asked(setting, query, name)


def test_a_style_that_servers_read_anew_is_told_only_by_an_answer(exacts, shop, monkeypatch):
    """It holds for the answer already: the shards are asked once more."""
    query = "SELECT at::text, avg(id)::text FROM exacts GROUP BY at ORDER BY 1"
    exactly = []  # since PostgreSQL 18, the servers read the abbreviations of their own zone aright
    monkeypatch.setattr(combine, "written", lambda *args: exactly.append(args) or written(*args))
    with contextlib.ExitStack() as stack:
        asking = [psycopg2.connect(shop.single), *(greenshard.connect(exacts) for _ in range(2))]
        admins = [psycopg2.connect(dsn) for dsn in (*shop.dsns.values(), shop.single)]
        for each in (*asking, *admins):
            stack.enter_context(contextlib.closing(each))
            # IST is Israel's to the servers.
            each.cursor().execute("SET TimeZone = 'Asia/Kolkata'")
            if each in asking:
                each.cursor().execute(query)  # nothing else is asked of a server before the next
            else:
                each.commit()
                each.autocommit = True
        rows = []
        try:
            for admin in admins:
                told(admin, "German")
            for each, name in zip(asking, (None, None, "named"), strict=True):
                cur = each.cursor(name)
                cur.execute(query)
                rows.append(cur.fetchall())
        finally:
            for admin in admins:
                told(admin, None)
    assert " IST" in str(rows[0])
    assert rows[0] == rows[1] == rows[2]
    assert len(exactly) == 2


def told(admin, style):
    """Let a server read a style anew, or its usual one, and wait until its sessions have it."""
    cur = admin.cursor()
    cur.execute(f"ALTER SYSTEM {f'SET DateStyle = {style!r}' if style else 'RESET DateStyle'}")
    cur.execute("SELECT pg_reload_conf()")
    for _ in range(1000):
        cur.execute("SHOW DateStyle")
        if cur.fetchone()[0].startswith(style or "ISO"):
            return
        time.sleep(0.01)
    raise AssertionError(style)


def test_values_are_in_order_as_they_are(conn, asked):
    for query in MERGED:
        assert "strategy: merge" in conn.explain(query), query
        for setting in SETTINGS[2:4]:
            asked(setting, query)
    cur = conn.cursor()
    cur.execute("SET extra_float_digits = -3")
    cur.execute("SELECT f, f AS f, id FROM exacts ORDER BY f, id")
    assert [column.name for column in cur.description] == ["f", "f", "id"]
    assert {row[0] for row in cur.fetchall()} == {0.1}
    # Neither the end of the text nor a cursor on each shard leaves room for what would be added.
    for text, name in (("SELECT f FROM exacts ORDER BY f;", None),
                       ("SELECT id FROM exacts ORDER BY f", "named")):  # fmt: skip
        cur = conn.cursor(name)
        with pytest.raises(greenshard.errors.NotSupportedError, match="extra_float_digits is -3"):
            (cur.execute(text), cur.fetchall())


def test_settings_stay_as_they_are_on_each_shard(conn):
    """Within a transaction, by SET LOCAL, after savepoints, and in autocommit mode."""
    told = "SELECT current_setting('DateStyle'), current_setting('extra_float_digits')"
    cur = conn.cursor()

    def shown():
        found = set()
        for shard in conn.shards:
            with conn.on(shard):
                cur.execute(told)
                found |= set(cur.fetchall())
        return found

    usual = shown()
    cur.execute("SET LOCAL DateStyle = 'German'; SET extra_float_digits = -3")
    cur.execute("SAVEPOINT a")
    for query in (GATHERED, COMBINED[0]):
        cur.execute(query)
        assert shown() == {("German, DMY", "-3")}
    cur.execute("ROLLBACK TO a")
    assert shown() == {("German, DMY", "-3")}
    conn.commit()
    ((style, _),) = usual
    assert shown() == {(style, "-3")}
    conn.rollback()
    conn.autocommit = True
    for query in (GATHERED, COMBINED[0]):
        cur.execute(query)
        assert shown() == {(style, "-3")}
