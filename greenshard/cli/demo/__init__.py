"""``greenshard demo``: the command, and what only it needs: its data, its queries, its screen.

``flights`` and ``loading`` also serve ``examples/`` and ``benchmarks/``, which show the same data.
"""

from __future__ import annotations

from greenshard.cli.demo.command import demo

__all__ = ["demo"]
