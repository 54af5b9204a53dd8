"""Goal: find what would insert rows when the statements of a text run.

What runs is looked for; what is only stored is not:

- runs: the statement itself; a WITH query of it, at its top level, which is the only place
  where PostgreSQL lets one write; the statement under EXPLAIN with ANALYZE; the query of
  CREATE TABLE AS, of SELECT INTO, of COPY (query) TO; PREPARE, for its EXECUTE to come;
- is stored: the body of CREATE FUNCTION, PROCEDURE, RULE, TRIGGER or VIEW.

Inserting are INSERT, MERGE with an INSERT action, COPY FROM, and DO with a body that mentions
INSERT, MERGE or COPY (its language is not read further). The rows that CREATE TABLE AS and
SELECT INTO make are not an insert: they come from the shard itself.

Source: transformWithClause in PostgreSQL's parse_cte.c ("WITH clause containing a
data-modifying statement must be at the top level"); ExplainQuery in explain.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from greenshard.sql.parser import INSERT_COMMAND, Message, TokenKind, Tokens, char_offset, scan

_WRITING_WORD = re.compile(r"(?<![a-z_])(?:insert|merge|copy)(?!\w)", re.IGNORECASE | re.ASCII)
_CONSTRUCTS = {
    TokenKind.INSERT: "INSERT",
    TokenKind.MERGE: "MERGE",
    TokenKind.COPY: "COPY",
    TokenKind.DO: "DO",
}
_PARENTHESES = (TokenKind.OPENING_PARENTHESIS, TokenKind.CLOSING_PARENTHESIS)


class Insertion(NamedTuple):
    """A construct that inserts.

    Attributes:
        construct: "INSERT", "MERGE", "COPY" or "DO".
        position: Where its keyword stands, a character offset in the parsed text.
    """

    construct: str
    position: int


class _Found(NamedTuple):
    keyword: TokenKind
    byte_offset: int  # of what stands next to the keyword: the tree does not locate itself


def find_insertion(text: str, statements: Iterable[Message]) -> Insertion | None:
    """Return the first construct that inserts when `statements`, parsed from `text`, run.

    Cost: 10 us; it does not look at expressions.
    """
    for statement in statements:
        for query in _executed(statement.stmt):
            found = _in_query(query)
            if found is not None:
                return Insertion(_CONSTRUCTS[found.keyword], _position(text, found))
    return None


def is_with_insert(tokens: Tokens, index: int) -> bool:
    """Whether token `index` is the INSERT of a text `WITH ... INSERT INTO`, as the scanner sees it.

    Certain where it says yes, for a text that PostgreSQL accepts, but for the likes of
    `WITH ... SELECT (a) insert INTO`: a column that is renamed to a keyword.
    """
    return (
        tokens[0].kind == TokenKind.WITH
        and tokens[index].kind == TokenKind.INSERT
        and tokens[index - 1].kind in _PARENTHESES
        and [token.kind for token in tokens[index + 1 : index + 2]] == [TokenKind.INTO]
    )


def analyzes(explain: Message) -> bool:
    """Whether EXPLAIN runs its statement. As in PostgreSQL the last ANALYZE option counts."""
    runs = False
    for option in explain.options:
        if option.def_elem.defname == "analyze":
            runs = _is_on(option.def_elem)
    return runs


def _is_on(option: Message) -> bool:
    """Read a boolean option; what PostgreSQL would reject counts as on."""
    if option.arg.HasField("string"):
        return option.arg.string.sval.lower() not in ("off", "false")
    return not option.arg.HasField("integer") or option.arg.integer.ival != 0


def _executed(node: Message) -> Iterator[Message]:
    """Yield `node`, the statement it wraps, and their top-level WITH queries, if they run."""
    yield node
    if node.HasField("explain_stmt"):
        if analyzes(node.explain_stmt):
            yield from _executed(node.explain_stmt.query)
    elif node.HasField("prepare_stmt"):
        yield from _executed(node.prepare_stmt.query)
    elif node.HasField("create_table_as_stmt"):
        yield from _executed(node.create_table_as_stmt.query)
    elif node.HasField("declare_cursor_stmt"):
        yield from _executed(node.declare_cursor_stmt.query)
    elif node.HasField("copy_stmt"):
        yield from _executed(node.copy_stmt.query)
    else:
        yield from _with_queries(node)


def _with_queries(node: Message) -> Iterator[Message]:
    if node.HasField("select_stmt"):
        clause = node.select_stmt.with_clause
    elif node.HasField("update_stmt"):
        clause = node.update_stmt.with_clause
    elif node.HasField("delete_stmt"):
        clause = node.delete_stmt.with_clause
    elif node.HasField("merge_stmt"):
        clause = node.merge_stmt.with_clause
    else:
        return
    for query in clause.ctes:
        yield query.common_table_expr.ctequery


def _in_query(node: Message) -> _Found | None:
    if node.HasField("insert_stmt"):
        return _Found(TokenKind.INSERT, node.insert_stmt.relation.location)
    if node.HasField("merge_stmt") and _has_insert_action(node.merge_stmt):
        return _Found(TokenKind.MERGE, node.merge_stmt.relation.location)
    if node.HasField("copy_stmt") and node.copy_stmt.is_from:
        return _Found(TokenKind.COPY, node.copy_stmt.relation.location)
    if node.HasField("do_stmt") and _WRITING_WORD.search(_body(node.do_stmt)):
        return _Found(TokenKind.DO, node.do_stmt.args[0].def_elem.location)
    return None


def _has_insert_action(merge: Message) -> bool:
    return any(
        when.merge_when_clause.command_type == INSERT_COMMAND for when in merge.merge_when_clauses
    )


def _body(block: Message) -> str:
    """Return the body of DO with its escapes resolved, and the name of its language."""
    return " ".join(argument.def_elem.arg.string.sval for argument in block.args)


def _position(text: str, found: _Found) -> int:
    """Find the last keyword of its kind before what stands next to it."""
    end = char_offset(text, found.byte_offset)
    starts = [token.start for token in scan(text[:end]) if token.kind == found.keyword]
    return char_offset(text, starts[-1])
