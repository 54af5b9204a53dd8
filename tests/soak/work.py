"""What one request does, over the declared cluster or over the union of the shards."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import gevent

from tests.soak import items
from tests.soak.ledger import COMMITTED, UNKNOWN

#: The moments of a request, in order.
MOMENTS = ("take", "execute", "fetch", "commit", "give back")
#: Seconds that a statement sleeps which is to be ended by something else.
_LONG_S = 60
#: A setting that a session has only as long as somebody holds it.
MARK = "soak.mark"


class WrongAnswerError(Exception):
    """An answer is not what it must be."""


class ViewError(Exception):
    """Something in the application, after it has written."""


class Request:
    """One request of a web application: takes a connection, does something, gives it back.

    Args:
        number: Which request it is.
        pool: Where it takes its connection.
        ledger: Where it tells what it writes.
        rand: Chooses what it does.

    Attributes:
        together: Whether the shards commit together.
        moment: What it is doing, or was doing when it ended, of `MOMENTS`; "" before that.
        trap: Called with each new moment.
    """

    together = False

    def __init__(self, number, pool, ledger, rand):
        self.number = number
        self.moment = ""
        self.trap = lambda moment: None
        self._pool, self._ledger, self._rand = pool, ledger, rand
        self._entry = None
        self._work = rand.choices(list(self.works), list(self.works.values()))[0]

    def __str__(self):
        return f"request {self.number} ({self._work.__name__}, {self.moment or 'not begun'})"

    @property
    def tag(self):
        """What the statement says whose end shall be watched."""
        return f"soak:{self.number}:"

    def run(self):
        """Do it, in one of the two ways to hold a connection."""
        try:
            (self._in_block if self._rand.random() < 0.5 else self._by_hand)()
        except Exception as exc:
            self._learn(exc)
            raise

    def _in_block(self):
        self._at("take")
        with self._pool.connection() as conn:
            self._work(self, conn)
            self._at("commit")
            self._may_commit()
        self._committed()

    def _by_hand(self):
        self._at("take")
        conn = self._pool.getconn()
        try:
            self._work(self, conn)
            self._at("commit")
            self._may_commit()
            conn.commit()
            self._committed()
            self._at("give back")
        finally:
            conn.close()

    def _at(self, moment):
        self.moment = moment
        self.trap(moment)

    # What is known of the write -------------------------------------------------------------

    def _writes(self, rows):
        self._entry = self._ledger.begin(self.number, rows, together=self.together)

    def _may_commit(self):
        if self._entry is not None:
            self._entry.outcome = UNKNOWN

    def _committed(self):
        if self._entry is not None:
            self._entry.outcome = COMMITTED

    def _learn(self, error):
        """Errors tell where a write is committed nevertheless."""
        if self._entry is not None and self._entry.outcome == UNKNOWN:
            self._entry.committed = tuple(getattr(error, "committed", ()))

    # Reading --------------------------------------------------------------------------------

    def _ask(self, cur, statement, parameters=None):
        self._at("execute")
        cur.execute(statement, parameters)

    def _expect(self, cur, expected, *, ordered=True):
        self._at("fetch")
        rows = cur.fetchall()
        if (rows if ordered else sorted(rows)) != expected:
            raise WrongAnswerError(f"{self}: {str(rows)[:300]}, not {str(expected)[:300]}")

    def stream(self, conn):
        """A named cursor, read slowly."""
        cur = conn.cursor(f"soak{self.number}")
        cur.itersize = 60
        self._ask(cur, "SELECT id FROM item ORDER BY id")
        rows = []
        while True:
            self._at("fetch")
            chunk = cur.fetchmany(60)
            if not chunk:
                break
            rows += chunk
            gevent.sleep(self._rand.random() * 0.02)
        if sorted(rows) != [(i,) for i in items.IDS]:
            raise WrongAnswerError(f"{self}: {len(rows)} rows, not {len(items.IDS)}")

    def mark(self, conn):
        """Leave something in the sessions; nobody else may find it."""
        cur = conn.cursor()
        self._ask(cur, "SELECT current_setting(%s, true)", (MARK,))
        self._at("fetch")
        if any(row[0] for row in cur.fetchall()):
            raise WrongAnswerError(f"{self}: a session keeps what another request has set")
        self._ask(cur, "SELECT set_config(%s, %s, false)", (MARK, self.tag))

    def think(self, conn):
        """Hold a transaction open for a moment, and do something else."""
        self._ask(conn.cursor(), "SELECT %s", (self.tag,))
        gevent.sleep(self._rand.random() * 0.1)


class ClusterRequest(Request):
    """Over the declared cluster.

    Args:
        shard_of: Tells the shard of a key.
    """

    together = True

    def __init__(self, number, pool, ledger, rand, shard_of):
        self._shard_of = shard_of
        super().__init__(number, pool, ledger, rand)

    def read(self, conn):
        """Ask some of the questions whose answers are known."""
        cur = conn.cursor()
        for question in self._rand.choices(items.READS, k=self._rand.randrange(1, 4)):
            statement, parameters, expected = question(self._rand)
            self._ask(cur, statement, parameters)
            self._expect(
                cur,
                sorted(expected) if question is items.concatenated else expected,
                ordered=question is not items.concatenated,
            )

    def sleep(self, conn):
        """Statements that only a timeout or a kill ends, on one shard or on all."""
        where = self._rand.choice(("id = 7", "id < 20"))
        statement = f"SELECT id FROM item WHERE {where} AND %s <> '' AND pg_sleep(%s) IS NOT NULL"
        self._ask(conn.cursor(), statement, (self.tag, _LONG_S))

    def write_one(self, conn):
        """Rows for one shard."""
        key, count = self._rand.randrange(10**9), self._rand.randrange(1, 4)
        self._writes({self._shard_of(key): count})
        cur = conn.cursor()
        for _ in range(count):
            self._ask(cur, "INSERT INTO entry VALUES (%s, %s)", (key, self.number))

    def write_several(self, conn):
        """Rows for any shards, and perhaps an error afterwards."""
        keys = [self._rand.randrange(10**9) for _ in range(self._rand.randrange(2, 6))]
        self._writes(Counter(map(self._shard_of, keys)))
        cur = conn.cursor()
        for key in keys:
            self._ask(cur, "INSERT INTO entry VALUES (%s, %s)", (key, self.number))
        if self._rand.random() < 0.2:
            raise ViewError

    works: ClassVar = {
        read: 40,
        Request.stream: 6,
        Request.mark: 6,
        Request.think: 8,
        sleep: 6,
        write_one: 14,
        write_several: 14,
    }


class UnionRequest(Request):
    """Over the shards, nothing declared.

    Args:
        shards: Their names.
    """

    def __init__(self, number, pool, ledger, rand, shards):
        self._shards = shards
        super().__init__(number, pool, ledger, rand)

    def read(self, conn):
        """The rows of all shards, or of some."""
        cur = conn.cursor()
        for _ in range(self._rand.randrange(1, 4)):
            most = self._rand.choice(items.IDS)
            self._ask(cur, "SELECT id FROM item WHERE id <= %s", (most,))
            self._expect(cur, [(i,) for i in range(1, most + 1)], ordered=False)
            with conn.on(self._rand.choice(self._shards)):
                self._ask(cur, "SELECT count(*) FROM owner")
                self._expect(cur, [(len(items.NAMES),)])

    def sleep(self, conn):
        """A statement that only a timeout or a kill ends, on one shard or on all."""
        some = self._rand.choice((self._shards, [self._rand.choice(self._shards)]))
        with conn.on(some):
            self._ask(conn.cursor(), "SELECT pg_sleep(%s), %s", (_LONG_S, self.tag))

    def doze(self, conn):
        """A statement that takes a while."""
        self._ask(conn.cursor(), "SELECT pg_sleep(%s), %s", (self._rand.random() * 0.2, self.tag))

    def write(self, conn):
        """Rows for some shards, each named, and perhaps an error afterwards."""
        shards = self._rand.sample(self._shards, self._rand.choice((1, 1, 2, len(self._shards))))
        self._writes(dict.fromkeys(shards, 2))
        for shard in shards:
            with conn.on(shard):
                self._ask(
                    conn.cursor(),
                    "INSERT INTO entry SELECT n, %s FROM generate_series(1, 2) AS n",
                    (self.number,),
                )
        if self._rand.random() < 0.2:
            raise ViewError

    def write_at_once(self, conn):
        """Rows for all shards, without a transaction."""
        self._writes(dict.fromkeys(self._shards, 1))
        conn.autocommit = True
        self._may_commit()
        cur = conn.broadcast().cursor()
        self._ask(cur, "INSERT INTO entry VALUES (0, %s)", (self.number,))
        self._committed()

    def _may_commit(self):
        if self._entry is not None and self._entry.outcome != COMMITTED:
            super()._may_commit()

    works: ClassVar = {
        read: 35,
        Request.stream: 8,
        Request.mark: 8,
        Request.think: 8,
        sleep: 6,
        doze: 15,
        write: 20,
        write_at_once: 6,
    }
