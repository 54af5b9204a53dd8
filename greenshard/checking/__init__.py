"""Compares the declaration of a cluster with its servers."""

from __future__ import annotations

from greenshard.checking.check import check
from greenshard.checking.findings import Finding, Report, TableReport

__all__ = ["Finding", "Report", "TableReport", "check"]
