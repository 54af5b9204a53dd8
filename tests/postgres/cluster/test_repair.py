"""``greenshard check --repair``: rows go where they belong, and none is lost or doubled."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from itertools import chain

import psycopg2
import pytest
from click.testing import CliRunner

import greenshard
from greenshard import checking
from greenshard.checking.carrying import Carrier
from greenshard.checking.journal import alone
from greenshard.checking.structure import Structure, Table
from greenshard.cli import main
from greenshard.cli.check_repair import RepairOptions
from greenshard.cluster import Function, Hash, List, TableName
from tests.postgres.cluster.test_check import TYPES
from tests.postgres.psql import run

SCHEMA = """
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE orders (
    id positive PRIMARY KEY, note text UNIQUE, twice int GENERATED ALWAYS AS (id * 2) STORED,
    gone int);
ALTER TABLE orders DROP gone;
CREATE TABLE lines (
    id int GENERATED ALWAYS AS IDENTITY, order_id int NOT NULL REFERENCES orders ON DELETE CASCADE,
    PRIMARY KEY (order_id, id));
CREATE TABLE events (
    k text, at timestamptz, took interval, x float8, b bytea, p pair, a int[], n numeric, d date,
    j jsonb, m money, c char(3));
CREATE TABLE parted (k uuid, year int, "odd ""%s" text, PRIMARY KEY (k, year))
    PARTITION BY LIST (year);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 ("odd ""%s" text, year int NOT NULL, k uuid NOT NULL);
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
CREATE TABLE names (key int, t int, r text, n int, g int, c int, given int, bucket int, belongs int,
    PRIMARY KEY (key, n));
CREATE TABLE fired (what text);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.fired VALUES (TG_OP); RETURN NULL; END';
CREATE TRIGGER fire AFTER INSERT OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TRIGGER off AFTER INSERT OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TRIGGER always AFTER DELETE ON parted FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE orders DISABLE TRIGGER off;
ALTER TABLE parted ENABLE ALWAYS TRIGGER always;
"""
ROWS = """
INSERT INTO orders SELECT g, 'é' || g FROM generate_series(1, 40) AS g;
INSERT INTO lines (order_id) SELECT id FROM orders CROSS JOIN generate_series(1, 3);
INSERT INTO events
    SELECT nullif(g % 5, 0)::text, timestamptz '0044-03-15 BC' + g * interval '1.000001 s',
        interval '1 mon -3 days' * g, 0.1::float8 + g / 3.0, '\\x00ff'::bytea,
        row(g, '", ()\\')::pair, '[0:1]={1,NULL}'::int[], 'NaN'::numeric, 'infinity'::date,
        '{"a": "\\u00e9"}'::jsonb, '12.34'::money, 'a'
    FROM generate_series(1, 50) AS g;
INSERT INTO events SELECT '3' FROM generate_series(1, 2);
INSERT INTO parted SELECT md5(g::text)::uuid, 1 + g % 2, 'x' || g FROM generate_series(1, 40) AS g;
INSERT INTO names SELECT g, 0, 'r', g, 1, 2, 3, 4, 5 FROM generate_series(1, 30) AS g;
DELETE FROM fired;
"""
TABLES = {
    "orders": greenshard.Sharded("id"),
    "lines": greenshard.Sharded("order_id"),
    "events": greenshard.Sharded("k"),
    "parted": greenshard.Sharded("k"),
    "names": greenshard.Sharded("key"),
}
CONTENTS = {
    "orders": "SELECT * FROM orders",
    "lines": "SELECT * FROM lines",
    "events": "SELECT * FROM events",
    "parted": "SELECT * FROM parted",
    "names": "SELECT * FROM names",
    "fired": "SELECT * FROM fired",
    "triggers": "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal",
}


@pytest.fixture
def dsns(greenshard_shards):
    with greenshard_shards.databases() as one, greenshard_shards.databases() as other:
        found = {"s0": one["s0"], "s1": one["s1"], "s2": other["s0"]}
        for dsn in found.values():
            run(dsn, SCHEMA)
        yield found


def rows(dsns, table):
    """Of each shard what it has."""
    found = {}
    for name, dsn in dsns.items():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
            cur.execute("SET bytea_output = hex; SET extra_float_digits = 3")
            cur.execute(f"SELECT t.*::text FROM ({CONTENTS[table]}) AS t ORDER BY 1")
            found[name] = [text for (text,) in cur.fetchall()]
    return found


def everything(dsns):
    return {name: sorted(chain(*rows(dsns, name).values())) for name in CONTENTS}


def repair(dsns, tables=None, agree=lambda repairs: True, **options):
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        return checking.repair(conn, greenshard.Cluster(dsns, tables or TABLES), agree, **options)


def findings(dsns, tables=None):
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        report = checking.check(conn, greenshard.Cluster(dsns, tables or TABLES))
    return [(f.table, f.message) for f in report.findings]


def test_rows_are_moved_as_they_are(dsns):
    run(dsns["s0"], ROWS)
    before = everything(dsns)
    planned = []
    done = repair(dsns, agree=lambda repairs: planned.append(repairs.steps) or False)
    assert (done.done, everything(dsns)) == (False, before)
    assert {(each.table, each.source) for each in planned[0]} == {(t, "s0") for t in TABLES}
    done = repair(dsns)
    assert done.done
    assert [step.left for step in done.steps if step.left] == []
    assert all(s.inserted == s.deleted == s.rows > 0 for s in done.steps)
    assert everything(dsns) == before
    assert findings(dsns) == []
    assert all(len(rows(dsns, name)["s2"]) > 3 for name in TABLES)
    assert repair(dsns).steps == []


#: Repairs, and kills itself at the given commit of a batch: before the one on the target, between
#: the two, or after both.
DYING = """
import json, os, signal, sys
import greenshard
from greenshard import checking
from greenshard.checking import carrying, moving

dsns, tables, at, when = json.loads(sys.argv[1])
moving.BATCH_KEYS = 4
commits = 0
run, commit = carrying.Carrier.run, greenshard.Connection.commit

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying_run(self, shard, text, parameters=()):
    global commits
    commits += text == "COMMIT"
    here = text == "COMMIT" and commits == at
    if here and when == "before":
        die()
    done = run(self, shard, text, parameters)
    if here and when == "between":
        die()
    return done

def dying_commit(self):
    commit(self)
    if commits == at:
        die()

carrying.Carrier.run, greenshard.Connection.commit = dying_run, dying_commit
tables = {name: greenshard.Sharded(key) for name, key in tables.items()}
conn = greenshard.connect(dsns)
checking.repair(conn, greenshard.Cluster(dsns, tables), lambda repairs: True)
"""
KEYS = {name: table.column for name, table in TABLES.items()}


def die(dsns, at, when, keys=KEYS):
    """A repair that dies."""
    arguments = json.dumps([dsns, keys, at, when])
    done = subprocess.run(
        [sys.executable, "-c", DYING, arguments], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + 30
    while True:  # the servers notice soon
        with contextlib.closing(greenshard.connect(dsns)) as conn:
            cur = conn.cursor()
            cur.execute("SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                        " AND datname = current_database()")  # fmt: skip
            if not sum(count for (count,) in cur.fetchall()):
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_a_repair_that_is_killed_is_finished_by_the_next_one(dsns, when):
    run(dsns["s0"], ROWS)
    before = everything(dsns)
    doubled = set()
    for at in (1, 4, 8) if when == "between" else (3,):
        die(dsns, at, when)
        now = everything(dsns)
        doubled |= {name for name, found in now.items() if len(found) > len(before[name])}
        # Nothing is ever lost.
        assert all(set(found) <= set(now[name]) for name, found in before.items())
    assert doubled & {"events", "lines"} == ({"events", "lines"} if when == "between" else set())
    repair(dsns)
    assert everything(dsns) == before
    assert findings(dsns) == []
    assert repair(dsns).steps == []


def test_what_an_interrupted_repair_has_left_is_not_guessed_at(dsns):
    """A row without a key is on two shards, and then changed on one: which one is right?"""
    run(dsns["s0"], ROWS)
    die(dsns, 1, "between", {"events": "k"})
    before = everything(dsns)
    run(dsns["s0"], "UPDATE events SET a = '{7}' WHERE a IS NOT NULL")
    with pytest.raises(greenshard.ProgrammingError, match="20 of them were changed") as told:
        repair(dsns)
    assert told.value.code == "GS111"
    assert "greenshard.moving with xid" in told.value.hint
    assert len(everything(dsns)["events"]) == len(before["events"])


CONFLICTS = """
INSERT INTO orders SELECT g, g::text FROM generate_series(1, 12) AS g;
INSERT INTO lines (order_id) SELECT id FROM orders;
INSERT INTO parted SELECT md5(g::text)::uuid, 1, 'x' FROM generate_series(1, 20) AS g;
"""


def home(key):
    return Hash().shards_for(key, "int4", ("s0", "s1", "s2"))


def test_rows_that_are_there_already_are_left_alone_or_deleted(dsns):
    there = [key for key in range(1, 13) if home(key) != "s0"]
    equal, other, unique = there[:3]
    run(dsns["s0"], CONFLICTS)
    for key, note in ((equal, str(equal)), (other, "other")):
        run(dsns[home(key)], f"INSERT INTO orders VALUES ({key}, '{note}')")
    beside = next(key for key in range(100, 200) if home(key) == home(unique))
    run(dsns[home(unique)], f"INSERT INTO orders VALUES ({beside}, '{unique}')")
    for dsn in (dsns["s1"], dsns["s2"]):
        run(dsn, CONFLICTS.splitlines()[-1].replace("'x'", "'y'").replace("20", "4"))
    done = repair(dsns)
    left = {}
    for step in done.steps:
        for why, count in step.left.items():
            left.setdefault(step.table, []).append((why.replace("s2", "s1"), count))
    stay = [key for key in range(1, 13) if home(key) == "s0"]
    on_s0 = {int(text.split(",")[0][1:]) for text in rows(dsns, "orders")["s0"]}
    # Parents and children stay together, or go together.
    assert on_s0 == {*stay, other, unique}
    assert left["orders"] == left["lines"]
    assert ("s1 has another row with that key", 1) in left["orders"]
    assert len(left["orders"]) == 2
    assert any('unique constraint "orders_note_key"' in why for why, _ in left["orders"])
    assert sum(step.deleted - step.inserted for step in done.steps if step.table == "orders") == 1
    assert len(rows(dsns, "lines")["s0"]) == len(on_s0)
    # Without children each row counts for itself.
    assert {why[2:] for why, _ in left["parted"]} == {" has another row with that key"}


def test_what_cannot_be_moved_is_told_and_left_alone(dsns):
    run(dsns["s0"], CONFLICTS)
    wrong = [key for key in range(1, 13) if home(key) != "s0"]
    # A trigger needs the table's owner; a row that stays must not be deleted by a cascade.
    run(
        dsns["s0"],
        "CREATE TABLE stays (id int REFERENCES orders ON DELETE CASCADE)",
        f"INSERT INTO stays VALUES ({wrong[0]})",
        "CREATE RULE ruled AS ON DELETE TO parted DO ALSO DELETE FROM fired",
    )
    done = repair(dsns)
    assert done.skipped == {"parted": "it has the rule ruled on s0, which rewrites what is done"}
    why = "rows of stays reference them and stay on s0"
    left = {step.table: step.left for step in done.steps if step.left}
    assert left == {"orders": {why: 1}, "lines": {why: 1}}
    assert len(rows(dsns, "orders")["s0"]) == 12 - len(wrong) + 1
    run(dsns["s0"], "DROP TABLE stays")
    with contextlib.closing(psycopg2.connect(dsns["s0"])) as conn:
        conn.cursor().execute("UPDATE orders SET note = note")  # and holds what it has locked
        done = repair(dsns)
    assert all("due to lock timeout" in why for step in done.steps for why in step.left)
    assert sum(step.deleted for step in done.steps) == 0
    with contextlib.closing(greenshard.connect(dsns)) as other:
        alone(other)
        with pytest.raises(greenshard.ProgrammingError, match="another repair is under way"):
            repair(dsns)


def test_what_a_row_with_another_key_references_stays_with_it(dsns):
    notes = "CREATE TABLE notes (id int PRIMARY KEY, about int REFERENCES orders ON DELETE CASCADE)"
    for dsn in dsns.values():
        run(dsn, notes)
    run(dsns["s0"], CONFLICTS)
    stays = next(key for key in range(1, 99) if home(key) == "s0")
    moves = next(key for key in range(1, 13) if home(key) != "s0")
    run(dsns["s0"], f"INSERT INTO notes VALUES ({stays}, {moves})")
    tables = {name: TABLES[name] for name in ("orders", "lines")}
    done = repair(dsns, {**tables, "notes": greenshard.Sharded("id")})
    left = {"rows of notes reference them and stay on s0": 1}
    found = {step.table: step.left for step in done.steps if step.left}
    assert found == {"orders": left, "lines": left}
    run(dsns["s0"], f"UPDATE notes SET about = NULL WHERE id = {stays}")  # it is still there
    assert sum(step.deleted for step in repair(dsns).steps if step.table == "orders") == 1


def test_a_role_that_may_not_is_told_so(dsns):
    run(dsns["s0"], CONFLICTS)
    for name, dsn in dsns.items():
        made = "" if name == "s2" else "DROP ROLE IF EXISTS mover; CREATE ROLE mover LOGIN;"
        run(dsn, made + "GRANT ALL ON ALL TABLES IN SCHEMA public TO mover")
        run(dsn, "ALTER TABLE parted ENABLE ROW LEVEL SECURITY")
    try:
        mine = {n: psycopg2.extensions.make_dsn(dsn, user="mover") for n, dsn in dsns.items()}
        done = repair(mine)
        told = findings(mine, {"parted": TABLES["parted"]})
        found = {step.table: next(iter(step.left)) for step in done.steps}
    finally:
        for name, dsn in reversed(dsns.items()):
            run(dsn, "DROP OWNED BY mover", *([] if name == "s2" else ["DROP ROLE mover"]))
    # It may not disable the trigger, which would be fired by rows that are not new.
    assert found == dict.fromkeys(("orders", "lines"), "shard s0: must be owner of table orders")
    assert done.skipped == {
        "parted": "cannot be read: shard s0: query would be affected by row-level security policy"
        ' for table "parted"'
    }
    assert "row-level security" in told[0][1]


REFERENCES = """
CREATE TABLE zones (id int PRIMARY KEY, name text UNIQUE);
CREATE TABLE places (id int PRIMARY KEY, zone int NOT NULL REFERENCES zones, x float8);
CREATE TABLE words (w text, n int, t int, bucket int);
CREATE TABLE homes (k int PRIMARY KEY, place int REFERENCES places ON DELETE CASCADE);
"""
RIGHT = """
INSERT INTO zones SELECT g, 'z' || g FROM generate_series(1, 30) AS g;
INSERT INTO places SELECT g, 1 + g % 30, g / 3.0 FROM generate_series(1, 3000) AS g;
INSERT INTO words SELECT 'é' || g % 7, g % 3, 0, g % 2 FROM generate_series(1, 60) AS g;
"""
OF_REFERENCES = {
    "zones": greenshard.Reference(),
    "places": greenshard.Reference(),
    "words": greenshard.Reference(),
}


def contents(dsn):
    found = []
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        for table in ("zones", "places", "words", "homes"):
            cur.execute(f"SELECT t.*::text FROM {table} AS t ORDER BY 1")
            found.append(cur.fetchall())
    return found


def test_copies_are_made_alike(dsns):
    for dsn in dsns.values():
        run(dsn, REFERENCES)
    run(dsns["s0"], RIGHT)
    run(dsns["s1"], RIGHT, """
        UPDATE places SET x = x + 1 WHERE id % 1000 = 0;
        DELETE FROM places WHERE id = 5;
        INSERT INTO zones VALUES (31, 'more');
        UPDATE places SET zone = 31 WHERE id = 7;
        INSERT INTO places VALUES (9999, 31, 0);
        UPDATE zones SET name = 'other' WHERE id = 4;
        DELETE FROM words WHERE ctid IN (SELECT min(ctid) FROM words GROUP BY w);
        INSERT INTO words VALUES ('new', 1), (NULL, 1);
        INSERT INTO homes SELECT g FROM generate_series(1, 5) AS g;
        UPDATE homes SET place = 8;
    """)  # fmt: skip
    right, wrong = contents(dsns["s0"]), contents(dsns["s1"])
    assert repair(dsns, OF_REFERENCES).steps == []
    planned = []
    repair(dsns, OF_REFERENCES, agree=lambda repairs: planned.extend(repairs.steps), source="s0")
    assert contents(dsns["s1"]) == wrong
    assert {(s.table, s.target): s.rows for s in planned} == {
        ("zones", "s1"): 2, ("places", "s1"): 6, ("words", "s1"): 9,
        ("zones", "s2"): 30, ("places", "s2"): 3000, ("words", "s2"): 60,
    }  # fmt: skip
    done = repair(dsns, OF_REFERENCES, source="s0")
    assert [s.left for s in done.steps] == [{}] * 6
    assert {(s.table, s.target): (s.inserted, s.updated, s.deleted) for s in done.steps} == {
        ("zones", "s1"): (0, 1, 1), ("places", "s1"): (1, 4, 1), ("words", "s1"): (7, 0, 2),
        ("zones", "s2"): (30, 0, 0), ("places", "s2"): (3000, 0, 0), ("words", "s2"): (60, 0, 0),
    }  # fmt: skip
    for shard in ("s0", "s1", "s2"):
        assert contents(dsns[shard])[:3] == right[:3]
    assert contents(dsns["s1"])[3] == wrong[3]
    # What is to be deleted is in the way of what is changed.
    run(
        dsns["s1"],
        "UPDATE zones SET name = 'other' WHERE id = 4",
        "INSERT INTO zones VALUES (31, 'z4')",
    )
    (done,) = repair(dsns, OF_REFERENCES, source="s0").steps
    assert (done.updated, done.deleted, done.left) == (1, 1, {})
    # Nothing is deleted by a cascade.
    run(
        dsns["s1"],
        "INSERT INTO places VALUES (9999, 1, 0)",
        "UPDATE homes SET place = 9999",
        "DELETE FROM words",
    )
    done = repair(dsns, OF_REFERENCES, source="s0").steps
    why = "rows of homes on s1 reference some that s0 does not have"
    assert {s.table: (s.left, s.deleted) for s in done} == {
        "places": ({why: 1}, 0),
        "words": ({}, 0),
    }
    assert len(contents(dsns["s1"])[3]) == 5
    assert contents(dsns["s1"])[2] == right[2]


def test_the_command_says_what_it_does_and_asks(dsns, tmp_path, monkeypatch):
    run(dsns["s0"], CONFLICTS, "DELETE FROM fired", "INSERT INTO fired VALUES ('x')")
    path = tmp_path / "cluster.toml"
    shards = "".join(f"{name} = {json.dumps(dsn)}\n" for name, dsn in dsns.items())
    declared = "".join(f"{name} = {{ shard_key = {key!r} }}\n" for name, key in KEYS.items())
    path.write_text(f"[shards]\n{shards}[tables]\n{declared}fired = {{ reference = true }}\n")

    def command(*options, typed=None):
        return CliRunner().invoke(main, ["check", str(path), *options], input=typed)

    refused = command("--repair")
    assert (refused.exit_code, "--yes" in refused.stderr) == (2, True)
    assert command("--yes").exit_code == 2
    assert "there is no shard s9" in command("--repair", "--yes", "--from", "s9").stderr
    assert "no declared table x" in command("--repair", "--yes", "--table", "x").stderr
    monkeypatch.setattr(RepairOptions, "check", lambda *_: None)  # a terminal
    asked = command("--repair", typed="n\n")
    assert (asked.exit_code, "nothing was changed" in asked.stderr) == (1, True)
    moved = [key for key in range(1, 13) if home(key) == "s1"]
    assert f"  orders: move {len(moved)} rows from s0 to s1\n" in asked.stderr
    done = command("--repair", "--table", "orders", "--table", "lines", typed="y\n")
    assert f"orders: moved {len(moved)} rows from s0 to s1\n" in done.stdout
    assert "parted, shard s0: " in done.stdout
    assert done.exit_code == 1
    done = command("--repair", "--yes", "--json", "--from", "s0")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["ok"], report["findings"]) == (0, True, [])
    copied = [step for step in report["repairs"]["steps"] if step["what"] == "copy"]
    assert [(step["table"], step["target"], step["inserted"]) for step in copied] == [
        ("fired", "s1", 1), ("fired", "s2", 1),
    ]  # fmt: skip
    again = command("--repair", "--yes")
    assert again.stdout.startswith("Nothing to repair.\n\n")
    assert again.exit_code == 0


def test_keys_of_every_type_are_moved_by_every_placement(dsns):
    by_server, by_keys = {}, {}
    for number, (type_name, value) in enumerate(TYPES.items()):
        kind = "orders_id" if type_name == "positive" else type_name
        for dsn in dsns.values():
            if number == 0:
                run(dsn, "CREATE DOMAIN orders_id AS int CHECK (value > 0)")
            run(dsn, f"CREATE TABLE of_{number} (key {kind}, n int)")
        run(
            dsns["s0"],
            f"INSERT INTO of_{number} SELECT {value}, g FROM generate_series(1, 30) AS g",
            f"INSERT INTO of_{number} VALUES (NULL)",
        )
        by_server[f"of_{number}"] = greenshard.Sharded("key")
        by_keys[f"of_{number}"] = greenshard.Sharded(
            "key", Function(lambda key, shards: shards[sum(map(ord, str(key))) % 3])
        )
    for tables in (by_server, by_keys):
        done = repair(dsns, tables)
        assert [step.left for step in done.steps if step.left] == []
        assert findings(dsns, tables) == []
    unplaced = [step for step in repair(dsns, {"of_1": by_list()}).steps if not step.target]
    why = "the placement does not tell where they belong"
    assert sum(step.rows for step in unplaced) == 12  # up to 30, and NULL
    assert all(step.left == {why: step.rows} for step in unplaced)


def by_list():
    return greenshard.Sharded("key", List({-key: "s1" for key in range(1, 20)}))


def test_a_commit_holds_whatever_the_server_promises(dsns):
    name = psycopg2.extensions.parse_dsn(dsns["s0"])["dbname"]
    run(dsns["s0"], f"ALTER DATABASE {name} SET synchronous_commit = off")
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        carrier = Carrier(conn, "s1", "s0")
        table = Table(TableName("public", "orders"), "", "", "", False, {})
        table.at["s0"] = table.at["s1"] = Structure((), (), (), (), (), frozenset(), ())
        with carrier.holding([table]):
            for shard in ("s0", "s1"):
                assert carrier.rows(shard, "SHOW synchronous_commit") == [("on",)]
                # Nobody writes meanwhile, and everybody reads.
                run(dsns[shard], "SELECT count(*) FROM orders")
                with pytest.raises(psycopg2.errors.LockNotAvailable):
                    run(dsns[shard], "SET lock_timeout = 1", "INSERT INTO orders VALUES (9999)")
