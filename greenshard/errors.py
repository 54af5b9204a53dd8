"""Exceptions: one PEP 249 tree whose classes are also psycopg2's.

``except psycopg2.Error`` in an existing application catches everything raised here. An error that
a shard reports is raised as a class made of two: its PEP 249 class of this module, and its own
psycopg2 class (``psycopg2.errors.UniqueViolation``, say), so that both ``except`` clauses catch it.

Every error raised by greenshard itself carries a stable code (``GS301``), listed in the
documentation. This module takes psycopg2's exception classes as bases and nothing else from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.pool

#: Of a `FanoutError`, unless it is of something particular that was done.
_SEVERAL = "GS201"

#: What each code means, in one line. The documentation has a section for each.
CODES: Mapping[str, str] = {
    "GS101": "shards could not be opened",
    "GS102": "a connection string cannot be read",
    "GS103": "no such shard",
    "GS104": "an argument cannot be used",
    "GS105": "the declaration of a cluster has mistakes",
    "GS106": "the file of a cluster cannot be read",
    "GS107": "a placement function failed",
    "GS108": "two shards are the same database",
    "GS109": "a shard rejects the connection",
    "GS110": "a cluster is not what it seems",
    "GS111": "a repair cannot go on",
    "GS112": "a cluster cannot be initialised",
    "GS113": "a coordinator cannot be made or removed",
    "GS201": "several shards failed, for different reasons",
    "GS202": "the shards' columns differ",
    "GS203": "the connection to a shard is gone",
    "GS301": "no answer in time",
    "GS302": "the connection is busy in another greenlet",
    "GS303": "the connection was opened in another process",
    "GS401": "an INSERT would put the same rows on several shards",
    "GS402": "not possible with cooperative connections",
    "GS403": "only possible over one shard",
    "GS404": "the statement cannot be read",
    "GS405": "a statement needs too many rows in one place",
    "GS406": "a statement would run on several shards, and may not",
    "GS407": "a statement would bring rows to one server, and may not",
    "GS408": "a relation does not exist",
    "GS409": "a table is not declared in the cluster",
    "GS410": "the statement cannot be run over several shards",
    "GS411": "several statements in one string",
    "GS412": "the write cannot be placed",
    "GS413": "a session reads literals otherwise",
    "GS414": "a statement would hold too many bytes",
    "GS415": "a write sets off what one shard cannot do",
    "GS416": "DDL touches a shard key",
    "GS501": "a failed transaction cannot be committed",
    "GS502": "a transaction was committed on some shards only",
    "GS503": "a write over several shards cannot be made atomic",
    "GS504": "a transaction is in doubt",
    "GS505": "the transaction holds what cannot be prepared",
    "GS506": "no snapshot over all shards",
    "GS507": "a write in a snapshot",
    "GS508": "a deadlock over shards",
    "GS601": "no connection of the pool became free in time",
    "GS602": "too many wait for a connection of the pool",
    "GS603": "the pool is closed",
    "GS604": "a shard is down",
}


class Warning(psycopg2.Warning):
    """Important warnings (PEP 249)."""


class PartialResultWarning(UserWarning):
    """An answer lacks the rows of some shards (``on_error="partial"``)."""


class Error(psycopg2.Error):
    """Base class of all errors.

    Args:
        message: What happened.
        code: A key of `CODES`; None for an error that a shard or the driver reported.
        shard: The shard it happened on, if it was one.
        hint: What to do next.

    Attributes:
        code: The stable code, or None.
        shard: The shard's name; None if it was none, or several.
        shards: The names of the shards that it happened on.
        hint: What to do next, or None.
        failures: The error of each shard by its name; empty unless several were involved.
        committed: Names of the shards where a write is committed although it failed elsewhere:
            by a commit, or in autocommit mode.
        doubtful: Names of the shards where it may be committed: their answer was lost.
        refusals: Why each strategy could not plan the statement (`greenshard.planner.plan`).
        statement: Of several statements in one string, the number of the one that failed, from 1;
            None if there was one, or it is not known.
    """

    code: str | None = None
    shard: str | None = None
    hint: str | None = None
    failures: Mapping[str, BaseException] = {}
    committed: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    refusals: tuple[Any, ...] = ()
    statement: int | None = None
    _once = False  # whether all of `failures` say the same, and so does this

    def __init__(
        self,
        message: str = "",
        *args: object,
        code: str | None = None,
        shard: str | None = None,
        hint: str | None = None,
    ) -> None:
        text = message
        if code is not None:
            text = f"{message} [{code}]"
        if hint is not None:
            text = f"{text}\nHINT:  {hint}"
        super().__init__(text, *args)
        self.code, self.shard, self.hint = code, shard, hint

    @property
    def shards(self) -> tuple[str, ...]:
        """The names of the shards that it happened on."""
        return tuple(self.failures) or (() if self.shard is None else (self.shard,))

    @property
    def diag(self) -> Any:  # type: ignore[override]  # psycopg2's is an attribute
        """The server's report in fields (psycopg2's ``Diagnostics``)."""
        cause = self.__cause__
        found: Any = cause.diag if isinstance(cause, psycopg2.Error) else super().diag
        if "_context" in self.__dict__:
            found = _InContext(found, self.__dict__["_context"])
        return _Unplaced(found) if self.__dict__.get("_unplaced") else found

    @property
    def cursor(self) -> Any:  # type: ignore[override]  # likewise
        """The cursor that raised the error, or None."""
        return self.__dict__.get("_cursor")

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_cursor"}
        return _rebuild, (_recipe(type(self)), self.args, self.pgcode, self.pgerror, state)


class _Unplaced:
    """A server's report, without the place in a text that is not the user's."""

    statement_position = None

    def __init__(self, diag: Any) -> None:
        self._diag = diag

    def __getattr__(self, name: str) -> Any:
        return getattr(self._diag, name)


class _InContext:
    """A server's report, with another context: that of the user's statement."""

    def __init__(self, diag: Any, context: str) -> None:
        self._diag = diag
        self.context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._diag, name)


class InterfaceError(Error, psycopg2.InterfaceError):
    """The interface was misused: a closed connection, a connection of another process."""


class DatabaseError(Error, psycopg2.DatabaseError):
    """The database reported an error."""


class DataError(DatabaseError, psycopg2.DataError):
    """A value cannot be processed."""


class OperationalError(DatabaseError, psycopg2.OperationalError):
    """Something outside the program's control: a lost connection, a full server."""


class IntegrityError(DatabaseError, psycopg2.IntegrityError):
    """A constraint was violated."""


class InternalError(DatabaseError, psycopg2.InternalError):
    """The database is in a state that it should not be in."""


class ProgrammingError(DatabaseError, psycopg2.ProgrammingError):
    """The program asked for something wrong: bad SQL, a missing table, a busy connection."""


class NotSupportedError(DatabaseError, psycopg2.NotSupportedError):
    """The statement or call is refused; the hint says what to use instead."""


class FanoutError(DatabaseError):
    """Several shards failed, for different reasons; `failures` holds the error of each.

    It is also of the nearest psycopg2 class that all the failures share. Where all that failed say
    the same, as of a misspelled column, their error is raised once, and not this one.
    """


class QueryTimeout(OperationalError, psycopg2.errors.QueryCanceled):
    """The shards did not answer within the timeout; what still ran was cancelled."""


class PartialCommitError(OperationalError):
    """A transaction was committed on some shards and not, or not known to be, on others."""


class TransactionInDoubt(PartialCommitError):
    """Nobody could be asked whether the transaction is committed, or it is not on all shards yet.

    It will be committed on all shards or on none (``greenshard recover``). `committed` names those
    that have committed, `failures` has the errors of the others.

    Attributes:
        gid: What `greenshard.outcome` tells more about.
    """

    gid: str | None = None


class PoolTimeout(OperationalError, psycopg2.pool.PoolError):
    """No connection of the pool became free in time; the message says who holds them."""


class PoolFull(OperationalError, psycopg2.pool.PoolError):
    """A request may not even wait for a connection of the pool: `max_waiting` others do."""


class PoolClosed(InterfaceError, psycopg2.pool.PoolError):
    """The pool is closed, or was closed while this waited for a connection."""


class ConnectionRejected(OperationalError):
    """A server answers, but lets nobody in who is declared so; trying again does not help."""


class ShardUnavailable(OperationalError):
    """A shard cannot be connected to; until a probe succeeds, nobody waits for it."""


_PEP249: tuple[type[Error], ...] = (
    InterfaceError,
    DataError,
    OperationalError,
    IntegrityError,
    InternalError,
    ProgrammingError,
    NotSupportedError,
    DatabaseError,
    Error,
)


@cache
def _counterpart(origin: Any) -> type[Error]:
    """The class of this module for a psycopg2 class: the most derived that fits."""
    return next(own for own in _PEP249 if issubclass(origin, own.__mro__[_base_at(own)]))


def _base_at(own: type[Error]) -> int:
    """Where in the method resolution order the psycopg2 class of the same name stands."""
    names = [(base.__module__, base.__name__) for base in own.__mro__]
    return names.index(("psycopg2", own.__name__))


@cache
def _class_for(origin: Any, several: bool) -> type[Error]:
    """A class that is both our PEP 249 class and `origin` (and a `FanoutError`, if several)."""
    wanted: list[type] = [FanoutError] if several else []
    wanted += [_counterpart(origin), origin]
    bases = tuple(b for b in wanted if not any(b in w.__mro__[1:] for w in wanted))
    bases = tuple(dict.fromkeys(bases))
    if len(bases) == 1:
        return bases[0]
    name = "FanoutError" if several else origin.__name__
    attributes = {
        "__module__": __name__,
        "__doc__": origin.__doc__,
        "_recipe": (origin, several),
    }
    return type(name, bases, attributes)


def _recipe(cls: type[Error]) -> object:
    """What a class can be found again by, in another process too."""
    return cls.__dict__.get("_recipe", cls)


def _rebuild(
    recipe: Any,
    args: tuple[object, ...],
    pgcode: str | None,
    pgerror: str | None,
    state: Mapping[str, object],
) -> Error:
    cls: type[Error] = _class_for(*recipe) if isinstance(recipe, tuple) else recipe
    error = cls.__new__(cls, *args)
    psycopg2.Error.__init__(error, *args)
    _set_sqlstate(error, pgcode, pgerror)
    error.__dict__.update(state)
    return error


def _set_sqlstate(error: psycopg2.Error, pgcode: str | None, pgerror: str | None) -> None:
    # The two are read-only members of psycopg2's error; its unpickling sets them.
    error.__setstate__({"pgcode": pgcode, "pgerror": pgerror})  # type: ignore[no-untyped-call]


def from_driver(
    error: psycopg2.Error, shard: str | None = None, *, name_shard: bool = False
) -> Error:
    """Turn an error of the driver into ours, of its own class too.

    Args:
        error: What psycopg2 raised; becomes ``__cause__``.
        shard: Where it happened.
        name_shard: Put the shard's name before the message (where there are several shards).
    """
    if isinstance(error, Error):
        return error
    args = error.args
    if name_shard and args and isinstance(args[0], str):
        args = (f"shard {shard}: {args[0]}", *args[1:])
    kind: Any = type(error)
    cls = _class_for(kind, False)
    ours = cls.__new__(cls, *args)
    psycopg2.Error.__init__(ours, *args)
    _set_sqlstate(ours, error.pgcode, error.pgerror)
    ours.shard = shard
    ours.__cause__ = error
    return ours


def from_shards(
    failures: Mapping[str, BaseException], total: int, *, doing: str = "", code: str = _SEVERAL
) -> BaseException:
    """One exception for the failures of one or several shards.

    What several servers say alike is that error, once, as one server would raise it.

    Args:
        failures: At least one exception by shard name.
        total: How many shards took part; with one, the message is the driver's own.
        doing: What was being done, for the message.
        code: The code of the error if there are several.
    """
    if len(failures) == 1:
        ((shard, error),) = failures.items()
        if isinstance(error, psycopg2.Error):
            if total > 1 and isinstance(error, ConnectionRejected):
                _name_shard(error, shard)
            return from_driver(error, shard, name_shard=total > 1)
        return _noted(error, shard)
    for shard, error in failures.items():
        if not isinstance(error, psycopg2.Error):
            return _noted(error, shard)
    if code == _SEVERAL and _say_the_same([*failures.values()]):
        return _of_all(failures, total)
    kind: Any = _nearest_class([type(error) for error in failures.values()])
    cls = _class_for(kind, True)
    lines = "".join(f"\n  {name}: {_one_line(error)}" for name, error in failures.items())
    ours = cls(f"{len(failures)} of {total} shards failed{doing} [{code}]:{lines}")
    codes = {getattr(error, "pgcode", None) for error in failures.values()}
    if len(codes) == 1:
        _set_sqlstate(ours, codes.pop(), None)
    ours.code, ours.failures = code, dict(failures)
    ours.__cause__ = next(iter(failures.values()))
    return ours


def _say_the_same(failures: Sequence[Any]) -> bool:
    """Whether servers have reported the same; details, such as the key of a row, may differ."""
    first = failures[0]
    return all(
        not isinstance(each, Error)
        and type(each) is type(first)
        and each.pgcode is not None
        and each.pgcode == first.pgcode
        and _primary(each) == _primary(first)
        for each in failures
    )


def _primary(error: psycopg2.Error) -> str:
    """What a server says has happened, without details."""
    told: Any = error.diag.message_primary
    return str(told or str(error).partition("\n")[0])


def _of_all(failures: Mapping[str, Any], total: int) -> Error:
    """The error that several servers have reported, as the first one did."""
    ours = from_driver(next(iter(failures.values())))
    where = f"all {total} shards" if len(failures) == total else f"shards {', '.join(failures)}"
    text = str(ours.args[0]) if ours.args else ""
    ours.args = (f"{where}: {text}", *ours.args[1:])
    ours.failures, ours._once = dict(failures), True
    return ours


def keep_positions(error: Error, text: bytes | None) -> None:
    """Take out of an error the places in texts that were sent in the place of the user's.

    Args:
        error: What the statement raised.
        text: The user's statement as psycopg2 sends it; None if that is not known.
    """
    kept = {shard: _placed(each, shard, text) for shard, each in error.failures.items()}
    if error._once:
        error.failures = kept
    elif kept:
        message = str(error.args[0]).partition("\n")[0]
        lines = "".join(f"\n  {shard}: {_one_line(each)}" for shard, each in kept.items())
        hint = "" if error.hint is None else f"\nHINT:  {error.hint}"
        error.failures = kept
        error.args = (f"{message}{lines}{hint}", *error.args[1:])
        error.__cause__ = next(iter(kept.values()))
        return
    if isinstance(error.__cause__, psycopg2.Error) and not _is_of(error.__cause__, text):
        _without_excerpt(error)


def _placed(error: BaseException, shard: str, text: bytes | None) -> BaseException:
    if not isinstance(error, psycopg2.Error) or _is_of(error, text):
        return error
    ours = from_driver(error, shard)
    _without_excerpt(ours)
    return ours


def _is_of(error: psycopg2.Error, text: bytes | None) -> bool:
    """Whether an error tells no place, or one in a text."""
    told: Any = error
    if told.diag.statement_position is None:
        return True
    cause: Any = told.__cause__ if isinstance(error, Error) else error
    cursor = getattr(cause, "cursor", None)
    return text is not None and cursor is not None and cursor.query == text


def _unplaced(error: BaseException, shard: str | None) -> BaseException:
    if not isinstance(error, psycopg2.Error):
        return error
    ours = from_driver(error, shard)
    ours.__dict__["_unplaced"] = True
    return ours


def _without_excerpt(error: Error) -> None:
    _unplaced(error, error.shard)
    told = error.pgerror
    _set_sqlstate(error, error.pgcode, None if told is None else _EXCERPT.sub("", told))
    error.args = (_EXCERPT.sub("", str(error.args[0])), *error.args[1:])


def refused(
    message: str, *, code: str | None = None, hint: str | None = None, pgcode: str | None = None
) -> Error:
    """The error for a statement that cannot be run, before anything was sent.

    Args:
        pgcode: What PostgreSQL's code for it is, if the statement is wrong: the error is then also
            of psycopg2's class for that code. None: it is a `NotSupportedError`.
    """
    cls: type[Error] = NotSupportedError
    if pgcode is not None:
        origin: Any = psycopg2.errors.lookup(pgcode)
        cls = _class_for(origin, False)
    error = cls(message, code=code, hint=hint)
    if pgcode is not None:
        _set_sqlstate(error, pgcode, None)
    return error


def deadlock(message: str, detail: Sequence[str], shard: str) -> Error:
    """The error for a transaction that gives way in a deadlock over shards.

    Args:
        message: What happened.
        detail: Who waits for whom, a line each.
        shard: Where its statement waits.
    """
    error = refused(message, code="GS508", pgcode="40P01")
    lines = "\n  ".join(("DETAIL:", *detail))
    error.args = (f"{error.args[0]}\n{lines}",)
    error.shard = shard
    give_hint(error, "Run the transaction again, as greenshard.retry and Pool.run do.")
    return error


def rejected(message: str, shard: str, pgcode: str | None) -> ConnectionRejected:
    """The error for a connection that will fail until somebody changes something."""
    error = ConnectionRejected(
        message,
        code="GS109",
        shard=shard,
        hint="Trying again does not help: see how the shard is declared (user, password, "
        "database, certificates), and the server's pg_hba.conf.",
    )
    _set_sqlstate(error, pgcode, None)
    return error


def note_statement(error: Error, number: int, count: int) -> None:
    """Tell with an error which statement of a string has failed; the innermost string counts."""
    if error.statement is None:
        error.statement = number
        if number > 1:  # the server has counted from where that one begins
            error.failures = {s: _unplaced(each, s) for s, each in error.failures.items()}
            _unplaced(error, error.shard)
        text = str(error.args[0]).rstrip("\n") if error.args else ""
        error.args = (f"{text}\nSTATEMENT:  {number} of the {count} in the string", *error.args[1:])


def retell(error: Error, tell: Callable[[str, str | None], str]) -> None:
    """Tell otherwise what a server says of where it was.

    Args:
        error: What a statement raised.
        tell: Makes another text of one of a server's, given the shard's name.
    """
    for shard, each in error.failures.items():
        if isinstance(each, psycopg2.Error):
            ours = from_driver(each, shard)
            before = _one_line(ours)
            retell(ours, tell)
            error.args = (str(error.args[0]).replace(before, _one_line(ours)), *error.args[1:])
            error.failures = {**error.failures, shard: ours}
    if error.failures or not error.args:
        return
    context = error.diag.context
    if context is not None:
        error.__dict__["_context"] = tell(context, error.shard)
    told = error.pgerror
    if told is not None:
        _set_sqlstate(error, error.pgcode, tell(told, error.shard))
    error.args = (tell(str(error.args[0]), error.shard), *error.args[1:])


def note_code(error: Error, code: str, hint: str) -> None:
    """Tell with an error of a server what it means here."""
    error.code = code
    give_hint(error, f"{hint} [{code}]")


def note_committed(error: Error, shards: Sequence[str], doubtful: Sequence[str]) -> None:
    """Tell with an error in autocommit mode that a write is, or may be, committed somewhere."""
    error.committed, error.doubtful = tuple(shards), tuple(doubtful)
    hints = [_doubt(doubtful)] if doubtful else []
    if shards:
        hints.append(
            f"In autocommit mode it is done and committed on {', '.join(shards)}: "
            "it was run on each shard by itself."
        )
    give_hint(error, " ".join(hints))


def note_doubt(error: Error, shards: Sequence[str]) -> None:
    """Tell with an error that COMMIT was sent to some shards, and its answer is lost."""
    error.doubtful = tuple(shards)
    give_hint(error, _doubt(shards))


def note_undone(error: Error) -> None:
    """Tell with the error of a lost connection that the transaction is rolled back all the same."""
    give_hint(error, "It is rolled back on all shards: the one that decides was asked again.")


def _doubt(shards: Sequence[str]) -> str:
    return (
        f"It may be committed on {', '.join(shards)}, or not: the connection was lost before the "
        "answer came. Look there before you repeat it."
    )


def give_hint(error: Error, hint: str) -> None:
    """Tell with an error what to do next, instead of what it has said so far."""
    text = str(error.args[0]).rstrip("\n") if error.args else ""
    if error.hint is not None:
        text = text.removesuffix(f"\nHINT:  {error.hint}")
    error.hint = hint
    error.args = (f"{text}\nHINT:  {hint}", *error.args[1:])


def _name_shard(error: Error, shard: str) -> None:
    text = str(error.args[0])
    if not text.startswith(f"shard {shard}: "):
        error.args = (f"shard {shard}: {text}", *error.args[1:])


def _noted(error: BaseException, shard: str) -> BaseException:
    """What a program's own code raised (a typecaster, an adapter), with a note of where."""
    note = f"on shard {shard}"
    if hasattr(error, "add_note") and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error


#: What libpq shows of a text: the line, and below it where in it.
_EXCERPT = re.compile(r"\nLINE \d+: [^\n]*\n[ \t]*\^")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _nearest_class(classes: list[type]) -> type[psycopg2.Error]:
    """The most derived psycopg2 class that all of `classes` derive from."""
    for base in classes[0].__mro__:
        if base.__module__.startswith("psycopg2") and all(issubclass(c, base) for c in classes):
            return base
    return psycopg2.DatabaseError
