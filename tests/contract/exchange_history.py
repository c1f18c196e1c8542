"""What every `ExchangeHistory` promises: one test for each sentence of the port."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

import pytest
from msgspec.structs import replace

from binance_proxy.application.missing import matches_of
from binance_proxy.application.ports import ExchangeHistory, HistoryRejected
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import Side, TradeTick
from contract.market_store import ETH, MS, T0, folded, trade

MINUTE = 60_000 * MS
BEGIN = T0 // MINUTE * MINUTE
FOREVER = (0, 2**62)


def past(*ids: int) -> list[TradeTick]:
    """Return these of the trades that happened: half a second apart, with three of the same moment each."""
    return [
        trade(
            id_,
            ts_event=BEGIN + id_ // 3 * 1_500 * MS,
            price=300_000_000_000 + id_ // 3 % 7 * 1_000_000,
            aggressor=Side.SELL if id_ // 6 % 2 else Side.BUY,
        )
        for id_ in ids
    ]


def joined(trades: Sequence[TradeTick]) -> TradeTick:
    """Return the aggregated trade that stands in for some single ones."""
    first, last = trades[0], trades[-1]
    size = sum(one.size for one in trades)
    return replace(first, size=size, first_match_id=first.trade_id, last_match_id=last.trade_id)


EVERYTHING = past(*range(5_000, 12_500))
WITH_A_HOLE = [one for one in EVERYTHING if not 6_100 <= one.trade_id < 8_311]


class History(Protocol):
    """Makes a history that has these trades, as single ones or as aggregated ones."""

    async def __call__(self, trades: Sequence[TradeTick], *, aggregated: bool) -> ExchangeHistory: ...


async def trades_of(
    history: ExchangeHistory, first_id: int, last_id: int, of: Instrument = ETH
) -> list[TradeTick]:
    async with aclosing(history.trades(of, first_id, last_id)) as pages:
        return [replace(one, ts_recv=0) async for page in pages for one in page]


async def candles_of(
    history: ExchangeHistory, start: int = 0, end: int = 2**62, timeframe: str = "1m"
) -> list[Candle]:
    async with aclosing(history.candles(ETH, Timeframe(timeframe), start, end)) as pages:
        return [candle async for page in pages for candle in page]


def plain(trades: Sequence[TradeTick]) -> list[TradeTick]:
    return [replace(one, ts_recv=0) for one in trades]


class ExchangeHistoryContract:
    """Subclass it with a fixture `history` that gives a `History`. Its instrument is `ETH`, in ms."""

    # ids

    async def test_ids_are_the_lowest_and_highest_of_a_range_of_time(self, history: History) -> None:
        for aggregated in (False, True):
            has = await history(EVERYTHING, aggregated=aggregated)
            assert await has.ids(ETH, *FOREVER) == (5_000, 12_499)
            at = EVERYTHING[1_000].ts_event
            assert await has.ids(ETH, at, at + 1_500 * MS) == (6_000, 6_002)
            assert await has.ids(ETH, at + 1, at + 1_500 * MS + 1) == (6_003, 6_005)
            assert await has.ids(ETH, at, 2**62) == (6_000, 12_499)

    async def test_ids_of_a_range_begin_with_start_and_end_before_end(self, history: History) -> None:
        has = await history(EVERYTHING, aggregated=False)
        for first, behind in (
            (5_001, 5_004),
            (6_000, 9_000),
            (12_000, 12_300),
            (12_300, 12_498),
            (9_000, 9_003),
        ):
            start, end = past(first, behind)
            expected = [one.trade_id for one in EVERYTHING if start.ts_event <= one.ts_event < end.ts_event]
            assert await has.ids(ETH, start.ts_event, end.ts_event) == (expected[0], expected[-1])

    async def test_there_are_no_ids_where_the_venue_has_nothing(self, history: History) -> None:
        has = await history(WITH_A_HOLE, aggregated=False)
        first, last = WITH_A_HOLE[0].ts_event, WITH_A_HOLE[-1].ts_event
        assert await has.ids(ETH, 0, first) is None
        assert await has.ids(ETH, last + 1, 2**62) is None
        assert await has.ids(ETH, last, last) is None
        (hole, behind) = past(7_000, 7_500)
        assert await has.ids(ETH, hole.ts_event, behind.ts_event) is None

    async def test_an_instrument_that_the_venue_does_not_have_is_rejected(self, history: History) -> None:
        has = await history(EVERYTHING, aggregated=False)
        other = replace(ETH, symbol="NOSUCH/USDT")
        with pytest.raises(HistoryRejected, match="NOSUCH"):
            await has.ids(other, *FOREVER)
        with pytest.raises(HistoryRejected, match="NOSUCH"):
            await trades_of(has, 5_000, 5_001, other)

    # trades

    @pytest.mark.parametrize(
        ("first", "last"),
        [
            (5_000, 12_499),
            (5_000, 5_000),
            (12_499, 12_499),
            (5_999, 6_000),
            (6_000, 7_000),
            (5_001, 8_765),
            (1, 5_001),
            (12_490, 20_000),
        ],
    )
    async def test_gives_single_trades_by_id_both_ends_included(
        self, history: History, first: int, last: int
    ) -> None:
        expected = [one for one in EVERYTHING if first <= one.trade_id <= last]
        assert await trades_of(await history(EVERYTHING, aggregated=False), first, last) == plain(expected)

    @pytest.mark.parametrize(("first", "last"), [(1, 4_999), (12_500, 20_000), (9, 8)])
    async def test_gives_nothing_where_the_venue_has_nothing(
        self, history: History, first: int, last: int
    ) -> None:
        for aggregated in (False, True):
            assert await trades_of(await history(EVERYTHING, aggregated=aggregated), first, last) == []

    async def test_gives_them_in_pages(self, history: History) -> None:
        has = await history(EVERYTHING, aggregated=False)
        async with aclosing(has.trades(ETH, 5_000, 12_499)) as pages:
            sizes = [len(page) async for page in pages]
        assert len(sizes) > 1
        assert all(sizes)

    @pytest.mark.parametrize(
        ("first", "last"), [(5_000, 12_499), (6_050, 8_400), (6_200, 6_300), (6_099, 8_311)]
    )
    async def test_leaves_out_what_the_venue_does_not_have(
        self, history: History, first: int, last: int
    ) -> None:
        expected = [one for one in WITH_A_HOLE if first <= one.trade_id <= last]
        assert await trades_of(await history(WITH_A_HOLE, aggregated=False), first, last) == plain(expected)

    @pytest.mark.parametrize(
        ("first", "last"), [(5_000, 12_499), (6_000, 6_001), (6_002, 6_002), (7_001, 9_001)]
    )
    async def test_aggregated_trades_stand_in_that_hold_a_match_of_the_range(
        self, history: History, first: int, last: int
    ) -> None:
        stand_ins = await trades_of(await history(EVERYTHING, aggregated=True), first, last)
        groups: dict[int, list[TradeTick]] = {}
        for one in EVERYTHING:
            groups.setdefault(one.trade_id // 3, []).append(one)
        expected = [joined(group) for group in groups.values()]
        expected = [one for one in expected if matches_of(one)[0] <= last and first <= matches_of(one)[1]]
        assert stand_ins == plain(expected)
        assert all(one.trade_id == one.first_match_id for one in stand_ins)

    async def test_may_be_left(self, history: History) -> None:
        for aggregated in (False, True):
            has = await history(EVERYTHING, aggregated=aggregated)
            for _ in range(3):
                async with aclosing(has.trades(ETH, 5_000, 12_499)) as pages:
                    assert (await anext(pages))[0].trade_id in {5_000, 4_998}

    # candles

    async def test_candles_are_those_of_the_trades_but_the_open_one(self, history: History) -> None:
        expected = [candle for candle in folded(EVERYTHING, Timeframe("1m")) if candle.closed]
        found = await candles_of(await history(EVERYTHING, aggregated=False))
        assert [_told(one) for one in found] == [_told(one) for one in expected]
        assert all(one.closed for one in found)

    async def test_candles_start_in_the_range(self, history: History) -> None:
        has = await history(EVERYTHING, aggregated=False)
        start = EVERYTHING[0].ts_event // MINUTE * MINUTE
        for first, behind in (
            (0, 3 * MINUTE),
            (1, MINUTE),
            (1, MINUTE + 1),
            (MINUTE, MINUTE),
            (-5, 2 * MINUTE),
        ):
            found = await candles_of(has, start + first, start + behind)
            expected = [n * MINUTE for n in range(5) if first <= n * MINUTE < behind]
            assert [one.start - start for one in found] == expected

    async def test_no_candle_without_a_trade(self, history: History) -> None:
        found = await candles_of(await history(WITH_A_HOLE, aggregated=False))
        assert [one.start for one in found] == [
            candle.start for candle in folded(WITH_A_HOLE, Timeframe("1m")) if candle.closed
        ]
        assert all(one.trades for one in found)

    async def test_a_timeframe_that_the_venue_does_not_have_is_rejected(self, history: History) -> None:
        with pytest.raises(HistoryRejected, match="7m"):
            await candles_of(await history(EVERYTHING, aggregated=False), timeframe="7m")


def _told(candle: Candle) -> tuple[object, ...]:
    return (
        candle.start, candle.end, candle.open, candle.high, candle.low, candle.close, candle.volume,
        candle.quote_volume, candle.trades,
    )  # fmt: skip
