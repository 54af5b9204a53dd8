-- Triggers: those that look at their own row, those that keep a row beside it, and those that must be refused.
-- tg_stamped: k
-- tg_audited: k, triggers tg_audit
-- tg_audit: k
-- tg_counted: k
-- tg_totals: reference
-- tg_moved: k
-- tg_peeking: k
-- tg_price: reference
-- tg_guess: reference
-- tg_parent: k
-- tg_child: k
-- tg_off: k
-- refused 177: GS415 it fires trigger "..." of table triggers.tg_counted
-- refused 140: GS415 it fires trigger "..." of table triggers.tg_moved
-- refused 65: GS415 it fires trigger "..." of table triggers.tg_child
-- refused 51: GS415 it fires trigger "..." of table triggers.tg_peeking
-- refused 51: GS412 the shard key k is
-- refused 47: GS415 it fires trigger "..." of table triggers.tg_guess
-- refused 29: GS415 it fires trigger "..." of table triggers.tg_price

-- = schema
CREATE TABLE tg_stamped (k int PRIMARY KEY, v int, note text);
CREATE TABLE tg_audited (k int, no int, v int, PRIMARY KEY (k, no));
CREATE TABLE tg_audit (k int, op text, v int);
CREATE TABLE tg_counted (k int PRIMARY KEY, v int);
CREATE TABLE tg_totals (id int PRIMARY KEY, n int);
CREATE TABLE tg_moved (k int PRIMARY KEY, v int);
CREATE TABLE tg_peeking (k int PRIMARY KEY, v int);
CREATE TABLE tg_price (id int PRIMARY KEY, n int, note text);
CREATE TABLE tg_guess (id int PRIMARY KEY, n float);
CREATE TABLE tg_parent (k int PRIMARY KEY, v int);
CREATE TABLE tg_child (k int REFERENCES tg_parent ON DELETE CASCADE, no int, v int, PRIMARY KEY (k, no));
CREATE TABLE tg_off (k int PRIMARY KEY, v int);
CREATE FUNCTION tg_stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'UPDATE' AND NEW.v IS NOT DISTINCT FROM OLD.v THEN RETURN NULL; END IF;
    IF NEW.v = 4 THEN RAISE EXCEPTION 'four' USING ERRCODE = 'P0004'; END IF;
    NEW.note := coalesce(NEW.note, '') || lower(TG_OP) || NEW.v; RETURN NEW; END $$;
CREATE TRIGGER tg_stamp BEFORE INSERT OR UPDATE ON tg_stamped FOR EACH ROW EXECUTE FUNCTION tg_stamp();
CREATE FUNCTION tg_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.tg_audit VALUES (coalesce(NEW.k, OLD.k), TG_OP, NEW.v); RETURN NULL; END $$;
CREATE TRIGGER tg_audit AFTER INSERT OR UPDATE OR DELETE ON tg_audited FOR EACH ROW EXECUTE FUNCTION tg_keep();
CREATE FUNCTION tg_count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE public.tg_totals SET n = n + 1 WHERE id = 1; RETURN NULL; END $$;
CREATE TRIGGER tg_count AFTER INSERT OR UPDATE OR DELETE ON tg_counted FOR EACH ROW EXECUTE FUNCTION tg_count();
CREATE FUNCTION tg_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.k := NEW.k + 1; RETURN NEW; END $$;
CREATE TRIGGER tg_move BEFORE INSERT OR UPDATE OF v ON tg_moved FOR EACH ROW EXECUTE FUNCTION tg_move();
CREATE FUNCTION tg_peek() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.v := (SELECT count(*) FROM public.tg_stamped); RETURN NEW; END $$;
CREATE TRIGGER tg_peek BEFORE INSERT OR UPDATE ON tg_peeking FOR EACH ROW EXECUTE FUNCTION tg_peek();
CREATE FUNCTION tg_double() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := NEW.n * 2; RETURN NEW; END $$;
CREATE TRIGGER tg_double BEFORE INSERT OR UPDATE ON tg_price FOR EACH ROW EXECUTE FUNCTION tg_double();
CREATE FUNCTION tg_guess() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := random(); RETURN NEW; END $$;
CREATE TRIGGER tg_guess BEFORE INSERT OR UPDATE ON tg_guess FOR EACH ROW EXECUTE FUNCTION tg_guess();
CREATE FUNCTION tg_lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM public.tg_audit; RETURN NULL; END $$;
CREATE TRIGGER tg_lose AFTER DELETE ON tg_child FOR EACH ROW EXECUTE FUNCTION tg_lose();
CREATE TRIGGER tg_off AFTER INSERT OR UPDATE OR DELETE ON tg_off FOR EACH ROW EXECUTE FUNCTION tg_count();
ALTER TABLE tg_off DISABLE TRIGGER tg_off;
CREATE FUNCTION tg_each() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE public.tg_totals SET n = n + 10; RETURN NULL; END $$;
CREATE TRIGGER tg_each AFTER TRUNCATE ON tg_price FOR EACH STATEMENT EXECUTE FUNCTION tg_each();

-- = rows
INSERT INTO tg_stamped SELECT g, g % 4, 'n' || g FROM generate_series(1, 10) g;
INSERT INTO tg_audited SELECT g % 10 + 1, g, g % 3 FROM generate_series(1, 20) g;
INSERT INTO tg_audit VALUES (1, 'old', 1), (2, 'old', 2);
INSERT INTO tg_counted SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO tg_totals VALUES (1, 0), (2, 0);
INSERT INTO tg_moved SELECT g * 10, g FROM generate_series(1, 10) g;
INSERT INTO tg_peeking SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO tg_price SELECT g, g, 'p' FROM generate_series(1, 6) g;
INSERT INTO tg_guess SELECT g, g FROM generate_series(1, 6) g;
INSERT INTO tg_parent SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO tg_child SELECT g % 10 + 1, g, g FROM generate_series(1, 15) g;
INSERT INTO tg_off SELECT g, g FROM generate_series(1, 10) g

-- = statements
INSERT INTO tg_stamped VALUES (<<{k}|55>>, {n}, <<'x'|NULL>>) <<|RETURNING *|ON CONFLICT (k) DO NOTHING|ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v + 1 RETURNING note>>;
INSERT INTO tg_stamped (k, v) VALUES (61, {n}), (62, {n}), (63, {n});
UPDATE tg_stamped SET v = <<{n}|v|v + 1>> <<|WHERE k = {k}|WHERE v > {n}|WHERE k IN (1, 2, {k})>> <<|RETURNING k, note>>;
DELETE FROM tg_stamped WHERE <<k = {k}|v = {n}>> <<|RETURNING *>>;
INSERT INTO tg_audited VALUES ({k}, 77, {n}) <<|ON CONFLICT DO NOTHING>>;
UPDATE tg_audited SET v = v + {n} <<|WHERE k = {k}|WHERE no > 9|WHERE v = {n}>>;
DELETE FROM tg_audited <<|WHERE k = {k}|WHERE v = {n}|WHERE k > 7>>;
SELECT op, count(*), sum(v) FROM tg_audit GROUP BY op ORDER BY op{total};
SELECT a.no, b.op FROM tg_audited a JOIN tg_audit b USING (k) WHERE a.v = b.v;
INSERT INTO tg_counted VALUES (<<{k}|55>>, 1);
<<UPDATE tg_counted SET v = v + 1|DELETE FROM tg_counted>> <<|WHERE k = {k}|WHERE v > 3>>;
UPDATE tg_moved SET <<k = k|v = v>> <<|WHERE k = 10>>;
INSERT INTO tg_moved VALUES ({k}, 1);
DELETE FROM tg_moved WHERE k = <<10|{k}>>;
<<INSERT INTO tg_peeking VALUES (55, 1)|UPDATE tg_peeking SET v = 1|DELETE FROM tg_peeking WHERE k = {k}>>;
<<INSERT INTO tg_price VALUES (9, {n}, 'x')|UPDATE tg_price SET n = n + {n}|UPDATE tg_price SET n = {n} WHERE id = {n} RETURNING *|DELETE FROM tg_price WHERE n > {n}>>;
<<INSERT INTO tg_guess VALUES (9, 1)|UPDATE tg_guess SET n = 2|DELETE FROM tg_guess WHERE id = {n}>>;
SELECT sum(n) FROM tg_price <<|WHERE id > {n}>>;
SELECT n FROM tg_totals ORDER BY id{total};
<<DELETE FROM tg_parent|DELETE FROM tg_child|UPDATE tg_child SET v = 3>> WHERE k = {k};
<<INSERT INTO tg_off VALUES ({k}, 2)|INSERT INTO tg_off VALUES (55, 2)|UPDATE tg_off SET v = v + 1|DELETE FROM tg_off WHERE k = {k}>>;
TRUNCATE <<tg_audit|tg_price|tg_stamped>>;
SELECT s.k, s.note, p.n FROM tg_stamped s JOIN tg_price p ON p.id = s.v;
UPDATE tg_stamped s SET v = p.n FROM tg_price p WHERE p.id = s.v <<|AND s.k = {k}>>;
DELETE FROM tg_audited a USING tg_stamped s WHERE s.k = a.k AND s.v = {n};
