"""Rows as an Arrow IPC stream, straight into pandas or Polars.

Times are ``timestamp[ns, UTC]``, prices, sizes and their sums ``decimal128(38, 12)``, ids ``int64``.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, get_type_hints

import pyarrow as pa

from binance_proxy.application.serve.failures import TooLarge
from binance_proxy.application.serve.rows import Row

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
                raise TooLarge(
                    f"a {field.name} has more digits than decimal128(38, {PLACES}) holds: leave `accept` out"
                ) from error
        else:
            columns.append(pa.array(values, field.type))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
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
