"""A unit of work over a cluster gives what it gives over one server."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as upserting
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, joinedload, selectinload

from tests.postgres.sqlalchemy.conftest import Item, Nation, Order


def filled(session):
    """Forty orders with items, whose keys the servers make."""
    peru, chad = Nation(name="Peru"), Nation(name="Chad")
    for i in range(40):
        items = [Item(n=n, word="x" * n) for n in range(i % 4)]
        nation = (peru, chad, None)[i % 3]
        session.add(Order(customer=f"c{i % 7}", amount=i, items=items, nation=nation))
    session.commit()


def flushed(session):
    return session.execute(sa.select(Order.id, Order.customer, Order.amount)).all()


def got_and_changed(session):
    order = session.get(Order, 3)
    order.amount, order.nation = 77, session.scalars(sa.select(Nation)).first()
    order.items.append(Item(n=9, word="new"))
    session.delete(session.get(Order, 4))
    session.commit()
    session.refresh(order)
    return [(each.id, each.amount, [i.word for i in each.items]) for each in session.scalars(
        sa.select(Order).order_by(Order.id))]  # fmt: skip


def loaded_eagerly(session):
    one = sa.select(Order).options(selectinload(Order.items), joinedload(Order.nation))
    two = sa.select(Order).options(joinedload(Order.items)).order_by(Order.customer).limit(7)
    first = session.scalars(one.order_by(Order.amount.desc(), Order.id)).all()
    second = session.scalars(two.order_by(Order.id)).unique().all()
    return [(o.id, len(o.items), o.nation and o.nation.name) for o in [*first, *second]]


def grouped(session):
    total = sa.func.sum(Order.amount).label("total")
    by_name = sa.select(Nation.name, total, sa.func.count(Item.n)).select_from(Order)
    by_name = by_name.outerjoin(Order.nation).outerjoin(Order.items).group_by(Nation.name)
    inner = sa.select(sa.func.avg(Order.amount)).scalar_subquery()
    above = sa.select(Order.id).where(Order.amount > inner).order_by(Order.id)
    some = sa.select(Order.id).where(Order.items.any(Item.word == "xx")).order_by(Order.id)
    return [session.execute(each).all() for each in (by_name.order_by(total), above, some)]


def many(session):
    """One statement for many rows: insertmanyvalues, UPDATE by key, ON CONFLICT."""
    made = session.scalars(
        sa.insert(Order).returning(Order, sort_by_parameter_order=True),
        [{"customer": "many", "amount": amount} for amount in range(1000, 1250)],
    ).all()
    session.execute(sa.update(Order), [{"id": each.id, "customer": "m"} for each in made[:20]])
    session.execute(sa.update(Order).where(Order.amount > 1200).values(amount=Order.amount + 1))
    session.execute(sa.delete(Order).where(Order.amount.between(1100, 1110)))
    new = upserting(Order).values([
        {"id": 1, "customer": "u", "amount": 5}, {"id": 9999, "customer": "v", "amount": 6},
    ])  # fmt: skip
    change = new.on_conflict_do_update(index_elements=["id"], set_={"amount": new.excluded.amount})
    ids = session.scalars(change.returning(Order.id)).all()
    session.commit()
    # Those of the rows in the order of the parameters, whatever shard has made them.
    assert [each.amount for each in made[:90]] == list(range(1000, 1090))
    every = session.execute(sa.select(Order.customer, Order.amount).order_by(Order.amount)).all()
    return sorted(ids), sorted(map(tuple, every))


def saved_in_part(session):
    session.add(Order(id=500, customer="a", amount=1))
    session.flush()
    with pytest.raises(IntegrityError), session.begin_nested():
        session.execute(sa.insert(Order).values(id=500, customer="twice", amount=1))
    nested = session.begin_nested()
    session.execute(sa.insert(Order).values(id=501, customer="undone", amount=1))
    nested.rollback()
    session.commit()
    return [session.get(Order, 500).customer, session.get(Order, 501)]


def streamed(session):
    connection = session.connection(execution_options={"yield_per": 7})
    found = connection.execute(sa.select(Order.id, Order.amount).order_by(Order.amount))
    return [tuple(row) for row in found]


STEPS = [flushed, got_and_changed, loaded_eagerly, grouped, many, saved_in_part, streamed]


@pytest.mark.parametrize("step", STEPS, ids=[step.__name__ for step in STEPS])
def test_unit_of_work_gives_what_one_server_gives(engine, single, step):
    found = []
    for each in (engine, single):
        with Session(each) as session:
            filled(session)
            rows = step(session)
            found.append(sorted(map(tuple, rows)) if step is flushed else rows)
    assert found[0] == found[1]


def counted(engine):
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(Order))


def rows(number, customer="two"):
    return [Order(customer=customer, amount=amount) for amount in range(number)]


def test_session_in_two_phases_is_one_resource(engine, single):
    with Session(twophase=True, binds={Order: engine, Nation: single}) as session:
        session.add_all([*rows(6), Nation(name="on the other server")])
        session.commit()
        session.add_all([*rows(6), Nation(name="twice")])
        session.flush()
        session.rollback()
    assert counted(engine) == 6
    with single.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Nation)) == 1


@pytest.mark.parametrize("end", ["commit_prepared", "rollback_prepared"])
def test_prepared_transaction_is_ended_by_another_connection(engine, end):
    with engine.connect() as connection:
        transaction = connection.begin_twophase()
        values = [{"customer": "p", "amount": amount} for amount in range(6)]
        connection.execute(sa.insert(Order), values)
        transaction.prepare()
        connection.invalidate()
    with engine.connect() as connection:
        assert [xid for xid in connection.recover_twophase() if transaction.xid in xid]
        getattr(connection, end)(transaction.xid, recover=True)
    assert counted(engine) == (6 if end == "commit_prepared" else 0)


def test_isolation_levels_are_those_of_all_shards(engine):
    level = sa.text("SELECT id, current_setting('transaction_isolation') FROM orders")
    with Session(engine) as session:
        session.add_all(rows(8))
        session.commit()
    for name in ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"):
        with engine.connect().execution_options(isolation_level=name) as connection:
            assert {row[1] for row in connection.execute(level)} == {name.lower()}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.insert(Order), [{"customer": "auto", "amount": n} for n in range(5)])
        connection.rollback()
    assert counted(engine) == 13


@pytest.mark.parametrize("mode", ["values_only", "values_plus_batch"])
def test_many_sets_of_parameters(cluster, engine, mode):
    other = sa.create_engine("postgresql+greenshard://", cluster=cluster, executemany_mode=mode)
    with Session(other) as session:
        session.add_all(rows(12))
        session.flush()
        change = sa.update(Order).where(Order.id == sa.bindparam("at"))
        sets = [{"at": at, "amount": -at} for at in range(1, 13)]
        session.connection().execute(change.values(amount=sa.bindparam("amount")), sets)
        assert session.scalar(sa.select(sa.func.sum(Order.amount))) == -78
        session.commit()
    other.dispose()


def test_errors_have_sqlalchemys_classes(engine):
    with engine.connect() as connection, pytest.raises(DBAPIError, match="can't adapt"):
        connection.execute(sa.text("SELECT :it"), {"it": object()})
