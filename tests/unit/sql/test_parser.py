from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postgast import pg_query_pb2

from greenshard.sql import parser as _parser
from greenshard.sql.parser import Message, ParserError, TokenKind

# Messages that the parser nests without a token for each: the statement, a list, a name.
LEVELS_WITHOUT_TOKEN = 6

# Each nests what is put in the place of @: at its left, at its right or within lists.
PATTERNS = [
    "@ + 1",
    "1 + @",
    "- @",
    "NOT @",
    "@::int",
    "@ IS NULL",
    '@ COLLATE "C"',
    "@ AND a",
    "a AND @",
    "@ OR a AND b",
    "a OR b AND @",
    "a AND f(b, @) + 1",
    "a BETWEEN 1 AND (@)",
    "f(@, 1)",
    "f(1, 2, @)",
    "(@, 1)",
    "(@) + (a, b)",
    "a IN (1, @, 2)",
    "ARRAY[[1, 2], [@, 3]]",
    "(a)[@]",
    "CASE WHEN a AND @ THEN 1 END",
    "CASE WHEN a AND b THEN 1 ELSE c OR @ END",
    "CASE @ WHEN (a, b) THEN 1 END",
    "(a OR b AND @)",
    "((a AND b OR @) AND c OR d)",
    "(SELECT @)",
    "(SELECT a, b OR c AND @)",
    "(SELECT 1 FROM t, a JOIN b ON c OR d AND @)",
    "count(*) OVER (PARTITION BY a, b OR c AND @)",
    "json_object(a: b, c: d OR e AND @)",
    "CASE WHEN a THEN b WHEN c OR d AND @ THEN e END",
    "EXISTS (SELECT FROM a, (VALUES (1, b OR c AND @)) x)",
    "(SELECT 1 AS end, @)",
    "@ + (SELECT 1 AS end, 2)",
    "(SELECT a AS case, @)",
    "@ + (SELECT 1 AS case, 2)",
    "@ + a.or",
    "t./* . */and + @",
    "t.case + @",
    "(a.end + (@))",
    "(SELECT a, @ UNION SELECT b, c)",
    "(SELECT a, b UNION SELECT c, @ ORDER BY 1, 2)",
    "(SELECT 1 FROM t, a JOIN b ON @ JOIN c ON d AND e)",
    "(SELECT 1 FROM t, a JOIN b ON d AND e JOIN c ON f AND @)",
    "(WITH x AS (SELECT a, @), y AS (SELECT 1) SELECT 1, 2)",
]
CHAINS = {
    " UNION SELECT a, b": "SELECT 1, 2",
    " EXCEPT SELECT a, f(b, c) FROM d, e": "SELECT 1, 2",
    " JOIN b ON c AND f(d, e)": "SELECT 1, 2 FROM t, a",
    " NATURAL JOIN (b CROSS JOIN c)": "SELECT 1, 2 FROM a",
    " JOIN (SELECT 1, 2) x ON (a, b) = (c, d)": "SELECT 1 FROM a",
}


def depth(message: Message) -> int:
    """Count the messages of the deepest branch, without the wrappers."""
    own = 0 if _parser.type_name(message) in ("Node", "List") else 1
    below = [
        child
        for field, value in message.ListFields()
        if field.message_type is not None
        for child in ([value] if hasattr(value, "DESCRIPTOR") else value)
    ]
    return own + max(map(depth, below), default=0)


@given(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3), st.integers(1, 20))
def test_the_bound_of_the_depth_holds(patterns: list[str], times: int) -> None:
    expression = "a"
    for pattern in patterns * times:
        expression = pattern.replace("@", expression)
    try:
        (statement,) = _parser.parse(f"SELECT {expression}")
    except ParserError:  # `a IS NULL` and others need brackets to be nested
        return

    bound = _parser._depth_bound(_parser.scan(f"SELECT {expression}").kinds())

    assert depth(statement) <= bound + LEVELS_WITHOUT_TOKEN


@pytest.mark.parametrize(("chain", "start"), list(CHAINS.items()))
def test_the_bound_of_the_depth_holds_for_chains(chain: str, start: str) -> None:
    text = start + chain * 100
    (statement,) = _parser.parse(text)

    bound = _parser._depth_bound(_parser.scan(text).kinds())

    assert 100 < depth(statement) <= bound + LEVELS_WITHOUT_TOKEN


def test_lists_do_not_add_to_the_bound_of_the_depth() -> None:
    rows = ", ".join(["(1, f(2), 'x')"] * 1000)

    assert _parser._depth_bound(_parser.scan(f"VALUES {rows}").kinds()) < 30


def test_an_error_tells_the_place_in_characters() -> None:
    with pytest.raises(ParserError) as caught:
        _parser.parse("SELECT 'äöü' FORM t x")

    assert caught.value.position == 18
    assert caught.value.message == 'syntax error at or near "t"'


def test_char_offset_turns_bytes_into_characters() -> None:
    text = "SELECT 'äöü€😀' insert"
    start = _parser.scan(text)[-1].start

    assert text[_parser.char_offset(text, start) :] == "insert"
    assert _parser.char_offset("SELECT a", 7) == 7


def test_a_token_is_found_by_its_place() -> None:
    tokens = _parser.scan("SELECT insert, 'insert'")

    assert tokens.index_at(7) == 1
    assert tokens[1].kind == TokenKind.INSERT
    assert tokens[1].is_keyword
    assert tokens.index_at(8) is None
    assert tokens.index_at(100) is None
    assert [token.kind for token in tokens[2:]] == [TokenKind.COMMA, TokenKind.STRING]
    assert list(tokens.kinds()) == [token.kind for token in tokens]
    assert len(tokens) == 4


@pytest.mark.parametrize("switch", [None, lambda _: None], ids=["absent", "without effect"])
def test_without_the_switch_of_protobuf_deep_trees_are_refused(
    monkeypatch: pytest.MonkeyPatch, switch: object
) -> None:
    monkeypatch.setattr(_parser, "SetAllowOversizeProtos", switch)

    with pytest.raises(ParserError, match="nested too deeply"):
        _parser.parse("SELECT " + "+".join("1" * 100))


def test_threads_parse_at_once() -> None:
    texts = ["SELECT " + "+".join(["1"] * length) for length in range(1, 200)]

    def read(text: str) -> int:
        return sum(_parser.type_name(part) == "A_Const" for part in _parser.walk(parse(text)))

    def parse(text: str) -> Message:
        (statement,) = _parser.parse(text)
        return statement

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, texts)) == list(range(1, 200))


def test_every_place_of_a_query_is_one_that_the_planner_enters():
    """A query in a place that nobody knows of would be answered by one shard."""
    names = {"query", "subselect", "subquery", "ctequery", "select_stmt", "source_relation"}
    found = {
        (message.name, field.name)
        for message in pg_query_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.message_type is not None
        and (
            field.message_type.name == "SelectStmt"
            or (field.message_type.name == "Node" and field.name in names)
        )
    }
    planned = {
        ("CommonTableExpr", "ctequery"),
        ("ExplainStmt", "query"),
        ("InsertStmt", "select_stmt"),
        ("MergeStmt", "source_relation"),
        ("Node", "select_stmt"),
        ("RangeSubselect", "subquery"),
        ("SelectStmt", "larg"),
        ("SelectStmt", "rarg"),
        ("SubLink", "subselect"),
    }
    refused = {("JsonArrayQueryConstructor", "query")}
    utilities = {
        ("CopyStmt", "query"),
        ("CreateTableAsStmt", "query"),
        ("DeclareCursorStmt", "query"),
        ("PLAssignStmt", "val"),
        ("PrepareStmt", "query"),
        ("ViewStmt", "query"),
    }
    assert found == planned | refused | utilities
