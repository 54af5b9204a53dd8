"""greenshard under SQLAlchemy: a dialect, and clusters that are declared where the models are."""

from __future__ import annotations

try:
    import sqlalchemy as _sqlalchemy  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "greenshard.ext.sqlalchemy needs SQLAlchemy: pip install 'greenshard[sqlalchemy]'"
    ) from error

from greenshard.cluster import Reference, Sharded, Single
from greenshard.ext.sqlalchemy.dialect import GreenshardDialect
from greenshard.ext.sqlalchemy.models import cluster_from

__all__ = ["GreenshardDialect", "Reference", "Sharded", "Single", "cluster_from"]
