"""A TCP relay in front of a server, in a process of its own, that can misbehave on command.

It runs outside the tests' process because psycopg2 can hold Python's global lock while it waits for
the network: a relay in a thread would then never answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys

_ABORT = struct.pack("ii", 1, 0)


class Relay:
    """What the tests hold: starts the process and talks to it.

    Args:
        unix_path: The socket of the server behind the relay.
    """

    def __init__(self, unix_path):
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, unix_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._process.stdout.readline())

    def tell(self, command, word=""):
        """Give a command, and wait until it holds.

        `forward`: as if nothing were there. What was connected is closed: it may have lost data.
        `silence`: accept connections, but drop what either side sends, without a word.
        `reset`: reset all connections, and new ones.
        With a word, what is commanded happens as soon as a client sends it; `...-after` lets the
        server have that message.
        """
        print(command, word, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline().strip() == "done"

    def close(self):
        self._process.communicate()


class Line:
    """One relayed connection."""

    def __init__(self, *writers):
        self.writers = list(writers)

    def close(self, abort=False):
        for writer in self.writers:
            if abort:
                sock = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            writer.transport.abort() if abort else writer.close()


class Switchboard:
    """The process's side."""

    def __init__(self, unix_path):
        self._unix_path = unix_path
        self._mode = "forward"
        self._trigger = ("", b"")
        self._lines = set()

    def obey(self, command, word):
        if word:
            self._trigger = (command, word.encode())
            return
        self._trigger = ("", b"")
        self._mode = command
        if command != "silence":
            for line in self._lines:
                line.close(abort=command == "reset")
            self._lines.clear()

    async def accept(self, reader, writer):
        line = Line(writer)
        if self._mode == "reset":
            line.close(abort=True)
            return
        self._lines.add(line)
        if self._mode == "silence":
            return
        try:
            answers, server = await asyncio.open_unix_connection(self._unix_path)
        except OSError:
            line.close()
            return
        line.writers.append(server)
        await asyncio.gather(
            self._pump(reader, server, line, True), self._pump(answers, writer, line, False)
        )

    async def _pump(self, reader, writer, line, from_client):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                command, word = self._trigger
                seen = from_client and word and word in data
                if seen and command.endswith("-after"):
                    writer.write(data)
                    await writer.drain()
                if seen:
                    self.obey(command.removesuffix("-after"), "")
                if self._mode == "forward":
                    writer.write(data)
                    await writer.drain()
        if self._mode == "forward":
            line.close()
            self._lines.discard(line)


def say(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def main(unix_path):
    board = Switchboard(unix_path)
    server = await asyncio.start_server(board.accept, "127.0.0.1", 0)
    say(server.sockets[0].getsockname()[1])
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command, _, word = line.decode().strip().partition(" ")
        board.obey(command, word)
        say("done")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
