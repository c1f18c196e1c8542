"""Events on their way to a store that may be slower than the market."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick

_WITH_LEVELS = (QuoteTick, BookSnapshot)


def weight(event: StoredEvent) -> int:
    """Return what an event takes up: one, and one for each level in it."""
    if isinstance(event, _WITH_LEVELS):
        return 1 + len(event.bids) + len(event.asks)
    return 1


def happened(event: StoredEvent) -> int:
    """Return when an event happened, in ns: a gap, when it began."""
    return min(event.ts_event, event.start) if type(event) is Gap else event.ts_event


class Oldest:
    """When the oldest event of each instrument happened, of a list that may still grow.

    It is looked through only when somebody asks, each event once: putting it in shall cost nothing.
    """

    __slots__ = ("_events", "_looked", "_oldest")

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        """Take the list, which only grows."""
        self._events = events
        self._looked = 0
        self._oldest: dict[int, tuple[Instrument, int]] = {}  # by the identity of what is held here

    def of(self, name: str) -> int | None:
        """Return when the oldest event of an instrument happened, in ns; `None` if there is none of it."""
        for at in range(self._looked, len(self._events)):
            event = self._events[at]
            ts = happened(event)
            one, found = event.instrument, self._oldest.get(id(event.instrument))
            if found is None or ts < found[1]:
                self._oldest[id(one)] = one, ts
        self._looked = len(self._events)
        return min((ts for one, ts in self._oldest.values() if one.name == name), default=None)


class StoreBuffer:
    """A bounded queue of batches.

    ``put`` never waits and never refuses. Once the queue is full, whoever fills it is expected to wait for
    `room` before it reads on; so a full queue slows its reader down and loses nothing. Only while
    `drop_when_full` is set does a full queue let go of what is put in, and nobody has to wait.
    """

    def __init__(
        self,
        *,
        limit: int,
        batch: int,
        piece: int | None = None,
        now: Callable[[], int] = lambda: 0,
    ) -> None:
        """Take the weight from which on the queue is full, and the weight of a batch.

        Batches are put together from pieces of the weight ``piece``, so that their size can change at any
        time; without it they are of one piece. ``now`` tells the time, in ns.
        """
        self.batch = batch
        """The weight of a batch."""
        self.taken = (0, 0)
        """Of the batch that was taken last: its weight, and when its oldest event was put in, in ns."""
        self._limit = limit
        self._piece_limit = min(piece or batch, batch)
        self._now = now
        self._pieces: deque[tuple[int, int, list[StoredEvent], Oldest]] = deque()
        self._piece: list[StoredEvent] = []
        self._piece_oldest = Oldest(self._piece)
        self._piece_weight = self._piece_since = 0
        self._events = 0
        self._weight = 0
        self._drop: Callable[[StoredEvent], bool] | None = None
        self._closed = False
        self._filled = asyncio.Event()
        self._ready = asyncio.Event()
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        """Return how many events wait."""
        return self._events

    @property
    def weight(self) -> int:
        """How much waits: events, and the levels in them."""
        return self._weight

    @property
    def is_full(self) -> bool:
        """True if the reader should wait for `room`."""
        return self._weight >= self._limit and self._drop is None

    @property
    def oldest(self) -> int | None:
        """When the oldest event that waits was put in, in ns; `None` if none waits."""
        if self._pieces:
            return self._pieces[0][1]
        return self._piece_since if self._piece else None

    def drop_when_full(self, drop: Callable[[StoredEvent], bool] | None) -> None:
        """Ask ``drop`` about each event that is put into a full queue; if it says true, it is let go.

        With `None` a full queue takes everything again.
        """
        self._drop = drop
        self._emptied.set()

    def put(self, event: StoredEvent) -> None:
        """Add an event."""
        if self._drop is not None and self._weight >= self._limit and self._drop(event):
            return
        if not self._piece:
            self._piece_since = self._now()
        heavy = 1 if type(event) is TradeTick else weight(event)  # a call less for what comes most often
        self._piece.append(event)
        self._piece_weight += heavy
        self._weight += heavy
        self._events += 1
        if self._piece_weight >= self._piece_limit:
            self._pieces.append((self._piece_weight, self._piece_since, self._piece, self._piece_oldest))
            self._new_piece()
            if self._weight >= self.batch:
                self._ready.set()
        if self._events == 1:
            self._filled.set()

    def _new_piece(self) -> None:
        self._piece, self._piece_weight = [], 0
        self._piece_oldest = Oldest(self._piece)

    def waits(self, name: str, before: int) -> bool:
        """Say whether an event of an instrument waits that happened before a time."""
        parts = [self._piece_oldest, *(oldest for *_, oldest in self._pieces)]
        return any(ts is not None and ts < before for ts in (one.of(name) for one in parts))

    def release(self) -> None:
        """Let a taker that waits for its batch to fill have at once what is there."""
        self._ready.set()

    async def room(self) -> None:
        """Wait until the queue is not full."""
        while self.is_full:
            self._emptied.clear()
            await self._emptied.wait()

    async def take(self, age_s: float) -> Sequence[StoredEvent]:
        """Return the next batch, in order.

        Waits up to ``age_s`` for a batch to fill, from when there is a first event for it. An empty answer
        means that the queue was closed and everything has been taken.
        """
        while True:
            while not self._events and not self._closed:
                self._filled.clear()
                await self._filled.wait()
            if not self._has_batch and not self._closed:
                self._ready.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(age_s):
                        await self._ready.wait()
            batch = self._next()
            if batch or self._closed:  # else another taker was faster
                return batch

    @property
    def _has_batch(self) -> bool:
        return bool(self._pieces) and self._weight >= self.batch

    def _next(self) -> list[StoredEvent]:
        taken, since = 0, self.oldest or 0
        batch: list[StoredEvent] = []
        while self._pieces and (not batch or taken + self._pieces[0][0] <= self.batch):
            heavy, _, piece, _ = self._pieces.popleft()
            taken += heavy
            batch += piece
        if not self._pieces and (not batch or taken + self._piece_weight <= self.batch):
            taken += self._piece_weight
            batch += self._piece
            self._new_piece()
        self.taken = (taken, since)
        self._weight -= taken
        self._events -= len(batch)
        self._emptied.set()
        return batch

    def close(self) -> None:
        """Let takers have the rest, and then nothing more."""
        self._closed = True
        self._filled.set()
        self._ready.set()
