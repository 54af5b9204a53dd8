"""Starts the application over PostgreSQL servers of its own.

That is what ``make app`` does, or without make::

    python examples/flask_app/start.py --bind 127.0.0.1:8080

Ctrl-C stops it and the servers.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from greenshard.cli.demo.flights import MissingData
from greenshard.testing import ShardError, Shards

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from flask_app.loading import load  # noqa: E402  (examples/ is not installed)


def main() -> None:
    arguments = read_arguments()
    # As Ctrl-C does, end through the blocks that stop what was started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        check_free(arguments.bind)
        start(arguments.bind, arguments.shards)
    except (OSError, MissingData, ShardError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\nstopped")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The flights application, with its own servers.")
    parser.add_argument(
        "--bind",
        metavar="ADDRESS:PORT",
        default=os.environ.get("BIND", "127.0.0.1:8000"),
        help="where to listen (default: the variable BIND, or 127.0.0.1:8000)",
    )
    parser.add_argument("--shards", type=int, default=4, help="how many servers (default: 4)")
    return parser.parse_args()


def check_free(bind: str) -> None:
    """Tell at once, and not when the flights are loaded, that the port is taken.

    Raises:
        OSError: It is, or there is no such address.
    """
    host, _, port = bind.rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except (OSError, ValueError, OverflowError) as error:
        hint = "name another place: make app BIND=127.0.0.1:8080"
        raise OSError(f"cannot listen on {bind} ({error}); {hint}") from None


def start(bind: str, count: int) -> None:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="greenshard-") as home, Shards(count) as shards:
        print(f"{count} PostgreSQL servers are up; loading the flights of 2013 ...", flush=True)
        cluster = Path(home) / "cluster.toml"
        flights = load(shards.dsns, cluster)
        print(f"{flights:,} flights loaded, {time.perf_counter() - began:.1f} s in all", flush=True)
        print(f"\n    http://{bind}/\n\nCtrl-C stops everything.\n", flush=True)
        serve(bind, cluster)


def serve(bind: str, cluster: Path) -> None:
    """Run gunicorn until it ends, or this process is told to end."""
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", str(HERE / "gunicorn.conf.py"), "-b", bind],
        env={**os.environ, "GREENSHARD_CLUSTER": str(cluster)},
        start_new_session=True,  # Ctrl-C shall not reach its workers, but gunicorn, which ends them
    )
    try:
        status = server.wait()
    finally:
        server.terminate()
        server.wait()
    sys.exit(status)


if __name__ == "__main__":
    main()
