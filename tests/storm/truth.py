"""What a bridge has stored, against which everything is held that it has said."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.ports import MarketStore
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, TradeTick

MASK = 2**64 - 1
Row = tuple[int, str, str, str]


def checksum(bids: Any, asks: Any) -> int:
    """Return a number that tells whole books apart; levels are pairs of decimals."""
    return (sum(map(hash, bids)) - sum(map(hash, asks))) & MASK


def levels_of(rows: Any) -> list[tuple[Decimal, Decimal]]:
    """Return levels as decimals, however an answer has them."""
    return [(Decimal(price), Decimal(size)) for price, size in rows]


@dataclass
class Truth:
    """What is stored of one instrument."""

    instrument: Instrument
    trades: list[TradeTick]
    """By time and id."""
    quotes: list[QuoteTick]
    """By id."""
    snapshots: list[BookSnapshot]
    """By id."""
    gaps: list[Gap]
    at_id: dict[int, list[Callable[[OrderBook, int], None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Whom to show the book of an update id, with its checksum."""
    at_time: dict[int, list[Callable[[OrderBook, int], None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Whom to show the book of a moment, in ns."""

    @property
    def rows(self) -> dict[int, Row]:
        """The trades by id: time, price, size and aggressor, as a client has them."""
        one = self.instrument
        return {
            trade.trade_id: (
                trade.ts_event, to_text(trade.price, one.price_precision),
                to_text(trade.size, one.size_precision), str(trade.aggressor),
            )
            for trade in self.trades
        }  # fmt: skip

    def is_lost(self, update_id: int) -> bool:
        """Say whether a gap tells that an update is not stored."""
        return any(
            gap.stream is Stream.ORDERBOOK and gap.first_id <= update_id <= gap.last_id for gap in self.gaps
        )

    def walk(self) -> tuple[list[int], list[int]]:
        """Rebuild the book at every update that is stored, and show it to whoever wants one.

        Returns:
            Update ids, and moments, of which there is no book.
        """
        scale = [Decimal(1).scaleb(-one) for one in self._precisions]
        wanted, moments = dict(self.at_id), sorted(self.at_time)
        missed: list[int] = []
        book: OrderBook | None = None
        total, number = 0, 0
        for event in sorted([*self.quotes, *self.snapshots], key=_place):
            while number < len(moments) and isinstance(event, QuoteTick) and event.ts_event > moments[number]:
                if book is None:
                    missed.append(moments[number])
                else:
                    for look in self.at_time[moments[number]]:
                        look(book, total)
                number += 1
            if isinstance(event, BookSnapshot):
                if book is None or event.last_update_id > book.last_update_id:
                    book = OrderBook(event)
                    total = checksum(*(self._decimals(side, scale) for side in book.depth()))
            elif book is not None:
                total = self._apply(book, event, total, scale)
                if book.is_stale:
                    book = None
            if book is not None:
                for look in wanted.pop(book.last_update_id, ()):
                    look(book, total)
        return sorted(wanted), missed + moments[number:]

    @property
    def _precisions(self) -> tuple[int, int]:
        return self.instrument.price_precision, self.instrument.size_precision

    def _decimals(self, levels: Levels, scale: list[Decimal]) -> list[tuple[Decimal, Decimal]]:
        return [(price * scale[0], size * scale[1]) for price, size in levels]

    def _apply(self, book: OrderBook, quote: QuoteTick, total: int, scale: list[Decimal]) -> int:
        before = [(book._bid_sizes, quote.bids, 1), (book._ask_sizes, quote.asks, -1)]
        gone = [
            sign
            * sum(map(hash, self._decimals(tuple((p, sizes[p]) for p, _ in changes if p in sizes), scale)))
            for sizes, changes, sign in before
        ]
        try:
            if not book.apply(quote):
                return total
        except BookStale:
            return total
        come = [
            sign
            * sum(map(hash, self._decimals(tuple((p, sizes[p]) for p, _ in changes if p in sizes), scale)))
            for sizes, changes, sign in before
        ]
        return (total - sum(gone) + sum(come)) & MASK


def _place(event: QuoteTick | BookSnapshot) -> tuple[int, bool]:
    return event.last_update_id, isinstance(event, BookSnapshot)


@asynccontextmanager
async def opened(data_dir: Path, url: str | None = None) -> AsyncIterator[Any]:
    """Open what a bridge stores: in the server of its own, or elsewhere."""
    if url is not None:
        async with open_timescale(url) as store:
            yield store
        return
    async with (
        open_postgres(data_dir / "postgres", owner="storm", attach=True) as server,
        open_timescale(server.url) as store,
    ):
        yield store


async def learn(store: MarketStore, instrument: Instrument) -> Truth:
    """Read everything of an instrument."""
    trades, quotes, snapshots, gaps = [
        [one async for one in store.scan(kind, instrument, 0, END_OF_TIME)]
        for kind in (TradeTick, QuoteTick, BookSnapshot, Gap)
    ]
    return Truth(
        instrument,
        sorted(trades, key=lambda one: (one.ts_event, one.trade_id)),
        sorted(quotes, key=lambda one: one.last_update_id),
        sorted(snapshots, key=lambda one: one.last_update_id),
        gaps,
    )


async def stored(data_dir: Path, url: str | None = None) -> dict[str, Truth]:
    """Read everything that a bridge has stored, by symbol."""
    async with opened(data_dir, url) as store:
        return {one.symbol: await learn(store, one) for one in await store.registry.instruments()}
