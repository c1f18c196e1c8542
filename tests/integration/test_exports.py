"""Recorded captures, exported and read by the programs they are for: the figures of the manifest."""

from contextlib import aclosing
from decimal import Decimal

import duckdb
import numpy as np
import pytest
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data.validation import validate_event_order
from hftbacktest.types import event_dtype
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.enums import BookType
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.export.csv import CsvFiles
from binance_proxy.adapters.export.hftbacktest import HftbacktestFile
from binance_proxy.adapters.export.nautilus import NautilusCatalog
from binance_proxy.adapters.export.parquet import ParquetFiles
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.application.export import Tally, in_step, recorded
from binance_proxy.domain.instrument import Market
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from recorded import captures

pytestmark = pytest.mark.shared_data
MIDNIGHT = 1_723_161_600_000_000_000
TICKS = TradeTick | QuoteTick | BookSnapshot


async def stored(market: Market, *names: str):
    feed = CaptureFeed(captures(*names), BinanceFrames(market), SystemClock(), speed=None, pairs=())
    [instrument] = await feed.instruments([])
    store = MemoryStore()
    async with aclosing(feed.stream([instrument])) as events:
        await store.append([event async for event in events if isinstance(event, TICKS)])
    return store, instrument


async def exported(writer, how, store, instrument, start=0, end=2**62) -> Tally:
    tally = Tally()
    async with aclosing(how(store, instrument, start, end, tally)) as events:
        await writer.write(instrument, events)
    return tally


@pytest.fixture
async def spot():
    return await stored(Market.SPOT, "spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")


async def test_hftbacktest_ends_at_the_best_bid_and_ask_of_the_manifest(tmp_path, spot):
    path = tmp_path / "btcusdt.npz"
    tally = await exported(HftbacktestFile(path), in_step, *spot)
    assert (tally.quotes, tally.stale) == (6_493, 0)
    rows = np.load(path)["data"]
    assert rows.dtype == event_dtype
    validate_event_order(rows)
    for ours in (1 << 31, 1 << 30):  # each row once for the venue and once for us
        trades = rows[(rows["ev"] & 0xFF == 2) & (rows["ev"] & ours != 0)]
        assert len(trades) == 19_904
    assert (rows["local_ts"] >= rows["exch_ts"]).all()

    asset = (
        BacktestAsset().data(str(path)).linear_asset(1.0).constant_order_latency(0, 0)
        .no_partial_fill_exchange().risk_adverse_queue_model().trading_value_fee_model(0, 0)
        .tick_size(0.01).lot_size(0.00001).last_trades_capacity(100_000)
    )  # fmt: skip
    backtest = HashMapMarketDepthBacktest([asset])
    seen = 0
    while backtest.elapse(60_000_000_000) == 0:
        seen += len(backtest.last_trades(0))
        backtest.clear_last_trades(0)
    seen += len(backtest.last_trades(0))
    book = backtest.depth(0)
    best = [round(one, 5) for one in (book.best_bid, book.best_bid_qty, book.best_ask, book.best_ask_qty)]
    backtest.close()
    assert (seen, best) == (19_904, [61602.01, 1.67177, 61602.02, 2.66795])


@pytest.mark.parametrize(
    ("market", "names", "trades", "ids", "best"),
    [
        (
            Market.SPOT, ["spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"], 19_904,
            ("3735683259", "3735703162"), ("61602.01", "1.67177", "61602.02", "2.66795"),
        ),
        (
            Market.USDM, ["usdm_btcusdt_20240718.gz", "usdm_btcusdt_20240719.gz"], 10_701,
            ("5182005737", "5182016437"), ("63867.4", "0.002", "63867.5", "5.045"),
        ),
        (
            Market.SPOT, ["spot_ethusdt_20210404.gz"], 506,
            ("291477091", "291477596"), ("2066.02", "13.35198", "2066.03", "0.00194"),
        ),
    ],
    ids=["spot 2024", "usdm 2024", "spot 2021"],
)  # fmt: skip
async def test_nautilus_has_every_trade_and_the_book_of_the_manifest(
    tmp_path, market, names, trades, ids, best
):
    store, instrument = await stored(market, *names)
    tally = await exported(NautilusCatalog(tmp_path), in_step, store, instrument)
    assert tally.trades + tally.off_book == trades
    catalog = ParquetDataCatalog(tmp_path)
    read = sorted(catalog.trade_ticks(), key=lambda one: int(one.trade_id.value))
    assert (len(read), read[0].trade_id.value, read[-1].trade_id.value) == (tally.trades, *ids)
    kept = {}
    async with aclosing(store.scan(TradeTick, instrument, 0, 2**62)) as ticks:
        async for tick in ticks:
            kept[tick.trade_id] = tick
    for one in read:
        tick = kept[int(one.trade_id.value)]
        assert (one.price.as_decimal(), one.size.as_decimal()) == (
            Decimal(tick.price).scaleb(-instrument.price_precision),
            Decimal(tick.size).scaleb(-instrument.size_precision),
        )
        assert (one.ts_event, one.ts_init) == (tick.ts_event, tick.ts_recv)
    deltas = catalog.order_book_deltas()
    book = OrderBook(deltas[0].instrument_id, BookType.L2_MBP)
    for delta in deltas:
        book.apply_delta(delta)
    found = (book.best_bid_price(), book.best_bid_size(), book.best_ask_price(), book.best_ask_size())
    assert [one.as_decimal() for one in found] == [Decimal(text) for text in best]


async def test_a_range_from_midnight_on_reaches_the_same_book(tmp_path, spot):
    store, instrument = spot
    tally = await exported(NautilusCatalog(tmp_path), in_step, store, instrument, MIDNIGHT)
    assert (tally.trades, tally.quotes, tally.snapshots, tally.without_book) == (10_166, 3_056, 1, 0)
    deltas = ParquetDataCatalog(tmp_path).order_book_deltas()
    assert deltas[0].ts_event == MIDNIGHT
    book = OrderBook(deltas[0].instrument_id, BookType.L2_MBP)
    for delta in deltas:
        book.apply_delta(delta)
    best = (book.best_bid_price(), book.best_bid_size(), book.best_ask_price(), book.best_ask_size())
    assert [str(one.as_decimal().normalize()) for one in best] == [
        "61602.01", "1.67177", "61602.02", "2.66795",
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_duckdb_finds_the_figures_of_the_manifest(tmp_path, spot, form):
    writer = (CsvFiles if form == "csv" else ParquetFiles)(tmp_path)
    tally = await exported(writer, recorded, *spot)
    assert (tally.trades, tally.quotes, tally.missing_trade_ids, tally.missing_update_ids) == (
        19_904, 6_495, 0, 0,
    )  # fmt: skip
    [trades] = duckdb.sql(
        "select count(*), min(trade_id), max(trade_id), sum(size::decimal(38, 8)),"
        " sum(price::decimal(38, 8) * size::decimal(38, 8))"
        f" from '{tmp_path}/trades.{form}'"
    ).fetchall()
    assert trades[:3] == (19_904, 3735683259, 3735703162)
    assert (trades[3], trades[4]) == (Decimal("437.91552"), Decimal("27006929.5910348"))
    [updates] = duckdb.sql(
        f"select count(distinct last_update_id), max(last_update_id) from '{tmp_path}/quotes.{form}'"
    ).fetchall()
    assert updates == (6_495, 50093696318)
