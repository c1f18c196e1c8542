"""What TimescaleDB does by itself: it sums up what has become old enough, and packs old ticks.

The windows cannot wipe history. A refresh of a day whose trades were dropped would sum up nothing in place of
its candles; so a window begins behind the newest dropped day, and a day is dropped only behind the window.
"""

from collections.abc import Mapping

import asyncpg

from binance_proxy.adapters.timescale.rollups import LENGTHS_US, in_one_go
from binance_proxy.adapters.timescale.settings import Upkeep

REFRESH_JOB = """
SELECT EXISTS (
    SELECT FROM timescaledb_information.jobs j
    JOIN timescaledb_information.continuous_aggregates a
        ON j.hypertable_name IN (a.materialization_hypertable_name, a.view_name)
    WHERE j.proc_name = 'policy_refresh_continuous_aggregate'
        AND a.view_schema = current_schema() AND a.view_name = $1
        AND (j.config ->> 'start_offset')::interval IS NOT DISTINCT FROM $2::text::interval
)
"""
REFRESH = """
SELECT add_continuous_aggregate_policy($1::text::regclass, start_offset => $2::text::interval,
    end_offset => interval '10 minutes', schedule_interval => interval '1 minute'{in_one_go})
"""
IN_ONE_GO = ("add_continuous_aggregate_policy", "buckets_per_batch"), ", buckets_per_batch => 0"
PACK = "CALL add_columnstore_policy($1::text::regclass, after => $2::text::interval, if_not_exists => true)"
NEWEST_DROPPED = (
    "SELECT (now() AT TIME ZONE 'UTC')::date - max(day) FROM dropped_days WHERE relation = 'trades'"
)
PACK_JOB = """
SELECT (config ->> 'compress_after')::interval::text FROM timescaledb_information.jobs
WHERE proc_name IN ('policy_compression', 'policy_columnstore')
    AND hypertable_schema = current_schema() AND hypertable_name = $1
"""


async def ensure_policies(connection: asyncpg.Connection, upkeep: Upkeep, tables: Mapping[str, int]) -> None:
    """Make the policies what the settings say; those that are so already are left alone.

    Args:
        connection: Outside of a transaction.
        upkeep: The settings.
        tables: The tick tables, each with how many days of it are kept; 0 for ever.
    """
    offset = await _start_offset(connection, tables["trades"])
    for name in LENGTHS_US:
        rollup = f"rollup_{name}"
        if not await connection.fetchval(REFRESH_JOB, rollup, offset):
            await connection.execute(
                "SELECT remove_continuous_aggregate_policy($1::text::regclass, if_exists => true)", rollup
            )
            query = REFRESH.format(in_one_go=await in_one_go(connection, IN_ONE_GO))
            await connection.execute(query, rollup, offset)
    for table in tables:
        await _ensure_columnstore(connection, table, upkeep.columnstore_days)


async def _start_offset(connection: asyncpg.Connection, keep_days: int) -> str | None:
    """Say how far back refreshes may reach; `None` for without end."""
    dropped_days_ago: int | None = await connection.fetchval(NEWEST_DROPPED)
    limits = [days - 1 for days in (keep_days, dropped_days_ago) if days]
    return f"{max(min(limits), 3)} days" if limits else None


async def _ensure_columnstore(connection: asyncpg.Connection, table: str, days: int) -> None:
    wanted = f"{days} days" if days else None
    if days == 1:
        wanted = "1 day"
    there = await connection.fetchval(PACK_JOB, table)
    if there == wanted:
        return
    if there is not None:
        await connection.execute(
            "CALL remove_columnstore_policy($1::text::regclass, if_exists => true)", table
        )
    if wanted is not None:
        await connection.execute(PACK, table, wanted)
