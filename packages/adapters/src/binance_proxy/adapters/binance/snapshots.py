"""Whole books by REST: each only once its updates are coming, and less often the more often it is needed."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol

from binance_proxy.adapters.binance.pauses import growing_pauses
from binance_proxy.adapters.binance.rest import DEPTH_WEIGHTS, BinanceRest
from binance_proxy.adapters.binance.weight import LIMIT
from binance_proxy.application.ports import FeedRejected, FeedUnavailable
from binance_proxy.domain.instrument import Instrument

log = logging.getLogger(__name__)

AT_A_TIME = 4
FIRST_UPDATE_S = 1.0
"""How long a book waits for the first update of its stream. A quiet stream may have none for minutes."""
REJECTED_PAUSE_S = 60.0
"""How long a venue that refuses a book is left alone: the place may be served again, or the pair be back."""
PEACE_S = 10.0
"""A book that was not asked for again for so long was well, and is fetched at once the next time."""
MUTE = 3
"""A book that is wanted so often in a row, and no update comes while it waits: its stream is mute.

A quiet market is none: its book is wanted once.
"""


class BookReader(Protocol):
    """Whoever reads the streams that the books belong to."""

    async def until_ready(self, instrument: Instrument) -> None:
        """Return once the updates of an instrument are subscribed."""
        ...

    def deliver(self, instrument: Instrument, body: bytes) -> None:
        """Take a book, raw."""
        ...

    def mute(self, instrument: Instrument) -> None:
        """Learn that no updates come, though books are wanted. Told less often the longer it lasts."""
        ...

    def broken(self, error: BaseException) -> None:
        """Learn of our own mistake, which has ended the fetching of a book."""
        ...


class Snapshots:
    """Fetches books that are wanted and hands them on, one request at a time for each instrument."""

    def __init__(self, rest: BinanceRest, levels: int, longest_pause_s: float, reader: BookReader) -> None:
        """Ask for so many levels on each side, with growing pauses where books are wanted often."""
        self.awaited: dict[Instrument, asyncio.Event] = {}
        """Of these the reader is to say when an update has come, by setting the event."""
        self.levels = levels
        """How many are asked for on each side; may be changed."""
        self._rest = rest
        self._longest_pause_s = longest_pause_s
        self._reader = reader
        self._fetching: dict[Instrument, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # with those that were cancelled and are not over yet
        self._pauses: dict[Instrument, tuple[float, Iterator[float]]] = {}  # (last asked, pauses)
        self._unheard = Counter[Instrument]()  # books in a row for which no update came
        self._turn = asyncio.Semaphore(AT_A_TIME)

    def want(self, instrument: Instrument) -> None:
        """Fetch a book soon; does nothing if it is on its way already."""
        if instrument not in self._fetching:
            task = asyncio.create_task(self._fetch(instrument))
            self._fetching[instrument] = task
            self._tasks.add(task)
            task.add_done_callback(self._end)

    def forget(self, instruments: Iterable[Instrument]) -> None:
        """Fetch these no more."""
        for instrument in instruments:
            del self._unheard[instrument]
            task = self._fetching.pop(instrument, None)
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Stop fetching."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._reader.broken(error)

    async def _fetch(self, instrument: Instrument) -> None:
        try:
            body = await self._book(instrument)
        finally:  # before anybody reads the book, for it may be wanted again at once
            if self._fetching.get(instrument) is asyncio.current_task():
                del self._fetching[instrument]
        self._reader.deliver(instrument, body)

    async def _book(self, instrument: Instrument) -> bytes:
        """Follow the documented procedure up to the book itself.

        Source: Binance Spot, "How to manage a local order book correctly", steps 1 to 3. Step 3, whether the
        book is not older than the first update, is checked by `binance_proxy.domain.book_sync.BookSync`.
        """
        pauses = self._pauses_of(instrument)
        is_refused = is_counted = False
        while True:
            await asyncio.sleep(next(pauses))
            if await self._until_updates_come(instrument):
                del self._unheard[instrument]
            elif not is_counted:  # once a book, for another attempt says nothing about the stream
                is_counted = True
                self._count_unheard(instrument)
            try:
                async with self._turn:
                    code = (await self._rest.listing(instrument.symbol)).code
                    return await self._rest.depth(code, self.levels)
            except FeedUnavailable as error:
                log.warning("there is no book of %s yet, trying again: %s", instrument.name, error)
            except FeedRejected as error:
                if not is_refused:
                    log.error("there is no book of %s, and it stays stale: %s", instrument.name, error)  # noqa: TRY400
                is_refused = True
                await asyncio.sleep(REJECTED_PAUSE_S)
            finally:
                self._pauses[instrument] = asyncio.get_running_loop().time(), pauses

    async def _until_updates_come(self, instrument: Instrument) -> bool:
        """Wait for the first update, but not for long; say whether one came."""
        await self._reader.until_ready(instrument)
        self.awaited[instrument] = asyncio.Event()
        try:
            async with asyncio.timeout(FIRST_UPDATE_S):
                return await self.awaited[instrument].wait()
        except TimeoutError:
            log.debug("%s is quiet: any book precedes its next update", instrument.name)
            return False
        finally:
            self.awaited.pop(instrument, None)

    def _count_unheard(self, instrument: Instrument) -> None:
        """Tell of a mute stream after `MUTE` books, and again after twice, four times as many."""
        self._unheard[instrument] += 1
        times, rest = divmod(self._unheard[instrument], MUTE)
        if not rest and times.bit_count() == 1:
            self._reader.mute(instrument)

    def _pauses_of(self, instrument: Instrument) -> Iterator[float]:
        """Return the pauses before the next attempts; none at first, longer where books are wanted often."""
        came_at, pauses = self._pauses.get(instrument, (float("-inf"), iter(())))
        if asyncio.get_running_loop().time() - came_at > PEACE_S:
            return chain([0.0], growing_pauses(self._longest_pause_s))
        return pauses


def levels_for(most: int, instruments: int, share: float) -> int:
    """Return how many levels to ask for, so that the books of all instruments cost a minute's weight at most.

    Never fewer than the cheapest request gives, which takes longer than a minute for very many instruments.
    """
    budget = LIMIT * share / max(instruments, 1)
    affordable = [levels for levels, weight in DEPTH_WEIGHTS if weight <= budget]
    return min(most, max(affordable, default=DEPTH_WEIGHTS[0][0]))
