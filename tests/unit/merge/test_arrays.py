from __future__ import annotations

import random
import secrets

import pytest

from greenshard.merge.arrays import array_text, integers, joined_arrays


def read_array(text):
    """PostgreSQL's rules for one dimension, told in another way: a machine for each character."""
    assert text[0] == "{"
    assert text[-1] == "}"
    elements, at = [], 1
    while text[at] != "}":
        if text.startswith("NULL", at):
            elements.append(None)
            at += 4
        else:
            assert text[at] == '"'
            at += 1
            element = ""
            while text[at] != '"':
                if text[at] == "\\":
                    at += 1
                element += text[at]
                at += 1
            elements.append(element)
            at += 1
        assert text[at] in ",}"
        at += text[at] == ","
    return elements


@pytest.mark.parametrize(
    "values",
    [
        [], [""], ["", ""], [None], [None, None], ["a"], ["a", "b"], ["NULL", None], ['"'], ["\\"],
        ['a","b', "c"], ['"', '"'], ['","'], ["{}", ","], ["é\n\t '", "%s"], ['\\"', None, "x"],
        ['"', ""], ['",', ',"'],
    ],
)  # fmt: skip
def test_array_reads_as_it_was_written(values):
    assert read_array(array_text(values)) == values


def test_arrays_of_all_kinds_of_characters():
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    for _ in range(2000):
        values = [
            None if chance.random() < 0.1 else "".join(chance.choices('",\\{}aé N', k=length))
            for length in chance.choices(range(5), k=chance.randrange(5))
        ]
        assert read_array(array_text(values)) == values, seed


def test_integers_are_read():
    assert integers("{}") == []
    assert integers("{3,-1,20}") == [3, -1, 20]


def test_arrays_of_several_shards_become_one_for_each_column():
    pieces = [("{1,2}", '{a,"b}"}'), ("{3}", "{c}"), ("{4,5}", "{NULL,d}")]
    assert joined_arrays(pieces) == ("{1,2,3,4,5}", '{a,"b}",c,NULL,d}')
    assert joined_arrays(pieces[:1]) is pieces[0]  # not copied
