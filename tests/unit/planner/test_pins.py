"""Key values to shards when a statement runs."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

import pytest

from greenshard.cluster import Hash, List, Placement, Unknown
from greenshard.planner.pins import CASTS, Unplaceable, homes, is_changed, kept_by, named_shards
from greenshard.planner.plan import Constant, Parameter, Pin
from greenshard.sql.parameters import Written

SHARDS = ("s0", "s1", "s2", "s3")
UTC = dt.timezone.utc
MOMENT = dt.datetime(2024, 1, 1, 5)  # noqa: DTZ001


class Place(Placement):
    """Says which value it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
        self.asked.append(value)
        return "s0"


class Number(enum.IntEnum):
    SEVEN = 7


class Text(str):
    __slots__ = ()


def placed(value: Any, type_name: str, *, inserts: bool = False) -> Any:
    """What a placement is asked for; None if it is not asked, because the value is not sure."""
    place = Place()
    named = named_shards([Pin(place, type_name, (Parameter(0),), inserts)], SHARDS, (value,))
    assert (named is None) == (not place.asked)
    return None if named is None else place.asked[0]


@pytest.mark.parametrize(
    ("type_name", "value", "key"),
    [
        ("int4", 7, 7),
        ("int8", -(2**63), -(2**63)),
        ("int8", "7", 7),
        ("int8", " +7 ", 7),
        ("int2", "-7", -7),
        ("oid", 7, 7),
        ("text", "a", "a"),
        ("text", "", ""),
        ("varchar", "é ", "é "),
        ("bpchar", "a  ", "a  "),
        ("uuid", uuid.UUID(int=5), uuid.UUID(int=5)),
        ("uuid", "00000000-0000-0000-0000-000000000005", uuid.UUID(int=5)),
        ("uuid", "{00000000000000000000000000000005}", uuid.UUID(int=5)),
        ("bytea", b"\x00", b"\x00"),
        ("bytea", bytearray(b"a"), b"a"),
        ("bytea", memoryview(b"a"), b"a"),
        ("bytea", r"\x00fF", b"\x00\xff"),
        ("bool", True, True),
        ("date", dt.date(2024, 1, 1), dt.date(2024, 1, 1)),
        ("date", "2024-01-01", dt.date(2024, 1, 1)),
        ("timestamp", MOMENT, MOMENT),
        ("timestamptz", MOMENT.replace(tzinfo=UTC), MOMENT.replace(tzinfo=UTC)),
        ("timestamp", "2024-01-01 05:00:00", MOMENT),
        ("timestamp", "2024-01-01T05:00:00.000", MOMENT),
        ("timestamptz", "2024-01-01 08:30:00+03:30", MOMENT.replace(tzinfo=UTC)),
        ("timestamptz", "2024-01-01T00:00:00-05", MOMENT.replace(tzinfo=UTC)),
    ],
)
def test_a_value_of_the_key_s_type_is_placed(type_name: str, value: Any, key: Any) -> None:
    assert placed(value, type_name) == key
    assert type(placed(value, type_name)) is type(key)


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("int4", True),
        ("int4", 7.0),
        ("int4", decimal.Decimal(7)),
        ("int4", Number.SEVEN),
        ("int4", "7.0"),
        ("int4", "0x7"),
        ("int4", "1_000"),
        ("int4", "\u0667"),
        ("int4", ""),
        ("int8", 2**63),
        ("int8", -(2**63) - 1),
        ("int8", b"7"),
        ("text", 7),
        ("text", b"a"),
        ("text", Text("a")),
        ("text", ["a"]),
        ("uuid", "5"),
        ("uuid", 5),
        ("bytea", "a"),
        ("bytea", r"\x0"),
        ("bytea", r"\x0 0"),
        ("bool", 1),
        ("bool", "t"),
        ("date", "2024-1-1"),
        ("date", "2024-02-30"),
        ("date", "2024-W01-1"),
        ("date", "infinity"),
        ("date", "01/02/2024"),
        ("date", MOMENT),
        ("timestamp", dt.date(2024, 1, 1)),
        ("timestamp", "2024-01-01"),
        ("timestamp", "2024-01-01 05:00:00+00"),
        ("timestamp", "2024-01-01 05:00:00.1234567"),
        ("timestamp", "2024-01-01 24:00:00"),
        ("timestamptz", "2024-01-01 05:00:00"),
        ("timestamp", MOMENT.replace(tzinfo=UTC)),
        ("timestamptz", MOMENT),
        ("numeric", 7),
        ("float8", 7.0),
        ("mood", "sad"),
    ],
)
def test_a_value_whose_key_is_not_sure_may_be_any_shard_s(type_name: str, value: Any) -> None:
    assert placed(value, type_name) is None


@pytest.mark.parametrize(
    ("type_name", "casts", "said", "key"),
    [
        ("int4", (None, "int2", "int4", "int8"), 7, 7),
        ("varchar", (None, "text", "varchar"), "a", "a"),
        ("uuid", (None, "uuid"), str(uuid.UUID(int=5)), uuid.UUID(int=5)),
        ("bytea", (None, "bytea"), r"\x00", b"\x00"),
        ("bool", (None, "bool"), True, True),
        ("date", (None, "date"), "2024-01-01", dt.date(2024, 1, 1)),
        ("timestamp", (None, "timestamp"), "2024-01-01 05:00:00", MOMENT),
        (
            "timestamptz",
            (None, "timestamptz"),
            "2024-01-01 05:00:00+00",
            MOMENT.replace(tzinfo=UTC),
        ),
        # An oid's cast changes its value, as regclass does; bpchar's cuts blanks off.
        ("oid", (None,), 7, 7),
        ("bpchar", (None,), "a", "a"),
    ],
)
def test_a_literal_that_an_adapter_wrote_is_placed_unless_it_is_cast_to_another_family(
    type_name: str, casts: tuple[str | None, ...], said: Any, key: Any
) -> None:
    for cast in (*CASTS, None, "oid", "bpchar", "regclass", "numeric"):
        written = Written(b"", said, cast)
        assert placed(written, type_name) == (key if cast in casts else None), cast


@pytest.mark.parametrize(
    ("type_name", "value"), [("varchar", "a "), ("timestamp", MOMENT.replace(microsecond=1))]
)
def test_a_value_that_a_column_may_cut_off_is_not_inserted(type_name: str, value: Any) -> None:
    assert placed(value, type_name) == value
    assert placed(value, type_name, inserts=True) is None


def test_text_is_inserted_with_its_blanks() -> None:
    assert placed("a ", "text", inserts=True) == "a "
    assert placed("a ", "bpchar", inserts=True) == "a "


def test_null_is_no_row_s_key_but_has_a_place() -> None:
    reading = Pin(Hash(), "int4", (Constant(None),))
    assert named_shards([reading], SHARDS, None) == frozenset()
    inserting = Pin(Hash(), "int4", (Constant(None),), inserts=True)
    assert named_shards([inserting], SHARDS, None) == {"s0"}


def test_several_values_name_several_shards() -> None:
    place = List({1: "s1", 2: "s2"}, default="s3")
    pin = Pin(place, "int4", (Parameter("k", several=True),))
    assert named_shards([pin], SHARDS, {"k": [1, 2, 1, None]}) == {"s1", "s2"}
    assert named_shards([pin], SHARDS, {"k": (5,)}) == {"s3"}
    assert named_shards([pin], SHARDS, {"k": []}) == frozenset()
    assert named_shards([pin], SHARDS, {"k": [[1], [2]]}) is None
    assert named_shards([pin], SHARDS, {"k": {1, 2}}) is None
    assert named_shards([pin], SHARDS, {"k": "12"}) is None


def test_one_of_a_tuple_s_values_is_the_key() -> None:
    pin = Pin(List({1: "s1", 2: "s2"}), "int4", (Parameter(0, item=1),), inserts=True)
    assert named_shards([pin], SHARDS, (("a", 2),)) == {"s2"}
    assert named_shards([pin], SHARDS, (("a",),)) is None
    assert named_shards([pin], SHARDS, ("ab",)) is None


def test_all_pins_count() -> None:
    place = List({1: "s1", 2: "s2"})
    pins = [Pin(place, "int4", (Constant(n),)) for n in (1, 2)]
    assert named_shards(pins, SHARDS, None) == {"s1", "s2"}
    unknown = Pin(Unknown(), "int4", (Constant(1),))
    assert named_shards([*pins, unknown], SHARDS, None) is None


def test_a_parameter_that_is_missing_is_the_caller_s_to_report() -> None:
    with pytest.raises(LookupError):
        named_shards([Pin(Hash(), "int4", (Parameter(1),))], SHARDS, (1,))


def test_once_all_shards_are_named_no_more_keys_are_placed() -> None:
    read = []

    class Reading(Hash):
        def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
            read.append(value)
            return super().shards_for(value, type_name, shards)

    pin = Pin(Reading(), "int8", (Parameter(0, several=True),))
    assert named_shards([pin], SHARDS, (list(range(100_000)),)) == frozenset(SHARDS)
    assert len(read) < 100


def test_rows_that_are_written_belong_where_their_keys_say() -> None:
    place = List({1: "s1", 2: "s2"})
    values = (Constant(1), Parameter(0), Parameter(1, item=1), Parameter(2, item=0))
    pin = Pin(place, "int4", values, inserts=True)
    assert homes(pin, SHARDS, (2, ("a", 1), [2])) == {"s1", "s2"}
    assert homes(pin, SHARDS, (1, ("a", 1), [1])) == {"s1"}
    assert homes(pin, SHARDS, (9, ("a", 1), [2])) == {"s1", "s2", None}


def test_null_belongs_where_the_placement_puts_it() -> None:
    pin = Pin(List({1: "s1", None: "s3"}), "int4", (Parameter(0),), inserts=True)
    assert homes(pin, SHARDS, (None,)) == {"s3"}


@pytest.mark.parametrize("rows", ["ab", {0: 1, 1: 2}, 5, ("a",), None])
def test_a_row_without_a_certain_key_belongs_nowhere_for_certain(rows: Any) -> None:
    pin = Pin(Hash(), "int4", (Parameter(0, item=1),), inserts=True)
    with pytest.raises(Unplaceable):
        homes(pin, SHARDS, (rows,))


@pytest.mark.parametrize(
    ("type_sql", "kept"),
    [("character varying(20)", 20), ("timestamp(0) without time zone", 0), ("public.key", 0)],
)
def test_what_a_column_keeps_is_in_its_type(type_sql: str, kept: int) -> None:
    assert kept_by(type_sql) == kept


def test_text_without_a_limit_is_kept_whole() -> None:
    assert kept_by("pg_catalog.text") > 2**30 - 1  # bytes: what PostgreSQL holds in one value


@pytest.mark.parametrize("kept", range(7))
def test_a_moment_is_changed_if_it_has_more_digits_than_are_kept(kept: int) -> None:
    for digits in range(1, 7):
        moment = MOMENT.replace(microsecond=10 ** (6 - digits))
        assert is_changed(moment, "timestamp", kept) == (digits > kept), digits
    assert not is_changed(MOMENT, "timestamp", kept)


def test_only_blanks_at_the_end_are_cut_off() -> None:
    assert is_changed("abc ", "varchar", 3)
    assert not is_changed("abc ", "varchar", 4)
    assert not is_changed("abcd", "varchar", 3)  # which the server refuses
    assert not is_changed("abc ", "text", 0)
