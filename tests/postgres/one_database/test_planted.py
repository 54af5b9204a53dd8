"""What others plant in a schema of the search path is never reached by SQL that is not the user's.

The victim is a superuser. Its own statements name pg_catalog wherever a name could mean something
that is planted, so whatever is reached would be reached by what greenshard adds or asks.

Source: CVE-2018-1058, and PostgreSQL's wiki page of that name.
"""

from __future__ import annotations

import contextlib
import secrets

import psycopg2
import pytest
from click.testing import CliRunner
from psycopg2.extensions import make_dsn

import greenshard
from greenshard.checking import check
from greenshard.cli import main
from tests.postgres.one_database import conftest as scene
from tests.postgres.one_database import planting
from tests.postgres.psql import run
from tests.sampling import few

MORE = """
CREATE TABLE numbers (
    id bigint PRIMARY KEY, tiny int2, small int4, big int8, exact numeric(10,2), single float4,
    double float8, span interval, letter "char", word varchar(20), fixed char(5), label name,
    moment timestamptz, day date, moods mood[], feeling mood);
INSERT INTO numbers SELECT
    n, n % 5, n % 7, n % 9, n / 3.0, n / 4.0, n / 8.0, n * interval '1 hour', chr(97 + n % 5),
    'w' || n % 6, 'f' || n % 4, 'l' || n % 3, '2020-01-01Z'::timestamptz + n * interval '1 minute',
    date '2020-01-01' + n % 10, ARRAY['sad', 'ok']::mood[],
    (ARRAY['sad', 'ok', 'glad', NULL])[n % 4 + 1]::mood
FROM generate_series(1, 60) AS n;
CREATE VIEW glad AS
    SELECT id, word, lower(word) AS low, big + 1.5 AS more, CASE word WHEN 'w1' THEN 1 END AS one,
        nullif(word, 'w2'::varchar) AS other
    FROM numbers
    WHERE word IS DISTINCT FROM 'w3'::varchar AND word IN ('w1', 'w2', 'w4')
        AND fixed LIKE 'f%' AND double / exact > 0.1 AND small BETWEEN 0.5 AND 5;
CREATE VIEW recent AS
    SELECT id, word, CURRENT_DATE - day AS ago FROM numbers
    WHERE day < CURRENT_DATE AND word || fixed <> 'a' AND upper(word) ~~ 'W%';
"""
TABLES = {**scene.TABLES, "numbers": greenshard.Sharded("id")}
PATHS = {"after": "planted,public", "before": "planted,pg_catalog,public"}

#: By strategy. Whatever an operator or function of the text means, it is PostgreSQL's own.
STATEMENTS = {
    "route": [
        "SELECT id, note, feeling FROM public.orders WHERE id OPERATOR(pg_catalog.=) 7",
        ("SELECT id, note FROM public.orders WHERE id OPERATOR(pg_catalog.=) %s", (9,)),
    ],
    "reference": ["SELECT id, name FROM public.nation ORDER BY id"],
    "concatenate": [
        "SELECT id, tags, both_of, feeling, doc FROM public.orders",
        "SELECT id, CURRENT_DATE OPERATOR(pg_catalog.-) day FROM public.numbers",
        "SELECT id, ago FROM public.recent",
        "SELECT id, more FROM public.glad",
    ],
    "merge": [
        *(
            f"SELECT id, {key} FROM public.numbers ORDER BY {key} {way}, id LIMIT 20 OFFSET 3"
            for key, way in {
                "tiny": "",
                "exact": "DESC",
                "single": "NULLS FIRST",
                "double": "",
                "span": "DESC",
                "letter": "",
                "word": "DESC",
                "fixed": "",
                "label": "",
                "moment": "DESC",
                "day": "",
                "feeling": "DESC NULLS LAST",
                "moods": "",
            }.items()
        ),
        'SELECT id FROM public.orders ORDER BY note COLLATE pg_catalog."C", tags, both_of, id',
        (
            "SELECT id FROM public.numbers ORDER BY id LIMIT %s OFFSET %s",
            (5, 4),
        ),
        "SELECT word FROM public.numbers ORDER BY CURRENT_DATE OPERATOR(pg_catalog.-) day, id",
        "SELECT id, low, one, other FROM public.glad ORDER BY low, id",
    ],
    "combine": [
        *(
            f"SELECT {key}, pg_catalog.count(*) FROM public.numbers GROUP BY {key} ORDER BY 1"
            for key in ("tiny", "exact", "double", "span", "word", "fixed", "feeling")
        ),
        *(
            f"SELECT pg_catalog.avg({key}), pg_catalog.sum({key}), pg_catalog.count({key})"
            " FROM public.numbers"
            for key in ("tiny", "small", "big", "exact", "double", "span")
        ),
        *(
            f"SELECT pg_catalog.min({key}), pg_catalog.max({key}) FROM public.numbers"
            for key in ("word", "fixed", "moment", "day", "feeling", "double", "moods")
        ),
        "SELECT pg_catalog.avg(single) FROM public.numbers",  # which is gathered then
        (
            "SELECT word, pg_catalog.avg(double) FROM public.numbers GROUP BY word"
            " HAVING pg_catalog.avg(exact) OPERATOR(pg_catalog.>) 5.0"
            " AND pg_catalog.count(*) OPERATOR(pg_catalog.>) 2 ORDER BY 2 DESC LIMIT 3"
        ),
        "SELECT DISTINCT feeling, fixed FROM public.numbers ORDER BY feeling, fixed",
        "SELECT feeling FROM public.numbers UNION SELECT feeling FROM public.orders ORDER BY 1",
        "SELECT pg_catalog.bool_or(small OPERATOR(pg_catalog.>) 3) FROM public.numbers",
        "SELECT CURRENT_DATE, pg_catalog.count(*) FROM public.numbers GROUP BY 1",
        "SELECT low, pg_catalog.count(*) FROM public.glad GROUP BY low ORDER BY low",
        "SELECT pg_catalog.count(ago) FROM public.recent",
    ],
    "gather": [
        "SELECT label, pg_catalog.count(*) FROM public.numbers GROUP BY label ORDER BY 1",
        (
            "SELECT pg_catalog.array_agg(DISTINCT coalesce(word)),"
            " pg_catalog.count(DISTINCT feeling)"
            " FROM public.numbers WHERE small OPERATOR(pg_catalog.>) 1"
        ),
        (
            "SELECT a.id, b.id FROM public.numbers a JOIN public.orders b"
            " ON a.small OPERATOR(pg_catalog.=) b.customer ORDER BY 1, 2"
        ),
        (
            "SELECT id, tags, both_of, pg_catalog.row_number() OVER (ORDER BY note, id)"
            " FROM public.orders ORDER BY id"
        ),
        (
            "SELECT id, low, one, other, more, pg_catalog.rank() OVER (ORDER BY word, id)"
            " FROM public.glad ORDER BY id"
        ),
        "SELECT id, pg_catalog.rank() OVER (ORDER BY ago, id) FROM public.recent ORDER BY id",
    ],
}
CASES = [
    (strategy, *(each if isinstance(each, tuple) else (each, None)))
    for strategy, statements in STATEMENTS.items()
    for each in statements
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    """The shards' databases, with what is planted in them, and one with all rows and without."""
    mark = secrets.token_hex(3)
    names = {name: f"planted_{mark}_{name}" for name in ("one", "s0", "s1", "s2")}
    dsns = {name: greenshard_shards[0].dsn_of(each) for name, each in names.items()}
    cluster = greenshard.Cluster({name: dsns[name] for name in ("s0", "s1", "s2")}, TABLES)
    with contextlib.closing(psycopg2.connect(greenshard_shards[0].dsn)) as admin:
        admin.autocommit = True
        cur = admin.cursor()
        cur.execute(f"CREATE DATABASE {names['s0']}")
        run(dsns["s0"], scene.SCHEMA + MORE, planting.PLANTING)
        for name in ("s1", "s2"):
            cur.execute(f"CREATE DATABASE {names[name]} TEMPLATE {names['s0']}")
        cur.execute(f"CREATE DATABASE {names['one']}")
        run(dsns["one"], scene.SCHEMA + MORE)
        for name, dsn in dsns.items():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                for table, rows in (("orders", scene.ORDERS), ("items", scene.ITEMS)):
                    own = [r for r in rows if name in ("one", shard_of(cluster, r[0]))]
                    scene.insert(cur, f"public.{table}", own)
                scene.insert(cur, "public.nation", scene.NATIONS)
                if name != "one":
                    here = [n for n in range(1, 61) if shard_of(cluster, n) == name]
                    cur.execute("DELETE FROM numbers WHERE id <> ALL (%s)", (here,))
        greenshard.init(cluster)
        yield dsns, names
        for each in names.values():
            admin.cursor().execute(f"DROP DATABASE {each} WITH (FORCE)")


def shard_of(cluster, key):
    return cluster.placement.shards_for(key, "int8", cluster.names)


@pytest.fixture(scope="module")
def clusters(databases):
    """By search path. It takes seconds to read what is planted, which is kept by cluster."""
    dsns, _ = databases
    options = {name: f"-c search_path={path}" for name, path in PATHS.items()}
    return {
        name: greenshard.Cluster(
            {shard: make_dsn(dsns[shard], options=each) for shard in ("s0", "s1", "s2")}, TABLES
        )
        for name, each in options.items()
    }


@pytest.fixture(params=PATHS)
def cluster(databases, clusters, request):
    """The shards, whose search path leads past what is planted; nothing of that is reached."""
    dsns, _ = databases
    yield clusters[request.param]
    assert reached(dsns) == []


def reached(dsns):
    """The shards on which something planted was reached since it was last asked."""
    found = []
    for name in ("s0", "s1", "s2"):
        with contextlib.closing(psycopg2.connect(dsns[name])) as conn, conn, conn.cursor() as cur:
            cur.execute(planting.REACHED)
            if cur.fetchone() == (True,):
                found.append(name)
                cur.execute(planting.FORGET)
    return found


def test_thousands_of_things_are_planted_and_are_reached_by_whoever_names_none(databases):
    dsns, _ = databases
    with contextlib.closing(psycopg2.connect(dsns["s0"])) as conn, conn.cursor() as cur:
        cur.execute(planting.COUNT)
        assert cur.fetchone()[0] > 10_000
        conn.rollback()
        for path, statement in (
            (PATHS["after"], "SELECT format('%%I.%%I', 'a'::name, 'b'::name)"),
            (PATHS["after"], "SELECT 1.5::float8 / 2::numeric"),
            (PATHS["after"], "SELECT 'a'::varchar = 'b'::varchar"),
            (PATHS["before"], "SELECT sum(1)"),
            (PATHS["before"], "SELECT 1 = 2"),
            (PATHS["before"], "SELECT 'a'::text"),
            (PATHS["before"], "SELECT oid FROM pg_class"),
        ):
            cur.execute(f"SET search_path = {path}")
            with pytest.raises(psycopg2.Error, match="planted") as raised:
                cur.execute(statement, ())
            assert raised.value.pgcode == "P0666"
            conn.rollback()
    assert reached(dsns) == ["s0"]


@pytest.mark.parametrize(("strategy", "statement", "parameters"), few(CASES, 16))
def test_no_strategy_reaches_what_is_planted(databases, cluster, strategy, statement, parameters):
    dsns, _ = databases
    with contextlib.closing(psycopg2.connect(dsns["one"])) as one, one.cursor() as cur:
        cur.execute(statement, parameters)
        expected, names = cur.fetchall(), [column.name for column in cur.description]
    with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
        assert f"strategy: {strategy}" in conn.explain(statement, parameters)
        cur.execute(statement, parameters)
        got = cur.fetchall()
        if "ORDER BY" not in statement:
            got, expected = sorted(got, key=repr), sorted(expected, key=repr)
        assert got == expected
        assert [column.name for column in cur.description] == names


def opened(cluster):
    return contextlib.closing(greenshard.connect(cluster))


def test_named_cursors_reach_nothing(databases, cluster):
    dsns, _ = databases
    for statement in (
        "SELECT id, feeling FROM public.numbers",
        "SELECT id, feeling FROM public.numbers ORDER BY feeling, span DESC, id",
        "SELECT feeling, pg_catalog.avg(double) FROM public.numbers GROUP BY feeling ORDER BY 1",
        "SELECT DISTINCT word FROM public.numbers ORDER BY word",
        "SELECT pg_catalog.array_agg(DISTINCT coalesce(word)) FROM public.numbers",
    ):
        with contextlib.closing(psycopg2.connect(dsns["one"])) as one, one.cursor() as cur:
            cur.execute(statement)
            expected = cur.fetchall()
        with opened(cluster) as conn, conn.cursor("named") as cur:
            cur.itersize = 7
            cur.execute(statement)
            got = list(cur)
        if "ORDER BY" not in statement:
            got, expected = sorted(got, key=repr), sorted(expected, key=repr)
        assert got == expected


def test_what_a_session_has_set_goes_to_a_gather_and_reaches_nothing(cluster):
    gathered = "SELECT pg_catalog.array_agg(DISTINCT coalesce(word)) FROM public.numbers"
    with opened(cluster) as conn, conn.cursor() as cur:
        cur.execute("SET work_mem = '5MB'; SET app.mine = 'x'")
        cur.execute("SET search_path = planted, public, pg_temp")
        cur.execute(gathered)
        assert cur.fetchall() == [([f"w{n}" for n in range(6)],)]
        with conn.on("s0").cursor() as one:
            one.execute("CREATE TEMP TABLE mine (x int)")
        cur.execute(gathered)
        assert cur.fetchall() == [([f"w{n}" for n in range(6)],)]


def test_writes_and_commits_reach_nothing(cluster):
    with opened(cluster) as conn, conn.cursor() as cur:
        cur.execute("UPDATE public.numbers SET day = CURRENT_DATE")
        cur.execute("UPDATE public.nation SET name = 'x' WHERE id OPERATOR(pg_catalog.=) 1")
        cur.executemany(
            "UPDATE public.orders SET note = %s WHERE id OPERATOR(pg_catalog.=) %s",
            [("a", 1), ("b", 2), ("c", 3)],
        )
        conn.rollback()
        for number in (1, 2, 3, 4):
            cur.execute("INSERT INTO public.blobs (id) VALUES (%s)", (number,))
        conn.commit()
        cur.execute("DELETE FROM public.blobs")
        conn.commit()


def test_a_pool_that_resets_and_probes_reaches_nothing(cluster):
    with greenshard.Pool(cluster, max_size=2, timeout=20.0) as pool:
        for _ in range(3):
            with pool.connection() as conn, conn.cursor() as cur:
                cur.execute("SET work_mem = '5MB'")
                cur.execute("SELECT pg_catalog.set_config('app.x', 'y', false)")
                cur.execute("SELECT pg_catalog.pg_advisory_lock(7)")
                cur.execute("SELECT feeling FROM public.numbers ORDER BY feeling LIMIT 2")
                cur.execute(
                    "SELECT pg_catalog.cardinality(pg_catalog.array_agg(DISTINCT coalesce(word)))"
                    " FROM public.numbers"
                )


def test_checks_reach_nothing(cluster, tmp_path):
    dsns = {name: shard.primary for name, shard in cluster.shards.items()}
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        assert check(conn, cluster).findings == []
    file = tmp_path / "cluster.toml"
    shards = "\n".join(f'{name} = "{dsn}"' for name, dsn in dsns.items())
    file.write_text(f'[shards]\n{shards}\n[tables]\nnumbers = {{ shard_key = "id" }}\n')
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 0, result.output


def test_a_union_reaches_nothing(cluster):
    dsns = {name: shard.primary for name, shard in cluster.shards.items()}
    with contextlib.closing(greenshard.connect(dsns)) as conn, conn.cursor() as cur:
        cur.execute("SELECT id, feeling, moods FROM public.numbers")
        assert len(cur.fetchall()) == 60
