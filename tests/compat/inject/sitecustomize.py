"""Patch psycopg2 the moment a process imports it: the suite's own, and those its tests start.

Python imports this file at start-up because its directory is on ``PYTHONPATH``. It does nothing
until psycopg2 is imported (one test imports psycopg2's C module on its own, without the package).
``GREENSHARD_COMPAT_SIDE`` names the side of the comparison:

* ``psycopg2``: psycogreen's wait callback is installed;
* ``greenshard``: that, and ``psycopg2.connect`` becomes ``greenshard.connect``. Nothing else does.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class PatchOnImport(MetaPathFinder):
    """Finds psycopg2 as usual, once, and patches it after its module has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return psycopg2's own spec with a loader that patches; None for other modules."""
        if fullname != "psycopg2":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        run_module = spec.loader.exec_module

        def run_and_patch(module: ModuleType) -> None:
            run_module(module)
            patch(module)

        spec.loader.exec_module = run_and_patch  # type: ignore[method-assign]
        return spec


def patch(psycopg2: Any) -> None:
    """Make psycopg2 green, and on greenshard's side replace its ``connect``."""
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()
    if os.environ["GREENSHARD_COMPAT_SIDE"] == "greenshard":
        import greenshard

        psycopg2.connect = replacement(psycopg2.connect, greenshard.connect)


def replacement(original: Any, connect: Any) -> Any:
    """Return a function that calls `connect`; calls from inside greenshard reach `original`."""

    def replaced_connect(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals["__name__"]
        from_greenshard = caller.partition(".")[0] == "greenshard"
        return (original if from_greenshard else connect)(*args, **kwargs)

    return replaced_connect


sys.meta_path.insert(0, PatchOnImport())
