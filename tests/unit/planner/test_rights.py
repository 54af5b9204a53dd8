"""What is gathered of views and tables that not everybody may read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenshard.planner.catalog import Catalog, Policy, Relation, Security
from greenshard.planner.explanation import explain
from greenshard.planner.plan import Filtering, Gather, Plan, Reading
from greenshard.planner.planner import Planner
from tests.unit.planner import scene


def plan(sql: str, **changed: Security | Relation) -> Plan:
    """A plan, with some relations' security changed, or with more relations."""
    known = dict(scene.catalog().relations)
    for name, change in changed.items():
        where = ("public", name)
        if isinstance(change, Security):
            known[where] = replace(known[where], security=change)
        else:
            known[where] = change
    catalog = Catalog(known, scene.catalog().functions, False, 180000)
    return Planner(scene.cluster(), catalog).plan(sql, False, scene.PATH)


def view(name: str, definition: str, like: str = "big_orders") -> Relation:
    """A view with the columns of another one."""
    columns = scene.catalog().relations["public", like].columns
    return Relation("public", name, "v", columns, (), definition)


def gathered(made: Plan) -> dict[str, str]:
    """What is read of each relation that is gathered."""
    assert isinstance(made.step, Gather)
    return {table.relation: table.read.text for table in made.step.tables}


GRANTS = Security(column_grants=True)


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        (
            "SELECT count(DISTINCT o_custkey) FROM orders JOIN lineitem ON l_partkey = o_orderkey",
            "o_orderkey, o_custkey",
        ),
        ("SELECT count(DISTINCT 1) FROM orders", "NULL::int"),
        (
            (
                "SELECT count(DISTINCT x.o_comment) FROM orders,"
                " (SELECT l_comment AS o_comment FROM lineitem) x"
            ),
            "NULL::int",
        ),
        (
            "SELECT count(DISTINCT o_custkey) FROM orders NATURAL JOIN lineitem",
            (
                "o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority,"
                " o_comment"
            ),
        ),
        (
            (
                "SELECT (SELECT max(l_weight) FROM lineitem WHERE l_partkey = o_custkey)"
                " AS o_comment FROM orders ORDER BY o_comment"
            ),
            "o_custkey, o_comment",
        ),
    ],
    ids=["names", "no name", "of a subquery", "natural", "of the answer"],
)
def test_of_a_table_with_granted_columns_only_those_that_are_meant_are_read(sql, read):
    reads = gathered(plan(sql, orders=GRANTS))
    assert reads['"public"."orders"'] == f"SELECT {read} FROM public.orders"


def test_a_name_is_that_of_other_tables_columns_only_where_grants_ask_for_it():
    sql = (
        "SELECT count(DISTINCT a.o_custkey) FROM orders b"
        " JOIN archive.orders a ON a.o_totalprice = b.o_orderkey"
    )
    wide, narrow = gathered(plan(sql)), gathered(plan(sql, orders=GRANTS))
    assert "o_custkey" in wide['"public"."orders"']
    assert narrow['"public"."orders"'] == "SELECT o_orderkey FROM public.orders"


def test_a_view_that_calls_something_volatile_is_read_once_or_not_at_all():
    dice = view("dice", "SELECT o_orderkey, o_custkey, random() AS price FROM public.orders")
    once = plan("SELECT cardinality(array_agg(DISTINCT coalesce(price))) FROM dice", dice=dice)
    twice = plan("SELECT count(*) FROM dice a JOIN dice b USING (price)", dice=dice)
    assert list(gathered(once)) == ['"public"."dice"']
    assert list(gathered(twice)) == ['"public"."orders"']


def test_a_view_with_a_key_of_its_own_is_read_where_that_is():
    seven = view(
        "seven",
        "SELECT o_orderkey, o_custkey, 1 AS price FROM public.orders WHERE (o_orderkey = 7)",
    )
    sql = "SELECT count(DISTINCT l_partkey) FROM seven JOIN lineitem ON l_partkey = o_custkey"
    (table, *_) = [t for t in plan(sql, seven=seven).step.tables if t.name == "seven"]
    assert [value.value for value in table.pins[0].values] == [7]


def test_a_query_in_the_place_of_a_view_tells_what_is_read_as_the_user():
    made = plan("SELECT sum(top) FROM big_totals JOIN nation ON n_nationkey = o_custkey")
    assert made.step.rights == (
        Reading(("public", "big_orders"), ("o_custkey", "price"), ("public", "big_totals")),
    )


def policies(condition: str, command: str = "r") -> Security:
    return Security(policies=(Policy("near", command, (condition,)),))


SAME_CUSTOMER = "(EXISTS ( SELECT FROM public.lineitem l WHERE (l.l_partkey = orders.o_custkey)))"


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (
            "(EXISTS ( SELECT FROM public.lineitem l WHERE (l.l_orderkey = orders.o_orderkey)))",
            None,
        ),
        ("(EXISTS ( SELECT FROM public.nation n WHERE (n.n_nationkey = orders.o_custkey)))", None),
        ("(o_orderkey IN ( SELECT lineitem.l_orderkey FROM public.lineitem))", None),
        (SAME_CUSTOMER, "a subquery reads rows of lineitem"),
        (
            "(o_custkey IN ( SELECT big_orders.o_custkey FROM public.big_orders))",
            "a subquery reads",
        ),
        ("not sql at all", "cannot be read"),
    ],
)
def test_policies_that_need_rows_of_other_shards_are_known(condition, reason):
    made = plan("SELECT * FROM orders WHERE o_orderkey = 7", orders=policies(condition))
    if reason is None:
        assert made.policies == ()
    else:
        (found,) = made.policies
        assert (found.reading, found.policy) == (Reading(("public", "orders")), "near")
        assert reason in found.reason


def test_policies_on_the_tables_of_views_are_for_their_owners():
    made = plan("SELECT * FROM big_orders", orders=policies(SAME_CUSTOMER))
    (found,) = made.policies
    assert isinstance(found, Filtering)
    assert found.reading.view == ("public", "big_orders")
    assert "policy near on public.orders must not apply" in explain(made, scene.SHARDS)


def test_policies_for_writes_are_for_writes():
    security = policies(SAME_CUSTOMER, "w")
    assert plan("SELECT * FROM orders", orders=security).policies == ()
    assert plan("UPDATE orders SET o_comment = 'x'", orders=security).policies != ()
