"""The live feed keeps the promises of its port over connections of our own."""

from contract.live_market_feed import LiveMarketFeedContract


class TestBinanceFeed(LiveMarketFeedContract):
    way = "direct"
