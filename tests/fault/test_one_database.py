"""A shard of a declared cluster fails while a plan of several stages runs."""

from __future__ import annotations

import gevent
import psycopg2
import pytest

import greenshard
from greenshard.executor.strategies import filling
from tests.fault.scene import ANSWERING, SILENT, SURVIVORS, VICTIM, bounded, eventually, outcome

TIMEOUT_S = 0.25
GRACE_S = 0.25
SILENT_S = TIMEOUT_S + 3 * GRACE_S + 1.0
ROWS = 40

GATHERED = "SELECT count(*) FROM grains a JOIN grains b ON a.other = b.id"
#: Statements that are slow on every shard.
READING = {
    "merge": "SELECT id, pg_sleep(1) FROM grains ORDER BY id LIMIT 3",
    "combine": "SELECT count(pg_sleep(1)) FROM grains",
    "gather": GATHERED,
}
every_fault = pytest.mark.parametrize("fault", ANSWERING + SILENT)
#: Where the home is the shard that fails.
HOME = ("s1", "s0", "s2")


@pytest.fixture(scope="module")
def grains(whole_scene):
    """A sharded table, its rows where they belong."""
    cluster = greenshard.Cluster(whole_scene.dsns(), {"grains": greenshard.Sharded("id")})
    for name in cluster.names:
        whole_scene.ask(name, "CREATE TABLE grains (id int, other int)")
    for key in range(ROWS):
        name = cluster.placement.shards_for(key, "int4", cluster.names)
        whole_scene.ask(name, "INSERT INTO grains VALUES (%s, %s)", (key, ROWS - key))
    yield
    for name in cluster.names:
        whole_scene.ask(name, "DROP TABLE grains")


@pytest.fixture(params=["in the text", "as tables"])
def way(request, monkeypatch):
    """How gathered rows go to the server."""
    if request.param == "as tables":
        monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 0)


@pytest.fixture
def connect(scene, grains):
    """Connects to the cluster, and knows its tables."""

    def connect(fault="", order=("s0", "s1", "s2"), **options):
        dsns = scene.dsns(fault, order)
        placement = greenshard.cluster.Hash(
            slots=256, assignment={slot: f"s{slot % 3}" for slot in range(256)}
        )
        cluster = greenshard.Cluster(dsns, {"grains": greenshard.Sharded("id")}, placement)
        scene.initialise(cluster)
        given = {"cancel_grace": GRACE_S, "application_name": "tested", **options}
        conn = greenshard.connect(cluster, **given)
        scene.connections.append(conn)
        cur = conn.cursor()
        cur.timeout = 20.0  # the first statement of all loads the catalog
        cur.execute("SELECT 1")
        conn.rollback()
        return conn

    return connect


def check_error(error, fault):
    assert isinstance(error, greenshard.OperationalError)
    assert isinstance(error, psycopg2.OperationalError)
    assert error.shard == VICTIM
    assert VICTIM in str(error)
    if fault in SILENT:
        assert isinstance(error, greenshard.QueryTimeout)


@every_fault
@pytest.mark.parametrize("strategy", READING)
def test_fault_before_the_shards_read(scene, connect, fault, strategy):
    conn = connect(fault, timeout=TIMEOUT_S)
    cur = conn.cursor()
    cur.timeout = 20.0
    cur.execute(GATHERED)
    conn.rollback()
    assert f"strategy: {strategy}" in conn.explain(READING[strategy])
    scene.inflict(fault)
    with bounded(SILENT_S), pytest.raises(greenshard.Error) as excinfo:
        conn.cursor().execute(READING[strategy])
    if strategy == "gather" or fault not in SILENT:
        check_error(excinfo.value, fault)
    scene.assert_idle(*SURVIVORS)
    scene.assert_usable(conn)


@every_fault
@pytest.mark.parametrize("strategy", READING)
def test_partial_answer_of_the_survivors(scene, connect, fault, strategy):
    conn = connect(fault, on_error="partial", timeout=2.0)
    cur = conn.cursor()
    query = READING[strategy].replace("1)", "0.001)")
    cur.execute(query)
    whole = cur.fetchall()
    conn.rollback()
    scene.inflict(fault)
    with bounded(2.0 + 3 * GRACE_S), pytest.warns(greenshard.PartialResultWarning, match=VICTIM):
        cur.execute(query)
    assert list(cur.failures) == [VICTIM]
    assert cur.fetchall() != whole or strategy == "merge"
    scene.assert_idle(*SURVIVORS)


@every_fault
@pytest.mark.usefixtures("way")
def test_fault_where_the_rows_are_gathered(scene, connect, fault):
    conn = connect(fault, HOME, timeout=5.0 if fault in ANSWERING else 1.0)
    cur = conn.cursor()
    cur.execute(GATHERED)
    expected = cur.fetchall()
    conn.rollback()
    slow = f"SELECT pg_sleep(60), count FROM ({GATHERED}) x"
    inflicting = scene.inflict_during(fault, (VICTIM,))
    with bounded(SILENT_S + 5.0), pytest.raises(greenshard.Error) as excinfo:
        cur.execute(slow)
    inflicting.join()
    error = excinfo.value
    assert error.shard == VICTIM
    assert f"{VICTIM} (gathering)" in str(error) or isinstance(error, greenshard.FanoutError)
    scene.assert_idle(*SURVIVORS)
    conn.rollback()
    assert not any(p.alive and p.transaction_status for p in conn._session.every)
    if fault in SILENT:
        scene.heal()
        eventually(lambda: not scene.running(VICTIM))
        again = connect("", HOME)
        cur = again.cursor()
        cur.execute(GATHERED)
        assert cur.fetchall() == expected


@pytest.mark.usefixtures("way")
def test_second_kill_does_not_leave_a_transaction_where_rows_are_gathered(scene, connect):
    conn = connect()
    cur = conn.cursor()
    cur.execute(GATHERED)
    conn.rollback()
    caller = gevent.spawn(outcome, cur.execute, f"SELECT pg_sleep(60), count FROM ({GATHERED}) x")
    eventually(lambda: any("pg_sleep" in query for _, query in scene.running("s0")))
    caller.kill(block=False)
    gevent.sleep(0.01)
    caller.kill()
    eventually(lambda: not scene.running("s0"))
    assert not any(p.alive and p.transaction_status for p in conn._session.beside.values())
    conn.rollback()
    cur.execute(GATHERED)
    assert cur.fetchone()[0] > 0
