"""Compares the declaration of a cluster with its servers."""

from __future__ import annotations

from greenshard.checking.check import check
from greenshard.checking.findings import Finding, Repair, Report, TableReport
from greenshard.checking.repair import Repairs, repair

__all__ = ["Finding", "Repair", "Repairs", "Report", "TableReport", "check", "repair"]
