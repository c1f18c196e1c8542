"""One instrument: what is missing is found, what is there is passed on once, what is right is told apart."""

from collections import Counter

import pytest

from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.application.track import Plan, Report, Track
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick

SPOT = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT", price_precision=2, size_precision=2)
USDM = Instrument(venue="binance", market=Market.USDM, symbol="ETH/USDT", price_precision=2, size_precision=2)
SECOND_NS = 1_000_000_000
T0 = 1_723_161_240 * SECOND_NS  # a full minute


class Kept(list):
    """A buffer that nobody empties."""

    put = list.append


class Asked:
    """A feed that remembers who asked for a snapshot."""

    def __init__(self):
        self.resyncs = []

    def resync(self, instrument):
        self.resyncs.append(instrument)


class Tracked:
    """A track, and everything that came out of it."""

    def __init__(self, instrument=SPOT, *, timeframes=("1m",), candle_s=1.0, publish_s=1e9, store_s=1e9,
                 streams=Stream, on_gap=lambda _: None):  # fmt: skip
        self.instrument = instrument
        self.feed, self.report, self.buffer = Asked(), Report(), Kept()
        self.publisher = MemoryPublisher()
        self.messages = self.publisher.listen("")
        self.messages.clear()
        self.steps = []
        self.track = Track(
            instrument,
            self.feed,
            self.publisher,
            self.buffer,
            self.report,
            plan=Plan(
                streams=frozenset(streams),
                timeframes=tuple(map(Timeframe, timeframes)),
                candle_s=candle_s,
                publish_snapshot_s=publish_s,
                store_snapshot_s=store_s,
            ),
            on_step=lambda: self.steps.append(self.track.in_step),
            on_gap=on_gap,
        )

    def trade(self, trade_id, at_s=0.0, **other):
        known = {
            "instrument": self.instrument, "ts_event": T0 + int(at_s * SECOND_NS), "ts_recv": T0 + trade_id,
            "trade_id": trade_id, "price": 10_000 + trade_id, "size": 1, "aggressor": Side.BUY,
        }  # fmt: skip
        self.track.trade(TradeTick(**(known | other)))

    def quote(self, first, last, at_s=0.0, **other):
        known = {
            "instrument": self.instrument, "ts_event": T0 + int(at_s * SECOND_NS),
            "ts_recv": T0 + int(at_s * SECOND_NS), "first_update_id": first, "last_update_id": last,
            "bids": ((9_000, last),), "asks": (),
        }  # fmt: skip
        self.track.quote(QuoteTick(**(known | other)))

    def snapshot(self, last, at_s=0.0, **other):
        known = {
            "instrument": self.instrument, "ts_event": T0 + int(at_s * SECOND_NS),
            "ts_recv": T0 + int(at_s * SECOND_NS), "last_update_id": last, "bids": ((8_000, 1),),
            "asks": ((20_000, 1),),
        }  # fmt: skip
        self.track.snapshot(BookSnapshot(**(known | other)))

    def published(self, kind):
        return [body for _, body in self.messages if body["type"] == kind]

    def bodies(self):
        """Return what was published about the book."""
        return [body for topic, body in self.messages if topic.endswith("orderbook")]

    def stored(self, kind):
        return [event for event in self.buffer if isinstance(event, kind)]

    def gaps(self):
        """Return what was told about gaps: stored and published must be the same."""
        told = [(gap.stream, gap.first_id, gap.last_id, gap.state) for gap in self.stored(Gap)]
        assert told == [
            (gap["stream"], gap["first_id"], gap["last_id"], gap["state"]) for gap in self.published("gap")
        ]
        return told


class TestTrades:
    def test_a_trade_is_published_and_stored_once(self):
        one = Tracked()
        for trade_id in (1, 2, 2, 3, 1, 3):
            one.trade(trade_id)
        assert [body["trade_id"] for body in one.published("trade")] == [1, 2, 3]
        assert [trade.trade_id for trade in one.stored(TradeTick)] == [1, 2, 3]
        assert (one.report.trades, one.report.duplicates) == (3, 3)

    def test_a_hole_in_the_ids_is_a_gap_with_the_times_around_it(self):
        one = Tracked()
        one.trade(1, at_s=1)
        one.trade(5, at_s=3)
        assert one.gaps() == [(Stream.TRADES, 2, 4, GapState.OPEN)]
        [gap] = one.stored(Gap)
        assert (gap.start, gap.end, gap.ts_event) == (T0 + SECOND_NS, T0 + 3 * SECOND_NS, T0 + 3 * SECOND_NS)
        assert one.report.gaps == 1

    def test_late_trades_close_their_gap_once_all_are_there(self):
        one = Tracked()
        for trade_id in (1, 5, 3, 2):
            one.trade(trade_id)
        assert one.gaps() == [(Stream.TRADES, 2, 4, GapState.OPEN)]
        one.trade(4)
        assert one.gaps() == [
            (Stream.TRADES, 2, 4, GapState.OPEN), (Stream.TRADES, 2, 4, GapState.REPAIRED),
        ]  # fmt: skip
        assert (one.report.gaps, one.report.repaired, one.report.duplicates) == (1, 1, 0)
        assert sorted(body["trade_id"] for body in one.published("trade")) == [1, 2, 3, 4, 5]
        one.trade(4)
        assert (one.report.repaired, one.report.duplicates) == (1, 1)

    @pytest.mark.parametrize("aggregated_first", [True, False])
    def test_single_and_aggregated_trades_are_not_mixed(self, aggregated_first):
        one = Tracked()
        kinds = [{"first_match_id": 7, "last_match_id": 9}, {}]
        first, second = kinds if aggregated_first else kinds[::-1]
        one.trade(1, **first)
        one.trade(100, **second)
        one.trade(2, **first)
        assert [body["trade_id"] for body in one.published("trade")] == [1, 2]
        assert one.report.bad == Counter({"second trade stream": 1})
        assert one.gaps() == []


class TestCandles:
    def test_a_candle_is_published_closed_once(self):
        one = Tracked(timeframes=("1m", "5m"))
        for number in range(40):
            one.trade(number, at_s=number * 10)
        closed = [(body["timeframe"], body["start"]) for body in one.published("candle") if body["closed"]]
        assert len(closed) == len(set(closed))
        assert Counter(timeframe for timeframe, _ in closed) == {"1m": 6, "5m": 2}

    def test_an_open_candle_is_published_at_intervals_of_the_feeds_time(self):
        one = Tracked(candle_s=2.0)
        for number in range(100):
            one.trade(number, at_s=number / 10)
        opened = [body for body in one.published("candle") if not body["closed"]]
        assert [(body["ts_event"] - T0) / SECOND_NS for body in opened] == [0, 2, 4, 6, 8]

    def test_a_late_trade_corrects_its_candle(self):
        one = Tracked()
        one.trade(1, at_s=1)
        one.trade(3, at_s=61)
        one.trade(2, at_s=59, price=99_999)
        closed = [body for body in one.published("candle") if body["closed"]]
        assert [(body["start"], body["trades"], body["high"]) for body in closed] == [
            (T0, 1, "100.01"), (T0, 2, "999.99"),
        ]  # fmt: skip

    def test_a_candle_that_no_trade_closes_is_closed_by_the_clock_of_the_book(self):
        one = Tracked()
        one.trade(1, at_s=1)
        one.quote(1, 1, at_s=61.9)
        assert not any(body["closed"] for body in one.published("candle"))
        one.quote(2, 2, at_s=63.0)
        one.quote(3, 3, at_s=64.5)
        assert [body["start"] for body in one.published("candle") if body["closed"]] == [T0]
        one.trade(2, at_s=61)
        assert [body["start"] for body in one.published("candle") if body["closed"]] == [T0]

    def test_a_duplicate_counts_once(self):
        one = Tracked()
        for _ in range(5):
            one.trade(1, at_s=1)
        one.trade(2, at_s=70)
        [candle] = [body for body in one.published("candle") if body["closed"]]
        assert (candle["trades"], candle["volume"]) == (1, "0.01")


class TestBook:
    def test_updates_are_stored_at_once_and_published_from_the_snapshot_on(self):
        one = Tracked()
        for last in (1, 2, 3):
            one.quote(last, last)
        assert one.published("quote") == []
        assert not one.track.in_step
        one.snapshot(2)
        one.quote(4, 4)
        assert one.track.in_step
        assert [body["type"] for topic, body in one.messages if topic.endswith("orderbook")] == [
            "snapshot", "quote", "quote",
        ]  # fmt: skip
        assert [body["last_update_id"] for body in one.published("quote")] == [3, 4]
        assert [quote.last_update_id for quote in one.stored(QuoteTick)] == [1, 2, 3, 4]
        assert [snapshot.last_update_id for snapshot in one.stored(BookSnapshot)] == [2]
        assert (one.report.quotes, one.report.applied, one.report.snapshots) == (4, 2, 1)

    def test_a_missing_update_is_a_gap_and_nothing_is_published_until_a_snapshot_comes(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(2, 2)
        one.quote(5, 6)
        one.quote(7, 7)
        assert one.gaps() == [(Stream.ORDERBOOK, 3, 4, GapState.OPEN)]
        assert one.feed.resyncs == [SPOT]
        assert not one.track.in_step
        assert [body["last_update_id"] for body in one.published("quote")] == [2]
        one.snapshot(6)
        assert one.track.in_step
        assert [body["last_update_id"] for body in one.published("quote")] == [2, 7]
        assert one.gaps()[-1] == (Stream.ORDERBOOK, 3, 4, GapState.LOST)
        assert (one.report.resyncs, one.report.gaps, one.report.repaired) == (1, 1, 0)

    def test_a_hole_between_the_snapshot_and_the_very_first_update_is_a_gap(self):
        for instrument, extra in ((SPOT, {}), (USDM, {"previous_update_id": 19})):
            one = Tracked(instrument)
            one.snapshot(10, at_s=1)
            one.quote(20, 21, at_s=3, **extra)
            assert one.gaps() == [(Stream.ORDERBOOK, 11, 19, GapState.OPEN)]
            [gap] = one.stored(Gap)
            assert (gap.start, gap.end) == (T0 + SECOND_NS, T0 + 3 * SECOND_NS)
            assert not one.track.in_step

    def test_the_first_update_may_be_older_than_the_snapshot(self):
        one = Tracked()
        one.snapshot(10)
        for last in (9, 10, 11):
            one.quote(last, last)
        assert one.gaps() == []
        assert [quote.last_update_id for quote in one.stored(QuoteTick)] == [9, 10, 11]
        assert [body["last_update_id"] for body in one.published("quote")] == [11]

    def test_a_late_update_repairs_the_gap_in_the_store(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(3, 3)
        one.quote(2, 2)
        assert [state for *_, state in one.gaps()] == [GapState.OPEN, GapState.REPAIRED]
        assert one.feed.resyncs == [SPOT]
        one.snapshot(3)
        assert one.track.in_step
        assert [state for *_, state in one.gaps()] == [GapState.OPEN, GapState.REPAIRED]
        assert [quote.last_update_id for quote in one.stored(QuoteTick)] == [3, 2]

    def test_a_gap_is_told_to_be_lost_once(self):
        one = Tracked()
        for last in (1, 2, 4):
            one.quote(last, last)
        one.snapshot(4)
        assert [state for *_, state in one.gaps()] == [GapState.OPEN, GapState.LOST]
        for last in (10, 20):
            one.snapshot(last)
        one.quote(5, 21)
        assert [state for *_, state in one.gaps()] == [GapState.OPEN, GapState.LOST]

    def test_a_gap_that_was_lost_can_still_be_repaired(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(3, 3)
        one.snapshot(3)
        one.quote(2, 2)
        assert [state for *_, state in one.gaps()] == [GapState.OPEN, GapState.LOST, GapState.REPAIRED]
        assert one.track.in_step
        assert one.published("quote") == []

    def test_a_gap_of_trades_is_not_lost_with_the_book(self):
        one = Tracked()
        one.trade(1)
        one.trade(3)
        one.snapshot(1)
        one.quote(2, 2)
        one.track.disconnect(T0, "cut")
        one.quote(3, 3)
        one.snapshot(3)
        assert one.track.in_step
        assert one.gaps() == [(Stream.TRADES, 2, 2, GapState.OPEN)]

    def test_a_snapshot_too_old_for_what_waits_asks_for_another_one(self):
        one = Tracked()
        one.quote(10, 11)
        one.snapshot(5)
        assert one.feed.resyncs == [SPOT]
        assert one.published("snapshot") == []
        assert one.stored(BookSnapshot) == []
        one.snapshot(9)
        assert [body["last_update_id"] for body in one.published("snapshot")] == [9]
        assert [body["last_update_id"] for body in one.published("quote")] == [11]

    def test_a_snapshot_that_is_not_needed_is_neither_published_nor_stored(self):
        one = Tracked()
        one.snapshot(5)
        one.quote(6, 6)
        for last in (4, 5, 6, 7):
            one.snapshot(last)
        one.quote(7, 8)
        assert len(one.published("snapshot")) == len(one.stored(BookSnapshot)) == one.report.snapshots == 1

    def test_an_update_that_crosses_the_book_is_kept_but_not_published(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(2, 2)
        one.quote(3, 3, bids=((20_000, 1),))
        assert not one.track.in_step
        assert [body["last_update_id"] for body in one.published("quote")] == [2]
        assert len(one.stored(QuoteTick)) == 2
        assert one.feed.resyncs == [SPOT]

    def test_a_lost_connection_gives_the_book_up_and_asks_for_a_snapshot(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(2, 2)
        assert one.track.in_step
        one.track.disconnect(T0, "cut")
        assert not one.track.in_step
        assert one.feed.resyncs == [SPOT]
        one.quote(3, 3)
        assert [body["last_update_id"] for body in one.published("quote")] == [2]
        one.snapshot(3)
        assert one.track.in_step

    def test_whoever_wants_to_know_is_told_of_each_step(self):
        one = Tracked()
        one.snapshot(1)
        assert one.steps == []
        one.quote(2, 2)
        one.quote(5, 5)
        one.snapshot(5)
        one.track.disconnect(T0, "cut")
        assert one.steps == [True, False, True, False]

    def test_a_duplicate_update_is_passed_on_once(self):
        one = Tracked()
        one.snapshot(1)
        for last in (2, 2, 3, 2):
            one.quote(last, last)
        assert [body["last_update_id"] for body in one.published("quote")] == [2, 3]
        assert len(one.stored(QuoteTick)) == 2
        assert one.report.duplicates == 2

    def test_on_futures_the_predecessor_tells_what_is_missing(self):
        one = Tracked(USDM)
        one.snapshot(10)
        one.quote(8, 15, previous_update_id=7)
        one.quote(20, 25, previous_update_id=15)
        assert one.gaps() == []
        one.quote(40, 45, previous_update_id=30)
        assert one.gaps() == [(Stream.ORDERBOOK, 26, 30, GapState.OPEN)]
        assert not one.track.in_step

    def test_the_whole_book_is_published_and_stored_at_intervals_of_the_feeds_time(self):
        one = Tracked(publish_s=10, store_s=25)
        one.snapshot(0)
        for last in range(1, 101):
            one.quote(last, last, at_s=last)
        assert [body["last_update_id"] for body in one.published("snapshot")] == list(range(0, 101, 10))
        assert [snapshot.last_update_id for snapshot in one.stored(BookSnapshot)] == [0, 25, 50, 75, 100]
        assert one.report.snapshots == 5
        assert one.published("snapshot")[-1]["bids"] == [["90", "1"], ["80", "0.01"]]

    def test_the_whole_book_is_published_on_demand_if_it_is_right(self):
        one = Tracked()
        one.track.publish_book()
        assert one.messages == []
        one.snapshot(1)
        one.track.publish_book()
        assert one.messages == []
        one.quote(2, 2)
        one.track.publish_book()
        assert [body["last_update_id"] for body in one.published("snapshot")] == [1, 2]


class TestStaleBook:
    def stale(self, one):
        return [(body["ts_event"], body["ts_recv"], body["reason"]) for body in one.published("stale")]

    def test_a_book_that_falls_out_of_step_is_told_to_be_stale_once(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(2, 2, at_s=2)
        one.quote(5, 5, at_s=3)
        one.quote(9, 9, at_s=4)
        [(ts_event, ts_recv, reason)] = self.stale(one)
        assert (ts_event, ts_recv) == (T0 + 3 * SECOND_NS, T0 + 3 * SECOND_NS)
        assert "does not follow" in reason
        assert [body["type"] for body in one.bodies()] == ["snapshot", "quote", "stale"]

    def test_so_is_one_whose_connection_is_lost_with_the_reason_and_the_venues_last_time(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(2, 2, at_s=2)
        one.track.disconnect(T0 + 7, "the cable")
        one.track.disconnect(T0 + 8, "again")
        assert self.stale(one) == [(T0 + 2 * SECOND_NS, T0 + 7, "the cable")]

    def test_it_is_told_again_once_the_book_was_right_in_between(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(2, 2)
        one.track.disconnect(T0 + 7, "one")
        one.quote(3, 3)
        one.snapshot(3)
        one.track.disconnect(T0 + 8, "two")
        assert [body["type"] for body in one.bodies()] == ["snapshot", "quote", "stale", "snapshot", "stale"]

    def test_a_newcomer_is_told_while_it_is_so(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(2, 2)
        one.track.disconnect(T0 + 7, "cut")
        one.track.publish_book()
        assert [body["type"] for body in one.bodies()] == ["snapshot", "quote", "stale", "stale"]
        one.quote(3, 3)
        one.snapshot(3)
        one.track.publish_book()
        assert [body["type"] for body in one.bodies()][4:] == ["snapshot", "snapshot"]

    def test_a_book_replaced_by_the_snapshot_in_reserve_was_never_stale(self):
        one = Tracked()
        one.snapshot(1)
        one.quote(2, 2)
        one.snapshot(4)
        one.quote(5, 5)
        assert one.published("stale") == []

    def test_nothing_is_said_of_a_book_that_is_not_tracked(self):
        one = Tracked(streams={Stream.TRADES})
        one.track.disconnect(T0, "cut")
        one.track.publish_book()
        assert one.messages == []
        assert one.feed.resyncs == []

    def test_a_venue_that_numbers_its_updates_anew_takes_the_book_away(self):
        one = Tracked()
        one.snapshot(1_000)
        one.quote(1_001, 1_001, at_s=1)
        one.quote(5, 5, at_s=10)
        assert not one.track.in_step, "to the old book every new update would look old"
        assert [body["reason"] for body in one.published("stale")] == ["the venue numbers its updates anew"]
        one.quote(6, 6, at_s=10)
        one.snapshot(6, at_s=10)
        assert one.track.in_step
        one.quote(7, 7, at_s=10)
        assert one.gaps() == []
        assert [body["last_update_id"] for body in one.bodies() if body["type"] == "quote"] == [1_001, 7]


FAR = 10**9
FOREIGN = {"bids": ((1, 1),), "asks": ((2, 1),)}


def follows(instrument, last):
    """Return what names the predecessor of an update, on markets that do."""
    return {"previous_update_id": last} if instrument is USDM else {}


@pytest.mark.parametrize("instrument", [SPOT, USDM], ids=["spot", "usdm"])
class TestUnconfirmedSnapshots:
    def test_nothing_is_stored_or_published_of_a_snapshot_until_an_update_follows_it(self, instrument):
        one = Tracked(instrument)
        one.snapshot(10)
        one.quote(9, 9, **follows(instrument, 8))
        one.track.publish_book()
        assert (one.messages, one.steps, one.report.snapshots) == ([], [], 0)
        assert one.stored(BookSnapshot) == []
        one.quote(10, 12, **follows(instrument, 9))
        assert [body["type"] for body in one.bodies()] == ["snapshot", "quote"]
        assert [snapshot.last_update_id for snapshot in one.stored(BookSnapshot)] == [10]
        assert (one.steps, one.report.snapshots, one.report.applied) == ([True], 1, 1)

    def test_a_foreign_snapshot_leaves_no_trace_while_the_book_is_in_step(self, instrument):
        without, one = Tracked(instrument), Tracked(instrument)
        for tracked in (without, one):
            tracked.snapshot(1, at_s=0)
            for last in range(2, 60):
                tracked.quote(last, last, at_s=last, **follows(instrument, last - 1))
                if tracked is one and last in (2, 30):
                    tracked.snapshot(FAR, at_s=last, **FOREIGN)
            tracked.track.publish_book()
        assert one.bodies() == without.bodies()
        assert list(one.buffer) == list(without.buffer)
        assert (one.report, one.steps, one.feed.resyncs) == (without.report, [True], [])

    def test_a_foreign_snapshot_while_the_book_waits_is_given_up_and_another_one_asked_for(self, instrument):
        one = Tracked(instrument)
        one.quote(1, 1, **follows(instrument, 0))
        one.snapshot(FAR, **FOREIGN)
        last = 1
        while not one.feed.resyncs:
            assert last < 5_000
            last += 1
            one.quote(last, last, **follows(instrument, last - 1))
        assert [body["type"] for _, body in one.messages] == ["stale"]
        assert one.stored(BookSnapshot) == []
        one.snapshot(last - 1)
        assert one.track.in_step
        assert [body["last_update_id"] for body in one.bodies()[1:]] == [last - 1, last]

    def test_a_snapshot_in_reserve_is_used_when_an_update_is_missing(self, instrument):
        one = Tracked(instrument)
        one.snapshot(1, at_s=1)
        one.quote(2, 2, at_s=2, **follows(instrument, 1))
        one.snapshot(4, at_s=5)
        one.quote(5, 5, at_s=6, **follows(instrument, 4))
        assert one.track.in_step
        assert (one.feed.resyncs, one.report.resyncs) == ([], 0)
        assert [(body["type"], body["last_update_id"]) for body in one.bodies()] == [
            ("snapshot", 1), ("quote", 2), ("snapshot", 4), ("quote", 5),
        ]  # fmt: skip
        assert one.gaps() == [
            (Stream.ORDERBOOK, 3, 4, GapState.OPEN), (Stream.ORDERBOOK, 3, 4, GapState.LOST),
        ]  # fmt: skip
        for gap in one.stored(Gap):
            assert (gap.start, gap.end) == (T0 + 2 * SECOND_NS, T0 + 6 * SECOND_NS), "of the updates around"

    def test_a_missing_update_is_told_and_asked_for_at_once_though_a_foreign_snapshot_is_there(
        self, instrument
    ):
        one = Tracked(instrument)
        one.snapshot(1)
        one.quote(2, 2, **follows(instrument, 1))
        one.snapshot(FAR, **FOREIGN)
        one.quote(5, 5, **follows(instrument, 4))
        assert one.steps == [True, False]
        assert (one.feed.resyncs, one.report.resyncs) == ([instrument], 1)
        one.quote(6, 6, **follows(instrument, 5))
        assert one.feed.resyncs == [instrument], "asked once"
        one.snapshot(5)
        assert one.track.in_step
        assert [(body["type"], body.get("last_update_id")) for body in one.bodies()] == [
            ("snapshot", 1), ("quote", 2), ("stale", None), ("snapshot", 5), ("quote", 6),
        ]  # fmt: skip
