"""What users may give for timeouts and modes; anything else is refused where it is given."""

from __future__ import annotations

from contextlib import suppress
from math import inf, isnan
from typing import Any

from greenshard import errors


def seconds(name: str, value: Any, *, zero: bool = False) -> float | None:
    """Seconds, or None for no limit.

    Args:
        name: The argument's name, for the message.
        value: What was given.
        zero: Whether 0 is allowed.

    Raises:
        errors.ProgrammingError: It is no number of seconds.
    """
    if value is None:
        return None
    number = a_number(name, value)
    if not (0 < number < inf or (zero and number == 0)):
        least = "0 or more" if zero else "more than 0"
        raise unusable(f"{name} is {value!r}; it must be {least} seconds, or None for no limit")
    return number


def a_number(name: str, value: Any) -> float:
    """A number of seconds of any size.

    Raises:
        errors.ProgrammingError: It is none.
    """
    with suppress(TypeError, ValueError):
        if not isnan(number := float(value)):
            return number
    raise unusable(f"{name} is {value!r}, not a number of seconds")


def on_error(value: Any) -> str:
    """What to do when a shard fails.

    Raises:
        errors.ProgrammingError: It is neither "raise" nor "partial".
    """
    if value not in ("raise", "partial"):
        raise unusable(f"on_error is {value!r}, not 'raise' or 'partial'")
    return str(value)


def flag(name: str, value: Any) -> bool:
    """Yes or no.

    Raises:
        errors.ProgrammingError: It is neither True nor False.
    """
    if not isinstance(value, bool):
        raise unusable(f"{name} is {value!r}, not True or False")
    return value


def listener(value: Any) -> Any:
    """What is called with events, or None.

    Raises:
        errors.ProgrammingError: It cannot be called.
    """
    if value is not None and not callable(value):
        raise unusable(f"on_event is {value!r}, which cannot be called")
    return value


def number_of(what: str, name: str, value: Any) -> int:
    """How many rows or bytes there may be.

    Raises:
        errors.ProgrammingError: It is no such number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise unusable(f"{name} is {value!r}, not a number of {what}")
    return value


def derived_class(name: str, value: Any, base: type) -> None:
    """A class derived from one of psycopg2's.

    Raises:
        errors.ProgrammingError: It is none.
    """
    if not isinstance(value, type) or not issubclass(value, base):
        wanted = f"psycopg2.extensions.{base.__name__}"
        raise unusable(f"{name} must be a class derived from {wanted}, not {value!r}")


def unusable(message: str) -> errors.ProgrammingError:
    """The error for an argument that cannot be used."""
    return errors.ProgrammingError(message, code="GS104")


class Checked:
    """An attribute whose values are checked when they are set.

    It has no ``__get__``, so reading costs nothing: Python takes the value from the instance.
    """

    def __init__(self, check: Any, doc: str) -> None:
        self._check, self.__doc__ = check, doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self._name] = self._check(value)


def timeout_attribute() -> Any:
    """The attribute ``timeout`` of connections and cursors."""
    doc = "Seconds that each call may take; None for no limit."
    return Checked(lambda value: seconds("timeout", value), doc)


def on_error_attribute() -> Any:
    """The attribute ``on_error`` of connections and cursors."""
    return Checked(on_error, '"raise", or "partial": reads give what the shards that answer have.')
