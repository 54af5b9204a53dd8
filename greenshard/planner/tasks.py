"""What each shard gets of a plan, once a statement's parameters are known.

    SELECT count(*) FROM orders WHERE o_orderkey IN (%s, %s)        given (1, 7)

    step      combine: the counts become one
    stage     s0   SELECT count(*) AS c0 FROM orders WHERE ...    given (1, 7)
              s2   SELECT count(*) AS c0 FROM orders WHERE ...    given (1, 7)

A plan is made for a text and is good for all parameters; its pins say where the keys are. `settle`
looks there: it leaves the step, which tells how the rows become one answer, and the tasks that give
these rows. ``explain`` prints them and the executor runs them, so both tell the same.

The tasks of a stage run at the same time, and a stage begins when the one before it has ended
without a failure. Each task has a text and parameters of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from greenshard.cluster import Hash
from greenshard.planner.pins import Unplaceable, home, named_shards
from greenshard.planner.place import Place
from greenshard.planner.plan import (
    Anywhere,
    Broadcast,
    Carry,
    Combine,
    Constant,
    Explained,
    Gather,
    GatheredTable,
    Insert,
    Keys,
    Mirror,
    Move,
    Pin,
    Refused,
    Routed,
    Scatter,
    Step,
    Transfer,
    Value,
)
from greenshard.sql.text import Computed, Sql
from greenshard.sql.types import Trait, names_with

_TEXTS = names_with(Trait.COLLATED)

#: Stands for any one shard: whoever runs the task chooses.
ANYWHERE = Place("")

#: The place of a shard's own connection, by its name: one object for each, for there are few.
own_place = lru_cache(maxsize=10_000)(Place)


_NUMBERS = frozenset({"int2", "int4", "int8"})
_INT8 = 1 << 63


@dataclass(frozen=True, slots=True)
class Task:
    """One text with its parameters, for one place.

    Attributes:
        place: Where it runs; `ANYWHERE` if any one shard may run it.
        sql: The text.
        given: What its parameters are taken from.
        repeats: Whether `given` is a list of such, for each of which the text runs.
        table: The table whose rows it reads, where rows are gathered.
        rows: Of an `Insert`, the numbers of those that it inserts.
    """

    place: Place
    sql: Sql
    given: Any = None
    repeats: bool = False
    table: GatheredTable | None = None
    rows: tuple[int, ...] = ()


Stage = tuple[Task, ...]


def settle(
    step: Step, shards: tuple[str, ...], given: Any, *, known: bool = True
) -> tuple[Step, tuple[Stage, ...]]:
    """The step that is taken with these parameters, and its tasks; none of a `Refused` one.

    Args:
        step: A plan's.
        shards: All shards, in order.
        given: The parameters.
        known: Whether they are all there. If not, what they could name may be on any shard.

    Raises:
        LookupError, TypeError: One is not there.

    Cost: 2 to 6 us for one integer key.
    """
    if isinstance(step, Routed):
        # Most statements take this way: as few calls as can be.
        named = (named_shards if known else _maybe_named)(step.pins, shards, given)
        # None at all (WHERE id = NULL) is fine: no row counts, and any shard gives the empty
        # answer.
        if named is None or len(named) > 1:
            return settle(step.otherwise, shards, given, known=known)
        place = own_place(next(iter(named))) if named else ANYWHERE
        return step, ((Task(place, step.sql, given),),)
    if isinstance(step, Anywhere):
        place = own_place(shards[0]) if step.first else ANYWHERE
        return step, ((Task(place, step.sql, given),),)
    if isinstance(step, Insert):
        return _inserting_first(step, shards, given, known)
    if isinstance(step, Explained):
        inner, stages = settle(step.step, shards, given, known=known)
        return inner if isinstance(inner, Refused) else replace(step, step=inner), stages
    write: Step = step.write if isinstance(step, Move) else step
    if isinstance(step, Mirror) and step.carry is not None:
        write = step.carry
    return step, tuple(_stages(write, shards, given, known))


def _inserting_first(
    step: Insert, shards: tuple[str, ...], given: Any, known: bool
) -> tuple[Step, tuple[Stage, ...]]:
    """What an INSERT runs first: what computes values, or asks for keys; or all of it."""
    if step.computing:
        first = own_place(shards[0])
        return step, tuple((Task(first, sql, given),) for sql in step.computing)
    if step.keys is None:
        return inserting(step, shards, (), given)
    homes = homes_of(step.keys, shards, given) if known else [None]
    # Where a key's value does not tell its shard, a server is asked what the column makes of it.
    return (step, ()) if None in homes else inserting(step, shards, homes, given)


def inserting(
    step: Insert, shards: tuple[str, ...], homes: Sequence[str | None], given: Any
) -> tuple[Step, tuple[Stage, ...]]:
    """The tasks that insert rows, once it is known where they belong; or why there are none.

    Args:
        step: A plan's.
        shards: All shards, in order.
        homes: For each row its shard, None if that is not known; nothing for a reference table.
        given: The parameters.
    """
    if step.keys is None:
        every = tuple(range(len(step.parts.rows)))
        sql = step.parts.with_rows(every)
        tasks = tuple(Task(own_place(shard), sql, given, rows=every) for shard in shards)
        return step, (tasks[:1], tasks[1:])
    rows: dict[str | None, list[int]] = {}
    for number, shard in enumerate(homes):
        rows.setdefault(shard, []).append(number)
    if None in rows:
        return uncertain_key(step.table, step.keys), ()
    found = tuple(
        Task(own_place(shard), step.parts.with_rows(rows[shard]), given, rows=tuple(rows[shard]))
        for shard in shards
        if shard in rows
    )
    return step, (found[:1], found[1:]) if step.in_turn and len(found) > 1 else (found,)


def homes_of(
    keys: Keys, shards: tuple[str, ...], given: Any, computed: Sequence[Any] = ()
) -> list[str | None]:
    """For each row that is inserted its shard; None where that is not known.

    Args:
        keys: The rows' keys.
        shards: All shards, in order.
        given: The parameters.
        computed: What servers have computed.

    Raises:
        LookupError, TypeError: A parameter is not there.

    Cost: 1 us for each row with a number for its key, up to 5 us for others.
    """
    pin = keys.pin
    find, kind = pin.placement.shards_for, pin.type_name
    # Thousands of rows with plain numbers: as few calls for each as can be. What a column stores of
    # a number is that number, and one that is too large has no shard.
    plain = kind in _NUMBERS
    if plain and isinstance(pin.placement, Hash):
        numbers = [value.value for value in keys.values if type(value) is Constant]
        whole = len(numbers) == len(keys.values) and set(map(type, numbers)) == {int}
        if whole and min(numbers) >= -_INT8 and max(numbers) < _INT8:
            return [*pin.placement.shards_of_integers(numbers, shards)]
    return [
        find(value.value, kind, shards)
        if plain and type(value) is Constant and type(value.value) is int
        else _home_of(value, keys, shards, given, computed)
        for value in keys.values
    ]


def home_of_value(keys: Keys, shards: tuple[str, ...], value: Any) -> str | None:
    """The shard of a row whose key is known by now; None where that does not tell it.

    Args:
        keys: Of the rows.
        shards: All shards, in order.
        value: The key.
    """
    return _home_of(Computed(0), keys, shards, None, (value,))


def _home_of(
    value: Value | Computed,
    keys: Keys,
    shards: tuple[str, ...],
    given: Any,
    computed: Sequence[Any],
) -> str | None:
    try:
        return home(value, keys.pin, shards, given, computed)
    except Unplaceable:
        return None


def uncertain_key(table: str, keys: Keys) -> Refused:
    """The refusal of rows whose keys are there, but do not tell a shard."""
    return Refused(
        f"the {keys.column.name} of a row, the shard key of {table}, does not tell its shard",
        "GS412",
        f"Give {keys.column.name} in its column's type, and as one of the placement's keys.",
    )


def has_texts(step: Step) -> bool:
    """Whether a step's tasks go by keys that are texts. Cost: 0.2 us."""
    if isinstance(step, Routed):
        return are_texts(step.pins) or has_texts(step.otherwise)
    if isinstance(step, (Explained, Move)):
        return has_texts(step.step if isinstance(step, Explained) else step.write)
    if isinstance(step, Mirror):
        step = step.carry or step
    if isinstance(step, Gather):
        return any(are_texts(table.pins) for table in step.tables)
    if isinstance(step, Carry):
        return are_texts(step.pins) or any(are_texts(table.pins) for table in step.tables)
    if isinstance(step, (Insert, Transfer)):
        # Keys that are read come from a server, and not with the statement.
        return step.keys is not None and bool(step.keys.values) and are_texts((step.keys.pin,))
    return isinstance(step, (Scatter, Combine)) and are_texts(step.pins)


def without_texts(step: Step) -> Step:
    """The step that is taken if texts of the statement need not be those that the server reads."""
    if isinstance(step, Routed):
        otherwise = without_texts(step.otherwise)
        return otherwise if are_texts(step.pins) else replace(step, otherwise=otherwise)
    if isinstance(step, Explained):
        return replace(step, step=without_texts(step.step))
    if isinstance(step, (Move, Mirror)):
        return _without_texts_within(step)
    if isinstance(step, (Carry, Gather)):
        tables = tuple(replace(t, pins=None) if are_texts(t.pins) else t for t in step.tables)
        step = replace(step, tables=tables)
    if isinstance(step, (Insert, Transfer)) and step.keys is not None and has_texts(step):
        return uncertain_key(step.table, step.keys)
    if isinstance(step, (Scatter, Combine, Carry)) and are_texts(step.pins):
        return replace(step, pins=None)
    return step


def _without_texts_within(step: Move | Mirror) -> Step:
    if isinstance(step, Move):
        write = without_texts(step.write)
        return replace(step, write=write) if isinstance(write, (Scatter, Carry)) else write
    carry = step.carry and without_texts(step.carry)
    return replace(step, carry=carry) if isinstance(carry, Carry) else step


def are_texts(pins: Sequence[Pin] | None) -> bool:
    """Whether one of some keys is a text."""
    # Under another client_encoding the server may read another text than the one that was hashed
    # here.
    return any(pin.type_name in _TEXTS for pin in pins or ())


def chosen(stages: Iterable[Stage], place: Place) -> tuple[Stage, ...]:
    """Stages whose tasks all have a place: those that any shard may run have this one."""
    return tuple(
        tuple(replace(task, place=place) if task.place is ANYWHERE else task for task in stage)
        for stage in stages
    )


def _stages(step: Step, shards: tuple[str, ...], given: Any, known: bool) -> Iterable[Stage]:
    """The stages of a step for several shards.

    `Transfer`, `Mirror`, `SetSequence` and `Staged` have none: what is sent is known when their
    rows are there.
    """
    if isinstance(step, Broadcast):
        where = shards if step.on is None else (step.on,)
        tasks = tuple(Task(own_place(shard), step.sql, given) for shard in where)
        yield from (tasks[:1], tasks[1:]) if step.first_alone else (tasks,)
    elif isinstance(step, (Scatter, Combine)):
        sql = step.sql if isinstance(step, Scatter) else step.partial
        yield tuple(Task(place, sql, given) for place in _places(step.pins, shards, given, known))
    elif isinstance(step, (Gather, Carry)):
        yield tuple(
            Task(place, table.read, given, table=table)
            for table in step.tables
            for place in (
                (ANYWHERE,) if table.reference else _places(table.pins, shards, given, known)
            )
        )
        if isinstance(step, Carry):
            places = _places(step.pins, shards, given, known)
            writes = tuple(Task(place, step.sql, given) for place in places)
            yield from (writes[:1], writes[1:]) if step.reference else (writes,)


def _places(
    pins: Sequence[Pin] | None, shards: tuple[str, ...], given: Any, known: bool
) -> Iterable[Place]:
    """Where rows with these pins can be, at least one place."""
    named = None
    if pins is not None:
        named = (named_shards if known else _maybe_named)(pins, shards, given)
    if named is None:
        return map(own_place, shards)
    # An aggregate gives a row also where no key is named, so one shard has to run it.
    return [own_place(shard) for shard in shards if shard in named] or (ANYWHERE,)


def _maybe_named(pins: Sequence[Pin], shards: tuple[str, ...], given: Any) -> frozenset[str] | None:
    """Like `named_shards`, if parameters may not be there."""
    try:
        return named_shards(pins, shards, given)
    except (LookupError, TypeError):
        return None
