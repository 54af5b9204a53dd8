"""The wire between greenshard and one of three shards breaks, at any byte of any conversation.

A relay stands before shard s1 and does something at one byte that one side sends (`relay.BREAKS`,
`relay.CORRUPTIONS`), while greenshard connects, reads, writes or ends a transaction. Whatever it
is: the call ends in time; it gives the right answer, or an error of greenshard's that names the
shard; what it says of a transaction is true on the servers; nothing is left behind; and the next
call finds all in order. Without TLS, a corrupted byte may be a value's, or a statement's: then all
of that must hold but that the answer is right.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import gevent
import psycopg2
from psycopg2 import sql

import greenshard
from greenshard.cluster import Hash
from tests.fault.relay import BREAKS, CORRUPTIONS
from tests.fault.scene import SLACK_S, SURVIVORS, VICTIM, Scene, eventually

NAMES = ("s0", "s1", "s2")
PLACEMENT = Hash(slots=256, assignment={slot: NAMES[slot % 3] for slot in range(256)})
ROWS = 24
TIMEOUT_S = 0.4
GRACE_S = 0.2
#: What a call may take: several steps, each with its timeout and a grace.
LIMIT_S = 4 * (TIMEOUT_S + GRACE_S) + SLACK_S
TABLES = {"wire": greenshard.Sharded("id"), "wire_log": greenshard.Sharded("x")}

#: Conversations that end a transaction which wrote on the victim only.
_DOUBTFUL = ("autocommit", "commit, one writer")
#: What is raised for a value that cannot be read, or is of another type: if it is corrupted.
_UNREADABLE = (psycopg2.Error, ValueError, TypeError)

Rows = list[tuple[Any, ...]]


def shard_of(key: int) -> str:
    """The shard of a key."""
    return str(PLACEMENT.shards_for(key, "int4", NAMES))


@dataclass
class Conversation:
    """What greenshard and the shard talk about.

    Attributes:
        act: What is done while the wire may break; returns what can be compared.
        prepare: What is done before.
        writes: Whether the log's rows must be there if `act` succeeds, and only then.
        ends: Whether it is the end of a transaction, so that a lost answer leaves it in doubt.
        order: The shards; the first is where a connection lives.
    """

    act: Callable[[Stage], Any]
    prepare: Callable[[Stage], Any] = lambda stage: stage.connect()
    writes: bool = False
    ends: bool = False
    order: tuple[str, ...] = NAMES


@dataclass
class Stage:
    """One run of a conversation.

    Attributes:
        number: Of the run: the key of what it writes.
    """

    fuzzer: Wire
    conversation: Conversation
    number: int
    conn: Any = None
    pool: Any = None

    @property
    def keys(self) -> list[int]:
        """A key of this run's on each shard, the victim's last."""
        first = self.number * 1000
        found = {shard_of(key): key for key in range(first, first + 100)}
        return [found[name] for name in (*SURVIVORS, VICTIM)]

    def connect(self, **options: Any) -> Any:
        cluster = self.fuzzer.clusters[self.conversation.order]
        given = {"timeout": TIMEOUT_S, "connect_timeout": TIMEOUT_S, "cancel_grace": GRACE_S}
        # In another order than that for which they are initialised, the shards would be refused.
        more = {"application_name": "tested", "check": cluster.names == NAMES}
        self.conn = greenshard.connect(cluster, **{**given, **more, **options})
        return self.conn

    def ask(self, text: str, *args: Any) -> Rows:
        cur = self.conn.cursor()
        cur.execute(text, args or None)
        return sorted(cur.fetchall())

    def write(self, *keys: int) -> None:
        for key in keys:
            self.conn.cursor().execute("INSERT INTO wire_log VALUES (%s, 'some words')", (key,))

    def fetch_named(self) -> Rows:
        cur = self.conn.cursor("streamed")
        cur.itersize = 3
        cur.execute("SELECT id, word FROM wire ORDER BY id")
        rows = [*cur.fetchmany(5), cur.fetchone(), *cur]
        cur.close()
        return rows

    def cancel(self) -> None:
        running = gevent.spawn_later(0.02, self.conn.cancel)
        try:
            self.conn.cursor().execute("SELECT count(*) FROM wire WHERE pg_sleep(60) IS NULL")
        finally:
            running.join()

    def make_pool(self) -> None:
        self.pool = greenshard.Pool(
            self.fuzzer.clusters[self.conversation.order],
            max_size=2,
            timeout=TIMEOUT_S,
            call_timeout=TIMEOUT_S,
            connect_timeout=TIMEOUT_S,
            cancel_grace=GRACE_S,
            application_name="tested",
        )

    def use_pool(self) -> Any:
        """Two requests; the first leaves something that the second must not see."""
        with self.pool.connection() as self.conn:
            self.conn.cursor().execute("SET TimeZone = 'Asia/Tokyo'")
            first = self.ask("SELECT id, word FROM wire")
        with self.pool.connection() as self.conn:
            return first, self.ask("SELECT id, word, current_setting('TimeZone') FROM wire")


def _read(text: str, *args: Any) -> Conversation:
    return Conversation(lambda stage: stage.ask(text, *args))


def _connect(stage: Stage) -> Any:
    stage.connect()
    return stage.ask("SELECT id, word FROM wire")


def _written(stage: Stage, *keys: int) -> None:
    stage.connect()
    stage.write(*(keys or stage.keys))


def _written_by_one(stage: Stage) -> None:
    """Written on the victim alone, whose commit asks nothing of what it knows already."""
    stage.connect()
    # Nothing is there, but it may have written on all of them.
    stage.conn.cursor().execute(
        "UPDATE wire_log SET words = '' WHERE x IN (%s, %s, %s)", stage.keys
    )
    stage.conn.commit()
    stage.write(stage.keys[-1])


def _autocommit(stage: Stage) -> None:
    stage.connect()
    stage.conn.autocommit = True


_KEY = next(key for key in range(ROWS) if shard_of(key) == VICTIM)

CONVERSATIONS = {
    "connect": Conversation(_connect, lambda stage: None),
    "connect, home": Conversation(_connect, lambda stage: None, order=("s1", "s0", "s2")),
    "route": _read("SELECT id, word FROM wire WHERE id = %s", _KEY),
    "concatenate": _read("SELECT id, word, half FROM wire"),
    "merge": _read("SELECT id, word FROM wire ORDER BY word, id LIMIT 9"),
    "combine": _read("SELECT half, count(*), avg(id), max(word) FROM wire GROUP BY half"),
    "gather": _read("SELECT a.id, b.word FROM wire a JOIN wire b ON b.id = a.half"),
    "gather, home": Conversation(
        lambda stage: stage.ask("SELECT count(DISTINCT word), count(*) FROM wire"),
        order=("s1", "s0", "s2"),
    ),
    "named cursor": Conversation(lambda stage: stage.fetch_named()),
    "insert": Conversation(lambda stage: stage.write(*stage.keys), writes=True),
    "autocommit": Conversation(
        lambda stage: stage.write(stage.keys[-1]), _autocommit, writes=True, ends=True
    ),
    "commit": Conversation(lambda stage: stage.conn.commit(), _written, writes=True, ends=True),
    "commit, one writer": Conversation(
        lambda stage: stage.conn.commit(),
        _written_by_one,
        writes=True,
        ends=True,
    ),
    "rollback": Conversation(lambda stage: stage.conn.rollback(), _written),
    "cancel": Conversation(lambda stage: stage.cancel()),
    "pool": Conversation(lambda stage: stage.use_pool(), lambda stage: stage.make_pool()),
}


class Wire:
    """Runs conversations.

    Args:
        scene: Three shards, a relay before one.
        tls: Whether what passes the relay is encrypted, so that no corruption may go unnoticed.
    """

    def __init__(self, scene: Scene, *, tls: bool = False) -> None:
        self.scene = scene
        self._tls = tls
        self._strict = (*BREAKS, *CORRUPTIONS) if tls else BREAKS
        self.clusters = {
            order: greenshard.Cluster(self._dsns(order), TABLES, PLACEMENT)
            for order in {each.order for each in CONVERSATIONS.values()}
        }
        self.expected: dict[str, Any] = {}
        #: How many bytes client and server send.
        self.lengths: dict[str, tuple[int, int]] = {}
        self._number = 0
        for name in NAMES:
            scene.ask(name, "DROP TABLE IF EXISTS wire, wire_log")
            scene.ask(name, "CREATE TABLE wire (id int PRIMARY KEY, word text, half int)")
            scene.ask(name, "CREATE TABLE wire_log (x int PRIMARY KEY, words text)")
        for key in range(ROWS):
            row = (key, f"word {key * 7 % ROWS} of {ROWS}", key // 2)
            scene.ask(shard_of(key), "INSERT INTO wire VALUES (%s, %s, %s)", row)
        scene.initialise(self.clusters[NAMES])

    def _dsns(self, order: tuple[str, ...]) -> dict[str, str]:
        dsns: dict[str, str] = self.scene.dsns(order=order)
        dsns[VICTIM] += f" sslmode={'require' if self._tls else 'prefer'}"
        return dsns

    def close(self) -> None:
        for name in NAMES:
            self.scene.ask(name, "SET lock_timeout = '10s'; DROP TABLE wire, wire_log")

    def learn(self) -> None:
        """Run each conversation over a sound wire: the right answers, and how long they are."""
        for name in CONVERSATIONS:
            for _ in range(2):  # the second time the catalog is known
                stage, got = self._play(name, self.scene.relay.watch)
                self.lengths[name] = self.scene.relay.watch()
                self._close(stage)
            if name != "cancel" and isinstance(got, BaseException):
                raise got
            self.expected[name] = got

    def labels(self, seed: object) -> Iterator[str]:
        """One label for each byte of each conversation."""
        for name, lengths in self.lengths.items():
            for sender, length in zip(("client", "server"), lengths, strict=True):
                for position in range(length):
                    label = f"{name}/{sender}/{position}"
                    pick = Random(f"{seed}/{label}")
                    kind = pick.choice((*BREAKS, *CORRUPTIONS))
                    yield f"{label}/{kind}/{pick.randrange(1000)}"

    def sample(self, seed: object, count: int) -> Iterator[str]:
        """Some labels: each conversation and each kind in turn."""
        pick = Random(f"{seed}/wire")
        names = pick.sample([*CONVERSATIONS], len(CONVERSATIONS))
        kinds = (*BREAKS, *CORRUPTIONS)
        for number in range(count):
            name, kind = names[number % len(names)], kinds[number % len(kinds)]
            at = pick.randrange(2)
            position = pick.randrange(self.lengths[name][at])
            yield f"{name}/{('client', 'server')[at]}/{position}/{kind}/{pick.randrange(1000)}"

    def run(self, label: str) -> str:
        """Break the wire as a label says; returns what is wrong, or nothing."""
        name, sender, position, kind, salt = label.split("/")
        started = time.monotonic()
        stage, got = self._play(
            name, lambda: self.scene.relay.break_at(sender, position, kind, salt)
        )
        took = time.monotonic() - started
        wrong = [f"took {took:.1f} s"] if took > LIMIT_S else []
        strict = kind in self._strict
        wrong += self._judged(name, got, strict)
        wrong += self._idle()
        claims = self._claims(stage, name, got)
        if stage.pool is not None and kind == "silence":
            self.scene.relay.tell("forward")
        wrong += self._pool_works(stage)
        self._close(stage)
        wrong += self._finished(strict=strict)
        wrong += self._true(stage, claims) if claims and strict else []
        return "; ".join(wrong)

    def _play(self, name: str, ready: Callable[[], object]) -> tuple[Stage, Any]:
        """Run a conversation; what it gave, or its error."""
        self._number += 1
        stage = Stage(self, CONVERSATIONS[name], self._number)
        stage.conversation.prepare(stage)
        ready()
        try:
            return stage, stage.conversation.act(stage)
        except Exception as error:
            return stage, error

    def _judged(self, name: str, got: Any, strict: bool) -> Iterator[str]:
        if not isinstance(got, Exception):
            if strict and got != self.expected[name]:
                yield f"gave {got!r} instead of {self.expected[name]!r}"[:600]
        elif not isinstance(got, psycopg2.Error if strict else _UNREADABLE):
            yield f"raised {got!r}"[:300]
        elif strict and VICTIM not in str(got) and not _is_cancelled(name, got):
            yield f"raised an error that does not name {VICTIM}: {got!r}"
        elif strict and name in _DOUBTFUL and "It may be committed on s1" not in str(got):
            yield f"raised an error that does not tell of its doubt: {got!r}"

    def _idle(self) -> Iterator[str]:
        """Nothing runs on the sound shards; nor on the other, once its server has noticed."""
        for name in NAMES:
            with contextlib.suppress(AssertionError):
                eventually(lambda shard=name: not self.scene.running(shard), 2.0)
                continue
            if name != VICTIM:
                yield f"something runs on {name}: {self.scene.running(name)}"

    def _claims(self, stage: Stage, name: str, got: Any) -> dict[str, bool | None]:
        """Whether this run's rows are on each shard, as greenshard tells it; None if in doubt."""
        conversation = stage.conversation
        if not conversation.writes:
            return dict.fromkeys(NAMES, False)
        wrote = (VICTIM,) if name in _DOUBTFUL else NAMES
        if not conversation.ends:
            try:
                stage.conn.rollback() if isinstance(got, Exception) else stage.conn.commit()
            except psycopg2.Error as error:
                got = error
        if not isinstance(got, Exception):
            return {shard: shard in wrote for shard in NAMES}
        if isinstance(got, greenshard.PartialCommitError):
            return {shard: True if shard in got.committed else None for shard in NAMES}
        doubtful = name in _DOUBTFUL
        return {shard: None if doubtful and shard == VICTIM else False for shard in NAMES}

    def _finished(self, *, strict: bool) -> Iterator[str]:
        """Recovery finishes what a coordinator has left; what has a corrupted name, we do."""
        if not any(map(self._prepared, NAMES)):
            return
        greenshard.recover(self.clusters[NAMES], timeout=10.0)
        for name in NAMES:
            for (gid,) in self._prepared(name):
                self.scene.ask(name, sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
                if strict:
                    yield f"{gid} was left prepared on {name}"

    def _prepared(self, shard: str) -> Rows:
        return self.scene.ask(
            shard, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        )

    def _true(self, stage: Stage, claims: dict[str, bool | None]) -> Iterator[str]:
        keys = dict(zip((*SURVIVORS, VICTIM), stage.keys, strict=True))
        for shard, claimed in claims.items():
            found = self.scene.ask(shard, "SELECT x FROM wire_log WHERE x = %s", (keys[shard],))
            if claimed is not None and claimed != bool(found):
                yield f"said {claimed} of its row on {shard}, which is not so"

    def _pool_works(self, stage: Stage) -> Iterator[str]:
        if stage.pool is None:
            return
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                got = stage.use_pool()
                break
            except psycopg2.Error as error:
                got = error
            if time.monotonic() > deadline:
                break
            gevent.sleep(0.05)
        if got != self.expected["pool"]:
            yield f"the pool's next request gave {got!r}"

    def _close(self, stage: Stage) -> None:
        """End the run; no session may be left, once the wire is sound."""
        for each in (stage.conn if stage.pool is None else None, stage.pool):
            if each is not None:
                each.close()
        self.scene.relay.tell("forward")
        for shard in NAMES:
            eventually(lambda name=shard: not self.scene.sessions(name), 10.0)


def _is_cancelled(name: str, error: Exception) -> bool:
    return name == "cancel" and isinstance(error, psycopg2.errors.QueryCanceled)
