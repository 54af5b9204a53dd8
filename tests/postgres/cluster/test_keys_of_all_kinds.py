"""Keys however they are given: each row is where PostgreSQL's hash says, or was refused.

`checking.check` asks the servers' ``satisfies_hash_partition`` of each row.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid

import psycopg2
import pytest
from psycopg2.extras import register_uuid

import greenshard
from greenshard import checking
from tests.initialised import initialised

register_uuid()

MOMENT = dt.datetime(2020, 1, 2, 3, 4, 5, 123456)  # noqa: DTZ001
ZONES = [dt.timezone.utc, dt.timezone(dt.timedelta(hours=-3, minutes=-30))]
U = uuid.UUID("12345678-1234-5678-1234-567812345678")

#: The key's type, and what is inserted: as a parameter, and as it is written.
INSERTED = {
    "bytea": [psycopg2.Binary(b"\0a\\'"), b"\xff", bytearray(b"ab"), memoryview(b"x y"), "\\x0aFF"],
    "bytea written": [r"'\x00ff'", r"'\x00 FF'", r"'a\\b'", "'abc'::bytea", "decode('aa', 'hex')",
                      r"E'\\x0b'", r"'\xAB'::bytea", "'déjà'"],
    "timestamp": [MOMENT, MOMENT.replace(microsecond=0), "2020-01-01 00:00:00", "2020-01-02T03:04",
                  "2020-01-03 04:05:06.7+02", "Jan 4 2020", "infinity", "epoch",
                  dt.date(2020, 1, 5), "2020-01-06", MOMENT.replace(tzinfo=ZONES[1]),
                  "2020-01-07 24:00:00",
                  "2020-01-08 00:00:60", "20200109T000000", " 2020-01-10 00:00:00 "],
    "timestamp written": ["'2020-02-01 00:00:00'", "timestamp '2020-02-02 03:04:05'",
                          "'2020-02-03 00:00:00.1234567'", "'2020-02-04'::date"],
    "timestamp(0)": [MOMENT, MOMENT.replace(microsecond=0, year=2021), "2022-01-01 00:00:00.6"],
    "timestamp(3)": [MOMENT, MOMENT.replace(microsecond=5000), "2022-01-01 00:00:00.5555"],
    "timestamptz": [MOMENT.replace(tzinfo=ZONES[0]), MOMENT.replace(tzinfo=ZONES[1]), MOMENT,
                    "2020-01-01 00:00:00+02", "2020-01-02 00:00:00-03:30", "2020-01-03 00:00:00Z",
                    "2020-01-04 00:00:00", "2020-01-05 00:00:00 Europe/Berlin", "-infinity"],
    "date": [dt.date(2020, 1, 1), "2020-01-02", "2020-1-3", "Jan 4 2020", MOMENT, "infinity"],
    "date written": ["'2021-01-01'", "date '2021-01-02'", "'20210103'", "'2021-01-04 23:59:59'"],
    "bool": [True, False],
    "bool written": ["true", "false", "'t'", "'no'", "'on'::bool", "1::bool", "NULL"],
    "varchar(5)": ["a", "ab ", "abcd ", "abcde ", "abcde  ", "     ", "      ", "é é  "],
    "varchar": ["b", "b ", "b" * 40 + "  "],
    "varchar written": ["'w '", "'v '::text", "'u'::varchar(1)", "'uv '::varchar(2)",
                        "'x '::char(4)"],
    "char(6)": ["a", "ab ", "abcdef", "abcdef  ", "  a", "", "é "],
    "text written": ["'a '", "'b'::char(3)", "'c'::varchar", "$$d$$", r"'e\n'", r"E'f\n'",
                     "U&'\\0067'", "N'j'", "1", "now()::text", "'k'::name", "upper('l')"],
    "int4": [1, -2, "3", " 4 ", True, 5.0, "0x10", "1_000"],
    "int4 written": ["7", "-8", "+9", "'10'", "11::int8", "12.0", "13.4", "'14'::text::int", "0x1F",
                     "- - 15", "4000000000 - 3999999999", "TRUE::int"],
    "int8 written": ["5000000000", "-9223372036854775808", "'-6'", "9223372036854775807"],
    "uuid": [U, str(U).upper(), "{" + str(uuid.UUID(int=5)) + "}", uuid.UUID(int=6).hex,
             "0000-0000-0000-0000-0000-0000-0000-0007"],
    "oid written": ["1", "4294967295", "'7'", "-1"],
}  # fmt: skip
#: Parts of what is inserted that must not be refused.
PLACED = {
    "bytea": 5, "bytea written": 3, "timestamp": 3, "timestamp written": 2, "timestamp(0)": 1,
    "timestamp(3)": 1, "timestamptz": 4, "date": 2, "date written": 2, "bool": 2,
    "bool written": 3, "varchar(5)": 5, "varchar": 3, "varchar written": 2, "char(6)": 7,
    "text written": 6, "int4": 4, "int4 written": 5, "int8 written": 4, "uuid": 3,
    "oid written": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(greenshard_shards):
    names = {kind: f"t{number}" for number, kind in enumerate(INSERTED)}
    with greenshard_shards.databases() as one, greenshard_shards.databases() as other:
        dsns = {"s0": one["s0"], "s1": one["s1"], "s2": other["s0"], "s3": other["s1"]}
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                for kind, name in names.items():
                    cur.execute(f"CREATE TABLE {name} (n int, k {kind.removesuffix(' written')})")
        tables = dict.fromkeys(names.values(), greenshard.Sharded("k"))
        yield initialised(greenshard.Cluster(dsns, tables)), names


def test_each_key_is_where_it_belongs_or_refused(cluster):
    declared, names = cluster
    placed, wrong, codes = {}, [], set()
    with contextlib.closing(greenshard.connect(declared)) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        for kind, keys in INSERTED.items():
            for n, key in enumerate(keys):
                text, given = ("%s", (n, key)) if "written" not in kind else (key, (n,))
                text = text.replace("%", "%%") if "written" in kind else text
                if (code := refusal(cur, names[kind], text, given)) is not None:
                    codes.add(code)
                    continue
                placed[kind] = placed.get(kind, 0) + 1
                cur.execute(f"SELECT k FROM {names[kind]} WHERE n = %s", (n,))
                ((stored,),) = cur.fetchall()
                cur.execute(f"SELECT n FROM {names[kind]} WHERE k = %s", (stored,))
                if (n,) not in cur.fetchall() and stored is not None:
                    wrong.append((kind, key))
                cur.execute(f"DELETE FROM {names[kind]} WHERE n = %s", (n,))
    shards = {name: shard.primary for name, shard in declared.shards.items()}
    with contextlib.closing(greenshard.connect(shards)) as union:
        findings = [(each.table, each.message) for each in checking.check(union, declared).findings]
    assert (findings, wrong) == ([], [])
    assert codes <= {"GS412", "22P02", "22003", "22001", "42601", "42804", "42846", "42883"}
    assert {kind: most for kind, most in PLACED.items() if placed[kind] < most} == {}


def refusal(cur, table, key, given):
    """The code of the error that an INSERT gives, if any."""
    try:
        cur.execute(f"INSERT INTO {table} VALUES (%s, {key})", given)
    except psycopg2.Error as error:
        return error.pgcode or error.code
    return None
