"""A view's query says whose names it means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenshard.planner.binding.qualifying import path_bound, qualify
from greenshard.planner.calls import Functions
from greenshard.planner.plan import Gather, Refused
from greenshard.planner.planner import Planner
from greenshard.sql.parser import deparse, parse
from tests.unit.planner import scene

EQUAL = "OPERATOR(pg_catalog.=)"


def qualified(text: str) -> str:
    (tree,) = parse(text)
    qualify(tree, Functions(scene.catalog(), scene.PATH))
    assert not path_bound(tree)
    return deparse(tree)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("lower(a)", "pg_catalog.lower(a)"),
        ("public.twice(a)", "public.twice(a)"),
        ("a + 1 < b", "(a OPERATOR(pg_catalog.+) 1) OPERATOR(pg_catalog.<) b"),
        ("- a", "OPERATOR(pg_catalog.-) a"),
        ("a OPERATOR(public.+) 1", "a OPERATOR(public.+) 1"),
        ("a = ANY (ARRAY[1, 2])", f"a {EQUAL} ANY(ARRAY[1, 2])"),
        ("a <> ALL (b)", "a OPERATOR(pg_catalog.<>) ALL(b)"),
        ("'a'::text", "'a'::pg_catalog.text"),
        ("a::text[]", "a::pg_catalog.text[]"),
        ("a::numeric(10,2)", "a::numeric(10, 2)"),
        ("a::public.mood", "a::public.mood"),
        ('a COLLATE "C"', 'a COLLATE pg_catalog."C"'),
        ("a IN (SELECT b FROM t)", f"a {EQUAL} ANY (SELECT b FROM t)"),
        ("a > ALL (SELECT b FROM t)", "a OPERATOR(pg_catalog.>) ALL (SELECT b FROM t)"),
        ("CASE a WHEN 1 THEN 2 ELSE 3 END", f"CASE WHEN a {EQUAL} 1 THEN 2 ELSE 3 END"),
        ("nullif(a, b)", f"CASE WHEN a {EQUAL} b THEN NULL ELSE a END"),
        (
            "a IS DISTINCT FROM b",
            f"NOT COALESCE(a {EQUAL} b, pg_catalog.num_nulls(a, b) {EQUAL} 2)",
        ),
        (
            "a IS NOT DISTINCT FROM nullif(b, 1)",
            (
                f"COALESCE(a {EQUAL} CASE WHEN b {EQUAL} 1 THEN NULL ELSE b END, "
                f"pg_catalog.num_nulls(a, CASE WHEN b {EQUAL} 1 THEN NULL ELSE b END) {EQUAL} 2)"
            ),
        ),
        (
            "string_agg(a, ',' ORDER BY b USING <)",
            "pg_catalog.string_agg(a, ',' ORDER BY b USING OPERATOR(pg_catalog.<))",
        ),
        ("a AT TIME ZONE 'UTC'", "a AT TIME ZONE 'UTC'"),
    ],
)
def test_pg_catalog_s_names_are_written_in_full(text: str, made: str) -> None:
    assert qualified(f"SELECT {text}") == f"SELECT {made}"


@pytest.mark.parametrize(
    "text",
    [
        "CASE random() WHEN 1 THEN 2 END",
        "nullif((SELECT 1), 2)",
        "touch() IS DISTINCT FROM 1",
        "ROW(a, b) IS DISTINCT FROM ROW(c, d)",
    ],
)
def test_what_would_be_computed_twice_stays_and_is_found(text: str) -> None:
    (tree,) = parse(f"SELECT {text}")
    qualify(tree, Functions(scene.catalog(), scene.PATH))
    assert path_bound(tree)


def gathered(definition: str) -> Gather | Refused:
    """The plan of a statement that has to put a view's query in its place."""
    catalog = scene.catalog()
    view = replace(catalog.relations["public", "big_orders"], definition=definition)
    relations = {**catalog.relations, ("public", "big_orders"): view}
    planner = Planner(scene.cluster(), replace(catalog, relations=relations))
    step = planner.plan("SELECT count(DISTINCT price) FROM big_orders", False, scene.PATH).step
    assert isinstance(step, (Gather, Refused))
    return step


def test_a_join_with_using_is_written_with_on() -> None:
    step = gathered(
        "SELECT o.o_orderkey, o.o_custkey, i.i_amount AS price FROM public.orders o "
        "JOIN (public.invoice i(i_id, o_custkey, i_amount) LEFT JOIN public.lineitem "
        "l(o_custkey) USING (o_custkey)) USING (o_custkey)"
    )
    assert isinstance(step, Gather)
    assert "USING" not in step.sql.text
    assert f"i.o_custkey {EQUAL} l.o_custkey" in step.sql.text
    assert f"o.o_custkey {EQUAL} i.o_custkey" in step.sql.text


@pytest.mark.parametrize(
    "definition",
    [
        (
            "SELECT o.o_orderkey, o_custkey, o.o_totalprice AS price FROM public.orders o "
            "FULL JOIN archive.orders a USING (o_custkey)"
        ),
        (
            "SELECT o.o_orderkey, o.o_custkey, nullif(o.o_totalprice, (random())::numeric) "
            "AS price FROM public.orders o JOIN public.orders b ON b.o_custkey = o.o_custkey"
        ),
    ],
)
def test_a_view_that_compares_by_the_path_is_not_put_in_its_place(definition: str) -> None:
    step = gathered(definition)
    assert isinstance(step, Refused)
    assert "which cannot say whose = is meant" in step.message


def test_functions_of_schemas_outside_the_path_are_not_meant() -> None:
    (tree,) = parse("SELECT total(1), archive.total(1)")
    calls = [target.res_target.val.func_call for target in tree.stmt.select_stmt.target_list]
    functions = Functions(scene.catalog(), ("pg_catalog", "archive"))
    assert [functions.is_aggregate(call) for call in calls] == [False, False]
    assert Functions(scene.catalog(), scene.PATH).is_aggregate(calls[0])
