"""Rows of VALUES go to their shards.

What only a server can compute, such as the number that a sequence gives, is computed first, on the
cluster's first shard; then it is known where each row belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor, ours
from greenshard.executor.answers.answer import Answer
from greenshard.executor.atomic import atomically
from greenshard.executor.execution import in_turns
from greenshard.executor.planned import Planned
from greenshard.executor.sql_values import with_literals_in
from greenshard.executor.strategies.concatenate import concatenate
from greenshard.executor.strategies.exactness import check_types
from greenshard.executor.strategies.ranking import UNNAMED
from greenshard.executor.types.casting import AsText, Casting
from greenshard.executor.types.type_names import type_names
from greenshard.planner.catalog import Column
from greenshard.planner.pins import Unplaceable, key_argument
from greenshard.planner.plan import Constant, Copies, Insert, Keys, Refused, Value
from greenshard.planner.refusals import refusal_error
from greenshard.planner.strategies.completing import repeated
from greenshard.planner.strategies.insert import GIVE_KEY
from greenshard.planner.tasks import Stage, Task, homes_of, inserting, own_place
from greenshard.sql.parameters import Written
from greenshard.sql.text import Computed, Sql
from greenshard.sql.types import FAMILIES, read

_OWN_SCHEMA = "pg_catalog."
_BOOL = "pg_catalog.bool"
#: The type of that name, which is not what SQL calls char.
_ONE_BYTE = '"char"'
_CANNOT_COERCE, _MISMATCH = "42846", "42804"
_TEXTS = frozenset({"text", "bpchar"})
#: What text is assigned to (pg_cast).
_OF_TEXT = frozenset({"text", "varchar", "bpchar", "name", "char", "regclass"})
#: Of one SELECT: PostgreSQL has 1,664 columns at most.
_WIDTH = 1_000


def insert(e: Planned, step: Insert, stages: Sequence[Stage]) -> Answer:
    """Insert the rows; those that RETURNING gives come in the order of VALUES.

    Args:
        e: The execution.
        step: The plan.
        stages: What computes values, if there is such; else what inserts the rows.

    Raises:
        errors.Error: A row's shard is not known, a shard failed, or time is up.

    Switches: yes.
    """
    e.check_parameters()
    if step.computing:
        e.computed = [value for (task,) in stages for value in _compute(e, task)]
    if step.computing or not stages:
        stages = _placed(e, step)
        if sum(map(len, stages)) > 1:
            e.check_clock()
    e.spare_asking(stages)
    if not step.in_turn:
        # Rows that are new are locked by nobody else: they go to all shards at once.
        e.effect = replace(e.effect, in_turn=False)
    shards = tuple(dict.fromkeys(task.place.shard for stage in stages for task in stage))
    copies = Copies(step.table) if step.keys is None else None
    answer = atomically(e, shards, partial(concatenate, e, stages, copies))
    if step.keys is None:
        return answer.of_first()
    answer.weave({task.place.shard: task.rows for stage in stages for task in stage})
    return answer


def numbered_rows(e: Planned) -> Stage | None:
    """The tasks of an INSERT of one row for each set of parameters of the list ``e.given``.

    The defaults of all rows are computed at once.

    Returns:
        None if the sets must be run one after the other.

    Switches: yes.
    """
    step = e.plan.step
    if not isinstance(step, Insert) or step.keys is None or len(step.parts.rows) > 1:
        return None
    # 'now' in a parameter may be another time on each shard: that is found out set by set.
    if not e.given or e.plan.clock:
        return None
    every = repeated(step.computing[0], 1, len(e.given)) if len(step.computing) == 1 else None
    if every is None or e.failed is not None or e.plan.policies:
        return None
    sets = [with_literals_in(e.parts, given, e.text) for given in in_turns(e.given)]
    if None in sets or any(e.database.certain(step, e.text, given) is not step for given in sets):
        return None
    names, sql = e.database.cluster.names, step.parts.with_rows([0])
    if e.database.is_unsure:
        e.confirm(names)
    values = _compute(e, Task(own_place(names[0]), every))
    width = len(values) // len(sets)
    split: dict[str, list[Any]] = {}
    for number, given in enumerate(in_turns(sets)):
        e.computed = values[number * width : (number + 1) * width]
        (home,) = homes_of(step.keys, names, given, e.computed)
        if home is None:
            return None  # the numbers are lost, as those of a row that is refused
        split.setdefault(home, []).append(e.parameters(sql, given))
    places = [shard for shard in names if shard in split]
    text = Sql(sql.text)
    return tuple(Task(own_place(s), text, split[s], repeats=True) for s in places)


def _placed(e: Planned, step: Insert) -> Sequence[Stage]:
    """What inserts the rows, each on the shard of its key.

    Raises:
        errors.NotSupportedError: A row has none.

    Switches: if a key is of another type than its column.
    """
    names, homes = e.database.cluster.names, list[str | None]()
    if step.keys is not None:
        homes = homes_of(step.keys, names, e.given, e.computed)
        unknown = [number for number, shard in enumerate(homes) if shard is None]
        if unknown:
            keys = as_stored(e, step.keys, unknown)
            asked = replace(step.keys, values=tuple(map(Computed, range(len(keys)))))
            for number, shard in zip(unknown, homes_of(asked, names, None, keys), strict=True):
                homes[number] = shard
    settled, stages = inserting(step, names, homes, e.given)
    if isinstance(settled, Refused):
        raise refusal_error(settled, e.plan.refusals)
    return stages


def as_stored(e: Planned, keys: Keys, numbers: Sequence[int]) -> list[Any]:
    """What the column makes of the keys of some rows.

    A cast says what an assignment does, where PostgreSQL allows that (manual, 10.4 "Value
    Storage"); where not, the INSERT fails, on whichever shard it is run.

    Switches: yes.
    """
    found: list[Any] = []
    for start in range(0, len(numbers), _WIDTH):
        batch = [keys.values[number] for number in numbers[start : start + _WIDTH]]
        values = [_argument(e, value) for value in batch]
        # Of a parameter it is not known here whether the statement casts it.
        computed = [value for value in batch if isinstance(value, Computed)]
        if any(_is_text_for_another_type(e.computed[v.number], keys.column) for v in computed):
            raise _mismatch(keys)
        target = f"::{keys.column.type_sql.replace('%', '%%')}"
        # PostgreSQL casts booleans to int4 alone. Where the statement does not say true::int, the
        # shard refuses it.
        integer = FAMILIES.get(keys.column.type_name) == FAMILIES["int4"]
        by_int = [integer and _is_boolean(e, value) for value in batch]
        casts = ", ".join(f"(%s){'::pg_catalog.int4' * each}{target}" for each in by_int)
        task = Task(own_place(e.any_shard()), Sql(f"SELECT {casts}"), values)
        try:
            found += _compute(e, task)
        except errors.Error as error:
            if error.pgcode == _CANNOT_COERCE:
                raise _mismatch(keys) from error
            raise
    return found


def _is_text_for_another_type(value: Any, column: Column) -> bool:
    """Whether a value is of a text type, and the column of none: then only a cast would do."""
    cast = value.cast if type(value) is Written else None
    own = read(column.type_sql) is not None and column.type_name not in _OF_TEXT
    return own and FAMILIES.get(cast or "") in _TEXTS


def _mismatch(keys: Keys) -> errors.Error:
    """PostgreSQL's error for a value that cannot be assigned to the key."""
    reason = f'the value for column "{keys.column.name}" is of another type'
    hint = f"Cast it to {keys.column.type_sql}."
    return refusal_error(Refused(reason, "GS412", hint, pgcode=_MISMATCH), ())


def _is_boolean(e: Planned, value: Value | Computed) -> bool:
    """Whether a value, maybe under a cast, is written as a boolean."""
    if isinstance(value, Computed):  # it has the type that it is assigned with
        return False
    found = key_argument(value, e.given)
    return type(found.value if type(found) is Written else found) is bool


def _argument(e: Planned, value: Value | Computed) -> Any:
    if isinstance(value, Constant) and value.value is not None:
        return ours(value.value)  # whatever adapter the program has registered for its own values
    try:
        return key_argument(value, e.given, e.computed)
    except Unplaceable:  # VALUES %s, given a tuple that is too short
        raise errors.NotSupportedError(
            "a row to be inserted has too few values", code="GS412", hint=GIVE_KEY
        ) from None


def _compute(e: Planned, task: Task) -> list[Any]:
    """The values that a query gives, row by row, each as a parameter that is a literal of its type.

    Switches: yes.
    """
    names, rows = computed_rows(e, task)
    return [literal(e, text, name) for row in rows for text, name in zip(row, names, strict=True)]


def computed_rows(e: Planned, task: Task) -> tuple[Sequence[str], Sequence[tuple[str | None, ...]]]:
    """The names of the types of what a query gives, and its rows, their values as text.

    Raises:
        errors.NotSupportedError: A value cannot be passed on.

    Switches: yes.
    """
    shard = task.place.shard
    cursor = e.parts.plain_on(shard, e.timeout)
    Casting(cursor, AsText.ALL, e.parts.own_time_zones)
    e.first_stage((shard,), e.calls((task,), {shard: cursor}))
    names = passed_on(e, shard, [column.type_code for column in cursor.description or ()])
    return names, cursor.fetchall()


def passed_on(e: Planned, shard: str, type_oids: Sequence[int]) -> Sequence[str]:
    """The names of the types of values that were read as text, and are passed on so.

    Args:
        e: The execution.
        shard: Where the types are.
        type_oids: Their OIDs.

    Raises:
        errors.NotSupportedError: They cannot be.

    Switches: if types must be asked for.
    """
    known = type_names(e.session, {shard: type_oids}, e.timeout)
    names = [known[shard, oid] for oid in type_oids]
    if not UNNAMED.isdisjoint(names):
        raise errors.NotSupportedError(
            "a value to be inserted is of a type that has no values as text",
            code="GS412",
            hint="Cast it to the type of its column.",
        )
    check_types(e, type_oids)
    return names


def literal(e: Planned, text: str | None, type_sql: str) -> Written | None:
    """A value as a parameter that is written as a literal of its type."""
    if text is None:
        return None
    quoted = RawCursor(e.parts.quoting()).mogrify("%s", (ours(text),))
    return as_key(text, type_sql, quoted + b"::" + type_sql.encode())


def as_key(text: str, type_sql: str, quoted: bytes = b"") -> Written:
    """A value that was read as text, as a shard key is read; `quoted` if it is sent, too."""
    value = text == "t" if type_sql == _BOOL else text
    name = type_sql.removeprefix(_OWN_SCHEMA)
    # The words of SQL among the names of types come in quotes: "varchar", "timestamp".
    return Written(quoted, value, name if name == _ONE_BYTE else name.strip('"'))
