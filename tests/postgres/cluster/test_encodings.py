"""Keys in databases that are not in UTF-8, and of clients that write letters as others.

PostgreSQL is the judge: `checking.check` asks its ``satisfies_hash_partition`` of each row.
"""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from psycopg2.extensions import encodings

import greenshard
from greenshard import checking
from greenshard.cluster.encodings import CODECS, INEXACT
from tests.initialised import initialised

LETTERS = [chr(code) for code in range(0x80, 0x10000) if not 0xD800 <= code < 0xE000]
#: Of each encoding, some keys that it can write.
KEYS = {
    "LATIN1": ["é", "Ünïcödé", "", "plain", "ÿ" * 13, "£ and ¥"],
    "LATIN9": ["é€", "Š", "œuvre"],
    "KOI8R": ["Ж", "ключ", "Ёлка"],
    "EUC_CN": ["汉", "键 a"],
}
TABLES = """
CREATE TABLE t (k text PRIMARY KEY, n int);
CREATE TABLE c (k char(30), n int);
"""
DECLARED = {"t": greenshard.Sharded("k"), "c": greenshard.Sharded("k")}


@contextlib.contextmanager
def databases(shards, encoding, ddl=TABLES):
    """Connection strings of new databases in an encoding, two on each of two servers."""
    names = [f"{encoding.lower()}_{n}" for n in range(2)]
    dsns = {}
    for shard in (shards[0], shards[1]):
        for name in names:
            with contextlib.closing(psycopg2.connect(shard.dsn)) as conn:
                conn.autocommit = True
                cur = conn.cursor()
                cur.execute(
                    f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0"
                    " LC_COLLATE 'C' LC_CTYPE 'C'"
                )
            dsn = psycopg2.extensions.make_dsn(shard.dsn, dbname=name)
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(ddl)
            dsns[f"s{len(dsns)}"] = dsn
    try:
        yield dsns
    finally:
        for shard in (shards[0], shards[1]):
            with contextlib.closing(psycopg2.connect(shard.dsn)) as conn:
                conn.autocommit = True
                for name in names:
                    conn.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")


def found(dsns, cluster):
    """What `check` finds."""
    with contextlib.closing(greenshard.connect(dsns)) as union:
        return [(each.check, each.message) for each in checking.check(union, cluster).findings]


@pytest.mark.parametrize("encoding", KEYS)
@pytest.mark.parametrize("client", [None, "UTF8"])
def test_keys_are_hashed_in_the_encoding_of_the_database(greenshard_shards, encoding, client):
    if client is None and encoding == "EUC_CN":
        pytest.skip("the same as UTF8, and slow")
    with databases(greenshard_shards, encoding) as dsns:
        cluster = initialised(greenshard.Cluster(dsns, DECLARED))
        with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
            if client is not None:
                conn.set_client_encoding(client)
            for key in KEYS[encoding]:
                for table in DECLARED:
                    cur.execute(f"INSERT INTO {table} VALUES (%s, 1)", (key,))
                    change = f"UPDATE {table} SET n = n + 1 WHERE k ="
                    assert "strategy: route" in conn.explain(f"{change} %s", (key,))
                    cur.execute(f"{change} %s", (key,))
                    assert cur.rowcount == 1
                    cur.execute(f"{change} '{key}'")
                    assert cur.rowcount == 1
                    cur.execute(f"SELECT n FROM {table} WHERE k = ANY(%s)", ([key],))
                    assert cur.fetchall() == [(3,)]
                with conn.on(key=key, table="t").cursor() as one:
                    one.execute("SELECT count(*) FROM t WHERE k = %s", (key,))
                    assert one.fetchone() == (1,)
            conn.commit()
        assert found(dsns, cluster) == []


@pytest.mark.parametrize("encoding", ["EUC_JP", "SQL_ASCII"])
def test_keys_that_python_cannot_write_are_looked_for_on_all_shards(greenshard_shards, encoding):
    with databases(greenshard_shards, encoding) as dsns:
        # As hash partitioning has placed it.
        with contextlib.closing(psycopg2.connect(dsns["s2"])) as one, one, one.cursor() as cur:
            one.set_client_encoding("UTF8")
            cur.execute("INSERT INTO t VALUES ('漢', 1)")
        cluster = initialised(greenshard.Cluster(dsns, DECLARED))
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            conn.set_client_encoding("UTF8")
            cur = conn.cursor()
            cur.execute("SELECT n FROM t WHERE k = %s", ("漢",))
            assert cur.fetchall() == [(1,)]
            with pytest.raises(greenshard.NotSupportedError) as refused:
                cur.execute("INSERT INTO t VALUES (%s, 1)", ("字",))
            assert refused.value.code == "GS412"
            cur.execute("INSERT INTO t VALUES (%s, 2)", ("plain",))
            cur.execute("SELECT n FROM t WHERE k = %s", ("plain",))
            assert cur.fetchall() == [(2,)]
            with pytest.raises(greenshard.ProgrammingError):
                conn.on(key="字", table="t")


def test_a_client_encoding_that_alters_letters_names_no_shard(greenshard_shards):
    ddl = TABLES + "CREATE TABLE numbered (id serial, k text)"
    with databases(greenshard_shards, "UTF8", ddl) as dsns:
        declared = {**DECLARED, "numbered": greenshard.Sharded("k")}
        cluster = initialised(greenshard.Cluster(dsns, declared))
        keys = ["¥", "〜", "plain", "漢"]
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            cur = conn.cursor()
            for key in keys:
                cur.execute("INSERT INTO t VALUES (%s, 1)", (key,))
            conn.commit()
            for encoding, letter in [("SJIS", "〜"), ("EUC_JP", "¥")]:
                conn.set_client_encoding(encoding)
                cur.execute("SELECT n FROM t WHERE k = %s", ("plain",))  # known from now on
                cur.execute("SELECT n FROM t WHERE k = %s", (letter,))
                for text, given in [("%s", (letter,)), (f"'{letter}'", None)]:
                    with pytest.raises(
                        greenshard.NotSupportedError, match="does not tell its shard"
                    ):
                        cur.execute(f"INSERT INTO t VALUES ({text}, 2)", given)
                    where = f"SELECT n FROM t WHERE k = {text}"
                    assert "strategy: route" not in conn.explain(where, given)
                sets = [("plain",), (letter,)]
                with pytest.raises(greenshard.NotSupportedError, match="does not tell its shard"):
                    cur.executemany("INSERT INTO numbered (k) VALUES (%s)", sets)
                with pytest.raises(greenshard.ProgrammingError):
                    conn.on(key=letter, table="t")
                cur.execute("INSERT INTO t VALUES (%s, 2)", (f"plain {encoding}",))
                conn.commit()
        assert found(dsns, cluster) == []


def test_codecs_write_what_the_servers_write(greenshard_shards):
    with contextlib.closing(psycopg2.connect(greenshard_shards[0].dsn)) as conn:
        cur = conn.cursor()
        cur.execute(
            "CREATE FUNCTION pg_temp.bytes(letter text, encoding text) RETURNS bytea"
            " LANGUAGE plpgsql AS 'BEGIN RETURN convert_to(letter, encoding);"
            " EXCEPTION WHEN untranslatable_character THEN RETURN NULL; END'"
        )
        cur.execute(
            "CREATE FUNCTION pg_temp.letter(bytes bytea, encoding text) RETURNS text"
            " LANGUAGE plpgsql AS 'BEGIN RETURN convert_from(bytes, encoding);"
            " EXCEPTION WHEN OTHERS THEN RETURN NULL; END'"
        )
        for encoding, codec in CODECS.items():
            if encoding == "UTF8":
                continue
            ours = [(letter, bytes_of(letter, codec)) for letter in LETTERS]
            cur.execute(
                "SELECT letter, written FROM (SELECT letter, pg_temp.bytes(letter, %s) AS written"
                " FROM unnest(%s) AS letter) AS t WHERE written IS NOT NULL",
                (encoding, [letter for letter, written in ours if written] + LETTERS[:2000]),
            )
            theirs = {letter: bytes(written) for letter, written in cur.fetchall()}
            assert theirs == {letter: written for letter, written in ours if written}, encoding
        for encoding in ("SJIS", "BIG5", "EUC_JP", "EUC_KR", "EUC_JIS_2004", "SHIFT_JIS_2004",
                         "GBK", "UHC", "GB18030", "JOHAB"):  # fmt: skip
            codec = encodings[encoding]
            ours = [(letter, bytes_of(letter, codec)) for letter in LETTERS]
            letters, written = zip(*[pair for pair in ours if pair[1]], strict=True)
            cur.execute(
                "SELECT count(*) FROM unnest(%s, %s) AS t (letter, written)"
                " WHERE pg_temp.letter(written, %s) <> letter",
                (list(letters), list(written), encoding),
            )
            assert (cur.fetchone()[0] > 0) == (codec in INEXACT), encoding


def bytes_of(letter, codec):
    try:
        return letter.encode(codec)
    except UnicodeEncodeError:
        return None
