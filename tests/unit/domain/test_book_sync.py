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


def in_step(last, instrument=SPOT):
    """Return a book that an update got into step, at the id of that update."""
    sync = BookSync()
    sync.snapshot(whole(last - 1, instrument=instrument))
    assert sync.update(following(last, instrument))
    return sync


def following(last, instrument=SPOT, **other):
    """Return an update of one id."""
    return update(
        last, last, previous=last - 1 if instrument is USDM else None, instrument=instrument, **other
    )


FAR = 10**9


def foreign(last=FAR, instrument=SPOT):
    """Return a snapshot of another stream: other prices, and by default an id that this one never reaches."""
    return whole(last, ((1, 1),), ((2, 1),), instrument)


class TestExamples:
    def test_before_a_snapshot_nothing_may_be_passed_on(self):
        sync = BookSync()
        assert sync.update(update(1, 2)) == ()
        assert sync.book is None

    def test_a_snapshot_lets_the_updates_through_that_follow_it(self):
        sync = BookSync()
        waited = [update(1, 2), update(3, 5), update(6, 6, bids=((11, 5),))]
        for tick in waited:
            sync.update(tick)
        assert sync.snapshot(whole(5)) == (whole(5), waited[2])
        assert sync.book is not None
        assert sync.book.bids() == ((11, 5), (10, 1))
        assert sync.update(update(7, 8)) == (update(7, 8),)

    def test_an_update_that_the_snapshot_cuts_in_two_follows_it(self):
        sync = BookSync()
        sync.update(update(1, 9))
        assert sync.snapshot(whole(5)) == (whole(5), update(1, 9))

    def test_a_snapshot_ahead_of_all_that_waited_waits_for_an_update_that_follows_it(self):
        sync = BookSync()
        sync.update(update(1, 2))
        assert sync.snapshot(whole(9)) == ()
        assert sync.update(update(3, 7)) == ()
        assert sync.book is None
        assert sync.update(update(8, 10)) == (whole(9), update(8, 10))
        assert sync.book is not None

    def test_a_snapshot_that_ends_where_the_stream_is_is_believed_at_once(self):
        sync = BookSync()
        sync.update(update(1, 2))
        assert sync.snapshot(whole(2)) == (whole(2),)
        assert sync.book is not None
        assert sync.update(update(3, 3)) == (update(3, 3),)

    def test_a_snapshot_too_old_for_what_waits_is_refused_and_a_later_one_is_not(self):
        sync = BookSync()
        sync.update(update(10, 12))
        with pytest.raises(BookStale):
            sync.snapshot(whole(5))
        assert sync.book is None
        assert sync.snapshot(whole(9)) == (whole(9), update(10, 12))

    def test_a_first_update_that_does_not_follow_the_snapshot_refuses_it(self):
        sync = BookSync()
        assert sync.snapshot(whole(5)) == ()
        with pytest.raises(BookStale):
            sync.update(update(8, 9))
        assert sync.book is None
        assert sync.snapshot(whole(7)) == (whole(7), update(8, 9))

    def test_a_missing_update_ends_the_book_and_the_next_snapshot_begins_a_new_one(self):
        sync = in_step(5)
        with pytest.raises(BookStale):
            sync.update(update(8, 9))
        assert sync.book is None
        last = update(10, 10, bids=((11, 1),))
        assert sync.update(last) == ()
        assert sync.snapshot(whole(8)) == (whole(8), update(8, 9), last)

    def test_while_in_step_no_snapshot_changes_the_book(self):
        sync = in_step(5)
        book = sync.book
        for last in (4, 5, 7):
            assert sync.snapshot(whole(last, bids=())) == ()
            assert sync.book is book
        assert book is not None
        assert book.bids() == ((10, 1),)

    def test_a_snapshot_that_contradicts_itself_does_not_harm_a_book_in_step(self):
        sync = in_step(5)
        book = sync.book
        assert sync.snapshot(whole(7, bids=((20, 1),))) == ()
        for last in range(6, 10):
            assert sync.update(update(last, last))
        assert sync.book is book

    @pytest.mark.parametrize("trusting", [False, True])
    def test_a_snapshot_that_contradicts_itself_makes_no_book(self, trusting):
        sync = BookSync(trusting=trusting)
        sync.update(update(7, 7))
        with pytest.raises(BookStale):
            sync.snapshot(whole(7, bids=((20, 1),)))
        assert sync.book is None
        assert sync.snapshot(whole(7)) == (whole(7),)

    def test_a_reserve_that_contradicts_itself_makes_no_book(self):
        sync = in_step(5)
        sync.snapshot(whole(7, bids=((20, 1),)))
        with pytest.raises(BookStale):
            sync.update(update(8, 8))
        assert sync.book is None
        assert sync.snapshot(whole(7)) == (whole(7), update(8, 8))

    def test_an_update_that_crosses_the_book_ends_it(self):
        sync = in_step(5)
        with pytest.raises(BookStale):
            sync.update(update(6, 6, bids=((20, 1),)))
        assert sync.book is None
        assert sync.snapshot(whole(6)) == (whole(6),)

    def test_given_up_it_forgets_what_waited(self):
        sync = BookSync()
        for last in (1, 2):
            sync.update(update(last, last))
        sync.lose_step()
        assert sync.snapshot(whole(1)) == ()
        assert sync.book is None
        with pytest.raises(BookStale):
            sync.update(update(3, 3))

    def test_of_too_many_that_wait_the_oldest_are_dropped_and_never_skipped_in_silence(self):
        sync = BookSync()
        for last in range(1, sync.HELD + 11):
            sync.update(update(last, last))
        with pytest.raises(BookStale):
            sync.snapshot(whole(9))
        passed = sync.snapshot(whole(10))
        assert passed[0] == whole(10)
        assert len(passed) == 1 + sync.HELD


@pytest.mark.parametrize("instrument", [SPOT, USDM], ids=["spot", "usdm"])
class TestCandidates:
    """A snapshot is worth nothing until the stream confirms it."""

    def test_a_foreign_snapshot_while_in_step_changes_nothing(self, instrument):
        sync, true = in_step(5, instrument), in_step(5, instrument)
        assert sync.snapshot(foreign(instrument=instrument)) == ()
        for last in range(6, 6 + 3 * BookSync.AHEAD):
            tick = following(last, instrument, bids=((10 + last % 5, last),))
            assert sync.update(tick) == (tick,)
            true.update(tick)
        assert sync.book is not None
        assert true.book is not None
        assert sync.book.snapshot() == true.book.snapshot()

    def test_a_foreign_snapshot_while_waiting_is_given_up(self, instrument):
        sync = BookSync()
        sync.update(following(1, instrument))
        assert sync.snapshot(foreign(instrument=instrument)) == ()
        for last in range(2, 2 + BookSync.AHEAD):
            assert sync.update(following(last, instrument)) == ()
            assert sync.book is None
        last = 2 + BookSync.AHEAD
        with pytest.raises(BookStale, match=str(FAR)):
            sync.update(following(last, instrument))
        assert (sync.book, sync.reached) == (None, None)
        assert sync.update(following(last + 1, instrument)) == (), "it is said once"
        good = whole(last, instrument=instrument)
        assert sync.snapshot(good) == (good, following(last + 1, instrument))

    def test_each_snapshot_has_its_own_patience(self, instrument):
        sync = BookSync()
        sync.snapshot(foreign(instrument=instrument))
        for last in range(1, BookSync.AHEAD):
            sync.update(following(last, instrument))
        ahead = BookSync.AHEAD + 500
        sync.snapshot(whole(ahead, instrument=instrument))
        for last in range(BookSync.AHEAD, ahead + 1):
            assert sync.update(following(last, instrument)) == ()
        tick = following(ahead + 1, instrument)
        assert sync.update(tick) == (whole(ahead, instrument=instrument), tick)

    def test_a_good_snapshot_takes_the_place_of_a_foreign_one(self, instrument):
        sync = BookSync()
        sync.update(following(1, instrument))
        sync.snapshot(foreign(instrument=instrument))
        sync.update(following(2, instrument))
        good = whole(1, instrument=instrument)
        assert sync.snapshot(good) == (good, following(2, instrument))
        assert sync.update(following(3, instrument)) == (following(3, instrument),)

    def test_a_reserve_is_used_when_an_update_is_missing(self, instrument):
        sync = in_step(5, instrument)
        reserve = whole(8, ((11, 3),), ((19, 3),), instrument)
        assert sync.snapshot(reserve) == ()
        tick = following(9, instrument, bids=((12, 4),))
        assert sync.update(tick) == (reserve, tick)
        assert sync.book is not None
        assert sync.book.depth() == (((12, 4), (11, 3)), ((19, 3),))
        assert sync.update(following(10, instrument))

    def test_a_reserve_ahead_of_the_update_that_shows_the_hole_is_used_once_it_is_reached(self, instrument):
        sync = in_step(5, instrument)
        reserve = whole(9, instrument=instrument)
        sync.snapshot(reserve)
        with pytest.raises(BookStale, match="does not follow"):
            sync.update(following(8, instrument))
        assert sync.book is None
        assert sync.update(following(9, instrument)) == ()
        assert sync.update(following(10, instrument)) == (reserve, following(10, instrument))

    def test_a_reserve_that_the_update_does_not_follow_either_is_of_no_use(self, instrument):
        sync = in_step(5, instrument)
        sync.snapshot(whole(7, instrument=instrument))
        with pytest.raises(BookStale, match="does not follow 7"):
            sync.update(following(20, instrument))
        assert (sync.book, sync.reached) == (None, None)
        good = whole(19, instrument=instrument)
        assert sync.snapshot(good) == (good, following(20, instrument))

    def test_a_missing_update_is_told_at_once_whatever_is_in_reserve(self, instrument):
        sync = in_step(5, instrument)
        sync.snapshot(foreign(instrument=instrument))
        with pytest.raises(BookStale, match="does not follow 5"):
            sync.update(following(8, instrument))
        assert sync.book is None
        good = whole(7, instrument=instrument)
        assert sync.snapshot(good) == (good, following(8, instrument))

    def test_a_reserve_is_forgotten_once_the_book_has_passed_it(self, instrument):
        sync = in_step(5, instrument)
        sync.snapshot(foreign(7, instrument))
        for last in (6, 7, 8):
            assert sync.update(following(last, instrument)) == (following(last, instrument),)
        with pytest.raises(BookStale, match="does not follow 8"):
            sync.update(following(10, instrument))
        assert (sync.book, sync.reached) == (None, None)

    def test_of_two_in_reserve_the_last_that_came_is_kept(self, instrument):
        sync = in_step(5, instrument)
        sync.snapshot(foreign(instrument=instrument))
        reserve = whole(8, instrument=instrument)
        sync.snapshot(reserve)
        assert sync.update(following(9, instrument)) == (reserve, following(9, instrument))

    def test_out_of_step_an_old_snapshot_is_not_believed_unless_an_update_follows_it(self, instrument):
        sync = in_step(5, instrument)
        sync.lose_step()
        assert sync.snapshot(whole(4, instrument=instrument)) == ()
        assert sync.book is None
        with pytest.raises(BookStale):
            sync.update(following(6, instrument))
        sync.lose_step()
        old = whole(4, instrument=instrument)
        assert sync.snapshot(old) == ()
        late = following(5, instrument)
        assert sync.update(late) == (old, late)

    def test_out_of_step_a_snapshot_that_ends_at_the_last_id_seen_is_believed(self, instrument):
        sync = in_step(5, instrument)
        sync.lose_step()
        there = whole(5, instrument=instrument)
        assert sync.snapshot(there) == (there,)
        assert sync.update(following(6, instrument)) == (following(6, instrument),)

    def test_given_up_it_forgets_its_candidate_too(self, instrument):
        sync = in_step(5, instrument)
        sync.snapshot(whole(8, instrument=instrument))
        sync.lose_step()
        assert sync.reached is None
        assert sync.update(following(9, instrument)) == ()
        assert sync.book is None

    def test_it_says_how_far_it_is(self, instrument):
        sync = BookSync()
        assert sync.reached is None
        sync.snapshot(whole(5, instrument=instrument))
        assert sync.reached == 5
        sync.update(following(6, instrument))
        sync.snapshot(foreign(instrument=instrument))
        assert sync.reached == 6


@pytest.mark.parametrize("instrument", [SPOT, USDM], ids=["spot", "usdm"])
class TestTrusting:
    """Where snapshots come in order with the updates, each newer one is taken."""

    def test_the_first_snapshot_is_taken_at_once(self, instrument):
        sync = BookSync(trusting=True)
        first = whole(5, instrument=instrument)
        assert sync.snapshot(first) == (first,)
        assert sync.book is not None
        assert sync.update(following(6, instrument)) == (following(6, instrument),)

    def test_a_newer_one_is_taken_at_once_and_no_other(self, instrument):
        sync = BookSync(trusting=True)
        sync.snapshot(whole(5, instrument=instrument))
        book = sync.book
        for last in (4, 5):
            assert sync.snapshot(foreign(last, instrument)) == ()
            assert sync.book is book
        newer = whole(7, ((9, 9),), instrument=instrument)
        assert sync.snapshot(newer) == (newer,)
        assert sync.book is not None
        assert sync.book.bids() == ((9, 9),)
        assert sync.update(following(8, instrument)) == (following(8, instrument),)

    def test_a_missing_update_ends_the_book_all_the_same(self, instrument):
        sync = BookSync(trusting=True)
        sync.snapshot(whole(5, instrument=instrument))
        with pytest.raises(BookStale):
            sync.update(following(8, instrument))
        assert sync.book is None
        newer = whole(7, instrument=instrument)
        assert sync.snapshot(newer) == (newer, following(8, instrument))


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


def read(reader, passed):
    """Rebuild the book from what was passed on, as a reader that has nothing else."""
    for one in passed:
        if isinstance(one, BookSnapshot):
            reader = OrderBook(one)
        else:
            assert reader is not None
            assert reader.apply(one)
    return reader


@given(truths(), st.data())
@settings(max_examples=400)
def test_a_book_in_step_is_the_true_book_and_what_is_passed_on_rebuilds_it(truth, data):
    sync, reader = BookSync(), None
    sync.AHEAD = data.draw(st.sampled_from([1, 5, BookSync.AHEAD]))
    newest = st.integers(0, len(truth.ticks) - 1)
    at = 0
    for _ in range(data.draw(st.integers(1, 60))):
        what = data.draw(
            st.sampled_from(["next", "next", "next", "lost", "late", "snapshot", "foreign", "disconnect"])
        )
        passed = ()
        try:
            if what == "next" and at < len(truth.ticks):
                at += 1
                passed = sync.update(truth.ticks[at - 1])
            elif what == "lost":
                at = min(at + 1, len(truth.ticks))
            elif what == "late" and at:
                passed = sync.update(truth.ticks[data.draw(st.integers(0, at - 1))])
            elif what == "snapshot":
                passed = sync.snapshot(truth.snapshot(data.draw(newest)))
            elif what == "foreign":
                passed = sync.snapshot(foreign(instrument=truth.instrument))
                assert passed == ()
            elif what == "disconnect":
                sync.lose_step()
        except BookStale:
            assert sync.book is None, "what does not follow ends the book"
        reader = read(reader, passed)
        if sync.book is not None:
            assert sync.book.depth() == truth.depths[sync.book.last_update_id]
            assert reader is not None
            assert reader.depth() == sync.book.depth()
            assert reader.last_update_id == sync.book.last_update_id


@given(truths(), st.data())
def test_after_any_fault_the_newest_snapshot_and_what_follows_bring_the_book_back(truth, data):
    sync, reader = BookSync(), None
    cut = data.draw(st.integers(0, len(truth.ticks) - 1))
    for number, tick in enumerate(truth.ticks[:cut]):
        what = data.draw(st.sampled_from(["update", "lost", "snapshot", "foreign"]))
        try:
            if what == "update":
                reader = read(reader, sync.update(tick))
            elif what == "snapshot":
                reader = read(reader, sync.snapshot(truth.snapshot(number)))
            elif what == "foreign":
                reader = read(reader, sync.snapshot(foreign(instrument=truth.instrument)))
        except BookStale:
            assert sync.book is None
    reader = read(reader, sync.snapshot(truth.snapshot(cut)))
    for tick in truth.ticks[cut + 1 :]:
        passed = sync.update(tick)
        assert passed[-1:] == (tick,)
        reader = read(reader, passed)
        assert sync.book is not None
        assert reader is not None
        assert sync.book.depth() == reader.depth() == truth.depths[tick.last_update_id]


@given(truths(), st.data())
def test_foreign_snapshots_take_nothing_away_from_a_book_in_step(truth, data):
    sync = BookSync()
    sync.snapshot(truth.snapshot(0))
    for number, tick in enumerate(truth.ticks[1:]):
        assert tick in sync.update(tick)
        for _ in range(data.draw(st.integers(0, 2))):
            far = data.draw(st.integers(truth.ticks[-1].last_update_id, FAR)) if number else FAR
            assert sync.snapshot(foreign(far, truth.instrument)) == ()
        assert sync.book is not None
        assert sync.book.depth() == truth.depths[tick.last_update_id]
