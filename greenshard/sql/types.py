"""What is known of PostgreSQL's own types: one table, for whoever must know one by name or OID.

    oids_with(Trait.ORDERED)                        whose values Python sorts as PostgreSQL does
    BY_NAME["int4"].family                          "int": hashed like int2 and int8
    written("numeric(12,2)[]")                      the type `numeric`

The OIDs of PostgreSQL's own types are the same on every server, those of users' types are not.
``tests/postgres/one_database/test_known_types.py`` compares the table with ``pg_type``. What it
does not have is taken for the worst: PostgreSQL compares it, it may have floats and time zones in
it, it is not hashed.

Source: src/include/catalog/pg_type.dat; PostgreSQL manual, 8 "Data Types".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto
from functools import lru_cache
from typing import TypeVar

_Value = TypeVar("_Value")

#: OIDs from here on are given to what users create (``FirstNormalObjectId`` in transam.h).
FIRST_USER_OID = 16384


class Trait(Flag):
    """What is known of a type, or of values of it as psycopg2's own typecasters give them."""

    #: Python compares values as PostgreSQL does. Not of time (24:00 comes as 00:00) or interval
    #: (a month is 30 days to one and a year 365 to the other).
    ORDERED = auto()
    #: So it does where the collation is the order of code points. Not of bpchar, whose blanks at
    #: the end do not count.
    ORDERED_BY_CODE_POINT = auto()
    #: A value's text is as good as itself: equal where it is, and in its order.
    READ_AS_TEXT = auto()
    #: Values are equal in Python where they are in PostgreSQL, and then look the same. Not numeric
    #: (1.0 and 1.00), float (0 and -0), bpchar (blanks at the end).
    SAME_IF_EQUAL = auto()
    #: There is no equality, so that nobody can group by it.
    NO_EQUALITY = auto()
    #: Has a collation.
    COLLATED = auto()
    #: A date, maybe with a time: may be infinite, which Python's are not, and 'today' is one.
    CALENDAR = auto()
    #: 'now' is one.
    TELLS_NOW = auto()
    #: Has floats in it, which the servers may write with fewer digits.
    FLOATS = auto()
    #: Has a time zone in it, which the servers may write as an abbreviation.
    ZONED = auto()
    #: A value takes 16 bytes at most, and its text not much more; so do most numerics.
    SMALL = auto()
    #: Elements of an array are separated by a semicolon, those of all other types by a comma.
    SEMICOLON = auto()
    #: PostgreSQL does not read a value back from its text.
    UNREADABLE = auto()
    #: Of an array of these, `unnest` gives one column; not so of rows.
    SCALAR = auto()
    #: A cast of a key to it leaves the key as it is, if that is of its family.
    CAST_KEEPS = auto()
    #: A number: people like it on the right of its column; JSON has it as a number, but for
    #: what most readers would round.
    NUMBER = auto()
    JSON_NUMBER = auto()


NOTHING = Trait(0)


@dataclass(frozen=True, slots=True)
class Type:
    """A type.

    Attributes:
        name: ``pg_type.typname``.
        oid: Its OID.
        array_oid: That of arrays of it; 0 if there are none.
        traits: What is known of it.
        sql: SQL's own word for it, by which ``format_type`` calls it, and which means it whatever
            the search path; None if there is none.
        family: If it can be a shard key: types of one family hash equal values alike.
    """

    name: str
    oid: int
    array_oid: int
    traits: Trait = NOTHING
    sql: str | None = None
    family: str | None = None


_T = Trait
_ORDERED, _TEXT, _SAME = _T.ORDERED, _T.READ_AS_TEXT, _T.SAME_IF_EQUAL
_SMALL, _FLOATS, _ZONED, _NONE = _T.SMALL, _T.FLOATS, _T.ZONED, _T.NO_EQUALITY
_SCALAR, _KEEPS = _T.SCALAR, _T.CAST_KEEPS
_INTEGER = _ORDERED | _SAME | _SMALL | _SCALAR | _T.NUMBER | _T.JSON_NUMBER
_FLOAT = _ORDERED | _FLOATS | _SMALL | _SCALAR | _T.NUMBER | _T.JSON_NUMBER
_STRING = _T.ORDERED_BY_CODE_POINT | _TEXT | _T.COLLATED | _SCALAR
_MOMENT = _ORDERED | _SAME | _T.CALENDAR | _T.TELLS_NOW | _SMALL | _SCALAR | _KEEPS
_SHAPE = _FLOATS | _NONE | _SCALAR
_INTERNAL = _T.UNREADABLE | _T.COLLATED

#: PostgreSQL's own, without the arrays, the rows of its catalog and what only functions have.
TYPES: tuple[Type, ...] = (
    # Numbers. The sum of numerics is exact, that of floats depends on the order of the rows.
    Type("int2", 21, 1005, _INTEGER | _KEEPS, "smallint", "int"),
    Type("int4", 23, 1007, _INTEGER | _KEEPS, "integer", "int"),
    Type("int8", 20, 1016, _INTEGER | _KEEPS, "bigint", "int"),
    Type("oid", 26, 1028, _INTEGER, family="oid"),
    Type("float4", 700, 1021, _FLOAT, "real"),
    Type("float8", 701, 1022, _FLOAT, "double precision"),
    Type("numeric", 1700, 1231, _ORDERED | _SMALL | _SCALAR | _T.NUMBER, "numeric"),
    Type("money", 790, 791, _SMALL | _SCALAR | _T.NUMBER),
    Type("bool", 16, 1000, _ORDERED | _SAME | _SMALL | _SCALAR | _KEEPS, "boolean", "bool"),
    # Text. uuid and bytea have no collation.
    Type("text", 25, 1009, _STRING | _SAME | _KEEPS, family="text"),
    Type("varchar", 1043, 1015, _STRING | _SAME | _KEEPS, "character varying", "text"),
    Type("bpchar", 1042, 1014, _T.COLLATED | _SCALAR, "character", "bpchar"),
    Type("name", 19, 1003, _STRING),
    Type("char", 18, 1002, _SMALL | _SCALAR),
    Type("uuid", 2950, 2951, _ORDERED | _TEXT | _SAME | _SMALL | _SCALAR | _KEEPS, family="uuid"),
    Type("bytea", 17, 1001, _ORDERED | _SCALAR | _KEEPS, family="bytea"),
    Type("json", 114, 199, _NONE | _SCALAR),
    Type("jsonb", 3802, 3807, _SCALAR),
    Type("jsonpath", 4072, 4073, _NONE | _SCALAR),
    Type("xml", 142, 143, _NONE | _SCALAR),
    Type("tsvector", 3614, 3643),  # which `unnest` takes apart itself
    Type("tsquery", 3615, 3645, _SCALAR),
    # Time.
    Type("date", 1082, 1182, _MOMENT, family="date"),
    Type("timestamp", 1114, 1115, _MOMENT, "timestamp without time zone", "timestamp"),
    Type("timestamptz", 1184, 1185, _MOMENT | _ZONED, "timestamp with time zone", "timestamptz"),
    Type("time", 1083, 1183, _T.TELLS_NOW | _SMALL | _SCALAR, "time without time zone"),
    Type("timetz", 1266, 1270, _T.TELLS_NOW | _SMALL | _SCALAR, "time with time zone"),
    Type("interval", 1186, 1187, _SMALL | _SCALAR, "interval"),
    # Shapes, all made of float8.
    Type("point", 600, 1017, _SHAPE | _SMALL),
    Type("lseg", 601, 1018, _SHAPE),
    Type("path", 602, 1019, _SHAPE),
    Type("box", 603, 1020, _SHAPE | _T.SEMICOLON),
    Type("polygon", 604, 1027, _SHAPE),
    Type("line", 628, 629, _SHAPE),
    Type("circle", 718, 719, _SHAPE),
    # Ranges.
    Type("int4range", 3904, 3905, _SCALAR),
    Type("int8range", 3926, 3927, _SCALAR),
    Type("numrange", 3906, 3907, _SCALAR),
    Type("daterange", 3912, 3913, _SCALAR),
    Type("tsrange", 3908, 3909, _SCALAR),
    Type("tstzrange", 3910, 3911, _ZONED | _SCALAR),
    Type("int4multirange", 4451, 6150, _SCALAR),
    Type("int8multirange", 4536, 6157, _SCALAR),
    Type("nummultirange", 4532, 6151, _SCALAR),
    Type("datemultirange", 4535, 6155, _SCALAR),
    Type("tsmultirange", 4533, 6152, _SCALAR),
    Type("tstzmultirange", 4534, 6153, _ZONED | _SCALAR),
    # Networks, bits.
    Type("inet", 869, 1041, _SCALAR),
    Type("cidr", 650, 651, _SCALAR),
    Type("macaddr", 829, 1040, _SMALL | _SCALAR),
    Type("macaddr8", 774, 775, _SMALL | _SCALAR),
    Type("bit", 1560, 1561, _SCALAR, "bit"),
    Type("varbit", 1562, 1563, _SCALAR, "bit varying"),
    # The catalog's, and transactions'. The names of what has an OID, an OID of each server's own.
    *(
        Type(name, oid, array_oid, _SCALAR)
        for name, oid, array_oid in (
            ("regclass", 2205, 2210),
            ("regcollation", 4191, 4192),
            ("regconfig", 3734, 3735),
            ("regdictionary", 3769, 3770),
            ("regnamespace", 4089, 4090),
            ("regoper", 2203, 2208),
            ("regoperator", 2204, 2209),
            ("regproc", 24, 1008),
            ("regprocedure", 2202, 2207),
            ("regrole", 4096, 4097),
            ("regtype", 2206, 2211),
        )
    ),
    Type("tid", 27, 1010, _SMALL | _SCALAR),
    Type("xid", 28, 1011, _SMALL | _SCALAR),
    Type("xid8", 5069, 271, _SMALL | _SCALAR),
    Type("cid", 29, 1012, _SMALL | _SCALAR),
    Type("pg_lsn", 3220, 3221, _SMALL | _SCALAR),
    Type("pg_snapshot", 5038, 5039, _NONE | _SCALAR),
    Type("txid_snapshot", 2970, 2949, _NONE | _SCALAR),
    Type("refcursor", 1790, 2201, _NONE | _SCALAR),
    Type("aclitem", 1033, 1034, _SCALAR),
    Type("int2vector", 22, 1006),
    Type("oidvector", 30, 1013),
    Type("gtsvector", 3642, 3644, _NONE | _T.UNREADABLE),
    Type("pg_node_tree", 194, 0, _INTERNAL),
    Type("pg_ndistinct", 3361, 0, _INTERNAL),
    Type("pg_dependencies", 3402, 0, _INTERNAL),
    Type("pg_mcv_list", 5017, 0, _INTERNAL),
    Type("pg_brin_bloom_summary", 4600, 0, _INTERNAL | _NONE),
    Type("pg_brin_minmax_multi_summary", 4601, 0, _INTERNAL | _NONE),
    # Rows without a named type, and what stands for several types.
    Type("record", 2249, 2287, _T.UNREADABLE),
    Type("anyarray", 2277, 0, _T.UNREADABLE),
)


# Lookups ------------------------------------------------------------------------------------

BY_NAME: Mapping[str, Type] = {each.name: each for each in TYPES}
#: The type of an array's elements, by their OIDs; of those whose elements a comma separates.
ELEMENTS: Mapping[int, int] = {
    each.array_oid: each.oid
    for each in TYPES
    if each.array_oid and Trait.SEMICOLON not in each.traits
}
#: The families of types that can be shard keys, by the types' names.
FAMILIES: Mapping[str, str] = {each.name: each.family for each in TYPES if each.family is not None}


def oid_of(name: str) -> int:
    """The OID of a type.

    >>> oid_of("timestamptz")
    1184
    """
    return BY_NAME[name].oid


def oids_with(trait: Trait, *, arrays: bool = False) -> frozenset[int]:
    """The OIDs of the types that have a trait.

    Args:
        trait: The trait.
        arrays: Whether arrays of them count, too.
    """
    found = [each for each in TYPES if trait in each.traits]
    return frozenset(
        oid
        for each in found
        for oid in ((each.oid, each.array_oid) if arrays else (each.oid,))
        if oid
    )


def names_with(trait: Trait, *, arrays: bool = False) -> frozenset[str]:
    """The names of the types with a trait; that of an array begins with an underscore."""
    found = [each for each in TYPES if trait in each.traits]
    names = frozenset(each.name for each in found)
    return names | {f"_{each.name}" for each in found if each.array_oid} if arrays else names


def by_family(of_family: Mapping[str, _Value]) -> dict[str, _Value]:
    """What is given for each family, by the names of its types.

    >>> by_family({"text": 1})
    {'text': 1, 'varchar': 1}
    """
    return {name: of_family[family] for name, family in FAMILIES.items() if family in of_family}


#: What stands behind a type's name, or in it: ``(12,2)``, ``[]``, ``day to second``.
_MODIFIER = re.compile(r"\([0-9, -]*\)|(?:\[\])+$|(?<=^interval) .*")
_BY_WORD = {each.sql: each for each in TYPES if each.sql is not None}
_WRITTEN = {
    **{f"pg_catalog.{each.name}": each for each in TYPES},
    **{f'pg_catalog."{each.name}"': each for each in TYPES},
    **_BY_WORD,
}


def is_standard(written: str) -> bool:
    """Whether a type is written by SQL's own words, which need no schema.

    >>> is_standard("timestamp(3) with time zone"), is_standard("uuid"), is_standard('"bit"')
    (True, False, False)
    """
    return _MODIFIER.sub("", written) in _BY_WORD


@lru_cache(maxsize=1024)
def read(written: str) -> Type | None:
    """PostgreSQL's own type that a cast names, or whose arrays it does; None if it is another.

    Args:
        written: As `Column.type_sql`.

    >>> read("character varying(20)[]").name, read("pg_catalog.uuid").name, read("public.mood")
    ('varchar', 'uuid', None)
    """
    return _WRITTEN.get(_MODIFIER.sub("", written))


TIMES = frozenset(
    names_with(Trait.TELLS_NOW)
    | {"daterange", "tsrange", "tstzrange", "datemultirange", "tsmultirange", "tstzmultirange"}
)


def is_time(name: str) -> bool:
    """Whether PostgreSQL's own type of a name is a time, or a range of times."""
    return name in TIMES


def has(written: str, trait: Trait) -> bool:
    """Whether a type, as a cast names it, or that of an array's elements, is known to have a trait.

    >>> has("real", Trait.FLOATS), has("public.mood", Trait.FLOATS)
    (True, False)
    """
    found = read(written)
    return found is not None and trait in found.traits
