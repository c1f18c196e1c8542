"""A file of one market is not played as another."""

import pytest

from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.application.ports import FeedRejected
from binance_proxy.domain.instrument import Market
from captured import depth, session, write


def feed_of(path, market):
    return CaptureFeed([path], BinanceFrames(market), ManualClock(), speed=None)


async def test_futures_played_as_spot_are_refused_with_the_setting_to_change(tmp_path):
    frames = [(stamp, depth(number, pu=999 + 2 * number)) for number, (stamp, _) in enumerate(session(20))]
    path = write(tmp_path / "a.gz", frames)
    with pytest.raises(FeedRejected, match=r"set feed.capture.market = usdm"):
        await feed_of(path, Market.SPOT).instruments([])
    assert await feed_of(path, Market.USDM).instruments([])


async def test_spot_played_as_futures_is_refused_likewise(tmp_path):
    path = write(tmp_path / "a.gz", session(20))
    with pytest.raises(FeedRejected, match=r"set feed.capture.market = spot"):
        await feed_of(path, Market.USDM).instruments([])
