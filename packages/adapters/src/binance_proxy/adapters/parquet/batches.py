"""What is done with whole columns at a time: trades that come so, their order, and their sums."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from binance_proxy.adapters.parquet.columns import (
    DECIMALS,
    EVENT_TIME,
    ONE_WORD,
    RECEIPT_TIME,
    decimal_words,
    decimals,
    decimals_of,
    integers,
)
from binance_proxy.application.trade_columns import Bigints, TradeColumns
from binance_proxy.domain.instrument import Instrument


def pack_columns(trades: TradeColumns, instrument: Instrument) -> list[pa.Array]:
    """Turn trades into the columns of a file, the same ones that their ticks are turned into."""
    sides = pa.array(["sell", "buy"], pa.string())
    return [
        pa.array(_numbers(trades.ts_event) // 1000, EVENT_TIME),
        pa.array(_numbers(trades.ts_recv), RECEIPT_TIME),
        pa.array(_numbers(trades.trade_id), pa.int64()),
        _decimals(trades.price, instrument.price_precision),
        _decimals(trades.size, instrument.size_precision),
        sides.take(pa.array(np.frombuffer(trades.is_buy, np.int8))),
        _nullable(trades.first_match_id, trades.has_first_match),
        _nullable(trades.last_match_id, trades.has_last_match),
        pa.array(np.frombuffer(trades.off_book, np.bool_)),
    ]


def _numbers(values: Bigints) -> NDArray[np.int64]:
    return np.frombuffer(values, np.int64)


def _nullable(values: Bigints, there: bytes) -> pa.Array:
    return pa.array(_numbers(values), pa.int64(), mask=~np.frombuffer(there, np.bool_))


def _decimals(values: Bigints, precision: int) -> pa.Array:
    numbers = _numbers(values)
    scale = 10 ** max(DECIMALS - precision, 0)
    if precision > DECIMALS or numbers.min() < 0 or numbers.max() > ONE_WORD // scale:
        return decimals(values.tolist(), precision)
    return decimals_of(numbers * scale)


def keys_of(batch: pa.RecordBatch, id_column: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what the rows are ordered by: ``ts_event`` in µs, and an id."""
    times = batch["ts_event"].cast(pa.int64()).to_numpy()
    return times, batch[id_column].to_numpy()


def are_rising(times: NDArray[np.int64], ids: NDArray[np.int64]) -> bool:
    """Say whether each row lies behind the one before it."""
    later, same = times[1:] > times[:-1], times[1:] == times[:-1]
    return bool((later | (same & (ids[1:] > ids[:-1]))).all())


def matches_and_volume(batch: pa.RecordBatch, instrument: Instrument) -> tuple[int, int]:
    """Count the matches of trades, and sum up their sizes in size units, as candles do: none off the book."""
    off_book = batch["off_book"].to_numpy(zero_copy_only=False)
    if off_book.any():
        batch = batch.filter(pa.array(~off_book))
    return _matches(batch["first_match_id"], batch["last_match_id"]), _volume(batch["size"], instrument)


def _matches(first: pa.Array, last: pa.Array) -> int:
    if first.null_count == len(first) or last.null_count == len(last):
        return len(first)
    is_one = first.is_null().to_numpy(zero_copy_only=False) | last.is_null().to_numpy(zero_copy_only=False)
    spans = last.fill_null(0).to_numpy() - first.fill_null(0).to_numpy() + 1
    return int(np.where(is_one, 1, spans).sum())


def _volume(sizes: pa.Array, instrument: Instrument) -> int:
    words = decimal_words(sizes)
    precision = instrument.size_precision
    if precision > DECIMALS or words[:, 1].any() or (words[:, 0] < 0).any():
        return sum(integers(sizes, precision))
    low = words[:, 0]  # in halves, whose sums have room
    total = (int((low >> 32).sum()) << 32) + int((low & 0xFFFF_FFFF).sum())
    return total // int(10 ** (DECIMALS - precision))
