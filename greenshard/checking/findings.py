"""What a check of a cluster finds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """Something that is not as declared, or not the same on all shards.

    Attributes:
        check: What was looked at: "servers", "tables", "columns", "shard key", "rights",
            "definitions", "types", "functions", "rows", "sequences", "reference", "init",
            "coordinator" or "transactions"; "unchecked" if it could not be.
        message: What was found.
        table: The table, or None.
        shards: The shards it was found on; empty if it is of the cluster as a whole.
    """

    check: str
    message: str
    table: str | None = None
    shards: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableReport:
    """A declared table that some shard has.

    Attributes:
        table: Its name, with its schema unless that is public.
        declared: How it is declared, in words.
        rows: How many rows each shard has; None if they were not read.
    """

    table: str
    declared: str
    rows: Mapping[str, int] | None = None


@dataclass
class Report:
    """All that a check has found.

    Attributes:
        shards: The shards, in shard order.
        servers: Of each shard that could be asked, its server in words.
        tables: The declared tables.
        findings: What is wrong; empty if all is well.
        notes: What is worth knowing, and not wrong.
        unreached: The shards that could not be asked.
    """

    shards: tuple[str, ...]
    servers: dict[str, str] = field(default_factory=dict)
    tables: list[TableReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreached: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass
class Repair:
    """What is to be done, or was done, about a table's rows on one shard.

    Attributes:
        what: "move": rows from `source` to `target`, where they belong; or "copy": the rows of
            `target` are made as those of `source` are.
        table: The table.
        source, target: The shards.
        rows: How many rows are to be moved; of a copy, how many to be written or deleted.
        inserted, updated, deleted: How many rows were: inserted and updated on the target; deleted
            on the source, or on the target of a copy. What was moved and had been on the target
            already is deleted only.
        left: Of rows that are left alone how many for each reason.
    """

    what: str
    table: str
    source: str
    target: str
    rows: int
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    left: dict[str, int] = field(default_factory=dict)

    def leave(self, reason: str, rows: int = 1) -> None:
        """Count rows that are left alone."""
        self.left[reason] = self.left.get(reason, 0) + rows


def differing(values: Mapping[str, str]) -> str | None:
    """Say which shards have which value, or None if all have the same.

    >>> differing({"s0": "UTF8", "s1": "LATIN1", "s2": "UTF8"})
    'UTF8 on s0, s2; LATIN1 on s1'
    """
    shards_of: dict[str, list[str]] = {}
    for shard, value in values.items():
        shards_of.setdefault(value, []).append(shard)
    if len(shards_of) < 2:
        return None
    return "; ".join(f"{value} on {listed(shards)}" for value, shards in shards_of.items())


def compare_by_name(
    check: str,
    kind: str,
    found: Mapping[str, Mapping[str, str]],
    shards: Sequence[str],
    *,
    shown: bool = False,
) -> Iterator[Finding]:
    """What is not on every shard, or differs among them.

    Args:
        check: What is looked at; see `Finding`.
        kind: What it is, in words.
        found: Under each name what each shard has.
        shards: The shards.
        shown: Whether texts that differ are shown; they may be long.
    """
    for name, texts in found.items():
        if missing := tuple(shard for shard in shards if shard not in texts):
            yield Finding(check, f"the {kind} {name} is not there", shards=missing)
        if difference := differing(texts):
            what = f"the {kind} {name} differs"
            if shown:
                yield Finding(check, f"{what}: {difference}")
            else:
                yield Finding(check, what, shards=tuple(texts))


def listed(names: Iterable[str]) -> str:
    """Names after each other, with commas."""
    return ", ".join(names)


def lasting(seconds: float) -> str:
    """How long something lasts, to about two digits.

    >>> lasting(4.26), lasting(700), lasting(86400.0 * 9)
    ('4 s', '12 min', '9 days')
    """
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
