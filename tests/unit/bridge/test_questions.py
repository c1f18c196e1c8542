"""Which candles are asked for, from a store in memory."""

import pytest

from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.bridge.container import Kept
from binance_proxy.bridge.questions import _start_of_newest
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import Side, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
TS = 1_723_161_437_000_000_000  # 2024-08-08 23:57:17 UTC


@pytest.mark.parametrize(
    ("name", "limit", "start"),
    [
        ("1m", 1, 1_723_161_420_000_000_000),
        ("1m", 3, 1_723_161_300_000_000_000),
        ("1m", 0, 0),
        ("1mo", 100_000, 0),
        ("1000mo", 100, 0),
        ("1s", 10**12, 0),
    ],
)
async def test_the_newest_candles_are_counted_back_from_the_last_trade_to_1970_at_most(name, limit, start):
    registry = MemoryRegistry()
    store = MemoryStore(registry)
    trade = TradeTick(
        instrument=ETH, ts_event=TS, ts_recv=TS, trade_id=1, price=100, size=1, aggressor=Side.BUY
    )
    await store.append([trade])
    kept = Kept(store, registry, registry, "memory")
    assert await _start_of_newest(kept, ETH, Timeframe(name), 2**62, limit) == start
