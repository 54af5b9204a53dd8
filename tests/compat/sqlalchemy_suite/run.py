"""Run SQLAlchemy's own dialect suite over greenshard, in four modes, and compare with psycopg2.

one: one shard. reference: two shards that have all rows of all tables. sharded: two shards, each
table split by its primary key where its constraints allow that. two-phase: the same, each
transaction over both committed in two phases. Exits with 1 if a test that passes over psycopg2
does not pass, and ``expected.toml`` has no reason for it, or if it has one for a test that passes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Run as a script, it finds greenshard's tests as pytest does: from the project's directory.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import psycopg2
from psycopg2.extensions import parse_dsn

import greenshard
from greenshard.testing import Shards
from tests.compat.source import fetched

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXPECTED = Path(__file__).resolve().parent / "expected.toml"
REQUIREMENTS = "tests.compat.sqlalchemy_suite.requirements:Requirements"
BASELINE = "psycopg2"
MODES = ("one", "reference", "sharded", "two-phase")
#: What the suite wants to be in its database.
_MADE = (
    "CREATE SCHEMA test_schema", "CREATE SCHEMA test_schema_2",
    "CREATE EXTENSION hstore", "CREATE EXTENSION citext",
)  # fmt: skip
#: Of a test's class: what the suite adds of the database.
_DATABASE = re.compile(r"_postgresql\+\w+(_\d+)*$")


def main() -> int:
    """Run the modes; return the exit status."""
    arguments = parse_arguments()
    started = time.monotonic()
    suite = suite_directory()
    with Shards(2, settings={"max_connections": "200"}) as shards:
        ran = {mode: Run(mode, suite, shards, arguments) for mode in [BASELINE, *arguments.mode]}
        with ThreadPoolExecutor(arguments.jobs) as pool:
            found = dict(zip(ran, pool.map(Run.outcomes, ran.values()), strict=True))
    wrong = 0
    for mode in arguments.mode:
        wrong += report(mode, found[mode], found[BASELINE], read_expected(mode), arguments)
    log(f"{time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--mode", action="append", choices=MODES, help="only this one; may be repeated"
    )
    parser.add_argument("--only", metavar="EXPRESSION", help="as pytest's -k; shows tracebacks")
    parser.add_argument("--jobs", type=int, default=2, help="modes at the same time (default: 2)")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for one test")
    arguments = parser.parse_args()
    arguments.mode = arguments.mode or list(MODES)
    return arguments


def suite_directory() -> Path:
    """Return SQLAlchemy's source, of the version that is installed."""
    return fetched(f"sqlalchemy=={importlib.metadata.version('sqlalchemy')}", extract)


def extract(archive: Path, target: Path) -> None:
    """Extract what is in the archive's one directory to `target`."""
    with tarfile.open(archive) as tar:
        root = tar.getnames()[0].partition("/")[0]
        tar.extractall(target.parent, filter="data")
    (target.parent / root).rename(target)
    # Read after the suite's own setup.cfg.
    (target / "test.cfg").write_text(f"[sqla_testing]\nrequirement_cls = {REQUIREMENTS}\n")


class Run:
    """The suite in one mode, in databases of its own."""

    def __init__(
        self, mode: str, suite: Path, shards: Shards, arguments: argparse.Namespace
    ) -> None:
        self.mode, self._suite, self._shards, self._arguments = mode, suite, shards, arguments

    def outcomes(self) -> dict[str, str]:
        """How each test ended: "", or why it did not pass. Skipped ones are left out."""
        with self._shards.databases() as dsns, tempfile.TemporaryDirectory() as directory:
            for dsn in dsns.values():
                with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                    for statement in _MADE:
                        cur.execute(statement)
            if self.mode in MODES[1:]:
                tables = {"greenshard_suite": greenshard.Reference()}
                greenshard.init(greenshard.Cluster(dsns, tables))
            path = Path(directory) / "outcomes.xml"
            self._pytest(dsns, path)
            found = dict(read_outcomes(path))
        log(f"{self.mode:<10} {sum(not why for why in found.values())} of {len(found)} passed")
        return found

    def _pytest(self, dsns: dict[str, str], path: Path) -> None:
        told = {"mode": self.mode, "shards": dsns}
        only = self._arguments.only
        command = [
            *(sys.executable, "-m", "pytest", "test/dialect/test_suite.py", "-q", "--tb=native"),
            *("--junitxml", str(path), "--maxfail=10000", f"--timeout={self._arguments.deadline}"),
            *("-p", "no:randomly", "-p", "no:greenshard.testing.pytest_plugin"),
            *("-p", "no:cacheprovider", "--dburi", url_of(next(iter(dsns.values())), self.mode)),
        ]
        if self.mode != BASELINE:
            command += ["-p", "tests.compat.sqlalchemy_suite.suite_dialect"]
        if only:
            command += ["-k", only]
        done = subprocess.run(
            command,
            cwd=self._suite,
            env={**os.environ, "GREENSHARD_SUITE": json.dumps(told), "PYTHONPATH": sys.path[0]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if only or not path.exists():
            log(done.stdout)


def url_of(dsn: str, mode: str) -> str:
    """The suite's URL; greenshard's dialect knows from the environment where its shards are."""
    if mode != BASELINE:
        return "postgresql+greenshard://"
    part = parse_dsn(dsn)
    place = f"host={part['host']}&port={part['port']}"
    return f"postgresql+psycopg2://{part['user']}@/{part['dbname']}?{place}"


def read_outcomes(path: Path) -> Iterator[tuple[str, str]]:
    """Each test's name, and why it did not pass."""
    for case in ET.parse(path).iter("testcase"):
        name = (
            f"{_DATABASE.sub('', case.get('classname', '').rpartition('.')[2])}.{case.get('name')}"
        )
        if case.find("skipped") is None:
            wrong = [each for kind in ("failure", "error") for each in case.iter(kind)]
            yield name, last_line(wrong[0].get("message") or "failed") if wrong else ""


def last_line(message: str) -> str:
    """What an error says, without the statement."""
    lines = [line for line in message.splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else message


def read_expected(mode: str) -> dict[str, str]:
    """The tests that do not pass in a mode, each with its reason."""
    with EXPECTED.open("rb") as file:
        reasons: list[dict[str, Any]] = tomllib.load(file)["reason"]
    return {
        test: each["why"] for each in reasons if mode in each["modes"] for test in each["tests"]
    }


def report(
    mode: str,
    here: dict[str, str],
    there: dict[str, str],
    expected: dict[str, str],
    arguments: argparse.Namespace,
) -> int:
    """Print a mode's figures; return how many tests ended otherwise than they should."""
    passing = [test for test, why in there.items() if not why]
    lost = {test: here.get(test, "was not run") for test in passing if here.get(test, "?")}
    print(f"{mode}: {len(passing) - len(lost)} of {len(passing)} that pass over psycopg2")
    for reason, tests in grouped(lost.keys() & expected.keys(), expected).items():
        print(f"  {len(tests)}: {reason}")
    unexpected = sorted(lost.keys() - expected.keys())
    for test in unexpected:
        print(f"  UNEXPECTED: {test}: {lost[test]}")
    stale = [] if arguments.only else sorted(expected.keys() - lost.keys())
    for test in stale:
        print(f"  UNEXPECTED: {test} passes; remove it from {EXPECTED.name}")
    return len(unexpected) + len(stale)


def grouped(tests: Iterable[str], reasons: dict[str, str]) -> dict[str, list[str]]:
    """Tests by their reason."""
    found: dict[str, list[str]] = {}
    for test in tests:
        found.setdefault(reasons[test], []).append(test)
    return found


def log(message: str) -> None:
    """Tell the progress."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
