"""A unit of work of SQLAlchemy's ORM: by psycopg2 on one server, and on four.

    make bench-orm
    make bench-orm ARGS="--rounds 5"

On four it is by horizontal_shard, and by greenshard. All are in one process, and take turns.
horizontal_shard places rows as the caller says, asks one shard after the other, leaves sorting to
the caller, and commits on each shard by itself.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import click
import psycopg2
import sqlalchemy as sa
from environment import environment
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import greenshard
from greenshard.ext.sqlalchemy import Sharded, cluster_from
from greenshard.testing import Shards

SHARDS, INSERTED, PAGE = 4, 100, 50


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = {"info": {"greenshard": Sharded("id")}}
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    customer: Mapped[str]
    amount: Mapped[int]


Open = Callable[[], Session]


def plain(dsn: str) -> sa.Engine:
    """psycopg2's engine."""
    return sa.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(dsn))


def by_horizontal_shard(dsns: dict[str, str]) -> Open:
    """Sessions of SQLAlchemy's own extension."""
    engines = {name: plain(dsn) for name, dsn in dsns.items()}
    names = list(dsns)
    for engine in engines.values():
        Base.metadata.create_all(engine)

    def place(key: int) -> str:
        return names[key % len(names)]

    def choose(_mapper: Any, instance: Any, _clause: Any = None) -> str:
        return place(instance.id)

    def identify(_mapper: Any, key: Any, **_: Any) -> list[str]:
        return [place(key[0])]

    def execute(_context: Any) -> list[str]:
        return names

    return lambda: ShardedSession(
        shards=engines,
        shard_chooser=choose,
        identity_chooser=identify,
        execute_chooser=execute,
    )


def by_greenshard(dsns: dict[str, str]) -> Open:
    """Sessions over a cluster."""
    cluster = cluster_from(Base.metadata, dsns)
    greenshard.init(cluster)
    engine = sa.create_engine("postgresql+greenshard://", cluster=cluster)
    Base.metadata.create_all(engine)
    return lambda: Session(engine)


def on_one_server(dsn: str) -> Open:
    """Sessions over the server that has all rows."""
    engine = plain(dsn)
    Base.metadata.create_all(engine)
    return lambda: Session(engine)


def insert(session: Session, first: int) -> object:
    """Insert rows, and commit."""
    rows = range(first, first + INSERTED)
    session.add_all(Order(id=key, customer=f"c{key % 7}", amount=key % 1000) for key in rows)
    session.commit()
    return None


def select_by_key(session: Session, first: int) -> object:
    """One row."""
    order = session.get(Order, 1 + first % INSERTED)
    return order and (order.id, order.amount)


def fan_out(session: Session, _first: int) -> object:
    """The first rows of all shards, in order."""
    query = sa.select(Order).where(Order.customer == "c3").order_by(Order.amount, Order.id)
    found = session.scalars(query.limit(PAGE)).all()
    # What horizontal_shard leaves to its caller.
    return [order.id for order in sorted(found, key=lambda o: (o.amount, o.id))[:PAGE]]


@contextlib.contextmanager
def contestants() -> Iterator[dict[str, Open]]:
    """Their sessions, by name."""
    with (
        Shards(SHARDS) as servers,
        servers.databases() as one,
        servers.databases() as four,
        servers.databases() as others,
    ):
        yield {
            "psycopg2, one server": on_one_server(one["s0"]),
            "horizontal_shard": by_horizontal_shard(four),
            "greenshard": by_greenshard(others),
        }


@click.command()
@click.option("--rounds", default=41, show_default=True, help="how often each does each")
def main(rounds: int) -> None:
    """Measure, compare the answers, and print medians."""
    keys = count(1, INSERTED)
    taken: dict[str, dict[str, list[float]]] = {}
    with contestants() as sessions:
        for _ in range(rounds):
            first = next(keys)
            for step in (insert, select_by_key, fan_out):
                told = []
                for name, open_session in sessions.items():
                    started = time.perf_counter()
                    with open_session() as session:
                        told.append(step(session, first))
                    spent = time.perf_counter() - started
                    taken.setdefault(step.__name__, {}).setdefault(name, []).append(spent)
                assert told.count(told[0]) == len(told), (step.__name__, told)
    table = Table(title="A unit of work of SQLAlchemy's ORM, medians in ms")
    for heading in ("step", *sessions):
        table.add_column(heading)
    for step, spent in taken.items():
        table.add_row(step, *(f"{statistics.median(spent[name]) * 1000:.2f}" for name in sessions))
    console = Console()
    console.print(table)
    console.print(", ".join(f"{k} {v}" for k, v in environment(("sqlalchemy",)).items()))


if __name__ == "__main__":
    main()
