"""What an application's configuration may say; nothing is connected for it."""

from __future__ import annotations

import subprocess
import sys

import flask
import pytest

import greenshard
from greenshard.ext.flask import GreenShard

DSN = "host=/nonexistent dbname=x password=hidden"
CLUSTER = greenshard.Cluster({"s0": DSN}, {"items": greenshard.Sharded("id")})


def make_app(**config):
    app = flask.Flask("app")
    app.config.update(config)
    return app


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text(f'[shards]\nwest = "{DSN}"\n[tables]\nitems = {{ shard_key = "id" }}\n')
    return path


@pytest.mark.parametrize(
    ("value", "shards"),
    [
        (DSN, ["s0"]),
        ([DSN, DSN], ["s0", "s1"]),
        ({"east": DSN, "west": DSN}, ["east", "west"]),
        (CLUSTER, ["s0"]),
        ({"cluster": [DSN, DSN], "max_size": 3}, ["s0", "s1"]),
        ({"cluster": CLUSTER, "timeout": 1.5, "application_name": "web"}, ["s0"]),
        ({"cluster": CLUSTER, "allow_gather": False, "sslmode": "require"}, ["s0"]),
    ],
)
def test_shards_are_given_in_many_forms(value, shards):
    app = make_app(GREENSHARD=value)
    db = GreenShard(app)
    with app.app_context():
        assert list(db.pool.stats().shards) == shards
        assert db.pools == {"default": db.pool}


def test_shards_are_given_as_a_file(toml):
    for value in (toml, str(toml), {"cluster": str(toml), "max_size": 7}):
        app = make_app(GREENSHARD=value)
        db = GreenShard(app)
        with app.app_context():
            assert list(db.pool.stats().shards) == ["west"]


def test_pools_have_names():
    app = make_app(GREENSHARD=DSN, GREENSHARD_POOLS={"old": {"cluster": DSN, "max_size": 2}})
    db = GreenShard()
    db.init_app(app)
    with app.app_context():
        assert list(db.pools) == ["default", "old"]
        assert db.pools["old"].stats().max_size == 2
        with pytest.raises(greenshard.ProgrammingError, match="'new'; there are default, old"):
            db.connection_of("new")


def test_there_may_be_no_default():
    app = make_app(GREENSHARD_POOLS={"old": DSN})
    db = GreenShard(app)
    with app.app_context():
        with pytest.raises(greenshard.ProgrammingError, match="'default'; there are old"):
            _ = db.connection
        assert list(db.pools) == ["old"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r'there is no app.config\["GREENSHARD"\]'),
        ({"GREENSHARD": None, "GREENSHARD_POOLS": {}}, r'there is no app.config\["GREENSHARD"\]'),
        ({"GREENSHARD": ""}, r'app.config\["GREENSHARD"\] is empty'),
        ({"GREENSHARD": {"cluster": None}}, r'app.config\["GREENSHARD"\] is empty'),
        ({"GREENSHARD": []}, r'app.config\["GREENSHARD"\]: there are no shards'),
        ({"GREENSHARD": 5}, r'app.config\["GREENSHARD"\]: shards must be .* not int'),
        ({"GREENSHARD": "/nonexistent/cluster.toml"}, r'config\["GREENSHARD"\]: .*cluster.toml'),
        ({"GREENSHARD": "x password=hidden"}, r'app.config\["GREENSHARD"\]: invalid dsn'),
        ({"GREENSHARD": {"cluster": DSN, "max_sizes": 5}}, "or of libpq is called max_sizes"),
        ({"GREENSHARD": {"cluster": DSN, 5: 5}}, "or of libpq is called 5"),
        ({"GREENSHARD": {"cluster": DSN, "shards": DSN}}, "or of libpq is called shards"),
        ({"GREENSHARD": {"cluster": DSN, "dsn": DSN}}, "or of libpq is called dsn"),
        ({"GREENSHARD": {"cluster": DSN, "text": DSN}}, "or of libpq is called text"),
        ({"GREENSHARD": {"cluster": DSN, "max_size": "x"}}, r'config\["GREENSHARD"\]: max_size'),
        ({"GREENSHARD": {"cluster": DSN, "timeout": "x"}}, r'config\["GREENSHARD"\]: timeout'),
        ({"GREENSHARD": {"cluster": DSN, "max_size": 0}}, r'app.config\["GREENSHARD"\]: max_size'),
        ({"GREENSHARD_POOLS": ["a"]}, r"GREENSHARD_POOLS.* must be a mapping of names"),
        ({"GREENSHARD_POOLS": {"": DSN}}, r"GREENSHARD_POOLS.* must be a mapping of names"),
        ({"GREENSHARD_POOLS": {"default": DSN}}, r'"default" is app.config\["GREENSHARD"\]'),
        ({"GREENSHARD_POOLS": {"old": 5}}, r'app.config\["GREENSHARD_POOLS"\]\["old"\]: shards'),
    ],
)
def test_mistakes_are_told_at_once(config, message):
    app = make_app(**config)
    with pytest.raises(greenshard.ProgrammingError, match=message) as caught:
        GreenShard(app)
    assert "hidden" not in str(caught.value)
    assert "greenshard" not in app.extensions


@pytest.mark.parametrize("text", ["[shards", "[shards]\nwest = 5\n", "[tables]\n", "\x00"])
def test_mistakes_in_the_file_are_told_at_once(text, tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(greenshard.ProgrammingError, match=r'app.config\["GREENSHARD"\]') as caught:
        GreenShard(make_app(GREENSHARD=str(path)))
    assert caught.value.code in {"GS105", "GS106"}


def test_an_application_has_one_extension():
    app = make_app(GREENSHARD=DSN)
    db = GreenShard(app)
    with pytest.raises(RuntimeError, match="has a GreenShard extension already"):
        db.init_app(app)
    with pytest.raises(RuntimeError, match="has a GreenShard extension already"):
        GreenShard(app)


def test_an_application_without_the_extension_is_told_so():
    with make_app().app_context(), pytest.raises(RuntimeError, match=r"call init_app\(app\)"):
        _ = GreenShard().connection


def test_nothing_shows_a_password():
    app = make_app(GREENSHARD=DSN, GREENSHARD_POOLS={"old": CLUSTER})
    db = GreenShard(app)
    with app.app_context():
        assert "hidden" not in f"{db!r} {db.pool!r} {db.pools!r}"


def test_without_flask_the_import_tells_what_to_install():
    program = "import sys; sys.modules['flask'] = None; import greenshard.ext.flask"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: greenshard.ext.flask needs Flask: pip install 'greenshard[flask]'"
    )
