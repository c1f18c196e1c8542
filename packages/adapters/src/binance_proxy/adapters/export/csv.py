"""Text files that every program reads: one of trades, one of updates, one of snapshots.

Times are whole ns since the epoch, UTC; prices and sizes plain decimals. Of updates and snapshots a row is a
level, and one without any level is a row without side, price and size, so that no id is left out.
"""

import csv
from collections.abc import AsyncIterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from binance_proxy.adapters.export.staged import staged
from binance_proxy.application.ports import StoredTick
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, StaleBook, TradeTick

_WHAT = ("venue", "market", "symbol")
TRADES = (
    *_WHAT, "trade_id", "ts_event", "ts_recv", "price", "size", "aggressor",
    "first_match_id", "last_match_id", "off_book",
)  # fmt: skip
"""Those of the view ``trades_decimal``, and what aggregated and off-book trades have beside."""
QUOTES = (
    *_WHAT, "first_update_id", "last_update_id", "previous_update_id", "ts_event", "ts_recv",
    "side", "price", "size",
)  # fmt: skip
SNAPSHOTS = (*_WHAT, "last_update_id", "ts_event", "ts_recv", "side", "price", "size")
FILES = {"trades.csv": TRADES, "quotes.csv": QUOTES, "snapshots.csv": SNAPSHOTS}


class CsvFiles:
    """A `TickWriter` into a folder: ``trades.csv``, ``quotes.csv`` and ``snapshots.csv``."""

    def __init__(self, to: Path, *, replace: bool = False) -> None:
        self._to, self._replace = to, replace

    async def write(self, instrument: Instrument, events: AsyncIterable[StoredTick | StaleBook]) -> None:
        """Write trades, updates and snapshots as they are. Memory does not grow with them.

        Raises:
            ExportRejected: One of the files is there already and may not be replaced.
            ExportError: It cannot be written there.
        """
        with staged(self._to, tuple(FILES), replace=self._replace) as folder, ExitStack() as stack:
            rows = _Rows(folder, instrument, stack)
            async for event in events:
                rows.add(event)


class _Rows:
    def __init__(self, folder: Path, instrument: Instrument, stack: ExitStack) -> None:
        folder.mkdir()
        writers = []
        for name, columns in FILES.items():
            file = stack.enter_context((folder / name).open("w", encoding="utf-8", newline=""))
            writers.append(csv.writer(file, lineterminator="\n"))
            writers[-1].writerow(columns)
        self._trades, self._quotes, self._snapshots = writers
        self._what = (instrument.venue, str(instrument.market), instrument.symbol)
        self._price, self._size = instrument.price_precision, instrument.size_precision

    def add(self, event: StoredTick | StaleBook) -> None:
        if isinstance(event, TradeTick):
            self._trades.writerow((
                *self._what, event.trade_id, event.ts_event, event.ts_recv, to_text(event.price, self._price),
                to_text(event.size, self._size), str(event.aggressor),
                event.first_match_id, event.last_match_id, "true" if event.off_book else "false",
            ))  # fmt: skip
        elif isinstance(event, QuoteTick):
            ids = (event.first_update_id, event.last_update_id, event.previous_update_id)
            self._levels(self._quotes, (*ids, event.ts_event, event.ts_recv), event.bids, event.asks)
        elif isinstance(event, BookSnapshot):
            head = (event.last_update_id, event.ts_event, event.ts_recv)
            self._levels(self._snapshots, head, event.bids, event.asks)

    def _levels(self, file: Any, head: tuple[int | None, ...], bids: Levels, asks: Levels) -> None:  # noqa: ANN401  csv names no type
        for side, levels in (("bid", bids), ("ask", asks)):
            for price, size in levels:
                texts = (to_text(price, self._price), to_text(size, self._size))
                file.writerow((*self._what, *head, side, *texts))
        if not bids and not asks:
            file.writerow((*self._what, *head, None, None, None))
