"""A Python client of Binance Proxy API: live streams, books that are right or say so, and every question."""

from binance_proxy.client.answers import (
    BookAnswer,
    Depth,
    Hole,
    Instrument,
    Liquidity,
    Page,
    Pair,
    Recalled,
    Slippage,
    Spread,
    Vwap,
)
from binance_proxy.client.book import BookView, OrderBook
from binance_proxy.client.bridge import Bridge
from binance_proxy.client.errors import (
    BookStale,
    BridgeAway,
    ClientError,
    RequestFailed,
    RequestTimedOut,
    Unavailable,
    UnknownPair,
    WrongAddress,
)
from binance_proxy.client.messages import Candle, Gap, Missed, Quote, Snapshot, Stale, Status, Trade
from binance_proxy.client.sync import SyncBook, SyncBridge
from binance_proxy.client.wire import Traffic

__all__ = [
    "BookAnswer",
    "BookStale",
    "BookView",
    "Bridge",
    "BridgeAway",
    "Candle",
    "ClientError",
    "Depth",
    "Gap",
    "Hole",
    "Instrument",
    "Liquidity",
    "Missed",
    "OrderBook",
    "Page",
    "Pair",
    "Quote",
    "Recalled",
    "RequestFailed",
    "RequestTimedOut",
    "Slippage",
    "Snapshot",
    "Spread",
    "Stale",
    "Status",
    "SyncBook",
    "SyncBridge",
    "Trade",
    "Traffic",
    "Unavailable",
    "UnknownPair",
    "Vwap",
    "WrongAddress",
]
