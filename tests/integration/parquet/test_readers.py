"""DuckDB, Polars, pandas and pyarrow read the archive as it stands."""

from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from binance_proxy.adapters.parquet.store import open_parquet
from binance_proxy.domain.instrument import Instrument, Market
from contract.market_store import DAY, MS, T0, quote, snapshot, trade

CHEAP = Instrument(
    venue="binance", market=Market.USDM, symbol="PEPE/USDT", price_precision=12, size_precision=0
)
DEAR = Instrument(venue="binance", market=Market.SPOT, symbol="BTC/IDR", price_precision=2, size_precision=8)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Two days of trades, with prices that no other scale than the archive's would hold together."""
    store = open_parquet(str(tmp_path))
    await store.append([trade(number, number * 500, price=123_456_789 * number) for number in range(1, 9)])
    await store.append([quote(1), quote(2), snapshot(3)])
    await store.append([trade(1, instrument=CHEAP, price=1, size=9 * 10**17, ts_event=T0 + DAY)])
    await store.append([trade(1, instrument=DEAR, price=987_654_321_012, size=1, ts_event=T0)])
    return tmp_path


TURNOVER = sum(
    Decimal(123_456_789 * number).scaleb(-8) * Decimal(10_000 + number).scaleb(-8) for number in range(1, 9)
)


async def test_duckdb_reads_prices_of_all_instruments_in_one_table_exactly(folder: Path) -> None:
    found = duckdb.sql(
        f"""
        SELECT symbol, count(*), max(price), max(size), min(ts_event), max(ts_recv)
        FROM read_parquet('{folder}/*/*/*/stream=trades/*/*.parquet', hive_partitioning = true)
        GROUP BY symbol ORDER BY symbol
        """
    ).fetchall()
    assert [row[:4] for row in found] == [
        ("BTCIDR", 1, Decimal("9876543210.12"), Decimal("0.00000001")),
        ("ETHUSDT", 8, Decimal("9.87654312"), Decimal("0.00010008")),
        ("PEPEUSDT", 1, Decimal("0.000000000001"), Decimal(9 * 10**17)),
    ]
    assert found[1][4].timestamp() == (T0 + 500 * MS) / 1e9
    [(turnover,)] = duckdb.sql(
        f"""
        SELECT sum((price * size)::DECIMAL(38, 16))
        FROM read_parquet('{folder}/*/*/*/stream=trades/*/*.parquet', hive_partitioning = true)
        WHERE symbol = 'ETHUSDT'
        """
    ).fetchall()
    assert turnover == TURNOVER


async def test_duckdb_reads_one_day_by_its_folder(folder: Path) -> None:
    rows = duckdb.sql(
        f"""
        SELECT trade_id
        FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true, union_by_name = true)
        WHERE stream = 'trades' AND symbol = 'ETHUSDT' AND date = '2024-08-08' ORDER BY ts_event
        """
    ).fetchall()
    assert [row[0] for row in rows] == [2, 3, 4, 5, 6, 7, 8]


async def test_duckdb_reads_levels(folder: Path) -> None:
    rows = duckdb.sql(
        f"""
        SELECT last_update_id, unnest(bids, recursive := true)
        FROM read_parquet('{folder}/*/*/*/stream=quotes/*/*.parquet') ORDER BY 1, 2 DESC
        """
    ).fetchall()
    assert rows[:2] == [
        (10, Decimal("0.003"), Decimal("0.00000005")),
        (10, Decimal("0.00299999"), Decimal(0)),
    ]


async def test_polars_reads_it_by_its_folders(folder: Path) -> None:
    frame = (
        pl.scan_parquet(f"{folder}/*/*/*/stream=trades/*/*.parquet", hive_partitioning=True)
        .filter(pl.col("symbol") == "ETHUSDT")
        .sort("ts_event")
        .collect()
    )
    assert frame["trade_id"].to_list() == list(range(1, 9))
    assert frame["price"].to_list() == [Decimal(123_456_789 * number).scaleb(-8) for number in range(1, 9)]
    assert frame["ts_recv"].cast(pl.Int64).to_list()[0] == trade(1).ts_recv, "to the nanosecond"
    assert str(frame.schema["price"]) == "Decimal(precision=38, scale=12)"


async def test_pandas_reads_it_by_its_folders(folder: Path) -> None:
    frame = pd.read_parquet(
        folder / "venue=binance/market=spot/symbol=ETHUSDT/stream=trades", engine="pyarrow"
    )
    assert frame["trade_id"].tolist() == list(range(1, 9))
    assert frame["price"].tolist()[7] == Decimal("9.87654312")
    assert str(frame["ts_event"].dt.tz) == "UTC"
    assert sorted(set(frame["date"].astype(str))) == ["2024-08-07", "2024-08-08"]


async def test_pyarrow_skips_the_days_that_are_not_asked_for(folder: Path) -> None:
    trades = ds.dataset(
        folder / "venue=binance/market=spot/symbol=ETHUSDT/stream=trades", partitioning="hive"
    )
    assert trades.count_rows(filter=ds.field("date") == "2024-08-07") == 1
