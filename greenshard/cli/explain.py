"""``greenshard explain``: how a statement would be run over a declared cluster."""

from __future__ import annotations

import sys
from textwrap import indent

import click

import greenshard
from greenshard import errors
from greenshard.cli import terminal
from greenshard.cli.connecting import (
    check_parameters,
    connect_timeout_option,
    connected,
    parameters_option,
    timeout_option,
)
from greenshard.cli.declaration import chosen_and_rest, cluster_option, read_cluster
from greenshard.cli.failures import ExitCode, from_error
from greenshard.cli.stdio import read_sql, write_lines

STRATEGY = "strategy: "
REFUSED = f"{STRATEGY}refused"

EPILOG = """\
\b
Examples:
  greenshard explain -c cluster.toml "SELECT count(*) FROM orders"
  greenshard explain -c cluster.toml -p 7 "SELECT * FROM orders WHERE id = %s"
  greenshard explain -c cluster.toml --verbose - < report.sql

The plan goes to standard output. Nothing is run (but with --analyze): a shard is only asked which
tables and columns there are. If the SQL has %s in it, give values with -p: they decide which shards
are meant. Without them, or with ? or $1 as a log has it, the plan is that for any values.

Strategies, the cheapest first: route (one shard has all the rows), reference (every shard has
them), concatenate (each shard's answer is a part), merge (such parts, sorted), combine (aggregates
of aggregates), gather (the rows are brought to one server). "subqueries" computes what gives few
rows first. What a gather needs too many rows for is run by the coordinator, if one is declared
("coordinator" in events and timings).

Writes: "insert" puts each row on the shard of its key; "carry" and "transfer" bring rows to the
shards, which write by them; "move" lets rows go to the shards of their new keys; "mirror" writes a
reference table on the first shard, and what came of it on the others; "staged" runs the parts of a
statement one after the other, each by its own strategy.

"broadcast" is for statements that run on all shards, such as SET and DDL; "setting" is setval() of
rows that are read first; "several" are the statements of one string. "create", "declare", "fetch",
"close", "execute" and "explain" do what they say. "refused": none can do it, and the plan says why.

\b
Exit codes:
  0  there is a plan
  1  the statement is refused, or a shard reported an error
  2  the command line or the cluster's file is wrong
  4  no answer within --timeout
  5  a shard could not be reached
  6  the plan could not be written
"""


@click.command(epilog=EPILOG)
@cluster_option
@click.argument("words", nargs=-1, metavar="[CLUSTER] SQL")
@parameters_option
@click.option(
    "-v", "--verbose", is_flag=True, help="Tell why cheaper strategies could not be taken."
)
@click.option(
    "--analyze",
    is_flag=True,
    help="Run it, and print each shard's EXPLAIN ANALYZE under the plan; then it is rolled back.",
)
@timeout_option("Give up asking the shards after this long.")
@connect_timeout_option
def explain(
    *,
    named: str | None,
    words: tuple[str, ...],
    parameters: tuple[str, ...],
    verbose: bool,
    analyze: bool,
    timeout: float | None,
    connect_timeout: float,
) -> None:
    """Print how a statement would be run over the shards of a cluster.

    CLUSTER is the TOML file that declares them, if -c does not name it. SQL is one statement; "-"
    reads it from standard input.
    """
    cluster, sql = chosen_and_rest(named, words, "SQL")
    text = read_sql(sql)
    declared = read_cluster(cluster)
    with connected(declared, timeout=timeout, connect_timeout=connect_timeout) as conn:
        check_parameters(conn, text, parameters)
        try:
            plan = conn.explain(text, parameters or None, verbose)
            if analyze and not plan.startswith(REFUSED):
                plan = _analyzed(conn, text, parameters, plan)
        except errors.Error as error:
            raise from_error(error) from error
    write_lines([terminal.lines(plan)])
    sys.exit(ExitCode.DATABASE_ERROR if plan.startswith(REFUSED) else ExitCode.OK)


def _analyzed(
    conn: greenshard.Connection, text: str, parameters: tuple[str, ...], plan: str
) -> str:
    """The plan, with what each shard tells of its part after it has run it. Switches: yes."""
    try:
        with conn.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE) {text}", parameters or None)
            lines = [str(line) for (line,) in cursor.fetchall()]
    finally:
        conn.rollback()
    # Over several shards the plan is told, too.
    whole = "\n".join(lines)
    return (
        whole if lines[0].startswith(STRATEGY) else f"{plan}\nplan there:\n{indent(whole, '    ')}"
    )
