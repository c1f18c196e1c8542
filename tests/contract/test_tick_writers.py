"""The writers of every form pass one suite, and each is read by a program that it is for."""

from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from binance_proxy.adapters.export.csv import CsvFiles
from binance_proxy.adapters.export.hftbacktest import HftbacktestFile
from binance_proxy.adapters.export.nautilus import NautilusCatalog
from binance_proxy.adapters.export.parquet import ParquetFiles
from binance_proxy.application.ports import ExportRejected
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import Side
from contract.tick_writer import TICKS, TickWriterContract, files
from ticks_made import ETH, MIDNIGHT, MS, quote, snapshot, stream, trade


def text(value: object) -> str:
    return f"{Decimal(str(value)).normalize():f}"


class TestCsvFiles(TickWriterContract):
    writer = CsvFiles
    levels = 9

    def read(self, path):
        trades = pd.read_csv(path / "trades.csv", dtype={"price": str, "size": str})
        quotes, snapshots = (pd.read_csv(path / f"{name}.csv") for name in ("quotes", "snapshots"))
        rows = zip(trades["trade_id"], trades["price"], trades["size"], strict=True)
        return [(number, price, size) for number, price, size in rows], len(quotes) + len(snapshots)

    async def test_a_row_has_the_columns_of_the_view_first(self, tmp_path):
        await CsvFiles(tmp_path / "a").write(ETH, stream([trade(7, 1, first_match_id=7, last_match_id=9)]))
        assert (tmp_path / "a/trades.csv").read_text().splitlines() == [
            (
                "venue,market,symbol,trade_id,ts_event,ts_recv,price,size,aggressor,"
                "first_match_id,last_match_id,off_book"
            ),
            f"binance,spot,ETH/USDT,7,{MIDNIGHT + MS},{MIDNIGHT + MS + 7},3050.12,1.5,buy,7,9,false",
        ]

    async def test_an_update_without_levels_keeps_its_ids(self, tmp_path):
        empty = quote(4, 6, bids=(), asks=(), previous_update_id=3)
        await CsvFiles(tmp_path / "a").write(ETH, stream([empty]))
        assert (tmp_path / "a/quotes.csv").read_text().splitlines()[1:] == [
            f"binance,spot,ETH/USDT,4,6,3,{MIDNIGHT},{MIDNIGHT + 9},,,"
        ]

    async def test_other_files_of_the_folder_are_left_alone(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        await CsvFiles(tmp_path).write(ETH, stream(TICKS))
        await CsvFiles(tmp_path, replace=True).write(ETH, stream(TICKS))
        assert sorted(files(tmp_path)) == ["notes.txt", "quotes.csv", "snapshots.csv", "trades.csv"]

    async def test_a_file_in_the_place_of_the_folder_is_never_replaced(self, tmp_path):
        (tmp_path / "a").write_text("mine")
        with pytest.raises(ExportRejected, match="is a file, and this format needs a folder"):
            await CsvFiles(tmp_path / "a", replace=True).write(ETH, stream(TICKS))
        assert files(tmp_path) == {"a": b"mine"}


class TestParquetFiles(TickWriterContract):
    writer = ParquetFiles
    levels = 9

    def read(self, path):
        trades = duckdb.sql(f"select trade_id, price, size from '{path}/trades.parquet'").fetchall()
        levels = [
            pl.read_parquet(path / f"{name}.parquet").filter(pl.col("side").is_not_null()).height
            for name in ("quotes", "snapshots")
        ]
        return [(number, text(price), text(size)) for number, price, size in trades], sum(levels)

    async def test_numbers_are_exact_decimals_and_times_are_in_ns(self, tmp_path):
        fine = Instrument(
            venue="binance", market=Market.SPOT, symbol="PEPE/BTC", price_precision=12, size_precision=0
        )
        ticks = [trade(1, instrument=fine, price=2**62 + 1, size=7), trade(2, instrument=fine, price=1)]
        await ParquetFiles(tmp_path / "a").write(fine, stream(ticks))
        name = tmp_path / "a/trades.parquet"
        kinds = dict(duckdb.sql(f"select column_name, column_type from (describe from '{name}')").fetchall())
        assert (kinds["price"], kinds["size"]) == ("DECIMAL(38,12)", "DECIMAL(38,12)")
        assert kinds["ts_event"] == "TIMESTAMPTZ_NS"
        read = pd.read_parquet(name)
        assert list(read["price"]) == [Decimal(2**62 + 1).scaleb(-12), Decimal(1).scaleb(-12)]
        assert [time.value for time in read["ts_recv"]] == [tick.ts_recv for tick in ticks]

    async def test_a_value_that_would_be_rounded_is_refused(self, tmp_path):
        fine = Instrument(venue="binance", market=Market.SPOT, symbol="PEPE/BTC", price_precision=13)
        await ParquetFiles(tmp_path / "a").write(fine, stream([trade(1, instrument=fine, price=120)]))
        with pytest.raises(ExportRejected, match="12 decimals"):
            await ParquetFiles(tmp_path / "b").write(fine, stream([trade(1, instrument=fine, price=121)]))
        assert [path.name for path in tmp_path.iterdir()] == ["a"]


class TestHftbacktestFile(TickWriterContract):
    writer = HftbacktestFile
    levels = 9 + 2  # a snapshot clears both sides first

    def read(self, path):
        rows = np.load(path)["data"]
        kind = rows["ev"] & 0xFF
        trades = rows[kind == 2]
        found = zip(np.argsort(trades["exch_ts"], kind="stable"), trades["px"], trades["qty"], strict=True)
        numbers = {2: [1, 2], 1: [9], 0: []}[len(trades)]  # the format has no ids
        prices = [(number, text(px), text(qty)) for number, (_, px, qty) in zip(numbers, found, strict=True)]
        return prices, int(np.count_nonzero(kind != 2))

    async def test_what_came_late_stands_where_it_was_and_where_it_came(self, tmp_path):
        ticks = [trade(1, 1), trade(2, 2, ts_recv=MIDNIGHT + 50 * MS), trade(3, 3), trade(4, 60)]
        await HftbacktestFile(tmp_path / "a").write(ETH, stream(ticks))
        rows = np.load(tmp_path / "a")["data"]
        exch, local = rows[rows["ev"] & 1 << 31 != 0], rows[rows["ev"] & 1 << 30 != 0]
        assert [(ts - MIDNIGHT) // MS for ts in exch["exch_ts"]] == [1, 2, 3, 60]
        assert [(ts - MIDNIGHT) // MS for ts in local["exch_ts"]] == [1, 3, 2, 60]
        assert len(rows) == 5

    async def test_a_clock_that_is_behind_is_moved_as_a_whole(self, tmp_path):
        ticks = [trade(1, 1, ts_recv=MIDNIGHT - 4 * MS), trade(2, 2, ts_recv=MIDNIGHT + 3 * MS)]
        await HftbacktestFile(tmp_path / "a").write(ETH, stream(ticks))
        rows = np.load(tmp_path / "a")["data"]
        assert [int(ts - MIDNIGHT) // MS for ts in rows["local_ts"]] == [1, 8]

    async def test_a_folder_in_the_place_of_the_file_is_never_replaced(self, tmp_path):
        with pytest.raises(ExportRejected, match="is a folder, and this format is one file"):
            await HftbacktestFile(tmp_path, replace=True).write(ETH, stream(TICKS))


class TestNautilusCatalog(TickWriterContract):
    writer = NautilusCatalog
    levels = 9 + 1  # a snapshot clears first

    def read(self, path):
        catalog = ParquetDataCatalog(path)
        assert [one.id.value for one in catalog.instruments()] == ["ETHUSDT.BINANCE"]
        trades = catalog.trade_ticks()
        return (
            [(int(one.trade_id.value), text(one.price), text(one.size)) for one in trades],
            len(catalog.order_book_deltas()),
        )

    async def test_several_instruments_share_a_catalog(self, tmp_path):
        perpetual = Instrument(
            venue="binance", market=Market.USDM, symbol="ETH/USDT", price_precision=1, size_precision=0,
            tick_size=5, step_size=1,
        )  # fmt: skip
        await NautilusCatalog(tmp_path / "a").write(ETH, stream(TICKS))
        await NautilusCatalog(tmp_path / "a").write(
            perpetual, stream([trade(5, instrument=perpetual, price=3, size=4)])
        )
        catalog = ParquetDataCatalog(tmp_path / "a")
        found = {one.id.value: one for one in catalog.instruments()}
        assert set(found) == {"ETHUSDT.BINANCE", "ETHUSDT-PERP.BINANCE"}
        assert str(found["ETHUSDT-PERP.BINANCE"].price_increment) == "0.5"
        assert str(found["ETHUSDT-PERP.BINANCE"].size_increment) == "1"
        [one] = catalog.trade_ticks(["ETHUSDT-PERP.BINANCE"])
        assert (str(one.price), str(one.size), one.trade_id.value) == ("0.3", "4", "5")

    async def test_trades_stand_in_the_order_in_which_they_came(self, tmp_path):
        ticks = [trade(1, 1, aggressor=Side.SELL), trade(2, 2, ts_recv=MIDNIGHT + 50 * MS), trade(3, 3)]
        await NautilusCatalog(tmp_path / "a").write(ETH, stream(ticks))
        trades = ParquetDataCatalog(tmp_path / "a").trade_ticks()
        assert [(one.trade_id.value, one.aggressor_side.name) for one in trades] == [
            ("1", "SELLER"), ("3", "BUYER"), ("2", "SELLER"),
        ]  # fmt: skip
        assert [(one.ts_event, one.ts_init) for one in trades] == [
            (tick.ts_event, tick.ts_recv) for tick in (ticks[0], ticks[2], ticks[1])
        ]

    async def test_a_snapshot_and_an_update_are_marked_as_such(self, tmp_path):
        await NautilusCatalog(tmp_path / "a").write(ETH, stream([snapshot(1), quote(2, 3, 1)]))
        deltas = ParquetDataCatalog(tmp_path / "a").order_book_deltas()
        assert [(one.action.name, one.flags, one.sequence) for one in deltas] == [
            ("CLEAR", 32, 1), ("ADD", 32, 1), ("ADD", 32, 1), ("ADD", 32 | 128, 1),
            ("UPDATE", 0, 3), ("DELETE", 0, 3), ("UPDATE", 128, 3),
        ]  # fmt: skip

    async def test_a_value_that_nautilus_cannot_hold_is_refused(self, tmp_path):
        whole = Instrument(venue="binance", market=Market.SPOT, symbol="BIG/USDT", price_precision=0)
        with pytest.raises(ExportRejected, match="the highest of nautilus_trader"):
            await NautilusCatalog(tmp_path / "a").write(
                whole, stream([trade(1, instrument=whole, price=2**62)])
            )
        assert [*tmp_path.iterdir()] == []
