"""Copies of reference tables are alike, whatever others commit between one shard and the next."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys

import gevent
import psycopg2
import pytest

import greenshard
from greenshard.checking.check import check
from tests.postgres.one_database import hammer
from tests.postgres.one_database.side_by_side import side_by_side
from tests.postgres.psql import run

SCHEMA = """
CREATE TABLE r (id int PRIMARY KEY, n int, c text);
CREATE TABLE other (id int PRIMARY KEY, n int);
CREATE TABLE keyless (id int, n int);
CREATE TABLE doubled (id int PRIMARY KEY, n int);
CREATE FUNCTION double() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.n := NEW.n * 2; RETURN NEW; END $$;
CREATE TRIGGER double BEFORE INSERT OR UPDATE ON doubled FOR EACH ROW EXECUTE FUNCTION double();
CREATE TABLE base (id int PRIMARY KEY, n int);
CREATE TABLE heir () INHERITS (base);
CREATE TABLE numbered (id serial PRIMARY KEY, n int);
CREATE TABLE t (k int PRIMARY KEY, n int);
CREATE VIEW shown AS SELECT id, n FROM r;
"""
REFERENCES = ["r", "other", "keyless", "doubled", "base", "heir", "numbered"]
TABLES = {
    **dict.fromkeys(REFERENCES, greenshard.Reference()),
    "t": greenshard.Sharded("k"),
}
FILL = [
    f"INSERT INTO {name} (id, n) SELECT g, g FROM generate_series(1, 5) AS g" for name in REFERENCES
] + ["INSERT INTO t SELECT g, g FROM generate_series(1, 9) AS g"]

#: What a program writes, and what another one has committed on all shards when the first of them
#: has run it and the others have not.
MEETING = [
    ("UPDATE r SET c = 'x' WHERE n > 3", "UPDATE r SET n = 9 WHERE id = 1"),
    ("UPDATE r SET n = n + 1", "INSERT INTO r VALUES (7, 7)"),
    ("UPDATE r SET n = 5 WHERE id = 7", "INSERT INTO r VALUES (7, 7)"),
    ("UPDATE r SET n = 5 WHERE id = 1 AND n > 5", "UPDATE r SET n = 9 WHERE id = 1"),
    ("DELETE FROM r WHERE n > 6", "INSERT INTO r VALUES (7, 7)"),
    ("DELETE FROM r", "INSERT INTO r VALUES (7, 7)"),
    ("DELETE FROM r WHERE id = 8", "INSERT INTO r VALUES (8, 7)"),
    ("UPDATE r SET n = (SELECT max(n) FROM other) WHERE id = 1", "UPDATE other SET n = 100"),
    ("UPDATE r SET n = other.n FROM other WHERE other.id = r.id", "UPDATE other SET n = 100"),
    ("UPDATE r SET n = (SELECT sum(n) FROM t) WHERE n > 3", "UPDATE r SET n = 9 WHERE id = 1"),
    ("INSERT INTO r (id, n) SELECT id + 10, n FROM other", "UPDATE other SET n = 100"),
    (
        (
            "INSERT INTO r VALUES (1, 0), (6, 0) ON CONFLICT (id) DO UPDATE"
            " SET n = (SELECT max(n) FROM other)"
        ),
        "UPDATE other SET n = 100",
    ),
    ("UPDATE shown SET n = 0 WHERE n > 6", "INSERT INTO r VALUES (7, 7)"),
    ("UPDATE keyless SET n = 0 WHERE n > 6", "INSERT INTO keyless VALUES (7, 7)"),
    ("DELETE FROM keyless USING other WHERE other.n = keyless.n + 2", "UPDATE other SET n = 3"),
    ("UPDATE doubled SET n = n + 1 WHERE n > 12", "INSERT INTO doubled VALUES (7, 7)"),
    ("UPDATE base SET n = 0 WHERE n > 6", "INSERT INTO heir VALUES (1, 7)"),
]


@pytest.fixture(scope="module")
def sides(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, TABLES) as found:
        yield found


@pytest.mark.parametrize(
    ("isolation", "pairs"), [("READ COMMITTED", MEETING), ("REPEATABLE READ", MEETING[:4])]
)
def test_what_is_committed_between_two_shards_is_written_on_none_or_all(sides, isolation, pairs):
    for writing, meeting in pairs:
        with sides.filled(FILL, 3) as (_, conn), contextlib.ExitStack() as opened:
            conn.set_session(isolation_level=isolation)
            others = {
                shard: opened.enter_context(contextlib.closing(psycopg2.connect(dsn)))
                for shard, dsn in sides.dsns.items()
            }
            meet(conn, writing, meeting, others, sides.dsns["s1"])
        try:
            sides.check_places(3)
        except AssertionError as error:
            raise AssertionError((writing, meeting, isolation)) from error


def meet(conn, writing, meeting, others, dsn):
    """Have `meeting` committed on all shards when only the first has run `writing`.

    Args:
        conn: What writes.
        writing, meeting: As in `MEETING`.
        others: The connections of somebody else.
        dsn: The second shard's.
    """
    # Until that is there, nobody else writes on the other shards.
    named = {text.split()[2 - text.startswith("UPDATE")] for text in (writing, meeting)}
    for shard in ("s1", "s2"):
        others[shard].cursor().execute(f"LOCK TABLE {', '.join(named)} IN SHARE MODE")
    job = gevent.spawn(_write, conn, writing)
    wait_for_lock(dsn, job)
    others["s0"].cursor().execute("SET LOCAL lock_timeout = '100ms'")
    # If it must wait for the first one, it is not between its shards.
    with contextlib.suppress(psycopg2.errors.LockNotAvailable):
        others["s0"].cursor().execute(meeting)
        for shard in ("s1", "s2"):
            others[shard].cursor().execute(meeting)
    for other in others.values():
        other.commit()
    assert job.get(timeout=30) in (None, "40001"), writing
    conn.commit()


def _write(conn, text):
    try:
        conn.cursor().execute(text)
    except psycopg2.Error as error:
        conn.rollback()
        return error.pgcode
    return None


def wait_for_lock(dsn, job):
    """Wait until some session waits for a lock there, or the job has ended."""
    with contextlib.closing(psycopg2.connect(dsn)) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        while not job.ready():
            cur.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cur.fetchone() != (0,):
                return
            gevent.sleep(0.01)


def test_copies_are_alike_after_many_writers(sides):
    """Writers of all kinds at once: what has not failed is in every copy."""
    pick = random.Random(7)
    with sides.filled(FILL, 3) as (_, first):
        conns = [first, *(greenshard.connect(sides.cluster(3), timeout=20) for _ in range(5))]
        jobs = [
            gevent.spawn(hammer.hammer, conn, random.Random(pick.random()), hammer.STEPS, 40)
            for conn in conns
        ]
        done = [job.get(timeout=120) for job in jobs]
        for conn in conns:
            conn.rollback()
        for conn in conns[1:]:
            conn.close()
    assert sum(done) > 60  # most are not in each other's way
    sides.check_places(3)


def test_copies_are_alike_after_many_processes(sides, tmp_path):
    """Each of them knows nothing of the others; `check` compares every row of every copy."""
    path = tmp_path / "cluster.toml"
    with sides.filled(FILL, 3):
        shards = "\n".join(f'{name} = "{dsn}"' for name, dsn in sides.dsns.items())
        tables = "\n".join(f"{name} = {{ reference = true }}" for name in REFERENCES)
        path.write_text(
            f'[shards]\n{shards}\n[tables]\nt = {{ shard_key = "k" }}\n{tables}\n', "utf-8"
        )
        command = [sys.executable, "-m", hammer.__name__, str(path)]
        running = [
            subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True)
            for seed in range(4)
        ]
        try:
            done = [int(each.communicate(timeout=240)[0]) for each in running]
        finally:
            for each in running:
                each.kill()
        assert sum(done) > hammer.TRANSACTIONS * len(running) / 4
    with contextlib.closing(greenshard.connect(sides.dsns)) as union:
        assert not check(union, sides.cluster(3)).findings


def test_one_row_by_its_key_takes_no_way_of_its_own(sides):
    with sides.filled(FILL, 3) as (_, conn):
        told = conn.explain("UPDATE r SET n = n + 1 WHERE id = %s", (1,))
        assert "strategy: broadcast" in told
        assert "LOCK" not in told
        run_on = conn.explain("UPDATE keyless SET n = 0 WHERE n > 6")
        assert 'LOCK TABLE "public"."keyless" IN SHARE ROW EXCLUSIVE MODE' in run_on


def test_what_the_copies_do_by_themselves_is_not_done_twice(sides):
    """A trigger has changed the rows already that the first shard tells of."""
    with sides.filled(FILL, 3) as (_, conn):
        cur = conn.cursor()
        for text, reason in {
            "UPDATE doubled SET n = n + random()": "trigger double would change the rows once more",
            "UPDATE base SET n = n + random()": "heir, which inherits from base, may have equal",
            "DELETE FROM base WHERE random() < 2": "heir, which inherits from base, may have equal",
            "INSERT INTO doubled VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = random()": "rand",
        }.items():
            with pytest.raises(greenshard.NotSupportedError, match=reason):
                cur.execute(text)
        cur.execute("UPDATE ONLY base SET n = n + 1 + (random() * 0)::int")
        cur.execute("DELETE FROM doubled WHERE random() < 2 AND id = 1")
        conn.commit()
    sides.check_places(3)


def test_a_setting_that_spoils_values_lets_each_copy_be_written(sides):
    run_all = "ALTER TABLE r ADD COLUMN at timestamptz DEFAULT '2020-01-01 12:00+00'"
    for dsn in (sides.one, *sides.dsns.values()):
        run(dsn, run_all)
    with sides.filled(FILL, 3) as (_, conn):
        cur = conn.cursor()
        cur.execute("SET DateStyle = 'German'")
        cur.execute("UPDATE r SET at = at + interval '1 day' WHERE n > 2")
        assert cur.rowcount == 3
        conn.commit()
    sides.check_places(3)
