"""What was really recorded is answered as the exchange says it was, wherever it lies."""

import asyncio
import csv
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import recorded
from asking import Asking, told
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.parquet.store import open_parquet
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.adapters.zeromq.arrow import stream_of, stream_of_trades
from binance_proxy.application.long_term import LongTermStore
from binance_proxy.application.ports import HeldDay, MarketStore, StoredEvent
from binance_proxy.application.serve.rows import TradeRow
from binance_proxy.application.serve.trades import trade_rows
from binance_proxy.domain.candle import DAY_NS
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Market
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import FOREVER
from unit.application.recorded_store import recorded_store

pytestmark = pytest.mark.shared_data

SPOT = ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")
FIRST, LAST = 3735683259, 3735703162
BTC = {"symbol": "BTC/USDT"}
MIDNIGHT = 1_723_161_600_000_000_000
LOST = range(FIRST + 5_000, FIRST + 5_010)


@pytest.fixture(scope="module")
def events() -> list[StoredEvent]:
    """Everything that a recording of the capture stores."""
    return asyncio.run(all_events())


async def all_events() -> list[StoredEvent]:
    feed = CaptureFeed(recorded.captures(*SPOT), BinanceFrames(Market.SPOT), SystemClock(), speed=None)
    store = await recorded_store(feed, snapshot_interval_s=60.0)
    (instrument,) = await store.registry.instruments()
    found: list[StoredEvent] = []
    for kind in (TradeTick, QuoteTick, BookSnapshot, Gap):
        async with aclosing(store.scan(kind, instrument, *FOREVER)) as some:
            found += [one async for one in some]
    return found


async def in_memory(events: list[StoredEvent]) -> Asking:
    registry = MemoryRegistry()
    store = MemoryStore(registry)
    await store.append(events)
    return Asking(store, registry)


async def archived(events: list[StoredEvent], folder: Path) -> LongTermStore:
    """Return a store whose first day is in an archive, and the second in both, as between run and drop."""
    archive, recent = open_parquet(str(folder)), MemoryStore()
    await recent.append([one for one in events if one.ts_event >= MIDNIGHT or isinstance(one, Gap)])
    for kind in (TradeTick, QuoteTick, BookSnapshot):
        for day in (MIDNIGHT // DAY_NS - 1, MIDNIGHT // DAY_NS):
            ticks = sorted(
                (one for one in events if type(one) is kind and one.ts_event // DAY_NS == day),
                key=lambda one: (one.ts_event, getattr(one, "trade_id", 0) or one.last_update_id),
            )

            async def given(ticks: list = ticks) -> AsyncIterator:
                for one in ticks:
                    yield one

            held = HeldDay(kind=kind, instrument=ticks[0].instrument, day=day, rows=len(ticks))
            await archive.keep(held, given())
    return LongTermStore(recent, archive, archive)


@pytest.fixture(params=["memory", "database", "archive and memory"])
async def asked(
    request: pytest.FixtureRequest, events: list[StoredEvent], tmp_path: Path, database_url: str
) -> AsyncIterator[Asking]:
    """Answers about the capture, wherever it lies."""
    if request.param == "memory":
        yield await in_memory(events)
    elif request.param == "database":
        async with open_timescale(database_url) as store:
            await store.append(events)
            registry: Any = store.registry
            yield Asking(store, registry)
    else:
        registry = MemoryRegistry()
        await registry.register(events[0].instrument)
        yield Asking(await archived(events, tmp_path / "archive"), registry)


async def scanned(store: MarketStore, events: list[StoredEvent]) -> list[TradeTick]:
    async with aclosing(store.scan(TradeTick, events[0].instrument, *FOREVER)) as trades:
        return [one async for one in trades]


async def test_trades_by_pages_are_the_whole_scan(asked, events):
    pages = await asked.pages("trades.list", **BTC, start=0, limit=3_000)
    found = [row for page in pages for row in page["rows"]]
    assert sorted(row["trade_id"] for row in found) == list(range(FIRST, LAST + 1))
    whole = trade_rows(await scanned(asked.store, events))
    assert [(row["ts_event"], row["trade_id"], row["price"], row["size"]) for row in found] == [
        (row.ts_event, row.trade_id, row.price, row.size) for row in whole
    ]
    assert sum(Decimal(row["size"]) for row in found) == Decimal("437.91552")
    assert told(pages) == []


async def test_sums_in_arrow_are_those_of_the_manifest(asked):
    found = await asked.answers.ask(
        "trades.list", BTC | {"limit": 100_000, "accept": "arrow", "start": 0}, 10.0
    )
    frame = stream_of_trades(found.trades)
    assert frame == stream_of(TradeRow, trade_rows(found.trades))
    table = pa.ipc.open_stream(frame).read_all()
    assert table.num_rows == 19_904
    assert sum(table.column("size").to_pylist()) == Decimal("437.91552")


async def test_vwap_is_that_of_the_manifest(asked):
    found = await asked.ask("stats.vwap", **BTC, start=0, end="2024-08-10T00:00:00Z")
    assert (found["trades"], found["volume"], found["quote_volume"]) == (
        19_904,
        "437.91552",
        "27006929.5910348",
    )
    assert Decimal(found["vwap"]) == round(Decimal("27006929.5910348") / Decimal("437.91552"), 8)
    parts = [MIDNIGHT - DAY_NS, MIDNIGHT - 61_234_000_000, MIDNIGHT + 7_000_000, MIDNIGHT + DAY_NS]
    found = [await asked.ask("stats.vwap", **BTC, start=start, end=end) for start, end in pairwise(parts)]
    assert sum(one["trades"] for one in found) == 19_904
    assert sum(Decimal(one["quote_volume"]) for one in found) == Decimal("27006929.5910348")


async def test_candles_are_the_exchanges_own(asked):
    (path,) = recorded.recorded("klines/spot_btcusdt_5m_20240808.csv")
    with path.open() as file:
        theirs = {int(row["open_time_ms"]): row for row in csv.DictReader(file)}
    pages = await asked.pages("candles.list", **BTC, timeframe="5m", start=MIDNIGHT - 300 * 10**9, limit=1)
    ours = {row["start"] // 10**6: row for page in pages for row in page["rows"]}
    for start in (1723161300000, 1723161600000):
        row, kline = ours[start], theirs[start]
        for name in ("open", "high", "low", "close", "volume"):
            assert Decimal(row[name]) == Decimal(kline[name])
        assert row["complete"]
    assert [row["closed"] for row in ours.values()][-1] is False


async def test_the_book_at_the_end_is_that_of_the_manifest(asked, events):
    last = max(one.ts_event for one in events if isinstance(one, QuoteTick))
    book = await asked.ask("orderbook.get", **BTC, at=last, levels=1)
    assert book["last_update_id"] == 50093696318
    assert (book["bids"], book["asks"]) == ([["61602.01", "1.67177"]], [["61602.02", "2.66795"]])
    spread = await asked.ask("stats.spread", **BTC, at=last)
    assert (spread["spread"], spread["mid"]) == ("0.01", "61602.015")
    bought = await asked.ask("stats.slippage", **BTC, at=last, side="buy", size="2.66795")
    assert (bought["vwap"], bought["slippage_touch_bps"], bought["unfilled"]) == ("61602.02", 0.0, "0")


async def test_a_hole_is_named_wherever_the_ticks_lie(events, tmp_path):
    lossy = [one for one in events if not (isinstance(one, TradeTick) and one.trade_id in LOST)]
    for asked in (
        await in_memory(lossy),
        Asking(await archived(lossy, tmp_path / "archive"), (await in_memory(lossy)).registry),
    ):
        for limit in (4_999, 5_000, 5_001, 10_000):
            pages = await asked.pages("trades.list", **BTC, start=0, limit=limit)
            assert told(pages) == [(LOST[0], LOST[-1])]
