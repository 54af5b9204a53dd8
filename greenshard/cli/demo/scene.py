"""How the demo looks: plain lines, one accent colour, 80 columns, no colour off a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from greenshard.cli.demo.cases import Case
from greenshard.cli.demo.measuring import Measurement, ShardPart
from greenshard.cli.demo.picture import bar, milliseconds, right_aligned
from greenshard.cli.table import table_lines

ACCENT = "green"
INDENT = "    "
WIDTH = 80
BAR_WIDTH = 20
PREVIEW_ROWS = 6
CELL_WIDTH = 20
BUSY_LOAD = 0.5
KEYWORD = r"(?<!')\b[A-Z]{2,}\b"
RULE_OF_MEASURING = """\
Beside each shard are the rows that it gave (of the answer, or of what the
answer is made of) and its time. Times are medians on open connections, with
all rows fetched; the shards' bars are of the median run. The one server has
the same settings, and PostgreSQL may use its own parallel workers on both."""


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

    def rows(self, rows: Mapping[str, int]) -> None:
        """Print how many rows each server holds."""
        counts = right_aligned(f"{count:,}" for count in rows.values())
        for (name, count), text in zip(rows.items(), counts, strict=True):
            self._bars(name, self._bar(count, max(rows.values()), 40) + f" {text}", width=12)

    def declared(self, declaration: str) -> None:
        """Print what is declared of the tables."""
        self.console.print(Text("  declared", "bold"), soft_wrap=True)
        _, _, tables = declaration.partition("[tables]\n")
        self.line(INDENT + "[tables]")
        for line in tables.partition("[placement]")[0].splitlines():
            self.line(INDENT + line)

    def case(self, number: int, case: Case, measured: Measurement) -> None:
        """Print a question, its answer, and what each shard did for it."""
        self.line()
        self.console.rule(style="dim", characters="-" if self.ascii_only else "─")
        head = Text(f"{number}  {case.title}", f"bold {ACCENT}")
        space = WIDTH - len(head) - len(measured.strategy)
        head.append(" " * space + measured.strategy)
        self.console.print(head, soft_wrap=True)
        for line in case.remark.splitlines():
            self.line(f"   {line}", "dim")
        self.line()
        self._sql(case.sql)
        self.line()
        self._rows(measured)
        self._equal(measured, ordered=case.ordered)
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

    def connect_help(self, cluster: Path, dsns: Mapping[str, str], psql: str) -> None:
        """Print how to reach the servers from another terminal.

        Args:
            cluster: the file that declares the shards.
            dsns: the servers; that with all rows is the last.
            psql: the program.
        """
        first, *_, single = dsns.items()
        self.line()
        self.line("The servers stay up until Ctrl-C. In another terminal:", f"bold {ACCENT}")
        self.line()
        self.line(f"export GREENSHARD_CLUSTER={shlex.quote(str(cluster))}")
        self.line('greenshard query "SELECT origin, avg(dep_delay) FROM flights GROUP BY origin"')
        self.line('greenshard explain "$GREENSHARD_CLUSTER" -v "SELECT count(*) FROM flights"')
        self.line('greenshard check "$GREENSHARD_CLUSTER"')
        for name, dsn in (first, single):
            self.line(f"{psql} {shlex.quote(dsn)}  # {name}")
        self.line()
        self.line("or in Python:")
        self.line("import greenshard")
        self.line(f"conn = greenshard.connect({str(cluster)!r})")

    def _sql(self, sql: str) -> None:
        for line in sql.splitlines():
            text = Text(INDENT + line)
            text.highlight_regex(KEYWORD, "bold")
            self.console.print(text, soft_wrap=True)

    def _rows(self, measured: Measurement) -> None:
        shown = measured.rows[:PREVIEW_ROWS]
        mark = ".." if self.ascii_only else "…"
        cells = [[_clipped(value, mark) for value in row] for row in shown]
        right = [_is_number(value) for value in (shown or [measured.columns])[0]]
        lines = table_lines(measured.columns, cells, right=right, gap="  ", **self._table_rule())
        for number, line in enumerate(lines):
            self.line(INDENT + line, ("bold", "dim", "")[min(number, 2)])
        left = len(measured.rows) - len(shown)
        if left:
            self.line(f"{INDENT}{mark} and {left:,} more", "dim")

    def _equal(self, measured: Measurement, *, ordered: bool) -> None:
        count = _rows_text(len(measured.rows)).rstrip()
        text = Text(f"{INDENT}equal to one PostgreSQL: {count}", f"bold {ACCENT}")
        order = " in this order" if ordered else "; no order is asked for"
        text.append(order, f"not bold {ACCENT}")
        self.console.print(text, soft_wrap=True)

    def _table_rule(self) -> dict[str, str]:
        return {"rule": "-", "cross": "  "} if self.ascii_only else {"rule": "─", "cross": "──"}

    def _parts(self, parts: Sequence[ShardPart]) -> None:
        asked = [(part, part.total_s) for part in parts if part.total_s is not None]
        most, slowest = max(part.rows for part, _ in asked), max(s for _, s in asked)
        counts = right_aligned(_rows_text(part.rows) for part, _ in asked)
        times = right_aligned(milliseconds(seconds) for _, seconds in asked)
        texts = {
            part.shard: f"{self._bar(part.rows, most, BAR_WIDTH)} {count}   "
            f"{self._bar(seconds, slowest, BAR_WIDTH)} {took}"
            for (part, seconds), count, took in zip(asked, counts, times, strict=True)
        }
        for part in parts:
            self._bars(part.shard, texts.get(part.shard, "not asked"))

    def _times(self, measured: Measurement) -> None:
        seconds = [measured.single_s, measured.shards_s]
        took = right_aligned(map(milliseconds, seconds))
        bars = [f"{self._bar(s, max(seconds), 40)} {t}" for s, t in zip(seconds, took, strict=True)]
        self._bars("one server", bars[0], width=12)
        self._bars(f"{len(measured.parts)} shards", bars[1], width=12)
        self.console.print(_comparison(measured.ratios), soft_wrap=True)

    def _bar(self, value: float, largest: float, width: int) -> str:
        return bar(value, largest, width, ascii_only=self.ascii_only)

    def _bars(self, name: str, bars: str, width: int = 5) -> None:
        line = Text(f"{INDENT}{name:<{width}}").append(bars, ACCENT)
        line.highlight_regex(r"[\d,.]+ ?(ms|s|rows)?$|not asked$", "default")
        self.console.print(line, soft_wrap=True)


def _comparison(ratios: Sequence[float]) -> Text:
    """Say how many times as fast or as slow the shards were, with the spread."""
    low, median, high = quartiles(ratios)
    what = "as fast as one server"
    if median < 1:
        low, median, high = 1 / high, 1 / median, 1 / low
        what = "as long as one server"
    text = Text(f"{INDENT}{'':<12}").append(f"{median:.1f}x", "bold")
    return text.append(f" {what}; half of {len(ratios)} runs: {low:.1f}x to {high:.1f}x", "dim")


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
