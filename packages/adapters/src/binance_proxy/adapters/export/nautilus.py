"""A catalog that nautilus_trader reads: trades, changes of the book, and the instrument.

Its Arrow schemas are those of nautilus_trader 1.221 with 128-bit numbers, as its wheels for Linux and macOS
have them: whole numbers of ``10**-16``, 16 bytes, lowest first. Source: its ``serialization/arrow`` and
``persistence/catalog/parquet.py``.
"""

from collections.abc import AsyncIterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from binance_proxy.adapters.export.decimals import decimals
from binance_proxy.adapters.export.spilled import Spilled
from binance_proxy.adapters.export.staged import staged
from binance_proxy.application.ports import ExportRejected, StoredTick
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, StaleBook, TradeTick

PLACES = 16
LARGEST = 17_014_118_346_046
"""The highest price that it can hold; sizes may be twice as large."""
AT_ONCE = 65_536

BUYER, SELLER = 1, 2
BID, ASK, NO_SIDE = 1, 2, 0
ADD, UPDATE, DELETE, CLEAR = 1, 2, 3, 4
F_SNAPSHOT, F_LAST = 1 << 5, 1 << 7

_RAW = pa.binary(16)
_TRADE = [
    ("price", _RAW), ("size", _RAW), ("aggressor_side", pa.uint8()), ("trade_id", pa.string()),
    ("ts_event", pa.uint64()), ("ts_init", pa.uint64()),
]  # fmt: skip
_DELTA = [
    ("action", pa.uint8()), ("side", pa.uint8()), ("price", _RAW), ("size", _RAW), ("order_id", pa.uint64()),
    ("flags", pa.uint8()), ("sequence", pa.uint64()), ("ts_event", pa.uint64()), ("ts_init", pa.uint64()),
]  # fmt: skip
_ROW = np.dtype([(name, "i8") for name in ("ts_init", "ts_event", "id", "price", "size", "side")])
_WORD = pa.dictionary(pa.int16(), pa.string())


class NautilusCatalog:
    """A `TickWriter` into a catalog, which may hold other instruments already."""

    def __init__(self, to: Path, *, replace: bool = False) -> None:
        self._to, self._replace = to, replace

    async def write(self, instrument: Instrument, events: AsyncIterable[StoredTick | StaleBook]) -> None:
        """Write trades and the book by ``ts_init``, which is our ``ts_recv``.

        Trades are sorted in a file beside the catalog: memory grows by about 16 bytes a trade. It does not
        grow with the book.

        Raises:
            ExportRejected: The catalog has this instrument already and it may not be replaced, or a number
                does not fit.
            ExportError: It cannot be written there.
        """
        if max(instrument.price_precision, instrument.size_precision) > PLACES:
            raise ExportRejected(
                f"{instrument.name} is recorded with more than the {PLACES} decimals of nautilus_trader:"
                " export as csv"
            )
        name = name_of(instrument)
        kind = "crypto_perpetual" if instrument.market is Market.USDM else "currency_pair"
        places = {one: f"data/{one}/{name}" for one in ("trade_tick", "order_book_delta", kind)}
        with staged(self._to, tuple(places.values()), replace=self._replace) as folder:
            _write_instrument(folder / places[kind], instrument)
            trades = Spilled(_made(folder / "data") / "trades", _ROW)
            with closing(trades), closing(_Deltas(folder / places["order_book_delta"], instrument)) as deltas:
                async for event in events:
                    if isinstance(event, TradeTick):
                        side = BUYER if event.aggressor is Side.BUY else SELLER
                        trades.add(
                            event.ts_recv, event.ts_event, event.trade_id, event.price, event.size, side
                        )
                    else:
                        deltas.add(event)
                _write_trades(folder / places["trade_tick"], instrument, trades.finish())
                deltas.finish()


def name_of(instrument: Instrument) -> str:
    """Return the instrument's id as nautilus_trader has it: ``ETHUSDT.BINANCE``, ``BTCUSDT-PERP.BINANCE``."""
    perpetual = "-PERP" if instrument.market is Market.USDM else ""
    return f"{instrument.symbol.replace('/', '')}{perpetual}.{instrument.venue.upper()}"


class _Deltas:
    """The changes of a book, written as they come."""

    def __init__(self, folder: Path, instrument: Instrument) -> None:
        self._folder, self._instrument = folder, instrument
        self._rows: list[tuple[int, ...]] = []
        self._file: _File | None = None
        self._ts_init = self._sequence = 0

    def add(self, event: StoredTick | StaleBook) -> None:
        # An update is of use once the book is there that it is applied to, and not before.
        self._ts_init = max(self._ts_init, event.ts_recv)
        if isinstance(event, QuoteTick | BookSnapshot):
            self._sequence = event.last_update_id
        times = (self._sequence, event.ts_event, self._ts_init)
        rows: list[tuple[int, ...]] = []
        flags = 0
        if not isinstance(event, QuoteTick):
            flags = F_SNAPSHOT
            rows.append((CLEAR, NO_SIDE, 0, 0, flags, *times))
        if isinstance(event, QuoteTick | BookSnapshot):
            for side, levels in ((BID, event.bids), (ASK, event.asks)):
                for price, size in levels:
                    action = ADD if flags else UPDATE if size else DELETE
                    rows.append((action, side, price, size, flags, *times))
        if rows:
            action, side, price, size, flags, *_ = rows[-1]
            rows[-1] = (action, side, price, size, flags | F_LAST, *times)
        self._rows += rows
        if len(self._rows) >= AT_ONCE:
            self._flush()

    def finish(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.finish()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        action, side, price, size, flags, sequence, ts_event, ts_init = zip(*self._rows, strict=True)
        if self._file is None:
            self._file = _File(self._folder, _DELTA, self._instrument, ts_init[0])
        one = self._instrument
        self._file.write(
            [
                pa.array(action, pa.uint8()), pa.array(side, pa.uint8()), _raw(price, one.price_precision),
                _raw(size, one.size_precision), pa.repeat(pa.scalar(0, pa.uint64()), len(action)),
                pa.array(flags, pa.uint8()), pa.array(sequence, pa.uint64()),
                pa.array(ts_event, pa.uint64()), pa.array(ts_init, pa.uint64()),
            ],
            ts_init[-1],
        )  # fmt: skip
        self._rows.clear()


class _File:
    """One file of a catalog, which gets its name, first and last ``ts_init``, once the last is known."""

    def __init__(
        self, folder: Path, columns: Sequence[tuple[str, pa.DataType]], instrument: Instrument, first: int
    ) -> None:
        said = {
            "instrument_id": name_of(instrument),
            "price_precision": str(instrument.price_precision),
            "size_precision": str(instrument.size_precision),
        }
        fields = [pa.field(name, kind, nullable=False) for name, kind in columns]
        self._schema = pa.schema(fields, metadata=said)
        self._path, self._first, self._last = _made(folder) / "unnamed", first, first
        self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")

    def write(self, columns: Sequence[pa.Array], last: int) -> None:
        self._last = last
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def finish(self) -> None:
        self._writer.close()
        self._path.rename(self._path.with_name(_file_name(self._first, self._last)))

    def close(self) -> None:
        self._writer.close()


def _write_trades(folder: Path, instrument: Instrument, rows: npt.NDArray[Any]) -> None:
    if not len(rows):
        return
    order = np.argsort(rows["ts_init"], kind="stable")
    file = _File(folder, _TRADE, instrument, int(rows["ts_init"][order[0]]))
    with closing(file):
        for part in _parts(len(order)):
            some = rows[order[part]]
            file.write(
                [
                    _raw(some["price"], instrument.price_precision),
                    _raw(some["size"], instrument.size_precision),
                    pa.array(some["side"].astype(np.uint8)),
                    pa.array(some["id"]).cast(pa.string()),
                    pa.array(some["ts_event"].astype(np.uint64)),
                    pa.array(some["ts_init"].astype(np.uint64)),
                ],
                int(some["ts_init"][-1]),
            )
        file.finish()


def _write_instrument(folder: Path, instrument: Instrument) -> None:
    perpetual = instrument.market is Market.USDM
    price_step = _increment(instrument.tick_size or 1, instrument.price_precision)
    size_step = _increment(instrument.step_size or 1, instrument.size_precision)
    text, number, time = pa.string(), pa.uint8(), pa.uint64()
    name = name_of(instrument)
    columns: dict[str, tuple[pa.DataType, object]] = {
        "id": (pa.dictionary(pa.int64(), pa.string()), name),
        "raw_symbol": (text, instrument.symbol.replace("/", "")),
        "base_currency": (_WORD, instrument.base),
        "quote_currency": (_WORD, instrument.quote),
    }
    if perpetual:
        columns |= {"settlement_currency": (_WORD, instrument.quote), "is_inverse": (pa.bool_(), False)}
    columns |= {
        "price_precision": (number, instrument.price_precision),
        "size_precision": (number, instrument.size_precision),
        "price_increment": (_WORD, price_step),
        "size_increment": (_WORD, size_step),
        "multiplier": (_WORD, "1"),
    }
    limits = ("max_quantity", "min_quantity", "max_notional", "min_notional", "max_price", "min_price")
    columns |= dict.fromkeys((*(() if perpetual else ("lot_size",)), *limits), (_WORD, None))
    columns |= dict.fromkeys(("margin_init", "margin_maint", "maker_fee", "taker_fee"), (text, "0"))
    columns |= {"info": (pa.binary(), b"null"), "ts_event": (time, 0), "ts_init": (time, 0)}
    schema = pa.schema(
        [(column, kind) for column, (kind, _) in columns.items()],
        metadata={"class": "CryptoPerpetual" if perpetual else "CurrencyPair"},
    )
    table = pa.table([pa.array([value], kind) for kind, value in columns.values()], schema=schema)
    pq.write_table(table, _made(folder) / _file_name(0, 0))


def _raw(units: Sequence[int] | npt.NDArray[np.int64], precision: int) -> pa.Array:
    """Return units as 16-byte numbers of ``10**-16``."""
    if max(int(max(units)), 0) > LARGEST * 10**precision:
        raise ExportRejected(f"a value is above {LARGEST}, the highest of nautilus_trader: export as csv")
    column = decimals(units, precision, PLACES)
    return pa.Array.from_buffers(_RAW, len(column), [None, column.buffers()[1]], offset=column.offset)


def _increment(step: int, precision: int) -> str:
    digits = str(step).rjust(precision + 1, "0")
    return f"{digits[:-precision]}.{digits[-precision:]}" if precision else digits


def _file_name(first: int, last: int) -> str:
    return f"{_time(first)}_{_time(last)}.parquet"


def _time(ts: int) -> str:
    at = datetime.fromtimestamp(ts // SECOND_NS, UTC)
    return f"{at:%Y-%m-%dT%H-%M-%S}-{ts % SECOND_NS:09}Z"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _parts(length: int) -> Iterator[slice]:
    for start in range(0, length, AT_ONCE):
        yield slice(start, start + AT_ONCE)
