"""`greenshard.sql.functions` and the catalog of the server at hand say the same.

A function that a new version of PostgreSQL has, and the table does not, makes a test fail whose
message says where to add it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psycopg2
import pytest

from greenshard.planner.calls import Functions
from greenshard.planner.catalog import Catalog
from greenshard.planner.code import Function
from greenshard.sql.functions import (
    AGGREGATES,
    ASKING,
    COUNTING,
    OTHER_VALUES,
    SET_COLUMNS,
    SETTING,
    TIME_VALUES,
    WINDOW_FUNCTIONS,
    Fact,
    entries,
    extension_entries,
    facts_of,
    is_known,
    names_with,
)
from greenshard.sql.nodes import expression
from greenshard.sql.parser import VALUE_FUNCTIONS

WHERE = "greenshard/sql/functions.py"
#: What the planner is told of a function: one of these.
NATURES = (Fact.ALIKE, Fact.ANYWHERE, Fact.PLACE_BOUND, Fact.WRITES)
#: Machinery, which statements do not call by its name: what types, operators, languages, access
#: methods and aggregates are made of. If one does, it is taken for the worst.
_PROC = """
WITH machinery AS (
    SELECT unnest(ARRAY[typinput, typoutput, typreceive, typsend, typmodin, typmodout, typanalyze,
        typsubscript])::oid AS oid FROM pg_type
    UNION SELECT unnest(ARRAY[oprcode, oprrest, oprjoin])::oid FROM pg_operator
    UNION SELECT unnest(ARRAY[lanplcallfoid, laninline, lanvalidator])::oid FROM pg_language
    UNION SELECT amhandler::oid FROM pg_am
    UNION SELECT amproc::oid FROM pg_amproc
    UNION SELECT unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn,
        aggmtransfn, aggminvtransfn, aggmfinalfn])::oid FROM pg_aggregate
)
SELECT p.proname, p.prokind, p.provolatile, pg_get_function_arguments(p.oid), p.proretset,
    coalesce(a.aggkind, ''), (
        p.oid IN (SELECT oid FROM machinery) AND p.proname NOT IN ('in_range', 'timezone')
        OR p.proargtypes::oid[] && ARRAY['internal'::regtype::oid, 'cstring'::regtype]
        OR p.prorettype::regtype::text IN ('trigger', 'cstring')),
    p.proargnames[array_position(p.proargmodes, 'o'):]
FROM pg_proc p LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384
ORDER BY p.proname, p.oid
"""


#: What is not IMMUTABLE, and yet as equal on all servers as what it is given: by settings that are
#: compared (`links.bearings`), and by the schema.
COPIED = """
    age array_to_json array_to_string bpcharsend concat concat_ws convert convert_from
    convert_to current_schema current_schemas date date_add date_part date_subtract date_trunc
    enum_first enum_last enum_range enum_send extract format generate_series
    get_current_ts_config in_range json_build_array json_build_object json_populate_record
    json_populate_recordset json_to_record json_to_recordset json_to_tsvector
    jsonb_build_array jsonb_build_object jsonb_path_exists_tz jsonb_path_match_tz
    jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz
    jsonb_populate_record jsonb_populate_record_valid jsonb_populate_recordset jsonb_to_record
    jsonb_to_recordset jsonb_to_tsvector length make_timestamptz money namesend now numeric
    overlaps pg_basetype pg_char_to_encoding pg_collation_for pg_encoding_to_char
    pg_input_error_info pg_input_is_valid pg_trigger_depth pg_typeof phraseto_tsquery
    plainto_tsquery quote_literal quote_nullable regclass row_to_json textsend time timestamp
    timestamptz timetz timezone to_char to_date to_json to_jsonb to_number to_regclass
    to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure
    to_regrole to_regtype to_regtypemod to_timestamp to_tsquery to_tsvector
    transaction_timestamp ts_debug ts_headline ts_parse ts_rewrite ts_token_type varcharsend
    websearch_to_tsquery xml xml_is_well_formed
"""


@dataclass(frozen=True)
class Proc:
    """A row of pg_proc."""

    name: str
    kind: str
    volatility: str
    arguments: str
    returns_set: bool
    aggregate_kind: str
    is_machinery: bool
    outputs: list | None

    def __str__(self):
        return f"{self.name}({self.arguments}), provolatile {self.volatility}"


@pytest.fixture(scope="module")
def server(greenshard_shards):
    with contextlib.closing(psycopg2.connect(greenshard_shards[0].dsn)) as conn:
        yield conn


@pytest.fixture(scope="module")
def version(server):
    return server.server_version // 10000


@pytest.fixture(scope="module")
def procs(server):
    with server, server.cursor() as cur:
        cur.execute(_PROC)
        return [Proc(*row) for row in cur.fetchall()]


@pytest.fixture(scope="module")
def kinds(procs):
    """The kinds of functions of each name."""
    found = {}
    for proc in procs:
        found.setdefault(proc.name, set()).add(proc.kind)
    return found


def told(what, procs, hint):
    return f"{what}, in PostgreSQL's catalog here:\n  " + "\n  ".join(map(str, procs)) + f"\n{hint}"


def test_every_function_that_is_not_immutable_is_known(procs, version):
    """One that is not would be refused beside sharded tables, which is safe, but maybe needless."""
    unknown = [
        proc
        for proc in procs
        if proc.kind == "f" and proc.volatility != "i"
        if not proc.is_machinery and not any(nature in facts_of(proc.name) for nature in NATURES)
    ]
    assert not unknown, told(
        f"functions that {WHERE} does not have", unknown,
        f"Add each to a group of _TABLE, as `name:{version}-` if it is new: ALIKE if it is the "
        "same on all shards, PLACE_BOUND if it tells of its server or session, ANYWHERE if it is "
        "VOLATILE and harmless, WRITES if it changes something; with QUIET if it is VOLATILE and "
        "leaves nothing in its session.",
    )  # fmt: skip


def test_every_function_that_copies_may_be_written_with_is_named_here(procs):
    """Equal on all servers, as far as arguments, bearings and the schema are."""
    found = {
        proc.name
        for proc in procs
        if proc.kind == "f" and proc.volatility != "i" and not proc.is_machinery
        if Fact.ALIKE in facts_of(proc.name) and Fact.OF_INSTALLATION not in facts_of(proc.name)
    }
    copied = set(COPIED.split())
    assert found <= copied, told(
        "functions that are not said to be equal on all copies",
        [proc for proc in procs if proc.name in found - copied],
        f"Either {WHERE} has them among those that are OF_INSTALLATION, or they stand in COPIED.",
    )


def test_what_the_table_has_is_there_in_the_versions_it_says(kinds, version):
    for name, _, versions in entries():
        if name.endswith("*"):
            assert any(known.startswith(name[:-1]) for known in kinds), name
        else:
            assert (name in kinds) == (version in versions), (
                f"{WHERE}: {name} is said to be in {versions}; this is version {version}"
            )
    for name, aggregate in AGGREGATES.items():
        assert ("a" in kinds.get(name, ())) == (version in aggregate.versions), name
    assert {name for name, found in kinds.items() if "w" in found} == set(WINDOW_FUNCTIONS)


def test_every_aggregate_is_known(procs):
    unknown = [proc for proc in procs if proc.kind == "a" and proc.name not in AGGREGATES]
    assert not unknown, told(
        f"aggregates that {WHERE} does not have", unknown,
        "Add them to AGGREGATES: how each is made of those of parts, if it is, and whether the "
        "order of the rows makes a difference.",
    )  # fmt: skip


def test_volatility_agrees(procs):
    """What is told apart for VOLATILE functions only has none that is not; nor the other way."""
    volatility = {}
    for proc in procs:
        volatility.setdefault(proc.name, set()).add(proc.volatility)
    for name in names_with(Fact.ANYWHERE) & volatility.keys():
        assert volatility[name] == {"v"}, name
    quiet = names_with(Fact.QUIET) & volatility.keys() - {"timezone"}
    assert all("v" in volatility[name] for name in quiet)
    for name, found in volatility.items():
        if found == {"i"}:
            # The OID of an enum's label is not what PostgreSQL's IMMUTABLE is about.
            assert Fact.PLACE_BOUND not in facts_of(name) or name.startswith("hashenum"), name
            assert Fact.WRITES not in facts_of(name), name
    for proc in procs:
        if Fact.WRITES in facts_of(proc.name):
            assert proc.volatility == "v", f"{proc} is said to write"


def test_kinds_agree(kinds, procs):
    """A table of aggregates has aggregates, one of functions functions."""
    for name, _, versions in entries():
        if name in kinds:
            assert kinds[name] <= {"f"}, (name, versions)
    sorted_ = {proc.name for proc in procs if proc.kind == "a" and proc.aggregate_kind != "n"}
    for name in sorted_:
        assert AGGREGATES[name].parts is None, name
    assert {COUNTING, ASKING, SETTING} <= kinds.keys()


def test_columns_of_functions_in_from_are_theirs(procs):
    found = {}
    for proc in procs:
        if proc.name in SET_COLUMNS:
            assert proc.returns_set, proc
            found.setdefault(proc.name, set()).add(tuple(proc.outputs or ("",)))
    assert found == {name: {columns} for name, columns in SET_COLUMNS.items()}


def test_extensions_have_what_is_said_of_them(server):
    """Of those that this installation has."""
    with server.cursor() as cur:
        cur.execute("SELECT name FROM pg_available_extensions")
        available = {name for (name,) in cur.fetchall()}
        for extension, name, fact in extension_entries():
            if extension not in available:
                continue
            cur.execute(f'CREATE EXTENSION IF NOT EXISTS "{extension}"')
            cur.execute(
                "SELECT p.proname, p.provolatile FROM pg_proc p"
                " JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass"
                " JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e'"
                " WHERE e.extname = %s AND (p.proname = %s OR starts_with(p.proname, %s))",
                (extension, name, name.removesuffix("*")),
            )
            found = cur.fetchall()
            assert found, f"{WHERE}: {extension} has no {name}"
            if Fact.QUIET in fact:
                assert {volatility for _, volatility in found} == {"v"}, name
    server.rollback()


def test_values_without_brackets_are_known():
    names = {name.removesuffix("_n") for name in VALUE_FUNCTIONS.values()}
    assert names - {"sqlvalue_function_op_undefined"} == {*TIME_VALUES, *OTHER_VALUES}


def test_what_is_not_known_is_taken_for_the_worst():
    """As a server of a later version would have it."""
    made = {
        "tells_of_later": frozenset({Function("pg_catalog", "f", "s")}),
        "does_later": frozenset({Function("pg_catalog", "f", "v", leaves=True)}),
        "lower": frozenset({Function("pg_catalog", "f", "i")}),
    }
    assert not any(map(is_known, made))
    functions = Functions(Catalog({}, made, False, 190000), ("pg_catalog",))
    assert functions.is_place_bound(call("tells_of_later()"))
    assert functions.is_volatile(call("does_later()"))
    assert not functions.is_place_bound(call("lower('A')"))


def call(text):
    return expression(text).func_call
