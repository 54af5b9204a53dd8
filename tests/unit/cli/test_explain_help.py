"""``greenshard explain --help`` says what each strategy is that a plan may begin with."""

from __future__ import annotations

import dataclasses

from greenshard.cli.explain import EPILOG
from greenshard.cluster.model import COORDINATOR
from greenshard.planner import plan


def strategies():
    steps = [each for each in vars(plan).values() if dataclasses.is_dataclass(each)]
    fields = [field for each in steps for field in dataclasses.fields(each)]
    return {str(field.default) for field in fields if field.name == "strategy"} - {
        str(dataclasses.MISSING)
    }


def test_each_strategy_is_explained():
    named = {"merge", COORDINATOR, *strategies()}
    assert {"staged", "mirror", "route"} < named
    assert [name for name in sorted(named) if name not in EPILOG] == []
