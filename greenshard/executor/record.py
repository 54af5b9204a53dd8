"""What happens to one statement, noted for the listener."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache

from greenshard._driver import Dsn
from greenshard.errors import QueryTimeout
from greenshard.events import Listener, Server, ShardRun, StatementEnded, tell
from greenshard.executor.answers.answer import Answer
from greenshard.executor.execution import Execution
from greenshard.links.fanout import End, Job
from greenshard.sql.redaction import redact
from greenshard.sql.statement import MAX_CACHED_CHARACTERS

logger = logging.getLogger("greenshard")


def recording(listener: Listener | None, text: object, sets: int | None) -> Record | None:
    """Where to note what happens to a statement that begins now; None if nobody listens.

    Args:
        listener: Who is told; the log may listen, too.
        text: The statement, as the user gave it.
        sets: How many sets of parameters it has, of ``executemany``.
    """
    # As most often; nothing is measured then.
    if listener is None and not logger.isEnabledFor(logging.DEBUG):
        return None
    return Record(listener, text, sets)


class Record:
    """The time at which a statement began, and the calls that were made for it."""

    __slots__ = ("_begun", "_execution", "_jobs", "_listener", "_sets", "_started", "_text")

    def __init__(self, listener: Listener | None, text: object, sets: int | None) -> None:
        self._listener = listener
        self._text = text
        self._sets = sets
        # The wall clock tells when, and may jump; how long it took is measured with the other one.
        self._started = time.time()
        self._begun = time.perf_counter()
        self._jobs: list[Job] = []
        self._execution: Execution | None = None

    def follow(self, execution: Execution) -> None:
        """Let an execution note its calls here."""
        self._execution, execution.noted = execution, self._jobs

    def tell(self, answer: Answer, error: BaseException | None = None) -> None:
        """Tell the listener that the statement has ended. The session must not be held.

        Args:
            answer: What it gave; nothing if there was an error.
            error: Why it gave nothing.

        Switches: if the listener does.
        """
        event = self._event(answer, error)
        if logger.isEnabledFor(logging.DEBUG):
            shards = ", ".join(map(_in_words, event.shards.items())) or "no shard"
            how = event.strategy or "not planned"
            took_ms, became = event.duration_s * 1e3, _outcome(event)
            logger.debug("%s on %s (%s): %.1f ms, %s", event.sql, shards, how, took_ms, became)
        if self._listener is not None:
            tell(self._listener, event)

    def _event(self, answer: Answer, error: BaseException | None) -> StatementEnded:
        duration_s = time.perf_counter() - self._begun
        execution = self._execution
        rows = answer.rowcount if error is None and answer.rowcount >= 0 else None
        counts = {} if rows is None else {s: t.rows for s, t in answer.timings.items()}
        return StatementEnded(
            sql=_shown(self._text),
            strategy=None if execution is None else execution.strategy,
            tables=() if execution is None else execution.tables,
            started=self._started,
            duration_s=duration_s,
            shards=self._runs(counts, answer, error),
            rows=rows,
            error=error,
            parameter_sets=self._sets,
        )

    def _runs(
        self, counts: Mapping[str, int], answer: Answer, error: BaseException | None
    ) -> dict[str, ShardRun]:
        failures = {**answer.failures, **_failures(error)}
        jobs: dict[str, list[Job]] = {}
        for job in self._jobs:
            jobs.setdefault(job.shard, []).append(job)
        runs = {
            name: self._run(calls, counts.get(name), failures.get(name), error)
            for name, calls in jobs.items()
        }
        # A shard that could not even be asked has no calls, and is told of all the same.
        for name, failure in failures.items():
            runs.setdefault(name, ShardRun(0.0, 0.0, None, failure, None))
        return runs

    def _run(
        self,
        jobs: Sequence[Job],
        rows: int | None,
        told: BaseException | None,
        error: BaseException | None,
    ) -> ShardRun:
        """What one shard did.

        Args:
            jobs: The calls to it.
            rows: What it gave.
            told: Why it failed, as the statement's user is told.
            error: Of the statement, if it did not say.
        """
        first, last = jobs[0], jobs[-1]
        # That its greenlet was ended, or its statement, is how it was cancelled, and not why.
        cancelled = isinstance(told, QueryTimeout) or not isinstance(last.error, Exception)
        own = None if cancelled else last.error
        # If the last call went well, the shard did its part, whatever became of the others.
        failure = None if last.end is End.DONE else own or told or error or last.error
        return ShardRun(
            max(0.0, first.started - self._begun),
            sum(job.seconds for job in jobs),
            rows if failure is None else None,
            failure,
            None if first.physical is None else _server(first.physical.dsn),
        )


def _in_words(item: tuple[str, ShardRun]) -> str:
    shard, run = item
    return shard if run.error is None else f"{shard} ({type(run.error).__name__})"


def _outcome(event: StatementEnded) -> str:
    """What has become of it, without what a server's message may quote."""
    if event.error is not None:
        return type(event.error).__name__
    return "done" if event.rows is None else f"{event.rows} rows"


def tell_cancelled(error: BaseException, text: object) -> None:
    """Write to the log that a statement was cancelled: its time was up, or its greenlet ended."""
    cancelled = isinstance(error, QueryTimeout) or not isinstance(error, Exception)
    # Nobody who does not listen pays for the text.
    if cancelled and logger.isEnabledFor(logging.INFO):
        logger.info("cancelled by %s: %s", type(error).__name__, _shown(text))


def _failures(error: BaseException | None) -> Mapping[str, BaseException]:
    """The error of each shard that an error tells of."""
    several: Mapping[str, BaseException] = getattr(error, "failures", {})
    shard: str | None = getattr(error, "shard", None)
    return several or ({shard: error} if shard and error else {})


def _server(dsn: Dsn) -> Server:
    parameters = dsn.public
    address = parameters.get("host") or parameters.get("hostaddr")
    port = parameters.get("port", "5432")
    # host=a,b may be either: which one answered, the DSN does not tell.
    known = address is not None and "," not in address and port.isdecimal()
    return Server(
        address if known else None, int(port) if known else None, parameters.get("dbname")
    )


def _shown(text: object) -> str:
    """What may be shown of a statement, or of what was given as one."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str):
        return ""
    # Long texts are not seen again, and would fill the cache's memory.
    return _redacted(text) if len(text) <= MAX_CACHED_CHARACTERS else redact(text)


_redacted = lru_cache(maxsize=1_000)(redact)
