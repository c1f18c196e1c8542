"""What Binance spot still has of the past, over REST.

Source: Binance Spot, "REST API", ``historicalTrades``, ``aggTrades``, ``klines``.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import pairwise

from binance_proxy.adapters.binance.refusals import SingleTradesRefused
from binance_proxy.adapters.binance.rest import PAGE, BinanceRest, PastAggregate, PastCandle, PastTrade
from binance_proxy.application.ports import (
    Clock,
    FeedError,
    FeedRejected,
    FeedUnavailable,
    HistoryError,
    HistoryRejected,
    HistoryUnavailable,
)
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import ScaleError, TickRejected
from binance_proxy.domain.instrument import MILLISECOND_NS, Instrument, Market
from binance_proxy.domain.printed import printed_candle, printed_time, printed_trade
from binance_proxy.domain.tick import TradeTick

log = logging.getLogger(__name__)

INTERVALS = {
    name: name
    for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")
} | {"1mo": "1M"}
"""Timeframes that Binance has, and what it calls them."""


REFUSED_S = 3_600.0
"""How long single trades that were refused are not asked for again. A refusal may pass."""


class BinanceHistory:
    """An `ExchangeHistory` of single trades, or of aggregated ones where Binance gives no others.

    Pages begin at whole thousands of ids, so that holes near each other are filled from the same answer.
    """

    def __init__(self, rest: BinanceRest, clock: Clock) -> None:
        """Ask by this REST interface; the clock says when an answer was received."""
        self._rest = rest
        self._clock = clock
        self._refused_until = float("-inf")

    async def ids(self, instrument: Instrument, start: int, end: int) -> tuple[int, int] | None:
        """Return the lowest and highest id of a range of time, as `ExchangeHistory.ids` says.

        Ids of the past are looked up in aggregated trades, which can be asked for by time; each has one time
        for all its matches. So an end of the range that is finer than a ms may be off by some of these.
        """
        with _told_as_history():
            code = await self._code(instrument)
        with self._checked(code):
            rows = await self._rest.newest_trades(code)
            _follow([row.id for row in rows], 0, "trades")
            newest = [(printed_time(instrument, row.time), row.id) for row in rows]
            if not newest or newest[-1][0] < start or start >= end:
                return None
            if newest[0][0] < start:  # the whole range is among them
                ids = [id_ for ts, id_ in newest if start <= ts < end]
                return (ids[0], ids[-1]) if ids else None
            first = await self._first_from(code, instrument, start)
            first_id = newest[0][1] if first is None else first.f
            last_id = max((id_ for ts, id_ in newest if ts < end), default=None)
            if last_id is None:
                behind = await self._first_from(code, instrument, end)
                last_id = newest[0][1] - 1 if behind is None else behind.f - 1
        return (first_id, last_id) if first_id <= last_id else None

    async def trades(
        self, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        """Yield trades by id, as `ExchangeHistory.trades` says."""
        with _told_as_history():
            code = await self._code(instrument)
        next_id = first_id
        time = asyncio.get_running_loop().time
        while time() >= self._refused_until and next_id <= last_id:
            try:
                with self._checked(code):
                    rows = await self._rest.historical_trades(code, next_id - next_id % PAGE)
                    _follow([row.id for row in rows], next_id - next_id % PAGE, "trades")
                    # What is not wanted is not looked at: it may be wrong.
                    wanted = self._single(instrument, [row for row in rows if next_id <= row.id <= last_id])
            except _AggregatedOnly as refused:
                log.warning("%s: aggregated trades have to stand in", refused)
                self._refused_until = time() + REFUSED_S
                break
            if wanted:
                yield wanted
            if len(rows) < PAGE:
                return
            next_id = rows[-1].id + 1
        if next_id <= last_id:
            async with aclosing(self._stand_ins(code, instrument, next_id, last_id)) as pages:
                async for stand_ins in pages:
                    # One that reaches back into what was already given would be counted twice.
                    yield [one for one in stand_ins if next_id == first_id or one.trade_id >= next_id]

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> AsyncGenerator[Sequence[Candle]]:
        """Yield candles, as `ExchangeHistory.candles` says.

        A candle has closed if Binance has a later one. That needs no clock, neither ours nor theirs.
        """
        interval = INTERVALS.get(timeframe.name)
        if interval is None:
            raise HistoryRejected(f"Binance has no {timeframe} candles; it has {', '.join(INTERVALS)}")
        with _told_as_history():
            code = await self._code(instrument)
        start_ms = -(-start // MILLISECOND_NS)
        while start_ms * MILLISECOND_NS < end:
            with self._checked(code):
                rows = await self._rest.klines(code, interval, start_ms)
                page = self._candles(instrument, timeframe, start_ms, rows)
            wanted = [candle for candle in page[:-1] if candle.trades and candle.start < end]
            if wanted:
                yield wanted
            if len(rows) < PAGE:
                return
            start_ms = page[-1].start // MILLISECOND_NS

    async def _code(self, instrument: Instrument) -> str:
        """Return what Binance calls the instrument, once it is sure to be the same one."""
        if instrument.market is not Market.SPOT:
            raise HistoryRejected(f"only the past of spot pairs can be asked for, not of {instrument.name}")
        listing = await self._rest.listing(instrument.symbol)
        if listing.venue != instrument.venue:
            raise HistoryRejected(
                f"{instrument.name} cannot be filled from another venue: what is listed here is of"
                f" {listing.venue}"
            )
        return listing.code

    async def _first_from(self, code: str, instrument: Instrument, ts: int) -> PastAggregate | None:
        """Return the first aggregated trade at or behind a time."""
        rows = await self._rest.aggregated_trades(code, start_ms=ts // MILLISECOND_NS)
        while rows:
            _follow_aggregates(rows, 0)
            for row in rows:
                if printed_time(instrument, row.T) >= ts:
                    return row
            rows = await self._rest.aggregated_trades(code, from_id=rows[-1].a + 1)
        return None

    async def _stand_ins(
        self, code: str, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        """Yield the aggregated trades that hold a match of the range, in pages."""
        with self._checked(code):
            at = await self._aggregate_with(code, first_id)
        while at is not None:
            from_id = at - at % PAGE
            with self._checked(code):
                rows = await self._rest.aggregated_trades(code, from_id=from_id)
                _follow_aggregates(rows, from_id)
                wanted = self._aggregated(
                    instrument, [row for row in rows if row.a >= at and row.f <= last_id]
                )
            if wanted:
                yield wanted
            at = rows[-1].a + 1 if len(rows) == PAGE and rows[-1].l < last_id else None

    async def _aggregate_with(self, code: str, match_id: int) -> int | None:
        """Return the lowest id of an aggregated trade that ends at or behind a match; `None` without one.

        Their ids are another id space, so the place is found by halving. The steps are powers of two, which
        are the same for every match at first, and so are kept.
        """
        newest = await self._rest.aggregated_trades(code, limit=1)
        _follow_aggregates(newest, 0)
        if not newest or newest[-1].l < match_id:
            return None
        low, high = 0, 1 << newest[-1].a.bit_length()
        while low < high:
            middle = (low + high) // 2
            rows = await self._rest.aggregated_trades(code, from_id=middle, limit=1)
            _follow_aggregates(rows, middle)
            if rows and rows[0].l < match_id:
                low = rows[0].a + 1
            else:
                high = middle
        return low

    @contextmanager
    def _checked(self, code: str) -> Iterator[None]:
        """Turn errors into those of a history; of a pair with a wrong answer nothing is kept."""
        try:
            with _told_as_history():
                yield
        except HistoryError as error:
            if not isinstance(error.__cause__, FeedError):
                self._rest.forget(code)
            raise

    def _single(self, instrument: Instrument, rows: Sequence[PastTrade]) -> list[TradeTick]:
        ts_recv = self._clock.now()
        return [
            printed_trade(
                instrument,
                (row.id, None),
                row.price,
                row.qty,
                row.time,
                buyer_is_maker=row.isBuyerMaker,
                ts_recv=ts_recv,
            )
            for row in rows
        ]

    def _aggregated(self, instrument: Instrument, rows: Sequence[PastAggregate]) -> list[TradeTick]:
        ts_recv = self._clock.now()
        return [
            printed_trade(
                instrument, (row.f, row.l), row.p, row.q, row.T, buyer_is_maker=row.m, ts_recv=ts_recv
            )
            for row in rows
        ]

    def _candles(
        self, instrument: Instrument, timeframe: Timeframe, start_ms: int, rows: Sequence[PastCandle]
    ) -> list[Candle]:
        ts_recv = self._clock.now()
        page = [
            printed_candle(
                instrument,
                timeframe,
                row.open_time,
                (row.open, row.high, row.low, row.close),
                (row.volume, row.quote_volume),
                row.trades,
                ts_recv=ts_recv,
            )
            for row in rows
        ]
        _follow([candle.start for candle in page], start_ms * MILLISECOND_NS, "candles")
        return page


class _AggregatedOnly(HistoryRejected):
    """Single trades are refused, and nothing else."""


def _follow(ids: Sequence[int], first: int, what: str) -> None:
    """Refuse a page that is not the one that was asked for; nothing of it is used.

    Raises:
        HistoryUnavailable: The ids do not rise, or begin before the first.
    """
    if ids and ids[0] < first:
        raise HistoryUnavailable(f"Binance was asked for {what} from {first} on and began at {ids[0]}")
    if any(later <= earlier for earlier, later in pairwise(ids)):
        raise HistoryUnavailable(f"Binance gave {what} that are out of order, from {ids[0]} on")


def _follow_aggregates(rows: Sequence[PastAggregate], first: int) -> None:
    """Refuse a page of aggregated trades that does not follow, or whose matches do not. As `_follow` does."""
    _follow([row.a for row in rows], first, "aggregated trades")
    matches = [id_ for row in rows for id_ in ((row.f,) if row.f == row.l else (row.f, row.l))]
    _follow(matches, 0, "matches of aggregated trades")


@contextmanager
def _told_as_history() -> Iterator[None]:
    """Turn errors of the connection into those of a history."""
    try:
        yield
    except SingleTradesRefused as error:
        raise _AggregatedOnly(str(error)) from error
    except (FeedUnavailable, TickRejected) as error:
        raise HistoryUnavailable(str(error)) from error
    except (FeedRejected, ScaleError) as error:
        raise HistoryRejected(str(error)) from error
