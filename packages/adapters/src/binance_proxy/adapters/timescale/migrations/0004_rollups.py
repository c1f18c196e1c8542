"""Candles summed up ahead of time, and views that are right whatever has been summed up.

**Layers**, for each of the six timeframes, 1m from the trades and the others each from the one below:

- ``rollup_*`` has been summed up, but for the newest, which is summed up as it is read. On TimescaleDB it is
  a real-time continuous aggregate, refreshed by policies and by the bridge; elsewhere a table ``rolled_*``
  that the bridge fills, and behind ``rolled_until`` the rest.
- ``sums_*`` is `rollup_*`, but for the periods that ``stale_candles`` names: trades have come for them after
  they were summed up, so they are summed up as they are read. Whoever writes a trade that is not of the
  newest few minutes writes there too, in the same transaction; so no reader ever sees an old sum.
- ``candles_*`` shows that in decimal numbers.

**The first and the last trade** of a period are kept as arrays that compare by time, then by id: `opening` is
the least ``{us since 2000, trade_id, price}``, `closing` the greatest ``{..., ts_recv}``. So first and last
need no order within an aggregate, combine from period to period, and are the same on every server.

**`dense`**: the ids of the period follow each other without a hole and without a double, and from one part
to the next they go on. **`complete`** is true if besides that the trade before the period has the id before,
and the one behind it the id behind. Where ids do not rise with time, it is false. Off-book prints count.

**Times since 2000** go through a float, which is exact to the microsecond until 2106, and far faster than
the exact way through `numeric`.
"""

from alembic import op
from sqlalchemy import text

from binance_proxy.adapters.timescale.partitions import IS_HYPERTABLE
from binance_proxy.application.ports import StoreRejected

revision = "0004"
down_revision = "0003"

LEVELS = (
    ("1m", "1 minute", ""),
    ("5m", "5 minutes", "1m"),
    ("15m", "15 minutes", "5m"),
    ("1h", "1 hour", "15m"),
    ("4h", "4 hours", "1h"),
    ("1d", "24 hours", "4h"),  # and not '1 day', whose length would depend on the session's time zone
)
"""Name, length, and the level that it is summed up from; nothing for the trades themselves."""

SINCE_2000 = "(date_part('epoch', ts_event - timestamptz '2000-01-01T00:00Z') * 1000000)::bigint"

OF_TRADES = f"""
    min(ARRAY[{SINCE_2000}, trade_id, price]) FILTER (WHERE NOT off_book) AS opening,
    max(price) FILTER (WHERE NOT off_book) AS high,
    min(price) FILTER (WHERE NOT off_book) AS low,
    max(ARRAY[{SINCE_2000}, trade_id, price, ts_recv]) FILTER (WHERE NOT off_book) AS closing,
    sum(size) FILTER (WHERE NOT off_book) AS volume,
    sum(price::numeric * size) FILTER (WHERE NOT off_book) AS quote_volume,
    sum(coalesce(last_match_id - first_match_id + 1, 1)) FILTER (WHERE NOT off_book)::bigint AS trades,
    min(trade_id) AS first_id,
    max(trade_id) AS last_id,
    count(*) AS ids,
    count(*) = count(DISTINCT trade_id) AND count(*) = max(trade_id) - min(trade_id) + 1 AS dense
"""

OF_SUMS = """
    min(opening) AS opening,
    max(high) AS high,
    min(low) AS low,
    max(closing) AS closing,
    sum(volume) AS volume,
    sum(quote_volume) AS quote_volume,
    sum(trades)::bigint AS trades,
    min(first_id) AS first_id,
    max(last_id) AS last_id,
    sum(ids)::bigint AS ids,
    bool_and(dense) AND (array_agg(first_id ORDER BY start))[2:]
        = (array_agg(last_id + 1 ORDER BY start))[1 : count(*)::integer - 1] AS dense
"""

NOBODY_ELSE = "LOCK TABLE trades IN ACCESS EXCLUSIVE MODE"
"""An older bridge may be recording: it would mark nothing as stale."""

DATABASE_ID = """
CREATE TABLE IF NOT EXISTS database_id AS SELECT gen_random_uuid() AS id
"""
"""It stays when the schema is taken back: ticks may wait in a spool for this database meanwhile."""

# What has come too late to be summed up with the rest, and what is gone.


SUMMED_UP_BEFORE = """
CREATE FUNCTION summed_up_before() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT now() - interval '10 minutes'
$$
"""
"""What is newer still grows, and is summed up as it is read."""

STALE = (
    """
    CREATE TABLE stale_candles (
        stale_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        instrument_id integer NOT NULL REFERENCES instruments,
        start timestamptz NOT NULL,
        "end" timestamptz NOT NULL CHECK ("end" > start)
    )
    """,
    """
    CREATE TABLE dropped_days (
        relation text NOT NULL,
        day date NOT NULL,
        PRIMARY KEY (relation, day)
    )
    """,
    # The lock, 'writer' in hexadecimal, is held until the writer commits, and whoever moves `rolled_before`
    # waits for it: so a minute is either marked, or summed up with what was written here. TimescaleDB's
    # policies know no such lock; there the two minutes do it, as the bridge ends a transaction after one.
    """
    CREATE FUNCTION mark_stale(instruments integer[], starts timestamptz[], ends timestamptz[]) RETURNS void
    LANGUAGE sql AS $$
        SELECT pg_advisory_xact_lock_shared(x'777269746572'::bigint);
        INSERT INTO stale_candles (instrument_id, start, "end")
        SELECT instrument_id, start, "end"
        FROM unnest(instruments, starts, ends) AS touched (instrument_id, start, "end")
        WHERE start < greatest(summed_up_before() + interval '2 minutes', rolled_before())
            AND NOT EXISTS (
                SELECT FROM dropped_days
                WHERE relation = 'trades' AND day = (touched.start AT TIME ZONE 'UTC')::date
            )
    $$
    """,
)

CONTINUOUS = """
CREATE MATERIALIZED VIEW rollup_{name}
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT instrument_id, time_bucket(interval '{length}', {time}) AS start, {sums}
FROM {below} GROUP BY 1, 2
WITH NO DATA
"""

WATERMARK = """
CREATE FUNCTION rollup_watermark(rollup text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT _timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(mat_hypertable_id))
    FROM _timescaledb_catalog.continuous_agg
    WHERE user_view_schema = current_schema() AND user_view_name = rollup
$$
"""
"""Up to where a continuous aggregate has been summed up."""
CONTINUED = """
CREATE FUNCTION rolled_before() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT max(rollup_watermark(rollup)) FROM unnest(ARRAY[{rollups}]) AS rollups (rollup)
$$
"""
"""It lies ahead of `summed_up_before` only if the server's clock was set back."""
ROLLED = (
    """
    CREATE TABLE rolled_until (
        timeframe text PRIMARY KEY,
        length interval NOT NULL,
        until timestamptz NOT NULL,
        closing timestamptz NOT NULL
    )
    """,
    """
    CREATE FUNCTION rolled_before() RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT max(closing) FROM rolled_until
    $$
    """,
)
ROLLED_TABLE = """
CREATE TABLE rolled_{name} (
    instrument_id integer NOT NULL,
    start timestamptz NOT NULL,
    opening bigint[],
    high bigint,
    low bigint,
    closing bigint[],
    volume numeric,
    quote_volume numeric,
    trades bigint,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    ids bigint NOT NULL,
    dense boolean NOT NULL,
    PRIMARY KEY (instrument_id, start)
)
"""
ROLLED_UNTIL = """
INSERT INTO rolled_until
SELECT '{name}', '{length}', until, until
FROM date_bin('{length}', summed_up_before(), timestamptz 'epoch') AS until
"""
ROLLUP_VIEW = """
CREATE VIEW rollup_{name} AS
SELECT * FROM rolled_{name} WHERE start < (SELECT until FROM rolled_until WHERE timeframe = '{name}')
UNION ALL
SELECT instrument_id, date_bin('{length}', {time}, timestamptz 'epoch') AS start, {sums}
FROM {below} WHERE {time} >= (SELECT until FROM rolled_until WHERE timeframe = '{name}')
GROUP BY 1, 2
"""
ROLL_UP = """
CREATE FUNCTION roll_up_{name}(instruments integer[], since timestamptz, before timestamptz) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM rolled_{name} WHERE instrument_id = ANY (instruments) AND start >= since AND start < before;
    INSERT INTO rolled_{name}
    SELECT instrument_id, date_bin('{length}', {time}, timestamptz 'epoch') AS start, {sums}
    FROM {below}
    WHERE instrument_id = ANY (instruments) AND {time} >= since AND {time} < before
    GROUP BY 1, 2
$$
"""

SUMS = """
CREATE VIEW sums_{name} AS
SELECT
    instrument_id, start, opening, high, low, closing, volume, quote_volume, trades,
    first_id, last_id, ids, dense
FROM rollup_{name} r
WHERE NOT EXISTS (
    SELECT FROM stale_candles s
    WHERE s.instrument_id = r.instrument_id AND s.start < r.start + interval '{length}' AND s."end" > r.start
)
UNION ALL
{stale_sums}
"""
STALE_SUMS = """
SELECT
    s.instrument_id, p.start, c.opening, c.high, c.low, c.closing, c.volume, c.quote_volume, c.trades,
    c.first_id, c.last_id, c.ids, c.dense
FROM (
    SELECT instrument_id, unnest(range_agg(tstzrange(
        date_bin('{length}', start, timestamptz 'epoch'),
        date_bin('{length}', "end" - interval '1 microsecond', timestamptz 'epoch') + interval '{length}'
    ))) AS period
    FROM stale_candles GROUP BY instrument_id
) s
CROSS JOIN LATERAL generate_series(
    lower(s.period), upper(s.period) - interval '{length}', interval '{length}'
) AS p (start)
CROSS JOIN LATERAL ({sums} HAVING count(*) > 0) c
"""
"""Period by period, so that a condition on `start` is applied before any trade is read."""
TRADES_OF_PERIOD = """
FROM trades t
WHERE t.instrument_id = s.instrument_id
    AND t.ts_event >= p.start AND t.ts_event < p.start + interval '{length}'
"""
SUMS_OF_PERIOD = "SELECT {of_trades} {trades}"
SUMS_OF_MINUTES = """
SELECT {of_sums}
FROM (
    SELECT date_bin('1 minute', t.ts_event, timestamptz 'epoch') AS start, {of_trades} {trades}
    GROUP BY 1
) m
"""

CANDLES = """
CREATE VIEW candles_{name} AS
SELECT
    i.venue,
    i.market,
    i.symbol,
    s.start,
    trim_scale(i.price_unit * s.opening[3]) AS open,
    trim_scale(i.price_unit * s.high) AS high,
    trim_scale(i.price_unit * s.low) AS low,
    trim_scale(i.price_unit * s.closing[3]) AS close,
    trim_scale(i.size_unit * s.volume) AS volume,
    trim_scale(i.price_unit * i.size_unit * s.quote_volume) AS quote_volume,
    trim_scale(i.price_unit * div(2 * s.quote_volume + s.volume, 2 * nullif(s.volume, 0))) AS vwap,
    s.trades,
    coalesce(
        s.dense
        AND s.first_id - 1 = greatest(
            (
                SELECT t.trade_id FROM trades t
                WHERE t.instrument_id = s.instrument_id AND t.ts_event < s.start
                ORDER BY t.ts_event DESC, t.trade_id DESC LIMIT 1
            ),
            CASE WHEN EXISTS (SELECT FROM dropped_days WHERE relation = 'trades') THEN (
                SELECT r.last_id FROM {rolled} r
                WHERE r.instrument_id = s.instrument_id AND r.start < s.start
                ORDER BY r.start DESC LIMIT 1
            ) END
        )
        AND s.last_id + 1 = least(
            (
                SELECT t.trade_id FROM trades t
                WHERE t.instrument_id = s.instrument_id AND t.ts_event >= s.start + interval '{length}'
                ORDER BY t.ts_event, t.trade_id LIMIT 1
            ),
            CASE WHEN EXISTS (SELECT FROM dropped_days WHERE relation = 'trades') THEN (
                SELECT r.first_id FROM {rolled} r
                WHERE r.instrument_id = s.instrument_id AND r.start > s.start
                ORDER BY r.start LIMIT 1
            ) END
        ),
        false
    ) AS complete
FROM instruments i
JOIN sums_{name} s USING (instrument_id)
WHERE s.opening IS NOT NULL
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

MATERIALIZED = """
SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
FROM timescaledb_information.continuous_aggregates
WHERE view_schema = current_schema() AND view_name = 'rollup_{name}'
"""

ALL_STALE = """
INSERT INTO stale_candles (instrument_id, start, "end")
WITH RECURSIVE days (instrument_id, day) AS (
    SELECT i.instrument_id, date_bin('24 hours', (
        SELECT t.ts_event FROM trades t
        WHERE t.instrument_id = i.instrument_id
        ORDER BY t.ts_event LIMIT 1
    ), timestamptz 'epoch')
    FROM instruments i
    UNION ALL
    SELECT d.instrument_id, date_bin('24 hours', (
        SELECT t.ts_event FROM trades t
        WHERE t.instrument_id = d.instrument_id AND t.ts_event >= d.day + interval '24 hours'
        ORDER BY t.ts_event LIMIT 1
    ), timestamptz 'epoch')
    FROM days d WHERE d.day IS NOT NULL
)
SELECT instrument_id, day, day + interval '24 hours' FROM days WHERE day IS NOT NULL
"""

FAST_READS = (
    # Compiling a view costs near a second, and running it a few milliseconds. Only an owner may say so here;
    # the bridge says it for itself anyway.
    """
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END $$
    """,
    # A table that nobody has looked at is taken for one of thousands of rows.
    "ANALYZE stale_candles",
    "ANALYZE dropped_days",
)

COMMENTS = {
    "TABLE stale_candles": "Periods for which trades have come after their candles were summed up. The views"
    " sum them up as they are read; the bridge removes a row once it has summed them up anew.",
    "COLUMN stale_candles.start": "First moment of the first minute.",
    'COLUMN stale_candles."end"': "The moment behind the last minute.",
    "TABLE dropped_days": "UTC days whose rows were dropped by retention; their candles are never summed up"
    " again.",
    "COLUMN dropped_days.relation": "trades, quotes or book_snapshots.",
    "TABLE database_id": "One row that tells this database from others: a spool keeps to it.",
}
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
    """Make the rollups and the views; what is stored already waits to be summed up."""
    hypertables = op.get_bind().execute(text(IS_HYPERTABLE)).scalar_one()
    rollups = ", ".join(f"'rollup_{name}'" for name, _, _ in LEVELS)
    rolled_before = [WATERMARK, CONTINUED.format(rollups=rollups)] if hypertables else ROLLED
    for statement in (NOBODY_ELSE, DATABASE_ID, SUMMED_UP_BEFORE, *rolled_before, *STALE):
        op.execute(statement)
    comments = dict(COMMENTS)
    for name, length, below in LEVELS:
        words = {
            "name": name,
            "length": length,
            "time": "start" if below else "ts_event",
            "sums": OF_SUMS if below else OF_TRADES,
            "below": f"rollup_{below}" if below else "trades",
        }
        if hypertables:
            op.execute(CONTINUOUS.format(**words))
            rolled = op.get_bind().execute(text(MATERIALIZED.format(name=name))).scalar_one()
        else:
            for statement in (ROLLED_TABLE, ROLLED_UNTIL, ROLLUP_VIEW, ROLL_UP):
                op.execute(statement.format(**words))
            rolled = f"rolled_{name}"
        sums = (SUMS_OF_MINUTES if below else SUMS_OF_PERIOD).format(
            of_trades=OF_TRADES, of_sums=OF_SUMS, trades=TRADES_OF_PERIOD.format(length=length)
        )
        stale_sums = STALE_SUMS.format(length=length, sums=sums)
        op.execute(SUMS.format(name=name, length=length, stale_sums=stale_sums))
        op.execute(CANDLES.format(name=name, length=length, rolled=rolled))
        comments[f"VIEW candles_{name}"] = f"Candles of {name}, off-book prints left out."
        comments |= {f"COLUMN candles_{name}.{column}": said for column, said in CANDLE_COMMENTS.items()}
    op.execute(TRADES_DECIMAL)
    comments["VIEW trades_decimal"] = "Every stored trade, in decimal numbers."
    comments |= {f"COLUMN trades_decimal.{column}": said for column, said in TRADE_COMMENTS.items()}
    for statement in (ALL_STALE, *FAST_READS):
        op.execute(statement)
    for what, said in comments.items():
        quoted = said.replace("'", "''")
        op.execute(f"COMMENT ON {what} IS '{quoted}'")


def downgrade() -> None:
    """Take the views and rollups away, which the trades can make again.

    Raises:
        StoreRejected: Retention has dropped trades, and their candles would be lost.
    """
    connection = op.get_bind()
    if connection.execute(
        text("SELECT EXISTS (SELECT FROM dropped_days WHERE relation = 'trades')")
    ).scalar_one():
        raise StoreRejected(
            "The trades of some days were dropped, and going back would lose their candles: this database"
            f" stays at revision {revision} or later."
        )
    hypertables = connection.execute(text(IS_HYPERTABLE)).scalar_one()
    op.execute("DROP VIEW trades_decimal")
    for name, _, _ in LEVELS[::-1]:
        op.execute(f"DROP VIEW candles_{name}, sums_{name}")
        if hypertables:
            op.execute(f"DROP MATERIALIZED VIEW rollup_{name}")
        else:
            op.execute(f"DROP FUNCTION roll_up_{name}")
            op.execute(f"DROP VIEW rollup_{name}")
            op.execute(f"DROP TABLE rolled_{name}")
    op.execute("DROP FUNCTION mark_stale, rolled_before, summed_up_before")
    op.execute("DROP TABLE stale_candles, dropped_days")
    op.execute("DROP FUNCTION rollup_watermark" if hypertables else "DROP TABLE rolled_until")
