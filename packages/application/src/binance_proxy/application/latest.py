"""Keep the newest of every instrument in a cache: last trade, top of the book, open candles.

What is kept is as old as its ``ts_recv`` says, and gets no older than `LatestSettings.ttl_s`. The keys are
those of `trade_key`, `book_key` and `candle_key`; the values are JSON, with the fields of the wire's bodies.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from msgspec import json, structs

from binance_proxy.application.alongside import alongside
from binance_proxy.application.ports import Cache, Publisher
from binance_proxy.application.record import Recording
from binance_proxy.application.serve.rows import BookRow, Row, candle_rows, text_levels, trade_rows
from binance_proxy.application.track import Track
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick


@dataclass(frozen=True)
class LatestSettings:
    """How the newest is kept."""

    interval_s: float = 0.25
    """How often each is put into the cache at most, and only if it has changed."""
    ttl_s: float = 2.0
    """How long it is kept there without a change."""


def trade_key(instrument: Instrument) -> str:
    """Return where the newest trade of this run is: ``latest:binance.spot.ethusdt:trade``."""
    return f"latest:{instrument.name}:trade"


def book_key(instrument: Instrument) -> str:
    """Return where the best bid and ask are; nothing is there while the book is out of step."""
    return f"latest:{instrument.name}:book"


def candle_key(instrument: Instrument, timeframe: Timeframe) -> str:
    """Return where the open candle is: ``latest:binance.spot.ethusdt:candle:1m``."""
    return f"latest:{instrument.name}:candle:{timeframe.name}"


@dataclass
class _Told:
    """What of an instrument is in the cache, as far as it was put there."""

    trade: TradeTick | None = None
    update_id: int | None = None
    """Of the book; `None` if none is there."""
    candles: dict[str, Candle] = field(default_factory=dict)


class Latest:
    """Keeps the newest of a recording in a cache."""

    def __init__(
        self,
        recording: Recording,
        publisher: Publisher,
        cache: Cache,
        settings: LatestSettings | None = None,
    ) -> None:
        """Take the recording and where its newest goes; `open_latest` keeps it there."""
        self._recording = recording
        self._publisher = publisher
        self._cache = cache
        self._settings = settings or LatestSettings()
        self._told: dict[Instrument, _Told] = {}
        self._stepped = asyncio.Event()
        recording.watch_steps(self._stepped.set)

    async def run(self) -> None:
        """Put what has changed, and drop what does not hold any more, without end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._put_all())
            tasks.create_task(self._drop_all())

    async def end(self) -> None:
        """Drop everything that was put."""
        for instrument in list(self._told):
            await self._forget(instrument)

    async def _forget(self, instrument: Instrument) -> None:
        """Drop what is there of an instrument that is recorded no more."""
        told = self._told.pop(instrument)
        for key in (
            trade_key(instrument),
            book_key(instrument),
            *(candle_key(instrument, one.timeframe) for one in told.candles.values()),
        ):
            await self._cache.drop(key)

    async def _put_all(self) -> None:
        while True:
            recorded = self._recording.instruments
            for instrument in set(self._told).difference(recorded):
                await self._forget(instrument)
            for instrument in recorded:
                await self._put(instrument)
            await asyncio.sleep(self._settings.interval_s)

    async def _drop_all(self) -> None:
        while True:
            await self._stepped.wait()
            self._stepped.clear()
            for instrument, told in list(self._told.items()):
                if told.update_id is not None and not self._holds(instrument):
                    told.update_id = None
                    await self._cache.drop(book_key(instrument))

    def _holds(self, instrument: Instrument) -> bool:
        track = self._recording.track(instrument)
        return track is not None and track.state == "in step"

    async def _put(self, instrument: Instrument) -> None:
        track = self._recording.track(instrument)
        if track is None:
            return
        told = self._told.setdefault(instrument, _Told())
        trade, ttl_s = track.newest_trade, self._settings.ttl_s
        if trade is not None and trade is not told.trade:
            told.trade = trade
            await self._cache.put(trade_key(instrument), json.encode(trade_rows([trade])[0]), ttl_s)
        for candle in track.open_candles:
            name = candle.timeframe.name
            if told.candles.get(name) != candle:
                told.candles[name] = candle
                key = candle_key(instrument, candle.timeframe)
                [row] = candle_rows([candle])
                shown = _json(row, ts_event=candle.ts_event, ts_recv=candle.ts_recv)
                await self._cache.put(key, shown, ttl_s)
        await self._put_book(track, told)

    async def _put_book(self, track: Track, told: _Told) -> None:
        """Put the top of a book; if the book falls out of step meanwhile, it does not stay."""
        instrument = track.instrument
        try:
            book = track.book
        except BookStale:
            return
        if book.last_update_id == told.update_id:
            return
        at = self._publisher.recall(f"{instrument.name}.orderbook", 0, most=0)
        top = BookRow(
            venue=instrument.venue,
            market=instrument.market,
            symbol=instrument.symbol,
            ts_event=book.ts_event,
            ts_recv=book.ts_recv,
            last_update_id=book.last_update_id,
            bids=text_levels(book.bids(1), instrument),
            asks=text_levels(book.asks(1), instrument),
        )
        shown = _json(top, epoch=at.epoch, sequence=at.sequence)
        reached = told.update_id = book.last_update_id
        await self._cache.put(book_key(instrument), shown, self._settings.ttl_s)
        if told.update_id != reached or not self._holds(instrument):
            told.update_id = None
            await self._cache.drop(book_key(instrument))


@asynccontextmanager
async def open_latest(
    recording: Recording, publisher: Publisher, cache: Cache, settings: LatestSettings | None = None
) -> AsyncIterator[Latest]:
    """Keep the newest of a recording in a cache until the block is left."""
    latest = Latest(recording, publisher, cache, settings)
    try:
        async with alongside(latest.run()):
            yield latest
    finally:
        await latest.end()


def _json(row: Row, **more: object) -> bytes:
    """Write a row as answers do, with more behind the name of its instrument."""
    fields = structs.asdict(row)
    name = {key: fields.pop(key) for key in Row.__struct_fields__}
    return json.encode(name | more | fields)
