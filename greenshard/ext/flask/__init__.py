"""greenshard in Flask applications."""

from __future__ import annotations

try:
    import flask as _flask  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "greenshard.ext.flask needs Flask: pip install 'greenshard[flask]'"
    ) from error

from greenshard.ext.flask.extension import GreenShard

__all__ = ["GreenShard"]
