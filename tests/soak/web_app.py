"""The application that gunicorn serves in a soak: on `greenshard.ext.flask`, as users write it."""

from __future__ import annotations

import json
import os
import random

import flask

import greenshard
from greenshard import Cluster
from greenshard.ext.flask import GreenShard
from tests.soak import items
from tests.soak.crowd import causes
from tests.soak.scene import TABLES
from tests.soak.work import MARK

NAME = f"soak web {os.getpid()}"
db = GreenShard()


def create_app():
    app = flask.Flask(__name__)
    given = json.loads(os.environ["SOAK"])
    shards = {name: f"{dsn} application_name='{NAME}'" for name, dsn in given["dsns"].items()}
    app.config["GREENSHARD"] = {"cluster": Cluster(shards, TABLES), **given["pool"]}
    db.init_app(app)
    app.register_blueprint(views)
    return app


views = flask.Blueprint("views", __name__)


@views.get("/read/<int:number>")
def read(number):
    """Some of the questions whose answers are known."""
    cur = db.connection.cursor()
    rand = random.Random(number)
    for question in rand.choices(items.READS, k=rand.randrange(1, 4)):
        statement, parameters, expected = question(rand)
        cur.execute(statement, parameters)
        if sorted(cur.fetchall()) != sorted(expected):
            return {"error": "wrong answer", "question": question.__name__}, 500
    return {}


@views.get("/mark/<int:number>")
def mark(number):
    """Leave something in the sessions; nobody else may find it."""
    cur = db.connection.cursor()
    cur.execute("SELECT current_setting(%s, true) FROM owner WHERE id = 1", (MARK,))
    if any(value for (value,) in cur.fetchall()):
        return {"error": "wrong answer", "question": "mark"}, 500
    with db.connection.on(db.connection.shards[0]):
        cur.execute("SELECT set_config(%s, %s, false)", (MARK, str(number)))
    return {}


@views.post("/write/<int:number>")
def write(number):
    """Rows for some keys."""
    cur = db.connection.cursor()
    for key in flask.request.get_json()["keys"]:
        cur.execute("INSERT INTO entry VALUES (%s, %s)", (key, number))
    return {}, flask.request.get_json()["status"]


@views.get("/sleep/<int:number>")
def sleep(number):
    """A statement that only the pool's timeout ends."""
    cur = db.connection.cursor()
    cur.execute("SELECT id FROM item WHERE id < 20 AND pg_sleep(60) IS NOT NULL")
    return {}


@views.get("/stream/<int:number>")
def stream(number):
    """All items, sent as they are read; an error is the last line."""

    @flask.stream_with_context
    def lines():
        try:
            cur = db.connection.cursor(f"soak{number}")
            cur.itersize = 40
            cur.execute("SELECT id FROM item ORDER BY id")
            for (item,) in cur:
                yield f"{item:09}{' ' * 500}\n"
        except greenshard.Error as exc:
            yield json.dumps(told_of(exc))

    return flask.Response(lines(), mimetype="text/plain")


@views.get("/pool/<int:number>")
def pool(number):
    """How the pool of this worker is."""
    stats = db.pool.stats()
    told = {name: getattr(stats, name) for name in ("size", "taken", "waiting", "closing")}
    return {**told, "worker": os.getpid()}


@views.app_errorhandler(greenshard.Error)
def failed(error):
    return told_of(error), 503


def told_of(error):
    return {
        "error": type(error).__name__,
        "causes": causes(error),
        "committed": error.committed,
        "message": str(error),
    }
