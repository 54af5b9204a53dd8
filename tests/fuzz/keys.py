"""Values of shard keys: greenshard places a row where PostgreSQL's own partitioning puts it.

One database has, for each type of key, a table that is partitioned by hash into four; four shards
have one of the parts each. A value in one of many forms is inserted, looked for, or named as a key:
the shards have the row that the partition has, find what one database finds, or refuse.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import psycopg2
from psycopg2 import extras, sql

import greenshard
from greenshard.cluster import Hash
from greenshard.testing import Shards
from tests.fuzz import key_values
from tests.fuzz.own_adapters import own_adapters

COUNT = 4
STORED = 40
NAMES = tuple(f"s{number}" for number in range(COUNT))
TABLES = {type_name: f"of {type_name}" for type_name in key_values.TYPES}
#: Settings of the session that decide what texts mean.
SETTINGS = (
    {},
    {"DateStyle": "SQL, DMY", "TimeZone": "Asia/Kathmandu"},
    {"DateStyle": "Postgres, MDY", "TimeZone": "America/St_Johns"},
    {"bytea_output": "escape", "TimeZone": "Europe/London", "backslash_quote": "on"},
)
#: Conditions on the key; each %s is a value.
CONDITIONS = (
    *("k = %s", "k = %s", "k = %s", "%s = k", "k IN (%s, %s)", "k = ANY (ARRAY[%s, %s])"),
    *("k = CAST(%s AS {type})", "k = %s::{type}", "k = %s::text::{type}", "k = %s::text"),
    *("k::text = %s", "k IS NOT DISTINCT FROM %s", "k = %s OR k = %s", "(k, 1) = (%s, 1)"),
    *("k = (SELECT %s)", "k BETWEEN %s AND %s", "NOT k <> %s", "k = %s AND k = %s", "k = - %s"),
    *("k = %s::int8", "k = %s::numeric", "k = %s::varchar", "k = %s::bpchar", "k = %s::date"),
    *("k = %s::timestamp", "k = %s::timestamptz", "k = %s || ''", "k = + %s", "(k) = (%s)"),
    *("k = %s::name", "k = %s::{type}::text::{type}", "k = {type} %s", "k LIKE %s", "k IN (%s)"),
    *("k = CASE WHEN true THEN %s END", "k = COALESCE(%s, %s)", 'k = %s COLLATE "C"'),
)

#: SQLSTATEs for a value that is of no type which fits.
_OF_ANOTHER_TYPE = {"42804", "42846", "42883"}


class Keys:
    """Databases with keys of each type.

    Args:
        shards: One server.
        seed: Of the rows.
    """

    def __init__(self, shards: Shards, seed: object) -> None:
        self._seed = seed
        self._stack = contextlib.ExitStack()
        self.tally = {"equal": 0, "refused": 0, "error": 0}
        with contextlib.closing(psycopg2.connect(shards[0].dsn)) as admin:
            admin.autocommit = True
            for name in ("keys_one", *(f"keys_{shard}" for shard in NAMES)):
                admin.cursor().execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                admin.cursor().execute(f"CREATE DATABASE {name} TEMPLATE template0")
        self.one = self._open(psycopg2.connect(shards[0].dsn_of("keys_one")))
        dsns = {name: shards[0].dsn_of(f"keys_{name}") for name in NAMES}
        self._sides = {name: self._open(psycopg2.connect(dsn)) for name, dsn in dsns.items()}
        for side in self._sides.values():
            side.autocommit = True
        self._make_tables()
        tables = {f'"{_quoted(table)}"': greenshard.Sharded("k") for table in TABLES.values()}
        cluster = greenshard.Cluster(dsns, tables, Hash(slots=COUNT))
        self.many = self._open(greenshard.connect(cluster, timeout=30.0))
        for conn in (self.one, self.many):
            extras.register_uuid(conn_or_curs=conn)

    def _open(self, conn: Any) -> Any:
        return self._stack.enter_context(contextlib.closing(conn))

    def close(self) -> None:
        self._stack.close()

    def _make_tables(self) -> None:
        types = "CREATE DOMAIN whole AS int4; CREATE DOMAIN words AS varchar(9);"
        for conn in (self.one, *self._sides.values()):
            conn.cursor().execute(types)
        for type_name, table in TABLES.items():
            made = f'CREATE TABLE "{_quoted(table)}" (k {type_name}, n int)'
            self.one.cursor().execute(f"{made} PARTITION BY HASH (k)")
            for slot in range(COUNT):
                self.one.cursor().execute(
                    f'CREATE TABLE "{_quoted(table)} {slot}" PARTITION OF "{_quoted(table)}"'
                    f" FOR VALUES WITH (MODULUS {COUNT}, REMAINDER {slot})"
                )
            for side in self._sides.values():
                side.cursor().execute(made)
        self.one.commit()
        for type_name, table in TABLES.items():
            self._fill(type_name, table)

    def _fill(self, type_name: str, table: str) -> None:
        pick = Random(f"{self._seed}/rows/{type_name}")
        insert = sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(sql.Identifier(table))
        cur = self.one.cursor()
        cur.execute("SET TimeZone = 'UTC'")
        for number in range(STORED):
            cur.execute("SAVEPOINT s")
            try:
                cur.execute(insert, (self._stored(pick, type_name), number))
            except (psycopg2.Error, ValueError):
                cur.execute("ROLLBACK TO s")
        whole = sql.SQL("SELECT tableoid::regclass::text, k::text, n FROM {}")
        cur.execute(whole.format(sql.Identifier(table)))
        cast = sql.SQL("INSERT INTO {} VALUES (%s::{}, %s)")
        for partition, key, number in cur.fetchall():
            statement = cast.format(sql.Identifier(table), sql.SQL(_bare(type_name)))
            self._sides[_slot(partition)].cursor().execute(statement, (key, number))
        self.one.commit()

    @staticmethod
    def _stored(pick: Random, type_name: str) -> Any:
        made = key_values.own(pick, type_name)
        made = made % 50 if isinstance(made, int) and pick.random() < 0.4 else made
        return None if pick.random() < 0.05 else str(made) if isinstance(made, int) else made

    # One case -------------------------------------------------------------------------------

    def labels(self, seed: object) -> Iterator[str]:
        """A label for each case, without an end. The rows are those of another seed.

        In every third case the program has adapters of its own.
        """
        number = 0
        while True:
            yield f"{seed}/{number}{'/own' if number % 3 == 2 else ''}"
            number += 1

    def run(self, label: str) -> str:
        """Try a value; returns what is wrong, or nothing."""
        pick = Random(f"{label}/keys")
        if label.endswith("own"):
            with own_adapters(pick):
                return self._run(pick)
        return self._run(pick)

    def _run(self, pick: Random) -> str:
        type_name = pick.choice([*TABLES])
        settings = pick.choice(SETTINGS)
        kind = pick.choices((self._find, self._insert, self._name), (6, 4, 1))[0]
        try:
            for name, setting in settings.items():
                for conn in (self.one, self.many):
                    conn.cursor().execute(f"SET LOCAL {name} = '{setting}'")
            return kind(pick, type_name)
        finally:
            self.one.rollback()
            self.many.rollback()

    def _find(self, pick: Random, type_name: str) -> str:
        """Rows with a key are found as one database finds them."""
        condition = pick.choice(CONDITIONS).replace("{type}", _bare(type_name))
        given = self._given(pick, type_name, condition.count("%s"))
        text = f'SELECT n FROM "{_quoted(TABLES[type_name])}" WHERE {condition}'
        text = text.replace("%", "%%").replace("%%s", "%s")
        text, args = _written_out(self.one, pick, text, given)
        told = f"execute({text!r}, {args!r})"
        return self._compared(told, _outcome(self.one, text, args), _outcome(self.many, text, args))

    def _given(self, pick: Random, type_name: str, count: int) -> list[Any]:
        """Values, many of which are there."""
        given = [key_values.value(pick, type_name) for _ in range(count)]
        if pick.random() < 0.5:
            rows = Random(f"{self._seed}/rows/{type_name}")
            stored = [self._stored(rows, type_name) for _ in range(pick.randrange(STORED) + 1)][-1]
            given[pick.randrange(count)] = _otherwise(pick, stored)
        return given

    def _insert(self, pick: Random, type_name: str) -> str:
        """A new row goes to the shard that has its partition, as the same value."""
        table = _quoted(TABLES[type_name])
        form = pick.choice(("%s",) * 12 + ("%s::{type}", "%s::text", "- %s"))
        form = form.replace("{type}", _bare(type_name))
        text = f'INSERT INTO "{table.replace("%", "%%")}" (n, k) VALUES (-1, {form})'
        given = [key_values.value(pick, type_name)]
        text, args = _written_out(self.one, pick, text, given)
        there = _outcome(self.one, text, args)
        if not isinstance(there, Exception):
            there = _outcome(
                self.one, f'SELECT tableoid::regclass::text, k::text FROM "{table}" WHERE n = -1'
            )
            there = [(_slot(partition), key) for partition, key in there]
        here = _outcome(self.many, text, args)
        if not isinstance(here, Exception):
            here = [
                (shard, key)
                for shard in NAMES
                for (key,) in _outcome(
                    self.many.on(shard), f'SELECT k::text FROM "{table}" WHERE n = -1'
                )
            ]
        return self._compared(f"execute({text!r}, {args!r})", there, here)

    def _name(self, pick: Random, type_name: str) -> str:
        """`conn.on(key=...)` names the shard that has a key's partition, if it names one."""
        key = key_values.value(pick, type_name)
        table = _quoted(TABLES[type_name])
        try:
            with self.many.on(key=key, table=f'"{table}"') as conn:
                shard = conn._statements.target.shards
        except greenshard.ProgrammingError:
            self.tally["refused"] += 1
            return ""
        there = _outcome(
            self.one, f'INSERT INTO "{table}" VALUES (%s) RETURNING tableoid::regclass', (key,)
        )
        if isinstance(there, Exception) or (_slot(there[0][0]),) == shard:
            self.tally["equal"] += 1
            return ""
        return f"on(key={key!r}) of {type_name} is {shard}, and {there} on one database"

    def _compared(self, told: str, there: Any, here: Any) -> str:
        if isinstance(here, greenshard.NotSupportedError) and not here.pgcode:
            self.tally["refused"] += 1
            return ""
        if isinstance(there, Exception) or isinstance(here, Exception):
            if _alike(there, here):
                self.tally["error"] += 1
                return ""
            return f"{told} gave {here!r}, and {there!r} on one database"
        if sorted(map(repr, there)) != sorted(map(repr, here)):
            return f"{told} gave {here!r}, and {there!r} on one database"
        self.tally["equal"] += 1
        return ""


def _quoted(table: str) -> str:
    return table.replace('"', '""')


def _bare(type_name: str) -> str:
    return type_name.partition(" COLLATE")[0]


def _slot(partition: str) -> str:
    return f"s{partition.strip(chr(34))[-1]}"


def _otherwise(pick: Random, stored: Any) -> Any:
    """A stored value, given as it may be given too."""
    if isinstance(stored, str) and stored.lstrip("-").isdigit():
        return pick.choice(
            (int(stored), stored, float(stored), f" {stored} ", f"+{stored}", stored)
        )
    forms = (stored, stored, stored, str(stored), f"{stored} ")
    return pick.choice(forms)


def _written_out(conn: Any, pick: Random, text: str, given: Sequence[Any]) -> tuple[str, Any]:
    """A statement with its values as parameters, or with some of them written in the text."""
    roll = pick.random()
    if roll < 0.6:
        return text, tuple(given)
    literals = []
    for value in given:
        try:
            literals.append(_literal(conn, pick, value))
        except (psycopg2.Error, ValueError):
            return text, tuple(given)
    return text % tuple(literals), None


def _literal(conn: Any, pick: Random, value: Any) -> str:
    with conn.cursor() as cur:
        written = cur.mogrify("%s", (value,)).decode()
    if isinstance(value, str) and "\0" not in value and pick.random() < 0.6:
        plain = value.replace("'", "''")
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        coded = "".join(f"\\+{ord(letter):06x}" for letter in value)
        return pick.choice((f"'{plain}'", f"E'{escaped}'", f"$x${value}$x$", f"U&'{coded}'"))
    return written


def _outcome(conn: Any, text: str, args: Any = None) -> Any:
    """The rows of a statement, or its error."""
    try:
        with conn.cursor() as cur:
            cur.execute(text, args)
            return cur.fetchall() if cur.description else []
    except Exception as error:
        return error


def _alike(there: Any, here: Any) -> bool:
    if not isinstance(there, Exception) or not isinstance(here, Exception):
        return False
    if isinstance(there, psycopg2.Error) and isinstance(here, psycopg2.Error):
        # What cannot be assigned to the key is cast before, to know its shard: that may fail in a
        # way of its own.
        cast = here.pgcode in _OF_ANOTHER_TYPE or (here.pgcode or "").startswith("22")
        if there.pgcode in _OF_ANOTHER_TYPE and cast:
            return True
        codes = {each.pgcode for each in getattr(here, "failures", {}).values()} or {here.pgcode}
        return codes == {there.pgcode} or isinstance(here, type(there))
    return isinstance(here, type(there))
