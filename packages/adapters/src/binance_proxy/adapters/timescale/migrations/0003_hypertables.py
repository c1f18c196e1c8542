"""Hypertables in place of partitioned tables, where the server has TimescaleDB Community.

The rows move along, a partition at a time. A server without TimescaleDB, or with its Apache edition, which
has no continuous aggregates, keeps the partitions. What the server says is asked here once: a database stays
what it has become.
"""

import runpy
from pathlib import Path

from alembic import op
from sqlalchemy import text

from binance_proxy.adapters.timescale.partitions import IS_HYPERTABLE
from binance_proxy.adapters.timescale.server import ensure_timescaledb

revision = "0003"
down_revision = "0002"

TABLES = {"trades": "trade_id", "quotes": "last_update_id", "book_snapshots": "last_update_id"}
"""The tick tables, and the last column of the primary key of each."""

VIEWS = (*(f"candles_{name}" for name in ("1m", "5m", "15m", "1h", "4h", "1d")), "trades_decimal")
"""What stands on the trades; revision 0004 makes it anew."""

NOBODY_ELSE = f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"
"""An older bridge may be recording: what it writes meanwhile would stay in a table that is dropped."""
HYPERTABLE = """
SELECT create_hypertable('moving', by_range('ts_event', interval '24 hours'), create_default_indexes => false)
"""
COLUMNSTORE = """
ALTER TABLE {table} SET (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'instrument_id',
    timescaledb.orderby = 'ts_event, {id_column}'
)
"""
PARTITIONED = """
CREATE TABLE moving (
    LIKE {table} INCLUDING COMMENTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (instrument_id, ts_event, {id_column})
) PARTITION BY RANGE (ts_event)
"""
DAYS = """
SELECT to_char(range_start AT TIME ZONE 'UTC', 'YYYYMMDD'), range_start::text, range_end::text
FROM timescaledb_information.chunks
WHERE hypertable_schema = current_schema() AND hypertable_name = :table ORDER BY range_start
"""


def upgrade() -> None:
    """Turn the tick tables into hypertables, if the server can do more with those."""
    op.execute(NOBODY_ELSE)
    for view in VIEWS:
        op.execute(f"DROP VIEW {view}")
    if not ensure_timescaledb(op.get_bind()):
        return
    for table, id_column in TABLES.items():
        partitions = _rows(
            "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = to_regclass(:table)", table
        )
        op.execute(f"CREATE TABLE moving (LIKE {table} INCLUDING ALL)")
        op.execute(HYPERTABLE)
        for (partition,) in partitions:
            op.execute(f"INSERT INTO moving SELECT * FROM {partition}")  # noqa: S608  our own words
        _take_the_place_of(table)
        op.execute(COLUMNSTORE.format(table=table, id_column=id_column))


def downgrade() -> None:
    """Turn hypertables into partitioned tables again. Nothing is lost."""
    op.execute(NOBODY_ELSE)
    if op.get_bind().execute(text(IS_HYPERTABLE)).scalar_one():
        for table, id_column in TABLES.items():
            days = _rows(DAYS, table)
            op.execute(PARTITIONED.format(table=table, id_column=id_column))
            for day, start, end in days:
                op.execute(
                    f"CREATE TABLE {table}_p{day} PARTITION OF moving"
                    f" FOR VALUES FROM ('{start}') TO ('{end}')"
                )
            op.execute(f"INSERT INTO moving SELECT * FROM {table}")  # noqa: S608  our own words
            _take_the_place_of(table)
    runpy.run_path(str(Path(__file__).with_name("0002_views.py")))["upgrade"]()


def _rows(query: str, table: str) -> list[tuple[str, ...]]:
    return [tuple(row) for row in op.get_bind().execute(text(query), {"table": table})]


def _take_the_place_of(table: str) -> None:
    op.execute(f"DROP TABLE {table}")
    op.execute(f"ALTER TABLE moving RENAME TO {table}")
    op.execute(f"ALTER INDEX moving_pkey RENAME TO {table}_pkey")
