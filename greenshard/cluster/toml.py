"""A cluster's declaration as TOML.

::

    two_phase = true
    [shards]
    s0 = "postgresql://app@db0/app"
    s1 = { primary = "postgresql://app@db1/app" }
    [tables]
    orders = { shard_key = "o_orderkey" }
    nation = { reference = true }
    settings = { on = "s0" }
    archive.orders = { shard_key = "year", placement = { method = "unknown" } }
    items = { shard_key = "order_id", triggers = ["touch"] }
    [placement]
    slots = 256
    [functions]
    "sales.price_of(integer)" = { reads = "shard" }
    [coordinator]
    dsn = "postgresql://reader@db9/app"

Only what TOML adds is checked here: that the keys exist and have the right shape.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, NamedTuple

from greenshard import errors
from greenshard.cluster.lists_and_ranges import List, Range
from greenshard.cluster.mistakes import Mistakes, kind, place, shown
from greenshard.cluster.placement import Placement
from greenshard.cluster.rules import Function, Unknown
from greenshard.cluster.slots import MAX_SLOTS, Hash, is_int
from greenshard.secret import hidden_shards

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 16 * 1024 * 1024
"""Of a file. Reading it takes the CPU half a second for each MB."""

MAX_VALUES = 2**20
"""Of a list placement, and slots that are assigned one by one. Each takes 100 bytes of memory."""

# tomllib takes the square of the number of a dotted key's parts: 9 s for 20,000 of them.
_LONG_KEY = re.compile(r"""(?:\.[ \t]*[\w"'-]+[ \t]*){100}""")
_SLOTS = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")
_SETTINGS = {"shards", "tables", "placement", "functions", "two_phase", "coordinator"}
_TOO_DEEP = "is nested too deeply"


class DeclaredTable(NamedTuple):
    """What a file declares of a table.

    Attributes:
        shard_key: None for a table that has none.
        placement: Its own; None if it has none.
        triggers: Those that are harmless.
        on: The only shard that has it; None if all have.
    """

    shard_key: Any
    placement: Placement | None = None
    triggers: tuple[str, ...] = ()
    on: Any = None


@dataclass(frozen=True)
class Document:
    """What a file declares.

    Attributes:
        shards: As written.
        tables: What is declared of each.
        placement: The cluster's; None if there is none.
        functions: As written, by name.
        two_phase: As written; None if it is not there.
        coordinator: Its connection string, as written; None if there is none.
    """

    shards: Any
    tables: Mapping[str, DeclaredTable]
    placement: Placement | None
    functions: Any
    two_phase: Any
    coordinator: Any


def read_file(path: str | PathLike[str]) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        errors.ProgrammingError: It cannot be read, is too large, or is not TOML.
    """
    document, wrong = _read(_read_bytes(path))
    if document is None:
        raise errors.ProgrammingError(f"{path} {wrong}", code="GS106")
    # Before anything is checked: the errors that follow are made of parts of the document.
    for name in {"shards", "coordinator"} & document.keys():
        document[name] = hidden_shards(document[name])
    return document


def _read(written: bytes) -> tuple[dict[str, Any] | None, str]:
    """The document, or what is wrong with it; nothing is raised whose frames show passwords."""
    if len(written) > MAX_BYTES:
        return None, f"is larger than {MAX_BYTES // 2**20} MB"
    try:
        text = written.decode("utf-8-sig")  # editors of Windows write a byte order mark
        return (None, _TOO_DEEP) if _LONG_KEY.search(text) else (tomllib.loads(text), "")
    except ValueError as error:  # a TOMLDecodeError, or bytes that are not UTF-8
        return None, f"is not TOML: {error}"
    except RecursionError:
        return None, _TOO_DEEP


def _read_bytes(path: str | PathLike[str]) -> bytes:
    """The file's bytes, or of a large one the first ones, so many that it is seen to be too large.

    Also of a pipe, as the shell's ``<(...)`` is. That no one has open for writing is empty: to wait
    for a writer would hold up the process, for ever if there is none.
    """
    try:
        with open(path, "rb", opener=_open_nowait) as file:
            os.set_blocking(file.fileno(), True)
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise errors.ProgrammingError(f"{path} cannot be read: {why}", code="GS106") from error
    except ValueError as error:  # the path holds a NUL
        raise errors.ProgrammingError(
            f"{shown(path)} cannot be read: {error}", code="GS106"
        ) from error


def _open_nowait(path: str, flags: int) -> int:
    # To open a FIFO waits for a writer, without this.
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def read_document(document: Mapping[str, Any], mistakes: Mistakes) -> Document:
    """Read a parsed file; what cannot be read is noted and left out."""
    _check_keys((), document, _SETTINGS, mistakes)
    tables = {}
    for name, at, entry in _entries(document.get("tables", {}), mistakes):
        try:
            tables[name] = _table(at, entry, mistakes)
        except _Unreadable as error:
            mistakes.add(error.at, error.what)
    placement = None
    if "placement" in document:
        placement = _placement(("placement",), document["placement"], mistakes)
    functions = _flat(document.get("functions", {}))
    two_phase = document.get("two_phase")
    coordinator = _coordinator(document, mistakes)
    shards = document.get("shards")
    return Document(shards, tables, placement, functions, two_phase, coordinator)


def _coordinator(document: Mapping[str, Any], mistakes: Mistakes) -> Any:
    """Where the coordinator is; None if none is declared."""
    if "coordinator" not in document:
        return None
    entry = document["coordinator"]
    if not isinstance(entry, Mapping):
        mistakes.add("coordinator", f"must be a table with a dsn, not {kind(entry)}")
        return None
    _check_keys(("coordinator",), entry, {"dsn"}, mistakes)
    if "dsn" not in entry:
        mistakes.add(place("coordinator", "dsn"), "is missing")
    return entry.get("dsn")


def _flat(functions: Any) -> Any:
    """Functions by name: ``sales.tax = {...}`` is one in a schema; to TOML, in another table."""
    if not isinstance(functions, Mapping):
        return functions
    made: dict[Any, Any] = {}
    for name, entry in functions.items():
        inner = entry.values() if isinstance(entry, Mapping) else ()
        if inner and all(isinstance(each, Mapping) for each in inner):
            made |= {f"{name}.{key}": each for key, each in entry.items()}
        else:
            made[name] = entry
    return made


_Path = tuple[object, ...]


class _Unreadable(Exception):
    """A part of the document that cannot be read at all."""

    def __init__(self, path: _Path, what: str) -> None:
        super().__init__(what)
        self.at, self.what = place(*path), what


def _check_keys(path: _Path, found: Mapping[str, Any], known: set[str], mistakes: Mistakes) -> None:
    for key in found:
        if key not in known:
            mistakes.add(place(*path, key), f"no such setting; there are {_list(known)}")


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _entries(tables: Any, mistakes: Mistakes) -> Iterator[tuple[str, _Path, Mapping[str, Any]]]:
    """Each table's name, its place, and what is written there.

    ``sales.orders = {...}`` is a table in a schema: to TOML, one inside the other.
    """
    if not isinstance(tables, Mapping):
        mistakes.add("tables", f"must be a table, not {kind(tables)}")
        return
    for name, entry in tables.items():
        if not isinstance(entry, Mapping):
            mistakes.add(place("tables", name), f"must be a table, not {kind(entry)}")
        elif entry and all(isinstance(inner, Mapping) for inner in entry.values()):
            for inner_name, inner in entry.items():
                yield f"{name}.{inner_name}", ("tables", f"{name}.{inner_name}"), inner
        else:
            yield name, ("tables", name), entry


def _table(path: _Path, entry: Mapping[str, Any], mistakes: Mistakes) -> DeclaredTable:
    _check_keys(path, entry, {"shard_key", "reference", "on", "placement", "triggers"}, mistakes)
    triggers = entry.get("triggers", [])
    if not isinstance(triggers, list):
        raise _Unreadable((*path, "triggers"), f"must be a list of names, not {kind(triggers)}")
    reference = entry.get("reference", False)
    if not isinstance(reference, bool):
        raise _Unreadable((*path, "reference"), f"must be true or false, not {kind(reference)}")
    if [reference, "shard_key" in entry, "on" in entry].count(True) != 1:
        raise _Unreadable(path, "must have one of shard_key, on, and reference = true")
    if "shard_key" not in entry:
        if "placement" in entry:
            whose = "a reference table" if reference else "a table on one shard"
            mistakes.add(place(*path, "placement"), f"{whose} has none")
        return DeclaredTable(None, None, tuple(triggers), entry.get("on"))
    placement = None
    if "placement" in entry:
        placement = _placement((*path, "placement"), entry["placement"], mistakes)
    return DeclaredTable(entry["shard_key"], placement, tuple(triggers))


def _placement(path: _Path, entry: Any, mistakes: Mistakes) -> Placement | None:
    if not isinstance(entry, Mapping):
        mistakes.add(place(*path), f"must be a table, not {kind(entry)}")
        return None
    method = entry.get("method", "hash")
    if isinstance(method, str) and ":" in method:
        _check_keys(path, entry, {"method"}, mistakes)
        return Function(method)
    if not isinstance(method, str) or method not in _METHODS:
        known = f"one of {_list(set(_METHODS))}, or package.module:function"
        mistakes.add(place(*path, "method"), f"must be {known}")
        return None
    make, settings = _METHODS[method]
    _check_keys(path, entry, {"method", *settings}, mistakes)
    try:
        return make(path, entry)
    except _Unreadable as error:
        mistakes.add(error.at, error.what)
        return None


def _hash(path: _Path, entry: Mapping[str, Any]) -> Hash:
    slots = entry.get("slots", Hash.slots)
    assignment = None
    if "assignment" in entry:
        count = slots if is_int(slots) and slots <= MAX_SLOTS else MAX_SLOTS
        expand = partial(_slots, count)
        assignment = _by_value((*path, "assignment"), entry["assignment"], expand)
    return Hash(slots, assignment)


def _slots(count: int, path: _Path, written: Any) -> Iterator[int]:
    """Slots as numbers, or as texts like "0-127"."""
    if is_int(written):
        yield written
        return
    match = _SLOTS.fullmatch(written) if isinstance(written, str) else None
    if match is None or int(match[1]) > int(match[2]):
        raise _Unreadable(path, f'must be a slot, or slots as in "0-127", not {shown(written)}')
    if int(match[2]) >= count:
        raise _Unreadable(path, f"there are no slots {written}: the last one is {count - 1}")
    yield from range(int(match[1]), int(match[2]) + 1)


def _list_placement(path: _Path, entry: Mapping[str, Any]) -> List:
    values = _by_value((*path, "values"), entry.get("values"), lambda _path, value: iter([value]))
    return List(values, entry.get("default"))


def _by_value(
    path: _Path, written: Any, expand: Callable[[_Path, Any], Iterator[Any]]
) -> dict[Any, str]:
    """Turn ``{ s0 = [1, 2], s1 = [3] }`` into the shard of each value."""
    if not isinstance(written, Mapping):
        raise _Unreadable(path, "must be a table with a list of values for each shard")
    shard_of: dict[Any, str] = {}
    left = MAX_VALUES
    for shard, listed in written.items():
        if not isinstance(listed, list):
            raise _Unreadable((*path, shard), f"must be a list, not {kind(listed)}")
        for each in listed:
            if isinstance(each, (list, dict)):
                raise _Unreadable((*path, shard), f"must be a list of values, not of {kind(each)}s")
            for value in expand((*path, shard), each):
                left -= 1
                if left < 0:
                    raise _Unreadable(path, f"there are more than {MAX_VALUES:,} values")
                if (other := shard_of.setdefault(value, shard)) != shard:
                    raise _Unreadable((*path, shard), f"{shown(value)} is on shard {other} already")
    return shard_of


def _range(path: _Path, entry: Mapping[str, Any]) -> Range:
    written = entry.get("ranges")
    if not isinstance(written, list):
        raise _Unreadable((*path, "ranges"), 'must be a list of { below = ..., shard = "..." }')
    bounds = []
    for number, each in enumerate(written):
        if not isinstance(each, Mapping) or each.keys() != {"below", "shard"}:
            at = (*path, f"ranges[{number}]")
            raise _Unreadable(at, 'must be { below = ..., shard = "..." }')
        bounds.append((each["below"], each["shard"]))
    return Range(bounds, entry.get("default"))


_METHODS: Mapping[str, tuple[Callable[[_Path, Mapping[str, Any]], Placement], set[str]]] = {
    "hash": (_hash, {"slots", "assignment"}),
    "list": (_list_placement, {"values", "default"}),
    "range": (_range, {"ranges", "default"}),
    "unknown": (lambda _path, entry: Unknown(entry.get("name", "")), {"name"}),
}
