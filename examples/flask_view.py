"""A Flask application over a declared cluster.

    export GREENSHARD_CLUSTER=/path/to/cluster.toml
    gunicorn -c examples/flask_app/gunicorn.conf.py --chdir examples flask_view:app

``db.connection`` is the request's own connection, of the process's pool: taken when it is first
asked for, and given back at the end of the request. What a view writes is committed before its
response is sent, or rolled back if it fails.
"""

from __future__ import annotations

import os

from flask import Flask, abort, jsonify
from flask.typing import ResponseReturnValue

import greenshard
from greenshard.ext.flask import GreenShard

app = Flask(__name__)
app.config["GREENSHARD"] = {
    "cluster": os.environ.get("GREENSHARD_CLUSTER", "cluster.toml"),
    "max_size": 20,
    "timeout": 2.0,  # seconds that a request waits for a connection
    "call_timeout": 5.0,  # and each of its statements for the shards
}
# Mistakes in the file are told now; nothing is connected before the first request.
db = GreenShard(app)


@app.errorhandler(greenshard.QueryTimeout)
def too_slow(_error: greenshard.QueryTimeout) -> ResponseReturnValue:
    return jsonify(error="the shards took too long"), 504


@app.errorhandler(greenshard.OperationalError)
def unavailable(error: greenshard.OperationalError) -> ResponseReturnValue:
    app.logger.error("%s", error)
    return jsonify(error="please try again"), 503, {"Retry-After": "1"}


@app.get("/aircraft/<tailnum>")
def aircraft(tailnum: str) -> ResponseReturnValue:
    """The flights of one aircraft: a request that is made often, and must not reach all shards."""
    conn = db.connection
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
    with db.connection.cursor() as cur:
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
    with db.connection.cursor() as cur:
        cur.execute("SELECT count(*) FROM flights")
        (flights,) = cur.fetchone()
        milliseconds = {
            shard: round(timing.total_s * 1000, 1) for shard, timing in cur.timings.items()
        }
    return jsonify(flights=flights, milliseconds=milliseconds)
