"""The table of PostgreSQL's types; what it says is compared with servers elsewhere."""

from __future__ import annotations

from collections import Counter

import pytest

from greenshard.cluster import HASHED_TYPES
from greenshard.sql.types import (
    BY_NAME,
    ELEMENTS,
    FAMILIES,
    TYPES,
    Trait,
    has,
    is_standard,
    names_with,
    oid_of,
    oids_with,
    read,
)


def test_each_type_is_there_once() -> None:
    for values in ([each.name for each in TYPES], [each.oid for each in TYPES]):
        assert [value for value, count in Counter(values).items() if count > 1] == []
    oids = [oid for each in TYPES for oid in (each.oid, each.array_oid) if oid]
    assert len(set(oids)) == len(oids)


def test_traits_agree_with_each_other() -> None:
    """What is compared in Python can be compared, and so on."""
    for each in TYPES:
        traits = each.traits
        compared = traits & (Trait.ORDERED | Trait.ORDERED_BY_CODE_POINT)
        if compared:
            assert Trait.NO_EQUALITY not in traits
            assert Trait.UNREADABLE not in traits
        if Trait.SAME_IF_EQUAL in traits:
            assert compared
            assert not traits & Trait.FLOATS
        if Trait.CAST_KEEPS in traits:
            assert each.family is not None
        if Trait.JSON_NUMBER in traits:
            assert Trait.NUMBER in traits


def test_what_python_compares() -> None:
    """Written out once more: a wrong one is a wrong answer."""
    numbers = {"int2", "int4", "int8", "oid", "float4", "float8", "numeric"}
    moments = {"date", "timestamp", "timestamptz"}
    assert names_with(Trait.ORDERED) == {*numbers, *moments, "bool", "bytea", "uuid"}
    assert names_with(Trait.ORDERED_BY_CODE_POINT) == {"name", "text", "varchar"}
    assert names_with(Trait.READ_AS_TEXT) == {"name", "text", "varchar", "uuid"}
    assert names_with(Trait.SAME_IF_EQUAL) == {
        "int2", "int4", "int8", "oid", "bool", "text", "varchar", "uuid", *moments,
    }  # fmt: skip
    assert names_with(Trait.CALENDAR) == moments
    assert names_with(Trait.TELLS_NOW) == {*moments, "time", "timetz"}
    assert names_with(Trait.ZONED) == {"timestamptz", "tstzrange", "tstzmultirange"}


def test_keys_are_hashed_by_family() -> None:
    assert FAMILIES.keys() == HASHED_TYPES
    assert {name for name, family in FAMILIES.items() if family == "int"} == {
        "int2",
        "int4",
        "int8",
    }
    assert {name for name, family in FAMILIES.items() if family == "text"} == {"text", "varchar"}
    assert len(set(FAMILIES.values())) == 10
    assert FAMILIES.keys() - names_with(Trait.CAST_KEEPS) == {"oid", "bpchar"}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("bigint", "int8"),
        ("numeric(12,2)", "numeric"),
        ("numeric(3,-2)[]", "numeric"),
        ("timestamp(3) with time zone", "timestamptz"),
        ("timestamp without time zone[]", "timestamp"),
        ("interval day to second(3)", "interval"),
        ("interval(3)", "interval"),
        ("bit varying(5)", "varbit"),
        ('pg_catalog."bit"', "bit"),
        ('pg_catalog."char"', "char"),
        ("character(1)", "bpchar"),
        ("pg_catalog.text[]", "text"),
    ],
)
def test_a_type_as_a_cast_names_it(written: str, name: str) -> None:
    assert read(written) is BY_NAME[name]


@pytest.mark.parametrize(
    "written", ["public.mood", "public.text", '"interval x"', "text", "x.int4"]
)
def test_a_type_that_may_be_anybodys(written: str) -> None:
    assert read(written) is None
    assert not has(written, Trait.FLOATS)


def test_what_sql_has_words_for() -> None:
    assert all(map(is_standard, ["bit(3)", "time(0) without time zone", "double precision[]"]))
    assert not any(map(is_standard, ['"bit"', "date", "text", "public.x", '"timestamp of mine"']))


def test_arrays() -> None:
    assert ELEMENTS[1007] == oid_of("int4")
    assert 1020 not in ELEMENTS  # box
    assert oids_with(Trait.ZONED, arrays=True) == {1184, 1185, 3910, 3911, 4534, 6153}
    assert oids_with(Trait.FLOATS, arrays=True) == {
        600, 601, 602, 603, 604, 628, 629, 700, 701, 718, 719, 1017, 1018, 1019, 1020, 1021, 1022,
        1027,
    }  # fmt: skip
    assert names_with(Trait.UNREADABLE, arrays=True) >= {"record", "_record", "anyarray"}
    assert names_with(Trait.NO_EQUALITY, arrays=True) >= {"json", "_json", "box", "_box"}
    assert "_jsonb" not in names_with(Trait.NO_EQUALITY, arrays=True)
