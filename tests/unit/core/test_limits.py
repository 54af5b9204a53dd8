from __future__ import annotations

import pickle

import psycopg2
import pytest

from greenshard import limits


@pytest.mark.parametrize("refuse", [limits.refuse_copy, limits.refuse_large_objects])
def test_refusal_is_of_psycopg2s_own_class_too(refuse):
    with pytest.raises(psycopg2.NotSupportedError) as caught:
        refuse()
    assert isinstance(caught.value, psycopg2.ProgrammingError)
    assert caught.value.code == "GS402"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
