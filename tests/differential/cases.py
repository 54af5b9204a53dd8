"""Random tables, and queries over them whose union is what one server gives.

Such a query keeps each row of the big table by itself: filters, expressions, and joins with the
small table, of which every shard has all rows. The big table comes first in each join, so that no
row of the small one depends on rows of another shard.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from decimal import Decimal

SHARD_COUNT = 3

NUMERICS = [Decimal("NaN"), Decimal(0), Decimal("1.000"), Decimal("-1e-20"), Decimal(10) ** 30]
FLOATS = [0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 1e300, 5e-324]
TEXTS = ["", " ", "Ünïcödé", "日本語", "'quoted'", "back\\slash", "100%", "a\nb", "\U0001f600"]
DATES = ["infinity", "-infinity", "0044-03-15 BC", "9999-12-31", "2020-01-01"]
JSON = ['{"a": [1, null, "é"]}', "null", "[]", '"x"', "1.50"]
INTS = [0, 1, -1, 2**31 - 1, -(2**31)]
ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))
NULL_SHARE = 0.15


def timestamp(pick):
    day = dt.datetime.fromordinal(pick.randint(1, 10**6))
    return day + dt.timedelta(microseconds=pick.getrandbits(30))


#: For each column the SQL type and what makes a value from a `random.Random`.
COLUMNS = {
    "i": ("integer", lambda pick: pick.choice([*INTS, pick.randint(0, 9)])),
    "l": ("bigint", lambda pick: pick.choice([0, 2**63 - 1, -(2**63), pick.getrandbits(40)])),
    "n": ("numeric", lambda pick: pick.choice([*NUMERICS, Decimal(pick.getrandbits(80)) / 10**9])),
    "m": ("numeric(9, 2)", lambda pick: Decimal(pick.randint(-(10**8), 10**8)) / 100),
    "f": ("double precision", lambda pick: pick.choice([*FLOATS, pick.gauss(0, 1e10)])),
    "r": ("real", lambda pick: pick.choice([0.5, -0.0, math.inf, math.nan, 1.25])),
    "b": ("boolean", lambda pick: pick.random() < 0.5),
    "t": ("text", lambda pick: pick.choice([*TEXTS, "".join(pick.choices("aÄßz'\\% ", k=5))])),
    "v": ("varchar(20)", lambda pick: pick.choice(["", "varchar", "Éclair"])),
    "c": ("char(4)", lambda pick: pick.choice(["", "ab", "abcd", "é"])),
    "d": ("date", lambda pick: pick.choice(DATES)),
    "ts": ("timestamp", timestamp),
    "tz": ("timestamptz", lambda pick: dt.datetime(2020, pick.randint(1, 12), 1, tzinfo=ZONE)),
    "iv": ("interval", lambda pick: dt.timedelta(pick.randint(-99, 99), pick.randint(0, 86399))),
    "ti": ("time", lambda pick: dt.time(pick.randint(0, 23), 59, 1, pick.randint(0, 999999))),
    "u": ("uuid", lambda pick: str(uuid.UUID(int=pick.getrandbits(128)))),
    "y": ("bytea", lambda pick: pick.randbytes(pick.randint(0, 9))),
    "j": ("jsonb", lambda pick: pick.choice(JSON)),
    "jt": ("json", lambda pick: pick.choice(['{"a" : 1}', "[ ]"])),
    "ai": ("integer[]", lambda pick: pick.choices([None, 1, -5], k=pick.randint(0, 3))),
    "at": ("text[]", lambda pick: pick.choice([[], ["é", 'a"b', "NULL"], [None, "{}"]])),
    "an": ("numeric[]", lambda pick: pick.choice([[Decimal("1.50"), Decimal("NaN")], []])),
    "ip": ("inet", lambda pick: f"10.0.{pick.randint(0, 255)}.1/{pick.randint(8, 32)}"),
    "rg": ("int4range", lambda pick: pick.choice(["[1,5)", "empty", "(,)", "[3,)"])),
}

#: Expressions that any row can compute, one in each line or separated by semicolons.
EXPRESSIONS = (
    """
i::bigint * 2; n + 1; m / 7; f; -f; r; mod(l, 10); i IS NULL; b IS NOT TRUE; CASE WHEN b THEN i END
upper(t); t || v; length(t); coalesce(t, 'none'); c; c || '|'; 'literal é'; 1; NULL; NULL::numeric
d; isfinite(d); ts + iv; tz AT TIME ZONE 'UTC'; date_trunc('month', ts); ti; extract(epoch FROM tz)
u::text; md5(y); y || y; j -> 'a'; j::text; jt; to_jsonb(ai); host(ip); rg; upper(rg)
cardinality(ai); ai || 7; at; an; ARRAY[t, v]; ARRAY[d]; ROW(i, t)
(SELECT count(*) FROM small WHERE k = i)
""".strip()
    .replace("\n", "; ")
    .split("; ")
)

CONDITIONS = (
    """
i > {i}; i IS NULL; l = {l}; n <= {n}; n = 'NaN'; m BETWEEN {m} AND {m}; f = {f}; f > {f}; b; NOT b
t = {t}; t > {t}; t LIKE 'a_'; v IS DISTINCT FROM {v}; c = {c}; false; true
d < {d}; tz >= {tz}; ts <> {ts}; iv > {iv}; u IN ({u}, {u}); y = {y}; j @> {j}; j ? 'a'
ai && {ai}; i = ANY({ai}); cardinality(at) > 1; rg @> 3; rg && {rg}; ip << '10.0.0.0/9'; ip = {ip}
EXISTS (SELECT FROM small s WHERE s.k = i); i IN (SELECT k FROM small)
""".strip()
    .replace("\n", "; ")
    .split("; ")
)

SOURCES = [
    "big",
    "big",
    "big JOIN small ON k = i",
    "big LEFT JOIN small ON k = i AND label <> 'x'",
    "big CROSS JOIN LATERAL (SELECT label FROM small WHERE k = i ORDER BY label LIMIT 1) first",
    "(SELECT * FROM big WHERE i IS NOT NULL) big",
    "big, unnest(ai) WITH ORDINALITY element (e, place)",
]


def values(pick):
    """A row of the big table."""
    return tuple(None if pick.random() < NULL_SHARE else make(pick) for _, make in COLUMNS.values())


def where(pick, at_least=0):
    """A WHERE clause, or nothing, and its parameters."""
    parameters = []

    def value(match):
        kind, make = COLUMNS[match[1]]
        parameters.append(make(pick))
        return f"CAST(%s AS {kind})"

    texts = pick.choices(CONDITIONS, k=pick.randint(at_least, 3))
    conditions = [f"({re.sub(r'{(.*?)}', value, text)})" for text in texts]
    joined = pick.choice([" AND ", " OR "]).join(conditions)
    return (f" WHERE {joined}" if joined else ""), parameters


def query(pick):
    """A statement and its parameters."""
    columns = pick.sample(EXPRESSIONS, pick.randint(1, 6))
    if pick.random() < 0.3:
        columns += pick.sample(list(COLUMNS), pick.randint(1, len(COLUMNS)))
    selected = ", ".join(f"{text} AS col{number}" for number, text in enumerate(columns))
    source = pick.choice(SOURCES)
    if pick.random() < 0.2:
        selected = "big.*"
    condition, parameters = where(pick)
    return f"SELECT {selected} FROM {source}{condition}", parameters


def change(pick):
    """A statement that changes rows, and its parameters."""
    condition, parameters = where(pick, at_least=1)
    return pick.choice(["UPDATE big SET b = NOT b", "DELETE FROM big"]) + condition, parameters
