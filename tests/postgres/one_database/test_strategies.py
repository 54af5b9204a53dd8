"""Each strategy gives what one PostgreSQL gives."""

from __future__ import annotations

import gevent
import psycopg2
import psycopg2.extras
import pytest

import greenshard
from tests.fault.scene import eventually

FACTORIES = [
    None,
    psycopg2.extras.DictCursor,
    psycopg2.extras.RealDictCursor,
    psycopg2.extras.NamedTupleCursor,
]
READS = {
    "route": ("SELECT * FROM orders WHERE id = %s", (7,)),
    "reference": ("SELECT id, name FROM nation WHERE id < %(n)s ORDER BY id", {"n": 4}),
    "concatenate": ("SELECT id, note, tags, both_of FROM orders WHERE customer = %s", (3,)),
    "merge": ("SELECT id, note, tags, span FROM orders ORDER BY total DESC, id LIMIT %s", (9,)),
    "combine": (
        """SELECT customer, count(*), sum(total), avg(total), min(note) FROM orders
        WHERE id > %s GROUP BY customer ORDER BY customer""",
        (3,),
    ),
    "gather": (
        """SELECT a.id, b.note, b.tags FROM orders a JOIN orders b ON a.customer = b.id
        WHERE a.id > %s ORDER BY a.id""",
        (5,),
    ),
}
every_read = pytest.mark.parametrize("strategy", READS)


@every_read
@pytest.mark.parametrize("factory", FACTORIES)
def test_rows_are_made_by_the_cursors_factory(same, strategy, factory):
    statement, parameters = READS[strategy]
    ordered = "ORDER BY" in statement
    same(statement, parameters, strategy=strategy, factory=factory, ordered=ordered)


@every_read
def test_rows_can_be_fetched_in_every_way(conn, strategy):
    statement, parameters = READS[strategy]
    cur = conn.cursor()
    cur.execute(statement, parameters)
    rows = cur.fetchall()
    assert cur.fetchone() is None
    assert cur.rownumber == cur.rowcount == len(rows)
    cur.execute(statement, parameters)
    assert [cur.fetchone(), *cur.fetchmany(2), *cur] == rows
    if len(rows) > 1:
        cur.scroll(1, "absolute")
        assert cur.fetchall() == rows[1:]
        cur.scroll(-1)
        assert cur.fetchone() == rows[-1]
    with pytest.raises(psycopg2.ProgrammingError):
        cur.scroll(len(rows) + 1, "absolute")


@every_read
def test_row_factory_of_the_users_own(conn, single, strategy):
    statement, parameters = READS[strategy]

    class Row(list):
        def __init__(self, cursor):
            super().__init__([None] * len(cursor.description))

    rows = []
    for connection in (conn, single):
        cur = connection.cursor()
        cur.row_factory = Row
        cur.execute(statement, parameters)
        rows.append(cur.fetchall())
        assert {type(row) for row in rows[-1]} == {Row}
    assert sorted(rows[0], key=repr) == sorted(rows[1], key=repr)


@every_read
def test_nothing_is_sent_for_wrong_parameters(conn, strategy):
    statement, _ = READS[strategy]
    cur = conn.cursor()
    with pytest.raises((IndexError, KeyError)):
        cur.execute(statement, {} if "%(" in statement else ())
    assert conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE


@every_read
def test_own_uncommitted_writes_are_seen(conn, single, strategy):
    statement, parameters = READS[strategy]
    answers = []
    for connection in (conn, single):
        cur = connection.cursor()
        cur.execute("UPDATE orders SET total = total * 2, note = note || '!', customer = 3")
        cur.execute("UPDATE nation SET name = 'here'")
        cur.execute(statement, parameters)
        answers.append(sorted(cur.fetchall(), key=repr))
        connection.rollback()
    assert answers[0] == answers[1]


def test_reference_table_changed_in_the_transaction_is_gathered(conn):
    cur = conn.cursor()
    query = (
        "SELECT count(*) FROM nation n JOIN orders a ON a.id = n.id JOIN orders b"
        " ON b.customer = a.id WHERE n.name = 'here'"
    )
    assert "strategy: gather" in conn.explain(query)
    cur.execute(query)
    assert cur.fetchone() == (0,)
    cur.execute("UPDATE nation SET name = 'here' WHERE id = 2")
    assert cur.rowcount == 1
    cur.execute(query)
    assert cur.fetchone() > (0,)


@pytest.mark.parametrize(
    "order",
    [
        "note", "note DESC NULLS LAST", 'note COLLATE "C"', "tags", "feeling DESC", "both_of",
        "doc", "weight", "span DESC", "day DESC", "total NULLS FIRST", "customer, note",
    ],
)  # fmt: skip
def test_rows_of_every_type_are_merged_in_its_order(same, order):
    same(
        f"SELECT id, {order.split()[0].strip(',')} FROM orders ORDER BY {order}, id DESC"
        " LIMIT 40 OFFSET 3",
        strategy="merge",
    )


def test_infinite_dates_are_merged_in_their_order(conn, single):
    rows = []
    for connection in (conn, single):
        cur = connection.cursor()
        cur.execute("UPDATE orders SET day = 'infinity' WHERE id % 9 = 1")
        cur.execute("UPDATE orders SET day = '9999-12-31' WHERE id % 9 = 2")
        cur.execute("UPDATE orders SET day = '-infinity' WHERE id % 9 = 3")
        for _ in range(2):
            cur.execute("SELECT day, id FROM orders ORDER BY day DESC, id LIMIT 30")
            rows.append(cur.fetchall())
        connection.rollback()
    assert rows[0] == rows[1] == rows[2] == rows[3]


def test_dates_beyond_pythons_fail_when_they_are_fetched(conn):
    cur = conn.cursor()
    cur.execute("UPDATE orders SET day = '12345-01-01' WHERE id = 1")
    cur.execute("SELECT day FROM orders ORDER BY day, id LIMIT 60")
    assert len(cur.fetchmany(59)) == 59
    with pytest.raises(ValueError, match="year"):
        cur.fetchone()
    gathered = "SELECT a.day FROM orders a JOIN orders b ON a.customer = b.id ORDER BY a.day"
    cur.execute(gathered)
    assert len(cur.fetchmany(53)) == 53
    with pytest.raises(ValueError, match="year"):
        cur.fetchone()


def test_typecasters_of_the_program_neither_change_order_nor_sums(conn, single):
    floats = psycopg2.extensions.new_type((1700,), "FLOATS", lambda v, _: v and float(v))
    backwards = psycopg2.extensions.new_type((25,), "BACKWARDS", lambda v, _: v and v[::-1])
    answers = []
    for connection in (conn, single):
        psycopg2.extensions.register_type(floats, connection)
        psycopg2.extensions.register_type(backwards, connection)
        cur = connection.cursor()
        for statement in (
            "SELECT note, total FROM orders ORDER BY note, total DESC, id LIMIT 30",
            "SELECT sum(total), max(note) FROM orders",
            "SELECT note, sum(total) FROM orders GROUP BY note ORDER BY 1",
        ):
            cur.execute(statement)
            answers.append(cur.fetchall())
    assert answers[:3] == answers[3:]
    assert isinstance(answers[1][0][0], float)


def test_global_typecaster_that_takes_the_place_of_another_holds_from_then_on(conn, single):
    """What is known of the typecasters is known of these, and not of as many."""
    types = psycopg2.extensions.string_types
    before = types[1700]
    statements = (
        "SELECT total FROM orders ORDER BY total DESC, id LIMIT 3",
        "SELECT max(total), min(id) FROM orders",
    )
    answers = []
    try:
        for caster in (before, psycopg2.extensions.new_type((1700,), "TEXT", lambda v, _: v)):
            psycopg2.extensions.register_type(caster)
            for connection in (conn, single):
                cur = connection.cursor()
                for statement in statements:
                    cur.execute(statement)
                    answers.append(cur.fetchall())
    finally:
        types[1700] = before
    assert answers[:2] == answers[2:4]
    assert answers[4:6] == answers[6:]
    assert isinstance(answers[5][0][0], str)


def test_parameters_name_the_shard(conn, shop):
    cur = conn.cursor()
    for key in (1, 2, 3):
        cur.execute("SELECT id FROM orders WHERE id = %s", (key,))
        assert cur.fetchall() == [(key,)]
        assert list(cur.timings) == [shop.shard_of(key)]
    cur.execute("SELECT id FROM orders WHERE id = ANY(%s) ORDER BY id", ([1, 2, 3],))
    assert cur.fetchall() == [(1,), (2,), (3,)]
    assert set(cur.timings) == {shop.shard_of(key) for key in (1, 2, 3)}
    cur.execute("SELECT id FROM orders WHERE id = %s", (None,))
    assert cur.fetchall() == []
    assert len(cur.timings) == 1


def test_statements_for_all_shards_answer_once(conn):
    cur = conn.cursor()
    cur.execute("SET work_mem = '5MB'")
    assert cur.statusmessage == "SET"
    for name in conn.shards:
        one = conn.on(name).cursor()
        one.execute("SHOW work_mem")
        assert one.fetchall() == [("5MB",)]
    cur.execute("SELECT set_config('work_mem', '6MB', false)")
    assert cur.fetchall() == [("6MB",)]
    assert cur.rowcount == 1


def test_writes_add_up_their_counts(conn):
    cur = conn.cursor()
    cur.execute("UPDATE orders SET note = 'n'")
    assert (cur.rowcount, cur.statusmessage) == (60, "UPDATE 60")
    cur.execute("DELETE FROM items WHERE order_id = %s", (3,))
    assert cur.rowcount == 3


def test_reference_table_is_written_on_the_first_shard_before_the_others(conn, plain):
    cur, holder, other = conn.cursor(), plain["s0"].cursor(), plain["s1"].cursor()
    beside = plain["s2"].cursor()  # on the same server as s0
    holder.execute("BEGIN; SELECT FROM nation WHERE id = 1 FOR UPDATE")
    writing = gevent.spawn(cur.execute, "UPDATE nation SET name = name WHERE id < 3")
    # The statement may have come with the BEGIN of its transaction.
    waits = (
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'UPDATE nation'"
    )

    def is_waiting():
        beside.execute(waits)
        return beside.rowcount == 1

    try:
        eventually(is_waiting)
        # Whoever has the first shard's rows finds those of the others free, or soon to be free.
        other.execute("SELECT FROM nation FOR UPDATE NOWAIT")
    finally:
        holder.execute("ROLLBACK")
        writing.join(timeout=10)
    writing.get(block=False)
    assert (cur.rowcount, cur.statusmessage) == (2, "UPDATE 2")
    assert list(cur.timings) == ["s0", "s1", "s2"]
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        other.execute("SELECT FROM nation FOR UPDATE NOWAIT")
    conn.rollback()


def test_write_of_a_reference_table_that_fails_on_one_shard_is_done_on_none(conn, plain):
    conn.autocommit = True
    plain["s1"].cursor().execute("ALTER TABLE nation ADD CONSTRAINT few CHECK (id < 100)")
    try:
        with pytest.raises(psycopg2.errors.CheckViolation) as caught:
            conn.cursor().execute("INSERT INTO nation VALUES (100, 'Oz')")
        assert (caught.value.shard, caught.value.committed) == ("s1", ())
        for shard in plain:
            cur = plain[shard].cursor()
            cur.execute("DELETE FROM nation WHERE id = 100")
            assert cur.rowcount == 0
    finally:
        plain["s1"].cursor().execute("ALTER TABLE nation DROP CONSTRAINT few")


def test_now_is_one_value_in_a_statement_and_a_transaction(conn):
    cur = conn.cursor()
    query = "SELECT count(DISTINCT t), min(t), max(t) FROM (SELECT now() AS t FROM orders) x"
    cur.execute(query)
    distinct, first, last = cur.fetchone()
    assert distinct == 1
    assert first == last
    cur.execute(query)
    assert cur.fetchone() == (1, first, first)
    conn.commit()
    cur.execute(query)
    assert cur.fetchone()[1] > first


def test_executemany_runs_each_set_where_its_rows_are(conn, shop, plain):
    cur = conn.cursor()
    cur.executemany(
        "UPDATE orders SET note = %s WHERE id = %s", [(f"n{key}", key) for key in range(20)]
    )
    assert cur.rowcount == 20
    with pytest.raises(psycopg2.ProgrammingError, match="no results"):
        cur.fetchall()
    cur.execute("SELECT id, note FROM orders WHERE id < 20 ORDER BY id")
    assert cur.fetchall() == [(key, f"n{key}") for key in range(20)]
    cur.executemany("UPDATE orders SET note = %s WHERE customer = %s", [("a", 1), ("b", 2)])
    cur.execute("SELECT count(*) FROM orders WHERE note IN ('a', 'b')")
    count = cur.fetchone()[0]
    cur.executemany("UPDATE orders SET note = %s WHERE customer = %s", [("a", 1), ("b", 2)])
    assert cur.rowcount == count
    cur.executemany("UPDATE orders SET note = %s WHERE id = %s", [])
    assert cur.rowcount == 0


@pytest.mark.parametrize("last", [3, None])
def test_sets_of_parameters_end_at_the_one_that_fails(conn, last):
    """Each shard runs its own sets; or all go one after the other, if one is for all shards."""
    sets = [("a", 1), ("b", 2), ("x", last)]
    condition = "id = %s" if last else "id = %s OR customer = 99"
    cur = conn.cursor()
    with pytest.raises(psycopg2.errors.DivisionByZero):
        cur.executemany(
            f"UPDATE orders SET note = %s, total = 1 / (id - 2) WHERE {condition}", sets
        )
    for again in (
        lambda: cur.executemany("UPDATE orders SET note = %s WHERE id = %s", sets),
        lambda: cur.callproc("abs", (-3,)),
    ):
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            again()
    conn.rollback()
    cur.execute("SELECT count(*) FROM orders WHERE note IN ('a', 'b', 'x')")
    assert cur.fetchone() == (0,)


def test_sets_for_several_shards_are_counted_together(conn, single):
    found = []
    for connection in (conn, single):
        cur = connection.cursor()
        cur.executemany(
            "UPDATE orders SET note = %s WHERE id = ANY(%s)",
            [("a", [1, 2, 3, 4]), ("b", [5]), ("c", [3, 4, 99]), ("d", [])],
        )
        count = cur.rowcount
        cur.execute("SELECT id, note FROM orders WHERE id < 6 ORDER BY id")
        found.append((count, cur.fetchall()))
    assert found[0] == found[1]


def test_stored_functions_are_called_once(conn):
    cur = conn.cursor()
    assert cur.callproc("abs", (-3,)) == (-3,)
    assert cur.fetchall() == [(3,)]
    cur.callproc("make_interval", {"days": 3, "hours": 1})
    assert len(cur.fetchall()) == 1
    cur.callproc(b"concat", (psycopg2.extensions.AsIs("'x' || 'y'"), "50%", None, [1]))
    assert cur.fetchall() == [("xy50%{1}",)]
    cur.callproc("version")
    assert len(cur.fetchall()) == 1
    with pytest.raises(psycopg2.errors.UndefinedFunction):
        cur.callproc("nothing", (1,))
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        cur.callproc("version")


def test_plans_are_kept(conn):
    cur = conn.cursor()
    cur.execute("SELECT max(id) + 1 FROM orders")
    before = conn.plan_stats
    cur.execute("SELECT max(id) + 1 FROM orders")
    assert conn.plan_stats["hits"] == before["hits"] + 1
    assert conn.plan_stats["misses"] == before["misses"]
    long = f"SELECT max(id) FROM orders WHERE id NOT IN ({', '.join(['5'] * 10_000)})"
    before = conn.plan_stats
    cur.execute(long)
    assert cur.fetchall() == [(59,)]
    assert conn.plan_stats == before


def test_one_shard_takes_statements_as_they_are(shop):
    cluster = greenshard.Cluster({"only": shop.single}, shop.cluster.tables)
    with greenshard.connect(cluster) as conn:
        cur = conn.cursor()
        cur.execute("SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM orders")
        assert cur.fetchall() == [(8,)]
        assert conn.cluster is cluster
        assert "shards: only" in conn.explain(
            "SELECT cardinality(array_agg(DISTINCT coalesce(customer))) FROM orders"
        )


def test_chosen_shards_take_statements_as_they_are(conn):
    with conn.on("s1"):
        cur = conn.cursor()
        cur.execute("SELECT count(*) FROM orders")
        some = cur.fetchall()
        assert list(cur.timings) == ["s1"]
    both = conn.on(["s0", "s1"]).cursor()
    both.execute("SELECT count(*) FROM orders")
    assert len(both.fetchall()) == 2
    cur = conn.cursor()
    cur.execute("SELECT count(*) FROM orders")
    assert cur.fetchall() == [(60,)] != some


def test_parameters_that_are_any_sql_are_planned_as_such(conn, single):
    sql = psycopg2.extensions.AsIs
    for statement, parameters in [
        ("SELECT %s FROM orders", (sql("count(*)"),)),
        ("SELECT id FROM orders WHERE id = 1 %s ORDER BY id", (sql("OR id < 5"),)),
    ]:
        rows = []
        for connection in (conn, single):
            cur = connection.cursor()
            cur.execute(statement, parameters)
            rows.append(cur.fetchall())
        assert rows[0] == rows[1]
    counts = []
    for connection in (conn, single):
        cur = connection.cursor()
        cur.executemany(
            "UPDATE orders SET note = %s WHERE id = %s",
            [("a", 1), ("b", sql("2 OR customer = 3")), ("c", 4)],
        )
        counts.append(cur.rowcount)
        cur.execute("SELECT id, note FROM orders ORDER BY id")
        counts.append(cur.fetchall())
    assert counts[:2] == counts[2:]
    assert "strategy: combine" in conn.explain("SELECT %s FROM orders", (sql("count(*)"),))


def test_all_shards_lost_is_an_error_that_names_them(conn, plain):
    cur = conn.cursor()
    cur.execute("SELECT 1")
    conn.commit()
    for name, connection in plain.items():
        pid = conn._session.physicals[name].raw.info.backend_pid
        connection.cursor().execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(psycopg2.Error):
        cur.execute("SELECT count(*) FROM orders")
    for query, parameters in (("SELECT count(*) FROM orders", None), ("SELECT %s", (1,))):
        with pytest.raises(psycopg2.Error, match="s2"):
            cur.execute(query, parameters)
    assert conn.closed == 2


@pytest.mark.parametrize("name", ['"greenshard partial rows"', '"greenshard type of 0"'])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT '{}', avg(total), sum(total) FROM orders HAVING count(*) > 2",
        "SELECT sum(total) AS {}, avg(total) FROM orders HAVING count(*) > 2",
        "SELECT DISTINCT customer, 'a {} b' FROM orders ORDER BY customer",
    ],
)
def test_text_of_the_users_that_looks_like_our_own_is_left_alone(same, conn, statement, name):
    text = statement.format(name)
    same(text, strategy="gather")
    named = conn.cursor("rows")
    named.itersize = 2
    named.execute(text)
    assert len(named.fetchall()) == (8 if "DISTINCT" in text else 1)
