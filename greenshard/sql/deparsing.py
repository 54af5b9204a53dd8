"""A tree to the text that is sent: the parser's placeholders to psycopg2's.

    SELECT sum(x) FROM t WHERE a LIKE 'b%' AND k IN ($1) AND n = $2
    SELECT sum(x) FROM t WHERE a LIKE 'b%%' AND k IN %(p1)s AND n = (%(p2)s)

psycopg2 writes a value where the placeholder is, so it gets brackets: `(-1)::int2` is not
`-1::int2`.

libpg_query leaves out brackets that are needed: it writes `(NOT a) IS NULL` as `NOT a IS NULL`, and
`(ARRAY(...))[1]` as `ARRAY(...)[1]`. Such a condition is put into COALESCE, which gives its only
argument back, and such an array into a query of its own. And whatever it wrote is parsed again: a
text that means another tree is never sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from greenshard.sql.nodes import copy, expression
from greenshard.sql.now import STATEMENT_TIME
from greenshard.sql.parser import (
    AEXPR_DISTINCT,
    AEXPR_NOT_DISTINCT,
    AEXPR_OP,
    ARRAY_SUBLINK,
    Message,
    ParserError,
    Token,
    TokenKind,
    deparse,
    parse,
    scan,
    type_name,
    walk,
)
from greenshard.sql.placeholders import Translation
from greenshard.sql.text import Computed, Now, Source, Sql
from greenshard.sql.tree import same_text, unwrap


class Unwritable(Exception):
    """A tree cannot be sent as text."""


def now_number(translation: Translation) -> int:
    """The number of the placeholder that stands for the time the transaction began."""
    return len(translation.parameters) + 1


def computed_number(translation: Translation, number: int) -> int:
    """The number of the placeholder that stands for a `Computed` value."""
    return now_number(translation) + 1 + number


def write(statement: Message, translation: Translation) -> Sql:
    """The text of a statement, and where its values come from.

    Raises:
        Unwritable: The tree cannot be written, or a placeholder stands for nothing.
    """
    try:
        text = faithful(statement)
        tokens = [token for token in scan(text) if token.kind == TokenKind.PARAMETER]
    except ParserError as error:
        raise Unwritable(f"libpg_query cannot write it: {error.message}") from None
    if not tokens:
        return Sql(text, ())
    source = text.encode()
    return for_driver(source, 0, len(source), tokens, translation)


def for_driver(
    source: bytes, start: int, end: int, parameters: Iterable[Token], translation: Translation
) -> Sql:
    """A part of a text with psycopg2's placeholders; its percent signs are doubled in any case.

    Args:
        source: The text, with the parser's placeholders.
        start: Where the part begins.
        end: Where it ends.
        parameters: The placeholders in the part, in order.
        translation: Where their values come from.

    Raises:
        Unwritable: One stands for nothing.
    """
    pieces: list[str] = []
    binds: dict[str, Source] = {}
    done = start
    for token in parameters:
        number = int(source[token.start + 1 : token.end])
        before, after = token.start, token.end
        bracketed = number in translation.bracketed
        if bracketed:
            before, after = before - 1, after + 1
            if source[before:after] != f"(${number})".encode():
                raise Unwritable("a list stands in a place of its own")
        name, value = _bind(number, translation)
        binds[name] = value
        pieces.append(source[done:before].decode().replace("%", "%%"))
        pieces.append(f"%({name})s" if bracketed else f"(%({name})s)")
        done = after
    pieces.append(source[done:end].decode().replace("%", "%%"))
    return Sql("".join(pieces), tuple(binds.items()))


def faithful(statement: Message) -> str:
    """The text that is parsed as `statement` is.

    Raises:
        ParserError, Unwritable: There is none.
    """
    try:
        return _checked(_with_brackets(statement, _operands_of_tests))
    except (ParserError, Unwritable):
        return _checked(_with_brackets(statement, _operands))


def _checked(statement: Message) -> str:
    text = deparse(statement)
    (again,) = parse(text)
    if same_text(again.stmt) != same_text(statement.stmt):
        raise Unwritable("libpg_query does not write it as it is")
    return text


def _with_brackets(statement: Message, operands: Callable[[Any], Sequence[Any]]) -> Message:
    """The same with brackets that libpg_query does not leave out."""
    made: Message = copy(statement)
    for message in reversed(list(walk(made))):  # what stands inside first
        for node in operands(message):
            if unwrap(node)[0] in _CONDITIONS:
                wrapped = expression("COALESCE(1)")
                wrapped.coalesce_expr.args[0].CopyFrom(node)
                node.CopyFrom(wrapped)
        if type_name(message) == "A_Indirection" and _loses_brackets(message.arg):
            wrapped = expression("(SELECT 1)")
            target = wrapped.sub_link.subselect.select_stmt.target_list[0]
            target.res_target.val.CopyFrom(message.arg)
            message.arg.CopyFrom(wrapped)
    return made


def _loses_brackets(array: Message) -> bool:
    """Whether what is subscripted needs brackets, and may stand in a query of its own.

    An aggregate may not: it would be that query's. In ARRAY(SELECT ...) it is of that one, or of
    the query around it whose columns it takes; one query more between them changes neither.
    """
    kind, inner = unwrap(array)
    if kind == "sub_link":
        return bool(inner.sub_link_type == ARRAY_SUBLINK)
    return kind in _BARE and not any(type_name(message) == "FuncCall" for message in walk(array))


_BARE = frozenset({"coalesce_expr", "case_expr", "min_max_expr"})
_CONDITIONS = frozenset({"bool_expr", "null_test", "boolean_test", "a_expr"})


def _operands_of_tests(message: Any) -> Sequence[Any]:
    """The parts of a condition around which brackets get lost."""
    kind = type_name(message)
    if kind in ("NullTest", "BooleanTest"):
        return [message.arg]
    if kind == "A_Expr" and message.kind in (AEXPR_DISTINCT, AEXPR_NOT_DISTINCT):
        return [message.lexpr, message.rexpr]
    return []


def _operands(message: Any) -> Sequence[Any]:
    """All parts around which brackets may get lost, those around which they seldom do too."""
    kind = type_name(message)
    if kind == "A_Expr" and message.kind != AEXPR_OP:  # LIKE, BETWEEN, IN, ANY
        return [message.lexpr, message.rexpr, *message.rexpr.list.items]
    if kind == "FuncCall" and message.funcname[-1].string.sval == "timezone":
        return list(message.args)
    return _operands_of_tests(message)


def _bind(number: int, translation: Translation) -> tuple[str, Source]:
    if number == now_number(translation):
        return "now", Now.NOW
    if number == STATEMENT_TIME:
        return "statement", Now.STATEMENT
    computed = number - computed_number(translation, 0)
    if 0 <= computed < translation.computed:
        return f"c{computed}", Computed(computed)
    if not 0 < number <= len(translation.parameters):
        raise Unwritable(f"there is no parameter ${number}")
    return f"p{number}", translation.parameters[number - 1]
