"""How the demo looks: plain lines, one accent colour, 80 columns, no colour off a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from greenshard.cli.cases import Case, Measurement, ShardPart
from greenshard.cli.picture import bar, milliseconds, right_aligned
from greenshard.cli.table import table_lines

ACCENT = "green"
INDENT = "    "
BAR_WIDTH = 20
PREVIEW_ROWS = 8
CELL_WIDTH = 17
BUSY_LOAD = 0.5
KEYWORD = r"(?<!')\b[A-Z]{2,}\b"
RULE_OF_MEASURING = """\
Times are medians on open connections, all rows fetched; the shards' bars are
of the median fan-out run. "One by one" is conn.on(shard) for each shard in
turn: in answers of a millisecond or two it pays the cost of a call once per
shard, which says more about the client than about the shards."""


class Scene:
    """Prints the parts of the demo.

    Args:
        console: where to; its encoding decides between block characters and ASCII.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.ascii_only = console.options.ascii_only

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line as it is: nothing in it is markup, and it is not wrapped."""
        self.console.print(Text(text.rstrip(), style), soft_wrap=True)

    def stage(self, name: str, what: str, seconds: float) -> None:
        """Print that a step of the set-up is done."""
        done = Text(f"  {name:<10}", "bold")
        done.append(f"{what:<54}", "not bold").append(f"{seconds:>9.1f} s", "not bold dim")
        self.console.print(done, soft_wrap=True)

    def split(self, shards: Sequence[str], rows: Sequence[int]) -> None:
        """Print how many rows each shard holds."""
        for shard, count, text in zip(
            shards, rows, right_aligned(f"{n:,}" for n in rows), strict=True
        ):
            self._bars(shard, self._bar(count, max(rows), 40) + f" {text}")

    def case(self, number: int, case: Case, measured: Measurement) -> None:
        """Print a question, its answer, and what each shard did for it."""
        self.line()
        self.console.rule(style="dim", characters="-" if self.ascii_only else "─")
        self.line(f"{number}  {case.title}", f"bold {ACCENT}")
        self.line(f"   {case.remark}", "dim")
        self.line()
        self._sql(case.sql)
        self.line()
        self._rows(measured)
        self.line()
        self._parts(measured.parts)
        self.line()
        self._times(measured)

    def closing(self, shards: int, cores: int, load: float) -> None:
        """Print what the numbers are, and what to make of them here.

        Args:
            shards: how many there are.
            cores: how many the machine has.
            load: its load average before the demo did anything.
        """
        self.line()
        self.line(RULE_OF_MEASURING, "dim")
        if shards > cores:
            self.line(
                f"All {shards} shards share the {cores} cores of this machine: queries that keep a "
                "core\nbusy gain less here than on machines of their own.",
                "dim",
            )
        if load > cores * BUSY_LOAD:
            self.line(
                f"Other work kept this machine busy (load {load:.1f} on {cores} cores):\n"
                "take the times as rough.",
                "bold",
            )

    def connect_help(self, dsns: Mapping[str, str], psql: str) -> None:
        """Print how to reach the servers from another terminal."""
        self.line()
        self.line("The shards stay up until Ctrl-C. In another terminal:", f"bold {ACCENT}")
        self.line()
        self.line("export GREENSHARD_SHARDS='" + "\n".join(dsns.values()) + "'")
        self.line('greenshard query "SELECT count(*) FROM flights"')
        self.line()
        self.line("or with psql, one shard:")
        self.line(f"{psql} {shlex.quote(next(iter(dsns.values())))}")
        self.line()
        self.line("or in Python:")
        self.line("import greenshard")
        self.line("conn = greenshard.connect({")
        for name, dsn in dsns.items():
            self.line(f"    {name!r}: {dsn!r},")
        self.line("})")

    def _sql(self, sql: str) -> None:
        for line in sql.splitlines():
            text = Text(INDENT + line)
            text.highlight_regex(KEYWORD, "bold")
            self.console.print(text, soft_wrap=True)

    def _rows(self, measured: Measurement) -> None:
        shown = preview(measured.parts, PREVIEW_ROWS)
        mark = ".." if self.ascii_only else "…"
        cells = [[name, *(_clipped(v, mark) for v in measured.rows[at])] for name, at in shown]
        right = [False, *map(_is_number, measured.rows[0] if measured.rows else measured.columns)]
        lines = table_lines(
            ["", *measured.columns], cells, right=right, gap="  ", **self._table_rule()
        )
        for number, line in enumerate(lines):
            self.line(INDENT + line, ("bold", "dim", "")[min(number, 2)])
        total = len(measured.rows)
        if len(shown) < total:
            self.line(f"{INDENT}{len(shown)} of {total:,} rows, the first of each shard", "dim")
        else:
            self.line(f"{INDENT}all {total:,} rows, in shard order", "dim")

    def _table_rule(self) -> dict[str, str]:
        return {"rule": "-", "cross": "  "} if self.ascii_only else {"rule": "─", "cross": "──"}

    def _parts(self, parts: Sequence[ShardPart]) -> None:
        counts = right_aligned(_rows_text(part.rows) for part in parts)
        times = right_aligned(milliseconds(part.total_s) for part in parts)
        most, slowest = max(p.rows for p in parts), max(p.total_s for p in parts)
        for part, count, took in zip(parts, counts, times, strict=True):
            rows = f"{self._bar(part.rows, most, BAR_WIDTH)} {count}"
            self._bars(part.shard, f"{rows}   {self._bar(part.total_s, slowest, BAR_WIDTH)} {took}")

    def _times(self, measured: Measurement) -> None:
        seconds = [measured.sequential_s, measured.fanout_s]
        took = right_aligned(map(milliseconds, seconds))
        bars = [f"{self._bar(s, max(seconds), 40)} {t}" for s, t in zip(seconds, took, strict=True)]
        self._bars("one by one", bars[0], width=12)
        self._bars("fan-out", bars[1], width=12)
        low, median, high = quartiles(measured.ratios)
        text = Text(f"{INDENT}{'':<12}").append(f"{median:.1f}x", "bold")
        text.append(
            f" as fast; half of {len(measured.ratios)} runs: {low:.1f}x to {high:.1f}x", "dim"
        )
        self.console.print(text, soft_wrap=True)

    def _bar(self, value: float, largest: float, width: int) -> str:
        return bar(value, largest, width, ascii_only=self.ascii_only)

    def _bars(self, name: str, bars: str, width: int = 5) -> None:
        line = Text(f"{INDENT}{name:<{width}}").append(bars, ACCENT)
        line.highlight_regex(r"[\d,.]+ ?(ms|s|rows)?$", "default")
        self.console.print(line, soft_wrap=True)


def preview(parts: Sequence[ShardPart], limit: int) -> list[tuple[str, int]]:
    """Choose which rows to show: the first ones of each shard, as many from each as fit.

    Args:
        parts: the shards' parts, in shard order.
        limit: how many rows to show.

    Returns:
        Pairs of a shard and the index of a row in the merged answer.

    >>> preview([ShardPart("s0", 5, 0.1), ShardPart("s1", 0, 0.1), ShardPart("s2", 1, 0.1)], 4)
    [('s0', 0), ('s0', 1), ('s0', 2), ('s2', 5)]
    """
    takes = [0] * len(parts)
    while sum(takes) < limit:
        open_parts = [i for i, part in enumerate(parts) if takes[i] < part.rows]
        if not open_parts:
            break
        takes[min(open_parts, key=lambda i: takes[i])] += 1
    shown, start = [], 0
    for part, take in zip(parts, takes, strict=True):
        shown += [(part.shard, start + offset) for offset in range(take)]
        start += part.rows
    return shown


def quartiles(ordered: Sequence[float]) -> tuple[float, float, float]:
    """Take the lower quartile, the median and the upper quartile of numbers in order of size.

    >>> quartiles([1, 2, 3, 4, 5])
    (2, 3, 4)
    """
    quarter = len(ordered) // 4
    return ordered[quarter], ordered[len(ordered) // 2], ordered[-1 - quarter]


def _rows_text(count: int) -> str:
    return f"{count:,} row " if count == 1 else f"{count:,} rows"


def _clipped(value: Any, mark: str) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= CELL_WIDTH else text[: CELL_WIDTH - len(mark)].rstrip() + mark


def _is_number(value: Any) -> bool:
    return not isinstance(value, str)
