"""A symbol is split at its quote asset, or not at all."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.binance.symbols import QUOTE_ASSETS, slashed
from recorded import captures


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("BTCUSDT", "BTC/USDT"),
        ("ETHBTC", "ETH/BTC"),
        ("1000SHIBUSDT", "1000SHIB/USDT"),
        ("BTCFDUSD", "BTC/FDUSD"),
        ("BTCUSD1", "BTC/USD1"),
        ("BTCTUSD", "BTC/TUSD"),
        ("TUSDUSDT", "TUSD/USDT"),
        ("USDTDAI", "USDT/DAI"),
        ("XRPEURI", "XRP/EURI"),
    ],
)
def test_a_symbol_ends_in_its_quote_asset(symbol, pair):
    assert slashed(symbol) == pair


@pytest.mark.parametrize(
    "symbol",
    ["", "USDT", "BTC", "btcusdt", "BTC/USDT", "BTCUSDT_240628", "BTC USDT", "\uff22TCUSDT", "!TICKER"],
)
def test_what_is_no_spot_or_perpetual_symbol_is_not_split(symbol):
    assert slashed(symbol) is None


@given(st.text("ABCDEFUSDT01", min_size=1, max_size=8), st.sampled_from(QUOTE_ASSETS))
def test_a_split_symbol_is_the_same_without_the_slash(base, quote):
    pair = slashed(base + quote)
    assert pair is not None
    assert pair.replace("/", "") == base + quote
    assert pair.partition("/")[2] in QUOTE_ASSETS


@pytest.mark.shared_data
def test_every_symbol_that_binance_ever_listed_until_2021_is_split_as_binance_does():
    [path] = captures("spot_exchangeInfo_20211012.json.gz")
    symbols = json.loads(gzip.decompress(path.read_bytes()))["symbols"]
    assert len(symbols) == 1_695
    wrong = {
        one["symbol"]: slashed(one["symbol"])
        for one in symbols
        if slashed(one["symbol"]) != f"{one['baseAsset']}/{one['quoteAsset']}"
    }
    assert wrong == {}
