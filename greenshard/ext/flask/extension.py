"""The Flask extension."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flask.globals
from flask import Flask, Response, current_app, g, has_request_context
from flask.signals import got_request_exception, request_finished

import greenshard
from greenshard.arguments import unusable
from greenshard.ext.flask.commands import commands
from greenshard.ext.flask.configuration import DEFAULT, make_pools
from greenshard.ext.flask.request_connections import Scope, Stream
from greenshard.pool.pool import Pool

_NAME = "greenshard"
#: The context of a request: since Flask 3.2 it is the application context.
_request_context: Any = vars(flask.globals).get("request_ctx", flask.globals.app_ctx)


class GreenShard:
    """Pools and connections for a Flask application.

    ::

        db = GreenShard(app)              # or db = GreenShard(), and later db.init_app(app)

        @app.post("/orders")
        def order():
            cur = db.connection.cursor()
            cur.execute("INSERT INTO orders ...")
            return "", 201                # is committed, then sent

    A request's connection is taken from the pool when it is first asked for. Before the response
    leaves, it commits if the response's status is below 400, and rolls back otherwise. An
    exception that leaves the view rolls back what was done until then, before a handler of it
    runs; the error of a failed commit is handled as if the view had raised it. Later, and outside
    of requests, nothing commits by itself. At the end of the request or of the application context
    what is not committed is rolled back, and the connection goes back to the pool.

    The configuration is read by `init_app`::

        app.config["GREENSHARD"] = "cluster.toml"       # or a Cluster, or connection strings
        app.config["GREENSHARD"] = {"cluster": "cluster.toml", "max_size": 20}
        app.config["GREENSHARD_POOLS"] = {"archive": ...}    # further ones, likewise

    Args:
        app: The application; several can be given to `init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Make the application's pools. Nothing is connected yet.

        Raises:
            greenshard.ProgrammingError: The configuration cannot be used.
            RuntimeError: The application has its pools already.
        """
        if _NAME in app.extensions:
            raise RuntimeError("this application has a GreenShard extension already")
        app.extensions[_NAME] = make_pools(app.config)
        for name in ("preprocess_request", "dispatch_request"):
            setattr(app, name, _rolling_back(getattr(app, name)))
        answer = _handling_failed_commits(app, app.full_dispatch_request)
        app.full_dispatch_request = answer  # type: ignore[method-assign]
        got_request_exception.connect(_fail, app)
        request_finished.connect(_finish, app)
        app.teardown_request(_end_request)
        app.teardown_appcontext(_end_context)
        app.cli.add_command(commands)

    @property
    def pool(self) -> Pool:
        """The pool of ``GREENSHARD``, of the current application."""
        return _pool(DEFAULT)

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The current application's pools by name; that of ``GREENSHARD`` is "default"."""
        return MappingProxyType(_pools())

    @property
    def connection(self) -> greenshard.Connection:
        """This request's connection of the pool of ``GREENSHARD``.

        Outside of requests, the current application context's.

        Raises:
            greenshard.PoolTimeout: It is taken now, and none became free in time; see
                `Pool.connection` for others.

        Switches: if it is taken now.
        """
        return self.connection_of(DEFAULT)

    def connection_of(self, name: str) -> greenshard.Connection:
        """This request's connection of a pool of ``GREENSHARD_POOLS``.

        Raises:
            greenshard.ProgrammingError: No pool has that name.

        Switches: as `connection`.
        """
        pool = _pool(name)
        connection: greenshard.Connection
        connection = _scopes().setdefault(_context(), Scope()).connection(name, pool)
        return connection


def _pools() -> dict[str, Pool]:
    try:
        pools: dict[str, Pool] = current_app.extensions[_NAME]
    except KeyError:
        raise RuntimeError("this application has no pools; call init_app(app) first") from None
    return pools


def _pool(name: str) -> Pool:
    pools = _pools()
    if name not in pools:
        raise unusable(f"no pool is called {name!r}; there are {', '.join(pools)}")
    return pools[name]


def _context() -> object:
    """What the connections belong to: the request, or the application context.

    A request may run in the application context of something else, in tests above all; and a
    copied request context (`copy_current_request_context`) ends before the request does.
    """
    context: Any = _request_context if has_request_context() else flask.globals.app_ctx
    current: object = context._get_current_object()
    return current


def _scopes() -> dict[object, Scope]:
    scopes: dict[object, Scope] = g.setdefault("_greenshard", {})
    return scopes


def _rolling_back(call: Callable[..., Any]) -> Callable[..., Any]:
    """A step of the request whose exceptions roll back what was done before them.

    Flask may give the exception to a handler, which makes any response of it.
    """

    @functools.wraps(call)
    def watched(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception:
            _roll_back()
            raise

    return watched


def _handling_failed_commits(app: Any, call: Callable[..., Response]) -> Callable[..., Response]:
    """All of the request, with a failed commit given to the handler of its exception.

    Flask itself knows handlers by class only for what the view raises.
    """

    @functools.wraps(call)
    def answer(*args: Any) -> Response:
        try:
            return call(*args)
        except Exception as error:
            scope = _scopes().get(_context())
            if scope is None or scope.failure is not error:
                raise
            scope.roll_back()
            answered = app.handle_user_exception(*args, error)
            response: Response = app.finalize_request(*args, answered)
            return response

    return answer


def _roll_back() -> None:
    scope = _scopes().get(_context())
    if scope is not None:
        scope.roll_back()


def _fail(_sender: Flask, **_extra: Any) -> None:
    """Roll back what a request did that nobody handles the exception of."""
    _roll_back()


def _finish(_sender: Flask, response: Response, **_extra: Any) -> None:
    """Commit or roll back, when all of Flask's other work for the response is done."""
    scopes, context = _scopes(), _context()
    scope = scopes.get(context)
    if scope is None or not scope.in_use:
        return
    try:
        scope.settle(good=response.status_code < 400)
    except BaseException as error:
        scope.failure = error
        # It will not be sent, and its stream may hold the context of the request.
        response.close()
        raise
    sent_bit_by_bit = response.is_streamed and not response.direct_passthrough
    if response.status_code < 300 and sent_bit_by_bit:
        scope.streams = True
        response.response = Stream(response.response, functools.partial(_end, scopes, context))


def _end(scopes: dict[object, Scope], context: object, *, told: bool = False) -> None:
    scope = scopes.pop(context, None)
    if scope is not None:
        scope.end(told=told)


def _end_request(error: BaseException | None) -> None:
    _end_unless_streaming(_context(), error)


def _end_context(error: BaseException | None) -> None:
    for context in tuple(_scopes()):
        _end_unless_streaming(context, error)


def _end_unless_streaming(context: object, error: BaseException | None) -> None:
    # Flask 3.1.2 and later end the context of a request before they send a stream, and push it
    # once more for `stream_with_context`; Flask before that, only after the stream.
    scopes = _scopes()
    scope = scopes.get(context)
    if scope is not None and not (scope.streams and error is None):
        _end(scopes, context, told=error is not None)
