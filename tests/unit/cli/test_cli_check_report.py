from __future__ import annotations

import json

from greenshard.checking import Finding, Report, TableReport
from greenshard.cli.check_report import json_lines, text_lines

SERVER = "PostgreSQL 18.1, UTF8, libc collation C"


def report(*findings: Finding) -> Report:
    return Report(
        ("s0", "s1"),
        {"s0": SERVER, "s1": SERVER},
        [
            TableReport("orders", "sharded by id, hash with 256 slots", {"s0": 600, "s1": 700}),
            TableReport("nation", "reference", {"s0": 25, "s1": 25}),
        ],
        list(findings),
        ["not declared: audit\x1b"],
    )


def test_a_good_report_says_so() -> None:
    assert list(text_lines("cluster.toml", report())) == [
        "cluster.toml: 2 shards, 2 tables",
        "",
        "s0, s1: PostgreSQL 18.1, UTF8, libc collation C",
        "",
        "table  | declared                           |  rows | found",
        "-------+------------------------------------+-------+------------",
        "orders | sharded by id, hash with 256 slots | 1,300 | as declared",
        "nation | reference                          |    25 | as declared",
        "",
        "note: not declared: audit\\x1b",
        "",
        "All is as declared.",
    ]


def test_findings_are_listed_with_their_places() -> None:
    lines = list(
        text_lines(
            "c",
            report(
                Finding("servers", "the encodings differ"),
                Finding("tables", "the table is missing", "orders", ("s0", "s1")),
                Finding("rows", "3 rows\nthat belong on s0", "orders", ("s1",)),
            ),
        )
    )
    assert lines[6].endswith("| 2 findings")
    assert lines[7].endswith("| as declared")
    assert lines[9:13] == [
        "3 findings:",
        "  servers: the encodings differ",
        "  orders, shards s0, s1: the table is missing",
        "  orders, shard s1: 3 rows\\nthat belong on s0",
    ]
    assert "All is as declared." not in lines


def test_rows_that_were_not_read_or_differ_are_not_added_up() -> None:
    given = report()
    given.tables = [
        TableReport("t", "reference"),
        TableReport("n", "reference", {"s0": 25, "s1": 24}),
    ]
    lines = list(text_lines("c", given))
    assert "not read" in lines[6]
    assert "24 or 25" in lines[7]


def test_json_holds_everything() -> None:
    finding = Finding("rows", "3 rows", "orders", ("s1",))
    (text,) = json_lines(report(finding))
    read = json.loads(text)
    assert read["ok"] is False
    assert read["shards"] == ["s0", "s1"]
    assert read["tables"][1] == {
        "table": "nation", "declared": "reference", "rows": {"s0": 25, "s1": 25},
    }  # fmt: skip
    assert read["findings"] == [
        {"check": "rows", "message": "3 rows", "table": "orders", "shards": ["s1"]}
    ]
    assert json.loads(next(json_lines(report())))["ok"] is True
