"""The class of the ``parallel_connection`` package of 2015: one connection made of several."""

from __future__ import annotations

from greenshard.parallel.connection import ParallelConnection

__all__ = ["ParallelConnection"]
