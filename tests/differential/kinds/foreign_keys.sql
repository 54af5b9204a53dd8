-- Foreign keys with actions: between colocated tables, and to reference tables.
-- fk_parent: k
-- fk_child: k
-- fk_grandchild: k
-- fk_optional: k
-- fk_kind: reference
-- fk_sub: reference
-- fk_of_kind: k
-- fk_by_kind: k
-- fk_late: k
-- fk_keyed: kind
-- fk_default: reference
-- fk_first: k
-- refused 84: GS415 foreign key "..." would change k, the shard key of foreign_keys.fk_child
-- refused 59: GS415 foreign key "..." would change kind, the shard key of foreign_keys.fk_keyed
-- refused 53: GS415 foreign key "..." would change k, the shard key of foreign_keys.fk_optional

-- = schema
CREATE TABLE fk_parent (k int, no int, v int, UNIQUE (k, v), PRIMARY KEY (k, no));
CREATE TABLE fk_child (k int, no int, p int, v int, PRIMARY KEY (k, no), FOREIGN KEY (k, p) REFERENCES fk_parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE fk_grandchild (k int, no int, PRIMARY KEY (k, no), FOREIGN KEY (k, no) REFERENCES fk_child ON DELETE CASCADE);
CREATE TABLE fk_optional (k int, no int, p int, FOREIGN KEY (k, p) REFERENCES fk_parent ON DELETE SET NULL);
CREATE TABLE fk_kind (id int PRIMARY KEY, name text);
CREATE TABLE fk_sub (id int PRIMARY KEY, kind int REFERENCES fk_kind ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE fk_of_kind (k int PRIMARY KEY, kind int DEFAULT 1 REFERENCES fk_kind ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE fk_by_kind (k int PRIMARY KEY, kind int REFERENCES fk_kind ON DELETE RESTRICT);
CREATE TABLE fk_late (k int, no int, p int, PRIMARY KEY (k, no), FOREIGN KEY (k, p) REFERENCES fk_parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE fk_keyed (kind int REFERENCES fk_kind ON DELETE CASCADE ON UPDATE CASCADE, v int);
CREATE TABLE fk_default (id int PRIMARY KEY, kind int DEFAULT 1 REFERENCES fk_kind ON DELETE SET DEFAULT);
CREATE TABLE fk_first (k int PRIMARY KEY, kind int DEFAULT 1 REFERENCES fk_kind ON DELETE SET DEFAULT)

-- = rows
INSERT INTO fk_parent SELECT g % 10 + 1, g, g FROM generate_series(1, 20) g;
INSERT INTO fk_child SELECT g % 10 + 1, g, g, g % 3 FROM generate_series(1, 15) g;
INSERT INTO fk_grandchild SELECT g % 10 + 1, g FROM generate_series(1, 8) g;
INSERT INTO fk_optional SELECT g % 10 + 1, g, g FROM generate_series(12, 18) g;
INSERT INTO fk_kind SELECT g, 'kind ' || g FROM generate_series(1, 8) g;
INSERT INTO fk_sub SELECT g, g % 3 + 1 FROM generate_series(1, 6) g;
INSERT INTO fk_of_kind SELECT g, g % 4 + 1 FROM generate_series(1, 12) g;
INSERT INTO fk_by_kind SELECT g, g % 2 + 5 FROM generate_series(1, 12) g;
INSERT INTO fk_late SELECT g % 10 + 1, g, g FROM generate_series(1, 4) g;
INSERT INTO fk_keyed SELECT g % 2 + 7, g FROM generate_series(1, 6) g;
INSERT INTO fk_default SELECT g, g % 4 + 1 FROM generate_series(1, 8) g;
INSERT INTO fk_first SELECT g, g % 4 + 1 FROM generate_series(1, 12) g

-- = statements
DELETE FROM fk_parent WHERE <<k = {k}|no = {n}|v > 15|k = {k} AND no > 9>> <<|RETURNING k>>;
UPDATE fk_parent SET v = v + 1 <<|WHERE k = {k}|WHERE no > 10>>;
UPDATE fk_parent SET no = no + <<100|0>> WHERE <<k = {k}|no > 10|no < 9|no = 12>>;
DELETE FROM fk_child WHERE <<k = {k}|v = {n}|p > 3>>;
UPDATE fk_child SET p = <<{n}|NULL|no>> WHERE <<k = {k}|no = 3>>;
INSERT INTO fk_child VALUES ({k}, 99, <<{n}|NULL|12>>, 1);
INSERT INTO fk_grandchild VALUES ({k}, <<{n}|13>>) <<|ON CONFLICT DO NOTHING>>;
INSERT INTO fk_optional VALUES ({k}, 99, <<{n}|NULL>>);
INSERT INTO fk_parent VALUES (<<55|{k}>>, 99, {n});
DELETE FROM fk_kind WHERE id = <<{n}|8|3|6>>;
UPDATE fk_kind SET <<name = 'x'|id = id + 20|id = id>> <<|WHERE id = {n}|WHERE id = 7|WHERE id = 8>>;
INSERT INTO fk_kind VALUES (<<30|{n}>>, 'new') <<|ON CONFLICT DO NOTHING|ON CONFLICT (id) DO UPDATE SET name = 'again'>>;
DELETE FROM fk_sub WHERE id = {n};
INSERT INTO fk_sub VALUES (<<30|{n}>>, {n});
UPDATE fk_sub SET kind = {n};
INSERT INTO fk_of_kind VALUES (<<55|{k}>>, <<{n}|40|DEFAULT|NULL>>);
UPDATE fk_of_kind SET kind = <<{n}|kind + 1|NULL>> <<|WHERE k = {k}>>;
UPDATE fk_by_kind SET kind = {n} <<|WHERE k = {k}>>;
INSERT INTO fk_late VALUES ({k}, 99, <<{n}|77>>);
DELETE FROM fk_late WHERE k = {k};
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
TRUNCATE <<fk_grandchild|fk_child|fk_parent CASCADE|fk_optional|fk_sub>>;
SELECT count(*), sum(v) FROM fk_child;
SELECT p.k, c.no FROM fk_parent p JOIN fk_child c ON c.k = p.k AND c.p = p.no;
SELECT k.name, count(o.k) FROM fk_kind k JOIN fk_of_kind o ON o.kind = k.id GROUP BY k.name;
SELECT * FROM fk_keyed WHERE kind = <<7|8>>;
SELECT count(*) FROM fk_optional;
UPDATE fk_keyed SET v = {n};
