from __future__ import annotations

import pytest

from greenshard.cluster import Cluster, Sharded
from greenshard.planner.beside import EventTrigger
from greenshard.planner.catalog import Catalog
from greenshard.planner.ddl_events import fired
from greenshard.sql.parser import parse

CLUSTER = Cluster({"s0": "dbname=a"}, {"t": Sharded("k")})
CATALOG = Catalog(events=(EventTrigger("e", None),))
SILENT = [
    "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f()",
    "ALTER EVENT TRIGGER e DISABLE",
    "ALTER EVENT TRIGGER e RENAME TO f",
    "ALTER EVENT TRIGGER e OWNER TO me",
    "DROP EVENT TRIGGER e",
    "COMMENT ON EVENT TRIGGER e IS 'x'",
    "CREATE DATABASE d",
    "DROP DATABASE d",
    "ALTER DATABASE d CONNECTION LIMIT 5",
    "ALTER DATABASE d SET work_mem = '1MB'",
    "ALTER DATABASE d REFRESH COLLATION VERSION",
    "ALTER DATABASE d RENAME TO e",
    "COMMENT ON DATABASE d IS 'x'",
    "GRANT CONNECT ON DATABASE d TO me",
    "CREATE ROLE r",
    "ALTER ROLE r LOGIN",
    "ALTER ROLE r SET work_mem = '1MB'",
    "DROP ROLE r",
    "GRANT r TO s",
    "COMMENT ON ROLE r IS 'x'",
    "CREATE TABLESPACE s LOCATION '/x'",
    "ALTER TABLESPACE s SET (seq_page_cost = 1)",
    "DROP TABLESPACE s",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "TRUNCATE t",
    "VACUUM t",
    "SET work_mem = '1MB'",
    "LOCK TABLE t",
    "NOTIFY n",
]
FIRING = [
    "CREATE TABLE n (k int)",
    "ALTER TABLE t ADD c int",
    "DROP TABLE t",
    "ALTER TABLE t RENAME TO n",
    "COMMENT ON TABLE t IS 'x'",
    "GRANT SELECT ON t TO me",
    "ALTER TABLE t OWNER TO me",
    "CREATE INDEX ON t (k)",
    "REINDEX TABLE t",
    "REFRESH MATERIALIZED VIEW m",
    "DROP OWNED BY me",
    "CREATE EXTENSION x",
]


def what(statement: str, catalog: Catalog) -> object:
    (found,) = parse(statement)
    return fired(found.stmt, CLUSTER, catalog)


@pytest.mark.parametrize("statement", SILENT)
def test_what_fires_no_event_trigger_goes_on(statement: str) -> None:
    assert what(statement, CATALOG) is None


@pytest.mark.parametrize("statement", FIRING)
def test_ddl_is_refused(statement: str) -> None:
    assert what(statement, CATALOG) is not None
    assert what(statement, Catalog()) is None


TAGGED = Catalog(events=(EventTrigger("e", None, frozenset({"CREATE SEQUENCE", "DROP TABLE"})),))


@pytest.mark.parametrize(
    ("statement", "fires"),
    [
        ("CREATE SEQUENCE s", True),
        ("DROP TABLE t", True),
        ("CREATE TABLE n (k serial)", False),
        ("DROP VIEW v", False),
        ("ALTER TABLE t ADD c int", False),
        ("CREATE INDEX ON t (k)", False),
        ("COMMENT ON TABLE t IS 'x'", False),
        # What is run within it fires, too; or its tag is not looked up.
        ("CREATE EXTENSION x", True),
        ("ALTER TABLE t RENAME TO n", True),
    ],
)
def test_event_triggers_of_other_commands_are_not_fired(statement: str, fires: bool) -> None:
    (parsed,) = parse(statement)
    assert (fired(parsed.stmt, CLUSTER, TAGGED) is not None) is fires
