"""What code the servers run for a statement, as far as it may leave something in the session.

A session is as good as new after code that only computes; after code that may set, lock, prepare or
count something, nobody knows. PostgreSQL's own functions are known (`greenshard.sql.functions`),
and so are those in C, not VOLATILE, of extensions that were looked through, and of any extension
those of its types' operators, casts and operator classes. Any other may do anything, whatever its
name: also in C, for tablefunc's ``crosstab`` runs the SQL that it is given. So may what runs it
unseen: a view, trigger, rule, policy, default, constraint or index of a relation, an operator, a
cast, a domain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

#: Schemas that are PostgreSQL's own.
SYSTEM_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast")


class Trace(IntEnum):
    """What a statement may leave in its session; of several the largest counts."""

    NOTHING = 0
    COUNT = 1  # a session's `lastval()` and `currval()`
    ANYTHING = 2  # settings, locks, temporary tables, ...
    UNSEEN = 3  # and maybe tables, functions, triggers: the server must be asked whether it has
    CODE = 4  # and there may be other tables, functions, triggers from now on


@dataclass(frozen=True, slots=True)
class Function:
    """What is known of the functions of one schema that share a name and these properties.

    Attributes:
        kind: ``pg_proc.prokind``: "f" function, "a" aggregate, "w" window function, "p" procedure.
        volatility: ``pg_proc.provolatile``: "i", "s" or "v"; of an aggregate the worst of what it
            calls and is not known to compute only.
        leaves: Whether it may leave something in its session, or is not known to do nothing else
            than to compute.
        unary: Whether it can be called with one argument, and so be written as an attribute of it.
        of_shard: Whether it is declared to read rows of its row's shard only.
        has_body: Whether its text is known, see `bodies`.
    """

    schema: str
    kind: str
    volatility: str
    leaves: bool = False
    unary: bool = True
    of_shard: bool = False
    has_body: bool = False


@dataclass(frozen=True, slots=True)
class Operator:
    """Operators of one schema that share a name and are not PostgreSQL's own.

    Attributes:
        takes_builtin: Whether the types of both sides are PostgreSQL's own or domains: it may then
            be the one that is meant where no type of the user's is in sight. So may any that takes
            varchar, of which PostgreSQL has no operators: whatever takes it matches better.
        leaves: As in `Function`.
        reads: Whether its function may read tables: it is not IMMUTABLE, nor known to compute only.
            Not noted if it is for types of the user's, and PostgreSQL has operators of its name.
    """

    schema: str
    takes_builtin: bool
    leaves: bool
    reads: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """What may be run, by names alone: whatever the search path, the answer is the same.

    Attributes:
        functions: By name, in every schema.
        relations: For each name of a relation, in any schema, when such a one runs code that may
            leave something: a letter for each of "r" reading, "i" inserting, "u" updating, "d"
            deleting; and "n" if inserting counts (`COUNTING`), and does nothing else.
        operators: Names of operators whose functions may leave something.
        unseen: Whether what no text needs to name may leave something.
        makes: Whether there are functions of the user's that may make tables, functions, triggers:
            in another language than SQL and PL/pgSQL, or with a word like CREATE or EXECUTE.
    """

    functions: Mapping[str, frozenset[Function]]
    relations: Mapping[str, str]
    operators: frozenset[str]
    unseen: bool
    makes: bool = False


def code_of(
    functions: Mapping[str, frozenset[Function]],
    relations: Iterable[tuple[str, str, str, str]],
    operators: Mapping[str, frozenset[Operator]],
    *,
    unseen: bool,
    makes: bool = False,
) -> Code:
    """What a text may run.

    Args:
        functions: By name.
        relations: Name, kind (``pg_class.relkind``), schema, and what it runs itself.
        operators: By name, those that are not PostgreSQL's own.
        unseen, makes: See `Code`.
    """
    runs: defaultdict[str, set[str]] = defaultdict(set)
    for name, kind, schema, letters in relations:
        runs[name].update(letters)
        # A write to a view is one to another table. Of PostgreSQL's own, pg_settings sets.
        if kind == "v" or schema in SYSTEM_SCHEMAS:
            runs[name].update("iud")
    leaving = {name for name, found in operators.items() if any(one.leaves for one in found)}
    merged = {name: "".join(sorted(letters)) for name, letters in runs.items()}
    return Code(functions, merged, frozenset(leaving), unseen, makes)
