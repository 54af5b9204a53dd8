"""The tests whose answers are a server's, on each version of PostgreSQL: ``make test-servers``.

Prints pytest's output for each version, and at the end one line for each. The exit code is 1 if a
test failed. It is 2 if a version's programs could not be had: that version is left out, the others
are run.
"""

# ruff: noqa: T201  # it is a program

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.servers.programs import NoProgramsError, bin_dir

VERSIONS = (14, 15, 16, 17, 18)
CACHE = Path(".venv") / "servers"

#: The tests whose answers are a server's.
FULL = (
    *(f"tests/postgres/{name}" for name in ("core", "one_database", "cluster", "security")),
    "tests/differential",
)
#: Those that look at what differs between versions, and some random statements.
SHORT = (
    *(
        f"tests/postgres/one_database/test_{name}.py"
        for name in ("known_functions", "known_types", "catalog", "naming", "beside", "rights")
    ),
    "tests/postgres/cluster/test_check.py",
    "tests/postgres/core/test_targets.py",
    "tests/differential/test_kinds.py",
    "tests/differential/test_order_of_bytes.py",
)
_FEW_STATEMENTS = {"GREENSHARD_STATEMENTS": "150"}
#: As `make test` does.
_PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "-n", "auto", "--maxprocesses=4"),
    *("--dist=loadfile", "--no-loadscope-reorder", "--max-worker-restart=0"),
)


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    named = [str(each) for each in options.versions] if options.bin is None else [options.bin]
    outcomes = {name: _run(name, options) for name in named}
    print("== PostgreSQL by version")
    for name, (_, told) in outcomes.items():
        print(f"{name}: {told}")
    codes = {code for code, _ in outcomes.values()}
    return 1 if 1 in codes else max(codes)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-servers", description=__doc__)
    parser.add_argument("--versions", type=_numbers, default=VERSIONS, help="as in 14,16")
    parser.add_argument("--bin", help="the directory of another PostgreSQL's programs, instead")
    parser.add_argument("--short", action="store_true", help="what a version decides, in a minute")
    parser.add_argument("paths", nargs="*", help="of tests; pytest's options after --")
    return parser.parse_args(argv)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


def _run(name: str, options: argparse.Namespace) -> tuple[int, str]:
    """Run the tests on a version, or on the programs of a directory; the exit code and a report."""
    print(f"== PostgreSQL {name}", flush=True)
    try:
        directory = options.bin or bin_dir(int(name), CACHE.absolute())
    except NoProgramsError as why:
        return 2, f"left out: {why}"
    environment = os.environ | {"GREENSHARD_PG_BIN": str(directory)}
    if options.short:
        environment |= _FEW_STATEMENTS
    paths = options.paths or (SHORT if options.short else FULL)
    began = time.monotonic()
    done = subprocess.run([*_PYTEST, *paths], env=environment, check=False)
    seconds = f"{time.monotonic() - began:.0f} s"
    return (1, f"FAILED ({seconds})") if done.returncode else (0, f"passed ({seconds})")


if __name__ == "__main__":
    sys.exit(main())
