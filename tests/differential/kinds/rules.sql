-- Rules, which write elsewhere or otherwise than the text says.
-- ru_also: k
-- ru_log: k
-- ru_instead: k
-- ru_some: k
-- ru_list: reference
-- refused 159: GS415 rule "..." of table rules.ru_also makes other statements of it
-- refused 152: GS415 rule "..." of table rules.ru_list makes other statements of it
-- refused 151: GS415 rule "..." of table rules.ru_instead makes other statements of it
-- refused 148: GS415 rule "..." of table rules.ru_some makes other statements of it

-- = schema
CREATE TABLE ru_also (k int PRIMARY KEY, v int);
CREATE TABLE ru_log (k int, v int);
CREATE TABLE ru_instead (k int PRIMARY KEY, v int);
CREATE TABLE ru_some (k int PRIMARY KEY, v int);
CREATE TABLE ru_list (id int PRIMARY KEY, v int);
CREATE RULE ru_also AS ON INSERT TO ru_also DO ALSO INSERT INTO ru_log VALUES (NEW.k + 1, NEW.v);
CREATE RULE ru_instead AS ON DELETE TO ru_instead DO INSTEAD UPDATE ru_instead SET v = -1 WHERE k = OLD.k;
CREATE RULE ru_nothing AS ON UPDATE TO ru_list DO INSTEAD NOTHING;
CREATE RULE ru_some AS ON UPDATE TO ru_some WHERE NEW.v > 3 DO INSTEAD NOTHING;
CREATE RULE ru_gone AS ON DELETE TO ru_some DO ALSO DELETE FROM ru_log;
ALTER TABLE ru_some DISABLE RULE ru_gone

-- = rows
INSERT INTO ru_also SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO ru_log SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO ru_instead SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO ru_some SELECT g, g % 5 FROM generate_series(1, 10) g;
INSERT INTO ru_list SELECT g, g % 5 FROM generate_series(1, 5) g

-- = statements
INSERT INTO ru_also VALUES (55, {n});
UPDATE ru_also SET v = {n} <<|WHERE k = {k}>>;
DELETE FROM ru_also WHERE <<k = {k}|v > {n}>>;
DELETE FROM ru_instead WHERE <<k = {k}|v > {n}>>;
UPDATE ru_instead SET v = {n} <<|WHERE k = {k}>> <<|RETURNING v>>;
INSERT INTO ru_instead VALUES (55, {n});
UPDATE ru_list SET v = {n};
INSERT INTO ru_list VALUES (9, {n});
DELETE FROM ru_list WHERE v = {n};
UPDATE ru_some SET v = <<1|3|v + 1>> <<|WHERE k = {k}>>;
DELETE FROM ru_some WHERE <<k = {k}|v > {n}>>;
SELECT a.k, l.v FROM ru_also a JOIN ru_log l USING (k) WHERE a.v > {n};
SELECT sum(v), count(*) FROM <<ru_log|ru_instead|ru_some|ru_list>>;
