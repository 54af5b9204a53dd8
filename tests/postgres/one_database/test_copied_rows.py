"""COPY FROM over shards loads what one server loads, each row where it belongs; or fails alike."""

from __future__ import annotations

import contextlib
import io
import os
import random

import psycopg2
import pytest

import greenshard
from greenshard.cluster import Hash
from tests.postgres.one_database.compared import compared

SCHEMA = """
CREATE TABLE words (k text, n int, b text);
CREATE TABLE numbers (n int, k bigint, b text);
"""
TABLES = {"words": greenshard.Sharded("k"), "numbers": greenshard.Sharded("k")}
TYPES = {"words": "text", "numbers": "int8"}
PLACEMENT = Hash()
CASES = 120
#: What the rows are made of: what ends a line, a value, a quote; escapes; letters.
TEXT = ["\t", "\t", "\n", "\n", "\\", "\\N", "\\n", "\\.", "\\\n", "\\\t", "\\x41", "\\101", "\\\\",
        "a", "é", "1", "22", "-3", "\r", "|", "ab"]  # fmt: skip
CSV = [",", ",", "\n", "\n", '"', '"', '""', "'", "\\.", "\r\n", "\\", "!", '!"', "a", "é", "1",
       "22", '"x,y"', '"1\n2"', "x"]  # fmt: skip


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        yield made


@pytest.fixture(scope="module")
def sides(databases):
    """Cursors: over one server, over the shards, and over each shard alone."""
    cluster, whole = databases
    with contextlib.ExitStack() as opened:
        connections = [greenshard.connect(whole), greenshard.connect(cluster)]
        yield [opened.enter_context(contextlib.closing(c)).cursor() for c in connections]


def loaded(cur, statement, data, table):
    """What a COPY leaves; nothing stays. None if it is refused."""
    try:
        cur.copy_expert(statement, io.BytesIO(data), size=7)
        cur.execute(f"SELECT * FROM {table}")
        found = sorted(cur.fetchall(), key=repr)
        check_places(cur.connection, table)
        return len(found), found
    except psycopg2.Error as error:
        if getattr(error, "code", None) == "GS402":
            return None
        return "failed"  # of several wrong rows, another one may be told of
    finally:
        cur.connection.rollback()


def check_places(conn, table):
    """Each row is on the shard of its key."""
    for shard in conn.shards if len(conn.shards) > 1 else ():
        with conn.on(shard), conn.cursor() as cur:
            cur.execute(f"SELECT DISTINCT k FROM {table}")
            for (key,) in cur.fetchall():
                assert shard == PLACEMENT.shards_for(key, TYPES[table], conn.shards), key


def check(sides, statement, data, table):
    one, shards = (loaded(cur, statement, data, table) for cur in sides)
    assert shards is None or shards == one, (statement, data)
    return shards is not None


def rows_of(chance, parts, most=24):
    return "".join(chance.choice(parts) for _ in range(chance.randrange(most))).encode()


def regular(chance, csv):
    """Rows that mostly are as they should be."""
    rows = []
    quote = (lambda v: f'"{v}"') if csv and chance.random() < 0.5 else str
    for _ in range(chance.randrange(1, 12)):
        odd = chance.choice(CSV if csv else TEXT) if chance.random() < 0.1 else ""
        key = quote(chance.choice(["a", "b", "é", "17", "", "x y", "\\N", "now"]))
        rows.append((",", "\t")[not csv].join([key, str(chance.randrange(99)), f"b{odd}"]))
    end = chance.choice(["\n", "\n", "\r\n", "\r"])
    return (end.join(rows) + chance.choice(["", end])).encode()


def options(chance, csv):
    every = ["NULL 'a'", "HEADER", "ENCODING 'UTF8'"]
    if csv:
        every += ["QUOTE ''''", "ESCAPE '!'", "FORCE_NULL (k)", "FORCE_NOT_NULL (k)"]
    chosen = [each for each in every if chance.random() < 0.2]
    if chance.random() < 0.2:
        chosen.append("DELIMITER '|'")
    return ", ".join(["FORMAT csv" if csv else "FORMAT text", *chosen])


SPECIAL = [
    ("", b"\\N\t1\tx\n\\\\N\t2\tx\n"),
    *((f"NULL '{letter}'", f"{letter}\t1\tx\n".encode()) for letter in "abxk"),
    ("", b"a\\\tb\t1\tx\na\\\nb\t2\tx\n"),
    ("", b"\\x61\t1\t\\\n\n"),
    ("FORMAT csv", b',1,x\n"",2,"x\ny"\n'),
    ("FORMAT csv, ESCAPE '!'", b'"a!"\nb",1,x\n"!!",2,"x!"\n"\n'),
    ("FORMAT csv, QUOTE '''', NULL 'a'", b"a,1,x\n'a',2,'x\n'\n'a''b,c',3,x\n"),
    ("FORMAT csv, NULL 'a', FORCE_NULL (k)", b'a,1,x\n"a",2,x\n'),
    ("FORMAT csv, NULL 'a', FORCE_NOT_NULL (k)", b'a,1,x\n"a",2,x\n'),
    ("FORMAT csv, HEADER", b'"a\nb",1,x\r\nk,2,"\r\n"\r\n'),
]  # fmt: skip


@pytest.mark.parametrize(("options", "data"), SPECIAL)
def test_special_rows_are_read_as_by_one_server(sides, options, data):
    assert check(sides, f"COPY words FROM STDIN WITH ({options or 'FORMAT text'})", data, "words")


@pytest.mark.parametrize("csv", [False, True])
def test_random_rows_are_read_as_by_one_server(sides, csv):
    chance = random.Random(f"{os.environ['GREENSHARD_SEED']} {csv}")
    ran = 0
    for _ in range(CASES):
        if chance.random() < 0.5:
            data = rows_of(chance, CSV if csv else TEXT)
        else:
            data = regular(chance, csv)
        table = chance.choice(["words", "words", "numbers"])
        columns = chance.choice(["", "(n, k)", "(k, n)", "(k)", "(b, k, n)"])
        statement = f"COPY {table} {columns} FROM STDIN WITH ({options(chance, csv)})"
        ran += check(sides, statement, data, table)
    assert ran > CASES * 0.6
