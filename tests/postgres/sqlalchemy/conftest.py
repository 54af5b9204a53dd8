"""A shop's models over a declared cluster of two shards, and over one server to compare with."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

import greenshard
from greenshard.ext.sqlalchemy import Reference, Sharded, cluster_from

SHARDED, REFERENCE = {"info": {"greenshard": Sharded("id")}}, {"info": {"greenshard": Reference()}}


class Base(DeclarativeBase):
    """Of all models."""


class Nation(Base):
    __tablename__, __table_args__ = "nation", REFERENCE
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    __tablename__, __table_args__ = "orders", SHARDED
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount: Mapped[int]
    nation_id: Mapped[int | None] = mapped_column(sa.ForeignKey("nation.id"))
    nation: Mapped[Nation | None] = relationship()
    items: Mapped[list[Item]] = relationship(
        back_populates="order", cascade="all, delete-orphan", order_by="Item.n"
    )


class Item(Base):
    """Has no word: it goes along its orders."""

    __tablename__ = "items"
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str]
    order: Mapped[Order] = relationship(back_populates="items")


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    """The shards' connection strings by name, of databases without tables."""
    with greenshard_shards.databases() as dsns:
        greenshard.init(greenshard.Cluster(dsns, {"nothing": Reference()}))
        yield dsns


@pytest.fixture(scope="module")
def single(greenshard_shards):
    """An engine of psycopg2's dialect, over one server that has all rows."""
    with greenshard_shards.databases() as dsns:
        dsn = next(iter(dsns.values()))
        engine = sa.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(dsn))
        Base.metadata.create_all(engine)
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def cluster(dsns):
    return cluster_from(Base.metadata, dsns)


@pytest.fixture(scope="module")
def created(cluster):
    """An engine over the cluster, with the tables."""
    engine = sa.create_engine("postgresql+greenshard://", cluster=cluster, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(created, single):
    """The same; the tables are empty, on the single server as well."""
    yield created
    for each in (created, single):
        each.dispose()
        with each.begin() as connection:
            connection.execute(sa.text("TRUNCATE items, orders, nation RESTART IDENTITY"))


@pytest.fixture
def ended(dsns):
    """Ends all sessions on a shard, as a restart does."""

    def end(shard):
        with contextlib.closing(psycopg2.connect(dsns[shard])) as conn:
            conn.autocommit = True
            conn.cursor().execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    return end
