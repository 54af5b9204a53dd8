"""``greenshard check`` over real shards that are not as declared."""

from __future__ import annotations

import contextlib
import json

import psycopg2
import pytest
from click.testing import CliRunner

import greenshard
from greenshard import checking
from greenshard.checking.initialised import NOT_INITIALISED
from greenshard.cli import main
from greenshard.cluster import (
    Cluster,
    Function,
    Hash,
    List,
    Range,
    Reference,
    Sharded,
    Single,
    Unknown,
)

TYPES = {
    "int2": "g::int2",
    "int4": "-g::int4",
    "int8": "g::int8 * 10000000000",
    "oid": "g::oid",
    "text": "'é' || g",
    "varchar(20)": "'n' || g",
    "char(9)": "'n' || g",
    "uuid": "md5(g::text)::uuid",
    "bytea": "decode(md5(g::text), 'hex')",
    "bool": "g % 2 = 0",
    "date": "date '2000-01-01' + g",
    "timestamp": "timestamp '1999-12-31' + g * interval '1 hour'",
    "timestamptz": "timestamptz '1999-12-31 UTC' + g * interval '1.5 minutes'",
    "positive": "g",
}


DIFFERENT = "the shards have as many rows, but different ones"


EMPTY = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN
        SELECT nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
END $$
"""


def check(conn, cluster, **options):
    """What is found, and noted beside that: none of these shards is initialised."""
    report = checking.check(conn, cluster, **options)
    report.notes = [note for note in report.notes if note != NOT_INITIALISED]
    return report


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        yield dsns


@pytest.fixture
def dsns(databases):
    """Two shards with an empty table ``orders`` and a filled one ``nation``."""
    run(
        databases,
        EMPTY,
        "CREATE SCHEMA public",
        "CREATE TABLE orders (id int8 NOT NULL, note text)",
        "CREATE TABLE nation (id int PRIMARY KEY, name text)",
        "INSERT INTO nation VALUES (1, 'Ägypten'), (2, NULL)",
    )
    return databases


@pytest.fixture
def check_it(dsns):
    """Checks a cluster of the shards."""

    def check_it(tables, placement=None, **options):
        with contextlib.closing(greenshard.connect(dsns)) as conn:
            return check(conn, Cluster(dsns, tables, placement), **options)

    return check_it


def run(dsns, *statements):
    for dsn in dsns.values():
        run_on(dsn, *statements)


def run_on(dsn, *statements):
    with contextlib.closing(psycopg2.connect(dsn)) as conn:
        conn.autocommit = True
        for statement in statements:
            conn.cursor().execute(statement)


def said(report):
    return [(finding.table, finding.shards, finding.message) for finding in report.findings]


def fill(dsns, table, column, values, placement=None):
    """Insert rows where they belong, by our own placement."""
    placement = placement or Hash()
    names = tuple(dsns)
    for name, dsn in dsns.items():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            for value, type_name in values:
                if placement.shards_for(value, type_name, names) == name:
                    cur.execute(f"INSERT INTO {table} ({column}) VALUES (%s)", (value,))


def test_a_cluster_as_declared_has_no_findings(dsns, check_it):
    fill(dsns, "orders", "id", [(key, "int8") for key in range(-50, 50)])
    report = check_it({"orders": Sharded("id"), "nation": Reference()})
    assert said(report) == []
    assert report.ok
    assert report.notes == []
    nation, orders = report.tables
    assert (nation.declared, nation.rows) == ("reference", {"s0": 2, "s1": 2})
    assert orders.declared == "sharded by id, hash with 256 slots"
    assert sum(orders.rows.values()) == 100
    assert all(server.startswith("PostgreSQL ") for server in report.servers.values())


def test_triggers_that_are_not_declared_are_told(dsns, check_it):
    counts = "BEGIN UPDATE nation SET name = name; RETURN NULL; END"
    run(
        dsns,
        f"CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS '{counts}'",
        "CREATE TRIGGER it AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION counts()",
        "CREATE TABLE late () INHERITS (orders)",
    )
    run_on(
        dsns["s1"],
        "CREATE TRIGGER other AFTER DELETE ON nation EXECUTE FUNCTION counts()",
    )
    tables = {"orders": Sharded("id"), "nation": Reference(), "late": Sharded("note")}
    report = check_it(tables, rows=False)
    told = (
        'writes are refused: it fires trigger "{}" of table {}, which may read or write other rows'
    )
    assert report.notes == [
        told.format("it", "orders"),
        f"{told.format('other', 'nation')} (on s1)",
    ]
    *apart, (table, shards, missing) = said(report)
    assert apart == [
        (one, ("s0", "s1"), f"{other} inherits from it, or it from that, and is declared otherwise")
        for one, other in (("late", "public.orders"), ("orders", "public.late"))
    ]
    assert (table, shards) == ("nation", ("s0",))
    assert missing.startswith("the trigger CREATE TRIGGER other")
    tables = {"orders": Sharded("id", triggers=("it",)), "nation": Reference(("other",))}
    report = check_it({**tables, "late": Sharded("id")}, rows=False)
    assert (said(report), report.notes) == ([("nation", ("s0",), missing)], [])


@pytest.mark.parametrize("slots", [256, 255, 3, 3000])
def test_rows_on_the_wrong_shard_are_found(dsns, check_it, slots):
    run(dsns, "INSERT INTO orders SELECT generate_series(1, 40)")
    placement = Hash(slots)
    report = check_it({"orders": Sharded("id")}, placement)
    names = tuple(dsns)
    for name, other in (("s0", "s1"), ("s1", "s0")):
        keys = [k for k in range(1, 41) if placement.shards_for(k, "int8", names) == other]
        (message,) = [m for _, shards, m in said(report) if shards == (name,)]
        told, _, example = message.partition(", for example id = ")
        assert told == f"{len(keys)} rows that belong on {other}"
        assert int(example.strip("'")) in keys
    assert report.tables[0].rows == {"s0": 40, "s1": 40}


def test_an_assignment_of_slots_is_checked(dsns, check_it):
    placement = Hash(6, {0: "s0", 1: "s0", 2: "s1", 3: "s0", 4: "s1", 5: "s1"})
    fill(dsns, "orders", "id", [(key, "int8") for key in range(100)], placement)
    assert said(check_it({"orders": Sharded("id")}, placement)) == []
    assert len(said(check_it({"orders": Sharded("id")}, Hash(6)))) == 2


def test_every_key_type_can_be_checked(dsns, check_it):
    """The rows are where PostgreSQL's partitions would have them, and then exchanged."""
    names = tuple(dsns)
    run(dsns, "CREATE DOMAIN positive AS int CHECK (value > 0)")
    for number, (type_name, value) in enumerate(TYPES.items()):
        run(
            dsns,
            f"CREATE TABLE parent_{number} (key {type_name}) PARTITION BY HASH (key)",
            f"CREATE TABLE of_{number} (key {type_name}, remainder int DEFAULT 0)",
            f"INSERT INTO of_{number} SELECT {value} FROM generate_series(1, 60) AS g",
            f"INSERT INTO of_{number} VALUES (NULL)",
            f"UPDATE of_{number} SET remainder = 1"
            f" WHERE satisfies_hash_partition('parent_{number}'::regclass, 2, 1, key)",
        )
    for remainder, dsn in enumerate(dsns.values()):
        for number in range(len(TYPES)):
            run_on(dsn, f"DELETE FROM of_{number} WHERE remainder <> {remainder}")
    by_server = {f"of_{number}": Sharded("key", Hash()) for number in range(len(TYPES))}
    by_keys = {f"of_{number}": Sharded("key", placed_here(base_of(type_name)))
               for number, type_name in enumerate(TYPES)}  # fmt: skip
    for tables in (by_server, by_keys):
        report = check_it(tables)
        assert said(report) == []
        assert all(sum(table.rows.values()) > 2 for table in report.tables)
        swapped = dict(zip(names, reversed(dsns.values()), strict=True))
        with contextlib.closing(greenshard.connect(swapped)) as conn:
            found = check(conn, Cluster(swapped, tables))
        assert {table for table, _, _ in said(found)} == set(tables)
        wrong = sum(int(m.split()[0]) for _, _, m in said(found))
        assert wrong == sum(sum(table.rows.values()) for table in report.tables)


def base_of(type_name):
    names = {"varchar(20)": "varchar", "char(9)": "bpchar", "positive": "int4"}
    return names.get(type_name, type_name)


def placed_here(type_name):
    return Function(lambda key, shards: Hash().shards_for(key, type_name, shards))


def test_null_keys_belong_to_remainder_zero(dsns, check_it):
    run(dsns, "ALTER TABLE orders ALTER id DROP NOT NULL", "INSERT INTO orders VALUES (NULL)")
    assert said(check_it({"orders": Sharded("id")})) == [
        ("orders", ("s1",), "1 row that belongs on s0, id is NULL")
    ]


def test_infinite_dates_are_checked(dsns, check_it):
    run(dsns, "CREATE TABLE days (day date)")
    for placement in (Hash(3000, {slot: f"s{slot * slot % 7 % 2}" for slot in range(3000)}),
                      Range([("2000-01-01", "s0")], "s1")):  # fmt: skip
        places = {day: placement.shards_for(day, "date", ("s0", "s1"))
                  for day in ("infinity", "-infinity")}  # fmt: skip
        for day, shard in places.items():
            run_on(dsns[shard], f"INSERT INTO days VALUES ('{day}')")
        report = check_it({"days": Sharded("day")}, placement, rows=isinstance(placement, Hash))
        assert [m for _, _, m in said(report) if "rows" in m or "row " in m] == []
        run(dsns, "TRUNCATE days")


def test_other_placements_are_checked_here(dsns, check_it):
    run(dsns, "CREATE TABLE homes (country text)")
    run_on(dsns["s0"], "INSERT INTO homes VALUES ('at'), ('de'), ('fr')")
    run_on(dsns["s1"], "INSERT INTO homes VALUES ('de'), ('nl'), ('nl')")
    tables = {"homes": Sharded("country")}
    listed = check_it(tables, List({"at": "s0", "de": "s0", "fr": "s1"}))
    assert said(listed) == [
        ("homes", ("s0",), "1 row that belongs on s1, for example country = 'fr'"),
        ("homes", ("s1",), "2 rows that the placement does not place, for example country = 'nl'"),
        ("homes", ("s1",), "1 row that belongs on s0, for example country = 'de'"),
    ]
    ranged = check_it(tables, Range([("e", "s0")], "s1"))
    assert said(ranged) == [
        ("homes", ("s0",), "1 row that belongs on s1, for example country = 'fr'"),
        ("homes", ("s1",), "1 row that belongs on s0, for example country = 'de'"),
    ]
    ruled = check_it(tables, Function(lambda key, shards: shards[key in ("de", "nl")]))
    assert said(ruled) == [
        ("homes", ("s0",), "1 row that belongs on s1, for example country = 'de'")
    ]


def test_rows_of_an_unknown_rule_are_not_checked_and_that_is_said(dsns, check_it):
    run(dsns, "INSERT INTO orders VALUES (1)")
    report = check_it({"orders": Sharded("id", Unknown()), "nation": Reference()})
    assert report.ok
    assert report.notes == ["orders: its rows are not checked, their rule is unknown"]
    assert report.tables[1].rows is None


def test_uuids_and_bytes_are_placed_by_value(dsns, check_it):
    key = "6d5a7a52-0c4e-4f5e-9d6b-0d6c7f1b2a33"
    run(dsns, "CREATE TABLE u (k uuid)", "CREATE TABLE b (k bytea)")
    run_on(dsns["s0"], f"INSERT INTO u VALUES ('{key}')", "INSERT INTO b VALUES ('\\x6162')")
    tables = {
        "u": Sharded("k", List({key: "s0"})),
        "b": Sharded("k", List({b"ab": "s0"})),
    }
    assert said(check_it(tables)) == []


def test_a_failing_placement_function_is_told(dsns, check_it):
    run(dsns, "INSERT INTO orders VALUES (1)")
    report = check_it({"orders": Sharded("id")}, Function(lambda key, shards: "s9"))
    ((table, _, message),) = said(report)
    assert table == "orders"
    assert message.startswith("cannot be read: the placement function")
    assert report.findings[0].check == "unchecked"


def test_keys_that_python_cannot_hold_are_told(dsns, check_it):
    run(dsns, "CREATE TABLE d (k date)", "INSERT INTO d VALUES ('0044-03-15 BC')")
    report = check_it({"d": Sharded("k", Function(lambda key, shards: "s0")),
                       "nation": Reference()})  # fmt: skip
    assert said(report) == [("d", (), "cannot be read: year -44 is out of range")]
    assert {table.table: table.rows for table in report.tables}["nation"] is not None


def test_reference_tables_that_differ_are_found(dsns, check_it):
    run_on(dsns["s1"], "UPDATE nation SET name = 'Aegypten' WHERE id = 1")
    assert said(check_it({"nation": Reference()})) == [
        ("nation", (), f"{DIFFERENT}: version 1 on s0; version 2 on s1")
    ]
    run_on(dsns["s1"], "DELETE FROM nation WHERE id = 1")
    assert said(check_it({"nation": Reference()})) == [
        ("nation", (), "the shards have different rows: 2 rows on s0; 1 row on s1")
    ]


def test_all_columns_are_compared_whatever_they_are_called(dsns, check_it):
    run(dsns, "CREATE TABLE odd (t int, x int)")
    for number, dsn in enumerate(dsns.values()):
        run_on(dsn, f"INSERT INTO odd VALUES (1, {number})")
    assert [message for _, _, message in said(check_it({"odd": Reference()}))] == [
        f"{DIFFERENT}: version 1 on s0; version 2 on s1"
    ]


def test_reference_tables_are_equal_in_any_order_and_under_any_setting(dsns, check_it):
    """The same rows, written in another order and shown in another way on one shard."""
    run(dsns, "CREATE TABLE r (at timestamptz, took interval, price money, data bytea, x float8)")
    rows = [
        f"('2020-01-0{day} 12:00+00', '1 mon {day} days', '{day}'::float8::numeric::money,"
        f" '\\x0{day}', {day}.1)"
        for day in range(1, 4)
    ]
    for dsn, values in zip(dsns.values(), (rows, rows[::-1]), strict=True):
        run_on(dsn, f"INSERT INTO r VALUES {', '.join(values)}")
    database = psycopg2.extensions.parse_dsn(dsns["s1"])["dbname"]
    for setting in ("timezone = 'Asia/Tokyo'", "intervalstyle = 'sql_standard'",
                    "bytea_output = 'escape'", "extra_float_digits = -5",
                    "datestyle = 'German'"):  # fmt: skip
        run_on(dsns["s1"], f"ALTER DATABASE {database} SET {setting}")
    assert [m for _, _, m in said(check_it({"r": Reference()}))] == [
        "the settings of TimeZone differ: 'Etc/UTC' on s0; 'Asia/Tokyo' on s1",
        "the settings of IntervalStyle differ: 'postgres' on s0; 'sql_standard' on s1",
    ]


def test_tables_that_are_missing_or_differ_are_found(dsns, check_it):
    run_on(
        dsns["s1"],
        "DROP TABLE nation",
        "ALTER TABLE orders ADD extra int",
        "ALTER TABLE orders ALTER note TYPE varchar(5)",
    )
    tables = {"orders": Sharded("id"), "nation": Reference(), "nowhere": Reference()}
    assert said(check_it(tables)) == [
        ("nowhere", (), "no shard has this table"),
        ("nation", ("s1",), "the table is missing"),
        ("orders", (), "column note differs: text on s0; character varying(5) on s1"),
        ("orders", (), "column extra differs: missing on s0; integer on s1"),
    ]


def test_who_may_see_what_is_compared(dsns, check_it):
    run(dsns, "CREATE VIEW seen AS SELECT id FROM orders", "CREATE VIEW kept AS SELECT 1 AS one")
    run_on(
        dsns["s1"],
        "CREATE OR REPLACE VIEW seen WITH (security_barrier) AS SELECT id FROM orders WHERE id > 0",
        "GRANT SELECT ON nation TO PUBLIC",
        "GRANT SELECT (note) ON orders TO PUBLIC",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON orders USING (id > 3)",
        "ALTER TABLE nation OWNER TO pg_monitor",
        "CREATE TABLE other (id int)",
        "CREATE VIEW alone AS SELECT 1 AS one",
    )
    both = "version 1 on s0; version 2 on s1"
    report = check_it({"orders": Sharded("id"), "nation": Reference()}, rows=False)
    assert said(report) == [
        ("nation", (), "the owners differ: postgres on s0; pg_monitor on s1"),
        ("nation", (), f"the grants differ: {both}"),
        ("orders", (), f"the grants of columns differ: {both}"),
        ("orders", (), f"the settings of row-level security differ: {both}"),
        ("orders", (), f"the policies differ: {both}"),
        ("seen", (), f"the view's options differ: {both}"),
        ("seen", (), f"the view's queries differ: {both}"),
    ]


def test_a_shard_keys_type_that_differs_does_not_stop_the_check_of_rows(dsns, check_it):
    run_on(dsns["s1"], "ALTER TABLE orders ALTER id TYPE int4")
    run(dsns, "INSERT INTO orders VALUES (1)")
    report = check_it({"orders": Sharded("id")})
    place = Hash().shards_for(1, "int4", ("s0", "s1"))
    other = {"s0": "s1", "s1": "s0"}[place]
    assert said(report) == [
        ("orders", (), "column id differs: bigint NOT NULL on s0; integer NOT NULL on s1"),
        ("orders", (other,), f"1 row that belongs on {place}, for example id = '1'"),
    ]


def test_a_shard_key_that_cannot_be_placed_is_found(dsns, check_it):
    run(dsns, "CREATE TYPE mood AS ENUM ('sad')", "CREATE TABLE moods (mood mood, price numeric)")
    tables = {"moods": Sharded("mood"), "orders": Sharded("key"), "nation": Reference()}
    (_, _, first), (_, shards, second) = said(check_it(tables))
    assert first.startswith("mood: keys of type mood cannot be hashed")
    assert (shards, second) == (("s0", "s1"), "there is no column key, the shard key")


def test_a_collation_that_is_not_deterministic_is_found(dsns, check_it):
    try:
        run(
            dsns,
            "CREATE COLLATION nocase (provider = icu, locale = 'und', deterministic = false)",
            "CREATE TABLE people (name text COLLATE nocase)",
        )
    except psycopg2.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL is built without ICU")
    ((_, _, message),) = said(check_it({"people": Sharded("name")}))
    assert message == "name has a collation under which texts that differ can be equal"


def test_columns_collations_are_compared(dsns, check_it):
    run_on(dsns["s1"], 'ALTER TABLE nation ALTER name TYPE text COLLATE "C"')
    assert said(check_it({"nation": Reference()})) == [
        ("nation", (), 'column name differs: text on s0; text COLLATE "C" on s1')
    ]


def test_odd_names_are_checked(dsns, check_it):
    run(
        dsns,
        'CREATE SCHEMA "user"',
        'CREATE TABLE "user"."Odd ""%s"" %" ("k%s""x" int)',
        'INSERT INTO "user"."Odd ""%s"" %" VALUES (1)',
        'CREATE TABLE "order" (id int)',
    )
    tables = {'"user"."Odd ""%s"" %"': Sharded('"k%s""x"'), '"order"': Reference()}
    report = check_it(tables)
    ((table, _, message),) = said(report)
    assert table == '"user"."Odd ""%s"" %"'.replace('"user"', "user")
    assert message.endswith("""for example k%s"x = '1'""")
    ruled = check_it({**tables, '"user"."Odd ""%s"" %"': Sharded('"k%s""x"', List({1: "s0"}))})
    assert [shards for _, shards, _ in said(ruled)] == [("s1",)]


def test_a_name_without_a_schema_stands_for_every_schema(dsns, check_it):
    run(
        dsns,
        "CREATE SCHEMA sales",
        "CREATE TABLE sales.nation (id int)",
        "CREATE SCHEMA other",
        "CREATE TABLE other.nation (id int)",
    )
    report = check_it({"nation": Reference(), "other.nation": Sharded("id")})
    assert [(t.table, t.declared) for t in report.tables] == [
        ("other.nation", "sharded by id, hash with 256 slots"),
        ("nation", "reference"),
        ("sales.nation", "reference"),
    ]


def test_a_partitioned_table_is_one_table(dsns, check_it):
    run(
        dsns,
        "CREATE TABLE parted (id int, year int) PARTITION BY LIST (year)",
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1)",
        "INSERT INTO parted SELECT 1, 1",
    )
    report = check_it({"parted": Sharded("id"), "orders": Sharded("id"), "nation": Reference()})
    assert len(report.findings) == 1
    assert report.notes == []


def test_a_partition_may_be_declared(dsns, check_it):
    run(
        dsns,
        "CREATE TABLE parts (id int8 NOT NULL, day date NOT NULL) PARTITION BY RANGE (day)",
        "CREATE TABLE part_a PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "CREATE TABLE part_b PARTITION OF parts DEFAULT",
    )
    tables = {name: Sharded("id") for name in ("orders", "parts", "part_a", "part_b")}
    assert said(check_it({**tables, "nation": Reference()})) == []
    told = said(check_it({**tables, "nation": Reference(), "part_c": Sharded("id")}))
    assert told == [("part_c", (), "no shard has this table")]


def test_undeclared_tables_are_noted(check_it):
    report = check_it({"nation": Reference()})
    assert (report.ok, report.notes) == (True, ["not declared: orders"])


def test_a_table_that_may_not_be_read_is_told_and_the_others_are_checked(dsns, request):
    run_on(dsns["s0"], "DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN")
    request.addfinalizer(lambda: run_on(dsns["s0"], "DROP OWNED BY reader", "DROP ROLE reader"))
    run_on(dsns["s0"], "GRANT USAGE ON SCHEMA public TO reader", "GRANT SELECT ON nation TO reader")
    only = {"s0": psycopg2.extensions.make_dsn(dsns["s0"], user="reader")}
    with contextlib.closing(greenshard.connect(only)) as conn:
        tables = {"orders": Sharded("id"), "nation": Reference()}
        report = check(conn, Cluster(only, tables))
    assert said(report) == [("orders", (), "cannot be read: permission denied for table orders")]
    assert report.tables[0].rows == {"s0": 2}


def test_nothing_is_left_behind(dsns, check_it):
    check_it({"orders": Sharded("id"), "nation": Reference()})
    for dsn in dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
            cur.execute("SELECT count(*) FROM pg_class WHERE relname = 'greenshard_key'")
            assert cur.fetchone() == (0,)


def test_rows_are_not_read_if_not_wanted(dsns, check_it):
    run(dsns, "INSERT INTO orders VALUES (1)")
    read = []
    tables = {"orders": Sharded("id"), "nation": Reference()}
    assert check_it(tables, rows=False, on_table=read.append).ok
    assert read == []
    check_it(tables, on_table=read.append)
    assert read == ["nation", "orders"]


def test_a_shard_that_dies_ends_the_check(dsns, greenshard_shards):
    with (
        contextlib.closing(greenshard.connect(dsns)) as conn,
        pytest.raises(greenshard.Error) as caught,
    ):
        check(
            conn,
            Cluster(dsns, {"nation": Reference(), "orders": Sharded("id")}),
            on_table=lambda table: greenshard_shards["s1"].kill(),
        )
    greenshard_shards.start()
    assert caught.value.shard == "s1"


# The command --------------------------------------------------------------------------------


@pytest.fixture
def command(dsns, tmp_path):
    """Runs ``greenshard check`` on a file that begins with the shards."""

    def command(text, *options):
        shards = "".join(f'{name} = "{dsn}"\n' for name, dsn in dsns.items())
        path = tmp_path / "cluster.toml"
        path.write_text(f"[shards]\n{shards}\n{text}")
        return CliRunner().invoke(main, ["check", str(path), *options])

    return command


TABLES = '[tables]\norders = { shard_key = "id" }\nnation = { reference = true }\n'


def test_command_says_that_all_is_well(command):
    result = command(TABLES)
    assert result.exit_code == 0, result.output
    assert "All is as declared." in result.stdout
    assert result.stderr == ""


def test_command_ends_with_1_if_something_is_found(dsns, command):
    run_on(dsns["s1"], "DELETE FROM nation")
    result = command(TABLES)
    assert result.exit_code == 1
    assert "nation: the shards have different rows: 2 rows on s0; 0 rows on s1" in result.stdout


def test_command_gives_json(dsns, command):
    run_on(dsns["s1"], "DROP TABLE orders")
    result = command(TABLES, "--json", "--no-rows")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["findings"] == [
        {"check": "tables", "message": "the table is missing", "table": "orders", "shards": ["s1"]}
    ]


def test_command_tells_every_mistake_of_the_declaration(command):
    result = command('[tables]\norders = { shard_key = "" }\nnation = {}\n')
    assert result.exit_code == 2
    assert "tables.orders.shard_key: is not the name of a column" in result.stderr
    assert "tables.nation: must have one of shard_key, on, and reference = true" in result.stderr


def test_command_finds_placement_functions_in_the_working_directory(command, tmp_path, monkeypatch):
    (tmp_path / "placement_of_this_test.py").write_text("def first(key, shards): return shards[0]")
    monkeypatch.chdir(tmp_path)
    result = command(f'{TABLES}\n[placement]\nmethod = "placement_of_this_test:first"\n')
    assert result.exit_code == 0, result.output


def test_command_ends_with_5_if_a_shard_cannot_be_reached(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text(f'[shards]\ns0 = "host={tmp_path} password=s3cr3t"\n')
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 5
    assert "s3cr3t" not in result.output


@pytest.mark.parametrize("at", [0, 2])
def test_shards_that_are_down_are_told_and_the_others_are_compared(dsns, tmp_path, at):
    run(dsns, "INSERT INTO orders SELECT generate_series(1, 30)")
    run_on(dsns["s1"], "DELETE FROM nation")
    shards = [*dsns.items()]
    shards.insert(at, ("down", f"host={tmp_path} password=s3cr3t"))
    path = tmp_path / "cluster.toml"
    lines = [f'{name} = "{dsn}"' for name, dsn in shards]
    path.write_text("\n".join(["[shards]", *lines, TABLES]))
    result = CliRunner().invoke(main, ["check", "--json", str(path)])
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"], report["unreached"]) == (5, False, ["down"])
    assert [*report["servers"]] == ["s0", "s1"]
    assert "s3cr3t" not in result.output
    first, *others = report["findings"]
    assert (first["check"], first["shards"]) == ("unchecked", ["down"])
    assert first["message"].startswith("cannot be reached: ")
    # Nothing is said of it that is not known, as that it lacks a table; rows may belong there.
    assert {(each["table"], each["check"]) for each in others} == {
        ("orders", "rows"),
        ("nation", "reference"),
    }
    assert any("belong on down" in each["message"] for each in others)


def test_command_ends_with_2_if_a_connection_string_cannot_be_read(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text('[shards]\ns0 = "nonsense s3cr3t"\n')
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 2
    assert "s3cr3t" not in result.output


def test_command_ends_with_2_without_a_file(tmp_path):
    result = CliRunner().invoke(main, ["check", str(tmp_path / "none.toml")])
    assert result.exit_code == 2
    assert "none.toml cannot be read" in result.stderr


TYPES_MADE = [
    ("TYPE mood AS ENUM", "('sad', 'happy')", "('happy', 'sad')", "enum {}"),
    ("TYPE mood AS ENUM", "('a')", "('a', 'it''s')", "enum {}"),
    ("TYPE pair AS", "(a integer, b date)", "(a integer, b text default)", "{}"),
    ("TYPE pair AS", '(a text COLLATE "C")', '(a text COLLATE "POSIX")', "{}"),
    (
        "DOMAIN few AS integer",
        "CHECK ((VALUE < 5))",
        "CHECK ((VALUE < 6))",
        "domain over integer {}",
    ),
    ("DOMAIN few AS", "integer", "bigint NOT NULL", "domain over {}"),
    ("TYPE span AS RANGE", "(subtype = date)", "(subtype = int4)", "range of {}"),
]


@pytest.mark.parametrize(("create", "first", "second", "shown"), TYPES_MADE)
def test_types_that_differ_are_found(dsns, check_it, create, first, second, shown):
    for dsn, definition in zip(dsns.values(), (first, second), strict=True):
        run_on(dsn, f"CREATE {create} {definition.replace(' default)', ')')}")
    one, other = (
        shown.format(definition.replace("COLLATE ", "").replace('"', ""))
        .replace("(subtype = date)", "date date_ops")
        .replace("(subtype = int4)", "integer int4_ops")
        for definition in (first, second)
    )
    name = create.split()[1]
    assert said(check_it({"orders": Sharded("id")})) == [
        (None, (), f"the type public.{name} differs: {one} on s0; {other} on s1")
    ]


@pytest.mark.parametrize("create", [f"{each[0]} {each[1]}" for each in TYPES_MADE])
def test_types_that_are_the_same_are_no_finding(dsns, check_it, create):
    # So that it has another OID on each shard.
    run_on(dsns["s0"], "CREATE TYPE before AS ENUM ()", "DROP TYPE before")
    run(dsns, f"CREATE {create}")
    assert said(check_it({"orders": Sharded("id")})) == []


def test_a_type_that_a_shard_lacks_is_found(dsns, check_it):
    run_on(dsns["s1"], "CREATE TYPE \"Mood %\" AS ENUM ('a')")
    assert said(check_it({"orders": Sharded("id")})) == [
        (None, ("s0",), 'the type public."Mood %" is not there')
    ]


def test_a_table_on_one_shard_is_looked_for_there(check_it, dsns):
    tables = {"orders": Sharded("id"), "nation": Reference(), "jobs": Single("s1")}
    assert said(check_it(tables)) == [("jobs", (), "no shard has this table")]
    run_on(dsns["s0"], "CREATE TABLE jobs (id serial, what text)")
    assert said(check_it(tables)) == [("jobs", ("s1",), "the table is missing")]
    run_on(
        dsns["s1"],
        "CREATE TABLE jobs (id serial PRIMARY KEY, at date)",
        "GRANT SELECT ON jobs TO PUBLIC",
        "INSERT INTO jobs (id) VALUES (1), (7)",
    )
    report = check_it(tables)
    # Its columns, constraints and rights are compared with nothing, its numbers with its sequence.
    assert [(each.check, each.table, each.shards) for each in report.findings] == [
        ("sequences", "jobs", ("s1",))
    ]
    assert "counted on s1, which has come to 0, and s1 has 7" in report.findings[0].message
    assert report.notes == [
        "jobs: s0 has a table of that name, too, of which nothing is read",
    ]
    (found,) = [each for each in report.tables if each.table == "jobs"]
    assert (found.declared, found.rows) == ("on s1 alone", {"s1": 2})
    run_on(dsns["s0"], "DROP TABLE jobs")
    run_on(dsns["s1"], "SELECT setval('jobs_id_seq', 7)")
    assert check_it(tables).ok
    assert not check_it(tables).notes
    run_on(dsns["s1"], "DROP TABLE jobs", "CREATE VIEW jobs AS SELECT 1 AS id")
    assert said(check_it(tables)) == [("jobs", ("s1",), "is a view, not a table")]
