"""Partitions, deferred constraints, foreign keys, triggers and TRUNCATE do as on one server."""

from __future__ import annotations

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database import compared

SCHEMA = """
CREATE TABLE kind (id int PRIMARY KEY, name text);
CREATE TABLE t (k int PRIMARY KEY, kind int REFERENCES kind, no serial);
CREATE TABLE parted (k int, v int, t text DEFAULT 'p', PRIMARY KEY (k, v)) PARTITION BY RANGE (v);
CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (5);
CREATE TABLE high PARTITION OF parted FOR VALUES FROM (5) TO (9);
CREATE TABLE late (k int, no int, kind int REFERENCES kind DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT one_no UNIQUE (k, no) DEFERRABLE);
CREATE TABLE stamped (k int PRIMARY KEY, note text, touched int DEFAULT 0);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF NEW.note = ''no'' THEN RETURN NULL; END IF;
    NEW.touched := NEW.touched + 1; RETURN NEW; END';
CREATE TRIGGER touches BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION touch();
CREATE SEQUENCE free;
INSERT INTO kind SELECT g, 'k' || g FROM generate_series(1, 6) g;
"""
TABLES = {
    "kind": greenshard.Reference(),
    "t": greenshard.Sharded("k"),
    "parted": greenshard.Sharded("k"),
    "low": greenshard.Sharded("k"),
    "high": greenshard.Sharded("k"),
    "late": greenshard.Sharded("k"),
    "stamped": greenshard.Sharded("k"),
}
CASES = {
    "partitions": [
        "INSERT INTO parted VALUES (1, 1), (2, 6), (3, 3), (4, 8) RETURNING k, v, t",
        "INSERT INTO parted (k, v) VALUES (5, 20)",
        "INSERT INTO low VALUES (6, 2, 'x'), (7, 3, 'y')",
        "INSERT INTO low VALUES (6, 7), (8, 2)",
        "INSERT INTO parted VALUES (1, 1, 'z'), (9, 9)",
        "INSERT INTO parted VALUES (1, 2, 'z'), (9, 9, 'y')",
        "INSERT INTO parted VALUES (1, 1), (9, 8) ON CONFLICT (k, v) DO UPDATE SET t = 'x'",
        "INSERT INTO high (k, v) SELECT k, v + 5 FROM low WHERE v < 4 RETURNING k, v",
        "UPDATE parted SET v = v + 4 WHERE v < 3 RETURNING k, v",
        "UPDATE low SET v = 8 WHERE k = 7",
        "DELETE FROM high WHERE v > 7 RETURNING k",
        "SELECT tableoid::regclass::text, count(*) FROM parted GROUP BY 1 ORDER BY 1",
        "TRUNCATE low",
        "SELECT k, v, t FROM parted ORDER BY k, v",
    ],
    "deferred constraints": [
        "INSERT INTO late VALUES (1, 1, 1), (2, 1, 99), (3, 1, 98)",
        "UPDATE late SET no = no + 1",
        "INSERT INTO late VALUES (1, 2, 1)",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "UPDATE late SET kind = 2 WHERE kind > 90 RETURNING k",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "INSERT INTO late VALUES (4, 1, 97)",
        "SET CONSTRAINTS one_no DEFERRED",
        "INSERT INTO late VALUES (1, 2, 1), (2, 2, 1)",
        "SET CONSTRAINTS one_no IMMEDIATE",
        "DELETE FROM late WHERE k = 1 RETURNING no",
        "SELECT k, no, kind FROM late ORDER BY k, no",
    ],
    "foreign keys to a reference table": [
        "INSERT INTO t (k, kind) VALUES (1, 1), (2, 2), (3, 3), (4, NULL) RETURNING k, no",
        "INSERT INTO t (k, kind) VALUES (5, 1), (6, 77)",
        "DELETE FROM kind WHERE id = 2",
        "DELETE FROM kind WHERE id > 3 RETURNING id",
        "UPDATE kind SET id = 40 WHERE id = 3",
        "UPDATE t SET kind = 5 WHERE k < 3",
        "INSERT INTO kind VALUES (5, 'new'), (6, 'newer')",
        "UPDATE t SET kind = k + 4 WHERE k < 3 RETURNING k, kind",
        "SELECT k, kind, no FROM t ORDER BY k",
        "TRUNCATE kind",
    ],
    "triggers": [
        "INSERT INTO stamped VALUES (1, 'a'), (2, 'no'), (3, 'b'), (4, 'c') RETURNING k, touched",
        "UPDATE stamped SET note = 'd' RETURNING k, touched",
        "UPDATE stamped SET note = CASE k WHEN 3 THEN 'no' ELSE 'e' END RETURNING k, note, touched",
        """INSERT INTO stamped VALUES (1, 'f'), (8, 'g') ON CONFLICT (k) DO UPDATE SET note = 'h'
           RETURNING k, touched""",
        "DELETE FROM stamped WHERE touched > 3 RETURNING k",
    ],
    "sequences that begin anew": [
        "INSERT INTO t (k) VALUES (11), (12), (13) RETURNING no",
        "TRUNCATE t",
        "INSERT INTO t (k) VALUES (14), (15) RETURNING no",
        "TRUNCATE t RESTART IDENTITY",
        "INSERT INTO t (k) VALUES (16), (17), (18) RETURNING no, k",
        "SELECT currval('t_no_seq')",
        "ALTER SEQUENCE t_no_seq RESTART WITH 50",
        "INSERT INTO t (k) VALUES (19) RETURNING no",
        "SELECT setval('free', 7), nextval('free'), lastval()",
    ],
}


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared.compared(greenshard_shards, TABLES, SCHEMA) as found:
        yield found


@pytest.fixture
def both(databases):
    with compared.connected(databases) as found:
        yield found


@pytest.mark.parametrize("case", CASES)
def test_each_does_as_one_server(both, case):
    one, conn = both
    for statement in CASES[case]:
        assert compared.told(conn, statement) == compared.told(one, statement), statement


def test_a_deferred_constraint_fails_the_commit_of_all(both):
    told = []
    for conn in both:
        with conn.cursor() as cur:
            cur.execute("INSERT INTO late VALUES (1, 1, 1), (2, 1, 1), (3, 1, 99), (4, 1, 1)")
            with pytest.raises(psycopg2.errors.ForeignKeyViolation):
                conn.commit()
            conn.rollback()
            conn.autocommit = True
            with pytest.raises(psycopg2.errors.ForeignKeyViolation):
                cur.execute("INSERT INTO late VALUES (5, 1, 1), (6, 1, 1), (7, 1, 99), (8, 1, 1)")
            cur.execute("SELECT count(*) FROM late")
            told.append(cur.fetchone())
            conn.autocommit = False
    assert told == [(0,), (0,)]
