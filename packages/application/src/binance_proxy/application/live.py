"""Answer those who ask a recording while it goes on.

What is answered at once is answered in one turn of the loop, so that it is all of one moment. What may take
longer is cut into short turns: whoever asks must not hold up the ticks.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from binance_proxy.application.backfill import Backfill, BackfillReport
from binance_proxy.application.missing import AggregatedRecording
from binance_proxy.application.ports import (
    RECALLED,
    CaughtUp,
    ExchangeHistory,
    HistoryError,
    LiveBook,
    MarketStore,
    Publisher,
    Recalled,
    StoreError,
)
from binance_proxy.application.record import Recording
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot

log = logging.getLogger(__name__)

PIECE = 20
"""Messages that are made again in one turn of the loop."""
STATUS_S = 0.1
"""How long a status is told again, before it is worked out anew."""
NO_PAST = "the feed has no history to fetch from"
AWAY = "the store is away; try again later"
TOO_MANY = "too many ranges are being fetched; try again later"


@dataclass(frozen=True)
class FetchSettings:
    """How much is fetched for those who ask for what is not stored."""

    most_trades: int = 100_000
    """For one question, about; the next one goes on from there."""
    most_s: float = 60.0
    """How long it may take for one question; likewise."""
    waiting: int = 16
    """Ranges that are wanted at the same time. They are fetched one after the other."""


class _Enough(Exception):
    """So much is not fetched for one question."""


@dataclass
class _Fetch:
    """One range that is being fetched, for all who want it."""

    task: asyncio.Task[None] = field(init=False)
    report: BackfillReport = field(default_factory=BackfillReport)
    why_not: str | None = None
    """Why not everything could be fetched."""


_Range: TypeAlias = tuple[Instrument, int, int]


class LiveRecording:
    """The `Live` port over a recording in this very process."""

    def __init__(
        self,
        recording: Recording,
        publisher: Publisher,
        store: MarketStore,
        history: ExchangeHistory | None = None,
        settings: FetchSettings | None = None,
    ) -> None:
        """Take the recording and its ports; `open_live` makes one whose fetches end with it.

        Args:
            recording: What is asked.
            publisher: The one that it publishes on.
            store: Where fetched trades go; it reads all that is stored, be it archived.
            history: What the venue has of the past, if it can be asked.
            settings: How much is fetched.
        """
        self._recording = recording
        self._publisher = publisher
        self._store = store
        self._history = history
        self._settings = settings or FetchSettings()
        self._recalling = asyncio.Semaphore(1)
        self._fetching = asyncio.Semaphore(1)
        self._fetches: dict[_Range, _Fetch] = {}
        self._said: dict[str, object] = {}
        self._said_at = -STATUS_S

    async def book(self, instrument: Instrument, levels: int | None = None) -> LiveBook:
        """Return the book as it is, with the best so many levels of each side.

        Raises:
            BookStale: The book is out of step, or the instrument is not recorded. The message says which.
        """
        track = self._recording.track(instrument)
        if track is None:
            raise BookStale(f"{instrument.name} is not recorded at the moment")
        book = track.book
        bids, asks = book.depth(levels)
        at = self._publisher.recall(f"{instrument.name}.orderbook", 0, most=0)
        snapshot = BookSnapshot(
            instrument=instrument,
            ts_event=book.ts_event,
            ts_recv=book.ts_recv,
            last_update_id=book.last_update_id,
            bids=bids,
            asks=asks,
        )
        return LiveBook(book=snapshot, epoch=at.epoch, sequence=at.sequence)

    async def since(self, topic: str, epoch: str, sequence: int) -> Recalled:
        """Return what was published on a topic behind a sequence of a run, at most `RECALLED` messages."""
        async with self._recalling:  # one after the other, or many could hold up the ticks together
            found = self._publisher.recall(topic, sequence, most=PIECE)
            if found.epoch != epoch:
                return Recalled(epoch=found.epoch, sequence=found.sequence, messages=None)
            if found.messages is None:
                return found
            messages = list(found.messages)
            while found.messages and sequence + len(messages) < found.sequence and len(messages) < RECALLED:
                await asyncio.sleep(0)
                most = min(PIECE, RECALLED - len(messages))
                more = self._publisher.recall(topic, sequence + len(messages), most=most)
                if more.messages is None:  # they were let go meanwhile; what there is follows on nevertheless
                    break
                found = more
                messages += found.messages or ()
            return Recalled(epoch=found.epoch, sequence=found.sequence, messages=messages)

    async def status(self) -> dict[str, object]:
        """Return how the recording is, as ``bridge.status`` tells it.

        All who ask within `STATUS_S` get the same object, so that many who ask cost no more than one.
        """
        now = asyncio.get_running_loop().time()
        if not 0 <= now - self._said_at < STATUS_S:
            epoch = self._publisher.recall("bridge.status", 0, most=0).epoch
            self._said, self._said_at = {"epoch": epoch, **self._recording.status()}, now
        return self._said

    async def catch_up(
        self,
        instrument: Instrument,
        fetch: tuple[int, int] | None = None,
        *,
        before: int | None = None,
        limit_s: float,
    ) -> CaughtUp:
        """Wait until everything that was recorded so far is in the store, but no longer than ``limit_s``.

        With ``before``, only what there is of the instrument with ``ts_event < before`` is waited for, or a
        gap that began before; if nothing of that waits, the answer comes at once. A store that is away is not
        waited for: many who wait in vain would leave nobody to answer the others.
        With ``fetch``, a range of ``ts_event``, the trades of it that are not stored are fetched from the
        venue and stored as well. Many who ask for the same at once are answered by one fetch.
        """
        deadline = asyncio.get_running_loop().time() + limit_s
        why_not: str | None = AWAY
        track, keeping = self._recording.track(instrument), self._recording.keeping
        newest = None if track is None else track.newest_ts
        is_stored = not keeping.waits(instrument.name, before)
        try:
            async with asyncio.timeout_at(deadline):
                is_stored = is_stored or await keeping.all_stored(patient=False)
        except TimeoutError:
            why_not = f"the store did not have everything within {limit_s:g} s"
        if not is_stored:
            return CaughtUp(stored=False, newest=newest, not_fetched=None if fetch is None else why_not)
        if fetch is None:
            return CaughtUp(stored=True, newest=newest)
        wanted = instrument, *fetch
        running = self._fetches.get(wanted)
        if running is None:
            why_not = self._why_not(instrument)
            if self._history is None or why_not is not None:
                return CaughtUp(stored=True, newest=newest, not_fetched=why_not)
            running = self._begin(self._history, wanted)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(running.task)
        why_not = running.why_not
        if not running.task.done():
            why_not = f"it takes longer than {limit_s:g} s and goes on; ask again for the rest"
        return CaughtUp(stored=True, newest=newest, fetched=running.report.fetched, not_fetched=why_not)

    def _why_not(self, instrument: Instrument) -> str | None:
        """Say why a range cannot be fetched, if that can be said before it is tried."""
        if self._history is None:
            return NO_PAST
        # Another venue's trades must not be stored under the name of this one.
        place = instrument.venue, instrument.market
        if place not in {(one.venue, one.market) for one in self._recording.instruments}:
            return f"{instrument.name} is not of the venue that is recorded"
        return TOO_MANY if len(self._fetches) >= self._settings.waiting else None

    def _begin(self, history: ExchangeHistory, wanted: _Range) -> _Fetch:
        fetch = _Fetch()
        fetch.task = asyncio.create_task(self._run(history, wanted, fetch))
        fetch.task.add_done_callback(lambda _: self._fetches.pop(wanted, None))
        self._fetches[wanted] = fetch
        return fetch

    async def _run(self, history: ExchangeHistory, wanted: _Range, fetch: _Fetch) -> None:
        settings = self._settings

        def progress(report: BackfillReport) -> None:
            fetch.report = report
            if report.fetched >= settings.most_trades:
                raise _Enough

        try:
            async with self._fetching, asyncio.timeout(settings.most_s):
                await Backfill(history, self._store).run(*wanted, progress)
        except _Enough:
            fetch.why_not = f"{fetch.report.fetched:,} trades are enough for one question; ask again for more"
        except TimeoutError:
            fetch.why_not = f"it took longer than {settings.most_s:g} s; ask again for the rest"
        except (HistoryError, StoreError, AggregatedRecording) as error:
            fetch.why_not = str(error)
        except Exception as error:
            log.exception("a fetch of %s failed", wanted[0].name)
            fetch.why_not = f"the fetch failed: {type(error).__name__}"

    async def end(self) -> None:
        """Give up what is being fetched; what has come is stored."""
        tasks = [fetch.task for fetch in self._fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_live(
    recording: Recording,
    publisher: Publisher,
    store: MarketStore,
    history: ExchangeHistory | None = None,
    settings: FetchSettings | None = None,
) -> AsyncIterator[LiveRecording]:
    """Have a recording answer, and give up what is being fetched once the block is left."""
    live = LiveRecording(recording, publisher, store, history, settings)
    try:
        yield live
    finally:
        await live.end()
