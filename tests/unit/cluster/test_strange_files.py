"""Files that are no declaration, or one of a size that no cluster has: an error, soon."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from greenshard import errors
from greenshard.cluster import Cluster, Hash, List, Sharded
from greenshard.cluster.toml import MAX_BYTES, MAX_VALUES

SHARDS = '[shards]\ns0 = "dbname=a"\ns1 = "dbname=b"\n'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cluster.toml"


def told(path, code="GS106"):
    with pytest.raises(errors.ProgrammingError) as caught:
        Cluster.from_toml(path)
    assert caught.value.code == code
    return str(caught.value)


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Cluster.from_toml(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[shards]\ns0 = '\xff'", "is not TOML: 'utf-8' codec can't decode"),
        (b"\xff\xfe[\0s\0", "is not TOML: 'utf-8' codec can't decode"),
        (b"[shards]\ns0 = 'a\0b'", "is not TOML: Found invalid character"),
        (b"[shards]\ns0 = 'a'\ns0 = 'b'", "is not TOML: Cannot overwrite a value"),
        (b"[shards]\n[shards]", "is not TOML: Cannot declare"),
        (b"x = " + b"[" * 2000 + b"]" * 2000, "is nested too deeply"),
        (b"x = " + b"{ a = " * 2000 + b"1" + b" }" * 2000, "is nested too deeply"),
        (b".".join([b"a"] * 20_000) + b" = 1", "is nested too deeply"),
        (b"['a'" + b" . 'b'" * 20_000 + b"]", "is nested too deeply"),
        (b"x = " + b"9" * 5000, "is not TOML: Exceeds the limit"),
        (b"x = 1" + b" " * MAX_BYTES, "is larger than 16 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_declaration_is_told(path, content, why):
    path.write_bytes(content)
    assert why in told(path)


def test_a_directory_is_told(tmp_path):
    assert "cannot be read: Is a directory" in told(tmp_path)


def test_a_path_with_a_nul_is_told():
    assert told("a\0b").startswith("'a\\x00b' cannot be read")


def test_a_device_without_an_end_is_read_as_far_as_it_may_be_long():
    assert told("/dev/zero") == "/dev/zero is larger than 16 MB [GS106]"


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_told(path):
    path.write_text(SHARDS)
    path.chmod(0)
    assert "cannot be read: Permission denied" in told(path)


def test_a_pipe_that_no_one_writes_to_is_empty(path):
    os.mkfifo(path)
    assert "shards: must be a mapping of names, not nothing" in told(path, "GS105")


def test_a_pipe_of_the_shell_is_read():
    reading, writing = os.pipe()
    try:
        os.write(writing, SHARDS.encode())
        os.close(writing)
        assert Cluster.from_toml(f"/dev/fd/{reading}").names == ("s0", "s1")
    finally:
        os.close(reading)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_files_of_other_systems_are_read(path, bom, line_end):
    text = f'{SHARDS}[tables]\norders = {{ shard_key = "id" }}\n'.replace("\n", line_end)
    cluster = read(path, bom + text.encode())
    assert (cluster.names, cluster.tables) == (("s0", "s1"), {"orders": Sharded("id")})


@pytest.mark.parametrize(
    ("placement", "why"),
    [
        ('assignment = { s0 = ["0-99999999999"] }', 'must be a slot, or slots as in "0-127"'),
        ('assignment = { s0 = ["0-2147483646"] }', "there are no slots 0-2147483646"),
        ('slots = 2147483647\nassignment = { s0 = ["0-2147483646"] }',
         f"there are more than {MAX_VALUES:,} values"),
        ("slots = 100000\nassignment = { s0 = [" + "'0-99999', " * 1000 + "] }",
         f"there are more than {MAX_VALUES:,} values"),
        ("slots = 0x" + "f" * 100_000, "not a number of more than 64 bits"),
        ("slots = -1", "must be from 1 to 2147483647, not -1"),
        ('slots = -1\nassignment = { s0 = ["0-1"] }', "there are no slots 0-1"),
        ('slots = 2147483648\nassignment = { s0 = ["0-1"] }', "must be from 1 to 2147483647"),
        ("slots = 1e3", "must be a number, not float"),
        ("slots = nan", "must be a number, not float"),
        ("slots = 2\nassignment = { s0 = [0x" + "f" * 100_000 + "] }",
         "no slots from 0 to 1: a number of more than 64 bits"),
        ('slots = 2\nassignment = { s0 = ["' + "9" * 1_000_000 + '"] }', "must be a slot"),
        ('method = "list"\nvalues = { s0 = [0x' + "f" * 5_000 + "], s1 = [0x" + "f" * 5_000 + "]}",
         "a number of more than 64 bits is on shard s0 already"),
    ],
    ids=range(13),
)  # fmt: skip
def test_numbers_are_bounded_before_they_are_counted_through(path, placement, why):
    path.write_text(f"{SHARDS}[placement]\n{placement}")
    tracemalloc.start()
    try:
        message = told(path, "GS105")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert why in message
    assert len(message) < 1000
    assert peak < 200 * 2**20


def test_as_many_slots_as_may_be_assigned_are(path):
    text = f'[placement]\nslots = {MAX_VALUES}\nassignment = {{ s1 = ["0-{MAX_VALUES - 1}"] }}'
    placement = read(path, SHARDS + text).placement
    assert placement.shards_for(7, "int4", ("s0", "s1")) == "s1"


def test_a_thousand_mistakes_make_a_short_message(path):
    tables = "".join(f"t{number} = {{ shard_kee = 'id' }}\n" for number in range(1000))
    path.write_text(f"{SHARDS}[tables]\n{tables}{'k' * 100_000} = 1")
    message = told(path, "GS105")
    assert message.splitlines()[0].endswith("has 2001 mistakes:")
    assert message.splitlines()[-1] == "  and 1,901 more [GS105]"
    assert len(message) < 50_000


def test_many_unknown_shards_are_looked_up_one_by_one():
    shards = {f"s{number}": f"dbname=d{number}" for number in range(20_000)}
    placement = List({number: f"x{number}" for number in range(20_000)})
    with pytest.raises(errors.ProgrammingError, match="has 20000 mistakes"):
        Cluster(shards, {}, placement)


def test_a_number_that_python_cannot_write_is_told():
    with pytest.raises(errors.ProgrammingError, match="more than 64 bits"):
        Cluster({"s0": "dbname=a"}, {}, Hash(10**5000))


@pytest.mark.parametrize(
    ("name", "why"),
    [('"a\0b"', "holds a NUL character"), ('"a\udc00"', "holds half of a surrogate pair")],
)
def test_names_that_no_server_can_have_are_told(name, why):
    for tables in ({name: Sharded("id")}, {"orders": Sharded(name)}):
        with pytest.raises(errors.ProgrammingError, match=why):
            Cluster({"s0": "dbname=a"}, tables)
