"""MERGE over shards does what one server does."""

from __future__ import annotations

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.side_by_side import side_by_side

SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int, w varchar(6) DEFAULT 'new', twice int
    GENERATED ALWAYS AS (c * 2) STORED, at timestamptz DEFAULT now(), CHECK (c < 1000));
CREATE TABLE s (k int, n int, c int, w text, PRIMARY KEY (k, n));
CREATE TABLE words (w text PRIMARY KEY, n int);
CREATE TABLE ids (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, c int);
CREATE TABLE r (id int PRIMARY KEY, n int, w text DEFAULT 'w');
CREATE TABLE q (id int PRIMARY KEY, n int, w text, f numeric, big bigint);
CREATE TABLE made (k int PRIMARY KEY, c int, no serial, at timestamptz DEFAULT now(), u uuid
    DEFAULT gen_random_uuid(), i int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE copied (id int PRIMARY KEY, c int, no serial, at timestamptz DEFAULT now(), u uuid
    DEFAULT gen_random_uuid(), i int GENERATED ALWAYS AS IDENTITY);
CREATE VIEW few AS SELECT c AS count, k FROM t WHERE c < 100 WITH CHECK OPTION;
CREATE VIEW rs AS SELECT n, id FROM r WHERE id < 90;
CREATE VIEW sums AS SELECT sum(c) AS c FROM t;
CREATE TABLE logged (k int PRIMARY KEY, c int);
CREATE FUNCTION count_them() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO r VALUES (NEW.k, 0); RETURN NEW; END $$;
CREATE TRIGGER counts AFTER INSERT ON logged FOR EACH ROW EXECUTE FUNCTION count_them();
"""
TABLES = {
    "t": greenshard.Sharded("k"),
    "s": greenshard.Sharded("k"),
    "words": greenshard.Sharded("w"),
    "ids": greenshard.Sharded("id"),
    "r": greenshard.Reference(),
    "q": greenshard.Reference(),
    "made": greenshard.Sharded("k"),
    "copied": greenshard.Reference(),
    "logged": greenshard.Sharded("k"),
}
ROWS = [
    "INSERT INTO t (k, c, at) VALUES " + ", ".join(f"({n}, {n % 5}, NULL)" for n in range(1, 16)),
    "INSERT INTO s VALUES "
    + ", ".join(f"({n}, {m}, {n * 3 + m}, 's{n % 4}')" for n in range(8, 24) for m in range(n % 3)),
    "INSERT INTO words VALUES ('a', 1), ('é', 2), ('x', 3)",
    "INSERT INTO ids OVERRIDING SYSTEM VALUE VALUES (1, 1), (2, 2)",
    "INSERT INTO r VALUES " + ", ".join(f"({n}, {n}, 'r{n}')" for n in range(1, 6)),
    "INSERT INTO q VALUES "
    + ", ".join(f"({n}, {n * 2}, 'q{n}', {n}.0, {n})" for n in range(4, 31)),
]
UPSERT = """WHEN MATCHED THEN UPDATE SET c = x.c, w = 'hit'
    WHEN NOT MATCHED THEN INSERT (k, c, at) VALUES (x.k, x.c, NULL)"""
CASES = {
    "values": [
        f"MERGE INTO t USING (VALUES (3, 30), (40, 41), (50, 5)) AS x (k, c) ON t.k = x.k {UPSERT}",
        (f"MERGE INTO t USING (SELECT %s AS k, %s AS c) x ON x.k = t.k {UPSERT}", (60, 61)),
        (f"MERGE INTO t USING (SELECT %(k)s AS k, %(c)s AS c) x ON x.k = t.k {UPSERT}",
         {"k": 4, "c": 1}),
        f"MERGE INTO t USING (VALUES (70, 1), (70, 2)) AS x (k, c) ON t.k = x.k {UPSERT}",
        f"MERGE INTO t USING (VALUES (3, 1), (3, 2)) AS x (k, c) ON t.k = x.k {UPSERT}",
        f"MERGE INTO t USING (VALUES (71, 5000)) AS x (k, c) ON t.k = x.k {UPSERT}",
        f"MERGE INTO t USING (VALUES (NULL::int, 5)) AS x (k, c) ON t.k = x.k {UPSERT}",
        f"MERGE INTO t USING (VALUES (7.0, 5), (80.4, 6)) AS x (k, c) ON t.k = x.k {UPSERT}",
        f"MERGE INTO t USING (SELECT 1 AS k, 2 AS c WHERE false) x ON t.k = x.k {UPSERT}",
        ("MERGE INTO t USING (VALUES (81), (2)) AS x (k) ON t.k = x.k AND t.c > 1"
        " WHEN MATCHED AND t.c = 2 THEN DELETE WHEN NOT MATCHED AND x.k > 80 THEN"
         " INSERT (k, c, w, at) VALUES (x.k, 5, DEFAULT, '2024-01-01')"
         " WHEN NOT MATCHED THEN DO NOTHING"),
    ],
    "by the key": [
        f"MERGE INTO t USING (SELECT k, c FROM s WHERE n = 0) x ON t.k = x.k {UPSERT}",
        "MERGE INTO t USING s ON t.k = s.k AND s.n = 1 WHEN MATCHED THEN DELETE",
        ("MERGE INTO s USING t ON t.k = s.k WHEN MATCHED AND t.c > 2 THEN UPDATE SET w = t.w"
        " WHEN MATCHED THEN DELETE"),
        "MERGE INTO t USING s ON t.k = s.k WHEN MATCHED THEN UPDATE SET c = s.n",
        "MERGE INTO t USING s ON t.k = s.k AND t.k = 9 WHEN MATCHED AND n = 0 THEN DELETE",
    ],
    "by other columns": [
        # What is inserted is not the key by which the source's rows are placed.
        ("MERGE INTO t USING s ON t.k = s.c AND t.k = s.k"
         " WHEN NOT MATCHED AND s.c > 50 THEN INSERT (k, at) VALUES (s.c, NULL)"),
        ("MERGE INTO t USING (SELECT c, count(*) AS n FROM s GROUP BY c) x ON t.k = x.c"
         " WHEN MATCHED THEN UPDATE SET c = n"
         " WHEN NOT MATCHED THEN INSERT (k, at) VALUES (x.c, NULL)"),
        ("MERGE INTO t USING (SELECT min(k) AS low, c % 5 AS c FROM s GROUP BY 2) x ON t.c = x.c"
        " WHEN MATCHED THEN UPDATE SET w = low::text"),
        "MERGE INTO t USING r ON t.c = r.id WHEN MATCHED THEN UPDATE SET w = r.w",
        "MERGE INTO t USING s ON t.k = s.c AND s.c = s.k WHEN NOT MATCHED THEN DO NOTHING",
        ("MERGE INTO t USING q ON t.k = q.id WHEN MATCHED AND q.n > 20 THEN DELETE"
        " WHEN NOT MATCHED THEN INSERT (k, c, at) VALUES (q.id, q.n, NULL)"),
        ("WITH x AS (SELECT max(k) + 1 AS k FROM t) MERGE INTO t USING x ON t.k = x.k"
        " WHEN NOT MATCHED THEN INSERT (k, c, at) VALUES (x.k, 1, NULL)"),
        ("MERGE INTO t USING (SELECT k, n FROM s ORDER BY c DESC LIMIT 3) x ON t.k = x.k"
        " WHEN MATCHED THEN UPDATE SET k = x.k, c = 900"),
        "MERGE INTO t USING (SELECT big AS k, 3 AS c FROM q) x ON t.k = x.k " + UPSERT,
        ("MERGE INTO words USING (SELECT w, max(c) AS m FROM s GROUP BY w) x ON words.w = x.w"
        " WHEN MATCHED THEN UPDATE SET n = m WHEN NOT MATCHED THEN INSERT VALUES (x.w, m)"),
        ("MERGE INTO words USING (VALUES ('é'::char(3), 5), ('ü', 6)) x (w, n) ON words.w = x.w"
        " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (w, n) VALUES (x.w, x.n)"),
        ("MERGE INTO ids USING (VALUES (2, 5), (3, 6)) AS x (id, c) ON ids.id = x.id"
        " WHEN MATCHED THEN UPDATE SET c = x.c"
        " WHEN NOT MATCHED THEN INSERT OVERRIDING SYSTEM VALUE VALUES (x.id, x.c)"),
        ("MERGE INTO ids USING (VALUES (9, 5)) AS x (id, c) ON ids.id = x.id"
        " WHEN NOT MATCHED THEN INSERT VALUES (x.id, x.c)"),
    ],
    "inserted on other shards": [
        ("MERGE INTO t USING r ON t.c = r.id"
         " WHEN NOT MATCHED THEN INSERT (k, at) VALUES (r.id, NULL)"),
        ("MERGE INTO t USING (SELECT id + 1 AS a, id + 200 AS b FROM r) x ON t.k = x.a"
         " WHEN MATCHED AND x.b % 2 = 0 THEN UPDATE SET c = 77 WHEN MATCHED THEN DELETE"
         " WHEN NOT MATCHED THEN INSERT (k, at) VALUES (x.b, NULL)"),
        ("MERGE INTO t USING r ON t.k = r.id AND r.id > 2"
         " WHEN NOT MATCHED AND r.id > 4 THEN INSERT (k, c, at) VALUES (r.id + 300, DEFAULT, NULL)"
         " WHEN NOT MATCHED AND r.id > 2 THEN DO NOTHING"
         " WHEN NOT MATCHED AND NULL THEN INSERT (k, at) VALUES (r.id + 400, NULL)"
         " WHEN NOT MATCHED THEN INSERT (k, at) VALUES (r.id + 500, NULL)"),
        ("MERGE INTO t USING (SELECT k, c FROM t) x ON t.k = x.c"
         " WHEN MATCHED THEN UPDATE SET c = x.k WHEN NOT MATCHED THEN"
         " INSERT (k, c, at) VALUES (x.k + 600, x.c, NULL)"),
        ("MERGE INTO t USING s ON t.c = s.c AND t.k = s.n WHEN NOT MATCHED THEN"
         " INSERT (k, at) VALUES (s.k, NULL)"),
        ("MERGE INTO t USING r ON t.k = r.id"
         " WHEN MATCHED THEN UPDATE SET c = (SELECT max(c) FROM s)"),
    ],
    "copies": [
        ("MERGE INTO r USING q ON r.id = q.id WHEN MATCHED THEN UPDATE SET n = q.n, w = q.w"
        " WHEN NOT MATCHED THEN INSERT VALUES (q.id, q.n)"),
        ("MERGE INTO r USING (SELECT c, sum(k) AS n FROM t GROUP BY c) x ON r.id = x.c"
        " WHEN MATCHED THEN UPDATE SET n = x.n WHEN NOT MATCHED THEN INSERT VALUES (x.c, x.n)"),
        "MERGE INTO r USING s ON r.id = s.k WHEN MATCHED AND s.n = 1 THEN DELETE",
        ("MERGE INTO r USING (SELECT id FROM q ORDER BY n DESC LIMIT 4) x ON r.id = x.id"
        " WHEN MATCHED THEN DELETE"),
        "MERGE INTO r USING t ON r.id = t.c WHEN MATCHED THEN UPDATE SET n = t.k",
        (("MERGE INTO r USING (SELECT %s AS id) x ON r.id = x.id"
          " WHEN NOT MATCHED THEN INSERT (id) VALUES (x.id)"), (77,)),
    ],
}  # fmt: skip
#: From PostgreSQL 17 on.
LATER = [
    (
        f"MERGE INTO t USING (VALUES (3, 30), (40, 41)) AS x (k, c) ON t.k = x.k {UPSERT}"
        " RETURNING merge_action(), t.k, t.twice, x.c"
    ),
    (
        "MERGE INTO t USING s ON t.k = s.k AND s.n = 0 WHEN MATCHED THEN UPDATE SET c = 7"
        " WHEN NOT MATCHED BY SOURCE AND t.k < 5 THEN DELETE"
        " WHEN NOT MATCHED BY SOURCE THEN UPDATE SET w = 'alone' RETURNING merge_action(), t.*"
    ),
    (
        "MERGE INTO t USING r ON t.k = r.id WHEN NOT MATCHED BY SOURCE AND k > 12 THEN DELETE"
        " WHEN NOT MATCHED THEN INSERT (k, at) VALUES (r.id, NULL)"
        " WHEN MATCHED THEN UPDATE SET c = n"
    ),
    (
        "MERGE INTO t USING (SELECT max(c) AS c FROM s) x ON t.c = x.c"
        " WHEN NOT MATCHED BY SOURCE AND t.k = 6 THEN DELETE"
    ),
    (
        "MERGE INTO t USING (SELECT k FROM s WHERE false) x ON t.k = x.k"
        " WHEN NOT MATCHED BY SOURCE AND t.k % 2 = 0 THEN UPDATE SET c = 8 RETURNING k"
    ),
    (
        "MERGE INTO r USING (SELECT c, count(*) AS n FROM t GROUP BY c) x ON r.id = x.c"
        " WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN MATCHED THEN UPDATE SET n = x.n RETURNING r.*"
    ),
]
REFUSED = {
    "MERGE INTO t USING r ON t.k = r.id WHEN MATCHED THEN UPDATE SET k = r.n": "key k is changed",
    "MERGE INTO t USING r ON t.k = r.id WHEN MATCHED THEN UPDATE SET c = (SELECT max(n) FROM s"
    " WHERE s.c = t.c)":
        "an aggregate takes the rows of all shards",
    "MERGE INTO made t USING r ON t.k = r.id WHEN MATCHED THEN UPDATE SET no = DEFAULT":
        "no would be counted",
    "MERGE INTO copied t USING r ON t.id = r.id WHEN MATCHED THEN UPDATE SET u = DEFAULT":
        "a default, as now()",
    "MERGE INTO r USING s ON r.id = s.k WHEN MATCHED THEN UPDATE SET n = random()":
        "random() may choose otherwise",
    "MERGE INTO logged USING r ON k = id WHEN NOT MATCHED THEN INSERT VALUES (id, n)":
        'trigger "counts"',
}  # fmt: skip


@pytest.fixture(scope="module")
def both(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, TABLES) as both:
        with psycopg2.connect(both.one) as conn:
            if conn.server_version < 150000:
                pytest.skip("MERGE is there from PostgreSQL 15 on")
            both.version = conn.server_version
        conn.close()
        yield both


@pytest.mark.parametrize("shards", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_merge_does_what_one_server_does(both, case, shards):
    both.check(ROWS, CASES[case], shards, autocommit=shards == 2)


def test_what_a_merge_returns_and_rows_without_a_source(both):
    if both.version < 170000:
        pytest.skip("from PostgreSQL 17 on")
    both.check(ROWS, LATER, 3, autocommit=False)


def test_what_merge_cannot_place_is_refused(both):
    with both.filled(ROWS, 3) as (_, conn):
        for text, reason in REFUSED.items():
            with pytest.raises(greenshard.NotSupportedError) as refused:
                conn.cursor().execute(text)
            assert reason in str(refused.value), text


#: What inserts, by VALUES and by a table, with and without a list of columns.
DEFAULTS = [
    "MERGE INTO made USING r ON k = r.id WHEN NOT MATCHED THEN INSERT (c, k) VALUES (r.n, r.id)",
    "MERGE INTO made USING q ON k = q.id WHEN NOT MATCHED THEN INSERT VALUES (q.id, q.n)",
    (
        "MERGE INTO made USING (VALUES (101, 1), (102, 2)) v (k, c) ON made.k = v.k"
        " WHEN NOT MATCHED THEN INSERT (k, no, at, c) OVERRIDING USER VALUE"
        " VALUES (v.k, DEFAULT, DEFAULT, v.c)"
    ),
    (
        "MERGE INTO copied USING (VALUES (1, 1), (2, 2)) v (k, c) ON id = k WHEN NOT MATCHED"
        " THEN INSERT (id, u) VALUES (v.k, DEFAULT)"
    ),
    "MERGE INTO copied USING t ON id = k WHEN NOT MATCHED THEN INSERT VALUES (t.k)",
    "MERGE INTO copied USING t ON id = k WHEN MATCHED THEN UPDATE SET c = 5, at = DEFAULT",
]


def test_rows_that_merge_inserts_get_their_defaults(both):
    """Numbers of one sequence, one time, and the same in all copies."""
    with both.filled(ROWS, 3) as (single, conn):
        mine, theirs = conn.cursor(), single.cursor()
        for text in DEFAULTS:
            for cur in (mine, theirs):
                cur.execute(text)
            assert mine.rowcount == theirs.rowcount, text
        for cur in (mine, theirs):
            cur.execute(
                "SELECT k, c, at = now(), u IS NULL FROM made UNION ALL"
                " SELECT id, c, at = now(), u IS NULL FROM copied"
            )
        assert sorted(mine.fetchall(), key=repr) == sorted(theirs.fetchall(), key=repr)
        mine.execute("SELECT count(*), count(DISTINCT no), count(DISTINCT i) FROM made")
        ((rows, numbers, identities),) = mine.fetchall()
        assert rows == numbers == identities > 20
        mine.execute("SELECT max(no), max(i) FROM made")
        assert mine.fetchone() <= tuple(_next(mine, name) for name in ("made_no_seq", "made_i_seq"))
        conn.commit()
    both.check_places(3)


def _next(cur, name):
    cur.execute("SELECT nextval(%s)", (name,))
    return cur.fetchone()[0]


#: From PostgreSQL 17 on.
VIEWS = [
    (
        "MERGE INTO rs USING (VALUES (2, 5), (7, 8)) v (i, n) ON v.i = rs.id WHEN MATCHED THEN"
        " UPDATE SET n = v.n WHEN NOT MATCHED THEN INSERT (id, n) VALUES (v.i, v.n)"
    ),
    "MERGE INTO rs USING t ON t.k = rs.id WHEN MATCHED THEN DELETE",
    (
        "MERGE INTO few USING (VALUES (2, 5), (7, 800)) v (i, n) ON v.i = few.k WHEN MATCHED THEN"
        " UPDATE SET count = v.n"
    ),
    (
        "MERGE INTO few USING s ON s.k = few.k AND n = 0 WHEN MATCHED THEN UPDATE SET count = s.c"
        " WHEN NOT MATCHED THEN DO NOTHING RETURNING merge_action(), few.*"
    ),
    "MERGE INTO few USING q ON q.id = few.count WHEN MATCHED THEN DELETE",
    "MERGE INTO sums USING q ON q.id = sums.c WHEN MATCHED THEN DELETE",
    # The view does not show `at`, and each row without a count fails its CHECK OPTION.
    "MERGE INTO few USING q ON q.id = k WHEN NOT MATCHED THEN INSERT (k) VALUES (q.id)",
]


def test_views_are_merged_into_as_the_tables_behind_them(both):
    if both.version < 170000:
        pytest.skip("from PostgreSQL 17 on")
    both.check(ROWS, VIEWS, 3, autocommit=False)
    with both.filled(ROWS, 3) as (single, conn):
        for cur in (single.cursor(), conn.cursor()):
            cur.execute(
                "MERGE INTO few USING q ON q.id = k"
                " WHEN NOT MATCHED THEN INSERT (k, count) VALUES (q.id, 4)"
            )
            cur.execute("SELECT count(*) > 0, count(DISTINCT at) FROM t WHERE c = 4 AND at = now()")
            assert cur.fetchall() == [(True, 1)]
