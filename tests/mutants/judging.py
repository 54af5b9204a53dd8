"""Judges mutants with pytest's tests: a fork for each, and in it only the tests that matter.

mutmut's own runner calls mutants through wrappers, which decorated functions and constants cannot
have and a bounded recursion notices, and it starts pytest anew for each. Here, tests are collected
once; a fork puts the mutant into the functions as they are, wherever they have been imported to,
and runs tests that reach its lines until one fails: those that found most in the same function
first, then the quickest.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import os
import re
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tests.mutants.mutations import Mutant

#: What a test costs (seconds), and the lines that it runs, by file.
_Reach = tuple[float, dict[str, list[int]]]

_Cached: Any = type(functools.cache(len))
_MAY_FAIL = 10  # tests
_MEMORY = 6 << 30  # bytes of addresses: a mutant may append for ever


class Judge:
    """A plugin of pytest that judges mutants instead of running the tests.

    Args:
        run: Is called with the judge when the tests are collected.
        jobs: Forks at a time.
        cache: A file that keeps which test reaches what.
    """

    digest = ""
    """Of all code and tests."""

    def __init__(self, run: Callable[[Judge], None], jobs: int, cache: Path) -> None:
        self._run, self._jobs, self._cache = run, jobs, cache
        self._kills: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._functions: defaultdict[str, list[FunctionType]] = defaultdict(list)
        self._cached: list[Any] = []
        self._items: dict[str, pytest.Item] = {}
        self._reach: dict[str, _Reach] = {}
        self._paths: set[str] = set()
        self._reaching: defaultdict[tuple[str, int], set[str]] = defaultdict(set)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Failed("tests cannot be collected")
        # A verdict must not depend on chance, nor on the release of the library that takes chances.
        judging = [item for item in session.items if not _is_random(item)]
        self._items = {item.nodeid: item for item in judging}
        for each in gc.get_objects():
            if type(each) is FunctionType:
                self._functions[each.__code__.co_filename].append(each)
            elif type(each) is _Cached and each.__module__.startswith("greenshard"):
                self._cached.append(each)
        gc.freeze()
        self._measure()
        self.digest = hashlib.sha256(self._cache.read_bytes()).hexdigest()
        self._run(self)
        return True

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Tests that may notice it, the likeliest first."""
        kills = self._kills[mutant.path, mutant.where]
        found: set[str] = set()
        for line in mutant.lines:
            found |= self._reaching[mutant.path, line]
        if mutant.is_constant:
            # Those that run a line with its name; they are a function's, or another constant's.
            named = re.compile(rf"\b{mutant.where}\b")
            for path in self._paths:
                for number, line in enumerate(_text(path).splitlines(), 1):
                    if named.search(line):
                        found |= self._reaching[path, number]
        return sorted(found, key=lambda test: (-kills[test], self._reach[test][0]))

    def judge(self, mutants: Iterable[Mutant]) -> Iterator[tuple[Mutant, str]]:
        """Each mutant, and the test that noticed it, or how else it ended; "" if it survived."""
        running: dict[int, tuple[Mutant, int]] = {}
        try:
            for mutant in mutants:
                if not (tests := self.tests_of(mutant)):
                    yield mutant, ""
                    continue
                while len(running) >= self._jobs:
                    yield self._next(running)
                reading, writing = os.pipe()
                pid = os.fork()
                if not pid:
                    self._try(mutant, tests, writing)
                os.close(writing)
                running[pid] = mutant, reading
            while running:
                yield self._next(running)
        finally:
            for pid in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _next(self, running: dict[int, tuple[Mutant, int]]) -> tuple[Mutant, str]:
        pid, status = os.waitpid(-1, 0)
        mutant, reading = running.pop(pid)
        with open(reading, encoding="utf-8") as said:
            killer = said.read()
        if killer:
            self._kills[mutant.path, mutant.where][killer] += 1
        return mutant, killer or (f"(status {status})" if status else "")

    def _try(self, mutant: Mutant, tests: Sequence[str], writing: int) -> None:
        """The life of a fork."""
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            _silence()
            self._install(mutant)
            os.write(writing, self._first_failing(tests).encode())
        except BaseException as error:
            os.write(writing, f"({type(error).__name__})".encode())
        finally:
            os._exit(0)

    def _first_failing(self, tests: Sequence[str]) -> str:
        for test, following in zip(tests, [*tests[1:], None], strict=True):
            signal.alarm(5 + int(20 * self._reach[test][0]))  # whose default action is to end it
            if _fails(self._items[test], self._items[following] if following else None):
                return test
        return ""

    def _install(self, mutant: Mutant) -> None:
        path = str(Path(mutant.path).resolve())
        module = sys.modules[mutant.path.removesuffix(".py").replace("/", ".")]
        code = compile(mutant.source, path, "exec", dont_inherit=True)
        if mutant.is_constant:
            _put(module, mutant.where, code)
            return
        new = {(each.co_name, each.co_firstlineno): each for each in _codes(code)}
        for function in self._functions[path]:
            old = function.__code__
            if (each := new.get((old.co_name, old.co_firstlineno))) and each != old:
                function.__code__ = each
        for cached in self._cached:
            cached.cache_clear()

    def _measure(self) -> None:
        """Learn which test reaches which line; what is known of unchanged files is kept.

        A test that fails without any mutant, for it has a short time and a busy machine, judges
        none.
        """
        with contextlib.suppress(FileNotFoundError):
            known = json.loads(self._cache.read_text("utf-8"))
            self._reach = {
                test: reach
                for test, (digest, reach) in known.items()
                if test in self._items and digest == _digest(self._items[test].path)
            }
        unknown = [item for test, item in self._items.items() if test not in self._reach]
        parts = [unknown[start :: self._jobs] for start in range(min(self._jobs, len(unknown)))]
        files = [self._cache.with_suffix(f".{at}") for at in range(len(parts))]
        for part, file in zip(parts, files, strict=True):
            if not os.fork():
                _write_reach(part, file)
        for _ in parts:
            os.waitpid(-1, 0)
        for file in files:
            self._reach |= json.loads(file.read_text("utf-8"))
            file.unlink()
        failed = self._items.keys() - self._reach.keys()
        for test in failed:
            print(f"fails without any mutant, and judges none: {test}")  # noqa: T201
        if len(failed) > _MAY_FAIL:
            raise pytest.UsageError("too many tests fail without any mutant")
        digests = {test: _digest(item.path) for test, item in self._items.items()}
        self._cache.write_text(
            json.dumps({test: (digests[test], reach) for test, reach in self._reach.items()}),
            "utf-8",
        )
        for test, (_, lines) in self._reach.items():
            self._paths |= lines.keys()
            for path, numbers in lines.items():
                for number in numbers:
                    self._reaching[path, number].add(test)


def _write_reach(items: Sequence[pytest.Item], file: Path) -> None:
    """Run tests one by one, in a fork."""
    measured = coverage.Coverage(
        data_file=None,
        config_file=False,
        include=["greenshard/*"],
        concurrency=["gevent", "thread"],
    )
    took: dict[str, float] = {}
    measured.start()
    for item, following in zip(items, [*items[1:], None], strict=True):
        measured.switch_context(item.nodeid)
        start = time.process_time()
        if not _fails(item, following):
            took[item.nodeid] = time.process_time() - start
    measured.stop()
    data = measured.get_data()
    reach: dict[str, _Reach] = {test: (seconds, {}) for test, seconds in took.items()}
    for path in data.measured_files():
        name = str(Path(path).relative_to(Path.cwd()))
        for line, tests in data.contexts_by_lineno(path).items():
            for test in reach.keys() & set(tests):
                reach[test][1].setdefault(name, []).append(line)
    file.write_text(json.dumps(reach), "utf-8")
    os._exit(0)


def _is_random(item: pytest.Item) -> bool:
    return getattr(getattr(item, "obj", None), "is_hypothesis_test", False)


def _fails(item: pytest.Item, following: pytest.Item | None) -> bool:
    return any(each.failed for each in runtestprotocol(item, nextitem=following, log=False))


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for file in range(3):
        os.dup2(nowhere, file)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _put(module: ModuleType, name: str, code: CodeType) -> None:
    """Put a constant's new value wherever the old one has been imported to."""
    namespace = {"__name__": module.__name__, "__file__": module.__file__}
    exec(code, namespace)
    old, new = getattr(module, name), _as_known(namespace[name], module)
    for user in list(sys.modules.values()):
        if user.__name__.startswith("greenshard"):
            for each, value in list(vars(user).items()):
                if value is old:
                    setattr(user, each, new)


def _as_known(value: Any, module: ModuleType) -> Any:
    """With the functions and classes that the module already has."""
    if isinstance(value, dict):
        return {_as_known(k, module): _as_known(v, module) for k, v in value.items()}
    if type(value) in (tuple, list, set, frozenset):
        return type(value)(_as_known(each, module) for each in value)
    if getattr(value, "__module__", None) == module.__name__ and "<" not in value.__qualname__:
        return getattr(module, value.__qualname__, value)
    return value


@functools.cache
def _text(path: str) -> str:
    return Path(path).read_text("utf-8")


@functools.cache
def _digest(path: Path) -> str:
    """What a test's outcome depends on: all code, its own file, and what tests share."""
    own = _text(str(path))
    if "golden" in own or "plan_cases" in own:
        own += _all_of("tests/golden", "*.txt")
    return hashlib.sha256((own + _all_of("greenshard", "*.py")).encode()).hexdigest()


@functools.cache
def _all_of(directory: str, pattern: str) -> str:
    return "".join(_text(str(path)) for path in sorted(Path(directory).rglob(pattern)))
