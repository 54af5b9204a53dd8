"""Run psycopg2's own test suite with plain psycopg2 and through greenshard, and compare.

Both sides run green (psycogreen) under ``gevent.monkey.patch_all()``, against one PostgreSQL. On
greenshard's side ``psycopg2.connect`` is ``greenshard.connect`` over one shard, also in the
processes that the tests start. Exits with 1 if a test ends worse with greenshard, or hangs, and
``expected.toml`` has no reason for it, or if it has one for a test that does not.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

# Run as a script, it finds itself and greenshard as pytest does: from the project's directory.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.compat.comparison import Comparison, count, read_expected
from tests.compat.process import Side
from tests.compat.server import running_server
from tests.compat.source import installed_version, suite_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.compat.process import Outcome
    from tests.compat.server import Server

EXPECTED = Path(__file__).resolve().parent / "expected.toml"


def main() -> int:
    """Run the comparison; return the exit status."""
    arguments = parse_arguments()
    log(f"psycopg2's test suite {installed_version()}: fetching")
    suite = suite_directory()
    log("starting PostgreSQL")
    started = time.monotonic()
    with running_server() as server:
        versions = f"psycopg2 {installed_version()}, PostgreSQL {server.version()}"
        log(f"{versions}, Python {platform.python_version()}")
        comparison = compare(arguments, suite, server)
    if arguments.json:
        print(json.dumps(comparison.as_json(), indent=2))
    else:
        print_comparison(comparison, traceback=arguments.only is not None)
    log(f"{time.monotonic() - started:.0f} s")
    return 1 if comparison.unexpected() or comparison.stale() else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        help="only these tests: part of test_file.Class.test_name, or a pattern with * in it; "
        "shows tracebacks",
    )
    parser.add_argument(
        "--baseline", action="store_true", help="only plain psycopg2, without greenshard"
    )
    parser.add_argument(
        "--no-monkey-patch",
        action="store_true",
        help="without gevent.monkey.patch_all(): the suite's threads are the system's",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=float,
        default=20.0,
        help="a test that takes longer hangs (default: 20)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args()


def compare(arguments: argparse.Namespace, suite: Path, server: Server) -> Comparison:
    """Run both sides, file by file."""
    monkey_patch = not arguments.no_monkey_patch
    baseline, ours = (
        Side(name, suite, server, deadline_s=arguments.deadline, monkey_patch=monkey_patch)
        for name in ("psycopg2", "greenshard")
    )
    comparison = Comparison(read_expected(EXPECTED))
    names = baseline.names()
    if unknown := comparison.expected.keys() - set(names):
        raise SystemExit(f"{EXPECTED.name} names tests that the suite has not: {sorted(unknown)}")
    for file, tests in by_file(matching(names, arguments.only)).items():
        there = baseline.run(tests, log)
        comparison.psycopg2.update(there)
        log(f"{file:<24} {baseline.name:<10} {counts_text(there)}")
        if not arguments.baseline:
            here = ours.run(tests, log)
            comparison.greenshard.update(here)
            log(f"{file:<24} {ours.name:<10} {counts_text(here)}")
    return comparison


def matching(names: Iterable[str], pattern: str | None) -> list[str]:
    """Return the names that the pattern selects.

    Raises:
        SystemExit: none is.
    """
    pattern = pattern or "*"
    found = [name for name in names if pattern in name or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise SystemExit(f"no test's name matches {pattern!r}")
    return found


def by_file(names: Iterable[str]) -> dict[str, list[str]]:
    """Group test names by the file they are in."""
    files: dict[str, list[str]] = {}
    for name in names:
        files.setdefault(name.partition(".")[0], []).append(name)
    return files


def print_comparison(comparison: Comparison, *, traceback: bool) -> None:
    """Print both counts, and each difference with its reason."""
    print()
    for name, counts in comparison.counts().items():
        print(f"{name:<11}" + ", ".join(f"{number} {word}" for word, number in counts.items()))
    for test, outcome in comparison.psycopg2.items():
        if outcome.status not in {"passed", "skipped"}:
            print_outcome(f"fails with plain psycopg2: {test}", outcome, traceback=traceback)
    for test in comparison.gains():
        print(f"passes only with greenshard: {test}")
    for difference in comparison.differences():
        reason = f"expected ({difference.reason})" if difference.reason else "UNEXPECTED"
        print_outcome(f"{reason}: {difference.test}", difference.outcome, traceback=traceback)
    for test in comparison.stale():
        print(f"UNEXPECTED: {test} is no difference; remove it from {EXPECTED.name}")
    if comparison.greenshard:
        found, unexpected = len(comparison.differences()), len(comparison.unexpected())
        print(f"{found} differences, {unexpected} of them unexpected")


def print_outcome(title: str, outcome: Outcome, *, traceback: bool) -> None:
    """Print one test's end: why in a line, and the traceback if it is wanted."""
    print(f"{title}: {outcome.status}: {outcome.summary[:200]}")
    if traceback:
        print(outcome.detail)


def counts_text(outcomes: dict[str, Outcome]) -> str:
    """Return the counts that are not zero, as a line."""
    return ", ".join(f"{number} {word}" for word, number in count(outcomes).items() if number)


def log(message: str) -> None:
    """Tell the progress."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
