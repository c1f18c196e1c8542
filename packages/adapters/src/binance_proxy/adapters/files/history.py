"""The exchange's bulk files as a history: spot trades, aggregated trades and candles."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from binance_proxy.adapters.files.index import Index, index_of
from binance_proxy.adapters.files.names import Kind, bulk_file
from binance_proxy.adapters.files.rows import candle_in, matches_in, printed_time_in, trade_in
from binance_proxy.application.missing import matches_of
from binance_proxy.application.ports import Clock, HistoryRejected
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.instrument import MICROSECOND_NS, MILLISECOND_NS, Instrument, Market
from binance_proxy.domain.printed import printed_time
from binance_proxy.domain.tick import TradeTick

PAGE = 5_000
"""Trades or candles that are yielded at once."""

Value = TypeVar("Value")


class FileHistory:
    """An `ExchangeHistory` of files that were downloaded from Binance.

    Each file is looked through once before anything of it is used: its checksum, its container, the order of
    its lines. It is read line by line, so memory does not grow with it.
    """

    def __init__(self, paths: Sequence[Path], clock: Clock, *, by_checksum: bool = True) -> None:
        """Read these files of one pair; the clock says when.

        Args:
            paths: Files under the names that Binance gave them, in any order.
            clock: Says when a line was read.
            by_checksum: Whether each needs its ``.CHECKSUM`` beside it.

        Raises:
            HistoryRejected: A file is not named as Binance names them.
        """
        self._files = [bulk_file(path) for path in paths]
        self._clock = clock
        self._by_checksum = by_checksum
        self._known: list[Index] | None = None

    async def time_resolution_ns(self) -> int:
        """Return the unit that the files print times in, the coarsest if there are several.

        Raises:
            HistoryRejected: A file is damaged.
        """
        return max((index.resolution_ns for index in await self._indexes()), default=MILLISECOND_NS)

    async def ids(self, instrument: Instrument, start: int, end: int) -> tuple[int, int] | None:
        """Return the lowest and highest id of a range of time, as `ExchangeHistory.ids` says."""
        found: list[int] = []
        for index in await self._indexes_of(instrument):
            if index.file.kind is Kind.CANDLES or index.end < start or index.start >= end:
                continue
            if start <= index.start and index.end < end:
                found += (index.first_id, index.last_id)
                continue
            within = (
                matches_in(index.file, row)
                for row in index.rows_from(0)
                if start <= printed_time(instrument, printed_time_in(index.file, row)) < end
            )
            async for page in _pages(within):
                found += (page[0][0], page[-1][1])
        return (min(found), max(found)) if found else None

    async def trades(
        self, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        """Yield trades by id, as `ExchangeHistory.trades` says."""
        indexes = sorted(await self._indexes_of(instrument), key=lambda index: index.first_id)
        given = first_id - 1
        for kind, first, last in _segments(indexes, first_id, last_id):
            # An aggregated trade that reaches into single ones would be counted twice.
            reach = (0 if first == first_id else first), (2**63 if last == last_id else last)
            for index in indexes:
                if index.file.kind is not kind or index.last_id < first or index.first_id > last:
                    continue
                async for page in _pages(self._read(index, instrument, first, last)):
                    fresh = [
                        one
                        for one in page
                        if matches_of(one)[1] > given
                        and reach[0] <= one.trade_id
                        and matches_of(one)[1] <= reach[1]
                    ]
                    if fresh:
                        yield fresh
                        given = matches_of(fresh[-1])[1]

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> AsyncGenerator[Sequence[Candle]]:
        """Yield candles, as `ExchangeHistory.candles` says. All that were published have closed."""
        indexes = [
            index
            for index in await self._indexes_of(instrument)
            if index.file.kind is Kind.CANDLES and index.file.timeframe == timeframe.name
        ]
        if not indexes:
            raise HistoryRejected(f"none of the files holds {timeframe} candles of {instrument.symbol}")
        for index in sorted(indexes, key=lambda index: index.first_id):
            async for page in _pages(self._read_candles(index, instrument, start, end)):
                yield page
                start = page[-1].end

    async def _indexes_of(self, instrument: Instrument) -> Sequence[Index]:
        """Return what the files hold, once it is sure that they are of the instrument."""
        if instrument.market is not Market.SPOT or instrument.venue != "binance":
            raise HistoryRejected(f"the files are of spot pairs of Binance, not of {instrument.name}")
        for file in self._files:
            if file.code != instrument.symbol.replace("/", ""):
                raise HistoryRejected(f"{file.path.name} is of {file.code}, not of {instrument.symbol}")
        indexes = await self._indexes()
        for index in indexes:
            if index.resolution_ns > instrument.time_resolution_ns and index.file.kind is not Kind.CANDLES:
                raise HistoryRejected(
                    f"{index.file.path.name} has times in ms, and {instrument.name} is recorded in µs: its"
                    " trades could be stored twice"
                )
        return indexes

    async def _indexes(self) -> Sequence[Index]:
        if self._known is None:
            self._known = [await index_of(file, by_checksum=self._by_checksum) for file in self._files]
        return self._known

    def _read(self, index: Index, instrument: Instrument, first_id: int, last_id: int) -> Iterator[TradeTick]:
        """Yield the trades of a file that hold an id of the range."""
        ts_recv = self._clock.now()
        for row in index.rows_from(first_id):
            first, last = matches_in(index.file, row)
            if first > last_id:
                return
            if last >= first_id:
                yield trade_in(index.file, row, instrument, ts_recv)

    def _read_candles(self, index: Index, instrument: Instrument, start: int, end: int) -> Iterator[Candle]:
        ts_recv = self._clock.now()
        for row in index.rows_from(start // MICROSECOND_NS):
            candle = candle_in(index.file, row, instrument, ts_recv)
            if candle.start >= end:
                return
            if candle.start >= start and candle.trades:
                yield candle


def _segments(indexes: Sequence[Index], first_id: int, last_id: int) -> Iterator[tuple[Kind, int, int]]:
    """Yield which kind of file serves which ids, lowest first: single trades where there are any."""
    next_id = first_id
    for index in indexes:
        if index.file.kind is not Kind.TRADES or index.last_id < next_id:
            continue
        if index.first_id > last_id:
            break
        if index.first_id > next_id:
            yield Kind.AGGREGATED, next_id, index.first_id - 1
        yield Kind.TRADES, max(index.first_id, next_id), min(index.last_id, last_id)
        next_id = index.last_id + 1
    if next_id <= last_id:
        yield Kind.AGGREGATED, next_id, last_id


async def _pages(values: Iterable[Value]) -> AsyncGenerator[list[Value]]:
    """Yield values in pages, and let others have their turn between them."""
    rest = iter(values)
    while page := list(islice(rest, PAGE)):
        yield page
        await asyncio.sleep(0)
