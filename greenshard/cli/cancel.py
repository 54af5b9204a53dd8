"""``greenshard cancel``: end a statement on all shards."""

from __future__ import annotations

import re
import sys

import click

from greenshard import errors
from greenshard.checking.findings import lasting
from greenshard.cli import terminal
from greenshard.cli.connecting import timeout_option
from greenshard.cli.declaration import chosen_and_rest, cluster_option, read_cluster
from greenshard.cli.failures import CommandFailed, ExitCode, from_error
from greenshard.cli.stdio import write_lines
from greenshard.watching import Cancelled
from greenshard.watching import cancel as cancel_parts

_WHO = re.compile(r"(?P<shard>.+):(?P<pid>[0-9]{1,9})")

EPILOG = """\
WHO is SHARD:PID, as "greenshard status" shows it. Of a statement that runs on several shards, the
parts on the others are cancelled, too: those of the same role, application, client and text that
began within two seconds of it; of several such on a shard the nearest. --only leaves them alone.

The program gets an error (57014) from the statement, and can roll back. --terminate ends the
sessions, also of a transaction that is idle; what it has not committed is rolled back.

It takes a superuser, the same role, or a member of pg_signal_backend.

\b
Exit codes:
  0  cancelled, all that was found
  1  there is no such statement, or not all could be cancelled
  2  the command line or the declaration is wrong
"""


@click.command(epilog=EPILOG)
@click.option("--only", is_flag=True, help="Leave the statement's parts on other shards alone.")
@click.option("--terminate", is_flag=True, help="End the sessions.")
@timeout_option("Give up after this long.", 5.0)
@cluster_option
@click.argument("words", nargs=-1, metavar="[CLUSTER] WHO")
def cancel(
    *, only: bool, terminate: bool, timeout: float, named: str | None, words: tuple[str, ...]
) -> None:
    """Cancel a statement on all shards that it runs on.

    CLUSTER is the TOML file that declares them, if -c does not name it.
    """
    path, who = chosen_and_rest(named, words, "WHO")
    declared = read_cluster(path)
    found = _WHO.fullmatch(who)
    if found is None or found["shard"] not in declared.names:
        names = ", ".join(declared.names)
        raise click.UsageError(f"{who} is no SHARD:PID, as in s0:4711; there are {names}.")
    try:
        done = cancel_parts(
            declared,
            found["shard"],
            int(found["pid"]),
            only=only,
            terminate=terminate,
            timeout=timeout,
        )
    except errors.Error as error:
        raise from_error(error) from error
    if not done:
        raise CommandFailed(
            f"{who} is in no transaction", hint='"greenshard status" shows which are'
        )
    write_lines([terminal.cell(_told(each, terminate=terminate)) for each in done])
    failed = any(each.why_not is not None for each in done)
    sys.exit(ExitCode.DATABASE_ERROR if failed else ExitCode.OK)


def _told(done: Cancelled, *, terminate: bool) -> str:
    part = done.part
    what = "ended" if terminate else "cancelled"
    if done.ended:
        what = "had ended"
    if done.why_not is not None:
        what = f"not {what} ({done.why_not})"
    return f"{part.shard}:{part.pid} {what}, after {lasting(part.statement_s)}: {part.sql}"
