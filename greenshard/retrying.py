"""Runs a unit of work again that a serialization failure or a deadlock has ended.

Both are nobody's mistake: PostgreSQL has rolled the transaction back because others ran beside it,
and says that it may be run again. It must be run again as a whole, with what it has read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import random
from typing import TypeVar

from greenshard import _green, arguments
from greenshard._driver import DriverError

_Result = TypeVar("_Result")

#: serialization_failure and deadlock_detected.
_AGAIN = frozenset({"40001", "40P01"})


def retry(
    fn: Callable[[], _Result],
    *,
    attempts: int = 10,
    pause: float = 0.01,
    longest_pause: float = 1.0,
) -> _Result:
    """Call a function; again, if a serialization failure or a deadlock (40001, 40P01) has ended it.

    ::

        def transfer():
            with pool.connection() as conn:
                ...

        greenshard.retry(transfer)

    Of an error of several shards (`FanoutError`) all must be such ones. Nothing else is repeated,
    least of all where something may be committed: a `PartialCommitError`, a connection that broke
    in COMMIT, a statement in autocommit mode that is done on some shards. A ``gevent.Timeout`` or
    a kill goes through, also in a pause.

    Args:
        fn: One whole transaction, which it begins, and commits or rolls back. What else it does is
            done again, too.
        attempts: How often it may be called, at least 1.
        pause: Seconds, at most, before the second call; twice as long before each further one. Each
            pause is a random part of that, so that those who met do not meet again.
        longest_pause: Seconds that no pause is longer than.

    Returns:
        What it returns.

    Raises:
        BaseException: What it raises, the last time.
        greenshard.ProgrammingError: An argument cannot be used.

    Switches: in the pauses.
    """
    return repeated(fn, may_repeat, attempts, pause, longest_pause)


def repeated(
    fn: Callable[[], _Result],
    may: Callable[[DriverError], bool],
    attempts: int,
    pause: float,
    longest_pause: float,
) -> _Result:
    """Call a function, again as long as `may` says of its error that it may be; see `retry`."""
    for pause_s in _pauses(attempts, pause, longest_pause):
        try:
            return fn()
        except DriverError as error:
            if not may(error):
                raise
        # Outside of the handler: the error of the next attempt has not this one as its context.
        _green.sleep(pause_s)
    return fn()


def may_repeat(error: DriverError) -> bool:
    """Whether a transaction may be run again because of how it has ended, and is not committed."""
    if getattr(error, "committed", ()) or getattr(error, "doubtful", ()):
        return False
    failures = getattr(error, "failures", None) or {"": error}
    return all(getattr(failure, "pgcode", None) in _AGAIN for failure in failures.values())


def _pauses(attempts: int, pause: float, longest_pause: float) -> Iterator[float]:
    """What is paused after each attempt but the last; arguments are checked before the first."""
    count = arguments.number_of("calls", "attempts", attempts)
    if not count:
        raise arguments.unusable("attempts is 0; it must be 1 or more")
    limit_s = arguments.seconds("pause", pause, zero=True) or 0.0
    longest_s = arguments.seconds("longest_pause", longest_pause, zero=True) or 0.0
    for _ in range(count - 1):
        yield random() * min(limit_s, longest_s)  # noqa: S311  # not for secrets
        limit_s = min(2 * limit_s, longest_s)
