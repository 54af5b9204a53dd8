"""A bank on three shards, whose money is the same at each moment; and who moves it.

A `Client` moves it as a program does; a `Teller` by hand, and slowly, so that a reader meets it in
the midst of a commit.

Run as a program, it moves money until its standard input ends: ``python bank.py JSON SEED``.
"""

from __future__ import annotations

import json
import random
import select
import sys
import uuid
from dataclasses import dataclass

import gevent
import psycopg2

import greenshard

ACCOUNTS = 24
EACH = 100
FUND = 1_000
TOTAL = ACCOUNTS * EACH + FUND
#: ``twin`` is the account before: each is the twin of one other.
SCHEMA = """
CREATE TABLE account (id bigint PRIMARY KEY, amount int NOT NULL, twin bigint NOT NULL);
CREATE TABLE fund (amount int NOT NULL);
CREATE TABLE step (id bigint PRIMARY KEY, at int NOT NULL);
"""
TABLES = {
    "account": greenshard.Sharded("id"),
    "step": greenshard.Sharded("id"),
    "fund": greenshard.Reference(),
}
BARRIER = "LOCK TABLE greenshard.barrier IN ROW EXCLUSIVE MODE"
#: Seconds that a commit may take between two of its steps, at most.
SLOWNESS_S = 0.003


def cluster_of(dsns):
    return greenshard.Cluster(dsns, TABLES)


def shard_of(number, cluster):
    return cluster.placement.shards_for(number, "int8", cluster.names)


@dataclass
class Teller:
    """Moves money between shards, by psycopg2's own connections.

    Args:
        dsns: The shards.
        random: What decides who gives what to whom.
        locks: Whether its commits take the barrier.
    """

    dsns: dict[str, str]
    random: random.Random
    locks: bool = True
    moves: int = 0

    def __post_init__(self):
        self.cluster = cluster_of(self.dsns)
        self.own = {name: psycopg2.connect(dsn) for name, dsn in self.dsns.items()}
        self.accounts = {}
        for number in range(ACCOUNTS):
            self.accounts.setdefault(shard_of(number, self.cluster), []).append(number)

    def execute(self, shard, sql, *args):
        with self.own[shard].cursor() as cur:
            cur.execute(sql, args)

    def move(self):
        """Move some money from an account to another one, or to the fund."""
        amount, (one, other) = self.random.randint(1, 9), self.random.sample(list(self.dsns), 2)
        add = "UPDATE account SET amount = amount + %s WHERE id = %s"
        if self.random.random() < 0.3:
            # A reference table: all copies are written, the first one first against deadlocks.
            for shard in self.dsns:
                self.execute(shard, "UPDATE fund SET amount = amount + %s", amount)
            self.execute(one, add, -amount, self.random.choice(self.accounts[one]))
            self.commit(one, *(shard for shard in self.dsns if shard != one))
            return
        changes = [
            (one, -amount, self.random.choice(self.accounts[one])),
            (other, amount, self.random.choice(self.accounts[other])),
        ]
        for shard, change, account in sorted(changes):
            self.execute(shard, add, change, account)
        self.commit(one, other)

    def commit(self, anchor, *others):
        if self.locks:
            for shard in (anchor, *others):
                self.execute(shard, BARRIER)
        gids = {shard: f"bank_{uuid.uuid4().hex}" for shard in others}
        for shard, gid in gids.items():
            self.execute(shard, f"PREPARE TRANSACTION '{gid}'")
            self.own[shard].rollback()
        gevent.sleep(self.random.uniform(0, SLOWNESS_S))
        self.own[anchor].commit()
        for shard, gid in gids.items():
            gevent.sleep(self.random.uniform(0, SLOWNESS_S))
            self.own[shard].autocommit = True
            self.execute(shard, f"COMMIT PREPARED '{gid}'")
            self.own[shard].autocommit = False
        self.moves += 1

    def step(self, keys):
        """Commit one after the other on two shards: whoever sees the second has the first."""
        for key in keys:
            shard = shard_of(key, self.cluster)
            self.execute(shard, "UPDATE step SET at = at + 1 WHERE id = %s", key)
            if self.locks:
                self.execute(shard, BARRIER)
            self.own[shard].commit()
        self.moves += 1

    def close(self):
        for each in self.own.values():
            each.close()


class Client:
    """Moves money between shards, by greenshard.

    Args:
        dsns: The shards.
        random: What decides who gives what to whom.
    """

    def __init__(self, dsns, random):
        self.conn = greenshard.connect(cluster_of(dsns))
        self.random = random
        self.moves = 0

    def move(self):
        """Move some money from an account to another one, or to the fund."""
        amount, (one, other) = self.random.randint(1, 9), self.random.sample(range(ACCOUNTS), 2)
        add = "UPDATE account SET amount = amount + %s WHERE id = %s"
        with self.conn.cursor() as cur:
            if self.random.random() < 0.3:
                cur.execute("UPDATE fund SET amount = amount + %s", (amount,))
                cur.execute(add, (-amount, one))
            else:
                # All lock the shards in the same order, and the accounts on each.
                changes = [(one, -amount), (other, amount)]
                for account, change in sorted(changes, key=self._order):
                    cur.execute(add, (change, account))
        self.conn.commit()
        self.moves += 1

    def _order(self, change):
        return shard_of(change[0], self.conn.cluster), change

    def step(self, keys):
        """Commit one after the other on two shards: whoever sees the second has the first."""
        for key in keys:
            self.conn.cursor().execute("UPDATE step SET at = at + 1 WHERE id = %s", (key,))
            self.conn.commit()
        self.moves += 1

    def close(self):
        self.conn.close()


def fill(dsns):
    """Make the tables, and put the money on the accounts."""
    teller = Teller(dsns, random.Random(0))
    for shard, accounts in teller.accounts.items():
        teller.execute(shard, SCHEMA)
        teller.execute(shard, "INSERT INTO fund VALUES (%s)", FUND)
        for number in accounts:
            twin = (number - 1) % ACCOUNTS
            teller.execute(shard, "INSERT INTO account VALUES (%s, %s, %s)", number, EACH, twin)
            teller.execute(shard, "INSERT INTO step VALUES (%s, 0)", number)
        teller.own[shard].commit()
    teller.close()


def main(dsns, seed):
    teller = Teller(json.loads(dsns), random.Random(int(seed)))
    print("begun", flush=True)  # noqa: T201  # to the test
    while not select.select([sys.stdin], [], [], 0)[0]:
        teller.move()
    print(teller.moves, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
