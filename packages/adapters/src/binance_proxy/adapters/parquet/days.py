"""One day of one kind of tick of one instrument: a file, its name, and what stands in its footer."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from binance_proxy.adapters.parquet.batches import matches_and_volume, pack_columns
from binance_proxy.adapters.parquet.checksum import Checksum
from binance_proxy.adapters.parquet.columns import COLUMNS, KINDS, Columns
from binance_proxy.application.ports import StoredEvent, StoreRejected
from binance_proxy.application.trade_columns import TradeColumns
from binance_proxy.domain.candle import DAY_NS
from binance_proxy.domain.instrument import Instrument

FORMAT = 1
FOOTER = b"binance_proxy"
FILE = "ticks.parquet"
SLICES = 8
"""Of a row group, that are made events of one after another."""
_EPOCH = date(1970, 1, 1)


class Footer(Struct, frozen=True, kw_only=True):
    """What a file of the archive says of itself, in its own metadata."""

    format: int = FORMAT
    instrument: Instrument
    stream: str
    day: int
    """Days since 1970, UTC."""
    rows: int
    first: int
    last: int
    """``ts_event`` of the first and last row, in ns."""
    matches: int
    volume: int
    checksum: str

    @property
    def kind(self) -> type[StoredEvent]:
        """What the rows are."""
        return KINDS[self.stream]


def day_of(ts_event: int) -> int:
    """Return the day that a time lies on, counted from 1970 in UTC."""
    return ts_event // DAY_NS


def day_name(day: int) -> str:
    """Return ``2024-08-08``."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def folder_of(instrument: Instrument, kind: type[StoredEvent] | None = None) -> str:
    """Return the folder of an instrument, or of one kind of event of it."""
    symbol = instrument.symbol.replace("/", "")
    folder = f"venue={instrument.venue}/market={instrument.market}/symbol={symbol}"
    return folder if kind is None else f"{folder}/stream={COLUMNS[kind].name}"


def path_of(instrument: Instrument, kind: type[StoredEvent], day: int) -> str:
    """Return where the file of a day lies."""
    return f"{folder_of(instrument, kind)}/date={day_name(day)}/{FILE}"


def day_in(path: str) -> int | None:
    """Return the day that a path is of; `None` if it is none of ours."""
    parts = path.split("/")
    if len(parts) != 6 or parts[5] != FILE or not parts[4].startswith("date="):
        return None
    if not (parts[3].startswith("stream=") and parts[3].removeprefix("stream=") in KINDS):
        return None
    try:
        at = datetime.strptime(parts[4], "date=%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (at.date() - _EPOCH).days


class DayWriter:
    """Writes a file, a row group at a time."""

    def __init__(self, file: BinaryIO, kind: type[StoredEvent], instrument: Instrument, day: int) -> None:
        self._columns: Columns[Any] = COLUMNS[kind]
        self._instrument, self._day = instrument, day
        self._writer = pq.ParquetWriter(
            file,
            self._columns.schema,
            compression="zstd",
            write_statistics=["ts_event"],
            write_page_checksum=True,
        )
        self._checksum = Checksum()
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._rows = self._matches = self._volume = 0
        self._first: int | None = None
        self._last = 0

    def write(self, events: Sequence[Any]) -> None:
        """Add rows, which lie behind all that were added before."""
        for at in range(0, len(events), self._columns.rows):
            self.add(self.pack(events[at : at + self._columns.rows]))

    def pack(self, part: Sequence[Any] | TradeColumns) -> pa.RecordBatch:
        """Turn events into rows, at most a row group of them. Raises `EventsRejected` if one does not fit."""
        if isinstance(part, TradeColumns):
            arrays = pack_columns(part, self._instrument)
        else:
            arrays = self._columns.pack(part, self._instrument)
        return pa.record_batch(arrays, schema=self._columns.schema)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows that were packed, which lie behind all that were added before."""
        self._waiting.append(batch)
        self._waiting_rows += len(batch)
        while self._waiting_rows >= self._columns.rows:
            self._flush()

    def close(self) -> Footer:
        """Write what is left, and the footer."""
        if self._waiting_rows:
            self._flush()
        footer = Footer(
            instrument=self._instrument,
            stream=self._columns.name,
            day=self._day,
            rows=self._rows,
            first=self._first or 0,
            last=self._last,
            matches=self._matches,
            volume=self._volume,
            checksum=str(self._checksum),
        )
        self._writer.add_key_value_metadata({FOOTER: msgspec.json.encode(footer)})
        self._writer.close()
        return footer

    def abandon(self) -> None:
        """Let go of a file that nobody will read."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()

    def _flush(self) -> None:
        """Write a row group of what waits."""
        waiting = self._waiting[0] if len(self._waiting) == 1 else pa.concat_batches(self._waiting)
        batch, rest = waiting.slice(0, self._columns.rows), waiting.slice(self._columns.rows)
        self._waiting, self._waiting_rows = [rest] if len(rest) else [], len(rest)
        self._checksum.take(batch)
        self._writer.write_batch(batch, row_group_size=len(batch))
        self._rows += len(batch)
        times = batch["ts_event"].cast(pa.int64())
        self._first = times[0].as_py() * 1000 if self._first is None else self._first
        self._last = times[-1].as_py() * 1000
        if self._columns.name == "trades":
            matches, volume = matches_and_volume(batch, self._instrument)
            self._matches += matches
            self._volume += volume


class DayFile:
    """A file that was opened to be read."""

    def __init__(self, source: pa.NativeFile, path: str) -> None:
        """Read the footer. Raises `StoreRejected` if the file is not ours, and pyarrow's own errors."""
        self._parquet = pq.ParquetFile(source, page_checksum_verification=True)
        self.path = path
        said = (self._parquet.metadata.metadata or {}).get(FOOTER)
        if said is None:
            raise StoreRejected(f"{path} is no file of this archive: move it away")
        try:
            self.footer = msgspec.json.decode(said, type=Footer)
        except msgspec.ValidationError as error:
            raise StoreRejected(f"{path} was written by another version of the bridge: {error}") from error
        if self.footer.format != FORMAT:
            raise StoreRejected(f"{path} is of format {self.footer.format}; this bridge reads {FORMAT}")
        self._columns: Columns[Any] = COLUMNS[self.footer.kind]
        if not self._parquet.schema_arrow.equals(self._columns.schema):
            raise StoreRejected(f"{path} has other columns than a file of this archive")
        belongs = path_of(self.footer.instrument, self.footer.kind, self.footer.day)
        if belongs != path:
            raise StoreRejected(f"{path} holds what belongs into {belongs}: somebody has moved it")

    def events(self, start: int, end: int, *, newest_first: bool = False) -> Iterator[list[Any]]:
        """Yield the events with ``start <= ts_event < end``, in order, some of a row group at a time.

        Only what lies between is made an event of, and not before it is asked for: who wants the nearest one
        does not wait for the thousands behind it.
        """
        turn = -1 if newest_first else 1
        for group in range(self._parquet.num_row_groups)[::turn]:
            if not self._overlaps(group, start, end):
                continue
            for part in list(self._parts(group))[::turn]:
                times = part["ts_event"].cast(pa.int64()).to_numpy()  # µs
                first = int(np.searchsorted(times, -(-start // 1000)))
                behind = int(np.searchsorted(times, -(-end // 1000)))
                for at in range(first, behind, self._columns.rows // SLICES)[::turn]:
                    some = part.slice(at, min(self._columns.rows // SLICES, behind - at))
                    yield list(self._columns.unpack(some, self.footer.instrument))[::turn]

    def check(self) -> None:
        """Read everything, and compare rows, order and checksum with the footer.

        Raises:
            StoreRejected: They differ.
        """
        checksum, rows, last = Checksum(), 0, 0
        for group in range(self._parquet.num_row_groups):
            for part in self._parts(group):
                checksum.take(part)
                rows += len(part)
                times = part["ts_event"].cast(pa.int64()).to_numpy(zero_copy_only=False) * 1000
                if (times[1:] < times[:-1]).any() or (rows > len(part) and times[0] < last):
                    raise StoreRejected(f"{self.path}: rows are not in the order of time")
                first, last = times[0], times[-1]
                if self._bounds(group) not in {None, (first, last)}:
                    raise StoreRejected(f"{self.path}: the statistics are not those of the rows")
        if rows != self.footer.rows:
            raise StoreRejected(f"{self.path} has {rows:,} rows instead of {self.footer.rows:,}")
        if str(checksum) != self.footer.checksum:
            raise StoreRejected(f"{self.path}: the values are not those that were written (checksum)")

    def _parts(self, group: int) -> Iterator[pa.RecordBatch]:
        table = self._parquet.read_row_group(group)
        return (part for part in table.combine_chunks().to_batches() if len(part))

    def _overlaps(self, group: int, start: int, end: int) -> bool:
        bounds = self._bounds(group)
        return bounds is None or (bounds[0] < end and bounds[1] >= start)

    def _bounds(self, group: int) -> tuple[int, int] | None:
        """Return the first and last ``ts_event`` of a row group, if its statistics say them."""
        statistics = self._parquet.metadata.row_group(group).column(0).statistics
        if statistics is None or not statistics.has_min_max:
            return None
        return _ns_of(statistics.min), _ns_of(statistics.max)


def _ns_of(at: datetime) -> int:
    """Turn a time of the statistics into ns, exactly."""
    since = at.replace(tzinfo=at.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000
