"""The program's arguments, and its parts one after the other."""

# ruff: noqa: T201  # it is a program

from __future__ import annotations

import argparse
import secrets

from tests.soak.bounds import SHORT, Bounds
from tests.soak.part import Until
from tests.soak.report import Report
from tests.soak.scene import Scene
from tests.soak.soak import Soak
from tests.soak.web import WebSoak


def main(argv=None):
    options = _options(argv)
    bounds = SHORT if options.short else Bounds()
    parts = {"pools": Soak, "web": WebSoak}
    codes = []
    with Scene() as scene:
        for name in options.parts.split(","):
            report = Report(options.seed)
            print(f"== {name}: seed {options.seed}", flush=True)
            parts[name](scene, bounds, report, _until(name, options)).run()
            codes.append(report.conclude())
    return max(codes)


def _until(name, options):
    """Most of the time is for the pools."""
    if options.parts == name:
        return Until(options.kills, options.minutes * 60)
    share = 0.7 if name == "pools" else 0.3
    return Until(round(options.kills * share), options.minutes * 60 * share)


def _options(argv):
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seed", default=str(secrets.randbits(32)))
    parser.add_argument("--kills", type=int, default=10_000, help="requests to end early, in all")
    parser.add_argument("--minutes", type=float, default=60.0, help="the longest time")
    parser.add_argument("--short", action="store_true", help="as in CI: less of all")
    parser.add_argument("--parts", default="pools,web", help="what is soaked")
    return parser.parse_args(argv)
