from __future__ import annotations

import pickle
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from greenshard import errors
from greenshard.cluster import Function, Hash, List, Range, Unknown
from greenshard.cluster.hashing import row_hash

SHARDS = ("s0", "s1", "s2")
UTC = timezone.utc
A_UUID = UUID("6d5a7a52-0c4e-4f5e-9d6b-0d6c7f1b2a33")


class Timestamp(datetime):
    """A datetime with nanoseconds, as pandas has."""

    nanosecond = 1


def by_parity(key, shards):
    return shards[key % 2]


def failing(key, shards):
    raise ValueError(key)


def mistakes(placement, shards=SHARDS):
    return [f"{at}: {what}" if at else what for at, what in placement.mistakes(shards)]


# Hash ---------------------------------------------------------------------------------------


def test_integers_of_every_width_are_placed_alike():
    for key in (0, 7, -1, -32768):
        assert row_hash(key, "int2") == row_hash(key, "int4") == row_hash(key, "int8")


def test_slots_are_dealt_to_the_shards_in_turn():
    assert [Hash(4).shard_of(slot, SHARDS) for slot in range(4)] == ["s0", "s1", "s2", "s0"]


def test_an_assignment_says_where_a_slot_is():
    swapped = Hash(2, {0: "s1", 1: "s0"})
    plain = Hash(2)
    for key in range(20):
        place = swapped.shards_for(key, "int4", ("s0", "s1"))
        assert {place, plain.shards_for(key, "int4", ("s0", "s1"))} == {"s0", "s1"}


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (1, "numeric"),
        ("a", "citext"),
        (1.0, "int4"),
        (Decimal(1), "int4"),
        ("1", "int4"),
        (True, "int4"),
        (2**63, "int8"),
        (-1, "oid"),
        (2**32, "oid"),
        (1, "text"),
        (1, "bpchar"),
        ("\ud800", "text"),
        (str(A_UUID), "uuid"),
        ("a", "bytea"),
        (1, "bool"),
        (datetime(2020, 1, 1), "date"),  # noqa: DTZ001
        ("today", "date"),
        (date(2020, 1, 1), "timestamp"),
        (datetime(2020, 1, 1, tzinfo=UTC), "timestamp"),
        (datetime(2020, 1, 1), "timestamptz"),  # noqa: DTZ001
        (Timestamp(2020, 1, 1), "timestamp"),
    ],
)
def test_a_value_that_is_not_of_the_keys_type_is_not_placed(value, type_name):
    assert Hash().shards_for(value, type_name, SHARDS) is None


def test_bytes_are_placed_alike_however_they_are_held():
    places = {row_hash(kind(b"\0\xff"), "bytea") for kind in (bytes, bytearray, memoryview)}
    assert len(places) == 1


def test_a_moment_is_placed_alike_in_every_time_zone():
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert row_hash(moment, "timestamptz") == row_hash(elsewhere, "timestamptz")


@pytest.mark.parametrize(
    ("placement", "found"),
    [
        (Hash(), []),
        (Hash("256"), ["slots: must be a number, not str"]),
        (Hash(True), ["slots: must be a number, not bool"]),
        (Hash(0), ["slots: must be from 1 to 2147483647, not 0"]),
        (Hash(2), ["slots: 2 slots leave some of the 3 shards without any"]),
        (Hash(3, ["s0"]), ["assignment: must be a mapping of slots to shards, not list"]),
        (Hash(2, {0: "s0", 1: "s1"}), []),
        (
            Hash(9, {0: "s0", 9: "s1", "1": "s7"}),
            [
                "assignment: no slots from 0 to 8: 9, '1'",
                "assignment: slots without a shard: 1, 2, 3, 4, 5, ...",
                "assignment: there is no shard s7",
            ],
        ),
    ],
)
def test_mistakes_of_slots_are_told(placement, found):
    assert mistakes(placement) == found


# List and Range -----------------------------------------------------------------------------


def test_listed_values_are_where_the_list_says():
    placement = List({"de": "s0", None: "s1"})
    assert placement.shards_for("de", "text", SHARDS) == "s0"
    assert placement.shards_for("de  ", "bpchar", SHARDS) == "s0"
    assert placement.shards_for(None, "text", SHARDS) == "s1"
    assert placement.shards_for("fr", "text", SHARDS) is None
    assert List({"de": "s0"}, default="s2").shards_for("fr", "text", SHARDS) == "s2"
    assert placement.shards_for(["de"], "text", SHARDS) is None


def test_a_listed_uuid_may_be_text():
    for listed in (A_UUID, str(A_UUID)):
        assert List({listed: "s1"}).shards_for(A_UUID, "uuid", SHARDS) == "s1"


def test_listed_bytes_are_found_however_they_are_held():
    assert List({b"a": "s1"}).shards_for(memoryview(b"a"), "bytea", SHARDS) == "s1"


def test_a_range_ends_before_its_bound():
    placement = Range([(10, "s0"), (20, "s1")])
    places = [placement.shards_for(key, "int4", SHARDS) for key in (-5, 9, 10, 19, 20, None)]
    assert places == ["s0", "s0", "s1", "s1", None, None]
    beyond = Range([(10, "s0")], default="s2")
    assert [beyond.shards_for(key, "int4", SHARDS) for key in (10, None)] == ["s2", "s2"]


def test_a_value_that_cannot_be_compared_has_no_range():
    assert Range([(10, "s0")], default="s1").shards_for("a", "int4", SHARDS) is None


def test_uuids_are_in_the_order_of_their_bytes():
    low, high = UUID(int=5), UUID(int=0xA << 124)
    placement = Range([(UUID(int=6 << 120), "s0"), (str(UUID(int=0xB << 124)), "s1")])
    places = [placement.shards_for(key, "uuid", SHARDS) for key in (low, high)]
    assert places == ["s0", "s1"]


@pytest.mark.parametrize(
    ("placement", "found"),
    [
        (List([1]), ["must be a mapping of values to shards, not list"]),
        (List({}), ["no values are listed"]),
        (List({1: "s9"}, "s8"), ["there is no shard s9", "default: there is no shard s8"]),
        (Range(5), ["bounds: must be pairs of an upper bound and a shard"]),
        (Range([(1,)]), ["bounds: must be pairs of an upper bound and a shard"]),
        (Range([]), ["bounds: there are none"]),
        (Range([(2, "s0"), (2, "s1")]), ["bounds: must be in ascending order"]),
        (Range([(2, "s0"), ("b", "s1")]), ["bounds: are of types that cannot be compared"]),
        (Range([(1, "s9")], "s8"),
         ["bounds: there is no shard s9", "default: there is no shard s8"]),
    ],
)  # fmt: skip
def test_mistakes_of_values_are_told(placement, found):
    assert mistakes(placement) == found


@pytest.mark.parametrize(
    ("value", "fitting", "other"),
    [
        (1, "int8", "text"),
        (True, "bool", "int4"),
        ("a", "varchar", "int4"),
        ("a ", "text", "bpchar"),
        (str(A_UUID), "uuid", "oid"),
        (str(A_UUID).upper(), "text", "uuid"),
        ("no uuid", "text", "uuid"),
        (b"a", "bytea", "text"),
        (date(2020, 1, 1), "date", "timestamp"),
        (datetime(2020, 1, 1), "timestamp", "timestamptz"),  # noqa: DTZ001
        (datetime(2020, 1, 1, tzinfo=UTC), "timestamptz", "date"),
        (Decimal(1), "numeric", "int4"),
    ],
)
def test_values_of_another_type_than_the_keys_are_told(value, fitting, other):
    for placement in (List({value: "s0"}), Range([(value, "s0")])):
        assert placement.objection(fitting) is None
        assert placement.objection(other) == f"the placement's value {value!r} is no {other}"


def test_keys_that_cannot_be_hashed_are_told():
    assert Hash().objection("int4") is None
    assert "keys of type numeric cannot be hashed" in Hash().objection("numeric")
    assert Unknown().objection("numeric") is None


# Rules --------------------------------------------------------------------------------------


def test_an_unknown_rule_places_nothing():
    assert Unknown().shards_for(1, "int4", SHARDS) is None
    assert mistakes(Unknown(5)) == ["name: must be text, not int"]


def test_a_function_may_be_named_or_given():
    for function in (f"{__name__}:by_parity", by_parity):
        placement = Function(function)
        assert mistakes(placement) == []
        assert placement.shards_for(3, "int4", SHARDS) == "s1"


def test_a_function_may_say_that_it_cannot_tell():
    assert Function(lambda key, shards: None).shards_for(3, "int4", SHARDS) is None


def test_a_failing_function_is_told_without_the_key():
    with pytest.raises(errors.ProgrammingError, match="failing failed: ValueError") as caught:
        Function(failing).shards_for(424242, "int4", SHARDS)
    assert caught.value.code == "GS107"
    assert "424242" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_function_that_names_no_shard_is_told():
    with pytest.raises(errors.ProgrammingError, match="returned 's9', which is no shard"):
        Function(lambda key, shards: "s9").shards_for(1, "int4", SHARDS)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        ("module", "must be named as in package.module:function"),
        ("no_such_module:f", "no_such_module:f cannot be imported: ModuleNotFoundError"),
        ("os.path:no_such", "os.path:no_such cannot be imported: AttributeError"),
        ("os:name", "os:name is not a function"),
        (5, "int is not a function"),
    ],
)
def test_mistakes_of_functions_are_told(function, found):
    (told,) = mistakes(Function(function))
    assert told.startswith(found)


# Colocation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Hash(), Hash(256)),
        (Hash(2, {0: "s0", 1: "s1"}), Hash(2, {1: "s1", 0: "s0"})),
        (List({1: "s0"}), List({1: "s0"})),
        (Range([[1, "s0"]]), Range([(1, "s0")])),
        (Unknown("tenant"), Unknown("tenant")),
        (Function("os.path:join"), Function("posixpath:join")),
        (Function("no_such:f"), Function("no_such:f")),
    ],
)
def test_equal_placements_are_equal_and_hash_alike(one, other):
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Hash(256), Hash(128)),
        (Hash(2), Hash(2, {0: "s1", 1: "s0"})),
        (List({1: "s0"}), List({1: "s1"})),
        (List({1: "s0"}), List({1: "s0"}, "s1")),
        (Range([(1, "s0")]), Range([(2, "s0")])),
        (Unknown("tenant"), Unknown("account")),
        (Unknown(), Hash()),
        (Function("os.path:join"), Function("os.path:split")),
        (Function(lambda key, shards: "s0"), Function(lambda key, shards: "s1")),
        (Function("no_such:f"), Unknown()),
    ],
)
def test_other_placements_are_not_equal(one, other):
    assert one != other


@pytest.mark.parametrize(
    ("name", "typname", "value"),
    [
        ("bigint", "int8", 7),
        ("INTEGER", "int4", 7),
        ("smallint", "int2", 7),
        ("character varying(20)", "varchar", "a"),
        ("varchar(20)", "varchar", "a"),
        ("character(3)", "bpchar", "a"),
        ("boolean", "bool", True),
        ("timestamp without time zone", "timestamp", datetime(2020, 1, 1)),  # noqa: DTZ001
    ],
)
def test_a_type_may_have_its_name_in_sql(name, typname, value):
    shards = tuple("abcdefg")
    assert Hash().shards_for(value, name, shards) == Hash().shards_for(value, typname, shards)
    assert Hash().shards_for(value, name, shards) is not None
