"""Texts that are long, or nested deeply: the hub goes on, and the process too."""

from __future__ import annotations

import contextlib

import gevent
import pytest

import greenshard
from greenshard import _green
from greenshard.executor import repeating
from greenshard.planner.planner import Planner
from tests.postgres.one_database.conftest import TABLES

MANY = 4000


@contextlib.contextmanager
def ticks():
    """Counts how often another greenlet runs."""
    counted = [0]

    def tick():
        while True:
            counted[0] += 1
            gevent.sleep(0.001)

    ticker = gevent.spawn(tick)
    gevent.sleep(0)
    try:
        yield counted
    finally:
        ticker.kill()


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT count(*) FROM orders WHERE id IN ({','.join(map(str, range(MANY)))})",
        f"SELECT count(*) FROM orders WHERE {' OR '.join(f'id = {i}' for i in range(MANY // 2))}",
    ],
    ids=["IN", "OR"],
)
def test_the_hub_goes_on_while_a_long_text_is_planned(conn, text, monkeypatch):
    conn.cursor().execute("SELECT 1 FROM orders")
    plan = conn.explain(text)
    seen = []

    def in_thread(function):
        with ticks() as counted:
            result = real(function)
            seen.append(counted[0])
        return result

    real = _green.in_thread
    monkeypatch.setattr(_green, "in_thread", in_thread)
    assert conn.explain(f"{text} ") == plan  # anew
    assert seen
    assert min(seen) >= 5  # once, if it were planned in the hub's thread


@pytest.mark.parametrize(
    ("text", "times"),
    [
        (f"SELECT count(*) FROM orders WHERE id IN ({','.join(map(str, range(MANY)))})", 1),
        (f"SELECT count(*) FROM orders -- {'x' * 100_000}", 3),
        (f"INSERT INTO orders (id) VALUES {', '.join(f'({n})' for n in range(9000, 11_000))}", 3),
    ],
    ids=["again", "too long", "rows"],
)
def test_the_plan_of_a_long_text_is_kept_if_it_may_come_again(shop, text, times, monkeypatch):
    planned = []

    def plan(planner, text, has_parameters, path):
        planned.append(text)
        return real(planner, text, has_parameters, path)

    real = Planner._plan
    monkeypatch.setattr(Planner, "_plan", plan)
    with contextlib.closing(greenshard.connect(greenshard.Cluster(shop.dsns, TABLES))) as conn:
        for _ in range(3):
            conn.cursor().execute(text)
            conn.rollback()
    assert planned.count(text) == times


def test_the_hub_goes_on_while_many_sets_of_parameters_are_placed(conn, monkeypatch):
    seen = []

    def split(execution):
        with ticks() as counted:
            result = real(execution)
            seen.append(counted[0])
        return result

    real = repeating._split
    monkeypatch.setattr(repeating, "_split", split)
    cur = conn.cursor()
    cur.executemany("DELETE FROM orders WHERE id = %s", [(n,) for n in range(10**6, 10**6 + 5000)])
    assert cur.rowcount == 0
    assert seen[0] >= 3


def test_an_error_of_planning_in_a_thread_is_raised_and_not_printed(conn, capfd):
    with pytest.raises(greenshard.ProgrammingError):
        conn.cursor().execute("SELECT nothing FROM orders -- " + "x" * 20_000)
    conn.rollback()

    def fail():
        raise ValueError("planned")

    with pytest.raises(ValueError, match="planned"):
        _green.in_thread(fail)
    assert capfd.readouterr() == ("", "")


def test_a_timeout_ends_the_wait_for_a_plan(conn):
    cur = conn.cursor()
    cur.execute("SELECT 1 FROM orders")
    text = f"SELECT count(*) FROM orders WHERE id IN ({','.join(map(str, range(20_000)))})"
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        cur.execute(text)
    conn.rollback()
    cur.execute("SELECT count(*) FROM orders WHERE id = 1")
    assert cur.fetchone() is not None


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT {'(' * 10_000}1{')' * 10_000} FROM orders",
        f"SELECT 1 FROM orders WHERE {'(id = 1 AND ' * 5000}true{')' * 5000}",
        f"SELECT 1 FROM orders WHERE {'NOT ' * 30_000}true",
        f"SELECT {'- ' * 30_000}1 FROM orders",
        f"SELECT 1{'+1' * 30_000} FROM orders",
        f"SELECT 1{'::int' * 20_000} FROM orders",
        f"SELECT {'ARRAY[' * 10_000}1{']' * 10_000} FROM orders",
        f"SELECT {'CASE WHEN true THEN ' * 8000}1{' END' * 8000} FROM orders",
        " UNION ALL ".join(["SELECT id FROM orders"] * 10_000),
        f"SELECT 1 FROM orders o {' '.join(f'JOIN orders o{i} USING (id)' for i in range(5000))}",
        f"SELECT {'(SELECT ' * 5000}1{')' * 5000} FROM orders",
        f"SELECT {'abs(' * 10_000}id{')' * 10_000} FROM orders",
        f"SELECT id{'[1]' * 20_000} FROM orders",
        f"INSERT INTO orders (id) VALUES ({'(' * 10_000}1{')' * 10_000})",
    ],
    ids=["parentheses", "AND", "NOT", "-", "+", "::", "ARRAY", "CASE", "UNION", "JOIN", "SELECT",
         "functions", "subscripts", "INSERT"],
)  # fmt: skip
@pytest.mark.parametrize("parameters", [None, ()], ids=["", "parameters"])
def test_what_is_nested_too_deeply_is_not_supported(conn, text, parameters):
    with pytest.raises(greenshard.NotSupportedError, match="nested too deeply") as caught:
        conn.cursor().execute(text, parameters)
    assert caught.value.code == "GS410"
    assert caught.value.hint
    conn.rollback()
