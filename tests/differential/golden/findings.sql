-- Statements whose answer was wrong once; the form is described in ../golden.py.

-- = the column of a numeric without rows is NULL, that of a count 0
-- order: total
SELECT count(*), sum(amount), avg(amount), min(note) FROM entry WHERE account_id = -12345

-- = the average of averages
-- order: total
-- args: (1,)
SELECT state, avg(qty), count(*) FROM entry WHERE no >= %s GROUP BY state ORDER BY state

-- = a gather leaves the schema of a table that is not on the search path
SELECT device.parts FROM device FULL JOIN stock.currency a1 ON a1.code = device.serial

-- = a gather does not mistake a table with a schema for the CTE of the same name
WITH account AS (SELECT entry.currency FROM entry)
SELECT 'UTF8', 0.00 FROM account EXCEPT ALL SELECT note, amount FROM public.entry
EXCEPT ALL SELECT name, credit FROM public.account

-- = a gather does not mistake a table in a view for the CTE of the same name
WITH account AS MATERIALIZED (SELECT 'UTF8' FROM entry)
SELECT -2.50 FROM visit UNION SELECT avg(booking.no) FROM booking

-- = a CTE of sharded rows that nobody reads does not multiply the rows of a reference table
WITH w AS (SELECT rate FROM account) SELECT area FROM region

-- = a CTE of sharded rows that nobody reads does not multiply the rows of VALUES
-- order: total
WITH w AS (SELECT rate FROM account) SELECT v.k FROM (VALUES (4, ''), (5, '')) v (k, word) ORDER BY k

-- = ORDER BY names an output column that a star gives
-- order: (10,)
SELECT a1.* FROM entry a0 LEFT JOIN entry a1 ON a0.account_id = a1.account_id ORDER BY flow DESC

-- = parentheses of NOT under IS NULL stay
SELECT id, nums FROM account WHERE (NOT active) IS NOT NULL

-- = parentheses of AND under IS NULL stay, where rows are combined
SELECT (active AND active) IS NULL AS unknown, max(name) FROM account GROUP BY unknown

-- = parentheses of IS DISTINCT FROM under IS TRUE stay
SELECT a.nick FROM account a JOIN region r ON (r.id IS NOT DISTINCT FROM a.level) IS TRUE

-- = parentheses before a subscript stay
SELECT (ARRAY(SELECT level::int FROM account ORDER BY 1))[1], (coalesce(NULL, nums))[1] FROM account

-- = a whole row has its table's type
SELECT d0.account_id, c1.code, d0 FROM entry d0 LEFT JOIN account c1 USING (nums)

-- = the order of an array's elements is no choice of each shard
SELECT min(x.y) IS NOT DISTINCT FROM max(x.y)
FROM (SELECT (ARRAY(SELECT r.id FROM region r))[1] AS y FROM account a) x

-- = the name of an unnamed truth value is the server's: bool in PostgreSQL 14
SELECT true FROM entry ORDER BY count(*)

-- = a shard key is distinct among a shard's rows, and not among its groups by something else
SELECT sum(DISTINCT e.account_id), count(DISTINCT e.no), avg(DISTINCT e.account_id) FROM entry e

-- = a constant FALSE beside what fails, among the conditions on reference tables
SELECT a.id FROM account a JOIN entry e ON e.no = a.region JOIN rule c ON c.region = a.region WHERE 60 / (c.region - c.region) > 0 AND 1 = 2
