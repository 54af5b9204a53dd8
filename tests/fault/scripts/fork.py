"""Use, close and forget in a child process what the parent opened; the parent goes on.

Arguments: how the child ends ("exit" or "_exit"), the shards' connection strings.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import sys

import greenshard

# A freeze ends the process, and shows where it is.
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(30)

end, *dsns = sys.argv[1:]
conn = greenshard.connect(dsns)
one = greenshard.connect(dsns[0])
cur = conn.cursor()
cur.execute("CREATE TEMP TABLE kept (x int)")
conn.commit()
cur.execute("SELECT 1")
named = conn.cursor("streamed")
named.execute("SELECT generate_series(1, 1000)")
named.fetchmany(10)
pids = [p.raw.info.backend_pid for p in conn._session.alive]


def set_attribute(name, value):
    return lambda: setattr(conn, name, value)


CALLS = {
    "execute": lambda: cur.execute("SELECT 1"),
    "executemany": lambda: cur.executemany("SELECT %s", [(1,)]),
    "callproc": lambda: cur.callproc("now"),
    "mogrify": lambda: cur.mogrify("SELECT 1"),
    "fetchone": cur.fetchone,
    "fetchmany": cur.fetchmany,
    "fetchall": cur.fetchall,
    "next": lambda: next(cur),
    "scroll": lambda: cur.scroll(0),
    "named fetchone": named.fetchone,
    "named fetchmany": lambda: named.fetchmany(100),
    "named close": named.close,
    "cursor close": cur.close,
    "cursor": conn.cursor,
    "commit": conn.commit,
    "rollback": conn.rollback,
    "with": conn.__enter__,
    "cancel": conn.cancel,
    "reset": conn.reset,
    "poll": conn.poll,
    "isexecuting": conn.isexecuting,
    "fileno": one.fileno,
    "get_backend_pid": one.get_backend_pid,
    "get_transaction_status": conn.get_transaction_status,
    "get_parameter_status": lambda: conn.get_parameter_status("TimeZone"),
    "get_dsn_parameters": conn.get_dsn_parameters,
    "set_session": lambda: conn.set_session(readonly=True),
    "set_isolation_level": lambda: conn.set_isolation_level(1),
    "set_client_encoding": lambda: conn.set_client_encoding("UTF8"),
    "autocommit": set_attribute("autocommit", True),
    "isolation_level": set_attribute("isolation_level", 2),
    "readonly": set_attribute("readonly", True),
    "deferrable": set_attribute("deferrable", True),
    "on": lambda: conn.on("s0"),
    "broadcast": conn.broadcast,
    "xid": lambda: conn.xid(1, "g", "b"),
    "tpc_begin": lambda: one.tpc_begin("x"),
    "tpc_prepare": one.tpc_prepare,
    "tpc_commit": one.tpc_commit,
    "tpc_rollback": one.tpc_rollback,
    "tpc_recover": one.tpc_recover,
    "ping": conn.ping,
    "close": conn.close,
}


def outcome(call):
    try:
        call()
    except Exception as exc:
        return [isinstance(exc, greenshard.InterfaceError), getattr(exc, "code", None)]
    return "ok"


def say(**what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


child = os.fork()
if not child:
    signal.alarm(20)
    for name, call in CALLS.items():
        say(call=name, outcome=outcome(call))
    say(closed=[conn.closed, one.closed])
    repr(conn), repr(cur), conn.shards
    del conn, one, cur, named, CALLS, call
    gc.collect()
    os._exit(0) if end == "_exit" else sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
# The same sessions, in the same transaction, at the same row.
assert named.fetchone() == (11,)
cur.execute("SELECT count(*) FROM kept")
assert cur.fetchall() == [(0,)] * len(dsns)
conn.commit()
assert (conn.closed, one.closed) == (0, 0)
assert [p.raw.info.backend_pid for p in conn._session.alive] == pids
conn.close()
one.close()
say(finished=True)
