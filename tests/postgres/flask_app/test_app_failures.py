"""The example application when shards are down, slow, or asked by too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.postgres.flask_app.conftest import Site, eventually

DOWN = "s1"


@pytest.fixture
def aircraft(site: Site) -> dict[str, str]:
    """The path of an aircraft's page, for each shard."""
    return {name: f"/aircraft/{site.tailnum_on(name)}" for name in ("s0", "s1", "s2")}


def statuses(client: Any, paths: dict[str, str]) -> dict[str, int]:
    return {name: client.get(path).status_code for name, path in paths.items()}


def test_stopped_shard_stops_only_the_pages_that_need_it(
    client: Any, healthy: Site, aircraft: dict[str, str]
) -> None:
    assert set(statuses(client, aircraft).values()) == {200}
    healthy.shards[DOWN].stop()
    for _ in range(3):
        assert statuses(client, aircraft) == {"s0": 200, "s1": 503, "s2": 200}
    for path in ("/", "/delays", "/airports/ATL"):
        response = client.get(path)
        assert response.status_code == 503
        assert f"Shard <b>{DOWN}</b> does" in response.text
        assert int(response.headers["Retry-After"]) > 0
    healthy.shards[DOWN].start()
    eventually(lambda: client.get("/").status_code == 200)
    eventually(lambda: client.get(aircraft[DOWN]).status_code == 200)


def test_home_shard_may_be_the_one_that_is_down(
    client: Any, healthy: Site, aircraft: dict[str, str]
) -> None:
    healthy.shards["s0"].stop()
    assert statuses(client, aircraft) == {"s0": 503, "s1": 200, "s2": 200}


def test_api_answers_in_json_when_a_shard_is_down(client: Any, healthy: Site) -> None:
    healthy.shards[DOWN].stop()
    response = client.get("/api/totals")
    assert response.status_code == 503
    assert response.get_json()["shards"] == [DOWN]


def test_status_shows_which_shard_is_down(client: Any, healthy: Site) -> None:
    client.get("/")
    healthy.shards[DOWN].stop()
    for _ in range(2):
        response = client.get("/status")
        assert response.status_code == 200
        assert "1 shard of 3 down" in response.text
        assert response.text.count('class="state down"') == 1
        up = client.get("/api/status").get_json()["shards"]
        assert [name for name, shard in up.items() if not shard["up"]] == [DOWN]
    healthy.shards[DOWN].start()
    eventually(lambda: "All 3 shards answer" in client.get("/status").text)


def test_process_is_ready_while_any_shard_answers_and_alive_without(
    client: Any, healthy: Site
) -> None:
    healthy.shards[DOWN].stop()
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.get_json() == {"shards": {"s0": True, "s1": False, "s2": True}}
    for shard in healthy.shards:
        shard.stop()
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert "3 shards of 3 down" in client.get("/status").text
    assert client.get("/").status_code == 503


def test_frozen_shard_is_a_timeout(
    make_app: Callable[..., Any], healthy: Site, aircraft: dict[str, str]
) -> None:
    client = make_app(call_timeout=0.5, cancel_grace=0.5).test_client()
    assert client.get("/").status_code == 200
    healthy.shards[DOWN].pause()
    response = client.get("/")
    assert response.status_code == 504
    assert "took too long" in response.text
    assert "1 shard of 3 down" in client.get("/status").text
    healthy.shards[DOWN].resume()
    eventually(lambda: client.get(aircraft[DOWN]).status_code == 200)


def test_request_that_gets_no_connection_is_told_so(make_app: Callable[..., Any]) -> None:
    app = make_app(max_size=1, timeout=0.1)
    with app.extensions["greenshard"]["default"].connection():
        response = app.test_client().get("/")
        status = app.test_client().get("/status")
        assert app.test_client().get("/readyz").status_code == 200
    assert response.status_code == 503
    assert "Too many at once" in response.text
    assert "the shards were not asked" in status.text
    assert status.text.count('class="state up"') == 3
    assert "1 taken, 0 idle, at most 1" in status.text
    assert app.test_client().get("/").status_code == 200


def test_note_is_not_saved_while_its_shard_is_down(
    client: Any, healthy: Site, aircraft: dict[str, str]
) -> None:
    healthy.shards[DOWN].stop()
    path = f"{aircraft[DOWN]}/notes"
    assert client.post(path, data={"text": "x"}).status_code == 503
    healthy.shards[DOWN].start()
    assert healthy.rows(DOWN, "SELECT * FROM notes") == []
    eventually(lambda: client.post(path, data={"text": "x"}).status_code == 303)
