"""What no strategy over several shards gets round: what a shard answers for itself alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from greenshard.planner.calls import (
    Functions,
    is_harmless,
    measures_tables,
    name_of,
    ways_out,
)
from greenshard.planner.problem import Problem
from greenshard.sql.functions import OTHER_VALUES, TELLING_TEXT, Fact, facts_of
from greenshard.sql.parser import VALUE_FUNCTIONS, Message, type_name, walk
from greenshard.sql.tree import location_of, names_of, own_type, unwrap

_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
_WITH_OPERATORS = frozenset({"A_Expr", "SubLink", "SortBy", "CaseExpr", "JoinExpr"})
#: Of them, those that use an operator which they do not name.
_IMPLYING = frozenset({"SubLink", "CaseExpr", "JoinExpr"})
_NAMES = frozenset({"text", "varchar", "name"})
#: Types whose values are OIDs, and are written as names.
_OIDS = frozenset(
    {
        "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper",
        "regoperator", "regproc", "regprocedure", "regrole", "regtype",
    }
)  # fmt: skip
#: Functions that give such.
_GIVING_OIDS = frozenset({f"to_{each}" for each in _OIDS} | {"pg_typeof", "pg_my_temp_schema"})
#: Operators between a transaction's number and 0, by whatever text or number it is written.
_COMPARING = {"=", "<>", "!=", ">"}
_ON_ONE = "Run it on one shard with conn.on('...')."
EACH = "Ask each shard, with conn.on('...'), and add up what they say."


def objections(
    roots: Iterable[Message], functions: Functions, *, sharded: bool, views: int = 0
) -> Iterator[Problem]:
    """What stands in a statement that cannot be answered by shards.

    Args:
        roots: The statement's tree, and then those of the views in it, and of functions in SQL.
        sharded: Whether it reads or writes a sharded table.
        views: How many views there are.
    """
    for number, root in enumerate(roots):
        for message in walk(root):
            kind = type_name(message)
            if kind == "FuncCall":
                yield from _of_call(message, functions, sharded)
            elif 0 < number <= views and kind in _IMPLYING:
                continue  # what it meant to whoever made the view, `Call` tells
            # a = b, a IN (SELECT ...) and ORDER BY a USING < call the operator's function without
            # naming it.
            elif kind in _WITH_OPERATORS and (name := functions.reading_operator(message)):
                yield Problem(
                    f"the function of operator {name} may read tables, of which each shard has a "
                    "part only",
                    location_of(message),
                    "GS410",
                    "If it does not, declare that function IMMUTABLE on the servers, or under "
                    '[functions] of the cluster\'s TOML as { reads = "nothing" }; or run the '
                    "statement on one shard with conn.on('...').",
                )
            # x::t calls the cast's function, or that of the domain's CHECK.
            elif kind == "TypeName":
                yield from _of_type(message, functions)
            elif kind == "JsonArrayQueryConstructor":
                # The only query in an expression that is no `SubLink`, as all others are planned.
                yield Problem(
                    "JSON_ARRAY() of a query over several shards",
                    location_of(message),
                    "GS410",
                    "Write to_json(ARRAY(SELECT ...)).",
                )


def scattered_objection(
    roots: Iterable[Message], functions: Functions, inserted: Iterable[Message] = ()
) -> Problem | None:
    """What would have another value on each shard, in a statement over several.

    Args:
        roots: Where to look.
        functions: What is called.
        inserted: What RETURNING of an INSERT gives; `roots` have it, too.
    """
    told = [each for root in inserted for each in _zero_or_not(root)]
    for root in roots:
        named = [*_by_name(root), *told]
        for message in walk(root):
            kind = type_name(message)
            if kind == "FuncCall" and functions.is_place_bound(message):
                name = name_of(message)
                return Problem(
                    f"{name}() has another answer on each shard", message.location, "GS410", _ON_ONE
                )
            if kind == "SQLValueFunction" and OTHER_VALUES.get(VALUE_FUNCTIONS[message.op]):
                name = VALUE_FUNCTIONS[message.op].upper()
                return Problem(
                    f"{name} has another answer on each shard", message.location, "GS410", _ON_ONE
                )
            if kind == "TypeCast" and tells_oid(message):
                return Problem(
                    "the number of an OID is another one on each shard",
                    location_of(message),
                    "GS410",
                    f"Go by names: 'orders'::regclass::text. Or: {_ON_ONE}",
                )
            # ctid = '(0,1)' is true of one row on each shard.
            if kind == "ColumnRef" and _names_system_column(message):
                if any(message is each for each in named):
                    continue
                tells_table = _is_tableoid(message)
                return Problem(
                    "a system column has values of its own on each shard",
                    message.location,
                    "GS410",
                    f"Write tableoid::regclass::text. Or: {_ON_ONE}" if tells_table else _ON_ONE,
                )
    return None


def tells_oid(cast: Any) -> bool:
    """Whether a cast shows the number of an OID, or makes a name of one.

    ``'orders'::regclass::oid`` does, and ``16384::regclass``; not so ``'orders'::regclass::text``.
    """
    target = own_type(cast.type_name)
    if target in _OIDS:
        kind, inner = unwrap(cast.arg)
        computed = kind == "a_expr" or (kind == "a_const" and inner.HasField("ival"))
        return computed or (kind == "column_ref" and not _is_tableoid(inner))
    inner = cast.arg.type_cast
    call = cast.arg.func_call
    given = own_type(inner.type_name) in _OIDS or (
        cast.arg.HasField("func_call") and name_of(call) in _GIVING_OIDS
    )
    return given and target not in _NAMES


def current_of(roots: Iterable[Message]) -> Problem | None:
    """What is said of the row at which a cursor stands, of which each shard has another."""
    for root in roots:
        for message in walk(root):
            if type_name(message) == "CurrentOfExpr":
                return Problem(
                    "WHERE CURRENT OF, where each shard has a cursor of its own, at another row",
                    None,
                    "GS410",
                    "Write the row's key: WHERE id = ...; or read and write inside conn.on('...').",
                )
    return None


def tableoids(roots: Iterable[Message]) -> Iterator[Any]:
    """The places where ``tableoid`` is named."""
    for root in roots:
        for message in walk(root):
            if type_name(message) == "ColumnRef" and _is_tableoid(message):
                yield message


def _by_name(root: Message) -> Iterator[Any]:
    """Where ``tableoid`` only stands for the table's name, which is the same on all shards.

    That is ``tableoid::regclass::text``, and ``tableoid = 'orders_2024'::regclass``.
    """
    for each in walk(root):
        message: Any = each
        kind = type_name(message)
        if kind == "TypeCast" and own_type(message.type_name) in _NAMES:
            inner = message.arg.type_cast
            if own_type(inner.type_name) == "regclass":
                yield inner.arg.column_ref
        elif kind == "A_Expr" and (names_of(message.name) or ("",))[-1] in ("=", "<>"):
            sides = (message.lexpr, message.rexpr)
            for one, other in (sides, sides[::-1]):
                if own_type(other.type_cast.type_name) == "regclass":
                    yield one.column_ref
                    yield one.type_cast.arg.column_ref


def _zero_or_not(root: Message) -> Iterator[Any]:
    """Where RETURNING of an INSERT only asks whether ``xmax`` is 0: ON CONFLICT has updated none.

    That is the same wherever the row is, but what else it is, is not.
    """
    found = list(walk(root))
    # In a subquery it may be another table's.
    if any(type_name(each) == "SubLink" for each in found):
        return
    for each in found:
        message: Any = each
        if type_name(message) == "A_Expr" and (names_of(message.name) or ("",))[-1] in _COMPARING:
            sides = (message.lexpr, message.rexpr)
            for one, other in (sides, sides[::-1]):
                constant = other.a_const
                zero = constant.HasField("ival") and constant.ival.ival == 0
                column = _bare(one).column_ref
                if zero and (names_of(column.fields) or ("",))[-1] == "xmax":
                    yield column


def _bare(node: Any) -> Any:
    """An expression without its casts."""
    while node.HasField("type_cast"):
        node = node.type_cast.arg
    return node


def _of_call(call: Any, functions: Functions, sharded: bool) -> Iterator[Problem]:
    name = name_of(call)
    if (names_of(call.funcname) or ("",))[0].startswith("pg_temp"):
        reason = f"function {name}() is temporary, and may read tables"
        yield Problem(reason, call.location, "GS410", _ON_ONE)
    elif functions.may_read_tables(call):
        yield Problem(
            f"function {name}() may read tables, of which each shard has a part only",
            call.location,
            "GS410",
            functions.ways_out(call),
        )
    elif sharded and Fact.COUNTED in facts_of(name) and functions.is_own(call):
        yield Problem(
            f"{name}() tells what the first shard has counted, and rows are on others",
            call.location,
            "GS410",
            f"Ask for it in a statement of its own: SELECT {name}(...).",
        )
    elif (tainted := functions.tainted_call(call)) is not None:
        yield _tainted(f"{name}()", tainted, call.location)
    elif name == TELLING_TEXT and functions.is_own(call):
        reason = f"{name}() tells the text that a shard was sent, which may be another one"
        yield Problem(reason, call.location, "GS410", "Give the text as a parameter.")
    elif measures_tables(call):
        reason = f"{name}() tells of one shard's part only"
        yield Problem(reason, call.location, "GS410", EACH)
    # SELECT nextval('s') FROM orders would count on each shard by itself. random() is harmless: it
    # is another one in each row anyway.
    # What a function in SQL calls is told where its own text is looked at.
    elif (
        sharded
        and functions.is_volatile(call)
        and not is_harmless(call)
        and functions.of(call)
        and not functions.bodies(call)
    ):
        yield Problem(
            f"{name}() changes something on one server, and the statement may run on several",
            call.location,
            "GS410",
            "Call it in a statement of its own, which runs on the first shard.",
        )


def _of_type(node: Any, functions: Functions) -> Iterator[Problem]:
    """What making a value of a type calls."""
    names = names_of(node.names) or ("",)
    function = functions.tainted_type(names)
    if function is not None:
        yield _tainted(f"type {names[-1]}", function, node.location)


def _tainted(what: str, function: str, at: int) -> Problem:
    reason = (
        f"{what} calls {function}(), which may read tables, of which each shard has a part only"
    )
    return Problem(reason, at, "GS410", ways_out(function, row=False))


def _is_tableoid(message: Any) -> bool:
    last = message.fields[-1]
    return bool(last.HasField("string") and last.string.sval == "tableoid")


def _names_system_column(message: Any) -> bool:
    last = message.fields[-1]
    return last.HasField("string") and last.string.sval in _SYSTEM_COLUMNS
