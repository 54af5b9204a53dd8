"""How the shards and the pool are: for people, for load balancers and for monitoring."""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from flask import Blueprint, jsonify, render_template
from flask.typing import ResponseReturnValue

import greenshard
from flask_app.database import db
from greenshard.pool.stats import PoolStats, ShardStats

health = Blueprint("health", __name__)

PING_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Ping:
    """How long a shard took to answer; None if it did not, and why."""

    seconds: float | None
    reason: str = ""


@dataclass(frozen=True)
class Shard:
    """A shard: how it is now, and what the pool has counted."""

    name: str
    ping: Ping
    stats: ShardStats

    @property
    def up(self) -> bool:
        return self.ping.seconds is not None


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
        "ping_s": shard.ping.seconds,
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
    pings = {name: ping(name) for name in db.pool.stats().shards}
    stats = db.pool.stats().shards
    return [Shard(name, pings[name], stats[name]) for name in stats]


def ping(shard: str) -> Ping:
    """Ask one shard, on a connection of its own, so that no other shard's state matters."""
    start = perf_counter()
    try:
        with db.pool.connection() as conn, conn.on(shard).cursor() as cur:
            cur.timeout = PING_TIMEOUT_S
            cur.execute("SELECT 1")
    except greenshard.Error as error:
        return Ping(None, str(error).splitlines()[0])
    return Ping(perf_counter() - start)
