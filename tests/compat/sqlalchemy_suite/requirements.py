"""What SQLAlchemy's suite may ask of a cluster: what it asks of PostgreSQL, but for this."""

from __future__ import annotations

import json
import os

from sqlalchemy.testing import exclusions
from test.requirements import DefaultRequirements  # the suite's own, not Python's test package


class Requirements(DefaultRequirements):
    """The suite's, without what greenshard refuses by name."""

    @property
    def temporary_views(self):
        """A temporary view is one session's on one server; tables of a test class hang on it."""
        one = json.loads(os.environ["GREENSHARD_SUITE"])["mode"] == "one"
        return super().temporary_views if one else exclusions.closed()
