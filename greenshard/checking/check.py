"""The whole check: servers, tables, rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from greenshard.checking.coordinators import check_coordinator
from greenshard.checking.definitions import (
    compare_definitions,
    each_for_itself,
    read_definitions,
)
from greenshard.checking.event_triggers import (
    compare_event_triggers,
    noted_event_triggers,
    read_event_triggers,
)
from greenshard.checking.findings import Finding, Report, TableReport, counted, listed
from greenshard.checking.in_doubt import left_in_doubt, prepared_by_others, read_prepared
from greenshard.checking.initialised import check_initialised
from greenshard.checking.probe import reached, tolerating, unreached
from greenshard.checking.references import compare_contents, read_contents
from greenshard.checking.rows import Key, misplaced, read_shares, rows_by_shard
from greenshard.checking.sequences import sequences_behind
from greenshard.checking.servers import compare_servers, minor_versions, read_servers
from greenshard.checking.tables import (
    Relation,
    check_shard_key,
    compare_relation,
    declared_relations,
    label,
    missing_tables,
    read_relations,
    sql_of,
    undeclared,
)
from greenshard.checking.triggers import (
    missing_functions,
    read_catalogs,
    refused_triggers,
    wrong_relatives,
)
from greenshard.checking.user_functions import compare_functions, read_functions
from greenshard.checking.user_types import compare_types, read_types
from greenshard.checking.visibility import compare_rights
from greenshard.cluster import Cluster, Hash, Placement, Sharded, Single, TableName, Unknown
from greenshard.connection import Connection
from greenshard.sql.nodes import quoted

_Read = TypeVar("_Read")


def check(
    conn: Connection,
    cluster: Cluster,
    *,
    rows: bool = True,
    on_table: Callable[[str], None] = lambda _table: None,
) -> Report:
    """Compare a cluster's declaration with its shards.

    Args:
        conn: A connection to all shards as a union, by their names; not in a transaction. Of shards
            that it could not be opened to (``on_error="partial"``) that is told, and the others are
            compared.
        cluster: The declaration.
        rows: Whether rows are read, too.
        on_table: Called with the name of each table before its rows are read.

    Raises:
        errors.OperationalError: A shard cannot be asked any more.

    Switches: yes.

    Cost: reads every declared table once. Rows that are written meanwhile may be found wrong.
    """
    shards, down = reached(conn), unreached(conn)
    report = Report(conn.shards, unreached=tuple(down))
    for shard, why in down.items():
        report.findings.append(Finding("unchecked", f"cannot be reached: {why}", shards=(shard,)))
    servers = read_servers(conn)
    report.servers = {shard: str(server) for shard, server in servers.items()}
    report.findings += compare_servers(servers)
    report.findings += compare_types(read_types(conn), shards)
    report.findings += compare_functions(read_functions(conn), shards)
    relations = read_relations(conn, cluster)
    report.findings += missing_tables(cluster, relations, down)
    encodings = {shard: server.encoding for shard, server in servers.items()}
    checker = _Checker(conn, cluster, encodings, report, on_table if rows else None)
    catalogs = read_catalogs(conn, cluster)
    report.findings += missing_functions(cluster, catalogs)
    for name, found in declared_relations(cluster, relations).items():
        report.findings += wrong_relatives(label(name), name, cluster, catalogs)
        checker.check(name, found)
    definitions = read_definitions(conn)
    there = {name: tuple(found) for name, found in relations.items()}
    report.findings += compare_definitions(definitions, cluster, there)
    report.findings += compare_rights(conn, cluster)
    events = read_event_triggers(conn)
    report.findings += compare_event_triggers(events, shards)
    wrong, notes = check_initialised(conn, cluster)
    report.findings += wrong
    report.notes += notes
    prepared = read_prepared(conn)
    report.findings += left_in_doubt(prepared)
    report.notes += prepared_by_others(prepared)
    report.findings += check_coordinator(conn, cluster)
    report.notes += each_for_itself(definitions, cluster)
    report.notes += refused_triggers(cluster, catalogs)
    report.notes += noted_event_triggers(events, cluster, catalogs)
    if rows:
        report.findings += sequences_behind(conn, cluster, catalogs)
    others = (minor_versions(servers), undeclared(relations, cluster))
    report.notes += [note for note in others if note is not None]
    return report


class _Checker:
    """Checks one table after the other, and puts what it finds into the report."""

    def __init__(
        self,
        conn: Connection,
        cluster: Cluster,
        encodings: Mapping[str, str],
        report: Report,
        on_table: Callable[[str], None] | None,
    ) -> None:
        self._conn, self._cluster, self._encodings = conn, cluster, encodings
        self._report = report
        self._on_table = on_table
        self._reached = reached(conn)

    def check(self, name: TableName, found: Mapping[str, Relation]) -> None:
        """Check one table.

        Args:
            name: Its name.
            found: What each shard has under this name.
        """
        declared = self._cluster.table(name.schema, name.name)
        table = label(name)
        if isinstance(declared, Single):
            self._check_single(name, declared, found)
            return
        self._report.findings += compare_relation(table, found, self._reached)
        tables = {shard: relation for shard, relation in found.items() if relation.is_table}
        rows = None
        if isinstance(declared, Sharded):
            words = f"sharded by {declared.column}, {described(self._placement(declared))}"
            rows = self._check_sharded(name, declared, tables)
        else:
            words = "reference"
            rows = self._check_reference(name, tables)
        self._report.tables.append(TableReport(table, words, rows))

    def _check_single(
        self, name: TableName, declared: Single, found: Mapping[str, Relation]
    ) -> None:
        """Check that the shard which is to have a table alone has it."""
        table, home = label(name), declared.on
        own = {shard: relation for shard, relation in found.items() if shard == home}
        self._report.findings += compare_relation(table, own, {home}.intersection(self._reached))
        if others := [shard for shard in found if shard != home]:
            where = f"{listed(others)} {'has' if len(others) == 1 else 'have'}"
            self._report.notes.append(
                f"{table}: {where} a table of that name, too, of which nothing is read"
            )
        rows: dict[str, int] | None = None
        if self._on_table is not None and home in own and own[home].is_table:
            contents = self._read(table, lambda: read_contents(self._conn, sql_of(name), [home]))
            rows = {shard: content.rows for shard, content in (contents or {}).items()} or None
        self._report.tables.append(TableReport(table, f"on {home} alone", rows))

    def _placement(self, declared: Sharded) -> Placement:
        return self._cluster.placement_of(declared)

    def _check_sharded(
        self, name: TableName, declared: Sharded, tables: Mapping[str, Relation]
    ) -> dict[str, int] | None:
        """Check the shard key, and where the rows are on the shards that have it as it must be."""
        table = label(name)
        wrong = list(check_shard_key(self._cluster, table, declared, tables, self._encodings))
        self._report.findings += wrong
        if self._on_table is None:
            return None
        if isinstance(self._placement(declared), Unknown):
            self._report.notes.append(f"{table}: its rows are not checked, their rule is unknown")
            return None
        # The other shards' rows can still be looked at.
        unfit = {shard for finding in wrong for shard in finding.shards}
        by_type: dict[str, list[str]] = {}
        for shard, relation in tables.items():
            # Shards whose columns differ (which is found, too) are asked by the type that each has.
            column = relation.column(declared.column)
            if column is not None and shard not in unfit:
                by_type.setdefault(column.base, []).append(shard)
        rows: dict[str, int] = {}
        for type_name, shards in by_type.items():
            rows |= self._check_rows(name, declared, type_name, shards)
        return rows or None

    def _check_rows(
        self, name: TableName, declared: Sharded, type_name: str, shards: Sequence[str]
    ) -> dict[str, int]:
        key = Key(sql_of(name), quoted(declared.column), type_name)
        placement = self._placement(declared).in_encoding(self._encodings[shards[0]])
        names = self._cluster.names
        shares = self._read(
            label(name), lambda: read_shares(self._conn, key, placement, shards, names)
        )
        if shares is None:
            return {}
        self._report.findings += misplaced(label(name), declared.column, shares)
        return rows_by_shard(shares, shards)

    def _check_reference(
        self, name: TableName, tables: Mapping[str, Relation]
    ) -> dict[str, int] | None:
        """Check that all shards have the same rows; not where the columns differ anyway."""
        types = {tuple((c.name, c.type) for c in relation.columns) for relation in tables.values()}
        # Rows of other columns have other texts: that they differ is said already.
        if self._on_table is None or len(types) != 1:
            return None
        contents = self._read(
            label(name), lambda: read_contents(self._conn, sql_of(name), list(tables))
        )
        if contents is None:
            return None
        self._report.findings += compare_contents(label(name), contents)
        return {shard: content.rows for shard, content in contents.items()}

    def _read(self, table: str, read: Callable[[], _Read]) -> _Read | None:
        """Read the rows of a table; if that cannot be, say so and go on with the next table."""
        if self._on_table is not None:
            self._on_table(table)
        found = None
        with tolerating(partial(self._unchecked, table)):
            found = read()
        return found  # noqa: RET504 (None, if it could not be read)

    def _unchecked(self, table: str, why: str) -> None:
        self._report.findings.append(Finding("unchecked", f"cannot be read: {why}", table))


def described(placement: Placement) -> str:
    """A placement in words."""
    if isinstance(placement, Hash):
        return f"hash with {counted(placement.slots, 'slot')}"
    return type(placement).__name__.lower()
