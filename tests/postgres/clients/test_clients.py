"""Programs that are made for psycopg2 or SQLAlchemy, over one shard and over four."""

from __future__ import annotations

import pytest

import greenshard

ORDERS = [(f"c{number % 7}", number) for number in range(40)]


def test_pandas_writes_and_reads_frames(engine):
    pandas = pytest.importorskip("pandas")
    rows = {"id": range(100), "name": [f"n{n % 9}" for n in range(100)], "amount": [0.5] * 100}
    frame = pandas.DataFrame(rows)
    for number, method in enumerate((None, "multi")):
        shifted = frame.assign(id=frame["id"] + 1000 * number)
        shifted.to_sql("frame", engine, if_exists="append", index=False, method=method)
    read = pandas.read_sql("SELECT * FROM frame WHERE id < 1000 ORDER BY id", engine)
    pandas.testing.assert_frame_equal(read, frame)
    totals = pandas.read_sql("SELECT name, sum(amount) AS s FROM frame GROUP BY 1", engine)
    assert totals["s"].sum() == 100
    parts = pandas.read_sql("SELECT id FROM frame ORDER BY id", engine, chunksize=30)
    assert [len(part) for part in parts] == [30] * 6 + [20]
    assert len(pandas.read_sql_table("frame", engine)) == 200


def test_polars_reads_and_writes_frames(engine, conn):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"id": range(30), "name": ["n"] * 30, "amount": [0.5] * 30})
    frame.write_database("frame", engine, if_table_exists="append")
    read = polars.read_database("SELECT * FROM frame ORDER BY id", conn)
    assert read.equals(frame)


def test_peewee_models(shards, conn):
    peewee = pytest.importorskip("peewee")

    class Database(peewee.PostgresqlDatabase):
        def _connect(self):
            return greenshard.connect(shards)

    database = Database(None)
    database.init("cluster")

    class Nation(peewee.Model):
        name = peewee.TextField(null=True)

        class Meta:
            database, table_name = None, "nation"

    class Order(peewee.Model):
        id = peewee.BigAutoField()
        customer = peewee.TextField()
        amount = peewee.DecimalField(8, 2)

        class Meta:
            database, table_name = None, "orders"

    with database.bind_ctx([Order, Nation]), database.connection_context():
        with database.atomic():
            Nation.create(name="Peru")
            made = [Order.create(customer=c, amount=a) for c, a in ORDERS[:10]]
            Order.insert_many(ORDERS[10:], [Order.customer, Order.amount]).execute()
        assert len({order.id for order in made}) == 10
        assert Order.get_by_id(made[3].id).amount == 3
        total = peewee.fn.SUM(Order.amount).alias("total")
        by_customer = Order.select(Order.customer, total).group_by(Order.customer).order_by(total)
        assert [row.total for row in by_customer][-1] == 4 + 11 + 18 + 25 + 32 + 39
        assert Order.update(amount=Order.amount + 1).where(Order.customer == "c1").execute() == 6
        with database.atomic() as transaction:
            Order.delete().execute()
            transaction.rollback()
        assert Order.select().count() == 40
        assert Order.delete().where(Order.amount < 5).execute() == 5
        with pytest.raises(peewee.IntegrityError), database.atomic():
            Order.insert(id=made[9].id, customer="twice", amount=1).execute()
        assert {"orders", "frame", "nation"} <= set(database.get_tables())
    database.close()


def test_dataset_tables(shards, conn):
    dataset = pytest.importorskip("dataset")
    database = dataset.connect(
        "postgresql+greenshard://", engine_kwargs={"creator": lambda: greenshard.connect(shards)}
    )
    table = database["orders"]
    table.insert_many([{"customer": c, "amount": a} for c, a in ORDERS])
    assert table.count(customer="c3") == 6
    table.update({"id": 3, "amount": 100}, ["id"])
    assert float(table.find_one(id=3)["amount"]) == 100
    database.close()


def test_records_queries(engine, conn):
    records = pytest.importorskip("records")
    with engine.connect() as connection:
        database = records.Connection(connection)
        assert database.query("SELECT 1 AS one").first().one == 1


def test_aiosql_queries(conn):
    aiosql = pytest.importorskip("aiosql")
    queries = aiosql.from_str(
        """
        -- name: add<!
        INSERT INTO orders (customer, amount) VALUES (:customer, :amount) RETURNING id
        -- name: add_all*!
        INSERT INTO orders (customer, amount) VALUES (:customer, :amount)
        -- name: of_customer
        SELECT amount FROM orders WHERE customer = :customer ORDER BY amount
        -- name: total$
        SELECT sum(amount) FROM orders
        """,
        "psycopg2",
        mandatory_parameters=False,
    )
    assert queries.add(conn, customer="a", amount=1)
    queries.add_all(conn, [{"customer": c, "amount": a} for c, a in ORDERS])
    assert len(list(queries.of_customer(conn, customer="c3"))) == 6
    assert queries.total(conn) == 781


def test_opentelemetry_instruments_connections(conn, shards):
    pytest.importorskip("opentelemetry.instrumentation.dbapi")
    from opentelemetry.instrumentation.dbapi import instrument_connection
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    traced = instrument_connection("test", conn, "postgresql", tracer_provider=provider)
    traced.cursor().execute("SELECT count(*) FROM orders")
    assert [span.name for span in spans.get_finished_spans()] == ["SELECT"]
