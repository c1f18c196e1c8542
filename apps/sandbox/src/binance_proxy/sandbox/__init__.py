"""A venue on this machine that talks like Binance, over any market feed."""
