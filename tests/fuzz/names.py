"""Names from hell: whatever PostgreSQL allows, greenshard reads, writes, checks and explains.

Each case makes a schema with tables, a view, a type and a function whose names are full of quotes,
percent signs, blanks, keywords and the words that greenshard itself uses; on one database with all
rows, and on two shards of databases with such names. Then statements of each strategy run on both.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn

import greenshard
from greenshard.checking import check
from greenshard.testing import Shards
from tests.fuzz.name_statements import STATEMENTS, WRITES

ROWS = 16
_PIECES = (
    *(
        '"',
        '""',
        "'",
        "''",
        ".",
        "..",
        "%",
        "%%",
        "%s",
        "%(a)s",
        "%b",
        "$1",
        "$x$",
        "$$",
        "\\",
        "\\'",
    ),
    *("\n", "\t", "\r", " ", "  ", "\x01", "\x7f", "\u00a0", "\u200b", "\u202e", "\U0001f600", "é"),
    *(
        "e\u0301",
        "ß",
        "İ",
        "ﬁ",
        "中",
        "{",
        "}",
        "{0}",
        "{a}",
        ";",
        "--",
        "/*",
        "*/",
        ":",
        "::",
        "?",
    ),
    *(
        "(",
        ")",
        ",",
        "[",
        "]",
        "#",
        "=",
        "@",
        "|",
        "!",
        "&",
        "<",
        ">",
        "~",
        "`",
        "^",
        "*",
        "/",
        "+",
    ),
    *("a", "B", "0", "gs", "k0", "select", "x'y", 'x"y', "password=p", "://", "E'", "U&"),
)
_WHOLE = (
    *("select", "user", "table", "order", "from", "group", "null", "true", "all", "any", "end"),
    *("current_user", "default", "limit", "values", "row", "array", "cast", "left", "natural"),
    *(
        "pg_temp",
        "pg_temp_1",
        "PG_CATALOG",
        "public",
        "gs",
        "gs k0",
        "gs k1",
        "gs0 a",
        "gs$0",
        "c0",
    ),
    *(
        "c1",
        "k0",
        "gs$partial",
        "gs$limit",
        "partial",
        "s0",
        "s1",
        "excluded",
        "count",
        "sum",
        "now",
    ),
    *("new", "old", "K", "k", "?column?", "column1", "oid", "int4", "text", "row_number", "unnest"),
    *(" ", " a", "a ", "A", "a.b", '"', "'", "%", "%s", "\\", "\n", "*", "é" * 31, "x" * 63),
    *("\U0001f600" * 15 + "abc", "1", "0x", "-1", "1e5", "$1", "array_agg", "date", "timestamp"),
)
#: What stands for a name in statements: tables, a view, a function, types, columns, aliases.
_PLAIN = ("schema", "a", "b", "r", "v", "f", "type", "index", "p", "q", "s")
_COLUMNS = ("k", "x", "y", "w")
_ALIASES = ("n1", "n2", "n3")
_SYSTEM = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid")


def name(pick: Random, taken: set[str]) -> str:
    """A name that is not taken yet, of up to 63 bytes."""
    while True:
        if pick.random() < 0.35:
            made = pick.choice(_WHOLE)
        else:
            made = "".join(pick.choice(_PIECES) for _ in range(pick.choice((1, 2, 3, 4, 7, 40))))
        made = made.encode()[:63].decode(errors="ignore")
        if made and made not in taken and made not in _SYSTEM:
            taken.add(made)
            return made


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


class Names:
    """Databases with names from hell.

    Args:
        shards: One server.
        seed: Of the databases' names.
    """

    def __init__(self, shards: Shards, seed: object) -> None:
        self._stack = contextlib.ExitStack()
        pick, taken = Random(f"{seed}/databases"), {"postgres", "template0", "template1"}
        self._base = shards[0].dsn
        self._databases = [name(pick, taken) for _ in range(3)]
        self._role = name(pick, {"public", "none", "postgres", "current_user", "user", "pg_temp_1"})
        self._role = f"r{self._role}"[:20]
        self._admin = self._open(psycopg2.connect(self._base))
        self._admin.autocommit = True
        with self._admin.cursor() as cur:
            cur.execute(f"CREATE ROLE {quoted(self._role)} SUPERUSER LOGIN")
            for database in self._databases:
                cur.execute(f"CREATE DATABASE {quoted(database)} TEMPLATE template0")
        self._dsns = [
            make_dsn(self._base, dbname=database, user=self._role) for database in self._databases
        ]
        self.one, *self._sides = (self._open(psycopg2.connect(dsn)) for dsn in self._dsns)
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.tally = {"equal": 0, "refused": 0}

    def _open(self, conn: Any) -> Any:
        return self._stack.enter_context(contextlib.closing(conn))

    def close(self) -> None:
        for conn in (self.one, *self._sides):
            conn.close()
        with self._admin.cursor() as cur:
            for database in self._databases:
                cur.execute(f"DROP DATABASE {quoted(database)} WITH (FORCE)")
            cur.execute(f"DROP ROLE {quoted(self._role)}")
        self._stack.close()

    def labels(self, seed: object) -> Iterator[str]:
        """A label for each case, without an end."""
        number = 0
        while True:
            yield f"{seed}/{number}"
            number += 1

    # One case -------------------------------------------------------------------------------

    def run(self, label: str) -> str:
        """Make tables and try all statements; returns what is wrong, or nothing."""
        pick = Random(f"{label}/names")
        names = self._names(pick)
        try:
            self._make(names)
            wrong = list(self._tried(pick, names))
        finally:
            for conn in (self.one, *self._sides):
                conn.rollback()
                conn.cursor().execute(f"DROP SCHEMA IF EXISTS {quoted(names['schema'])} CASCADE")
                conn.commit()
        return "\n  ".join([f"names {names!r}", *wrong[:5]]) if wrong else ""

    def _names(self, pick: Random) -> dict[str, str]:
        taken = {"public", "pg_catalog", "information_schema", "greenshard"}
        names = {}
        while (schema := name(pick, taken)).startswith("pg_"):
            pass
        names["schema"] = schema
        taken = set()
        names |= {each: name(pick, taken) for each in _PLAIN[1:]}
        taken = set()
        names |= {each: name(pick, taken) for each in _COLUMNS}
        names |= {each: name(pick, set()) for each in _ALIASES[:1]}
        return names | {each: name(pick, {names["n1"]}) for each in _ALIASES[1:2]} | {"n3": "n 3"}

    def _make(self, names: dict[str, str]) -> None:
        written = {each: quoted(made) for each, made in names.items()}
        rows = [(key, f"w{key % 5}", key * 1.5, f"m{key % 3}") for key in range(ROWS)]
        cluster = self._cluster(names)
        for shard, conn in (("", self.one), *zip(cluster.names, self._sides, strict=True)):
            cur = conn.cursor()
            cur.execute(_SCHEMA.format_map(written))
            insert = "INSERT INTO {schema}.{table} ({k}, {x}, {y}, {w}) VALUES "
            for table in ("a", "b", "r"):
                here = [
                    row
                    for row in rows
                    if not shard
                    or table == "r"
                    or cluster.placement.shards_for(row[0], "int4", cluster.names) == shard
                ]
                values = ", ".join(cur.mogrify("(%s, %s, %s, %s)", row).decode() for row in here)
                cur.execute(insert.format_map({**written, "table": written[table]}) + values)
            conn.commit()
        greenshard.init(cluster, again=True)

    def _cluster(self, names: dict[str, str], path: Path | None = None) -> greenshard.Cluster:
        dsns = dict(zip((names["p"], names["q"]), self._dsns[1:], strict=True))
        tables = {
            f"{quoted(names['schema'])}.{quoted(names[each])}": None if each == "r" else names["k"]
            for each in ("a", "b", "r")
        }
        if path is None:
            declared = {
                table: greenshard.Reference() if key is None else greenshard.Sharded(quoted(key))
                for table, key in tables.items()
            }
            return greenshard.Cluster(dsns, declared)
        lines = ["[shards]", *(f"{_toml(shard)} = {_toml(dsn)}" for shard, dsn in dsns.items())]
        lines.append("[tables]")
        for table, key in tables.items():
            what = "reference = true" if key is None else f"shard_key = {_toml(quoted(key))}"
            lines.append(f"{_toml(table)} = {{ {what} }}")
        path.write_text("\n".join(lines), encoding="utf-8")
        return greenshard.Cluster.from_toml(path)

    def _tried(self, pick: Random, names: dict[str, str]) -> Iterator[str]:
        path = self._directory / "cluster.toml"
        cluster = self._cluster(names, path)
        if cluster != (again := self._cluster(names)) and (
            cluster.shards != again.shards or cluster.tables != again.tables
        ):
            yield "the file and the declaration in Python differ"
        with contextlib.closing(greenshard.connect(cluster, timeout=20.0)) as many:
            on_path = pick.random() < 0.5
            for conn in (self.one, many):
                path_sql = quoted(names["schema"]) if on_path else "public"
                conn.cursor().execute(f"SET search_path TO {path_sql}")
                conn.commit()
            written = {each: quoted(made) for each, made in names.items()}
            for each in ("a", "b", "r", "v", "f", "type", "index"):
                if not on_path:
                    written[each] = f"{written['schema']}.{written[each]}"
            written["constraint"] = quoted(names["index"])
            for statement in STATEMENTS:
                yield from self._compared(many, written, statement, pick.random() < 0.2, names["s"])
            for statement in WRITES:
                yield from self._compared(many, written, statement, False, "")
            yield from self._on(many, cluster, names)
        yield from self._checked(cluster)

    def _compared(
        self, many: Any, names: dict[str, str], statement: str, named: bool, cursor: str
    ) -> Iterator[str]:
        args = (3,) if "%s" in statement else None
        written = {each: made.replace("%", "%%") if args else made for each, made in names.items()}
        text = statement.format_map(written)
        there = _outcome(self.one, text, args, "")
        here = _outcome(many, text, args, cursor if named else "")
        if isinstance(here, greenshard.NotSupportedError) and not here.pgcode:
            self.tally["refused"] += 1
        elif isinstance(there, Exception) and isinstance(here, type(there)):
            self.tally["equal"] += 1
        elif there != here:
            yield f"execute({text!r}, {args!r}) gave {here!r}, and {there!r} on one database"
        else:
            self.tally["equal"] += 1
        if not isinstance(here, Exception):
            explained = _explained(many, text, args)
            if not isinstance(explained, str):
                yield f"explain({text!r}, {args!r}) gave {explained!r}"
        self.one.rollback()
        many.rollback()

    def _on(self, many: Any, cluster: Any, names: dict[str, str]) -> Iterator[str]:
        table = f"{quoted(names['schema'])}.{quoted(names['a'])}"
        for key in range(4):
            shard = cluster.placement.shards_for(key, "int4", cluster.names)
            with many.on(key=key, table=table) as one, one.cursor() as cur:
                cur.execute(f"SELECT count(*) FROM {table} WHERE {quoted(names['k'])} = {key}")
                if cur.fetchall() != [(1,)]:
                    yield f"on(key={key!r}) did not find its row"
            with many.on(shard).cursor() as cur:
                error = _outcome(many.on(shard), "SELECT 1 / 0", None, "")
                if not isinstance(error, psycopg2.errors.DivisionByZero) or shard not in str(error):
                    yield f"an error of shard {shard!r} is {error!r}"
                many.rollback()

    def _checked(self, cluster: greenshard.Cluster) -> Iterator[str]:
        dsns = {each: shard.primary for each, shard in cluster.shards.items()}
        with contextlib.closing(greenshard.connect(dsns, timeout=20.0)) as conn:
            report = check(conn, cluster)
        yield from (f"check found {finding!r}" for finding in report.findings)
        if len(report.tables) != 3:
            yield f"check found the tables {report.tables!r}"


_SCHEMA = """
CREATE SCHEMA {schema};
SET LOCAL search_path TO {schema};
CREATE TYPE {schema}.{type} AS ENUM ('m0', 'm1', 'm2');
CREATE TABLE {a} (
    {k} int, {x} text, {y} numeric, {w} {schema}.{type}, CONSTRAINT {index} PRIMARY KEY ({k}));
CREATE TABLE {b} ({w} {schema}.{type}, {k} int PRIMARY KEY, {x} text, {y} numeric);
CREATE TABLE {r} ({k} int PRIMARY KEY, {x} text, {y} numeric, {w} {schema}.{type});
CREATE VIEW {v} AS SELECT {k}, {x} AS {y}, {w} FROM {a};
CREATE FUNCTION {f}(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
"""


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _outcome(conn: Any, text: str, args: Any, named: str) -> Any:
    """The columns' names and the rows of a statement, or its error."""
    try:
        with conn.cursor(named) if named else conn.cursor() as cur:
            cur.execute(text, args)
            rows = cur.fetchall() if named or cur.description else [(cur.rowcount,)]
            columns = [column.name for column in cur.description or ()]
            return columns, rows if "ORDER BY" in text else sorted(rows, key=repr)
    except Exception as error:
        return error


def _explained(conn: Any, text: str, args: Any) -> Any:
    try:
        return conn.explain(text, args, verbose=True)
    except Exception as error:
        return error
