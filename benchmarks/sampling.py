"""Where the processor's time of a call goes, by samples.

cProfile cannot tell: it follows one stack, and greenlets leave a function without returning from
it. Here a timer of the process's own processor time interrupts it, and the line that runs is noted.
What C code does (psycopg2, libpq, greenlet, the event loop) is counted on the line that called it;
the kernel's work for a system call, too. Waiting costs no processor time and is not seen.
"""

from __future__ import annotations

import linecache
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

#: Processor time between two samples, in seconds. Many kernels round it up to 4 ms.
_INTERVAL_S = 0.001


def profile(call: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Repeat `call` for `seconds`.

    Returns:
        ``calls``; ``cpu_us``, processor time of one call; ``lines``, a list of ``[file, function,
        line, source, samples]``, the most frequent first.
    """
    seen: Counter[tuple[str, str, int]] = Counter()

    def note(_signal: int, frame: FrameType | None) -> None:
        if frame is not None:
            seen[frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno] += 1

    before = signal.signal(signal.SIGPROF, note)
    calls, end, cpu = 0, time.perf_counter() + seconds, time.process_time()
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)
    try:
        while time.perf_counter() < end:
            call()
            calls += 1
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    cpu = time.process_time() - cpu
    lines = [
        [_short(file), function, line, linecache.getline(file, line).strip(), samples]
        for (file, function, line), samples in seen.most_common()
    ]
    return {"calls": calls, "cpu_us": cpu / calls * 1e6, "lines": lines}


def _short(file: str) -> str:
    """The file's path inside its package."""
    parts = Path(file).parts
    packages = ("benchmarks", "gevent", "greenshard", "psycogreen")
    first = max((at for at, part in enumerate(parts) if part in packages), default=-1)
    return "/".join(parts[first:])
