"""A store that puts on disk what its database cannot take now, and hands it on when it can."""

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import backoff
from msgspec.structs import replace

from binance_proxy.adapters.spool.file import Portion, SpoolFile
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.application.dropped import Dropped
from binance_proxy.application.ports import (
    EventsRejected,
    MarketStore,
    SpoolDepth,
    Stored,
    StoredEvent,
    StoreError,
    StoreFull,
    StoreRejected,
    StoreUnavailable,
)
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument

log = logging.getLogger(__name__)

SHORTEST_S = 0.1
MOST_DOUBLINGS = 20
SAY_AGAIN_S = 60.0
"""How often the log repeats that the store is away, for the same reason."""
LOCK_WAIT_S = 10.0
"""How long an earlier bridge may take to end."""
GLANCE_S = 0.02

Done = TypeVar("Done")
Sleep = Callable[[float], Awaitable[None]]


class SpooledStore:
    """A `MarketStore` in front of another one, and the `Spool` beside it.

    A batch goes to the store. If the store is away, or takes longer than ``patience_s``, it goes to the
    spool, and counts as accepted once it is on the disk. While anything waits there, further batches go
    there too; one task hands them on in order, one after another, and lets go of each once it is stored. A
    store that refuses everything, as after a changed password, is treated as one that is away, and the log
    says what to change. Questions go to the store, which does not know of what waits.
    """

    def __init__(
        self,
        store: MarketStore,
        file: SpoolFile,
        settings: SpoolSettings,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Take an open file; nothing is drained outside of `running`."""
        self._store = store
        self._file = file
        self._settings = settings
        self._sleep = sleep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._refused = Dropped()
        """What the store has refused in this run."""
        self._putting = 0
        self._filled = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None
        self._failures = 0
        self._said: tuple[str, float] = ("", 0.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SpooledStore"]:
        """Drain the spool for as long as the context lasts, what an earlier run has left in it first."""
        if not self._file.is_empty:
            self._filled.set()
        self._draining = asyncio.create_task(self._drain())
        try:
            yield self
        finally:
            self._draining.cancel()
            with suppress(asyncio.CancelledError):
                await self._draining
            self._thread.shutdown()

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events, in the store or in the spool; return how many were new in the store.

        Of events that went to the spool none is counted.

        Raises:
            StoreFull: Neither the store nor the spool can take them.
            EventsRejected: The store will not take some of them. None is kept.
        """
        if not events:
            return 0
        if not self._is_behind:
            try:
                return await self._at_once(events)
            except EventsRejected:
                raise
            except StoreError as error:
                self._say_away(error)
        await self._put(events)
        return 0

    def scan(
        self, kind: type[Stored], instrument: Instrument, start: int, end: int, *, newest_first: bool = False
    ) -> AsyncGenerator[Stored]:
        """Ask the store behind."""
        return self._store.scan(kind, instrument, start, end, newest_first=newest_first)

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Ask the store behind."""
        return await self._store.candles(instrument, timeframe, start, end)

    def depth(self) -> SpoolDepth:
        """Return what waits. Answers at once."""
        return self._file.depth(is_away=bool(self._failures))

    async def sift(self, events: Sequence[StoredEvent]) -> None:
        """Keep events of which a store has refused some; it will get the others.

        Raises:
            StoreFull: There is no room for them.
        """
        await self._put(events)

    async def drained(self) -> None:
        """Wait until nothing is left in the spool, however long the store is away."""
        while self._is_behind:
            self._check_drain()
            await asyncio.sleep(GLANCE_S)

    @property
    def _is_behind(self) -> bool:
        return bool(self._putting) or not self._file.is_empty

    async def _at_once(self, events: Sequence[StoredEvent]) -> int:
        limit_s = self._settings.patience_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._store.append(self._as_it_is(events))
        except TimeoutError:
            raise StoreUnavailable(f"The store took longer than {limit_s:g} s for a batch.") from None

    async def _put(self, events: Sequence[StoredEvent]) -> None:
        self._check_drain()
        self._putting += 1
        try:
            await self._in_thread(partial(self._file.put, events, time.time_ns()))
        finally:
            self._putting -= 1
            self._filled.set()

    def _check_drain(self) -> None:
        """Raise what ended the drain, if anything did: it would be a mistake of our own."""
        if self._draining is not None and self._draining.done():
            self._draining.result()

    async def _in_thread(self, act: Callable[[], Done]) -> Done:
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    async def _drain(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            before = self.depth()
            while await self._drain_portion():
                pass
            self._failures = 0
            drained = self.depth().drained - before.drained
            if drained:
                log.info("the spool is empty again, %d events were handed to the store", drained)

    async def _drain_portion(self) -> bool:
        """Hand on what came first; return whether there was anything."""
        try:
            portion = await self._in_thread(self._file.take)
        except StoreFull as error:
            await self._pause(error)
            return True
        if portion is None:
            return False
        new, refused, why = await self._hand_on(portion.events)
        if refused:
            log.error(
                "the store refuses %d of %d events, they are set aside in %s: %s The first of them: %r",
                len(refused), len(portion.events), self._file.path, why, refused[0],
            )  # fmt: skip
            await self._tell_lost(refused)
        await self._in_thread(partial(self._let_go, portion, new, refused, why))
        return True

    def _let_go(self, portion: Portion, new: int, refused: Sequence[StoredEvent], why: str) -> None:
        reason = f"{why} The first of them: {refused[0]!r}" if refused else ""
        self._file.done(portion, time.time_ns(), new, refused, reason)

    async def _hand_on(self, events: Sequence[StoredEvent]) -> tuple[int, list[StoredEvent], str]:
        """Store events, however long it takes; return how many were new, which were refused, and why."""
        try:
            return await self._patiently(events), [], ""
        except EventsRejected as error:
            if len(events) == 1:
                self._refused.take(events[0])
                return 0, list(events), str(error)
        half = len(events) // 2
        first, second = await self._hand_on(events[:half]), await self._hand_on(events[half:])
        return first[0] + second[0], first[1] + second[1], first[2] or second[2]

    def _as_it_is(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Return events, but call no gap repaired of which a part was refused: that is lost.

        What fills a gap is handed on before the gap is called repaired, so it is known by then.
        """
        if not self._refused:
            return events
        return [
            replace(one, state=GapState.LOST) if isinstance(one, Gap) and self._refused.lacks(one) else one
            for one in events
        ]

    async def _tell_lost(self, refused: Sequence[StoredEvent]) -> None:
        """Store gaps that tell which ticks were refused."""
        lost = Dropped()
        for event in refused:
            lost.take(event)
        for instrument, stream, one in lost.clear():
            start, end = (ts - ts % instrument.time_resolution_ns for ts in (one.start, one.end))
            gap = Gap(
                instrument=instrument,
                ts_event=end,
                ts_recv=one.ts_recv,
                stream=stream,
                first_id=one.first_id,
                last_id=one.last_id,
                start=start,
                end=end,
                state=GapState.LOST,
            )
            try:
                await self._patiently([gap])
            except EventsRejected as error:
                log.error("no gap tells of %s %d to %d, which are set aside: %s",  # noqa: TRY400  a plain sentence
                          stream, one.first_id, one.last_id, error)  # fmt: skip

    async def _patiently(self, events: Sequence[StoredEvent]) -> int:
        while True:
            try:
                new = await self._store.append(self._as_it_is(events))
            except EventsRejected:
                raise
            except StoreError as error:
                await self._pause(error)
            else:
                if self._failures:
                    log.info("the store is back, and gets what waits in the spool")
                self._failures = 0
                return new

    async def _pause(self, error: StoreError) -> None:
        self._say_away(error)
        longest_s = self._settings.longest_pause_s
        pause_s = min(longest_s, SHORTEST_S * 2.0 ** min(self._failures, MOST_DOUBLINGS))
        self._failures += 1
        await self._sleep(backoff.full_jitter(pause_s))

    def _say_away(self, error: StoreError) -> None:
        """Log that the store cannot take anything, and again only when there is news, or a minute later."""
        now = time.monotonic()
        text, since = self._said
        if text == str(error) and now - since < SAY_AGAIN_S:
            return
        self._said = (str(error), now)
        level = logging.ERROR if isinstance(error, StoreRejected) else logging.WARNING
        log.log(level, "what is recorded goes to the spool %s for now: %s", self._file.path, error)


@asynccontextmanager
async def open_spool(folder: Path, settings: SpoolSettings, owner: str) -> AsyncIterator[SpoolFile]:
    """Open the spool of a folder, for one process at a time.

    Args:
        folder: Holds the file and its lock. Made if missing.
        settings: How much may lie in it.
        owner: What to call this process in messages to others, such as ``bridge run``.

    Raises:
        StoreRejected: Another process has it, the folder cannot be used, or a newer bridge made the file.
        StoreFull: The disk is full, or does not work.
    """
    held = _lock_file(folder)
    try:
        await _lock(held, folder, owner)
        file = SpoolFile(folder, limit_bytes=settings.limit_bytes)
        with _open(file):
            yield file
    finally:
        os.close(held)


@contextmanager
def _open(file: SpoolFile) -> Iterator[None]:
    try:
        file.open()
        yield
    finally:
        file.close()


def _lock_file(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreRejected(
            f"The spool {folder} cannot be used ({error.strerror}): make it writable for the user that runs"
            " the bridge, or choose another data_dir."
        ) from error


async def _lock(held: int, folder: Path, owner: str) -> None:
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                who = os.pread(held, 200, 0).decode(errors="replace").strip() or "another process"
                raise StoreRejected(
                    f"The spool {folder} is in use by {who}: end that first, or choose another data_dir."
                ) from None
            await asyncio.sleep(GLANCE_S)
    with suppress(OSError):  # a full disk: nobody will know our name
        os.ftruncate(held, 0)
        os.pwrite(held, f"{owner} (pid {os.getpid()})\n".encode(), 0)
