"""Looks for transactions over several shards that their coordinators have left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from greenshard.checking.findings import Finding, counted, lasting
from greenshard.checking.probe import SHARD, read_by_name
from greenshard.connection import Connection
from greenshard.transaction import gids

#: What was prepared less than so many seconds ago may just be being committed.
_YOUNG_S = 10.0

#: Anybody can give what he prepares such a name. Only a role that may take down decisions has one
#: of them in doubt; where that is not known, it counts.
_PREPARED = f"""
SELECT {SHARD}, gid, extract(epoch FROM clock_timestamp() - prepared)::text
FROM pg_prepared_xacts AS p WHERE database = current_database() AND coalesce((
    SELECT has_table_privilege(r.oid, to_regclass('greenshard.decision'), 'INSERT')
    FROM pg_roles AS r WHERE r.rolname = p.owner), true)
ORDER BY prepared
"""


def read_prepared(conn: Connection) -> dict[str, dict[str, str]]:
    """Read what each shard has prepared, by its name, and for how many seconds.

    Switches: yes.
    """
    return read_by_name(conn, _PREPARED)


def left_in_doubt(found: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """What is in doubt, by shard."""
    ages: dict[str, list[float]] = {}
    for name, told in found.items():
        if gids.read(name) is not None:  # else another program has prepared it
            for shard, age_s in told.items():
                ages.setdefault(shard, []).append(float(age_s))
    for shard, all_s in ages.items():
        old_s = [age_s for age_s in all_s if age_s >= _YOUNG_S]
        if old_s:
            yield Finding(
                "transactions",
                f"{counted(len(old_s), 'transaction')} over several shards in doubt, the oldest "
                f"for {lasting(max(old_s))}; `greenshard recover` finishes what can be finished",
                shards=(shard,),
            )
