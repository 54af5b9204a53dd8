"""The demo's questions: at least one for each strategy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        title: what is asked.
        strategy: how the shards answer it.
        remark: what that means here; two lines at most.
        sql: the statement.
        ordered: whether its ORDER BY leaves no two rows in any order.
    """

    title: str
    strategy: str
    remark: str
    sql: str
    ordered: bool = True


CASES = (
    Case(
        "One aircraft",
        "route",
        "tailnum is the shard key: only the shard that has its rows is asked.",
        """\
SELECT month, day, carrier, flight, origin, dest, arr_delay
FROM flights
WHERE tailnum = 'N725MQ'
ORDER BY time_hour, flight""",
    ),
    Case(
        "A copied table",
        "reference",
        "Every shard has all of its rows: any one of them is asked.",
        """\
SELECT type, count(*) AS aircraft, round(avg(seats), 1) AS mean_seats
FROM planes
GROUP BY type
ORDER BY aircraft DESC""",
    ),
    Case(
        "Join with the copied tables",
        "concatenate",
        "Over ten hours late. Each join is local, so the shards' rows are the answer.",
        """\
SELECT a.name AS airline, p.model, p.year AS built,
       d.name AS destination, f.arr_delay
FROM flights f
JOIN airlines a USING (carrier)
JOIN planes   p USING (tailnum)
JOIN airports d ON d.faa = f.dest
WHERE f.arr_delay > 600""",
        ordered=False,
    ),
    Case(
        "Group by the shard key",
        "concatenate",
        """\
No group has rows on two shards, so even a percentile is computed where they
are.""",
        """\
SELECT tailnum, count(*) AS flights, sum(distance) AS miles,
       round(avg(arr_delay), 1) AS mean_delay,
       percentile_disc(0.9) WITHIN GROUP (ORDER BY arr_delay) AS p90
FROM flights
WHERE tailnum IS NOT NULL
GROUP BY tailnum""",
        ordered=False,
    ),
    Case(
        "The ten latest arrivals",
        "merge",
        """\
Each shard sorts and gives its first ten; greenshard merges them and takes
the first ten of all.""",
        """\
SELECT month, day, tailnum, carrier, origin, dest, arr_delay
FROM flights
ORDER BY arr_delay DESC NULLS LAST, time_hour, flight
LIMIT 10""",
    ),
    Case(
        "Averages by month and airline",
        "combine",
        """\
Each shard gives sums and counts, and PostgreSQL makes the averages of them:
the digits, HAVING and the order are its own.""",
        """\
SELECT month, carrier, count(*) AS flights, avg(arr_delay) AS mean_delay
FROM flights
GROUP BY month, carrier
HAVING count(*) > 1000
ORDER BY mean_delay DESC""",
    ),
    Case(
        "Distinct destinations and median delay",
        "gather",
        """\
No part of this can be computed on a shard: the columns that it needs, of all
rows, are brought to one server. It is the dearest way, and the last resort.""",
        """\
SELECT origin, count(DISTINCT dest) AS destinations,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY arr_delay) AS median
FROM flights
GROUP BY origin
ORDER BY origin""",
    ),
)
