"""The views that a query names, and what is known of those that can be read like tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from greenshard.cluster import Placement
from greenshard.planner.binding.query import Derived, Query, nested, queries
from greenshard.planner.catalog import Relation
from greenshard.planner.plan import Pin

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class WholeView:
    """A view that can be read like a table.

    Attributes:
        sharded: Whether each row comes about on one shard; if not, all of them do on each.
        key: The place of a column that decides the shard; None if there is none.
        placement: How.
        pins: The shards that the view's own conditions name; None: any.
        relation: What is known of it as a table; None: what the catalog says.
    """

    sharded: bool
    key: int | None = None
    placement: Placement | None = None
    pins: tuple[Pin, ...] | None = None
    relation: Relation | None = None


WholeViews = Mapping[Name, WholeView]


def name_of(view: Derived) -> Name:
    """Schema and name of a view."""
    assert view.relation is not None  # noqa: S101  # a view's
    return view.relation.schema, view.relation.name


def views_in(query: Query) -> Iterator[Derived]:
    """The views that a query names, and those that they name."""
    for one in queries(query):
        for item in nested(one.items):
            if isinstance(item, Derived) and item.view is not None:
                yield item


def definitions(view: Derived) -> Iterator[Any]:
    """The tree of a view's query, and those of the views that it names."""
    yield view.definition
    for inner in views_in(view.query):
        yield inner.definition
