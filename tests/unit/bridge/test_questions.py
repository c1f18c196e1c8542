"""Which candles are asked for, from a store in memory."""

import pytest

from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.serve.candles import newest_candles
from binance_proxy.bridge.container import Kept
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import Side, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
TS = 1_723_161_437_000_000_000  # 2024-08-08 23:57:17 UTC


MINUTE_NS = 60_000_000_000


async def kept_of(*times: int) -> Kept:
    registry = MemoryRegistry()
    store = MemoryStore(registry)
    await store.append(
        [
            TradeTick(
                instrument=ETH, ts_event=at, ts_recv=at, trade_id=number, price=1, size=1, aggressor=Side.BUY
            )
            for number, at in enumerate(times, 1)
        ]
    )  # fmt: skip
    return Kept(store, registry, registry, "memory")


@pytest.mark.parametrize(
    ("name", "limit"), [("1m", 1), ("1m", 3), ("1m", 0), ("1mo", 100_000), ("1000mo", 100), ("1s", 10**12)]
)
async def test_the_newest_candles_are_looked_for_back_to_1970_at_most(name, limit):
    kept = await kept_of(TS)
    found = await newest_candles(kept.store, ETH, Timeframe(name), 2**62, limit)
    assert [candle.trades for candle in found] == [1]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9])
async def test_a_stretch_without_a_trade_does_not_make_them_fewer(limit):
    minutes = (0, 1, 2, 500, 501, 90_000)
    kept = await kept_of(*(TS + minute * MINUTE_NS for minute in minutes))
    found = await newest_candles(kept.store, ETH, Timeframe("1m"), 2**62, limit)
    every = await kept.store.candles(ETH, Timeframe("1m"), 0, 2**62)
    assert found[-limit:] == every[-limit:]
    assert len(every) == len(minutes)
