"""Input that nobody meant, by the thousand: ``make fuzz``.

Prints progress and each violation with its label; ``--only LABEL`` repeats one. The exit code is 1
if there was a violation. The tests run a short form of each part.
"""

# ruff: noqa: T201  # it is a program

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import psycopg2

from greenshard.testing import Shard, Shards
from tests.fault.relay import Relay
from tests.fault.scene import Scene
from tests.fuzz.declarations import Declarations
from tests.fuzz.keys import Keys
from tests.fuzz.names import Names
from tests.fuzz.wire import Wire
from tests.postgres.deployment.certificates import Authority


class Fuzzer(Protocol):
    """One part of the program."""

    def labels(self, seed: object) -> Iterator[str]:
        """What can be tried: a label for each case, maybe without an end."""

    def run(self, label: str) -> str:
        """Try one case; returns what is wrong, or nothing."""


@contextlib.contextmanager
def _declarations(_seed: object) -> Iterator[Fuzzer]:
    with contextlib.closing(Declarations()) as declarations:
        yield declarations
        print(declarations.tally)


@contextlib.contextmanager
def _keys(seed: object) -> Iterator[Fuzzer]:
    with Shards(1) as shards, contextlib.closing(Keys(shards, seed)) as keys:
        yield keys
        print(keys.tally)


@contextlib.contextmanager
def _names(seed: object) -> Iterator[Fuzzer]:
    with Shards(1) as shards, contextlib.closing(Names(shards, seed)) as names:
        yield names
        print(names.tally)


@contextlib.contextmanager
def _wire(seed: object) -> Iterator[Fuzzer]:
    with Shards(3, settings={"client_connection_check_interval": "100ms"}) as shards:
        relay = Relay(str(next(shards["s1"].data_dir.parent.glob(".s.PGSQL.[0-9]*[0-9]"))))
        try:
            wire = Wire(Scene(shards, relay))
            wire.learn()
            yield wire
        finally:
            relay.close()


@contextlib.contextmanager
def _wire_with_tls(_seed: object) -> Iterator[Fuzzer]:
    """The same, encrypted: any corruption must be noticed. The wheel's servers know no TLS."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not installed or shutil.which("openssl") is None:
        print("skipped: it needs the servers that Debian packages, and openssl")
        yield Nothing()
        return
    settings = {"client_connection_check_interval": "100ms"}
    with (
        tempfile.TemporaryDirectory() as directory,
        Shards(3, tcp=True, bin_dir=installed[-1], settings=settings) as shards,
    ):
        victim = shards["s1"]
        encrypt(victim, Authority(Path(directory)))
        relay = Relay(victim.tcp_address[1])
        try:
            wire = Wire(Scene(shards, relay), tls=True)
            wire.learn()
            yield wire
        finally:
            relay.close()


def encrypt(shard: Shard, authority: Authority) -> None:
    """Let a server speak TLS, and trust whoever does."""
    authority.certify("localhost", shard.data_dir, "server")
    owner = shard.data_dir.stat()
    for name in ("server.crt", "server.key"):
        os.chown(shard.data_dir / name, owner.st_uid, owner.st_gid)
    (shard.data_dir / "pg_hba.conf").write_text("local all all trust\nhostssl all all all trust\n")
    with contextlib.closing(psycopg2.connect(shard.dsn)) as conn:
        conn.autocommit = True
        conn.cursor().execute("ALTER SYSTEM SET ssl = on")
        conn.cursor().execute("SELECT pg_reload_conf()")


class Nothing:
    """A part that cannot be tried here."""

    def labels(self, seed: object) -> Iterator[str]:
        yield from ()

    def run(self, label: str) -> str:
        return ""


#: Each part, and how many cases it tries; None for all that there are.
_PARTS: dict[str, tuple[Callable[[object], AbstractContextManager[Fuzzer]], int | None]] = {
    "declarations": (_declarations, 100_000),
    "keys": (_keys, 20_000),
    "names": (_names, 500),
    "wire": (_wire, None),
    "wire-tls": (_wire_with_tls, None),
}

#: libpq 17.11 crashes when a TLS handshake is cut off in the middle.
_ONLY_IF_NAMED = ("wire-tls",)


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    print(f"seed {options.seed}")
    parts = options.parts or [part for part in _PARTS if part not in _ONLY_IF_NAMED]
    return 1 if sum(_run(part, options) for part in parts) else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *_PARTS], help="what to try; all of it")
    parser.add_argument("--seed", default=str(secrets.randbits(32)))
    parser.add_argument("--count", type=int, help="cases of each part")
    parser.add_argument("--step", type=int, default=1, help="try only each so many-th case")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--only", metavar="LABEL", help="try one case")
    parser.add_argument("--stop-after", type=int, default=20, help="violations")
    return parser.parse_args(argv)


def _run(part: str, options: argparse.Namespace) -> int:
    """Run one part; returns how many cases went wrong."""
    make, count = _PARTS[part]
    tried, wrong, start = 0, 0, time.monotonic()
    print(f"== {part}", flush=True)
    with make(options.seed) as fuzzer:
        for label in _labels(fuzzer, options, options.count or count):
            what = fuzzer.run(label)
            tried += 1
            if what:
                wrong += 1
                print(f"\nWRONG {label}\n  {what}", flush=True)
            if tried % 500 == 0:
                print(
                    f"{tried:6} cases, {time.monotonic() - start:5.0f} s, {wrong} wrong", flush=True
                )
            if wrong >= options.stop_after:
                break
    print(f"{tried:6} cases, {time.monotonic() - start:5.0f} s, {wrong} wrong")
    return wrong


def _labels(fuzzer: Fuzzer, options: argparse.Namespace, count: int | None) -> Iterator[str]:
    if options.only:
        yield options.only
        return
    tried = 0
    for number, label in enumerate(fuzzer.labels(options.seed)):
        if number < options.first or (number - options.first) % options.step:
            continue
        if count is not None and tried >= count:
            return
        tried += 1
        yield label


if __name__ == "__main__":
    sys.exit(main())
