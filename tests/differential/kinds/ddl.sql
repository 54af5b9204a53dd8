-- DDL between statements: what is added, renamed, dropped and granted is there, or gone, for the next one.
-- dd_plain: k
-- dd_other: k
-- dd_list: reference
-- dd_spare: k
-- refused 20: GS412 reference table dd_list would get
-- refused 12: GS416 a column of
-- refused 30: GS415 it fires trigger
-- refused 30: GS415 rule
-- refused 30: GS415 foreign key
-- refused 20: GS410 dd_twice()
-- refused 10: GS412 a reference table is written by what
-- refused 20: GS409 table ddl.dd_more is not declared
-- refused 20: GS410 rows are gathered in another session, which does not see
-- refused 40: GS415 a unique
-- refused 20: GS415 a foreign key of
-- refused 30: GS410 function dd_few() may read tables
-- refused 20: GS410 type dd_small calls dd_few()

-- = schema
CREATE TABLE dd_plain (k int PRIMARY KEY, v int, t text);
CREATE TABLE dd_other (k int, no int, v int, PRIMARY KEY (k, no));
CREATE TABLE dd_list (id int PRIMARY KEY, v int);
CREATE TABLE dd_spare (k int PRIMARY KEY, v int);
CREATE VIEW dd_view AS SELECT k, v FROM dd_plain WHERE v > 1;
CREATE FUNCTION dd_twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
CREATE FUNCTION dd_few(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM ddl.dd_plain) < 9; END $$;
CREATE DOMAIN dd_small AS int CHECK (dd_few(VALUE));
CREATE DOMAIN dd_number AS int;
CREATE FUNCTION dd_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.k := NEW.k + 1; RETURN NEW; END $$;
CREATE FUNCTION dd_count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.dd_list SET v = v + 1; RETURN NULL; END $$

-- = rows
INSERT INTO dd_plain SELECT g, g % 5, 't' || g % 4 FROM generate_series(1, 12) g;
INSERT INTO dd_other SELECT g % 10 + 1, g, g % 6 FROM generate_series(1, 20) g;
INSERT INTO dd_list SELECT g, g % 3 FROM generate_series(1, 6) g;
INSERT INTO dd_spare SELECT g, g FROM generate_series(1, 6) g

-- = sessions

ALTER TABLE dd_plain ADD w int DEFAULT 3
ALTER TABLE dd_plain RENAME v TO x
ALTER TABLE dd_plain DROP t
ALTER TABLE dd_other DROP v
ALTER TABLE dd_list ADD w int DEFAULT 7
CREATE VIEW dd_new AS SELECT k, v + 1 AS v FROM dd_plain
CREATE OR REPLACE FUNCTION dd_twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 3'
DROP VIEW dd_view
CREATE TRIGGER dd_move BEFORE INSERT ON dd_plain FOR EACH ROW EXECUTE FUNCTION dd_move()
CREATE TRIGGER dd_count AFTER UPDATE ON dd_other FOR EACH ROW EXECUTE FUNCTION dd_count()
CREATE RULE dd_also AS ON INSERT TO dd_spare DO ALSO INSERT INTO dd_other VALUES (NEW.k + 1, 500, 1)
ALTER TABLE dd_other ADD FOREIGN KEY (k) REFERENCES dd_plain ON DELETE SET NULL NOT VALID
CREATE OR REPLACE VIEW dd_view AS SELECT k, v FROM dd_plain WHERE v < 3
elsewhere: CREATE TRIGGER dd_move BEFORE INSERT ON dd_plain FOR EACH ROW EXECUTE FUNCTION dd_move() || DROP TRIGGER dd_move ON dd_plain
elsewhere: CREATE RULE dd_also AS ON INSERT TO dd_spare DO ALSO INSERT INTO dd_other VALUES (NEW.k + 1, 500, 1) || DROP RULE dd_also ON dd_spare
elsewhere: ALTER TABLE dd_plain ADD w int DEFAULT 5 || ALTER TABLE dd_plain DROP w
elsewhere: ALTER TABLE dd_other RENAME v TO x || ALTER TABLE dd_other RENAME x TO v
elsewhere: CREATE VIEW dd_new AS SELECT k, v + 1 AS v FROM dd_plain || DROP VIEW dd_new
elsewhere: CREATE OR REPLACE FUNCTION dd_twice(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT count(*)::int + $1 FROM ddl.dd_other' || CREATE OR REPLACE FUNCTION dd_twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'
elsewhere: CREATE OR REPLACE VIEW dd_view AS SELECT k, v FROM dd_plain WHERE v < 2 || CREATE OR REPLACE VIEW dd_view AS SELECT k, v FROM dd_plain WHERE v > 1
elsewhere: CREATE TABLE dd_more (k int) || DROP TABLE dd_more

-- = statements
ALTER TABLE <<dd_plain|dd_other|dd_list>> ADD <<w|x>> int <<|DEFAULT 3|DEFAULT 4 NOT NULL|CHECK (k > 0)>>;
ALTER TABLE <<dd_plain|dd_other|dd_list>> DROP <<v|w|t|x>> <<|CASCADE>>;
ALTER TABLE <<dd_plain|dd_other|dd_list>> RENAME <<v TO x|v TO w|w TO v|k TO kk|t TO text>>;
ALTER TABLE dd_plain ALTER v <<TYPE bigint|TYPE text|SET DEFAULT 9|SET NOT NULL|DROP DEFAULT|TYPE numeric(5, 1)>>;
ALTER TABLE dd_plain ADD CONSTRAINT dd_small CHECK (v < <<9|3>>);
ALTER TABLE dd_other ADD UNIQUE (<<k, v|k, no|v>>);
ALTER TABLE <<dd_plain|dd_other|dd_list>> ADD <<CHECK (dd_few(v))|CHECK (v < 100)|CHECK (v < 4)|y dd_small|y dd_number DEFAULT 3>>;
ALTER TABLE dd_other ADD FOREIGN KEY (<<k|v|no>>) REFERENCES <<dd_plain|dd_list>>;
ALTER TABLE dd_plain ALTER v TYPE <<dd_small|dd_number>>;
ALTER DOMAIN dd_number ADD CHECK (<<dd_few(VALUE)|VALUE < 50|VALUE < 3>>);
CREATE <<|UNIQUE>> INDEX dd_index ON <<dd_plain|dd_other>> (<<v|k, v|dd_twice(v)>>);
CREATE OR REPLACE VIEW dd_view AS SELECT k, v FROM dd_plain WHERE v > {n};
CREATE OR REPLACE VIEW dd_view AS SELECT k, v, <<t|k + 1>> AS extra FROM dd_plain;
CREATE VIEW dd_new AS SELECT <<k, v|v, k|sum(v) AS v, k>> FROM dd_other <<|WHERE no > 9>> GROUP BY k, v;
DROP VIEW <<dd_view|dd_new>>;
DROP TABLE <<dd_spare|dd_other|dd_plain CASCADE>>;
CREATE TABLE dd_spare (k int, extra int);
CREATE OR REPLACE FUNCTION dd_twice(int) RETURNS int <<IMMUTABLE|STABLE|VOLATILE>> LANGUAGE sql AS 'SELECT $1 + 1000';
CREATE TABLE dd_more (k int PRIMARY KEY, v int);
TRUNCATE <<dd_spare|dd_list|dd_other>>;
COMMENT ON TABLE dd_plain IS 'said';
SAVEPOINT here;
ROLLBACK TO SAVEPOINT here;
SELECT * FROM <<dd_plain|dd_other|dd_list|dd_view|dd_new|dd_spare|dd_more>> <<|WHERE v > {n}>>;
SELECT <<v|w|x|t|count(*)|sum(v)|sum(w)|max(x)|count(DISTINCT v)>> FROM <<dd_plain|dd_other|dd_list|dd_view|dd_new>>;
SELECT <<count(DISTINCT v)|count(DISTINCT w)|count(DISTINCT x)|rank() OVER (ORDER BY v), k>> FROM <<dd_plain|dd_other|dd_view|dd_new>>;
SELECT a.k, b.no FROM <<dd_plain|dd_view|dd_new>> a JOIN dd_other b ON <<a.v = b.no|a.v = b.v|a.k = b.no>>;
SELECT k, dd_twice(v) FROM dd_plain ORDER BY dd_twice(v), k{total};
SELECT <<max(v), min(v)|array_agg(v ORDER BY k)|max(w)>> FROM <<dd_plain|dd_view>>;
INSERT INTO dd_plain (k) VALUES ({k}) <<|RETURNING *>>;
INSERT INTO dd_plain (k) VALUES (55) <<|RETURNING *>>;
INSERT INTO dd_spare VALUES (55);
UPDATE dd_other SET no = no + 100 <<|WHERE k = {k}>>;
DELETE FROM dd_plain WHERE k = {k};
SELECT a.*, b.no FROM dd_plain a JOIN <<dd_other b USING (k)|dd_other b ON a.v = b.v>>;
SELECT v, count(*) FROM <<dd_plain|dd_other|dd_view|dd_new>> GROUP BY v ORDER BY v{total};
SELECT <<dd_twice(v)|sum(dd_twice(v))>> FROM <<dd_plain|dd_other|dd_list>>;
SELECT k, v FROM <<dd_plain|dd_new>> ORDER BY <<v, k|k>> LIMIT 4{total};
INSERT INTO dd_plain <<VALUES (55, 1, 'a')|(k) VALUES (55)|(k, w) VALUES (55, 2)|(k, x) VALUES (55, 1)|VALUES (55)>> <<|RETURNING *>>;
INSERT INTO dd_list <<VALUES (9, 1)|(id, w) VALUES (9, 3)|VALUES (9, 1, 2)>> <<|RETURNING *>>;
INSERT INTO dd_spare VALUES (55, {n});
UPDATE <<dd_plain|dd_other|dd_list>> SET <<v|w|x>> = <<1|v + 1|w + 1|x * 2>> <<|WHERE v > {n}>>;
DELETE FROM <<dd_plain|dd_other>> WHERE <<v|w|x|k>> = {n} <<|RETURNING *>>;
