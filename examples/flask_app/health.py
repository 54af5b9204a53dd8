"""How the shards and the pool are: for people, for load balancers and for monitoring."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, current_app, jsonify, render_template
from flask.typing import ResponseReturnValue

import greenshard
from flask_app.database import db
from greenshard.pool.stats import PoolStats, ShardStats

health = Blueprint("health", __name__)

PING_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Shard:
    """A shard: whether it answers, how long that took just now, and what the pool has counted."""

    name: str
    up: bool
    ping_s: float | None
    stats: ShardStats


@health.get("/healthz")
def alive() -> ResponseReturnValue:
    """Whether this process answers. No database: a dead shard is no reason to restart it."""
    return jsonify(status="ok")


@health.get("/readyz")
def ready() -> ResponseReturnValue:
    """Whether requests should come here: while any shard answers, some pages work."""
    up = {shard.name: shard.up for shard in all_shards()}
    return jsonify(shards=up), 200 if any(up.values()) else 503


@health.get("/status")
def status() -> ResponseReturnValue:
    return render_template("status.html", **live())


@health.get("/status/live")
def live_part() -> ResponseReturnValue:
    """The part of the page that status.js fetches again and again."""
    return render_template("_live.html", **live())


@health.get("/api/status")
def status_as_json() -> ResponseReturnValue:
    pool = db.pool.stats()
    return jsonify(
        process=os.getpid(),
        pool={
            "max_size": pool.max_size,
            "taken": pool.taken,
            "idle": pool.idle,
            "waiting": pool.waiting,
        },
        shards={shard.name: as_json(shard) for shard in all_shards()},
    )


def as_json(shard: Shard) -> dict[str, Any]:
    queries = shard.stats.queries
    return {
        "up": shard.up,
        "ping_s": shard.ping_s,
        "connections": shard.stats.open,
        "queries": queries.count,
        "failed_queries": shard.stats.failed_queries,
        "median_s": queries.quantile_s(0.5),
        "p99_s": queries.quantile_s(0.99),
    }


def live() -> dict[str, Any]:
    """What the status page shows; its own pings are counted too."""
    shards = all_shards()
    pool: PoolStats = db.pool.stats()
    return {"process": os.getpid(), "pool": pool, "shards": shards}


def all_shards() -> list[Shard]:
    """Ask each shard. If all connections are in use, what the pool knows of the shards must do."""
    pings: dict[str, float | None] = {}
    up: dict[str, bool] = {}
    try:
        pings = {name: ping(name) for name in db.pool.stats().shards}
        up = {name: seconds is not None for name, seconds in pings.items()}
    except (greenshard.PoolTimeout, greenshard.PoolFull):
        current_app.logger.warning("the shards were not asked: all connections are in use")
    stats = db.pool.stats().shards
    return [
        Shard(name, up.get(name, shard.down_s is None), pings.get(name), shard)
        for name, shard in stats.items()
    ]


def ping(shard: str) -> float | None:
    """Ask one shard for its seconds; None if it does not answer.

    The connection is taken for that alone, so that no other shard's state matters. Why a shard does
    not answer is in the log of the pages that needed it, and not on a page for everybody.

    Raises:
        greenshard.PoolTimeout, greenshard.PoolFull: It could not be asked.
    """
    try:
        with db.pool.connection(PING_TIMEOUT_S) as conn, conn.on(shard).cursor() as cur:
            cur.timeout = PING_TIMEOUT_S
            cur.execute("SELECT 1")
            return float(cur.timings[shard].total_s)
    except (greenshard.PoolTimeout, greenshard.PoolFull):
        raise
    except greenshard.Error:
        return None
