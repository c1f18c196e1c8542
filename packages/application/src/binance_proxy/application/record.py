"""Record a feed: check every tick, keep the books and candles, publish at once, store for good.

One reader takes the events of the feed in order. What happens to an event happens at once and without
waiting: sequence check, book, candles, publishing. Storing is left to writers behind a bounded buffer, so
that a slow store does not slow publishing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TypeVar

from binance_proxy.application.dropped import DroppedRange
from binance_proxy.application.follow import Following
from binance_proxy.application.keeping import Keeping, RecordSettings
from binance_proxy.application.ports import (
    Clock,
    ExchangeHistory,
    InstrumentRegistry,
    MarketFeed,
    MarketStore,
    PairRegistry,
    Publisher,
    Spool,
    StoreError,
)
from binance_proxy.application.repair import Repair, RepairSettings
from binance_proxy.application.report import Report
from binance_proxy.application.resume import Ending, read_ending, resume, stored_aggregated
from binance_proxy.application.seam import Seam, read_seams
from binance_proxy.application.track import Plan, Track
from binance_proxy.domain.candle import SECOND_NS, Timeframe
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import BadFrame, Disconnect, MarketEvent, QuoteTick, TradeTick

log = logging.getLogger(__name__)

Result = TypeVar("Result")

TURN = 128
"""Events after which other tasks get a turn, however fast the feed is."""
HOUSEKEEPING_NS = SECOND_NS // 5
LONGEST_PAUSE_S = 10.0


class Recording:
    """One feed on its way to one store and one publisher."""

    def __init__(  # noqa: PLR0913  each port by its name
        self,
        *,
        feed: MarketFeed,
        store: MarketStore,
        pairs: PairRegistry,
        registry: InstrumentRegistry,
        publisher: Publisher,
        clock: Clock,
        settings: RecordSettings,
        publish_snapshot_s: float,
        history: ExchangeHistory | None = None,
        repair: RepairSettings | None = None,
        spool: Spool | None = None,
        past: MarketStore | None = None,
    ) -> None:
        """Take the ports; nothing is read before `run`.

        Where the store drops what is archived, ``past`` is what reads both: how earlier runs have ended is
        looked for there.

        With a ``history`` the recording goes on where the last one ended: what was missed since, and every
        hole in the trades, is fetched as ``repair`` says. Where the store has a ``spool``, events of which it
        refuses some go there; without one such events end the recording.
        """
        self.report = Report()
        self._feed = feed
        self._store = store
        self._past = past
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
        self._beside: dict[str, Callable[[], object]] = {}
        self._on_step: list[Callable[[], None]] = []
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
        self._following = Following(
            pairs=pairs,
            registry=registry,
            feed=feed,
            clock=clock,
            tracks=self._tracks,
            begin=self._begin,
            changed=self._step,
        )

    @property
    def instruments(self) -> Sequence[Instrument]:
        """What is recorded at the moment."""
        return list(self._tracks)

    async def prepare(self) -> Sequence[Instrument]:
        """Find out what will be recorded, and fix the units of what is new.

        Of a tracked pair only its tracked streams are recorded; of a pair that a capture holds and nobody
        tracks, everything.

        Raises:
            FeedUnavailable: The source is away for now.
            FeedRejected: The source cannot be read.
            StoreUnavailable: The store is away.
        """
        await self._following.begin()
        return self.instruments

    async def _begin(self, instrument: Instrument, streams: frozenset[Stream]) -> None:
        """Begin a track behind what is stored. With a history it goes on there, and takes up open gaps."""
        repair = self._repair
        ending: Ending | None = None
        seams: Mapping[Stream, Seam] = {}
        aggregated: bool | None = False  # a live feed gives single trades, and goes on behind the last match
        if repair:
            ending = await self._look_back(lambda store: read_ending(store, instrument, self._timeframes))
        else:
            aggregated = await self._look_back(lambda store: stored_aggregated(store, instrument))
            seams = await self._look_back(lambda store: read_seams(store, instrument, Stream))
        plan = Plan(
            streams=streams,
            timeframes=self._timeframes,
            candle_s=self._settings.candle_interval_s,
            publish_snapshot_s=self._publish_snapshot_s,
            store_snapshot_s=self._settings.snapshot_interval_s,
            aggregated=aggregated,
            goes_on=repair is not None,
            seams=seams,
        )

        def want(gap: Gap) -> None:
            if repair:
                repair.want(gap, track)

        track = self._tracks[instrument] = Track(
            instrument,
            self._feed,
            self._publisher,
            self._buffer,
            self.report,
            plan=plan,
            on_step=self._step,
            on_gap=want,
        )
        if repair and ending:
            for gap in resume(track, ending):
                want(gap)

    async def _look_back(self, read: Callable[[MarketStore], Awaitable[Result]]) -> Result:
        """Read how earlier runs have ended, from where that is known best."""
        if self._past is not None:
            try:
                return await read(self._past)
            except StoreError as error:
                log.warning("earlier runs are looked for in the database alone: %s", error)
        return await read(self._store)

    async def run(self, stop: asyncio.Event) -> Report:
        """Record until the feed ends or ``stop`` is set; then store what is still on its way.

        What the store has not taken in time goes to the spool, if there is one.

        Raises:
            FeedRejected: The feed cannot be read any further. What came before is stored.
            StoreRejected: The store refuses. The report says how many events it did not get.
        """
        reading = asyncio.create_task(self._read())
        housekeeping = asyncio.create_task(self._keep_house())
        repairing = asyncio.create_task(self._repair.run() if self._repair else _nothing())
        following = asyncio.create_task(self._following.run())
        writers = [asyncio.create_task(self.keeping.write()) for _ in range(self._settings.writers)]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait(
                {reading, housekeeping, repairing, following, stopping, *writers},
                return_when=asyncio.FIRST_COMPLETED,
            )
            following.cancel()
            reading.cancel()
            repairing.cancel()
            await asyncio.wait({following, reading, repairing})
            for track in (*self._tracks.values(), *self._following.left.values()):
                track.conclude()
            self._buffer.close()
            try:
                async with asyncio.timeout(self._settings.flush_timeout_s):
                    await self.keeping.flushed(writers)
            except TimeoutError:
                await self.keeping.spooled(writers)
        finally:
            tasks = [reading, housekeeping, repairing, following, stopping, *writers]
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            self.keeping.conclude()
        for track in self._tracks.values():
            track.publish_open_candles()
            track.publish_book()
        self._tell_status()
        tracks = (*self._tracks.values(), *self._following.left.values())
        self.report.late_for_candles = sum(track.late_for_candles for track in tracks)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return self.report

    @property
    def waiting(self) -> int:
        """Events that wait in memory for the store."""
        return self.keeping.waiting

    def track(self, instrument: Instrument) -> Track | None:
        """Return what is known of an instrument at the moment; `None` if it is not recorded."""
        return self._tracks.get(instrument)

    def tell_also(self, name: str, say: Callable[[], object]) -> None:
        """Have the status tell something else too, of whatever runs beside the recording."""
        self._beside[name] = say

    def watch_steps(self, on_step: Callable[[], None]) -> None:
        """Have something called whenever a book gets into step or falls out of it, or the pairs change."""
        self._on_step.append(on_step)

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
            **{name: say() for name, say in self._beside.items()},
        }

    def _tell_dropped(self, instrument: Instrument, stream: Stream, dropped: DroppedRange) -> None:
        """Tell of what was let go, also of an instrument that is recorded no more."""
        track = self._tracks.get(instrument) or self._following.left[instrument]
        track.dropped(stream, dropped)

    def _step(self) -> None:
        self._tell_status()
        for on_step in self._on_step:
            on_step()

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
        if isinstance(event, BadFrame):
            self.report.skip(event)
        elif isinstance(event, Disconnect):
            self._disconnect(event)
        elif track := self._tracks.get(event.instrument):
            if isinstance(event, TradeTick):
                track.trade(event)
            elif isinstance(event, QuoteTick):
                track.quote(event)
            else:
                track.snapshot(event)

    def _disconnect(self, event: Disconnect) -> None:
        self.report.disconnects += 1
        log.warning("the connection was lost: %s", event.reason)
        for instrument in event.instruments:
            if instrument in self._tracks:
                self._tracks[instrument].disconnect(event.ts_recv, event.reason)

    async def _keep_house(self) -> None:
        """Give newcomers the books and gaps at once, and tell everybody once a second how things are.

        Of each instrument at most once a second: many who come after each other share what is published,
        which everybody gets who listens already, and which takes the place of older messages in the ring.
        """
        ticks = 0
        books, gaps = Turns(SECOND_NS // HOUSEKEEPING_NS), Turns(SECOND_NS // HOUSEKEEPING_NS)
        while True:
            with suppress(TimeoutError):  # a clock that is set back must not stop the house for as long
                async with asyncio.timeout(LONGEST_PAUSE_S):
                    await self._clock.sleep_until(self._clock.now() + HOUSEKEEPING_NS)
            new = self._publisher.newcomers()
            for track in self._tracks.values():
                name = track.instrument.name
                if books.has_turn(ticks, f"{name}.orderbook", new):
                    track.publish_book()
                if gaps.has_turn(ticks, f"{name}.gaps", new):
                    track.publish_gaps()
            ticks += 1
            if ticks * HOUSEKEEPING_NS % SECOND_NS == 0:
                self._tell_status()


class Turns:
    """Whose turn it is to be published for newcomers: at once, and then after a pause."""

    def __init__(self, pause: int) -> None:
        """Take the least number of ticks between two turns of one topic."""
        self._pause = pause
        self._last: dict[str, int] = {}
        self._wanted: set[str] = set()

    def has_turn(self, tick: int, topic: str, new: Iterable[str]) -> bool:
        """Say whether a topic is to be published now, if these prefixes are newly subscribed to."""
        if any(topic.startswith(prefix) for prefix in new):
            self._wanted.add(topic)
        if topic not in self._wanted or tick - self._last.get(topic, -self._pause) < self._pause:
            return False
        self._wanted.discard(topic)
        self._last[topic] = tick
        return True


async def _nothing() -> None:
    """Have nothing to do, for as long as it is waited for."""
    await asyncio.Event().wait()
