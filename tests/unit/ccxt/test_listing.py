"""Listings out of ccxt's markets: the same as are read from Binance's own answer."""

import gzip
import json
from decimal import Decimal
from typing import Any

import pytest

from binance_proxy.adapters.binance.exchange_info import read_exchange_info
from binance_proxy.adapters.binance.transport import Answer, Listing
from binance_proxy.adapters.ccxt.listing import listing_fields, plain
from recorded import captures


def market(**changed: Any) -> dict[str, Any]:
    return {
        "id": "BTCUSDT", "baseId": "BTC", "quoteId": "USDT", "spot": True, "active": True,
        "precision": {"price": 0.01, "amount": 1e-05}, "info": {},
    } | changed  # fmt: skip


def test_all_of_a_recorded_exchange_info_is_listed_as_without_ccxt() -> None:
    (path,) = captures("spot_exchangeInfo_20211012.json.gz")
    import ccxt  # noqa: PLC0415  a second that only this test needs

    body = gzip.decompress(path.read_bytes())
    exchange = ccxt.binance({"options": {"crossMarginPairsData": [], "isolatedMarginPairsData": []}})
    markets = [exchange.parse_market(one) for one in json.loads(body)["symbols"]]
    ours = [Listing(**fields) for one in markets if (fields := listing_fields(one))]
    direct = {one.code: one for one in read_exchange_info(Answer(200, {}, body))[0]}
    assert len(ours) > 1_600
    for one in ours:
        other = direct[one.code]
        assert (one.symbol, one.trading, one.venue) == (other.symbol, other.trading, other.venue)
        assert (one.tick_size, one.step_size) == (other.tick_size, other.step_size)
    assert {one.code for one in ours} == set(direct)


def test_steps_are_the_exact_text_of_the_filters_if_there_are_any() -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.00000100"},
        {"filterType": "LOT_SIZE", "stepSize": "0.10000000"},
        {"comment": "no type"},
    ]
    fields = listing_fields(market(info={"filters": filters}))
    assert fields is not None
    assert (fields["tick_size"], fields["step_size"]) == ("0.00000100", "0.10000000")


def test_steps_are_plain_text_of_the_precision_otherwise() -> None:
    fields = listing_fields(market())
    assert fields is not None
    assert (fields["tick_size"], fields["step_size"]) == ("0.01", "0.00001")
    none = listing_fields(market(precision={"price": None, "amount": None}))
    assert none is not None
    assert (none["tick_size"], none["step_size"]) == (None, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"spot": False},
        {"spot": None},
        {"baseId": "币安"},
        {"baseId": "btc"},
        {"quoteId": "USD T"},
        {"baseId": ""},
    ],
)
def test_what_is_no_plain_spot_pair_is_left_out(changed: dict[str, Any]) -> None:
    assert listing_fields(market(**changed)) is None


@pytest.mark.parametrize("active", [False, None])
def test_what_does_not_trade_is_listed_as_such(active: bool | None) -> None:
    fields = listing_fields(market(active=active))
    assert fields is not None
    assert fields["trading"] is False


def test_a_venue_that_says_that_its_data_are_made_up_is_believed() -> None:
    fields = listing_fields(market(info={"venue": "simulated"}))
    assert fields is not None
    assert fields["venue"] == "simulated"


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-08, "0.00000001"), (0.01, "0.01"), (1, "1"), ("1E+2", "100"), (0, None), (-1, None), (None, None),
     (float("nan"), None), (float("inf"), None), ("x", None)],
)  # fmt: skip
def test_plain_numbers(number: Any, text: str | None) -> None:
    assert plain(number) == text
    if text is not None:
        assert Decimal(text) == Decimal(str(number))
