"""Candles of any timeframe, of what was summed up ahead of time; of the trades where that is too coarse."""

import asyncpg

from binance_proxy.adapters.timescale.registry import Recorded
from binance_proxy.adapters.timescale.rows import ceil_us
from binance_proxy.adapters.timescale.session import EPOCH_2000_US
from binance_proxy.domain.candle import SECOND_NS, Candle, Timeframe
from binance_proxy.domain.instrument import Instrument

LEVELS = {"1d": 86_400, "4h": 14_400, "1h": 3_600, "15m": 900, "5m": 300, "1m": 60}
"""What there are sums of, by length in seconds, the longest first."""

CANDLES = """
SELECT
    start,
    opening[3] AS open,
    high,
    low,
    closing[3] AS close,
    closing[1] AS last_us,
    closing[4] AS ts_recv,
    volume::text AS volume,
    quote_volume::text AS quote_volume,
    trades,
    first_id,
    last_id,
    dense
FROM {sums}
ORDER BY start
"""
"""A period with nothing but off-book prints makes no candle, and is a neighbour nevertheless."""
AROUND = """
SELECT
    coalesce(
        (
            SELECT {since_2000} FROM trades t
            WHERE t.instrument_id = $1 AND NOT t.off_book
            ORDER BY t.ts_event DESC LIMIT 1
        ),
        (
            SELECT r.closing[1] FROM rollup_1d r
            WHERE r.instrument_id = $1 AND r.opening IS NOT NULL
            ORDER BY r.start DESC LIMIT 1
        )
    ) AS newest_us,
    greatest(
        (
            SELECT t.trade_id FROM trades t
            WHERE t.instrument_id = $1 AND t.ts_event < $2
            ORDER BY t.ts_event DESC, t.trade_id DESC LIMIT 1
        ),
        CASE WHEN EXISTS (SELECT FROM dropped_days WHERE relation = 'trades') THEN (
            SELECT r.last_id FROM rollup_{level} r
            WHERE r.instrument_id = $1 AND r.start <= $2 - interval '{level_s} seconds'
            ORDER BY r.start DESC LIMIT 1
        ) END
    ) AS before_id,
    least(
        (
            SELECT t.trade_id FROM trades t
            WHERE t.instrument_id = $1 AND t.ts_event >= $3
            ORDER BY t.ts_event, t.trade_id LIMIT 1
        ),
        CASE WHEN EXISTS (SELECT FROM dropped_days WHERE relation = 'trades') THEN (
            SELECT r.first_id FROM rollup_{level} r
            WHERE r.instrument_id = $1 AND r.start >= $3
            ORDER BY r.start LIMIT 1
        ) END
    ) AS behind_id
"""
"""The newest trade, and the ids around the whole range; those around each period are in the answer itself."""
OF_LEVEL = """(
    SELECT * FROM sums_{level} WHERE instrument_id = $1 AND start >= $2 AND start < $3
) s"""
OF_SEVERAL = """(
    SELECT
        min(start) AS start,
        min(opening) AS opening,
        max(high) AS high,
        min(low) AS low,
        max(closing) AS closing,
        sum(volume) AS volume,
        sum(quote_volume) AS quote_volume,
        sum(trades)::bigint AS trades,
        min(first_id) AS first_id,
        max(last_id) AS last_id,
        bool_and(dense AND coalesce(first_id = before_id + 1, true)) AS dense
    FROM (
        SELECT
            *,
            {period} AS period,
            lag(last_id) OVER (PARTITION BY {period} ORDER BY start) AS before_id
        FROM sums_{level} WHERE instrument_id = $1 AND start >= $2 AND start < $3
    ) part
    GROUP BY period
) s"""
OF_TRADES = """(
    SELECT
        min(ts_event) AS start,
        min(ARRAY[{since_2000}, trade_id, price]) FILTER (WHERE NOT off_book) AS opening,
        max(price) FILTER (WHERE NOT off_book) AS high,
        min(price) FILTER (WHERE NOT off_book) AS low,
        max(ARRAY[{since_2000}, trade_id, price, ts_recv]) FILTER (WHERE NOT off_book) AS closing,
        sum(size) FILTER (WHERE NOT off_book) AS volume,
        sum(price::numeric * size) FILTER (WHERE NOT off_book) AS quote_volume,
        sum(coalesce(last_match_id - first_match_id + 1, 1)) FILTER (WHERE NOT off_book)::bigint AS trades,
        min(trade_id) AS first_id,
        max(trade_id) AS last_id,
        count(*) = max(trade_id) - min(trade_id) + 1 AND count(*) = count(DISTINCT trade_id) AS dense
    FROM trades WHERE instrument_id = $1 AND ts_event >= $2 AND ts_event < $3
    GROUP BY {period}
) s"""
SINCE_2000 = "(date_part('epoch', ts_event - timestamptz '2000-01-01T00:00Z') * 1000000)::bigint"


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
    given = recorded.instrument_id, ceil_us(first), ceil_us(last)
    level = _level(timeframe) or "1m"
    around = await connection.fetchrow(
        AROUND.format(level=level, level_s=LEVELS[level], since_2000=SINCE_2000), *given
    )
    rows = await connection.fetch(candles_query(timeframe), *given)
    return _candles(rows, around, recorded.instrument, timeframe)


def _candles(
    rows: list[asyncpg.Record], around: asyncpg.Record, instrument: Instrument, timeframe: Timeframe
) -> list[Candle]:
    if not rows:
        return []
    candles: list[Candle] = []
    period = timeframe.period
    length_ns = LEVELS.get(timeframe.name, 0) * SECOND_NS
    newest_us, before_id, behind_id = around
    # A trade may have been stored since the newest was looked up.
    newest_us = max((us for us in (newest_us, rows[-1]["last_us"]) if us is not None), default=0)
    newest = (newest_us + EPOCH_2000_US) * 1000
    next_ids = [row[10] for row in rows[1:]]
    next_ids.append(behind_id)
    for (
        start_us, first, high, low, close, last_us, ts_recv, volume, quote_volume, trades, first_id, last_id,
        dense,
    ), next_id in zip(rows, next_ids, strict=True):  # fmt: skip
        is_proven = dense and before_id == first_id - 1 and next_id == last_id + 1
        before_id = last_id
        if first is None:
            continue  # off-book prints only
        start = start_us * 1000
        end = start + length_ns
        if not length_ns:
            start, end = period(start)
        closed = newest >= end
        candle = Candle(
            instrument=instrument,
            timeframe=timeframe,
            ts_event=(last_us + EPOCH_2000_US) * 1000,
            ts_recv=ts_recv,
            start=start,
            end=end,
            open=first,
            high=high,
            low=low,
            close=close,
            volume=int(volume),
            quote_volume=int(quote_volume),
            trades=trades,
            closed=closed,
            complete=closed and is_proven,
        )
        candles.append(candle)
    return candles


def candles_query(timeframe: Timeframe) -> str:
    """Ask for candles: $1 instrument, $2 and $3 the range of time."""
    level = _level(timeframe)
    if level is None:
        sums = OF_TRADES.format(since_2000=SINCE_2000, period=_period(timeframe, "ts_event"))
    elif level == timeframe.name:
        sums = OF_LEVEL.format(level=level)
    else:
        sums = OF_SEVERAL.format(level=level, period=_period(timeframe, "start"))
    return CANDLES.format(sums=sums)


def _level(timeframe: Timeframe) -> str | None:
    """Return the longest sums that every period of a timeframe is made of; `None` if it is made of trades."""
    if timeframe.name in LEVELS:
        return timeframe.name
    length_s = _length_s(timeframe)
    return next((level for level, level_s in LEVELS.items() if length_s % level_s == 0), None)


def _length_s(timeframe: Timeframe) -> int:
    """Return a length that every period of the timeframe is made of."""
    if timeframe.name.endswith("mo"):
        return LEVELS["1d"]
    start, end = timeframe.period(0)
    return (end - start) // SECOND_NS


def _period(timeframe: Timeframe, time: str) -> str:
    """Say in SQL which period a time lies in; any expression will do that differs from period to period."""
    if timeframe.name.endswith("mo"):
        return (
            f"div((extract(year FROM {time} AT TIME ZONE 'UTC') - 1970) * 12"
            f" + extract(month FROM {time} AT TIME ZONE 'UTC') - 1, {timeframe.name.removesuffix('mo')})"
        )
    start, end = timeframe.period(0)
    length_s, origin_s = (end - start) // SECOND_NS, start // SECOND_NS
    return f"date_bin(interval '{length_s} seconds', {time}, to_timestamp({origin_s}))"
