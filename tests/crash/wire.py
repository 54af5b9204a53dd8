"""A proxy before each shard that reads PostgreSQL's protocol, and holds the steps of a commit.

Each message that matters (`label_of`) passes two gates: when it has come from the client, and is
not yet sent to the server; and when the server has answered it, and the client does not know. A
`Rule` names a gate for each of some messages. They are held there; when all of them stand where the
rule wants them, it is told, and whoever made the rule does what is to happen then (kills somebody,
cuts, waits) and says how the held ones go on. So what happens does not depend on who is faster.

It runs in a thread, an event loop of its own: who uses it must not wait for the shards through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import struct
import tempfile
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

#: What messages are called; the first that is found in its text.
_LABELS = (
    ("PREPARE TRANSACTION", "prepare"),
    ("COMMIT PREPARED", "commit prepared"),
    ("ROLLBACK PREPARED", "rollback prepared"),
    ("SET CONSTRAINTS", "check"),
    ("greenshard.decision", "decide"),
    ("ROLLBACK", "rollback"),
    ("COMMIT", "commit"),
)

#: Where a message stands, in this order.
SENT, ANSWERED, TOLD = "sent", "answered", "told"

#: How what was held goes on: to where it was sent; nowhere, and the connection is cut; the message
#: goes to the server, and the connection is cut, as when the client's machine died on the way.
PASS, CUT, LATE = "pass", "cut", "late"

_PROTOCOL_3 = 196608
_ENOUGH = 1 << 24


def label_of(text: str) -> str | None:
    """What a message is, of the steps that end a transaction; None if it is none."""
    return next((label for words, label in _LABELS if words in text), None)


@dataclass(eq=False)
class Rule:
    """Which messages are held, and where.

    Attributes:
        wanted: `SENT`, `ANSWERED` or `TOLD` for a label on a shard; the first of its kind counts.
        told: Where the queue's reader gets the rule when all of them stand there.
    """

    wanted: dict[tuple[str, str], str]
    held: list[asyncio.Future[str]] = field(default_factory=list)
    there: set[tuple[str, str]] = field(default_factory=set)
    reached: bool = False
    gone_on: str | None = None


class _Line:
    """One connection of a client."""

    def __init__(self, shard: str, *writers: asyncio.StreamWriter) -> None:
        self.shard = shard
        self.writers = list(writers)
        self.application = ""
        #: What the server has not answered yet: the label of each query.
        self.asked: deque[str | None] = deque()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


class Proxy:
    """The proxies of some shards.

    Args:
        sockets: The socket of each shard's server.
        only: The application name of the clients whose messages are held and noted.

    Attributes:
        events: Gets each `Rule` that is reached.
        passed: The label and the shard of each message that has come, in this order.
    """

    def __init__(self, sockets: dict[str, Path], only: str) -> None:
        self.events: queue.Queue[object] = queue.Queue()
        self.passed: list[tuple[str, str]] = []
        self._only, self._sockets = only, sockets
        self._rules: list[Rule] = []
        self._silent: set[str] = set()
        self._lines: set[_Line] = set()
        self._home = tempfile.TemporaryDirectory(prefix="greenshard-wire-")
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def dsn(self, shard: str) -> str:
        """How to connect to a shard through here; without a database."""
        return f"host={self._directory(shard)} port=5432 user=postgres"

    def hold(self, wanted: dict[tuple[str, str], str]) -> Rule:
        """Hold messages from now on."""
        rule = Rule(wanted)
        self._call(self._rules.append, rule)
        return rule

    def let_go(self, rule: Rule, how: str) -> None:
        """Let what a rule holds go on; it holds nothing more."""
        self._call(self._let_go, rule, how)

    def silence(self, *shards: str) -> None:
        """New connections to some shards are taken, and hear nothing."""
        self._call(self._silent.update, shards)

    def reset(self) -> None:
        """Cut all connections, forget all rules, and begin to note anew."""
        self._call(self._reset)

    def cut(self) -> None:
        """Cut all connections."""
        self._call(self._cut)

    def settled(self) -> bool:
        """Whether no connection is open here."""
        return not self._lines

    def close(self) -> None:
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._home.cleanup()

    def _directory(self, shard: str) -> Path:
        return Path(self._home.name) / shard

    def _call(self, function, *args):
        """Call something in the proxy's thread, and wait until it is done."""

        async def call():
            return function(*args)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def _run(self, ready: threading.Event) -> None:
        self._loop.run_until_complete(self._listen())
        self._loop.call_soon(ready.set)
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._servers = []
        for shard, behind in self._sockets.items():
            self._directory(shard).mkdir()

            async def accept(reader, writer, shard=shard, behind=behind):
                await self._accept(shard, behind, reader, writer)

            path = self._directory(shard) / ".s.PGSQL.5432"
            self._servers.append(await asyncio.start_unix_server(accept, path, limit=_ENOUGH))

    async def _accept(self, shard, behind, reader, writer) -> None:
        line = _Line(shard, writer)
        self._lines.add(line)
        try:
            if shard in self._silent:
                await reader.read()
                return
            answers, server = await asyncio.open_unix_connection(behind, limit=_ENOUGH)
            line.writers.append(server)
            await asyncio.gather(
                self._from_client(reader, server, line), self._from_server(answers, writer, line)
            )
        except OSError:
            pass
        finally:
            line.close()
            self._lines.discard(line)

    async def _from_client(self, reader, server, line: _Line) -> None:
        try:
            first = await _first_message(reader)
            if struct.unpack_from("!i", first, 4)[0] == _PROTOCOL_3:
                words = first[8:].split(b"\0")
                named = dict(zip(words[::2], words[1::2], strict=False))
                line.application = named.get(b"application_name", b"").decode()
            server.write(first)
            while True:
                kind, message = await _message(reader)
                how = PASS
                if kind == b"Q":
                    text = message[5:-1].decode(errors="replace")
                    label = label_of(text) if line.application == self._only else None
                    if label is not None:
                        self.passed.append((label, line.shard))
                        how = await self._gate(label, line, SENT)
                    line.asked.append(label)
                if how != CUT:
                    server.write(message)
                    await server.drain()
                if how != PASS:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        # The server reads what it was sent before it sees that nobody is there any more.
        with contextlib.suppress(OSError):
            server.close()

    async def _from_server(self, reader, client, line: _Line) -> None:
        answer = b""
        try:
            while True:
                kind, message = await _message(reader)
                answer += message
                label = line.asked[0] if line.asked else None
                if kind == b"Z" and line.asked:
                    line.asked.popleft()
                    if label is not None:
                        if await self._gate(label, line, ANSWERED) != PASS:
                            answer = b""
                            break
                        self._note(label, line, TOLD)
                elif label is not None:
                    continue  # all of an answer goes on at once
                client.write(answer)
                answer = b""
                await client.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        if not client.is_closing():
            client.write(answer)  # a server that dies may have said half of it
        line.close()

    async def _gate(self, label: str, line: _Line, stage: str) -> str:
        """Wait at a gate if a rule says so; returns how it goes on."""
        rule = self._note(label, line, stage)
        if rule is None:
            return PASS
        if rule.gone_on is not None:
            return rule.gone_on
        future = self._loop.create_future()
        rule.held.append(future)
        return await future

    def _note(self, label: str, line: _Line, stage: str) -> Rule | None:
        """Take note of where a message stands; returns the rule that holds it there."""
        key = label, line.shard
        for rule in self._rules:
            if rule.wanted.get(key) == stage and key not in rule.there:
                rule.there.add(key)
                if rule.there == set(rule.wanted):
                    rule.reached = True
                    # Not before the one that is about to be held is.
                    self._loop.call_soon(self.events.put, rule)
                return rule if stage != TOLD else None
        return None

    def _let_go(self, rule: Rule, how: str) -> None:
        rule.gone_on = how
        if rule in self._rules:
            self._rules.remove(rule)
        for future in rule.held:
            if not future.done():
                future.set_result(how)
        rule.held.clear()

    def _reset(self) -> None:
        for rule in list(self._rules):
            self._let_go(rule, CUT)
        self.passed.clear()
        self._cut()
        while not self.events.empty():
            self.events.get_nowait()

    def _cut(self) -> None:
        self._silent.clear()
        for line in list(self._lines):
            line.close()


async def _first_message(reader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(struct.unpack("!i", length)[0] - 4)


async def _message(reader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    body = await reader.readexactly(struct.unpack_from("!i", head, 1)[0] - 4)
    return head[:1], head + body
