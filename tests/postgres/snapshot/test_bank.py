"""Money moves between the shards all the time, and a snapshot has all of it, however it is read."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time

import gevent
import pytest

import greenshard
from greenshard.transaction import barrier
from tests.postgres.snapshot import bank
from tests.postgres.snapshot.bank import ACCOUNTS, TOTAL, Client, Teller, shard_of

#: Seconds in which a reader without a snapshot meets a wrong total: 50 times what it takes.
PATIENCE_S = 20
#: How each strategy adds the money up.
GATHERED = (
    "SELECT sum(a.amount) + (SELECT amount FROM fund)"
    " FROM account a JOIN account b ON a.twin = b.id"
)
QUERIES = {
    "gather": GATHERED,
    "combine": "SELECT sum(amount) FROM account",
    "concatenate": "SELECT amount FROM account",
    "merge": "SELECT amount FROM account ORDER BY id",
}
FUND = "SELECT amount FROM fund"


def by_statement(conn, strategy, sql):
    cur = conn.cursor()
    assert f"strategy: {strategy}" in conn.explain(sql)
    cur.execute(sql)
    found = sum(amount for (amount,) in cur)
    if sql == GATHERED:
        return found
    cur.execute(FUND)
    return found + cur.fetchone()[0]


def by_key(conn):
    cur, found = conn.cursor(), 0
    for number in range(ACCOUNTS):
        cur.execute("SELECT amount FROM account WHERE id = %s", (number,))
        found += cur.fetchone()[0]
    cur.execute(FUND)
    return found + cur.fetchone()[0]


def by_named_cursor(conn, sql):
    with conn.cursor("money") as cur:
        cur.itersize = 5
        cur.execute(sql)
        found = 0
        for (amount,) in cur:
            found += amount
            gevent.sleep(0)
    if sql == GATHERED:
        return found
    cur = conn.cursor()
    cur.execute(FUND)
    return found + cur.fetchone()[0]


def by_names(conn):
    cur, found = conn.cursor(), 0
    for shard in conn.shards:
        with conn.on(shard):
            cur.execute("SELECT sum(amount) FROM account")
            found += cur.fetchone()[0]
    cur.execute(FUND)
    return found + cur.fetchone()[0]


WAYS = {
    **{s: lambda conn, s=s: by_statement(conn, s, QUERIES[s]) for s in QUERIES},
    "route": by_key,
    "named shards": by_names,
    **{f"named cursor: {s}": lambda conn, s=s: by_named_cursor(conn, QUERIES[s]) for s in QUERIES},
}


@pytest.fixture
def busy(dsns):
    """Money moves: in three greenlets of this process, and in another process."""
    tellers = [Teller(dsns, random.Random(1)), *(Client(dsns, random.Random(s)) for s in (2, 3))]
    over = False

    def work(teller):
        while not over:
            teller.move()
            gevent.sleep(0)

    command = [sys.executable, bank.__file__, json.dumps(dsns), "3"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as other:
        assert other.stdout.readline() == "begun\n"
        greenlets = [gevent.spawn(work, teller) for teller in tellers]
        yield tellers
        over = True
        gevent.joinall(greenlets, raise_error=True)
        other.stdin.close()
        assert int(other.stdout.read()) > 0
    assert all(teller.moves > 0 for teller in tellers)
    for teller in tellers:
        teller.close()


def test_a_snapshot_has_all_the_money_by_every_strategy(busy, conn, cluster, dsns):
    with (
        greenshard.Pool(cluster, max_size=2) as pool,
        contextlib.closing(greenshard.connect(dsns)) as union,
    ):
        for turn in range(4):
            conn.autocommit = turn % 2 == 1
            for name, read in WAYS.items():
                with conn.snapshot():
                    assert read(conn) == TOTAL, name
                    # The same again, though the money has moved on.
                    assert WAYS["combine"](conn) == TOTAL, name
            with pool.connection() as pooled, pooled.snapshot():
                for name, read in WAYS.items():
                    assert read(pooled) == TOTAL, name
            with union.snapshot(), union.cursor() as cur:
                cur.execute("SELECT sum(amount) FROM account")
                found = sum(amount for (amount,) in cur)
                cur.execute(FUND)
                funds = {amount for (amount,) in cur}
                assert len(funds) == 1
                assert found + funds.pop() == TOTAL


def test_without_a_snapshot_money_is_missing(busy, conn):
    for name, read in WAYS.items():
        conn.autocommit = not name.startswith("named cursor")
        deadline = time.monotonic() + PATIENCE_S
        found = TOTAL
        while found == TOTAL:
            assert time.monotonic() < deadline, f"{name}: no wrong total, so no test of it can fail"
            found = read(conn)
            conn.rollback()


def _wrong_steps(conn, writer, seconds, *, until=None):
    """Count how often the second of two transactions of a client is seen, and not the first."""
    first = 0
    second = next(
        n for n in range(ACCOUNTS) if shard_of(n, conn.cluster) != shard_of(0, conn.cluster)
    )
    over, wrong, reads = False, 0, 0

    def step():
        while not over:
            writer.step((first, second))

    working = gevent.spawn(step)
    cur = conn.cursor()
    deadline = time.monotonic() + seconds
    try:
        while wrong != until and time.monotonic() < deadline:
            with conn.snapshot():
                cur.execute("SELECT id, at FROM step WHERE id IN (%s, %s)", (first, second))
                found = dict(cur.fetchall())
            reads += 1
            wrong += found[second] > found[first]
    finally:
        over = True
        working.get()
        writer.close()
        cur.execute("UPDATE step SET at = 0")
        conn.commit()
    assert reads > 0
    assert writer.moves > 0
    return wrong


def test_who_sees_a_clients_second_transaction_sees_its_first(dsns, conn, monkeypatch):
    def freeze(physical, *, exports):
        if physical.shard != shard_of(0, conn.cluster):
            gevent.sleep(0.02)  # there is time for both transactions, if nothing keeps them out
        return frozen(physical, exports=exports)

    frozen = barrier.freeze
    monkeypatch.setattr(barrier, "freeze", freeze)
    assert _wrong_steps(conn, Client(dsns, random.Random(4)), 2) == 0
    # It is the barrier that makes it so, though each transaction is on one shard.
    unlocked = Teller(dsns, random.Random(4), locks=False)
    assert _wrong_steps(conn, unlocked, PATIENCE_S, until=1) == 1
