"""Repair what a recording has missed: ask the exchange for exactly the missing trades."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from binance_proxy.application.backfill import fill
from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.missing import (
    AggregatedRecording,
    is_stand_in,
    matches_of,
    missing_ids,
    outside,
)
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
from binance_proxy.domain.tick import TradeTick

log = logging.getLogger(__name__)

MOST_DOUBLINGS = 10


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
    attempts: int = 7
    """After so many full answers in a row without anything new, what is missing is lost. The pauses between
    them double, so that an exchange whose history trails its streams has two minutes."""
    longest_pause_s: float = 60.0
    """The longest pause between two attempts."""
    compare_s: float = 10.0
    """Between two looks at how far the exchange has got, at one pair after the other, where no trade came
    since the last look."""


@dataclass
class _Job:
    """A gap that is being repaired."""

    gap: Gap
    track: Track
    due: float
    """When to try next, in s of the loop's clock."""
    answers: int = 0
    """Full answers in a row without anything new."""
    failures: int = 0
    """Attempts in a row without an answer."""
    is_refused: bool = False


class Repair:
    """Takes gaps in trades, and has each repaired or, if nobody has it, called lost.

    A gap that cannot be repaired now is tried again later, and holds up no other. The jobs are not bounded by
    themselves: a stream keeps at most `IdSequence.MAX_HOLES` holes.
    """

    def __init__(
        self,
        *,
        history: ExchangeHistory,
        store: MarketStore,
        tracks: Mapping[Instrument, Track],
        settings: RepairSettings,
        timeframes: Sequence[Timeframe],
        stored: Callable[[], Awaitable[object]],
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
        self._loop = asyncio.get_running_loop()
        self._jobs: list[_Job] = []
        self._wanted = asyncio.Event()

    def want(self, gap: Gap, track: Track) -> None:
        """Have a gap of a track repaired soon; does nothing if it is none that could be.

        The track may be that of an instrument which is recorded no more: what came of it before is wanted.
        """
        if self._settings.enabled and gap.stream is Stream.TRADES and gap.state is GapState.OPEN:
            due = self._loop.time() + self._settings.patience_s
            self._jobs.append(_Job(gap, track, due))
            self._wanted.set()

    async def run(self) -> None:
        """Repair and compare without end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repair_all())
            if self._settings.enabled:
                tasks.create_task(self._compare_all())

    async def _repair_all(self) -> None:
        while True:
            for job in await self._due():
                if await self._is_done(job):
                    await self._correct_candles(job)
                else:
                    self._put_off(job)

    async def _due(self) -> Sequence[_Job]:
        """Return all jobs that are due, once there is one and all that was recorded so far is stored."""
        while True:
            self._wanted.clear()
            now = self._loop.time()
            due = [job for job in self._jobs if job.due <= now]
            if due:
                self._jobs = [job for job in self._jobs if job.due > now]
                await self._stored()
                return due
            try:
                async with asyncio.timeout_at(min((job.due for job in self._jobs), default=None)):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    def _put_off(self, job: _Job) -> None:
        longest_s = self._settings.longest_pause_s
        pause_s = longest_s if job.is_refused else self._pause_s(job.answers + job.failures)
        job.due = self._loop.time() + pause_s
        self._jobs.append(job)

    def _pause_s(self, attempts: int) -> float:
        """Return how long to wait after so many attempts in vain."""
        pause_s = self._settings.patience_s * 2.0 ** min(attempts, MOST_DOUBLINGS)
        return min(pause_s, self._settings.longest_pause_s)

    async def _is_done(self, job: _Job) -> bool:
        """Try once; return whether nothing is left to be tried."""
        gap, track = job.gap, job.track
        try:
            await self._notice_stored(gap, track)
            before = list(track.missing_of(gap))
            if self._can_be_fetched(gap, track):
                await self._fetch(gap, track)
        except (HistoryUnavailable, StoreUnavailable) as error:
            job.failures += 1
            log.warning("%s: a gap waits to be repaired: %s", gap.instrument.name, error)
            return False
        except AggregatedRecording as error:
            log.error("%s: a gap stays open: %s", gap.instrument.name, error)  # noqa: TRY400  a plain sentence
            return True
        except HistoryRejected as error:
            if not job.is_refused:
                log.error("%s: a gap stays open: %s", gap.instrument.name, error)  # noqa: TRY400  likewise
                await self._correct_candles(job)  # a part of it may have come
            job.is_refused = True
            return False
        job.failures, job.is_refused = 0, False
        job.answers = job.answers + 1 if track.missing_of(gap) == before else 0
        if self._can_be_fetched(gap, track) and job.answers < self._settings.attempts:
            return False
        if track.missing_of(gap):
            track.give_up(gap)
        return True

    async def _notice_stored(self, gap: Gap, track: Track) -> None:
        """Let the track know what another process has stored of the gap meanwhile."""
        for first_id, last_id in track.missing_of(gap):
            missing = await missing_ids(
                self._store, gap.instrument, gap.start, gap.end + 1, first_id, last_id
            )
            for stored in outside(missing.ranges, first_id, last_id):
                track.stored_by_others(*stored)

    def _can_be_fetched(self, gap: Gap, track: Track) -> bool:
        """Say whether anything is missing that the limit reaches."""
        return any(last_id >= self._lowest(gap) for _, last_id in track.missing_of(gap))

    def _lowest(self, gap: Gap) -> int:
        return gap.last_id - self._settings.limit + 1

    async def _fetch(self, gap: Gap, track: Track) -> None:
        """Fetch, store and publish what is missing of a gap, as far as the limit reaches."""
        lowest = self._lowest(gap)
        for first_id, last_id in track.missing_of(gap):
            if last_id < lowest:
                continue
            pages = fill(self._history, self._store, gap.instrument, max(first_id, lowest), last_id)
            async with aclosing(pages) as found:
                async for trades in found:
                    if not await self._take(gap, track, trades):
                        return

    async def _take(self, gap: Gap, track: Track, trades: Sequence[TradeTick]) -> bool:
        """Store and publish trades; return false if somebody else was quicker, and has to be looked at."""
        # What has come late by itself meanwhile must not be in an aggregated trade as well.
        missing = track.missing_of(gap)
        wanted = [trade for trade in trades if _within(missing, *matches_of(trade))]
        # Stored first: a gap must not be called repaired whose trades could still be lost.
        new = await self._store.append(wanted)
        if new < len(wanted) and any(is_stand_in(trade) for trade in wanted):
            return False
        for trade in wanted:
            track.late_trade(trade)
        return True

    async def _correct_candles(self, job: _Job) -> None:
        """Publish the closed candles that the gap lies in, as the store has them now."""
        failures, done = 0, False
        while not done:
            try:
                done = await self._publish_candles(job.gap, job.track)
            except StoreUnavailable as error:
                failures += 1
                log.warning("%s: candles wait to be corrected: %s", job.gap.instrument.name, error)
                await asyncio.sleep(self._pause_s(failures))

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

    async def _compare_all(self) -> None:
        """Ask how far the exchange has got: at the start, and where a stream may have fallen silent."""
        seen: dict[Instrument, int] = {}
        while True:
            await asyncio.sleep(self._settings.compare_s)
            for instrument, track in list(self._tracks.items()):
                if seen.get(instrument, track.traded_until) == track.traded_until:
                    try:
                        await self._compare(instrument, track)
                    except (HistoryUnavailable, HistoryRejected) as error:
                        log.debug("%s: cannot compare with the exchange: %s", instrument.name, error)
                    await asyncio.sleep(self._settings.compare_s)
                seen[instrument] = track.traded_until

    async def _compare(self, instrument: Instrument, track: Track) -> None:
        """Find out whether the exchange has trades behind the newest that came."""
        if track.last_trade_id is None or not track.takes_trades:
            return  # nothing was ever recorded, or is wanted now, so nothing is missing
        ids = await self._history.ids(instrument, track.traded_until, END_OF_TIME)
        if ids is None or ids[1] <= track.last_trade_id:
            return
        await asyncio.sleep(self._settings.patience_s)  # they may be on their way
        if ids[1] > track.last_trade_id:
            async with aclosing(self._history.trades(instrument, ids[1], ids[1])) as pages:
                async for trades in pages:
                    for trade in trades if track.takes_trades else ():
                        track.venue_has(trade)


def _within(ranges: Sequence[tuple[int, int]], first_id: int, last_id: int) -> bool:
    """Return whether all ids from first to last lie in one of the ranges."""
    return any(first <= first_id and last_id <= last for first, last in ranges)
