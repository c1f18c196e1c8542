"""Which instrument stands for a market of ccxt's, and in which units."""

from typing import Any

import pytest

from binance_proxy.adapters.ccxt.markets import instrument_of
from binance_proxy.domain.instrument import Instrument, Market

DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE = 2, 3, 4


def market(price: Any = 0.01, size: Any = 1e-05, **changed: Any) -> dict[str, Any]:
    precision = {"price": price, "amount": size}
    return {"symbol": "BTC/USD", "spot": True, "precision": precision, "info": {}} | changed


def test_ccxts_modes_are_these() -> None:
    import ccxt  # noqa: PLC0415  a second that only this test needs

    assert (ccxt.DECIMAL_PLACES, ccxt.SIGNIFICANT_DIGITS, ccxt.TICK_SIZE) == (
        DECIMAL_PLACES,
        SIGNIFICANT_DIGITS,
        TICK_SIZE,
    )


def test_a_market_is_an_instrument_of_the_exchange_with_headroom() -> None:
    assert instrument_of(market(), "kraken", TICK_SIZE) == Instrument(
        venue="kraken",
        market=Market.SPOT,
        symbol="BTC/USD",
        price_precision=8,
        size_precision=8,
        tick_size=1_000_000,
        step_size=1_000,
    )


@pytest.mark.parametrize(
    ("price", "size", "mode", "expected"),
    [
        (1e-10, 1e-12, TICK_SIZE, (10, 12, 1, 1)),
        (10, 0.5, TICK_SIZE, (8, 8, 1_000_000_000, 50_000_000)),
        (2, 5, DECIMAL_PLACES, (8, 8, 1_000_000, 1_000)),
        (10, 0, DECIMAL_PLACES, (10, 8, 1, 100_000_000)),
        (5, 8, SIGNIFICANT_DIGITS, (8, 8, None, None)),
        (None, None, TICK_SIZE, (8, 8, None, None)),
    ],
)
def test_units_have_the_decimals_that_the_steps_need(
    price: Any, size: Any, mode: int, expected: tuple[int | None, ...]
) -> None:
    one = instrument_of(market(price, size), "kraken", mode)
    assert one is not None
    assert (one.price_precision, one.size_precision, one.tick_size, one.step_size) == expected


@pytest.mark.parametrize(
    "changed",
    [{"spot": False}, {"active": False}, {"symbol": "BTC/USD:USD"}, {"symbol": "btc/usd"}, {"price": 1e-13}],
)
def test_what_cannot_be_recorded_is_none(changed: dict[str, Any]) -> None:
    assert instrument_of(market(**changed), "kraken", TICK_SIZE) is None


@pytest.mark.parametrize("active", [True, None])
def test_a_market_of_which_nothing_else_is_said_is_traded(active: bool | None) -> None:
    assert instrument_of(market(active=active), "kraken", TICK_SIZE) is not None


@pytest.mark.parametrize(
    ("info", "venue"),
    [({"venue": "simulated"}, "simulated"), ({"venue": "EU"}, "kraken"), (["a list"], "kraken")],
)
def test_only_what_is_marked_as_made_up_is_of_another_venue(info: Any, venue: str) -> None:
    one = instrument_of(market(info=info), "kraken", TICK_SIZE)
    assert one is not None
    assert one.venue == venue
