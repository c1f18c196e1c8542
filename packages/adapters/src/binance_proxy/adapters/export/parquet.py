"""Flat Parquet files: one of trades, one of updates, one of snapshots, with the columns of the CSV files.

Prices and sizes are ``DECIMAL(38, 12)``, times ``TIMESTAMP`` in ns, UTC.
"""

from collections.abc import AsyncIterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from binance_proxy.adapters.export.decimals import decimals
from binance_proxy.adapters.export.staged import staged
from binance_proxy.application.ports import StoredTick
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, StaleBook, TradeTick

PLACES = 12
AT_ONCE = 131_072
"""Rows of a row group, which are held in memory."""

_TIME, _DECIMAL = pa.timestamp("ns", tz="UTC"), pa.decimal128(38, PLACES)
_WHAT = [pa.field(name, pa.string(), nullable=False) for name in ("venue", "market", "symbol")]
_TIMES = [pa.field(name, _TIME, nullable=False) for name in ("ts_event", "ts_recv")]
_LEVEL = [pa.field("side", pa.string()), pa.field("price", _DECIMAL), pa.field("size", _DECIMAL)]


def _id(name: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, pa.int64(), nullable=nullable)


TRADES = pa.schema(
    [
        *_WHAT,
        _id("trade_id"),
        *_TIMES,
        pa.field("price", _DECIMAL, nullable=False),
        pa.field("size", _DECIMAL, nullable=False),
        pa.field("aggressor", pa.string(), nullable=False),
        _id("first_match_id", nullable=True),
        _id("last_match_id", nullable=True),
        pa.field("off_book", pa.bool_(), nullable=False),
    ]
)
QUOTES = pa.schema(
    [
        *_WHAT,
        _id("first_update_id"),
        _id("last_update_id"),
        _id("previous_update_id", nullable=True),
        *_TIMES,
        *_LEVEL,
    ]
)
SNAPSHOTS = pa.schema([*_WHAT, _id("last_update_id"), *_TIMES, *_LEVEL])
FILES = {"trades.parquet": TRADES, "quotes.parquet": QUOTES, "snapshots.parquet": SNAPSHOTS}


class ParquetFiles:
    """A `TickWriter` into a folder: ``trades.parquet``, ``quotes.parquet`` and ``snapshots.parquet``."""

    def __init__(self, to: Path, *, replace: bool = False) -> None:
        self._to, self._replace = to, replace

    async def write(self, instrument: Instrument, events: AsyncIterable[StoredTick | StaleBook]) -> None:
        """Write trades, updates and snapshots as they are. Memory does not grow with them.

        Raises:
            ExportRejected: One of the files is there already and may not be replaced, or a value has more
                than 12 decimals.
            ExportError: It cannot be written there.
        """
        with staged(self._to, tuple(FILES), replace=self._replace) as folder:
            folder.mkdir()
            with ExitStack() as stack:
                trades, quotes, snapshots = (
                    stack.enter_context(_Table(folder / name, schema, instrument))
                    for name, schema in FILES.items()
                )
                async for event in events:
                    if isinstance(event, TradeTick):
                        trades.add(
                            event.trade_id, event.ts_event, event.ts_recv, event.price, event.size,
                            str(event.aggressor), event.first_match_id, event.last_match_id, event.off_book,
                        )  # fmt: skip
                    elif isinstance(event, QuoteTick):
                        ids = (event.first_update_id, event.last_update_id, event.previous_update_id)
                        _levels(quotes, (*ids, event.ts_event, event.ts_recv), event.bids, event.asks)
                    elif isinstance(event, BookSnapshot):
                        head = (event.last_update_id, event.ts_event, event.ts_recv)
                        _levels(snapshots, head, event.bids, event.asks)


def _levels(table: "_Table", head: tuple[int | None, ...], bids: Levels, asks: Levels) -> None:
    for price, size in bids:
        table.add(*head, "bid", price, size)
    for price, size in asks:
        table.add(*head, "ask", price, size)
    if not bids and not asks:
        table.add(*head, None, None, None)


class _Table:
    """One file, and the rows that wait for their row group."""

    def __init__(self, path: Path, schema: pa.Schema, instrument: Instrument) -> None:
        self._schema, self._instrument = schema, instrument
        self._rows: list[tuple[Any, ...]] = []
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def add(self, *row: int | str | bool | None) -> None:
        self._rows.append(row)
        if len(self._rows) == AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        one = self._instrument
        columns = [
            pa.repeat(pa.scalar(text, pa.string()), len(self._rows))
            for text in (one.venue, str(one.market), one.symbol)
        ]
        named = zip(self._schema.names[len(columns) :], zip(*self._rows, strict=True), strict=True)
        for name, values in named:
            if name in {"price", "size"}:
                precision = one.price_precision if name == "price" else one.size_precision
                columns.append(decimals(values, precision, PLACES))
            else:
                columns.append(pa.array(values, self._schema.field(name).type))
        self._writer.write_table(pa.table(columns, schema=self._schema))
        self._rows.clear()
