"""Thousands of random statements on one server and on shards: ``make differential``.

Those of `statements` under each collation, those of `kinds` in each encoding, and the writes of
`dml`. Prints progress, each wrong answer with its plan, the strategies used, and at the end for
each kind how its statements came out and what was refused. The exit code is 1 if an answer was
wrong, or if more statements were refused than `budget` allows.
"""

# ruff: noqa: T201  # it is a program

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

from greenshard.testing import Shards
from tests.conftest import keep_servers_in_memory
from tests.differential import budget, databases, golden, play, report, schema, stage, writes
from tests.differential.databases import Databases
from tests.differential.dml import blocks as dml
from tests.differential.kinds import kinds
from tests.differential.referee import NAMED_SHARE, Case, Referee, referee
from tests.differential.report import Tally

#: A block of writes comes after so many statements.
BLOCK_EVERY = 200
#: After them, one of so many is asked by a role with policies.
READ_SHARE = 5
_READER = "reader/"


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    keep_servers_in_memory()
    print(f"seed {options.seed}, {options.count} statements for each collation")
    tallies: dict[str, Tally] = defaultdict(Tally)
    failed = 0
    with databases.server() as shards:
        for collation in options.collations:
            try:
                made = databases.make(shards, collation, options.seed)
            except databases.NoCollationError as why:
                print(f"collation {collation}: skipped: {why}")
                continue
            failed += _run(made, collation, options, tallies)
        for encoding in stage.ENCODINGS:
            failed += _run_kinds(shards, encoding, options, tallies)
        if options.write_count:
            failed += _run_writes(shards, options, tallies["writes"])
        print("\n".join(["== by kind", *report.table(tallies)]), flush=True)
    return 1 if failed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make differential", description=__doc__)
    parser.add_argument("--seed", default=str(secrets.randbits(32)))
    parser.add_argument("--count", type=int, default=5000, help="statements for each collation")
    parser.add_argument("--first", type=int, default=0, help="the number of the first statement")
    parser.add_argument("--collations", type=_words, default=databases.COLLATIONS)
    parser.add_argument("--kinds", type=_words, default=[*kinds()], help="which, or 'none'")
    parser.add_argument("--kind-count", type=int, default=400, help="statements for each of them")
    parser.add_argument("--write-count", type=int, default=5000, help="statements of `dml`")
    parser.add_argument("--shards", default="1,2,4", help="the numbers of shards")
    parser.add_argument("--stop-after", type=int, default=20, help="wrong answers")
    parser.add_argument("--named", action="store_true", help="all through named cursors")
    parser.add_argument("--features", action="store_true", help="count what statements are made of")
    return parser.parse_args(argv)


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word not in {"", "none"}]


def _run_kinds(
    shards: Shards, encoding: str, options: argparse.Namespace, tallies: dict[str, Tally]
) -> int:
    """Run the statements of all kinds in one encoding; returns how many things are amiss."""
    print(f"== encoding {encoding}, {options.kind_count} statements of each kind")
    made = stage.make(shards, encoding, options.seed)
    amiss = 0
    for name in options.kinds:
        kind, tally = kinds()[name], Tally()
        with stage.opened(made, kind) as (one, conn):
            player = play.Player(made, kind, one, conn)
            for case in player.cases(f"{options.seed}/{encoding}", options.kind_count):
                tally.add(case)
                tallies[name].add(case)
                if case.verdicts[0].outcome == "wrong":
                    amiss += 1
                    print(f"\nWRONG {report.told(case, player.referee)}", flush=True)
        excesses = [*budget.excesses(tally.refusals, tally.total, kind.refused)]
        print("\n".join([f"{name}: {tally.total} statements", *excesses]), flush=True)
        amiss += len(excesses)
    return amiss


def _run_writes(shards: Shards, options: argparse.Namespace, tally: Tally) -> int:
    """Run blocks of writes; returns how many things are amiss."""
    print(f"== writes, {options.write_count} statements")
    with dml.players(shards, options.seed) as players:
        for case in dml.cases(players, options.seed, options.write_count):
            tally.add(case)
            if case.verdicts[0].outcome == "wrong":
                print(f"\nWRONG {dml.told(case)}", flush=True)
            if tally.outcomes["wrong"] >= options.stop_after:
                break
    excesses = [*budget.excesses(tally.refusals, tally.total, dml.REFUSED)]
    print("\n".join([*tally.lines(features=options.features), *excesses]))
    return tally.outcomes["wrong"] + len(excesses)


def _kind(case: Case) -> str:
    """What the table at the end calls a statement of `statements`."""
    if _READER in case.label:
        return "queries of a role with policies"
    return next((name for name in case.statement.features if name.startswith("trap")), "queries")


def _run(
    made: Databases, collation: str, options: argparse.Namespace, tallies: dict[str, Tally]
) -> int:
    """Run the statements under one collation; returns how many things are amiss."""
    print(f"== collation {collation}")
    counts = [int(count) for count in options.shards.split(",")]
    tally, wrong, start = Tally(), 0, time.monotonic()
    with referee(made, options.seed, counts) as judge:
        judge.named_share = 1 if options.named else NAMED_SHARE
        for case in _cases(judge, options):
            tally.add(case)
            tallies[_kind(case)].add(case)
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
    for conn in (judge.one, *judge.clusters.values()):
        with conn.cursor() as cur:
            cur.execute(f"SET role = {schema.READER}")
        conn.commit()
    for number in range(options.count // READ_SHARE):
        yield judge.case(f"{_READER}{number}")
        judge.rollback()


if __name__ == "__main__":
    sys.exit(main())
