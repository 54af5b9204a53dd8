"""Arguments that nobody takes."""

from __future__ import annotations

import psycopg2
import pytest

import greenshard


@pytest.mark.parametrize(
    ("take", "name", "meant"),
    [
        (greenshard.connect, "timout", "timeout"),
        (greenshard.connect, "allow_scater", "allow_scatter"),
        (greenshard.connect, "zzz", None),
        (greenshard.connect, "sslmod", "sslmode"),
        (greenshard.Pool, "maxsize", "max_size"),
        (greenshard.Pool, "on_eror", "on_error"),
    ],
)
def test_argument_that_nobody_takes_is_named_and_the_nearest_one(take, name, meant):
    with pytest.raises(greenshard.ProgrammingError, match=f"no argument '{name}'") as caught:
        take(["dbname=a", "dbname=b"], **{name: "secret"})
    assert caught.value.code == "GS104"
    assert (f"is {meant} meant" in str(caught.value)) is (meant is not None)
    assert "secret" not in str(caught.value)


def test_arguments_of_libpq_and_of_connect_are_taken_by_a_pool():
    greenshard.Pool(["dbname=a", "dbname=b"], on_error="partial", application_name="x").close()


@pytest.mark.parametrize("take", [greenshard.connect, greenshard.Pool])
@pytest.mark.parametrize(
    ("name", "meant"),
    [("autocomit", "autocommit"), ("autocommit", "autocommit"), ("isolationlevel", "isolation_")],
)
def test_attribute_that_is_given_as_an_argument_is_named(take, name, meant):
    with pytest.raises(greenshard.ProgrammingError, match=f"no argument '{name}'.*conn.{meant}"):
        take("dbname=a", **{name: True})


def test_module_for_programs_that_want_psycopg2_has_all_of_pep_249_and_its_version():
    module = greenshard.dbapi
    assert module.__version__ == psycopg2.__version__
    for name in module.__all__:
        assert getattr(module, name) is getattr(greenshard, name)
    assert {"connect", "Error", "Warning", "BINARY", "Timestamp"} <= set(module.__all__)


@pytest.mark.parametrize("name", ["cluster.yaml", "conf/shop.yml", "/etc/cluster.json"])
@pytest.mark.parametrize("take", [greenshard.connect, greenshard.Pool])
def test_a_file_that_is_no_toml_is_told(take, name):
    with pytest.raises(greenshard.ProgrammingError, match=r"whose name ends in \.toml") as caught:
        take(name)
    assert (caught.value.code, str(caught.value).startswith(name)) == ("GS106", True)
