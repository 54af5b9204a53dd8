from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.merge.copied_lines import (
    EMBEDDING,
    MISSING,
    Lines,
    UnreadableRow,
    Values,
    Writing,
    unescaped,
)

TEXT = Writing()
CSV = Writing(csv=True, delimiter=b",", null=b"")


def cut(writing, *pieces):
    """The rows of a file that comes in pieces."""
    lines = Lines(writing)
    cuts = [lines.cut(piece) for piece in pieces] + [lines.cut(b"", last=True)]
    return [row for each in cuts for row in each.rows]


def keys(writing, data, at, **options):
    lines = Lines(writing)
    values = Values(writing, **options)
    found = []
    for made in (lines.cut(data), lines.cut(b"", last=True)):
        raws = values.raw(made, at)
        found += [raw if raw is MISSING else values.read(raw)[0] for raw in raws]
    return found


@pytest.mark.parametrize(
    ("writing", "data", "rows"),
    [
        (TEXT, b"1\ta\n2\tb\n", [b"1\ta", b"2\tb"]),
        (TEXT, b"1\ta\n2\tb", [b"1\ta", b"2\tb"]),
        (TEXT, b"1\ta\\\nb\n2\tc\n", [b"1\ta\\\nb", b"2\tc"]),
        (TEXT, b"1\\\\\n2\n", [b"1\\\\", b"2"]),
        (TEXT, b"1\r\n2\r\n", [b"1", b"2"]),
        (TEXT, b"1\r2\r", [b"1", b"2"]),
        (TEXT, b"1\n\\.\n2\n", [b"1"]),
        (TEXT, b"\n\n", [b"", b""]),
        (TEXT, b"", []),
        (CSV, b'1,"a\nb"\n2,c\n', [b'1,"a\nb"', b"2,c"]),
        (CSV, b'1,a"\n"b\n2\n', [b'1,a"\n"b', b"2"]),
        (CSV, b'1,"a""\n"\n2\n', [b'1,"a""\n"', b"2"]),
        (CSV, b'1,"\r\n"\r\n2\r\n', [b'1,"\r\n"', b"2"]),
        (CSV, b"1\n\\.\n2\n", [b"1"]),
        (Writing(csv=True, delimiter=b",", ends_csv=False), b"1\n\\.\n2\n", [b"1", b"\\.", b"2"]),
        (Writing(csv=True, escape=b"!"), b'"a!"\n"\n2\n', [b'"a!"\n"', b"2"]),
        (Writing(embedding=EMBEDDING["SJIS"]), b"\x83\\\n2\n", [b"\x83\\", b"2"]),
        (Writing(embedding=EMBEDDING["GB18030"]), b"\x810\x810\n\x81\\\n",
         [b"\x810\x810", b"\x81\\"]),
    ],
)  # fmt: skip
def test_rows_end_where_postgresql_ends_them(writing, data, rows):
    assert cut(writing, data) == rows
    # However the file is read.
    assert cut(writing, *(data[n : n + 1] for n in range(len(data)))) == rows


@pytest.mark.parametrize(
    ("writing", "data", "refused"),
    [
        (TEXT, b"1\n2\r\n", True),
        (TEXT, b"1\r\n2\n", True),
        (TEXT, b"1\r2\n", True),
        (CSV, b"1\n2\r", True),
        (TEXT, b"1\n2\\.\n", False),
        (TEXT, b"1\n\\.", False),
    ],
)
def test_what_cannot_be_cut_tells_its_line(writing, data, refused):
    with pytest.raises(UnreadableRow) as caught:
        cut(writing, data)
    assert (caught.value.line, caught.value.refused) == (2, refused)


@pytest.mark.parametrize(
    ("writing", "data", "at", "found"),
    [
        (TEXT, b"1\ta\n\\N\tb\n", 0, [b"1", None]),
        (TEXT, b"1\ta\n2\n", 1, [b"a", MISSING]),
        (TEXT, b"a\\\tb\t2\n", 1, [b"2"]),
        (TEXT, b"a\\tb\tx\n", 0, [b"a\tb"]),
        (CSV, b'"1",a\n,b\n"",c\n', 0, [b"1", None, b""]),
        (CSV, b'"x,y",2\na"b,"c,3\n', 1, [b"2", b"3"]),
        (Writing(delimiter=b"|", embedding=EMBEDDING["SJIS"]), b"\x83||2\n", 1, [b"2"]),
    ],
)
def test_values_are_read_as_postgresql_reads_them(writing, data, at, found):
    assert keys(writing, data, at) == found


def test_what_is_null_may_be_forced():
    writing = Writing(csv=True, delimiter=b",", null=b"x")
    assert keys(writing, b'x\n"x"\n', 0) == [None, b"x"]
    assert keys(writing, b'x\n"x"\n', 0, force_null=True) == [None, None]
    assert keys(writing, b'x\n"x"\n', 0, force_not_null=True) == [b"x", b"x"]


def test_the_header_is_no_row():
    lines = Lines(Writing(csv=True, delimiter=b",", header=True))
    assert lines.cut(b'"a\nb",c\n1,2\n').rows == [b"1,2"]
    assert lines.header == b'"a\nb",c'


def test_escapes_give_bytes():
    assert unescaped(rb"\b\101\x4a\xz\7") == (b"\bAJxz\x07", False)


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1)),
    st.integers(1, 9),
)
def test_what_pythons_csv_writes_is_cut_into_its_rows(rows, size):
    # Python writes a row of one empty value in its own way, and quotes no lone carriage return.
    rows = [["k", *(v.replace("\r", "") for v in row)] for row in rows]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    data = file.getvalue().encode()
    pieces = [data[n : n + size] for n in range(0, len(data), size)]
    made = Lines(CSV)
    values = Values(CSV)
    found = []
    for each in [made.cut(piece) for piece in pieces] + [made.cut(b"", last=True)]:
        for row in each.rows:
            width = row.count(b'","') + 1
            found.append([values.one_raw(row, at) for at in range(width)])
    read = [[values.read(raw)[0].decode() for raw in row if raw is not MISSING] for row in found]
    assert read == rows
