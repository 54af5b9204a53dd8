"""The load generator of web.py, a process of its own: clients that ask again when answered.

One thread, one selector, plain sockets that stay open: web.py measures how many
requests it can make.
"""

from __future__ import annotations

import gc
import itertools
import random
import re
import selectors
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from contestants import serve
from web_scene import CUSTOMERS, USED

#: Seconds that an answer may take.
_PATIENCE_S = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Client:
    """One connection, on which one request is under way at a time.

    Attributes:
        sent_at: When it was sent.
        answer: What has come so far, with the head.
    """

    __slots__ = ("_missing", "answer", "sent_at", "socket")

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.sent_at = 0.0
        self.answer = b""
        self._missing: int | None = None

    def ask(self, request: bytes) -> None:
        self.answer, self._missing = b"", None
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def read(self) -> bool:
        """Take in what has come; returns whether that was all.

        Raises:
            RuntimeError: It is no answer.
        """
        piece = self.socket.recv(65536)
        self.answer += piece
        if self._missing is None:
            self._missing = self._length()
        elif piece:
            self._missing -= len(piece)
        if not piece:
            raise RuntimeError("the server has closed the connection")
        return self._missing == 0

    @property
    def body(self) -> bytes:
        return self.answer.partition(b"\r\n\r\n")[2]

    def fetch(self, request: bytes) -> bytes:
        """Ask, and wait for the answer; returns its body."""
        self.ask(request)
        while not self.read():
            pass
        return self.body

    def _length(self) -> int | None:
        """How many bytes are missing, as soon as the head is there."""
        end = self.answer.find(b"\r\n\r\n")
        if end < 0:
            return None
        found = _LENGTH.search(self.answer, 0, end)
        if found is None or not self.answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"not an answer: {self.answer[:200]!r}")
        return int(found[1]) - (len(self.answer) - end - 4)


def _requests(kind: str) -> Iterator[bytes]:
    """Requests for one customer after the other, each time the same ones."""
    pick = random.Random(1)
    paths = [f"/{kind}/{pick.randrange(CUSTOMERS)}" for _ in range(2000)]
    return itertools.cycle([_request(path) for path in paths])


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: shards\r\n\r\n".encode()


class Load:
    """Answers the requests of a `workers.Worker`."""

    def check(self, path: str, kind: str, count: int) -> int:
        """A checksum of the first bodies: the same for every contestant."""
        requests, found = _requests(kind), 0
        with _clients(path, 1) as (clients, _):
            for _ in range(count):
                found = zlib.crc32(clients[0].fetch(next(requests)), found)
        return found

    def measure(self, path: str, kind: str, clients: int, seconds: float) -> dict[str, object]:
        """Ask for `seconds`, and wait for the last answers.

        Returns:
            ``seconds`` until those were there; ``times_us``, how long each answer took;
            ``used_s``, the processor time of the server's process meanwhile.
        """
        requests = _requests(kind)
        with _clients(path, clients) as (every, selector):
            _exchange(every, selector, requests, 0.0)  # all are connected, and have been served
            gc.collect()
            used = float(every[0].fetch(_request(USED)))
            started = time.perf_counter()
            times = _exchange(every, selector, requests, started + seconds)
            took = time.perf_counter() - started
            used = float(every[0].fetch(_request(USED))) - used
        times_us = [round(time * 1e6) for time in times]
        return {"seconds": took, "times_us": times_us, "used_s": used}


@contextmanager
def _clients(path: str, count: int) -> Iterator[tuple[list[Client], selectors.BaseSelector]]:
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        clients = [Client(path) for _ in range(count)]
        for client in clients:
            stack.enter_context(client.socket)
            selector.register(client.socket, selectors.EVENT_READ, client)
        yield clients, selector


def _exchange(
    clients: list[Client],
    selector: selectors.BaseSelector,
    requests: Iterator[bytes],
    end: float,
) -> list[float]:
    """Let each client ask once, and again as long as it is not `end`; seconds of each answer."""
    times: list[float] = []
    waiting = len(clients)
    for client in clients:
        client.ask(next(requests))
    while waiting:
        ready = selector.select(_PATIENCE_S)
        if not ready:
            raise RuntimeError(f"{waiting} requests had no answer within {_PATIENCE_S:g} s")
        for key, _ in ready:
            client = key.data
            if client.read():
                now = time.perf_counter()
                times.append(now - client.sent_at)
                if now < end:
                    client.ask(next(requests))
                else:
                    waiting -= 1
    return times


if __name__ == "__main__":
    serve(Load())
