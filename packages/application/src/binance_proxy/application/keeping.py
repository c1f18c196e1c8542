"""From the buffer to the store: several batches at a time, and what happens when nobody takes them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from binance_proxy.application.batch_size import BatchSize
from binance_proxy.application.buffer import Oldest, StoreBuffer, happened
from binance_proxy.application.dropped import Dropped, DroppedRange
from binance_proxy.application.ports import (
    EventsRejected,
    MarketStore,
    Spool,
    SpoolDepth,
    StoredEvent,
    StoreUnavailable,
)
from binance_proxy.application.report import Report
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream

log = logging.getLogger(__name__)

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
"""Between two attempts to have a batch kept that there is no room for."""
GLANCE_S = 0.02
STORED_GLANCE_S = 0.005
"""How often those look who wait for the store: some of them have a client that waits."""
MOST_LOOKED_AT = 20_000
"""Events that are looked through for one who asks; of more it is not told apart what waits."""
EMPTY = SpoolDepth()


class _InFlight(NamedTuple):
    """A batch on its way."""

    events: int
    since: int
    """When its oldest event was put into the buffer, in ns."""
    oldest: Oldest


@dataclass(frozen=True)
class RecordSettings:
    """How a feed is recorded."""

    timeframes: tuple[str, ...] = ("1m", "5m")
    """Candles that are kept and published."""
    candle_interval_s: float = 1.0
    """How often an open candle is published at most, in the time of the feed."""
    snapshot_interval_s: float = 300.0
    """How often a whole book is stored, in the time of the feed."""
    buffer: int = 2_000_000
    """Events and levels that may wait for the store, about 180 bytes each. Once so many wait, the feed is
    read no faster than the store writes; nothing is dropped, unless the store and the spool are full."""
    batch: int = 40_000
    """Events and levels that are written at once, at most."""
    batch_least: int = 1_000
    """Batches do not shrink below this."""
    batch_target_s: float = 1.0
    """Batches shrink when the store takes longer than this for one, and grow again while events wait."""
    batch_age_s: float = 0.1
    """How long an event waits for its batch to fill."""
    writers: int = 2
    """Batches that are on their way to the store at a time."""
    flush_timeout_s: float = 60.0
    """How long a stop waits for the store, and for the spool to be emptied into it."""


class Keeping:
    """The buffer that a recording fills, and the writers that empty it.

    A batch that nobody can take, because store and spool are full, is tried again until somebody does.
    Meanwhile recording is stopped: what finds the buffer full is let go and remembered, and once things are
    kept again it is told as gaps.
    """

    def __init__(
        self,
        *,
        store: MarketStore,
        spool: Spool | None,
        settings: RecordSettings,
        report: Report,
        now: Callable[[], int],
        on_change: Callable[[], None],
        on_dropped: Callable[[Instrument, Stream, DroppedRange], None],
    ) -> None:
        """Take the ports; nothing is written before `write`.

        ``on_change`` is called when recording stops or goes on, ``on_dropped`` with each range of ids that
        was let go, once it does.
        """
        self._store = store
        self._spool = spool
        self._settings = settings
        self._report = report
        self._now = now
        self._on_change = on_change
        self._on_dropped = on_dropped
        self._size = BatchSize(
            least=settings.batch_least, most=settings.batch, target_s=settings.batch_target_s
        )
        self.buffer = StoreBuffer(
            limit=settings.buffer, batch=settings.batch, piece=self._size.least, now=now
        )
        """Where the recording puts its events."""
        self._dropped = Dropped()
        self._taken = 0  # events that a writer has taken so far
        self._in_flight: dict[int, _InFlight] = {}  # by the events taken before
        self._spooled_from: int | None = 0  # when the oldest happened that may be in the spool, in ns
        self._telling: set[int] = set()  # those in flight that tell of a hole, by the events taken before
        self._failing: set[int] = set()  # batches that nobody takes, by the events taken before
        self._kept = self._new = 0  # events that the store, or its spool, has accepted
        self._gave_up = False  # a batch in flight will never be kept
        self._hurry = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Events that wait in memory."""
        return len(self.buffer) + sum(one.events for one in self._in_flight.values())

    @property
    def oldest_s(self) -> float:
        """How long the oldest event has waited that is not in the store, in seconds."""
        since = [one.since for one in self._in_flight.values()]
        since += [ts for ts in (self.buffer.oldest, self._depth().oldest) if ts is not None]
        return max(0, self._now() - min(since)) / SECOND_NS if since else 0.0

    @property
    def state(self) -> str:
        """Say where events go: ``storing``, ``spooling``, or ``stopped`` if nobody takes them."""
        if self._failing:
            return "stopped"
        return "spooling" if self._depth().waiting else "storing"

    def status(self) -> dict[str, object]:
        """Describe how things are, as ``bridge.status`` shows it."""
        report, depth = self._report, self._depth()
        self._count()
        return {
            "recording": self.state,
            "stored": report.stored,
            "waiting": self.waiting,
            "oldest_unstored_s": round(self.oldest_s, 3),
            "batch": self.buffer.batch,
            "in_spool": depth.waiting,
            "spool_bytes": depth.size_bytes,
            "spooled": report.spooled,
            "drained": report.drained,
            "set_aside": report.set_aside,
            "dropped": report.dropped,
        }

    async def write(self) -> None:
        """Take batch after batch to the store until the buffer is closed and empty. Several may do so.

        Once there is no more time, they go to the spool instead; without room there, this ends.

        Raises:
            StoreRejected: The store refuses.
        """
        while batch := await self.buffer.take(self._settings.batch_age_s):
            heavy, since = self.buffer.taken
            before = self._taken
            self._taken += len(batch)
            self._in_flight[before] = _InFlight(len(batch), since, Oldest(batch))
            if any(isinstance(event, Gap) and event.state is not GapState.REPAIRED for event in batch):
                self._telling.add(before)
            if not await self._may_follow(before, batch):
                return
            try:
                new = await self._insist(before, batch, heavy)
            except Exception:
                self._gave_up = True
                raise
            if new is None:
                self._gave_up = True
                return
            self._look_at_spool(batch)
            del self._in_flight[before]
            self._telling.discard(before)
            self._new += new
            self._kept += len(batch)
            self._count()

    def waits(self, name: str, before: int | None = None) -> bool:
        """Say whether something of an instrument that happened before a time may not be in the store yet."""
        self._look_at_spool()
        if before is None or self.waiting > MOST_LOOKED_AT:
            return True
        if self._spooled_from is not None and self._spooled_from < before:
            return True
        found = (one.oldest.of(name) for one in self._in_flight.values())
        return any(ts is not None and ts < before for ts in found) or self.buffer.waits(name, before)

    def _look_at_spool(self, taken: Sequence[StoredEvent] = ()) -> None:
        """Remember from when on what is in the spool may be, which has taken these, perhaps."""
        if not self._depth().waiting:
            self._spooled_from = None
        elif taken:
            oldest = min(map(happened, taken))
            self._spooled_from = oldest if self._spooled_from is None else min(self._spooled_from, oldest)

    async def all_stored(self, *, patient: bool = True) -> bool:
        """Wait until everything that has been recorded so far is in the store, and not in the spool.

        Return whether it is: without ``patient`` a store that is away is not waited for.
        """
        recorded = self._taken + len(self.buffer)
        self.buffer.release()
        # Otherwise each writer would have to tell each waiter.
        while min(self._in_flight, default=self._taken) < recorded:
            if not patient and self._depth().is_away:
                return False
            await asyncio.sleep(STORED_GLANCE_S)
        depth = self._depth()
        gone = depth.drained + depth.set_aside + depth.waiting
        while (depth := self._depth()).waiting and depth.drained + depth.set_aside < gone:
            if not patient and depth.is_away:
                return False
            await asyncio.sleep(STORED_GLANCE_S)
        return True

    async def flushed(self, writers: Sequence[asyncio.Task[None]]) -> None:
        """Wait until the writers have ended, and the spool is empty or its store away."""
        await asyncio.wait(writers)
        while (depth := self._depth()).waiting and not depth.is_away:  # noqa: ASYNC110  as above
            await asyncio.sleep(GLANCE_S)

    async def spooled(self, writers: Sequence[asyncio.Task[None]]) -> None:
        """Have everything that is left put into the spool, for there is no more time to wait for its store.

        What the store has already is waited for, as it is taken back into the spool if it takes too long.
        Does nothing without a spool.
        """
        if self._spool is not None:
            self._hurry.set()
            await asyncio.wait(writers)

    def conclude(self) -> None:
        """Put into the report what came of everything."""
        self._count()
        self._report.unstored = self.waiting
        self._report.untold = sum(len(found) for found in self._dropped.ranges.values())

    async def _insist(self, before: int, batch: Sequence[StoredEvent], heavy: int) -> int | None:
        """Have a batch kept, and try again for as long as there is no room for it anywhere.

        Returns how many of its events were new in the store; `None` if there was neither room nor time.
        """
        loop = asyncio.get_running_loop()
        pause_s = SHORTEST_PAUSE_S
        while True:
            began = loop.time()
            was_spooling = self._depth().waiting
            is_last_try = self._hurry.is_set()
            try:
                new = await self._keep(batch)
            except StoreUnavailable as error:
                self._stop(before, error)
                if is_last_try:
                    return None
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._hurry.wait()
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if not was_spooling and not self._depth().waiting:  # else it says nothing about the store
                self._size.took(heavy, loop.time() - began, waiting=self.buffer.weight)
                self.buffer.batch = self._size.now
            self._go_on(before)
            return new

    async def _keep(self, batch: Sequence[StoredEvent]) -> int:
        if self._spool is None:
            return await self._store.append(batch)
        if not self._hurry.is_set():
            with suppress(EventsRejected):
                return await self._store.append(batch)
        await self._spool.sift(batch)
        return 0

    def _stop(self, before: int, error: StoreUnavailable) -> None:
        """Say that nothing can be kept. From now on what finds the buffer full is let go."""
        if before in self._failing:
            return
        if not self._failing:
            log.error("RECORDING IS STOPPED; publishing goes on, and nothing of it is kept: %s", error)
            self.buffer.drop_when_full(self._dropped.take)
        self._failing.add(before)
        self._on_change()

    def _go_on(self, before: int) -> None:
        """Say that things are kept again, and tell of each hole that was left meanwhile."""
        if before not in self._failing:
            return
        self._failing.remove(before)
        if self._failing:
            return
        self.buffer.drop_when_full(None)
        log.warning("recording goes on; %d events were dropped so far", self._dropped.events)
        for instrument, stream, dropped in self._dropped.clear():
            self._on_dropped(instrument, stream, dropped)
        self._on_change()

    async def _may_follow(self, before: int, batch: Sequence[StoredEvent]) -> bool:
        """Wait until what a batch must not come before is kept; return false if it never is.

        If it says that a gap is filled, that is all that was taken earlier. Otherwise it is what tells of a
        hole: a run that is killed must not leave behind what lies behind a hole, and nothing of the hole.
        """
        gaps = (event for event in batch if type(event) is Gap)
        fills = any(gap.state is GapState.REPAIRED for gap in gaps)
        first = self._in_flight if fills else self._telling
        while min(first, default=before) < before and not self._gave_up:  # noqa: ASYNC110  as above
            await asyncio.sleep(GLANCE_S)
        return min(first, default=before) >= before

    def _depth(self) -> SpoolDepth:
        return self._spool.depth() if self._spool else EMPTY

    def _count(self) -> None:
        """Bring the report up to date."""
        report, depth = self._report, self._depth()
        report.stored = max(0, self._kept - depth.spooled + depth.drained)
        report.new = self._new + depth.drained_new
        report.spooled, report.drained, report.in_spool = depth.spooled, depth.drained, depth.waiting
        report.set_aside, report.dropped = depth.set_aside, self._dropped.events
