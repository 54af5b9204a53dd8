"""Reads tests/golden/plans/: statements, their parameters and their plans (see ../README.rst)."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from pathlib import Path
from typing import Any, NamedTuple

PLANS = Path(__file__).parents[2] / "golden" / "plans"
_NAMES = {"date": dt.date, "datetime": dt.datetime, "UUID": uuid.UUID}
_UNKNOWN = "unknown"


class PlanCase(NamedTuple):
    """A statement.

    Attributes:
        sql: Its text.
        has_parameters: Whether it comes with parameters.
        given: The parameters; None if there are none, or if they are not known.
        plan: What `explain` says of it.
    """

    sql: str
    has_parameters: bool
    given: Any
    plan: str


def plan_cases() -> dict[str, PlanCase]:
    """All cases, by file and title."""
    return {
        f"{path.name}: {title}": case
        for path in sorted(PLANS.glob("*.txt"))
        for title, case in _cases(path.read_text("utf-8")).items()
    }


def _cases(text: str) -> dict[str, PlanCase]:
    parts = re.split(r"^--- (.*)\n", text, flags=re.MULTILINE)
    titles, bodies = parts[1::2], parts[2::2]
    assert len(set(titles)) == len(titles), "two cases have the same title"
    return dict(zip(titles, map(_case, bodies), strict=True))


def _case(body: str) -> PlanCase:
    head, _, plan = body.partition("\n=>\n")
    first, _, rest = head.partition("\n")
    if not first.startswith("= "):
        return PlanCase(head.strip(), False, None, plan.strip())
    written = first.removeprefix("= ")
    # The files are ours: a value is written as Python shows it.
    given = None if written == _UNKNOWN else eval(written, {"__builtins__": {}}, _NAMES)
    return PlanCase(rest.strip(), True, given, plan.strip())


def write_plans(plans: dict[str, str]) -> None:
    """Put new plans into the files, by file and title."""
    for path in sorted(PLANS.glob("*.txt")):
        parts = re.split(r"^(--- .*\n)", path.read_text("utf-8"), flags=re.MULTILINE)
        for at in range(1, len(parts), 2):
            title = parts[at].removeprefix("--- ").rstrip("\n")
            head = parts[at + 1].partition("\n=>\n")[0].rstrip("\n")
            parts[at + 1] = f"{head}\n=>\n{plans[f'{path.name}: {title}']}\n\n"
        path.write_text("".join(parts).rstrip("\n") + "\n", "utf-8")
