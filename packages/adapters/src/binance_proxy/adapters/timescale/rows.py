"""Ticks as PostgreSQL's binary COPY wants them, and rows as ticks.

Packing rows by `struct` is what makes the writer fast: the driver's own encoder takes each value, and each of
the hundred integers of a quote, one by one. Trades, whose rows are of one length, are packed a column at a
time, which is faster by far than row by row.

Source: PostgreSQL, "COPY", section "Binary Format", and ``array_send`` for the arrays.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, TypeVar

import asyncpg
from msgspec import Struct

from binance_proxy.adapters.timescale.session import EPOCH_2000_US
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, Level, Levels, QuoteTick, Side, TradeTick

FILE_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
FILE_END = struct.pack(">h", -1)
TS_MIN, TS_MAX = -(2**63), 2**63 - 1
"""Bounds of a time in ns. They lie well within a timestamptz."""
NULL = struct.pack(">i", -1)

_TRADE = struct.Struct(">h iq iq iq iq iq ii ih i?".replace(" ", ""))
_QUOTE = struct.Struct(">h iq iq iq iq ii".replace(" ", ""))
_SNAPSHOT = struct.Struct(">h iq iq iq ii".replace(" ", ""))
_BIGINT = struct.Struct(">iq")
_TRADE_BIGINTS_AT, _TRADE_AGGRESSOR_AT, _TRADE_OFF_BOOK_AT = 6, 74, 80
"""Where in a row of `_TRADE` its first value lies, and its last two."""
_NO_MATCHES = NULL + NULL
_BIGINT_OID = 20
_EMPTY_ARRAY = struct.pack(">iiii", 12, 0, 0, _BIGINT_OID)

Ids = Mapping[Instrument, int]
"""The database's id of each instrument."""

TickRow = TypeVar("TickRow", TradeTick, QuoteTick, BookSnapshot)


class TickTable(Struct, Generic[TickRow], frozen=True):
    """How one kind of tick lies in its table."""

    name: str
    columns: tuple[str, ...]
    """In the order in which `pack` writes them."""
    id_column: str
    """The last column of the primary key ``(instrument_id, ts_event, id_column)``."""
    key: Callable[[TickRow], tuple[int, int]]
    """The columns of the key that tell ticks of one instrument apart."""
    pack: Callable[[Sequence[TickRow], int], bytes | bytearray]
    """Turn ticks of one instrument, and its id, into rows, one behind the other.

    Raises `struct.error` if a number has over 64 bits.
    """
    unpack: Callable[[asyncpg.Record, Instrument], TickRow]


def file_of(rows: Iterable[bytes | bytearray]) -> bytearray:
    """Turn rows into the whole input of one COPY: a `bytearray`, as the driver takes `bytes` for a path."""
    return bytearray().join((FILE_HEADER, *rows, FILE_END))


def since_2000(ts: int) -> int:
    """Turn ns since 1970 into PostgreSQL's own count of microseconds."""
    return ts // 1000 - EPOCH_2000_US


def ceil_us(ts: int) -> int:
    """Turn ns into the first whole microsecond that is not before, within what the columns can hold."""
    return -(-min(max(ts, TS_MIN), TS_MAX) // 1000)


def _pack_trades(trades: Sequence[TradeTick], instrument_id: int) -> bytes | bytearray:
    count = len(trades)
    matches = [one.first_match_id for one in trades], [one.last_match_id for one in trades]
    if sum(column.count(None) for column in matches) < 2 * count:
        return b"".join([_pack_trade(one, instrument_id) for one in trades])  # rows of more than one length
    row = _TRADE.pack(10, 8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 4, instrument_id, 2, 0, 1, 0) + _NO_MATCHES
    rows = bytearray(row) * count
    for number, column in enumerate(
        (
            [one.ts_event // 1000 - EPOCH_2000_US for one in trades],
            [one.ts_recv for one in trades],
            [one.trade_id for one in trades],
            [one.price for one in trades],
            [one.size for one in trades],
        )
    ):
        _fill(rows, len(row), _TRADE_BIGINTS_AT + number * _BIGINT.size, struct.pack(f">{count}q", *column))
    buy = Side.BUY
    aggressors = [1 if one.aggressor is buy else -1 for one in trades]
    _fill(rows, len(row), _TRADE_AGGRESSOR_AT, struct.pack(f">{count}h", *aggressors))
    _fill(rows, len(row), _TRADE_OFF_BOOK_AT, bytes([one.off_book for one in trades]))
    return rows


def _fill(rows: bytearray, length: int, at: int, column: bytes) -> None:
    """Write a column into rows of one length, byte by byte of its values: a slice with a stride is fast."""
    width = len(column) * length // len(rows)
    for byte in range(width):
        rows[at + byte :: length] = column[byte::width]


def _pack_trade(trade: TradeTick, instrument_id: int) -> bytes:
    row = _TRADE.pack(
        10,
        8,
        since_2000(trade.ts_event),
        8,
        trade.ts_recv,
        8,
        trade.trade_id,
        8,
        trade.price,
        8,
        trade.size,
        4,
        instrument_id,
        2,
        1 if trade.aggressor is Side.BUY else -1,
        1,
        trade.off_book,
    )
    if trade.first_match_id is None and trade.last_match_id is None:
        return row + _NO_MATCHES
    return row + _nullable(trade.first_match_id) + _nullable(trade.last_match_id)


def _pack_quote(quote: QuoteTick, instrument_id: int) -> bytes:
    row = _QUOTE.pack(
        10,
        8,
        since_2000(quote.ts_event),
        8,
        quote.ts_recv,
        8,
        quote.first_update_id,
        8,
        quote.last_update_id,
        4,
        instrument_id,
    )
    return row + _nullable(quote.previous_update_id) + _pack_levels(quote.bids) + _pack_levels(quote.asks)


def _pack_snapshot(snapshot: BookSnapshot, instrument_id: int) -> bytes:
    row = _SNAPSHOT.pack(
        8,
        8,
        since_2000(snapshot.ts_event),
        8,
        snapshot.ts_recv,
        8,
        snapshot.last_update_id,
        4,
        instrument_id,
    )
    return row + _pack_levels(snapshot.bids) + _pack_levels(snapshot.asks)


def _each(pack: Callable[[TickRow, int], bytes]) -> Callable[[Sequence[TickRow], int], bytes]:
    return lambda ticks, instrument_id: b"".join([pack(one, instrument_id) for one in ticks])


def _nullable(value: int | None) -> bytes:
    return NULL if value is None else _BIGINT.pack(8, value)


def _pack_levels(levels: Levels) -> bytes:
    """Turn levels into two parallel arrays: prices, then sizes."""
    if not levels:
        return _EMPTY_ARRAY + _EMPTY_ARRAY
    prices, sizes = zip(*levels, strict=True)
    return _pack_array(prices) + _pack_array(sizes)


def _pack_array(values: Sequence[int]) -> bytes:
    count = len(values)
    words = [8] * (2 * count)  # each value behind its own length
    words[1::2] = values
    return _array(count).pack(20 + 12 * count, 1, 0, _BIGINT_OID, count, 1, *words)


@lru_cache(maxsize=10_000)
def _array(count: int) -> struct.Struct:
    return struct.Struct(">iiiiii" + "iq" * count)


def _levels(prices: Sequence[int], sizes: Sequence[int]) -> tuple[Level, ...]:
    return tuple(zip(prices, sizes, strict=True))


def _unpack_trade(row: asyncpg.Record, instrument: Instrument) -> TradeTick:
    ts_event, ts_recv, trade_id, price, size, _, aggressor, off_book, first_match_id, last_match_id = row
    return TradeTick(
        instrument=instrument,
        ts_event=ts_event * 1000,
        ts_recv=ts_recv,
        trade_id=trade_id,
        price=price,
        size=size,
        aggressor=Side.BUY if aggressor == 1 else Side.SELL,
        first_match_id=first_match_id,
        last_match_id=last_match_id,
        off_book=off_book,
    )


def _unpack_quote(row: asyncpg.Record, instrument: Instrument) -> QuoteTick:
    ts_event, ts_recv, first_id, last_id, _, previous_id, bid_prices, bid_sizes, ask_prices, ask_sizes = row
    return QuoteTick(
        instrument=instrument,
        ts_event=ts_event * 1000,
        ts_recv=ts_recv,
        first_update_id=first_id,
        last_update_id=last_id,
        previous_update_id=previous_id,
        bids=_levels(bid_prices, bid_sizes),
        asks=_levels(ask_prices, ask_sizes),
    )


def _unpack_snapshot(row: asyncpg.Record, instrument: Instrument) -> BookSnapshot:
    ts_event, ts_recv, last_id, _, bid_prices, bid_sizes, ask_prices, ask_sizes = row
    return BookSnapshot(
        instrument=instrument,
        ts_event=ts_event * 1000,
        ts_recv=ts_recv,
        last_update_id=last_id,
        bids=_levels(bid_prices, bid_sizes),
        asks=_levels(ask_prices, ask_sizes),
    )


LEVEL_COLUMNS = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")

TRADES = TickTable(
    name="trades",
    columns=(
        "ts_event",
        "ts_recv",
        "trade_id",
        "price",
        "size",
        "instrument_id",
        "aggressor",
        "off_book",
        "first_match_id",
        "last_match_id",
    ),
    id_column="trade_id",
    key=attrgetter("ts_event", "trade_id"),
    pack=_pack_trades,
    unpack=_unpack_trade,
)
QUOTES = TickTable(
    name="quotes",
    columns=(
        "ts_event",
        "ts_recv",
        "first_update_id",
        "last_update_id",
        "instrument_id",
        "previous_update_id",
        *LEVEL_COLUMNS,
    ),
    id_column="last_update_id",
    key=attrgetter("ts_event", "last_update_id"),
    pack=_each(_pack_quote),
    unpack=_unpack_quote,
)
SNAPSHOTS = TickTable(
    name="book_snapshots",
    columns=("ts_event", "ts_recv", "last_update_id", "instrument_id", *LEVEL_COLUMNS),
    id_column="last_update_id",
    key=attrgetter("ts_event", "last_update_id"),
    pack=_each(_pack_snapshot),
    unpack=_unpack_snapshot,
)

TABLES: Mapping[type, TickTable[Any]] = {TradeTick: TRADES, QuoteTick: QUOTES, BookSnapshot: SNAPSHOTS}
"""In the order in which every writer takes them, so that no two wait for each other."""
