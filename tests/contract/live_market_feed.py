"""What a live feed of Binance promises beside its port, whichever way it takes to a sandbox."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from binance_proxy.application.ports import MarketFeed, TrackedPair
from binance_proxy.sandbox.settings import Faults
from contract.market_feed import MarketFeedContract
from live_feed import PAIRS, open_live, open_venue


class LiveMarketFeedContract(MarketFeedContract):
    way: str
    enough = 1_000
    """About a second of the market."""

    @asynccontextmanager
    async def made(self, **faults: float) -> AsyncIterator[MarketFeed]:
        async with (
            open_venue(rate=500.0, faults=Faults(**faults)) as venue,
            open_live(self.way, venue) as live,
        ):
            yield live.feed

    @pytest.fixture
    async def feed(self) -> AsyncIterator[MarketFeed]:
        async with self.made() as feed:
            yield feed

    @pytest.fixture
    def wanted(self) -> Sequence[TrackedPair]:
        return PAIRS

    @pytest.fixture
    def absent(self) -> TrackedPair:
        return TrackedPair(symbol="ETH/USDX")

    @pytest.fixture
    async def unreadable(self) -> AsyncIterator[MarketFeed]:
        async with self.made(place=1.0) as feed:
            yield feed

    @pytest.fixture
    async def interrupted(self) -> AsyncIterator[MarketFeed]:
        async with self.made(cut_s=0.1) as feed:
            yield feed

    @pytest.fixture
    async def garbled(self) -> AsyncIterator[MarketFeed]:
        async with self.made(corrupt=0.02) as feed:
            yield feed

    @pytest.fixture
    def ending(self) -> MarketFeed:
        pytest.skip("a venue never ends")

    @pytest.fixture
    def breaking(self) -> MarketFeed:
        pytest.skip("a venue never ends, so it cannot be read to its end")
