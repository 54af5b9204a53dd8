"""Fixtures that every test of this project may use."""

from __future__ import annotations

import pytest

from greenshard.testing import pytest_plugin


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures, unless the entry point of an installed greenshard did it already.

    `pytest_plugins` is for a conftest.py in the root directory only.
    """
    if not config.pluginmanager.is_registered(pytest_plugin):
        config.pluginmanager.register(pytest_plugin, "greenshard")
