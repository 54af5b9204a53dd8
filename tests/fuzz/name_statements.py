"""Statements about the tables of `names`: each strategy reads them, and writes find their rows.

In braces stand names, quoted: tables a, b (split by column k) and r (on every shard), view v of a,
function f, the type of column w, and n1, n2, n3 for aliases. ORDER BY, where there is one, leaves
nothing open.
"""

from __future__ import annotations

STATEMENTS = (
    # route
    "SELECT {k}, {x} FROM {a} WHERE {k} = %s",
    "SELECT {a}.*, {b}.{x} AS {n1} FROM {a} JOIN {b} ON {a}.{k} = {b}.{k} WHERE {a}.{k} = %s",
    "SELECT * FROM {v} WHERE {k} = %s",
    (
        "SELECT {n1}.{x} AS {n2}, avg({n1}.{y}) OVER {n1} FROM {a} AS {n1} WHERE {n1}.{k} = %s"
        " WINDOW {n1} AS (ORDER BY {n1}.{x})"
    ),
    # reference
    "SELECT * FROM {r}",
    "SELECT {x} AS {n1}, count(*) FROM {r} GROUP BY {n1} HAVING count(*) > 1",
    # concatenate
    "SELECT * FROM {a}",
    "SELECT {n1}.*, {n2}.{x} FROM {a} AS {n1} JOIN {b} AS {n2} USING ({k})",
    "SELECT {n1}.{x}, {n2}.{w} FROM {a} AS {n1} JOIN {r} AS {n2} ON {n1}.{y} = {n2}.{y}",
    "SELECT {k}, {f}({k}) AS {n1} FROM {a} WHERE {w} = 'm1'::{type}",
    "SELECT {k} FROM {a} WHERE {x} LIKE 'w_' AND {y} > %s",
    "SELECT {k} AS {n1}, sum({y}) AS {n2} FROM {a} GROUP BY {k}",
    "SELECT * FROM {v} WHERE {y} = 'w1'",
    # merge
    "SELECT {x}, {y} FROM {a} ORDER BY {w} DESC, {k} LIMIT 5 OFFSET 1",
    "SELECT {x} AS {n1}, {k} AS {n2} FROM {a} ORDER BY {n1}, {n2}",
    "SELECT DISTINCT {x} AS {n1}, {w} FROM {a} ORDER BY {n1}, {w}",
    "SELECT DISTINCT ON ({x}) {x}, {k}, {w} AS {n1} FROM {a} ORDER BY {x}, {k} DESC",
    "SELECT * FROM {v} ORDER BY {y}, {k} LIMIT 4",
    # combine
    (
        "SELECT {w}, count(*), sum({y}) AS {n1}, avg({y}) AS {n2} FROM {a} GROUP BY {w}"
        " HAVING count(*) > 1 ORDER BY {w}"
    ),
    "SELECT max({x}) AS {n1}, min({w}) AS {n2}, count({k}), bool_and({y} > 0) FROM {a}",
    "SELECT {x} AS {n1}, {w}, max({y}) - min({y}) AS {n2} FROM {a} GROUP BY {n1}, {w}",
    "SELECT count(*) AS {n1} FROM {v} WHERE {w} >= 'm1'",
    "SELECT {x} || %s::text AS {n1}, count(*) AS {n2} FROM {a} GROUP BY 1 ORDER BY 2 DESC, 1",
    "SELECT avg({y})::float8 AS {n1}, stddev({y}::float8) IS NULL AS {n2} FROM {a}",
    # gather
    "SELECT {n1}.{x}, {n2}.{y} AS {n3} FROM {a} AS {n1} JOIN {b} AS {n2} ON {n1}.{y} = {n2}.{y}",
    "SELECT {y}, {n1}.{w} FROM {a} AS {n1} JOIN {b} AS {n2} USING ({y})",
    "SELECT {a}.{x}, {b}.{x} FROM {a} LEFT JOIN {b} ON {a}.{w} = {b}.{w} AND {b}.{y} > %s",
    (
        "WITH {n1} AS (SELECT * FROM {a}) SELECT count(*) AS {n2} FROM {n1} JOIN {b} AS {n3}"
        " ON {n1}.{x} = {n3}.{x}"
    ),
    "SELECT {k}, rank() OVER {n1} AS {n2} FROM {a} WINDOW {n1} AS (ORDER BY {y})",
    "SELECT count(DISTINCT {x}) AS {n1}, count(DISTINCT {w}) FROM {a}",
    "SELECT {x} FROM {a} AS {n1} WHERE {y} > (SELECT avg({y}) FROM {b} AS {n2})",
    (
        "SELECT {x} FROM {a} AS {n1} WHERE EXISTS"
        " (SELECT FROM {b} AS {n2} WHERE {n2}.{y} = {n1}.{y} AND {n2}.{k} > %s)"
    ),
    "SELECT {x} AS {n1} FROM {a} UNION SELECT {x} FROM {b} EXCEPT SELECT {x} FROM {r}",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY {y}) AS {n1} FROM {a}",
    "SELECT {n1}.{y} AS {n2} FROM {v} AS {n1} JOIN {b} ON {n1}.{y} = {b}.{x} WHERE {b}.{k} < 5",
    "SELECT {w}, {x}, count(*) FROM {a} GROUP BY GROUPING SETS (({w}), ({x}), ())",
    "SELECT array_agg({x} ORDER BY {k}) AS {n1} FROM {a}",
    "SELECT string_agg({n1}.{x}, ',' ORDER BY {n1}.{k}) FROM {a} AS {n1} WHERE {n1}.{k} < %s",
    # wrong in the same way
    "SELECT {n1} FROM {a} AS {n2}",
    "SELECT {x} FROM {n1}.{n2}",
)

WRITES = (
    "INSERT INTO {a} ({k}, {x}, {w}) VALUES (100, 'n', 'm1') RETURNING *",
    "INSERT INTO {a} ({x}, {k}) VALUES ('n', %s + 0), ('o', 101)",
    (
        "INSERT INTO {a} AS {n1} ({k}, {x}) VALUES (%s, 'n')"
        " ON CONFLICT ({k}) DO UPDATE SET {x} = excluded.{x} || {n1}.{x} RETURNING {n1}.{x} AS {n2}"
    ),
    "INSERT INTO {a} ({k}) VALUES (%s) ON CONFLICT ON CONSTRAINT {constraint} DO NOTHING",
    "INSERT INTO {r} ({k}, {x}) VALUES (100, 'n')",
    "UPDATE {a} SET {x} = {x} || 'u' WHERE {k} = %s RETURNING {k} AS {n1}, {x}",
    "UPDATE {a} AS {n1} SET {x} = {n2}.{x} FROM {b} AS {n2} WHERE {n1}.{k} = {n2}.{k}",
    "UPDATE {a} SET {w} = 'm0' WHERE {w} = 'm1'::{type}",
    "UPDATE {r} SET {y} = {y} + 1 WHERE {k} < %s",
    "DELETE FROM {a} WHERE {y} > %s RETURNING {x} AS {n1}, {w}",
    "DELETE FROM {v} WHERE {k} = %s",
    "INSERT INTO {a} ({k}) VALUES (1)",
)
