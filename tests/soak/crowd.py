"""Many greenlets that make requests, and those who end them before their time."""

from __future__ import annotations

import random
import time
import traceback
from functools import partial
from itertools import count

import gevent
import gevent.event
from gevent.util import format_run_info

import greenshard
from tests.soak.work import MOMENTS, ClusterRequest, UnionRequest, ViewError, WrongAnswerError

#: Which shares of the requests are left alone, time out, are killed.
_FATES = (40, 25, 35)
#: How often they end at any time, and at each of the moments: most wait to take a connection.
_WANTED = (1, 1, 3, 3, 3, 3)


class Crowd:
    """The clients.

    Args:
        part: Of which it is.
        pools: The pool over the declared cluster, and that over the union.
    """

    #: How a request ends that gets what it wants.
    GOOD = "answered"

    def __init__(self, part, pools):
        self._bounds, self._report = part.bounds, part.report
        self._ledger, self._observer, self._faults = part.ledger, part.observer, part.faults
        self._names, self._shard_of = list(part.scene.names), part.scene.shard_of
        self._pools = pools
        self._numbers = count(1)
        self._running = {}
        self._stopped = False
        self._clients = []

    def __str__(self):
        """What is going on, for who looks into a violation."""
        moments = [request.moment for request, _ in self._running.values()]
        told = ", ".join(f"{moments.count(m)} in {m or 'no'}" for m in sorted(set(moments)))
        return f"{len(moments)} requests: {told}"

    def start(self):
        self._clients = [gevent.spawn(self._client, n) for n in range(self._bounds.clients)]

    def stop(self):
        """Let the last requests end; returns when they have, or their time is up."""
        self._stopped = True
        gevent.joinall(self._clients, timeout=self._bounds.request_s)

    def look(self):
        """Tell requests that should have ended."""
        now = time.monotonic()
        for number, (request, started) in tuple(self._running.items()):
            if now - started > self._bounds.request_s:
                del self._running[number]
                where = "\n".join(format_run_info(thread_stacks=False))
                self._report.violation(
                    f"{request} has not ended after {now - started:.1f} s\n{where[-8000:]}"
                )

    def _client(self, number):
        rand = random.Random(f"{self._report.seed}/{number}")
        while not self._stopped:
            self._one(self._request(number, rand), rand)
            gevent.sleep(rand.random() * 0.05)

    def _request(self, client, rand):
        number = next(self._numbers)
        cluster, union = self._pools
        if client % 2:
            return UnionRequest(number, union, self._ledger, rand, self._names)
        return ClusterRequest(number, cluster, self._ledger, rand, self._shard_of)

    def _one(self, request, rand):
        started = time.monotonic()
        self._running[request.number] = (request, started)
        greenlet = gevent.spawn(self._run, request)
        end = End(request, greenlet, rand)
        greenlet.join()
        self._observer.ended(request.number)
        if self._running.pop(request.number, None):
            now = time.monotonic()
            self._report.took("request", now - started, self._bounds.request_s)
            if end.came_at is not None:
                self._report.kills[end.moment] += 1
                self._report.took("end of one killed", now - end.came_at, self._bounds.clean_up_s)
        value = greenlet.value
        self._report.outcomes["killed" if isinstance(value, gevent.GreenletExit) else value] += 1

    def _run(self, request):
        """Returns how it ended."""
        try:
            request.run()
        except gevent.Timeout:
            return "timed out"
        except ViewError:
            return "view's error"
        except WrongAnswerError as exc:
            self._report.violation(f"wrong answer: {exc}")
            return "wrong answer"
        except Exception as exc:
            return self._judge(request, exc)
        return self.GOOD

    def _judge(self, request, error):
        """Whether an error is one that there may be."""
        known = (greenshard.OperationalError, greenshard.InterfaceError, greenshard.FanoutError)
        if not isinstance(error, known) or not self._faults.explain(causes(error)):
            told = "".join(traceback.format_exception(error))
            self._report.violation(f"{request}: an error without a cause:\n{told[-3000:]}")
        return type(error).__name__


def causes(error):
    """What has failed: pairs of a shard's name, "" for none, and the name of an error's class."""
    failures = getattr(error, "failures", {}) or {getattr(error, "shard", None) or "": error}
    return [(shard, type(each).__name__) for shard, each in failures.items()]


class End:
    """Ends a request before its time, or not: when it does something chosen, or at any time.

    Args:
        request, greenlet: What, and where it runs.
        rand: Chooses.

    Attributes:
        came_at, moment: When that was, and what the request was doing; None if it was not.
    """

    def __init__(self, request, greenlet, rand):
        self.came_at = self.moment = None
        self._request, self._greenlet = request, greenlet
        self._kind = rand.choices((None, gevent.Timeout, gevent.GreenletExit), _FATES)[0]
        self._again_s = rand.random() * 0.1 if rand.random() < 0.2 else None
        wanted = rand.choices((None, *MOMENTS), _WANTED)[0]
        if self._kind is None:
            return
        if wanted is None:
            gevent.spawn_later(rand.random() ** 3 * 3.0, self._come)
        else:
            delay_s = rand.choice((0.0, 0.0005, 0.005, 0.05)) * rand.random()
            request.trap = partial(self._spring, wanted, delay_s)

    def _spring(self, wanted, delay_s, moment):
        if moment == wanted:
            self._request.trap = lambda moment: None
            gevent.spawn_later(delay_s, self._come)

    def _come(self):
        if self._greenlet.ready() or not self._request.moment:
            return
        connects = _is_in(self._greenlet, "make_ready")
        self.came_at = time.monotonic()
        self.moment = "connect" if connects else self._request.moment
        self._greenlet.kill(self._kind(), block=False)
        if self._again_s is not None:
            gevent.spawn_later(self._again_s, self._greenlet.kill, block=False)


def _is_in(greenlet, function):
    """Whether a greenlet that waits is in a function of a name."""
    frame = greenlet.gr_frame
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None
