"""Whatever is asked is read, or refused with one of Binance's codes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.sandbox.asked import Asked, Refusal

QUERY = st.dictionaries(
    st.sampled_from(["symbol", "symbols", "limit", "fromId", "startTime", "x"]), st.text()
)


@given(QUERY)
def test_nothing_but_a_refusal_comes_of_any_text(query):
    asked = Asked(query)
    for read in (asked.symbol, asked.symbols, lambda: asked.limit(5, 10), asked.times):
        with suppress(Refusal):
            read()
    with suppress(Refusal):
        asked.nothing_more()


def test_a_limit_is_at_most_what_there_can_be():
    assert Asked({}).limit(100, 5_000) == 100
    assert Asked({"limit": "9999999"}).limit(100, 5_000) == 5_000


def test_times_take_in_their_whole_unit():
    asked = Asked({"startTime": "5", "endTime": "6"})
    assert asked.times() == (5_000_000, 6_999_999)


@pytest.mark.parametrize("text", ["-1", "1.5", "1e3", " 1", "１", "9" * 21])  # noqa: RUF001  a digit all the same
def test_only_plain_digits_are_numbers(text):
    with pytest.raises(Refusal) as refused:
        Asked({"fromId": text}).number("fromId")
    assert refused.value.code == -1100
