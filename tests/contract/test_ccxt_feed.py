"""The live feed keeps the promises of its port over ccxt's connections too."""

from contract.live_market_feed import LiveMarketFeedContract


class TestBinanceFeedByCcxt(LiveMarketFeedContract):
    way = "ccxt"
