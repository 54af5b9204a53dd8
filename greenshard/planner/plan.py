"""Plans: what to run where, and how the rows become one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from greenshard.cluster import Placement
from greenshard.planner.catalog import Column
from greenshard.planner.code import Trace
from greenshard.sql.declaring import Fetch
from greenshard.sql.effects import NO_EFFECT, Effect
from greenshard.sql.ending import Ending
from greenshard.sql.insert_rows import InsertRows
from greenshard.sql.splitting import Part
from greenshard.sql.text import Computed, Sql

#: In the text of a combine query: where the partial rows are to be put, and the type of a column.
PARTIAL = "greenshard partial rows"
TYPE_OF = "greenshard type of {}"


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that the text holds."""

    value: Any


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that the parameters hold.

    Attributes:
        source: The index or name.
        several: Whether it is a list or tuple of values (``= ANY(%s)``, ``IN %s``).
        item: Which one of a tuple's it is (``VALUES %s``); None if it is no tuple.
    """

    source: int | str
    several: bool = False
    item: int | None = None


Value = Constant | Parameter


@dataclass(frozen=True, slots=True)
class Pin:
    """Rows of a sharded table that count: those whose key is one of some values.

    Attributes:
        placement: The table's.
        type_name: The key column's type, as in `Column.type_name`.
        values: The key's possible values.
        inserts: Whether rows with this key are inserted: then NULL has its place, too. Otherwise
            NULL is equal to no row's key.
        kept: What the column keeps of a value that is inserted; see `pins.kept_by`.
    """

    placement: Placement
    type_name: str
    values: tuple[Value, ...]
    inserts: bool = False
    kept: int = 0


@dataclass(frozen=True, slots=True)
class SortKey:
    """One item of ORDER BY.

    Attributes:
        column: Index of the column to sort by in the rows; hidden columns, which stand at the end
            and are cut off, have negative ones.
        descending: The direction.
        nulls_first: Where NULLs go, whatever the direction.
        collation: Qualified and quoted name; None for the database's default.
    """

    column: int
    descending: bool = False
    nulls_first: bool = False
    collation: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """LIMIT and OFFSET; None where there is none."""

    count: Value | None = None
    offset: Value | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A strategy's reason why it cannot plan a statement.

    Attributes:
        strategy: Its name.
        reason: What it met.
        position: Where in the user's text, a character offset; None when it is unknown.
    """

    strategy: str
    reason: str
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A relation that a statement reads, and as whom PostgreSQL would read it.

    Attributes:
        relation: Its schema and name.
        columns: Those of its columns that are read; empty if only its rows count.
        view: Schema and name of the view that names it, whose owner PostgreSQL asks for (unless it
            is a security_invoker view); None where the statement itself names it.
    """

    relation: tuple[str, str]
    columns: tuple[str, ...] = ()
    view: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Filtering:
    """A policy that a shard cannot apply alone, for it reads rows of other shards.

    Attributes:
        reading: What it filters.
        policy: Its name.
        reason: Why.
    """

    reading: Reading
    policy: str
    reason: str


@dataclass(frozen=True, slots=True)
class Anywhere:
    """Any one shard has the answer (strategy "reference").

    Attributes:
        first: Whether it must be the cluster's first shard: locks and sequences have to be in one
            place for everybody.
    """

    sql: Sql
    first: bool = False
    strategy: str = "reference"


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies of a reference table, which shards write each by itself.

    Attributes:
        table: The table's name, for messages.
        lock: What keeps other writers away meanwhile, on every shard; None: nothing need.
    """

    table: str
    lock: Sql | None = None


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Every shard runs it: settings, DDL, savepoints (strategy "broadcast").

    Attributes:
        answer_of_one: Whether rows and row counts are those of the first shard only.
        resets_catalog: Whether it may change what the catalog says.
        first_alone: Whether the first shard runs it before the others: of two that lock the same
            rows, one then waits there. Sent to all at once, each would soon hold a shard that the
            other one waits for, which no server sees.
        on: The only shard that runs it, for what it is about is there alone; None: every shard.
        copies: How its rows are written, if it writes those of a reference table.
    """

    sql: Sql
    answer_of_one: bool = False
    resets_catalog: bool = False
    first_alone: bool = False
    on: str | None = None
    copies: Copies | None = None
    strategy: str = "broadcast"


@dataclass(frozen=True, slots=True)
class Scatter:
    """Each shard's rows are a part of the answer (strategies "concatenate" and "merge").

    Attributes:
        pins: Where the rows can be; None: on any shard. The targets are all shards that a pin
            names.
        sort: How the shards have sorted their rows, and how they are merged; empty: not at all.
        slice: What is taken of the merged rows. The shards were told to give enough for it.
        hidden: How many columns at the end are cut off.
        rights: As in `Gather`.
    """

    sql: Sql
    pins: tuple[Pin, ...] | None = None
    sort: tuple[SortKey, ...] = ()
    slice: Slice = Slice()
    hidden: int = 0
    rights: tuple[Reading, ...] = ()
    strategy: str = "concatenate"


@dataclass(frozen=True, slots=True)
class Reduction:
    """A combine query that is exact in Python too, for columns of some types.

    Attributes:
        keys: Indexes of the partial columns that are grouped by; none: one row in all.
        outputs: For each column of the answer the function (see `REDUCERS`) and the index of the
            partial column that it takes.
        names: The answer's columns.
        sort: The answer's order; indexes are those of the answer's columns.
        slice: What is taken of it.
    """

    keys: tuple[int, ...]
    outputs: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    sort: tuple[SortKey, ...] = ()
    slice: Slice = Slice()


#: What a `Reduction` does with the partial values of a group: "key" takes the first; the others
#: leave out NULLs, and give NULL if nothing is left; "count" adds, and gives 0 then.
REDUCERS = ("key", "count", "sum", "min", "max", "bool_and", "bool_or")


@dataclass(frozen=True, slots=True)
class Combine:
    """The shards' partial rows become the answer in one PostgreSQL (strategy "combine").

    Attributes:
        partial: What each shard runs; its columns are named c0, c1, ...
        combine: What one shard then runs. In it `PARTIAL`, quoted, stands for the partial rows as
            a table with those columns, and the type ``TYPE_OF.format(n)``, quoted, for that of
            column n.
        columns: How many partial columns there are.
        averaged: Indexes of the partial sums that an average is made of. PostgreSQL averages
            float4 in float8, which such a sum is not, and money not at all: the plan then gives way
            to `otherwise`.
        reduction: The same in Python, if it can be.
        otherwise: The plan if a partial column's type does not allow this one.
        rights: As in `Gather`.
    """

    partial: Sql
    combine: Sql
    columns: int
    pins: tuple[Pin, ...] | None = None
    averaged: tuple[int, ...] = ()
    reduction: Reduction | None = None
    otherwise: Gather | Refused | None = None
    rights: tuple[Reading, ...] = ()
    strategy: str = "combine"


@dataclass(frozen=True, slots=True)
class GatheredColumn:
    """A column of a temporary table; the fields are those of `catalog.Column`."""

    name: str
    type_sql: str
    collation: str | None = None
    is_array: bool = False

    @classmethod
    def of(cls, column: Column) -> GatheredColumn:
        """A column of a relation."""
        return cls(column.name, column.type_sql, column.collation, column.is_array)


@dataclass(frozen=True, slots=True)
class GatheredTable:
    """Rows that are brought to one PostgreSQL.

    Attributes:
        name: The temporary table's name, not quoted.
        relation: The table's qualified name, quoted, for messages.
        columns: Its columns, at least one.
        read: What each shard runs; it gives these columns in this order.
        pins: As in `Scatter`.
        reference: Whether it is a reference table: then any one shard has all of its rows, and so
            has the gathering PostgreSQL itself, unless this transaction changed them.
        primary_key: The columns' names, empty if they are not all there.
        sought: For each subquery that is run for each row around it, the columns by which it finds
            its rows.
        temporary: Whether it is the session's own: then no other one has its rows.
    """

    name: str
    relation: str
    columns: tuple[GatheredColumn, ...]
    read: Sql
    pins: tuple[Pin, ...] | None = None
    reference: bool = False
    primary_key: tuple[str, ...] = ()
    sought: tuple[tuple[str, ...], ...] = ()
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the coordinator runs.

    Attributes:
        sql: The text.
        tables: The schemas and names of the tables in it.
        names: All names in it, and whatever else may be one: of functions, operators, types.
        rights: What the user must have the right to read, beside what the gather says of views.
    """

    sql: Sql
    tables: tuple[tuple[str, str], ...]
    names: frozenset[str]
    rights: tuple[Reading, ...] = ()


@dataclass(frozen=True, slots=True)
class Gather:
    """The needed rows are brought to one PostgreSQL, which runs the query (strategy "gather").

    Attributes:
        tables: The sharded tables, and the reference tables beside them.
        sql: The query with the sharded tables gathered: the user's own text where that is possible.
        complete: The query with the reference tables gathered, too.
        rights: What is read in the place of views, as the user, where PostgreSQL reads it as their
            owners; that must make no difference.
        in_tables: Whether the rows must be in temporary tables, where functions find them too, and
            not in the query's text.
        joins: Whether PostgreSQL must choose how to join, for which it must know the rows: in
            temporary tables it can look at them.
        elsewhere: What the coordinator runs if the rows are too many, or why it cannot; None if the
            cluster has none.
    """

    tables: tuple[GatheredTable, ...]
    sql: Sql
    complete: Sql
    rights: tuple[Reading, ...] = ()
    in_tables: bool = False
    joins: bool = False
    elsewhere: Elsewhere | Refusal | None = None
    strategy: str = "gather"


@dataclass(frozen=True, slots=True)
class CarriedQuery:
    """A query that is run first, and whose rows are brought to each shard, or where it gathers.

    Attributes:
        name: That of its rows, not quoted; their columns are named c0, c1, ...
        read: A statement of its own, with the parameters that it needs.
        plan: Its plan.
        columns: How many there are.
        shown: Those of tables that they are; None for what is computed.
    """

    name: str
    read: Sql
    plan: Plan
    columns: int
    shown: tuple[Column | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Subqueries:
    """What subqueries give is computed first, and then the rest (strategy "subqueries").

    Attributes:
        queries: The subqueries.
        spread: How the shards, or any one of them, run the rest, with all of these rows as WITH
            queries before the texts; None if they cannot.
        gather: How one PostgreSQL runs it, which has these rows; None if it cannot.
        otherwise: The plan for the whole, where rows must not travel so.
        repeats: Whether a sharded table is read in more than one of these steps.
    """

    queries: tuple[CarriedQuery, ...]
    spread: Anywhere | Scatter | Combine | None
    gather: Gather | None
    otherwise: Gather | Refused
    repeats: bool = False
    strategy: str = "subqueries"


@dataclass(frozen=True, slots=True)
class Carry:
    """Rows of all shards are brought to each one, which then writes by them (strategy "carry").

    Attributes:
        tables: What is read first.
        sql: What the shards then run, with the rows put before it as WITH queries of the tables'
            names.
        pins: Where the written rows can be, as in `Scatter`.
        reference: Whether a reference table is written, on every shard: on the first one before
            the others, and counted once.
        queries: What is run before that is read.
        copies: As of `Broadcast`.
    """

    tables: tuple[GatheredTable, ...]
    sql: Sql
    pins: tuple[Pin, ...] | None = None
    reference: bool = False
    queries: tuple[CarriedQuery, ...] = ()
    copies: Copies | None = None
    strategy: str = "carry"


@dataclass(frozen=True, slots=True)
class Move:
    """Rows get other shard keys, and those that belong elsewhere then move (strategy "move").

    Attributes:
        write: The UPDATE. It returns, behind what the user asks for, each row's table (its OID),
            place (``ctid``) and key, as texts.
        table: What moves: how its rows are read of those that were deleted.
        keys: How keys are placed; `at` is the number of their column, from the end.
        returns: Whether the user's statement returns rows.
    """

    write: Scatter | Carry
    table: GatheredTable
    keys: Keys
    returns: bool
    strategy: str = "move"


@dataclass(frozen=True, slots=True)
class Refused:
    """No strategy can plan the statement.

    Attributes:
        message: What cannot be done, and where; None: the refusals tell.
        code: A key of `errors.CODES`.
        hint: What to do instead.
        pgcode: The server's code for it, if the statement is wrong and not just unsupported.
        unreadable: Whether the text may be readable with its values in it, as `date %s` is; the
            plan of that text is then to be taken.
        homes: Shards whose own tables it may name, and of which the catalog knows nothing yet.
    """

    message: str
    code: str
    hint: str | None = None
    position: int | None = None
    pgcode: str | None = None
    unreadable: bool = False
    homes: tuple[str, ...] = ()
    strategy: str = "refused"


@dataclass(frozen=True, slots=True)
class Keys:
    """The shard keys of the rows of an INSERT.

    Attributes:
        pin: The placement and type; its values are those that are not computed.
        values: For each row its key, or that a server computes it.
        column: The key.
        at: Its place in a row.
    """

    pin: Pin
    values: tuple[Value | Computed, ...]
    column: Column
    at: int


@dataclass(frozen=True, slots=True)
class Insert:
    """Rows of VALUES, each for the shard of its key, or all for every shard (strategy "insert").

    Attributes:
        parts: The statement.
        table: The table's name, for messages.
        keys: The rows' keys; None of a reference table, whose rows go to every shard.
        computing: Run on the first shard before the rows are placed. Their rows, one after the
            other, have the `Computed` values in the order of their numbers.
        in_turn: Whether rows that are there may be locked; see `Broadcast.first_alone`.
    """

    parts: InsertRows
    table: str
    keys: Keys | None
    computing: tuple[Sql, ...] = ()
    in_turn: bool = False
    strategy: str = "insert"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Rows that are read, wherever they are, and inserted where they belong (strategy "transfer").

    Attributes:
        read: What gives the rows, a statement of its own, with the parameters that it needs.
        plan: Its plan.
        sql: The INSERT. In it `PARTIAL`, quoted, stands for the rows as a table, whose columns are
            named c0, c1, ...: those that are read, and behind them those that are computed.
        table: The table's name, for messages.
        columns: How many columns are read.
        keys: The rows' shard keys: either one value for all, or `at` is the number of a column of
            the rows; None of a reference table, whose rows go to every shard.
        computing: Run on the first shard, what gives the defaults of two rows.
        in_turn: As of `Insert`.
        of_each: Whether each shard writes rows of its own by the rows, also where all get them all:
            a MERGE into a sharded table.
        everywhere: Whether it also runs on shards that get no rows.
        copies: As of `Broadcast`.
        otherwise: What each shard may do by itself; None: nothing.
    """

    read: Sql
    plan: Plan
    sql: Sql
    table: str
    columns: int
    keys: Keys | None
    computing: tuple[Sql, ...] = ()
    in_turn: bool = False
    of_each: bool = False
    everywhere: bool = False
    copies: Copies | None = None
    otherwise: Broadcast | None = None
    strategy: str = "transfer"


@dataclass(frozen=True, slots=True)
class SetSequence:
    """A sequence is set, on the first shard, to what is read (strategy "setting").

    Attributes:
        read: What gives the row, a statement of its own, with the parameters that it needs.
        plan: Its plan.
        sql: What sets it. In it `PARTIAL`, quoted, stands for the row as a table, whose columns are
            named c0, c1, ...
    """

    read: Sql
    plan: Plan
    sql: Sql
    strategy: str = "setting"


@dataclass(frozen=True, slots=True)
class Mirror:
    """The first shard writes a reference table, and the others get its rows (strategy "mirror").

    Attributes:
        first: What the first shard runs; behind the user's columns it gives `columns` of the rows.
        others: What the others run. In it `PARTIAL`, quoted, stands for these rows as a table,
            whose columns are named c0, c1, ...
        table: The table's name, for messages.
        columns: Its primary key, and what is changed.
        carry: What brings the first shard the rows of sharded tables that it reads: its text is
            `first`.
        otherwise: What each shard may do by itself, where a setting spoils values that would
            travel; None: nothing.
    """

    first: Sql
    others: Sql
    table: str
    columns: tuple[GatheredColumn, ...]
    carry: Carry | None = None
    otherwise: Broadcast | None = None
    strategy: str = "mirror"


def by_itself(step: Step) -> Step:
    """What each shard does by itself instead of a step that has rows travel, if it may."""
    other = step.otherwise if isinstance(step, (Mirror, Transfer, Subqueries)) else None
    return step if other is None else other


@dataclass(frozen=True, slots=True)
class Routed:
    """If all pins name the same shard, that shard has the answer (strategy "route").

    If they name none, no row counts, and any one shard has the answer. If they name several, or a
    key's value cannot be placed, `otherwise` is the plan.
    """

    sql: Sql
    pins: tuple[Pin, ...]
    otherwise: Step
    strategy: str = "route"


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part of a statement that is run by itself, planned as a statement of its own.

    Attributes:
        name: The WITH query that its rows then are; None if nobody reads them.
        columns: The names of that one's columns.
        sql: It.
        rows: The WITH queries that it reads of those that have run.
        plan: Its plan, if its text alone would not lead to it; only of the first part.
    """

    name: str | None
    columns: tuple[str, ...]
    sql: Sql
    rows: tuple[str, ...]
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A statement is run part by part, each with rows of those before it (strategy "staged").

    Attributes:
        parts: Its parts; what the last one gives is the answer.
        tag: The command tag, if row counts of the parts are the answer's: of all without a name, or
        counted: of the part with this one.
    """

    parts: tuple[StagedPart, ...]
    tag: str | None = None
    counted: str | None = None
    strategy: str = "staged"


@dataclass(frozen=True, slots=True)
class Several:
    """Several statements in one string, each with a plan of its own when it is its turn.

    Not before: what the first one makes, such as a table, the next one may name.
    """

    parts: tuple[Part, ...]
    strategy: str = "several"


@dataclass(frozen=True, slots=True)
class Created:
    """A table is made without rows, and then filled (strategy "create").

    Attributes:
        made: What makes it, on every shard.
        filled: What inserts the rows; it is planned when the table is there. It has the same
            parameters.
    """

    made: Sql
    filled: Sql
    strategy: str = "create"


@dataclass(frozen=True, slots=True)
class Explained:
    """Each shard tells its own plan of what it would run (strategy "explain").

    Attributes:
        step: The plan of the statement that is explained.
        prefix: What stands before the statement.
        analyzes: Whether it runs.
        as_json: Whether the plans come as one document, and not as lines.
    """

    step: Step
    prefix: str
    analyzes: bool = False
    as_json: bool = False
    strategy: str = "explain"


@dataclass(frozen=True, slots=True)
class Executed:
    """The statement that an EXECUTE names is to be planned in its place.

    Attributes:
        prefix: What stands before the EXECUTE: EXPLAIN.
    """

    prefix: str = ""
    strategy: str = "execute"


#: Steps that write what comes from elsewhere than where it is written.
Writing = Insert | Carry | Move | Mirror | SetSequence | Staged | Transfer


@dataclass(frozen=True, slots=True)
class Declared:
    """A cursor is declared whose rows are on several shards.

    Attributes:
        at: Where in the text its query begins.
    """

    at: int
    strategy: str = "declare"


@dataclass(frozen=True, slots=True)
class Fetched:
    """Rows are fetched from a cursor that SQL has declared."""

    fetch: Fetch
    strategy: str = "fetch"


@dataclass(frozen=True, slots=True)
class Closed:
    """A cursor that SQL has declared is closed; None: all are."""

    name: str | None
    strategy: str = "close"


#: Steps that are no way of a statement of their own: the connection plans others in their place,
#: or knows where a cursor is.
Other = Several | Created | Executed | Declared | Fetched | Closed

Step = (
    Routed
    | Anywhere
    | Broadcast
    | Scatter
    | Combine
    | Gather
    | Subqueries
    | Writing
    | Explained
    | Other
    | Refused
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one statement text is run.

    Attributes:
        step: What to do.
        refusals: Why cheaper strategies could not be taken.
        reads: Whether the statement certainly only reads.
        trace: What it may leave in the sessions that run it.
        tables: The declared tables that it names, qualified, for messages.
        names: The relations that it names or that their views read, without schemas: what a
            temporary one of the same name may hide.
        policies: Policies that must not apply to the role that runs it.
        settings: The names of settings that it asks for (``current_setting('app.tenant')``); None
            if it computes one.
        ending: How it ends the transaction; None if it does not.
        only_sets: Whether it sets something for the session, and writes no rows.
        clock: The parameters that stand for times: 'now' would be another one on each shard.
        effect: How it is to be run on several shards.
        declares: The name of the cursor that it declares, and whether that outlives its
            transaction.
        makes: The names of temporary tables that it makes.
        own_only: Whether all that it writes is temporary; see `own_writes`.
        unknown: Whether it calls a function that the catalog does not have, and that may have been
            made a moment ago: nobody knows what that reads.
        timed: What is taken in the place of a step for one shard where that shard's own time is
            not the transaction's; None if the statement tells no time, but for `clock`. What runs
            on several shards tells one time anyhow.
        clocked: Why no shard may be told the time; None if any may.
        completed: Columns that an INSERT does not name, and whose defaults are computed first.
    """

    step: Step
    refusals: tuple[Refusal, ...] = ()
    reads: bool = True
    trace: Trace = Trace.NOTHING
    tables: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    policies: tuple[Filtering, ...] = ()
    settings: tuple[Value, ...] | None = ()
    ending: Ending | None = None
    clock: frozenset[Parameter] = frozenset()
    only_sets: bool = False
    effect: Effect = NO_EFFECT
    declares: tuple[str, bool] | None = None
    unknown: bool = False
    makes: frozenset[str] = frozenset()
    own_only: bool = False
    timed: Step | None = None
    clocked: Refused | None = None
    completed: tuple[str, ...] = ()
