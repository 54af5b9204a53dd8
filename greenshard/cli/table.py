"""Rows of text as an aligned table, in the manner of psql.

Pure. A table is printed whole: no column is cut and no line is wrapped, so that what was asked for
is what is printed, on a terminal as in a file.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from greenshard.cli import terminal


def table_lines(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[bool],
    rule: str = "-",
    cross: str = "-+-",
    gap: str = " | ",
) -> list[str]:
    r"""Lay out a table.

    Args:
        columns: the headings.
        rows: the cells, already text; each row as long as ``columns``.
        right: for each column, whether it is aligned to the right (numbers).
        rule: the character under the headings.
        cross: what joins the rules of two columns.
        gap: what stands between two cells.

    Returns:
        The heading, the rule, then one line a row. Control characters print as escapes: a cell
        cannot break the table or reach the terminal. Wide characters count for two columns.

    >>> rows = [["a", "1"], ["bc", "10"]]
    >>> print(*table_lines(["name", "n"], rows, right=[False, True]), sep="\n")
    name |  n
    -----+---
    a    |  1
    bc   | 10
    """
    head = [terminal.cell(column) for column in columns]
    body = [[terminal.cell(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, cells)) for cells in zip(head, *body, strict=True)]
    lines = [gap.join(map(_pad, row, widths, right)).rstrip() for row in [head, *body]]
    lines.insert(1, cross.join(rule * width for width in widths))
    return lines


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space
