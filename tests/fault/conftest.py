"""Three shards for all fault tests; after each test nothing may be left behind."""

from __future__ import annotations

import faulthandler
import gc

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from greenshard.testing import Shards
from tests.fault.relay import Relay
from tests.fault.scene import VICTIM, Scene, eventually, nothing_left


@pytest.fixture(scope="session")
def fault_shards():
    settings = {
        "max_prepared_transactions": 5,
        # A server ends what it runs for a client that the relay has cut off.
        "client_connection_check_interval": "100ms",
    }
    with Shards(3, settings=settings) as shards:
        yield shards


@pytest.fixture(scope="session")
def relay(fault_shards):
    victim = fault_shards["s1"]
    relay = Relay(str(next(victim.data_dir.parent.glob(".s.PGSQL.[0-9]*[0-9]"))))
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def whole_scene(fault_shards, relay):
    scene = Scene(fault_shards, relay)
    for shard in scene.shards:
        scene.ask(shard.name, "CREATE TABLE writes (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    # What is made once for each process is not a leak.
    scene.connect()
    scene.close()
    yield scene
    gc.unfreeze()
    for shard in scene.shards:
        scene.forget_asker(shard.name)


@pytest.fixture
def scene(whole_scene, capfd, pytestconfig):
    """The shards, sound and empty; what a test leaves behind fails it."""
    for shard in whole_scene.shards:
        whole_scene.ask(shard.name, "TRUNCATE writes")
    whole_scene.forget_asker(VICTIM)
    try:
        with nothing_left():
            # A test that freezes the process ends it.
            told = pytestconfig.stash[fault_handler_stderr_fd_key]
            faulthandler.dump_traceback_later(60, exit=True, file=told)
            yield whole_scene
            faulthandler.cancel_dump_traceback_later()
            whole_scene.close()
            whole_scene.forget_asker(VICTIM)
    finally:
        whole_scene.heal()  # also for the next test's sake
    for shard in whole_scene.shards:
        eventually(lambda name=shard.name: not whole_scene.sessions(name))
    assert capfd.readouterr().err == ""
