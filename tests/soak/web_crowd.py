"""Many clients of a web server, and those who go away before their time."""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import time
from collections import Counter
from itertools import count

import gevent

from tests.soak.ledger import COMMITTED, UNKNOWN

#: What is asked for, and how often.
_VIEWS = {"read": 50, "mark": 8, "write": 25, "sleep": 2, "stream": 12}
#: A length of 400 lines of a stream.
_STREAM = 400 * 510
_ABORT = struct.pack("ii", 1, 0)


class Gone(Exception):
    """The client goes away."""


class UnixClient(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost")
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def abort(self):
        """Go away without a word."""
        if self.sock is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            self.sock.close()


class WebCrowd:
    """The clients.

    Args:
        part: Of which it is.
        path: The server's socket.
        unrest: Tells whether a worker was killed.
    """

    #: How a request ends that gets what it wants.
    GOOD = "status 200"

    def __init__(self, part, path, unrest):
        self._bounds, self._report = part.bounds, part.report
        self._ledger, self._faults, self._unrest = part.ledger, part.faults, unrest
        self._shard_of = part.scene.shard_of
        self._path = path
        self._numbers = count(1)
        self._running = {}
        self._stopped = False
        self._clients = []

    def __str__(self):
        views = Counter(view for view, _ in self._running.values())
        return f"{views.total()} requests: {dict(views)}; workers restarted: {self._unrest}"

    def start(self):
        self._clients = [gevent.spawn(self._client, n) for n in range(self._bounds.clients)]

    def stop(self):
        """Let the last requests end; returns when they have, or their time is up."""
        self._stopped = True
        gevent.joinall(self._clients, timeout=self._bounds.request_s)

    def look(self):
        """Tell requests that should have ended."""
        now = time.monotonic()
        for number, (view, started) in tuple(self._running.items()):
            if now - started > self._bounds.request_s:
                del self._running[number]
                self._report.violation(f"{view} {number} has not ended: {now - started:.1f} s")

    def ask(self, path, method="GET", body=None):
        """Ask the server; returns the status and the answer's bytes."""
        client = UnixClient(self._path)
        try:
            headers = {"Connection": "close", "Content-Type": "application/json"}
            client.request(method, path, body, headers)
            response = client.getresponse()
            return response.status, response.read()
        except Gone:
            client.abort()
            raise
        finally:
            client.close()

    def _client(self, number):
        rand = random.Random(f"{self._report.seed}/web/{number}")
        while not self._stopped:
            view = rand.choices(list(_VIEWS), list(_VIEWS.values()))[0]
            self._one(view, next(self._numbers), rand)
            gevent.sleep(rand.random() * 0.1)

    def _one(self, view, number, rand):
        started = time.monotonic()
        self._running[number] = (view, started)
        body, entry = None, None
        if view == "write":
            keys = [rand.randrange(10**9) for _ in range(rand.choice((1, 1, 2, 4)))]
            body = {"keys": keys, "status": rand.choice((200, 200, 200, 418))}
            entry = self._ledger.begin(number, Counter(map(self._shard_of, keys)), together=True)
            entry.outcome = UNKNOWN if body["status"] == 200 else entry.outcome
        outcome = self._outcome(view, number, body, entry, rand)
        self._report.outcomes[outcome] += 1
        if self._running.pop(number, None):
            now = time.monotonic()
            self._report.took("request", now - started, self._bounds.request_s)

    def _outcome(self, view, number, body, entry, rand):
        method = "GET" if body is None else "POST"
        content = None if body is None else json.dumps(body)
        going = gevent.Timeout(rand.random() ** 3 * 2, Gone) if rand.random() < 0.4 else None
        try:
            with Leaving(going):
                status, answer = self.ask(f"/{view}/{number}", method, content)
        except Gone:
            self._report.kills[f"disconnect from {view}"] += 1
            return "gone"
        except (OSError, http.client.HTTPException) as exc:
            return self._lost(view, number, exc)
        if status == 503:
            return self._judge(view, number, json.loads(answer), entry)
        return self._answered(view, number, status, answer, entry)

    def _answered(self, view, number, status, answer, entry):
        if status == 200 and entry is not None:
            entry.outcome = COMMITTED
        elif status == 200 and view == "stream" and len(answer) != _STREAM:
            return self._broken_off(view, number, answer)
        elif status not in {200, 418}:
            self._report.violation(f"{view} {number}: {status}: {answer[:2000].decode()}")
        return f"status {status}"

    def _broken_off(self, view, number, answer):
        """A stream that ends early says why."""
        line = answer.rpartition(b"\n")[2]
        if not line.startswith(b"{"):
            return self._lost(view, number, f"{len(answer)} bytes of a stream")
        return self._judge(view, number, json.loads(line), None)

    def _lost(self, view, number, why):
        """No answer, or a part of one: only if a worker was killed."""
        if not self._unrest.has_killed:
            self._report.violation(f"{view} {number}: no answer: {why!r}")
        return "cut off"

    def _judge(self, view, number, told, entry):
        """Whether an error is one that there may be."""
        if entry is not None and entry.outcome == UNKNOWN:
            entry.committed = tuple(told["committed"])
        if not self._faults.explain(told["causes"]):
            self._report.violation(f"{view} {number}: an error without a cause: {told}")
        return told["error"]


class Leaving:
    """A block that a timeout may end."""

    def __init__(self, timeout):
        self._timeout = timeout

    def __enter__(self):
        if self._timeout is not None:
            self._timeout.start()

    def __exit__(self, *exc):
        if self._timeout is not None:
            self._timeout.close()
