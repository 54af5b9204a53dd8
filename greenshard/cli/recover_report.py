"""How ``greenshard recover`` prints what it did: for people, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from greenshard.checking.findings import counted, lasting
from greenshard.cli import terminal
from greenshard.cli.table import table_lines
from greenshard.transaction.verdict import InDoubtPart, RecoveryReport


def json_line(report: RecoveryReport) -> str:
    """Give what a round did as one JSON object."""
    whole = {"ok": report.ok, "oldest_s": report.oldest_s, **asdict(report)}
    return json.dumps(whole, ensure_ascii=False)


def text_lines(name: str, report: RecoveryReport) -> Iterator[str]:
    """Give what a round did for people.

    Args:
        name: Of the cluster's file.
        report: What it did.
    """
    counts = f"{len(report.finished)} finished, {len(report.in_doubt)} left in doubt"
    if report.foreign:
        counts += f", {len(report.foreign)} of roles that may not commit over several shards"
    yield f"{terminal.cell(name)}: {counted(len(report.shards), 'shard')}, {counts}"
    for shard, why in report.unreached.items():
        yield terminal.cell(f"shard {shard} could not be asked: {why}")
    if report.finished or report.in_doubt or report.foreign:
        yield ""
        yield from _table(report)


def _table(report: RecoveryReport) -> list[str]:
    rows = [
        ["committed" if part.committed else "rolled back", part.shard, lasting(part.age_s),
         part.gid, ""]
        for part in report.finished
    ]  # fmt: skip
    rows += [
        [_state(part), part.shard, lasting(part.age_s), part.gid, part.why]
        for part in report.in_doubt
    ]
    rows += [
        ["not ours", part.shard, lasting(part.age_s), part.gid, part.why] for part in report.foreign
    ]
    columns = ["outcome", "shard", "prepared for", "transaction", "why"]
    return table_lines(columns, rows, right=[False, False, True, False, False])


def _state(part: InDoubtPart) -> str:
    if part.committed is None:
        return "needs you" if part.lost else "in doubt"
    return "to be committed" if part.committed else "to be rolled back"
