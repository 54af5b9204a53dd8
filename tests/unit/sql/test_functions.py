"""The table of PostgreSQL's functions; what it says is compared with servers elsewhere."""

from __future__ import annotations

from collections import Counter

import pytest

from greenshard.sql.functions import (
    AGGREGATES,
    EVERY,
    QUIET,
    RUNNING,
    WINDOW_FUNCTIONS,
    Fact,
    Parts,
    Versions,
    entries,
    extension_entries,
    facts_of,
    is_known,
    names_with,
)
from greenshard.sql.parser import parse
from greenshard.sql.read_only import only_reads

NATURES = Fact.ALIKE | Fact.ANYWHERE | Fact.PLACE_BOUND | Fact.WRITES


def test_each_name_is_there_once_and_is_of_one_nature() -> None:
    names = Counter(name for name, _, _ in entries())
    assert [name for name, count in names.items() if count > 1] == []
    for name, fact, _ in entries():
        assert (fact & NATURES).value.bit_count() <= 1, name
    assert names.keys().isdisjoint(AGGREGATES)
    assert names.keys().isdisjoint(WINDOW_FUNCTIONS)


def test_a_family_says_it_of_all_but_those_that_have_an_entry() -> None:
    assert facts_of("pg_stat_get_anything") == Fact.PLACE_BOUND | Fact.OF_PART
    assert facts_of("pg_stat_get_backend_anything") == Fact.PLACE_BOUND
    assert facts_of("pg_stat_reset_anything") == Fact.WRITES
    assert facts_of("lo_unlink") == Fact.WRITES
    assert facts_of("lo_get") == Fact.PLACE_BOUND
    assert facts_of("dblink_exec") == Fact.WRITES
    assert facts_of("pg_size_pretty") == Fact(0)
    assert is_known("pg_get_anything")
    assert not is_known("pg_anything")


def test_what_is_told_of_several_kinds_of_functions() -> None:
    assert {"random", "pg_notify", "gen_salt", "timezone"} <= QUIET
    assert QUIET.isdisjoint({"nextval", "setseed", "set_config", "pg_advisory_lock", "now"})
    assert {"ts_rewrite", "query_to_xml", "isn_weak"} <= RUNNING
    assert names_with(Fact.TELLS_TIME) == {"now", "transaction_timestamp"}
    with pytest.raises(AssertionError):
        names_with(Fact.WRITES)  # a family has it
    assert {"count", "to_json", "json_agg_strict"} <= names_with(Fact.ANY_ROW)
    assert Fact.ANY_ROW not in facts_of("string_agg")


def test_aggregates_that_are_made_of_parts() -> None:
    made = {name: each.parts for name, each in AGGREGATES.items() if each.parts is not None}
    assert made == {
        **dict.fromkeys(
            ["any_value", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "every", "max"],
            Parts.SAME,
        ),
        "min": Parts.SAME, "count": Parts.COUNT, "sum": Parts.SUM, "avg": Parts.AVERAGE,
    }  # fmt: skip
    assert not AGGREGATES["bit_xor"].idempotent
    assert not AGGREGATES["any_value"].unordered


def test_versions() -> None:
    assert 18 in Versions(16)
    assert 15 not in Versions(16)
    assert 14 in Versions(None, 14)
    assert 15 not in Versions(None, 14)
    assert 20 in EVERY


def test_what_writes_is_seen_in_a_text() -> None:
    """Whether a text has a word of such a name is looked at first, without its tree."""
    names = [(name, fact) for name, fact, _ in entries()]
    names += [(name, fact) for _, name, fact in extension_entries()]
    for name, fact in names:
        text = f'SELECT "{name.replace("*", "x")}"(1)'
        assert only_reads(text, parse(text)) is (Fact.WRITES not in fact), name
