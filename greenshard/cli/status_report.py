"""How ``greenshard status`` prints what it has seen: for people, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from greenshard.checking.findings import counted, lasting
from greenshard.cli import terminal
from greenshard.cli.table import table_lines
from greenshard.watching import Running, ShardStatus, Status

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_LONGEST_SQL = 100


def json_line(status: Status) -> str:
    """Give all of it as one JSON object."""
    skew = {table: status.skew(table) for table in status.sharded}
    whole = {"down": status.down, "skew": skew, **asdict(status)}
    return json.dumps(whole, ensure_ascii=False)


def text_lines(name: str, status: Status, most: int) -> Iterator[str]:
    """Give it for people.

    Args:
        name: Of the cluster's file.
        status: What was seen.
        most: How many of the longest statements are shown.
    """
    down = f", {len(status.down)} down" if status.down else ""
    yield f"{terminal.cell(name)}: {counted(len(status.shards), 'shard')}{down}"
    yield ""
    yield from _shards(status)
    for shard in status.shards:
        if not shard.is_up:
            yield terminal.cell(f"shard {shard.shard} does not answer: {shard.why}")
    tables = [
        (_sessions(status), "sessions"),
        (_rows(status), "rows, as estimated"),
        (_waits(status), "waiting for locks"),
        (_statements(status, most), "in a transaction, the longest statement first"),
    ]
    for lines, title in tables:
        if lines:
            yield ""
            yield f"{title}:"
            yield from lines


def _shards(status: Status) -> list[str]:
    columns = [
        "shard", "up for", "version", "answers in", "connections", "size", "oldest transaction",
        "in doubt", "prepared by others",
    ]  # fmt: skip
    rows = [_shard(each) for each in status.shards]
    return table_lines(columns, rows, right=[False, True, False, *[True] * 6])


def _shard(shard: ShardStatus) -> list[str]:
    if shard.latency_s is None or shard.up_s is None or shard.size_bytes is None:
        return [shard.shard, "down", *[""] * 7]
    oldest = shard.oldest_transaction_s
    return [
        shard.shard,
        lasting(shard.up_s),
        f"{shard.version}{', a standby' if shard.standby else ''}",
        f"{shard.latency_s * 1e3:.1f} ms",
        f"{shard.connections} of {shard.max_connections}",
        _size(shard.size_bytes),
        "" if oldest is None else lasting(oldest),
        _prepared(shard.in_doubt),
        _prepared(shard.foreign),
    ]


def _prepared(ages_s: tuple[float, ...]) -> str:
    return f"{len(ages_s)}, for {lasting(max(ages_s))}" if ages_s else ""


def _size(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.0f} {_UNITS[-1]}"


def _sessions(status: Status) -> list[str]:
    rows = [
        [shard.shard, application, state or "(hidden)", str(count)]
        for shard in status.shards
        for application, state, count in shard.sessions
    ]
    columns = ["shard", "application", "state", "sessions"]
    return table_lines(columns, rows, right=[False, False, False, True]) if rows else []


def _rows(status: Status) -> list[str]:
    up = [shard for shard in status.shards if shard.rows is not None]
    names = dict.fromkeys(name for shard in up for name in shard.rows or ())
    if not names:
        return []
    rows = []
    for name in names:
        counts = [(shard.rows or {}).get(name) for shard in up]
        skew = status.skew(name)
        shown = ["" if count is None else f"{count:,}" for count in counts]
        rows.append([name, *shown, "" if skew is None else f"{skew:.2f}"])
    columns = ["table", *(shard.shard for shard in up), "skew"]
    return table_lines(columns, rows, right=[False, *[True] * (len(up) + 1)])


def _waits(status: Status) -> list[str]:
    there = {(each.shard, each.pid): each for each in status.running()}
    rows = []
    for shard in status.shards:
        for wait in shard.waits:
            waiting = there.get((wait.shard, wait.pid))
            rows.append(
                [
                    f"{wait.shard}:{wait.pid}",
                    "" if waiting is None else lasting(waiting.statement_s),
                    _blocker(wait.shard, wait.blocker, there.get((wait.shard, wait.blocker))),
                    "" if waiting is None else _sql(waiting),
                ]
            )
    columns = ["who", "for", "waits for", "statement"]
    return table_lines(columns, rows, right=[False, True, False, False]) if rows else []


def _blocker(shard: str, pid: int, found: Running | None) -> str:
    if not pid:
        return "a prepared transaction"
    state = "" if found is None else f", {found.state} for {lasting(found.statement_s)}"
    return f"{shard}:{pid}{state}"


def _statements(status: Status, most: int) -> list[str]:
    running = status.running()
    rows = [
        [
            f"{each.shard}:{each.pid}",
            each.user,
            each.application,
            each.state or "(hidden)",
            lasting(each.statement_s),
            lasting(each.transaction_s),
            _sql(each),
        ]
        for each in running[:most]
    ]
    if not rows:
        return []
    columns = ["who", "role", "application", "state", "for", "transaction", "statement"]
    lines = table_lines(columns, rows, right=[False] * 4 + [True] * 2 + [False])
    left = len(running) - most
    return [*lines, f"and {left:,} more (--most)"] if left > 0 else lines


def _sql(running: Running) -> str:
    sql = running.sql
    return sql if len(sql) <= _LONGEST_SQL else f"{sql[: _LONGEST_SQL - 3]}..."
