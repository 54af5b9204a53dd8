"""A server and the connection to it, for tests of what runs calls on them."""

from __future__ import annotations

import gevent
from gevent.event import Event
from psycopg2.errors import QueryCanceled

from greenshard import _driver
from greenshard.links.fanout import Job


class FakeShard:
    """A peer of `Physical` and of the server behind it, whose statement ends when it is told to.

    Args:
        name: The shard's name.
        deaf: Whether the server never answers a cancel request.
        slow_to_cancel: How long, in seconds, a cancel request is under way after it acted.
        says: The answer.
    """

    worker = late = None

    def __init__(self, name, *, deaf=False, slow_to_cancel=0.0, says=None):
        self.name = name
        self.says = says or f"answer of {name}"
        self.deaf = deaf
        self.slow_to_cancel = slow_to_cancel
        self.started = Event()
        self.answered = Event()
        self.error = None
        self.cancels = 0
        self.open = True
        self.raw = object()

    def end_late(self):
        self.late = None

    def become_late(self, greenlet):
        self.late = greenlet

    def run(self):
        """The statement: waits for the server's answer."""
        self.started.set()
        while not self.answered.is_set():
            try:
                self.answered.wait()
            except BaseException as arrived:
                keep = _driver.keepers.get(id(self.raw))
                if keep is None or not keep(arrived):
                    self.open = False  # as psycopg2 does when its wait callback raises
                    raise
        if self.error is not None:
            raise self.error
        return self.says

    def answer(self, error=None):
        self.error = error
        self.answered.set()

    def cancel_while(self, running):
        while running():
            self.cancels += 1
            if not self.deaf:
                self.answer(QueryCanceled("canceling statement due to user request"))
            gevent.sleep(0.001)
        gevent.sleep(self.slow_to_cancel)

    def discard(self):
        self.open = False

    def job(self, call=None):
        return Job(self.name, call or self.run, self)
