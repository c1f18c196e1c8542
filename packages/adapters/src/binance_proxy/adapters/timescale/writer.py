"""How a batch of events gets into the tables: once each, all of them or none."""

import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import asyncpg
from msgspec import Struct, structs

from binance_proxy.adapters.timescale.errors import AlreadyStored, PartitionMissing
from binance_proxy.adapters.timescale.partitions import DAY_NS, Partitions
from binance_proxy.adapters.timescale.registry import TimescaleRegistry
from binance_proxy.adapters.timescale.rows import TABLES, TRADES, TS_MAX, TS_MIN, Ids, TickTable, file_of
from binance_proxy.adapters.timescale.session import Session
from binance_proxy.application.ports import EventsRejected, StoredEvent, StoreUnavailable
from binance_proxy.domain.gap import FORWARD, Gap
from binance_proxy.domain.instrument import Instrument

MINUTE_NS = 60 * 1_000_000_000
MINUTES_A_DAY = DAY_NS // MINUTE_NS
LOOK_UPS = 20
"""How often a batch looks up its instruments, as a pool that grows makes new connections too."""
CAREFUL_BATCHES = 32
"""How many batches take the careful way after one that held something already stored."""

GAPS = """
INSERT INTO gaps AS kept
    (instrument_id, stream, first_id, last_id, ts_start, ts_end, ts_event, ts_recv, state)
SELECT * FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[],
    $6::timestamptz[], $7::timestamptz[], $8::bigint[], $9::text[])
ON CONFLICT (instrument_id, stream, first_id) DO UPDATE SET
    last_id = least(excluded.last_id, kept.last_id),
    state = CASE WHEN array_position($10::text[], excluded.state) > array_position($10::text[], kept.state)
        THEN excluded.state ELSE kept.state END
    WHERE excluded.last_id < kept.last_id
        OR array_position($10::text[], excluded.state) > array_position($10::text[], kept.state)
RETURNING xmax = 0 AS is_new
"""


MARK_STALE = "SELECT mark_stale($1::integer[], $2::timestamptz[], $3::timestamptz[])"

Touched: TypeAlias = tuple[list[int], list[int], list[int]]
"""Instruments, and beside each where a run of touched minutes starts and ends, in us since 1970."""


class Copy(Struct, frozen=True):
    """The rows of one table, ready to be sent."""

    table: TickTable[Any]
    days: frozenset[int]
    """The UTC days that the rows lie in, counted from 1970."""
    rows: int
    touched: Touched | None
    """Of trades: the minutes whose candles they change."""
    file: bytearray
    """Ordered by the key, so that no two writers of the same rows wait for each other."""


class Writer:
    """Appends batches.

    The fast way is a plain COPY into the tables, which fails as a whole if a single row is there already.
    Then, and for the next `CAREFUL_BATCHES` batches, as duplicates come in bursts (after a restart, in a
    backfill), the rows are copied into a temporary table and inserted from there where they are missing.
    """

    def __init__(self, session: Session, registry: TimescaleRegistry, partitions: Partitions | None) -> None:
        self._session = session
        self._registry = registry
        self._partitions = partitions
        self._careful_batches = 0

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events, as `MarketStore.append` says; return how many were new."""
        for _ in range(LOOK_UPS):
            new = await self._append(events)
            if new is not None:
                return new
        raise StoreUnavailable("The connections to PostgreSQL do not last long enough to write anything.")

    async def _append(self, events: Sequence[StoredEvent]) -> int | None:
        """Try to keep the events; `None` if the ids may be of another database than the one written to."""
        arrivals = self._session.arrivals
        ids = await self._ids({event.instrument for event in events})
        kinds: dict[type, list[Any]] = defaultdict(list)
        for event in events:
            kinds[type(event)].append(event)
        gaps = _gap_columns(kinds.pop(Gap, []), ids)
        copies = [_copy(TABLES[kind], kinds[kind], ids) for kind in sorted(kinds, key=list(TABLES).index)]
        try:
            return await self._write(copies, gaps, arrivals)
        except PartitionMissing:
            if self._partitions is None:
                raise
            self._partitions.forget()  # somebody has dropped it since it was made
            return await self._write(copies, gaps, arrivals)

    async def _ids(self, instruments: Iterable[Instrument]) -> Ids:
        """Look up or register the instruments of a batch, and refuse one in other units."""
        ids = {}
        for instrument in instruments:
            recorded = await self._registry.record(instrument)
            if instrument.units != recorded.instrument.units:
                raise EventsRejected(
                    f"{instrument.name} is recorded with other precisions or another time resolution: give"
                    " its events in the units that `register` returned."
                )
            ids[instrument] = recorded.instrument_id
        return ids

    async def _write(self, copies: Sequence[Copy], gaps: Sequence[list[Any]], arrivals: int) -> int | None:
        if self._partitions is not None:
            for copy in copies:
                await self._partitions.ensure(copy.table.name, copy.days)
        if not self._careful_batches:
            try:
                return await self._transact(copies, gaps, arrivals, _copy_in)
            except AlreadyStored:
                self._careful_batches = CAREFUL_BATCHES
        self._careful_batches = max(0, self._careful_batches - 1)
        return await self._transact(copies, gaps, arrivals, _copy_missing)

    async def _transact(
        self,
        copies: Sequence[Copy],
        gaps: Sequence[list[Any]],
        arrivals: int,
        send: Callable[[asyncpg.Connection, Copy], Awaitable[int]],
    ) -> int | None:
        """Send everything in one transaction; return how many rows were new, `None` if nothing was sent."""
        async with self._session.transaction() as connection:
            if self._session.arrivals != arrivals:
                return None
            new = 0
            for copy in copies:
                rows = await send(connection, copy)
                new += rows
                if rows and copy.touched is not None:
                    await connection.execute(MARK_STALE, *copy.touched)
            if gaps:
                kept = await connection.fetch(GAPS, *gaps, [state.value for state in FORWARD])
                new += sum(row["is_new"] for row in kept)
        return new


async def _copy_in(connection: asyncpg.Connection, copy: Copy) -> int:
    """Copy rows that are all believed to be new straight into their table."""
    await connection.copy_to_table(
        copy.table.name, source=copy.file, columns=copy.table.columns, format="binary"
    )
    return copy.rows


async def _copy_missing(connection: asyncpg.Connection, copy: Copy) -> int:
    """Copy rows beside their table, and insert those that it lacks; return their number."""
    table, staged = copy.table, f"staged_{copy.table.name}"
    await connection.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged} (LIKE {table.name}) ON COMMIT DELETE ROWS"
    )
    await connection.copy_to_table(staged, source=copy.file, columns=table.columns, format="binary")
    columns = ", ".join(table.columns)
    inserted: str = await connection.execute(
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {staged}"  # noqa: S608  our own words
        f" ORDER BY instrument_id, ts_event, {table.id_column} ON CONFLICT DO NOTHING"
    )
    return int(inserted.rpartition(" ")[2])  # "INSERT 0 17"


def _check_times(instrument: Instrument, times: Iterable[int]) -> None:
    """Refuse a time that the key, or the table, would not hold as it is."""
    resolution_ns = instrument.time_resolution_ns
    for ts in times:
        if ts % resolution_ns or not TS_MIN <= ts <= TS_MAX:
            raise EventsRejected(
                f"{instrument.name}: the time {ts} is no whole multiple of the instrument's"
                f" {resolution_ns} ns, or over 64 bits long."
            )


def _copy(table: TickTable[Any], ticks: Iterable[Any], ids: Ids) -> Copy:
    """Turn the ticks of one kind into rows.

    Raises:
        EventsRejected: A time is finer than its instrument's resolution, or a number over 64 bits long.
    """
    by_instrument: dict[Instrument, list[Any]] = defaultdict(list)
    for tick in ticks:
        by_instrument[tick.instrument].append(tick)
    parts: dict[int, list[Any]] = defaultdict(list)  # what is said of an instrument may have changed
    for instrument, some in by_instrument.items():
        parts[ids[instrument]] += some
    rows: list[bytes | bytearray] = []
    minutes: list[tuple[int, int]] = []
    days: set[int] = set()
    for instrument_id, part in sorted(parts.items()):
        part.sort(key=table.key)
        times = [tick.ts_event for tick in part]
        _check_times(part[0].instrument, times)
        try:
            rows.append(table.pack(part, instrument_id))
        except struct.error as error:
            raise EventsRejected(f"A number in a row for {table.name} does not fit 64 bits.") from error
        days.update(_periods(times, DAY_NS))
        if table is TRADES:
            minutes += [(instrument_id, minute) for minute in _periods(times, MINUTE_NS)]
    touched = _runs(minutes) if table is TRADES else None
    return Copy(table, frozenset(days), sum(map(len, parts.values())), touched, file_of(rows))


def _periods(times: Sequence[int], length_ns: int) -> Iterator[int]:
    """Yield the periods that ordered times lie in, counted from 1970, each once."""
    at = 0
    while at < len(times):
        period = times[at] // length_ns
        yield period
        at = bisect_left(times, (period + 1) * length_ns, at)


def _runs(minutes: Iterable[tuple[int, int]]) -> Touched:
    """Join ordered minutes that follow each other. No run goes over midnight, as days are dropped whole."""
    runs: Touched = ([], [], [])
    instruments, starts, ends = runs
    for instrument_id, minute in minutes:
        start_us = minute * MINUTE_NS // 1000
        if (
            instruments
            and (instruments[-1], ends[-1]) == (instrument_id, start_us)
            and minute % MINUTES_A_DAY
        ):
            ends[-1] += MINUTE_NS // 1000
        else:
            instruments.append(instrument_id)
            starts.append(start_us)
            ends.append(start_us + MINUTE_NS // 1000)
    return runs


def _gap_columns(gaps: Iterable[Gap], ids: Ids) -> list[list[Any]]:
    """Turn gaps into columns for `GAPS`, each gap once, as it is in the end.

    Raises:
        EventsRejected: A time is finer than its instrument's resolution, or over 64 bits long.
    """
    furthest: dict[tuple[int, str, int], Gap] = {}
    for gap in gaps:
        _check_times(gap.instrument, (gap.ts_event, gap.start, gap.end))
        key = (ids[gap.instrument], gap.stream.value, gap.first_id)
        first = furthest.setdefault(key, gap)
        state = max(gap.state, first.state, key=FORWARD.index)
        furthest[key] = structs.replace(first, state=state, last_id=min(gap.last_id, first.last_id))
    rows = []
    for key, gap in sorted(furthest.items()):
        times_us = (ts // 1000 for ts in (gap.start, gap.end, gap.ts_event))
        rows.append((*key, gap.last_id, *times_us, gap.ts_recv, gap.state.value))
    return [list(column) for column in zip(*rows, strict=True)]
