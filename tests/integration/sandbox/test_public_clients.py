"""Clients that others wrote for Binance take the sandbox for Binance."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from binance import AsyncClient, BinanceSocketManager

from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.application.ports import TrackedPair
from binance_proxy.sandbox.serve import Sandbox, serve
from binance_proxy.sandbox.settings import SandboxSettings

PATIENCE_S = 60


@asynccontextmanager
async def market() -> AsyncIterator[Sandbox]:
    """A made-up market of two pairs that has some past."""
    feed = SimulatedFeed(Simulation(rate=200), SystemClock())
    pairs = [TrackedPair(symbol=symbol) for symbol in ("BTC/USDT", "ETH/USDT")]
    async with serve(feed, await feed.instruments(pairs), SandboxSettings(port=0)) as sandbox:
        yield sandbox


async def test_ccxt():
    import ccxt.pro  # noqa: PLC0415  takes a second

    async with market() as sandbox, asyncio.timeout(PATIENCE_S):
        exchange = ccxt.pro.binance(
            {
                "options": {
                    "fetchMarkets": {"types": ["spot"]},
                    "fetchCurrencies": False,
                    "fetchMargins": False,
                }
            }
        )
        exchange.urls["api"]["public"] = f"{sandbox.rest_url}/api/v3"
        exchange.urls["api"]["ws"]["spot"] = f"{sandbox.stream_url}/stream"
        try:
            markets = await exchange.load_markets()
            precision = markets["BTC/USDT"]["precision"]
            assert (precision["price"], precision["amount"]) == (0.01, 0.00001)
            assert markets["BTC/USDT"]["active"]
            trades = []
            while len(trades) < 5:
                trades = await exchange.watch_trades("BTC/USDT")
            ids = [int(trade["id"]) for trade in trades]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            for _ in range(20):
                book = await exchange.watch_order_book("ETH/USDT")
                assert book["bids"][0][0] < book["asks"][0][0]
            book = await exchange.fetch_order_book("BTC/USDT", 10)
            assert len(book["bids"]) == len(book["asks"]) == 10
            fetched = await exchange.fetch_trades("BTC/USDT", limit=5)
            assert len(fetched) == 5
            candles = await exchange.fetch_ohlcv("BTC/USDT", "1m")
            assert all(low <= close <= high for _, _, high, low, close, _ in candles)
            assert candles
        finally:
            await exchange.close()


async def test_python_binance():
    async with market() as sandbox, asyncio.timeout(PATIENCE_S):
        original = AsyncClient.API_URL
        AsyncClient.API_URL = f"{sandbox.rest_url}/api"
        try:
            client = await AsyncClient.create()
        finally:
            AsyncClient.API_URL = original
        try:
            info = await client.get_symbol_info("ETHUSDT")
            assert info["baseAsset"] == "ETH"
            manager = BinanceSocketManager(client)
            manager.STREAM_URL = f"{sandbox.stream_url}/"
            async with manager.multiplex_socket(["btcusdt@trade", "btcusdt@kline_1s"]) as socket:
                kinds = set()
                while kinds != {"trade", "kline"}:
                    kinds.add((await socket.recv())["data"]["e"])
            async with manager.depth_socket("BTCUSDT", interval=100) as socket:
                first = await socket.recv()
                second = await socket.recv()
                assert second["U"] == first["u"] + 1
            async with manager.depth_socket("BTCUSDT", depth="5") as socket:
                assert len((await socket.recv())["bids"]) == 5
            assert (await client.get_order_book(symbol="BTCUSDT", limit=5))["lastUpdateId"] >= second["u"]
            trades = await client.get_recent_trades(symbol="BTCUSDT", limit=3)
            older = await client.get_historical_trades(symbol="BTCUSDT", fromId=trades[0]["id"], limit=3)
            assert older == trades
            assert await client.get_aggregate_trades(symbol="BTCUSDT", limit=2)
            assert await client.get_klines(symbol="BTCUSDT", interval="1m")
            assert (await client.get_orderbook_ticker(symbol="BTCUSDT"))["symbol"] == "BTCUSDT"
        finally:
            await client.close_connection()
