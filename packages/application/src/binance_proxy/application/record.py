"""Record a feed: check every tick, keep the books and candles, publish at once, store for good.

One reader takes the events of the feed in order. What happens to an event happens at once and without
waiting: sequence check, book, candles, publishing. Storing is left to writers behind a bounded buffer, so
that a slow store does not slow publishing.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing, suppress

from binance_proxy.application.continuity import OpenGap
from binance_proxy.application.dropped import DroppedRange
from binance_proxy.application.keeping import Keeping, RecordSettings
from binance_proxy.application.missing import MissingIds
from binance_proxy.application.ports import (
    Clock,
    ExchangeHistory,
    MarketFeed,
    MarketStore,
    PairRegistry,
    Publisher,
    Spool,
)
from binance_proxy.application.rebuild import END_OF_TIME, newest
from binance_proxy.application.repair import Repair, RepairSettings
from binance_proxy.application.report import Report
from binance_proxy.application.track import Plan, Track
from binance_proxy.domain.candle import SECOND_NS, Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import BadFrame, BookSnapshot, Disconnect, MarketEvent, QuoteTick, TradeTick

log = logging.getLogger(__name__)

TURN = 128
"""Events after which other tasks get a turn, however fast the feed is."""
HOUSEKEEPING_NS = SECOND_NS // 5
LONGEST_PAUSE_S = 10.0
LOOK_BACK_NS = 600 * SECOND_NS
"""How much of the stored trades, at their end, is looked through for holes that a killed run did not tell."""


class Recording:
    """One feed on its way to one store and one publisher."""

    def __init__(  # noqa: PLR0913  each port by its name
        self,
        *,
        feed: MarketFeed,
        store: MarketStore,
        registry: PairRegistry,
        publisher: Publisher,
        clock: Clock,
        settings: RecordSettings,
        publish_snapshot_s: float,
        history: ExchangeHistory | None = None,
        repair: RepairSettings | None = None,
        spool: Spool | None = None,
    ) -> None:
        """Take the ports; nothing is read before `run`.

        With a ``history`` the recording goes on where the last one ended: what was missed since, and every
        hole in the trades, is fetched as ``repair`` says. Where the store has a ``spool``, events of which it
        refuses some go there; without one such events end the recording.
        """
        self.report = Report()
        self.instruments: Sequence[Instrument] = ()
        self._feed = feed
        self._store = store
        self._registry = registry
        self._publisher = publisher
        self._clock = clock
        self._settings = settings
        self._publish_snapshot_s = publish_snapshot_s
        self.keeping = Keeping(
            store=store,
            spool=spool,
            settings=settings,
            report=self.report,
            now=clock.now,
            on_change=self._tell_status,
            on_dropped=self._tell_dropped,
        )
        self._buffer = self.keeping.buffer
        self._held = self._was_held = False
        self._tracks: dict[Instrument, Track] = {}
        self._timeframes = tuple(Timeframe(name) for name in settings.timeframes)
        self._repair: Repair | None = None
        if history is not None:
            self._repair = Repair(
                history=history,
                store=store,
                tracks=self._tracks,
                settings=repair or RepairSettings(),
                timeframes=self._timeframes,
                stored=self.keeping.all_stored,
            )

    async def prepare(self) -> Sequence[Instrument]:
        """Find out what will be recorded, and fix the units of what is new.

        Of a tracked pair only its tracked streams are recorded; of a pair that a capture holds and nobody
        tracks, everything.

        Raises:
            FeedRejected: The source cannot be read.
            StoreUnavailable: The store is away.
        """
        pairs = await self._registry.pairs()
        described = await self._feed.instruments(pairs)
        self.instruments = [await self._registry.register(instrument) for instrument in described]
        tracked = {(pair.symbol, pair.market): frozenset(pair.streams) for pair in pairs}
        for instrument in self.instruments:
            plan = Plan(
                streams=tracked.get((instrument.symbol, instrument.market), frozenset(Stream)),
                timeframes=self._timeframes,
                candle_s=self._settings.candle_interval_s,
                publish_snapshot_s=self._publish_snapshot_s,
                store_snapshot_s=self._settings.snapshot_interval_s,
                aggregated=await self._stored_aggregated(instrument),
            )
            self._tracks[instrument] = Track(
                instrument,
                self._feed,
                self._publisher,
                self._buffer,
                self.report,
                plan=plan,
                on_step=self._tell_status,
                on_gap=self._repair.want if self._repair else lambda _: None,
            )
            if self._repair is not None:
                await self._resume(self._tracks[instrument], self._repair)
        return self.instruments

    async def _stored_aggregated(self, instrument: Instrument) -> bool | None:
        """Return whether the stored trades of an instrument are aggregated ones; `None` without any.

        Those that stand in for single ones, with the id of their first match, do not count as such.
        """
        if self._repair is not None:
            return False  # a live feed gives single trades, and goes on behind the last match that is stored
        trade = await newest(self._store, TradeTick, instrument)
        return None if trade is None else trade.first_match_id not in {None, trade.trade_id}

    async def _resume(self, track: Track, repair: Repair) -> None:
        """Let a track go on behind what is stored, and take up the gaps that an earlier run has left open."""
        store, instrument = self._store, track.instrument
        trade = await newest(store, TradeTick, instrument)
        quote = await newest(store, QuoteTick, instrument)
        async with aclosing(store.scan(Gap, instrument, 0, END_OF_TIME)) as found:
            gaps = [gap async for gap in found if gap.state is not GapState.REPAIRED]
        if quote is not None:
            start = quote.ts_event - LOOK_BACK_NS
            async with aclosing(store.scan(QuoteTick, instrument, start, END_OF_TIME)) as quotes:
                updates = [one async for one in quotes]
            track.resume_book(quote, [gap for gap in gaps if gap.stream is Stream.ORDERBOOK], updates)
        if trade is not None:
            starts = [one.period(trade.ts_event)[0] for one in self._timeframes]
            start = min(trade.ts_event - LOOK_BACK_NS, *starts)
            async with aclosing(store.scan(TradeTick, instrument, start, END_OF_TIME)) as trades:
                recent = [one async for one in trades]
            gaps = [gap for gap in gaps if gap.stream is Stream.TRADES]
            unfilled = [OpenGap(gap, await self._unstored(gap)) for gap in gaps]
            track.resume_trades(trade, unfilled, recent)
            for gap in gaps:
                repair.want(gap)

    async def _unstored(self, gap: Gap) -> Sequence[tuple[int, int]]:
        """Return what of a gap is not in the store: a run that was killed may have stored a part."""
        missing = MissingIds(gap.first_id, gap.last_id)
        if gap.state is GapState.OPEN:
            stored = self._store.scan(TradeTick, gap.instrument, gap.start, gap.end + 1)
            async with aclosing(stored) as trades:
                async for trade in trades:
                    missing.take(trade)
        return missing.ranges

    async def run(self, stop: asyncio.Event) -> Report:
        """Record until the feed ends or ``stop`` is set; then store what is still on its way.

        Raises:
            FeedRejected: The feed cannot be read any further. What came before is stored.
            StoreRejected: The store refuses. The report says how many events it did not get.
        """
        reading = asyncio.create_task(self._read())
        housekeeping = asyncio.create_task(self._keep_house())
        repairing = asyncio.create_task(self._repair.run() if self._repair else _nothing())
        writers = [asyncio.create_task(self.keeping.write()) for _ in range(self._settings.writers)]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait(
                {reading, housekeeping, repairing, stopping, *writers}, return_when=asyncio.FIRST_COMPLETED
            )
            reading.cancel()
            repairing.cancel()
            await asyncio.wait({reading, repairing})
            self._buffer.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.flush_timeout_s):
                    await self.keeping.flushed(writers)
        finally:
            tasks = [reading, housekeeping, repairing, stopping, *writers]
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            self.keeping.conclude()
        for track in self._tracks.values():
            track.publish_open_candles()
            track.publish_book()
        self._tell_status()
        self.report.late_for_candles = sum(track.late_for_candles for track in self._tracks.values())
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return self.report

    @property
    def waiting(self) -> int:
        """Events that wait in memory for the store."""
        return self.keeping.waiting

    @property
    def stale(self) -> Sequence[Instrument]:
        """Instruments whose book is not right at the moment."""
        return [track.instrument for track in self._tracks.values() if track.state == "stale"]

    def status(self) -> dict[str, object]:
        """Describe the state of the recording, as ``bridge.status`` shows it."""
        report = self.report
        return {
            "ts_recv": self._clock.now(),
            "instruments": {track.instrument.name: track.state for track in self._tracks.values()},
            "trades": report.trades,
            "quotes": report.quotes,
            "applied": report.applied,
            "snapshots": report.snapshots,
            "duplicates": report.duplicates,
            "gaps": report.gaps,
            "open_gaps": sum(track.open_gaps for track in self._tracks.values()),
            "repaired": report.repaired,
            "lost": report.lost,
            "fetched": report.fetched,
            "resyncs": report.resyncs,
            "disconnects": report.disconnects,
            "bad_frames": dict(report.bad),
            "feed_held": self._held,
            **self.keeping.status(),
        }

    def _tell_dropped(self, instrument: Instrument, stream: Stream, dropped: DroppedRange) -> None:
        self._tracks[instrument].dropped(stream, dropped)

    def _tell_status(self) -> None:
        self._publisher.publish_status(self.status())

    async def _read(self) -> None:
        events = 0
        async with aclosing(self._feed.stream(self.instruments)) as stream:
            async for event in stream:
                self._take(event)
                events += 1
                if self._buffer.is_full:
                    await self._wait_for_store()
                elif events % TURN == 0:
                    await asyncio.sleep(0)

    async def _wait_for_store(self) -> None:
        """Hold the feed until the store has made room. Nothing is dropped, and publishing waits too."""
        if not self._was_held:
            log.warning("the store is behind by %d events: the feed waits for it from now on", self.waiting)
        self._held = self._was_held = True
        self._tell_status()
        try:
            await self._buffer.room()
        finally:
            self._held = False

    def _take(self, event: MarketEvent) -> None:
        if isinstance(event, TradeTick):
            self._tracks[event.instrument].trade(event)
        elif isinstance(event, QuoteTick):
            self._tracks[event.instrument].quote(event)
        elif isinstance(event, BookSnapshot):
            self._tracks[event.instrument].snapshot(event)
        elif isinstance(event, BadFrame):
            self.report.skip(event)
        else:
            self._disconnect(event)

    def _disconnect(self, event: Disconnect) -> None:
        self.report.disconnects += 1
        log.warning("the connection was lost: %s", event.reason)
        for instrument in event.instruments:
            self._tracks[instrument].disconnect(event.ts_recv, event.reason)

    async def _keep_house(self) -> None:
        """Give newcomers the books at once, and tell everybody once a second how things are."""
        ticks = 0
        while True:
            with suppress(TimeoutError):  # a clock that is set back must not stop the house for as long
                async with asyncio.timeout(LONGEST_PAUSE_S):
                    await self._clock.sleep_until(self._clock.now() + HOUSEKEEPING_NS)
            new = self._publisher.newcomers()
            for track in self._tracks.values():
                topic = f"{track.instrument.name}.orderbook"
                if any(topic.startswith(prefix) for prefix in new):
                    track.publish_book()
            ticks += 1
            if ticks * HOUSEKEEPING_NS % SECOND_NS == 0:
                self._tell_status()


async def _nothing() -> None:
    """Have nothing to do, for as long as it is waited for."""
    await asyncio.Event().wait()
