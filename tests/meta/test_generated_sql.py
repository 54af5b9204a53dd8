"""SQL that is not the user's says in which schema everything is: nobody can plant another one.

Source: CVE-2018-1058.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import greenshard
from greenshard.checking import probe
from greenshard.coordinating import existing
from greenshard.links import outside
from greenshard.planner.plan import PARTIAL, TYPE_OF, CarriedQuery, GatheredTable, StagedPart
from greenshard.sql.insert_rows import InsertRows
from greenshard.sql.parser import Message, ParserError, parse
from greenshard.sql.placeholders import translate
from greenshard.sql.text import Sql
from tests.meta.sql_constants import SqlText, sql_constants
from tests.meta.sql_names import path_names
from tests.unit.planner import scene
from tests.unit.planner.plan_cases import PlanCase, plan_cases

CONSTANTS = list(sql_constants(Path(greenshard.__file__).parent))

#: These run with pg_catalog for a search path.
PATH_IS_SET = {
    ("coordinating/existing.py", "FACTS"),
    ("deadlocks/observer.py", "_LOOK"),
    ("deadlocks/observer.py", "_marking"),
    ("deadlocks/observer.py", "_UNMARK"),
    ("deadlocks/observer.py", "_WAITING"),
    ("executor/knowledge/beside_queries.py", "MEMBERS"),
    ("executor/knowledge/body_queries.py", "MEMBER"),
    ("executor/knowledge/catalog_queries.py", "_CATALOG"),
    ("executor/knowledge/code_queries.py", "MEMBERS"),
    ("executor/knowledge/code_queries.py", "_CODE"),
    ("executor/knowledge/temporary.py", "_TABLES"),
    ("initializing/condition.py", "FACTS"),
    ("links/description.py", "_CODE"),
    ("links/description.py", "_DESCRIPTION"),
    ("links/description.py", "_ODD"),
    ("links/description.py", "_RELATIONS"),
    ("links/description.py", "_VERSION"),
    ("links/look.py", "_FACTS"),
    ("links/look.py", "_VERSION"),
    ("links/look.py", "_looked_into"),
    ("links/look.py", "_reading"),
    ("watching/asking_status.py", "_ASKED"),
    ("watching/asking_status.py", "_ask"),
    ("coordinating/shard_rights.py", "_ASKED"),
    ("coordinating/shard_rights.py", "_ask"),
    ("checking/definitions.py", "_DEFINITIONS"),
    ("checking/event_triggers.py", "_EVENT_TRIGGERS"),
    ("checking/in_doubt.py", "_PREPARED"),
    ("checking/sequences.py", "_RIGHTS"),
    ("checking/sequences.py", "_LAST"),
    ("checking/sequences.py", "_behind"),
    ("checking/visibility.py", "_ASPECTS"),
    ("checking/user_functions.py", "_FUNCTIONS"),
    ("checking/user_types.py", "_TYPES"),
    ("checking/tables.py", "_COLUMNS"),
    ("checking/rows.py", "_PARENT"),
    ("checking/rows.py", "_satisfies"),
    ("checking/carrying.py", "Carrier"),
    ("checking/carrying.py", "IN_PLACE"),
    ("checking/copying.py", "_Copying"),
    ("checking/journal.py", "_check_unchanged"),
    ("checking/journal.py", "_entries"),
    ("checking/journal.py", "_finish"),
    ("checking/journal.py", "_own_xid"),
    ("checking/journal.py", "_status"),
    ("checking/journal.py", "_locked"),
    ("checking/journal.py", "note"),
    ("checking/journal.py", "settle"),
    ("checking/moving.py", "_Batch"),
    ("checking/rows.py", "_keys_placed_here"),
    ("checking/rows.py", "placing_statement"),
    ("checking/rows.py", "strangers_statement"),
    ("checking/structure.py", "_STRUCTURE"),
    ("checking/references.py", "hash_of"),
    ("checking/references.py", "read_contents"),
}
#: These stand for others, or get their schema when they are put together.
PIECES = {("planner/strategies/aggregates.py", "_node")}
#: These are no SQL of ours: statements as users write them, over the demo's own servers; messages.
NOT_OURS = {
    "cli/demo/cases.py", "cli/demo/scene.py", "cli/demo/command.py", "cli/demo/flights.py",
    "cli/query.py", "cli/explain.py", "errors.py",
}  # fmt: skip
"""The command line's examples and the demo's questions."""


#: In its place the executor puts a type's name, with its schema.
_TYPE_OF = re.compile(TYPE_OF.format(r"\d+"))


def left_to_the_path(tree: Message) -> set[tuple[str, str]]:
    found = set(path_names(tree)) - {("relation", PARTIAL)}
    return {(what, name) for what, name in found if not _TYPE_OF.match(name)}


@pytest.mark.parametrize(
    "fault",
    [
        "SELECT count(*)",
        "SELECT 'a'::text",
        "SELECT a::pg_catalog.text, b::oid[]",
        "SELECT 1 + 2",
        "SELECT - a",
        "SELECT a OPERATOR(pg_catalog.=) 1 AND b = 2",
        "SELECT a = ANY (b)",
        "SELECT a IN (1, 2)",
        "SELECT a IN (SELECT 1)",
        "SELECT a = ALL (SELECT 1)",
        "SELECT a BETWEEN 1 AND 2",
        "SELECT a LIKE 'b'",
        "SELECT a SIMILAR TO 'b'",
        "SELECT CASE a WHEN 1 THEN 2 END",
        "SELECT nullif(a, b)",
        "SELECT a IS DISTINCT FROM b",
        'SELECT a COLLATE "C"',
        "SELECT FROM pg_class",
        "SELECT FROM s.a JOIN s.b USING (c)",
        "SELECT FROM s.a NATURAL JOIN s.b",
        "SELECT a ORDER BY a USING <",
        "SELECT FROM s.a TABLESAMPLE system (1)",
    ],
)
def test_what_the_search_path_decides_is_found(fault: str) -> None:
    (tree,) = parse(fault)
    assert len(left_to_the_path(tree)) == 1


def test_what_it_does_not_decide_is_allowed() -> None:
    (tree,) = parse(
        "WITH c AS (SELECT 1) SELECT DISTINCT pg_catalog.sum(a)::bigint, b::numeric(3,1), "
        "COALESCE(a, 1), LEAST(a, b), a IS NULL, CASE WHEN a THEN b END, "
        "x OPERATOR(pg_catalog.+) 1, "
        'x::pg_catalog.text COLLATE pg_catalog."C", a OPERATOR(pg_catalog.=) ANY (SELECT 1), '
        "EXTRACT(year FROM a), a AT TIME ZONE 'UTC' FROM c, s.t GROUP BY a ORDER BY b DESC LIMIT 1"
    )
    assert left_to_the_path(tree) == set()


# Plans --------------------------------------------------------------------------------------


def parts(value: Any) -> Iterator[Any]:
    """A plan's step, and all that is in it."""
    yield value
    if isinstance(value, Sql):
        return
    if isinstance(value, InsertRows):
        yield value.with_rows(range(len(value.rows)))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name))
    elif isinstance(value, tuple):
        for each in value:
            yield from parts(each)


def parsed(sql: Sql) -> Message:
    text = sql.text
    if sql.binds:
        text = re.sub(r"%\(\w+\)s", "($1)", text).replace("%%", "%")
    (tree,) = parse(text)
    return tree


def of_the_user(case: PlanCase) -> set[tuple[str, str]]:
    """What the search path decides in a statement, and in the functions that it calls."""
    (tree,) = parse(translate(case.sql, case.has_parameters).text)
    bodies = [body.query for body in scene.BODIES if f"{body.name}(" in case.sql and body.query]
    return set().union(*map(left_to_the_path, [tree, *bodies]))


def faults_of(plan: Any, case: PlanCase) -> set[tuple[str, str]]:
    """What the search path decides in a plan's texts, but not in the user's."""
    found = list(parts(plan.step))
    ours = [each for each in found if isinstance(each, Sql) and each.binds is not None]
    brought = (GatheredTable, CarriedQuery, StagedPart)
    gathered = {("relation", each.name) for each in found if isinstance(each, brought)}
    named = set().union(*(left_to_the_path(parsed(sql)) for sql in ours))
    return named - of_the_user(case) - gathered if named else set()


CASES: Mapping[str, PlanCase] = plan_cases()


def test_plans_leave_nothing_to_the_search_path_but_the_user_s_own_text() -> None:
    planner, ours = scene.planner(), 0
    faults = {}
    for title, case in CASES.items():
        plan = planner.plan(case.sql, case.has_parameters, scene.PATH)
        ours += sum(isinstance(each, Sql) and each.binds is not None for each in parts(plan.step))
        if found := faults_of(plan, case):
            faults[title] = found
    assert faults == {}
    assert ours > 300


def test_a_plan_with_an_operator_of_nobody_s_is_found() -> None:
    case = PlanCase("SELECT avg(o_totalprice) FROM orders", False, None, "")
    plan = scene.planner().plan(case.sql, False, scene.PATH)
    bad = dataclasses.replace(
        plan.step, combine=Sql(plan.step.combine.text.replace("OPERATOR(pg_catalog./)", "/"), ())
    )
    assert faults_of(plan, case) == set()
    assert faults_of(dataclasses.replace(plan, step=bad), case) == {("operator", "/")}


# Constants ----------------------------------------------------------------------------------


def is_ours(constant: SqlText) -> bool:
    return (
        constant.path not in NOT_OURS and (constant.path, constant.name) not in PATH_IS_SET | PIECES
    )


def test_constants_leave_nothing_to_the_search_path() -> None:
    faults = {
        (constant.path, constant.name, constant.text): found
        for constant in CONSTANTS
        if is_ours(constant)
        for found in [set().union(*map(left_to_the_path, constant.trees))]
        if found
    }
    assert faults == {}


def test_the_constants_that_are_sent_are_among_those_looked_at() -> None:
    seen = {(c.path, c.name) for c in CONSTANTS if c.trees}
    assert PATH_IS_SET - seen == set()
    for name in ("NAMES_OF_TYPES", "_OIDS"):
        assert ("executor/types/type_names.py", name) in seen
    for where in (
        ("executor/strategies/ranking.py", "_RANK"),
        ("executor/knowledge/clock.py", "_NOW"),
        ("links/session_settings.py", "_READ"),
        ("executor/strategies/coordinated.py", "_KEEPS"),
        ("links/bearings.py", "BEARINGS"),
        ("checking/servers.py", "_FACTS"),
        ("planner/strategies/aggregates.py", "_average"),
        ("planner/strategies/merge.py", "_SUM"),
        ("testing/databases.py", "_DROP"),
        ("initializing/initialization.py", "_BEGIN"),
        ("initializing/initialization.py", "_STAMPED"),
        ("initializing/schema.py", "_MADE"),
        ("links/members.py", "_ASKED"),
        ("links/owners.py", "TRUSTED"),
    ):
        assert where in seen, where


def test_whoever_leaves_names_out_sets_the_search_path() -> None:
    assert outside.SETTINGS.lstrip().startswith("SET LOCAL search_path = pg_catalog, pg_temp;")
    assert probe.VALUES["search_path"] == "pg_catalog, pg_temp"
    assert existing.FACTS.lstrip().startswith("SET LOCAL search_path = pg_catalog, pg_temp;")


def test_a_constant_is_found_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'TEXT = ("SELECT pg_catalog.now() "\n  "FROM {0} WHERE x::text = %s")\n'
        'def f(a):\n    return f"count({a})::bigint", "any text (of people) is no SQL"\n'
    )
    found = {c.name: c for c in sql_constants(tmp_path) if c.trees}
    assert left_to_the_path(found["TEXT"].trees[0]) == {("type", "text"), ("operator", "=")}
    assert left_to_the_path(found["f"].trees[0]) == {("function", "count")}


def test_the_golden_texts_are_parsed() -> None:
    with pytest.raises(ParserError):
        parsed(Sql("SELECT FROM WHERE", ()))
