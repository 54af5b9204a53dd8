"""Goal: find text of which a server makes times when the statement runs.

    UPDATE nation SET n_seen = n_name::timestamptz      'now', if a row says so
    SELECT ('n' || 'ow')::timestamptz FROM orders
    SELECT * FROM jsonb_populate_record(null::visit, %s)

`clock_words` reads the words where a time is meant and a literal or a parameter stands. Text that
is computed nobody can read before. What its literals and parameters could say is looked at; of a
column, that it is one. PostgreSQL makes a time of a text only where it is told to, by a cast or a
type's name: an assignment of a text to a time is an error.

Source: PostgreSQL manual, 8.5.1.4 "Special Values", 10.4 "Value Storage", and pg_cast, which has
nothing that makes a time of a text: it is read as a literal is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from greenshard.planner.analysis.clock_words import WORDS, holds_word
from greenshard.planner.binding.query import (
    FunctionScan,
    Query,
    expressions,
    nested,
    queries,
    sublinks,
)
from greenshard.planner.binding.scope import Level
from greenshard.planner.calls import Functions, name_of
from greenshard.sql.functions import GIVING_ARGUMENT, MAKING_TIMES, OF_TIMES
from greenshard.sql.parser import AEXPR_NULLIF, Message, type_name, walk
from greenshard.sql.tree import location_of, names_of, own_type, unwrap, walk_level
from greenshard.sql.types import BY_NAME, Trait, names_with

_TIMES = names_with(Trait.TELLS_NOW)
#: PostgreSQL's own types whose values it reads as text of other ones.
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "char", "unknown"})
#: Operators of PostgreSQL's that give no text.
_NO_TEXTS = frozenset({"+", "-", "*", "/", "->", "#>"})
#: Functions whose texts have the letters of their arguments, in their order, and no others.
_JOINING = frozenset(
    {
        "btrim", "concat", "concat_ws", "format", "initcap", "lower", "lpad", "ltrim", "rpad",
        "rtrim", "to_char", "upper",
    }
)  # fmt: skip
#: Functions that give letters which none of their arguments has.
_SPELLING = frozenset({"chr", "convert_from", "decode", "unistr"})
#: What makes rows of JSON: of the type of their first argument, or of a list behind it.
_MAKING_ROWS = frozenset(
    {
        "json_populate_record", "json_populate_recordset", "json_to_record", "json_to_recordset",
        "jsonb_populate_record", "jsonb_populate_recordset", "jsonb_to_record",
        "jsonb_to_recordset",
    }
)  # fmt: skip
#: What says of which types the columns or the value are that are made of JSON or XML.
_TYPED = frozenset({"ColumnDef", "JsonOutput", "JsonTableColumn", "RangeTableFuncCol"})


@dataclass(frozen=True, slots=True)
class Computed:
    """Text that becomes a time.

    Attributes:
        offset: Where, in bytes; None if it is not known.
        literals: Those that it is made of.
        parameters: The numbers of the placeholders likewise.
        fixed: Whether it is made of nothing else, which comes in this order.
        mixed: Whether their letters may come in another order: of replace(), reverse().
        spelt: Whether it may have letters that none of them has: of chr().
    """

    offset: int | None
    literals: tuple[str, ...]
    parameters: frozenset[int]
    fixed: bool
    mixed: bool = False
    spelt: bool = False

    @property
    def may_say_now(self) -> bool:
        """Whether its literals may make one of the words, alone or joined to each other."""
        if self.spelt or any(map(holds_word, self.literals)):
            return True
        if self.mixed:
            letters = set("".join(self.literals).lower())
            return any(letters.issuperset(word) for word in WORDS)
        return self.fixed and sum(map(_is_fragment, self.literals)) > 1

    @property
    def is_proved(self) -> bool:
        """Whether it says none of the words, if none of the parameters does."""
        # A parameter can be the rest of a word that a literal begins, or another parameter.
        pieces = sum(map(_is_fragment, self.literals)) + len(self.parameters)
        return self.fixed and pieces < 2 and not self.may_say_now


def computed_times(query: Query, functions: Functions) -> Iterator[Computed]:
    """The text in a query, and those within it, that becomes a time."""
    return _Reader(query, functions).read(query)


class _Reader:
    def __init__(self, query: Query, functions: Functions) -> None:
        self._functions = functions
        self._sublinks = {
            id(link.node): link.query for one in queries(query) for link in sublinks(one)
        }

    def read(self, query: Query) -> Iterator[Computed]:
        for one in queries(query):
            for root, level in expressions(one):
                for message in walk_level(root):
                    yield from self._of(message, level)
            for item in nested(one.items):
                if isinstance(item, FunctionScan) and any(map(self._is_typed, walk(item.node))):
                    yield _computed([item.node], location_of(item.node))

    def _of(self, message: Any, level: Level) -> Iterator[Computed]:
        kind = type_name(message)
        if kind == "TypeCast":
            if self._is_time(message.type_name):
                yield from self._made_of(message.arg, level, message.location)
        elif kind == "FuncCall":
            name = name_of(message)
            if self._functions.makes_times(message):
                for each in message.args:
                    yield from self._made_of(each, level, message.location)
            # date(x) is x::date.
            elif len(message.args) == 1 and name in _TIMES:
                yield from self._made_of(message.args[0], level, message.location)
            elif name in _MAKING_ROWS and self._makes_times(message):
                yield _computed(message.args, message.location)
        elif kind == "JsonFuncExpr" and self._is_typed(message.output):
            yield _computed([message], message.location)

    def _makes_times(self, call: Any) -> bool:
        # json_to_record() names its columns where it stands, in FROM.
        if "populate" not in name_of(call) or not call.args:
            return False
        # null::visit says which type it makes; of a column that is not looked up.
        first: Any = call.args[0]
        return not first.HasField("type_cast") or self._is_time(first.type_cast.type_name)

    def _is_typed(self, message: Any) -> bool:
        return type_name(message) in _TYPED and self._is_time(message.type_name)

    def _is_time(self, target: Any) -> bool:
        return self._functions.holds_times(names_of(target.names) or ("",))

    def _made_of(self, node: Message, level: Level, at: int) -> Iterator[Computed]:
        kind, inner = unwrap(node)
        if kind in ("a_const", "param_ref"):
            return  # `clock_words` reads it
        if kind == "a_array_expr":
            for each in inner.elements:
                yield from self._made_of(each, level, at)
        elif self._may_be_text(node, level):
            yield _computed([node], at)

    def _may_be_text(self, node: Message, level: Level) -> bool:
        """Whether an expression may be a text; what is not known may be one."""
        kind, inner = unwrap(node)
        if kind == "column_ref":
            found = level.resolve(node)
            column = found.column if found is not None else None
            return column is None or _is_text(column.type_name)
        rule = {
            "type_cast": self._cast_to_text,
            "func_call": self._gives_text,
            "a_expr": self._makes_text,
            "coalesce_expr": self._one_may_be_text,
            "min_max_expr": self._one_may_be_text,
            "case_expr": self._one_may_be_text,
            "sub_link": self._shows_text,
        }.get(kind)
        return rule(inner, level) if rule is not None else kind != "sqlvalue_function"

    def _cast_to_text(self, cast: Any, _: Level) -> bool:
        # x::mine.date may be a text, too.
        return _is_text(own_type(cast.type_name))

    def _makes_text(self, expression: Any, level: Level) -> bool:
        if expression.kind == AEXPR_NULLIF:
            return self._may_be_text(expression.lexpr, level)
        return (names_of(expression.name) or ("",))[-1] not in _NO_TEXTS

    def _one_may_be_text(self, inner: Any, level: Level) -> bool:
        """The same of what gives one of several values of one type; literals get the others'."""
        nodes = list(inner.args)
        if type_name(inner) == "CaseExpr":
            nodes = [*(each.case_when.result for each in inner.args), inner.defresult]
        others = [each for each in nodes if unwrap(each)[0] not in ("", "a_const", "param_ref")]
        return any(self._may_be_text(each, level) for each in others)

    def _gives_text(self, call: Any, level: Level) -> bool:
        name = name_of(call)
        if not self._functions.is_own(call):
            return True
        if name in GIVING_ARGUMENT and call.args:
            return self._may_be_text(call.args[0], level)
        return name not in MAKING_TIMES and name not in OF_TIMES

    def _shows_text(self, link: Any, _: Level) -> bool:
        query = self._sublinks.get(id(link))
        column = next(iter(query.outputs or ()), None) if query is not None else None
        if query is None or column is None:
            return True
        if column.column is not None:
            return _is_text(column.column.type_name)
        targets = query.node.target_list
        return not targets or self._may_be_text(targets[0].res_target.val, query.level)


def _computed(nodes: Any, at: int | None) -> Computed:
    literals, parameters, fixed, mixed, spelt = [], set(), True, False, False
    for node in nodes:
        for message in walk(node):
            each: Any = message
            kind = type_name(each)
            if kind == "A_Const" and each.HasField("sval"):
                literals.append(each.sval.sval)
            elif kind == "ParamRef":
                parameters.add(each.number)
            elif kind in ("ColumnRef", "SubLink"):
                fixed = False
            elif kind == "FuncCall":
                mixed |= name_of(each) not in _JOINING
                spelt |= name_of(each) in _SPELLING
    return Computed(at, tuple(literals), frozenset(parameters), fixed and not mixed, mixed, spelt)


def _is_text(name: str) -> bool:
    # pg_type calls the arrays of text `_text`. What is not PostgreSQL's own may be like citext.
    plain = name.lstrip("_")
    return plain in _TEXTS or plain not in BY_NAME


def _is_fragment(text: str) -> bool:
    """Whether a text may be a part of one of the words, at its beginning or its end."""
    text = text.lower()
    if text.isalpha():
        return any(text in word for word in WORDS)
    return any(text.endswith(word[:n]) or text.startswith(word[-n:])
               for word in WORDS for n in range(1, len(word)))  # fmt: skip
