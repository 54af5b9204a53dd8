"""A Flask application over a declared cluster.

    export GREENSHARD_CLUSTER=/path/to/cluster.toml
    gunicorn -c examples/gunicorn.conf.py --chdir examples flask_view:app

The cluster is declared once for the process: its connections then share what they know of its
tables, and the plans made with it. Each request opens a connection and closes it at its end. Under
gunicorn's gevent worker each request is a greenlet, and a connection serves one greenlet at a time:
one that several requests shared would raise "busy", and a transaction of one request would mix with
another's. Opening costs one round of connecting to all shards at once, some milliseconds on a local
network.
"""

from __future__ import annotations

import os

from flask import Flask, abort, g, jsonify
from flask.typing import ResponseReturnValue

import greenshard
from greenshard import Cluster

app = Flask(__name__)
# Reading the file connects to nothing; mistakes in it are told when the application starts.
app.config["CLUSTER"] = Cluster.from_toml(os.environ.get("GREENSHARD_CLUSTER", "cluster.toml"))


def connection() -> greenshard.Connection:
    """The connection of this request, opened when it is first asked for."""
    if "shards" not in g:
        g.shards = greenshard.connect(app.config["CLUSTER"], timeout=5.0, connect_timeout=2.0)
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


@app.get("/aircraft/<tailnum>")
def aircraft(tailnum: str) -> ResponseReturnValue:
    """The flights of one aircraft: a request that is made often, and must not reach all shards."""
    conn = connection()
    conn.allow_scatter = False
    with conn.cursor() as cur:
        cur.execute(
            """
            SELECT dest, count(*), sum(distance)
            FROM flights
            WHERE tailnum = %s
            GROUP BY dest
            ORDER BY count(*) DESC, dest
            """,
            (tailnum,),
        )
        rows = cur.fetchall()
    if not rows:
        abort(404)
    return jsonify([{"dest": d, "flights": n, "miles": miles} for d, n, miles in rows])


@app.get("/airports/<code>/airlines")
def airlines(code: str) -> ResponseReturnValue:
    """The mean delay of each airline that flies there, over all shards."""
    with connection().cursor() as cur:
        cur.execute(
            """
            SELECT a.name, count(*), round(avg(f.arr_delay), 1)::float8 AS mean_delay
            FROM flights f JOIN airlines a USING (carrier)
            WHERE f.dest = %s AND f.arr_delay IS NOT NULL
            GROUP BY a.name
            ORDER BY mean_delay DESC, a.name
            """,
            (code,),
        )
        rows = cur.fetchall()
    if not rows:
        abort(404)
    return jsonify([{"airline": a, "flights": n, "mean_delay": delay} for a, n, delay in rows])


@app.get("/shards")
def shards() -> ResponseReturnValue:
    """How many flights there are, and each shard's milliseconds, for those who operate this."""
    with connection().cursor() as cur:
        cur.execute("SELECT count(*) FROM flights")
        (flights,) = cur.fetchone()
        milliseconds = {
            shard: round(timing.total_s * 1000, 1) for shard, timing in cur.timings.items()
        }
    return jsonify(flights=flights, milliseconds=milliseconds)
