"""Ticks as Arrow columns, and back.

Prices and sizes are ``DECIMAL(38, 12)`` in every file, so that whole archives can be read as one table. In
memory they are integers in the units of their instrument; the way between is exact, or an error.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from binance_proxy.application.ports import EventsRejected, StoredEvent
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, Side, TradeTick

DECIMALS = 12
DECIMAL = pa.decimal128(38, DECIMALS)
ONE_WORD = 2**63 - 1
"""What fits into the lower half of a decimal of 128 bits, as an integer with a sign."""


def _there(name: str, kind: pa.DataType) -> pa.Field:
    """Return a column that has a value in every row."""
    return pa.field(name, kind, nullable=False)


LEVELS = pa.list_(pa.struct([_there("price", DECIMAL), _there("size", DECIMAL)]))
EVENT_TIME = pa.timestamp("us", "UTC")
"""As in the database: no venue is finer, and every reader knows microseconds."""
RECEIPT_TIME = pa.timestamp("ns", "UTC")

Kept = TypeVar("Kept", TradeTick, QuoteTick, BookSnapshot, Gap)


class Columns(Struct, Generic[Kept], frozen=True):
    """How one kind of event lies in a file."""

    name: str
    """Of the folder ``stream=...``, and of the table in the database."""
    schema: pa.Schema
    key: Callable[[Kept], tuple[Any, ...]]
    """What the rows are ordered by, and told apart by."""
    id_column: str | None
    """The column that the key has behind ``ts_event``; `None` if it has more."""
    rows: int
    """In a row group, which is what is in memory at a time: a snapshot may be twenty thousand numbers."""
    pack: Callable[[Sequence[Kept], Instrument], list[pa.Array]]
    """Turn events into columns. Raises `EventsRejected` if a value has no place in them."""
    unpack: Callable[[pa.RecordBatch, Instrument], Iterator[Kept]]
    """Turn a table into events. Raises `EventsRejected` if a value is finer than the instrument's units."""


def decimals(values: Sequence[int], precision: int) -> pa.Array:
    """Turn integers in units of ``10**-precision`` into decimals."""
    if precision > DECIMALS:
        values = [_shortened(value, precision) for value in values]
        precision = DECIMALS
    scale = 10 ** (DECIMALS - precision)
    if values and not 0 <= min(values) <= max(values) <= ONE_WORD // scale:
        return _large_decimals(values, scale)
    return decimals_of(np.array(values, np.int64) * scale)


def decimals_of(scaled: NDArray[np.int64]) -> pa.Array:
    """Turn integers in units of an archive, none below zero, into decimals."""
    words = np.zeros((len(scaled), 2), np.int64)
    words[:, 0] = scaled
    return pa.Array.from_buffers(DECIMAL, len(scaled), [None, pa.py_buffer(words)])


def _shortened(value: int, precision: int) -> int:
    short, rest = divmod(value, int(10 ** (precision - DECIMALS)))
    if rest:
        raise EventsRejected(
            f"{value} in units of 10**-{precision} has more than the {DECIMALS} decimals of an archive"
        )
    return short


def _large_decimals(values: Sequence[int], scale: int) -> pa.Array:
    words = b"".join((value * scale).to_bytes(16, "little", signed=True) for value in values)
    if max(map(abs, values)) * scale >= 10**38:
        raise EventsRejected("a value has more than the 38 digits of an archive")
    return pa.Array.from_buffers(DECIMAL, len(values), [None, pa.py_buffer(words)])


def integers(column: pa.Array, precision: int) -> list[int]:
    """Turn decimals into integers in units of ``10**-precision``."""
    words = decimal_words(column)
    scale = 10 ** max(DECIMALS - precision, 0)
    if precision > DECIMALS or words[:, 1].any() or (words[:, 0] < 0).any():
        return _large_integers(words, precision)
    values, rests = np.divmod(words[:, 0], scale)
    if rests.any():
        raise EventsRejected(_too_fine(precision))
    return values.tolist()  # type: ignore[no-any-return]


def _large_integers(words: NDArray[np.int64], precision: int) -> list[int]:
    packed = words.tobytes()
    values = [
        int.from_bytes(packed[at : at + 16], "little", signed=True) * 10 ** max(precision - DECIMALS, 0)
        for at in range(0, len(packed), 16)
    ]
    scale = 10 ** max(DECIMALS - precision, 0)
    if any(value % scale for value in values):
        raise EventsRejected(_too_fine(precision))
    return [value // scale for value in values]


def _too_fine(precision: int) -> str:
    return f"a value is finer than the {precision} decimals that its instrument is recorded in"


def decimal_words(column: pa.Array) -> NDArray[np.int64]:
    """Return the 128 bits of each decimal as two integers, the lower one first; shape (rows, 2)."""
    words = np.frombuffer(column.buffers()[1], np.int64, count=2 * (column.offset + len(column)))
    return words.reshape(-1, 2)[column.offset :]


def _times(values: Sequence[int], unit: pa.DataType) -> pa.Array:
    ns = np.array(values, np.int64)
    return pa.array(ns if unit is RECEIPT_TIME else ns // 1000, unit)


def _ns(column: pa.Array) -> list[int]:
    """Turn times of either unit into ns."""
    ints = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return (ints * 1000 if column.type == EVENT_TIME else ints).tolist()  # type: ignore[no-any-return]


def _levels(sides: Sequence[Levels], instrument: Instrument) -> pa.Array:
    offsets = np.zeros(len(sides) + 1, np.int32)
    np.cumsum([len(side) for side in sides], out=offsets[1:])
    prices = [price for side in sides for price, _ in side]
    sizes = [size for side in sides for _, size in side]
    levels = pa.StructArray.from_arrays(
        [decimals(prices, instrument.price_precision), decimals(sizes, instrument.size_precision)],
        fields=list(LEVELS.value_type),
    )
    return pa.ListArray.from_arrays(pa.array(offsets), levels, type=LEVELS)


def _sides(column: pa.Array, instrument: Instrument) -> list[Levels]:
    prices, sizes = column.flatten().flatten()
    levels = list(
        zip(
            integers(prices, instrument.price_precision),
            integers(sizes, instrument.size_precision),
            strict=True,
        )
    )
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False)).tolist()
    return [tuple(levels[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


TIMES = (_there("ts_event", EVENT_TIME), _there("ts_recv", RECEIPT_TIME))


def _pack_times(events: Sequence[StoredEvent]) -> list[pa.Array]:
    return [
        _times([one.ts_event for one in events], EVENT_TIME),
        _times([one.ts_recv for one in events], RECEIPT_TIME),
    ]


def _int_column(values: Sequence[int | None]) -> pa.Array:
    return pa.array(values, pa.int64())


def _pack_trades(trades: Sequence[TradeTick], instrument: Instrument) -> list[pa.Array]:
    return [
        *_pack_times(trades),
        _int_column([one.trade_id for one in trades]),
        decimals([one.price for one in trades], instrument.price_precision),
        decimals([one.size for one in trades], instrument.size_precision),
        pa.array([one.aggressor for one in trades], pa.string()),
        _int_column([one.first_match_id for one in trades]),
        _int_column([one.last_match_id for one in trades]),
        pa.array([one.off_book for one in trades], pa.bool_()),
    ]


SIDES = {side.value: side for side in Side}


def _unpack_trades(batch: pa.RecordBatch, instrument: Instrument) -> Iterator[TradeTick]:
    rows = zip(
        _ns(batch["ts_event"]),
        _ns(batch["ts_recv"]),
        batch["trade_id"].to_pylist(),
        integers(batch["price"], instrument.price_precision),
        integers(batch["size"], instrument.size_precision),
        batch["aggressor"].to_pylist(),
        batch["first_match_id"].to_pylist(),
        batch["last_match_id"].to_pylist(),
        batch["off_book"].to_pylist(),
        strict=True,
    )
    for ts_event, ts_recv, trade_id, price, size, aggressor, first, last, off_book in rows:
        yield TradeTick(
            instrument=instrument,
            ts_event=ts_event,
            ts_recv=ts_recv,
            trade_id=trade_id,
            price=price,
            size=size,
            aggressor=SIDES[aggressor],
            first_match_id=first,
            last_match_id=last,
            off_book=off_book,
        )


def _pack_quotes(quotes: Sequence[QuoteTick], instrument: Instrument) -> list[pa.Array]:
    return [
        *_pack_times(quotes),
        _int_column([one.first_update_id for one in quotes]),
        _int_column([one.last_update_id for one in quotes]),
        _int_column([one.previous_update_id for one in quotes]),
        _levels([one.bids for one in quotes], instrument),
        _levels([one.asks for one in quotes], instrument),
    ]


def _unpack_quotes(batch: pa.RecordBatch, instrument: Instrument) -> Iterator[QuoteTick]:
    rows = zip(
        _ns(batch["ts_event"]),
        _ns(batch["ts_recv"]),
        batch["first_update_id"].to_pylist(),
        batch["last_update_id"].to_pylist(),
        batch["previous_update_id"].to_pylist(),
        _sides(batch["bids"], instrument),
        _sides(batch["asks"], instrument),
        strict=True,
    )
    for ts_event, ts_recv, first, last, previous, bids, asks in rows:
        yield QuoteTick(
            instrument=instrument,
            ts_event=ts_event,
            ts_recv=ts_recv,
            first_update_id=first,
            last_update_id=last,
            previous_update_id=previous,
            bids=bids,
            asks=asks,
        )


def _pack_snapshots(snapshots: Sequence[BookSnapshot], instrument: Instrument) -> list[pa.Array]:
    return [
        *_pack_times(snapshots),
        _int_column([one.last_update_id for one in snapshots]),
        _levels([one.bids for one in snapshots], instrument),
        _levels([one.asks for one in snapshots], instrument),
    ]


def _unpack_snapshots(batch: pa.RecordBatch, instrument: Instrument) -> Iterator[BookSnapshot]:
    rows = zip(
        _ns(batch["ts_event"]),
        _ns(batch["ts_recv"]),
        batch["last_update_id"].to_pylist(),
        _sides(batch["bids"], instrument),
        _sides(batch["asks"], instrument),
        strict=True,
    )
    for ts_event, ts_recv, last, bids, asks in rows:
        yield BookSnapshot(
            instrument=instrument,
            ts_event=ts_event,
            ts_recv=ts_recv,
            last_update_id=last,
            bids=bids,
            asks=asks,
        )


def _pack_gaps(gaps: Sequence[Gap], _: Instrument) -> list[pa.Array]:
    return [
        *_pack_times(gaps),
        pa.array([one.stream for one in gaps], pa.string()),
        _int_column([one.first_id for one in gaps]),
        _int_column([one.last_id for one in gaps]),
        _times([one.start for one in gaps], EVENT_TIME),
        _times([one.end for one in gaps], EVENT_TIME),
        pa.array([one.state for one in gaps], pa.string()),
    ]


def _unpack_gaps(batch: pa.RecordBatch, instrument: Instrument) -> Iterator[Gap]:
    names = ("of_stream", "first_id", "last_id", "state")
    rows = zip(
        _ns(batch["ts_event"]),
        _ns(batch["ts_recv"]),
        _ns(batch["start"]),
        _ns(batch["end"]),
        *(batch[name].to_pylist() for name in names),
        strict=True,
    )
    for ts_event, ts_recv, start, end, stream, first, last, state in rows:
        yield Gap(
            instrument=instrument,
            ts_event=ts_event,
            ts_recv=ts_recv,
            stream=Stream(stream),
            first_id=first,
            last_id=last,
            start=start,
            end=end,
            state=GapState(state),
        )


def _ids(*names: str) -> list[pa.Field]:
    return [_there(name, pa.int64()) for name in names]


_SIDES = [_there("bids", LEVELS), _there("asks", LEVELS)]

COLUMNS: dict[type[StoredEvent], Columns[Any]] = {
    TradeTick: Columns[TradeTick](
        "trades",
        pa.schema(
            [
                *TIMES,
                *_ids("trade_id"),
                _there("price", DECIMAL),
                _there("size", DECIMAL),
                _there("aggressor", pa.string()),
                pa.field("first_match_id", pa.int64()),
                pa.field("last_match_id", pa.int64()),
                _there("off_book", pa.bool_()),
            ]
        ),
        lambda one: (one.ts_event, one.trade_id),
        "trade_id",
        65_536,
        _pack_trades,
        _unpack_trades,
    ),
    QuoteTick: Columns[QuoteTick](
        "quotes",
        pa.schema(
            [
                *TIMES,
                *_ids("first_update_id", "last_update_id"),
                pa.field("previous_update_id", pa.int64()),
                *_SIDES,
            ]
        ),
        lambda one: (one.ts_event, one.last_update_id),
        "last_update_id",
        8_192,
        _pack_quotes,
        _unpack_quotes,
    ),
    BookSnapshot: Columns[BookSnapshot](
        "book_snapshots",
        pa.schema([*TIMES, *_ids("last_update_id"), *_SIDES]),
        lambda one: (one.ts_event, one.last_update_id),
        "last_update_id",
        32,
        _pack_snapshots,
        _unpack_snapshots,
    ),
    Gap: Columns[Gap](
        "gaps",
        pa.schema(
            [
                *TIMES,
                _there("of_stream", pa.string()),
                *_ids("first_id", "last_id"),
                _there("start", EVENT_TIME),
                _there("end", EVENT_TIME),
                _there("state", pa.string()),
            ]
        ),
        lambda one: (one.ts_event, one.first_id, one.stream),
        None,
        65_536,
        _pack_gaps,
        _unpack_gaps,
    ),
}
KINDS = {columns.name: kind for kind, columns in COLUMNS.items()}
