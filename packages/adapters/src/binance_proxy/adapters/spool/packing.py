"""A batch of events as bytes, and back: each instrument once, each tick an array."""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.errors import TickRejected
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, Side, TradeTick

FORMAT = 1
"""Of the bytes. What an earlier version of the bridge has left behind must be readable for a later one."""
CHECKSUM_BYTES = 16

BUY, SELL = Side.BUY, Side.SELL


class _Instrument(Struct, array_like=True, frozen=True, gc=False):
    venue: str
    market: Market
    symbol: str
    price_precision: int
    size_precision: int
    tick_size: int | None
    step_size: int | None
    time_resolution_ns: int


class _Trade(Struct, array_like=True, frozen=True, gc=False):
    instrument: int
    ts_event: int
    ts_recv: int
    trade_id: int
    price: int
    size: int
    is_buy: bool
    first_match_id: int | None = None
    last_match_id: int | None = None
    off_book: bool = False


class _Quote(Struct, array_like=True, frozen=True, gc=False):
    instrument: int
    ts_event: int
    ts_recv: int
    first_update_id: int
    last_update_id: int
    previous_update_id: int | None
    bids: Levels
    asks: Levels


class _Snapshot(Struct, array_like=True, frozen=True, gc=False):
    instrument: int
    ts_event: int
    ts_recv: int
    last_update_id: int
    bids: Levels
    asks: Levels


class _Gap(Struct, array_like=True, frozen=True, gc=False):
    instrument: int
    ts_event: int
    ts_recv: int
    stream: Stream
    first_id: int
    last_id: int
    start: int
    end: int
    state: GapState


class _Batch(Struct, array_like=True, frozen=True):
    instruments: list[_Instrument]
    trades: list[_Trade]
    quotes: list[_Quote]
    snapshots: list[_Snapshot]
    gaps: list[_Gap]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Batch).decode


def checksum(number: int, ts: int, count: int, payload: bytes) -> bytes:
    """Return what proves that a payload is whole, and that of this batch."""
    digest = hashlib.blake2b(struct.pack(">qqq", number, ts, count), digest_size=CHECKSUM_BYTES)
    digest.update(payload)
    return digest.digest()


def pack(events: Sequence[StoredEvent]) -> bytes:
    """Return the events as bytes. Those of a kind stay in their order.

    Raises:
        OverflowError: A number is over 64 bits long.
    """
    places: dict[Instrument, int] = {}
    for event in events:
        if event.instrument not in places:
            places[event.instrument] = len(places)
    trades = [_trade(one, places) for one in events if isinstance(one, TradeTick)]
    rest = [one for one in events if not isinstance(one, TradeTick)] if len(trades) < len(events) else []
    return _encode(
        (
            [_instrument(one) for one in places],
            trades,
            [_quote(one, places) for one in rest if isinstance(one, QuoteTick)],
            [_snapshot(one, places) for one in rest if isinstance(one, BookSnapshot)],
            [_gap(one, places) for one in rest if isinstance(one, Gap)],
        )
    )


def unpack(payload: bytes) -> list[StoredEvent]:
    """Return the events that `pack` was given, by kind.

    Raises:
        ValueError: These are not such bytes.
    """
    try:
        return list(_events(_decode(payload)))
    except (IndexError, msgspec.MsgspecError, TickRejected) as error:
        raise ValueError(f"it does not hold events: {error}") from error


def _trade(one: TradeTick, places: dict[Instrument, int]) -> tuple[Any, ...]:
    common = (places[one.instrument], one.ts_event, one.ts_recv, one.trade_id, one.price, one.size,
              one.aggressor is BUY)  # fmt: skip
    if one.first_match_id is None and one.last_match_id is None and not one.off_book:
        return common
    return (*common, one.first_match_id, one.last_match_id, one.off_book)


def _quote(one: QuoteTick, places: dict[Instrument, int]) -> tuple[Any, ...]:
    return (places[one.instrument], one.ts_event, one.ts_recv, one.first_update_id, one.last_update_id,
            one.previous_update_id, one.bids, one.asks)  # fmt: skip


def _snapshot(one: BookSnapshot, places: dict[Instrument, int]) -> tuple[Any, ...]:
    return places[one.instrument], one.ts_event, one.ts_recv, one.last_update_id, one.bids, one.asks


def _gap(one: Gap, places: dict[Instrument, int]) -> tuple[Any, ...]:
    return (places[one.instrument], one.ts_event, one.ts_recv, one.stream, one.first_id, one.last_id,
            one.start, one.end, one.state)  # fmt: skip


def _instrument(one: Instrument) -> tuple[Any, ...]:
    return (one.venue, one.market, one.symbol, one.price_precision, one.size_precision, one.tick_size,
            one.step_size, one.time_resolution_ns)  # fmt: skip


def _events(batch: _Batch) -> Iterable[StoredEvent]:
    known = [
        Instrument(
            venue=one.venue,
            market=one.market,
            symbol=one.symbol,
            price_precision=one.price_precision,
            size_precision=one.size_precision,
            tick_size=one.tick_size,
            step_size=one.step_size,
            time_resolution_ns=one.time_resolution_ns,
        )
        for one in batch.instruments
    ]
    for trade in batch.trades:
        yield TradeTick(
            instrument=known[trade.instrument],
            ts_event=trade.ts_event,
            ts_recv=trade.ts_recv,
            trade_id=trade.trade_id,
            price=trade.price,
            size=trade.size,
            aggressor=BUY if trade.is_buy else SELL,
            first_match_id=trade.first_match_id,
            last_match_id=trade.last_match_id,
            off_book=trade.off_book,
        )
    for quote in batch.quotes:
        yield QuoteTick(
            instrument=known[quote.instrument],
            ts_event=quote.ts_event,
            ts_recv=quote.ts_recv,
            first_update_id=quote.first_update_id,
            last_update_id=quote.last_update_id,
            previous_update_id=quote.previous_update_id,
            bids=quote.bids,
            asks=quote.asks,
        )
    for snapshot in batch.snapshots:
        yield BookSnapshot(
            instrument=known[snapshot.instrument],
            ts_event=snapshot.ts_event,
            ts_recv=snapshot.ts_recv,
            last_update_id=snapshot.last_update_id,
            bids=snapshot.bids,
            asks=snapshot.asks,
        )
    for gap in batch.gaps:
        yield Gap(
            instrument=known[gap.instrument],
            ts_event=gap.ts_event,
            ts_recv=gap.ts_recv,
            stream=gap.stream,
            first_id=gap.first_id,
            last_id=gap.last_id,
            start=gap.start,
            end=gap.end,
            state=gap.state,
        )
