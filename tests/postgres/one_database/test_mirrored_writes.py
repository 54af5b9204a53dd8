"""Changes of reference tables that could come out otherwise on each shard: the first makes them."""

from __future__ import annotations

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.side_by_side import side_by_side
from tests.postgres.psql import run

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE SEQUENCE free;
CREATE TABLE r (id int PRIMARY KEY, n int DEFAULT 7, c text, m mood, at timestamptz DEFAULT now(),
    u uuid DEFAULT gen_random_uuid(), a int[], f float8, num numeric(9, 2),
    twice int GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE pair (a text, "b c" date, v text, counted bigserial, PRIMARY KEY (a, "b c"));
CREATE TABLE keyless (n int, c text);
CREATE TABLE always (id int PRIMARY KEY, no int GENERATED ALWAYS AS IDENTITY, c text);
CREATE TABLE t (k int PRIMARY KEY, c text);
"""
TABLES = {
    **dict.fromkeys(["r", "pair", "keyless", "always"], greenshard.Reference()),
    "t": greenshard.Sharded("k"),
}
ROWS = [
    (
        "INSERT INTO r (id, n, c, m, at, u) SELECT g, g % 3, 'c' || g, 'ok', '2020-01-01', NULL"
        " FROM generate_series(1, 9) AS g"
    ),
    "INSERT INTO pair VALUES ('x', '2020-01-01', 'v', 1), ('y%', '2020-01-02', NULL, 2)",
    "INSERT INTO keyless VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO always (id, c) VALUES (1, 'a'), (2, 'b')",
]
#: What comes out alike on one server, though it may differ from shard to shard.
ALIKE = [
    "UPDATE r SET n = 3 + (random() * 0)::int WHERE id < 4",
    "UPDATE r SET n = 4 + (random() * 0)::int WHERE id < 3 RETURNING id, n, twice, c AS named, at",
    "UPDATE r SET c = current_user, a = ARRAY[1, NULL, (random() * 0)::int] WHERE m = 'ok'",
    "UPDATE r AS x SET m = 'sad', a[2] = 5 + (random() * 0)::int WHERE x.n > 2 RETURNING x.*",
    ("UPDATE r SET c = %s || pg_backend_pid() * 0, n = %s WHERE id = 2 RETURNING c", ("50%", 8)),
    ("UPDATE r SET (f, num) = (SELECT random() * 0 + 1.5, %(num)s) RETURNING f, num", {"num": 2.5}),
    "UPDATE r SET c = p.v FROM pair AS p WHERE r.id = 1 AND p.v IS NOT NULL AND random() >= 0",
    "UPDATE r SET n = DEFAULT, c = DEFAULT WHERE id = 5 RETURNING n, c",
    "UPDATE r SET n = 0 WHERE id > 100 AND random() >= 0 RETURNING id",
    "UPDATE r SET n = 1 / (n - n) WHERE random() >= 0",
    "UPDATE pair SET v = 'w' || (random() * 0)::int RETURNING *",
    "UPDATE pair SET counted = DEFAULT WHERE a = 'x' RETURNING counted",
    "UPDATE pair SET counted = nextval('free') + 100 RETURNING a, counted",
    "SELECT lastval(), nextval('free')",
    (
        "INSERT INTO r (id, at, u) VALUES (1, '2020-01-01', NULL), (50, '2020-01-01', NULL)"
        " ON CONFLICT (id) DO UPDATE SET n = 5 + (random() * 0)::int, c = 'd' RETURNING id, n"
    ),
    (
        (
            "INSERT INTO r (id, at, u, c) VALUES (%s, '2020-01-01', NULL, %s) ON CONFLICT (id)"
            " DO UPDATE SET c = 'mine' || (random() * 0)::int WHERE r.n = 5 RETURNING r.*"
        ),
        (51, "%s"),
    ),
    (
        "INSERT INTO r AS x (id, at, u) VALUES (51, '2020-01-01', NULL) ON CONFLICT (id)"
        " DO UPDATE SET n = DEFAULT RETURNING x.n, (random() * 0)::int"
    ),
    (
        "INSERT INTO pair VALUES ('x', '2020-01-01', 'w', DEFAULT), ('z', '2020-01-01', 'w', 8)"
        ' ON CONFLICT (a, "b c") DO UPDATE SET counted = DEFAULT RETURNING counted'
    ),
    "INSERT INTO r (id, at, u) VALUES (52, '2020-01-01', NULL) RETURNING (random() * 0)::int",
    "DELETE FROM r WHERE random() >= 0 AND id > 7 RETURNING id, c",
    "DELETE FROM pair USING r WHERE random() >= 0 AND r.id = 3 AND a = 'y%' RETURNING a, r.id",
    "DELETE FROM ONLY r WHERE id = 1 AND pg_backend_pid() > 0",
]


@pytest.fixture(scope="module")
def sides(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, TABLES) as found:
        yield found


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_shards_do_what_one_server_does(sides, autocommit):
    for dsn in (sides.one, *sides.dsns.values()):
        run(dsn, "ALTER SEQUENCE free RESTART", "ALTER SEQUENCE pair_counted_seq RESTART 50")
    sides.check(ROWS, ALIKE, 3, autocommit=autocommit)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE r SET u = gen_random_uuid(), f = random(), at = clock_timestamp()",
        "UPDATE r SET at = 'now', u = DEFAULT WHERE id < 5",
        "UPDATE r SET c = 'x' WHERE id IN (SELECT id FROM r AS s ORDER BY random() LIMIT 4)",
        "UPDATE r SET c = s.c FROM r AS s WHERE s.id <> r.id",
        "UPDATE r SET f = (SELECT sum(n / 7.0::float8) FROM r AS s), c = version()",
        "DELETE FROM r WHERE id IN (SELECT id FROM r AS s LIMIT 4)",
        "DELETE FROM r WHERE random() < 0.5",
        "INSERT INTO r VALUES (1), (70), (71) ON CONFLICT (id) DO UPDATE SET u = gen_random_uuid()",
    ],
)
def test_copies_stay_alike(sides, text):
    with sides.filled(ROWS, 3) as (_, conn):
        conn.cursor().execute(text)
        assert "strategy: mirror" in conn.explain(text)
        conn.commit()
    sides.check_places(3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("UPDATE keyless SET n = random()", "keyless has no primary key"),
        ("UPDATE r SET id = id + (random() * 0)::int", "the primary key of r is changed"),
        ("UPDATE always SET no = DEFAULT", "a column that is always computed is changed"),
        ("UPDATE r SET twice = DEFAULT WHERE random() > 0", "a column that is always computed"),
        (
            "UPDATE keyless SET n = (SELECT count(*) FROM t) + random()",
            "keyless has no primary key",
        ),
    ],
)
def test_what_is_refused(sides, text, reason):
    with (
        sides.filled(ROWS, 3) as (_, conn),
        pytest.raises(greenshard.NotSupportedError, match=reason),
    ):
        conn.cursor().execute(text)


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_copies_that_differ_are_told_and_nothing_is_written(sides, autocommit):
    text = "UPDATE r SET n = 99 WHERE random() >= 0"
    with sides.filled(ROWS, 3) as (_, conn):
        run(sides.dsns["s2"], "DELETE FROM r WHERE id = 3")
        conn.autocommit = autocommit
        cur = conn.cursor()
        with pytest.raises(psycopg2.Error, match="s0 has written 9 rows of r, s2 8") as raised:
            cur.execute(text)
        assert (raised.value.code, raised.value.pgcode) == ("GS110", "40001")
        if not autocommit:
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                cur.execute("SELECT 1")
            conn.rollback()
        cur.execute("SELECT count(*) FROM r WHERE n = 99")
        assert cur.fetchone() == (0,)


def test_a_setting_that_spoils_values_is_told_before_anything_is_written(sides):
    with sides.filled(ROWS, 3) as (_, conn):
        cur = conn.cursor()
        cur.execute("SET extra_float_digits = 0")
        with pytest.raises(greenshard.NotSupportedError, match="spoils values of r"):
            cur.execute("UPDATE r SET f = random()")
        cur.execute("UPDATE r SET n = random()")


def test_an_error_on_another_shard_undoes_the_first(sides):
    run(sides.dsns["s1"], "ALTER TABLE r ADD CONSTRAINT small CHECK (n < 50)")
    try:
        with sides.filled(ROWS, 3) as (_, conn):
            conn.autocommit = True
            cur = conn.cursor()
            with pytest.raises(psycopg2.errors.CheckViolation):
                cur.execute("UPDATE r SET n = 60 WHERE random() >= 0")
            cur.execute("SELECT count(*) FROM r WHERE n = 60")
            assert cur.fetchone() == (0,)
        sides.check_places(3)
    finally:
        run(sides.dsns["s1"], "ALTER TABLE r DROP CONSTRAINT small")
