"""Looks at the servers all the time, from a process of its own, and tells what must not be.

It asks pg_stat_activity through superusers' sessions, which a server out of slots still has. A time
is counted only while it is observed: a frozen server, or a machine that is too busy to look, adds
nothing to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import sys
import threading
import time
from collections import Counter

import psycopg2

#: Seconds between two looks, and what one look may count for.
_PERIOD_S, _LONGEST_GAP_S = 0.02, 0.25
#: Seconds that a server may take after a fault until its sessions are as many as configured.
_SETTLE_S = 20.0

_SESSIONS = """
SELECT pid, backend_start::text, application_name, state, query_start::text, left(query, 500)
FROM pg_stat_activity
WHERE datname = 'soak' AND usename = 'app'
    AND application_name NOT IN ('hog', 'greenshard recovery')
"""
_TAG = re.compile(r"soak:(\d+):")


class Rules:
    """What must hold.

    Args:
        limits: How many sessions of each name a server may have. A name ending in ``*`` stands for
            all that begin so, each of which may have so many.
        over_s, active_s, idle_s, dead_s, stall_s: For how long something may last: more sessions
            than that, one statement, a transaction without one, a statement of a request that has
            ended, no tick.
    """

    def __init__(self, limits, over_s, active_s, idle_s, dead_s, stall_s):
        self.limits = limits
        self.over_s = over_s
        self.active_s, self.idle_s, self.dead_s = active_s, idle_s, dead_s
        self.stall_s = stall_s

    def limit(self, name):
        for known, limit in self.limits.items():
            if name == known or (known.endswith("*") and name.startswith(known[:-1])):
                return limit
        return None


class Judge:
    """What must not be on one server, from look to look.

    Attributes:
        most, longest: The most sessions of each name, and the longest that anything lasted.
    """

    def __init__(self, shard, rules, dead, tell):
        self.most, self.longest = Counter(), Counter()
        self._shard, self._rules = shard, rules
        self._dead, self._tell = dead, tell
        self._seen, self._told = {}, set()
        self._excused, self._settle_until = False, None
        self._last = -_LONGEST_GAP_S

    def excuse(self):
        """The server has a fault: it may keep sessions that we have closed."""
        self._excused, self._settle_until = True, None

    def watch(self, now):
        """The fault is over; soon all is to be well again."""
        self._settle_until = now + _SETTLE_S

    def look(self, sessions, now):
        """Judge what the server has at a moment."""
        gap_s, self._last = min(now - self._last, _LONGEST_GAP_S), now
        counts = Counter(name for _, _, name, *_ in sessions)
        over = {
            name: count
            for name, count in counts.items()
            if (limit := self._rules.limit(name)) is not None and count > limit
        }
        if self._excused and not self._settled(over, now):
            self._seen.clear()
            return
        for name, count in counts.items():
            self.most[name] = max(self.most[name], count)
        self._judge(sessions, over, gap_s)

    def _settled(self, over, now):
        """Whether the server is as it should be after a fault, or has had time enough."""
        waits = self._settle_until is None or (over and now < self._settle_until)
        self._excused = waits
        return not waits

    def _judge(self, sessions, over, gap_s):
        seen, self._seen = self._seen, {}
        for name, count in over.items():
            limit = self._rules.limit(name)
            what = f"{count} sessions of {name}, where {limit} are configured"
            self._lasts(("over", name), seen, gap_s, self._rules.over_s, what)
        for pid, start, name, state, since, query in sessions:
            key = (pid, start, state, since)
            if (state or "").startswith("idle in transaction"):
                what = f"session {pid} of {name} is {state}, after {query!r}"
                self._lasts(("idle", *key), seen, gap_s, self._rules.idle_s, what)
            elif state == "active":
                what = f"session {pid} of {name} runs {query!r}"
                self._lasts(("active", *key), seen, gap_s, self._rules.active_s, what)
                tag = _TAG.search(query)
                if tag and int(tag[1]) in self._dead:
                    what = f"request {tag[1]} has ended; session {pid} of {name} runs {query!r}"
                    self._lasts(("dead", *key), seen, gap_s, self._rules.dead_s, what)

    def _lasts(self, key, seen, gap_s, most_s, what):
        """Count for how long something lasts; tell it once if that is too long."""
        lasted_s = self._seen[key] = seen.get(key, -gap_s) + gap_s
        self.longest[key[0]] = max(self.longest[key[0]], lasted_s)
        if lasted_s > most_s and key not in self._told:
            self._told.add(key)
            self._tell(f"{self._shard}: {what}, for {lasted_s:.1f} s already")


class Eye:
    """Looks at one server, in a thread."""

    def __init__(self, dsn, judge):
        self.judge = judge
        self._dsn = dsn
        self._asked = None

    def look_on(self):
        while True:
            with contextlib.suppress(psycopg2.Error):
                self.judge.look(self._sessions(), time.monotonic())
            time.sleep(_PERIOD_S)

    def _sessions(self):
        if self._asked is None or self._asked.closed:
            self._asked = psycopg2.connect(self._dsn, application_name="observer")
            self._asked.autocommit = True
        with self._asked.cursor() as cur:
            cur.execute(_SESSIONS)
            return cur.fetchall()


class Post:
    """The process's side: obeys, and tells."""

    def __init__(self, given):
        self._speaking = threading.Lock()
        self._rules = Rules(**given["rules"])
        self._dead = set()
        self._eyes = {
            shard: Eye(dsn, Judge(shard, self._rules, self._dead, self._violation))
            for shard, dsn in given["dsns"].items()
        }

    def _say(self, **what):
        with self._speaking:
            sys.stdout.write(json.dumps(what) + "\n")
            sys.stdout.flush()

    def _violation(self, what):
        self._say(violation=what)

    def run(self):
        for eye in self._eyes.values():
            threading.Thread(target=eye.look_on, daemon=True).start()
        longest_s = self._obey()
        self._say(
            most={shard: dict(eye.judge.most) for shard, eye in self._eyes.items()},
            longest={shard: dict(eye.judge.longest) for shard, eye in self._eyes.items()},
            silence_s=longest_s,
        )

    def _obey(self):
        """Do as told until the end; returns the longest time without a word."""
        buffer, last, longest_s, told = b"", None, 0.0, False
        while True:
            ready, _, _ = select.select([0], [], [], 0.1)
            silent_s = time.monotonic() - last if last is not None else 0.0
            if not ready:
                longest_s = max(longest_s, silent_s)
                if silent_s > self._rules.stall_s and not told:
                    told = True
                    self._violation(f"the process has done nothing for {silent_s:.1f} s")
                continue
            data = os.read(0, 65536)
            if not data:
                return longest_s
            last, told = time.monotonic(), False
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                self._do(*line.decode().split())

    def _do(self, command, word=""):
        if command == "ended":
            self._dead.add(int(word))
        elif command == "excuse":
            self._eyes[word].judge.excuse()
        elif command == "watch":
            self._eyes[word].judge.watch(time.monotonic())


if __name__ == "__main__":
    Post(json.loads(sys.argv[1])).run()
