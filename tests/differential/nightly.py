"""Thousands of random statements on one server and on shards: ``make differential``.

Prints progress, each wrong answer with its plan, the strategies used and what was refused. The exit
code is 1 if an answer was wrong, or if more statements were refused than `budget` allows.
"""

# ruff: noqa: T201  # it is a program

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence

from tests.differential import budget, databases, golden, report, writes
from tests.differential.databases import Databases
from tests.differential.referee import NAMED_SHARE, Referee, referee
from tests.differential.report import Tally

#: A block of writes comes after so many statements.
BLOCK_EVERY = 200


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    print(f"seed {options.seed}, {options.count} statements for each collation")
    failed = 0
    with databases.server() as shards:
        for collation in options.collations.split(","):
            try:
                made = databases.make(shards, collation, options.seed)
            except databases.NoCollationError as why:
                print(f"collation {collation}: skipped: {why}")
                continue
            failed += _run(made, collation, options)
    return 1 if failed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make differential", description=__doc__)
    parser.add_argument("--seed", default=str(secrets.randbits(32)))
    parser.add_argument("--count", type=int, default=5000, help="statements for each collation")
    parser.add_argument("--first", type=int, default=0, help="the number of the first statement")
    parser.add_argument("--collations", default=",".join(databases.COLLATIONS))
    parser.add_argument("--shards", default="1,2,4", help="the numbers of shards")
    parser.add_argument("--stop-after", type=int, default=20, help="wrong answers")
    parser.add_argument("--named", action="store_true", help="all through named cursors")
    parser.add_argument("--features", action="store_true", help="count what statements are made of")
    return parser.parse_args(argv)


def _run(made: Databases, collation: str, options: argparse.Namespace) -> int:
    """Run the statements under one collation; returns how many things are amiss."""
    print(f"== collation {collation}")
    counts = [int(count) for count in options.shards.split(",")]
    tally, wrong, start = Tally(), 0, time.monotonic()
    with referee(made, options.seed, counts) as judge:
        judge.named_share = 1 if options.named else NAMED_SHARE
        for case in _cases(judge, options):
            tally.add(case)
            if any(verdict.outcome == "wrong" for verdict in case.verdicts):
                wrong += 1
                print(f"\nWRONG {report.told(case, judge)}", flush=True)
            if tally.total % 500 == 0:
                seconds = time.monotonic() - start
                print(f"{tally.total:6} statements, {seconds:5.0f} s, {wrong} wrong", flush=True)
            if wrong >= options.stop_after:
                break
    print("\n".join(tally.lines(features=options.features)))
    amiss = [*budget.excesses(tally.refusals, tally.total)]
    print("\n".join(amiss))
    return wrong + len(amiss)


def _cases(judge: Referee, options: argparse.Namespace):
    """The past findings, random statements, and now and then a transaction that writes."""
    for finding in golden.findings():
        name = "named" if options.named else None
        yield judge.judge(finding.title, finding.statement, name=name)
    for number in range(options.first, options.first + options.count):
        yield judge.case(number)
        if number % 20 == 0:
            judge.rollback()
        if number % BLOCK_EVERY == 0:
            for count in judge.clusters:
                yield from writes.block(judge, count, f"{options.seed}/writes/{number}")


if __name__ == "__main__":
    sys.exit(main())
