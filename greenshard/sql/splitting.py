"""Goal: cut a text of several statements into these, so that each can be run where it belongs.

    UPDATE t SET a = %s -- ;
    ; INSERT INTO u VALUES (%s, ';') ;; COMMIT

    UPDATE t SET a = %s -- ;            parameters 0
    INSERT INTO u VALUES (%s, ';')      parameters 1
    COMMIT                              ends the transaction

Where a statement ends, the parser says: a semicolon may stand in a literal or a comment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from greenshard.sql.parser import Message
from greenshard.sql.placeholders import Translation
from greenshard.sql.read_only import only_reads
from greenshard.sql.tree import enum_name, unwrap


class Control(Enum):
    """What a statement does to the transaction block that it stands in."""

    BEGINS = "begins"
    SAVES = "sets or uses a savepoint"
    ENDS = "ends"


_CONTROLS = {
    "TRANS_STMT_BEGIN": Control.BEGINS,
    "TRANS_STMT_START": Control.BEGINS,
    "TRANS_STMT_SAVEPOINT": Control.SAVES,
    "TRANS_STMT_RELEASE": Control.SAVES,
    "TRANS_STMT_ROLLBACK_TO": Control.SAVES,
    "TRANS_STMT_COMMIT": Control.ENDS,
    "TRANS_STMT_ROLLBACK": Control.ENDS,
}
_WRITES = frozenset({"insert_stmt", "update_stmt", "delete_stmt"})


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of several.

    Attributes:
        text: With psycopg2's placeholders.
        first: The index of the parameter that its first ``%s`` stands for.
        count: How many ``%s`` it has.
        control: What it does to the transaction block; None: nothing.
        chains: Whether it ends one and begins the next.
        reads: Whether it certainly only reads.
        writes: Whether it is an INSERT, UPDATE or DELETE.
        executes: Whether it runs a prepared statement.
    """

    text: str
    first: int = 0
    count: int = 0
    control: Control | None = None
    chains: bool = False
    reads: bool = False
    writes: bool = False
    executes: bool = False

    def given(self, given: Any) -> Any:
        """Its parameters, of those of the whole text."""
        if given is None or isinstance(given, Mapping):
            return given
        return tuple(given[self.first : self.first + self.count])


def parts_of(text: str, translation: Translation, statements: Sequence[Any]) -> tuple[Part, ...]:
    """Cut a text.

    Args:
        text: As given to `execute`.
        translation: Its translation, for the parser.
        statements: What the parser made of that.

    Cost: 5 us for a statement.
    """
    source = translation.text.encode()
    # %% is an edit, too, and takes no parameter.
    placed = [each for each in translation.edits if each.end - each.start > 1]
    named = any(isinstance(each, str) for each in translation.parameters)
    found, first, at, read = [], 0, 0, 0
    for statement in statements:
        start = statement.stmt_location
        end = start + statement.stmt_len if statement.stmt_len else len(source)
        # From the one before: counted from the beginning, a thousand would take a second.
        begins = at + len(source[read:start].decode())
        at, read = begins + len(source[start:end].decode()), end
        count = 0
        while first + count < len(placed) and placed[first + count].start < at:
            count += 1
        cut = text[translation.old_position(begins) : translation.old_position(at)].strip()
        kind, inner = unwrap(statement.stmt)
        control = _control(kind, inner)
        found.append(
            Part(
                cut,
                0 if named else first,
                0 if named else count,
                control,
                control is Control.ENDS and bool(inner.chain),
                only_reads(cut, [statement]),
                kind in _WRITES,
                kind == "execute_stmt",
            )
        )
        first += count
    return tuple(found)


def _control(kind: str, inner: Message) -> Control | None:
    return _CONTROLS.get(enum_name(inner, "kind")) if kind == "transaction_stmt" else None
