"""Statements run on one server that has all rows, and over shards; what they tell is compared.

After each statement: its rows, row count and tag, or its SQLSTATE; then the rows of all tables. At
the end: that each row of a sharded table is on its shard, and that the copies of reference tables
are alike.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg2

import greenshard
from greenshard.testing import Shards
from tests.postgres.psql import run

#: Integers of all types hash alike.
_KINDS = {int: "int8", str: "text", dt.date: "date", type(None): "int8"}


class SideBySide:
    """One server, and some shards.

    Args:
        one: The DSN of the server with all rows.
        dsns: Those of the shards.
        tables: What is declared.
        declared: What else is.
    """

    def __init__(
        self, one: str, dsns: Mapping[str, str], tables: Mapping[str, Any], **declared: Any
    ) -> None:
        self.one, self.dsns, self.tables, self.declared = one, dict(dsns), dict(tables), declared
        self._initialised = 1  # of one shard nothing is needed

    def cluster(self, shards: int) -> greenshard.Cluster:
        """A cluster of the first of the shards."""
        dsns = dict(list(self.dsns.items())[:shards])
        return greenshard.Cluster(dsns, self.tables, **self.declared)

    @contextlib.contextmanager
    def filled(self, rows: Sequence[str], shards: int) -> Iterator[tuple[Any, Any]]:
        """Connections to the one server and to shards, whose tables have these rows only.

        Args:
            rows: Statements that insert them.
            shards: How many.
        """
        for dsn in (self.one, *self.dsns.values()):
            run(dsn, f"TRUNCATE {', '.join(self.tables)} CASCADE")
        if shards > 1 and shards != self._initialised:
            greenshard.init(self.cluster(shards), again=True)
            self._initialised = shards
        with (
            contextlib.closing(psycopg2.connect(self.one)) as single,
            contextlib.closing(greenshard.connect(self.cluster(shards))) as conn,
        ):
            for each in (single, conn):
                cur = each.cursor()
                for statement in rows:
                    cur.execute(statement)
                each.commit()
            yield single, conn

    def check(
        self, rows: Sequence[str], statements: Sequence[Any], shards: int, *, autocommit: bool
    ) -> None:
        """Run statements on both sides.

        Args:
            rows: What inserts the rows that are there before.
            statements: Texts, or texts with parameters.
            shards: How many.
            autocommit: The connections' mode; if not, an error is undone to a savepoint.
        """
        with self.filled(rows, shards) as (single, conn):
            single.autocommit = conn.autocommit = autocommit
            mine, theirs = conn.cursor(), single.cursor()
            for statement in statements:
                if not autocommit:
                    for cur in (mine, theirs):
                        cur.execute("SAVEPOINT before")
                expected = told(theirs, statement)
                got = told(mine, statement)
                assert got == expected, (statement, got, expected)
                if not autocommit and isinstance(expected, str):
                    for cur in (mine, theirs):
                        cur.execute("ROLLBACK TO SAVEPOINT before")
                self.compare(conn, single, statement)
            for each in (single, conn):
                each.commit()
            self.check_places(shards)

    def compare(self, conn: Any, single: Any, statement: Any = None) -> None:
        """See that all tables have the same rows on both sides."""
        for name in self.tables:
            found = []
            for each in (conn, single):
                cur = each.cursor()
                cur.execute(f"SELECT * FROM {name}")
                found.append(sorted(map(repr, cur.fetchall())))
            assert found[0] == found[1], (statement, name)

    def check_places(self, shards: int) -> None:
        """Every row of a sharded table is on its shard, and reference tables are alike."""
        cluster = self.cluster(shards)
        copies: dict[str, list[Any]] = {}
        for shard in cluster.names:
            with contextlib.closing(psycopg2.connect(self.dsns[shard])) as conn:
                cur = conn.cursor()
                for name, declared in self.tables.items():
                    if isinstance(declared, greenshard.Sharded):
                        cur.execute(f"SELECT DISTINCT {declared.column} FROM {name}")
                        placement = cluster.placement_of(declared)
                        homes = {
                            placement.shards_for(key, _KINDS[type(key)], cluster.names)
                            for (key,) in cur.fetchall()
                        }
                        assert homes <= {shard}, (name, shard)
                    else:
                        cur.execute(f"SELECT * FROM {name}")
                        copies.setdefault(name, []).append(sorted(map(repr, cur.fetchall())))
        for name, found in copies.items():
            assert all(each == found[0] for each in found), name


@contextlib.contextmanager
def side_by_side(
    servers: Shards, schema: str, tables: Mapping[str, Any], **declared: Any
) -> Iterator[SideBySide]:
    """One database and three shards with a schema."""
    with one_and_more(servers, 3) as (one, dsns):
        for dsn in (one, *dsns.values()):
            run(dsn, schema)
        yield SideBySide(one, dsns, tables, **declared)


@contextlib.contextmanager
def one_and_more(servers: Shards, shards: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Empty databases: the DSN of one, and those of so many shards."""
    with contextlib.ExitStack() as opened:
        found: list[str] = []
        while len(found) <= shards:
            found += opened.enter_context(servers.databases()).values()
        yield found[0], {f"s{number}": found[number + 1] for number in range(shards)}


def told(cur: Any, statement: Any) -> Any:
    """What a statement tells: rows in any order, count, tag; or the error's code."""
    text, given = statement if isinstance(statement, tuple) else (statement, None)
    try:
        cur.execute(text, given)
    except psycopg2.Error as error:
        return refused_or_code(error)
    rows = sorted(map(repr, cur.fetchall())) if cur.description else None
    names = [column.name for column in cur.description or ()]
    return rows, names, cur.rowcount, cur.statusmessage


def refused_or_code(error: psycopg2.Error) -> str | None:
    """A server's SQLSTATE; of a refusal what is like nothing that a server says."""
    if isinstance(error, greenshard.NotSupportedError) and error.pgcode is None:
        return f"refused: {error}"
    return error.pgcode
