"""The ports: what the use cases need from the world, each named by its role.

Every sentence in a method's docstring is tested by the contract suite of its port, in ``tests/contract``,
which each adapter passes. An adapter raises the errors of its port and no others, and chains the vendor's
own.
"""

from binance_proxy.application.ports.cache import Cache, CacheError, CacheRejected, CacheUnavailable
from binance_proxy.application.ports.clock import Clock
from binance_proxy.application.ports.days import (
    Archive,
    ArchivedDay,
    AuditedDay,
    ClosedDays,
    HeldDay,
    StoredTick,
)
from binance_proxy.application.ports.feed import (
    FeedError,
    FeedRejected,
    FeedUnavailable,
    FrameRejected,
    MarketFeed,
)
from binance_proxy.application.ports.history import (
    ExchangeHistory,
    HistoryError,
    HistoryRejected,
    HistoryUnavailable,
)
from binance_proxy.application.ports.live import (
    RECALLED,
    CaughtUp,
    Live,
    LiveBook,
    LiveError,
    LiveUnavailable,
)
from binance_proxy.application.ports.publisher import (
    PublishedEvent,
    Publisher,
    PublisherError,
    PublisherRejected,
    Recalled,
)
from binance_proxy.application.ports.registry import InstrumentRegistry, PairRegistry, TrackedPair
from binance_proxy.application.ports.spool import Spool, SpoolDepth
from binance_proxy.application.ports.store import (
    BookEvent,
    EventsRejected,
    MarketStore,
    Stored,
    StoredEvent,
    StoreError,
    StoreFull,
    StoreRejected,
    StoreUnavailable,
)
from binance_proxy.application.ports.ticks import ExportError, ExportRejected, TickWriter

__all__ = [
    "RECALLED",
    "Archive",
    "ArchivedDay",
    "AuditedDay",
    "BookEvent",
    "Cache",
    "CacheError",
    "CacheRejected",
    "CacheUnavailable",
    "CaughtUp",
    "Clock",
    "ClosedDays",
    "EventsRejected",
    "ExchangeHistory",
    "ExportError",
    "ExportRejected",
    "FeedError",
    "FeedRejected",
    "FeedUnavailable",
    "FrameRejected",
    "HeldDay",
    "HistoryError",
    "HistoryRejected",
    "HistoryUnavailable",
    "InstrumentRegistry",
    "Live",
    "LiveBook",
    "LiveError",
    "LiveUnavailable",
    "MarketFeed",
    "MarketStore",
    "PairRegistry",
    "PublishedEvent",
    "Publisher",
    "PublisherError",
    "PublisherRejected",
    "Recalled",
    "Spool",
    "SpoolDepth",
    "StoreError",
    "StoreFull",
    "StoreRejected",
    "StoreUnavailable",
    "Stored",
    "StoredEvent",
    "StoredTick",
    "TickWriter",
    "TrackedPair",
]
