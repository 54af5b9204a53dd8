"""Cycles of waits over shards, and who gives way: by example, and against all simple cycles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.deadlocks.graph import Backend, Mark, View, Wait, Waiter, choose, find_cycles

T1, T2, T3 = (Waiter("p", number) for number in (1, 2, 3))
BEGAN = {T1: 10, T2: 20, T3: 30}


def views(waits, marks, began=BEGAN):
    """From ``{shard: {pid: blockers}}`` and ``{waiter: [(shard, pid)]}``."""
    shards = {*waits, *(shard for sessions in marks.values() for shard, _ in sessions)}
    return {
        shard: View(
            tuple(
                Wait(pid, f"since {pid}", tuple(blockers))
                for pid, blockers in waits.get(shard, {}).items()
            ),
            tuple(
                Mark(waiter, pid, began.get(waiter, 0))
                for waiter, sessions in marks.items()
                for there, pid in sessions
                if there == shard
            ),
        )
        for shard in sorted(shards)
    }


def nodes(cycle):
    return [edge.source for edge in cycle.edges]


RING = {T1: [("s0", 11), ("s1", 21)], T2: [("s0", 12), ("s1", 22)]}


def test_two_that_wait_for_each_other_on_two_shards():
    seen = views({"s0": {11: [12]}, "s1": {22: [21]}}, RING)
    (cycle,) = find_cycles(seen)
    assert set(nodes(cycle)) == {T1, T2}
    assert choose([cycle]) == {T2: cycle}
    assert choose([cycle], {T2}) == {T1: cycle}
    assert choose([cycle], {T1, T2}) == {}


@pytest.mark.parametrize(
    ("waits", "marks"),
    [
        ({"s0": {11: [12]}, "s1": {21: [22]}}, RING),  # both wait for the same one
        ({"s0": {11: [12]}}, RING),
        ({"s0": {11: [12], 12: [11]}}, RING),  # that server sees it itself
        ({"s0": {11: [12]}, "s1": {22: [21]}}, {T1: RING[T1], T2: RING[T2][:1]}),  # nobody tells
        ({"s0": {11: [0]}, "s1": {22: [21]}}, RING),  # a prepared transaction
        ({"s0": {11: [11]}}, RING),
    ],
)
def test_no_cycle(waits, marks):
    assert find_cycles(views(waits, marks)) == []


def test_ring_of_three_is_one_cycle_whichever_way_it_is_found():
    marks = {
        T1: [("s0", 1), ("s2", 1)],
        T2: [("s1", 2), ("s0", 2)],
        T3: [("s2", 3), ("s1", 3)],
    }
    (cycle,) = find_cycles(views({"s0": {1: [2]}, "s1": {2: [3]}, "s2": {3: [1]}}, marks))
    assert sorted(nodes(cycle)) == [T1, T2, T3]
    assert list(choose([cycle])) == [T3]


def test_cycle_through_sessions_of_others():
    # T1 waits for 7, that for 8, that for T2, which waits for T1 on the other shard.
    seen = views({"s0": {11: [7], 7: [8], 8: [12]}, "s1": {22: [21]}}, RING)
    (cycle,) = find_cycles(seen)
    assert {Backend("s0", 7), Backend("s0", 8), T1, T2} == set(nodes(cycle))
    assert set(cycle.began) == {T1, T2}


def test_transaction_that_waits_for_itself():
    # It gathers on a connection more, which needs what it has locked itself.
    seen = views({"s0": {13: [11]}}, {T1: [("s0", 11), ("s0", 13)]})
    (cycle,) = find_cycles(seen)
    assert list(choose([cycle])) == [T1]


def test_cycle_is_another_one_if_a_wait_is():
    seen = views({"s0": {11: [12]}, "s1": {22: [21]}}, RING)
    later = {**seen, "s1": View((Wait(22, "later", (21,)),), seen["s1"].marks)}
    (before,), (after,) = find_cycles(seen), find_cycles(later)
    assert before.key != after.key
    assert before.key == find_cycles(seen)[0].key


def test_earliest_begin_that_a_server_tells_counts():
    seen = views({"s0": {11: [12]}, "s1": {22: [21]}}, RING)
    marks = tuple(Mark(m.waiter, m.pid, {T1: 50, T2: 5}[m.waiter]) for m in seen["s0"].marks)
    unknown = tuple(Mark(m.waiter, m.pid, 0) for m in seen["s1"].marks)
    told = {"s0": View(seen["s0"].waits, marks), "s1": View(seen["s1"].waits, unknown)}
    (cycle,) = find_cycles(told)
    assert cycle.began == {T1: 50, T2: 5}
    assert list(choose([cycle])) == [T1]


def test_equally_old_ones_are_told_apart_by_their_names():
    seen = views({"s0": {11: [12]}, "s1": {22: [21]}}, RING, began={})
    assert list(choose(find_cycles(seen))) == [T2]


def test_one_that_is_in_two_cycles_breaks_both():
    marks = {
        T1: [("s0", 1), ("s1", 1)],
        T2: [("s0", 2), ("s1", 2)],
        T3: [("s0", 3), ("s1", 3)],
    }
    seen = views({"s0": {3: [1, 2]}, "s1": {1: [3], 2: [3]}}, marks)
    cycles = find_cycles(seen)
    assert len(cycles) == 2
    assert list(choose(cycles)) == [T3]
    assert sorted(choose(cycles, {T3})) == [T1, T2]


# Against all simple cycles --------------------------------------------------------------------

SHARDS, PIDS = ("s0", "s1", "s2"), range(1, 6)


@st.composite
def scenes(draw):
    sessions = [(shard, pid) for shard in SHARDS for pid in PIDS]
    waits = {
        shard: draw(
            st.dictionaries(
                st.sampled_from(PIDS), st.lists(st.sampled_from(PIDS), max_size=2, unique=True)
            )
        )
        for shard in SHARDS
    }
    whose = draw(st.lists(st.sampled_from([None, T1, T2, T3]), min_size=15, max_size=15))
    marks = {
        waiter: [s for s, w in zip(sessions, whose, strict=True) if w == waiter]
        for waiter in (T1, T2, T3)
    }
    return waits, marks


def simple_cycles(waits, marks):
    """All cycles of edges ``(source, waiting, blocking, target)``, the slow and plain way."""
    of = {session: waiter for waiter, sessions in marks.items() for session in sessions}
    edges = [
        (of.get((s, a), (s, a)), (s, a), (s, b), of.get((s, b), (s, b)))
        for s, there in waits.items()
        for a, blockers in there.items()
        for b in blockers
    ]

    def walk(path):
        for edge in edges:
            if edge[0] == path[-1][3]:
                if edge[3] == path[0][0]:
                    yield [*path, edge]
                elif edge[3] not in {e[0] for e in path} and edge[3] != edge[0]:
                    yield from walk([*path, edge])

    for edge in edges:
        if edge[0] == edge[3]:
            yield [edge]
        else:
            yield from walk([edge])


def crosses(cycle):
    """Whether it enters a transaction by one session and leaves it by another."""
    return any(before[2] != after[1] for before, after in zip(cycle, cycle[1:] + cycle[:1]))  # noqa: B905


@given(scenes())
def test_a_cycle_is_found_where_there_is_one_that_no_server_sees(scene):
    waits, marks = scene
    found = find_cycles(views(waits, marks))
    assert bool(found) == any(crosses(cycle) for cycle in simple_cycles(waits, marks))
    for cycle in found:
        for edge, following in zip(cycle.edges, (*cycle.edges[1:], cycle.edges[0]), strict=True):
            assert edge.target == following.source
            assert edge.blocking.pid in waits[edge.waiting.shard][edge.waiting.pid]
        assert len(set(nodes(cycle))) == len(cycle.edges)
        edges = [(e.source, e.waiting, e.blocking, e.target) for e in cycle.edges]
        assert crosses(edges)


@given(scenes(), st.randoms(use_true_random=False))
def test_all_who_look_choose_the_same_and_break_every_cycle(scene, random):
    seen = views(*scene)
    chosen = choose(find_cycles(seen))
    # Another process has other names for the shards, and is told in another order.
    names = list(seen)
    random.shuffle(names)
    shuffled = {
        name: View(
            tuple(random.sample(seen[name].waits, len(seen[name].waits))),
            tuple(random.sample(seen[name].marks, len(seen[name].marks))),
        )
        for name in names
    }
    assert set(choose(find_cycles(shuffled))) == set(chosen)
    for cycle in find_cycles(seen):
        assert not set(cycle.began).isdisjoint(chosen)
