"""Answers at once, with as many bytes as the view: how fast can the load generator ask?

``python nothing.py SOCKET`` listens on that.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

_LENGTH = 7500
_ANSWER = f"HTTP/1.1 200 OK\r\nContent-Length: {_LENGTH}\r\n\r\n{0:0{_LENGTH}}".encode()


class Answering(asyncio.Protocol):
    """One connection; each of its requests comes in one piece."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER)


async def main(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Answering, path)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
