"""Declarations of clusters that nobody meant: made of the right words, and mutated files.

Each is a `Cluster`, or an error that lists its mistakes and quotes no connection string; in bounded
time and memory. A cluster that was made places keys, or says that it cannot.
"""

from __future__ import annotations

import datetime as dt
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import greenshard
from greenshard.cluster import HASHED_TYPES
from tests.fuzz import key_values

SECRET = "s3cr3t"
LIMIT_S = 5.0
#: So much more may the process need than before, in kilobytes.
LIMIT_KB = 400_000

_FILES = (
    f"""[shards]
s0 = "postgresql://app:{SECRET}@db0/app"
s1 = {{ primary = "host=db1 password={SECRET}" }}
[tables]
orders = {{ shard_key = "o_orderkey" }}
archive.orders = {{ shard_key = "Year", placement = {{ method = "unknown", name = "x" }} }}
"Sales.\\"Orders\\"" = {{ reference = true }}
[placement]
slots = 64
""",
    (
        '[shards]\ns0 = "dbname=a"\ns1 = "dbname=b"\n[placement]\nslots = 8\n'
        'assignment = { s0 = ["0-3"], s1 = [4, "5-7"] }\n'
    ),
    (
        '[shards]\ns0 = "dbname=a"\n[placement]\nmethod = "range"\ndefault = "s0"\n'
        'ranges = [{ below = 2020-01-01, shard = "s0" }, { below = 2021-01-01, shard = "s0" }]\n'
    ),
    (
        '[shards]\ns0 = "dbname=a"\ns1 = "dbname=b"\n[tables]\nt = { shard_key = "k", placement = '
        '{ method = "list", values = { s0 = ["de", 1, 2.5], s1 = [1979-05-27T07:32:00Z] } } }\n'
    ),
)
_TOKENS = (
    *("[", "]", "{", "}", '"', "'", "=", ".", ",", "\n", "#", '"""', "'''", "\\", "\\u00e9", "\0"),
    *("inf", "nan", "-0", "1e999", "0x_", "9" * 5000, "[[shards]]", "[tables.a.b.c]", "\ufeff"),
    *("a." * 300, "[" * 3000, "{a=" * 2000, "true", "2020-02-30", "07:32:00", '"0-99999999999"'),
    *("s0 = 1\n", "shard_key", "reference", "placement", "\r", "\x7f", "\U0001f600", "é" * 40),
)
_DEEP = (
    "deep = " + "[" * 3000 + "]" * 3000,
    "deep = " + "{a = " * 3000 + "1" + "}" * 3000,
    "a." * 30_000 + "b = 1",
    "[" + "a." * 3000 + "b]",
)
_KEYS = (
    *(
        "shards",
        "tables",
        "placement",
        "s0",
        "s1",
        "primary",
        "replicas",
        "orders",
        "a.b",
        '"A"."b"',
    ),
    *("shard_key", "reference", "method", "slots", "assignment", "values", "ranges", "below"),
    *("shard", "default", "name", "", " ", "a b", "é", '"', "\n", "x" * 70, "a.b.c", "0", "-1"),
)
#: Importing may run anything: hence only these modules.
_METHODS = (
    "hash",
    "list",
    "range",
    "unknown",
    "os.path:join",
    "no.such:thing",
    "math:pi",
    ":",
    "a:",
)


class Declarations:
    """Makes and reads declarations. Needs no database."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._path = Path(self._directory.name) / "cluster.toml"
        self.tally = {"cluster": 0, "refused": 0}

    def close(self) -> None:
        self._directory.cleanup()

    def labels(self, seed: object) -> Iterator[str]:
        """A label for each case, without an end."""
        number = 0
        while True:
            yield f"{seed}/{number}"
            number += 1

    def run(self, label: str) -> str:
        """Read a declaration; returns what is wrong, or nothing."""
        pick = Random(f"{label}/declarations")
        make = pick.choice((self._mutated, self._structured, self._in_python))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        told = make.__name__
        try:
            cluster = make(pick)
            self.tally["cluster"] += 1
            wrong = _places(cluster, pick) or (
                "shows a password" if SECRET in repr(cluster) else ""
            )
        except greenshard.ProgrammingError as error:
            self.tally["refused"] += 1
            wrong = _mistold(error)
        except Exception as error:
            wrong = f"raised {error!r}"[:500]
        if (took := time.monotonic() - started) > LIMIT_S:
            wrong += f" took {took:.1f} s"
        if (grown := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > LIMIT_KB:
            wrong += f" took {grown} KB"
        return f"{told}: {wrong}" if wrong else ""

    def _mutated(self, pick: Random) -> greenshard.Cluster:
        """A file, some of whose letters are others, gone, doubled, or new."""
        text = pick.choice(_FILES)
        for _ in range(pick.choice((0, 1, 1, 2, 3, 8, 40))):
            at, end = sorted(pick.randrange(len(text) + 1) for _ in range(2))
            end = min(end, at + 12)
            middle = pick.choice(("", text[at:end] * 2, text[at:end][::-1], pick.choice(_TOKENS)))
            text = text[:at] + middle + text[end:]
        written = text.encode(errors="replace")
        if pick.random() < 0.1:
            at = pick.randrange(len(written) + 1)
            written = written[:at] + bytes([pick.randrange(256)]) + written[at:]
        self._path.write_bytes(written)
        return greenshard.Cluster.from_toml(self._path)

    def _structured(self, pick: Random) -> greenshard.Cluster:
        """A file of the right words in any order."""
        document = {"shards": {"s0": "dbname=a", "s1": f"password={SECRET}"}}
        document |= {pick.choice(_KEYS[:4]): _value(pick, 4) for _ in range(pick.randrange(3))}
        lines = (f"{_written(key)} = {_written(each)}" for key, each in document.items())
        text = "\n".join(lines)
        if pick.random() < 0.03:
            text += "\n" + pick.choice(_DEEP)
        self._path.write_text(text, encoding="utf-8")
        return greenshard.Cluster.from_toml(self._path)

    def _in_python(self, pick: Random) -> greenshard.Cluster:
        """Arguments of any kind."""
        shards = {f"s{number}": f"dbname={number}" for number in range(pick.randrange(1, 4))}
        given: Any = shards if pick.random() < 0.7 else _value(pick, 3)
        placements = (None, _placement(pick, tuple(shards)), _value(pick, 2))
        tables: Any = {
            pick.choice(_KEYS): pick.choice(
                (
                    greenshard.Sharded(pick.choice(_KEYS), pick.choice(placements)),
                    greenshard.Reference(),
                    _value(pick, 1),
                )
            )
            for _ in range(pick.randrange(4))
        }
        return greenshard.Cluster(given, tables, pick.choice(placements))


def _value(pick: Random, depth: int) -> Any:
    """What TOML can hold: often with keys and values that a declaration has."""
    if depth and pick.random() < 0.6:
        inner = {
            pick.choice(_KEYS): _value(pick, depth - 1) for _ in range(pick.choice((0, 1, 2, 3)))
        }
        if pick.random() < 0.4:
            inner["method"] = pick.choice(_METHODS)
        return inner if pick.random() < 0.75 else list(inner.values())
    return pick.choice(
        (
            *(True, False, 0, -1, 1, 2**31, 2**63 - 1, 0.5, float("nan"), float("inf"), "", "s0"),
            *(
                "0-1",
                "0-99999999999",
                "1-0",
                "password=other",
                "dbname=a",
                "k",
                pick.choice(_KEYS),
            ),
            *(pick.choice(_METHODS), dt.date(2020, 1, 1), dt.time(7, 32), key_values.moment(pick)),
        )
    )


def _placement(pick: Random, shards: tuple[str, ...]) -> Any:
    cluster = greenshard.cluster
    some = [_value(pick, pick.choice((0, 0, 0, 1))) for _ in range(3)]
    shard = pick.choice((*shards, "none", None, 5))
    mapping = {each: shard for each in some if not isinstance(each, (dict, list))}
    return pick.choice(
        (
            cluster.Hash(pick.choice((1, 2, 256, *some)), pick.choice((None, mapping, *some))),
            cluster.List(pick.choice((mapping, *some)), pick.choice((None, shard))),
            cluster.Range([(each, shard) for each in some], pick.choice((None, shard))),
            cluster.Range(some),
            cluster.Unknown(pick.choice(("", "x", *some))),
            cluster.Function(pick.choice((*_METHODS[4:], lambda key, names: names[0], *some))),
        )
    )


def _written(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_written(k)} = {_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _mistold(error: greenshard.ProgrammingError) -> str:
    if error.code not in {"GS105", "GS106"}:
        return f"raised {error!r}, whose code is {error.code}"
    if SECRET in str(error):
        return f"shows a password: {error}"
    return "" if len(str(error)) < 100_000 else f"told {len(str(error))} letters"


def _places(cluster: greenshard.Cluster, pick: Random) -> str:
    """What is wrong with where a cluster has keys."""
    placements = [
        cluster.placement,
        *(
            cluster.placement_of(table)
            for table in cluster.tables.values()
            if isinstance(table, greenshard.Sharded)
        ),
    ]
    for placement in placements:
        for type_name in (*sorted(HASHED_TYPES), "numeric"):
            placement.objection(type_name)
            value = key_values.value(pick, type_name) if type_name in key_values.TYPES else None
            try:
                shard = placement.shards_for(value, type_name, cluster.names)
            except greenshard.ProgrammingError as error:
                if error.code != "GS107":
                    return f"placing {value!r} raised {error!r}"
                continue
            if shard is not None and shard not in cluster.names:
                return f"{placement!r} places {value!r} on {shard!r}"
    return ""
