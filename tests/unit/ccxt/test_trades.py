"""Trades out of ccxt's dictionaries, exactly or not at all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.ccxt.trades import exact, trade_id, trade_of
from binance_proxy.application.ports import FrameRejected
from binance_proxy.domain.errors import ScaleError
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.scale import INT64_MAX, to_text, to_units
from binance_proxy.domain.tick import Side
from recorded import recorded

BTC = Instrument(venue="kraken", market=Market.SPOT, symbol="BTC/USDT")
RECV = 1_760_000_000_000_000_000


def raw(**changed: Any) -> dict[str, Any]:
    return {
        "id": "77", "timestamp": 1_710_327_661_939, "side": "sell", "price": 73238.7, "amount": 0.00109,
        "info": {},
    } | changed  # fmt: skip


def test_a_recorded_trade() -> None:
    (path,) = recorded("ccxt/binance_public_market_data_fixtures.json")
    (case,) = json.loads(path.read_text())["methods"]["fetchTrades"]
    trade = trade_of(case["parsedResponse"][0], BTC, RECV)
    said = case["httpResponse"][0]
    assert trade.trade_id == int(said["a"])
    assert trade.price == to_units(said["p"], 8)
    assert trade.size == to_units(said["q"], 8)
    assert trade.aggressor is Side.BUY
    assert trade.ts_event == int(said["T"]) * 1_000_000
    assert trade.ts_recv == RECV


@pytest.mark.parametrize(
    "changed",
    [
        {"id": None}, {"id": ""}, {"id": 5}, {"timestamp": None}, {"side": None}, {"side": "both"},
        {"price": None}, {"price": 0.0}, {"amount": -1.0}, {"amount": float("nan")}, {"price": 0.1 + 0.2},
        {"price": 1e-9}, {"timestamp": 0}, {"price": "1.5"},
    ],
)  # fmt: skip
def test_what_cannot_be_told_exactly_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(FrameRejected):
        trade_of(raw(**changed), BTC, RECV)


def test_a_missing_field_is_refused() -> None:
    for name in ("id", "timestamp", "side", "price", "amount"):
        with pytest.raises(FrameRejected, match=name):
            trade_of({key: value for key, value in raw().items() if key != name}, BTC, RECV)


def test_the_venues_text_says_more_than_a_float() -> None:
    text = "12345678901.12345678"
    assert exact(float(text), {"p": text, "q": "1"}, 8) == 1_234_567_890_112_345_678
    assert exact(float(text), ["x", text, None, 5], 8) == 1_234_567_890_112_345_678
    with pytest.raises(ScaleError):
        exact(float(text), {}, 8)


def test_a_text_that_is_finer_than_the_units_is_refused_although_the_float_would_do() -> None:
    assert exact(0.3, {}, 8) == 30_000_000
    with pytest.raises(ScaleError):
        exact(0.3, {"p": "0.30000000000000000001"}, 8)


def test_texts_that_contradict_each_other_are_not_believed() -> None:
    a, b = "12345678901.12345678", "12345678901.12345679"
    assert float(a) == float(b)
    with pytest.raises(ScaleError):
        exact(float(a), {"p": a, "old": b}, 8)


@given(st.integers(1, INT64_MAX), st.integers(0, 12), st.text(max_size=5))
def test_any_number_comes_back_exactly_if_the_venue_wrote_it(units: int, precision: int, other: str) -> None:
    text = to_text(units, precision)
    assert exact(float(text), {"p": text, "other": f"x{other}"}, precision) == units


@given(st.integers(1, 10**15 - 1), st.integers(0, 12))
def test_any_number_of_fifteen_digits_comes_back_without_a_text(units: int, precision: int) -> None:
    assert exact(float(to_text(units, precision)), None, precision) == units


@pytest.mark.parametrize("text", ["0", "77", "0012", str(INT64_MAX)])
def test_an_id_that_is_a_number_stays_itself(text: str) -> None:
    assert trade_id(text) == int(text)


@pytest.mark.parametrize("text", [str(INT64_MAX + 1), "9" * 30, "a-b", "٣", "-5", "1.5", "5 "])
def test_any_other_id_is_the_same_hash_each_time(text: str) -> None:
    assert trade_id(text) == trade_id(text)
    assert 0 <= trade_id(text) <= INT64_MAX
    assert trade_id(text) != trade_id(text + "x")


def test_the_hash_never_changes_or_trades_would_be_stored_twice() -> None:
    assert trade_id("5b1d9a2e-trade") == 864842329106620890
