"""From a statement's text to its plan, with the tables declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from greenshard.cluster import Cluster
from greenshard.planner.analysis.clock_words import holds_word
from greenshard.planner.analysis.homes import Homes, Reader
from greenshard.planner.analysis.traces import Traces
from greenshard.planner.belonging import NamedWrites, named_writes
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import TEMPORARY, Catalog, Relation
from greenshard.planner.code import Trace
from greenshard.planner.ddl import ddl_problem
from greenshard.planner.one_query import TOO_DEEP
from greenshard.planner.one_statement import OneStatement
from greenshard.planner.plan import (
    Anywhere,
    Broadcast,
    Declared,
    Executed,
    Explained,
    Plan,
    Refused,
    Routed,
    Several,
    Step,
    by_itself,
)
from greenshard.planner.strategies.creation import created_temporary, plan_creation
from greenshard.planner.strategies.ddl_at_home import plan_ddl_at_home
from greenshard.planner.strategies.many_rows import fill
from greenshard.planner.strategies.utility import plan_utility, temporary_table
from greenshard.sql.declaring import read_declaration
from greenshard.sql.effects import NO_EFFECT, effect_of
from greenshard.sql.ending import ending_of
from greenshard.sql.explaining import read_explanation
from greenshard.sql.nodes import copy
from greenshard.sql.now import replace_statement_times, statement_times
from greenshard.sql.parser import (
    ParserError,
    TokenKind,
    TooDeep,
    parse,
    scan,
    type_name,
    walk,
)
from greenshard.sql.placeholders import Translation, translate
from greenshard.sql.plain_rows import plain_rows
from greenshard.sql.read_only import only_reads
from greenshard.sql.splitting import Part, parts_of
from greenshard.sql.text import Sql

CACHED_PLANS = 1000
"""How many plans are kept."""
CACHED_LONG_PLANS = 16
"""And of long texts; a plan holds its text several times."""

#: Characters; shorter texts are planned as soon by themselves.
_MAY_HAVE_MANY_ROWS = 200
_SHALLOWER = (
    "Write it flatter: = ANY(%s) with a list instead of many ORs, a join with VALUES instead of "
    "CASE in CASE; or run it on one shard with conn.on('...')."
)


class Planner:
    """Plans statements for one cluster with one catalog.

    Plans are cached by text. Threads may share a planner.
    """

    def __init__(self, cluster: Cluster, catalog: Catalog) -> None:
        self._cluster = cluster
        self._catalog = catalog
        self._homes = Homes(cluster, catalog) if cluster.homes else None
        self.traces = Traces(catalog.code)
        self.plan = lru_cache(maxsize=CACHED_PLANS)(self._plan)
        self.plan_long = lru_cache(maxsize=CACHED_LONG_PLANS)(self._plan)
        self.named_writes = lru_cache(maxsize=CACHED_PLANS)(self._named_writes)

    def relation(self, schema: str | None, name: str, path: Sequence[str]) -> Relation | None:
        """What a name means, as `Catalog.relation` tells."""
        return self._catalog.relation(schema, name, path)

    def _plan(
        self,
        text: str,
        has_parameters: bool,
        path: tuple[str, ...],
        *,
        sets_later: bool = False,
    ) -> Plan:
        """Plan one text.

        Args:
            text: As given to `execute`.
            has_parameters: Whether `execute` was given parameters, an empty sequence too.
            path: ``current_schemas(true)``.
            sets_later: Whether it is an INSERT of ours after which hidden columns are set, see
                `view_insert`.

        Returns:
            The plan; that of a statement which cannot be run has a `Refused` step.

        Cost: 1 to 5 ms; 0.2 us if the plan is cached.
        """
        if not has_parameters and not sets_later and len(text) > _MAY_HAVE_MANY_ROWS:
            many = self._plan_many_rows(text, path)
            if many is not None:
                return many
        translation = translate(text, has_parameters)
        statements = _read(translation)
        if isinstance(statements, Refused):
            return Plan(statements)
        reads = only_reads(translation.text, statements)
        trace = self.traces.of(statements)
        # COMMIT as text must do what conn.commit() does: each shard committing by itself would skip
        # the order of steps in `transaction.protocol`.
        ending = ending_of(translation.text)
        effect = NO_EFFECT if reads else effect_of(translation.text)
        if len(statements) != 1:
            step = self._plan_several(text, translation, statements, path)
            return Plan(step, reads=reads, trace=trace, effect=effect)
        if ending is not None and ending.is_done:
            return Plan(Broadcast(Sql(text), answer_of_one=True), trace=trace, ending=ending)

        try:
            plan = self._plan_one(
                text, translation, statements[0], reads, trace, path, sets_later=sets_later
            )
            # Nobody can prepare that; what fills temporary tables is to be the same everywhere.
            if plan.own_only and statements[0].stmt.HasField("drop_stmt"):
                effect = NO_EFFECT
            return replace(plan, reads=reads, trace=trace, effect=effect)
        except RecursionError:
            return Plan(Refused(TOO_DEEP, "GS410", _SHALLOWER), reads=reads)

    def _plan_one(
        self,
        text: str,
        translation: Translation,
        statement: Any,
        reads: bool,
        trace: Trace,
        path: tuple[str, ...],
        *,
        sets_later: bool,
    ) -> Plan:
        """The plan of one statement."""

        def other(text: str, has_parameters: bool, *, sets_later: bool = False) -> Plan:
            if sets_later:  # its text is no name for it
                return self._plan(text, has_parameters, path, sets_later=True)
            return self.plan(text, has_parameters, path)

        created = plan_creation(statement.stmt, translation, self._cluster, path)
        if created is not None:
            return Plan(self._hidden_by(statement.stmt, path) or created)
        if statement.stmt.HasField("explain_stmt"):
            return self._plan_explain(text, translation, statement.stmt, path)
        if statement.stmt.HasField("declare_cursor_stmt"):
            return self._plan_declare(text, translation, statement.stmt, path)

        def one() -> OneStatement:
            return OneStatement(
                self._cluster,
                self._catalog,
                text,
                translation,
                path,
                other,
                self._homes,
                sets_later=sets_later,
            )

        times = [each.func_call for each in statement_times(statement)]
        timed = copy(statement) if times else None
        plan = one().plan(statement, reads, trace)
        if timed is None or not all(map(Functions(self._catalog, path).is_own, times)):
            return plan
        step = plan.step.otherwise if isinstance(plan.step, Routed) else plan.step
        if isinstance(step, Refused):
            replace_statement_times(timed)
            several = one().plan(timed, reads, trace)
            # One shard tells its own.
            if isinstance(plan.step, Routed) and isinstance(several.step, Routed):
                routed = replace(several.step, sql=plan.step.sql)
                several = replace(several, step=routed, timed=plan.timed)
            plan = several
        return plan

    def _hidden_by(self, node: Any, path: tuple[str, ...]) -> Refused | None:
        """Why a temporary table cannot be made of a query's rows; None if it can.

        It is made before they are read.
        """
        name = created_temporary(node)
        if name is None:
            return None
        found = self._catalog.relation(None, name, path)
        if found is not None and found.schema != TEMPORARY:
            reason = f"temporary table {name} is made of rows, and hides another one meanwhile"
            return Refused(reason, "GS410", "Give it another name; or create it, then insert.")
        if self._homes is not None:
            homes = Reader(self._homes, Functions(self._catalog, path), path).read(node).homes
            for home in sorted(homes):
                reason = f"temporary table {name} is made of what {home} alone has"
                return Refused(reason, "GS410", "Create it with its columns, then insert.")
        return None

    def _plan_several(
        self, text: str, translation: Translation, statements: Sequence[Any], path: tuple[str, ...]
    ) -> Step:
        """What is done with several statements in one string, or with none."""
        parts = parts_of(text, translation, statements)
        # What makes a table of rows is run as two statements, in its turn.
        steps = [
            plan_creation(each.stmt, translation, self._cluster, path)
            or plan_utility(text, each.stmt)
            for each in statements
        ]
        step = _plan_string(text, parts, steps)
        # DDL about tables on one shard is that shard's: which it is about, each tells in its turn;
        # and which temporary tables are there then.
        # What a view that is refreshed reads, its own plan tells.
        apart = [
            each
            for each in statements
            if temporary_table(each.stmt) is not None or each.stmt.HasField("refresh_mat_view_stmt")
        ]
        if self._homes is not None:
            functions = Functions(self._catalog, path)
            apart += [
                each
                for each in statements
                if plan_ddl_at_home(text, each.stmt, self._homes, functions, path) is not None
            ]
        if apart:
            return step if isinstance(step, Refused) else Several(parts)
        for each in statements if isinstance(step, Broadcast) else ():
            changed = ddl_problem(each.stmt, self._cluster, self._catalog, path)
            if changed is not None:
                at = changed.offset and translation.old_position_of(changed.offset)
                step = Refused(changed.reason, changed.code, changed.hint, at)
        return step

    def _plan_declare(
        self, text: str, translation: Translation, node: Any, path: tuple[str, ...]
    ) -> Plan:
        """The plan of a DECLARE, by that of its query."""
        read = read_declaration(translation.text, node.declare_cursor_stmt)
        at = translation.old_position(read.at)
        plan = self._plan(" " * at + text[at:], bool(translation.edits), path)
        step = plan.step

        def over_shards(inner: Step) -> Step:
            if isinstance(inner, Refused):
                return inner
            if read.is_binary:
                return Refused("DECLARE BINARY over several shards", "GS410", "Leave BINARY out.")
            if read.scrolls:
                hint = "Leave SCROLL out, and fetch the rows in their order."
                return Refused("DECLARE SCROLL over several shards", "GS410", hint)
            return Declared(at)

        # The one server that runs the query has the cursor.
        if isinstance(step, Anywhere):
            step = replace(step, sql=Sql(text))
        elif isinstance(step, Routed):
            step = replace(step, sql=Sql(text), otherwise=over_shards(step.otherwise))
        else:
            step = over_shards(step)
        timed = _behind(text[:at], text, plan.timed)
        return replace(plan, step=step, declares=(read.name, read.holds), timed=timed)

    def _plan_explain(
        self, text: str, translation: Translation, node: Any, path: tuple[str, ...]
    ) -> Plan:
        """The plan of an EXPLAIN, by that of its statement."""
        read = read_explanation(translation.text, node.explain_stmt)
        at = translation.old_position(read.at)
        # Blanks in the place of EXPLAIN: what is said of a character is said of the user's text.
        plan = self._plan(" " * at + text[at:], bool(translation.edits), path)
        # Without ANALYZE nobody is told the time.
        timed = _behind(text[:at], text, plan.timed) if read.analyzes else None
        plan, step = replace(plan, declares=None, timed=timed), plan.step

        def over_shards(inner: Step) -> Step:
            if isinstance(inner, Refused):
                return inner
            if isinstance(inner, Declared):
                reason = "EXPLAIN DECLARE over several shards"
                return Refused(reason, "GS410", "EXPLAIN the query.")
            if read.form not in {"text", "json"}:
                reason = f"EXPLAIN (FORMAT {read.form}) over several shards"
                return Refused(reason, "GS410", "Ask for FORMAT text, or json.")
            return Explained(by_itself(inner), text[:at], read.analyzes, read.form == "json")

        if isinstance(step, Executed):
            return replace(plan, step=Executed(text[:at]))
        # The plan of one shard is shown as it is.
        if isinstance(step, Anywhere):
            return replace(plan, step=replace(step, sql=Sql(text)))
        if isinstance(step, Routed):
            return replace(
                plan, step=replace(step, sql=Sql(text), otherwise=over_shards(step.otherwise))
            )
        return replace(plan, step=over_shards(step))

    def _plan_many_rows(self, text: str, path: tuple[str, ...]) -> Plan | None:
        """The plan of an INSERT of many plain rows; None if it is none, or must be looked at whole.

        Cost: 10 us for a row, if a few like them have been planned before.
        """
        found = plain_rows(text)
        # 'now' in a row is no plain text.
        if found is None or holds_word("\n".join(found.rows)):
            return None
        few = self.plan(found.skeleton, False, path)
        step = fill(few.step, found, text, Functions(self._catalog, path))
        if step is None:
            return None
        # Of several rows, defaults are written out for several shards anyhow.
        timed = step.otherwise if few.timed is not None and isinstance(step, Routed) else None
        return replace(few, step=step, timed=timed)

    def _named_writes(
        self, text: str, has_parameters: bool, path: tuple[str, ...]
    ) -> NamedWrites | Refused:
        """What a text writes that goes to named shards as it is; arguments as for `_plan`.

        Returns:
            A refusal if that cannot be told.
        """
        translation = translate(text, has_parameters)
        statements = _read(translation)
        if isinstance(statements, Refused):
            # The server knows no more syntax than the parser, and says what is wrong.
            # `unreadable`: with the parameters' values in it, the server may read it, and then it
            # may write.
            readable = statements.pgcode == "42601" and not statements.unreadable
            return NamedWrites() if readable else statements
        try:
            return named_writes(statements, self._cluster, self._catalog, translation, path)
        except RecursionError:
            return Refused(TOO_DEEP, "GS410", _SHALLOWER)


def _read(translation: Translation) -> Sequence[Any] | Refused:
    """The statements of a text, if a parser can read it."""
    try:
        statements = parse(translation.text)
        hidden = _hides_parameters(translation, statements)
    except TooDeep as error:
        return Refused(error.message, "GS410", _SHALLOWER)
    except ParserError as error:
        at = None if error.position is None else translation.old_position(error.position)
        parametrized = bool(translation.parameters)
        return Refused(error.message, "GS404", None, at, "42601", parametrized)
    if hidden:
        reason = "a parameter stands within a literal, or for a column's number"
        return Refused(reason, "GS404", None, None, "42601", unreadable=True)
    return statements


def _plan_string(text: str, parts: tuple[Part, ...], steps: Sequence[Step | None]) -> Step:
    """Several statements in one string, or none, as far as their kinds tell.

    Args:
        text: The string.
        parts: The statements.
        steps: Of each its step, if its kind tells it.
    """
    if not steps:
        return Anywhere(Sql(text))
    # Before any of them runs, like what cannot be parsed.
    refused = next((step for step in steps if isinstance(step, Refused)), None)
    if refused is not None:
        return refused
    controls = any(part.control is not None for part in parts)
    if all(isinstance(step, Broadcast) for step in steps) and not controls:
        return Broadcast(Sql(text), answer_of_one=True, resets_catalog=True)
    return Several(parts)


def _behind(prefix: str, text: str, timed: Step | None) -> Step | None:
    """What `Plan.timed` is of a statement that stands behind DECLARE or EXPLAIN.

    Args:
        prefix: What stands before it.
        text: The whole.
        timed: That of the statement alone.
    """
    if timed is None or isinstance(timed, Refused):
        return timed
    if isinstance(timed, (Anywhere, Routed)) and "%" not in prefix:
        own = timed.sql.binds is None
        sql = Sql(text) if own else Sql(prefix + timed.sql.text, timed.sql.binds)
        return replace(timed, sql=sql)
    word = prefix.split(None, 1)[0].upper()
    hint = "Execute the statement itself."
    return Refused(f"{word} of a statement with a view that tells the time", "GS410", hint)


def _hides_parameters(translation: Translation, statements: Sequence[Any]) -> bool:
    """Whether a placeholder stands where its value is no value.

    That is so in a literal; and in ORDER BY, GROUP BY and DISTINCT ON, where a number means a
    column.
    """
    # An edit of one character is no placeholder: %% became %.
    wanted = sum(1 for edit in translation.edits if edit.end - edit.start > 1)
    if not wanted:
        return False
    kinds = scan(translation.text).kinds()
    # 'a%s' holds a placeholder, to psycopg2; to the parser it is a text with $1 in it.
    if sum(1 for kind in kinds if kind == TokenKind.PARAMETER) != wanted:
        return True
    return any(_sorts_by_parameter(m) for each in statements for m in walk(each))


def _sorts_by_parameter(message: Any) -> bool:
    kind = type_name(message)
    if kind == "SortBy":
        # ORDER BY %s given (2,) becomes ORDER BY 2, the second column; ORDER BY $1 is a constant.
        return bool(message.node.HasField("param_ref"))
    if kind == "SelectStmt":
        items = (*message.group_clause, *message.distinct_clause)
        return any(item.HasField("param_ref") for item in items)
    return False
