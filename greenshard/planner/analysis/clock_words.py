"""Goal: find 'now' and its kin where no cast says that a time is meant.

    SELECT * FROM orders WHERE placed > 'today'
    UPDATE orders SET placed = %s                   given ('now',)

PostgreSQL reads such a word when it knows the type: of the column on the other side of an operator,
or of the one that it is assigned to. On several servers it would be another time on each. So it
becomes what ``'today'::timestamptz`` would, see `now`; in a longer text ('today 10:00', '[now,)'),
or as a parameter, it is refused over several shards.

A word in a text column stays what it is. What cannot be told apart (an argument of a function of
the user's of which one by that name takes a time) is refused likewise; a reference table has it
from its first shard then.

Source: PostgreSQL manual, 8.5.1.4 "Special Values", 10.2 "Operators", 10.5 "UNION, CASE, and
Related Constructs".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from greenshard.planner.binding.query import (
    CteScan,
    Query,
    expressions,
    is_several,
    queries,
    sublinks,
)
from greenshard.planner.binding.scope import ColumnId, Level
from greenshard.planner.calls import Functions, name_of
from greenshard.planner.catalog import Column
from greenshard.planner.plan import Parameter
from greenshard.sql.functions import (
    GIVING_ARGUMENT,
    MAKING_TIMES,
    OF_TIMES,
    TIME_VALUES,
    Fact,
    facts_of,
)
from greenshard.sql.now import is_ambiguous, is_replaced
from greenshard.sql.parameters import Written
from greenshard.sql.parser import VALUE_FUNCTIONS, Message, type_name
from greenshard.sql.placeholders import Translation
from greenshard.sql.tree import names_of, unwrap
from greenshard.sql.types import Trait, is_time, names_with

#: As part of a longer word it means nothing: 'nowhere', 'Snow'.
WORDS = ("now", "today", "tomorrow", "yesterday")
_WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(WORDS)})(?![a-z])", re.IGNORECASE)
_TIMES = names_with(Trait.TELLS_NOW)

_ASSIGNED = frozenset({"a_const", "param_ref", "multi_assign_ref"})
#: What a type counts as that has times in it: a row's, or of rows. A word in such a literal stands
#: among others.
_OF_ROWS = "record"
#: PostgreSQL's own functions that are given a value of the type that another argument has, or
#: is made of, and give such.
_OF_ONE_TYPE = frozenset(
    {
        "array_agg", "array_append", "array_cat", "array_prepend", "array_remove", "array_replace",
        "array_reverse", "array_sample", "array_shuffle", "array_sort", "lower", "mode",
        "multirange", "percentile_disc", "range_agg", "range_intersect_agg", "range_merge",
        "trim_array", "upper",
    }
)  # fmt: skip
#: Its functions behind operators, casts and types, which are there to be called, too:
#: timestamptz_larger(), tstzrange_subdiff(), array_in().
_OF_TYPES = re.compile(
    r"(?:date|time(?:stamp)?(?:tz)?|(?:date|tstz?)(?:multi)?range)(?:_.*)?|.*_in"
)
#: What makes another text of a literal than stands between its quotes: escapes, and a second
#: literal on the next line, which PostgreSQL adds to the first.
_DISGUISED = re.compile(r"\\|&'|'[^\S\n]*\n")
#: What has parts of one type, its own, and the field that they are in.
_ALIKE = {"coalesce_expr": "args", "min_max_expr": "args", "a_array_expr": "elements"}


@dataclass(frozen=True, slots=True)
class Assigned:
    """A value that is given to a column.

    Attributes:
        value: It; or a parameter that holds a row's values (``VALUES %s``).
        column: The column.
        item: Then which of them it is.
        path: What of the column it is given to: ``a[1]``, ``c.a``; empty: all of it.
    """

    value: Message
    column: Column
    item: int | None = None
    path: Sequence[Message] = ()


@dataclass(slots=True)
class Words:
    """What was found.

    Attributes:
        literals: By the places of literals in the text, in bytes: the types of the times that they
            stand for.
        longer: The place of a literal that has such a word among others; None if there is none.
        parameters: Those that stand for times.
    """

    literals: dict[int, str] = field(default_factory=dict)
    longer: int | None = None
    parameters: set[Parameter] = field(default_factory=set)


def holds_word(text: str) -> bool:
    """Whether a text has one of the words in it. Cost: 0.3 us."""
    return _WORD.search(text) is not None


def may_hold_word(text: str) -> bool:
    """Whether a literal in a statement's text may have such a word in it. Cost: 1 us."""
    return holds_word(text) or _DISGUISED.search(text) is not None


def told_by(parameters: Iterable[Parameter], given: Any) -> bool:
    """Whether one of the values of some parameters is such a word.

    Args:
        parameters: As of `Words`.
        given: The user's parameters.
    """
    for each in parameters:
        try:
            value = given[each.source]
            if each.item is not None:
                value = value[each.item]
        # %s without a value, or VALUES %s given a number.
        except (LookupError, TypeError):
            continue  # psycopg2 says what is wrong with it
        if _tells(value):
            return True
    return False


def _tells(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_tells, value))
    if isinstance(value, Written):
        value = value.value
    return isinstance(value, str) and holds_word(value)


def clock_words(
    query: Query,
    assigned: Iterable[Assigned],
    functions: Functions,
    translation: Translation,
) -> Words:
    """What stands for a time in a query, and in values that are assigned to columns."""
    reader = _Reader(query, functions, translation)
    for each in assigned:
        # Only the assignment tells the type: to `read_below` the same literal is a text.
        # Of CASE or COALESCE of literals PostgreSQL makes a text, and assigns none to a time.
        kind, expected = unwrap(each.value)[0], reader.assigned_type(each)
        if kind in _ASSIGNED or expected == _OF_ROWS:
            reader.read(each.value, expected, query.level, each.item)
    # PostgreSQL has read the words in a view when the view was made: DEFAULT 'now' is a known trap.
    for one in queries(query, into_views=False):
        for root, level in expressions(one):
            reader.read_below(root, level)
        if one.branches is not None:
            reader.read_branches(one)
    return reader.found


class _Reader:
    """Reads expressions from above: with the type that their context gives them.

    Args:
        query: Of which the expressions are.
        functions: To know PostgreSQL's own.
        translation: Where parameters come from.
    """

    def __init__(self, query: Query, functions: Functions, translation: Translation) -> None:
        self.found = Words()
        self._functions = functions
        self._translation = translation
        self._computed: dict[ColumnId, tuple[Message, Level]] = {}
        self._sublinks: dict[int, Query] = {}
        for one in queries(query):
            self._computed.update(_computed(one))
            self._sublinks.update({id(link.node): link.query for link in sublinks(one)})
        self._computed.update(list(self._handed_on(query)))

    def read(
        self, node: Message, expected: str | None, level: Level, item: int | None = None
    ) -> None:
        """Read an expression.

        Args:
            node: The expression.
            expected: The type of time that it is to have; None if it is none.
            level: What its names mean.
            item: See `Assigned`.
        """
        kind, inner = unwrap(node)
        if expected is not None and kind in ("a_const", "param_ref"):
            self._note(kind, inner, expected, item)
        elif kind in _ALIKE:
            self._read_alike(list(getattr(inner, _ALIKE[kind])), expected, level)
        # ROW('now', 1) as a row type: which of its fields is a time is not looked up.
        elif kind == "row_expr" and expected == _OF_ROWS:
            for each in inner.args:
                self.read(each, expected, level)
        elif kind == "case_expr":
            self._read_case(inner, expected, level)
        # UPDATE t SET (a, b) = ('now', 'x'): each column takes its part of the row.
        elif kind == "multi_assign_ref" and inner.source.HasField("row_expr"):
            self.read(inner.source.row_expr.args[inner.colno - 1], expected, level)
        # 'now'::timestamptz has been taken care of: a cast tells what is meant.
        elif not is_replaced(node):
            self._read_typed(kind, inner, level)

    def _read_typed(self, kind: str, inner: Any, level: Level) -> None:
        """Read what gives its parts types of its own."""
        if kind == "type_cast":
            self.read(inner.arg, self._of_type(inner, level), level)
        elif kind == "a_expr":
            self._read_operands(inner, level)
        elif kind == "func_call":
            self._read_call(inner, level)
        elif kind == "sub_link":
            if inner.HasField("testexpr"):
                self.read(inner.testexpr, self._of_sublink(inner, level), level)
        elif inner is not None:
            self.read_below(inner, level)

    def read_below(self, root: Message, level: Level) -> None:
        """Read what stands in a message, of which nothing is expected."""
        if type_name(root) == "Node":
            self.read(root, None, level)
            return
        for field_, value in root.ListFields():
            if field_.message_type is None:
                continue
            for each in [value] if hasattr(value, "DESCRIPTOR") else list(value):
                # Queries within it are read with their own level, by whoever reads `expressions`.
                if type_name(each) != "SelectStmt":
                    self.read_below(each, level)

    def read_branches(self, query: Query) -> None:
        """Read the columns of a set operation: those at one place have one type."""
        leaves = [one for one in _leaves(query) if one.outputs is not None]
        width = min((len(one.outputs or ()) for one in leaves), default=0)
        for at in range(width):
            shown = [(one, _target(one, at)) for one in leaves]
            types = (self._of_shown(one, at, node) for one, node in shown)
            expected = next((each for each in types if each is not None), None)
            for one, node in shown:
                if node is not None and expected is not None:
                    self.read(node, expected, one.level)

    def _of_shown(self, query: Query, at: int, node: Message | None) -> str | None:
        """Of a column of a query."""
        column = (query.outputs or ())[at].column
        if column is not None:
            return self.time_type(column)
        return self._type(node, query.level) if node is not None else None

    def _note(self, kind: str, inner: Any, expected: str, item: int | None) -> None:
        if kind == "param_ref":
            parameters = self._translation.parameters
            if 0 < inner.number <= len(parameters):
                self.found.parameters.add(Parameter(parameters[inner.number - 1], item=item))
        elif inner.HasField("sval") and holds_word(inner.sval.sval):
            # ' NOW ' is read as 'now' is; in 'today 10:00' or '[now,)' the rest would have to be
            # understood.
            plain = _WORD.fullmatch(inner.sval.sval.strip()) is not None
            if plain and expected in _TIMES:
                self.found.literals[inner.location] = expected
            else:
                self.found.longer = inner.location

    def _read_operands(self, inner: Any, level: Level) -> None:
        # (a, b) = ('now', 'x') compares column by column, so each pair has a type of its own.
        sides = [inner.lexpr, *_items(inner.rexpr)] if inner.HasField("lexpr") else [inner.rexpr]
        if self._functions.compares_times(names_of(inner.name) or ("",)):
            for side in sides:
                self.read(side, _OF_ROWS, level)
            return
        rows = [list(side.row_expr.args) for side in sides if side.HasField("row_expr")]
        if len(rows) == len(sides) > 1:
            for column in zip(*rows, strict=False):
                self._read_alike(column, None, level)
        else:
            self._read_alike(sides, None, level)

    def _read_alike(self, nodes: Sequence[Message], expected: str | None, level: Level) -> None:
        """Read expressions that have one type."""
        own = next((each for each in map(self._type, nodes, repeat(level)) if each), None)
        if own is None and expected and not all(map(_is_literal, nodes)):
            # (CASE WHEN x THEN 'now' ELSE word END)::date is a text first.
            own = _OF_ROWS
        expected = own or expected
        for each in nodes:
            self.read(each, expected, level)

    def _read_case(self, inner: Any, expected: str | None, level: Level) -> None:
        whens = [each.case_when for each in inner.args]
        if inner.HasField("arg"):
            self._read_alike([inner.arg, *(each.expr for each in whens)], None, level)
        else:
            for each in whens:
                self.read(each.expr, None, level)
        self._read_alike([*(each.result for each in whens), inner.defresult], expected, level)

    def _read_call(self, inner: Any, level: Level) -> None:
        name = name_of(inner)
        # date_trunc('day', 'now'): of several types that fit an unknown literal PostgreSQL prefers
        # timestamptz, the preferred type of its category (manual, 10.3).
        types = [self._type(each, level) for each in inner.args]
        known = next((each for each in types if each is not None), None)
        expected = None
        if not self._functions.is_own(inner):
            expected = _OF_ROWS if self._functions.takes_times(inner) else None
        elif name in OF_TIMES and not is_ambiguous(inner):
            expected = known or "timestamptz"
        elif name in GIVING_ARGUMENT or name in _OF_ONE_TYPE:
            expected = known  # lag(day, 1, 'today')
        elif _OF_TYPES.fullmatch(name) or (known and not Fact.ANY_ROW & facts_of(name)):
            expected = _OF_ROWS
        for each in inner.args:
            self.read(each, expected, level)
        for part in (*inner.agg_order, inner.agg_filter, inner.over):
            self.read_below(part, level)

    def _handed_on(self, query: Query) -> Iterator[tuple[ColumnId, tuple[Message, Level]]]:
        """What computes the columns of WITH queries where these are named."""
        for one in queries(query):
            for scan in one.items_of(CteScan):
                pairs = zip(scan.columns or (), scan.cte.query.outputs or (), strict=False)
                for mine, theirs in pairs:
                    # A column of a table is known from the catalog already.
                    if mine.column is None and theirs.id in self._computed:
                        yield mine.id, self._computed[theirs.id]

    # Types ----------------------------------------------------------------------------------

    def time_type(self, column: Column) -> str | None:
        """The type of time that a column has, or that its values have in them."""
        return _known(column.type_name) or self._of_made(column.type_name)

    def assigned_type(self, assigned: Assigned) -> str | None:
        """The same of what a value is given to."""
        name = self._functions.part_of(assigned.column.type_sql, assigned.path)
        if name is None:
            return self.time_type(assigned.column)
        return _known(name) or self._of_made(name)

    def _of_made(self, name: str) -> str | None:
        """What a type that a user has made counts as."""
        base, seen = self._functions.base_of(name), {name}
        # Names alone: a domain over PostgreSQL's own text may itself be called text.
        while base is not None and base not in seen:
            if (known := _known(base)) is not None:
                return known
            seen.add(base)
            name, base = base, self._functions.base_of(base)
        return _OF_ROWS if self._functions.has_times_within(name) else None

    def _type(self, node: Message, level: Level) -> str | None:
        """The type of time that an expression has; None if it has none, or that is not known."""
        kind, inner = unwrap(node)
        if kind == "column_ref":
            return self._of_column(node, level)
        if kind in _ALIKE:
            return self._first(getattr(inner, _ALIKE[kind]), level)
        rule = {
            "type_cast": self._of_type,
            "sqlvalue_function": self._of_value_function,
            "func_call": self._of_call,
            "a_expr": self._of_operator,
            "case_expr": self._of_case,
            "sub_link": self._of_sublink,
        }.get(kind)
        return rule(inner, level) if rule is not None else None

    def _first(self, nodes: Iterable[Message], level: Level) -> str | None:
        types = (self._type(each, level) for each in nodes)
        return next((each for each in types if each is not None), None)

    def _of_column(self, node: Message, level: Level) -> str | None:
        column = level.resolve(node)
        if column is None:
            return None
        if column.column is not None:
            return self.time_type(column.column)
        made = self._computed.pop(column.id, None)  # once: it may be told by itself
        if made is None:
            return None
        self._computed[column.id] = made
        return self._type(*made)

    def _of_type(self, inner: Any, _: Level) -> str | None:
        *schema, name = names_of(inner.type_name.names) or ("",)
        # 'today'::mine.date: what is called like PostgreSQL's own is written with its schema.
        known = _known(name) if schema in ([], ["pg_catalog"]) else None
        # placed > 'now'::my_time: the cast names a domain, and the catalog knows its base type.
        return known or self._of_made(name)

    def _of_value_function(self, inner: Any, _: Level) -> str | None:
        return TIME_VALUES.get(VALUE_FUNCTIONS[inner.op].removesuffix("_n"))

    def _of_case(self, inner: Any, level: Level) -> str | None:
        return self._first([*(e.case_when.result for e in inner.args), inner.defresult], level)

    def _of_call(self, inner: Any, level: Level) -> str | None:
        name = name_of(inner)
        if not self._functions.is_own(inner):
            return None
        if name in MAKING_TIMES:
            return MAKING_TIMES[name]
        if name in _OF_ONE_TYPE:
            return self._first(inner.args, level)
        at = 0 if name in GIVING_ARGUMENT else OF_TIMES.get(name)
        if at is None or at >= len(inner.args):
            return None
        found = self._type(inner.args[at], level)
        # date_trunc() and the like have no variant for dates.
        return "timestamptz" if found == "date" and name in OF_TIMES else found

    def _of_operator(self, inner: Any, level: Level) -> str | None:
        """The type of a time that is moved; the difference of two times is no time."""
        name = (names_of(inner.name) or ("",))[-1]
        if name not in ("+", "-") or not inner.HasField("lexpr"):
            return None
        left, right = self._type(inner.lexpr, level), self._type(inner.rexpr, level)
        if name == "-":
            return None if right is not None else left
        return left or right

    def _of_sublink(self, inner: Any, _: Level) -> str | None:
        """The type of the first column of its query."""
        query = self._sublinks.get(id(inner))
        column = next(iter(query.outputs or ()), None) if query is not None else None
        if column is None:
            return None
        if column.column is not None:
            return self.time_type(column.column)
        made = self._computed.get(column.id)
        return self._type(*made) if made is not None else None


def _computed(query: Query) -> Iterator[tuple[ColumnId, tuple[Message, Level]]]:
    """The columns of a query that are computed, and by what."""
    targets = [each.res_target.val for each in query.node.target_list]
    # With a star among them, targets and columns cannot be paired.
    if query.outputs is None or len(targets) != len(query.outputs) or any(map(is_several, targets)):
        return
    for column, node in zip(query.outputs, targets, strict=True):
        if column.column is None and not query.level.owns(column):
            yield column.id, (node, query.level)


def _leaves(query: Query) -> Iterator[Query]:
    """The queries of a set operation that are none themselves."""
    for one in query.branches or ():
        yield from _leaves(one) if one.branches is not None else (one,)


def _target(query: Query, at: int) -> Message | None:
    """What computes a column of a query; None if that is not a part of the text."""
    targets = [each.res_target.val for each in query.node.target_list]
    return None if any(map(is_several, targets)) or at >= len(targets) else targets[at]


def _is_literal(node: Message) -> bool:
    return unwrap(node)[0] in ("", "a_const", "param_ref")


def _items(node: Message) -> list[Message]:
    """The right side of IN and BETWEEN, or of any other operator."""
    kind, inner = unwrap(node)
    return list(inner.items) if kind == "list" else [node]


def _known(name: str) -> str | None:
    # pg_type calls the arrays of timestamptz `_timestamptz`; ARRAY['now'] is read element by
    # element.
    plain = name.lstrip("_")
    return plain if is_time(plain) else None
