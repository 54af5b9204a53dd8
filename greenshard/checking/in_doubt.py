"""Looks for prepared transactions that somebody has left: over several shards, and of others.

What is prepared keeps its locks, and vacuum from its work, until somebody ends it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from greenshard.checking.findings import Finding, counted, lasting
from greenshard.checking.probe import SHARD, reached, transaction
from greenshard.connection import Connection
from greenshard.transaction import gids

#: What was prepared less than so many seconds ago may just be being committed.
_YOUNG_S = 10.0

#: Anybody can give what he prepares such a name. Only a role that may take down decisions has one
#: of them in doubt; where that is not known, it counts.
_PREPARED = f"""
SELECT {SHARD}, json_build_array(gid, quote_literal(gid),
    extract(epoch FROM clock_timestamp() - prepared), owner, coalesce((
        SELECT has_table_privilege(r.oid, to_regclass('greenshard.decision'), 'INSERT')
        FROM pg_roles AS r WHERE r.rolname = p.owner), true))::text
FROM pg_prepared_xacts AS p WHERE database = current_database()
ORDER BY prepared
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that is prepared on a shard.

    Attributes:
        shard: The shard.
        gid: Its name.
        literal: That as SQL.
        age_s: For how many seconds.
        owner: Who has prepared it.
        commits: Whether that role may commit over several shards.
    """

    shard: str
    gid: str
    literal: str
    age_s: float
    owner: str
    commits: bool

    @property
    def is_ours(self) -> bool:
        """Whether it is a part of a transaction over several shards."""
        return self.commits and gids.read(self.gid) is not None


def read_prepared(conn: Connection) -> list[Prepared]:
    """Read what the shards have prepared for longer than a commit takes, the oldest first.

    Switches: yes.
    """
    with transaction(conn, reached(conn)) as cursor:
        cursor.execute(_PREPARED)
        found = [Prepared(shard, *json.loads(told)) for shard, told in cursor.fetchall()]
    return [each for each in found if each.age_s >= _YOUNG_S]


def left_in_doubt(prepared: Sequence[Prepared]) -> Iterator[Finding]:
    """What is in doubt, by shard."""
    for shard, those in _by_shard([each for each in prepared if each.is_ours]).items():
        yield Finding(
            "transactions",
            f"{counted(len(those), 'transaction')} over several shards in doubt, the oldest "
            f"for {lasting(those[0].age_s)}; `greenshard recover` finishes what can be finished",
            shards=(shard,),
        )


def prepared_by_others(prepared: Sequence[Prepared]) -> Iterator[str]:
    """A note about what other programs have prepared on a shard, and nobody of ours ends."""
    for shard, those in _by_shard([each for each in prepared if not each.is_ours]).items():
        oldest = those[0]
        yield (
            f"shard {shard}: {counted(len(those), 'prepared transaction')} of other programs, "
            f"which `greenshard recover` leaves alone, the oldest for {lasting(oldest.age_s)}, by "
            f"{oldest.owner}. It keeps its locks until who knows of it runs there COMMIT PREPARED "
            f"or ROLLBACK PREPARED {oldest.literal}"
        )


def _by_shard(prepared: Sequence[Prepared]) -> Mapping[str, list[Prepared]]:
    found: dict[str, list[Prepared]] = {}
    for each in prepared:
        found.setdefault(each.shard, []).append(each)
    return found
