"""The program's arguments, and its parts one after the other."""

from __future__ import annotations

import argparse
import secrets

from tests.soak.bounds import Bounds
from tests.soak.report import Report
from tests.soak.scene import Scene
from tests.soak.soak import Soak, Until


def main(argv=None):
    options = _options(argv)
    report = Report(options.seed)
    bounds = Bounds(clients=options.clients)
    until = Until(options.kills, options.minutes * 60)
    with Scene() as scene:
        Soak(scene, bounds, report, until).run()
    return report.conclude()


def _options(argv):
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seed", default=str(secrets.randbits(32)))
    parser.add_argument("--kills", type=int, default=10_000, help="greenlets to kill or time out")
    parser.add_argument("--minutes", type=float, default=60.0, help="the longest time")
    parser.add_argument("--clients", type=int, default=200, help="at the same time")
    return parser.parse_args(argv)
