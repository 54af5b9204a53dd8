"""Goal: run a statement on the shard that alone has its tables.

    UPDATE jobs SET taken = now() WHERE id = (SELECT id FROM jobs ORDER BY id
        FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING *             jobs = Single("s1"): s1

1. All that it touches is on one shard alone, or on every shard and only read (`homes`).
2. That shard runs the user's own text, whatever is in it: it is one PostgreSQL with all these rows.

What asks PostgreSQL's catalog which tables there are runs there as well, if there is one such
shard: it alone has all of them. What touches other tables, too, is planned as over sharded tables,
all rows of which are on that shard: see `write_at_home`.

Refused is what a write sets off elsewhere (`consequences`), and `lastval()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from greenshard.planner.analysis.consequences import Consequences
from greenshard.planner.analysis.homes import Homes, Reader, Touched, sequences_in
from greenshard.planner.analysis.objections import objections
from greenshard.planner.analysis.restriction import home_pin
from greenshard.planner.calls import Functions, calls, name_of
from greenshard.planner.catalog import Relation
from greenshard.planner.plan import Anywhere, Broadcast, Refused, Routed, Step
from greenshard.planner.problem import Problem
from greenshard.sql.functions import SETTING
from greenshard.sql.parser import Message, type_name
from greenshard.sql.text import Sql
from greenshard.sql.tree import enum_name, unwrap

CODE = "GS412"
_UNSEEN = frozenset({"operator class", "type", "view"})
_KINDS = frozenset(
    {
        "select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt",
        "create_table_as_stmt",
    }
)  # fmt: skip
_NODES = {
    "InsertStmt": "insert_stmt",
    "UpdateStmt": "update_stmt",
    "DeleteStmt": "delete_stmt",
}
_LETTERS = {"InsertStmt": "iu", "UpdateStmt": "u", "DeleteStmt": "d", "MergeStmt": "iud"}
#: What of PostgreSQL's catalog tells of tables. The rest is alike on all shards.
_OF_TABLES = frozenset(
    {
        "columns", "constraint_column_usage", "constraint_table_usage", "key_column_usage",
        "pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_depend", "pg_description",
        "pg_index", "pg_indexes", "pg_inherits", "pg_matviews", "pg_partitioned_table",
        "pg_policies", "pg_policy", "pg_rewrite", "pg_rules", "pg_sequence", "pg_sequences",
        "pg_stat_all_tables", "pg_stat_user_tables", "pg_stats", "pg_tables", "pg_trigger",
        "pg_views", "referential_constraints", "sequences", "table_constraints",
        "table_privileges", "tables", "triggers", "views",
    }
)  # fmt: skip
_BY_NAME = "Name the sequence: SELECT currval('...'); or take the number from RETURNING."
_ON_ONE = "Name the shard with conn.on('...')."


def touched(
    statement: Message, homes: Homes, functions: Functions, path: Sequence[str]
) -> Touched | None:
    """What a query or a write touches; None of another statement."""
    kind, inner = unwrap(statement)
    if kind not in _KINDS:
        return None
    # SELECT set_config(...) is SET, for all shards.
    if kind == "select_stmt" and any(name_of(call) == SETTING for call in calls(inner)):
        return None
    return Reader(homes, functions, path).read(statement)


def plan_at_home(
    text: str, statement: Message, found: Touched, homes: Homes, functions: Functions
) -> Step | Problem | None:
    """The step of a statement that one shard alone can run; None if it is to be planned otherwise.

    Args:
        text: The user's.
        statement: Its tree.
        found: What it touches.
        homes: Where tables are.
        functions: What is known of those.
    """
    untold = lacking_homes(found, homes) or _untold_sequence(found, homes)
    home = untold or _home(found, homes)
    if home is None or not isinstance(home, str):
        return home
    if _objection(statement, found, homes, functions):
        return None  # which is said where it is planned otherwise
    return _beside(found, homes, home) or _step(text, statement, found, home)


def _objection(statement: Message, found: Touched, homes: Homes, functions: Functions) -> bool:
    """Whether a function may read other tables, or rows are written that are not on one shard."""
    roots, views = [statement, *found.views, *found.bodies], len(found.views)
    return (
        any(True for _ in objections(roots, functions, sharded=False, views=views))
        or any(_calls_unseen(homes, each) for each in found.relations.values())
        or any(relations is None for _, relations in found.written)
    )


def _beside(found: Touched, homes: Homes, home: str) -> Problem | None:
    """What writes set off that is not harmless, or count elsewhere."""
    for write, relations in found.written:
        every = relations or ()
        problem = _set_off(write, every, homes) or counted_elsewhere(write, every, homes, home)
        if problem is not None:
            return problem
    return None


def _step(text: str, statement: Message, found: Touched, home: str) -> Step | None:
    kind, inner = unwrap(statement)
    if kind != "create_table_as_stmt" and not (kind == "select_stmt" and found.made):
        # There is no other shard that the rows could be on.
        return Routed(Sql(text), (home_pin(home),), Refused(f"it is on {home} alone", CODE))
    view = kind != "select_stmt" and enum_name(inner, "objtype") == "OBJECT_MATVIEW"
    # What is not declared would be a table that only this shard has, and nobody knows of.
    if found.made != {home} and not view:
        return None
    return Broadcast(Sql(text), answer_of_one=True, resets_catalog=True, on=home)


def lacking_homes(found: Touched, homes: Homes) -> Refused | None:
    """The step of what names tables of which the catalog may know nothing yet; None of others."""
    # A sequence of one of them may be meant, too.
    unknown = homes.unknown if found.unknown or found.last or found.computed else ()
    lacking = unknown or tuple(each for each in homes.unknown if each in found.homes)
    if not lacking:
        return None
    reason = f"it is not known which tables are on {', '.join(lacking)} alone"
    return Refused(reason, "GS408", "Try again when that shard can be asked.", homes=lacking)


def _home(found: Touched, homes: Homes) -> str | Problem | None:
    """The shard that alone can run the statement; None if there is none."""
    first, every = homes.cluster.names[0], homes.cluster.homes
    if found.elsewhere is not None or found.unknown:
        return None
    if found.homes:
        only = found.homes | found.counted
    elif found.counted - {first}:
        only = found.counted
        if len(only) > 1:
            where = ", ".join(sorted(only))
            reason = f"its sequences count on several shards: {where}"
            return Problem(reason, None, "GS410", "Take each number in a statement of its own.")
    elif len(every) > 1 and not found.system.isdisjoint(_OF_TABLES):
        reason = "no shard has all tables, and the catalog of each tells of its own"
        return Problem(reason, None, "GS410", _ON_ONE)
    else:
        return None
    home = next(iter(only)) if len(only) == 1 else None
    # Locks and notifications are the first shard's: there they meet those of others.
    return None if found.acts and home != first else home


def with_all_tables(step: Step, found: Touched, homes: Homes) -> Step:
    """The step of a query; if it asks which tables there are, on the shard that has all of them."""
    every = homes.cluster.homes
    asks = found.named or not found.system.isdisjoint(_OF_TABLES)
    if not isinstance(step, Anywhere) or step.first or not asks or len(every) != 1:
        return step
    if every == homes.cluster.names[:1]:
        return replace(step, first=True)
    return Routed(step.sql, (home_pin(every[0]),), step)


def _untold_sequence(found: Touched, homes: Homes) -> Refused | Problem | None:
    """Why it cannot be told where a number is counted; None if it can."""
    if not homes.count_elsewhere:
        return None
    if found.last:
        reason = "lastval() tells of one shard's sequences, and they count on several"
        return Problem(reason, None, "GS410", _BY_NAME)
    if found.computed:
        reason = "which sequence is meant is computed, and they count on several shards"
        return Refused(reason, "GS410", "Name it in the statement.", unreadable=True)
    return None


def _calls_unseen(homes: Homes, relation: Relation) -> bool:
    """Whether comparing or casting a table's values may read tables."""
    beside = homes.catalog.besides.get((relation.schema, relation.name))
    return beside is not None and any(call.kind in _UNSEEN for call in beside.calls)


def _set_off(write: Any, relations: Sequence[Relation], homes: Homes) -> Problem | None:
    """What a write sets off that is not harmless."""
    consequences = Consequences(homes.cluster, homes.catalog)
    kind, at = type_name(write), write.relation.location
    if len(relations) == 1 and kind != "MergeStmt":
        (relation,) = relations
        columns = [column.name for column in relation.columns]
        name = (relation.schema, relation.name)
        return consequences.of_write(_NODES[kind], write, name, columns)
    # Which columns of its table a view writes to is not asked.
    names = ((each.schema, each.name) for each in relations)
    found = (consequences.of_any(name, _LETTERS[kind], at) for name in names)
    return next(filter(None, found), None)


def counted_elsewhere(
    write: Any, relations: Sequence[Relation], homes: Homes, home: str
) -> Problem | None:
    """What is wrong with a column that a sequence fills which counts elsewhere, too.

    Args:
        write: The `InsertStmt`, or what else writes.
        relations: What it writes to.
        homes: Where tables are.
        home: Where these are.
    """
    given = {each.res_target.name for each in getattr(write, "cols", ())}
    every = [(relation, column) for relation in relations for column in relation.columns]
    for relation, column in every if type_name(write) != "DeleteStmt" else ():
        for name in sequences_in(column.default or "") if column.name not in given else ():
            if homes.sequences.get(name) not in (None, {home}):
                reason = f"{column.name} of {relation.name} is counted on {home}, and by others"
                reason += f" on another shard, with the sequence {name[1]}"
                hint = "Give the table a sequence of its own, or the number as a value."
                return Problem(reason, write.relation.location, CODE, hint)
    return None
