"""The archive as a store: what is in its files, read like a database, and written a whole day at a time."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar, cast

from msgspec import structs

from binance_proxy.adapters.parquet.batches import are_rising, keys_of
from binance_proxy.adapters.parquet.columns import COLUMNS
from binance_proxy.adapters.parquet.days import (
    DayFile,
    DayWriter,
    Footer,
    day_in,
    day_name,
    day_of,
    folder_of,
    path_of,
)
from binance_proxy.adapters.parquet.merge import Merge
from binance_proxy.adapters.parquet.place import LOCK, Place, beside, is_unfinished, place_of, telling
from binance_proxy.application.candles import candles_of_trades
from binance_proxy.application.ports import (
    ArchivedDay,
    AuditedDay,
    EventsRejected,
    HeldDay,
    Stored,
    StoredEvent,
    StoredTick,
    StoreRejected,
)
from binance_proxy.application.trade_columns import TradeColumns
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.gap import FORWARD, Gap
from binance_proxy.domain.instrument import Instrument

log = logging.getLogger(__name__)

Result = TypeVar("Result")
ALL = (-(2**63), 2**63 - 1)
TURN_S = 0.1


class ParquetStore:
    """A `MarketStore` and an `Archive` in Parquet files, one for each day, instrument and kind of event.

    It is made for days that are over: an append writes every day that it touches anew.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.where = place.where
        """For people."""

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events, each once, however often it is given; return how many were new.

        Raises:
            StoreUnavailable: The archive is away. Try again with the same events; nothing is kept twice.
            StoreFull: There is no room for them.
            EventsRejected: A time is finer than the instrument's resolution, units are not those that it is
                recorded in, or a number has more digits than an archive holds.
            StoreRejected: A file is damaged or foreign.
        """
        if not events:
            return 0
        async with self._alone():
            return await _in_thread(self._append, events)

    async def scan(
        self, kind: type[Stored], instrument: Instrument, start: int, end: int, *, newest_first: bool = False
    ) -> AsyncGenerator[Stored]:
        """Yield what is kept with ``start <= ts_event < end``, ordered by ``ts_event`` and then by id.

        One row group is in memory at a time. A day that is written anew meanwhile is read as it was.

        Raises:
            StoreUnavailable: The archive is away.
            StoreRejected: A file is damaged or foreign.
        """
        parts = self._parts(kind, instrument, start, end, newest_first=newest_first)
        while part := await _in_thread(next, parts, None):
            for event in part:
                yield cast("Stored", event)

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Return the candles of all kept trades, oldest first, whose period starts in ``[start, end)``.

        Raises:
            StoreUnavailable: The archive is away.
            StoreRejected: A file is damaged or foreign.
        """
        return await candles_of_trades(self, instrument, timeframe, start, end)

    async def days(
        self,
        instrument: Instrument | None = None,
        kind: type[StoredTick] | None = None,
        *,
        start: int = 0,
        end: int = 2**63 - 1,
    ) -> Sequence[ArchivedDay]:
        """Return what is archived, of all or of one instrument and kind; by instrument, kind and day.

        Raises:
            StoreUnavailable: The archive is away.
            StoreRejected: A day is damaged, or something else lies in its place. The message names the file.
        """
        return await _in_thread(self._days, instrument, kind, range(day_of(start), day_of(end - 1) + 1))

    async def keep(self, held: HeldDay, ticks: AsyncGenerator[StoredTick | TradeColumns]) -> ArchivedDay:
        """Keep the ticks of a day, given in order, beside those that are there; return what is there now.

        Raises:
            StoreUnavailable: The archive is away. Trying again may help.
            StoreFull: There is no room for the day.
            EventsRejected: A value needs more than the 12 decimals of an archive, or the instrument is
                archived in other units.
            StoreRejected: There is nothing to keep, what is there is damaged or foreign, or what was read
                back is not what was written.
        """
        async with self._alone(), aclosing(ticks):
            recorded = await _in_thread(self._recorded, held.instrument)
            if recorded is not None and recorded.units != held.instrument.units:
                raise EventsRejected(_other_units(recorded))
            writing = await _in_thread(_Writing, self._place, held.kind, held.instrument, held.day)
            try:
                async for part in _parts_of(ticks, COLUMNS[held.kind].rows):
                    await _in_thread(writing.join, part)
                footer = await _in_thread(writing.finish)
                await _in_thread(writing.settle)
            except BaseException:
                writing.forget()
                raise
        return self._archived(footer)

    async def audit(self) -> AsyncGenerator[AuditedDay]:
        """Read everything back, and compare rows, order and checksums with what was written.

        Raises:
            StoreUnavailable: The archive is away.
        """
        for path in await _in_thread(self._place.names, ""):  # what a killed run has begun, the next one ends
            if path != LOCK and not is_unfinished(path):
                yield await _in_thread(self._audit, path)

    async def probe(self) -> None:
        """Find out whether something can be written, and leave nothing behind.

        Raises:
            StoreUnavailable: The archive is away.
            StoreFull: There is no room.
            StoreRejected: It cannot be written to.
        """
        await _in_thread(self._place.probe)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Wait until no other process writes, and keep others from it."""
        told = False
        while True:
            with ExitStack() as stack:
                with telling(self.where):
                    alone = stack.enter_context(self._place.alone())
                if alone:
                    yield
                    return
            if not told:
                log.info("another bridge writes to the archive %s: waiting for it", self.where)
                told = True
            await asyncio.sleep(TURN_S)

    def _append(self, events: Sequence[StoredEvent]) -> int:
        by_day: dict[tuple[type[StoredEvent], str, int], list[StoredEvent]] = defaultdict(list)
        instruments: dict[str, Instrument] = {}
        for event in events:
            recorded = self._as_recorded(event, instruments)
            day = day_of(event.ts_event)
            by_day[type(event), recorded.name, day].append(structs.replace(event, instrument=recorded))
        gaps = {key: by_day.pop(key) for key in list(by_day) if key[0] is Gap}
        writings, new = [], 0
        try:
            for (kind, name, day), found in by_day.items():
                writing = _Writing(self._place, kind, instruments[name], day)
                writings.append(writing)
                writing.join(sorted(found, key=COLUMNS[kind].key))
                new += writing.finish().rows - writing.rows_before
            for name in {key[1] for key in gaps}:
                told = [gap for key, found in gaps.items() if key[1] == name for gap in found]
                for day, kept in self._with_gaps(instruments[name], cast("list[Gap]", told)).items():
                    writing = _Writing(self._place, Gap, instruments[name], day, anew=True)
                    writings.append(writing)
                    writing.join(sorted(kept, key=COLUMNS[Gap].key))
                    new += writing.finish().rows - writing.rows_before
            for writing in writings:
                writing.settle()
        except BaseException:
            for writing in writings:
                writing.forget()
            raise
        return new

    def _as_recorded(self, event: StoredEvent, instruments: dict[str, Instrument]) -> Instrument:
        name = event.instrument.name
        recorded = instruments.get(name)
        if recorded is None:
            recorded = instruments[name] = self._recorded(event.instrument) or event.instrument
        if event.instrument.units != recorded.units:
            raise EventsRejected(_other_units(recorded))
        times = (event.ts_event, event.start, event.end) if isinstance(event, Gap) else (event.ts_event,)
        for ts in times:
            if ts % recorded.time_resolution_ns:
                raise EventsRejected(
                    f"{recorded.name}: the time {ts} is no whole multiple of the instrument's"
                    f" {recorded.time_resolution_ns} ns"
                )
        return recorded

    def _recorded(self, instrument: Instrument) -> Instrument | None:
        """Return an instrument as it is archived, if anything of it is."""
        for path in self._place.names(folder_of(instrument)):
            if day_in(path) is not None:
                with suppress(StoreRejected):  # a damaged day is no reason to refuse another one
                    return self._open(path).footer.instrument
        return None

    def _with_gaps(self, instrument: Instrument, told: Sequence[Gap]) -> dict[int, list[Gap]]:
        """Return the gaps of each day that changes once these are told."""
        kept: dict[tuple[str, int], Gap] = {
            (gap.stream, gap.first_id): gap for part in self._parts(Gap, instrument, *ALL) for gap in part
        }
        days = set()
        for gap in told:
            key = (gap.stream, gap.first_id)
            before = kept.get(key)
            if before is None:
                after = gap
            else:
                state = max(gap.state, before.state, key=FORWARD.index)
                after = structs.replace(before, state=state, last_id=min(gap.last_id, before.last_id))
            if after != before:
                days.add(day_of(after.ts_event))
            kept[key] = after
        return {day: [gap for gap in kept.values() if day_of(gap.ts_event) == day] for day in days}

    def _parts(
        self,
        kind: type[StoredEvent],
        instrument: Instrument,
        start: int,
        end: int,
        *,
        newest_first: bool = False,
    ) -> Iterator[list[Any]]:
        """Yield events a row group at a time, none of them empty."""
        with telling(self.where):
            names = self._place.names(folder_of(instrument, kind))
        for path in names[::-1] if newest_first else names:
            day = day_in(path)
            if day is not None and day_of(start) <= day <= day_of(end - 1):
                with telling(path):
                    opened = self._open(path)
                    for part in opened.events(start, end, newest_first=newest_first):
                        if part:
                            yield part

    def _days(
        self, instrument: Instrument | None, kind: type[StoredTick] | None, days: range
    ) -> list[ArchivedDay]:
        folder = "" if instrument is None else folder_of(instrument, kind)
        found = []
        for path in self._place.names(folder):
            if day_in(path) not in days:
                continue
            footer = self._open(path).footer
            if footer.kind is not Gap and kind in {None, footer.kind}:
                found.append(self._archived(footer))
        return found

    def _audit(self, path: str) -> AuditedDay:
        if day_in(path) is None:
            return AuditedDay(path=path, day=None, fault="does not belong into an archive")
        day = None
        try:
            with telling(path):
                opened = self._open(path)
                day = self._archived(opened.footer) if opened.footer.kind is not Gap else None
                opened.check()
        except StoreRejected as error:
            return AuditedDay(path=path, day=day, fault=str(error))
        return AuditedDay(path=path, day=day, fault=None)

    def _open(self, path: str) -> DayFile:
        with telling(path):
            return DayFile(self._place.open(path), path)

    def _archived(self, footer: Footer) -> ArchivedDay:
        path = path_of(footer.instrument, footer.kind, footer.day)
        return ArchivedDay(
            kind=cast("type[StoredTick]", footer.kind),
            instrument=footer.instrument,
            day=footer.day,
            rows=footer.rows,
            first=footer.first,
            last=footer.last,
            matches=footer.matches,
            volume=footer.volume,
            checksum=footer.checksum,
            size_bytes=self._place.size(path),
        )


class _Writing:
    """A day that is being written beside its place, from what is there and what comes."""

    def __init__(
        self, place: Place, kind: type[StoredEvent], instrument: Instrument, day: int, *, anew: bool = False
    ) -> None:
        self._place = place
        self._path = path_of(instrument, kind, day)
        self._before: Footer | None = None
        old: Iterator[Sequence[Any]] = iter(())
        with telling(self._path):
            if self._path in place.names(folder_of(instrument, kind)):
                opened = DayFile(place.open(self._path), self._path)
                self._before = opened.footer
                if self._before.instrument.units != instrument.units:
                    raise EventsRejected(_other_units(self._before.instrument))
                old = iter(()) if anew else opened.events(*ALL)
            self._file = place.create(self._path)
        self._columns = COLUMNS[kind]
        self._merge = Merge(old, self._columns.key)
        self._day = day
        self._writer = DayWriter(self._file, kind, instrument, day)
        self._changed = False

    @property
    def rows_before(self) -> int:
        """How many rows there were."""
        return self._before.rows if self._before else 0

    def join(self, part: Sequence[StoredEvent] | TradeColumns) -> None:
        """Write the next rows, which lie behind all that were joined before."""
        with telling(self._path):
            if self._joined_whole(part):
                return
        events = part.trades() if isinstance(part, TradeColumns) else part
        if not day_of(events[0].ts_event) == day_of(events[-1].ts_event) == self._day:
            raise StoreRejected(f"{self._path}: a tick lies on another day than {day_name(self._day)}")
        with telling(self._path):
            self._writer.write(self._merge.join(events))

    def _joined_whole(self, part: Sequence[StoredEvent] | TradeColumns) -> bool:
        """Write rows of a day that is new as they are, if they are in order; return whether they are."""
        id_column = self._columns.id_column
        if self._before is not None or id_column is None or len(part) > self._columns.rows:
            return False
        batch = self._writer.pack(part)
        times, ids = keys_of(batch, id_column)
        first, last = (int(times[0]) * 1000, int(ids[0])), (int(times[-1]) * 1000, int(ids[-1]))
        if not day_of(first[0]) == day_of(last[0]) == self._day or not are_rising(times, ids):
            return False
        if not self._merge.goes_on(first, last):
            return False
        self._writer.add(batch)
        return True

    def finish(self) -> Footer:
        """Write the rest, and read everything back."""
        with telling(self._path):
            for rest in self._merge.rest():
                self._writer.write(rest)
            footer = self._writer.close()
            self._place.finish(self._file)
            if not footer.rows:
                raise StoreRejected(f"{self._path}: there is nothing to keep of this day")
            if self._before and footer.checksum == self._before.checksum:
                return self._before
            self._read_back(footer)
            self._changed = True
            return footer

    def _read_back(self, footer: Footer) -> None:
        try:
            with telling(self._path):
                written = DayFile(self._place.open(beside(self._path)), self._path)
                written.check()
        except StoreRejected as error:
            raise StoreRejected(f"what was read back is not what was written: {error}") from error
        if written.footer != footer:
            raise StoreRejected(f"what was read back is not what was written: the footer of {self._path}")

    def settle(self) -> None:
        """Put the day in its place, if anything is new in it."""
        with telling(self._path):
            if self._changed:
                self._place.settle(self._path)
            else:
                self._place.forget(self._path)
                self._place.secure(self._path)  # who put it there may have been killed before that

    def forget(self) -> None:
        """Leave everything as it was."""
        self._writer.abandon()
        with suppress(OSError):
            self._file.close()
        with telling(self._path):
            self._place.forget(self._path)


def _other_units(recorded: Instrument) -> str:
    price, size, resolution_ns = recorded.units
    return (
        f"{recorded.name} is archived with other precisions or another time resolution: {price} decimals in"
        f" prices, {size} in sizes, {resolution_ns} ns. Archive these in another place (archive.url)"
    )


async def _parts_of(
    ticks: AsyncGenerator[StoredTick | TradeColumns], rows: int
) -> AsyncGenerator[list[StoredTick] | TradeColumns]:
    part: list[StoredTick] = []
    async for tick in ticks:
        if isinstance(tick, TradeColumns):
            if part:
                yield part
                part = []
            if len(tick):
                yield tick
            continue
        part.append(tick)
        if len(part) == rows:
            yield part
            part = []
    if part:
        yield part


async def _in_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Do work that waits for a disk, without holding up anybody else.

    Who is cancelled meanwhile waits for its end: a thread cannot be stopped, and must not write into a file
    that is being given up.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    with telling():
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])
            raise


def open_parquet(url: str) -> ParquetStore:
    """Return the archive in a folder or at a URL; nothing is opened yet.

    Raises:
        StoreRejected: The URL is of a kind that nobody knows.
    """
    return ParquetStore(place_of(url))
