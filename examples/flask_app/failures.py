"""What is answered when something is wrong: a page, or JSON below ``/api``."""

from __future__ import annotations

from flask import Flask, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

import greenshard

#: Seconds after which a client may try again.
RETRY_AFTER_S = 5


def register(app: Flask) -> None:
    """Flask takes the handler of the class that is nearest to the error's."""
    app.register_error_handler(greenshard.QueryTimeout, too_slow)
    app.register_error_handler(greenshard.PoolTimeout, busy)
    app.register_error_handler(greenshard.PoolFull, busy)
    app.register_error_handler(greenshard.OperationalError, unavailable)
    app.register_error_handler(greenshard.InterfaceError, unavailable)
    app.register_error_handler(HTTPException, refused)


def too_slow(error: greenshard.QueryTimeout) -> ResponseReturnValue:
    current_app.logger.warning("%s", error)
    return answer(
        504, "That took too long", "A server did not answer in time, so we stopped asking."
    )


def busy(error: greenshard.Error) -> ResponseReturnValue:
    current_app.logger.warning("%s", error)
    return answer(503, "Too many at once", "All connections are in use. Please try again.")


def unavailable(error: greenshard.Error) -> ResponseReturnValue:
    """A shard is down, or was lost in the middle of the statement."""
    current_app.logger.error("%s", error)
    shards = [error.shard] if error.shard else list(error.failures)
    return answer(503, "Part of the data is out of reach", "", shards=shards)


def refused(error: HTTPException) -> ResponseReturnValue:
    """What Flask, or a view through ``abort``, says: 404, 403, 405, 500 and so on."""
    return answer(error.code or 500, error.name, error.description or "")


def answer(
    status: int, title: str, message: str, shards: list[str] | None = None
) -> ResponseReturnValue:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if request.path.startswith("/api/"):
        return jsonify(error=title, message=message, shards=shards or []), status, headers
    page = render_template("error.html", status=status, title=title, message=message, shards=shards)
    return page, status, headers
