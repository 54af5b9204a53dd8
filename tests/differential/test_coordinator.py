"""Random statements that need too many rows: the coordinator gives what one server gives.

Only statements that bring rows to one place are run, and not a row may be brought for them.
Policies, which are a reason not to ask the coordinator, are taken away before.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from itertools import count
from random import Random

import psycopg2
import pytest
from psycopg2 import extras

import greenshard
from greenshard.coordinating import set_up
from tests.differential import databases, report, schema
from tests.differential.referee import NAMED_SHARE, Referee

SEED = os.environ["GREENSHARD_SEED"]
#: How many statements are run.
STATEMENTS = int(os.environ.get("GREENSHARD_COORDINATED") or 30)
#: The strategies that bring rows to one place.
BRINGING = ("combine", "gather", "subqueries")
#: Of the statements at least so many are the coordinator's to answer.
ANSWERED_SHARE = 0.7


@pytest.fixture(scope="class")
def coordinated(made, request):
    """Clusters of two and four shards, each with a coordinator, over the databases of `made`."""
    clusters = {}
    for shards in (2, 4):
        cluster = made.clusters[shards]
        server = cluster.shards["s0"].primary
        database = f"{request.cls.collation}_{shards}_coordinator".lower()
        databases.create(
            server, database, lambda cur: databases._locale(request.cls.collation, cur)
        )
        admin = psycopg2.extensions.make_dsn(server, dbname=database)
        for dsn in [shard.primary for shard in cluster.shards.values()]:
            without_policies(dsn)
        with_types(admin)
        reader = psycopg2.extensions.make_dsn(admin, user=f"reader_of_{shards}")
        clusters[shards] = greenshard.Cluster(
            {name: shard.primary for name, shard in cluster.shards.items()},
            cluster.tables,
            cluster.placement,
            coordinator=reader,
        )
        set_up(clusters[shards], admin)
    return clusters


def without_policies(dsn):
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
        for name in schema.POLICIES:
            cur.execute(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY")


def with_types(dsn):
    """Give a database the types and functions of the shards, and not their tables."""
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
        cur.execute("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citext')")
        caseless = cur.fetchone() == (True,)
        cur.execute(schema.ddl(gaps=False, words=databases._words(cur), caseless=caseless))
        for view in reversed(schema.VIEWS):
            cur.execute(f"DROP VIEW {view.name}")
        for table in schema.TABLES:
            cur.execute(f"DROP TABLE {table.name} CASCADE")


class Coordinated:
    """The tests of one collation.

    Attributes:
        collation: One of `databases.COLLATIONS`; the fixtures look at it.
    """

    collation: str

    def test_the_coordinator_answers_as_one_server(self, made, coordinated):
        extras.register_uuid()
        ran: Counter[str] = Counter()
        refusals: Counter[str] = Counter()

        def noted(event):
            ran.update([str(event.strategy)])
            if event.error is not None:
                refusals.update(
                    [str(event.error).partition("instead: ")[2].partition(" [GS405]")[0]]
                )

        with contextlib.ExitStack() as opened:
            one = opened.enter_context(contextlib.closing(psycopg2.connect(made.one)))
            conns = {
                shards: opened.enter_context(
                    contextlib.closing(
                        greenshard.connect(
                            cluster,
                            timeout=60.0,
                            gather_limit=0,
                            on_event=noted,
                        )
                    )
                )
                for shards, cluster in coordinated.items()
            }
            judge = Referee(SEED, one, conns, made.types)
            judged = 0
            for number in count():
                label, statement, expected = judge._choose(f"coordinated/{number}")
                pick = Random(f"{label}/cluster")
                shards = pick.choice([*conns])
                if judge.strategy(conns[shards], statement) not in BRINGING:
                    continue
                named = "named" if pick.random() < NAMED_SHARE else None
                case = judge.judge(label, statement, expected, named, [shards])
                for verdict in case.verdicts:
                    assert verdict.outcome != "wrong", report.told(case, judge)
                judge.rollback()
                judged += 1
                if judged == STATEMENTS:
                    break
        assert ran["coordinator"] >= ANSWERED_SHARE * STATEMENTS, (ran, refusals)


class TestBytes(Coordinated):
    collation = "C"


class TestWords(Coordinated):
    collation = "words"
