"""A plain script: the flights of one aircraft, and which airlines are late, as from one database.

Run it against the demo's shards:

    greenshard demo --keep        # prints the line that sets GREENSHARD_CLUSTER
    python examples/plain.py N725MQ
"""

from __future__ import annotations

import os
import sys
from contextlib import closing

import greenshard

ONE_AIRCRAFT = "SELECT count(*), sum(distance) FROM flights WHERE tailnum = %s"

BUSIEST = """
SELECT tailnum, count(*) AS flights
FROM flights
WHERE tailnum IS NOT NULL
GROUP BY tailnum
ORDER BY flights DESC, tailnum
LIMIT 3
"""

LATEST_AIRLINES = """
SELECT a.name, round(avg(f.arr_delay), 1) AS mean_delay
FROM flights f JOIN airlines a USING (carrier)
GROUP BY a.name
ORDER BY mean_delay DESC NULLS LAST, a.name
LIMIT 3
"""


def main(tailnum: str) -> None:
    # A TOML file declares the shards, and that flights is split by tailnum.
    cluster = os.environ["GREENSHARD_CLUSTER"]
    with closing(greenshard.connect(cluster, timeout=10.0)) as conn, conn.cursor() as cur:
        cur.execute(ONE_AIRCRAFT, (tailnum,))  # the rows of one aircraft share a shard
        flights, miles = cur.fetchone()
        print(f"{tailnum}: {flights} flights, {miles or 0:,} miles (from {', '.join(cur.timings)})")

        cur.execute(BUSIEST)
        print("most flights:", ", ".join(f"{name} ({count})" for name, count in cur))

        cur.execute(LATEST_AIRLINES)
        print("latest:", ", ".join(f"{name} ({delay} min)" for name, delay in cur))
        for shard, timing in cur.timings.items():
            print(f"  {shard}: {timing.rows:3} rows in {timing.total_s * 1000:5.1f} ms")
        print(conn.explain(LATEST_AIRLINES))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
