"""What the planner is told of a database is what PostgreSQL knows."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial

import psycopg2
import pytest

import greenshard
from greenshard._driver import Dsn, make_cooperative
from greenshard.executor.knowledge import code_queries as code
from greenshard.executor.knowledge.catalog_queries import load_catalog
from greenshard.links.asking_bearings import ask_bearings
from greenshard.links.deadline import within
from greenshard.links.outside import read_outside
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.planner.catalog import Column
from greenshard.planner.code import Function

SCHEMA = """
CREATE SCHEMA "Sales dept";
CREATE SCHEMA other;
CREATE TYPE other.mood AS ENUM ('sad', 'glad');
CREATE TYPE other."Odd type" AS (a int);
CREATE DOMAIN other.positive AS int CHECK (VALUE > 0);
CREATE DOMAIN other.small AS other.positive CHECK (VALUE < 10);
CREATE DOMAIN other.tags AS text[];
CREATE DOMAIN other.code AS varchar(7) COLLATE "C";
CREATE COLLATION other."Own" (provider = libc, locale = 'C');
CREATE TABLE other.t (
    a int2, b int, gone text, c numeric(10,2), d varchar(5), e char, f bpchar, g "char", h name,
    i bit, j bit(3), k varbit, l timestamp(3), m timestamptz, n interval second(2),
    o interval year to month, p varchar(5)[], q int[], r other.mood, s other.mood[],
    t other."Odd type", u other.positive, v other.small, w other.tags, x other.code,
    y text COLLATE "C", z text COLLATE other."Own", aa text COLLATE "default", ab text, ac uuid,
    ad bpchar[], ae bit[], af "char"[], ag json, ah float4, ai float8, aj time(0), ak timetz,
    al bool, am int8, an other."Odd type"[], "Camel ""case" int,
    PRIMARY KEY (b, a) INCLUDE (c));
ALTER TABLE other.t DROP COLUMN gone;
CREATE TABLE other.parted (a int, b int) PARTITION BY HASH (a);
CREATE TABLE other.part PARTITION OF other.parted FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE VIEW other.v AS
    SELECT t.a, lower(t.ab) AS low, date '2020-01-31' AS d, 0.1::float8 AS f
    FROM other.t JOIN pg_class ON t.b = relpages WHERE t.u > 3;
CREATE VIEW "Sales dept".v AS SELECT a FROM other.v;
CREATE MATERIALIZED VIEW other.m AS SELECT 1 AS x;
CREATE SEQUENCE other.numbers;
CREATE TABLE public.empty ();
CREATE FUNCTION other.f(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1 FROM pg_class';
CREATE FUNCTION other.f(text) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1 FROM pg_class';
CREATE FUNCTION other.f(bool) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1 FROM pg_class';
CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE PROCEDURE other.p() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE other.total(int) (SFUNC = int4pl, STYPE = int);
"""

#: Type, and how it is to be written in a cast; other columns are compared by the server only.
EXPECTED = [
    Column("a", "int2", "smallint"),
    Column("b", "int4", "integer"),
    Column("c", "numeric", "numeric(10,2)"),
    Column("d", "varchar", "character varying(5)"),
    Column("e", "bpchar", "character(1)"),
    Column("f", "bpchar", "pg_catalog.bpchar"),
    Column("g", "char", 'pg_catalog."char"'),
    Column("h", "name", "pg_catalog.name", 'pg_catalog."C"'),
    Column("l", "timestamp", "timestamp(3) without time zone"),
    Column("n", "interval", "interval second(2)"),
    Column("p", "_varchar", "character varying(5)[]", is_array=True),
    Column("r", "mood", "other.mood"),
    Column("s", "_mood", "other.mood[]", is_array=True),
    Column("t", "Odd type", 'other."Odd type"'),
    Column("v", "int4", "other.small"),
    Column("w", "_text", "other.tags", is_array=True),
    Column("x", "varchar", "other.code", 'pg_catalog."C"'),
    Column("y", "text", "pg_catalog.text", 'pg_catalog."C"'),
    Column("z", "text", "pg_catalog.text", 'other."Own"'),
    Column("aa", "text", "pg_catalog.text"),
    Column("ad", "_bpchar", "pg_catalog.bpchar[]", is_array=True),
    Column('Camel "case', "int4", "integer"),
]

#: Settings of a session in which names and constants are written in other ways.
SETTINGS = [
    "SET search_path = other, public, pg_catalog",
    "SET DateStyle = 'SQL, DMY'",
    "SET extra_float_digits = -10",
    "SET quote_all_identifiers = on",
]


@pytest.fixture(scope="module")
def dsn(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        with contextlib.closing(psycopg2.connect(dsns["s0"])) as connection:
            connection.autocommit = True
            connection.cursor().execute(SCHEMA)
        yield dsns["s0"]


def open_session(dsn):
    make_cooperative()
    physical = Physical.new("s0", Dsn(dsn))
    physical.open()
    return Session([physical], {}, ["s0"], 20.0)


@pytest.fixture
def session(dsn):
    session = open_session(dsn)
    yield session
    session.physical("s0").discard()


@pytest.fixture
def cur(session):
    return session.physical("s0").raw.cursor()


def load(session):
    with session.taken():
        return load_catalog(session, ["s0"], within(10.0))


def bearings(session):
    physical = session.physicals["s0"]
    with session.taken():
        session.run({"s0": partial(read_outside, physical, ask_bearings)}, within(10.0))
    return physical.bearings


def path(session):
    return bearings(session).path


@pytest.fixture(scope="module")
def catalog(dsn):
    session = open_session(dsn)
    yield load(session)
    session.physical("s0").discard()


def test_columns_have_their_types_and_collations(catalog):
    table = catalog.relations["other", "t"]
    assert [table.column(column.name) for column in EXPECTED] == EXPECTED
    assert table.column("gone") is None


def test_columns_are_in_their_order(catalog):
    assert [c.name for c in catalog.relations["other", "t"].columns[:4]] == ["a", "b", "c", "d"]
    assert catalog.relations["public", "empty"].columns == ()


def test_casts_mean_the_columns_types_under_any_search_path(catalog, cur):
    cur.execute("CREATE TYPE other.text AS (x int)")
    cur.execute("CREATE DOMAIN other.bpchar AS int")
    cur.execute("SET search_path = other, pg_catalog")
    for column in catalog.relations["other", "t"].columns:
        cur.execute(
            f"CREATE TEMP TABLE copy AS SELECT NULL::{column.type_sql} AS x;"
            "SELECT count(DISTINCT (atttypid, atttypmod)) FROM pg_attribute WHERE attname = %s"
            " AND attrelid = 'other.t'::regclass OR attname = 'x' AND attrelid = 'copy'::regclass",
            (column.name,),
        )
        assert cur.fetchone() == (1,), column
        cur.execute("DROP TABLE copy")


def test_nondeterministic_collation(cur, session):
    try:
        cur.execute(
            "CREATE COLLATION other.ci (provider = icu, locale = 'und-u-ks-level2',"
            " deterministic = false);"
            "CREATE TABLE other.names (a text COLLATE other.ci)"
        )
    except psycopg2.errors.FeatureNotSupported as exc:
        pytest.skip(str(exc))
    found = load(session).relations["other", "names"].columns
    assert found == (Column("a", "text", "pg_catalog.text", "other.ci", deterministic=False),)


def test_primary_key_is_in_the_order_of_the_key(catalog):
    assert catalog.relations["other", "t"].primary_key == ("b", "a")
    assert catalog.relations["other", "parted"].primary_key == ()


def test_kinds_of_relations(catalog):
    kinds = {
        name: relation.kind
        for (schema, name), relation in catalog.relations.items()
        if schema == "other"
    }
    assert kinds == {
        "t": "r", "parted": "p", "part": "r", "v": "v", "m": "m", "numbers": "S",
    }  # fmt: skip


@pytest.mark.parametrize("settings", [[], SETTINGS])
def test_views_are_defined_in_qualified_names_and_in_constants_that_mean_the_same_everywhere(
    session, cur, settings
):
    for setting in settings:
        cur.execute(setting)
    found = load(session).relations
    definition = " ".join(found["other", "v"].definition.split())
    assert definition == (
        "SELECT t.a, lower(t.ab) AS low, '2020-01-31'::date AS d, (0.1)::double precision AS f"
        " FROM (other.t JOIN pg_class ON ((t.b = pg_class.relpages)))"
        " WHERE ((t.u)::integer > 3)"
    )
    assert "other.v" in found["Sales dept", "v"].definition
    assert found["other", "m"].definition.split() == ["SELECT", "1", "AS", "x"]
    assert [column.name for column in found["other", "v"].columns] == ["a", "low", "d", "f"]


def test_relations_of_the_system_have_no_columns(catalog):
    assert catalog.relations["pg_catalog", "pg_class"].kind == "r"
    assert catalog.relations["pg_catalog", "pg_stat_activity"].kind == "v"
    assert catalog.relations["information_schema", "tables"].columns == ()


def test_temporary_relations_are_left_out(session, cur):
    cur.execute("CREATE TEMP TABLE mine (a int)")
    schemas = {schema for schema, _ in load(session).relations}
    assert not any(schema.startswith(("pg_temp", "pg_toast")) for schema in schemas)


def test_temporary_relations_do_not_hide_the_systems(session, cur, catalog):
    cur.execute("CREATE TEMP TABLE pg_class (a int); CREATE TEMP TABLE pg_attribute (a int)")
    found = load(session)
    assert found.relations.keys() == catalog.relations.keys()
    # The definition of a view then has to say which pg_class it means, and nothing else.
    assert found.relations["other", "t"] == catalog.relations["other", "t"]


def test_functions_are_told_apart_by_schema_kind_and_volatility(catalog):
    assert told(catalog, "f") == {
        Function("other", "f", "s", leaves=True, has_body=True),
        Function("other", "f", "v", leaves=True, has_body=True),
        Function("public", "f", "i", leaves=True),
    }
    assert told(catalog, "p") == {Function("other", "p", "v", leaves=True)}
    assert told(catalog, "total") == {Function("other", "a", "i")}
    assert told(catalog, "row_number") == {Function("pg_catalog", "w", "i")}
    assert told(catalog, "now") == {Function("pg_catalog", "f", "s")}


def told(catalog, name):
    return {replace(each, unary=True) for each in catalog.functions[name]}


def test_functions_of_one_argument_can_be_attributes(session, cur, catalog):
    found = {
        name: {each.unary for each in catalog.functions[name]}
        for name in ("now", "setseed", "set_config", "sum", "rank", "row_number", "concat")
    }
    assert found == {
        **{name: {False} for name in ("now", "set_config", "row_number", "rank")},
        **{name: {True} for name in ("setseed", "sum", "concat")},
    }


def test_an_extension_that_is_not_known_makes_no_statement_suspect(session, cur, monkeypatch):
    monkeypatch.setitem(code.PARAMETERS, "computing", "{}")
    before = load(session).runs_unseen
    cur.execute("CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION tablefunc")
    found = load(session)
    assert found.runs_unseen == before
    assert not any(each.leaves for one in found.operators.values() for each in one)
    assert any(each.leaves for each in found.functions["akeys"])
    assert any(each.leaves for each in found.functions["crosstab"])


def test_fields_and_namesakes(session, cur):
    assert not load(session).makes
    cur.execute(
        "CREATE TYPE other.inner_size AS (wide int);"
        'CREATE TYPE "Size" AS ("Tall" text, p other.inner_size[]);'
        "CREATE TABLE held (id int); CREATE TABLE holding (h held, n int);"
        "CREATE FUNCTION given(x int, OUT y int) LANGUAGE sql AS 'SELECT 1';"
        "CREATE DOMAIN other.date AS int; CREATE TABLE uuid (a int);"
        "CREATE FUNCTION doing() RETURNS int LANGUAGE plpgsql"
        " AS 'BEGIN execute ''SELECT 1''; RETURN 1; END'"
    )
    found = load(session)
    assert found.composites["other.inner_size"] == {"wide": "integer"}
    assert found.composites['public."Size"'] == {"Tall": "text", "p": "other.inner_size[]"}
    assert found.composites["public.held"] == {"id": "integer"}
    assert "public.holding" not in found.composites
    assert "y" in found.outputs
    assert "x" not in found.outputs
    assert {("date", "other"), ("uuid", "public")} <= set(found.namesakes)
    assert found.makes
    assert found.namesakes_on(("other", "pg_catalog", "public"))["date"] == "other"


def test_server_version(catalog, cur):
    cur.execute("SHOW server_version_num")
    assert catalog.server_version == int(cur.fetchone()[0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("LOCALE 'C' ENCODING 'UTF8'", True),
        ("LOCALE 'POSIX' ENCODING 'SQL_ASCII'", True),
        ("LOCALE 'C' ENCODING 'EUC_JP'", False),
        ("LOCALE 'C.UTF-8' ENCODING 'UTF8'", False),
        ("LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C' ENCODING 'UTF8'", False),
        ("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C' ENCODING 'UTF8'", True),
        ("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C' LOCALE 'C.UTF-8' ENCODING 'UTF8'", True),
        ("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST' ENCODING 'UTF8'", True),
    ],
)
def test_default_collation_by_code_point(dsn, options, expected):
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        try:
            cursor.execute(f"CREATE DATABASE catalog_test TEMPLATE template0 {options}")
        except psycopg2.Error as exc:
            pytest.skip(f"this PostgreSQL has no such databases: {exc}")
        try:
            session = open_session(psycopg2.extensions.make_dsn(dsn, dbname="catalog_test"))
            assert load(session).c_collation is expected
            session.physical("s0").discard()
        finally:
            cursor.execute("DROP DATABASE catalog_test")


def test_names_come_through_any_client_encoding(session, cur):
    cur.execute('CREATE TABLE other."Ж€" ("ж" int)')
    cur.execute("SET client_encoding = LATIN1")
    assert load(session).relations["other", "Ж€"].column("ж") is not None


def state(physical):
    return physical.transaction_status, physical.in_transaction, physical.raw.autocommit


@pytest.mark.parametrize(
    ("autocommit", "begin", "expected"),
    [
        (False, None, ("other", "public", "pg_catalog")),
        (True, None, ("other", "public", "pg_catalog")),
        (False, "SET LOCAL search_path = other", ("pg_catalog", "other")),
        (True, "BEGIN; SET LOCAL search_path = other", ("pg_catalog", "other")),
    ],
)
def test_loading_leaves_the_session_as_it_was(session, cur, autocommit, begin, expected):
    physical = session.physical("s0")
    for setting in SETTINGS:
        cur.execute(setting)
    physical.raw.commit()
    physical.raw.autocommit = autocommit
    if begin:
        cur.execute(begin)
    before = state(physical)
    load(session)
    assert path(session) == expected
    assert state(physical) == before
    cur.execute("SELECT current_setting('DateStyle'), current_setting('extra_float_digits')")
    assert cur.fetchone() == ("SQL, DMY", "-10")


def test_loading_in_a_transaction_leaves_no_locks_and_no_savepoint(session, cur):
    cur.execute("SELECT 1")
    load(session)
    cur.execute(
        "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"
        " AND relation = 'other.t'::regclass"
    )
    assert cur.fetchone() == (0,)
    with pytest.raises(psycopg2.errors.InvalidSavepointSpecification):
        cur.execute("RELEASE SAVEPOINT greenshard_catalog")


def test_loading_works_in_a_read_only_transaction(session, cur):
    cur.execute("SET TRANSACTION READ ONLY")
    assert load(session).relations


@pytest.mark.parametrize("begin", [None, "SELECT 1"])
def test_view_of_a_locked_table_has_no_definition_and_the_lock_is_not_waited_for(
    session, cur, dsn, begin
):
    if begin:
        cur.execute(begin)
    with contextlib.closing(psycopg2.connect(dsn)) as other:
        other.cursor().execute("LOCK TABLE other.t IN ACCESS EXCLUSIVE MODE")
        found = load(session).relations
    assert found["other", "v"].definition is None
    assert found["other", "v"].columns
    assert found["Sales dept", "v"].definition is not None
    assert session.physical("s0").in_transaction is bool(begin)
    assert path(session) == ("pg_catalog", "public")


def test_loading_that_fails_leaves_the_session_as_it_was(session, cur):
    cur.execute("SET search_path = other; SET statement_timeout = 1")
    session.physical("s0").raw.commit()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        load(session)
    assert not session.physical("s0").in_transaction
    cur.execute("SET statement_timeout = 0")
    assert path(session) == ("pg_catalog", "other")
    assert load(session).relations


def test_loading_in_a_failed_transaction_says_so(session, cur):
    with pytest.raises(psycopg2.Error):
        cur.execute("SELECT nonsense")
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        load(session)


def test_path_has_the_schemas_that_are_there(session, cur):
    cur.execute('SET search_path = "Sales dept", nowhere, "$user", other')
    assert path(session) == ("pg_catalog", "Sales dept", "other")
    cur.execute("SET search_path = other, pg_catalog")
    assert path(session) == ("other", "pg_catalog")
    cur.execute("CREATE TEMP TABLE mine (a int)")
    assert path(session) == ("other", "pg_catalog")
    assert bearings(session).temporary == {"mine"}


def test_catalog_of_a_greenshard_connection(dsn):
    with contextlib.closing(greenshard.connect({"s0": dsn})) as connection:
        session = connection._session
        assert ("other", "t") in load(session).relations
        assert path(session) == ("pg_catalog", "public")
        connection.autocommit = True  # refused if a transaction were open


def test_foreign_key_that_names_a_column_twice_can_be_read(shop, plain):
    made = (
        "CREATE TABLE pairs (id int PRIMARY KEY, one int, UNIQUE (id, one),"
        " FOREIGN KEY (one, one) REFERENCES pairs (id, one),"
        " FOREIGN KEY (one) REFERENCES pairs ON DELETE SET NULL)"
    )
    for connection in plain.values():
        connection.cursor().execute(made)
    try:
        with contextlib.closing(greenshard.connect(shop.cluster)) as conn, conn.cursor() as cur:
            cur.execute("SELECT count(*) FROM orders")
            assert cur.fetchall() == [(60,)]
    finally:
        for connection in plain.values():
            connection.cursor().execute("DROP TABLE pairs")
