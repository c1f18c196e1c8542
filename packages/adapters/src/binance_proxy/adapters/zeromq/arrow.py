"""Rows as an Arrow IPC stream, straight into pandas or Polars.

Times are ``timestamp[ns, UTC]``, prices, sizes and their sums ``decimal128(38, 12)``, ids ``int64``.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, get_type_hints

import pyarrow as pa

from binance_proxy.application.serve.failures import TooLarge
from binance_proxy.application.serve.rows import Row, TradeRow
from binance_proxy.domain.tick import TradeTick

PLACES = 12

_TIMES = frozenset({"ts_event", "ts_recv", "start", "end"})
_DECIMALS = frozenset({"price", "size", "open", "high", "low", "close", "volume", "quote_volume", "vwap"})
_DECIMAL = pa.decimal128(38, PLACES)
_PLAIN = {bool: pa.bool_(), int: pa.int64(), int | None: pa.int64()}


def stream_of(kind: type[Row], rows: Sequence[Row]) -> bytes:
    """Return rows of a kind as an IPC stream with one record batch; without rows it has the columns too.

    Raises:
        TooLarge: A number has more than the 26 digits before the point, or the 12 behind it, that fit.
    """
    schema = schema_of(kind)
    columns = []
    for field in schema:
        values = [getattr(row, field.name) for row in rows]
        if field.type == _DECIMAL:
            try:
                columns.append(pa.array(values, pa.string()).cast(_DECIMAL))
            except pa.ArrowInvalid as error:
                raise _too_long(field.name) from error
        else:
            columns.append(pa.array(values, field.type))
    return _packed(schema, columns)


def stream_of_trades(trades: Sequence[TradeTick]) -> bytes:
    """Return trades of one instrument likewise, the same as by their rows; no number becomes text.

    Raises:
        TooLarge: As above.
    """
    if not trades:
        return stream_of(TradeRow, ())
    schema, one = schema_of(TradeRow), trades[0].instrument
    columns = []
    for field in schema:
        if field.name in {"venue", "market", "symbol"}:
            column = pa.repeat(pa.scalar(str(getattr(one, field.name)), field.type), len(trades))
        elif field.name in {"price", "size"}:
            places = one.price_precision if field.name == "price" else one.size_precision
            column = _decimals([getattr(trade, field.name) for trade in trades], places, field.name)
        else:
            column = pa.array([getattr(trade, field.name) for trade in trades], field.type)
        columns.append(column)
    return _packed(schema, columns)


def _decimals(units: Sequence[int], places: int, name: str) -> "pa.Decimal128Array":
    """Return units of ``10**-places`` as they are: only their point moves."""
    try:
        whole = pa.array(units, pa.int64()).cast(pa.decimal128(38, 0))
        column = pa.Array.from_buffers(pa.decimal128(38, places), len(whole), whole.buffers())
        return column.cast(_DECIMAL)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise _too_long(name) from error


def _too_long(name: str) -> TooLarge:
    return TooLarge(f"a {name} has more digits than decimal128(38, {PLACES}) holds: leave `accept` out")


def _packed(schema: "pa.Schema", columns: "Sequence[pa.Array]") -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(list(columns), schema=schema))
    return bytes(sink.getvalue())


@lru_cache(maxsize=8)
def schema_of(kind: type[Row]) -> "pa.Schema":
    """Return the columns of `TradeRow`, `CandleRow` or `GapRow`, in the order of its fields."""
    hints: dict[str, Any] = get_type_hints(kind)
    fields = []
    for name in kind.__struct_fields__:
        if name in _TIMES:
            type_ = pa.timestamp("ns", tz="UTC")
        elif name in _DECIMALS:
            type_ = _DECIMAL
        else:
            type_ = _PLAIN.get(hints[name], pa.string())
        nullable = name in {"first_match_id", "last_match_id"}
        fields.append(pa.field(name, type_, nullable=nullable))
    return pa.schema(fields)
