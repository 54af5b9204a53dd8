"""What the applications have in common: the question in a path, and the answer's body."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from web_scene import CUSTOMERS, STATEMENTS, USED

#: Where the shards are; `web_servers` tells.
DSNS: list[str] = json.loads(os.environ["GREENSHARD_BENCH_DSNS"])

Rows = Sequence[Sequence[Any]]
Ask = Callable[[str, tuple[int, int]], Rows]


def question(path: str) -> tuple[str, tuple[int, int]]:
    """The statement and its parameters: ``/waiting/7`` asks for customers 7 and 8."""
    _, name, customer = path.split("/")
    first = int(customer)
    return STATEMENTS[name], (first, (first + 1) % CUSTOMERS)


def body(rows: Rows) -> bytes:
    return json.dumps(rows, default=str).encode()


def used() -> bytes:
    """What is answered to `USED`: the seconds of processor time that this process has used."""
    return str(time.process_time()).encode()


def wsgi(ask: Ask) -> Callable[[dict[str, Any], Any], list[bytes]]:
    """The application that answers with the rows that `ask` gives."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        answer = used() if path == USED else body(ask(*question(path)))
        length = str(len(answer))
        headers = [("Content-Type", "application/json"), ("Content-Length", length)]
        start_response("200 OK", headers)
        return [answer]

    return application
