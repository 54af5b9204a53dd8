"""Goal: let other writers wait while each shard writes its copy of a reference table by itself.

    UPDATE log SET seen = true WHERE level > 2          -- log has no primary key
        every shard: LOCK TABLE log IN SHARE ROW EXCLUSIVE MODE
        then every shard: UPDATE log ...

Shards are asked one after another. A row that a condition does not find on the first one it may
find on the next, if somebody has changed it on all of them and committed in between; and a table
that is read may have changed. A row's lock is no help, for that row had none.

So what is written is locked against writers, and so is what is read, first on the first shard: who
has that lock, has it on the others soon.

Source: PostgreSQL manual, 13.3.1 "Table-Level Locks".
"""

from __future__ import annotations

from collections.abc import Iterator

from greenshard.planner.binding.query import Table
from greenshard.planner.plan import Copies
from greenshard.planner.strategies.candidate import Candidate
from greenshard.sql.nodes import quoted
from greenshard.sql.text import Sql

#: What LOCK TABLE locks, as in ``pg_class.relkind``.
_LOCKABLE = "rpv"


def other_tables(candidate: Candidate, table: Table) -> Iterator[Table]:
    """The tables that every shard has, and that are read beside the one that is written."""
    return (each for each in candidate.tables if each is not table and not each.sharded)


def written_alone(*candidates: Candidate, table: Table) -> Copies:
    """How copies are written that others could change between one shard and the next.

    Args:
        candidates: What is written and read.
        table: What is written.
    """
    name = _name(table)
    read = {
        _name(each)
        for candidate in candidates
        for each in other_tables(candidate, table)
        if each.relation.kind in _LOCKABLE and not each.system
    }
    lock = f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE"
    if others := ", ".join(sorted(read - {name})):
        lock += f"; LOCK TABLE {others} IN SHARE MODE"
    return Copies(table.relation.name, Sql(lock))


def _name(table: Table) -> str:
    return f"{quoted(table.relation.schema)}.{quoted(table.relation.name)}"
