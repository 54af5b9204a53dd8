"""Hashes as PostgreSQL 18 computed them, by ``hashint8extended(7, 0x7A5B22367996DCFD)`` etc."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from greenshard.cluster.hashing import HASHED_TYPES, integer_row_hashes, row_hash

MOMENT = datetime(2024, 2, 29, 12, 34, 56, 789012)  # noqa: DTZ001
EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001
ZONE = timezone(timedelta(hours=2))
HASHES: list[tuple[str, Any, int]] = [
    ("int2", -7, 0xE457EC323F4A4CDA),
    ("int4", 0, 0x0C8440B74FD699B0),
    ("int4", 1, 0x9C7715E2970A8FB8),
    ("int4", -1, 0x0400BC251F3BAFA5),
    ("int4", 2147483647, 0xF5AA185B5E7FA17F),
    ("int8", 7, 0x615705792A41C517),
    ("int8", 2147483648, 0x8E2A2EEC347A3A76),
    ("int8", -2147483649, 0xF5AA185B5E7FA17F),
    ("int8", 9223372036854775807, 0x8E2A2EEC347A3A76),
    ("int8", -9223372036854775808, 0xF5AA185B5E7FA17F),
    ("oid", 0, 0x0C8440B74FD699B0),
    ("oid", 7, 0x615705792A41C517),
    ("oid", 4294967295, 0x0400BC251F3BAFA5),
    # On both sides of each four and each twelve bytes.
    ("text", "", 0xFA8431E86A2568A6),
    ("text", "a", 0xEC9335D598214F5E),
    ("text", "é", 0x86624D66E0F247AF),
    ("text", "abcd", 0x818C35210CE35951),
    ("text", "abcdefg", 0x3496335CD51D4491),
    ("text", "abcdefgh", 0xDE0291345287BB95),
    ("text", "abcdefghijk", 0x2D3A8ECB003BCB5B),
    ("text", "abcdefghijkl", 0xDC50F8B0863AF069),
    ("text", "abcdefghijklm", 0xEB751D72E08D2F96),
    ("text", "abcdefghijklmnopqrstuvwx", 0x497A059E53B08C51),
    ("text", "abcdefghijklmnopqrstuvwxy", 0x5CD26CF05946E0A2),
    ("text", "The quick brown fox jumps over", 0x494F0C777C1233FF),
    ("varchar", "a ", 0x7B20BBCB5721F6C1),
    ("bpchar", "a", 0xEC9335D598214F5E),
    ("bpchar", " a   ", 0x056D33CEBDE588C9),
    ("bpchar", "   ", 0xFA8431E86A2568A6),
    ("uuid", UUID("00000000-0000-0000-0000-000000000005"), 0x1818964218366274),
    ("uuid", UUID("f47ac10b-58cc-4372-a567-0e02b2c3d479"), 0xB6834CC61BAD616A),
    ("bytea", b"", 0xFA8431E86A2568A6),
    ("bytea", b"\x00\xff", 0xDA25D7195A0AEB49),
    ("bool", True, 0x9C7715E2970A8FB8),
    ("bool", False, 0x0C8440B74FD699B0),
    ("date", date(2000, 1, 1), 0x0C8440B74FD699B0),
    ("date", date(2024, 2, 29), 0xE295B9137CC4BCE7),
    ("date", date(1999, 12, 31), 0x0400BC251F3BAFA5),
    ("date", "infinity", 0xF5AA185B5E7FA17F),
    ("date", "-infinity", 0x8E2A2EEC347A3A76),
    ("timestamp", EPOCH, 0x0C8440B74FD699B0),
    ("timestamp", MOMENT, 0x6C63A29558F8FD31),
    ("timestamp", EPOCH - timedelta(microseconds=1), 0x0400BC251F3BAFA5),
    ("timestamp", "infinity", 0x8E2A2EEC347A3A76),
    ("timestamp", "-infinity", 0xF5AA185B5E7FA17F),
    ("timestamptz", EPOCH.replace(tzinfo=timezone.utc), 0x0C8440B74FD699B0),
    ("timestamptz", (MOMENT + timedelta(hours=2)).replace(tzinfo=ZONE), 0x6C63A29558F8FD31),
    ("timestamptz", "infinity", 0x8E2A2EEC347A3A76),
    ("timestamptz", "-infinity", 0xF5AA185B5E7FA17F),
]


@pytest.mark.parametrize(("type_name", "value", "hashed"), HASHES)
def test_a_value_hashes_as_on_the_server(type_name: str, value: Any, hashed: int) -> None:
    assert row_hash(value, type_name) == hashed


def test_null_is_not_hashed() -> None:
    assert {row_hash(None, name) for name in HASHED_TYPES} == {0}
    assert row_hash(None, "numeric") is None


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("int8", True),
        ("int8", 2**63),
        ("int8", -(2**63) - 1),
        ("int8", "7"),
        ("oid", -1),
        ("oid", 2**32),
        ("oid", True),
        ("oid", "7"),
        ("text", b"a"),
        ("text", "\ud800"),
        ("bpchar", b"a"),
        ("uuid", "f47ac10b-58cc-4372-a567-0e02b2c3d479"),
        ("bytea", "a"),
        ("bool", 1),
        ("date", MOMENT),
        ("date", 7),
        ("date", "2024-02-29"),
        ("timestamp", date(2024, 2, 29)),
        ("timestamp", MOMENT.replace(tzinfo=ZONE)),
        ("timestamp", "now"),
        ("timestamptz", MOMENT),
        ("timestamptz", "now"),
        ("numeric", 7),
    ],
)
def test_what_is_no_value_of_the_type_has_no_hash(type_name: str, value: Any) -> None:
    assert row_hash(value, type_name) is None


class Named(str):
    """A text of a program's own class; psycopg2 writes it as any."""

    __slots__ = ()


@pytest.mark.parametrize("kind", [str, Named])
@pytest.mark.parametrize("type_name", ["text", "varchar", "bpchar"])
def test_text_hashes_by_its_bytes_in_the_databases_encoding(kind, type_name) -> None:
    blanks = "  " if type_name == "bpchar" else ""
    assert row_hash(kind("é" + blanks), type_name, "latin-1") == row_hash(b"\xe9", "bytea")
    assert row_hash(kind("ő"), type_name, "latin-1") is None


def test_many_integers_are_hashed_as_each_by_itself() -> None:
    integers = [(kind, value) for kind, value, _ in HASHES if kind in {"int2", "int4", "int8"}]
    spread = [("int8", sign * (3**power)) for power in range(1, 39) for sign in (1, -1)]
    known = [row_hash(value, kind) for kind, value in (*integers, *spread)]
    assert integer_row_hashes([value for _, value in (*integers, *spread)]) == known
