"""Ticks made up for tests: trades and updates of one instrument, by number."""

from collections.abc import AsyncIterator, Iterable

from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT", price_precision=2, size_precision=5)
MS = 1_000_000
DAY_NS = 86_400_000 * MS
MIDNIGHT = 19_944 * DAY_NS
"""2024-08-09."""


def trade(trade_id: int, at: int = 0, *, instrument: Instrument = ETH, **changed: object) -> TradeTick:
    ts = MIDNIGHT + at * MS
    known = {
        "ts_event": ts, "ts_recv": ts + 7, "trade_id": trade_id, "price": 305_012, "size": 150_000,
        "aggressor": Side.BUY if trade_id % 2 else Side.SELL,
    }  # fmt: skip
    return TradeTick(instrument=instrument, **(known | changed))


def quote(
    first: int, last: int, at: int = 0, *, instrument: Instrument = ETH, **changed: object
) -> QuoteTick:
    ts = MIDNIGHT + at * MS
    known = {
        "ts_event": ts, "ts_recv": ts + 9, "first_update_id": first, "last_update_id": last,
        "bids": ((305_000 + last, last),), "asks": ((306_000 + last, 0), (307_000, last)),
    }  # fmt: skip
    return QuoteTick(instrument=instrument, **(known | changed))


def snapshot(last: int, at: int = 0, *, instrument: Instrument = ETH, **changed: object) -> BookSnapshot:
    ts = MIDNIGHT + at * MS
    known = {
        "ts_event": ts, "ts_recv": ts + 11, "last_update_id": last,
        "bids": ((304_900, 10), (304_800, 20)), "asks": ((307_100, 30),),
    }  # fmt: skip
    return BookSnapshot(instrument=instrument, **(known | changed))


async def stream(events: Iterable[object]) -> AsyncIterator[object]:
    for event in events:
        yield event
