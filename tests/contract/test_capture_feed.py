"""The feed of capture files keeps the promises of its port."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.application.ports import MarketFeed, TrackedPair
from binance_proxy.domain.instrument import Instrument, Market
from captured import START, session, write
from contract.market_feed import MarketFeedContract


class TestCaptureFeed(MarketFeedContract):
    fixed_content = True
    gives_snapshots = False
    speed: float | None = None

    def of(self, *paths: Path) -> CaptureFeed:
        return CaptureFeed(paths, BinanceFrames(Market.SPOT), ManualClock(START), speed=self.speed)

    @pytest.fixture
    def feed(self, tmp_path: Path) -> MarketFeed:
        btc = write(tmp_path / "btc.gz", session(400))
        eth = write(tmp_path / "eth.txt", session(400, "ETHUSDT"))
        return self.of(btc, eth)

    @pytest.fixture
    def wanted(self) -> Sequence[TrackedPair]:
        return [TrackedPair(symbol="BTC/USDT")]

    @pytest.fixture
    def unreadable(self, tmp_path: Path) -> MarketFeed:
        return self.of(tmp_path / "nowhere.gz")

    @pytest.fixture
    def ending(self, tmp_path: Path) -> MarketFeed:
        return self.of(write(tmp_path / "short.gz", session(100)))

    @pytest.fixture
    def garbled(self, tmp_path: Path) -> MarketFeed:
        frames = session(200)
        frames[20] = (frames[20][0], '{"stream":"btcusdt@trade","data":{')
        return self.of(write(tmp_path / "garbled.gz", frames))

    @pytest.fixture
    def breaking(self, tmp_path: Path) -> MarketFeed:
        gone = write(tmp_path / "gone.gz", session(100))
        feed = self.of(write(tmp_path / "first.gz", session(100)), gone)
        describe = feed.instruments

        async def describe_and_lose(wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
            described = await describe(wanted)
            gone.unlink()
            return described

        feed.instruments = describe_and_lose
        return feed


class TestCaptureFeedInRecordedTime(TestCaptureFeed):
    speed = 1.0
