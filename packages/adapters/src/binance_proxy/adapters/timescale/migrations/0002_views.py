"""Views for people: candles and trades in decimal numbers, exact and without trailing zeros.

**How a candle view is read.** For each instrument it hops over the days that have trades, one index probe
a day, lists the periods of each, and sums up the trades of each period by a range of the primary key. So
a condition on `symbol` and `start` is applied to the periods, before any trade is read, and each period
opens only the partition that it lies in. It has limits, which rollup tables will lift: the days of the
instrument are walked whatever `start` is asked for, a period without trades costs a probe too, planning
takes longer with each partition, and without a condition on `start` everything is summed up, also for
``ORDER BY start DESC LIMIT 10``.

**`complete`** is true when the stored trades prove the period whole: their ids are consecutive, the
stored trade before the period has the id before its first, and the one behind it has the id behind its
last. Off-book prints have ids and count in this. It takes for granted that ids rise with time, as venues
assign them; where they do not, it is false.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

PERIODS = {
    "1m": "1 minute",
    "5m": "5 minutes",
    "15m": "15 minutes",
    "1h": "1 hour",
    "4h": "4 hours",
    "1d": "24 hours",  # and not '1 day', whose length would depend on the session's time zone
}

CANDLES = """
CREATE VIEW candles_{name} AS
SELECT
    i.venue,
    i.market,
    i.symbol,
    p.start,
    trim_scale(i.price_unit * (
        SELECT t.price FROM trades t
        WHERE t.instrument_id = i.instrument_id AND t.ts_event = c.ts_first AND NOT t.off_book
        ORDER BY t.trade_id LIMIT 1
    )) AS open,
    trim_scale(i.price_unit * c.high) AS high,
    trim_scale(i.price_unit * c.low) AS low,
    trim_scale(i.price_unit * (
        SELECT t.price FROM trades t
        WHERE t.instrument_id = i.instrument_id AND t.ts_event = c.ts_last AND NOT t.off_book
        ORDER BY t.trade_id DESC LIMIT 1
    )) AS close,
    trim_scale(i.size_unit * c.volume) AS volume,
    trim_scale(i.price_unit * i.size_unit * c.quote_volume) AS quote_volume,
    trim_scale(i.price_unit * div(2 * c.quote_volume + c.volume, 2 * nullif(c.volume, 0))) AS vwap,
    c.trades,
    coalesce(
        c.ids = c.last_id - c.first_id + 1
        AND c.different_ids = c.ids
        AND c.first_id - 1 = (
            SELECT t.trade_id FROM trades t
            WHERE t.instrument_id = i.instrument_id AND t.ts_event < p.start
            ORDER BY t.ts_event DESC, t.trade_id DESC LIMIT 1
        )
        AND c.last_id + 1 = (
            SELECT t.trade_id FROM trades t
            WHERE t.instrument_id = i.instrument_id AND t.ts_event >= p.start + interval '{period}'
            ORDER BY t.ts_event, t.trade_id LIMIT 1
        ),
        false
    ) AS complete
FROM instruments i
CROSS JOIN LATERAL (
    WITH RECURSIVE days (day) AS (
        SELECT date_bin('24 hours', (
            SELECT t.ts_event FROM trades t
            WHERE t.instrument_id = i.instrument_id
            ORDER BY t.ts_event LIMIT 1
        ), 'epoch')
        UNION ALL
        SELECT date_bin('24 hours', (
            SELECT t.ts_event FROM trades t
            WHERE t.instrument_id = i.instrument_id AND t.ts_event >= days.day + interval '24 hours'
            ORDER BY t.ts_event LIMIT 1
        ), 'epoch')
        FROM days WHERE day IS NOT NULL
    )
    SELECT day FROM days WHERE day IS NOT NULL
) d
CROSS JOIN LATERAL generate_series(
    d.day, d.day + interval '24 hours' - interval '{period}', interval '{period}'
) AS p (start)
CROSS JOIN LATERAL (
    SELECT
        min(t.ts_event) FILTER (WHERE NOT t.off_book) AS ts_first,
        max(t.ts_event) FILTER (WHERE NOT t.off_book) AS ts_last,
        max(t.price) FILTER (WHERE NOT t.off_book) AS high,
        min(t.price) FILTER (WHERE NOT t.off_book) AS low,
        sum(t.size) FILTER (WHERE NOT t.off_book) AS volume,
        sum(t.price::numeric * t.size) FILTER (WHERE NOT t.off_book) AS quote_volume,
        sum(coalesce(t.last_match_id - t.first_match_id + 1, 1))
            FILTER (WHERE NOT t.off_book)::bigint AS trades,
        count(*) AS ids,
        count(DISTINCT t.trade_id) AS different_ids,
        min(t.trade_id) AS first_id,
        max(t.trade_id) AS last_id
    FROM trades t
    WHERE t.instrument_id = i.instrument_id
        AND t.ts_event >= p.start AND t.ts_event < p.start + interval '{period}'
    HAVING count(*) FILTER (WHERE NOT t.off_book) > 0
) c
"""

TRADES_DECIMAL = """
CREATE VIEW trades_decimal AS
SELECT
    i.venue,
    i.market,
    i.symbol,
    t.trade_id,
    t.ts_event,
    timestamptz 'epoch' + interval '1 second' * (t.ts_recv / 1000000000)
        + interval '1 microsecond' * (t.ts_recv % 1000000000 / 1000) AS ts_recv,
    trim_scale(i.price_unit * t.price) AS price,
    trim_scale(i.size_unit * t.size) AS size,
    CASE t.aggressor WHEN 1 THEN 'buy' ELSE 'sell' END AS aggressor
FROM trades t
JOIN instruments i USING (instrument_id)
"""

CANDLE_COMMENTS = {
    "start": "First moment of the half-open period, which is counted in UTC.",
    "open": "Price of the trade with the lowest (ts_event, trade_id), in the quote asset.",
    "high": "In the quote asset.",
    "low": "In the quote asset.",
    "close": "Price of the trade with the highest (ts_event, trade_id), in the quote asset.",
    "volume": "Sum of sizes, in the base asset.",
    "quote_volume": "Sum of price times size, in the quote asset.",
    "vwap": "Average price weighted by size, rounded half up to the instrument's price precision.",
    "trades": "Number of matches; an aggregated print counts all of its own.",
    "complete": "True when the stored trades themselves prove that none of the period is missing.",
}
TRADE_COMMENTS = {
    "trade_id": "Rises by one within an instrument. Assigned by the venue.",
    "ts_event": "When it happened, by the venue's clock. Assigned by the venue.",
    "ts_recv": "When it reached us, to the microsecond. Assigned by the recorder.",
    "price": "In the quote asset.",
    "size": "In the base asset.",
    "aggressor": "Who took liquidity: 'buy' or 'sell'.",
}


def upgrade() -> None:
    """Make the views."""
    for name, period in PERIODS.items():
        op.execute(CANDLES.format(name=name, period=period))
        _comment(f"candles_{name}", f"Candles of {name}, off-book prints left out.", CANDLE_COMMENTS)
    op.execute(TRADES_DECIMAL)
    _comment("trades_decimal", "Every stored trade, in decimal numbers.", TRADE_COMMENTS)


def _comment(view: str, sentence: str, columns: dict[str, str]) -> None:
    comments = {f"VIEW {view}": sentence, **{f"COLUMN {view}.{name}": text for name, text in columns.items()}}
    for what, text in comments.items():
        quoted = text.replace("'", "''")
        op.execute(f"COMMENT ON {what} IS '{quoted}'")


def downgrade() -> None:
    """Take the views away; they hold nothing of their own."""
    for view in (*(f"candles_{name}" for name in PERIODS), "trades_decimal"):
        op.execute(f"DROP VIEW {view}")
