"""A book is right, or it says that it is stale. It is never quietly wrong."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from binance_proxy.domain.errors import BookStale, NotEnoughLiquidity
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, QuoteTick

SPOT = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
USDM = Instrument(venue="binance", market=Market.USDM, symbol="ETH/USDT")

QUESTIONS = {
    "best_bid": lambda book: book.best_bid(),
    "best_ask": lambda book: book.best_ask(),
    "bids": lambda book: book.bids(),
    "asks": lambda book: book.asks(),
    "no levels": lambda book: book.depth(0),
    "spread": lambda book: book.spread(),
    "spread_bps": lambda book: book.spread_bps(),
    "mid": lambda book: book.mid(),
    "within": lambda book: book.within(10),
    "depth": lambda book: book.depth(5),
    "liquidity": lambda book: book.liquidity(10),
    "imbalance": lambda book: book.imbalance(),
    "snapshot": lambda book: book.snapshot(),
}


def snapshot(last_update_id=100, bids=((99, 5), (98, 6)), asks=((101, 7), (102, 8)), instrument=SPOT):
    return BookSnapshot(
        instrument=instrument, ts_event=1, ts_recv=2, last_update_id=last_update_id, bids=bids, asks=asks
    )


def update(first, last, bids=(), asks=(), *, previous=None, instrument=SPOT):
    return QuoteTick(
        instrument=instrument,
        ts_event=10 * last,
        ts_recv=10 * last + 1,
        first_update_id=first,
        last_update_id=last,
        previous_update_id=previous,
        bids=bids,
        asks=asks,
    )


class TestABookBeginsWithASnapshot:
    def test_it_equals_the_snapshot(self):
        book = OrderBook(snapshot())
        assert book.bids() == ((99, 5), (98, 6))
        assert book.asks() == ((101, 7), (102, 8))
        assert book.last_update_id == 100
        assert (book.ts_event, book.ts_recv) == (1, 2)
        assert book.instrument is SPOT
        assert not book.is_stale
        assert book.snapshot() == snapshot()

    def test_the_order_of_the_levels_in_the_snapshot_does_not_matter(self):
        book = OrderBook(snapshot(bids=((98, 6), (99, 5)), asks=((102, 8), (101, 7))))
        assert book.snapshot() == snapshot()

    def test_a_level_of_size_zero_in_a_snapshot_is_no_level(self):
        book = OrderBook(snapshot(bids=((100, 0), (99, 5)), asks=((100, 0), (101, 7))))
        assert book.depth() == (((99, 5),), ((101, 7),))
        book.apply(update(101, 101, bids=((100, 0),), asks=((100, 0),)))
        assert book.depth() == (((99, 5),), ((101, 7),))

    @pytest.mark.parametrize("best_ask", [98, 99])
    def test_a_snapshot_that_contradicts_itself_makes_no_book(self, best_ask):
        with pytest.raises(BookStale, match="cross"):
            OrderBook(snapshot(bids=((99, 5),), asks=((best_ask, 7),)))

    def test_it_may_be_empty(self):
        book = OrderBook(snapshot(bids=(), asks=()))
        assert book.depth() == ((), ())


class TestABookFollowsUpdates:
    def test_a_size_replaces_the_size_that_was_there(self):
        book = OrderBook(snapshot())
        assert book.apply(update(101, 101, bids=((99, 1),), asks=((102, 2),)))
        assert book.depth() == (((99, 1), (98, 6)), ((101, 7), (102, 2)))

    def test_a_new_price_takes_its_place_among_the_others(self):
        book = OrderBook(snapshot(bids=((99, 5), (95, 6)), asks=((101, 7), (110, 8))))
        book.apply(update(101, 101, bids=((97, 1), (90, 2), (100, 3)), asks=((105, 1), (120, 2))))
        assert book.bids() == ((100, 3), (99, 5), (97, 1), (95, 6), (90, 2))
        assert book.asks() == ((101, 7), (105, 1), (110, 8), (120, 2))

    def test_size_zero_removes_a_level_also_one_that_was_not_known(self):
        book = OrderBook(snapshot())
        assert book.apply(update(101, 101, bids=((99, 0), (50, 0)), asks=((101, 0), (500, 0))))
        assert book.depth() == (((98, 6),), ((102, 8),))

    def test_within_one_update_the_last_word_on_a_price_counts(self):
        book = OrderBook(snapshot())
        book.apply(update(101, 101, bids=((97, 1), (97, 0), (99, 0), (99, 4))))
        assert book.bids() == ((99, 4), (98, 6))

    def test_it_carries_the_times_and_the_id_of_the_last_update(self):
        book = OrderBook(snapshot())
        book.apply(update(101, 107))
        assert (book.last_update_id, book.ts_event, book.ts_recv) == (107, 1070, 1071)

    @pytest.mark.parametrize("last", [50, 99, 100])
    def test_what_it_contains_already_changes_nothing_not_even_the_times(self, last):
        book = OrderBook(snapshot())
        assert not book.apply(update(40, last, bids=((99, 1),), asks=((200, 1),)))
        assert book.snapshot() == snapshot()

    @pytest.mark.parametrize(("first", "last"), [(101, 103), (100, 103), (90, 103), (101, 101)])
    def test_the_first_update_starts_at_or_before_the_id_behind_the_snapshot(self, first, last):
        book = OrderBook(snapshot())
        assert book.apply(update(first, last, bids=((99, 1),)))
        assert book.best_bid() == (99, 1)

    def test_it_stays_as_it_was_if_bids_and_asks_only_touch_the_gap_between_them(self):
        book = OrderBook(snapshot())
        book.apply(update(101, 101, bids=((100, 1),)))
        assert book.spread() == 1


class TestAStaleBookIsOfNoUse:
    @pytest.fixture
    def book_with_a_hole(self):
        book = OrderBook(snapshot())
        with pytest.raises(BookStale, match="update 102 does not follow 100"):
            book.apply(update(102, 103))
        return book

    @pytest.fixture(params=["bid", "ask"])
    def crossed_book(self, request):
        book = OrderBook(snapshot())
        over = {"bids": ((101, 1),)} if request.param == "bid" else {"asks": ((99, 1),)}
        with pytest.raises(BookStale, match="cross at update 101"):
            book.apply(update(101, 101, **over))
        return book

    @pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
    def test_after_a_missed_update_every_question_raises_each_time(self, book_with_a_hole, question):
        for _ in range(2):
            with pytest.raises(BookStale, match="update 102 does not follow 100"):
                question(book_with_a_hole)
        assert book_with_a_hole.is_stale

    @pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
    def test_after_bids_and_asks_crossed_every_question_raises_each_time(self, crossed_book, question):
        for _ in range(2):
            with pytest.raises(BookStale, match="cross"):
                question(crossed_book)
        assert crossed_book.is_stale

    @pytest.mark.parametrize(("first", "last"), [(101, 101), (101, 103), (102, 103), (104, 104), (90, 95)])
    def test_no_later_update_heals_it_not_even_the_one_that_was_missing(self, book_with_a_hole, first, last):
        with pytest.raises(BookStale):
            book_with_a_hole.apply(update(first, last))
        assert book_with_a_hole.is_stale

    def test_it_still_says_how_far_it_was_right(self, book_with_a_hole):
        assert book_with_a_hole.last_update_id == 100
        assert book_with_a_hole.ts_event == 1

    def test_a_crossed_book_does_not_heal_when_the_prices_part_again(self, crossed_book):
        with pytest.raises(BookStale):
            crossed_book.apply(update(102, 102, bids=((101, 0),), asks=((99, 0),)))

    def test_a_fresh_book_from_the_next_snapshot_is_right_again(self, book_with_a_hole):
        book = OrderBook(snapshot(last_update_id=103, instrument=book_with_a_hole.instrument))
        assert book.apply(update(104, 104, bids=((99, 1),)))
        assert book.best_bid() == (99, 1)


class TestUsdmBooks:
    def test_each_update_names_the_one_before(self):
        book = OrderBook(snapshot(instrument=USDM))
        assert book.apply(update(95, 110, previous=90, instrument=USDM))
        assert book.apply(update(130, 140, bids=((99, 1),), previous=110, instrument=USDM))
        assert (book.best_bid(), book.last_update_id) == ((99, 1), 140)

    def test_an_update_that_names_another_makes_it_stale(self):
        book = OrderBook(snapshot(instrument=USDM))
        book.apply(update(95, 110, previous=90, instrument=USDM))
        with pytest.raises(BookStale):
            book.apply(update(111, 120, previous=109, instrument=USDM))
        assert book.is_stale


class TestQuestions:
    BOOK = snapshot(bids=((9990, 5), (9980, 10), (9900, 20)), asks=((10010, 1), (10020, 2), (10100, 4)))

    def test_best_levels(self):
        book = OrderBook(self.BOOK)
        assert book.best_bid() == (9990, 5)
        assert book.best_ask() == (10010, 1)

    def test_spread_in_price_units_and_in_basis_points_of_the_mid(self):
        book = OrderBook(self.BOOK)
        assert book.spread() == 20
        assert book.mid() == 10000
        assert book.spread_bps() == 20.0

    def test_the_mid_may_end_in_a_half(self):
        assert OrderBook(snapshot(bids=((99, 1),), asks=((100, 1),))).mid() == 99.5

    def test_depth_is_cut_to_so_many_levels_a_side(self):
        book = OrderBook(self.BOOK)
        assert book.depth(2) == (((9990, 5), (9980, 10)), ((10010, 1), (10020, 2)))
        assert book.depth(0) == ((), ())
        assert book.depth(50) == book.depth()

    def test_liquidity_is_the_size_within_a_distance_of_the_mid(self):
        book = OrderBook(self.BOOK)
        assert book.liquidity(9.99) == (0, 0)
        assert book.liquidity(10) == (5, 1)
        assert book.liquidity(20) == (15, 3)
        assert book.liquidity(99.99) == (15, 3)
        assert book.liquidity(100) == (35, 7)
        assert book.liquidity(100_000) == (35, 7)
        assert book.liquidity(0) == (0, 0)

    @pytest.mark.parametrize(
        ("distance_bps", "bid", "ask"), [(50, 1194, 1206), (150, 1182, 1218), (0.3, 0, 0)]
    )
    def test_a_level_at_exactly_the_distance_is_within_it(self, distance_bps, bid, ask):
        bids, asks = ((1199, 1), (bid, 2)), ((1201, 1), (ask, 2))
        if not bid:  # the same for a distance that no float holds exactly
            bids, asks = ((99_997, 3),), ((100_003, 3),)
        book = OrderBook(snapshot(bids=bids, asks=asks))
        assert book.within(distance_bps) == (bids, asks)

    def test_imbalance_lies_between_all_asks_and_all_bids(self):
        book = OrderBook(self.BOOK)
        assert book.imbalance() == (5 - 1) / 6
        assert book.imbalance(3) == (35 - 7) / 42
        assert OrderBook(snapshot(asks=())).imbalance() == 1
        assert OrderBook(snapshot(bids=())).imbalance() == -1

    def test_an_empty_side_has_no_answer_and_says_which(self):
        no_bids, no_asks = OrderBook(snapshot(bids=())), OrderBook(snapshot(asks=()))
        with pytest.raises(NotEnoughLiquidity, match="no bids"):
            no_bids.best_bid()
        with pytest.raises(NotEnoughLiquidity, match="no asks"):
            no_asks.best_ask()
        for book in (no_bids, no_asks):
            for question in ("spread", "spread_bps", "mid", "within", "liquidity"):
                with pytest.raises(NotEnoughLiquidity):
                    QUESTIONS[question](book)

    def test_an_empty_side_still_shows_the_other(self):
        book = OrderBook(snapshot(bids=()))
        assert book.best_ask() == (101, 7)
        assert book.depth() == ((), ((101, 7), (102, 8)))
        assert book.snapshot().bids == ()

    def test_an_empty_book_has_no_imbalance(self):
        with pytest.raises(NotEnoughLiquidity, match="empty book"):
            OrderBook(snapshot(bids=(), asks=())).imbalance()

    def test_an_empty_side_is_not_stale_and_fills_again(self):
        book = OrderBook(snapshot(bids=((99, 5),)))
        book.apply(update(101, 101, bids=((99, 0),)))
        assert not book.is_stale
        book.apply(update(102, 102, bids=((42, 1),)))
        assert book.best_bid() == (42, 1)

    def test_an_answer_does_not_change_when_the_book_does(self):
        book = OrderBook(snapshot())
        before = book.snapshot()
        book.apply(update(101, 101, bids=((99, 0),)))
        assert before == snapshot()


# The same book, slow and obvious: two dicts that are sorted again at each question.

sizes = st.integers(0, 5)
bid_changes = st.lists(st.tuples(st.integers(1, 49), sizes), max_size=8).map(tuple)
ask_changes = st.lists(st.tuples(st.integers(50, 99), sizes), max_size=8).map(tuple)


def changed(levels, changes):
    """The dict of levels after these changes."""
    return {price: size for price, size in (levels | dict(changes)).items() if size}


def best_first(bids, asks):
    return tuple(sorted(bids.items(), reverse=True)), tuple(sorted(asks.items()))


@given(
    start=st.tuples(bid_changes, ask_changes),
    changes=st.lists(st.tuples(bid_changes, ask_changes), max_size=12),
    levels=st.integers(0, 12),
    distance_bps=st.integers(0, 12_000) | st.floats(0, 12_000).map(lambda bps: round(bps, 3)),
)
def test_every_answer_equals_that_of_two_dicts(start, changes, levels, distance_bps):
    bids, asks = changed({}, start[0]), changed({}, start[1])
    book = OrderBook(snapshot(bids=tuple(bids.items()), asks=tuple(asks.items())))
    for number, (bid_side, ask_side) in enumerate(changes, start=101):
        assert book.apply(update(number, number, bid_side, ask_side))
        bids, asks = changed(bids, bid_side), changed(asks, ask_side)
        assert book.depth() == best_first(bids, asks)

    all_bids, all_asks = best_first(bids, asks)
    assert book.bids(levels) == all_bids[:levels]
    assert book.asks(levels) == all_asks[:levels]
    assert book.snapshot().bids == all_bids
    assert book.snapshot().asks == all_asks
    bid_size = sum(size for _, size in all_bids[:levels])
    ask_size = sum(size for _, size in all_asks[:levels])
    if bid_size + ask_size:
        assert book.imbalance(levels) == float(Fraction(bid_size - ask_size, bid_size + ask_size))
    if not (all_bids and all_asks):
        return
    mid = Fraction(max(bids) + min(asks), 2)
    assert book.mid() == mid
    assert book.spread() == min(asks) - max(bids)
    assert book.spread_bps() == pytest.approx(float(book.spread() * 10_000 / mid))
    reach = mid * Fraction(str(distance_bps)) / 10_000
    near_bids = tuple(level for level in all_bids if mid - level[0] <= reach)
    near_asks = tuple(level for level in all_asks if level[0] - mid <= reach)
    assert book.within(distance_bps) == (near_bids, near_asks)
    assert book.liquidity(distance_bps) == (
        sum(size for _, size in near_bids),
        sum(size for _, size in near_asks),
    )


@given(
    bids=st.lists(st.tuples(st.integers(1, 12), sizes), max_size=4).map(tuple),
    asks=st.lists(st.tuples(st.integers(8, 20), sizes), max_size=4).map(tuple),
)
def test_a_book_is_stale_exactly_if_its_best_bid_is_not_below_its_best_ask(bids, asks):
    bid_sizes, ask_sizes = changed({5: 1}, bids), changed({15: 1}, asks)
    crossed = bool(bid_sizes and ask_sizes) and max(bid_sizes) >= min(ask_sizes)
    book = OrderBook(snapshot(bids=((5, 1),), asks=((15, 1),)))
    try:
        book.apply(update(101, 101, bids, asks))
    except BookStale:
        assert crossed
        assert book.is_stale
    else:
        assert not crossed
        assert book.depth() == best_first(bid_sizes, ask_sizes)


class BookAgainstTheTruth(RuleBasedStateMachine):
    """A venue that changes one level an id, and a lossy way to the reader.

    The truth is the list of all changes: the true book at an id is whatever these changes say up to there.
    """

    market: Market

    @initialize(first_id=st.integers(0, 1000))
    def open(self, first_id):
        self.instrument = SPOT if self.market is Market.SPOT else USDM
        self.changes = []  # (id, is a bid, price, size), one of each id of this symbol
        self.ticks = []  # what the venue sent
        self.newest = self.sent = first_id
        self.at = 0  # how many ticks the reader has been offered in order
        self.book = OrderBook(snapshot(first_id, (), (), self.instrument))

    def truth(self, last_update_id):
        bids, asks = {}, {}
        for number, is_bid, price, size in self.changes:
            if number <= last_update_id:
                side = bids if is_bid else asks
                side[price] = size
                if not size:
                    del side[price]
        return best_first(bids, asks)

    def offer(self, tick):
        before, was_stale = self.book.last_update_id, self.book.is_stale
        try:
            applied = self.book.apply(tick)
        except BookStale:
            # It may only give up if it had, or if something is missing indeed.
            base = tick.first_update_id - 1 if tick.previous_update_id is None else tick.previous_update_id
            assert was_stale or base > before
        else:
            assert not was_stale
            assert applied == (tick.last_update_id > before)

    @rule(
        changes=st.lists(
            st.tuples(st.booleans(), st.integers(1, 6), st.integers(0, 3), st.integers(1, 3)),
            min_size=1,
            max_size=4,
        )
    )
    def the_venue_sends_an_update(self, changes):
        bids, asks, first = {}, {}, None
        for is_bid, place, size, step in changes:
            self.newest += step if self.market is Market.USDM else 1
            first = first or self.newest
            price = 10 - place if is_bid else 10 + place
            (bids if is_bid else asks)[price] = size
            self.changes.append((self.newest, is_bid, price, size))
        previous = self.sent if self.market is Market.USDM else None
        self.ticks.append(
            update(
                first, self.newest, tuple(bids.items()), tuple(asks.items()), previous=previous,
                instrument=self.instrument,
            )
        )  # fmt: skip
        self.sent = self.newest

    @precondition(lambda self: self.at < len(self.ticks))
    @rule()
    def the_next_one_arrives(self):
        self.offer(self.ticks[self.at])
        self.at += 1

    @precondition(lambda self: self.at < len(self.ticks))
    @rule()
    def the_next_one_is_lost(self):
        self.at += 1

    @precondition(lambda self: self.at + 1 < len(self.ticks))
    @rule()
    def the_next_two_arrive_the_wrong_way_round(self):
        self.offer(self.ticks[self.at + 1])
        self.offer(self.ticks[self.at])
        self.at += 2

    @precondition(lambda self: self.ticks)
    @rule(pick=st.data())
    def any_one_arrives(self, pick):
        self.offer(pick.draw(st.sampled_from(self.ticks)))

    @rule(pick=st.data())
    def the_reader_takes_a_snapshot(self, pick):
        known = [number for number, *_ in self.changes[-8:]]
        last_update_id = pick.draw(st.sampled_from([*known, self.newest]))
        bids, asks = self.truth(last_update_id)
        self.book = OrderBook(snapshot(last_update_id, bids, asks, self.instrument))
        # A reader then drops what the snapshot covers and takes the rest in order.
        self.at = sum(tick.last_update_id <= last_update_id for tick in self.ticks)

    @invariant()
    def the_book_is_the_truth_or_says_that_it_is_stale(self):
        if self.book.is_stale:
            with pytest.raises(BookStale):
                self.book.depth()
        else:
            assert self.book.depth() == self.truth(self.book.last_update_id)


class SpotBookAgainstTheTruth(BookAgainstTheTruth):
    market = Market.SPOT


class UsdmBookAgainstTheTruth(BookAgainstTheTruth):
    market = Market.USDM


TestSpotBookAgainstTheTruth = SpotBookAgainstTheTruth.TestCase
TestUsdmBookAgainstTheTruth = UsdmBookAgainstTheTruth.TestCase
TestSpotBookAgainstTheTruth.settings = TestUsdmBookAgainstTheTruth.settings = settings(
    max_examples=150, stateful_step_count=30
)
