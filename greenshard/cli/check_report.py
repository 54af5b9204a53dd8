"""How ``greenshard check`` prints what it found: for people, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from greenshard.checking import Finding, Repairs, Report, TableReport
from greenshard.checking.findings import counted, listed
from greenshard.cli import terminal
from greenshard.cli.table import table_lines


def json_lines(report: Report, repairs: Repairs | None = None) -> Iterator[str]:
    """Give the whole report as one JSON object, and what was repaired before."""
    whole = {"ok": report.ok, **asdict(report)}
    if repairs is not None:
        whole["repairs"] = asdict(repairs)
    yield json.dumps(whole, ensure_ascii=False, indent=2)


def text_lines(name: str, report: Report) -> Iterator[str]:
    """Give the report for people.

    Args:
        name: of the cluster's file.
        report: what was found.
    """
    shards = report.shards
    counts = f"{counted(len(shards), 'shard')}, {counted(len(report.tables), 'table')}"
    yield f"{terminal.cell(name)}: {counts}"
    yield ""
    yield from _server_lines(report)
    if report.tables:
        yield ""
        yield from _table_lines(report)
    if report.findings:
        yield ""
        yield f"{counted(len(report.findings), 'finding')}:"
        yield from (f"  {_finding_line(finding)}" for finding in report.findings)
    for note in report.notes:
        yield ""
        yield terminal.cell(f"note: {note}")
    if report.ok:
        yield ""
        yield "All is as declared."


def _server_lines(report: Report) -> Iterator[str]:
    shards_of: dict[str, list[str]] = {}
    for shard, server in report.servers.items():
        shards_of.setdefault(server, []).append(shard)
    for server, shards in shards_of.items():
        yield terminal.cell(f"{listed(shards)}: {server}")


def _table_lines(report: Report) -> list[str]:
    rows = [
        [table.table, table.declared, _rows(table), _outcome(table, report)]
        for table in report.tables
    ]
    columns = ["table", "declared", "rows", "found"]
    return table_lines(columns, rows, right=[False, False, True, False])


def _rows(table: TableReport) -> str:
    """How many rows the table has; a reference table's are the same on every shard."""
    if table.rows is None:
        return "not read"
    counts = sorted(set(table.rows.values()))
    if table.declared != "reference":
        return f"{sum(table.rows.values()):,}"
    return " or ".join(f"{count:,}" for count in counts)


def _outcome(table: TableReport, report: Report) -> str:
    found = sum(finding.table == table.table for finding in report.findings)
    return counted(found, "finding") if found else "as declared"


def _finding_line(finding: Finding) -> str:
    places = [finding.table] if finding.table else []
    if finding.shards:
        word = "shard" if len(finding.shards) == 1 else "shards"
        places.append(f"{word} {listed(finding.shards)}")
    return terminal.cell(f"{listed(places) or finding.check}: {finding.message}")
