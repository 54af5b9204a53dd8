"""A session's bearings: what a statement's meaning depends on beside its text and the tables.

They are

- where the session looks for names: the schemas on its search path that are there;
- as whom it acts: its role, and its user if SET SESSION AUTHORIZATION has changed that;
- what it has set of the settings that decide how values are written and read, such as TimeZone;
- its temporary tables, which hide others of the same name.

Only the server knows them: the defaults of a role, a database or a connection string count, and a
function that a trigger calls may have moved them. Each connection keeps those that its server has
told last, and when; `KnownBearings` tells when that is good enough.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

#: What makes another text, number or row of the same values, or lets triggers be.
#: Source: PostgreSQL manual, 19.11 "Client Connection Defaults" and 19.13 "Version and Platform
#: Compatibility". Literals and client encodings are `quoting`'s, search_path and role stand alone.
_NAMES = (
    "DateStyle", "IntervalStyle", "TimeZone", "array_nulls", "bytea_output",
    "default_text_search_config", "extra_float_digits", "gin_fuzzy_search_limit", "lc_monetary",
    "lc_numeric", "lc_time", "quote_all_identifiers", "session_replication_role",
    "timezone_abbreviations", "transform_null_equals", "xmlbinary", "xmloption",
)  # fmt: skip
_SETTINGS = ", ".join(f"pg_catalog.current_setting('{name}')" for name in _NAMES)

#: An expression, of type bytea. Temporary relations have no place in the path: their names are
#: listed.
BEARINGS = f"""
pg_catalog.convert_to(pg_catalog.json_build_array(
    pg_catalog.to_json(pg_catalog.current_schemas(true)),
    pg_catalog.current_setting('search_path'),
    pg_catalog.current_setting('role'),
    SESSION_USER,
    pg_catalog.concat(pg_catalog.current_setting('transaction_isolation'), ' ',
        pg_catalog.current_setting('default_transaction_isolation')),
    CASE WHEN pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid THEN (
        SELECT pg_catalog.json_agg(relname) FROM pg_catalog.pg_class
        WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()
            AND relkind OPERATOR(pg_catalog.<>) 'i'::pg_catalog."char") END,
    pg_catalog.json_build_array({_SETTINGS})
)::pg_catalog.text, 'UTF8')
"""

#: Spellings of the same, which servers on different systems have by default.
_SAME = {"Etc/UTC": "UTC", "POSIX": "C"}


@dataclass(frozen=True, slots=True)
class Bearings:
    """What holds in one session.

    Attributes:
        path: The schemas in which it looks for names, in order; with ``pg_catalog``, without the
            session's own ``pg_temp_N``.
        search_path: The setting, as it is written.
        role: What it has set, or "none".
        user: Its session's user; empty if that is who it began as, for shards may know the program
            by different names.
        isolated: Whether a transaction may see other rows than one that begins now.
        temporary: The names of its temporary relations.
        settings: What decides how values are written and read, in a fixed order.
    """

    path: tuple[str, ...]
    search_path: str
    role: str
    user: str
    isolated: bool
    temporary: frozenset[str]
    settings: tuple[str, ...]

    @property
    def place(self) -> tuple[object, ...]:
        """Where names are looked up and as whom: must be the same on all shards."""
        return (self.path, self.role, self.user)

    @property
    def float_digits(self) -> int:
        """What ``extra_float_digits`` is."""
        return int(self.settings[_NAMES.index("extra_float_digits")])

    @property
    def reads_nulls(self) -> bool:
        """Whether NULL in the text of an array is none (``array_nulls``)."""
        return self.settings[_NAMES.index("array_nulls")] == "on"

    def apart(self, other: Bearings) -> list[tuple[str, str, str]]:
        """The settings that two sessions differ in, with both values."""
        if self.settings == other.settings:
            return []
        both = zip(_NAMES, self.settings, other.settings, strict=True)
        return [(n, one, two) for n, one, two in both if _plain(n, one) != _plain(n, two)]

    def bringing(self, other: Bearings) -> list[tuple[str, str]]:
        """What another session of the same user must set to have these bearings."""
        found = [(name, one) for name, one, _ in self.apart(other)]
        if self.search_path != other.search_path:
            found.append(("search_path", self.search_path))
        if self.role != other.role:
            found.append(("role", self.role))
        return found


@lru_cache(maxsize=256)
def read_bearings(found: bytes, first_user: str | None) -> tuple[Bearings, str]:
    """The bearings, one object for all sessions that have the same; and the session's user.

    Args:
        found: What the server has told.
        first_user: Who the user was when the session was asked first; None if that is now.
    """
    path, search_path, role, user, isolation, temporary, settings = json.loads(found)
    bearings = Bearings(
        tuple(schema for schema in path if not schema.startswith("pg_temp_")),
        search_path,
        role,
        "" if first_user in {None, user} else user,
        "repeatable read" in isolation or "serializable" in isolation,
        frozenset(temporary or ()),
        tuple(settings),
    )
    # Two caches: other texts (another user, say) may tell the same bearings.
    return _interned(bearings), user


@lru_cache(maxsize=256)
def _interned(bearings: Bearings) -> Bearings:
    """The one object for equal bearings, which are then compared by identity."""
    return bearings


def _plain(name: str, setting: str) -> str:
    """A setting in one of the spellings that mean the same."""
    if name == "extra_float_digits":
        return str(min(int(setting), 1))  # since PostgreSQL 12, more means the same
    # C libraries take both spellings, and PostgreSQL keeps the one that it was given.
    if name.startswith("lc_"):
        setting = setting.replace(".utf8", ".UTF-8")
    return _SAME.get(setting, setting)


def told(bearings: Mapping[str, Bearings]) -> str:
    """Where the sessions of some shards look for names, and as whom, for a message."""
    return "; ".join(
        f"{shard} in {', '.join(one.path)}, with role {one.role}"
        + (f", as {one.user}" if one.user else "")
        for shard, one in sorted(bearings.items())
    )
