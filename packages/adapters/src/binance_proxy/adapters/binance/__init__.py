"""Binance's own words: its symbols and its stream frames."""
