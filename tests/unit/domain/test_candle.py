"""Candles are what anybody would get by sorting a period's trades, however the trades came in."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from binance_proxy.domain.candle import SECOND_NS, Candle, CandleFold, Timeframe
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import Side, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
MS = 1_000_000
SECOND = Timeframe("1s")
MINUTE = Timeframe("1m")

moments = st.integers(0, 280 * 365 * 86_400_000_000).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)


def ns(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def at(text: str) -> int:
    return ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def trade(trade_id, ts_event, price=100, size=1, **more):
    return TradeTick(
        instrument=ETH,
        ts_event=ts_event,
        ts_recv=ts_event + 7,
        trade_id=trade_id,
        price=price,
        size=size,
        aggressor=Side.BUY,
        **more,
    )


def candle_of(trades, timeframe, *, closed=True, complete=False):
    """The candle of one period's trades: sort them and look."""
    ordered = sorted(trades, key=lambda one: (one.ts_event, one.trade_id))
    start, end = timeframe.period(ordered[0].ts_event)
    return Candle(
        instrument=ETH,
        timeframe=timeframe,
        ts_event=ordered[-1].ts_event,
        ts_recv=ordered[-1].ts_recv,
        start=start,
        end=end,
        open=ordered[0].price,
        high=max(one.price for one in ordered),
        low=min(one.price for one in ordered),
        close=ordered[-1].price,
        volume=sum(one.size for one in ordered),
        quote_volume=sum(one.price * one.size for one in ordered),
        trades=sum(one.matches for one in ordered),
        closed=closed,
        complete=complete,
    )


class TestTimeframe:
    @pytest.mark.parametrize(
        "name", ["1s", "1m", "3m", "5m", "15m", "1h", "4h", "1d", "1w", "1mo", "12mo", "1440m", "9999w"]
    )
    def test_reads_what_people_write(self, name):
        assert str(Timeframe(name)) == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "m",
            "1",
            "0m",
            "01m",
            "-1m",
            "+1m",
            "1M",
            "1H",
            "1 m",
            " 1m",
            "1m ",
            "1m\n",
            "1min",
            "1y",
            "1.5m",
            "\u0661m",
            "10000m",
            "1mom",
        ],
    )
    def test_refuses_what_nobody_could_read(self, name):
        with pytest.raises(ConfigError, match="no timeframe"):
            Timeframe(name)

    def test_timeframes_are_equal_by_name(self):
        assert Timeframe("1m") == MINUTE
        assert hash(Timeframe("1m")) == hash(MINUTE)
        assert Timeframe("60s") != MINUTE

    @pytest.mark.parametrize(
        ("name", "time", "start", "end"),
        [
            ("1s", "2024-08-08T23:59:59.999", "2024-08-08T23:59:59", "2024-08-09T00:00:00"),
            ("1m", "2024-08-08T23:59:59.999", "2024-08-08T23:59:00", "2024-08-09T00:00:00"),
            ("5m", "2024-08-08T23:57:00", "2024-08-08T23:55:00", "2024-08-09T00:00:00"),
            ("4h", "2024-08-08T23:57:00", "2024-08-08T20:00:00", "2024-08-09T00:00:00"),
            ("1d", "2024-08-08T23:57:00", "2024-08-08T00:00:00", "2024-08-09T00:00:00"),
            ("1w", "2024-08-05T00:00:00", "2024-08-05T00:00:00", "2024-08-12T00:00:00"),  # a Monday
            ("1w", "2024-08-04T23:59:59.999", "2024-07-29T00:00:00", "2024-08-05T00:00:00"),
            ("1mo", "2024-02-29T12:00:00", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
            ("1mo", "2023-12-31T23:59:59.999", "2023-12-01T00:00:00", "2024-01-01T00:00:00"),
            ("3mo", "2024-08-08T00:00:00", "2024-07-01T00:00:00", "2024-10-01T00:00:00"),
            ("12mo", "2024-08-08T00:00:00", "2024-01-01T00:00:00", "2025-01-01T00:00:00"),
        ],
    )
    def test_periods(self, name, time, start, end):
        assert Timeframe(name).period(at(time)) == (at(start), at(end))

    def test_a_period_contains_its_start_and_not_its_end(self):
        start, end = MINUTE.period(at("2024-08-08T23:57:00"))
        assert MINUTE.period(start) == (start, end)
        assert MINUTE.period(end - 1) == (start, end)
        assert MINUTE.period(end)[0] == end

    @given(
        moments,
        st.integers(1, 60),
        st.sampled_from(["s", "m", "h", "d"]),
    )
    def test_periods_of_even_length_are_counted_from_the_epoch(self, moment, count, unit):
        length = (
            count
            * {
                "s": timedelta(seconds=1),
                "m": timedelta(minutes=1),
                "h": timedelta(hours=1),
                "d": timedelta(days=1),
            }[unit]
        )
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        start = epoch + (moment - epoch) // length * length
        assert Timeframe(f"{count}{unit}").period(ns(moment)) == (ns(start), ns(start + length))

    @given(moments)
    def test_a_week_begins_on_monday_at_midnight(self, moment):
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        monday = midnight - timedelta(days=moment.weekday())
        assert Timeframe("1w").period(ns(moment)) == (ns(monday), ns(monday + timedelta(days=7)))

    @given(
        moments,
        st.sampled_from([1, 2, 3, 4, 6, 12]),
    )
    def test_months_are_those_of_the_calendar(self, moment, count):
        month = (moment.month - 1) // count * count  # these counts divide a year, so every year begins anew
        start = datetime(moment.year, month + 1, 1, tzinfo=UTC)
        end = datetime(moment.year + (month + count) // 12, (month + count) % 12 + 1, 1, tzinfo=UTC)
        assert Timeframe(f"{count}mo").period(ns(moment)) == (ns(start), ns(end))

    @given(
        st.integers(0, 9 * 10**18),
        st.from_regex(r"[1-9][0-9]{0,3}[smhdw]|([1-9][0-9]{0,2}|1[01][0-9]{2}|1200)mo", fullmatch=True),
    )
    def test_every_time_lies_in_its_period_and_periods_touch(self, ts_event, name):
        timeframe = Timeframe(name)
        start, end = timeframe.period(ts_event)
        assert start <= ts_event < end
        assert timeframe.period(start) == timeframe.period(end - 1) == (start, end)
        assert timeframe.period(end)[0] == end
        assert timeframe.period(start - 1)[1] == start

    @given(st.integers(0, 2**62), st.sampled_from(["9999s", "9999d", "9999w", "1mo", "999mo", "1200mo"]))
    def test_every_period_until_2116_fits_64_bits(self, ts_event, name):
        start, end = Timeframe(name).period(ts_event)
        assert -(2**63) <= start < end < 2**63

    @pytest.mark.parametrize("name", ["1201mo", "9999mo"])
    def test_refuses_what_is_longer_than_a_century(self, name):
        with pytest.raises(ConfigError, match="longer than a century"):
            Timeframe(name)

    @given(
        st.integers(0, 2**62),
        st.integers(0, 30),
        st.sampled_from(["1s", "7m", "4h", "1d", "1w", "9999w", "1mo", "5mo", "1000mo"]),
    )
    def test_going_back_is_going_back_period_by_period_until_1970(self, ts_event, periods, name):
        timeframe = Timeframe(name)
        start = timeframe.period(ts_event)[0]
        for _ in range(periods):
            start = timeframe.period(start - 1)[0] if start > 0 else start
        assert timeframe.back(ts_event, periods) == start

    @pytest.mark.parametrize("name", ["1s", "1m", "1d", "1w", "9999w", "1mo", "1200mo"])
    def test_going_back_ends_in_1970_at_once_however_far(self, name):
        timeframe = Timeframe(name)
        assert timeframe.back(at("2024-08-08T23:57:00"), 10**30) == timeframe.period(0)[0]


class TestCandle:
    @pytest.mark.parametrize(
        ("prices_and_sizes", "vwap"),
        [
            ([(100, 1)], 100),
            ([(100, 1), (101, 1)], 101),  # 100.5
            ([(100, 2), (101, 1)], 100),  # 100.33
            ([(100, 1), (101, 2)], 101),  # 100.67
            ([(10**18, 3), (10**18 + 1, 3)], 10**18 + 1),
        ],
    )
    def test_vwap_is_rounded_half_up(self, prices_and_sizes, vwap):
        trades = [trade(n, SECOND_NS, price, size) for n, (price, size) in enumerate(prices_and_sizes)]
        assert candle_of(trades, MINUTE).vwap == vwap

    @given(st.lists(st.tuples(st.integers(1, 2**62), st.integers(1, 2**62)), min_size=1, max_size=6))
    def test_vwap_is_exact_at_any_size(self, prices_and_sizes):
        trades = [trade(n, SECOND_NS, price, size) for n, (price, size) in enumerate(prices_and_sizes)]
        exact = Fraction(sum(p * s for p, s in prices_and_sizes), sum(s for _, s in prices_and_sizes))
        vwap = candle_of(trades, MINUTE).vwap
        assert Fraction(-1, 2) < vwap - exact <= Fraction(1, 2)


class TestCandleFold:
    def test_before_the_first_trade_there_is_no_candle(self):
        fold = CandleFold(ETH, MINUTE)
        assert fold.current() is None
        assert fold.advance(10**18) == ()

    def test_the_current_candle_is_not_closed(self):
        fold = CandleFold(ETH, SECOND)
        trades = [trade(1, 100 * MS, 50, 2), trade(2, 200 * MS, 70, 1), trade(3, 300 * MS, 40, 3)]
        for one in trades:
            assert fold.feed(one) == ()
        candle = fold.current()
        assert candle == candle_of(trades, SECOND, closed=False)
        assert (candle.open, candle.high, candle.low, candle.close) == (50, 70, 40, 40)
        assert (candle.volume, candle.quote_volume, candle.trades) == (6, 290, 3)
        assert (candle.start, candle.end) == (0, SECOND_NS)
        assert (candle.ts_event, candle.ts_recv) == (300 * MS, 300 * MS + 7)

    def test_a_trade_of_a_later_period_closes_it(self):
        fold = CandleFold(ETH, SECOND)
        first, second = trade(1, 999 * MS, 50), trade(2, SECOND_NS, 60)
        fold.feed(first)
        assert fold.feed(second) == (candle_of([first], SECOND),)
        assert fold.current() == candle_of([second], SECOND, closed=False)

    def test_the_venues_clock_closes_it_at_the_end_of_its_period_and_once(self):
        fold = CandleFold(ETH, SECOND)
        first = trade(1, 500 * MS)
        fold.feed(first)
        assert fold.advance(SECOND_NS - 1) == ()
        assert fold.advance(SECOND_NS) == (candle_of([first], SECOND),)
        assert fold.advance(SECOND_NS) == ()
        assert fold.current() is None

    def test_a_period_without_a_trade_has_no_candle(self):
        fold = CandleFold(ETH, SECOND)
        first, later = trade(1, 0), trade(2, 5 * SECOND_NS)
        fold.feed(first)
        assert fold.feed(later) == (candle_of([first], SECOND),)
        assert fold.advance(9 * SECOND_NS) == (candle_of([later], SECOND),)

    def test_open_and_close_go_by_time_then_by_trade_id_not_by_arrival(self):
        fold = CandleFold(ETH, SECOND)
        trades = [
            trade(5, 500 * MS, 50),
            trade(4, 500 * MS, 40),
            trade(7, 400 * MS, 70),
            trade(6, 500 * MS, 60),
            trade(2, 400 * MS, 20),
        ]
        for one in trades:
            fold.feed(one)
        candle = fold.current()
        assert (candle.open, candle.close) == (20, 60)
        assert candle == candle_of(trades, SECOND, closed=False)

    def test_a_late_trade_corrects_its_candle(self):
        fold = CandleFold(ETH, SECOND)
        first, second, late = trade(1, 500 * MS, 50), trade(3, SECOND_NS, 60), trade(2, 600 * MS, 99)
        fold.feed(first)
        fold.feed(second)
        assert fold.feed(late) == (candle_of([first, late], SECOND),)
        assert fold.current() == candle_of([second], SECOND, closed=False)
        assert fold.too_late == 0

    def test_a_late_trade_makes_the_candle_of_a_period_that_had_none(self):
        fold = CandleFold(ETH, SECOND)
        first, third, late = trade(1, 0), trade(3, 2 * SECOND_NS), trade(2, SECOND_NS)
        fold.feed(first)
        fold.feed(third)
        assert fold.feed(late) == (candle_of([late], SECOND, complete=True),)
        assert fold.current() == candle_of([third], SECOND, closed=False)

    def test_the_last_three_closed_candles_can_be_corrected_older_ones_are_too_late(self):
        fold = CandleFold(ETH, SECOND)
        for second in range(5):  # 0 to 3 are closed, 4 is open
            fold.feed(trade(second, second * SECOND_NS))
        assert fold.AMENDABLE == 3
        for second in (1, 2, 3):
            (corrected,) = fold.feed(trade(10 + second, second * SECOND_NS))
            assert (corrected.start, corrected.trades) == (second * SECOND_NS, 2)
        assert fold.feed(trade(20, 1)) == ()
        assert fold.feed(trade(21, -1)) == ()
        assert fold.too_late == 2

    def test_the_clock_does_not_make_a_late_trade_open_an_earlier_candle_again(self):
        fold = CandleFold(ETH, SECOND)
        fold.feed(trade(1, 5 * SECOND_NS))
        fold.advance(9 * SECOND_NS)
        late = trade(2, 3 * SECOND_NS)
        assert fold.feed(late) == (candle_of([late], SECOND),)
        assert fold.current() is None

    def test_which_candles_are_the_last_three_goes_by_their_time_not_by_arrival(self):
        fold = CandleFold(ETH, SECOND)
        for trade_id, second in enumerate((2, 4, 1, 3)):  # 4 is open; 1, 2 and 3 are the three before it
            fold.feed(trade(trade_id, second * SECOND_NS))
        (corrected,) = fold.feed(trade(10, SECOND_NS))
        assert (corrected.start, corrected.trades) == (SECOND_NS, 2)
        fold.feed(trade(11, 5 * SECOND_NS))  # closes 4, so 1 is out of reach now and 2 is not
        assert fold.feed(trade(12, SECOND_NS)) == ()
        (corrected,) = fold.feed(trade(13, 2 * SECOND_NS))
        assert corrected.trades == 2
        assert fold.too_late == 1

    def test_a_closed_candle_can_be_corrected_while_none_is_open(self):
        fold = CandleFold(ETH, SECOND)
        first, late = trade(1, 500 * MS), trade(2, 600 * MS)
        fold.feed(first)
        fold.advance(SECOND_NS)
        assert fold.feed(late) == (candle_of([first, late], SECOND),)
        assert fold.current() is None

    def test_an_aggregated_print_counts_its_matches(self):
        fold = CandleFold(ETH, SECOND)
        fold.feed(trade(1, 0, first_match_id=100, last_match_id=104))
        fold.feed(trade(2, 1, first_match_id=105, last_match_id=105))
        assert fold.current().trades == 6

    @pytest.mark.parametrize("ts_event", [500 * MS, 5 * SECOND_NS, -SECOND_NS])
    def test_a_print_off_the_book_changes_nothing_and_closes_nothing(self, ts_event):
        fold = CandleFold(ETH, SECOND)
        first = trade(1, 100 * MS)
        fold.feed(first)
        assert fold.feed(trade(2, ts_event, 999, 999, off_book=True)) == ()
        assert fold.current() == candle_of([first], SECOND, closed=False)

    def test_a_print_off_the_book_opens_no_candle_and_is_never_too_late(self):
        fold = CandleFold(ETH, SECOND)
        assert fold.feed(trade(1, 0, off_book=True)) == ()
        assert fold.current() is None
        for second in range(6):
            fold.feed(trade(second, second * SECOND_NS))
        fold.feed(trade(9, 0, off_book=True))
        assert fold.too_late == 0

    def test_a_candle_once_told_does_not_change(self):
        fold = CandleFold(ETH, SECOND)
        fold.feed(trade(1, 0))
        before = fold.current()
        fold.feed(trade(2, 1, 500))
        assert before == candle_of([trade(1, 0)], SECOND, closed=False)


@st.composite
def histories(draw: st.DrawFn) -> list[TradeTick]:
    """Trades of ten seconds with ids in any relation to their times."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 9_999), st.integers(1, 20), st.integers(1, 9), st.integers(0, 3), st.booleans()
            ),
            max_size=40,
        )
    )
    ids = draw(st.permutations(range(len(rows))))
    return [
        trade(
            trade_id,
            ms * MS,
            price,
            size,
            **({"first_match_id": 50, "last_match_id": 50 + more} if aggregated else {}),
        )
        for trade_id, (ms, price, size, more, aggregated) in zip(ids, rows, strict=True)
    ]


def grouped(trades, timeframe):
    periods = {}
    for one in trades:
        periods.setdefault(timeframe.period(one.ts_event)[0], []).append(one)
    return {start: candle_of(group, timeframe) for start, group in periods.items()}


@given(histories(), st.sampled_from(["1s", "2s", "5s"]))
def test_trades_in_order_make_each_candle_once_and_right(trades, name):
    timeframe = Timeframe(name)
    fold = CandleFold(ETH, timeframe)
    told = []
    for one in sorted(trades, key=lambda one: (one.ts_event, one.trade_id)):
        told += fold.feed(one)
    told += fold.advance(100 * SECOND_NS)
    expected = grouped(trades, timeframe)
    assert list(map(unproven, told)) == [expected[start] for start in sorted(expected)]
    assert fold.too_late == 0


def unproven(candle):
    return replace(candle, complete=False)


@st.composite
def numbered(draw: st.DrawFn) -> list[TradeTick]:
    """Trades of five minutes whose ids rise by one with their time, some off book; a few are missing."""
    times = sorted(draw(st.lists(st.integers(0, 299_999), min_size=1, max_size=40)))
    missing = draw(st.sets(st.integers(0, len(times) - 1), max_size=3))
    off_book = draw(st.sets(st.integers(0, len(times) - 1), max_size=8))
    return [
        trade(100 + at, ms * MS, off_book=at in off_book) for at, ms in enumerate(times) if at not in missing
    ]


def is_complete(trades, candle):
    """Look at all trades, sorted: is there a hole in the period or at its ends?"""
    ids = [one.trade_id for one in trades if candle.start <= one.ts_event < candle.end]
    before = [one.trade_id for one in trades if one.ts_event < candle.start]
    behind = [one.trade_id for one in trades if one.ts_event >= candle.end]
    return bool(before and behind) and [before[-1], *ids, behind[0]] == list(range(ids[0] - 1, ids[-1] + 2))


class TestComplete:
    @given(numbered(), st.sampled_from(["1s", "7s", "1m", "2m"]))
    def test_it_is_complete_if_no_id_is_missing_in_it_nor_at_its_ends(self, trades, name):
        fold = CandleFold(ETH, Timeframe(name))
        told = [candle for one in trades for candle in fold.feed(one)]
        for candle in told:
            assert candle.complete == is_complete(trades, candle)
        current = fold.current()
        assert current is None or not current.complete

    @given(numbered(), st.sampled_from(["1s", "1m"]), st.randoms(use_true_random=False))
    def test_in_any_order_it_is_never_called_complete_that_is_not(self, trades, name, rng):
        fold = CandleFold(ETH, Timeframe(name))
        arrived = []
        for one in rng.sample(trades, len(trades)):
            arrived = sorted([*arrived, one], key=lambda one: one.trade_id)
            for candle in fold.feed(one):
                assert not candle.complete or is_complete(arrived, candle)

    @given(numbered(), st.data())
    def test_what_comes_a_little_late_proves_as_much_in_the_end(self, trades, data):
        """Each trade is overtaken by two others at most, so none is too late."""
        late = {at: data.draw(st.integers(0, 2)) for at in range(len(trades))}
        fold, told = CandleFold(ETH, Timeframe("5m")), {}
        for at in sorted(range(len(trades)), key=lambda at: (at + late[at], at)):
            told |= {candle.start: candle for candle in fold.feed(trades[at])}
        for candle in told.values():
            assert candle.complete == is_complete(trades, candle)

    def test_a_candle_closed_by_the_clock_is_told_again_once_a_trade_proves_it(self):
        fold = CandleFold(ETH, SECOND)
        first, second = trade(1, 0), trade(2, SECOND_NS)
        fold.feed(first)
        fold.feed(second)
        assert fold.advance(2 * SECOND_NS) == (candle_of([second], SECOND),)
        assert fold.feed(trade(3, 5 * SECOND_NS)) == (candle_of([second], SECOND, complete=True),)
        assert fold.feed(trade(4, 5 * SECOND_NS)) == ()

    def test_a_print_off_the_book_behind_it_proves_it_too(self):
        fold = CandleFold(ETH, SECOND)
        fold.feed(trade(1, 0))
        second = trade(2, SECOND_NS)
        fold.feed(second)
        fold.advance(2 * SECOND_NS)
        proved = candle_of([second], SECOND, complete=True)
        assert fold.feed(trade(3, 5 * SECOND_NS, off_book=True)) == (proved,)

    def test_a_late_trade_in_the_next_candle_proves_it(self):
        fold = CandleFold(ETH, SECOND)
        second = trade(2, SECOND_NS)
        for one in (trade(1, 0), second, trade(4, 2 * SECOND_NS + 5)):
            fold.feed(one)
        assert fold.feed(trade(3, 2 * SECOND_NS)) == (candle_of([second], SECOND, complete=True),)

    def test_a_late_trade_before_it_proves_it(self):
        fold = CandleFold(ETH, SECOND)
        first, second = trade(1, 0), trade(3, SECOND_NS)
        for one in (first, second, trade(4, 2 * SECOND_NS)):
            fold.feed(one)
        late = trade(2, 5)
        told = fold.feed(late)
        assert candle_of([second], SECOND, complete=True) in told
        assert candle_of([first, late], SECOND) in told

    def test_a_trade_that_went_before_is_a_neighbour_and_no_candle(self):
        fold = CandleFold(ETH, SECOND)
        fold.precede(trade(1, 0))
        second = trade(2, SECOND_NS)
        fold.feed(second)
        assert fold.feed(trade(3, 2 * SECOND_NS)) == (candle_of([second], SECOND, complete=True),)

    def test_an_id_that_comes_twice_at_two_times_proves_nothing(self):
        fold = CandleFold(ETH, SECOND)
        for one in (trade(1, 0), trade(2, SECOND_NS), trade(2, SECOND_NS + 5)):
            fold.feed(one)
        (candle,) = fold.feed(trade(3, 2 * SECOND_NS))
        assert not candle.complete

    @pytest.mark.parametrize(("name", "complete"), [("2m", False), ("90s", True)])
    def test_ids_may_be_out_of_order_only_within_a_part(self, name, complete):
        """The database sums minutes up, and 90 s out of the trades."""
        start = 360 * SECOND_NS
        fold = CandleFold(ETH, Timeframe(name))
        for one in (trade(1, start - 1), trade(3, start + SECOND_NS), trade(2, start + 61 * SECOND_NS)):
            fold.feed(one)
        (candle,) = fold.feed(trade(4, start + 200 * SECOND_NS))
        assert candle.complete is complete

    def test_of_very_many_holes_nothing_is_proven_and_memory_is_bounded(self):
        fold = CandleFold(ETH, MINUTE)
        fold.feed(trade(0, 0))
        for trade_id in range(1, 5_000, 2):
            fold.feed(trade(trade_id, 60 * SECOND_NS))
        for trade_id in range(2, 5_000, 2):
            fold.feed(trade(trade_id, 60 * SECOND_NS))
        told = fold.feed(trade(5_000, 120 * SECOND_NS))
        assert [candle.complete for candle in told] == [False]


@given(histories(), st.lists(st.none() | st.integers(0, 11_000), min_size=40, max_size=40))
def test_in_any_order_the_last_word_on_each_candle_is_that_of_all_trades_that_were_in_time(trades, clock):
    """The model keeps every trade, and knows only which candles are closed and which trades are too late."""
    fold = CandleFold(ETH, SECOND)
    kept: list[TradeTick] = []
    closed: list[int] = []  # starts, sorted
    current: int | None = None
    too_late = 0
    told: dict[int, Candle] = {}

    for one, ms in zip(trades, clock, strict=False):
        if ms is not None:
            answer = fold.advance(ms * MS)
            if current is not None and ms * MS >= current + SECOND_NS:
                assert tuple(map(unproven, answer)) == (grouped(kept, SECOND)[current],)
                closed, current = sorted([*closed, current]), None
            else:
                assert answer == ()
            told |= {candle.start: unproven(candle) for candle in answer}

        start = SECOND.period(one.ts_event)[0]
        answer = fold.feed(one)
        proved = [one for one in answer if one.complete and unproven(one) == told.get(one.start)]
        answer = [unproven(one) for one in answer if one not in proved]
        told |= {candle.start: unproven(candle) for candle in answer}
        expected = []
        if current is not None and start > current:
            expected.append(grouped(kept, SECOND)[current])
            closed, current = sorted([*closed, current]), None
        if start == current or (current is None and start > max(closed, default=-1)):
            kept.append(one)
            current = start
        elif len(closed) >= 3 and start < closed[-3]:
            too_late += 1
        else:
            kept.append(one)
            closed = sorted({*closed, start})
            expected.append(grouped(kept, SECOND)[start])
        assert answer == expected
        assert fold.too_late == too_late
        now = fold.current()
        assert (now and now.start) == current

    told |= {candle.start: unproven(candle) for candle in fold.advance(100 * SECOND_NS)}
    assert told == grouped(kept, SECOND)
    assert len(kept) + too_late == len(trades)
