from __future__ import annotations

from datetime import date

import pytest

from greenshard import errors
from greenshard.cluster import (
    Cluster,
    DeclaredFunction,
    Function,
    Hash,
    List,
    Range,
    Reference,
    Sharded,
    Single,
    Unknown,
)

SHARDS = '[shards]\ns0 = "dbname=a"\ns1 = "dbname=b"\n'

NO_SUCH = "no such setting; there are on, placement, reference, shard_key, triggers"

NO_FUNCTION = 'is not a function\'s name, as in "f", "sales.f" or "sales.f(integer, text)"'


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "cluster.toml"
        path.write_text(text, encoding="utf-8")
        return Cluster.from_toml(path)

    return read


def mistakes_of(read, text):
    with pytest.raises(errors.ProgrammingError, match=r"cluster\.toml has .*mistake") as caught:
        read(text)
    assert caught.value.code == "GS105"
    lines = str(caught.value).removesuffix(" [GS105]").splitlines()
    return [line.strip() for line in lines[1:]]


def test_a_whole_file_is_read(read):
    cluster = read("""
        [shards]
        s0 = "postgresql://app@db0/app"
        s1 = { primary = "postgresql://app@db1/app" }
        [tables]
        orders   = { shard_key = "o_orderkey" }
        lineitem = { shard_key = "l_orderkey", placement = { method = "unknown", name = "x" } }
        nation   = { reference = true }
        settings = { on = "s1", triggers = ["t"] }
        archive.orders = { shard_key = "Year" }
        "Sales.\\"Orders\\"" = { reference = true }
        [tables.other.nation]
        reference = true
        [placement]
        slots = 64
    """)
    assert cluster.names == ("s0", "s1")
    assert cluster.shards["s1"].primary == "postgresql://app@db1/app"
    assert cluster.tables == {
        "orders": Sharded("o_orderkey"),
        "lineitem": Sharded("l_orderkey", Unknown("x")),
        "nation": Reference(),
        "settings": Single("s1", ("t",)),
        "archive.orders": Sharded("Year"),
        'sales."Orders"': Reference(),
        "other.nation": Reference(),
    }
    assert cluster.placement == Hash(slots=64)


def test_functions_are_read_as_in_sql(read):
    cluster = read(f"""{SHARDS}
        [functions]
        Tax = {{ reads = "nothing" }}
        sales.stock = {{ reads = "shard" }}
        'sales."Of"(int, text[], mood, "char")' = {{ reads = "shard" }}
        "empty()" = {{ reads = "nothing" }}
    """)
    assert [(f.schema, f.name, f.arguments, f.reads) for f in cluster.functions] == [
        (None, "tax", None, "nothing"),
        ("sales", "stock", None, "shard"),
        ("sales", "Of", (("pg_catalog", "int4"), (None, "_text"), (None, "mood"), (None, "char")),
         "shard"),
        (None, "empty", (), "nothing"),
    ]  # fmt: skip
    given = {"tax": {"reads": "nothing"}}
    (tax,) = Cluster({"s0": "dbname=a"}, functions=given).functions
    assert tax == DeclaredFunction("tax", None, "tax", None, "nothing")


def test_shards_are_enough(read):
    cluster = read(SHARDS)
    assert (cluster.tables, cluster.placement) == ({}, Hash())


@pytest.mark.parametrize(
    ("text", "placement"),
    [
        ("", Hash()),
        ('method = "hash"', Hash()),
        ('slots = 4\nassignment = { s0 = [0, "2-3"], s1 = [1] }',
         Hash(4, {0: "s0", 1: "s1", 2: "s0", 3: "s0"})),
        ('method = "list"\nvalues = { s0 = ["de", "at"], s1 = ["fr"] }\ndefault = "s1"',
         List({"de": "s0", "at": "s0", "fr": "s1"}, "s1")),
        ('method = "range"\nranges = [{ below = 2020-01-01, shard = "s0" }]\ndefault = "s1"',
         Range([(date(2020, 1, 1), "s0")], "s1")),
        ('method = "unknown"', Unknown()),
        ('method = "unknown"\nname = "tenant"', Unknown("tenant")),
        ('method = "os.path:join"', Function("os.path:join")),
    ],
)  # fmt: skip
def test_placements_are_read(read, text, placement):
    assert read(f"{SHARDS}[placement]\n{text}").placement == placement


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("placement = 5", "placement: must be a table, not int"),
        ('placement.method = "hush"',
         "placement.method: must be one of hash, list, range, unknown, or package.module:function"),
        ("placement.method = 5",
         "placement.method: must be one of hash, list, range, unknown, or package.module:function"),
        ('placement = { method = "unknown", slots = 5 }',
         "placement.slots: no such setting; there are method, name"),
        ('placement = { method = "os.path:join", slots = 5 }',
         "placement.slots: no such setting; there are method"),
        ('placement.slots = "many"', "placement.slots: must be a number, not str"),
        ("placement = { slots = 2, assignment = [0] }",
         "placement.assignment: must be a table with a list of values for each shard"),
        ("placement = { slots = 2, assignment = { s0 = 0 } }",
         "placement.assignment.s0: must be a list, not int"),
        ('placement = { slots = 2, assignment = { s0 = ["1-0"] } }',
         "placement.assignment.s0: must be a slot, or slots as in \"0-127\", not '1-0'"),
        ('placement = { slots = 2, assignment = { s0 = ["१-२"] } }',
         "placement.assignment.s0: must be a slot, or slots as in \"0-127\", not '१-२'"),
        ('placement = { slots = 8, assignment = { s0 = ["0-7"], s1 = ["7-8"] } }',
         "placement.assignment.s1: there are no slots 7-8: the last one is 7"),
        ('placement = { slots = 2, assignment = { s0 = [0, 1], s1 = ["0-0"] } }',
         "placement.assignment.s1: 0 is on shard s0 already"),
        ('placement.method = "list"',
         "placement.values: must be a table with a list of values for each shard"),
        ('placement = { method = "list", values = { s0 = [[1]] } }',
         "placement.values.s0: must be a list of values, not of lists"),
        ('placement.method = "range"',
         'placement.ranges: must be a list of { below = ..., shard = "..." }'),
        ('placement = { method = "range", ranges = [{ below = 1 }] }',
         'placement."ranges[0]": must be { below = ..., shard = "..." }'),
        ("tables = 5", "tables: must be a table, not int"),
        ('tables.orders = "id"', "tables.orders: must be a table, not str"),
        ("tables.x = { on = 's0', reference = true }",
         "tables.x: must have one of shard_key, on, and reference = true"),
        ("tables.x = { on = 's0', placement = { slots = 4 } }",
         "tables.x.placement: a table on one shard has none"),
        ("tables.x = { on = ['s0'] }", "tables.x.on: must be the name of a shard, not list"),
        ("tables.x = { on = 's9' }", "tables.x.on: there is no shard s9"),
        ("tables.orders = {}",
         "tables.orders: must have one of shard_key, on, and reference = true"),
        ('tables.orders = { shard_key = "id", reference = true }',
         "tables.orders: must have one of shard_key, on, and reference = true"),
        ('tables.orders = { reference = "yes" }',
         "tables.orders.reference: must be true or false, not str"),
        ("tables.orders.shard_key = 5",
         "tables.orders.shard_key: must be the name of a column, not int"),
        ('tables.orders = { shard_key = "id", key = "id" }',
         f"tables.orders.key: {NO_SUCH}"),
        ('tables.orders = { shard_key = "id", triggers = "touch" }',
         "tables.orders.triggers: must be a list of names, not str"),
        ('tables.orders = { shard_key = "id", triggers = [1] }',
         "tables.orders.triggers: must be names of triggers"),
        ("tables.nation = { reference = true, placement = {} }",
         "tables.nation.placement: a reference table has none"),
        ('tables.orders = { shard_key = "id", placement = { slots = 1 } }',
         "tables.orders.placement.slots: 1 slots leave some of the 2 shards without any"),
        ("functions = 5", "functions: must be a mapping of names, not int"),
        ("functions.tax = 5",
         'functions.tax: must be { reads = "nothing" } or { reads = "shard" }'),
        ('functions.tax = { reads = "shards" }',
         "functions.tax.reads: must be one of nothing, shard, not 'shards'; did you mean 'shard'?"),
        ('functions.tax = { reads = "nothing", read = 1 }',
         "functions.tax.read: no such setting; there is reads"),
        ('functions."tax(" = { reads = "nothing" }',
         f'functions."tax(": {NO_FUNCTION}'),
        ('functions."f IS NULL; SELECT 1; COMMENT ON FUNCTION y" = { reads = "nothing" }',
         f'functions."f IS NULL; SELECT 1; COMMENT ON FUNCTION y": {NO_FUNCTION}'),
        ('functions = { tax = { reads = "shard" }, TAX = { reads = "shard" } }',
         "functions.TAX: is declared twice"),
        ('table.orders = { shard_key = "id" }',
         ("table: no such setting; there are coordinator, functions, placement, shards, tables, "
          "two_phase")),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(read, text, told):
    assert mistakes_of(read, f"{text}\n{SHARDS}") == [told]


def test_every_mistake_is_told_at_once(read):
    text = """
        [tables]
        orders = { shard_key = "" }
        nation = { references = true }
        sales.x = { reference = 1 }
        [placement]
        method = "list"
        values = { s0 = [1] }
    """
    assert mistakes_of(read, text) == [
        f"tables.nation.references: {NO_SUCH}",
        "tables.nation: must have one of shard_key, on, and reference = true",
        'tables."sales.x".reference: must be true or false, not int',
        "shards: must be a mapping of names, not nothing",
        "tables.orders.shard_key: is not the name of a column",
        "placement: there is no shard s0",
    ]


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(errors.ProgrammingError, match=r"no\.toml cannot be read: No") as caught:
        Cluster.from_toml(tmp_path / "no.toml")
    assert caught.value.code == "GS106"


@pytest.mark.parametrize("content", [b"[shards]\ns0 = password=s3cr3t", b"a = '\xff'"])
def test_a_file_that_is_not_toml_is_told_and_not_quoted(tmp_path, content):
    path = tmp_path / "cluster.toml"
    path.write_bytes(content)
    with pytest.raises(errors.ProgrammingError, match=r"cluster.toml is not TOML: ") as caught:
        Cluster.from_toml(path)
    assert caught.value.code == "GS106"
    assert "s3cr3t" not in str(caught.value)


def test_a_coordinator(read):
    assert read(SHARDS).coordinator is None
    assert read(f'{SHARDS}[coordinator]\ndsn = "dbname=c"').coordinator == "dbname=c"


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ('[coordinator]\nurl = "x"', "coordinator.url: no such setting; there are dsn"),
        ("[coordinator]", "coordinator.dsn: is missing"),
        ("[coordinator]\ndsn = 7", "coordinator: must be a connection string, not int"),
    ],
)
def test_mistakes_about_a_coordinator(read, written, mistake):
    assert mistake in mistakes_of(read, SHARDS + written)


def test_a_coordinator_that_is_no_table_of_settings(read):
    text = f'coordinator = "password=s3cr3t"\n{SHARDS}'
    assert mistakes_of(read, text) == ["coordinator: must be a table with a dsn, not Secret"]
