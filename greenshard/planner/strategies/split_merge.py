"""Goal: let a MERGE insert rows whose shard ON does not tell: it updates first, then it inserts.

    MERGE INTO customer c USING visits v ON c.name = v.name
    WHEN MATCHED THEN UPDATE SET seen = v.day
    WHEN NOT MATCHED THEN INSERT (id, name) VALUES (nextval('ids'), v.name)

1. The source is read, and its rows get numbers:  SELECT name, day FROM visits
2. Which have a match?                            SELECT DISTINCT v."gs n" FROM customer c
                                                  JOIN the rows AS v ON c.name = v.name
3. These are merged, without the INSERT:          MERGE INTO customer c USING those rows AS v ...
4. The others are inserted:                       INSERT INTO customer (id, name)
                                                  SELECT nextval('ids'), v.name FROM the others AS v

Each is run as a statement of its own, see `staged`: so only rows that are inserted get defaults,
and each goes to the shard of its key. An action takes the rows that those before it leave.

A row that another transaction changes between 2 and 3 is looked at anew where it is, as MERGE does;
one that it deletes is not inserted.

Refused are RETURNING (whoever plans it looks), subqueries in ON and in what is inserted, and
whatever its parts would be refused for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from greenshard.planner.plan import Staged, StagedPart
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.planner.strategies.merge_defaults import actions
from greenshard.planner.strategies.merge_into import source_of
from greenshard.planner.strategies.stand_ins import names_relation
from greenshard.sql.nodes import copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import parse, type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import enum_name, unwrap

_READ, _ROWS, _MATCHED, _NUMBER = "gs read", "gs rows", "gs matched", "gs n"


class SplitMerge:
    """A MERGE that is done in parts.

    Args:
        merge: It, without RETURNING.
        alias: What it calls its source.
        columns: The source's columns.

    Raises:
        Unplannable: It cannot be.
    """

    def __init__(self, merge: Any, alias: str, columns: Sequence[str]) -> None:
        if names_relation(merge, _ROWS, _MATCHED):
            raise Unplannable(f"a relation is called {_ROWS} or {_MATCHED}")
        self._merge = merge
        self._alias = alias
        self._columns = columns
        kinds = [enum_name(each, "match_kind") for each in actions(merge)]
        inserting = [kind == "MERGE_WHEN_NOT_MATCHED_BY_TARGET" for kind in kinds]
        pairs = list(zip(merge.merge_when_clauses, inserting, strict=True))
        self._unmatched = [each.merge_when_clause for each, inserts in pairs if inserts]
        self._others = [each for each, inserts in pairs if not inserts]
        read = [each for one in [*self._unmatched, merge.join_condition] for each in walk(one)]
        if any(type_name(each) == "SubLink" for each in read):
            raise Unplannable("a subquery in ON, or in what MERGE inserts")

    @property
    def matching(self) -> Any | None:
        """The MERGE without what it inserts; None if nothing is left."""
        if not self._others:
            return None
        made = copy(self._merge)
        del made.merge_when_clauses[:]
        made.merge_when_clauses.extend(self._others)
        return made

    @property
    def inserting(self) -> list[Any]:
        """The INSERTs, one for each action; their rows come from `ROWS_ALIAS`."""
        found = []
        for at, action in enumerate(self._unmatched):
            if enum_name(action, "command_type") == "CMD_INSERT":
                found.append(self._insert(action, self._unmatched[:at]))
        return found

    def alone(self, insert: Any) -> Any:
        """One of `inserting`, to be planned when there are no rows yet."""
        made = copy(insert)
        names = ", ".join(map(quoted, [*self._columns, _NUMBER]))
        nothing = ", ".join(["NULL"] * (len(self._columns) + 1))
        rows = f"(SELECT {nothing}) AS {quoted(self._alias)} ({names})"
        source = parse_select(f"SELECT FROM {rows}").from_clause[0]
        select = made.select_stmt.select_stmt
        select.from_clause[0].CopyFrom(source)
        select.ClearField("where_clause")
        return made

    def staged(self, write: Callable[[str, Any], Sql]) -> Staged:
        """The plan; `write` gives the text of a statement of some kind."""
        read = source_of(self._merge)
        numbered = parse_select(
            f"SELECT *, pg_catalog.row_number() OVER () AS {quoted(_NUMBER)} FROM {quoted(_READ)}"
        )
        parts = [
            StagedPart(_READ, tuple(self._columns), write("select_stmt", read), ()),
            StagedPart(_ROWS, (*self._columns, _NUMBER), write("select_stmt", numbered), (_READ,)),
            StagedPart(_MATCHED, (_NUMBER,), write("select_stmt", self._matched()), (_ROWS,)),
        ]
        later = (_ROWS, _MATCHED)
        if (merge := self.matching) is not None:
            merge.source_relation.CopyFrom(self._rows(matched=True))
            merge.ClearField("with_clause")
            parts.append(StagedPart(None, (), write("merge_stmt", merge), later))
        texts = (write("insert_stmt", insert) for insert in self.inserting)
        parts += [StagedPart(None, (), text, later) for text in texts]
        return Staged(tuple(parts), tag="MERGE")

    def _matched(self) -> Any:
        """What gives the numbers of the rows that have a match."""
        number = f"{quoted(self._alias)}.{quoted(_NUMBER)}"
        made = parse_select(f"SELECT DISTINCT {number} FROM pg_temp.t, pg_temp.t WHERE true")
        made.from_clause[0].range_var.CopyFrom(self._merge.relation)
        made.from_clause[1].CopyFrom(
            parse_select(f"SELECT FROM {quoted(_ROWS)} AS {quoted(self._alias)}").from_clause[0]
        )
        made.where_clause.CopyFrom(self._merge.join_condition)
        return made

    def _rows(self, *, matched: bool) -> Any:
        """The rows of the source that have a match, or have none, under its name."""
        names = ", ".join(map(quoted, self._columns))
        test = "OPERATOR(pg_catalog.=) ANY" if matched else "OPERATOR(pg_catalog.<>) ALL"
        found = f"{quoted(_NUMBER)} {test} (TABLE {quoted(_MATCHED)})"
        rows = f"(SELECT {names} FROM {quoted(_ROWS)} WHERE {found}) AS {quoted(self._alias)}"
        return parse_select(f"SELECT FROM {rows}").from_clause[0]

    def _insert(self, action: Any, before: Sequence[Any]) -> Any:
        """The INSERT of an action, without the rows that those before it take."""
        (statement,) = parse("INSERT INTO pg_temp.t SELECT WHERE true")
        made: Any = unwrap(statement.stmt)[1]
        made.relation.CopyFrom(self._merge.relation)
        if len(action.values) == 0:
            raise Unplannable("MERGE inserts DEFAULT VALUES")
        select = made.select_stmt.select_stmt
        select.from_clause.add().CopyFrom(self._rows(matched=False))
        named = list(action.target_list)
        for at, value in enumerate(action.values):
            if unwrap(value)[0] == "set_to_default":
                if not named:
                    raise Unplannable("DEFAULT stands for a column that is not named")
                continue
            select.target_list.add().res_target.val.CopyFrom(value)
            if named:
                made.cols.add().CopyFrom(named[at])
        made.override = action.override
        conditions = [(each.condition, False) for each in before if each.HasField("condition")]
        if len(conditions) < len(before):
            select.where_clause.CopyFrom(expression("false"))  # none are left
            return made
        if action.HasField("condition"):
            conditions.append((action.condition, True))
        if conditions:
            wanted = expression(
                " AND ".join("x IS TRUE" if w else "x IS NOT TRUE" for _, w in conditions)
            )
            tests = [wanted] if len(conditions) == 1 else wanted.bool_expr.args
            for test, (condition, _) in zip(tests, conditions, strict=True):
                test.boolean_test.arg.CopyFrom(condition)
            select.where_clause.CopyFrom(wanted)
        else:
            select.ClearField("where_clause")
        return made
