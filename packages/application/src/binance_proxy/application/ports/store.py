"""Where events are kept."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, TypeAlias, TypeVar

from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, StaleBook, TradeTick


class StoreError(BridgeError):
    """A `MarketStore`, `PairRegistry` or `InstrumentRegistry` could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store is away for now. Trying again may help."""


class StoreFull(StoreUnavailable):
    """There is no room for more: the disk is full, or a limit reached. Trying again helps once there is."""


class StoreRejected(StoreError):
    """The store refuses, and will refuse again: wrong password, newer schema, a folder it may not write."""


class EventsRejected(StoreRejected):
    """Some of these events cannot be kept, whoever tries; others can."""


StoredEvent: TypeAlias = TradeTick | QuoteTick | BookSnapshot | Gap
"""What a `MarketStore` keeps."""


Stored = TypeVar("Stored", TradeTick, QuoteTick, BookSnapshot, Gap)


BookEvent: TypeAlias = BookSnapshot | QuoteTick | StaleBook
"""What a book is made of, and where it ends to be one."""


class MarketStore(Protocol):
    """Ticks, kept for good."""

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events, each once, however often it is given; return how many were new.

        All of them are kept, or an error is raised and none is. A trade is the same if instrument,
        ``ts_event`` and ``trade_id`` are; an update or a snapshot if instrument, ``ts_event`` and
        ``last_update_id`` are. A gap is the same if instrument, stream and ``first_id`` are; given again it
        is not new, its state moves forward only (open, lost, repaired), and its ``last_id`` moves down only.

        Raises:
            StoreUnavailable: Try again with the same events; nothing is kept twice.
            EventsRejected: A time is finer than the instrument's resolution, or units are not those that it
                is recorded in.
            StoreRejected: The store will not take them.
        """
        ...

    def scan(
        self, kind: type[Stored], instrument: Instrument, start: int, end: int, *, newest_first: bool = False
    ) -> AsyncGenerator[Stored]:
        """Yield what is kept with ``start <= ts_event < end``, ordered by ``ts_event`` and then by id.

        The id is ``trade_id``, ``last_update_id`` or ``first_id``. Memory does not grow with the range. Read
        it under `contextlib.aclosing`.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Return the candles of all kept trades, oldest first, whose period starts in ``[start, end)``.

        They equal those of a `CandleFold` over the same trades, by time and then by id; also in what is
        complete, as long as ids rise with time. All are marked closed but one: the newest of the instrument,
        which is open until a trade of a later period is kept.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...
