"""Views, grants and row-level security give over shards what they give on one PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import Counter

import psycopg2
import psycopg2.errors
import pytest
from psycopg2 import extras
from psycopg2.extensions import make_dsn

import greenshard
from greenshard.executor.strategies import filling
from tests.initialised import initialised
from tests.postgres.one_database import rights
from tests.postgres.one_database.rights import COLUMNS, PLACES, REFERENCE, ROWS, SHARDED

SEED = os.environ["GREENSHARD_SEED"]
VIEWS, STATEMENTS = 40, 500
TABLES = {
    **{name: greenshard.Sharded("id") for name in SHARDED},
    **{name: greenshard.Reference() for name in (*REFERENCE, "kept")},
    "guarded": greenshard.Sharded("id"),
}


def run_as_chief(dsns, text):
    for dsn in dsns:
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(text)


@pytest.fixture(scope="module")
def roles(greenshard_shards):
    """Names of roles: who owns the tables, who owns views, who asks; and a superuser."""
    tag = secrets.token_hex(3)
    roles = {name: f"gs_{name}_{tag}" for name in ("boss", "agent", "clerk", "chief")}
    with greenshard_shards.databases() as dsns:
        made = "; ".join(f"CREATE ROLE {role} LOGIN" for role in roles.values())
        run_as_chief(dsns.values(), f"{made}; ALTER ROLE {roles['chief']} SUPERUSER")
    yield roles
    with greenshard_shards.databases() as dsns:
        run_as_chief(dsns.values(), f"DROP ROLE {', '.join(roles.values())}")


class World:
    """A cluster, one database with the same rows, and their views."""

    def __init__(self, dsns, roles):
        self.single = dsns.pop(None)
        self.dsns, self.roles = dsns, roles
        self.cluster = initialised(greenshard.Cluster(dsns, TABLES), roles.values())
        with contextlib.closing(psycopg2.connect(self.single)) as conn:
            self.version = conn.server_version
        tables = {**SHARDED, **REFERENCE}
        for name, dsn in {**dsns, None: self.single}.items():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")
                cur.execute(f"SET ROLE {roles['boss']}")
                for table in [*REFERENCE, *SHARDED]:
                    cur.execute(f"CREATE TABLE {table} {COLUMNS}")
                    rows = PLACES if table in REFERENCE else ROWS
                    mine = [
                        r for r in rows if rows is PLACES or name in (None, self.shard_of(r[0]))
                    ]
                    extras.execute_values(cur, f"INSERT INTO {table} VALUES %s", mine)
                cur.execute("; ".join(text for text in tables.values() if text).format(**roles))

    def shard_of(self, key):
        return self.cluster.placement.shards_for(key, "int8", self.cluster.names)

    def add(self, text):
        run_as_chief([*self.dsns.values(), self.single], text.format(**self.roles))
        self.cluster = greenshard.Cluster(self.dsns, TABLES)  # which knows nothing yet


@pytest.fixture(scope="module")
def world(greenshard_shards, roles):
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"], None: second["s1"]}
        yield World(dsns, roles)


def outcome(connection, statement):
    """The rows, sorted, or the error's SQLSTATE; and our code if it is a refusal."""
    cur = connection.cursor()
    try:
        cur.execute(statement)
        return sorted(map(repr, cur.fetchall()))
    except psycopg2.Error as error:
        refused = isinstance(error, greenshard.NotSupportedError) and error.pgcode is None
        return ("refused", str(error)) if refused else error.pgcode
    finally:
        connection.rollback()


@contextlib.contextmanager
def acting(world, role, how):
    """A connection to the cluster and one to the single database, as a role."""
    name = world.roles[role]
    cluster, single = world.cluster, world.single
    if how == "login":
        cluster = greenshard.Cluster(
            {s: make_dsn(d, user=name) for s, d in world.dsns.items()}, TABLES
        )
        single = make_dsn(single, user=name)
    with (
        contextlib.closing(greenshard.connect(cluster)) as ours,
        contextlib.closing(psycopg2.connect(single)) as theirs,
    ):
        for connection in (ours, theirs):
            if how != "login":
                connection.cursor().execute(how.format(name))
            connection.commit()
        yield ours, theirs


WAYS = (
    ("clerk", "login"),
    ("clerk", "SET ROLE {}"),
    ("agent", "SET ROLE {}"),
    ("boss", "SET SESSION AUTHORIZATION {}"),
    ("clerk", "SET ROLE {}; SET row_security = off"),
    ("chief", "login"),
)


def is_skipped(theirs, statement, views):
    """Whether one PostgreSQL did not ask for rights that the statement needs.

    Where its plan shows that a join has no rows (a role without a policy reads nothing), it forgets
    the tables of a view in it that was not put in the view's place, and may then run what it would
    deny if the plan were another one. The shards ask.
    """
    plan = outcome(theirs, f"EXPLAIN {statement}")
    return any("One-Time Filter: false" in line for line in plan) and any(
        outcome(theirs, f"SELECT {chosen} FROM {view.name}") == "42501"
        for view in views
        for chosen in ("*", "count(*)")
    )


def test_random_views_and_roles(world):
    chance = rights.Chance(SEED, has_invokers=world.version >= 150000)
    for _ in range(VIEWS):
        chance.add_view()
    world.add("; ".join(view.ddl for view in chance.views))
    seen, strategies = Counter(), Counter()
    statements = [chance.statement() for _ in range(STATEMENTS)]
    for at, (role, how) in enumerate(WAYS):
        with acting(world, role, how) as (ours, theirs):
            for statement in statements[at :: len(WAYS)]:
                expected, got = outcome(theirs, statement), outcome(ours, statement)
                kind = got[0] if isinstance(got, tuple) else got if isinstance(got, str) else "rows"
                seen[kind] += 1
                strategies[ours.explain(statement).split()[1]] += 1
                if kind == "refused" or got == expected:
                    continue
                views = chance.needed_for(statement)
                if got == "42501" and is_skipped(theirs, statement, views):
                    seen["skipped"] += 1
                    continue
                ddl = "\n".join(view.ddl for view in views)
                assert got == expected, f"seed {SEED}, as {role} by {how}: {statement}\n{ddl}"
    assert seen["rows"] > STATEMENTS // 5, f"seed {SEED}"
    assert seen["42501"] > STATEMENTS // 20, f"seed {SEED}"
    assert seen["refused"] < STATEMENTS // 3, f"seed {SEED}"
    assert seen["skipped"] < STATEMENTS // 20, f"seed {SEED}"
    assert {"route", "reference", "concatenate", "merge", "combine", "gather"} <= {*strategies}


@pytest.fixture
def made(world):
    """Make something on all databases; gone after the test."""
    undoing = []

    def make(kind, name, text):
        world.add(f"CREATE {kind} {name} {text}")
        undoing.append(f"DROP {kind} {name} CASCADE")

    yield make
    for text in reversed(undoing):
        world.add(text)


def owned(make, name, query, owner, options=""):
    """A view of an owner that the clerk may read."""
    text = f"{options} AS {query}; ALTER VIEW {name} OWNER TO {{{owner}}}"
    make("VIEW", name, f"{text}; GRANT SELECT ON {name} TO {{clerk}}")


CROSSING = "SELECT customer, count(*) AS n FROM {} GROUP BY customer"


def test_a_view_shows_its_owners_rows(world, made):
    owned(made, "all_of_them", "SELECT id, customer FROM tenants", "boss")
    with acting(world, "clerk", "SET ROLE {}") as (ours, theirs):
        for connection in (ours, theirs):
            cur = connection.cursor()
            cur.execute(
                "SELECT count(*), cardinality(array_agg(DISTINCT coalesce(customer)))"
                " FROM all_of_them"
            )
            assert cur.fetchone() == (30, 5)


@pytest.mark.parametrize(
    ("table", "owner", "reason"),
    [
        ("tenants", "boss", "may see other rows of it, because of row-level security"),
        ("shut", "agent", "may not read it"),
    ],
)
def test_a_view_over_shards_is_refused_where_rights_differ(world, made, table, owner, reason):
    owned(made, "groups", CROSSING.format(table), owner)
    with acting(world, "clerk", "SET ROLE {}") as (ours, _):
        with pytest.raises(greenshard.NotSupportedError, match=reason) as caught:
            ours.cursor().execute("SELECT * FROM groups")
        assert caught.value.code == "GS410"
        assert f"view public.groups reads public.{table} as {world.roles[owner]}" in str(
            caught.value
        )
        assert ours.cursor().execute("SELECT 1") is None
    with acting(world, owner, "SET ROLE {}") as (ours, theirs):
        assert outcome(ours, "SELECT * FROM groups") == outcome(theirs, "SELECT * FROM groups")


def test_a_view_over_shards_that_is_not_granted_is_denied(world, made):
    made("VIEW", "groups", f"AS {CROSSING.format('open')}")
    with (
        acting(world, "clerk", "SET ROLE {}") as (ours, _),
        pytest.raises(psycopg2.errors.InsufficientPrivilege, match="for view groups"),
    ):
        ours.cursor().execute("SELECT * FROM groups")


def test_rights_that_one_postgresql_forgets_are_asked_for(world, made):
    owned(made, "sealed", "SELECT id FROM shut", "clerk", "WITH (security_barrier)")
    statement = "SELECT array_agg(DISTINCT a.customer + 1) FROM spot a JOIN sealed v ON v.id = a.id"
    with acting(world, "clerk", "SET ROLE {}") as (ours, theirs):
        assert outcome(theirs, "SELECT * FROM sealed") == "42501"
        assert outcome(theirs, statement) == ["(None,)"]
        assert outcome(ours, statement) == "42501"


def test_a_plan_is_right_for_whoever_runs_it(world, made):
    owned(made, "groups", CROSSING.format("tenants"), "boss")
    with contextlib.closing(greenshard.connect(world.cluster)) as conn:
        cur = conn.cursor()
        for role, refused in (("boss", False), ("clerk", True), ("boss", False)):
            cur.execute(f"SET ROLE {world.roles[role]}")
            with (
                pytest.raises(greenshard.NotSupportedError) if refused else contextlib.nullcontext()
            ):
                cur.execute("SELECT * FROM groups")
        conn.commit()
        assert conn.plan_stats["hits"] > 0


def test_conditions_do_not_reach_behind_a_security_barrier(world, made):
    # PostgreSQL tests a condition with fewer operators first, if it may.
    shown = "SELECT {} FROM open WHERE customer * 1 * 1 * 1 * 1 <> 3"
    owned(made, "behind", shown.format("id, customer"), "boss", "WITH (security_barrier)")
    groups = shown.format("customer, count(*) AS n") + " GROUP BY customer"
    owned(made, "groups", groups, "boss", "WITH (security_barrier)")
    pairs = "SELECT a.id, b.customer FROM open a, open b WHERE b.id = a.customer"
    pairs += " AND a.customer + b.customer <> 7"  # 3 and 4
    owned(made, "pairs", pairs, "boss", "WITH (security_barrier)")
    leaky = "100 / (behind.customer - 3) <> 0"
    with acting(world, "clerk", "SET ROLE {}") as (ours, theirs):
        for statement in (
            f"SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM behind WHERE {leaky}",
            "SELECT customer FROM groups WHERE 100 / (customer - 3) <> 0",
            "SELECT id FROM pairs WHERE 100 / (customer - 4) <> 0",
            f"SELECT a.id FROM behind a, behind WHERE behind.id = a.customer AND {leaky}",
        ):
            assert "gather" in ours.explain(statement)
            got = outcome(ours, statement)
            assert isinstance(got, list)
            assert got == outcome(theirs, statement)


def test_a_reference_view_shows_what_the_transaction_wrote(world, made):
    owned(made, "even", "SELECT id, tenant FROM spot WHERE id % 2 = 0", "boss")
    with contextlib.closing(greenshard.connect(world.cluster)) as conn:
        cur = conn.cursor()
        cur.execute("INSERT INTO spot VALUES (100, 1, 1, 'x')")
        cur.execute(f"SET ROLE {world.roles['clerk']}")
        cur.execute("SELECT count(DISTINCT v.id) FROM even v JOIN open a ON a.customer < v.id")
        assert cur.fetchone() == (5,)
        conn.rollback()


#: What the shards cannot make of their own rows, over a view whose query stands in its place.
GATHERED = "SELECT string_agg(DISTINCT text, ',' ORDER BY text) FROM told WHERE id IN ({}, {})"
TOLD = "SELECT id, customer::text AS text, CURRENT_DATE AS today FROM open"


def test_sessions_that_differ_are_not_asked_to_plan_a_view(world, made):
    owned(made, "told", TOLD, "boss")
    keys = {world.shard_of(row[0]): row[0] for row in ROWS}
    statement = GATHERED.format(keys["s0"], keys["s1"])
    with acting(world, "boss", "SET ROLE {}") as (ours, theirs):
        assert outcome(ours, statement) == outcome(theirs, statement)
        ours.on("s1").cursor().execute("SET search_path = pg_catalog")
        with pytest.raises(greenshard.NotSupportedError, match="in different places") as caught:
            ours.cursor().execute(statement)
        assert caught.value.code == "GS410"
        assert ours.on("s1").cursor().execute("SELECT 1") is None  # nothing was sent


def test_rights_are_not_asked_of_a_home_that_is_gone_and_not_needed(world, made):
    owned(made, "told", TOLD, "boss")
    keys = {world.shard_of(row[0]): row[0] for row in ROWS}
    statement = GATHERED.format(keys["s1"], keys["s2"])
    with acting(world, "boss", "SET ROLE {}") as (ours, theirs):
        ours.autocommit = True
        assert "gather" in ours.explain(statement)
        expected = outcome(theirs, statement)
        assert outcome(ours, statement) == expected
        cur = ours.on("s0").cursor()
        cur.execute("SELECT pg_backend_pid()")
        (pid,) = cur.fetchone()
        run_as_chief([world.dsns["s0"]], f"SELECT pg_terminate_backend({pid}, 5000)")
        with pytest.raises(greenshard.Error):
            ours.on("s0").cursor().execute("SELECT 1")
        for _ in range(2):
            cur = ours.cursor()
            cur.execute(statement)
            assert sorted(map(repr, cur.fetchall())) == expected


def test_a_view_that_chooses_is_another_one_each_time(world, made):
    owned(made, "dice", "SELECT id, random() AS r FROM open", "boss")
    with acting(world, "clerk", "SET ROLE {}") as (ours, _):
        cur = ours.cursor()
        cur.execute("SELECT count(*) FROM dice a JOIN dice b USING (r)")
        assert cur.fetchone() == (0,)


def test_who_may_not_make_temporary_tables_is_told(world, monkeypatch):
    monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 0)
    world.add("DO $$BEGIN EXECUTE pg_catalog.format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC',"
              " current_database()); END$$")  # fmt: skip
    with acting(world, "clerk", "SET ROLE {}") as (ours, _):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="temporary") as caught:
            ours.cursor().execute(
                "SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM open"
            )
        assert "GRANT TEMPORARY" in caught.value.hint


@pytest.mark.parametrize(
    ("condition", "local"),
    [
        ("EXISTS (SELECT FROM mine m WHERE m.id = guarded.id AND m.tenant = 'a')", True),
        ("EXISTS (SELECT FROM place p WHERE p.id = guarded.customer)", True),
        (
            "EXISTS (SELECT FROM mine m WHERE m.customer = guarded.customer AND m.tenant = 'a')",
            False,
        ),
        ("customer IN (SELECT id FROM mine)", False),
    ],
)
def test_a_policy_that_reads_rows_of_other_shards_is_refused(world, made, condition, local):
    made("TABLE", "guarded", f"{COLUMNS}; ALTER TABLE guarded OWNER TO {{boss}}")
    made("POLICY", "near ON guarded", f"FOR SELECT TO {{clerk}} USING ({condition})")
    owned(made, "watched", "SELECT * FROM guarded", "clerk")
    world.add("ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; GRANT SELECT ON guarded TO {clerk}")
    for name, dsn in {**world.dsns, None: world.single}.items():
        rows = [row for row in ROWS if name in (None, world.shard_of(row[0]))]
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            extras.execute_values(cur, "INSERT INTO guarded VALUES %s", rows)
    statements = [
        statement.format(source)
        for source in ("guarded", "watched")
        for statement in (
            "SELECT id FROM {} WHERE id = 3",
            "SELECT id FROM {}",
            "SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM {}",
        )
    ]
    for role, filtered in (("clerk", True), ("boss", False)):
        with acting(world, role, "SET ROLE {}") as (ours, theirs):
            for statement in statements[: None if filtered else 3]:
                got = outcome(ours, statement)
                if filtered and not local:
                    assert got[0] == "refused"
                    assert 'policy "near" on public.guarded cannot be applied' in got[1]
                else:
                    assert got == outcome(theirs, statement)


@pytest.mark.parametrize(
    ("condition", "refused"),
    [
        ("tenant = asked()", None),
        ("customer IN (SELECT seen())", 'policy "near" on public.guarded'),
        ("customer IN (SELECT id FROM kept)", 'policy "inner_one" on public.kept'),
        ("customer IN (SELECT id FROM unknown)", "unknown, which is not declared"),
    ],
)
def test_what_a_policy_calls_and_reads_counts_too(world, made, condition, refused):
    made("FUNCTION", "asked()", "RETURNS text STABLE LANGUAGE sql AS $$ SELECT 'a' $$")
    made(
        "FUNCTION", "seen()",
        "RETURNS SETOF bigint STABLE LANGUAGE sql AS 'SELECT id FROM public.mine'",
    )  # fmt: skip
    made("TABLE", "kept", "(id bigint)")
    made("POLICY", "inner_one ON kept", "USING (id IN (SELECT customer FROM mine))")
    made("TABLE", "unknown", "(id bigint)")
    made("TABLE", "guarded", COLUMNS)
    made("POLICY", "near ON guarded", f"TO {{clerk}} USING ({condition})")
    world.add(
        "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; ALTER TABLE kept ENABLE ROW LEVEL SECURITY;"
        "GRANT SELECT ON guarded, kept, unknown TO {clerk};"
    )
    with acting(world, "clerk", "SET ROLE {}") as (ours, theirs):
        for statement in ("SELECT count(*) FROM guarded", "SELECT id FROM guarded WHERE id = 3"):
            if refused is None:
                assert outcome(ours, statement) == outcome(theirs, statement)
                continue
            assert outcome(theirs, statement) != "42501"
            got = outcome(ours, statement)
            assert (got[0], refused in got[1]) == ("refused", True)


def test_named_cursors_ask_too(world, made):
    owned(made, "groups", CROSSING.format("tenants"), "boss")
    owned(made, "all_of_them", "SELECT id, customer FROM tenants", "boss")
    with acting(world, "clerk", "SET ROLE {}") as (ours, _):
        cur = ours.cursor("named")
        cur.execute("SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM all_of_them")
        assert cur.fetchall() == [(5,)]
        with pytest.raises(greenshard.NotSupportedError):
            ours.cursor("other").execute("SELECT * FROM groups")
    with acting(world, "boss", "SET ROLE {}") as (ours, _):
        cur = ours.cursor("named")
        cur.execute("SELECT n FROM groups WHERE customer = %s", (3,))
        assert cur.fetchall() == [(6,)]
        cur = ours.cursor()
        cur.execute(" ; SELECT n FROM groups WHERE customer = %s; -- %%", (3,))
        assert cur.fetchall() == [(6,)]


def test_a_view_that_tells_the_time_asks_for_rights(world, made):
    query = "SELECT id, customer, CURRENT_DATE AS today FROM {}"
    owned(made, "dated", query.format("tenants"), "boss")
    owned(made, "dated_open", query.format("open"), "boss")
    with acting(world, "clerk", "SET ROLE {}") as (ours, theirs):
        for statement in ("SELECT * FROM {}", "SELECT count(*) FROM {}"):
            with pytest.raises(greenshard.NotSupportedError, match="row-level security"):
                ours.cursor().execute(statement.format("dated"))
            got = outcome(ours, statement.format("dated_open"))
            assert got == outcome(theirs, statement.format("dated_open"))
        # One shard is one PostgreSQL.
        routed = "SELECT id, today FROM dated WHERE id = 5"
        assert outcome(ours, routed) == outcome(theirs, routed) != []


def test_partitions_and_only_are_read_with_the_rights_to_their_parent(world, made):
    made("TABLE", "guarded", "(id bigint, customer bigint) PARTITION BY HASH (id)")
    made("TABLE", "guarded_0", "PARTITION OF guarded FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    world.add("ALTER TABLE guarded OWNER TO {boss}; GRANT SELECT (id) ON guarded TO {clerk}")
    owned(made, "watched", "SELECT * FROM ONLY guarded", "boss")
    for statement, expected in (
        ("SELECT cardinality(array_agg(DISTINCT coalesce(id))) FROM guarded", ["(None,)"]),
        ("SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM guarded", "42501"),
        ("SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM watched", ["(None,)"]),
        (
            "SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM ONLY watched",
            ["(None,)"],
        ),
    ):
        with acting(world, "clerk", "SET ROLE {}") as (ours, theirs):
            assert outcome(theirs, statement) == expected
            assert outcome(ours, statement) == expected


def test_writes_ask_for_policies_that_need_other_shards(world, made):
    made("TABLE", "guarded", f"{COLUMNS}; ALTER TABLE guarded OWNER TO {{boss}}")
    made("POLICY", "near ON guarded", "TO {clerk} USING (customer IN (SELECT id FROM mine))")
    world.add("ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; GRANT ALL ON guarded TO {clerk}")
    insert = "INSERT INTO guarded VALUES (%s, 1, 1, 'a')"
    with acting(world, "clerk", "SET ROLE {}") as (ours, _):
        cur = ours.cursor()
        for call in (
            lambda: cur.execute("DELETE FROM guarded"),
            lambda: cur.execute(insert, (1,)),
            lambda: cur.executemany(insert, [(1,), (2,)]),
        ):
            with pytest.raises(greenshard.NotSupportedError, match='policy "near"'):
                call()
        ours.rollback()
    with acting(world, "boss", "SET ROLE {}") as (ours, _):
        ours.cursor().executemany(insert, [(1,), (2,)])
        ours.rollback()


@pytest.fixture
def drifted(world):
    """Make something on some shards only; what undoes it is run after the test."""
    undoing = []

    def drift(shards, text, undo=""):
        dsns = [world.dsns[shard] for shard in shards.split()]
        run_as_chief(dsns, text.format(**world.roles))
        undoing.append((dsns, undo.format(**world.roles)))

    yield drift
    for dsns, undo in undoing:
        run_as_chief(dsns, undo or "SELECT")


DATED = "SELECT id, customer, CURRENT_DATE AS today FROM {}"


@pytest.mark.parametrize(
    ("user", "table", "shards", "text", "undo", "reason"),
    [
        ("clerk", "mine", "s1", "ALTER VIEW groups OWNER TO {agent}", "", "denied for table mine"),
        (
            "clerk",
            "open",
            "s1",
            "ALTER TABLE open ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE open DISABLE ROW LEVEL SECURITY",
            "on shard s1, view public.groups reads public.open as .* may see other rows of it",
        ),
        ("clerk", "open", "s1 s2", "REVOKE SELECT ON groups FROM {clerk}", "", "denied for view"),
        (
            "clerk",
            "open",
            "s1 s2",
            "REVOKE SELECT ON open FROM {clerk}; GRANT SELECT (id) ON open TO {clerk}",
            "REVOKE SELECT (id) ON open FROM {clerk}; GRANT SELECT ON open TO {clerk}",
            "on shard s1, view public.groups reads public.open as .* may not read it",
        ),
        # Roles are a server's, and s0 and s2 are on one.
        (
            "agent",
            "tenants",
            "s0",
            "ALTER ROLE {agent} BYPASSRLS",
            "ALTER ROLE {agent} NOBYPASSRLS",
            "on shard s1, view public.groups reads public.tenants as .* may see other rows of it",
        ),
    ],
    ids=["owner", "row security", "grant", "column grant", "role"],
)
@pytest.mark.parametrize("query", [CROSSING, DATED], ids=["gathered", "scattered"])
def test_each_shard_is_asked_for_its_rights(
    world, made, drifted, user, table, shards, text, undo, reason, query
):
    owned(made, "groups", query.format(table), "boss")
    world.add("GRANT SELECT ON groups TO {agent}")
    with acting(world, user, "SET ROLE {}") as (ours, theirs):
        if user == "clerk":  # nothing differs yet
            expected = outcome(theirs, "SELECT * FROM groups")
            assert outcome(ours, "SELECT * FROM groups") == expected
            assert len(expected) > 4
        drifted(shards, text, undo)
        for name in (None, "named"):
            with pytest.raises(greenshard.Error, match=reason) as e:
                ours.cursor(name).execute("SELECT * FROM groups")
            assert e.value.pgcode == "42501" if "denied" in reason else e.value.code == "GS410"
            if "on shard" in reason:
                assert "greenshard check" in e.value.hint
            ours.rollback()


def test_shards_that_are_not_read_are_not_asked_for_rights(world, made, drifted):
    owned(made, "dated", DATED.format("open"), "boss")
    drifted("s1", "ALTER VIEW dated OWNER TO {agent}; REVOKE SELECT ON dated FROM {clerk}")
    keys = [key for key in range(1, 31) if world.shard_of(key) != "s1"]
    with acting(world, "clerk", "SET ROLE {}") as (ours, theirs):
        statement = f"SELECT count(*), max(id) FROM dated WHERE id = ANY (ARRAY{keys})"
        assert (
            outcome(ours, statement)
            == outcome(theirs, statement)
            == [f"({len(keys)}, {max(keys)})"]
        )
        assert outcome(ours, "SELECT count(*), max(id) FROM dated") == "42501"


def test_a_view_whose_rows_shards_make_shows_what_each_would_show(world, made, drifted):
    owned(made, "all_of_them", "SELECT id, customer FROM tenants", "boss")
    drifted("s1", "ALTER VIEW all_of_them OWNER TO {clerk}")
    expected = 0
    for dsn in world.dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
            cur.execute(f"SET ROLE {world.roles['clerk']}; SELECT count(*) FROM all_of_them")
            expected += cur.fetchone()[0]
    assert 10 < expected < 30
    with acting(world, "clerk", "SET ROLE {}") as (ours, _):
        cur = ours.cursor()
        for statement in (
            "SELECT count(*) FROM {}",
            "SELECT cardinality(array_agg(DISTINCT coalesce(id))) FROM {}",
        ):
            cur.execute(statement.format("all_of_them"))
            assert cur.fetchone() == (expected,)


def test_row_security_of_one_shard_applies_its_policies(world, made, drifted):
    made("TABLE", "guarded", f"{COLUMNS}; ALTER TABLE guarded OWNER TO {{boss}}")
    made("POLICY", "near ON guarded", "TO {clerk} USING (customer IN (SELECT id FROM mine))")
    world.add("GRANT SELECT ON guarded TO {clerk}")
    with acting(world, "clerk", "SET ROLE {}") as (ours, _):
        assert outcome(ours, "SELECT count(*) FROM guarded") == ["(0,)"]
        drifted("s1", "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY")
        for statement in (
            "SELECT count(*) FROM guarded",
            "SELECT cardinality(array_agg(DISTINCT coalesce(id))) FROM guarded",
        ):
            kind, said = outcome(ours, statement)
            assert kind == "refused"
            assert 'policy "near" on public.guarded cannot be applied' in said


def test_a_shard_that_denies_is_not_left_out_and_one_that_is_gone_is(world, made, drifted):
    owned(made, "dated", DATED.format("open"), "boss")
    here = [key for key in range(1, 31) if world.shard_of(key) != "s1"]
    gone = """GRANT SELECT ON dated TO {clerk}; SELECT pg_terminate_backend(pid)
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    for text, expected in (("REVOKE SELECT ON dated FROM {clerk}", None), (gone, here)):
        with contextlib.closing(greenshard.connect(world.cluster, on_error="partial")) as conn:
            conn.autocommit = True
            cur = conn.cursor()
            cur.execute(f"SET ROLE {world.roles['clerk']}")
            cur.execute("SELECT count(*) FROM open")
            drifted("s1", text)
            if expected is None:
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cur.execute("SELECT id FROM dated")
            else:
                with pytest.warns(greenshard.PartialResultWarning):
                    cur.execute("SELECT id FROM dated")
                assert sorted(cur.fetchall()) == [(key,) for key in expected]
                assert list(cur.failures) == ["s1"]


def test_rights_are_asked_for_where_no_rows_are_gathered(world):
    """PostgreSQL does not ask for what it plans to leave out; tables without rows are not that."""
    text = (
        "SELECT o.customer FROM (SELECT id, total FROM hidden ORDER BY total) h"
        " LEFT JOIN open o ON o.customer = h.id AND o.total > 1000"
        " WHERE EXISTS (SELECT FROM mine p WHERE p.total = o.id AND p.customer < h.total)"
    )
    with acting(world, "clerk", "SET ROLE {}") as (ours, theirs):
        assert ours.explain(text).startswith("strategy: gather")
        assert outcome(ours, text) == outcome(theirs, text) == "42501"


@pytest.mark.parametrize(
    "statement",
    [
        # `tenant` and `total` are names of tables here, and of columns that clerks may not read.
        "SELECT tenant.id FROM part AS tenant JOIN open ON open.id = tenant.customer",
        "SELECT total.customer FROM part AS total, mine WHERE mine.total < total.customer",
        "SELECT count(*) FROM part WHERE customer IN (SELECT tenant.total FROM open AS tenant)",
        """SELECT id FROM place WHERE EXISTS (SELECT FROM part JOIN open AS total
        ON part.customer = total.id WHERE part.customer = place.id)""",
        "SELECT tenant.total FROM part AS tenant JOIN open ON open.id = tenant.customer",
        # Who may read some columns only may not write a star, though nothing is read by it.
        "SELECT id FROM place WHERE EXISTS (SELECT * FROM part WHERE part.customer = place.id)",
        "SELECT id FROM place WHERE NOT EXISTS (SELECT part.* FROM part WHERE customer = place.id)",
        "SELECT id FROM place WHERE EXISTS (SELECT id FROM part WHERE part.customer = place.id)",
    ],
)
def test_columns_that_may_be_read_are_told_from_tables_of_their_names(world, statement):
    with acting(world, "clerk", "login") as (conn, single):
        assert outcome(conn, statement) == outcome(single, statement)
