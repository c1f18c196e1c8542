"""How a scan walks through a table: page by page, each from where the last one ended."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import asyncpg
from msgspec import Struct

from binance_proxy.adapters.timescale.rows import TABLES, ceil_us
from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream

ROWS = 2_000
"""Rows in a page."""

LOWEST_ID = -(2**63)
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


class Pages(Struct):
    """The pages of one scan, and where it stands."""

    query: str
    newest_first: bool
    tail: tuple[str, ...]
    """The columns behind ``ts_event`` that the rows are ordered by."""
    unpack: Callable[[asyncpg.Record, Instrument], StoredEvent]
    start_us: int
    end_us: int
    passed: tuple[Any, ...]
    """Values of the tail in the last row; at first less than any."""

    async def fetch(self, connection: asyncpg.Connection, instrument_id: int) -> Sequence[asyncpg.Record]:
        """Return the next page; the last one has fewer than `ROWS` rows."""
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            self.query, instrument_id, self.start_us, self.end_us, *self.passed
        )
        if rows:
            last = rows[-1]
            self.passed = tuple(last[column] for column in self.tail)
            if self.newest_first:
                self.end_us = last["ts_event"]
            else:
                self.start_us = last["ts_event"]
        return rows


def pages(kind: type[StoredEvent], start: int, end: int, *, newest_first: bool) -> Pages:
    """Prepare the scan of one kind with ``start <= ts_event < end``, in ns."""
    name, columns, tail, lowest, unpack = _source(kind)
    order = ("ts_event", *tail)
    behind = ", ".join(f"${4 + at}" for at in range(len(tail)))
    # The bounds on `ts_event` alone repeat what the rows say, because only they spare partitions.
    if newest_first:
        bounds = f"ts_event >= $2 AND ts_event <= $3 AND ({', '.join(order)}) < ($3, {behind})"
    else:
        bounds = f"ts_event >= $2 AND ts_event < $3 AND ({', '.join(order)}) > ($2, {behind})"
    direction = " DESC" if newest_first else ""
    query = (
        f"SELECT {', '.join(columns)} FROM {name} WHERE instrument_id = $1 AND {bounds}"  # noqa: S608  our own words
        f" ORDER BY {', '.join(column + direction for column in order)} LIMIT {ROWS}"
    )
    return Pages(query, newest_first, tail, unpack, ceil_us(start), ceil_us(end), lowest)


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
