"""The code of docs/flask.rst does what the page says."""

from __future__ import annotations

import contextlib
import json

import psycopg2
import pytest

from tests.meta.pages import ROOT, python_blocks


@pytest.fixture
def page(greenshard_dsns, tmp_path, monkeypatch):
    """What the page's code defines, over two empty shards."""
    shards = "".join(f"{name} = {json.dumps(dsn)}\n" for name, dsn in greenshard_dsns.items())
    declared = f'[shards]\n{shards}[tables]\norders = {{ shard_key = "id" }}\n'
    (tmp_path / "cluster.toml").write_text(declared)
    monkeypatch.chdir(tmp_path)
    for dsn in greenshard_dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cursor:
            cursor.execute("CREATE TABLE orders (id int PRIMARY KEY, customer text, amount int)")
    names = {"__name__": "page"}
    blocks = python_blocks(ROOT / "docs" / "flask.rst")
    for block in blocks:
        exec(block, names)
    yield names
    with names["app"].app_context():
        assert names["db"].pool.stats().taken == 0
        names["db"].pool.close()


def test_the_application_of_the_page_runs(page):
    client = page["app"].test_client()
    assert client.get("/orders/7").status_code == 404
    for number in (7, 8):
        response = client.post(f"/orders/{number}", data={"customer": "bob", "amount": number})
        assert response.status_code == 201
    assert client.get("/orders/7").get_json() == ["bob", 7]
    assert client.post("/orders/7", data={"customer": "eve", "amount": 1}).status_code == 500
    assert sorted(client.get("/orders.csv").text.splitlines()) == ["7,7", "8,8"]


def test_the_pools_of_the_page_may_be_configured(page, tmp_path):
    (tmp_path / "archive.toml").write_text((tmp_path / "cluster.toml").read_text())
    from greenshard.ext.flask.configuration import make_pools

    assert list(make_pools(page["app"].config)) == ["default", "archive", "reports"]
