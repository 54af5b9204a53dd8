"""With and without gevent's monkey patching, in greenlets and in plain threads."""

from __future__ import annotations

import gc
import threading

import pytest

from tests.fault.scene import descriptors
from tests.fault.test_busy import run_script


@pytest.mark.parametrize("patching", ["patched", "plain"])
def test_greenlets_and_threads(scene, patching):
    (line,) = run_script("threads.py", patching, *(shard.dsn for shard in scene.shards))
    assert line["failures"] == []
    scene.assert_idle("s0", "s1", "s2", sessions=0)


def test_threads_leave_no_descriptors(scene):
    """Each thread has a hub of its own, which gevent does not end with the thread."""
    conn = scene.connect()

    def use():
        conn.cursor().execute("SELECT 1")
        conn.rollback()

    def use_in_thread():
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        gc.collect()
        return descriptors().total()

    before = use_in_thread()
    assert [use_in_thread() for _ in range(5)] == [before] * 5
