"""One look through a whole file before anything of it is used: is it sound, and what lies where."""

import asyncio
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from binance_proxy.adapters.files.names import BulkFile, Kind
from binance_proxy.adapters.files.rows import Row, fault, matches_in, printed_time_in, rows_of
from binance_proxy.adapters.files.soundness import check_container, check_sum
from binance_proxy.application.ports import HistoryRejected
from binance_proxy.domain.instrument import MICROSECOND_NS
from binance_proxy.domain.printed import printed_unit_ns

STEP = 10_000
"""Rows between two marks, and between two turns of the loop."""


class Mark(NamedTuple):
    """Where a row stands."""

    first_id: int
    number: int
    at: int


class Index(NamedTuple):
    """What a file holds. Ids are those of single trades; candles are counted by the µs that they open at."""

    file: BulkFile
    first_id: int
    last_id: int
    start: int
    """The earliest time, in ns, as it is printed."""
    end: int
    """The latest time, in ns, as it is printed; it belongs to the file."""
    resolution_ns: int
    """The coarsest unit of its times."""
    marks: tuple[Mark, ...]

    def rows_from(self, id_: int) -> Iterator[Row]:
        """Yield the rows from somewhere before an id on."""
        mark = self.marks[max(bisect_right(self.marks, id_, key=lambda mark: mark.first_id) - 1, 0)]
        return rows_of(self.file, mark.number, mark.at)


async def index_of(file: BulkFile, *, by_checksum: bool) -> Index:
    """Look through a file, first at its checksum if there has to be one.

    Raises:
        HistoryRejected: The file is damaged, empty, or a line cannot be read or is out of order.
    """
    if by_checksum:
        await asyncio.to_thread(check_sum, file.path)
    await asyncio.to_thread(check_container, file.path)
    first_id: int | None = None
    last_id, resolution_ns = -1, MICROSECOND_NS
    start, end = 2**63, 0
    marks: list[Mark] = []
    rows = rows_of(file)
    while some := list(islice(rows, STEP)):
        for row in some:
            time = printed_time_in(file, row)
            unit_ns = printed_unit_ns(time)
            ts = time * unit_ns
            first, last = ids_in(file, row)
            if first <= last_id or last < first:
                raise fault(file, row.number, "its ids do not lie behind those of the line before it")
            if first_id is None:
                first_id = first
            last_id, resolution_ns = last, max(resolution_ns, unit_ns)
            start, end = min(start, ts), max(end, ts)
        marks.append(Mark(ids_in(file, some[0])[0], some[0].number, some[0].at))
        await asyncio.sleep(0)
    if first_id is None:
        raise HistoryRejected(f"there is nothing in {file.path.name}")
    return Index(file, first_id, last_id, start, end, resolution_ns, tuple(marks))


def ids_in(file: BulkFile, row: Row) -> tuple[int, int]:
    """Return the ids of a row; of a candle the µs that it opens at."""
    if file.kind is not Kind.CANDLES:
        return matches_in(file, row)
    time = printed_time_in(file, row)
    opens = time * printed_unit_ns(time) // MICROSECOND_NS
    return opens, opens
