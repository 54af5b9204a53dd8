"""Engines over a cluster: where it is said, how their connections are kept, what statements say."""

from __future__ import annotations

import contextlib
import os

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

import greenshard
from greenshard.ext.sqlalchemy import Sharded
from tests.postgres.sqlalchemy.conftest import Base, Order

COUNT = sa.select(sa.func.count()).select_from(Order)
BARE = "postgresql+greenshard://"


@pytest.fixture
def stored(engine):
    """Twenty orders; how many are on each shard."""
    with Session(engine) as session:
        session.add_all(Order(customer=f"c{n % 3}", amount=n) for n in range(20))
        session.commit()
    found = {}
    for shard in engine.dialect.cluster.names:
        with engine.connect() as connection:
            found[shard] = connection.scalar(COUNT, execution_options={"greenshard_on": shard})
    assert sum(found.values()) == 20
    assert min(found.values()) > 0
    return found


# Where the cluster is -------------------------------------------------------------------------


@pytest.fixture
def file(dsns, tmp_path):
    path = tmp_path / "cluster.toml"
    lines = ["[shards]", *(f'{name} = "{dsn}"' for name, dsn in dsns.items()), "[tables]"]
    lines += ['orders = { shard_key = "id" }', 'items = { shard_key = "order_id" }']
    path.write_text("\n".join([*lines, "nation = { reference = true }"]))
    return path


@pytest.mark.parametrize(
    "made",
    [
        lambda file: sa.create_engine(f"postgresql+greenshard:///?cluster={file}"),
        lambda file: sa.create_engine(f"postgresql+greenshard:///?cluster={file}&timeout=9.5"),
        lambda file: sa.create_engine(BARE, cluster=file, metadata=Base.metadata),
        lambda file: sa.create_engine(BARE, cluster=greenshard.Cluster.from_toml(file)),
    ],
    ids=["URL", "URL with arguments", "path", "Cluster"],
)
def test_cluster_is_said_in_the_url_or_beside_it(stored, file, made):
    engine = made(file)
    with engine.connect() as connection, engine.connect() as other:
        assert connection.scalar(COUNT) == 20
        assert connection.connection.cluster is other.connection.cluster
    engine.dispose()


def test_arguments_in_the_url_have_their_types(file):
    engine = sa.create_engine(
        f"postgresql+greenshard:///?cluster={file}&timeout=9.5&allow_gather=false&gather_limit=7"
    )
    with engine.connect() as connection:
        ours = connection.connection.dbapi_connection
        assert (ours.timeout, ours.allow_gather, ours.gather_limit) == (9.5, False, 7)
    engine.dispose()


def test_url_without_a_cluster_is_one_shard(dsns, engine):
    with contextlib.closing(greenshard.connect(dsns["s0"])) as conn:
        part = conn.get_dsn_parameters()
    url = sa.URL.create("postgresql+greenshard", database=part["dbname"], username=part["user"])
    url = url.update_query_dict({"host": part["host"], "port": part["port"]})
    one = sa.create_engine(url)
    with one.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Order)) == 0
        assert connection.connection.shards == ("s0",)
    one.dispose()


@pytest.mark.parametrize(
    ("url", "arguments", "told"),
    [
        ("postgresql+greenshard:///?cluster=/nowhere.toml", {}, "/nowhere.toml cannot be read"),
        ("postgresql+greenshard://a:secret@h/d?cluster=x.toml", {}, "the URL has dbname, host"),
        ("postgresql+greenshard:///?cluster=x.toml", {"cluster": "y.toml"}, "given twice"),
        (BARE, {"cluster": 7}, "must be a greenshard.Cluster"),
        (BARE, {"cluster": ["dbname=a"]}, "must be a greenshard.Cluster"),
    ],
)
def test_cluster_that_cannot_be_used_is_told_when_the_engine_is_made(url, arguments, told):
    with pytest.raises(greenshard.ProgrammingError, match=told) as caught:
        sa.create_engine(url, **arguments)
    assert "secret" not in str(caught.value)


def test_models_that_a_cluster_does_not_declare_are_told_when_the_engine_is_made(dsns):
    metadata = sa.MetaData()
    sa.Table("unknown", metadata, sa.Column("id", sa.Integer, primary_key=True))
    cluster = greenshard.Cluster(dsns, {"orders": Sharded("id")})
    with pytest.raises(greenshard.ProgrammingError, match="does not declare it"):
        sa.create_engine(BARE, cluster=cluster, metadata=metadata)


# How connections are kept -----------------------------------------------------------------------


@pytest.mark.parametrize("shard", ["s0", "s1"])
def test_pre_ping_asks_every_shard(cluster, stored, ended, shard):
    engine = sa.create_engine(BARE, cluster=cluster, pool_pre_ping=True)
    for _ in range(2):
        with engine.connect() as connection:
            assert connection.scalar(COUNT) == 20
        ended(shard)
    engine.dispose()


@pytest.mark.parametrize("shard", ["s0", "s1"])
def test_lost_shard_is_a_disconnect(engine, stored, ended, shard):
    with engine.connect() as connection:
        connection.scalar(COUNT)
        ended(shard)
        with pytest.raises(DBAPIError) as caught:
            connection.scalar(COUNT)
        assert caught.value.connection_invalidated
        connection.rollback()
        assert connection.scalar(COUNT) == 20


def test_timeout_is_no_disconnect(engine, stored):
    with engine.connect() as connection:
        slow = sa.text("SELECT pg_sleep(9) FROM orders")
        with pytest.raises(DBAPIError) as caught:
            connection.execute(slow, execution_options={"greenshard_timeout": 0.05})
        assert isinstance(caught.value.orig, greenshard.QueryTimeout)
        assert not caught.value.connection_invalidated
        connection.rollback()
        assert connection.scalar(COUNT) == 20


@pytest.mark.parametrize("pre_ping", [False, True])
def test_forked_child_connects_anew_if_its_engine_looks(cluster, stored, pre_ping):
    engine = sa.create_engine(BARE, cluster=cluster, pool_pre_ping=pre_ping)
    with engine.connect() as connection:
        assert connection.scalar(COUNT) == 20
    child = os.fork()
    if not child:
        try:
            with engine.connect() as connection:
                os._exit(connection.scalar(COUNT))
        except DBAPIError as error:
            os._exit(99 if error.connection_invalidated else 98)
        os._exit(97)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (20 if pre_ping else 99)
    with engine.connect() as connection:
        assert connection.scalar(COUNT) == 20
    engine.dispose()


def test_greenshards_pool_is_the_engines(cluster, stored):
    with contextlib.closing(greenshard.Pool(cluster, max_size=2)) as pool:
        engine = sa.create_engine(BARE, cluster=pool, metadata=Base.metadata)
        with Session(engine) as session:
            session.add(Order(customer="pooled", amount=1))
            assert session.scalar(COUNT) == 21
            assert pool.stats().taken == 1
        with engine.connect() as connection:
            assert connection.scalar(COUNT) == 20
        assert (pool.stats().taken, pool.stats().idle) == (0, 1)
        with pytest.raises(greenshard.ProgrammingError, match="the pool is there already"):
            sa.create_engine("postgresql+greenshard:///?timeout=3", cluster=pool)


# What statements say ------------------------------------------------------------------------------


def test_statement_runs_on_the_shards_that_it_names(engine, stored):
    key = 7
    with engine.connect() as connection:
        at = connection.connection.on(key=key, table="orders").target.shards[0]
        for options in (
            {"greenshard_key": key},
            {"greenshard_key": key, "greenshard_table": "orders"},
        ):
            found = connection.execute(COUNT, execution_options=options)
            assert list(found.context.cursor.timings) == [at]
            assert found.scalar() == stored[at]
        assert connection.scalar(COUNT, execution_options={"greenshard_on": ["s1"]}) == stored["s1"]
        assert connection.scalar(COUNT) == 20  # nothing is left of it
        streamed = {"greenshard_on": "s1", "stream_results": True}
        found = connection.execute(sa.select(Order.id), execution_options=streamed)
        assert len(found.all()) == stored["s1"]
    with Session(engine) as session:
        rows = session.scalars(sa.select(Order), execution_options={"greenshard_on": "s0"}).all()
        assert len(rows) == stored["s0"]


def test_limits_are_those_of_one_statement(engine, stored):
    joined = sa.text(
        "SELECT count(DISTINCT a.customer) FROM orders a, orders b WHERE a.id = b.id + 1"
    )
    with engine.connect() as connection:
        for statement, option in ((joined, "allow_gather"), (COUNT, "allow_scatter")):
            with pytest.raises(DBAPIError, match=option):
                connection.execute(statement, execution_options={f"greenshard_{option}": False})
            connection.rollback()
            assert getattr(connection.connection.dbapi_connection, option) is True
        assert connection.scalar(joined) == 3


def test_option_that_there_is_not_is_told(engine, stored):
    with engine.connect() as connection, pytest.raises(DBAPIError, match="is greenshard_key meant"):
        connection.execute(COUNT, execution_options={"greenshard_kye": 7})


def test_snapshot_is_the_transactions(engine, stored):
    with engine.connect().execution_options(greenshard_snapshot=True) as connection:
        assert connection.scalar(COUNT) == 20
        with Session(engine) as session:
            session.add_all(Order(customer="later", amount=n) for n in range(4))
            session.commit()
        assert connection.scalar(COUNT) == 20
        with pytest.raises(DBAPIError, match="only reads"):
            connection.execute(sa.insert(Order).values(customer="no", amount=1))
    with engine.begin() as connection:  # the same connection, of the pool
        assert connection.scalar(COUNT) == 24
        connection.execute(sa.insert(Order).values(customer="yes", amount=1))


def test_events_tell_shards_and_timings(engine, stored):
    told = []

    @event.listens_for(engine, "after_cursor_execute")
    def tell(connection, cursor, *_):
        told.append({shard: timing.rows for shard, timing in cursor.timings.items()})

    with engine.connect() as connection:
        connection.execute(sa.select(Order)).all()
    event.remove(engine, "after_cursor_execute", tell)
    assert told == [stored]


# Tables -------------------------------------------------------------------------------------------


def test_create_all_checks_all_tables_and_creates_none(engine):
    metadata = sa.MetaData()
    sa.Table("nation", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table("unknown", metadata, sa.Column("id", sa.Integer, primary_key=True))
    orders = sa.Table("orders", metadata, sa.Column("n", sa.Integer, primary_key=True))
    with pytest.raises(greenshard.ProgrammingError) as caught:
        metadata.create_all(engine)
    assert "tables.unknown: the cluster does not declare it" in str(caught.value)
    with pytest.raises(greenshard.ProgrammingError) as caught:
        orders.create(engine, checkfirst=False)
    assert "tables.orders: it is sharded by id, which is no column" in str(caught.value)
    assert not sa.inspect(engine).has_table("unknown")
    temporary = sa.Table(
        "scratch", sa.MetaData(), sa.Column("id", sa.Integer), prefixes=["TEMPORARY"]
    )
    with engine.begin() as connection:
        temporary.create(connection)
        connection.execute(temporary.insert(), [{"id": 1}, {"id": 2}])
        assert connection.scalar(sa.select(sa.func.count()).select_from(temporary)) == 2
        temporary.drop(connection)


def test_reflected_models_are_the_models(engine):
    found = sa.MetaData()
    found.reflect(engine)
    assert found.tables.keys() - {"alembic_version"} == Base.metadata.tables.keys()
    for name, table in Base.metadata.tables.items():
        assert found.tables[name].primary_key.columns.keys() == table.primary_key.columns.keys()
        assert len(found.tables[name].foreign_keys) == len(table.foreign_keys)
