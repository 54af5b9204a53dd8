"""Tables, views and statements by chance, over which several roles have different rights.

The tables have the same columns and differ in what they let whom see. A view has a random owner,
options and grants.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

TENANTS = "abc"
#: For each table what is done with it, with {boss}, {agent} and {clerk} for the roles.
SHARDED = {
    "open": "GRANT SELECT ON open TO {agent}, {clerk}",
    "shut": "GRANT SELECT ON shut TO {agent}",
    "mine": "GRANT SELECT ON mine TO {clerk}",
    "part": """GRANT SELECT (id, customer) ON part TO {clerk};
        GRANT SELECT (id, total, tenant) ON part TO {agent}""",
    "tenants": """GRANT SELECT ON tenants TO {agent}, {clerk};
        ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
        CREATE POLICY agents ON tenants FOR SELECT TO {agent} USING (tenant <> 'c');
        CREATE POLICY clerks ON tenants FOR SELECT TO {clerk}
            USING (tenant = 'a' AND customer IN (SELECT id FROM place))""",
    "forced": """GRANT SELECT ON forced TO {agent}, {clerk};
        ALTER TABLE forced ENABLE ROW LEVEL SECURITY; ALTER TABLE forced FORCE ROW LEVEL SECURITY;
        CREATE POLICY everybody ON forced USING (tenant = 'b' OR CURRENT_USER = '{clerk}')""",
}
REFERENCE = {
    "place": "GRANT SELECT ON place TO {agent}, {clerk}",
    "spot": """GRANT SELECT ON spot TO {agent}, {clerk}; ALTER TABLE spot ENABLE ROW LEVEL SECURITY;
        CREATE POLICY agents ON spot FOR SELECT TO {agent} USING (id % 2 = 0)""",
    "hidden": "",
}
COLUMNS = "(id bigint PRIMARY KEY, customer bigint, total numeric(9,2), tenant text)"
ROWS = [(n, n % 5 + 1, f"{n * 3 % 17}.50", TENANTS[n % 3]) for n in range(1, 31)]
PLACES = [(n, n % 3 + 1, f"{n}.25", TENANTS[n % 3]) for n in range(1, 9)]


PLAIN = "id customer total tenant"
CONDITIONS = ("total > 3", "tenant <> 'b'", "customer < 4", "100 / id > 4", "id > 0")
#: Columns and queries of views: of rows, of groups, by the key and not, of who asks and when.
DEFINITIONS = (
    (PLAIN, "SELECT * FROM {t} WHERE {condition}"),
    (PLAIN, "SELECT * FROM {t} WHERE {condition}"),
    (PLAIN, "SELECT * FROM {t} WHERE {condition}"),
    ("customer n most", "SELECT customer, count(*), max(total) FROM {t} GROUP BY customer"),
    (
        "id n customer",
        "SELECT id, count(*), max(b.customer) FROM {t} JOIN {near} b USING (id) GROUP BY id",
    ),
    (
        PLAIN,
        "SELECT a.id, b.customer, a.total, b.tenant FROM {t} a JOIN {u} b ON b.id = a.customer",
    ),
    (
        "id customer me",
        "SELECT id, customer, CURRENT_USER::text FROM {t} WHERE id > 9 OR USER = '{{agent}}'",
    ),
    ("id customer today", "SELECT id, customer, CURRENT_DATE FROM {t}"),
    (PLAIN, "SELECT * FROM {r} WHERE id < 7"),
    (PLAIN, "SELECT * FROM {t} UNION ALL SELECT * FROM {u} WHERE id > 3"),
)


@dataclass(frozen=True)
class View:
    """A view.

    Attributes:
        name: Its name.
        columns: Its columns' names.
        ddl: What makes it, with the roles' names in braces.
    """

    name: str
    columns: tuple[str, ...]
    ddl: str


class Chance:
    """What is made by chance."""

    def __init__(self, seed: str, *, has_invokers: bool) -> None:
        self._pick = Random(seed)
        self._has_invokers = has_invokers
        self.views: list[View] = []

    def add_view(self) -> None:
        pick = self._pick
        name = f"v{len(self.views)}"
        columns, definition = self._definition()
        options = [o for o in ("security_barrier", "security_invoker=on") if pick.random() < 0.25]
        if not self._has_invokers:
            options = [o for o in options if "invoker" not in o]
        with_options = f" WITH ({', '.join(options)})" if options else ""
        owner = pick.choice(["boss", "boss", "agent", "agent", "clerk", "chief"])
        ddl = [f"CREATE VIEW {name} ({', '.join(columns)}){with_options} AS {definition}"]
        ddl.append(f"ALTER VIEW {name} OWNER TO {{{owner}}}")
        for role in ("boss", "agent", "clerk"):
            roll = pick.random()
            if roll < 0.7:
                ddl.append(f"GRANT SELECT ON {name} TO {{{role}}}")
            elif roll < 0.85:
                some = ", ".join(pick.sample(columns, pick.randint(1, len(columns))))
                ddl.append(f"GRANT SELECT ({some}) ON {name} TO {{{role}}}")
        self.views.append(View(name, columns, "; ".join(ddl)))

    def needed_for(self, statement: str) -> list[View]:
        """The views that a statement names, and those in their queries."""
        text, needed = statement, []
        for view in reversed(self.views):
            if re.search(rf"\b{view.name}\b", text):
                needed.insert(0, view)
                text += view.ddl
        return needed

    def _definition(self) -> tuple[tuple[str, ...], str]:
        """Its columns, and its query."""
        columns, text = self._pick.choice(DEFINITIONS)
        return tuple(columns.split()), text.format(
            t=self._source(),
            u=self._pick.choice([*SHARDED, *SHARDED, *REFERENCE]),
            near=self._pick.choice([*SHARDED]),
            r=self._pick.choice([*REFERENCE]),
            condition=self._pick.choice(CONDITIONS),
        )

    def _source(self) -> str:
        plain = [view.name for view in self.views if " ".join(view.columns) == PLAIN]
        if plain and self._pick.random() < 0.3:
            return self._pick.choice(plain)
        return self._pick.choice([*SHARDED])

    def statement(self) -> str:
        """A statement over views, and tables beside them."""
        view, other = self._pick.choice(self.views), self._pick.choice(self.views)
        return self._pick.choice(STATEMENTS).format(
            v=view.name,
            w=other.name,
            first=view.columns[0],
            second=view.columns[1],
            any=self._pick.choice(view.columns),
            w_first=other.columns[0],
            w_second=other.columns[1],
            t=self._pick.choice([*SHARDED, *REFERENCE]),
            u=self._pick.choice([*SHARDED]),
            key=self._pick.randint(1, 30),
        )


STATEMENTS = (
    "SELECT * FROM {v}",
    "SELECT {any} FROM {v}",
    "SELECT {any} FROM {v} WHERE {first} = {key}",
    "SELECT {any} FROM {v} ORDER BY {any} LIMIT 7",
    "SELECT count(*) FROM {v}",
    "SELECT count(*), max({any}) FROM {v} WHERE {second} > 2",
    "SELECT cardinality(array_agg(DISTINCT coalesce({any}))) FROM {v}",
    "SELECT cardinality(array_agg(DISTINCT coalesce({any}))) FROM {v} WHERE {second} <= 3",
    "SELECT cardinality(array_agg(DISTINCT coalesce(1))) FROM {v}",
    "SELECT v.{any}, t.tenant FROM {v} v JOIN {t} t ON t.customer = v.{first}",
    "SELECT v.{any}, w.{w_second} FROM {v} v, {w} w WHERE v.{second} = w.{w_first}",
    "SELECT {any} FROM {v} WHERE {second} IN (SELECT {w_first} FROM {w})",
    "SELECT {any}, row_number() OVER (ORDER BY {first}, {any}) FROM {v}",
    "SELECT count(DISTINCT a.customer) FROM {t} a JOIN {v} v ON v.{first} = a.id",
    "SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM {t}",
    "SELECT a.id, b.tenant FROM {t} a JOIN {u} b ON a.customer = b.id",
    (
        "WITH w AS (SELECT {any} AS x FROM {v}) SELECT cardinality(array_agg(DISTINCT coalesce(x)))"
        " FROM w"
    ),
    "SELECT (SELECT max({any}) FROM {v} v WHERE v.{first} = t.customer) FROM {u} t",
)
