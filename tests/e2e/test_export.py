"""`bridge archive export` and `bridge stats`, from a simulated recording in PostgreSQL with faults in it."""

import json

import pandas as pd
import pytest
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from bridge_process import Bridge

START = 1_723_161_570_000_000_000  # 2024-08-08 23:59:30


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    """A bridge that has recorded, past midnight, and missed some."""
    recorded = Bridge.ready(
        tmp_path_factory.mktemp("bridge") / "var",
        "feed.simulated.speed=max",
        "feed.simulated.events=20000",
        "feed.simulated.seed=7",
        f"feed.simulated.start={START}",
        "feed.simulated.faults.gap=0.002",
    )
    recorded("run")
    return recorded


def rows_of(bridge, table):
    [[number]] = bridge.query(
        f"select count(*) from {table} join instruments using (instrument_id) where symbol = 'ETH/USDT'"
    )
    return int(number)


def test_stats_count_what_is_there_and_what_is_missing(bridge):
    days = bridge.ask("stats", "ETH/USDT")
    assert [day["day"] for day in days] == sorted(day["day"] for day in days)
    assert sum(day["trades"] for day in days) == rows_of(bridge, "trades")
    assert sum(day["updates"] for day in days) == rows_of(bridge, "quotes")
    assert sum(day["snapshots"] for day in days) == rows_of(bridge, "book_snapshots")
    [[lowest, highest]] = bridge.query(
        "select min(trade_id), max(trade_id) from trades_decimal where symbol = 'ETH/USDT'"
    )
    there = sum(day["trade_ids"]["there"] for day in days)
    missing = sum(day["trade_ids"]["missing"] for day in days)
    assert missing > 0
    assert there + missing == int(highest) - int(lowest) + 1
    assert all(day["size_bytes"] is None for day in days)


def test_stats_are_a_table_a_calendar_and_a_page(bridge, tmp_path):
    table = bridge("stats")
    assert "simulated.spot.ethusdt" in table
    assert "simulated.spot.solusdt" in table
    assert "2024-08-08" in table
    drawn = bridge("stats", "ETH/USDT", "--calendar")
    assert "August 2024" in drawn
    assert "▓▓ 99 % of ids or more" in drawn
    bridge("stats", "--html", str(tmp_path / "stats.html"))
    assert "2024-08-08" in (tmp_path / "stats.html").read_text(encoding="utf-8")
    said = bridge("stats", "--html", str(tmp_path / "none/stats.html"), status=1)
    assert "none/stats.html cannot be written" in said
    assert "nothing is stored in this range" in bridge("stats", "--start", "2030-01-01T00:00:00Z")


def exported(bridge, form, to, *arguments):
    return bridge.complete(
        "archive", "export", "ETH/USDT", "--format", form, "--to", str(to), "--json", *arguments
    )


def test_an_export_holds_what_is_stored_and_says_what_is_missing(bridge, tmp_path):
    done = exported(bridge, "csv", tmp_path / "csv")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    trades = pd.read_csv(tmp_path / "csv/trades.csv", dtype=str)
    rows = bridge.query(
        "select trade_id, price, size, aggressor from trades_decimal where symbol = 'ETH/USDT'"
        " order by ts_event, trade_id"
    )
    assert trades[["trade_id", "price", "size", "aggressor"]].to_numpy().tolist() == rows
    assert said["missing_trade_ids"] > 0
    assert f"{said['missing_trade_ids']:,} trade id" in done.stderr
    assert said["updates"] == rows_of(bridge, "quotes")


def test_a_range_of_one_day_is_read_by_nautilus(bridge, tmp_path):
    done = exported(bridge, "nautilus", tmp_path / "a", "--end", "2024-08-09T00:00:00Z")
    assert done.returncode == 0, done.stderr
    trades = ParquetDataCatalog(tmp_path / "a").trade_ticks()
    assert len(trades) == json.loads(done.stdout)["trades"] > 0
    assert {one.instrument_id.value for one in trades} == {"ETHUSDT.SIMULATED"}
    assert max(one.ts_event for one in trades) < START + 30 * 10**9


def test_mistakes_name_what_to_change(bridge, tmp_path):
    assert exported(bridge, "parquet", tmp_path / "p").returncode == 0
    again = exported(bridge, "parquet", tmp_path / "p")
    assert (again.returncode, again.stdout) == (1, "")
    assert "p/trades.parquet is there already: choose another --to, or replace it by --force" in again.stderr
    assert exported(bridge, "parquet", tmp_path / "p", "--force").returncode == 0
    odd = exported(bridge, "xls", tmp_path / "x")
    assert odd.returncode == 2
    assert "xls" in odd.stderr
    assert not (tmp_path / "x").exists()
