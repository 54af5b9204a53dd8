"""What the functions that a statement calls mean for where it can run.

- A function of the user's own that is not IMMUTABLE may read tables, and would see one shard's.
- A function that tells of the server it runs on (`pg_backend_pid`), or of a table's size there,
  gives another answer on each shard.
- What is declared to read rows of its row's shard is called there only: `analysis.of_shard`.
- A sequence, an advisory lock, a notification must be in one place for everybody: on the first
  shard.

What PostgreSQL's own functions read otherwise is their arguments. Which is which, its catalog does
not say: that is `greenshard.sql.functions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from greenshard.cluster.mistakes import place
from greenshard.cluster.names import quoted
from greenshard.planner.bodies import Body
from greenshard.planner.catalog import Catalog, alone
from greenshard.planner.code import Function
from greenshard.sql.functions import Fact, facts_of, is_known
from greenshard.sql.parser import Message, type_name, walk
from greenshard.sql.tree import names_of
from greenshard.sql.types import is_time


class Functions:
    """Questions about calls, by the functions' names.

    A name that several functions share counts as the most awkward of them: which one is meant
    depends on the types of the arguments, too.

    Args:
        catalog: What is there.
        path: ``current_schemas(true)``: where a name without a schema is looked for.

    Attributes:
        foreign_types: See `Catalog.namesakes_on`.
        has_of_shard: See `Catalog.has_of_shard`.
    """

    def __init__(self, catalog: Catalog, path: Sequence[str]) -> None:
        self._known = catalog.functions
        self._operators = catalog.operators
        self._path = path
        self._bodies = catalog.bodies
        self._found_within: dict[tuple[_Test, Body], bool] = {}
        self._tainted = catalog.tainted
        self._namesakes = {name for name, _ in catalog.namesakes}
        self.foreign_types = catalog.namesakes_on(path)
        self._catalog = catalog
        self.has_of_shard = catalog.has_of_shard

    def of(self, call: Any) -> frozenset[Function]:
        """What is known of the functions that a call may mean."""
        names = names_of(call.funcname) or ("",)
        found = self._known.get(names[-1], frozenset())
        # A function in a schema that is not on the path needs its schema, so it is not meant by
        # name alone.
        where = self._path if len(names) == 1 else names[-2:-1]
        return frozenset(each for each in found if each.schema in where)

    def written_as(self, name: str) -> frozenset[Function]:
        """What is known of the functions that an attribute of that name may be a call of."""
        found = self._known.get(name, frozenset())
        return frozenset(each for each in found if each.unary and each.schema in self._path)

    def is_aggregate(self, call: Any) -> bool:
        """Whether a call aggregates the rows of its query, and is not a window function's."""
        return not call.HasField("over") and any(each.kind == "a" for each in self.of(call))

    def is_own(self, call: Any) -> bool:
        """Whether only functions of PostgreSQL's own can be meant."""
        found = self.of(call)
        # A namesake in a schema of the path may be the better match for the arguments' types
        # (manual, 10.3).
        return bool(found) and all(each.schema == "pg_catalog" for each in found)

    def is_immutable(self, call: Any) -> bool:
        found = self.of(call)
        return bool(found) and all(each.volatility == "i" for each in found)

    def is_volatile(self, call: Any) -> bool:
        # pg_proc calls it volatile, but it does the same on each server.
        if Fact.ALIKE in facts_of(name_of(call)) and self.is_own(call):
            return False
        # Of what is not known, the worst: it may have been made since the catalog was read.
        found = self.of(call)
        if any(each.volatility == "v" and not each.has_body for each in found) or not found:
            return True
        return any(self._within(body, Functions.is_volatile) for body in self.bodies(call))

    def bodies(self, call: Any) -> list[Body]:
        """The functions in SQL that a call may mean, of those that `Body` is about."""
        if not self._bodies:
            return []
        names = names_of(call.funcname) or ("",)
        where = self._path if len(names) == 1 else names[-2:-1]
        found = (self._bodies.get((schema, names[-1]), ()) for schema in where)
        return [body for several in found for body in several if body.takes(call)]

    def reads_tables(self, call: Any) -> bool:
        """Whether the text of a function in SQL that a call may mean names a table."""
        return any(
            body.query is None or body.reads or self._within(body, Functions.reads_tables)
            for body in self.bodies(call)
        )

    def needs_its_place(self, call: Any) -> bool:
        """Whether a call may say something else of a row on its shard than where rows are gathered.

        random() < 0.1, tested at both, takes 1 %, not 10 %. A function in SQL that reads tables
        finds each shard's part there.
        """
        return self.is_volatile(call) or self.reads_tables(call)

    def _within(self, body: Body, test: _Test) -> bool:
        """Whether something is true of a call in a function's text, or the text cannot be read."""
        if body.query is None:
            return True
        # Once for each: of functions that each call the next one twice, the twentieth would be
        # looked at a million times.
        key = (test, body)
        if key not in self._found_within:
            self._found_within[key] = True  # if it calls itself
            self._found_within[key] = any(test(self, call) for call in calls(body.query))
        return self._found_within[key]

    def is_place_bound(self, call: Any) -> bool:
        """Whether the answer of PostgreSQL's function is another one on each shard."""
        return differs(name_of(call), self.of(call))

    def may_read_tables(self, call: Any) -> bool:
        """Whether a function of the user's own may be called that is not IMMUTABLE."""
        if any(map(_may_read, self.of(call))):
            return True
        # What the others call and read, their queries show.
        return any(body.query is None for body in self.bodies(call))

    def is_of_shard(self, call: Any) -> bool:
        """Whether a function may be called that is declared to read rows of its row's shard."""
        return self.has_of_shard and any(each.of_shard for each in self.of(call))

    def ways_out(self, call: Any) -> str:
        """What the user can do about a call of a function that may read tables."""
        mine = [each.schema for each in self.of(call) if each.schema != "pg_catalog"]
        found = min(mine, default="public")
        return ways_out(name_of(call), found)

    def base_of(self, name: str) -> str | None:
        """What a domain is over, or a range of, whatever its schema; None for any other type."""
        return self._catalog.bases.get(name)

    def given_by(self, names: Sequence[str]) -> str | None:
        """What a domain gives a column that has no default of its own; None if nothing."""
        *schema, name = names
        given = self._catalog.given
        found = (given.get((where, name)) for where in (schema or self._path if given else ()))
        return next((each for each in found if each is not None), None)

    def holds_times(self, names: Sequence[str]) -> bool:
        """Whether a type may be a time, or have one in its values."""
        *schema, name = names
        own = schema in ([], ["pg_catalog"]) and is_time(name.lstrip("_"))
        return own or self.has_times_within(name)

    def has_times_within(self, name: str) -> bool:
        """Whether a type of the user's, in whatever schema, has a time in its values."""
        return name.lstrip("_") in self._catalog.timed

    def takes_times(self, call: Any) -> bool:
        """Whether a function of the user's may be called which may read an argument as a time."""
        takes = self._is_among(self._catalog.taking_times, names_of(call.funcname))
        return takes or self.makes_times(call)

    def makes_times(self, call: Any) -> bool:
        """Whether one may be called that makes a time of a text."""
        return self._is_among(self._catalog.making_times, names_of(call.funcname))

    def is_of_installation(self, call: Any) -> bool:
        """Whether one may be called that tells of its server's user, version or the like."""
        return self._is_among(self._catalog.of_installation, names_of(call.funcname))

    def compares_times(self, names: Sequence[str]) -> bool:
        """Whether an operator of the user's may be meant that may read a side as a time."""
        return self._is_among(self._catalog.taking_times, names)

    def _is_among(self, known: frozenset[tuple[str, str]], names: Sequence[str] | None) -> bool:
        if not known or not names:
            return False
        *schema, name = names
        return any((where, name) in known for where in schema[-1:] or self._path)

    def part_of(self, type_sql: str, path: Iterable[Any]) -> str | None:
        """The name alone of the type of a part of a value, ``a[1]`` or ``c.a``; None if not known.

        Args:
            type_sql: The value's type, as `Column.type_sql`.
            path: The `indirection`; the value itself, if it is empty.
        """
        found: str | None = type_sql
        for each in path:
            if found is not None and each.HasField("a_indices"):
                # a[1:2] is an array as a is.
                whole = found if found.endswith("[]") else None
                found = whole if each.a_indices.is_slice else whole and whole.removesuffix("[]")
            elif found is not None:
                found = self._catalog.composites.get(found, {}).get(each.string.sval)
        return None if found is None else alone(found)

    def tainted_type(self, names: Sequence[str]) -> str | None:
        """The function that making a value of a type may call, and that may read tables."""
        *schema, name = names
        for where in schema or self._path if self._tainted else ():
            if (where, name) in self._tainted:
                return self._tainted[where, name]
            if where == "pg_catalog" and name in self._namesakes:
                break  # PostgreSQL's own is meant
        return None

    def tainted_call(self, call: Any) -> str | None:
        """What a type of a call's arguments or result, or a cast by name, calls so."""
        *schema, name = names_of(call.funcname) or ("",)
        where = schema or self._path if self._tainted else ()
        return next((self._tainted[s, name] for s in where if (s, name) in self._tainted), None)

    def reading_operator(self, expression: Any) -> str | None:
        """The name of an operator of the user's own, in an expression, that may read tables."""
        for *schema, name in operators_in(expression) if self._operators else ():
            where = schema or self._path
            found = self._operators.get(name, ())
            if any(each.reads and each.schema in where for each in found):
                return name
        return None


def operators_in(expression: Any) -> Iterator[Sequence[str]]:
    """The names of the operators that an expression uses, also where none is written."""
    for field in ("name", "oper_name", "use_op"):
        if names := names_of(getattr(expression, field, ())):
            yield from _BETWEEN if "BETWEEN" in names[-1] else (names,)
    kind = type_name(expression)
    if kind == "SubLink":
        equates = expression.HasField("testexpr") and not expression.oper_name  # IN
    elif kind == "CaseExpr":
        equates = expression.HasField("arg")
    else:
        equates = kind == "JoinExpr" and (expression.is_natural or len(expression.using_clause) > 0)
    if equates:
        yield ("=",)


def _may_read(function: Function) -> bool:
    own = function.schema == "pg_catalog"
    known = function.of_shard or function.has_body
    return not own and function.volatility != "i" and not known


def ways_out(name: str, schema: str = "public", *, row: bool = True) -> str:
    """What the user can do about a function that may read tables.

    Args:
        name: Its name.
        schema: Its schema.
        row: Whether it is called by name, and so may be declared to read rows of its row's shard.
    """
    parts = [name] if schema == "public" else [schema, name]
    key = place(".".join(map(quoted, parts)))
    of_row = '; if it reads rows of its row\'s shard only, { reads = "shard" }' if row else ""
    return (
        "If its value depends on its arguments only, declare it IMMUTABLE on the servers, or under "
        f'[functions] in the cluster\'s TOML: {key} = {{ reads = "nothing" }}{of_row}. Or run the '
        "statement on one shard with conn.on('...')."
    )


_Test = Callable[[Functions, Any], bool]

#: What BETWEEN and its kind use.
_BETWEEN = (("<",), ("<=",), (">",), (">=",))


def name_of(call: Any) -> str:
    """The function's name, without its schema."""
    names = names_of(call.funcname)
    return names[-1] if names else ""


def calls(root: Message) -> Iterator[Any]:
    """Every function call at any depth."""
    for message in walk(root):
        if type_name(message) == "FuncCall":
            yield message


def differs(name: str, found: Iterable[Function]) -> bool:
    """Whether the answer of PostgreSQL's function of a name is another one on each shard.

    Args:
        name: The function's.
        found: What the catalog has under that name. A later version of PostgreSQL may have STABLE
            functions that the table does not know: any of them may tell of its server.
    """
    if Fact.PLACE_BOUND in facts_of(name):
        return True
    return not is_known(name) and any(
        each.schema == "pg_catalog" and each.volatility == "s" for each in found
    )


def measures_tables(call: Any) -> bool:
    """Whether it tells the size of a table's part on one shard, or shows the rows there."""
    name = name_of(call)
    # ts_rewrite(query, 'SELECT ...') runs that text; with three arguments it only computes.
    return Fact.OF_PART in facts_of(name) or (name == "ts_rewrite" and len(call.args) == 2)


def is_harmless(call: Any) -> bool:
    """Whether a volatile function may as well run on several servers as on one."""
    return Fact.ANYWHERE in facts_of(name_of(call))
