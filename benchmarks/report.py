"""Prints what was measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cells import Cell
from rich.console import Console
from rich.table import Table

#: (workload, number of shards or None for any, contestant, other contestant, most that is wanted)
_AIMS = (
    ("SELECT 1", 4, "by hand", 1.25),
    ("SELECT 1", None, "threads", 0.5),
    ("1,000 rows", None, "by hand", 1.05),
    ("100,000 rows", None, "by hand", 1.05),
)
_HEADINGS = (
    "workload", "shards", "contestant", "ms", "p99 ms", "x by hand", "x threads"
)  # fmt: skip
_LINES_SHOWN = 30


def print_cells(cells: Sequence[Cell], environment: Mapping[str, str], form: str) -> None:
    """Print the figures.

    Args:
        form: "table", "rst" or "json".
    """
    if form == "json":
        figures = {"environment": environment, "cells": [cell.as_json() for cell in cells]}
        print(json.dumps(figures, indent=2))
        return
    groups = [list(_rows(cell)) for cell in cells]
    aims = [said for cell in cells for said in _aims(cell)]
    title = "What a fan-out costs"
    print_groups(title, _HEADINGS, groups, [*aims, facts(environment)], form, texts=3)


def facts(environment: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in environment.items())


def aim(what: str, ratio: float, other: str, most: float) -> str:
    """Say whether a ratio is what it is to be."""
    ratio = round(ratio, 2)
    said = "reached" if ratio <= most else "missed"
    return f"{what}: {ratio:.2f} x {other}, aim {most:.2f}: {said}"


def print_groups(
    title: str,
    headings: Sequence[str],
    groups: Sequence[Sequence[Sequence[str]]],
    notes: Sequence[str],
    form: str,
    texts: int,
) -> None:
    """Print a table, and notes under it.

    Args:
        title: What stands above it.
        headings: Those of the columns.
        groups: Rows of cells, with a line between two groups.
        notes: One on a line.
        form: "table" or "rst".
        texts: How many columns, the first ones, are text, and not figures.
    """
    if form == "rst":
        rows = [row for group in groups for row in group]
        print("\n".join(_rst(headings, rows)), "\n".join(f"- {n}" for n in notes), sep="\n\n")
        return
    table = _table(title, headings, texts)
    for group in groups:
        for row in group:
            table.add_row(*row, style="bold" if "greenshard" in row else None)
        table.add_section()
    console = Console(highlight=False)
    console.print(table)
    for note in notes:
        console.print(note, style="yellow" if note.endswith("missed") else None, markup=False)


def _rows(cell: Cell) -> Iterator[list[str]]:
    for name in cell.turns:
        yield [
            cell.workload,
            str(cell.shards),
            name,
            f"{cell.median_s(name) * 1e3:.3f}",
            f"{cell.p99_s(name) * 1e3:.3f}",
            f"{cell.ratio(name, 'by hand'):.2f}",
            f"{cell.ratio(name, 'threads'):.2f}",
        ]


def _aims(cell: Cell) -> Iterator[str]:
    """What greenshard is to reach in this cell, and whether it does."""
    for workload, shards, other, most in _AIMS:
        if workload == cell.workload and shards in (None, cell.shards):
            ratio = cell.ratio("greenshard", other)
            yield aim(f"{workload}, {cell.shards} shards", ratio, other, most)


def _rst(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    for row in (headings, *rows):
        for at, text in enumerate(row):
            yield f"   {' ' if at else '*'} - {text}"


def print_profile(found: Mapping[str, Mapping[str, Any]], as_json: bool) -> None:
    """Print, by what was asked, where processor time goes in greenshard and in code by hand."""
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console = Console()
    for asked, profiles in found.items():
        title = f"{asked}: processor time of one call"
        console.print(_files(title, profiles), _lines(profiles["greenshard"]), sep="\n")


def _files(title: str, profiles: Mapping[str, Mapping[str, Any]]) -> Table:
    shares = {name: _shares(found, lambda line: line[0]) for name, found in profiles.items()}
    table = _table(title, ("file", *(f"{name} us" for name in profiles)), texts=1)
    for file in sorted(set().union(*shares.values()), key=lambda f: -shares["greenshard"][f]):
        figures = [share[file] for share in shares.values()]
        if max(figures) >= 1:
            table.add_row(file, *(f"{figure:.1f}" for figure in figures))
    table.add_row("all", *(f"{found['cpu_us']:.1f}" for found in profiles.values()))
    return table


def _lines(found: Mapping[str, Any]) -> Table:
    table = _table("greenshard, line by line", ("line", "function", "source", "us"), texts=3)
    shares = _shares(found, lambda line: tuple(line[:4]))
    for (file, function, line, source), us in shares.most_common(_LINES_SHOWN):
        table.add_row(f"{file}:{line}", function, source, f"{us:.1f}")
    return table


def _shares(found: Mapping[str, Any], key: Callable[[Sequence[Any]], Any]) -> Counter[Any]:
    """Microseconds of one call, by what `key` makes of a line."""
    counted: Counter[Any] = Counter()
    for line in found["lines"]:
        counted[key(line)] += line[-1]
    one = found["cpu_us"] / (counted.total() or 1)
    return Counter({name: samples * one for name, samples in counted.items()})


def _table(title: str, headings: Sequence[str], texts: int) -> Table:
    """An empty table; the first `texts` columns are text, the others figures."""
    table = Table(title=title, title_justify="left")
    for at, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="left" if at < texts else "right",
            no_wrap=heading not in {"line", "source"},
        )
    return table
