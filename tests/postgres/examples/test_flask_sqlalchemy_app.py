"""examples/flask_sqlalchemy_app: pages over two shards, and a form that writes to both."""

from __future__ import annotations

import re

import pytest

import greenshard

pytest.importorskip("flask_sqlalchemy")

from examples.flask_sqlalchemy_app import app as example


@pytest.fixture
def client(greenshard_shards, tmp_path):
    with greenshard_shards.databases() as dsns:
        path = tmp_path / "cluster.toml"
        path.write_text("[shards]\n" + "".join(f'{n} = "{dsn}"\n' for n, dsn in dsns.items()))
        app = example.create_app(str(path))
        done = app.test_cli_runner().invoke(args=["init-bank"])
        assert done.exit_code == 0, done.output
        yield app.test_client()
        with app.app_context():
            example.db.engine.dispose()


def shown(client):
    """The balances of the page, by account; the branches' totals."""
    page = client.get("/").get_data(as_text=True)
    accounts = re.findall(r'id="account-(\d+)"><td>[^<]*</td><td>(\d+)<', page)
    totals = re.findall(r"<th>(\w+)</th><td>(\d+) accounts</td><td>(\d+)<", page)
    return {int(number): int(balance) for number, balance in accounts}, totals


def cluster_of(client):
    with client.application.app_context():
        return example.db.engine.dialect.cluster


def test_transfer_is_done_on_both_shards_or_on_none(client):
    balances, totals = shown(client)
    assert balances == dict.fromkeys(range(1, 13), 100)
    assert totals == [("Lima", "6", "600"), ("Oslo", "6", "600")]
    cluster = cluster_of(client)
    shard_of = {n: cluster.placement.shards_for(n, "int4", cluster.names) for n in balances}
    one, other = (next(n for n in balances if shard_of[n] == shard) for shard in cluster.names)
    done = client.post("/transfer", data={"from": one, "to": other, "amount": 30})
    assert done.status_code == 303
    balances, _ = shown(client)
    assert (balances[one], balances[other], sum(balances.values())) == (70, 130, 1200)
    done = client.post("/transfer", data={"from": one, "to": other, "amount": 71})
    assert done.status_code == 409
    assert client.post("/transfer", data={"from": one, "to": 99, "amount": 1}).status_code == 404
    assert shown(client)[0] == balances


def test_models_declare_the_cluster(client):
    assert cluster_of(client).tables["entry"] == greenshard.Sharded("account_id")
