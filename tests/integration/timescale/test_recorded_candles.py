"""Candles of recorded trades: from the rollups, from the trades, from the fold, and the exchange's own.

Trades arrive out of order, some of them after everything else was summed up.
"""

import csv
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal

import asyncpg
import pytest

import recorded
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.instrument import Market
from binance_proxy.domain.scale import to_decimal
from binance_proxy.domain.tick import TradeTick
from contract.market_store import FOREVER, folded
from integration_kept import open_kept
from servers import both

pytestmark = [both, pytest.mark.shared_data]

TIMEFRAMES = ("1s", "1m", "3m", "5m", "15m", "1h", "4h", "1d", "1w")
VIEWS = ("1m", "5m", "15m", "1h", "4h", "1d")
SPOT_5M = ("spot_btcusdt_5m_20240808.csv", "5m", (1723161300000, 1723161600000))
USDM_1M = ("usdm_btcusdt_1m_20240718.csv", "1m", tuple(range(1721347080000, 1721347440001, 60_000)))


async def trades_of(names: list[str], market: Market) -> list[TradeTick]:
    feed = CaptureFeed(recorded.captures(*names), BinanceFrames(market), SystemClock(), speed=None)
    instruments = await feed.instruments([])
    async with aclosing(feed.stream(instruments)) as events:
        return [event async for event in events if isinstance(event, TradeTick)]


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    ("names", "market", "theirs"),
    [
        pytest.param(
            ["spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"], Market.SPOT, SPOT_5M, id="spot"
        ),
        pytest.param(
            ["usdm_btcusdt_20240718.gz", "usdm_btcusdt_20240719.gz"], Market.USDM, USDM_1M, id="usdm"
        ),
        pytest.param(["spot_btcusdt_20210404.gz"], Market.SPOT, None, id="aggregated btc"),
        pytest.param(["spot_ethusdt_20210404.gz"], Market.SPOT, None, id="aggregated eth"),
        pytest.param(["spot_dotusdt_20210404.gz"], Market.SPOT, None, id="aggregated dot"),
    ],
)
async def test_candles_are_equal_whoever_sums_them_up(
    database_url: str,
    sql: asyncpg.Connection,
    names: list[str],
    market: Market,
    theirs: tuple[str, str, tuple[int, ...]] | None,
) -> None:
    trades = await trades_of(names, market)
    assert trades
    instrument = trades[0].instrument
    rng = random.Random(len(trades))
    shuffled = rng.sample(trades, len(trades))
    late = len(shuffled) // 10
    batches = [shuffled[late : 5 * late], shuffled[5 * late :], shuffled[:late]]
    stored: list[TradeTick] = []
    async with open_kept(database_url) as kept:
        for batch in batches:
            await kept.store.append(batch)
            stored += batch
            for summed_up in (False, True):
                assert (await kept.refresh() > 0) if summed_up else True
                for name in TIMEFRAMES:
                    ours = list(await kept.store.candles(instrument, Timeframe(name), *FOREVER))
                    assert ours == folded(stored, Timeframe(name)), (name, summed_up)
                for name in VIEWS:
                    assert await _in_view(sql, name) == [
                        _shown(one) for one in folded(stored, Timeframe(name))
                    ]
    if theirs is not None:
        await _equal_those_of_the_exchange(sql, *theirs)


async def _in_view(sql: asyncpg.Connection, name: str) -> list[tuple[object, ...]]:
    rows = await sql.fetch(f"""
        SELECT extract(epoch FROM start)::bigint * 1000000000 AS start, open, high, low, close, volume,
            quote_volume, trades FROM candles_{name} ORDER BY start
    """)
    return [tuple(row) for row in rows]


def _shown(candle: Candle) -> tuple[object, ...]:
    price, size = candle.instrument.price_precision, candle.instrument.size_precision
    prices = (to_decimal(one, price) for one in (candle.open, candle.high, candle.low, candle.close))
    volumes = to_decimal(candle.volume, size), to_decimal(candle.quote_volume, price + size)
    return (candle.start, *prices, *volumes, candle.trades)


async def _equal_those_of_the_exchange(
    sql: asyncpg.Connection, file: str, timeframe: str, whole: tuple[int, ...]
) -> None:
    [path] = recorded.recorded(f"klines/{file}")
    with path.open() as lines:
        theirs = {int(row.get("open_time") or row["open_time_ms"]): row for row in csv.DictReader(lines)}
    rows = await sql.fetch(f"SELECT * FROM candles_{timeframe}")
    ours = {int(row["start"].timestamp() * 1000): row for row in rows}
    assert [start for start in sorted(ours) if ours[start]["complete"]] == list(whole)
    for start in whole:
        for name in ("open", "high", "low", "close", "volume", "quote_volume", "count"):
            if name in theirs[start]:
                assert Decimal(theirs[start][name]) == ours[start]["trades" if name == "count" else name]
