-- Statements whose answer was wrong once; the form is described in ../golden.py.

-- = the column of a numeric without rows is NULL, that of a count 0
-- order: total
SELECT count(*), sum(amount), avg(amount), min(note) FROM entry WHERE account_id = -12345

-- = the average of averages
-- order: total
-- args: (1,)
SELECT state, avg(qty), count(*) FROM entry WHERE no >= %s GROUP BY state ORDER BY state
