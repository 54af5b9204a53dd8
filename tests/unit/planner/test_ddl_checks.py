from __future__ import annotations

import pytest

from greenshard.cluster import Cluster, Reference, Sharded
from greenshard.cluster.lists_and_ranges import List
from greenshard.planner.beside import Beside, Call, ForeignKey
from greenshard.planner.catalog import Catalog, Column, Relation
from greenshard.planner.code import Function
from greenshard.planner.ddl_checks import split_check
from greenshard.sql.parser import parse

PATH = ("pg_catalog", "public")
CLUSTER = Cluster(
    {"s0": "dbname=a", "s1": "dbname=b"},
    {
        "t": Sharded("k"),
        "u": Sharded("k"),
        "elsewhere": Sharded("k", placement=List({1: "s0", 2: "s1"})),
        "made": Sharded("k"),
        "r": Reference(),
    },
)


def table(name: str, key: tuple[str, ...] = ("k",)) -> Relation:
    columns = tuple(Column(each, "int4", "integer") for each in ("k", "c", "n"))
    return Relation("public", name, "r", columns, key)


CATALOG = Catalog(
    relations={
        ("public", name): table(name) for name in ("t", "u", "elsewhere", "r", "undeclared")
    },
    functions={
        "reads": frozenset({Function("public", "f", "v")}),
        "fixed": frozenset({Function("public", "f", "i")}),
        "now": frozenset({Function("pg_catalog", "f", "s")}),
    },
    tainted={("public", "risky"): "reads"},
    besides={
        ("public", "t"): Beside(
            calls=[Call("check", "small", "reads")],
            keys=[
                ForeignKey(
                    "away", ("public", "u"), ("public", "t"), frozenset("c"), frozenset("k"),
                    references={"c": "k"},
                ),
                ForeignKey(
                    "near", ("public", "u"), ("public", "t"), frozenset("k"), frozenset("k"),
                    references={"k": "k"},
                ),
            ],
        )
    },
)  # fmt: skip

REFUSED = [
    'CREATE UNIQUE INDEX ON t (k COLLATE "C")',
    "CREATE UNIQUE INDEX ON t (c, k int4_ops)",
    "ALTER TABLE t ADD CHECK (reads(c))",
    "ALTER TABLE t ADD CHECK (c < 5), ADD CHECK (reads(c))",
    "ALTER TABLE t ADD CHECK (c::text < now()::text)",
    "ALTER TABLE r ADD CHECK (reads(c))",
    "ALTER TABLE t ADD z risky",
    "ALTER TABLE t ALTER c TYPE risky",
    "ALTER TABLE t ALTER c TYPE text USING reads(c)",
    "ALTER TABLE t VALIDATE CONSTRAINT small",
    "ALTER TABLE u VALIDATE CONSTRAINT away",
    "ALTER TABLE t ADD UNIQUE (c)",
    "ALTER TABLE t ADD PRIMARY KEY (c, n)",
    "ALTER TABLE t ADD z int UNIQUE",
    "ALTER TABLE t ADD EXCLUDE (c WITH =)",
    "ALTER TABLE t ADD EXCLUDE (k WITH <>, c WITH =)",
    "ALTER TABLE u ADD FOREIGN KEY (c) REFERENCES t",
    "ALTER TABLE u ADD FOREIGN KEY (c) REFERENCES t (k) NOT VALID",
    "ALTER TABLE u ADD FOREIGN KEY (c, k) REFERENCES t (k, c)",
    "ALTER TABLE elsewhere ADD FOREIGN KEY (k) REFERENCES t",
    "ALTER TABLE r ADD FOREIGN KEY (k) REFERENCES t",
    "CREATE UNIQUE INDEX ON t (c)",
    "CREATE UNIQUE INDEX ON t (c, (k + 1))",
    "CREATE TABLE made (k int, c int PRIMARY KEY)",
    "CREATE TABLE made (k int, c int, UNIQUE (c))",
    "CREATE TABLE made (k int, c int REFERENCES t)",
    "CREATE TABLE made (k int, c int REFERENCES made (k))",
    "CREATE TABLE IF NOT EXISTS made (k int, c int UNIQUE)",
    "ALTER DOMAIN d ADD CHECK (reads(VALUE))",
    "ALTER DOMAIN risky VALIDATE CONSTRAINT x",
]
GOING = [
    "ALTER TABLE t ADD CHECK (c < 5)",
    "ALTER TABLE t ADD CHECK (fixed(c))",
    "ALTER TABLE t ADD CHECK (reads(c)) NOT VALID",
    "ALTER TABLE undeclared ADD CHECK (reads(c)), ADD UNIQUE (c)",
    "ALTER TABLE t VALIDATE CONSTRAINT other",
    "ALTER TABLE u VALIDATE CONSTRAINT near",
    "ALTER TABLE t ADD UNIQUE (c, k)",
    "ALTER TABLE t ADD CONSTRAINT x UNIQUE USING INDEX i",
    "ALTER TABLE t ADD EXCLUDE (c WITH &&, k WITH =)",
    "ALTER TABLE r ADD UNIQUE (c), ADD FOREIGN KEY (c) REFERENCES r",
    "ALTER TABLE u ADD FOREIGN KEY (k) REFERENCES t",
    "ALTER TABLE u ADD FOREIGN KEY (c, k) REFERENCES t (c, k)",
    "ALTER TABLE u ADD FOREIGN KEY (c) REFERENCES r",
    "CREATE UNIQUE INDEX ON t (k, c)",
    "CREATE INDEX ON t (c)",
    "CREATE UNIQUE INDEX ON r (c)",
    "CREATE TABLE made (k int PRIMARY KEY REFERENCES t, c int REFERENCES r)",
    "CREATE TABLE made (k int, c int CHECK (reads(c)))",
    "CREATE TABLE made (k int, LIKE t INCLUDING ALL)",
    "CREATE TABLE other (k int, c int UNIQUE)",
    "CREATE TABLE IF NOT EXISTS t (k int, c int UNIQUE)",
    "CREATE TEMP TABLE made (k int, c int UNIQUE)",
    "ALTER DOMAIN d ADD CHECK (VALUE < 5)",
    "ALTER DOMAIN d ADD CHECK (reads(VALUE)) NOT VALID",
    "ALTER DOMAIN d VALIDATE CONSTRAINT x",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_what_each_shard_would_check_for_itself_is_refused(statement: str) -> None:
    (parsed,) = parse(statement)
    found = split_check(parsed.stmt, CLUSTER, CATALOG, PATH)
    assert found is not None
    assert found.code in ("GS410", "GS415")
    assert found.hint


@pytest.mark.parametrize("statement", GOING)
def test_what_is_true_of_all_if_it_is_of_each_goes_on(statement: str) -> None:
    (parsed,) = parse(statement)
    assert split_check(parsed.stmt, CLUSTER, CATALOG, PATH) is None


def test_the_key_of_a_model_is_looked_at() -> None:
    cluster = Cluster({"s0": "dbname=a"}, {"made": Sharded("c")})
    for statement, refused in (
        ("CREATE TABLE made (LIKE t INCLUDING INDEXES)", True),
        ("CREATE TABLE made (LIKE t)", False),
        ("CREATE TABLE made (LIKE t INCLUDING DEFAULTS)", False),
    ):
        (parsed,) = parse(statement)
        assert (split_check(parsed.stmt, cluster, CATALOG, PATH) is not None) is refused
