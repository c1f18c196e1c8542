"""A book in step is the true book; whatever may be missing, it is given up and comes back."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_proxy.domain.book_sync import BookSync
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, QuoteTick

SPOT = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
USDM = Instrument(venue="binance", market=Market.USDM, symbol="ETH/USDT")


def update(first, last, bids=(), asks=(), *, previous=None, instrument=SPOT):
    return QuoteTick(
        instrument=instrument,
        ts_event=last,
        ts_recv=last,
        first_update_id=first,
        last_update_id=last,
        previous_update_id=previous,
        bids=bids,
        asks=asks,
    )


def whole(last, bids=((10, 1),), asks=((20, 1),), instrument=SPOT):
    return BookSnapshot(
        instrument=instrument, ts_event=last, ts_recv=last, last_update_id=last, bids=bids, asks=asks
    )


class TestExamples:
    def test_before_a_snapshot_nothing_may_be_passed_on(self):
        sync = BookSync()
        assert not sync.update(update(1, 2))
        assert sync.book is None

    def test_a_snapshot_lets_the_updates_through_that_follow_it(self):
        sync = BookSync()
        waited = [update(1, 2), update(3, 5), update(6, 6, bids=((11, 5),))]
        for tick in waited:
            sync.update(tick)
        assert sync.snapshot(whole(5)) == (waited[2],)
        assert sync.book is not None
        assert sync.book.bids() == ((11, 5), (10, 1))
        assert sync.update(update(7, 8))

    def test_an_update_that_the_snapshot_cuts_in_two_follows_it(self):
        sync = BookSync()
        sync.update(update(1, 9))
        assert sync.snapshot(whole(5)) == (update(1, 9),)

    def test_a_snapshot_behind_all_that_waited_needs_none_of_it(self):
        sync = BookSync()
        sync.update(update(1, 2))
        assert sync.snapshot(whole(9)) == ()
        assert not sync.update(update(8, 9))
        assert sync.update(update(10, 10))

    def test_a_snapshot_too_old_for_what_waits_is_refused_and_a_later_one_is_not(self):
        sync = BookSync()
        sync.update(update(10, 12))
        with pytest.raises(BookStale):
            sync.snapshot(whole(5))
        assert sync.book is None
        assert sync.snapshot(whole(9)) == (update(10, 12),)

    def test_a_missing_update_ends_the_book_and_the_next_snapshot_begins_a_new_one(self):
        sync = BookSync()
        sync.snapshot(whole(5))
        with pytest.raises(BookStale):
            sync.update(update(8, 9))
        assert sync.book is None
        assert not sync.update(update(10, 10, bids=((11, 1),)))
        assert sync.snapshot(whole(8)) == (update(8, 9), update(10, 10, bids=((11, 1),)))

    def test_while_in_step_only_a_newer_snapshot_is_needed(self):
        sync = BookSync()
        sync.snapshot(whole(5))
        book = sync.book
        for last in (4, 5):
            assert sync.snapshot(whole(last, bids=())) is None
            assert sync.book is book
        assert sync.snapshot(whole(7, bids=((9, 9),))) == ()
        assert sync.book is not None
        assert sync.book.bids() == ((9, 9),)

    def test_a_snapshot_that_contradicts_itself_changes_nothing(self):
        sync = BookSync()
        sync.snapshot(whole(5))
        book = sync.book
        with pytest.raises(BookStale):
            sync.snapshot(whole(7, bids=((20, 1),)))
        assert sync.book is book
        assert sync.update(update(6, 6))

    def test_an_update_that_crosses_the_book_ends_it(self):
        sync = BookSync()
        sync.snapshot(whole(5))
        with pytest.raises(BookStale):
            sync.update(update(6, 6, bids=((20, 1),)))
        assert sync.book is None
        assert sync.snapshot(whole(6)) == ()

    def test_given_up_it_forgets_what_waited(self):
        sync = BookSync()
        sync.update(update(1, 2))
        sync.lose_step()
        assert sync.snapshot(whole(1)) == ()

    def test_of_too_many_that_wait_the_oldest_are_dropped_and_never_skipped_in_silence(self):
        sync = BookSync()
        for last in range(1, sync.HELD + 11):
            sync.update(update(last, last))
        with pytest.raises(BookStale):
            sync.snapshot(whole(9))
        followed = sync.snapshot(whole(10))
        assert followed is not None
        assert len(followed) == sync.HELD


# Histories: a true book, a stream of it that loses, repeats and delays, and snapshots at any time.


@dataclass
class Truth:
    """A true history: its updates, and the whole book behind each of them."""

    instrument: Instrument
    ticks: list[QuoteTick]
    depths: dict[int, tuple]

    def snapshot(self, number):
        last = self.ticks[number].last_update_id
        bids, asks = self.depths[last]
        return whole(last, bids, asks, self.instrument)


@st.composite
def truths(draw):
    instrument = draw(st.sampled_from([SPOT, USDM]))
    book = OrderBook(whole(100, instrument=instrument))
    ticks, depths = [], {}
    level = st.tuples(st.integers(1, 5), st.integers(0, 3))
    for bids, asks, skipped, length in draw(
        st.lists(
            st.tuples(
                st.lists(level, max_size=2), st.lists(level, max_size=2), st.integers(0, 3), st.integers(1, 3)
            ),
            min_size=1,
            max_size=25,
        )
    ):
        usdm = instrument is USDM
        first = book.last_update_id + 1 + (skipped if usdm else 0)
        tick = update(
            first,
            first + length - 1,
            tuple((10 + price, size) for price, size in bids),
            tuple((20 + price, size) for price, size in asks),
            previous=book.last_update_id if usdm else None,
            instrument=instrument,
        )
        book.apply(tick)
        ticks.append(tick)
        depths[tick.last_update_id] = book.depth()
    return Truth(instrument, ticks, depths)


@given(truths(), st.data())
@settings(max_examples=400)
def test_a_book_in_step_is_the_true_book_and_what_is_passed_on_rebuilds_it(truth, data):
    sync, reader = BookSync(), None
    newest = st.integers(0, len(truth.ticks) - 1)
    at = 0
    for _ in range(data.draw(st.integers(1, 60))):
        what = data.draw(st.sampled_from(["next", "next", "next", "lost", "late", "snapshot", "disconnect"]))
        passed_on = []
        try:
            if what == "next" and at < len(truth.ticks):
                at += 1
                passed_on = [truth.ticks[at - 1]] if sync.update(truth.ticks[at - 1]) else []
            elif what == "lost":
                at = min(at + 1, len(truth.ticks))
            elif what == "late" and at:
                late = truth.ticks[data.draw(st.integers(0, at - 1))]
                passed_on = [late] if sync.update(late) else []
            elif what == "snapshot":
                given_ = truth.snapshot(data.draw(newest))
                followed = sync.snapshot(given_)
                if followed is not None:
                    reader, passed_on = OrderBook(given_), list(followed)
            elif what == "disconnect":
                sync.lose_step()
        except BookStale:
            assert sync.book is None, "what does not follow ends the book"
        for tick in passed_on:
            assert reader is not None
            assert reader.apply(tick)
        if sync.book is not None:
            assert sync.book.depth() == truth.depths[sync.book.last_update_id]
            assert reader is not None
            assert reader.depth() == sync.book.depth()
            assert reader.last_update_id == sync.book.last_update_id


@given(truths(), st.data())
def test_after_any_fault_the_newest_snapshot_and_what_follows_bring_the_book_back(truth, data):
    sync = BookSync()
    cut = data.draw(st.integers(0, len(truth.ticks) - 1))
    for tick in truth.ticks[:cut]:
        if data.draw(st.booleans()):
            try:
                sync.update(tick)
            except BookStale:
                assert sync.book is None
    sync.snapshot(truth.snapshot(cut))
    for tick in truth.ticks[cut + 1 :]:
        assert sync.update(tick)
    assert sync.book is not None
    assert sync.book.depth() == truth.depths[truth.ticks[-1].last_update_id]
