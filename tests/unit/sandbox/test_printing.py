"""Numbers are printed as Binance prints them, and none is rounded."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.sandbox.printing import decimals, exchange_info, levels_text, symbol_row, unit_of
from sandboxed import BTC


@pytest.mark.parametrize(
    ("units", "precision", "text"),
    [
        (0, 8, "0.00000000"),
        (1, 8, "0.00000001"),
        (6_160_201_000_000, 8, "61602.01000000"),
        (5, 0, "5.00000000"),
        (125, 2, "1.25000000"),
        (3_100_000_000, 16, "0.00000031"),
        (3_100_000_001, 16, "0.0000003100000001"),
    ],
)
def test_eight_decimals_or_more_if_they_are_needed(units, precision, text):
    assert decimals(units, precision) == text


@given(st.integers(0, 2**63 - 1), st.integers(0, 18))
def test_what_is_printed_is_the_value(units, precision):
    assert Decimal(decimals(units, precision)) == Decimal(units).scaleb(-precision)


@given(
    st.lists(
        st.tuples(st.integers(1, 2**63 - 1) | st.integers(1, 10**13), st.integers(0, 10**15)), max_size=9
    ),
    st.sampled_from([(8, 8), (2, 5), (12, 8)]),
)
def test_levels_are_the_same_either_way(levels, precisions):
    instrument = Instrument(
        venue="binance",
        market=Market.SPOT,
        symbol="A/B",
        price_precision=precisions[0],
        size_precision=precisions[1],
    )
    printed = msgspec.json.decode(levels_text(tuple(levels), instrument))
    assert printed == [
        [decimals(price, precisions[0]), decimals(size, precisions[1])] for price, size in levels
    ]


def test_what_is_made_up_says_so():
    assert "venue" not in symbol_row(BTC)
    made_up = Instrument(
        venue="simulated", market=Market.SPOT, symbol="BTC/USDT", tick_size=10**6, step_size=10**3
    )
    row = symbol_row(made_up)
    assert row["venue"] == "simulated"
    assert [row["filters"][0]["tickSize"], row["filters"][1]["stepSize"]] == ["0.01000000", "0.00001000"]


@pytest.mark.parametrize(
    ("window_s", "interval", "number"), [(60.0, "MINUTE", 1), (300.0, "MINUTE", 5), (10.0, "SECOND", 10)]
)
def test_the_window_of_the_limit(window_s, interval, number):
    (limit,) = exchange_info([BTC], 0, (100, window_s), 1)["rateLimits"]
    assert (limit["interval"], limit["intervalNum"], limit["limit"]) == (interval, number, 100)


def test_the_unit_of_times():
    assert [unit_of(text) for text in (None, "MILLISECOND", "MICROSECOND", "microsecond")] == [
        1_000_000, 1_000_000, 1_000, 1_000,
    ]  # fmt: skip
