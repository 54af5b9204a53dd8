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

#: What can happen to a conversation at one of its bytes. First, what a network does: both sides
#: are told that it ended; reset; one side is told; nobody is told, and nothing passes any more on
#: this connection, or on any. Then what a network that corrupts does, to the byte or its message.
BREAKS = ("close", "reset", "half-close", "stall", "silence")
CORRUPTIONS = ("garbage", "truncate", "duplicate", "length")


class Relay:
    """What the tests hold: starts the process and talks to it.

    Args:
        server: The socket of the server behind the relay, or its port of 127.0.0.1.
    """

    def __init__(self, server):
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(server)],
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
        done, *passed = self._process.stdout.readline().split()
        assert done == "done"
        return tuple(map(int, passed))

    def watch(self):
        """Count bytes from now on; returns how many clients and server have sent since."""
        return self.tell("watch")

    def break_at(self, sender, position, kind, salt=0):
        """Let something happen at one byte of those that are sent from now on.

        Args:
            sender: Whose byte: "client" or "server".
            position: The byte's number, over all connections.
            kind: One of `BREAKS` and `CORRUPTIONS`.
            salt: Chooses among the ways to corrupt.
        """
        self.tell("break", f"{sender} {position} {kind} {salt}")

    def close(self):
        self._process.communicate()


class Line:
    """One relayed connection."""

    def __init__(self, *writers):
        self.writers = list(writers)
        #: Whose bytes do not pass any more.
        self.muted = set()

    def close(self, abort=False):
        for writer in self.writers:
            if abort:
                sock = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            writer.transport.abort() if abort else writer.close()


class Switchboard:
    """The process's side."""

    def __init__(self, server):
        self._server = server
        self._mode = "forward"
        self._trigger = ("", b"")
        self._break = None
        self._passed = {"client": 0, "server": 0}
        self._lines = set()

    def obey(self, command, word):
        if command in {"watch", "break"}:
            self._break = None
            if command == "break":
                sender, position, kind, salt = word.split()
                self._break = sender, int(position), kind, int(salt)
            passed, self._passed = self._passed, {"client": 0, "server": 0}
            return tuple(passed.values())
        self._break = None
        self._act(command, word)
        return ()

    def _act(self, command, word):
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
            answers, server = await self._connect()
        except OSError:
            line.close()
            return
        line.writers.append(server)
        await asyncio.gather(
            self._pump(reader, server, line, "client"), self._pump(answers, writer, line, "server")
        )

    async def _connect(self):
        if self._server.isdecimal():
            return await asyncio.open_connection("127.0.0.1", int(self._server))
        return await asyncio.open_unix_connection(self._server)

    async def _pump(self, reader, writer, line, sender):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                command, word = self._trigger
                seen = sender == "client" and word and word in data
                if seen and command.endswith("-after"):
                    writer.write(data)
                    await writer.drain()
                if seen:
                    self._act(command.removesuffix("-after"), "")
                if self._mode == "forward" and sender not in line.muted:
                    self._pass(data, writer, line, sender)
                    await writer.drain()
        if self._mode == "forward" and sender not in line.muted:
            line.close()
            self._lines.discard(line)

    def _pass(self, data, writer, line, sender):
        """Pass on what was sent, unless it is here that something happens."""
        start = self._passed[sender]
        self._passed[sender] += len(data)
        whose, position, kind, salt = self._break or ("", 0, "", 0)
        at = position - start
        if writer.is_closing():
            return
        if whose != sender or not 0 <= at < len(data):
            writer.write(data)
            return
        self._break = None
        if kind in CORRUPTIONS:
            writer.write(corrupted(data, at, kind, salt))
            return
        writer.write(data[:at])
        if kind == "silence":
            self._mode = kind
        elif kind == "stall":
            line.muted |= {"client", "server"}
        elif kind == "half-close":
            line.muted.add(sender)
            writer.write_eof()
        else:
            line.close(abort=kind == "reset")
            self._lines.discard(line)


def message_at(data, at):
    """Where the message with a byte begins, where its length stands, and where it ends.

    A packet begins with a message, as both sides send them.
    """
    start = 0
    while True:
        # A client's first message has no type; the answer to a request for TLS has no length.
        word = start if data[start] == 0 else start + 1
        length = int.from_bytes(data[word : word + 4], "big")
        end = max(start + 1, word + length) if len(data) >= word + 4 else len(data)
        if at < end:
            return start, word, min(end, len(data))
        start = end


def corrupted(data, at, kind, salt):
    """Data with one byte, or the message that it is in, corrupted."""
    start, word, end = message_at(data, at)
    if kind == "garbage":
        return data[:at] + bytes([data[at] ^ 1 + salt % 255]) + data[at + 1 :]
    if kind == "truncate":
        return data[:at] + data[end:]
    if kind == "duplicate":
        return data[: at + 1] + data[start:]
    length = int.from_bytes(data[word : word + 4], "big")
    wrong = (0, 3, 4, length - 1, length + 1, length + 70000, 2**31 - 1, 2**32 - 1)[salt % 8]
    return data[:word] + max(0, wrong).to_bytes(4, "big") + data[word + 4 :]


def say(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def main(behind):
    board = Switchboard(behind)
    server = await asyncio.start_server(board.accept, "127.0.0.1", 0)
    say(server.sockets[0].getsockname()[1])
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command, _, word = line.decode().strip().partition(" ")
        say(" ".join(map(str, ("done", *board.obey(command, word)))))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
