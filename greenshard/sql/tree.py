"""Small questions to the parser's tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from greenshard.sql.parser import (
    AEXPR_OP,
    AND_EXPR,
    Message,
    type_name,
    walk,
)

#: The messages of statements that write.
WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def unwrap(node: Message) -> tuple[str, Any]:
    """What a `Node` holds: the name of its field, such as "func_call", and the message in it.

    An empty node gives ("", None).
    """
    kind = node.WhichOneof("node") or ""
    return kind, getattr(node, kind) if kind else None


def conjuncts(node: Message) -> Iterator[Message]:
    """The parts of a condition that must all hold: `a AND (b AND c)` gives three nodes."""
    pending = [node]
    while pending:
        part = pending.pop()
        kind, inner = unwrap(part)
        if kind == "bool_expr" and inner.boolop == AND_EXPR:
            pending.extend(reversed(inner.args))
        elif kind:
            yield part


def walk_level(root: Message) -> Iterator[Message]:
    """Yield the messages below `root`, but nothing of the queries of sublinks.

    A sublink itself is yielded, and what stands to the left of its IN or ANY.
    """
    return walk_some(root, _left_of_sublinks)


def _left_of_sublinks(message: Message) -> Sequence[tuple[Any, Any]]:
    fields: Sequence[tuple[Any, Any]] = message.ListFields()
    if type_name(message) == "SubLink":
        return [each for each in fields if each[0].name == "testexpr"]
    return fields


def walk_some(
    root: Message, fields: Callable[[Message], Sequence[tuple[Any, Any]]]
) -> Iterator[Message]:
    """Yield a message and, of those below it, what some fields hold.

    Args:
        root: The message.
        fields: Which, of ``ListFields`` of a message.
    """
    pending = [root]
    while pending:
        message = pending.pop()
        yield message
        for field, value in fields(message):
            if field.message_type is None:
                continue
            if hasattr(value, "DESCRIPTOR"):
                pending.append(value)
            else:
                pending.extend(value)


def names_of(nodes: Any) -> tuple[str, ...] | None:
    """The names of a list of strings, such as a column reference's fields; None with a star."""
    names = []
    for node in nodes:
        if not node.HasField("string"):
            return None
        names.append(node.string.sval)
    return tuple(names)


def own_type(target: Any) -> str:
    """The name of a type of PostgreSQL's own; empty if another schema's is meant.

    Args:
        target: A `TypeName`; without a schema it is PostgreSQL's, see `namesakes`.
    """
    *schema, name = names_of(target.names) or ("",)
    return name if schema in ([], ["pg_catalog"]) else ""


def equated(node: Message, *, bare: bool) -> tuple[Message, Message] | None:
    """The two sides of ``a = b`` under PostgreSQL's own operator.

    Args:
        bare: Whether `=` is that one also without its schema.
    """
    if not node.HasField("a_expr"):
        return None
    expression = node.a_expr
    if expression.kind != AEXPR_OP or not expression.HasField("lexpr"):
        return None
    if not names_equality(expression.name, bare=bare):
        return None
    return expression.lexpr, expression.rexpr


def names_equality(nodes: Any, *, bare: bool) -> bool:
    """Whether the names of an operator are those of PostgreSQL's own `=`; none are those of IN.

    Args:
        bare: Whether `=` is that one also without its schema.
    """
    names = names_of(nodes)
    return names == ("pg_catalog", "=") or (bare and names in {("=",), ()})


def location_of(root: Message) -> int | None:
    """The byte offset of the leftmost message below `root` that knows where it stands."""
    found = [
        message.location
        for message in walk(root)
        if "location" in message.DESCRIPTOR.fields_by_name and message.location > 0
    ]
    return min(found) if found else None


def place(root: Message, offset: int) -> None:
    """Let everything below `root` stand at one place: where a view is named, say."""
    for message in walk(root):
        if "location" in message.DESCRIPTOR.fields_by_name:
            setattr(message, "location", offset)  # noqa: B010  # a `Message` has any field


def same_text(node: Message) -> bytes:
    """Bytes that are equal for expressions that are written alike, wherever they stand."""
    copy: Any = type(node)()
    copy.CopyFrom(node)
    for message in walk(copy):
        fields = message.DESCRIPTOR.fields_by_name
        for name in ("location", "rexpr_list_start", "rexpr_list_end", "list_start", "list_end"):
            if name in fields:
                message.ClearField(name)
    return bytes(copy.SerializeToString(deterministic=True))


def enum_name(message: Any, field: str) -> str:
    """The name of a field's value, which is one of an enumeration."""
    kinds = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(kinds[getattr(message, field)].name)
