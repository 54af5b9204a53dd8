"""A Flask application with a fan-out query.

    gunicorn -c examples/gunicorn.conf.py --chdir examples flask_view:app

Each request opens a connection and closes it at its end. Under gunicorn's gevent worker each
request is a greenlet, and a connection serves one greenlet at a time: one that several requests
shared would raise "busy", and a transaction of one request would mix with another's. Opening costs
one round of connecting to all shards at once, some milliseconds on a local network.
"""

from __future__ import annotations

import os

from flask import Flask, abort, g, jsonify
from flask.typing import ResponseReturnValue

import greenshard

app = Flask(__name__)
app.config["SHARDS"] = os.environ.get("GREENSHARD_SHARDS", "").splitlines()


def connection() -> greenshard.Connection:
    """The connection of this request, opened when it is first asked for."""
    if "shards" not in g:
        g.shards = greenshard.connect(app.config["SHARDS"], timeout=5.0, connect_timeout=2.0)
    return g.shards


@app.teardown_appcontext
def close_connection(_error: BaseException | None) -> None:
    if "shards" in g:
        g.pop("shards").close()  # rolls back what is not committed


@app.errorhandler(greenshard.QueryTimeout)
def too_slow(_error: greenshard.QueryTimeout) -> ResponseReturnValue:
    return jsonify(error="the shards took too long"), 504


@app.errorhandler(greenshard.OperationalError)
def unavailable(error: greenshard.OperationalError) -> ResponseReturnValue:
    app.logger.error("shard %s: %s", error.shard, error)
    return jsonify(error="a shard is not available"), 503


@app.get("/airports/<code>/delays")
def delays(code: str) -> ResponseReturnValue:
    """Mean delay of each aircraft that flew there. Grouped by the shard key: the union is exact."""
    with connection().cursor() as cur:
        cur.execute(
            """
            SELECT tailnum, count(*), avg(arr_delay)::float8
            FROM flights
            WHERE dest = %s AND arr_delay IS NOT NULL AND tailnum IS NOT NULL
            GROUP BY tailnum
            """,
            (code,),
        )
        rows = sorted(cur.fetchall(), key=lambda row: -row[2])
    if not rows:
        abort(404)
    return jsonify([{"tailnum": t, "flights": n, "mean_delay": round(d, 1)} for t, n, d in rows])


@app.get("/shards")
def shards() -> ResponseReturnValue:
    """Rows and milliseconds of each shard, for those who operate this."""
    with connection().cursor() as cur:
        cur.execute("SELECT count(*) FROM flights")
        counts = [count for (count,) in cur]
        milliseconds = [timing.total_s * 1000 for timing in cur.timings.values()]
    names = connection().shards
    return jsonify(
        {
            name: {"flights": count, "ms": round(ms, 1)}
            for name, count, ms in zip(names, counts, milliseconds, strict=True)
        }
    )
