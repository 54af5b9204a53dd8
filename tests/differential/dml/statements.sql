-- Writes but INSERT ... VALUES, which `inserts` makes. Holes are told in `steps`; within
-- words to choose ++ stands for ||. A title is the
-- feature that the report counts; "since 15" is a version, "numbers" says that rows get numbers in an
-- order that PostgreSQL chooses, "ordered" that the rows come in one order only.

-- = INSERT SELECT, local
INSERT INTO archive SELECT account_id, no, note, qty FROM entry <<|WHERE account_id = {id}|WHERE qty > {n}|WHERE no > 9 AND open>> <<|ON CONFLICT DO NOTHING|ON CONFLICT (account_id, no) DO UPDATE SET qty = excluded.qty + archive.qty>> <<|RETURNING *|RETURNING account_id, no + 1>>;
INSERT INTO archive (account_id, no) SELECT account_id, no + 100 FROM entry WHERE qty <= {n} RETURNING *;
INSERT INTO entry (account_id, no, note) SELECT id, {n} + 200, left(name, 8) FROM account <<|WHERE id = {id}|WHERE balance > {n}>> <<|RETURNING note, open>>;
INSERT INTO archive (account_id, no, qty) SELECT a.id, 300, count(e.no) FROM account a LEFT JOIN entry e ON e.account_id = a.id GROUP BY a.id;
INSERT INTO kind (id, name, at, u) SELECT id + 20, name || '!', NULL, NULL FROM kind WHERE id <= {n};
INSERT INTO archive (account_id, no) SELECT DISTINCT account_id, 400 FROM entry <<|WHERE no > {n}>> ON CONFLICT DO NOTHING

-- = INSERT SELECT, rows travel
INSERT INTO archive (account_id, no, note) SELECT owner, no, code FROM part <<|WHERE owner > {n}>> <<|RETURNING *>>;
INSERT INTO account (id, name) SELECT id + 100, name FROM account <<|WHERE id <= {n}>> <<|RETURNING id, name>>;
INSERT INTO device (serial, label) SELECT 'new' || id, name FROM account WHERE kind = {kind} RETURNING serial;
INSERT INTO account (id, name, kind) SELECT g, 'g' || g, {kind} FROM generate_series(50, 50 + {n}) g <<|ON CONFLICT DO NOTHING>> RETURNING id;
INSERT INTO account (id, name) SELECT * FROM unnest({ids}::int[], {words}::text[]) <<|ON CONFLICT (id) DO UPDATE SET name = excluded.name>>;
INSERT INTO shift (day, no, worker) SELECT day + 1, no + 50, worker FROM shift WHERE worker = {n};
INSERT INTO archive (account_id, no) SELECT max(account_id), {n} + 500 FROM entry;
INSERT INTO log (k, line, seq) SELECT id, name, 0 FROM account ORDER BY balance DESC, id LIMIT 4;
INSERT INTO account SELECT * FROM (VALUES (60, 'v'), (61, 'w')) v;
INSERT INTO account (id, kind) SELECT k.id + 70, k.id FROM kind k RETURNING id, kind, name;
INSERT INTO account (id, name) SELECT {id}, {word} WHERE NOT EXISTS (SELECT FROM account WHERE id = {n})

-- = INSERT SELECT, into a reference table
INSERT INTO kind (id, name, rank, at, u) SELECT 30 + id, name || id, id, NULL, NULL FROM account WHERE balance > {n};
INSERT INTO kind (id, name) SELECT 50 + id, name || id FROM account WHERE id = {id} RETURNING id, rank;
INSERT INTO kind (id, name, rank) SELECT kind + 40, 'sum ' || kind, count(*) FROM account WHERE kind IS NOT NULL GROUP BY kind <<|ON CONFLICT (id) DO UPDATE SET rank = excluded.rank + 1>>

-- = INSERT SELECT, numbered; numbers
INSERT INTO ticket (title) SELECT title || '+' FROM ticket WHERE kind = {kind} RETURNING title, state;
INSERT INTO ticket (title, kind) SELECT name, kind FROM account <<|WHERE id < {id}>>;
INSERT INTO event (what) SELECT note FROM entry WHERE account_id = {id};
INSERT INTO log (k, line) SELECT id, name FROM account;
INSERT INTO part (code, owner) SELECT code, NULL FROM part;
INSERT INTO tag (word, kind) SELECT name, id FROM kind WHERE rank > {n};
INSERT INTO tag (word) SELECT name FROM account WHERE balance > 10

-- = INSERT SELECT, numbered in an order
INSERT INTO ticket (title) SELECT title || '+' FROM ticket WHERE id < 20 ORDER BY title;
INSERT INTO event (what, n) SELECT name, id FROM account WHERE id < 20 ORDER BY id DESC;
INSERT INTO tag (word) SELECT name FROM kind ORDER BY id <<|LIMIT 2>>;
INSERT INTO ticket (id, title) SELECT nextval('free'), title FROM ticket WHERE id < 20 ORDER BY title RETURNING id;
INSERT INTO ticket (id, title) SELECT nextval('free'), name FROM account <<GROUP BY 2|GROUP BY name|GROUP BY account.name>> HAVING count(*) > 0 <<ORDER BY 2|ORDER BY name>> RETURNING title;
INSERT INTO account (name, id, kind) SELECT 'n', nextval('free'), rank FROM kind WHERE rank < 4 ORDER BY name <<|LIMIT 2>>

-- = UPDATE, routed
UPDATE account SET <<balance = balance + {n}|name = {word}|name = upper(name), kind = NULL|kind = {kind}|balance = -200|at = now()|name = NULL|balance = {amount} * 2|(name, balance) = ({word}, {n})>> WHERE id = {id} <<|AND balance > {n}>> <<|RETURNING *|RETURNING id, balance, twice|RETURNING id AS "Key", name ++ '%'>>;
UPDATE entry SET <<qty = qty + {n}|note = {word}|open = NOT open|qty = qty - 2|note = 'far too long for it'>> WHERE account_id = {id} <<|AND no > 9>> <<|RETURNING no, qty>>;
UPDATE ticket SET title = {word}, state = <<'sad'|'ok'|DEFAULT|{mood}>> WHERE id = {id} <<|RETURNING title, state>>;
UPDATE device SET <<label = {word}|tags = tags ++ {word}|tags[1] = {word}|doc = '{"b": 2}'|doc = jsonb_build_object('k', {n})>> WHERE serial = {serial} <<|RETURNING serial, tags, doc>>;
UPDATE shift SET hours = hours + {amount} WHERE day = {day} <<|AND no > 3>> RETURNING *;
UPDATE account SET name = {word} WHERE id IN ({id}, {id}, {id}) <<|RETURNING id>>;
UPDATE account SET name = {word} WHERE id = ANY ({ids}) RETURNING id, name;
UPDATE log SET line = {word} WHERE k IS NULL <<|RETURNING k, line>>;
UPDATE part SET owner = NULL WHERE code = {code} RETURNING code, no, owner

-- = UPDATE, everywhere
UPDATE account SET <<balance = balance + {n}|name = name ++ 'x'|kind = 1|balance = 10 - balance|at = now()|name = DEFAULT|balance = DEFAULT|at = DEFAULT>> <<|WHERE balance > {amount}|WHERE kind = {kind}|WHERE name LIKE '%1'>> <<|RETURNING id, name>>;
UPDATE entry SET <<qty = qty + 1|open = false|open = true|note = note ++ 'y'|qty = {n}>> <<|WHERE qty > {n}|WHERE NOT open>> <<|RETURNING account_id, no>>;
UPDATE event SET n = n * 2 <<|WHERE what = 'e3'>> RETURNING id, n;
UPDATE log SET line = <<line ++ {n}|DEFAULT|NULL>> <<|WHERE k > {n}>>;
UPDATE device SET f = random() WHERE label = 'l1' RETURNING serial, f

-- = UPDATE, keys
UPDATE account SET id = {id} WHERE id = {id} <<|RETURNING id>>;
UPDATE account SET id = id, name = {word} <<|WHERE id = {id}>>;
UPDATE archive SET account_id = {id} WHERE account_id = {id} <<|AND no = {n}>> <<|RETURNING *>>;
UPDATE archive SET account_id = account_id + {n} <<|WHERE account_id = {id}>> <<|RETURNING account_id>>;
UPDATE archive SET (account_id, no) = ({id}, 9) WHERE account_id = 3;
UPDATE device SET serial = {serial} WHERE serial = {serial};
UPDATE device SET serial = upper(serial) WHERE label = 'l2' RETURNING serial;
UPDATE shift SET day = {day} WHERE day = {day} <<|AND no = 3>>;
UPDATE log SET k = <<{id}|NULL|k + 1>> WHERE k = {n} RETURNING k, line;
UPDATE ticket SET id = {id} WHERE id = {id};
UPDATE ticket SET id = DEFAULT WHERE id = {id} RETURNING id;
UPDATE event SET id = DEFAULT WHERE id = {id} RETURNING id;
UPDATE part SET no = DEFAULT WHERE code = 'c1' AND owner = 1;
UPDATE tag SET id = DEFAULT WHERE id = {n} RETURNING id, word

-- = UPDATE, numbered; numbers
UPDATE tag SET id = DEFAULT WHERE size > {n} RETURNING id, word, size;
UPDATE ticket SET id = DEFAULT RETURNING id;
UPDATE log SET seq = DEFAULT <<|WHERE k = {n}>> RETURNING line

-- = UPDATE FROM
UPDATE entry e SET note = left(a.name, 8) FROM account a WHERE a.id = e.account_id <<|AND a.id = {id}|AND a.balance > {n}>> AND e.no > 6 <<|RETURNING e.no, a.name>>;
UPDATE account SET name = k.name FROM kind k WHERE k.id = account.kind <<|AND k.id = {kind}|AND account.id = {id}>> <<|RETURNING account.id, k.rank>>;
UPDATE account a SET balance = a.balance + b.balance FROM account b WHERE b.id = a.id + {n} <<|RETURNING a.id>>;
UPDATE account SET name = p.code FROM part p WHERE p.owner = account.id <<|AND p.no > 101|AND account.id = {id}>> RETURNING account.id, p.code;
UPDATE account SET balance = q.s FROM (SELECT account_id, sum(qty) AS s FROM entry GROUP BY account_id) q WHERE q.account_id = id;
UPDATE account SET balance = q.s FROM (SELECT sum(qty) AS s FROM entry) q <<|WHERE id = {id}>>;
UPDATE account SET name = v.n FROM (VALUES ({id}, 'p'), (40, 'q')) v(i, n) WHERE v.i = id RETURNING id, name;
UPDATE account SET name = v.n FROM unnest({ids}::int[], {words}::text[]) v(i, n) WHERE v.i = id AND v.i <> 3;
UPDATE kind SET rank = q.c FROM (SELECT kind, count(*) AS c FROM account GROUP BY kind) q WHERE q.kind = kind.id;
UPDATE tag SET word = k.name FROM kind k WHERE k.id = tag.kind <<|AND k.rank > {n}>> RETURNING tag.id, word, size

-- = UPDATE, subqueries
UPDATE account SET balance = (SELECT sum(qty) FROM entry WHERE account_id = account.id) <<|WHERE id = {id}>> RETURNING id, balance;
UPDATE account SET balance = (SELECT avg(balance) FROM account) WHERE id = {id};
UPDATE account SET name = (SELECT name FROM kind WHERE id = account.kind) <<|WHERE kind IS NOT NULL>>;
UPDATE account SET name = 'most' WHERE balance = (SELECT max(balance) FROM account) RETURNING id;
UPDATE account SET name = 'has' WHERE <<|NOT >>EXISTS (SELECT FROM entry WHERE account_id = account.id <<|AND open>>);
UPDATE account SET name = 'in' WHERE id IN (SELECT owner FROM part <<|WHERE code = {code}>>) RETURNING id;
UPDATE entry SET qty = 0 WHERE (account_id, no) IN (SELECT account_id, no FROM archive);
UPDATE account SET kind = (SELECT min(id) FROM kind WHERE rank > {n}) RETURNING id, kind;
UPDATE kind SET rank = (SELECT count(*) FROM account WHERE kind = kind.id);
UPDATE kind SET rank = rank + 1 WHERE id IN (SELECT kind FROM account WHERE id = {id})

-- = UPDATE, reference tables
UPDATE kind SET <<rank = rank + {n}|name = {word}|name = name ++ '-'|rank = 500|at = now()|u = gen_random_uuid()|rank = DEFAULT|at = DEFAULT|id = id + 50|id = {n}>> <<|WHERE id = {kind}|WHERE rank > {n}>> <<|RETURNING *|RETURNING id, rank>>;
UPDATE tag SET <<word = {word}|f = random()|kind = {kind}|word = word ++ size>> <<WHERE id = {n}|WHERE size > {n}>> <<|RETURNING id, word, size>>;

-- = DELETE
DELETE FROM entry WHERE <<account_id = {id}|qty > {n}|account_id = {id} AND no = {n}|no % 5 = {n}>> <<|RETURNING *|RETURNING no, qty * 2>>;
DELETE FROM account WHERE <<id = {id}|balance > {amount}|id = ANY ({ids})|kind = {kind}>> <<|RETURNING id, name>>;
DELETE FROM kind WHERE <<id = {kind}|rank > {n}|id = 6>> <<|RETURNING name>>;
DELETE FROM tag <<|WHERE kind = {kind}>>;
DELETE FROM entry e USING account a WHERE a.id = e.account_id AND <<a.id = {id}|a.balance > {amount}>> <<|RETURNING e.no, a.name>>;
DELETE FROM account USING part p WHERE p.owner = account.id <<|AND p.code = {code}>> RETURNING account.id, p.no;
DELETE FROM entry USING kind k, account a WHERE a.kind = k.id AND a.id = account_id AND k.rank > {n};
DELETE FROM archive WHERE account_id IN (SELECT <<account_id FROM entry|owner FROM part>>) RETURNING no;
DELETE FROM archive a WHERE NOT EXISTS (SELECT FROM entry e WHERE <<e.account_id = a.account_id|e.qty = a.qty>>);
DELETE FROM archive WHERE qty > (SELECT avg(qty) FROM archive);
DELETE FROM archive WHERE account_id = (SELECT max(account_id) FROM archive) RETURNING account_id;
DELETE FROM kind WHERE id NOT IN (SELECT kind FROM account WHERE kind IS NOT NULL);
DELETE FROM log WHERE k IS NULL OR k = {n} RETURNING line;
DELETE FROM device WHERE serial = {serial} RETURNING tags, doc;
DELETE FROM archive; 

-- = TRUNCATE
TRUNCATE <<entry|archive|log|device, shift|tag|account CASCADE|entry, account|account|kind>>;
TRUNCATE <<ticket|log|tag|event>> <<RESTART IDENTITY|CONTINUE IDENTITY>>

-- = MERGE; since 15
MERGE INTO archive a USING entry e ON e.account_id = a.account_id AND e.no = a.no WHEN MATCHED <<|AND a.qty > {n}>> THEN <<UPDATE SET qty = e.qty|DELETE|DO NOTHING>> WHEN NOT MATCHED THEN <<INSERT VALUES (e.account_id, e.no, e.note, e.qty)|DO NOTHING>>;
MERGE INTO account a USING (SELECT {id} AS id, {word} AS name) s ON s.id = a.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name);
MERGE INTO account a USING (VALUES ({id}, 'm'), (45, 'n')) s(id, name) ON s.id = a.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name);
MERGE INTO account a USING kind k ON k.id = a.kind WHEN MATCHED AND k.rank > {n} THEN UPDATE SET name = k.name;
MERGE INTO account a USING part p ON p.owner = a.id WHEN MATCHED THEN UPDATE SET balance = 1 WHEN NOT MATCHED THEN INSERT (id) VALUES (p.owner + 100);
MERGE INTO job j USING (VALUES ({n}, 'm')) v(i, w) ON v.i = j.id WHEN MATCHED THEN UPDATE SET what = v.w WHEN NOT MATCHED THEN INSERT (id, what) VALUES (v.i + 50, v.w);
MERGE INTO kind k USING (VALUES (2, 'zwei'), (9, 'neun')) v(i, n) ON v.i = k.id WHEN MATCHED THEN UPDATE SET name = v.n WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.i, v.n);
MERGE INTO kind k USING (SELECT kind, count(*) AS c FROM account GROUP BY kind) q ON q.kind = k.id WHEN MATCHED THEN UPDATE SET rank = q.c

-- = MERGE, inserted elsewhere; since 15, numbers
MERGE INTO ticket t USING entry e ON e.no = t.id WHEN MATCHED THEN UPDATE SET title = e.note WHEN NOT MATCHED <<|AND e.qty > {n}>> THEN INSERT (title) VALUES (e.note);
MERGE INTO ticket t USING (VALUES ({id}, {word}), (77, 'y')) v(i, w) ON v.i = t.id WHEN NOT MATCHED THEN INSERT (id, title) VALUES (nextval('free'), v.w) <<|WHEN MATCHED THEN DELETE>>;
MERGE INTO tag t USING kind k ON k.id = t.kind <<|AND t.size > {n}>> WHEN MATCHED THEN UPDATE SET word = k.name WHEN NOT MATCHED THEN INSERT (word, kind) VALUES (k.name, k.id);
MERGE INTO account a USING account b ON b.id = a.id + {n} WHEN MATCHED THEN UPDATE SET name = b.name WHEN NOT MATCHED <<AND b.id > 8|AND b.balance > {amount}>> THEN INSERT (id, name) VALUES (b.id + 500, b.name) <<|WHEN NOT MATCHED THEN DO NOTHING>>;
MERGE INTO device d USING (SELECT kind, count(*) AS c FROM account GROUP BY kind) q ON d.label = 'l' || q.kind WHEN MATCHED THEN UPDATE SET label = 'q' WHEN NOT MATCHED THEN INSERT (serial, label) VALUES ('m' || q.c || coalesce(q.kind, 0), DEFAULT);
MERGE INTO account a USING kind k ON k.id = a.id WHEN MATCHED THEN UPDATE SET balance = (SELECT max(qty) FROM entry)

-- = MERGE RETURNING; since 17
MERGE INTO account a USING (SELECT {id} AS id, {word} AS name) s ON s.id = a.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name) RETURNING merge_action(), a.id, a.name;
MERGE INTO archive a USING entry e ON e.account_id = a.account_id AND e.no = a.no WHEN MATCHED THEN DELETE WHEN NOT MATCHED BY SOURCE THEN UPDATE SET qty = 0 RETURNING merge_action(), a.*

-- = RETURNING old; since 18
UPDATE account SET balance = balance + 1 WHERE <<id = {id}|balance > {amount}>> RETURNING old.balance, new.balance, id;
DELETE FROM entry WHERE account_id = {id} RETURNING old.no, new.no

-- = WITH that writes
WITH gone AS (DELETE FROM entry WHERE <<account_id = {id}|qty = {n}>> RETURNING *) INSERT INTO archive SELECT account_id, no, note, qty FROM gone <<|RETURNING no>>;
WITH gone AS (DELETE FROM entry WHERE <<account_id = {id}|qty = {n}>> RETURNING account_id, qty) SELECT <<*|count(*), sum(qty)>> FROM gone;
WITH made AS (INSERT INTO account (id, name) VALUES ({id} + 100, {word}) RETURNING id) SELECT id + 1 FROM made;
WITH made AS (INSERT INTO account (id, name) VALUES (201, {word}) RETURNING id) INSERT INTO entry (account_id, no) SELECT id, 1 FROM made;
WITH up AS (UPDATE account SET name = {word} WHERE id = {id} RETURNING id, name) SELECT * FROM up;
WITH up AS (UPDATE account SET balance = balance + 1 RETURNING kind, balance) SELECT kind, sum(balance) FROM up GROUP BY kind;
WITH up AS (UPDATE account SET name = {word} WHERE id = 77 RETURNING id) INSERT INTO account (id, name) SELECT 77, {word} WHERE NOT EXISTS (SELECT FROM up);
WITH k AS (INSERT INTO kind (id, name) VALUES (15, {word}) RETURNING id) INSERT INTO account (id, kind) SELECT 250, id FROM k;
WITH a AS (DELETE FROM archive WHERE account_id = {id}), b AS (UPDATE entry SET qty = 3 WHERE account_id = {id} RETURNING no) SELECT no FROM b;
WITH v AS (SELECT {id}::int AS id, {word}::text AS name) INSERT INTO account (id, name) SELECT id + 300, name FROM v;
WITH v AS (SELECT max(id) AS m FROM kind) UPDATE account SET kind = v.m FROM v <<|WHERE id = {id}>> RETURNING id, kind;
WITH o AS (SELECT account_id FROM entry GROUP BY account_id HAVING count(*) > 2) UPDATE account SET name = 'busy' WHERE id IN (SELECT account_id FROM o);
WITH o AS (SELECT account_id FROM entry WHERE qty > {n}) DELETE FROM account WHERE id IN (SELECT account_id FROM o) RETURNING id

-- = views
INSERT INTO rich (id, label, money) VALUES (<<{id}|80|81>>, {word}, <<50|{n}|{amount}>>) <<|RETURNING *|RETURNING label, money|ON CONFLICT (id) DO UPDATE SET label = excluded.label RETURNING id, label>>;
INSERT INTO rich (id, label) VALUES (82, 'a'), (83, {word}), (84, NULL) <<|RETURNING id>>;
UPDATE rich SET <<label = {word}|money = money + {n}|money = {n}|id = id>> <<|WHERE id = {id}|WHERE money > {amount}|WHERE label LIKE '%1'>> <<|RETURNING *|RETURNING label, id + 1>>;
DELETE FROM rich <<WHERE id = {id}|WHERE money > {amount}|>> <<|RETURNING label>>;
INSERT INTO opened VALUES ({id}, <<{n}|99>>, {word}, {n}) <<|RETURNING *|ON CONFLICT DO NOTHING>>;
INSERT INTO opened (account_id, no) VALUES (1, 98), (2, 98), ({id}, 97), (4, 98) RETURNING account_id, qty;
UPDATE opened SET <<qty = qty + {n}|note = {word}>> <<|WHERE account_id = {id}|WHERE qty > {n}>> <<|RETURNING *>>;
DELETE FROM opened WHERE <<account_id = {id}|qty > {n}>> <<|RETURNING no>>;
INSERT INTO kinds <<VALUES|(id, name, rank) VALUES>> (<<{n}|12>>, {word}, <<{n}|70>>) <<|RETURNING *>>;
UPDATE kinds SET <<rank = rank + {n}|rank = 60|name = {word}>> <<|WHERE id = {kind}>> <<|RETURNING id, rank>>;
DELETE FROM kinds WHERE id = {kind} <<|RETURNING name>>;
UPDATE busy SET n = 3;
DELETE FROM busy WHERE account_id = {id}

-- = locks
SELECT id, name FROM account WHERE <<id = {id}|balance > {n}|id = ANY ({ids})>> FOR <<UPDATE|SHARE|NO KEY UPDATE|UPDATE NOWAIT|UPDATE SKIP LOCKED>>;
SELECT id, name FROM account ORDER BY id <<|LIMIT 3>> FOR UPDATE{total};
SELECT a.id, e.no FROM account a JOIN entry e ON e.account_id = a.id WHERE e.qty > {n} FOR UPDATE <<|OF a|OF e>>;
SELECT id, name FROM kind WHERE id = {kind} FOR UPDATE;
SELECT a.id, k.name FROM account a JOIN kind k ON k.id = a.kind FOR UPDATE <<|OF a>>

-- = reads
SELECT count(*), sum(balance), max(name) FROM account;
SELECT account_id, sum(qty) FROM <<entry|archive>> GROUP BY account_id;
SELECT k.name, count(a.id) FROM kind k LEFT JOIN account a ON a.kind = k.id GROUP BY k.name;
SELECT * FROM <<rich|opened|kinds|busy>>

-- = sequences; counts
SELECT nextval('<<free|odd|ticket_id_seq|log_seq_seq>>');
SELECT nextval('free'), currval('free'), lastval();
SELECT setval('<<free|event_id_seq>>', <<2000|3000, false|2500, true>>);
SELECT <<lastval()|currval('free')|currval('ticket_id_seq')|currval(pg_get_serial_sequence('log', 'seq'))>>;
SELECT nextval('free') FROM generate_series(1, {n}) <<|>>;
INSERT INTO account (id, name) VALUES (nextval('free'), {word}) RETURNING id, lastval();
UPDATE account SET balance = nextval('odd') WHERE id = {id} RETURNING balance

-- = partitions
INSERT INTO <<parted|parted_low|parted_high>> (k, v, t) VALUES ({id}, <<{n}|7|50>>, {word}) <<|ON CONFLICT DO NOTHING|RETURNING *>>;
INSERT INTO parted (k, v) VALUES (1, 9), (2, 10), ({id}, 50), (4, 9) RETURNING k, v, t, n;
INSERT INTO parted (k, v, n) SELECT id, {n}, 0 FROM account ON CONFLICT DO NOTHING;
INSERT INTO parted (k, v, t, n) SELECT owner, 30, code, 0 FROM part WHERE owner IS NOT NULL RETURNING k, v;
UPDATE <<parted|parted_low>> SET <<v = v + 20|t = {word}|v = {n}>> <<|WHERE k = {id}|WHERE v = {n}>> <<|RETURNING k, v>>;
UPDATE parted SET k = {id} WHERE v = {n} <<|AND k = 4>> RETURNING k, v;
DELETE FROM <<parted|parted_rest>> WHERE <<v > {n}|k = {id}>> <<|RETURNING t>>;
TRUNCATE <<parted|parted_low>>;
SELECT k, v, t FROM <<parted|parted_high>>

-- = deferred
INSERT INTO late VALUES ({id}, {n}, {kind});
INSERT INTO late VALUES (1, 20, 99), (2, 20, 98), ({id}, 20, 1);
UPDATE late SET no = no + 1 <<|WHERE k = {id}>>;
UPDATE late SET kind = <<99|{kind}|NULL>> <<|WHERE k = {id}>> RETURNING k, kind;
UPDATE kind SET id = 60 WHERE id = 5;
DELETE FROM late WHERE kind > {n};
SET CONSTRAINTS <<ALL|late_kind_fkey>> <<IMMEDIATE|IMMEDIATE|DEFERRED>>;
SET CONSTRAINTS ALL DEFERRED

-- = triggers
INSERT INTO stamped (k, note) VALUES ({id}, {word}), (13, 'x'), (14, {word}) <<|RETURNING k, touched|ON CONFLICT (k) DO UPDATE SET note = excluded.note RETURNING touched>>;
INSERT INTO stamped (k, note) SELECT id + 10, name FROM account ON CONFLICT DO NOTHING;
UPDATE stamped SET note = {word} <<|WHERE k = {id}|WHERE touched > {n}>> <<|RETURNING k, touched>>;
UPDATE stamped SET k = k + 20 WHERE k = {id} RETURNING k, touched;
DELETE FROM stamped WHERE <<k = {id}|touched > {n}>> <<|RETURNING k, note>>

-- = tables on one shard
INSERT INTO job (what, account) VALUES ({word}, {id}), ('b', NULL) <<|RETURNING *|RETURNING id>>;
INSERT INTO job (id, what) VALUES ({n}, {word}) <<|ON CONFLICT (id) DO UPDATE SET what = excluded.what, done = DEFAULT>> RETURNING id;
UPDATE job SET done = true WHERE id = (SELECT id FROM job WHERE NOT done ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *;
UPDATE job SET what = a.name FROM account a WHERE a.id = job.account <<|AND a.id = {id}>> RETURNING job.id;
UPDATE job SET what = k.name, at = DEFAULT FROM kind k WHERE k.id = job.account;
UPDATE account SET name = j.what FROM job j WHERE j.id = account.id <<|AND account.id = {id}>> RETURNING account.id;
INSERT INTO account (id, name) SELECT 400 + id, what FROM job;
INSERT INTO job (what) SELECT name FROM account ORDER BY id <<|LIMIT 3>>;
INSERT INTO kind (id, name) SELECT 80 + id, 'job ' || id FROM job WHERE id < 5;
DELETE FROM job WHERE <<id = {n}|done|account IN (SELECT id FROM account WHERE balance > {amount})>> RETURNING id;
DELETE FROM account WHERE id IN (SELECT account FROM job WHERE id > {n}) RETURNING id;
INSERT INTO step (job, no) VALUES ({n}, {n}), (2, 17) RETURNING no;
UPDATE step SET no = no + {n} WHERE job = {n} AND no = {n};
TRUNCATE <<step|job CASCADE|job RESTART IDENTITY CASCADE>>;
SELECT j.id, a.name FROM job j LEFT JOIN account a ON a.id = j.account;
SELECT currval('job_id_seq'), nextval('job_id_seq')

-- = views in WITH
WITH up AS (UPDATE rich SET label = {word} WHERE id = {id} RETURNING id, label) SELECT * FROM up;
WITH gone AS (DELETE FROM opened WHERE <<qty > {n}|account_id = {id}>> RETURNING account_id) SELECT count(*) FROM gone;
WITH made AS (INSERT INTO rich (id, label, money) VALUES (91, {word}, 20) RETURNING id) SELECT id FROM made;
WITH made AS (INSERT INTO kinds VALUES (16, {word}, 7) RETURNING id) SELECT id FROM made;
WITH v AS (SELECT {id}::int AS i) UPDATE rich SET label = 'v' FROM v WHERE id = v.i RETURNING id

-- = MERGE into views; since 17
MERGE INTO rich r USING (VALUES ({id}, 'm'), (93, 'n')) s(i, n) ON s.i = r.id WHEN MATCHED THEN UPDATE SET label = s.n WHEN NOT MATCHED THEN INSERT (id, label, money) VALUES (s.i, s.n, 30);
MERGE INTO rich r USING entry e ON e.account_id = r.id AND e.no = {n} WHEN MATCHED THEN DELETE;
MERGE INTO kinds k USING (VALUES (2, 'zwei'), (9, 'neun')) v(i, n) ON v.i = k.id WHEN MATCHED THEN UPDATE SET name = v.n
