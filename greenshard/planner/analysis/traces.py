"""Goal: say what a statement may leave in its session, for the next one and the next user.

    SELECT lower(name) FROM users WHERE id = %s     nothing
    INSERT INTO users (name) VALUES (%s)            a `lastval()`, if a sequence gives the id
    UPDATE users SET name = %s                      anything, if a trigger in PL/pgSQL is run
    SET TimeZone = 'UTC'                            anything
    SELECT f(%s)                                    anything; maybe a table, too

It must be sure where it says nothing. What merely looks like something else is taken to be that:
names count wherever they are, so that no search path makes a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from greenshard.planner.code import Code, Function, Trace
from greenshard.sql.functions import COUNTING, RUNNING
from greenshard.sql.parser import Message, ParserError, parse, type_name, walk
from greenshard.sql.placeholders import translate
from greenshard.sql.tree import enum_name, names_of, unwrap

_CACHED_TEXTS = 2048
#: Traces of longer texts are not kept.
_LONGEST = 10_000

#: Operators that a statement uses without writing them: in IN, USING, BETWEEN, CASE and the like.
_IMPLIED = frozenset({"=", "<>", "<", "<=", ">", ">="})
#: What a statement writes to, and what happens to the rows there.
_WRITING = {
    "InsertStmt": "i",
    "UpdateStmt": "u",
    "DeleteStmt": "d",
    "MergeStmt": "iud",
}
_PLAIN = frozenset({"select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt"})
#: ``pg_query``'s numbers of transaction statements that change nothing.
_SAVEPOINTS = frozenset({"TRANS_STMT_SAVEPOINT", "TRANS_STMT_RELEASE"})


class Traces:
    """Tells what statements leave where some code is; threads may share one.

    Args:
        code: What there is.
    """

    def __init__(self, code: Code) -> None:
        self._code = code
        #: What code of the user's own may leave.
        # A function that sets something does not make a table, unless its text has a word like
        # EXECUTE (`Code.makes`): then the catalog may be another one afterwards, too.
        self._own = Trace.UNSEEN if code.makes else Trace.ANYTHING
        unseen = code.unseen or not code.operators.isdisjoint(_IMPLIED)
        self._unseen = self._own if unseen else Trace.NOTHING
        self._cached = lru_cache(maxsize=_CACHED_TEXTS)(self._read)

    def of_text(self, text: str, has_parameters: bool) -> Trace:
        """What a text leaves; see `of`.

        Cost: 0.3 us for a text seen before, unless it is long; else 50 us for a small one, and a
        second for a megabyte.
        """
        # A bulk INSERT with its values in the text is not seen again, and is megabytes to keep.
        read = self._read if len(text) > _LONGEST else self._cached
        return read(text, has_parameters)

    def _read(self, text: str, has_parameters: bool) -> Trace:
        try:
            return self.of(parse(translate(text, has_parameters).text))
        # What cannot be read may be any statement, DDL as well.
        except (ParserError, RecursionError):
            return Trace.CODE

    def of(self, statements: Iterable[Any]) -> Trace:
        """What statements leave, from their trees."""
        return max((self._of_node(each.stmt) for each in statements), default=Trace.NOTHING)

    def _of_node(self, node: Any) -> Trace:
        kind, inner = unwrap(node)
        # With ANALYZE it is run.
        if kind == "explain_stmt":
            return self._of_node(inner.query)
        if kind == "declare_cursor_stmt":
            return max(Trace.ANYTHING, self._of_node(inner.query))
        if kind == "variable_show_stmt":
            return Trace.NOTHING
        if kind == "transaction_stmt" and enum_name(inner, "kind") in _SAVEPOINTS:
            return Trace.NOTHING
        if kind not in _PLAIN:
            kept = keeps_catalog(node) or _makes_temporary(kind, inner)
            return Trace.ANYTHING if kept else Trace.CODE
        # An operator, a cast or a domain may be called by a text that names none.
        return max(self._unseen, self._of_query(node))

    def _of_query(self, node: Any) -> Trace:
        messages = list(_messages(node))
        ctes = {each.ctename for each in messages if type_name(each) == "CommonTableExpr"}
        found = Trace.NOTHING
        for message in messages:
            rule = _RULES.get(type_name(message))
            if rule is not None:
                found = max(found, rule(self, message, ctes))
        return found

    # Of what stands in a query --------------------------------------------------------------

    def _call(self, call: Any, _: set[str]) -> Trace:
        *schema, name = names_of(call.funcname) or ("",)
        known = self._code.functions.get(name, frozenset())
        if schema:
            known = frozenset(each for each in known if each.schema == schema[-1])
        left = self._left_by(name, known)
        counts = name == COUNTING and all(each.schema == "pg_catalog" for each in known)
        return Trace.COUNT if known and counts else left

    def _left_by(self, name: str, known: frozenset[Function]) -> Trace:
        """What functions of a name may leave; nobody knows of what is not known."""
        if not known:
            return Trace.UNSEEN
        leaving = [each for each in known if each.leaves]
        # query_to_xml('SELECT f()') may run any function of the user's.
        if name in RUNNING or any(each.schema != "pg_catalog" for each in leaving):
            return self._own
        return Trace.ANYTHING if leaving else Trace.NOTHING

    def _attribute(self, column: Any, _: set[str]) -> Trace:
        """``t.f`` and ``(t).f`` call a function of that name, if there is no such column."""
        left = Trace.NOTHING
        for field in _fields(column):
            name = field.string.sval
            known = frozenset(each for each in self._code.functions.get(name, ()) if each.unary)
            if known:
                left = max(left, self._left_by(name, known))
        return left

    def _operator(self, expression: Any, _: set[str]) -> Trace:
        for field in ("name", "oper_name", "use_op"):
            for each in getattr(expression, field, ()):
                if each.string.sval in self._code.operators:
                    return self._own
        return Trace.NOTHING

    def _relation(self, named: Any, ctes: set[str]) -> Trace:
        runs = self._code.relations.get(named.relname)
        # No relation of that name is known: a WITH query, a table made since, or a temporary one.
        if runs is None:
            known = named.relname in ctes and not named.schemaname
            return Trace.NOTHING if known else self._own
        return self._own if "r" in runs else Trace.NOTHING

    def _write(self, statement: Any, _: set[str]) -> Trace:
        runs = self._code.relations.get(statement.relation.relname, "iud")
        kind = type_name(statement)
        events = _WRITING[kind]
        # ON CONFLICT DO UPDATE fires the triggers of UPDATE.
        if kind == "InsertStmt" and statement.HasField("on_conflict_clause"):
            events += "u"
        if not set(runs).isdisjoint(events):
            return self._own
        # Serial columns: an INSERT counts, and an UPDATE only if it sets one to DEFAULT.
        if "n" not in runs or kind == "DeleteStmt":
            return Trace.NOTHING
        if kind == "UpdateStmt" and not any(
            type_name(m) == "SetToDefault" for m in walk(statement)
        ):
            return Trace.NOTHING
        return Trace.COUNT

    def _into(self, clause: Any, _: set[str]) -> Trace:
        """SELECT INTO makes a table."""
        return Trace.ANYTHING if clause.rel.relpersistence == "t" else Trace.CODE


_KEEPS_CATALOG = {
    "variable_set_stmt", "discard_stmt", "transaction_stmt", "alter_role_set_stmt",
    "lock_stmt", "listen_stmt", "unlisten_stmt", "vacuum_stmt", "check_point_stmt",
    "reindex_stmt", "cluster_stmt", "truncate_stmt", "constraints_set_stmt", "load_stmt",
    "refresh_mat_view_stmt", "deallocate_stmt", "prepare_stmt",
}  # fmt: skip


def _messages(root: Message) -> Iterator[Any]:
    """What `walk` yields, without the tables of FOR UPDATE OF, which are aliases."""
    pending = [root]
    while pending:
        message = pending.pop()
        yield message
        # FOR UPDATE OF o: the parser makes a `RangeVar` of the alias.
        if type_name(message) == "LockingClause":
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending.extend([value] if hasattr(value, "DESCRIPTOR") else value)


def _fields(column: Any) -> Any:
    return column.fields[1:] if type_name(column) == "ColumnRef" else column.indirection


_RULES: dict[str, Callable[[Traces, Any, set[str]], Trace]] = {
    "FuncCall": Traces._call,
    "ColumnRef": Traces._attribute,
    "A_Indirection": Traces._attribute,
    "A_Expr": Traces._operator,
    "SubLink": Traces._operator,
    "SortBy": Traces._operator,
    "RangeVar": Traces._relation,
    "InsertStmt": Traces._write,
    "UpdateStmt": Traces._write,
    "DeleteStmt": Traces._write,
    "MergeStmt": Traces._write,
    "IntoClause": Traces._into,
}


def _makes_temporary(kind: str, inner: Any) -> bool:
    """Whether a statement makes an empty temporary table, which is the session's own."""
    if kind == "create_table_as_stmt" and inner.into.skip_data:
        return bool(inner.into.rel.relpersistence == "t")
    return kind == "create_stmt" and bool(inner.relation.relpersistence == "t")


def keeps_catalog(node: Any) -> bool:
    """Whether a utility statement leaves tables, functions and the like as they are."""
    return unwrap(node)[0] in _KEEPS_CATALOG
