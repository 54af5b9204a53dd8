"""The roles of docs/security.rst have what it grants, no more: what works, and what does not."""

from __future__ import annotations

import contextlib
import re

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

import greenshard
from greenshard.checking import check
from greenshard.executor.strategies import filling
from tests.meta.pages import ROOT

ROWS = 300
#: Of each strategy, and how a named cursor reads.
READING = {
    "route": "SELECT * FROM shop.orders WHERE id = 7",
    "reference": "SELECT * FROM shop.products ORDER BY code",
    "concatenate": "SELECT id, note FROM shop.orders WHERE amount > 6",
    "merge": "SELECT id, note FROM shop.orders ORDER BY note, id DESC LIMIT 9",
    "combine": "SELECT note, count(*), avg(amount) FROM shop.orders GROUP BY note",
    "gather": "SELECT cardinality(array_agg(DISTINCT coalesce(note))),"
    " sum(amount) FROM shop.orders",
    "gather, a view": "SELECT count(*) FROM shop.dear a JOIN shop.dear b ON a.id = b.amount",
}
WRITING = (
    "INSERT INTO shop.orders VALUES (100000, 1, 'n')",
    "UPDATE shop.orders SET amount = amount + 1 WHERE id = 7",
    "UPDATE shop.orders SET note = 'other' WHERE amount < 3",
    "DELETE FROM shop.orders WHERE amount = 5",
    "INSERT INTO shop.products VALUES ('q', 2)",
)
COUNTING = "SELECT nextval('shop.numbers')"
SCHEMA = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int PRIMARY KEY, amount int, note text);
CREATE TABLE shop.products (code text PRIMARY KEY, price int);
CREATE VIEW shop.dear AS SELECT id, amount FROM shop.orders WHERE amount > 3;
INSERT INTO shop.products VALUES ('p', 1), ('o', 3);
CREATE SEQUENCE shop.numbers;
CREATE TABLE shop.tickets (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text);
INSERT INTO shop.tickets (title) VALUES ('a'), ('b');
"""
#: The roles of the page; and one that may make no temporary tables.
ROLES = ("shop_app", "shop_reader", "untemporary")
TABLES = {
    "shop.orders": greenshard.Sharded("id"),
    "shop.products": greenshard.Reference(),
    "shop.tickets": greenshard.Reference(),
}


def granted():
    """What the page runs on each shard, and the same for a reader without temporary tables."""
    page = (ROOT / "docs" / "security.rst").read_text(encoding="utf-8")
    (block,) = re.findall(r"^\.\. code-block:: sql\n\n((?:   .*\n|\n)+)", page, re.MULTILINE)
    reader = block[block.index("CREATE ROLE shop_reader") :]
    without = reader.replace("shop_reader", "untemporary").replace(", TEMPORARY", "")
    return block + without


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    """Two shards, of whose databases PUBLIC has nothing; roles that have the least."""
    with greenshard_shards.databases() as dsns:
        cluster = greenshard.Cluster(dsns, TABLES)
        for name, dsn in dsns.items():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(SCHEMA)
                rows = [
                    cur.mogrify("(%s, %s, %s)", (key, key % 11, f"note {key % 7}")).decode()
                    for key in range(ROWS)
                    if cluster.placement.shards_for(key, "int4", cluster.names) == name
                ]
                cur.execute("INSERT INTO shop.orders VALUES " + ", ".join(rows))
                database = conn.info.dbname
                cur.execute(granted().replace("DATABASE app", f"DATABASE {database}"))
        greenshard.init(cluster, ["shop_app"])
        yield dsns
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                for role in ROLES:
                    cur.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


@pytest.fixture
def connect(dsns):
    """Connects as a role."""
    with contextlib.ExitStack() as opened:

        def connect(role):
            theirs = {name: make_dsn(dsn, user=role) for name, dsn in dsns.items()}
            conn = greenshard.connect(greenshard.Cluster(theirs, TABLES), timeout=30.0)
            return opened.enter_context(contextlib.closing(conn))

        yield connect


def asked(conn, text, name=None):
    with conn.cursor(name) if name else conn.cursor() as cur:
        cur.execute(text)
        rows = cur.fetchall() if name or cur.description else cur.rowcount
    return sorted(rows) if isinstance(rows, list) and "ORDER BY" not in text else rows


@pytest.mark.parametrize("strategy", READING)
@pytest.mark.parametrize("role", ["shop_reader", "untemporary"])
def test_every_strategy_reads(connect, role, strategy):
    conn, owner = connect(role), connect("postgres")
    text = READING[strategy]
    assert f"strategy: {strategy.partition(',')[0]}" in conn.explain(text)
    expected = asked(owner, text)
    assert asked(conn, text) == expected
    assert asked(conn, text, "streamed") == expected


def test_many_rows_are_gathered_in_a_temporary_table(connect, monkeypatch):
    monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 0)  # all are many
    text = READING["gather"]
    expected = asked(connect("postgres"), text)
    assert asked(connect("shop_reader"), text) == expected
    assert asked(connect("shop_reader"), text, "streamed") == expected
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="create temporary tables"):
        asked(connect("untemporary"), text)


def test_rows_that_are_to_be_joined_go_in_the_text_if_they_may_not_have_a_table(
    connect, monkeypatch
):
    monkeypatch.setattr(filling, "ANALYZED_ROWS", 1)
    text = READING["gather, a view"]
    expected = asked(connect("postgres"), text)
    for role in ("shop_reader", "untemporary"):
        assert asked(connect(role), text) == expected
        assert asked(connect(role), text, "streamed") == expected


@pytest.mark.parametrize("text", WRITING)
def test_writes_need_the_rights_of_the_statement(connect, text):
    conn, owner = connect("shop_app"), connect("postgres")
    assert asked_and_undone(conn, text) == asked_and_undone(owner, text)
    # A write on several shards is refused at once: the reader could not commit it, either.
    denied = (psycopg2.errors.InsufficientPrivilege, greenshard.NotSupportedError)
    with pytest.raises(denied, match=r"permission denied for table|not for the role shop_reader"):
        asked(connect("shop_reader"), text)


def test_sequences_count_for_who_may_use_them(connect):
    assert asked(connect("shop_app"), COUNTING) == [(1,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="sequence numbers"):
        asked(connect("shop_reader"), COUNTING)


def asked_and_undone(conn, text):
    try:
        return asked(conn, text)
    finally:
        conn.rollback()


def test_pool_gives_its_connections_back(dsns):
    theirs = {name: make_dsn(dsn, user="shop_reader") for name, dsn in dsns.items()}
    with greenshard.Pool(greenshard.Cluster(theirs, TABLES), max_size=1) as pool:
        for _ in range(2):
            with pool.connection() as conn:
                assert asked(conn, READING["gather"])
                asked(conn, "SET TimeZone = 'Asia/Tokyo'")
        with pool.connection() as conn:
            assert asked(conn, "SELECT current_setting('TimeZone')") != [("Asia/Tokyo",)]


@pytest.mark.parametrize(
    ("role", "rows"), [("shop_app", True), ("shop_reader", True), ("untemporary", False)]
)
def test_cluster_is_checked(dsns, role, rows):
    theirs = {name: make_dsn(dsn, user=role) for name, dsn in dsns.items()}
    with contextlib.closing(greenshard.connect(theirs)) as conn:
        report = check(conn, greenshard.Cluster(theirs, TABLES), rows=rows)
    assert report.findings == []
    assert [table.table for table in report.tables] == list(TABLES)


def test_missing_rights_to_a_sequence_are_found(dsns):
    sequence = "shop.tickets_id_seq"

    def checked(*changes):
        for change in changes:
            on_each(dsns, change)
        theirs = {name: make_dsn(dsn, user="shop_app") for name, dsn in dsns.items()}
        with contextlib.closing(greenshard.connect(theirs)) as conn:
            return check(conn, greenshard.Cluster(theirs, TABLES)).findings

    try:
        # Who may use it, but not read it, is told what it has given.
        assert checked(f"REVOKE SELECT ON {sequence} FROM shop_app") == []
        not_used, not_read = checked(f"REVOKE USAGE ON {sequence} FROM shop_app")
        assert (not_used.check, not_used.table) == ("rights", "shop.tickets")
        assert f"on s0, which this role may not use: GRANT USAGE ON SEQUENCE {sequence}" in (
            not_used.message
        )
        assert not_read.check == "unchecked"
        first = {"s0": dsns["s0"]}
        on_each(first, f"GRANT USAGE, SELECT ON {sequence} TO shop_app")
        (finding,) = checked()
        assert finding.message == "the grants differ: version 1 on s0; version 2 on s1"
        on_each(first, f"SELECT setval('{sequence}', 1)")
        (behind,) = checked(f"GRANT USAGE, SELECT ON {sequence} TO shop_app")
        assert behind.message.endswith("s0 has 2: on s0, SELECT setval('shop.tickets_id_seq', 2)")
    finally:
        on_each(dsns, f"GRANT USAGE, SELECT ON {sequence} TO shop_app")
        on_each(dsns, f"SELECT setval('{sequence}', 2)")


def on_each(dsns, text):
    for dsn in dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(text)


def test_rows_are_not_checked_without_temporary_tables_and_that_is_told(dsns):
    theirs = {name: make_dsn(dsn, user="untemporary") for name, dsn in dsns.items()}
    with contextlib.closing(greenshard.connect(theirs)) as conn:
        report = check(conn, greenshard.Cluster(theirs, TABLES))
    (finding,) = report.findings
    assert finding.check == "unchecked"
    assert "permission denied to create temporary tables" in finding.message


def test_without_usage_of_the_schema_nothing_is_read(connect, dsns):
    for dsn in dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute("REVOKE USAGE ON SCHEMA shop FROM shop_reader")
    try:
        for text in READING.values():
            with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="schema shop"):
                asked(connect("shop_reader"), text)
    finally:
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute("GRANT USAGE ON SCHEMA shop TO shop_reader")
