"""The child process: run tests of psycopg2's suite and write one JSON line for each event.

``worker.py SUITE FD [NAME ...]``: SUITE is the directory that holds psycopg2's package ``tests``,
FD an open pipe. Without names the suite's test names are written and nothing is run. psycopg2 is
patched by ``inject/sitecustomize.py``, which must be on ``PYTHONPATH``.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import resource
import sys
import traceback
import unittest
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

PREFIX = "tests."


class EventResult(unittest.TestResult):
    """A test result that writes what happens, as it happens."""

    def __init__(self, pipe: IO[str]) -> None:
        super().__init__()
        self._pipe = pipe

    def send(self, **event: Any) -> None:
        """Write one event."""
        self._pipe.write(json.dumps(event) + "\n")
        self._pipe.flush()

    def _outcome(self, test: Any, status: str, summary: str = "", detail: str = "") -> None:
        name = name_of(test)
        self.send(event="outcome", test=name, status=status, summary=summary, detail=detail)

    def _failure(self, test: Any, status: str, err: ExcInfo) -> None:
        summary = "".join(traceback.format_exception_only(*err[:2])).partition("\n")[0]
        self._outcome(test, status, summary, "".join(traceback.format_exception(*err)))

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.send(event="start", test=name_of(test))

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._outcome(test, "passed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._outcome(test, "skipped", reason)

    def addFailure(self, test: unittest.TestCase, err: ExcInfo) -> None:
        self._failure(test, "failed", err)

    def addError(self, test: unittest.TestCase, err: ExcInfo) -> None:
        self._failure(test, "error", err)

    def addSubTest(
        self, test: unittest.TestCase, subtest: unittest.TestCase, err: ExcInfo | None
    ) -> None:
        if err is not None:
            self._failure(test, "failed", err)

    def addExpectedFailure(self, test: unittest.TestCase, err: ExcInfo) -> None:
        self._outcome(test, "passed", "expected failure")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._outcome(test, "failed", "unexpected success")


def name_of(test: Any) -> str:
    """Return ``test_file.Class.method``."""
    return str(test.id()).removeprefix(PREFIX)


def flatten(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Yield the single tests of nested suites."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def import_suite(directory: str) -> Any:
    """Import psycopg2's package ``tests`` from `directory`, green through psycogreen."""
    sys.path.insert(0, directory)
    importlib.import_module("psycopg2")
    with copying_where_it_works():
        suite = importlib.import_module("tests")
    # The suite skips what green mode cannot do only if PSYCOPG2_TEST_GREEN is set, and then
    # installs a callback of its own.
    importlib.import_module("psycogreen.gevent").patch_psycopg()
    return suite


@contextlib.contextmanager
def copying_where_it_works() -> Iterator[None]:
    """Within this: importing the suite does not skip COPY on greenshard's side.

    It skips it in green mode, by the same words everywhere. What fails is worse than skipped.
    """
    skip_if = unittest.skipIf

    def skip_others_if(condition: object, reason: str) -> Any:
        return skip_if(condition and not reason.startswith("copy in async mode"), reason)

    if os.environ["GREENSHARD_COMPAT_SIDE"] == "greenshard":
        unittest.skipIf = skip_others_if
    try:
        yield
    finally:
        unittest.skipIf = skip_if


def main(directory: str, fd: str, names: list[str]) -> None:
    """Run the named tests, or name them all."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(int(fd), False)
    with open(int(fd), "w", encoding="utf-8") as pipe:
        result = EventResult(pipe)
        suite = import_suite(directory)
        if names:
            loader = unittest.defaultTestLoader
            loader.loadTestsFromNames([PREFIX + name for name in names]).run(result)
        else:
            result.send(event="names", names=[name_of(t) for t in flatten(suite.test_suite())])
        result.send(event="done")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
