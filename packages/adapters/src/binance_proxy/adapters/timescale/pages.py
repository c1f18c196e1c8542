"""How a scan walks through a table: page by page, each from where the last one ended."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import asyncpg

from binance_proxy.adapters.timescale.registry import Recorded
from binance_proxy.adapters.timescale.rows import TABLES, ceil_us
from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream

LOWEST_ID = -(2**63)
ROWS = {"trades": 2_000, "quotes": 500, "book_snapshots": 20, "gaps": 2_000}
"""Rows in a page, by table: a trade is ten numbers, a snapshot may be twenty thousand."""
GAP_COLUMNS = ("stream", "first_id", "last_id", "ts_start", "ts_end", "ts_event", "ts_recv", "state")


class Source(NamedTuple):
    """A table to be scanned."""

    name: str
    columns: tuple[str, ...]
    tail: tuple[str, ...]
    """The columns behind ``ts_event`` that the rows are ordered by."""
    lowest: tuple[int | str, ...]
    """Values for the tail that are below all others."""
    unpack: Callable[[asyncpg.Record, Instrument], StoredEvent]


class Pages:
    """The pages of one scan over ``start <= ts_event < end``, in ns."""

    def __init__(self, kind: type[StoredEvent], start: int, end: int, *, newest_first: bool) -> None:
        self._source = _source(kind)
        self._newest_first = newest_first
        self._query = _query(self._source, newest_first=newest_first)
        self._start_us, self._end_us = ceil_us(start), ceil_us(end)
        self._passed: tuple[Any, ...] = self._source.lowest  # the tail of the last row
        self.more = True
        """False once the last page was fetched."""

    async def fetch(self, connection: asyncpg.Connection, recorded: Recorded) -> list[StoredEvent]:
        """Return the events of the next page."""
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            self._query, recorded.instrument_id, self._start_us, self._end_us, *self._passed
        )
        self.more = len(rows) == ROWS[self._source.name]
        if self.more:
            last = rows[-1]
            self._passed = tuple(last[column] for column in self._source.tail)
            if self._newest_first:
                self._end_us = last["ts_event"]
            else:
                self._start_us = last["ts_event"]
        return [self._source.unpack(row, recorded.instrument) for row in rows]


def _query(source: Source, *, newest_first: bool) -> str:
    """Ask for one page: $1 instrument, $2 and $3 bounds of the time, then the tail of the last row."""
    order = ("ts_event", *source.tail)
    row = ", ".join(order)
    passed = ", ".join(f"${number}" for number in range(4, 4 + len(source.tail)))
    # The bounds on `ts_event` alone repeat what the rows say, because only they spare partitions.
    if newest_first:
        bounds = f"ts_event >= $2 AND ts_event <= $3 AND ({row}) < ($3, {passed})"
    else:
        bounds = f"ts_event >= $2 AND ts_event < $3 AND ({row}) > ($2, {passed})"
    direction = " DESC" if newest_first else ""
    return (
        f"SELECT {', '.join(source.columns)} FROM {source.name}"  # noqa: S608  our own words
        f" WHERE instrument_id = $1 AND {bounds}"
        f" ORDER BY {', '.join(column + direction for column in order)} LIMIT {ROWS[source.name]}"
    )


def _source(kind: type[StoredEvent]) -> Source:
    """Say where a kind lies and in which order it is read."""
    if kind is Gap:
        # Two streams may have a gap of the same time and id.
        return Source("gaps", GAP_COLUMNS, ("first_id", "stream"), (LOWEST_ID, ""), _unpack_gap)
    table = TABLES[kind]
    return Source(table.name, table.columns, (table.id_column,), (LOWEST_ID,), table.unpack)


def _unpack_gap(row: asyncpg.Record, instrument: Instrument) -> Gap:
    return Gap(
        instrument=instrument,
        ts_event=row["ts_event"] * 1000,
        ts_recv=row["ts_recv"],
        stream=Stream(row["stream"]),
        first_id=row["first_id"],
        last_id=row["last_id"],
        start=row["ts_start"] * 1000,
        end=row["ts_end"] * 1000,
        state=GapState(row["state"]),
    )
