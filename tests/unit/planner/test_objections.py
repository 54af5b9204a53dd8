"""What a shard answers for itself alone is refused over several."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenshard.planner import calls
from greenshard.planner.bodies import Body
from greenshard.planner.code import Function
from greenshard.planner.plan import Refused, Routed
from greenshard.sql.nodes import expression
from tests.unit.planner import scene

PLANNER = scene.planner()
SIZES = ["pg_relation_size", "pg_total_relation_size", "pg_table_size", "pg_indexes_size"]
PLACE_BOUND = [
    *("pg_backend_pid()", "inet_server_addr()", "inet_client_port()"),
    *("current_database()", "pg_postmaster_start_time()", "pg_conf_load_time()"),
    *("pg_relation_filenode('orders')", "pg_relation_filepath('orders')", "txid_current()"),
    *("pg_database_size('x')", "pg_tablespace_size('x')", "pg_current_xact_id()"),
    *("pg_current_snapshot()", "pg_current_wal_lsn()", "pg_is_in_recovery()"),
    *("pg_last_wal_replay_lsn()", "pg_stat_get_numscans(1)", "pg_get_viewdef('x')", "lastval()"),
]


@pytest.mark.parametrize("column", ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"])
@pytest.mark.parametrize(
    "form",
    [
        "SELECT {} FROM orders",
        "SELECT o_orderkey, o.{} FROM orders o",
        "SELECT count(*) FROM orders WHERE {} IS NOT NULL",
        "SELECT count(*) FROM orders GROUP BY {}",
        "SELECT o_orderkey FROM orders ORDER BY {}",
        "SELECT 1 FROM nation WHERE n_nationkey IN (SELECT 1 FROM orders o WHERE o.{} IS NULL)",
    ],
)
def test_system_columns_are_refused_over_several_shards(form, column) -> None:
    step = PLANNER.plan(form.format(column), False, scene.PATH).step
    assert isinstance(step, Refused)
    assert "a system column has values of its own on each shard" in step.message


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "form", ["SELECT {}('orders')", "SELECT {}('orders'), count(*) FROM orders"]
)
def test_sizes_of_parts_are_refused(form, size) -> None:
    step = PLANNER.plan(form.format(size), False, scene.PATH).step
    assert isinstance(step, Refused)
    assert f"{size}() tells of one shard's part only" in step.message


@pytest.mark.parametrize("call", PLACE_BOUND)
def test_what_a_server_tells_of_itself_is_refused_over_several(call) -> None:
    step = PLANNER.plan(f"SELECT {call}, o_custkey FROM orders", False, scene.PATH).step
    assert isinstance(step, Refused)
    one = PLANNER.plan("SELECT o.ctid FROM orders o WHERE o_orderkey = 1", False, scene.PATH).step
    assert isinstance(one, Routed)


def test_functions_that_call_each_other_are_looked_at_once(monkeypatch) -> None:
    depth = 12
    texts = {f"f{n}": f"SELECT f{n + 1}() + f{n + 1}()" for n in range(depth)}
    texts |= {f"f{depth}": "SELECT 1", "round": "SELECT back()", "back": "SELECT round()"}
    bodies = {("public", name): (Body("public", name, texts[name], False),) for name in texts}
    known = dict.fromkeys(texts, frozenset({Function("public", "f", "v", has_body=True)}))
    catalog = replace(scene.catalog(), functions=known, bodies=bodies)
    functions = calls.Functions(catalog, scene.PATH)
    looked = []
    found = calls.calls
    monkeypatch.setattr(calls, "calls", lambda root: looked.append(root) or found(root))
    assert not functions.is_volatile(expression("f0()").func_call)
    assert not functions.reads_tables(expression("f0()").func_call)
    assert len(looked) == 2 * (depth + 1)
    assert functions.is_volatile(expression("round()").func_call)
    assert functions.is_volatile(expression("back()").func_call)
