"""``python -m greenshard.cli``."""

from __future__ import annotations

from greenshard.cli import main

main(prog_name="greenshard")
