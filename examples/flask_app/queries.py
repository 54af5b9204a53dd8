"""All SQL of the application. It is written for one database; greenshard runs it on the shards.

``flights``, ``notes`` and ``watched`` are split by ``tailnum``, the aircraft; every shard has all
rows of ``airlines``, ``airports``, ``planes`` and ``weather``, so joins with them are local. The
heading of each group names the strategy that greenshard chooses; the pages show it.
"""

from __future__ import annotations

# One aircraft: the shard key is given, so its shard is asked alone (route) ------------------------

AIRCRAFT_EXISTS = """
SELECT 1 AS found
FROM flights
WHERE tailnum = %(tailnum)s
LIMIT 1"""

AIRCRAFT = """
SELECT count(*) AS flights, coalesce(sum(f.distance), 0) AS miles,
       count(DISTINCT f.dest) AS destinations,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY f.arr_delay) AS median_delay,
       min(p.manufacturer) AS manufacturer, min(p.model) AS model,
       min(p.year) AS built, min(p.seats) AS seats
FROM flights f LEFT JOIN planes p USING (tailnum)
WHERE f.tailnum = %(tailnum)s"""

AIRCRAFT_MONTHS = """
SELECT m.month, count(f.tailnum) AS flights
FROM generate_series(1, 12) AS m (month)
LEFT JOIN flights f ON f.month = m.month AND f.tailnum = %(tailnum)s
GROUP BY m.month
ORDER BY m.month"""

AIRCRAFT_FLIGHTS = """
SELECT make_date(f.year, f.month, f.day) AS date, f.sched_dep_time, f.carrier, f.flight,
       a.name AS airline, f.origin, f.dest, f.arr_delay,
       f.dep_time IS NULL AS cancelled
FROM flights f JOIN airlines a USING (carrier)
WHERE f.tailnum = %(tailnum)s
ORDER BY f.time_hour DESC, f.sched_dep_time DESC, f.flight
LIMIT 12"""

# Notes: written on the shard of their aircraft, in one transaction -------------------------------

NOTES = """
SELECT id, written, text
FROM notes
WHERE tailnum = %(tailnum)s
ORDER BY written DESC, id"""

ADD_NOTE = """
INSERT INTO notes (tailnum, text)
VALUES (%(tailnum)s, %(text)s)
RETURNING id"""

COUNT_NOTE = """
INSERT INTO watched (tailnum, notes)
VALUES (%(tailnum)s, 1)
ON CONFLICT (tailnum) DO UPDATE SET notes = watched.notes + 1"""

REMOVE_NOTE = """
DELETE FROM notes
WHERE tailnum = %(tailnum)s AND id = %(id)s
RETURNING id"""

UNCOUNT_NOTE = """
UPDATE watched
SET notes = notes - 1
WHERE tailnum = %(tailnum)s"""

# Reference tables: any one shard has all rows (reference) ----------------------------------------

AIRPORT = """
SELECT faa, name, lat, lon, alt, tzone
FROM airports
WHERE faa = %(faa)s"""

AIRPORTS_NAMED = """
SELECT faa, name
FROM airports
WHERE strpos(lower(name), lower(%(text)s)) > 0
ORDER BY name, faa
LIMIT 12"""

# The first few of all rows: each shard gives its first few (merge) --------------------------------

AIRCRAFT_NAMED = """
SELECT tailnum, count(*) AS flights
FROM flights
WHERE starts_with(tailnum, %(text)s)
GROUP BY tailnum
ORDER BY tailnum
LIMIT 12"""

BUSIEST_AIRCRAFT = """
SELECT f.tailnum, count(*) AS flights, sum(f.distance) AS miles,
       min(a.name) AS airline
FROM flights f JOIN airlines a USING (carrier)
WHERE f.tailnum IS NOT NULL
GROUP BY f.tailnum
ORDER BY flights DESC, f.tailnum
LIMIT 8"""

RECENT_NOTES = """
SELECT tailnum, written, text
FROM notes
ORDER BY written DESC, id
LIMIT 4"""

LATEST_ARRIVALS = """
SELECT make_date(f.year, f.month, f.day) AS date, f.tailnum, f.carrier, f.flight,
       f.origin, f.dest, f.arr_delay
FROM flights f
WHERE f.arr_delay IS NOT NULL AND f.tailnum IS NOT NULL
ORDER BY f.arr_delay DESC, f.time_hour, f.flight
LIMIT 8"""

WORST_ARRIVALS_AT = """
SELECT make_date(f.year, f.month, f.day) AS date, f.tailnum, f.carrier, f.flight,
       f.origin, f.dest, f.arr_delay
FROM flights f
WHERE f.dest = %(faa)s AND f.arr_delay IS NOT NULL AND f.tailnum IS NOT NULL
ORDER BY f.arr_delay DESC, f.time_hour, f.flight
LIMIT 8"""

# Aggregates over all rows: each shard gives sums and counts (combine) -----------------------------

TOTALS = """
SELECT count(*) AS flights, count(DISTINCT tailnum) AS aircraft, sum(distance) AS miles,
       (count(*) FILTER (WHERE arr_delay > 15))::float8 / nullif(count(arr_delay), 0) AS late
FROM flights"""

BUSIEST_ROUTES = """
SELECT f.origin, f.dest, a.name, count(*) AS flights, avg(f.arr_delay)::float8 AS delay
FROM flights f JOIN airports a ON a.faa = f.dest
GROUP BY f.origin, f.dest, a.name
ORDER BY flights DESC, f.origin, f.dest
LIMIT 8"""

DELAY_BY_HOUR = """
SELECT hour, count(*) AS flights, avg(dep_delay)::float8 AS delay
FROM flights
WHERE dep_delay IS NOT NULL
GROUP BY hour
ORDER BY hour"""

DELAY_BY_AIRLINE = """
SELECT a.carrier, a.name, count(*) AS flights, avg(f.arr_delay)::float8 AS delay
FROM flights f JOIN airlines a USING (carrier)
WHERE f.arr_delay IS NOT NULL
GROUP BY a.carrier, a.name
ORDER BY delay DESC, a.carrier"""

# The steps are those of VISIBILITY in words.py.
DELAY_BY_VISIBILITY = """
SELECT width_bucket(w.visib, ARRAY[1, 3, 6, 10]::float8[]) AS step,
       count(*) AS flights, avg(f.dep_delay)::float8 AS delay
FROM flights f JOIN weather w USING (origin, time_hour)
WHERE f.dep_delay IS NOT NULL AND w.visib IS NOT NULL
GROUP BY 1
ORDER BY 1"""

AIRLINES_AT = """
SELECT a.carrier, a.name, count(*) AS flights, avg(f.arr_delay)::float8 AS delay
FROM flights f JOIN airlines a USING (carrier)
WHERE f.dest = %(faa)s
GROUP BY a.carrier, a.name
ORDER BY flights DESC, a.carrier"""

# A percentile needs all rows in one place: those of one airport are few (gather) ------------------

DELAYS_AT = """
SELECT count(*) AS flights, count(DISTINCT carrier) AS airlines,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY arr_delay) AS median_delay,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY arr_delay) AS bad_delay
FROM flights
WHERE dest = %(faa)s"""
