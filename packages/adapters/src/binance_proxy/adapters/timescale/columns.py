"""Trades of a day out of the database as columns, page by page, by a binary COPY.

Every row has one length, as what may be null comes as a number and a truth. So a column is cut out of all
rows at once, byte by byte of its values: a slice with a stride is fast.

Source: PostgreSQL, "COPY", section "Binary Format".
"""

import asyncio
import sys
from array import array
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import accumulate

import asyncpg

from binance_proxy.adapters.timescale.registry import Recorded
from binance_proxy.adapters.timescale.rows import FILE_END, FILE_HEADER
from binance_proxy.adapters.timescale.session import EPOCH_2000_US, Session
from binance_proxy.application.ports import StoreError, StoreRejected
from binance_proxy.application.trade_columns import Bigints, TradeColumns

PAGE = 65_536
"""Trades, which is what an archive writes at once; seven megabytes of rows."""
LOWEST_ID = -(2**63)
QUERY = """
SELECT ts_event, ts_recv, trade_id, price, size,
    coalesce(first_match_id, 0), coalesce(last_match_id, 0),
    aggressor, first_match_id IS NOT NULL, last_match_id IS NOT NULL, off_book
FROM trades
WHERE instrument_id = $1 AND ts_event >= $2 AND ts_event < $3 AND (ts_event, trade_id) > ($2, $4)
ORDER BY ts_event, trade_id LIMIT $5
"""
WIDTHS = (8, 8, 8, 8, 8, 8, 8, 2, 1, 1, 1)
"""Of the columns, in bytes. In a row each stands behind its length, of four, and all behind their number."""
STARTS = tuple(accumulate((4 + width for width in WIDTHS), initial=2 + 4))
ROW = 2 + sum(4 + width for width in WIDTHS)


async def trade_columns(
    session: Session, recorded: Recorded, start_us: int, end_us: int
) -> AsyncGenerator[TradeColumns]:
    """Yield the trades of an instrument with ``start_us <= ts_event < end_us``, in µs, a page at a time.

    The next page is fetched while the last one is worked on. No connection is held beyond a page.
    """
    fetching = asyncio.create_task(_page(session, recorded, (start_us, end_us, LOWEST_ID)))
    try:
        while page := await fetching:
            if len(page) == PAGE:
                passed = page.ts_event[-1] // 1000, end_us, page.trade_id[-1]
                fetching = asyncio.create_task(_page(session, recorded, passed))
            yield page
            if len(page) < PAGE:
                return
    finally:
        fetching.cancel()
        with suppress(asyncio.CancelledError, StoreError):
            await fetching


async def _page(session: Session, recorded: Recorded, bounds: tuple[int, int, int]) -> TradeColumns:
    chunks: list[bytes] = []

    async def take(chunk: bytes) -> None:
        chunks.append(chunk)

    async with session.transaction() as connection:
        await _copy(connection, take, recorded, bounds)
    return await asyncio.to_thread(_unpack, b"".join(chunks), recorded)


async def _copy(
    connection: asyncpg.Connection, take: object, recorded: Recorded, bounds: tuple[int, int, int]
) -> None:
    await connection.copy_from_query(
        QUERY, recorded.instrument_id, *bounds, PAGE, output=take, format="binary"
    )


def _unpack(file: bytes, recorded: Recorded) -> TradeColumns:
    rows = file[len(FILE_HEADER) : -len(FILE_END)]
    if len(rows) % ROW:
        raise StoreRejected("the database sends trades in rows of another length than this bridge knows")
    times, received, ids, prices, sizes, first, last = (_bigints(rows, STARTS[number]) for number in range(7))
    aggressor, has_first, has_last, off_book = STARTS[7:11]
    return TradeColumns(
        instrument=recorded.instrument,
        ts_event=array("q", [(since_2000 + EPOCH_2000_US) * 1000 for since_2000 in times]),
        ts_recv=received,
        trade_id=ids,
        price=prices,
        size=sizes,
        is_buy=rows[aggressor::ROW].translate(_IS_BUY),
        first_match_id=first,
        last_match_id=last,
        has_first_match=rows[has_first::ROW],
        has_last_match=rows[has_last::ROW],
        off_book=rows[off_book::ROW],
    )


_IS_BUY = bytes([1] + [0] * 255)
"""By the upper byte of the aggressor: all ones below zero."""


def _bigints(rows: bytes, at: int) -> Bigints:
    packed = bytearray(len(rows) // ROW * 8)
    for byte in range(8):
        packed[byte::8] = rows[at + byte :: ROW]
    values = array("q", bytes(packed))
    if sys.byteorder == "little":
        values.byteswap()
    return values
