"""Call every entry point of a connection while another greenlet executes on it.

Prints one line of JSON for each call, so that a freeze shows where it happened; a freeze ends the
process. Arguments: "with" to try only that block, or "all" but that; the shards' connection
strings.
"""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
from functools import partial

import gevent

import greenshard

# A freeze ends the process, and shows where it is.
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(20)

what, *dsns = sys.argv[1:]
conn = greenshard.connect(dsns, cancel_grace=20.0)
one = len(conn.shards) == 1
xid = conn.xid(1, "global", "branch")
named = conn.cursor("streamed")
named.execute("SELECT generate_series(1, 1000)")
busy = conn.cursor()
other = conn.cursor()


def set_attribute(name, value):
    return lambda: setattr(conn, name, value)


def enter():
    with conn:
        conn.cursor().execute("SELECT 1")


GUARDED = {
    "execute": lambda: other.execute("SELECT 1"),
    "execute on the busy cursor": lambda: busy.execute("SELECT 1"),
    "executemany": lambda: other.executemany("SELECT %s", [(1,), (2,)]),
    "callproc": lambda: other.callproc("now"),
    "execute of a named cursor": lambda: conn.cursor("second").execute("SELECT 1"),
    "fetchone of a named cursor": named.fetchone,
    "fetchmany of a named cursor": lambda: named.fetchmany(3),
    "fetchall of a named cursor": named.fetchall,
    "next of a named cursor": lambda: next(named),
    "close of a named cursor": named.close,
    "commit": conn.commit,
    "rollback": conn.rollback,
    "with": enter,
    "close": conn.close,
    "reset": conn.reset,
    "set_session": lambda: conn.set_session(readonly=True),
    "set_isolation_level": lambda: conn.set_isolation_level(1),
    "set_client_encoding": lambda: conn.set_client_encoding("UTF8"),
    "autocommit": set_attribute("autocommit", True),
    "isolation_level": set_attribute("isolation_level", 2),
    "readonly": set_attribute("readonly", True),
    "deferrable": set_attribute("deferrable", True),
    "poll": conn.poll,
}
if one:
    GUARDED |= {
        "scroll of a named cursor": lambda: named.scroll(1),
        "tpc_begin": lambda: conn.tpc_begin(xid),
        "tpc_prepare": conn.tpc_prepare,
        "tpc_commit": lambda: conn.tpc_commit(xid),
        "tpc_rollback": lambda: conn.tpc_rollback(xid),
        "tpc_recover": conn.tpc_recover,
    }
if what == "with":
    GUARDED = {"with": GUARDED.pop("with")}
else:
    del GUARDED["with"]
#: These may answer or fail, but neither freeze nor disturb the statement.
HARMLESS = {
    "close of the busy cursor": busy.close,
    "fetchone of the busy cursor": busy.fetchone,
    "fetchall of the busy cursor": busy.fetchall,
    "description of the busy cursor": lambda: busy.description,
    "rowcount of the busy cursor": lambda: busy.rowcount,
    "statusmessage of the busy cursor": lambda: busy.statusmessage,
    "mogrify of the busy cursor": lambda: busy.mogrify("SELECT %s", ("x",)),
    "cursor": conn.cursor,
    "mogrify": lambda: other.mogrify("SELECT %s", ("x",)),
    "status": lambda: conn.status,
    "closed": lambda: conn.closed,
    "isexecuting": conn.isexecuting,
    "get_transaction_status": conn.get_transaction_status,
    "fileno": conn.fileno,
    "repr": lambda: repr(conn),
    "notices": lambda: conn.notices,
    "notifies": lambda: conn.notifies,
    "encoding": lambda: conn.encoding,
    "info": lambda: conn.info.host,
    "dsn": lambda: conn.dsn,
    "get_dsn_parameters": conn.get_dsn_parameters,
    "get_parameter_status": lambda: conn.get_parameter_status("TimeZone"),
    "get_backend_pid": conn.get_backend_pid,
    "server_version": lambda: conn.server_version,
    "xid": lambda: conn.xid(2, "g", "b"),
    "read autocommit": lambda: conn.autocommit,
    "read isolation_level": lambda: conn.isolation_level,
    "on": lambda: conn.on(conn.shards[0]),
}


def outcome(call):
    try:
        call()
    except greenshard.Error as exc:
        return exc.code or type(exc).__name__
    except Exception as exc:
        return type(exc).__name__
    return "ok"


def say(**what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


#: Refused in a transaction for that reason.
SETTINGS = ("set_session", "autocommit", "isolation_level", "readonly", "deferrable")

for name, call in GUARDED.items():
    say(starting=name)
    if name in SETTINGS:
        conn.rollback()
        conn.autocommit = True
    running = gevent.spawn(outcome, lambda: other.execute("SELECT pg_sleep(30)"))
    gevent.sleep(0.01)
    say(guarded=name, outcome=outcome(call))
    conn.cancel()
    running.join()
    say(ended=name, outcome=running.value)
    conn.rollback()
    conn.autocommit = False
    named = conn.cursor("streamed")
    named.execute("SELECT generate_series(1, 1000)")
for name, call in HARMLESS.items():
    say(starting=name)
    if "busy" in name:
        busy = conn.cursor()
    running = gevent.spawn(outcome, partial(busy.execute, "SELECT 'mine' FROM pg_sleep(0.02)"))
    gevent.sleep(0.005)
    say(harmless=name, outcome=outcome(call))
    running.join()
    say(undisturbed=name, outcome=running.value)
running = gevent.spawn(outcome, lambda: other.execute("SELECT 'mine' FROM pg_sleep(0.1)"))
while not running.ready():
    outcome(conn.poll)
    outcome(conn.isexecuting)
    gevent.sleep(0.0001)
say(polled=running.value, rows=other.fetchall())
conn.rollback()
conn.close()
say(finished=True)
