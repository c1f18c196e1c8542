"""The array of events that hftbacktest reads, in an npz file.

Its numbers are floats, which is how that program counts. Its times are two: ``exch_ts`` is our ``ts_event``,
``local_ts`` our ``ts_recv``. Source: hftbacktest 2.4, "Data", and its ``types.py`` and ``validation.py``.
"""

import logging
import zipfile
from collections.abc import AsyncIterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from binance_proxy.adapters.export.spilled import Spilled
from binance_proxy.adapters.export.staged import staged
from binance_proxy.application.ports import StoredTick
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, StaleBook, TradeTick

log = logging.getLogger(__name__)

DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
EVENT = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("order_id", "u8"),
        ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)
AT_ONCE = 65_536
EVERYTHING = float("nan")
"""A price to clear up to that clears the whole side."""


class HftbacktestFile:
    """A `TickWriter` into one npz file."""

    def __init__(self, to: Path, *, replace: bool = False) -> None:
        self._to, self._replace = to, replace

    async def write(self, instrument: Instrument, events: AsyncIterable[StoredTick | StaleBook]) -> None:
        """Write trades and the book as one array, in the order of both times.

        The format is one array, which is sorted in a file beside it: memory grows by about 60 bytes a row,
        which is a trade or a changed level. The reader needs 64 bytes for each.

        Raises:
            ExportRejected: The file is there already and may not be replaced.
            ExportError: It cannot be written there.
        """
        with staged(self._to, replace=self._replace) as path:
            rows = _Rows(path.with_name(f"{path.name}.rows"), instrument)
            with closing(rows.spilled):
                async for event in events:
                    rows.add(event)
                _save(path, rows.spilled.finish())


class _Rows:
    def __init__(self, path: Path, instrument: Instrument) -> None:
        self.spilled = Spilled(path, EVENT)
        self._price, self._size = 10**instrument.price_precision, 10**instrument.size_precision
        self._book_exch = self._book_local = 0

    def add(self, event: StoredTick | StaleBook) -> None:
        if isinstance(event, TradeTick):
            side = BUY if event.aggressor is Side.BUY else SELL
            price, size = event.price / self._price, event.size / self._size
            self.spilled.add(TRADE | side, event.ts_event, event.ts_recv, price, size, 0, 0, 0.0)
            return
        # An update is of use once the book is there that it is applied to, and not before.
        self._book_exch = max(self._book_exch, event.ts_event)
        self._book_local = max(self._book_local, event.ts_recv)
        if isinstance(event, QuoteTick):
            self._levels(event, DEPTH)
            return
        for side in (BUY, SELL):
            self._add(CLEAR | side, EVERYTHING, 0.0)
        if isinstance(event, BookSnapshot):
            self._levels(event, SNAPSHOT)

    def _levels(self, event: QuoteTick | BookSnapshot, kind: int) -> None:
        for side, levels in ((BUY, event.bids), (SELL, event.asks)):
            for price, size in levels:
                self._add(kind | side, price / self._price, size / self._size)

    def _add(self, ev: int, price: float, size: float) -> None:
        self.spilled.add(ev, self._book_exch, self._book_local, price, size, 0, 0, 0.0)


def _save(path: Path, rows: npt.NDArray[Any]) -> None:
    """Write the array ``data`` of an npz file, a part at a time."""
    behind = 0
    if len(rows):
        behind = max(0, int(np.max(rows["exch_ts"] - rows["local_ts"])))
    if behind:
        log.warning(
            "the clock that received was up to %s ms behind the venue's: every local_ts is that much later,"
            " as hftbacktest's own converter has it",
            behind / 1_000_000,
        )
    order, flags = _order(rows["exch_ts"], rows["local_ts"])
    descr = npy.dtype_to_descr(EVENT)  # type: ignore[no-untyped-call]
    header = {"descr": descr, "fortran_order": False, "shape": order.shape}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("data.npy", "w", force_zip64=True) as file,
    ):
        npy.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for part in _parts(len(order)):
            some = rows[order[part]]
            some["ev"] |= flags[part]
            some["local_ts"] += behind
            file.write(some.tobytes())


def _order(
    exch_ts: npt.NDArray[np.int64], local_ts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Return which row stands where, and whose event each is.

    Rows are in the order of the venue. One that came later than rows behind it stands twice: where the venue
    had it, and where it came.
    """
    by_exch = np.argsort(exch_ts, kind="stable")
    local = local_ts[by_exch]
    latest = np.maximum.accumulate(local) if len(local) else local
    overtaken = np.flatnonzero(local < latest)
    overtaken = overtaken[np.argsort(local[overtaken], kind="stable")]
    at = np.searchsorted(latest, local[overtaken], side="right")
    flags = np.full(len(local), EXCH | LOCAL, np.uint64)
    flags[overtaken] = EXCH
    return np.insert(by_exch, at, by_exch[overtaken]), np.insert(flags, at, np.uint64(LOCAL))


def _parts(length: int) -> Iterator[slice]:
    for start in range(0, length, AT_ONCE):
        yield slice(start, start + AT_ONCE)
