"""What servers do beside a statement: as one server with all rows does it, or it is refused."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.compared import compared, insert

SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int, v int, note text);
CREATE TABLE u (k int, c int);
CREATE TABLE totals (id int PRIMARY KEY, n int);
CREATE TABLE r (code text PRIMARY KEY, n int DEFAULT random() * 1000, note text);

CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'UPDATE' AND NEW.c IS DISTINCT FROM OLD.c THEN NEW.note := 'changed'; END IF;
    -- copy the value, and update the stamp
    NEW.v = coalesce(NEW.v, NEW.c) + extract(year FROM date '0001-01-01')::int;
    NEW.note := substring(NEW.note FROM 1) || trim(both FROM ' x');
    RETURN NEW;
END $$;
CREATE FUNCTION moves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.k := NEW.k + 1; RETURN NEW; END $$;
CREATE FUNCTION moves_whole() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW := jsonb_populate_record(NEW, '{}'); RETURN NEW; END $$;
CREATE FUNCTION moves_other() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE other record; BEGIN other := ROW(1, 2, 3, 'x'::text); RETURN other; END $$;
CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE totals SET n = n + 1; RETURN NULL; END $$;
CREATE FUNCTION "Hid den"() RETURNS int LANGUAGE sql
    AS 'SELECT 1 FROM totals';
CREATE FUNCTION counts_inside() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM "Hid den"(); RETURN NULL; END $$;
CREATE FUNCTION reads() RETURNS int LANGUAGE sql STABLE AS 'SELECT count(*)::int FROM public.u';
CREATE FUNCTION reads_inside() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.v := Reads (); RETURN NEW; END $$;
CREATE FUNCTION sample() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.n := random() * 1000000; RETURN NEW; END $$;
CREATE FUNCTION doubles() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.n := NEW.n * 2; RETURN NEW; END $$;
CREATE FUNCTION sizes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.v := pg_relation_size('t'); RETURN NEW; END $$;
CREATE FUNCTION places() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.note := current_database(); RETURN NEW; END $$;
CREATE FUNCTION takes_number() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.c := nextval('numbers'); RETURN NEW; END $$;
CREATE SEQUENCE numbers;
CREATE FUNCTION locks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    LOCK t; RETURN NEW; END $$;
CREATE FUNCTION numbered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.n := TG_RELID::int8 % 1000000; RETURN NEW; END $$;
CREATE FUNCTION versioned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.note := version(); RETURN NEW; END $$;
CREATE FUNCTION timed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.note := ('n' || 'ow')::timestamptz; RETURN NEW; END $$;
CREATE FUNCTION timed_unseen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.at := NEW.note; RETURN NEW; END $$;
CREATE FUNCTION named() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.note := TG_TABLE_NAME || NEW.note; NEW.n := extract(year FROM NEW.at); RETURN NEW; END $$;
CREATE FUNCTION is_small(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 < 1000';
CREATE FUNCTION is_known(int) RETURNS bool LANGUAGE sql
    AS 'SELECT EXISTS (SELECT 1 FROM public.u WHERE k = $1) OR $1 >= 0';
CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';

CREATE FUNCTION sorted_out(int, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    IF $1 > 5 THEN RETURN upper($2) || to_char($1::numeric, '999D99'); END IF;
    IF $1 = 0 THEN RAISE EXCEPTION 'none'; END IF;
    RETURN (date '2020-01-01' + $1)::text || $2; END $$;
CREATE FUNCTION by_time(int) RETURNS bool LANGUAGE sql AS $$ SELECT now() > '2020-01-01' $$;
CREATE FUNCTION by_today(int) RETURNS bool LANGUAGE sql
    AS $$ SELECT 'today'::date > '2020-01-01' $$;
CREATE FUNCTION by_chance(int) RETURNS bool LANGUAGE sql AS $$ SELECT random() < $1 $$;
CREATE FUNCTION by_setting(int) RETURNS text LANGUAGE sql
    AS $$ SELECT current_setting('a.b', true) $$;
CREATE FUNCTION by_oid(int) RETURNS oid LANGUAGE sql AS $$ SELECT 'public.t'::regclass::oid $$;
CREATE FUNCTION by_user(int) RETURNS text LANGUAGE sql AS $$ SELECT CURRENT_USER::text $$;
CREATE FUNCTION by_types(int) RETURNS text LANGUAGE sql AS $$ SELECT $1::text $$;
CREATE FUNCTION by_types(text) RETURNS text LANGUAGE sql AS $$ SELECT code FROM public.r $$;
CREATE FUNCTION by_another(int) RETURNS int LANGUAGE sql AS $$ SELECT reads() $$;
CREATE FUNCTION by_comment(int) RETURNS int LANGUAGE sql AS $$ -- what's this
    SELECT k FROM public.u $$;
CREATE TABLE given (id int, n int, u uuid DEFAULT gen_random_uuid());
CREATE DOMAIN small AS int CHECK (is_small(VALUE));
CREATE DOMAIN known AS int CHECK (is_known(VALUE));
CREATE FUNCTION casts() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE x known; BEGIN x := NEW.c; RETURN NEW; END $$;
CREATE TABLE plain (
    k int PRIMARY KEY CHECK (k < 1000 AND is_small(k)), id serial, at timestamptz DEFAULT now(),
    v small, w int GENERATED ALWAYS AS (twice(k)) STORED, x uuid DEFAULT gen_random_uuid());
CREATE INDEX ON plain (twice(v));
CREATE TABLE defaulted (k int PRIMARY KEY, n int DEFAULT reads(), m int);
CREATE TABLE unkeyed (k int, n int DEFAULT reads());
CREATE TABLE checked (k int PRIMARY KEY, n int CHECK (is_known(n)));
CREATE TABLE of_domain (k int PRIMARY KEY, n int, m known[]);
CREATE TABLE indexed (k int PRIMARY KEY, n int);
CREATE FUNCTION late(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 0';
CREATE INDEX ON indexed (late(n));
CREATE OR REPLACE FUNCTION late(int) RETURNS int STABLE LANGUAGE sql
    AS 'SELECT $1 + count(*)::int FROM public.u';
CREATE TABLE ruled (k int PRIMARY KEY, n int);
CREATE RULE also AS ON UPDATE TO ruled DO ALSO UPDATE totals SET n = n + 1;
CREATE TABLE made (v int PRIMARY KEY, w int, k int GENERATED ALWAYS AS (v % 7) STORED);
CREATE TABLE identified (k int GENERATED BY DEFAULT AS IDENTITY, v int);

CREATE TABLE boss (id int PRIMARY KEY, name text, old int UNIQUE);
CREATE TABLE staff (
    k int PRIMARY KEY, boss int REFERENCES boss ON DELETE SET NULL, v int);
CREATE TABLE moved (k int REFERENCES boss ON DELETE SET NULL ON UPDATE CASCADE, v int);
CREATE TABLE follows (
    k int PRIMARY KEY, old int REFERENCES boss (old) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE of_two (k int, id int, PRIMARY KEY (k, id));
CREATE TABLE by_two (k int, id int, FOREIGN KEY (k, id) REFERENCES of_two ON UPDATE CASCADE);
CREATE TABLE head (k int PRIMARY KEY, v int);
CREATE TABLE lines (k int REFERENCES head ON DELETE CASCADE ON UPDATE CASCADE, n int);
CREATE TABLE copies (code int PRIMARY KEY, k int REFERENCES head ON DELETE CASCADE);
CREATE TABLE top (k int PRIMARY KEY, v int);
CREATE TABLE below (k int PRIMARY KEY REFERENCES top ON DELETE CASCADE, v int);
CREATE TABLE parts (k int, v int) PARTITION BY RANGE (v);
CREATE TABLE part_0 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE part_1 PARTITION OF parts DEFAULT;
CREATE TABLE upper (k int, v int);
CREATE TABLE lower (extra int) INHERITS (upper);
CREATE TABLE upper_2 (k int, v int);
CREATE TABLE lower_2 (extra int) INHERITS (upper_2);

INSERT INTO r VALUES ('a', 1), ('b', 2);
INSERT INTO totals VALUES (1, 0);
INSERT INTO boss VALUES (1, 'x', 1), (2, 'y', 2);
"""
#: Triggers, each on a table like t, the events that fire it, and whether that is refused.
TRIGGERS = {
    "stamped": ("BEFORE INSERT OR UPDATE", "stamp", ""),
    "sparing": ("BEFORE UPDATE", "suppress_redundant_updates_trigger", ""),
    "moved_by": ("BEFORE INSERT", "moves", "i"),
    "moved_whole": ("BEFORE INSERT OR UPDATE", "moves_whole", "iu"),
    "moved_other": ("BEFORE UPDATE", "moves_other", "u"),
    "counted": ("AFTER INSERT OR DELETE", "counts", "id"),
    "counted_c": ("AFTER UPDATE OF c", "counts", "u"),
    "counted_note": ("AFTER UPDATE OF note", "counts", ""),
    "counted_inside": ("AFTER DELETE", "counts_inside", "d"),
    "read_inside": ("BEFORE INSERT", "reads_inside", "i"),
    "cast_inside": ("BEFORE UPDATE", "casts", "u"),
    "declared": ("AFTER INSERT OR UPDATE OR DELETE", "counts", ""),
    "disabled": ("AFTER INSERT OR UPDATE OR DELETE", "counts", ""),
    # It fires where session_replication_role says so.
    "replicated": ("AFTER INSERT OR UPDATE OR DELETE", "counts", "iud"),
    "sized": ("BEFORE INSERT", "sizes", "i"),
    "placed": ("BEFORE UPDATE", "places", "u"),
    "locked": ("AFTER DELETE", "locks", "d"),
    "of_version": ("BEFORE INSERT", "versioned", ""),
    "counting": ("BEFORE INSERT", "takes_number", "i"),
}
#: Of reference tables, and whether it is harmless.
OF_COPIES = {
    "numbered": False, "versioned": False, "timed": False, "timed_unseen": False, "places": False,
    "named": True,
}  # fmt: skip
MORE = (
    """
CREATE TABLE sampled (code text PRIMARY KEY, n int);
CREATE TRIGGER it BEFORE INSERT ON sampled FOR EACH ROW EXECUTE FUNCTION sample();
CREATE TABLE doubled (code text PRIMARY KEY, n int);
CREATE TRIGGER it BEFORE INSERT ON doubled FOR EACH ROW EXECUTE FUNCTION doubles();
"""
    + "".join(
        f"CREATE TABLE r_{name} (id int PRIMARY KEY, n int, note text, at timestamptz);"
        f"CREATE TRIGGER it BEFORE INSERT ON r_{name} FOR EACH ROW EXECUTE FUNCTION {name}();"
        for name in OF_COPIES
    )
    + """
ALTER TABLE disabled DISABLE TRIGGER it;
ALTER TABLE replicated ENABLE REPLICA TRIGGER it;
CREATE TRIGGER it AFTER DELETE ON below FOR EACH ROW EXECUTE FUNCTION counts();
CREATE TABLE guarded (k int PRIMARY KEY, n int);
CREATE TRIGGER it AFTER UPDATE ON guarded FOR EACH ROW EXECUTE FUNCTION counts();
CREATE TRIGGER emptied AFTER TRUNCATE ON below EXECUTE FUNCTION counts();
CREATE TRIGGER it AFTER INSERT ON part_1 FOR EACH ROW EXECUTE FUNCTION counts();
"""
)
TABLES = {
    **dict.fromkeys(
        [
            "t", "u", "plain", "defaulted", "unkeyed", "checked", "of_domain", "indexed", "ruled",
            "made", "identified", "guarded", "staff", "moved", "follows", "head", "lines", "top",
            "below", "of_two", "by_two", "parts", "upper", "upper_2", *TRIGGERS,
        ],
        greenshard.Sharded("k"),
    ),
    **dict.fromkeys(
        ["totals", "r", "given", "boss", "copies", "sampled", "doubled", "lower",
         *map("r_{}".format, OF_COPIES)],
        greenshard.Reference(),
    ),
    "declared": greenshard.Sharded("k", triggers=("it",)),
    "lower_2": greenshard.Sharded("v"),
}  # fmt: skip

#: What goes on to work, in one transaction.
WORKING = [
    "INSERT INTO plain (k, v) VALUES (1, 5)",
    "UPDATE plain SET v = v + 1",
    "UPDATE plain SET at = DEFAULT WHERE k = 1",
    "INSERT INTO guarded VALUES (3, 1) ON CONFLICT (k) DO NOTHING",
    "SELECT k, v, w FROM plain ORDER BY k",
    "DELETE FROM plain WHERE k = 1",
    "INSERT INTO defaulted VALUES (1, 2, 3)",
    "UPDATE defaulted SET m = 4",
    "UPDATE of_domain SET n = 3",
    "DELETE FROM checked",
    "INSERT INTO ruled VALUES (1, 1)",
    "DELETE FROM ruled",
    "UPDATE made SET w = 3",
    "INSERT INTO identified VALUES (1, 1)",
    "INSERT INTO staff VALUES (1, 1, 1)",
    "INSERT INTO staff VALUES (2, 2, 1)",
    "UPDATE boss SET name = 'z' WHERE id = 1",
    "UPDATE boss SET old = 17 WHERE id = 2",
    "SELECT k, boss FROM staff ORDER BY 1",
    "INSERT INTO lines VALUES (NULL, 1)",
    "UPDATE head SET v = 1",
    "UPDATE top SET v = 1",
    "UPDATE below SET v = 1",
    "INSERT INTO doubled VALUES ('a', 4)",
    "SELECT n FROM doubled",
    "UPDATE r SET n = 1",
    "SELECT k FROM ONLY upper",
    "SELECT k FROM parts",
    "INSERT INTO of_two VALUES (2, 1), (3, 1)",
    "INSERT INTO by_two VALUES (2, 1), (3, 1)",
    "UPDATE of_two SET id = 9 WHERE k = 2 AND id = 1",
    "SELECT k, id FROM by_two",
    "TRUNCATE lines",
    "SELECT k, sorted_out(k, note) FROM t WHERE is_small(c)",
    "SELECT sorted_out(3, 'x'), is_small(3)",
    "SELECT cardinality(array_agg(DISTINCT coalesce(is_small(c)))) FROM t",
    "UPDATE r SET note = sorted_out(n, 'x')",
    "UPDATE t SET note = sorted_out(k, 'x') WHERE is_small(k)",
]
#: What is refused, with its code.
REFUSED = [
    ("INSERT INTO defaulted (k) VALUES (1)", "GS415"),
    ("INSERT INTO defaulted VALUES (1, DEFAULT)", "GS415"),
    ("INSERT INTO defaulted VALUES (1)", "GS415"),
    ("INSERT INTO unkeyed DEFAULT VALUES", "GS415"),
    ("UPDATE defaulted SET n = DEFAULT WHERE k = 1", "GS415"),
    ("UPDATE defaulted SET (m, n) = (1, DEFAULT) WHERE k = 1", "GS415"),
    ("INSERT INTO checked VALUES (1, 1)", "GS415"),
    ("UPDATE checked SET n = 1", "GS415"),
    ("INSERT INTO of_domain VALUES (1, 1, '{1}')", "GS415"),
    ("UPDATE of_domain SET m = '{1}'", "GS415"),
    ("SELECT c::known FROM t", "GS410"),
    ("SELECT '{1}'::known[]", "GS410"),
    ("INSERT INTO indexed VALUES (1, 1)", "GS415"),
    ("UPDATE indexed SET n = 2", "GS415"),
    ("UPDATE ruled SET n = 2", "GS415"),
    ("UPDATE made SET v = 3", "GS412"),
    ("DELETE FROM boss WHERE id = 1", "GS415"),
    ("UPDATE boss SET id = 3 WHERE id = 2", "GS415"),
    ("DELETE FROM head WHERE k = 1", "GS415"),
    ("DELETE FROM top", "GS415"),
    ("TRUNCATE below", "GS415"),
    ("TRUNCATE top CASCADE", "GS415"),
    ("INSERT INTO parts VALUES (1, 20)", "GS415"),
    ("UPDATE parts SET v = 20", "GS415"),
    ("INSERT INTO sampled VALUES ('a', 1)", "GS415"),
    *(
        (f"SELECT {name}(k) FROM t", "GS410")
        for name in (
            "by_time",
            "by_today",
            "by_types",
            "by_another",
            "by_comment",
        )
    ),
    ("SELECT count(*) FROM upper", "GS409"),
    ("SELECT * FROM lower", "GS409"),
    ("INSERT INTO lower VALUES (1, 2, 3)", "GS409"),
    ("SELECT count(*) FROM upper_2", "GS409"),
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    triggers = [
        f"CREATE TABLE {name} (LIKE t INCLUDING ALL);"
        f"CREATE TRIGGER it {events} ON {name} FOR EACH ROW EXECUTE FUNCTION {function}();"
        for name, (events, function, _) in TRIGGERS.items()
    ]
    with compared(greenshard_shards, TABLES, SCHEMA + "".join(triggers) + MORE) as made:
        scripts = {n: f"INSERT INTO t VALUES ({n}, {n} % 3, {n})" for n in range(1, 9)}
        insert(made, "int4", scripts)
        yield made


@pytest.fixture
def pair(databases):
    """The cluster and the one server, whose transactions end alike."""
    cluster, whole = databases
    with (
        contextlib.closing(greenshard.connect(cluster)) as conn,
        contextlib.closing(psycopg2.connect(whole)) as one,
    ):
        yield conn, one
        conn.rollback()


def answer(conn, text):
    cur = conn.cursor()
    cur.execute(text)
    return sorted(map(repr, cur.fetchall())) if cur.description else cur.rowcount


def test_ordinary_tables_work(pair):
    conn, one = pair
    for text in WORKING:
        assert (text, answer(conn, text)) == (text, answer(one, text))


def test_what_would_go_wrong_is_refused(pair):
    conn, one = pair
    for text, code in REFUSED:
        with contextlib.suppress(psycopg2.IntegrityError):
            answer(one, text)  # it means something
        one.rollback()
        with pytest.raises(greenshard.NotSupportedError) as caught:
            answer(conn, text)
        assert (text, caught.value.code, bool(caught.value.hint)) == (text, code, True)


def test_triggers_of_reference_tables(pair):
    conn, one = pair
    for name, harmless in OF_COPIES.items():
        text = f"INSERT INTO r_{name} VALUES (1, 1, '2020-01-01', '2020-01-01') RETURNING *"
        if harmless:
            assert (text, answer(conn, text)) == (text, answer(one, text))
            continue
        with pytest.raises(greenshard.NotSupportedError, match='trigger "it"') as caught:
            answer(conn, text)
        assert (caught.value.code, name in caught.value.hint) == ("GS415", True)


def test_triggers(pair):
    conn, one = pair
    for table, (_, _, refused) in TRIGGERS.items():
        for letter, text in {
            "i": f"INSERT INTO {table} VALUES (5, 1)",
            "u": f"UPDATE {table} SET c = 2 WHERE k = 5",
            "d": f"DELETE FROM {table} WHERE v > 1000",
        }.items():
            done = answer(one, text)
            if letter not in refused:
                found = answer(conn, text)
                assert (text, found) == (text, 0 if "i" in refused else done)
                continue
            with pytest.raises(greenshard.NotSupportedError, match='trigger "it"') as caught:
                answer(conn, text)
            assert (caught.value.code, table in caught.value.hint) == ("GS415", True)
        if not refused:
            text = f"TABLE {table}"
            assert (text, answer(conn, text)) == (text, answer(one, text))
