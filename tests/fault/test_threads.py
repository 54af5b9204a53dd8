"""With and without gevent's monkey patching, in greenlets and in plain threads."""

from __future__ import annotations

import pytest

from tests.fault.test_busy import run_script


@pytest.mark.parametrize("patching", ["patched", "plain"])
def test_greenlets_and_threads(scene, patching):
    (line,) = run_script("threads.py", patching, *(shard.dsn for shard in scene.shards))
    assert line["failures"] == []
    scene.assert_idle("s0", "s1", "s2", sessions=0)
