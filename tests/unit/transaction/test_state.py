from __future__ import annotations

import pytest

from greenshard.transaction.state import State, Transaction, state_of


class FakeLink:
    """A peer of `links.physical.Physical`."""

    def __init__(
        self, *, begun=True, idle=False, failed=False, alive=True, begun_at=0.0, prepared=None
    ):
        self.alive, self.in_transaction, self.prepared = alive, begun, prepared
        self.idle, self.failed, self.begun_at = idle, failed, begun_at


class FakeLinks:
    def __init__(self, **links):
        self.physicals = links


def untouched():
    return FakeLink(begun=False, idle=True)


def by_sql(**options):
    """A transaction that SQL began in autocommit mode."""
    return FakeLink(begun=False, **options)


# A connection that is closed says nothing of the server: neither idle nor failed.
LINKS = {
    State.UNTOUCHED: untouched(),
    State.OPEN: FakeLink(),
    State.FAILED: FakeLink(failed=True),
    State.OVER: FakeLink(idle=True),
    State.LOST: FakeLink(alive=False),
    State.PREPARED: FakeLink(idle=True, prepared="its gid"),
}


@pytest.mark.parametrize("state", State)
def test_each_state_is_read_from_the_connection(state):
    assert state_of(LINKS[state]) is state
    transaction = Transaction(FakeLinks(s0=LINKS[state]))
    assert transaction.begun() == ({} if state is State.UNTOUCHED else {"s0": state})
    assert transaction.states({"s0": State.OPEN}) == {"s0": state}
    # Its server has none any more, whatever the driver takes it for.
    at_server = State.UNTOUCHED if state is State.OVER else state
    there = {} if at_server is State.UNTOUCHED else {"s0": at_server}
    assert transaction.at_servers() == there
    assert transaction.states_at_servers({"s0": State.OPEN}) == {"s0": at_server}
    assert transaction.is_open is (state in {State.OPEN, State.FAILED})
    told = dict.fromkeys((State.OVER, State.PREPARED), State.UNTOUCHED) | {State.FAILED: State.OPEN}
    assert transaction.overall is told.get(state, state)
    links = FakeLinks(s0=LINKS[State.LOST], s1=LINKS[state], s2=untouched())
    assert Transaction(links).is_open is transaction.is_open
    assert transaction.failed == ("s0" if state is State.FAILED else None)


def test_what_sql_began_in_autocommit_mode_is_open_and_not_ours_to_end():
    links = FakeLinks(s0=by_sql(), s1=by_sql(failed=True))
    transaction = Transaction(links)
    assert [state_of(link) for link in links.physicals.values()] == [State.OPEN, State.FAILED]
    assert transaction.is_open
    assert transaction.failed == "s1"
    assert transaction.begun() == {}
    assert transaction.at_servers() == {"s0": State.OPEN, "s1": State.FAILED}


def test_what_sql_began_is_ours_to_end_where_the_driver_has_begun_it_on_another_shard():
    links = FakeLinks(s0=by_sql(), s1=FakeLink(), s2=by_sql(failed=True), s3=untouched())
    transaction = Transaction(links)
    assert transaction.begun() == {"s0": State.OPEN, "s1": State.OPEN, "s2": State.FAILED}
    links.physicals["s2"].alive = False
    links.physicals["s2"].failed = False
    assert transaction.begun() == {"s0": State.OPEN, "s1": State.OPEN, "s2": State.LOST}
    links.physicals["s1"] = untouched()
    assert transaction.begun() == {}


def test_connection_lost_in_autocommit_mode_concerns_sql_that_ends_a_transaction_and_not_commit():
    transaction = Transaction(FakeLinks(s0=untouched(), s1=by_sql(alive=False)))
    assert transaction.overall is State.UNTOUCHED
    assert transaction.begun() == {}
    assert transaction.at_servers() == {"s1": State.LOST}  # who knows what SQL had begun there


def test_loss_of_a_shard_counts_for_the_transaction_that_it_was_in_and_for_no_later_one():
    links = FakeLinks(s0=FakeLink(), s1=FakeLink(), s2=untouched())
    transaction = Transaction(links)
    links.physicals["s1"].alive = links.physicals["s2"].alive = False
    assert transaction.begun() == {"s0": State.OPEN, "s1": State.LOST}
    assert transaction.begun() == {"s0": State.OPEN, "s1": State.LOST}
    assert transaction.overall is State.OPEN
    links.physicals["s0"] = untouched()
    assert transaction.overall is State.LOST
    transaction.end()
    assert transaction.begun() == transaction.at_servers() == {}
    assert transaction.overall is State.UNTOUCHED
    links.physicals["s0"] = FakeLink(alive=False)
    assert transaction.begun() == {"s0": State.LOST}


def test_loss_of_another_connection_to_a_shard_that_was_lost_before_counts():
    links = FakeLinks(s0=FakeLink(alive=False))
    transaction = Transaction(links)
    transaction.end()
    links.physicals = {"s0": FakeLink()}  # a pool has opened it
    links.physicals["s0"].alive = False
    assert transaction.overall is State.LOST
    assert transaction.begun() == transaction.at_servers() == {"s0": State.LOST}


def test_connection_that_came_later_counts():
    links = FakeLinks()
    transaction = Transaction(links)
    assert (transaction.begun(), transaction.is_open, transaction.failed) == ({}, False, None)
    links.physicals = {"s1": FakeLink()}  # a pool gives a new mapping
    assert transaction.begun() == {"s1": State.OPEN}
    assert transaction.is_open


@pytest.mark.parametrize("state", [State.OPEN, State.FAILED])
def test_end_that_did_not_come_about_on_a_shard_is_none(state):
    transaction = Transaction(FakeLinks(s0=untouched(), s1=LINKS[state], s2=LINKS[State.LOST]))
    transaction.wrote = True
    transaction.end()
    assert transaction.wrote
    assert transaction.begun() == {"s1": state, "s2": State.LOST}


def test_end_by_sql_is_one_though_the_driver_does_not_know():
    transaction = Transaction(FakeLinks(s0=untouched(), s1=LINKS[State.OVER]))
    transaction.wrote = True
    assert not transaction.is_open
    transaction.end()
    assert not transaction.wrote
    assert transaction.begun() == {"s1": State.OVER}


def test_what_sql_has_begun_goes_on_until_sql_ends_it():
    transaction = Transaction(FakeLinks(s0=untouched(), s1=by_sql()))
    transaction.wrote = True
    transaction.end()
    assert transaction.wrote
    assert transaction.at_servers() == {"s1": State.OPEN}


def test_nothing_holds_beyond_the_end():
    transaction = Transaction(FakeLinks(s0=untouched(), s2=LINKS[State.LOST]))
    for name in ("wrote", "savepoints", "began_at"):
        assert not transaction.is_noted
        setattr(transaction, name, "2020-01-01 00:00:00.000000+00")
        assert transaction.is_noted
        transaction.end()
    assert (transaction.wrote, transaction.savepoints, transaction.began_at) == (False, False, None)


def test_the_clock_is_the_shard_that_began_first_and_stays_so():
    links = FakeLinks(s0=untouched(), s1=untouched(), s2=untouched())
    transaction = Transaction(links)
    assert not transaction.is_noted
    assert transaction.clock("s1") == "s1"
    assert transaction.is_noted
    # Nothing was sent there yet: what is about to be has been told that its time counts.
    assert transaction.clock("s2") == "s1"
    links.physicals["s0"] = FakeLink(begun_at=2.0)
    assert transaction.clock("s2") == "s0"  # it was sent nothing after all
    links.physicals["s1"] = FakeLink(begun_at=1.0)
    assert transaction.clock("s1") == "s0"
    links.physicals["s0"] = FakeLink(alive=False)
    assert transaction.clock("s2") == "s1"
    links.physicals.update(s0=untouched(), s1=untouched())
    transaction.end()
    links.physicals.update(s1=FakeLink(begun_at=4.0), s2=FakeLink(begun_at=3.0))
    assert transaction.clock("s0") == "s2"
