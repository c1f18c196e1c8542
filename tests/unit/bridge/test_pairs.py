"""What a command changes of a tracked pair, while others change it too."""

from collections.abc import Sequence

import pytest

from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.application.ports import TrackedPair
from binance_proxy.bridge.pairs import NotTracked, _switch, change_in
from binance_proxy.domain.instrument import Market, Stream


class Shared(MemoryRegistry):
    """Lets somebody else do something just after the pairs were read for the first time."""

    async def pairs(self) -> Sequence[TrackedPair]:
        found = await super().pairs()
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            await meanwhile
        return found

    meanwhile = None


async def test_a_pair_that_is_removed_meanwhile_stays_removed() -> None:
    registry = Shared()
    registry.meanwhile = registry.remove("ETH/USDT", Market.SPOT)
    with pytest.raises(NotTracked, match=r"ethusdt is not tracked; tracked: SOL/USDT \(spot\)$"):
        await change_in(registry, "ethusdt", None, _switch(Stream.TRADES, on=False))
    assert [pair.symbol for pair in await registry.pairs()] == ["SOL/USDT"]


async def test_what_somebody_else_changes_meanwhile_is_kept() -> None:
    registry = Shared()
    registry.meanwhile = registry.put(TrackedPair(symbol="ETH/USDT", enabled=False, streams=()))
    changed = await change_in(registry, "ETH/USDT", Market.SPOT, _switch(Stream.TRADES, on=True))
    assert changed == TrackedPair(symbol="ETH/USDT", enabled=False, streams=(Stream.TRADES,))
    assert (await registry.pairs())[0] == changed


async def test_a_stream_is_switched_on_and_off_and_the_other_stays() -> None:
    pair = TrackedPair(symbol="ETH/USDT")
    registry = MemoryRegistry([pair])
    for stream, on, streams in (
        (Stream.TRADES, False, (Stream.ORDERBOOK,)),
        (Stream.TRADES, False, (Stream.ORDERBOOK,)),
        (Stream.ORDERBOOK, False, ()),
        (Stream.ORDERBOOK, True, (Stream.ORDERBOOK,)),
        (Stream.TRADES, True, (Stream.TRADES, Stream.ORDERBOOK)),
    ):
        assert (await change_in(registry, "ETH/USDT", None, _switch(stream, on=on))).streams == streams
