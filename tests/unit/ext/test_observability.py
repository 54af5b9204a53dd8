"""The dashboard and the alert rules of examples/observability/ name metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from greenshard.ext.prometheus import PoolCollector, StatementMetrics

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "observability"
#: What there is of each kind of metric, after its name.
ENDS = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
LABELS = {"pool", "shard", "state", "strategy", "code", "sqlstate", "le"}


def expressions():
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    board = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        yield variable["name"], variable["query"]


def names():
    registry = CollectorRegistry()
    registry.register(PoolCollector({}))
    StatementMetrics(registry)
    families = [*PoolCollector({}).describe(), *registry.collect()]
    return {family.name + end for family in families for end in ENDS[family.type]}


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(("title", "expr"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_an_expression_names_what_there_is(title, expr):
    assert set(re.findall(r"\bgreenshard_\w+", expr)) <= names()
    for listed in re.findall(r"\bby \(([^)]*)\)", expr):
        assert {label.strip() for label in listed.split(",")} <= LABELS
    assert expr.count("(") == expr.count(")")


def test_they_are_about_greenshard():
    assert sum("greenshard_" in expr for _, expr in EXPRESSIONS) >= 20


def test_each_alert_says_how_urgent_it_is_and_what_it_is_about():
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert {alert["labels"]["severity"] for alert in alerts} == {"page", "ticket"}
    assert all(alert["annotations"]["summary"] for alert in alerts)
    assert len({alert["alert"] for alert in alerts}) == len(alerts)


def test_panels_have_titles_and_places_of_their_own():
    board = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]}
    ids = {panel["id"] for panel in board["panels"]}
    assert len(places) == len(ids) == len(board["panels"])
    assert all(panel["title"] and panel["description"] for panel in board["panels"])
