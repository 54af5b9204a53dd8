"""Tables that statements are planned over: as the planner's catalog, and as DDL for a server."""

from __future__ import annotations

from dataclasses import dataclass

from greenshard.cluster import Cluster, Hash, List, Reference, Sharded, Single, TableName, Unknown
from greenshard.planner.bodies import Argument, Body
from greenshard.planner.catalog import Catalog, Column, Relation, Security
from greenshard.planner.code import Function
from greenshard.planner.planner import Planner
from greenshard.sql.functions import QUIET, RUNNING

PATH = ("pg_catalog", "public")
SHARDS = ("s0", "s1", "s2", "s3")


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: As SQL writes it.
        columns: Lines of a column's name, its type and, if it has one, its collation, or default.
        primary_key: The columns' names, as SQL writes them.
        declared: What the cluster says of it; None if nothing.
    """

    name: str
    columns: str
    primary_key: tuple[str, ...] = ()
    declared: Sharded | Reference | Single | None = None


NO_CASE = "public.no_case"
"""A collation under which equal strings may be different bytes; only ICU has such."""

TABLES = (
    Table(
        "orders",
        """
        o_orderkey bigint
        o_custkey bigint
        o_orderstatus character(1)
        o_totalprice numeric(15,2)
        o_orderdate date
        o_orderpriority text
        o_comment text
        """,
        ("o_orderkey",),
        Sharded("o_orderkey"),
    ),
    Table(
        "lineitem",
        """
        l_orderkey bigint
        l_linenumber integer
        l_partkey bigint
        l_quantity numeric(15,2)
        l_extendedprice numeric(15,2)
        l_discount double precision
        l_weight real
        l_returnflag character(1)
        l_shipdate date
        l_comment text
        """,
        ("l_orderkey", "l_linenumber"),
        Sharded("l_orderkey"),
    ),
    # Its key is of another type, but equal keys hash alike; it may be NULL.
    Table(
        "invoice",
        """
        i_id integer
        i_orderkey integer
        i_amount numeric
        i_paid boolean
        i_note character varying(20)
        """,
        (),
        Sharded("i_orderkey"),
    ),
    Table(
        "customer",
        """
        c_custkey bigint
        c_name text
        c_nationkey integer
        c_acctbal numeric(15,2)
        c_extra json
        """,
        ("c_custkey",),
        Reference(),
    ),
    Table(
        "nation",
        """
        n_nationkey integer
        n_name text
        n_regionkey integer
        n_comment text
        """,
        ("n_nationkey",),
        Reference(),
    ),
    Table("region", "r_regionkey integer\nr_name text", ("r_regionkey",), Reference()),
    Table("route", "start integer\nstop integer\nfare integer", ("start", "stop"), Reference()),
    Table(
        "event",
        """
        id uuid
        kind text
        at timestamp with time zone
        payload jsonb
        tags text[]
        amount double precision
        """,
        ("id",),
        Sharded("id"),
    ),
    Table(
        "account",
        """
        email text
        name text
        nick text "C"
        score integer
        seen timestamp without time zone
        """,
        ("email",),
        Sharded("email"),
    ),
    Table("visit", "day date\npage text\nhits integer", ("day", "page"), Sharded("day")),
    Table("moment", "at timestamp without time zone\nwhat text", (), Sharded("at")),
    Table("blob", "hash bytea\nsize bigint", ("hash",), Sharded("hash")),
    # Their rows get numbers, and more, that are not the same on each server.
    Table(
        "ticket",
        """
        id integer DEFAULT nextval('public.counter'::regclass)
        title character varying(20)
        at timestamp with time zone DEFAULT now()
        state text DEFAULT 'new'::text
        """,
        ("id",),
        Sharded("id"),
    ),
    Table(
        "label",
        """
        id bigint DEFAULT nextval('public.counter'::regclass)
        name text DEFAULT 'none'::text
        weight double precision DEFAULT random()
        """,
        ("id",),
        Reference(),
    ),
    Table("flag", "on_ boolean\nn integer", (), Sharded("on_")),
    Table("tag", "code character(5)\nlabel text", (), Sharded("code")),
    Table(
        '"Order Line"',
        '"Order Id" bigint\n"Select" text\n"50%" integer\n"a ""b""" text',
        ('"Order Id"',),
        Sharded('"Order Id"'),
    ),
    Table(
        "place",
        "country text\ncity text\npeople bigint",
        (),
        Sharded("country", List({"de": "s0", "fr": "s1", None: "s2"}, default="s3")),
    ),
    Table("note", "id bigint\nbody text", ("id",), Sharded("id", Unknown("notes"))),
    Table("remark", "note_id bigint\nbody text", (), Sharded("note_id", Unknown("notes"))),
    Table("price", "amount numeric\nlabel text", (), Sharded("amount", Unknown("prices"))),
    Table("person", f"name text {NO_CASE}\nage integer", (), Sharded("name", Unknown("people"))),
    Table(
        "archive.orders",
        "o_orderkey bigint\no_custkey bigint\no_totalprice numeric(15,2)",
        (),
        Sharded("o_orderkey"),
    ),
    Table("archive.nation", "n_nationkey integer\nn_name text", (), Reference()),
    Table("archive.kind", "kind text\nweight integer", ("kind",), Reference()),
    Table("scratch", "x integer\ny text"),
)

#: Tables that one shard alone has, for plans of their own: with them, PostgreSQL's catalog is
#: another one on each shard.
ALONE = (
    Table(
        "job",
        """
        id integer DEFAULT nextval('public.job_id_seq'::regclass)
        nation integer
        what text
        """,
        ("id",),
        Single("s2"),
    ),
    Table("done", "job integer\nn integer", ("job",), Single("s2")),
    Table("setting", "name text\nvalue text", ("name",), Single("s0")),
)

#: As the catalog has them: with the names of relations qualified.
VIEWS = {
    "big_orders": """
        SELECT o_orderkey, o_custkey, o_totalprice AS price
        FROM public.orders
        WHERE (o_totalprice > (500)::numeric)
    """,
    "noted_orders": """
        SELECT o_orderkey, o_custkey
        FROM public.orders
        WHERE (o_comment <> 'a'::text)
    """,
    "order_lines": """
        SELECT o.o_orderkey AS key, o.o_custkey AS customer, l.l_quantity AS quantity,
            l.l_linenumber AS line
        FROM (public.orders o
            LEFT JOIN public.lineitem l ON ((l.l_orderkey = o.o_orderkey)))
    """,
    "national": """
        SELECT n.n_nationkey AS id, n.n_name AS name, r.r_name AS region
        FROM (public.nation n
            JOIN public.region r ON ((n.n_regionkey = r.r_regionkey)))
    """,
    "per_customer": """
        SELECT o_custkey AS customer, count(*) AS n, sum(o_totalprice) AS total
        FROM public.orders
        GROUP BY o_custkey
    """,
    "recent": """
        SELECT o_orderkey, o_orderdate, CURRENT_DATE AS today
        FROM public.orders
        WHERE (o_orderdate <= CURRENT_DATE)
    """,
    "walled_totals": """
        SELECT o_custkey, count(*) AS n
        FROM public.orders
        WHERE (o_totalprice > (500)::numeric)
        GROUP BY o_custkey
    """,
    "big_totals": """
        SELECT o_custkey, max(price) AS top
        FROM public.big_orders
        GROUP BY o_custkey
    """,
}

#: For each view its columns' names and types.
_VIEW_COLUMNS = {
    "big_orders": "o_orderkey bigint\no_custkey bigint\nprice numeric(15,2)",
    "noted_orders": "o_orderkey bigint\no_custkey bigint",
    "order_lines": "key bigint\ncustomer bigint\nquantity numeric(15,2)\nline integer",
    "national": "id integer\nname text\nregion text",
    "per_customer": "customer bigint\nn bigint\ntotal numeric",
    "recent": "o_orderkey bigint\no_orderdate date\ntoday date",
    "walled_totals": "o_custkey bigint\nn bigint",
    "big_totals": "o_custkey bigint\ntop numeric",
}

#: Views that are security barriers.
BARRIERS = frozenset({"walled_totals"})

OWN_FUNCTIONS = """
CREATE FUNCTION public.twice(integer) RETURNS integer LANGUAGE sql IMMUTABLE
    RETURN 2 * $1;
CREATE FUNCTION public.order_count() RETURNS bigint LANGUAGE plpgsql STABLE
    AS 'BEGIN RETURN (SELECT count(*) FROM public.orders); END';
CREATE FUNCTION public.touch() RETURNS integer LANGUAGE plpgsql VOLATILE
    AS 'BEGIN DELETE FROM scratch; RETURN 1; END';
CREATE FUNCTION public.nation_name(key integer) RETURNS text LANGUAGE sql
    AS 'SELECT n_name FROM nation WHERE n_nationkey = key';
CREATE FUNCTION public.lines(of bigint) RETURNS bigint LANGUAGE sql
    AS 'SELECT count(*) FROM lineitem WHERE l_orderkey = of';
CREATE FUNCTION public.spent(bigint) RETURNS numeric LANGUAGE sql STABLE
    AS 'SELECT sum(o_totalprice) FROM orders WHERE o_custkey = $1';
CREATE FUNCTION public.spent_there(bigint) RETURNS numeric LANGUAGE sql STABLE
    AS 'SELECT sum(o_totalprice) FROM public.orders WHERE o_custkey = $1';
CREATE FUNCTION public.dear(low numeric) RETURNS TABLE (key bigint, price numeric) LANGUAGE sql
    AS 'SELECT o_orderkey, o_totalprice FROM orders WHERE o_totalprice > low';
CREATE FUNCTION public.nicks() RETURNS TABLE (nick text) LANGUAGE sql
    AS 'SELECT nick FROM account';
CREATE FUNCTION public.told(days integer) RETURNS date LANGUAGE sql
    AS 'SELECT current_date + days FROM abs(1)';
CREATE FUNCTION public.falls(n integer) RETURNS integer LANGUAGE sql
    AS 'SELECT n FROM abs(1)';
CREATE OR REPLACE FUNCTION public.falls(n integer) RETURNS integer LANGUAGE sql
    AS 'SELECT falls(n - 1) FROM abs(1)';
CREATE FUNCTION public.several() RETURNS integer LANGUAGE sql
    AS 'SELECT 2 FROM abs(1); SELECT 1';
CREATE AGGREGATE public.total(integer) (SFUNC = int4pl, STYPE = integer);
CREATE AGGREGATE archive.max(integer) (SFUNC = int4pl, STYPE = integer);
CREATE SEQUENCE public.numbers;
"""

#: Those of them whose text is looked into.
BODIES = (
    Body("public", "nation_name", "SELECT n_name FROM nation WHERE n_nationkey = key",
         False, (Argument("key", "int4"),), type_name="text"),
    Body("public", "lines", "SELECT count(*) FROM lineitem WHERE l_orderkey = of",
         False, (Argument("of", "int8"),), type_name="int8"),
    Body("public", "spent", "SELECT sum(o_totalprice) FROM orders WHERE o_custkey = $1",
         False, (Argument("", "int8"),), volatile=False, type_name="numeric"),
    Body("public", "spent_there",
         "SELECT sum(o_totalprice) FROM public.orders WHERE o_custkey = $1",
         False, (Argument("", "int8"),), volatile=False, type_name="numeric"),
    Body("public", "dear", "SELECT o_orderkey, o_totalprice FROM orders WHERE o_totalprice > low",
         False, (Argument("low", "numeric"),), returns_set=True,
         columns=(("key", "int8"), ("price", "numeric"))),
    Body("public", "nicks", "SELECT nick FROM account", False, returns_set=True,
         columns=(("nick", "text"),), type_name="text"),
    Body("public", "told", "SELECT current_date + days FROM abs(1)", False,
         (Argument("days", "int4"),), type_name="date"),
    Body("public", "falls", "SELECT falls(n - 1) FROM abs(1)", False, (Argument("n", "int4"),),
         type_name="int4"),
    Body("public", "several", "SELECT 2 FROM abs(1); SELECT 1", False, type_name="int4"),
)  # fmt: skip

#: PostgreSQL's own functions by kind and volatility, as far as the statements call them.
_FUNCTIONS = {
    "ai": "any_value array_agg avg bit_or bit_xor bool_and bool_or count cume_dist dense_rank "
    "every max min mode percent_rank percentile_cont percentile_disc rank regr_count "
    "regr_slope stddev string_agg sum variance",
    "as": "json_agg jsonb_agg",
    "wi": "cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank "
    "row_number",
    "fi": "abs age array_length btrim cardinality char_length date_bin date_part date_trunc "
    "extract generate_series initcap json_each jsonb_array_elements jsonb_array_elements_text "
    "jsonb_each jsonb_path_query left length lower lpad make_date md5 mod position regexp_replace "
    ""
    "repeat replace round "
    "split_part sqrt starts_with string_to_table substr substring timezone to_timestamp trunc "
    "unnest upper",
    "fs": "age array_to_string concat concat_ws current_database current_setting date_part "
    "date_trunc extract format generate_series has_table_privilege json_build_object "
    "json_to_record jsonb_build_object length now pg_backend_pid pg_column_size pg_cursor "
    "pg_get_viewdef row_to_json statement_timestamp timezone to_char to_date to_json to_jsonb "
    "to_number to_timestamp transaction_timestamp",
    "fv": "array_shuffle clock_timestamp currval gen_random_uuid lastval nextval pg_advisory_lock "
    "pg_advisory_xact_lock pg_notify pg_relation_size pg_sleep pg_total_relation_size "
    "pg_try_advisory_lock random set_config setseed setval",
}

_TYPE_NAMES = {
    "bigint": "int8", "boolean": "bool", "bytea": "bytea", "date": "date",
    "double precision": "float8", "integer": "int4", "json": "json", "jsonb": "jsonb",
    "numeric": "numeric", "real": "float4", "text": "text", "text[]": "_text",
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
    "uuid": "uuid",
}  # fmt: skip
_STANDARD = ("bigint", "boolean", "character", "double", "integer", "numeric", "real", "timestamp")


def column(line: str) -> Column:
    """A column from its line."""
    line, _, default = line.partition(" DEFAULT ")
    name = TableName.read(_written(line)).name
    rest = line[len(_written(line)) :].strip()
    collation = None
    if rest.endswith(' "C"'):
        rest, collation = rest.removesuffix(' "C"'), 'pg_catalog."C"'
    elif rest.endswith(f" {NO_CASE}"):
        rest, collation = rest.removesuffix(f" {NO_CASE}"), NO_CASE
    plain = rest.partition("(")[0]
    names = {"character": "bpchar", "character varying": "varchar", **_TYPE_NAMES}
    return Column(
        name,
        names[plain],
        rest if rest.startswith(_STANDARD) else f"pg_catalog.{rest}",
        collation,
        collation != NO_CASE,
        rest.endswith("[]"),
        default or None,
    )


def _written(line: str) -> str:
    """A column's name as its line has it."""
    if line[0] != '"':
        return line.partition(" ")[0]
    end = 1
    while line[end] != '"' or line[end : end + 2] == '""':
        end += 2 if line[end : end + 2] == '""' else 1
    return line[: end + 1]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _relation(table: Table) -> Relation:
    name = TableName.read(table.name)
    key = tuple(TableName.read(each).name for each in table.primary_key)
    columns = tuple(map(column, _lines(table.columns)))
    return Relation(name.schema or "public", name.name, "r", columns, key)


def _view(name: str, definition: str) -> Relation:
    columns = tuple(map(column, _lines(_VIEW_COLUMNS[name])))
    security = Security(barrier=name in BARRIERS)
    return Relation("public", name, "v", columns, (), definition, security)


def _functions() -> dict[str, frozenset[Function]]:
    functions: dict[str, set[Function]] = {}
    for (kind, volatility), names in _FUNCTIONS.items():
        for name in names.split():
            leaves = name in RUNNING or (volatility == "v" and name not in QUIET)
            functions.setdefault(name, set()).add(Function("pg_catalog", kind, volatility, leaves))
    own = {"twice": ("f", "i"), "order_count": ("f", "s"), "touch": ("f", "v"), "total": ("a", "i")}
    for name, properties in own.items():
        functions.setdefault(name, set()).add(
            Function("public", *properties, leaves=name != "total")
        )
    for body in BODIES:
        volatility = "v" if body.volatile else "s"
        made = Function("public", "f", volatility, leaves=True, has_body=True)
        functions.setdefault(body.name, set()).add(made)
    functions["max"].add(Function("archive", "a", "i"))
    return {name: frozenset(found) for name, found in functions.items()}


def catalog(*, c_collation: bool = False, alone: bool = False) -> Catalog:
    """The catalog of these tables; with `ALONE` or without."""
    tables = (*TABLES, *ALONE) if alone else TABLES
    relations = [*map(_relation, tables), *(_view(*view) for view in VIEWS.items())]
    relations += [
        Relation("pg_catalog", "pg_class", "r", ()),
        Relation("information_schema", "tables", "v", ()),
    ]
    if alone:
        relations.append(Relation("public", "job_id_seq", "S", ()))
    return Catalog(
        {(each.schema, each.name): each for each in relations},
        _functions(),
        c_collation,
        180000,
        bodies={(body.schema, body.name): (body,) for body in BODIES},
        indexes={("public", "job_what"): ("public", "job")} if alone else {},
        whole_of=frozenset({"s0", "s2"} if alone else ()),
    )


def cluster(dsns: dict[str, str] | None = None, *, alone: bool = False) -> Cluster:
    """The declaration of these tables; with `ALONE` or without."""
    tables = (*TABLES, *ALONE) if alone else TABLES
    return Cluster(
        shards=dsns or {name: f"dbname={name}" for name in SHARDS},
        tables={table.name: table.declared for table in tables if table.declared},
        placement=Hash(),
    )


def planner(*, alone: bool = False) -> Planner:
    return Planner(cluster(alone=alone), catalog(alone=alone))


def ddl(*, has_icu: bool) -> str:
    """What makes the tables on a server."""
    lines = ["CREATE SCHEMA archive", "CREATE SEQUENCE counter"]
    if has_icu:
        lines.append(
            f"CREATE COLLATION {NO_CASE} "
            "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    for table in TABLES:
        columns = [_definition(line, has_icu=has_icu) for line in _lines(table.columns)]
        if table.primary_key:
            columns.append(f"PRIMARY KEY ({', '.join(table.primary_key)})")
        lines.append(f"CREATE TABLE {table.name} ({', '.join(columns)})")
    for name, text in VIEWS.items():
        barrier = " WITH (security_barrier)" if name in BARRIERS else ""
        lines.append(f"CREATE VIEW {name}{barrier} AS {text}")
    return ";\n".join(lines) + ";\n" + OWN_FUNCTIONS


def _definition(line: str, *, has_icu: bool) -> str:
    for collation in ('"C"', NO_CASE):
        if line.endswith(f" {collation}"):
            line = line.removesuffix(collation)
            return line + f"COLLATE {collation}" if has_icu or collation != NO_CASE else line
    return line
