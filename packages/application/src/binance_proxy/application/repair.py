"""Repair what a recording has missed: ask the exchange for exactly the missing trades."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from binance_proxy.application.backfill import fill
from binance_proxy.application.missing import matches_of
from binance_proxy.application.ports import (
    ExchangeHistory,
    HistoryRejected,
    HistoryUnavailable,
    MarketStore,
    StoreUnavailable,
)
from binance_proxy.application.track import Track
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepairSettings:
    """How holes in the trades are filled while a live feed is recorded."""

    enabled: bool = True
    """Without it gaps stay open, for `bridge backfill` to fill."""
    limit: int = 500_000
    """Of a longer gap only so many of its newest trades are fetched. The rest is recorded as lost; `bridge
    backfill` can still fetch it."""
    patience_s: float = 1.0
    """How long a gap waits for ticks that are merely late, and between two attempts at first."""
    attempts: int = 3
    """After so many full answers, what they did not hold is lost."""
    longest_pause_s: float = 60.0
    """The longest pause between two attempts while the exchange is away."""


class Repair:
    """Takes gaps in trades, one after the other, and has each repaired or, if nobody has it, called lost.

    The queue is not bounded by itself: a stream keeps at most `IdSequence.MAX_HOLES` holes.
    """

    def __init__(
        self,
        *,
        history: ExchangeHistory,
        store: MarketStore,
        tracks: Mapping[Instrument, Track],
        settings: RepairSettings,
        timeframes: Sequence[Timeframe],
        stored: Callable[[], Awaitable[None]],
    ) -> None:
        """Take the ports; nothing is asked before `run`.

        ``stored`` waits until everything that has been recorded so far is in the store.
        """
        self._history = history
        self._store = store
        self._tracks = tracks
        self._settings = settings
        self._timeframes = timeframes
        self._stored = stored
        self._wanted: asyncio.Queue[Gap] = asyncio.Queue()

    def want(self, gap: Gap) -> None:
        """Have a gap repaired soon; does nothing if it is none that could be."""
        if self._settings.enabled and gap.stream is Stream.TRADES and gap.state is GapState.OPEN:
            self._wanted.put_nowait(gap)

    async def run(self) -> None:
        """Repair without end."""
        while True:
            gap = await self._wanted.get()
            await asyncio.sleep(self._settings.patience_s)
            track = self._tracks[gap.instrument]
            try:
                await self._repair(gap, track)
            except HistoryRejected as error:
                log.error("%s: a gap stays open: %s", gap.instrument.name, error)  # noqa: TRY400  a plain sentence
            await self._correct_candles(gap, track)

    async def _repair(self, gap: Gap, track: Track) -> None:
        answers = failures = 0
        while self._can_be_fetched(gap, track) and answers < self._settings.attempts:
            try:
                await self._stored()  # what stands beside the gap may be needed to cut aggregated trades
                await self._fetch(gap, track)
                answers += 1
            except (HistoryUnavailable, StoreUnavailable) as error:
                failures += 1
                log.warning("%s: a gap waits to be repaired: %s", gap.instrument.name, error)
            if self._can_be_fetched(gap, track):
                await self._pause(failures)
        if track.missing_of(gap):
            log.warning("%s: the exchange does not have what is missing", gap.instrument.name)
            track.give_up(gap)

    def _can_be_fetched(self, gap: Gap, track: Track) -> bool:
        """Say whether anything is missing that the limit reaches."""
        return any(last_id >= self._lowest(gap) for _, last_id in track.missing_of(gap))

    def _lowest(self, gap: Gap) -> int:
        return gap.last_id - self._settings.limit + 1

    async def _pause(self, failures: int) -> None:
        pause_s = self._settings.patience_s * 2 ** min(failures, 10)
        await asyncio.sleep(min(pause_s, self._settings.longest_pause_s))

    async def _fetch(self, gap: Gap, track: Track) -> None:
        """Fetch, store and publish what is missing of a gap, as far as the limit reaches."""
        lowest = self._lowest(gap)
        for first_id, last_id in track.missing_of(gap):
            if last_id < lowest:
                continue
            pages = fill(self._history, self._store, gap.instrument, max(first_id, lowest), last_id)
            async with aclosing(pages) as found:
                async for trades in found:
                    # What has come late by itself meanwhile must not be in an aggregated trade as well.
                    missing = track.missing_of(gap)
                    wanted = [trade for trade in trades if _within(missing, *matches_of(trade))]
                    # Stored first: a gap must not be called repaired whose trades could still be lost.
                    await self._store.append(wanted)
                    for trade in wanted:
                        track.late_trade(trade)

    async def _correct_candles(self, gap: Gap, track: Track) -> None:
        """Publish the closed candles that the gap lies in, as the store has them now."""
        failures, done = 0, False
        while not done:
            try:
                done = await self._publish_candles(gap, track)
            except StoreUnavailable as error:
                failures += 1
                log.warning("%s: candles wait to be corrected: %s", gap.instrument.name, error)
                await self._pause(failures)

    async def _publish_candles(self, gap: Gap, track: Track) -> bool:
        """Publish closed candles; false if they may have been out of date before they were published."""
        until, late = track.traded_until, track.late_trades
        await self._stored()
        for timeframe in self._timeframes:
            start, _ = timeframe.period(gap.start)
            candles = await self._store.candles(gap.instrument, timeframe, start, gap.end + 1)
            if track.late_trades != late:
                return False
            track.publish_candles(candle for candle in candles if candle.closed and candle.end <= until)
        return True


def _within(ranges: Sequence[tuple[int, int]], first_id: int, last_id: int) -> bool:
    """Return whether all ids from first to last lie in one of the ranges."""
    return any(first <= first_id and last_id <= last for first, last in ranges)
