"""The processes that are killed: each job is done in a fork of one that has all modules loaded.

Reads a job of one line of JSON at a time, forks, and waits for the fork to end. The fork says what
it has done, a line of JSON each, as does its parent when it is gone::

    {"pid": ...}                            it is there
    {"begun": true}                         all is written, and commit() is about to be called
    {"committed": true}                     commit() has returned
    {"error": "...", "kind": ..., ...}      or raised
    {"committed_next": true}                the next transaction of the connection has committed
    {"ended": ...}                          the fork's status
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from contextlib import closing, suppress

import gevent

import greenshard
from tests.crash import tellers
from tests.crash.wrong_recovery import recover_wrongly

#: The application name of the connections, which the proxy knows them by.
NAME = "crash"


def say(**what: object) -> None:
    # In one write: who is killed says all of it or nothing.
    os.write(1, json.dumps(what).encode() + b"\n")


def transaction(dsns, **what):
    """Write a row on some shards, read on others, and commit; a greenlet that SIGUSR1 kills."""
    committing = gevent.spawn(_transaction, dsns, **what)

    def kill():
        say(signalled=True)
        committing.kill(block=False)

    gevent.signal_handler(signal.SIGUSR1, kill)
    committing.get()


def _transaction(dsns, writers, readers, x, by, timeout, **options):
    with closing(
        greenshard.connect(dsns, application_name=NAME, timeout=timeout, **options)
    ) as conn:
        try:
            if by == "autocommit":
                conn.autocommit = True
                say(begun=True)
                _write(conn, writers, x)
            else:
                _write(conn, writers, x)
                if readers:
                    conn.on(readers).cursor().execute("SELECT count(*) FROM writes")
                say(begun=True)
                conn.commit() if by == "method" else conn.cursor().execute("COMMIT")
            say(committed=True)
        except (greenshard.Error, gevent.GreenletExit) as error:
            say(
                error=str(error),
                kind=type(error).__name__,
                gid=getattr(error, "gid", None),
                committed_on=getattr(error, "committed", None),
            )
        _once_more(conn, writers, -x)


def _once_more(conn, writers, x):
    """What became of one transaction must not matter to the next one of its connection."""
    with suppress(greenshard.Error):
        conn.rollback()
        _write(conn, writers, x)
        conn.commit()
        say(committed_next=True)


def _write(conn, writers, x):
    with conn.on(writers):
        conn.broadcast().cursor().execute("INSERT INTO writes VALUES (%s)", (x,))


def recover(dsns, fault):
    """Finish what is in doubt, rightly or not; tell how many parts were finished."""
    if fault is None:
        say(recovered=len(greenshard.recover(dsns).finished))
    else:
        recover_wrongly(dsns, fault)


def outcome(dsns, gid):
    """Tell what became of a transaction."""
    say(outcome=greenshard.outcome(gid, dsns).value)


def transfers(dsns, count):
    """Transfer money, in several greenlets, until the process is killed."""
    tellers.Tellers(dsns, say).work(count)


def audit(dsns):
    """Add the money up until the process is killed."""
    tellers.audit(dsns, say)


JOBS = {job.__name__: job for job in (transaction, recover, outcome, transfers, audit)}


def main() -> None:
    # What is left in doubt is logged, and here that is what is wanted.
    logging.getLogger("greenshard").addHandler(logging.NullHandler())
    say(ready=True)
    for line in iter(sys.stdin.readline, ""):
        kind, arguments = json.loads(line)
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            say(ended=status)
            continue
        status = 1
        try:
            say(pid=os.getpid())
            JOBS[kind](**arguments)
            status = 0
        finally:
            if status:
                sys.excepthook(*sys.exc_info())
            os._exit(status)


if __name__ == "__main__":
    main()
