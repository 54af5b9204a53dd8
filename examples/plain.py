"""A plain script: the flights of one aircraft, and which aircraft fly most, over all shards.

Run it against the demo's shards:

    greenshard demo --keep        # prints the line that sets GREENSHARD_SHARDS
    python examples/plain.py N725MQ
"""

from __future__ import annotations

import os
import sys
from contextlib import closing

import greenshard


def main(tailnum: str) -> None:
    dsns = os.environ["GREENSHARD_SHARDS"].splitlines()
    with closing(greenshard.connect(dsns, timeout=10.0)) as conn, conn.cursor() as cur:
        # The rows of one aircraft share a shard: the others answer with none.
        cur.execute("SELECT dest, distance FROM flights WHERE tailnum = %s", (tailnum,))
        miles = sum(distance for _, distance in cur)
        print(f"{tailnum}: {cur.rowcount} flights, {miles:,} miles")

        # A group is whole on its shard, so the union of the groups is exact. Their order is each
        # shard's own: what needs an order over all shards is sorted here.
        cur.execute(
            "SELECT tailnum, count(*) FROM flights WHERE tailnum IS NOT NULL GROUP BY tailnum"
        )
        busiest = sorted(cur, key=lambda row: -row[1])[:3]
        print("most flights:", ", ".join(f"{name} ({count})" for name, count in busiest))

        for shard, timing in cur.timings.items():
            print(f"  {shard}: {timing.rows:5,} rows in {timing.total_s * 1000:5.1f} ms")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
