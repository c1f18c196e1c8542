"""The ledger says of every id what is known of it, once, as a model does that looks at id by id."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.ledger import (
    Absent,
    CoverageState,
    Recorded,
    Skipped,
    absent,
    coverage,
    ids_of,
    is_numbered,
)
from binance_proxy.domain.tick import QuoteTick, Side, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
KRAKEN = Instrument(venue="kraken", market=Market.SPOT, symbol="ETH/USDT")


def gap(first_id, last_id, state=GapState.OPEN, **other):
    known = {
        "instrument": ETH, "stream": Stream.TRADES, "first_id": first_id, "last_id": last_id,
        "start": 10 * (first_id - 1), "end": 10 * (last_id + 1), "ts_event": 10 * (last_id + 1),
        "ts_recv": 7, "state": state,
    }  # fmt: skip
    return Gap(**(known | other))


def recorded(first_id, last_id):
    return Recorded(first_id, 10 * first_id, last_id, 10 * last_id)


def trade(trade_id, **other):
    known = {
        "instrument": ETH, "ts_event": 10 * trade_id, "ts_recv": 1, "trade_id": trade_id, "price": 1,
        "size": 1, "aggressor": Side.BUY,
    }  # fmt: skip
    return TradeTick(**(known | other))


def said(ranges):
    return [(one.first_id, one.last_id, one.state.value) for one in ranges]


class TestCoverage:
    def test_what_was_recorded_without_a_gap_is_one_complete_range(self):
        (one,) = coverage(Stream.TRADES, recorded(5, 90), [])
        assert (one.first_id, one.last_id, one.state, one.ids) == (5, 90, CoverageState.COMPLETE, 86)
        assert (one.start, one.end) == (50, 900)

    def test_without_ticks_and_gaps_it_is_empty(self):
        assert coverage(Stream.TRADES, None, []) == []

    def test_gaps_divide_it_and_each_part_says_its_times(self):
        gaps = [gap(20, 29, GapState.LOST), gap(40, 40, GapState.REPAIRED)]
        found = coverage(Stream.TRADES, recorded(5, 90), gaps)
        assert said(found) == [
            (5, 19, "complete"),
            (20, 29, "lost"),
            (30, 39, "complete"),
            (40, 40, "repaired"),
            (41, 90, "complete"),
        ]
        times = [(one.start, one.end) for one in found]
        assert times == [(50, 190), (190, 300), (300, 390), (390, 410), (410, 900)]

    def test_of_gaps_that_overlap_open_wins_over_lost_and_lost_over_repaired(self):
        gaps = [gap(10, 30, GapState.REPAIRED), gap(12, 20, GapState.LOST), gap(14, 16), gap(15, 15)]
        assert said(coverage(Stream.TRADES, recorded(1, 40), gaps)) == [
            (1, 9, "complete"),
            (10, 11, "repaired"),
            (12, 13, "lost"),
            (14, 16, "open"),
            (17, 20, "lost"),
            (21, 30, "repaired"),
            (31, 40, "complete"),
        ]

    def test_ranges_of_one_state_that_touch_are_one(self):
        gaps = [gap(10, 12, GapState.LOST), gap(13, 20, GapState.LOST)]
        assert said(coverage(Stream.TRADES, recorded(1, 20), gaps)) == [(1, 9, "complete"), (10, 20, "lost")]

    def test_a_gap_behind_the_newest_tick_is_in_it(self):
        assert said(coverage(Stream.TRADES, recorded(1, 5), [gap(6, 9)])) == [
            (1, 5, "complete"),
            (6, 9, "open"),
        ]

    def test_a_gap_of_a_stream_of_which_nothing_is_stored_is_in_it(self):
        assert said(coverage(Stream.TRADES, None, [gap(6, 9), gap(20, 21)])) == [
            (6, 9, "open"),
            (20, 21, "open"),
        ]

    def test_gaps_of_another_stream_are_not(self):
        other = gap(3, 4, stream=Stream.ORDERBOOK)
        assert said(coverage(Stream.TRADES, recorded(1, 5), [other])) == [(1, 5, "complete")]

    def test_where_ids_do_not_rise_by_one_nothing_is_called_complete(self):
        found = coverage(Stream.TRADES, recorded(1, 50), [gap(10, 12, GapState.LOST)], numbered=False)
        assert said(found) == [(1, 9, "unknown"), (10, 12, "lost"), (13, 50, "unknown")]

    def test_where_the_venue_numbered_anew_nothing_is_called_complete(self):
        assert said(coverage(Stream.TRADES, Recorded(900, 1, 40, 2), [])) == [(40, 900, "unknown")]

    @given(
        st.none() | st.tuples(st.integers(0, 40), st.integers(0, 30)),
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12), st.sampled_from(GapState)), max_size=8),
        st.booleans(),
    )
    def test_of_each_id_it_says_what_a_look_at_all_gaps_says(self, ends, rows, numbered):
        here = recorded(ends[0], ends[0] + ends[1]) if ends else None
        gaps = [gap(first, first + more, state) for first, more, state in rows]
        found = coverage(Stream.TRADES, here, gaps, numbered=numbered)
        told = {}
        for one in found:
            for number in range(one.first_id, one.last_id + 1):
                assert number not in told  # no overlap
                told[number] = one.state.value
            assert one.start <= one.end
        assert [one.first_id for one in found] == sorted(one.first_id for one in found)
        assert all(
            one.state is not other.state or one.last_id + 1 < other.first_id for one, other in pairwise(found)
        )
        ids = {number for one in gaps for number in range(one.first_id, one.last_id + 1)}
        if here:
            lowest, highest = min({here.first_id} | ids), max({here.last_id} | ids)
            ids = set(range(lowest, highest + 1))
        expected = {}
        for number in ids:
            states = {one.state.value for one in gaps if one.first_id <= number <= one.last_id}
            others = ["complete" if numbered else "unknown"]
            expected[number] = [s for s in ("open", "lost", "repaired") if s in states][:1] or others
        assert {number: [state] for number, state in told.items()} == expected


class TestIds:
    def test_a_trade_accounts_for_itself_and_a_stand_in_for_all_its_matches(self):
        assert ids_of(trade(5)) == (5, 5)
        assert ids_of(trade(5, first_match_id=50, last_match_id=55)) == (5, 5)
        assert ids_of(trade(50, first_match_id=50, last_match_id=55)) == (50, 55)

    def test_an_update_accounts_for_what_it_says_that_came_before(self):
        quote = QuoteTick(
            instrument=ETH, ts_event=1, ts_recv=1, first_update_id=20, last_update_id=25, bids=(), asks=()
        )
        assert ids_of(quote) == (20, 25)

    def test_trades_are_numbered_by_one_on_some_venues_and_books_everywhere(self):
        assert is_numbered(ETH, Stream.TRADES)
        assert not is_numbered(KRAKEN, Stream.TRADES)
        assert is_numbered(KRAKEN, Stream.ORDERBOOK)


class TestSkipped:
    def test_ids_that_are_skipped_are_holes_with_the_times_around_them(self):
        skipped = Skipped()
        for number in (3, 4, 9, 10):
            skipped.take(trade(number))
        assert skipped.holes == [Absent(5, 8, CoverageState.OPEN, 40, 90)]

    def test_what_comes_later_in_time_is_no_hole(self):
        skipped = Skipped()
        for number, ts in ((10, 100), (14, 110), (12, 120), (9, 130), (15, 140)):
            skipped.take(structs.replace(trade(number), ts_event=ts))
        assert [(one.first_id, one.last_id, one.start, one.end) for one in skipped.holes] == [
            (11, 11, 100, 110),
            (13, 13, 100, 110),
        ]

    def test_ids_that_begin_anew_show_their_own_holes(self):
        skipped = Skipped()
        for number, ts in ((100, 0), (102, 1), (3, 2_000_000_000), (5, 2_000_000_001)):
            skipped.take(structs.replace(trade(number), ts_event=ts))
        assert [(one.first_id, one.last_id) for one in skipped.holes] == [(101, 101), (4, 4)]

    def test_another_run_of_a_simulated_venue_shows_none(self):
        skipped, made_up = Skipped(), structs.replace(ETH, venue="simulated")
        for number in (5, 6, 5_000_000, 5_000_001):
            skipped.take(structs.replace(trade(number), instrument=made_up))
        assert skipped.holes == []

    def test_one_goes_on_where_another_has_reached(self):
        first, second = Skipped(), Skipped()
        assert first.reached is None
        for number in (3, 6, 5):
            first.take(trade(number))
        assert first.reached == (6, 60)
        second.begin_at(first.reached)
        for number in (4, 9):
            second.take(trade(number))
        assert second.holes == [Absent(7, 8, CoverageState.OPEN, 60, 90)]

    def test_ids_that_fall_back_show_none(self):
        skipped = Skipped()
        for number in (9, 3, 4):
            skipped.take(trade(number))
        assert skipped.holes == []


class TestAbsent:
    def test_a_hole_that_was_seen_is_lost_if_a_gap_says_so_and_else_open(self):
        holes = [Absent(5, 8, CoverageState.OPEN, 40, 90), Absent(12, 12, CoverageState.OPEN, 110, 130)]
        found = absent(holes, [gap(5, 8, GapState.LOST)])
        assert [(one.first_id, one.state.value) for one in found] == [(5, "lost"), (12, "open")]

    def test_a_gap_at_the_end_of_the_range_counts_and_a_repaired_one_does_not(self):
        found = absent([], [gap(20, 22, GapState.LOST), gap(1, 3, GapState.REPAIRED)])
        assert [(one.first_id, one.last_id, one.ids) for one in found] == [(20, 22, 3)]

    def test_of_gaps_that_overlap_every_id_is_told_once(self):
        found = absent([], [gap(10, 20, GapState.LOST), gap(15, 40), gap(39, 45, GapState.LOST)])
        assert said(found) == [(10, 14, "lost"), (15, 40, "open"), (41, 45, "lost")]
        found = absent([], [gap(10, 20), gap(12, 14), gap(15, 40), gap(50, 60)])
        assert said(found) == [(10, 40, "open"), (50, 60, "open")]
        assert (found[0].start, found[0].end) == (90, 410)

    def test_a_gap_that_was_seen_is_told_once(self):
        assert len(absent([Absent(5, 8, CoverageState.OPEN, 40, 90)], [gap(5, 8)])) == 1
