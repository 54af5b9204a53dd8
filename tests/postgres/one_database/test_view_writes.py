"""Writes to simple views do over shards what they do on one server; others are refused by name."""

from __future__ import annotations

import pytest

import greenshard
from tests.postgres.one_database import compared

SCHEMA = """
CREATE TABLE kind (id int PRIMARY KEY, name text, rank int DEFAULT 3, at timestamptz DEFAULT now());
CREATE TABLE account (id int PRIMARY KEY, name text DEFAULT 'none', balance int DEFAULT 5,
    at date DEFAULT '2020-01-01');
CREATE TABLE stamped (id int PRIMARY KEY, name text, at timestamptz DEFAULT now(), no serial);
CREATE TABLE ticket (id serial PRIMARY KEY, title text, state text DEFAULT 'new');
CREATE TABLE gone (account_id int PRIMARY KEY);
CREATE TABLE log (id int, line text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO log VALUES (1, ''x''); RETURN NEW; END';
CREATE VIEW rich AS SELECT name AS label, id AS no, balance AS money FROM account WHERE balance > 3;
CREATE VIEW richer WITH (security_barrier) AS
    SELECT money, no AS number FROM rich WHERE money > 10 WITH CASCADED CHECK OPTION;
CREATE VIEW doubled AS SELECT id, balance * 2 AS twice, balance FROM account;
CREATE VIEW stamps AS SELECT id, name, no FROM stamped;
CREATE VIEW unnumbered AS SELECT id, name FROM stamped;
CREATE VIEW tickets AS SELECT title, id FROM ticket;
CREATE VIEW titles AS SELECT title FROM ticket;
CREATE VIEW kinds (code, word, place) AS SELECT id, name, rank FROM kind WHERE rank < 9
    WITH CHECK OPTION;
CREATE VIEW keyless AS SELECT name, balance FROM account;
CREATE VIEW given AS SELECT id, name, balance FROM account;
CREATE VIEW timed AS SELECT id, name, at FROM stamped;
ALTER VIEW timed ALTER at SET DEFAULT now();
ALTER VIEW given ALTER name SET DEFAULT 'given', ALTER balance SET DEFAULT 7;
CREATE VIEW twice AS SELECT id, id AS again, name FROM account;
CREATE VIEW grouped AS SELECT name, count(*) AS n FROM account GROUP BY name;
CREATE VIEW over_grouped AS SELECT name, n FROM grouped;
CREATE VIEW summed AS SELECT sum(balance) AS s FROM account;
CREATE VIEW joined AS SELECT a.id, g.account_id FROM account a JOIN gone g ON g.account_id = a.id;
CREATE VIEW crossed AS SELECT a.id, a.name FROM account a, gone g WHERE g.account_id = a.id;
CREATE VIEW distinct_ones AS SELECT DISTINCT id, name FROM account;
CREATE VIEW few AS SELECT id, name FROM account LIMIT 3;
CREATE VIEW both_of AS SELECT id, name FROM account UNION ALL SELECT id, name FROM account;
CREATE VIEW with_ones AS WITH a AS (SELECT id, name FROM account) SELECT id, name FROM a;
CREATE VIEW today AS SELECT id, name FROM account WHERE at < CURRENT_DATE + 5;
CREATE VIEW open_ones AS SELECT id, name FROM account a
    WHERE NOT EXISTS (SELECT FROM gone g WHERE g.account_id = a.id);
CREATE VIEW odd_ones AS SELECT id, name FROM account a
    WHERE NOT EXISTS (SELECT FROM gone g WHERE g.account_id = a.balance);
CREATE VIEW mine AS SELECT id, name FROM kind WHERE name <> current_user;
CREATE VIEW fired AS SELECT id, name FROM account;
CREATE TRIGGER fires INSTEAD OF UPDATE ON fired FOR EACH ROW EXECUTE FUNCTION note();
CREATE VIEW above AS SELECT id, name FROM fired;
CREATE TABLE job (id int PRIMARY KEY, done bool);
CREATE VIEW jobs AS SELECT id, done FROM job;
CREATE VIEW ruled AS SELECT id, name FROM account;
CREATE RULE nothing AS ON DELETE TO ruled DO INSTEAD NOTHING;
INSERT INTO kind SELECT g, 'k' || g, g FROM generate_series(1, 12) g;
"""
TABLES = {
    "kind": greenshard.Reference(),
    "account": greenshard.Sharded("id"),
    "ticket": greenshard.Sharded("id"),
    "gone": greenshard.Sharded("account_id"),
    "log": greenshard.Sharded("id"),
    "job": greenshard.Single("s1"),
    "stamped": greenshard.Sharded("id"),
}
SHOWN = [
    "SELECT id, name, balance, at IS NULL FROM account ORDER BY id",
    "SELECT * FROM ticket ORDER BY id",
    "SELECT id, name, at IS NULL, no FROM stamped ORDER BY id",
    "SELECT id, name, rank, at IS NULL FROM kind ORDER BY id",
]
CASES = {
    "a sharded table": [
        "INSERT INTO rich (no, label) VALUES (1, 'a') RETURNING *",
        """INSERT INTO rich (label, no, money) VALUES ('b', 2, 9), (NULL, 3, 1), ('d', 4, 12)
           RETURNING no""",
        ("UPDATE rich SET label = %s WHERE no = %s RETURNING no, label, money", ("%", 2)),
        "UPDATE rich SET money = money + 1, no = no WHERE money > 5",
        "UPDATE rich r SET label = name FROM account WHERE id = no AND id < 3 RETURNING r.no",
        "UPDATE rich SET no = 4 WHERE no = 4",
        "UPDATE rich SET nothing = 4 WHERE no = 4",
        "DELETE FROM rich WHERE no = 2 RETURNING label",
        "DELETE FROM rich WHERE label IS NULL OR money > 12",
        "INSERT INTO rich (no) VALUES (1)",
        "INSERT INTO rich (label) VALUES ('a')",
        """INSERT INTO rich AS r (no, label) VALUES (1, 'x'), (8, 'y') ON CONFLICT (no)
           DO UPDATE SET label = r.label || excluded.label, no = excluded.no RETURNING no, label""",
        ("INSERT INTO rich VALUES (%s, %s, 7), (DEFAULT, 6 + 3, 7) RETURNING no", ("z", 10)),
        "INSERT INTO rich (label, no) SELECT name, id FROM account ON CONFLICT DO NOTHING",
        "SELECT * FROM rich ORDER BY no",
    ],
    "columns that it hides": [
        "INSERT INTO stamps VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3) RETURNING no, name || '!'",
        "INSERT INTO stamps SELECT id + 10, 'k', 7 FROM kind WHERE id < 5 RETURNING *",
        "INSERT INTO stamps VALUES (20, 'd', 1), (1, 'e', 1)",
    ],
    "columns that a view of copies hides": [
        "INSERT INTO kinds VALUES (20, 'x', 1), (21, NULL, 2) RETURNING code + 1 AS next, *",
        "INSERT INTO kinds VALUES (22, 'x', 1)",
        "INSERT INTO kinds VALUES (23, 'x', 1), (24, 'x', 12)",
        "INSERT INTO kinds (code, word) SELECT id + 40, name FROM kind WHERE id > 9 RETURNING code",
    ],
    "a view of a view": [
        "INSERT INTO richer VALUES (11, 1), (20, 2), (30, 3)",
        "INSERT INTO richer VALUES (4, 4)",
        "INSERT INTO richer VALUES (11, 5), (4, 6)",
        "UPDATE richer SET money = 1 WHERE number = 2",
        "UPDATE richer SET money = money + 1 WHERE number <> 2 RETURNING number",
        "DELETE FROM richer WHERE number = 3",
    ],
    "computed columns": [
        "INSERT INTO doubled (id, balance) VALUES (1, 2), (2, 3) RETURNING twice",
        "UPDATE doubled SET balance = 9 WHERE twice = 6 RETURNING *",
        "UPDATE doubled SET twice = 9 WHERE id = 1",
        "DELETE FROM doubled WHERE twice = 4",
    ],
    "numbers": [
        "INSERT INTO tickets (title) VALUES ('a'), ('b'), ('c') RETURNING id, title",
        "INSERT INTO tickets VALUES ('d') RETURNING id",
        "INSERT INTO tickets VALUES ('e', DEFAULT), ('f', 70) RETURNING id",
        "INSERT INTO stamps (id, name) VALUES (1, 'a') RETURNING no",
        "INSERT INTO stamps VALUES (2, 'b', DEFAULT) RETURNING *",
        "UPDATE titles SET title = 'x' WHERE title > 'b' RETURNING title",
        "INSERT INTO given (id) VALUES (1) RETURNING name",
        "INSERT INTO given (id, balance) VALUES (2, 1), (3, 1) RETURNING *",
    ],
    "defaults": [
        "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
        "INSERT INTO stamped (id, name, no) VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
        "UPDATE given SET balance = DEFAULT, name = DEFAULT WHERE id > 1 RETURNING *",
        "UPDATE doubled SET balance = DEFAULT WHERE id < 3",
        "UPDATE rich SET money = DEFAULT, label = DEFAULT RETURNING label, money",
        "UPDATE stamps SET name = DEFAULT WHERE id = 3",
        "UPDATE timed SET at = DEFAULT, name = DEFAULT",
        "SELECT count(DISTINCT at) FROM stamped",
    ],
    "a reference table": [
        "UPDATE kinds SET word = word || 'y' WHERE code < 4 RETURNING code, word",
        "UPDATE kinds SET place = 10 WHERE code = 3",
        "UPDATE kinds SET place = 8, code = 30 WHERE code = 3",
        "DELETE FROM kinds WHERE place = 2 OR code = 12",
    ],
    "without the key": [
        "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
        "UPDATE keyless SET balance = balance + 1 WHERE name <> 'b'",
        "DELETE FROM keyless WHERE name = 'c' RETURNING balance",
        "INSERT INTO gone VALUES (1)",
        "UPDATE open_ones SET name = 'open' RETURNING id",
        "UPDATE open_ones SET name = 'open' WHERE id = 1",
    ],
    "views that PostgreSQL cannot write to": [
        "UPDATE grouped SET n = 1",
        "DELETE FROM joined WHERE id = 1",
        "DELETE FROM crossed WHERE id = 1",
        "UPDATE distinct_ones SET name = 'x'",
        "UPDATE few SET name = 'x'",
        "UPDATE both_of SET name = 'x'",
        "UPDATE with_ones SET name = 'x'",
        ("INSERT INTO few VALUES (1, %s)", ("a",)),
        "UPDATE over_grouped SET n = 1",
        "DELETE FROM summed",
        "SELECT * FROM account",
    ],
}
REFUSED = {
    "INSERT INTO keyless VALUES ('a', 1)": "does not show id",
    "INSERT INTO titles VALUES ('a')": "does not show id",
    "INSERT INTO unnumbered VALUES (1, 'a')": "no of stamped, which the view does not show",
    "UPDATE twice SET again = 3 WHERE id = 1": "shows id, the shard key, twice",
    "UPDATE today SET name = 'x' WHERE id = 1": "tells the time",
    "UPDATE odd_ones SET name = 'x'": "need several shards at once",
    "UPDATE mine SET name = 'x'": "CURRENT_USER",
    "UPDATE fired SET name = 'x' WHERE id = 1": 'fired is written to, and has the trigger "fires"',
    "UPDATE above SET name = 'x' WHERE id = 1": 'fired is written to, and has the trigger "fires"',
    "UPDATE jobs SET done = true FROM account": "job is on s1 alone",
    "DELETE FROM ruled WHERE id = 1": 'the rule "nothing"',
    "UPDATE rich SET no = no + 1": "shard key no",
}


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared.compared(greenshard_shards, TABLES, SCHEMA) as found:
        yield found


@pytest.fixture
def both(databases):
    with compared.connected(databases) as found:
        yield found


@pytest.mark.parametrize("case", CASES)
def test_writes_are_those_of_one_server(both, databases, case):
    one, conn = both
    for statement in CASES[case]:
        assert compared.told(conn, statement) == compared.told(one, statement), statement
    for query in SHOWN:
        assert compared.told(conn, query) == compared.told(one, query)
    cluster = databases[0]
    places = {
        shard: key
        for shard in cluster.names
        for key in _keys(conn, shard)
        for placed in [cluster.placement.shards_for(key, "int4", cluster.names)]
        if placed != shard
    }
    assert not places


def test_what_a_view_hides_is_one_time_and_the_same_in_all_copies(databases):
    """Also where the shards' transactions have begun at other moments."""
    with compared.connected(databases) as (_, conn):
        cur = conn.cursor()
        for shard in conn.shards:
            with conn.on(shard):
                conn.cursor().execute("SELECT pg_sleep(0.01)")
        cur.execute("INSERT INTO stamps SELECT g, 'x', g FROM generate_series(1, 9) g")
        assert cur.statusmessage == "INSERT 0 9"
        cur.execute("INSERT INTO kinds VALUES (20, 'x', 1), (21, 'y', 2)")
        cur.execute("SELECT count(DISTINCT at), min(at) = now() FROM stamped")
        assert cur.fetchall() == [(1, True)]
        copies = []
        for shard in conn.shards:
            with conn.on(shard), conn.cursor() as here:
                here.execute("SELECT * FROM kind WHERE id > 19 ORDER BY id")
                copies.append(here.fetchall())
        assert copies[0] == copies[1]
        cur.execute("SELECT DISTINCT at = now() FROM kind WHERE id > 19")
        assert cur.fetchall() == [(True,)]


def _keys(conn, shard):
    with conn.on(shard), conn.cursor() as cur:
        cur.execute("SELECT id FROM account UNION SELECT id FROM ticket")
        return [key for (key,) in cur.fetchall()]


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_told_is_refused_by_name(both, text):
    _, conn = both
    with pytest.raises(greenshard.NotSupportedError, match=REFUSED[text]):
        conn.cursor().execute(text)


def test_one_key_is_one_shard(both):
    _, conn = both
    assert "route" in str(conn.explain("UPDATE rich SET label = 'x' WHERE no = 7"))
    assert "route" in str(conn.explain("DELETE FROM richer WHERE number = %s", (7,)))
    assert "shards: s1" in str(conn.explain("UPDATE jobs SET done = true"))
    assert "UPDATE rich" in str(conn.explain("UPDATE rich SET label = 'x'"))
