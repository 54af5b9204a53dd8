"""What is run again, how often, and what is not."""

from __future__ import annotations

import gevent
import psycopg2
import pytest

import greenshard
from greenshard import errors, retrying


def of(pgcode, cls=psycopg2.OperationalError):
    error = cls("text")
    error.__setstate__({"pgcode": pgcode, "pgerror": None})
    return error


def of_shards(*codes):
    return errors.from_shards({f"s{n}": of(code) for n, code in enumerate(codes)}, 5)


def committed_elsewhere():
    error = errors.from_driver(of("40001"))
    errors.note_committed(error, ["s1"], [])
    return error


def doubtful_elsewhere():
    error = errors.from_driver(of("40001"))
    errors.note_committed(error, [], ["s1"])
    return error


class Unit:
    """Raises what it was given, one after the other, and then returns."""

    def __init__(self, *raised):
        self.raised, self.calls = list(raised), 0

    def __call__(self):
        self.calls += 1
        if self.raised:
            raise self.raised.pop(0)
        return "done"


@pytest.fixture
def pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(retrying._green, "sleep", pauses.append)
    return pauses


@pytest.mark.parametrize(
    "error", [of("40001"), of("40P01"), of_shards("40001"), of_shards("40P01", "40001")]
)
def test_serialization_failures_and_deadlocks_are_run_again(error, pauses):
    unit = Unit(error, error)
    assert greenshard.retry(unit) == "done"
    assert (unit.calls, len(pauses)) == (3, 2)


@pytest.mark.parametrize(
    "error",
    [
        of("23505"),
        of(None),
        of_shards("40001", "23505"),
        of_shards("40001", None),
        committed_elsewhere(),
        doubtful_elsewhere(),
        errors.PartialCommitError("half", code="GS502"),
        errors.TransactionInDoubt("in doubt", code="GS504"),
        errors.QueryTimeout("late", code="GS301"),
        ValueError("the program's"),
        gevent.Timeout(1),
        gevent.GreenletExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_else_is_run_again(error, pauses):
    unit = Unit(error)
    with pytest.raises(type(error)) as caught:
        greenshard.retry(unit)
    assert caught.value is error
    assert (unit.calls, pauses) == (1, [])


def test_last_error_is_raised_and_pauses_grow(pauses, monkeypatch):
    monkeypatch.setattr(retrying, "random", lambda: 1.0)
    raised = [of("40001") for _ in range(6)]
    with pytest.raises(psycopg2.OperationalError) as caught:
        greenshard.retry(Unit(*raised), attempts=5, pause=0.25, longest_pause=0.75)
    assert caught.value is raised[4]
    assert caught.value.__context__ is None
    assert pauses == [0.25, 0.5, 0.75, 0.75]


def test_pauses_are_a_random_part(pauses):
    with pytest.raises(psycopg2.OperationalError):
        greenshard.retry(Unit(*(of("40001") for _ in range(9))), attempts=9, pause=1.0)
    assert len(set(pauses)) == 8
    assert all(0 <= pause <= 1 for pause in pauses)


def test_kill_in_a_pause_goes_through():
    unit = Unit(*(of("40001") for _ in range(9)))
    greenlet = gevent.spawn(greenshard.retry, unit, pause=100.0, longest_pause=100.0)
    gevent.sleep(0.01)
    greenlet.kill(timeout=5)
    assert isinstance(greenlet.value, gevent.GreenletExit)
    assert unit.calls == 1


@pytest.mark.parametrize(
    "given",
    [{"attempts": 0}, {"attempts": 1.5}, {"pause": -1}, {"longest_pause": "soon"}],
    ids=repr,
)
def test_arguments_that_cannot_be_used_are_refused_before_the_first_call(given):
    unit = Unit()
    with pytest.raises(greenshard.ProgrammingError, match="GS104"):
        greenshard.retry(unit, **given)
    assert unit.calls == 0
