"""Do the shards' answers have the same columns?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor
from greenshard.executor.types.type_names import type_names
from greenshard.links.deadline import Deadline
from greenshard.links.session import Session
from greenshard.sql.types import FIRST_USER_OID


def check_columns(answers: Mapping[str, RawCursor], session: Session, timeout: Deadline) -> None:
    """Compare the columns by name and type.

    The types that users made have their OIDs from each database, so they are compared by their
    names, which are asked for once.

    Raises:
        errors.ProgrammingError: They differ; names the shard and the column.

    Switches: only if type names must be asked for.
    """
    if len(answers) < 2:
        return
    (first, expected), *others = ((shard, raw.description) for shard, raw in answers.items())
    # OIDs of PostgreSQL's own types are the same everywhere, so equal descriptions are enough.
    builtin = all(column.type_code < FIRST_USER_OID for column in expected or ())
    for shard, columns in others:
        if columns == expected and builtin:
            continue
        _check_names(first, expected or (), shard, columns or ())
        _check_types(first, expected or (), shard, columns or (), session, timeout)


def _check_names(first: str, expected: Sequence[Any], shard: str, columns: Sequence[Any]) -> None:
    if len(expected) != len(columns):
        raise differ(
            f"shard {first} gives {len(expected)} columns and shard {shard} {len(columns)}", shard
        )
    for at, (one, other) in enumerate(zip(expected, columns, strict=True), 1):
        if one.name != other.name:
            raise differ(
                f"column {at} is {one.name!r} on shard {first} and {other.name!r} on shard {shard}",
                shard,
            )


def _check_types(
    first: str,
    expected: Sequence[Any],
    shard: str,
    columns: Sequence[Any],
    session: Session,
    timeout: Deadline,
) -> None:
    pairs = [
        (one.name, one.type_code, other.type_code)
        for one, other in zip(expected, columns, strict=True)
        # Equal OIDs of users' types may be two types: each database counts for itself.
        if one.type_code != other.type_code or one.type_code >= FIRST_USER_OID
    ]
    if not pairs:
        return
    wanted = {first: {pair[1] for pair in pairs}, shard: {pair[2] for pair in pairs}}
    names = type_names(session, wanted, timeout)
    for column, one, other in pairs:
        if names[first, one] != names[shard, other]:
            raise differ(
                f"column {column!r} is of type {names[first, one]} on shard {first}"
                f" and {names[shard, other]} on shard {shard}",
                shard,
            )


def differ(message: str, shard: str) -> errors.ProgrammingError:
    """The error for columns that are not the same on all shards."""
    return errors.ProgrammingError(
        message,
        code="GS202",
        shard=shard,
        hint="Name the columns instead of *, cast them, or bring the tables into line.",
    )
