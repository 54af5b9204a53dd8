from __future__ import annotations

import copy
import inspect
import pickle

import psycopg2
import pytest

from greenshard import errors

PEP249 = [
    "InterfaceError",
    "DatabaseError",
    "DataError",
    "OperationalError",
    "IntegrityError",
    "InternalError",
    "ProgrammingError",
    "NotSupportedError",
]
DRIVERS_OWN = sorted(
    {
        cls
        for cls in vars(psycopg2.errors).values()
        if inspect.isclass(cls)
        and issubclass(cls, (psycopg2.DatabaseError, psycopg2.InterfaceError))
    },
    key=lambda cls: cls.__name__,
)


def server_error(cls=psycopg2.errors.UniqueViolation, pgcode="23505", text="duplicate key\n"):
    error = cls(text)
    error.__setstate__({"pgcode": pgcode, "pgerror": f"ERROR:  {text}"})
    return error


def pep249_name(cls):
    return next(base.__name__ for base in cls.__mro__ if base.__name__ in PEP249)


def facts(error):
    return {
        "class": type(error),
        "text": str(error),
        "args": error.args,
        "pgcode": error.pgcode,
        "pgerror": error.pgerror,
        "code": error.code,
        "shard": error.shard,
        "hint": error.hint,
        "failures": {name: (type(e), str(e)) for name, e in error.failures.items()},
    }


@pytest.mark.parametrize("name", ["Error", *PEP249])
def test_each_class_is_also_psycopg2s(name):
    own, theirs = getattr(errors, name), getattr(psycopg2, name)
    assert issubclass(own, theirs)
    assert issubclass(own, errors.Error)
    assert issubclass(errors.Error, psycopg2.Error)


@pytest.mark.parametrize("origin", DRIVERS_OWN, ids=lambda cls: cls.__name__)
def test_error_of_a_shard_is_of_its_own_class_and_of_our_pep_249_class(origin):
    error = errors.from_driver(origin("no"), "s1")
    assert isinstance(error, origin)
    assert isinstance(error, getattr(errors, pep249_name(origin)))
    assert isinstance(error, errors.Error)
    assert error.shard == "s1"
    assert type(error.__cause__) is origin
    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)


def test_both_except_clauses_catch_a_violated_constraint():
    for cls in (psycopg2.errors.UniqueViolation, errors.IntegrityError, psycopg2.IntegrityError):
        with pytest.raises(cls):
            raise errors.from_driver(server_error())


def test_error_of_a_shard_keeps_what_the_server_said():
    error = errors.from_driver(server_error(), "s1", name_shard=True)
    assert str(error) == "shard s1: duplicate key\n"
    assert (error.pgcode, error.pgerror) == ("23505", "ERROR:  duplicate key\n")
    assert errors.from_driver(error, "s2") is error


def test_over_one_shard_the_message_is_the_drivers_own():
    error = errors.from_shards({"s0": server_error()}, 1)
    assert str(error) == "duplicate key\n"
    assert error.shard == "s0"
    assert error.code is None


@pytest.mark.parametrize("exc", [ValueError("v"), KeyboardInterrupt(), SystemExit(3)])
def test_what_is_no_database_error_is_raised_as_it_is(exc):
    assert errors.from_shards({"s0": server_error(), "s1": exc}, 2) is exc
    assert errors.from_shards({"s1": exc}, 2) is exc


def test_several_failures_are_one_error_that_holds_them_all():
    failures = {"s0": server_error(), "s2": server_error(text="another key\n")}
    error = errors.from_shards(failures, 3)
    assert isinstance(error, errors.FanoutError)
    assert isinstance(error, errors.IntegrityError)
    assert isinstance(error, psycopg2.errors.UniqueViolation)
    assert error.failures == failures
    assert (error.code, error.pgcode, error.shard) == ("GS201", "23505", None)
    assert "2 of 3 shards failed [GS201]" in str(error)
    assert "s0: duplicate key" in str(error)
    assert "s2: another key" in str(error)
    assert error.shards == ("s0", "s2")


@pytest.mark.parametrize("total", [2, 3])
def test_what_several_shards_say_alike_is_that_error_once(total):
    failures = {"s0": server_error(), "s2": server_error()}
    error = errors.from_shards(failures, total)
    assert type(error) is type(errors.from_driver(server_error()))
    assert str(error) == ("all 2 shards" if total == 2 else "shards s0, s2") + ": duplicate key\n"
    assert (error.code, error.pgcode, error.shard) == (None, "23505", None)
    assert error.shards == ("s0", "s2")
    assert error.failures == failures
    assert error.__cause__ is failures["s0"]
    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        # Without a server's word for it, these are two.
        ("UniqueViolation", "UniqueViolation", psycopg2.errors.UniqueViolation),
        ("UniqueViolation", "CheckViolation", errors.IntegrityError),
        ("UniqueViolation", "UndefinedTable", errors.DatabaseError),
        ("UndefinedTable", "UndefinedColumn", errors.ProgrammingError),
    ],
)
def test_several_failures_are_of_the_nearest_class_that_they_share(first, second, common):
    classes = [getattr(psycopg2.errors, name) for name in (first, second)]
    error = errors.from_shards({f"s{i}": cls("no") for i, cls in enumerate(classes)}, 2)
    assert isinstance(error, common)
    assert isinstance(error, errors.FanoutError)
    if first != second:
        assert not isinstance(error, tuple(classes))
        assert error.pgcode is None


def test_failures_that_are_ours_already_are_put_together_too():
    ours = errors.from_driver(server_error(), "s0")
    error = errors.from_shards({"s0": ours, "s1": server_error()}, 2)
    assert isinstance(error, psycopg2.errors.UniqueViolation)
    timeouts = {name: errors.QueryTimeout("late", code="GS301") for name in ("s0", "s1")}
    error = errors.from_shards(timeouts, 2)
    assert isinstance(error, (errors.FanoutError, errors.OperationalError))
    assert isinstance(error, psycopg2.OperationalError)


def test_interface_errors_of_several_shards_are_an_interface_error():
    failures = {name: errors.InterfaceError("closed") for name in ("s0", "s1")}
    error = errors.from_shards(failures, 2)
    assert isinstance(error, psycopg2.InterfaceError)
    assert isinstance(error, errors.FanoutError)
    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)


OWN = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.Error) and cls.__module__ == errors.__name__
]


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("transport", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_errors_of_every_class_travel_whole(cls, transport):
    error = cls("what", code="GS301", shard="s1", hint="do this")
    there = transport(error)
    assert facts(there) == facts(error)
    assert str(there) == "what [GS301]\nHINT:  do this"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_fanout_error_travels_with_its_failures(protocol):
    failures = {"s0": server_error(), "s1": errors.from_driver(server_error(), "s1")}
    error = errors.from_shards(failures, 2)
    there = pickle.loads(pickle.dumps(error, protocol))
    assert facts(there) == facts(error)
    assert isinstance(there, psycopg2.errors.UniqueViolation)
    assert there.failures["s1"].pgcode == "23505"


def test_partial_commit_error_travels_with_the_shards_that_committed():
    error = errors.PartialCommitError("half", code="GS502")
    error.committed, error.failures = ("s0",), {"s1": server_error()}
    there = pickle.loads(pickle.dumps(error))
    assert there.committed == ("s0",)
    assert facts(there) == facts(error)


def test_pickling_leaves_the_cursor_behind():
    error = errors.from_driver(server_error())
    error.__dict__["_cursor"] = lambda: "no pickle takes this"
    assert error.cursor is not None
    assert pickle.loads(pickle.dumps(error)).cursor is None


def test_query_timeout_is_caught_as_a_timeout_of_the_server_is():
    for cls in (psycopg2.errors.QueryCanceled, psycopg2.OperationalError, errors.OperationalError):
        assert issubclass(errors.QueryTimeout, cls)


def test_error_without_message_or_with_odd_arguments_can_be_made():
    assert str(errors.Error()) == ""
    odd = errors.from_driver(psycopg2.ProgrammingError(), "s0", name_shard=True)
    assert odd.args == ()
    odd = errors.from_driver(psycopg2.ProgrammingError(1, 2), "s0", name_shard=True)
    assert odd.args == (1, 2)


def test_every_code_is_well_formed_and_says_what_it_means():
    assert all(code[:2] == "GS" and code[2:].isdigit() for code in errors.CODES)
    assert all(errors.CODES.values())


def test_diag_is_the_drivers():
    assert errors.from_driver(server_error()).diag.severity is None
    assert errors.Error("x").diag is not None


def test_users_may_derive_from_our_classes():
    class Mine(errors.OperationalError):
        pass

    error = Mine("mine", shard="s0")
    assert errors.from_driver(error) is error
    with pytest.raises(psycopg2.OperationalError):
        raise errors.from_shards({"s0": error, "s1": error}, 2)
