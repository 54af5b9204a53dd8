"""The only door to the SQL parser: PostgreSQL 18's own, through postgast (libpg_query).

Threads and greenlets: libpg_query keeps its memory contexts per thread, and a call into
it runs no Python code, so no other greenlet runs within it. ctypes gives up the GIL for
the call: threads parse in parallel.

Offsets: the parser counts bytes of UTF-8 everywhere except in its errors, where it counts
characters. `Token`, and the `location` fields of a tree, are in bytes; `char_offset` turns
them into positions in a `str`; `ParserError.position` is one already.

Depth: the parser recurses in C once per level of nesting and does not watch its stack: a
chain of 30,000 `+` ends the process. So `parse` bounds the depth first, with the scanner,
which does not recurse.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, overload

if TYPE_CHECKING:
    # mypy gives up on postgast's stubs (a field named `from`), in our users' runs too.
    postgast: Any
    pg_query_pb2: Any
    DecodeError: type[Exception]
    SetAllowOversizeProtos: Callable[[bool], object] | None
else:
    import postgast
    from google.protobuf.message import DecodeError
    from postgast import pg_query_pb2

    try:
        from google._upb._message import SetAllowOversizeProtos
    except ImportError:  # another implementation of protobuf
        SetAllowOversizeProtos = None

MAX_DEPTH = 4000
"""Levels of nesting that are parsed. They take less than 2 MB of C stack, of the usual 8 MB."""

_ATTEMPTS = 100
_CERTAINLY_SHALLOW_BYTES = 4096  # a level takes two bytes of text at least


class ParserError(Exception):
    """The text cannot be parsed or scanned.

    Args:
        message: PostgreSQL's words, or ours.
        position: Character offset of the error in the text, None when it is unknown.
    """

    def __init__(self, message: str, position: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class TooDeep(ParserError):
    """The text may be right, but its nesting is beyond what can be parsed."""

    def __init__(self) -> None:
        super().__init__("the statement is nested too deeply", None)


class Message(Protocol):
    """A node of the tree: a protobuf message of pg_query.proto, its fields are attributes.

    A message of type `Node` wraps another one in the field named for its type.
    """

    DESCRIPTOR: Any

    def __getattr__(self, name: str, /) -> Any: ...

    def HasField(self, name: str, /) -> bool:  # noqa: N802
        """Whether the field of this name is set."""
        ...

    def ListFields(self) -> list[tuple[Any, Any]]:  # noqa: N802
        """Return the fields that are set, each with its descriptor."""
        ...


class TokenKind(IntEnum):
    """The kinds of token that matter here."""

    INSERT = pg_query_pb2.INSERT
    MERGE = pg_query_pb2.MERGE
    COPY = pg_query_pb2.COPY
    DO = pg_query_pb2.DO
    INTO = pg_query_pb2.INTO
    WITH = pg_query_pb2.WITH
    UNION = pg_query_pb2.UNION
    INTERSECT = pg_query_pb2.INTERSECT
    EXCEPT = pg_query_pb2.EXCEPT
    JOIN = pg_query_pb2.JOIN
    AND = pg_query_pb2.AND
    OR = pg_query_pb2.OR
    CASE = pg_query_pb2.CASE
    END = pg_query_pb2.END_P
    STRING = pg_query_pb2.SCONST
    UNICODE_STRING = pg_query_pb2.USCONST
    BIT_STRING = pg_query_pb2.BCONST
    HEX_STRING = pg_query_pb2.XCONST
    INTEGER = pg_query_pb2.ICONST
    NUMBER = pg_query_pb2.FCONST
    LINE_COMMENT = pg_query_pb2.SQL_COMMENT
    BLOCK_COMMENT = pg_query_pb2.C_COMMENT
    OPENING_PARENTHESIS = pg_query_pb2.ASCII_40
    CLOSING_PARENTHESIS = pg_query_pb2.ASCII_41
    COMMA = pg_query_pb2.ASCII_44
    DOT = pg_query_pb2.ASCII_46
    SEMICOLON = pg_query_pb2.ASCII_59
    OPENING_BRACKET = pg_query_pb2.ASCII_91
    CLOSING_BRACKET = pg_query_pb2.ASCII_93
    PARAMETER = pg_query_pb2.PARAM


INSERT_COMMAND: int = pg_query_pb2.CMD_INSERT
"""The `command_type` of an INSERT action of MERGE."""

# Values of enumerations of the tree, by the names that PostgreSQL's parsenodes.h gives them.
SETOP_NONE, SETOP_UNION = pg_query_pb2.SETOP_NONE, pg_query_pb2.SETOP_UNION
SETOP_INTERSECT, SETOP_EXCEPT = pg_query_pb2.SETOP_INTERSECT, pg_query_pb2.SETOP_EXCEPT
JOIN_INNER, JOIN_LEFT = pg_query_pb2.JOIN_INNER, pg_query_pb2.JOIN_LEFT
JOIN_FULL, JOIN_RIGHT = pg_query_pb2.JOIN_FULL, pg_query_pb2.JOIN_RIGHT
AEXPR_OP, AEXPR_OP_ANY = pg_query_pb2.AEXPR_OP, pg_query_pb2.AEXPR_OP_ANY
AEXPR_OP_ALL, AEXPR_IN = pg_query_pb2.AEXPR_OP_ALL, pg_query_pb2.AEXPR_IN
AEXPR_NULLIF: int = pg_query_pb2.AEXPR_NULLIF
AEXPR_DISTINCT: int = pg_query_pb2.AEXPR_DISTINCT
AEXPR_NOT_DISTINCT: int = pg_query_pb2.AEXPR_NOT_DISTINCT
AND_EXPR, NOT_EXPR = pg_query_pb2.AND_EXPR, pg_query_pb2.NOT_EXPR
EXISTS_SUBLINK, ANY_SUBLINK = pg_query_pb2.EXISTS_SUBLINK, pg_query_pb2.ANY_SUBLINK
ALL_SUBLINK: int = pg_query_pb2.ALL_SUBLINK
ARRAY_SUBLINK, EXPR_SUBLINK = pg_query_pb2.ARRAY_SUBLINK, pg_query_pb2.EXPR_SUBLINK
SORTBY_ASC, SORTBY_DESC = pg_query_pb2.SORTBY_ASC, pg_query_pb2.SORTBY_DESC
SORTBY_USING, SORTBY_DEFAULT = pg_query_pb2.SORTBY_USING, pg_query_pb2.SORTBY_DEFAULT
NULLS_FIRST, NULLS_LAST = pg_query_pb2.SORTBY_NULLS_FIRST, pg_query_pb2.SORTBY_NULLS_LAST
IMPLICIT_ROW: int = pg_query_pb2.COERCE_IMPLICIT_CAST
WITH_TIES: int = pg_query_pb2.LIMIT_OPTION_WITH_TIES
IS_GREATEST: int = pg_query_pb2.IS_GREATEST
#: Bits of a window's `frame_options`: it counts rows; it is the whole partition.
FRAME_ROWS, FRAME_WHOLE = 0x4, 0x20 | 0x100
VALUE_FUNCTIONS: dict[int, str] = {
    number: name.removeprefix("SVFOP_").lower()
    for name, number in pg_query_pb2.SQLValueFunctionOp.items()
}
JSON_FUNCTIONS: dict[int, str] = {
    number: name.removesuffix("_OP").lower() for name, number in pg_query_pb2.JsonExprOp.items()
}
XML_FUNCTIONS: dict[int, str] = {
    number: name.removeprefix("IS_").lower() for name, number in pg_query_pb2.XmlExprOp.items()
}


class Token(NamedTuple):
    """One token of the scanner, the bytes `[start:end]` of the text.

    `kind` is a `TokenKind`, or the number of a kind that does not matter here.
    """

    kind: int
    start: int
    end: int
    is_keyword: bool


def parse(text: str) -> list[Message]:
    """Parse `text`, whose placeholders are `$1`, `$2`, ...

    Returns:
        The statements, in order; none for a text of only comments.

    Raises:
        TooDeep: The nesting is beyond `MAX_DEPTH`.
        ParserError: A syntax error, or a NUL character.

    Cost: 10 to 50 us for a short statement, 0.4 s for 1 MB of VALUES.
    """
    _check_encodable(text)
    if len(text) > _CERTAINLY_SHALLOW_BYTES and _depth_bound(scan(text).kinds()) > MAX_DEPTH:
        raise TooDeep
    try:
        return list(_parse_tree(text).stmts)
    except postgast.PgQueryError as error:
        raise _parser_error(error) from None


def deparse(statement: Message) -> str:
    """Write a statement of a tree as text again, with the placeholders `$1`, `$2`, ...

    Args:
        statement: What `parse` returned, or the `Node` of a statement.

    Raises:
        ParserError: The tree cannot be written.
    """
    tree = pg_query_pb2.ParseResult()
    if type_name(statement) == "RawStmt":
        tree.stmts.add().CopyFrom(statement)
    else:
        tree.stmts.add().stmt.CopyFrom(statement)
    try:
        return str(postgast.deparse(tree))
    except postgast.PgQueryError as error:
        raise _parser_error(error) from None


class Tokens(Sequence[Token]):
    """The tokens of a text, comments included. A `Token` is made when it is taken: 0.5 us each."""

    def __init__(self, scanned: Any) -> None:
        self._scanned = scanned

    def __len__(self) -> int:
        return len(self._scanned)

    @overload
    def __getitem__(self, index: int) -> Token: ...
    @overload
    def __getitem__(self, index: slice) -> list[Token]: ...
    def __getitem__(self, index: int | slice) -> Token | list[Token]:
        if isinstance(index, slice):
            return [_token(one) for one in self._scanned[index]]
        return _token(self._scanned[index])

    def kinds(self) -> Iterator[int]:
        """Yield the kind of each token, in a quarter of the time."""
        return (one.token for one in self._scanned)

    def index_at(self, start: int) -> int | None:
        """Return the index of the token that begins at byte `start`, if one does."""
        index = bisect_left(self._scanned, start, key=attrgetter("start"))
        found = index < len(self._scanned) and self._scanned[index].start == start
        return index if found else None


def scan(text: str) -> Tokens:
    """Cut `text` into tokens.

    Raises:
        ParserError: An unterminated literal or comment, or a NUL character.

    Cost: 5 us for a short statement, 50 ms for 1 MB.
    """
    _check_encodable(text)
    try:
        return Tokens(postgast.scan(text).tokens)
    except postgast.PgQueryError as error:
        raise _parser_error(error) from None


def _token(one: Any) -> Token:
    return Token(one.token, one.start, one.end, one.keyword_kind != pg_query_pb2.NO_KEYWORD)


def walk(root: Message) -> Iterator[Message]:
    """Yield `root` and every message below it, in no particular order, without recursion.

    Cost: 1 to 3 us a message, wrappers included.
    """
    pending = [root]
    while pending:
        message = pending.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            if hasattr(value, "DESCRIPTOR"):
                pending.append(value)
            else:
                pending.extend(value)


def type_name(message: Message) -> str:
    """Return the name of the message's type, such as "FuncCall"."""
    name: str = message.DESCRIPTOR.name
    return name


def char_offset(text: str, byte_offset: int) -> int:
    """Return the position in `text` of byte `byte_offset` of its UTF-8 form."""
    if text.isascii():
        return byte_offset
    return len(text.encode()[:byte_offset].decode(errors="ignore"))


def _check_encodable(text: str) -> None:
    nul = text.find("\0")
    if nul >= 0:  # C strings end there: the rest would be dropped without a word
        raise ParserError("the statement holds a NUL character", nul)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParserError("the statement holds half of a surrogate pair", error.start) from None


def _parser_error(error: Any) -> ParserError:
    return ParserError(error.message, error.cursorpos - 1 if error.cursorpos > 0 else None)


def _parse_tree(text: str) -> Any:
    try:
        return postgast.parse(text)
    except DecodeError:  # protobuf stops at 100 levels: an expression of 49 operators
        if SetAllowOversizeProtos is None:
            raise TooDeep from None
    # The switch is the process's. It was off, or we would not be here, and goes back to off:
    # maybe under another thread that is here too, and then tries again.
    for _ in range(_ATTEMPTS):
        SetAllowOversizeProtos(True)
        try:
            return postgast.parse(text)
        except DecodeError:
            pass
        finally:
            SetAllowOversizeProtos(False)
    raise TooDeep


COMMENTS = frozenset({TokenKind.LINE_COMMENT, TokenKind.BLOCK_COMMENT})
_OPENING = frozenset({TokenKind.OPENING_PARENTHESIS, TokenKind.OPENING_BRACKET, TokenKind.CASE})
_CLOSING = frozenset({TokenKind.CLOSING_PARENTHESIS, TokenKind.CLOSING_BRACKET})
_CHAINING = frozenset({TokenKind.UNION, TokenKind.INTERSECT, TokenKind.EXCEPT, TokenKind.JOIN})
_LEVELS_OF_AND = 2  # with the OR above it
_LEVELS_OF_BRACKET = 2  # besides its own: SELECT and the item of its list, CASE and WHEN


def _depth_bound(kinds: Iterable[int]) -> int:
    """Bound the depth of the tree of a text from above, by the kinds of its tokens.

    Each token deepens what follows by a level at most, a bracket by three. What stands after
    a comma, AND or OR starts again from the level of its list (the parser makes one list of
    `a AND b AND c`). After a bracket closes, the chain goes on from the deepest level within
    it. A set operation or JOIN nests once more all that came before it. CASE and END are
    brackets. After a dot a keyword is but a name.

    Cost: 0.3 us a token.
    """
    depths = _Depths()
    previous = 0
    for kind in kinds:
        if kind not in COMMENTS:
            depths.add(0 if previous == TokenKind.DOT else kind)
            previous = kind
    return depths.bound()


@dataclass
class _Level:
    """What stands between two brackets."""

    opening: int  # the kind of the bracket
    start: int  # the depth from which each item of a list starts
    deepest: int
    chained: int = 0  # how often all that came before is nested once more


class _Depths:
    def __init__(self) -> None:
        self._depth = 0
        self._bound = 0  # of the statements before this one
        self._level = _Level(TokenKind.SEMICOLON, 0, 0)
        self._outer: list[_Level] = []

    def add(self, kind: int) -> None:
        level = self._level
        self._depth += 1
        level.deepest = max(level.deepest, self._depth)
        if kind in (TokenKind.COMMA, TokenKind.OR):
            self._depth = level.start
        elif kind == TokenKind.AND:
            self._depth = level.start + _LEVELS_OF_AND
        elif kind in _OPENING:
            self._outer.append(level)
            self._depth += _LEVELS_OF_BRACKET
            self._level = _Level(kind, self._depth, self._depth)
        elif kind in _CLOSING:
            self._close_cases()
            self._close()
        elif kind == TokenKind.END and level.opening == TokenKind.CASE:
            self._close()
        elif kind in _CHAINING:
            level.chained += 1
            self._depth = level.start
        elif kind == TokenKind.SEMICOLON and not self._outer:
            self._bound = self.bound()
            self._depth = 0
            self._level = _Level(TokenKind.SEMICOLON, 0, 0)

    def bound(self) -> int:
        while self._outer:
            self._close()
        return max(self._bound, self._level.deepest + self._level.chained)

    def _close_cases(self) -> None:
        """Close what a label `AS case` opened."""
        while self._level.opening == TokenKind.CASE and self._outer:
            self._close()

    def _close(self) -> None:
        if self._outer:
            self._depth = self._level.deepest + self._level.chained
            self._level = self._outer.pop()
            self._level.deepest = max(self._level.deepest, self._depth)
