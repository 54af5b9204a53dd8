"""Fixtures that every test of this project may use."""

from __future__ import annotations

import pytest

from greenshard.testing import pytest_plugin


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures, unless the entry point of an installed greenshard did it already.

    `pytest_plugins` would fail then: the entry point has another name than the module.
    """
    if not config.pluginmanager.is_registered(pytest_plugin):
        config.pluginmanager.register(pytest_plugin, "greenshard")
