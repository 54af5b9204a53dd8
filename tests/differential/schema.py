"""The tables that the random statements read, and what they are made of.

Seven sharded tables: three are colocated by the id of an account, one is by that id too but placed
otherwise, and one each has a text, a date and a timestamp as its key. Five reference tables, of
which one has no key and one a key of two columns. Views over both.

A column's *kind* says which values and operators fit it; it is coarser than its type: an ``int2``
and an ``int4`` are both of the kind ``int``. Columns of a kind that `TYPES` does not have are only
for statements that are written for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Kinds of which equal values may look different (1.0 and 1.00; 1 month and 30 days; a and A).
LOOSE = frozenset({"num", "iv", "jsonb", "ci"})

#: Kinds that have an order that ORDER BY, min and max know, on PostgreSQL 15 too.
MEASURED = ("int", "big", "fix", "num", "float", "text", "date", "ts", "tstz", "iv", "mood", "char")
KINDS = (*MEASURED, "bool", "uuid", "bytea", "jsonb", "iarr", "tarr", "grid", "ci")

#: For each kind the type that a value of it is cast to.
TYPES = {
    "int": "int4",
    "big": "int8",
    "fix": "numeric(9,2)",
    "num": "numeric",
    "float": "float8",
    "text": "text",
    "char": "char(5)",
    "date": "date",
    "ts": "timestamp",
    "tstz": "timestamptz",
    "iv": "interval",
    "mood": "mood",
    "bool": "bool",
    "uuid": "uuid",
    "bytea": "bytea",
    "jsonb": "jsonb",
    "iarr": "int4[]",
    "tarr": "text[]",
    "grid": "int4[]",
    "ci": "stock.citext",
}


@dataclass(frozen=True)
class Field:
    """A column of a table.

    Attributes:
        name: As SQL writes it.
        type: Its SQL type.
        kind: Which values and operators fit it.
        family: Columns of one family are joined with each other.
        nullable: Whether some of its values are NULL.
        tainted: See `draft.Column`; of a CTE only.
    """

    name: str
    type: str
    kind: str
    family: str = ""
    nullable: bool = True
    tainted: bool = False


@dataclass(frozen=True)
class Table:
    """A table or view.

    Attributes:
        name: As SQL writes it, with its schema if that is not on the search path.
        fields: Its columns.
        key: The columns that tell its rows apart; empty if none do.
        shard_key: The column that decides a row's shard; None if every shard has all rows.
        rows: About how many it has.
        view: Its definition, for a view.
        barrier: Whether the view is a security barrier.
    """

    name: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    shard_key: str | None = None
    rows: int = 0
    view: str | None = None
    barrier: bool = False

    def ddl(self, *, gaps: bool) -> str:
        if self.view:
            options = " WITH (security_barrier)" if self.barrier else ""
            return f"CREATE VIEW {self.name}{options} AS {self.view}"
        columns = [f"{field.name} {field.type}" for field in self.fields]
        columns[1:1] = ["gone int"] if gaps else []
        dropped = f"; ALTER TABLE {self.name} DROP gone" if gaps else ""
        key = [f"PRIMARY KEY ({', '.join(self.key)})"] if self.key else []
        listed = ", ".join([*columns, *key])
        return f"CREATE TABLE {self.name} ({listed}){dropped}"


def fields(text: str) -> tuple[Field, ...]:
    """Columns from lines ``name type kind [family] [!]``; ``!`` says that none is NULL."""
    return tuple(_field(line.split("|")) for line in text.strip().splitlines())


def _field(words: list[str]) -> Field:
    name, kind_type, kind, family = (word.strip() for word in [*words, ""][:4])
    return Field(name, kind_type, kind, family.rstrip("!"), not family.endswith("!"))


ACCOUNT = Table(
    "account",
    fields("""
        id       | int8         | big   | account!
        name     | text         | text
        nick     | varchar(12)  | text
        code     | char(5)      | char
        balance  | numeric      | num
        credit   | amount       | fix
        rate     | float8       | float
        tiny     | real         | float
        born     | date         | date
        seen     | timestamptz  | tstz
        made     | timestamp    | ts
        span     | interval     | iv
        active   | bool         | bool
        tag      | uuid         | uuid  | tag
        state    | mood         | mood
        raw      | bytea        | bytea
        doc      | jsonb        | jsonb
        nums     | int4[]       | iarr
        words    | text[]       | tarr
        grid     | int4[]       | grid
        region   | int4         | int   | region
        level    | int2         | int
        boss     | int8         | big   | account
    """),
    ("id",),
    "id",
    rows=40,
)
ENTRY = Table(
    "entry",
    fields("""
        account_id | int8         | big   | account!
        no         | int4         | int   | !
        amount     | numeric(9,2) | fix
        price      | numeric      | num
        note       | text         | text
        "at"       | timestamp    | ts
        day        | date         | date
        currency   | text         | text  | currency
        qty        | int4         | int
        ok         | bool         | bool
        flow       | float8       | float
        state      | mood         | mood
        nums       | int4[]       | iarr
    """),
    ("account_id", "no"),
    "account_id",
    rows=90,
)
VISIT = Table(
    "visit",
    fields("""
        id         | int8         | big   | !
        account_id | int4         | big   | account
        page       | text         | text
        device     | text         | text  | device
        seconds    | int4         | int
        seen       | timestamptz  | tstz
        region     | int4         | int   | region
        meta       | jsonb        | jsonb
    """),
    ("id",),
    "account_id",
    rows=40,
)
DEVICE = Table(
    "device",
    fields("""
        serial     | text         | text  | device!
        owner      | int8         | big   | account
        label      | label        | text
        weight     | numeric      | num
        built      | date         | date
        parts      | text[]       | tarr
        tag        | uuid         | uuid  | tag
        on_sale    | bool         | bool
    """),
    ("serial",),
    "serial",
    rows=15,
)
REGION = Table(
    "region",
    fields("""
        id         | int4         | int   | region!
        name       | text         | text
        parent     | int4         | int   | region
        area       | numeric(9,2) | fix
    """),
    ("id",),
    rows=7,
)
CURRENCY = Table(
    "stock.currency",
    fields("""
        code       | text         | text  | currency!
        label      | varchar(20)  | text
        rate       | numeric      | num
        since      | date         | date
    """),
    ("code",),
    rows=5,
)
ODD = Table(
    '"Odd Table"',
    fields("""
        "Id"       | int4         | int   | region!
        "select"   | text         | text
        "UPPER"    | int8         | big   | account
        "a b"      | float8       | float
    """),
    ('"Id"',),
    rows=5,
)
BADGE = Table(
    "badge",
    fields("""
        account_id | int8         | big   | account!
        no         | int4         | int   | !
        code       | char(5)      | char
        handle     | stock.citext | ci
        motto      | text COLLATE stock.words | words
        during     | tstzrange    | range
        weights    | real[]       | floats
    """),
    ("account_id", "no"),
    "account_id",
    rows=40,
)
SHIFT = Table(
    "shift",
    fields("""
        day        | date         | date  | day!
        no         | int4         | int   | !
        worker     | int8         | big   | account
        hours      | numeric(9,2) | fix
    """),
    ("day", "no"),
    "day",
    rows=30,
)
ALARM = Table(
    "alarm",
    fields("""
        moment     | timestamp    | ts    | day!
        no         | int4         | int   | !
        level      | int2         | int
        device     | text         | text  | device
    """),
    ("moment", "no"),
    "moment",
    rows=30,
)
#: Rows that are alike in one column of the key are not in the other.
RULE = Table(
    "rule",
    fields("""
        kind       | int4         | int   | !
        no         | int4         | int   | !
        region     | int4         | int   | region
        word       | text         | text
    """),
    ("kind", "no"),
    rows=9,
)
REMARK = Table(
    "remark",
    fields("""
        region     | int4         | int   | region
        word       | text         | text
    """),
    (),
    rows=8,
)
TABLES = (
    *(ACCOUNT, ENTRY, VISIT, DEVICE, REGION, CURRENCY, ODD),
    *(BADGE, SHIFT, ALARM, RULE, REMARK),
)

VIEWS = (
    Table(
        "adult",
        fields("""
            id     | int8    | big  | account!
            name   | text    | text
            born   | date    | date
            region | int4    | int  | region
        """),
        ("id",),
        "id",
        rows=20,
        view="SELECT id, name, born, region FROM account WHERE born < DATE '2010-01-01'",
    ),
    Table(
        "booking",
        fields("""
            account_id | int8         | big  | account!
            no         | int4         | int  | !
            name       | text         | text
            amount     | numeric(9,2) | fix
            state      | mood         | mood
        """),
        ("account_id", "no"),
        "account_id",
        rows=80,
        view="""
            SELECT e.account_id, e.no, a.name, e.amount, e.state
            FROM entry e LEFT JOIN account a ON a.id = e.account_id
        """,
        barrier=True,
    ),
    Table(
        "turnover",
        fields("""
            region  | int4    | int  | region
            entries | int8    | big
            total   | numeric | fix
        """),
        (),
        rows=7,
        view="""
            SELECT region, count(*) AS entries, sum(amount) AS total
            FROM account JOIN entry ON account_id = id GROUP BY region
        """,
        barrier=True,
    ),
    Table(
        "world",
        fields("""
            id     | int4 | int  | region!
            name   | text | text
            within | text | text
        """),
        ("id",),
        rows=7,
        view="""
            SELECT r.id, r.name, p.name AS within
            FROM region r LEFT JOIN region p ON p.id = r.parent
        """,
    ),
)

TYPES_DDL = """
    CREATE SCHEMA stock;
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'Angry');
    CREATE DOMAIN amount AS numeric(12, 2) CHECK (VALUE > -1000000);
    CREATE DOMAIN label AS text CHECK (length(VALUE) < 100)
"""
#: Other aggregates than PostgreSQL's under their names; the order of the rows changes nothing.
AGGREGATES_DDL = """
    CREATE AGGREGATE stock.max(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
    CREATE AGGREGATE stock.sum(int) (SFUNC = int4larger, STYPE = int);
    CREATE AGGREGATE stock.count(int) (SFUNC = int4larger, STYPE = int);
    CREATE AGGREGATE stock.bool_or(bool) (SFUNC = boolne, STYPE = bool, INITCOND = 'false')
"""
#: Who reads the tables with less than all rights: policies hide rows of some from it, by the row
#: itself, by another table with the same key, and by a reference table; of one it may read a column
#: only. The views have another owner, who may read everything.
READER = "differential_reader"
POLICIES = {
    "account": "id % 5 <> 0",
    "entry": "currency IS DISTINCT FROM 'USD'",
    "visit": "EXISTS (SELECT FROM account a WHERE a.id = visit.account_id) OR seconds > 3",
    "device": "owner > 2 OR built IS NULL",
    "shift": "no % 9 IN (SELECT r.id FROM region r)",
    "alarm": "level <> 5",
    "region": "id <> 3",
}
#: Text whose case does not count, and what stands for it on a server without that extension.
CASELESS_DDL = "CREATE EXTENSION citext SCHEMA stock", "CREATE DOMAIN stock.citext AS text"


def ddl(*, gaps: bool, words: str, caseless: bool) -> str:
    """Statements that make the types, the tables and the views.

    Args:
        gaps: Whether the tables have had another column before.
        words: What the collation of words is made from.
        caseless: Whether the server has text whose case does not count.
    """
    made = [TYPES_DDL, AGGREGATES_DDL, CASELESS_DDL[not caseless]]
    made.append(f"CREATE COLLATION stock.words {words}")
    made += [table.ddl(gaps=gaps) for table in (*TABLES, *VIEWS)]
    return ";\n".join([*made, *_rights()])


def _rights() -> Iterator[str]:
    """What the reader may read."""
    yield f"GRANT USAGE ON SCHEMA stock TO {READER}"
    for table in (*TABLES, *VIEWS):
        columns = "(region)" if table is REMARK else ""
        yield f"GRANT SELECT {columns} ON {table.name} TO {READER}"
    for name, condition in POLICIES.items():
        yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
        yield f"CREATE POLICY seen ON {name} USING ({condition})"
