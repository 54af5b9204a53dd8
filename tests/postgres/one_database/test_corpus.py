"""Writes as applications and other programs' tests send them, over four shards and on one server.

``corpus/`` has a title, then on each line a statement, which may be several in one string::

    -- = what Django sends; since 15
    INSERT INTO ... RETURNING "users"."id";
    -- numbered
    INSERT INTO audit (what) SELECT name FROM users;
    -- refused: the words of the reason
    UPDATE ...;

Each finds the rows of ``schema.sql``, and is undone after what it tells, and all rows, have been
compared: its SQLSTATE, row count, tag, columns and rows, these in order where an INSERT has one.
``numbered``: PostgreSQL chooses which row gets which number, so columns are compared one by one.
``refused``: by us, for a reason that is partitioning's or physics'; there are few.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.side_by_side import SideBySide, one_and_more, refused_or_code
from tests.postgres.psql import run

HERE = Path(__file__).parent / "corpus"
SHARDS = 4
TABLES = {
    **dict.fromkeys(("orgs", "settings", "totals", "marks"), greenshard.Reference()),
    **dict.fromkeys(("users", "audit"), greenshard.Sharded("id")),
    **dict.fromkeys(("posts", "comments", "members"), greenshard.Sharded("user_id")),
    **dict.fromkeys(("events", "daily"), greenshard.Sharded("tenant")),
    "staging": greenshard.Sharded("line"),
    "items": greenshard.Sharded("sku"),
    "ledger": greenshard.Sharded("account"),
    "queue": greenshard.Single("s2"),
}
#: Before each statement they count on from here, on both sides.
SEQUENCES = {
    **dict.fromkeys(("users_id_seq", "posts_id_seq", "orgs_id_seq", "audit_id_seq"), 30),
    "numbers": 499,
}
_NOTE = re.compile(r"-- (numbered|refused: (?P<reason>.+))\n")
#: As JSON has a time of this year.
_NOW = re.compile(r'"20(2[2-9]|[3-9]\d)-\d\d-\d\dT.*"')
_RECENT = dt.datetime(2022, 1, 1, tzinfo=dt.timezone.utc)
_ORDERED = re.compile(r"(?is)^insert .*(values|unnest|order by)(?!.*on conflict)")


@dataclass(frozen=True)
class Given:
    """A statement; `refused` are the words of why it is not run, None if it is."""

    text: str
    refused: str | None
    numbered: bool


@dataclass(frozen=True)
class Section:
    """Statements, and since which version a server has heard of them."""

    title: str
    since: int
    statements: list[Given]


def sections() -> list[Section]:
    """Those of all files."""
    found = []
    for path in sorted(HERE.glob("*.sql")):
        for part in path.read_text(encoding="utf-8").split("-- = ")[1:]:
            head, _, body = part.partition("\n")
            title, _, since = head.partition("; since ")
            given = []
            for each in re.findall(r"(?:-- .*\n)*[^-\n].*;", body):
                notes = [note[1] for note in _NOTE.finditer(each)]
                reason = next((n.partition(": ")[2] for n in notes if ": " in n), None)
                text = each.rpartition("\n")[2].removesuffix(";")
                given.append(Given(text, reason, "numbered" in notes))
            found.append(Section(title, int(since or 0), given))
    return found


@pytest.fixture(scope="module")
def both(greenshard_shards):
    """Connections to one server and to four shards, with the same rows."""
    schema, _, rows = (HERE / "schema.sql").read_text(encoding="utf-8").partition("\n\n")
    with one_and_more(greenshard_shards, SHARDS) as (one, dsns):
        for dsn in (one, *dsns.values()):
            run(dsn, schema)
        sides = SideBySide(one, dsns, TABLES)
        with sides.filled(rows.split(";\n")[:-1], SHARDS) as (single, conn):
            yield sides, single, conn


def test_there_are_many():
    every = [each for section in sections() for each in section.statements]
    assert len(every) > 350
    assert sum(each.refused is not None for each in every) < len(every) * 0.03


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.title)
def test_shards_do_what_one_server_does(both, section):
    single = both[1]
    if single.server_version < section.since * 10000:
        pytest.skip(f"of PostgreSQL {section.since}")
    wrong = [difference for each in section.statements if (difference := compared(both, each))]
    assert not wrong, "\n".join([f"{len(wrong)} differ", *wrong])


def compared(both: Any, given: Given) -> str | None:
    """How a statement comes out otherwise over the shards; None if it does not."""
    _, single, conn = both
    for each in (single, conn):
        each.rollback()
        counts = ", ".join(f"setval('{name}', {last})" for name, last in SEQUENCES.items())
        each.cursor().execute(f"SELECT {counts}")
        each.cursor().execute("SELECT setval('queue_id_seq', 30)")
        each.commit()
    try:
        expected, got = (told(each, given) for each in (single, conn))
        if given.refused is not None:
            if isinstance(got, str) and re.search(given.refused, got):
                return None
            return f"NOT REFUSED {given.text}\n    {got}"
        if isinstance(got, str) and got.startswith("refused"):
            return f"REFUSED {given.text}\n    {got}"
        if got != expected:
            return f"{given.text}\n    {got}\n    instead of\n    {expected}"
        if isinstance(expected, str):
            return None
        return rows_differ(both, given)
    finally:
        for each in (single, conn):
            each.rollback()


def told(conn: Any, given: Given) -> Any:
    """What a statement tells."""
    with conn.cursor() as cur:
        try:
            cur.execute(given.text)
        except psycopg2.Error as error:
            return refused_or_code(error)
        rows = shown(cur.fetchall(), given) if cur.description else None
        if rows is not None and not _ORDERED.match(given.text):
            rows = sorted(rows)
        names = [(column.name, column.type_code) for column in cur.description or ()]
        return rows, [name for name, _ in names], cur.rowcount, cur.statusmessage


def shown(rows: list[tuple[Any, ...]], given: Given) -> list[Any]:
    """The rows as texts, without what is another value each time."""
    texts = [tuple(map(_steady, row)) for row in rows]
    if not given.numbered:
        return [repr(row) for row in texts]
    return [repr(sorted(column)) for column in zip(*texts, strict=True)]


def _steady(value: Any) -> str:
    if isinstance(value, dt.datetime) and value > _RECENT:
        return "now"
    if isinstance(value, str) and _NOW.fullmatch(value):
        return "now"
    if isinstance(value, str) and re.fullmatch(r'"?[0-9a-f-]{14}4[0-9a-f-]{21}"?', value):
        return "random"
    if isinstance(value, uuid.UUID) and value.version == 4:
        return "random"
    return repr(value)


def home(sides: SideBySide, table: str, key: Any) -> str:
    """The shard of a key."""
    cluster = sides.cluster(SHARDS)
    placement = cluster.placement_of(cluster.tables[table])
    if table == "ledger":
        return placement.shards_for(uuid.UUID(str(key)), "uuid", cluster.names)
    return placement.shards_for(key, "text" if isinstance(key, str) else "int8", cluster.names)


def rows_differ(both: Any, given: Given) -> str | None:
    """What the tables hold otherwise than on one server, and what is on a shard of another key.

    Cost: one round trip to each server: all rows of all tables come in one answer.
    """
    sides, single, conn = both
    with single.cursor() as cur:
        right = by_table(cur)
    found = {}
    for shard in conn.shards:
        with conn.on(shard), conn.cursor() as cur:
            found[shard] = by_table(cur)
    for name, declared in TABLES.items():
        copies = [[row for _, row in found[shard][name]] for shard in conn.shards]
        if not isinstance(declared, greenshard.Reference):
            copies = [[row for copy in copies for row in copy]]
        elif any(sorted(copy) != sorted(copies[0]) for copy in copies):
            return f"{given.text}\n    the copies of {name} differ: {copies}"
        expected = sorted(shown([row for _, row in right[name]], given))
        if any(sorted(shown(copy, given)) != expected for copy in copies):
            return f"{given.text}\n    {name}: {copies}\n    instead of\n    {expected}"
        if isinstance(declared, greenshard.Sharded):
            on = {key: shard for shard in conn.shards for key, _ in found[shard][name]}
            if strays := {key for key, shard in on.items() if home(sides, name, key) != shard}:
                return f"{given.text}\n    {name}: {strays} do not belong where they are"
    return None


def by_table(cur: Any) -> dict[str, list[tuple[Any, tuple[str, ...]]]]:
    """For each table its rows: a row's shard key, if it has one, and the values as JSON."""
    keys = {
        name: f"x.{declared.column}" if isinstance(declared, greenshard.Sharded) else "NULL::text"
        for name, declared in TABLES.items()
    }
    cur.execute(
        " UNION ALL ".join(
            f"SELECT '{name}', to_jsonb({key}), to_jsonb(x)::text FROM {name} AS x"
            for name, key in keys.items()
        )
    )
    found: dict[str, list[tuple[Any, tuple[str, ...]]]] = {name: [] for name in TABLES}
    for name, key, row in cur.fetchall():
        # A number's digits count: 1.0 is not 1.00.
        values = json.loads(row, parse_float=str).values()
        found[name].append((key, tuple(map(json.dumps, values))))
    return found
