"""What every `PairRegistry` promises: one test for each sentence of the port."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest
from msgspec.structs import replace

from binance_proxy.application.ports import PairRegistry, StoreRejected, TrackedPair
from binance_proxy.domain.instrument import Market, Stream

ETH, SOL, BTC = (TrackedPair(symbol=f"{base}/USDT") for base in ("ETH", "SOL", "BTC"))
ETH_USDM = TrackedPair(symbol="ETH/USDT", market=Market.USDM)
PATIENCE_S = 60.0
"""No test waits that long unless it fails."""


class PairRegistryContract:
    """Subclass it with a fixture `registry` that gives a fresh registry."""

    @pytest.fixture
    def elsewhere(self, registry: PairRegistry) -> PairRegistry:
        """Give the same registry as somebody else sees it."""
        return registry

    async def test_tracks_two_pairs_at_first_by_symbol(self, registry: PairRegistry) -> None:
        assert list(await registry.pairs()) == [ETH, SOL]

    async def test_a_pair_that_is_put_is_tracked_in_its_place(self, registry: PairRegistry) -> None:
        await registry.put(BTC)
        await registry.put(ETH_USDM)
        assert list(await registry.pairs()) == [BTC, ETH, ETH_USDM, SOL]

    @pytest.mark.parametrize("streams", [(Stream.TRADES,), (Stream.ORDERBOOK,), (), tuple(Stream)], ids=str)
    @pytest.mark.parametrize("enabled", [True, False])
    @pytest.mark.parametrize("symbol", ["ETH/USDT", "BTC/USDT"])
    async def test_exactly_these_streams_are_wanted_enabled_or_not(
        self, registry: PairRegistry, symbol: str, streams: tuple[Stream, ...], *, enabled: bool
    ) -> None:
        pair = TrackedPair(symbol=symbol, streams=streams, enabled=enabled)
        await registry.put(pair)
        assert pair in await registry.pairs()
        await registry.put(TrackedPair(symbol=symbol))
        assert TrackedPair(symbol=symbol) in await registry.pairs()

    async def test_a_put_instead_of_what_is_tracked_is_done(self, registry: PairRegistry) -> None:
        trades, nothing = replace(ETH, streams=(Stream.TRADES,)), replace(ETH, enabled=False, streams=())
        assert await registry.put(trades) is True
        assert await registry.put(nothing, instead_of=trades) is True
        assert await registry.put(ETH, instead_of=nothing) is True
        assert list(await registry.pairs()) == [ETH, SOL]

    @pytest.mark.parametrize("now", [replace(ETH, streams=()), replace(ETH, enabled=False), None], ids=str)
    async def test_a_put_instead_of_what_is_not_tracked_any_more_changes_nothing(
        self, registry: PairRegistry, elsewhere: PairRegistry, now: TrackedPair | None
    ) -> None:
        if now is None:
            await elsewhere.remove(ETH.symbol, ETH.market)
        else:
            await elsewhere.put(now)
        assert await registry.put(replace(ETH, streams=(Stream.TRADES,)), instead_of=ETH) is False
        assert list(await registry.pairs()) == [*([now] if now else []), SOL]

    async def test_of_many_that_put_instead_of_the_same_one_is_the_quickest(
        self, registry: PairRegistry, elsewhere: PairRegistry
    ) -> None:
        done = await asyncio.gather(
            *(
                one.put(replace(ETH, streams=(stream,)), instead_of=ETH)
                for one in (registry, elsewhere)
                for stream in Stream
            )
        )
        assert sorted(done) == [False, False, False, True]

    @pytest.mark.parametrize("symbol", ["ETHUSDT", "eth/usdt", "ETH/USDT/X", "", "'; drop table trades; --"])
    async def test_a_symbol_that_is_none_is_rejected(self, registry: PairRegistry, symbol: str) -> None:
        with pytest.raises(StoreRejected, match="is not a symbol such as ETH/USDT"):
            await registry.put(TrackedPair(symbol=symbol))
        assert list(await registry.pairs()) == [ETH, SOL]

    async def test_remove_tells_whether_it_was_tracked(self, registry: PairRegistry) -> None:
        assert await registry.remove("ETH/USDT", Market.USDM) is False
        assert await registry.remove("ETH/USDT", Market.SPOT) is True
        assert await registry.remove("ETH/USDT", Market.SPOT) is False
        assert list(await registry.pairs()) == [SOL]

    async def test_changes_begin_with_one(self, registry: PairRegistry) -> None:
        async with listening(registry) as changes:
            await anext(changes)

    async def test_every_kind_of_change_is_told_to_all_who_listen(
        self, registry: PairRegistry, elsewhere: PairRegistry
    ) -> None:
        async with listening(registry) as one, listening(elsewhere) as other:
            for changes in (one, other):
                await anext(changes)
            for change in (
                registry.put(BTC),
                elsewhere.put(TrackedPair(symbol="BTC/USDT", streams=(Stream.TRADES,))),
                registry.put(TrackedPair(symbol="BTC/USDT", enabled=False)),
                elsewhere.remove("BTC/USDT", Market.SPOT),
            ):
                coming = [asyncio.ensure_future(anext(changes)) for changes in (one, other)]
                await asyncio.sleep(0)
                await change
                await asyncio.gather(*coming)

    async def test_a_change_while_nobody_asks_is_told_and_many_may_be_one(
        self, registry: PairRegistry, elsewhere: PairRegistry
    ) -> None:
        many = [TrackedPair(symbol=f"C{number}/USDT") for number in range(50)]
        async with listening(registry) as changes:
            await anext(changes)
            for pair in many:
                await elsewhere.put(pair)
            seen: Sequence[TrackedPair] = ()
            told = 0
            while not set(many) <= set(seen):
                await anext(changes)
                told += 1
                seen = await registry.pairs()
            assert told <= len(many)

    async def test_changes_can_be_left_and_listened_to_again(self, registry: PairRegistry) -> None:
        for _ in range(3):
            async with listening(registry) as changes:
                await anext(changes)


@asynccontextmanager
async def listening(registry: PairRegistry) -> AsyncIterator[AsyncGenerator[None]]:
    """Listen for as long as the block lasts; what does not come in time is an error."""
    async with asyncio.timeout(PATIENCE_S), aclosing(registry.changes()) as changes:
        yield changes
