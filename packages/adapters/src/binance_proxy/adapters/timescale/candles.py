"""Candles of any timeframe, summed up by PostgreSQL."""

import asyncpg

from binance_proxy.adapters.timescale.registry import Recorded
from binance_proxy.adapters.timescale.rows import ceil_us
from binance_proxy.domain.candle import SECOND_NS, Candle, Timeframe
from binance_proxy.domain.instrument import Instrument

CANDLES = """
SELECT
    c.*,
    (
        SELECT t.price FROM trades t
        WHERE t.instrument_id = $1 AND t.ts_event = c.ts_first AND NOT t.off_book
        ORDER BY t.trade_id LIMIT 1
    ) AS open,
    latest.price AS close,
    latest.ts_recv,
    (SELECT max(t.ts_event) FROM trades t WHERE t.instrument_id = $1 AND NOT t.off_book) AS newest
FROM (
    SELECT
        min(t.ts_event) AS ts_first,
        max(t.ts_event) AS ts_last,
        max(t.price) AS high,
        min(t.price) AS low,
        sum(t.size) AS volume,
        sum(t.price::numeric * t.size) AS quote_volume,
        sum(coalesce(t.last_match_id - t.first_match_id + 1, 1))::bigint AS trades
    FROM trades t
    WHERE t.instrument_id = $1 AND t.ts_event >= $2 AND t.ts_event < $3 AND NOT t.off_book
    GROUP BY {period}
) c
CROSS JOIN LATERAL (
    SELECT t.price, t.ts_recv FROM trades t
    WHERE t.instrument_id = $1 AND t.ts_event = c.ts_last AND NOT t.off_book
    ORDER BY t.trade_id DESC LIMIT 1
) latest
ORDER BY c.ts_first
"""


async def fetch_candles(
    connection: asyncpg.Connection,
    recorded: Recorded,
    timeframe: Timeframe,
    start: int,
    end: int,
) -> list[Candle]:
    """Return the candles whose period starts in ``[start, end)``, as `MarketStore.candles` says."""
    first, behind = timeframe.period(start)
    if first < start:
        first = behind
    if first >= end:
        return []
    last = timeframe.period(end - 1)[1]
    query = CANDLES.format(period=_period(timeframe))
    rows = await connection.fetch(query, recorded.instrument_id, ceil_us(first), ceil_us(last))
    return [_candle(row, recorded.instrument, timeframe) for row in rows]


def _candle(row: asyncpg.Record, instrument: Instrument, timeframe: Timeframe) -> Candle:
    start, end = timeframe.period(row["ts_last"] * 1000)
    return Candle(
        instrument=instrument,
        timeframe=timeframe,
        ts_event=row["ts_last"] * 1000,
        ts_recv=row["ts_recv"],
        start=start,
        end=end,
        open=row["open"],
        high=row["high"],
        low=row["low"],
        close=row["close"],
        volume=int(row["volume"]),
        quote_volume=int(row["quote_volume"]),
        trades=row["trades"],
        closed=row["newest"] * 1000 >= end,
    )


def _period(timeframe: Timeframe) -> str:
    """Say in SQL which period a trade lies in; any expression will do that differs from period to period."""
    if timeframe.name.endswith("mo"):
        return (
            "div((extract(year FROM t.ts_event AT TIME ZONE 'UTC') - 1970) * 12"
            f" + extract(month FROM t.ts_event AT TIME ZONE 'UTC') - 1, {timeframe.name.removesuffix('mo')})"
        )
    start, end = timeframe.period(0)
    length_s, origin_s = (end - start) // SECOND_NS, start // SECOND_NS
    return f"date_bin(interval '{length_s} seconds', t.ts_event, to_timestamp({origin_s}))"
