"""The command line: ``greenshard``, one file per command; the demo is a package."""

from __future__ import annotations

import click

import greenshard
from greenshard.cli.cancel import cancel
from greenshard.cli.check import check
from greenshard.cli.coordinator import coordinator
from greenshard.cli.demo import demo
from greenshard.cli.dev import dev
from greenshard.cli.explain import explain
from greenshard.cli.init import init
from greenshard.cli.program import Program
from greenshard.cli.query import query
from greenshard.cli.recover import recover
from greenshard.cli.status import status

__all__ = ["main"]


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(greenshard.__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Query many PostgreSQL shards as if they were one."""


main.add_command(cancel)
main.add_command(check)
main.add_command(coordinator)
main.add_command(demo)
main.add_command(dev)
main.add_command(explain)
main.add_command(init)
main.add_command(query)
main.add_command(recover)
main.add_command(status)
