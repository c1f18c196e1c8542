"""Answers over a store in memory, and a recording that does what a test tells it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from binance_proxy.adapters.memory.cache import MemoryCache
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.ports import (
    Archive,
    CaughtUp,
    LiveBook,
    LiveUnavailable,
    MarketStore,
    Recalled,
    StoredEvent,
)
from binance_proxy.application.serve.answers import Answers
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot
from ticks_made import MIDNIGHT

NOW = MIDNIGHT + 3_600_000_000_000


class HandLive:
    """A recording in which nothing happens by itself."""

    def __init__(self, store: MarketStore) -> None:
        self.store = store
        self.books: dict[str, BookSnapshot] = {}
        self.publisher = MemoryPublisher("e1")
        self.waiting: list[StoredEvent] = []
        """Recorded, and not in the store yet."""
        self.at_venue: list[StoredEvent] = []
        self.is_slow = self.is_away = False
        self.fetch_ends: str | None = None
        """Why a fetch ends before it has everything."""
        self.asked: list[tuple[str, Any]] = []
        self.newest: Callable[[], int | None] = lambda: None
        """When that happened which was recorded last, by the venue's clock."""
        self.told: dict[str, object] = {"type": "status", "epoch": "e1", "protocol": "1"}

    def _answer(self, what: str, how: Any = None) -> None:
        self.asked.append((what, how))
        if self.is_away:
            raise LiveUnavailable("the recording does not answer")

    async def book(self, instrument: Instrument, levels: int | None = None) -> LiveBook:
        self._answer("book", levels)
        if instrument.name not in self.books:
            raise BookStale(f"the book of {instrument.name} is out of step")
        bids, asks = OrderBook(self.books[instrument.name]).depth(levels)
        book = msgspec.structs.replace(self.books[instrument.name], bids=bids, asks=asks)
        return LiveBook(book=book, epoch="e1", sequence=7)

    async def since(self, topic: str, epoch: str, sequence: int) -> Recalled:
        self._answer("since", topic)
        found = self.publisher.recall(topic, sequence, 1_000)
        if epoch != "e1":
            return Recalled(epoch="e1", sequence=found.sequence, messages=None)
        return found

    async def status(self) -> dict[str, object]:
        self._answer("status")
        return self.told

    async def catch_up(
        self,
        instrument: Instrument,
        fetch: tuple[int, int] | None = None,
        *,
        before: int | None = None,
        limit_s: float,
    ) -> CaughtUp:
        self._answer("catch_up", (fetch, limit_s))
        newest = self.newest()
        if self.is_slow:
            why = "it takes too long" if fetch else None
            return CaughtUp(stored=False, newest=newest, not_fetched=why)
        if any(before is None or one.ts_event < before for one in self.waiting):
            await self.store.append(self.waiting)
            self.waiting = []
        fetched = 0
        why = self.fetch_ends if fetch else None
        if fetch is not None:
            fetched = await self.store.append(
                [one for one in self.at_venue if fetch[0] <= one.ts_event < fetch[1]]
            )
        return CaughtUp(stored=True, newest=newest, fetched=fetched, not_fetched=why)


class Asking:
    """Answers, and everything that they are made from."""

    def __init__(
        self,
        store: MarketStore,
        registry: MemoryRegistry,
        *,
        archive: Archive | None = None,
        clock: ManualClock | None = None,
        cache_bytes: int = 2**24,
    ) -> None:
        self.store, self.registry = store, registry
        self.live = HandLive(store)
        self.clock = clock or ManualClock(NOW, auto=False)
        self.live.newest = self.clock.now
        self.cache = MemoryCache(cache_bytes, lambda: self.clock.now() / 1e9)
        self.answers = Answers(
            store=store,
            registry=registry,
            pairs=registry,
            archive=archive,
            live=self.live,
            cache=self.cache,
            clock=self.clock,
        )

    async def ask(self, method: str, left_s: float = 10.0, **params: Any) -> Any:
        """Return an answer as a client sees it."""
        return msgspec.json.decode(msgspec.json.encode(await self.answers.ask(method, params, left_s)))

    async def pages(self, method: str, **params: Any) -> list[dict[str, Any]]:
        """Return every page of a question."""
        pages = [await self.ask(method, **params)]
        while pages[-1]["next"] is not None:
            pages.append(await self.ask(method, **params | {"cursor": pages[-1]["next"]}))
        return pages


async def asking(events: Sequence[StoredEvent], **other: Any) -> Asking:
    """Return answers over a store in memory with these events."""
    registry = MemoryRegistry()
    store = MemoryStore(registry)
    await store.append(events)
    return Asking(store, registry, **other)


def told(pages: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the holes that the pages tell, in order."""
    holes = [hole for page in pages for hole in page["holes"] if hole["state"] != "unrecorded"]
    return [(hole["first_id"], hole["last_id"]) for hole in holes]


def unrecorded(pages: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the times of which the pages tell that nothing was recorded, in order."""
    holes = [hole for page in pages for hole in page["holes"] if hole["state"] == "unrecorded"]
    assert all((hole["first_id"], hole["last_id"]) == (None, None) for hole in holes)
    return [(hole["start"], hole["end"]) for hole in holes]
