"""A Flask application over the flights of 2013 from New York, split over PostgreSQL servers.

    make app                    # starts PostgreSQL servers of its own, and this application

or, over servers that are there already:

    export GREENSHARD_CLUSTER=/path/to/cluster.toml
    gunicorn -c examples/flask_app/gunicorn.conf.py

``queries`` has all SQL, ``database`` runs it, ``pages`` and ``api`` show it, ``health`` tells how
the shards are, ``failures`` answers when something is wrong, ``pictures`` computes what is drawn,
and ``words`` how numbers are written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, abort, request
from werkzeug.routing import BaseConverter

from flask_app import api, failures, health, pages, pictures, words
from flask_app.database import db

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Code(BaseConverter):
    """What aircraft and airports are called; anything else in its place is not found."""

    regex = "[A-Za-z0-9]{1,8}"


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application; nothing is connected before the first request."""
    app = Flask(__name__)
    app.config["GREENSHARD"] = {
        "cluster": os.environ.get("GREENSHARD_CLUSTER", "cluster.toml"),
        "max_size": 20,  # connections of this process to each shard
        "timeout": 2.0,  # seconds that a request waits for one
        "call_timeout": 5.0,  # and that a statement may take
    }
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024  # bytes of a form; more is refused with 413
    app.config.from_mapping(config or {})
    app.url_map.converters["code"] = Code
    db.init_app(app)
    for blueprint in (pages.pages, api.api, health.health):
        app.register_blueprint(blueprint)
    for filters in (words.FILTERS, pictures.FILTERS):
        app.jinja_env.filters.update(filters)
    failures.register(app)
    app.before_request(refuse_other_sites)
    app.after_request(add_security_headers)
    return app


def refuse_other_sites() -> None:
    """Refuse what a page of another site sent, also of one under the same domain.

    Browsers tell with Sec-Fetch-Site; those before 2023 only with Origin, and not always. What
    sends neither is no browser, and carries no one's session.
    """
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own = request.host_url.rstrip("/")
    if site not in {None, "same-origin", "none"} or origin not in {None, own}:
        abort(403)


def add_security_headers(response: Response) -> Response:
    response.headers.extend(SECURITY)
    return response
