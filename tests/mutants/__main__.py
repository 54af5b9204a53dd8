"""Small faults in the code that decides answers and safety, one at a time: ``make mutants``.

A fault that no test notices is a survivor: it gets a test, or, if nobody could notice it, an entry
in equivalent.txt with the reason. The exit code is 1 if there is another survivor, or an entry that
fits no survivor. Verdicts are kept in .mutants/: a killed mutant is not tried again before its file
changes, a survivor not before tests or code do; so a run that was stopped goes on where it was.
"""

# ruff: noqa: T201  # it is a program

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mutants.judging import Judge
from tests.mutants.mutations import Mutant, mutants_of

_STRATEGIES = ("concatenate", "distinct", "merge", "reference", "route")
#: What decides answers and safety without a server.
DECIDING = (
    "greenshard/sql/*.py",
    "greenshard/planner/**/*.py",
    "greenshard/merge/*.py",
    "greenshard/cluster/*.py",
    "greenshard/transaction/*.py",
    *(f"greenshard/pool/{name}.py" for name in ("breaker", "codes", "policy", "shard_state")),
    *(f"greenshard/pool/{name}.py" for name in ("slot", "pool_state", "stats")),
    *(f"greenshard/links/{name}.py" for name in ("rejection", "quoting")),
    *(f"greenshard/executor/{name}.py" for name in ("repeating", "short")),
)
#: Of these, a sample may have no survivor: each has been dealt with. Some were among them, and have
#: changed since: transaction/protocol and state, analysis/chance and restriction, strategies/write,
#: merge/arrays, pool/shard_state, executor/repeating.
COMPLETE = (
    "greenshard/cluster/hashing.py",
    "greenshard/executor/short.py",
    "greenshard/links/quoting.py",
    *(f"greenshard/merge/{name}.py" for name in ("concatenation", "status")),
    "greenshard/planner/pins.py",
    "greenshard/planner/analysis/shape.py",
    *(f"greenshard/planner/strategies/{name}.py" for name in _STRATEGIES),
    *(f"greenshard/pool/{name}.py" for name in ("breaker", "policy", "pool_state")),
    "greenshard/sql/redaction.py",
)
#: Those that are quick, and of this code.
TESTS = ("cluster", "core", "executor", "links", "merge", "planner", "pool", "sql", "transaction")
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
STATE = Path(".mutants")
_AT_ONCE = 40  # of a file in a sample


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    STATE.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # verdicts are written down
    os.environ.setdefault("GREENSHARD_SEED", "0")
    os.environ.pop("PYTEST_ADDOPTS", None)  # what it has for others may be for plugins that are off
    codes: list[int] = []
    tests = options.tests or [f"tests/unit/{name}" for name in TESTS]
    cache = STATE / ("reach-of-some.json" if options.tests else "reach.json")
    quiet = ["-qq", "-s", "--no-header", "--no-summary", "-pno:cacheprovider", "-pno:randomly"]
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = directory
        judge = Judge(lambda judge: codes.append(_run(judge, options)), options.jobs, cache)
        status = int(pytest.main([*quiet, *tests], plugins=[judge]))
    return codes[0] if codes else status


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("files", nargs="*", help="greenshard/planner/pins.py ...; all that decide")
    parser.add_argument("--sample", type=float, metavar="SECONDS", help="a few of complete files")
    parser.add_argument("--tests", nargs="+", help="to judge by; all quick ones of this code")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--again", action="store_true", help="also what has been judged")
    return parser.parse_args(argv)


def _run(judge: Judge, options: argparse.Namespace) -> int:
    listed = equivalents(EQUIVALENT.read_text("utf-8"))
    deciding = COMPLETE if options.sample else DECIDING
    found = {each: sorted(map(str, Path().glob(each))) for each in options.files or deciding}
    paths = sorted({path for each in found.values() for path in each})
    wrong = 0
    for each in (each for each, there in found.items() if not there):
        print(f"\nthere is no such file:\n{each}")
        wrong += 1
    for name in listed:
        if not Path(name.split()[0]).exists():
            print(f"\nis listed, but of no file:\n{name}")
            wrong += 1
    if options.sample:
        return 1 if wrong + _sample(judge, paths, listed, options.sample) else 0
    for path in paths:
        wrong += _judge_file(judge, path, listed, options.again)
    return 1 if wrong else 0


def equivalents(text: str) -> dict[str, str]:
    """The mutants that nobody could notice, by name, and the reasons.

    Raises:
        ValueError: An entry has no reason, or comes twice.
    """
    found: dict[str, str] = {}
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    for entry in filter(None, re.split(r"\n\n+", text.strip())):
        match = re.fullmatch(r"(.+\n- .*\n\+ .*)\n((?:.|\n)+)", entry)
        if match is None or match[1] in found:
            raise ValueError(f"not an entry of its own: a place, - old, + new, a reason:\n{entry}")
        found[match[1]] = match[2]
    return found


def _judge_file(judge: Judge, path: str, listed: dict[str, str], again: bool) -> int:
    """Judge what is not yet; returns how many mutants are wrong."""
    start = time.monotonic()
    file = STATE / f"{path}.json"
    text = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    verdicts = {} if again else _kept(file, text, judge.digest)
    mutants = {each.name: each for each in mutants_of(path)}
    file.parent.mkdir(parents=True, exist_ok=True)
    left = 0
    known = [(mutants[name], killer) for name, killer in verdicts.items() if name in mutants]
    todo = (each for name, each in mutants.items() if name not in verdicts)
    try:
        for mutant, killer in itertools.chain(known, judge.judge(todo)):
            verdicts[mutant.name] = killer
            if not killer and mutant.name not in listed:
                left += _complain(f"survives {len(judge.tests_of(mutant))} tests", mutant)
    finally:
        file.write_text(json.dumps([text, judge.digest, verdicts], indent=1), "utf-8")
    survivors = [name for name in mutants if not verdicts[name]]
    unfit = [name for name in listed if name.split()[0] == path and name not in survivors]
    for name in unfit:
        print(f"\nis listed, but {'noticed' if name in mutants else 'no mutant'}:\n{name}")
    killed = len(mutants) - len(survivors)
    print(
        f"{path}: {len(mutants)} mutants, {killed} killed, {len(survivors) - left} listed,"
        f" {left} left ({time.monotonic() - start:.1f} s)",
        flush=True,
    )
    return left + len(unfit)


def _kept(file: Path, text: str, digest: str) -> dict[str, str]:
    if not file.exists():
        return {}
    old_text, old_digest, verdicts = json.loads(file.read_text("utf-8"))
    if old_text != text:
        return {}
    return {name: killer for name, killer in verdicts.items() if killer or old_digest == digest}


def _sample(judge: Judge, paths: Sequence[str], listed: dict[str, str], seconds: float) -> int:
    """Judge some mutants of some files, long ones more often; returns how many are wrong."""
    chance = random.Random(os.environ["GREENSHARD_SEED"])
    lengths = [Path(path).stat().st_size for path in paths]
    deadline, judged, wrong = time.monotonic() + seconds, 0, 0
    while time.monotonic() < deadline:
        (path,) = chance.choices(paths, lengths)
        mutants = mutants_of(path)
        for mutant, killer in judge.judge(chance.sample(mutants, min(_AT_ONCE, len(mutants)))):
            judged += 1
            if not killer and mutant.name not in listed:
                wrong += _complain("survives", mutant)
    print(f"{judged} mutants, {wrong} of them left")
    return wrong


def _complain(what: str, mutant: Mutant) -> int:
    print(f"\n{what} (line {mutant.lines[0]}):\n{mutant.name}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
