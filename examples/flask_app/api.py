"""The same answers for programs: ``{"rows": [...], "how": {...}}``."""

from __future__ import annotations

from flask import Blueprint, abort, jsonify
from flask.typing import ResponseReturnValue

from flask_app import queries
from flask_app.database import Answer, ask, db

api = Blueprint("api", __name__, url_prefix="/api")


@api.get("/totals")
def totals() -> ResponseReturnValue:
    return as_json(ask(queries.TOTALS))


@api.get("/routes")
def routes() -> ResponseReturnValue:
    return as_json(ask(queries.BUSIEST_ROUTES))


@api.get("/delays/hours")
def delays_by_hour() -> ResponseReturnValue:
    return as_json(ask(queries.DELAY_BY_HOUR))


@api.get("/airports/<code:faa>/airlines")
def airlines_at(faa: str) -> ResponseReturnValue:
    return as_json(ask(queries.AIRLINES_AT, faa=faa), what=f"flight to {faa}")


@api.get("/aircraft/<code:tailnum>/months")
def months_of(tailnum: str) -> ResponseReturnValue:
    db.connection.allow_scatter = False
    return as_json(ask(queries.AIRCRAFT_MONTHS, tailnum=tailnum))


def as_json(answer: Answer, what: str = "row") -> ResponseReturnValue:
    if not answer.rows:
        abort(404, f"There is no {what}.")
    seconds = {part.shard: part.seconds for part in answer.asked}
    return jsonify(rows=answer.rows, how={"strategy": answer.strategy, "seconds": seconds})
