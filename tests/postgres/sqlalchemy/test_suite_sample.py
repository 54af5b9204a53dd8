"""A few classes of SQLAlchemy's own dialect suite over two shards; the command has all."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import greenshard
from tests.meta.pages import ROOT

CONFTEST = """
import pytest
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")
from sqlalchemy.testing.plugin.pytestplugin import *
"""
SETTINGS = """
[sqla_testing]
requirement_cls = sqlalchemy.testing.requirements:SuiteRequirements
profile_file = profiles.txt
"""
CLASSES = ("CompoundSelectTest", "InsertBehaviorTest", "RowFetchTest", "SimpleUpdateDeleteTest")


def test_sample_of_the_dialect_suite_passes_over_shards_by_primary_key(greenshard_shards, tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    suite = f"from sqlalchemy.testing.suite import {', '.join(CLASSES)}"
    (tmp_path / "test_sample.py").write_text(suite)
    (tmp_path / "setup.cfg").write_text(SETTINGS)
    with greenshard_shards.databases() as dsns:
        greenshard.init(greenshard.Cluster(dsns, {"greenshard_suite": greenshard.Reference()}))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "--tb=short", "test_sample.py"),
                *("-p", "tests.compat.sqlalchemy_suite.suite_dialect", "-p", "no:randomly"),
                *("--dburi", "postgresql+greenshard://", "-p", "no:cacheprovider"),
                *("-p", "no:greenshard.testing.pytest_plugin", "-n0"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "GREENSHARD_SUITE": json.dumps({"mode": "two-phase", "shards": dsns}),
                "PYTHONPATH": str(ROOT),
                "PYTEST_ADDOPTS": "",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) > 10
