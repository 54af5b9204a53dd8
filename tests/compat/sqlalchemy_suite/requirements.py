"""What SQLAlchemy's suite may ask of a cluster: what it asks of PostgreSQL, but for this."""

from __future__ import annotations

import json
import os

from sqlalchemy.testing import exclusions
from test.requirements import DefaultRequirements  # the suite's own, not Python's test package

MODE = json.loads(os.environ["GREENSHARD_SUITE"])["mode"]
OVER_ONE = MODE in {"psycopg2", "one"}


class Requirements(DefaultRequirements):
    """The suite's, without what greenshard refuses by name.

    Fixtures of whole test classes make these, so that none of their tests would run.
    """

    @property
    def temporary_views(self):
        """CREATE TEMPORARY VIEW over several shards."""
        return super().temporary_views if OVER_ONE else exclusions.closed()

    @property
    def materialized_views(self):
        """CREATE MATERIALIZED VIEW: each shard would fill it with its own rows."""
        return super().materialized_views if OVER_ONE else exclusions.closed()

    @property
    def temp_table_reflection(self):
        """PostgreSQL prepares no transaction that has made temporary tables."""
        return super().temp_table_reflection if MODE != "two-phase" else exclusions.closed()

    @property
    def has_temp_table(self):
        """The same."""
        return super().has_temp_table if MODE != "two-phase" else exclusions.closed()
