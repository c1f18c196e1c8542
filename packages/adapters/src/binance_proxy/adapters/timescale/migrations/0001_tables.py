"""Instruments, tracked pairs, the tick tables and the gaps.

The tick tables are partitioned by range of ``ts_event``, a UTC day each; the writer makes a day's
partition when the first row of that day comes. Their columns are ordered by width, so that no row is
padded, and they have no foreign key to `instruments`, which would cost a lookup a row.
"""

from alembic import op

revision = "0001"
down_revision = None

INSTRUMENTS = """
CREATE TABLE instruments (
    instrument_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue text NOT NULL,
    market text NOT NULL,
    symbol text NOT NULL,
    price_precision smallint NOT NULL CHECK (price_precision BETWEEN 0 AND 18),
    size_precision smallint NOT NULL CHECK (size_precision BETWEEN 0 AND 18),
    tick_size bigint,
    step_size bigint,
    time_resolution_ns bigint NOT NULL CHECK (time_resolution_ns > 0 AND time_resolution_ns % 1000 = 0),
    price_unit numeric NOT NULL GENERATED ALWAYS AS (('1e-' || price_precision::text)::numeric) STORED,
    size_unit numeric NOT NULL GENERATED ALWAYS AS (('1e-' || size_precision::text)::numeric) STORED,
    UNIQUE (venue, market, symbol)
)
"""

PAIRS = (
    """
    CREATE TABLE streams (
        stream text PRIMARY KEY,
        description text NOT NULL
    )
    """,
    """
    CREATE TABLE tracked_pairs (
        symbol text NOT NULL CHECK (symbol ~ '^[A-Z0-9]+/[A-Z0-9]+$'),
        market text NOT NULL DEFAULT 'spot' CHECK (market IN ('spot', 'usdm')),
        enabled boolean NOT NULL DEFAULT true,
        PRIMARY KEY (symbol, market)
    )
    """,
    """
    CREATE TABLE tracked_pair_streams (
        symbol text NOT NULL,
        market text NOT NULL DEFAULT 'spot',
        stream text NOT NULL REFERENCES streams ON UPDATE CASCADE,
        PRIMARY KEY (symbol, market, stream),
        FOREIGN KEY (symbol, market) REFERENCES tracked_pairs ON UPDATE CASCADE ON DELETE CASCADE
    )
    """,
    """
    CREATE FUNCTION add_default_streams() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO tracked_pair_streams (symbol, market, stream)
            SELECT new.symbol, new.market, stream FROM streams
            ON CONFLICT DO NOTHING;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER add_default_streams AFTER INSERT ON tracked_pairs
        FOR EACH ROW EXECUTE FUNCTION add_default_streams()
    """,
    """
    CREATE FUNCTION notify_tracked_pairs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('tracked_pairs', '');
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER notify_tracked_pairs AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tracked_pairs
        FOR EACH STATEMENT EXECUTE FUNCTION notify_tracked_pairs()
    """,
    """
    CREATE TRIGGER notify_tracked_pairs AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tracked_pair_streams
        FOR EACH STATEMENT EXECUTE FUNCTION notify_tracked_pairs()
    """,
    """
    INSERT INTO streams VALUES
        ('trades', 'Every match.'),
        ('orderbook', 'Snapshots of the order book and the updates between them.')
    """,
    "INSERT INTO tracked_pairs (symbol) VALUES ('ETH/USDT'), ('SOL/USDT')",
)

TICKS = (
    """
    CREATE TABLE trades (
        ts_event timestamptz NOT NULL,
        ts_recv bigint NOT NULL,
        trade_id bigint NOT NULL,
        price bigint NOT NULL,
        size bigint NOT NULL,
        first_match_id bigint,
        last_match_id bigint,
        instrument_id integer NOT NULL,
        aggressor smallint NOT NULL CHECK (aggressor IN (1, -1)),
        off_book boolean NOT NULL,
        PRIMARY KEY (instrument_id, ts_event, trade_id)
    ) PARTITION BY RANGE (ts_event)
    """,
    """
    CREATE TABLE quotes (
        ts_event timestamptz NOT NULL,
        ts_recv bigint NOT NULL,
        first_update_id bigint NOT NULL,
        last_update_id bigint NOT NULL,
        previous_update_id bigint,
        instrument_id integer NOT NULL,
        bid_prices bigint[] NOT NULL,
        bid_sizes bigint[] NOT NULL,
        ask_prices bigint[] NOT NULL,
        ask_sizes bigint[] NOT NULL,
        PRIMARY KEY (instrument_id, ts_event, last_update_id)
    ) PARTITION BY RANGE (ts_event)
    """,
    """
    CREATE TABLE book_snapshots (
        ts_event timestamptz NOT NULL,
        ts_recv bigint NOT NULL,
        last_update_id bigint NOT NULL,
        instrument_id integer NOT NULL,
        bid_prices bigint[] NOT NULL,
        bid_sizes bigint[] NOT NULL,
        ask_prices bigint[] NOT NULL,
        ask_sizes bigint[] NOT NULL,
        PRIMARY KEY (instrument_id, ts_event, last_update_id)
    ) PARTITION BY RANGE (ts_event)
    """,
)

GAPS = """
CREATE TABLE gaps (
    instrument_id integer NOT NULL REFERENCES instruments,
    stream text NOT NULL REFERENCES streams ON UPDATE CASCADE,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    ts_start timestamptz NOT NULL,
    ts_end timestamptz NOT NULL,
    ts_event timestamptz NOT NULL,
    ts_recv bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'lost', 'repaired')),
    PRIMARY KEY (instrument_id, stream, first_id)
)
"""

GAPS_BY_TIME = "CREATE INDEX gaps_by_time ON gaps (instrument_id, ts_event, first_id, stream)"

TS_EVENT = "When it happened, by the venue's clock. Assigned by the venue."
TS_RECV = "When it reached us, in ns since the epoch, UTC. Assigned by the recorder."
INSTRUMENT_ID = "Which instrument; see instruments."
LEVELS = {
    "bid_prices": "In units of 10**-price_precision of the quote asset; parallel to bid_sizes.",
    "bid_sizes": "In units of 10**-size_precision of the base asset; in an update 0 removes the level.",
    "ask_prices": "In units of 10**-price_precision of the quote asset; parallel to ask_sizes.",
    "ask_sizes": "In units of 10**-size_precision of the base asset; in an update 0 removes the level.",
}

COMMENTS: dict[str, dict[str, str]] = {
    "instruments": {
        "": "What is traded where, and the units that its numbers are stored in; fixed at the first record.",
        "instrument_id": "Assigned by this database.",
        "venue": "Lower case; 'simulated' for everything that was made up.",
        "market": "'spot' or 'usdm'.",
        "symbol": "Base and quote asset, as in ETH/USDT.",
        "price_precision": "Prices are stored in units of 10**-price_precision of the quote asset.",
        "size_precision": "Sizes are stored in units of 10**-size_precision of the base asset.",
        "tick_size": "The venue's smallest price step, in price units. Assigned by the venue.",
        "step_size": "The venue's smallest size step, in size units. Assigned by the venue.",
        "time_resolution_ns": "Event times are whole multiples of this.",
        "price_unit": "What one unit of a price is worth, in the quote asset.",
        "size_unit": "What one unit of a size is worth, in the base asset.",
    },
    "streams": {"": "What can be recorded of a pair."},
    "tracked_pairs": {
        "": "Which pairs somebody wants recorded. A change is notified on the channel tracked_pairs.",
        "symbol": "Base and quote asset, upper case, as in ETH/USDT.",
        "market": "'spot' or 'usdm'.",
        "enabled": "False pauses the recording.",
    },
    "tracked_pair_streams": {
        "": "What of each tracked pair is recorded. A new pair gets every stream; delete what is not wanted.",
    },
    "trades": {
        "": "Matches, as the venue printed them. trades_decimal shows them with decimal numbers.",
        "ts_event": TS_EVENT,
        "ts_recv": TS_RECV,
        "trade_id": "Rises by one within an instrument. Assigned by the venue.",
        "price": "In units of 10**-price_precision of the quote asset.",
        "size": "In units of 10**-size_precision of the base asset.",
        "first_match_id": "On an aggregated print its first match, else null. Assigned by the venue.",
        "last_match_id": "On an aggregated print its last match, else null. Assigned by the venue.",
        "instrument_id": INSTRUMENT_ID,
        "aggressor": "Who took liquidity: 1 the buyer, -1 the seller.",
        "off_book": "True if no resting order was hit; such prints are in no candle.",
    },
    "quotes": {
        "": "Updates of the order book: the levels that changed.",
        "ts_event": TS_EVENT,
        "ts_recv": TS_RECV,
        "first_update_id": "First change in the update. Assigned by the venue.",
        "last_update_id": "Last change in the update. Assigned by the venue.",
        "previous_update_id": "last_update_id of the update before, where the venue says it, else null.",
        "instrument_id": INSTRUMENT_ID,
        **LEVELS,
    },
    "book_snapshots": {
        "": "Whole order books, best level first.",
        "ts_event": TS_EVENT,
        "ts_recv": TS_RECV,
        "last_update_id": "Every change up to and including this one is in it. Assigned by the venue.",
        "instrument_id": INSTRUMENT_ID,
        **LEVELS,
    },
    "gaps": {
        "": "Known holes in a stream.",
        "instrument_id": INSTRUMENT_ID,
        "stream": "Where ids are missing: trade ids in trades, update ids in orderbook.",
        "first_id": "The first id that is missing. Assigned by the venue.",
        "last_id": "The last id that is missing. Assigned by the venue.",
        "ts_start": "ts_event of the last tick before the hole.",
        "ts_end": "ts_event of the first tick behind the hole.",
        "ts_event": "ts_event of the tick that showed the hole.",
        "ts_recv": "When that tick reached us, in ns since the epoch, UTC. Assigned by the recorder.",
        "state": "'open', 'lost' (nobody can fill it), or 'repaired' (every id is here now).",
    },
}


def upgrade() -> None:
    """Make the tables."""
    for statement in (INSTRUMENTS, *PAIRS, *TICKS, GAPS, GAPS_BY_TIME):
        op.execute(statement)
    for table, columns in COMMENTS.items():
        for column, sentence in columns.items():
            what = f"COLUMN {table}.{column}" if column else f"TABLE {table}"
            quoted = sentence.replace("'", "''")
            op.execute(f"COMMENT ON {what} IS '{quoted}'")
