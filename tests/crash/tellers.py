"""A bank: accounts on several shards, tellers who move money between them, and who adds it up."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import closing, suppress

import gevent

import greenshard
from greenshard import Cluster, Sharded

ACCOUNTS, EACH = 24, 100
TOTAL = ACCOUNTS * EACH
#: The tellers' connections.
NAME = "teller"

TABLE = "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)"
_TAKE = "UPDATE account SET balance = balance + %s WHERE id = %s"
_MOVE = """
UPDATE account SET balance = balance + CASE id WHEN %s THEN %s ELSE %s END WHERE id IN (%s, %s)
"""


def cluster(dsns: dict[str, str]) -> Cluster:
    return Cluster(shards=dsns, tables={"account": Sharded("id")})


def open_accounts(dsns: dict[str, str]) -> None:
    with closing(greenshard.connect(cluster(dsns))) as conn:
        rows = [(number, EACH) for number in range(ACCOUNTS)]
        conn.cursor().executemany("INSERT INTO account VALUES (%s, %s)", rows)
        conn.commit()


def transfer(conn: greenshard.Connection, chance: random.Random) -> None:
    """Let some money go from one account to another: in a transaction, or in one statement."""
    one, other = chance.sample(range(ACCOUNTS), 2)
    amount = chance.randint(1, 9)
    conn.autocommit = chance.random() < 0.3
    cur = conn.cursor()
    if conn.autocommit:
        cur.execute(_MOVE, (one, amount, -amount, one, other))
        return
    # In order, so that nobody waits for somebody who waits for him.
    for account, sign in sorted(((one, 1), (other, -1))):
        cur.execute(_TAKE, (sign * amount, account))
    conn.commit()


class Tellers:
    """The greenlets of one process, which transfer money until it is killed.

    Args:
        dsns: The shards.
        say: Tells how many transfers were done.
    """

    def __init__(self, dsns: dict[str, str], say: Callable[..., None]) -> None:
        self._cluster, self._say = cluster(dsns), say

    def work(self, count: int) -> None:
        seed = int.from_bytes(os.urandom(8), "big")
        gevent.joinall([gevent.spawn(self._work, random.Random(seed + n)) for n in range(count)])

    def _work(self, chance: random.Random) -> None:
        while True:
            # Accounts of a transaction that is in doubt are locked until somebody recovers it.
            with suppress(greenshard.Error):
                self._transfer(chance)

    def _transfer(self, chance: random.Random) -> None:
        options = {"application_name": NAME, "timeout": 1.0, "two_phase": True}
        with closing(greenshard.connect(self._cluster, **options)) as conn:
            while True:
                transfer(conn, chance)
                self._say(transfers=True)


#: How the money is added up, by the strategy that asks.
READS = {
    "combine": "SELECT sum(balance) FROM account",
    "concatenate": "SELECT balance FROM account",
    "gather": "SELECT sum(a.balance) FROM account a JOIN account b ON b.id = a.id # 1",
}


def audit(dsns: dict[str, str], say: Callable[..., None]) -> None:
    """Tell what the bank has in all, again and again: in snapshots, and without.

    What is in doubt holds up a snapshot until somebody recovers it.
    """
    with closing(greenshard.connect(cluster(dsns), application_name=NAME, timeout=2.0)) as conn:
        assert all(f"strategy: {name}" in conn.explain(sql) for name, sql in READS.items())
        while True:
            with suppress(greenshard.OperationalError):
                with conn.snapshot():
                    say(told={name: _sum(conn, sql) for name, sql in READS.items()})
                say(fractured=_sum(conn, READS["concatenate"]) != TOTAL)
            with suppress(greenshard.Error):
                conn.rollback()


def _sum(conn: greenshard.Connection, sql: str) -> int:
    cur = conn.cursor()
    cur.execute(sql)
    return sum(int(amount) for (amount,) in cur)
