"""Transactions over several shards, with whoever takes part killed at any message: ``make crash``.

First each moment of the commits over two and three shards at which the process that commits can be
killed, and each message that can be lost or whose server can die; then random ones; then a bank
whose tellers are killed. Prints each
case that went wrong; ``--only CASE`` repeats one. The exit code is 1 if there was one.
"""

# ruff: noqa: T201  # it is a program

from __future__ import annotations

import argparse
import random
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from tests.crash.bank import Bank
from tests.crash.runs import Case, Runs
from tests.crash.scene import Scene


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    print(f"seed {options.seed}")
    tried, wrong, start = 0, 0, time.monotonic()
    with closing(Scene(4, two_phase=True)) as scene:
        runs = Runs(scene)
        for case in _cases(runs, options):
            what = runs.run(case)
            tried += 1
            if what:
                wrong += 1
                print(f"\nWRONG {case}\n  {what}", flush=True)
            if tried % 100 == 0:
                print(
                    f"{tried:6} cases, {time.monotonic() - start:5.0f} s, {wrong} wrong", flush=True
                )
            if wrong >= options.stop_after:
                break
        print(
            f"{tried:6} cases, {time.monotonic() - start:5.0f} s, {wrong} wrong; {dict(runs.tally)}"
        )
        if not options.only:
            bank = Bank(scene)
            for what in bank.run(options.kills, random.Random(options.seed)):
                wrong += 1
                print(f"WRONG bank: {what}")
            print(f"bank: {dict(bank.tally)}")
    return 1 if wrong else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--seed", default=str(secrets.randbits(32)))
    parser.add_argument("--count", type=int, default=1000, help="random cases")
    parser.add_argument("--kills", type=int, default=100, help="of the bank's tellers")
    parser.add_argument("--random", action="store_true", help="only those")
    parser.add_argument("--only", metavar="CASE", help="try one case")
    parser.add_argument("--stop-after", type=int, default=20, help="cases that went wrong")
    return parser.parse_args(argv)


def _cases(runs: Runs, options: argparse.Namespace) -> Iterator[Case]:
    if options.only:
        yield Case.read(options.only)
        return
    if not options.random:
        for by in ("method", "text", "autocommit"):
            for writers in (("s0", "s1"), ("s0", "s1", "s2")):
                yield from runs.every_kill(writers, by=by)
                yield from runs.every_strike(writers, by=by)
        yield from runs.every_kill(("s0", "s1"), ("s2", "s3"))
        yield from runs.every_strike(("s0", "s1"), ("s2", "s3"))
    chance = random.Random(options.seed)
    for _ in range(options.count):
        yield runs.random_case(chance)


if __name__ == "__main__":
    sys.exit(main())
