"""An application for gunicorn, which uses its pool already when it is imported."""

from __future__ import annotations

import json
import os
import time

import flask

from greenshard.ext.flask import GreenShard

app = flask.Flask("site")
app.config["GREENSHARD"] = {
    "cluster": json.loads(os.environ["SHARDS"]),
    "max_size": 4,
    "application_name": "pooled",
}
db = GreenShard(app)

PIDS = "SELECT pg_backend_pid()"


def ask(sql):
    cursor = db.connection.cursor()
    cursor.execute(sql)
    return [value for (value,) in cursor.fetchall()]


with app.app_context():
    AT_IMPORT = {"process": os.getpid(), "sessions": ask(PIDS)}


@app.get("/")
def processes():
    return {"imported": AT_IMPORT, "process": os.getpid(), "sessions": ask(PIDS)}


@app.post("/<name>")
def add(name):
    with db.connection.on("s0"):
        db.connection.cursor().execute("INSERT INTO items VALUES (1, %s)", (name,))
    if flask.request.args:
        ask("SELECT pg_sleep(60)")
    return "done"


@app.get("/endless")
def endless():
    @flask.stream_with_context
    def body():
        with db.connection.on("s0"):
            db.connection.cursor().execute("INSERT INTO items VALUES (1, 'streamed')")
        while True:
            yield "x" * 100_000
            time.sleep(0.001)

    return flask.Response(body())


@app.get("/taken")
def taken():
    return {"taken": db.pool.stats().taken}
