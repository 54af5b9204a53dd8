from __future__ import annotations

import struct

import pytest

from greenshard.merge.copied_lines import MISSING, UnreadableRow
from greenshard.merge.copied_rows import trims
from greenshard.merge.copied_tuples import SIGNATURE, TRAILER, Tuples

HEADER = SIGNATURE + bytes(8)


def row(*values):
    """A row in the binary format."""
    made = struct.pack(">h", len(values))
    for value in values:
        made += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return made


ROWS = [row(b"1", b"abc"), row(None, b""), row(b"3"), row()]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("trailer", [TRAILER, b""])
def test_rows_and_values_are_found_however_the_file_is_read(size, trailer):
    data = HEADER + b"".join(ROWS) + trailer
    tuples = Tuples(0)
    rows, values = [], []
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    for piece in [*pieces, b""]:
        made = tuples.cut(piece, last=not piece)
        rows += made[0]
        values += made[1]
    assert (tuples.header, rows, values) == (HEADER, ROWS, [b"1", None, b"3", MISSING])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PGCOPX",
        HEADER[:-1],
        HEADER + ROWS[0][:-1],
        HEADER + TRAILER + b"x",
        HEADER + struct.pack(">hi", 1, -2),
    ],
)
def test_what_is_not_in_the_format_is_refused(data):
    tuples = Tuples(0)
    with pytest.raises(UnreadableRow) as caught:
        tuples.cut(data, last=True)
    assert caught.value.refused


@pytest.mark.parametrize("rows", [[[], [], []], [[b"a"], [], [b"b", b"c"]], [[], [b"a"], []]])
def test_binary_rows_of_several_servers_become_one_file(rows):
    shards = ["s0", "s1", "s2"]
    made = b""
    for trim, own in zip(trims(shards, "binary", header=False).values(), rows, strict=True):
        messages = [row(each) for each in own] + [TRAILER]
        messages[0] = HEADER + messages[0]  # as a server sends it
        made += b"".join(trim([message]) for message in messages) + trim([])
    every = [row(each) for own in rows for each in own]
    assert made == HEADER + b"".join(every) + TRAILER
