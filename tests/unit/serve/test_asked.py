"""Parameters are read strictly: each mistake is named, and nothing that can be sent is a fault of ours."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asking import asking
from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.serve.answers import NoSuchMethod
from binance_proxy.application.serve.asked import time_of
from binance_proxy.application.serve.failures import OURS, WRONG, WrongParams, failure_of
from binance_proxy.application.serve.methods import METHODS
from ticks_made import ETH, MIDNIGHT, quote, snapshot, trade

NEEDED = {
    "pairs.add": {"symbol": "ETH/USDT", "market": "spot"},
    "pairs.remove": {"symbol": "ETH/USDT", "market": "spot"},
    "candles.list": {"symbol": "ETH/USDT", "timeframe": "1m"},
    "stats.vwap": {"symbol": "ETH/USDT", "start": MIDNIGHT},
    "stats.slippage": {"symbol": "ETH/USDT", "side": "buy", "size": "1"},
    "stats.liquidity": {"symbol": "ETH/USDT", "bps": 5},
    "topics.since": {"topic": "a", "epoch": "b", "sequence": 1},
    **{name: {} for name in ("pairs.list", "instruments.list", "bridge.status")},
}


def needed(method: str) -> dict[str, Any]:
    """Return params of a method that are right."""
    return NEEDED.get(method, {"symbol": "ETH/USDT"})


HUGE = 2**64
WRONG_VALUES: dict[str, list[object]] = {
    "symbol": [None, 1, True, "", "x" * 65, ["ETH/USDT"], {}, b"ETH/USDT", "\ud800"],
    "venue": [1, "", "x" * 65, False, "\udfff"],
    "market": ["", "futures", "SPOT", 1, True],
    "start": [-1, END_OF_TIME + 1, HUGE, True, 1.0, "", "yesterday", "2024-08-09", "2024-08-09T00:00:00", [],
              "2024-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "9" * 41,
              "2024-08-09T00:00:00.1234567891Z", "2024-08-09T24:61:00Z"],
    "end": [-1, END_OF_TIME + 1, True, float("nan"), "", "now"],
    "at": [-1, END_OF_TIME + 1, True, 0.5, "", "now", {}],
    "limit": [0, -1, 10_001, 100_001, HUGE, True, 1.5, float("nan"), "10", None],
    "cursor": ["", "x" * 401, 1, True, [], "\ud800"],
    "accept": ["", "json", "Arrow", 1, True],
    "fresh": [0, 1, "true", None],
    "fetch": [0, 1, "true", None],
    "levels": [0, -1, 100_001, True, 1.5, "1", HUGE],
    "timeframe": [None, 1, "", "1", "1y", "-1m", "0m", True],
    "side": ["", "BUY", "hold", 1, None, True],
    "size": [None, 1, 1.5, "", "-1", "0", "1e5", "nan", "x" * 61, True],
    "bps": [None, 0, -1, float("nan"), float("inf"), "5", True, 1e7],
    "window_s": [0, -1, float("nan"), float("inf"), "5", True, 1e11],
    "stream": ["", "candles", 1, True, []],
    "streams": ["trades", [1], ["candles"], [["trades"]], {}, True, ["trades"] * 17],
    "enabled": [0, 1, "yes", None],
    "topic": [None, 1, "", "x" * 201, True],
    "epoch": [None, 1, "", "x" * 101, True],
    "sequence": [None, -1, 1.0, "1", True, HUGE],
    "timeout_ms": [0, -1, 1.5, "1", True],
    "nonsense": [1, None],
}  # fmt: skip
CASES = [
    pytest.param(method, name, value, id=f"{method}-{name}-{number}")
    for method in METHODS
    for name, values in WRONG_VALUES.items()
    for number, value in enumerate(values)
    if name in METHODS[method].asked.__struct_fields__ or name == "nonsense"
]


@pytest.mark.parametrize(("method", "name", "value"), CASES)
async def test_a_wrong_parameter_is_named(method, name, value):
    asked = await asking([trade(1)])
    asked.live.books[ETH.name] = snapshot(1)
    with pytest.raises(WrongParams, match=f"^{name}") as raised:
        await asked.ask(method, **needed(method) | {name: value})
    failure = failure_of(raised.value)
    assert (failure.code, failure.retry, failure.kind) == (WRONG, False, "WrongParams")
    failure.message.encode()


@pytest.mark.parametrize("method", METHODS)
async def test_right_params_are_answered_and_each_that_is_needed_is_missed(method):
    asked = await asking([trade(1)])
    asked.live.books[ETH.name] = snapshot(1)
    params = needed(method)
    await asked.ask(method, **params)
    for name in params:
        with pytest.raises(WrongParams, match=f"^{name}: is missing"):
            await asked.ask(method, **{key: value for key, value in params.items() if key != name})


@pytest.mark.parametrize("params", [None, 1, [], ["ETH/USDT"], "x", {1: 2}, {b"symbol": 1}, {"": 1}])
async def test_what_is_no_map_of_names_is_refused(params):
    asked = await asking([trade(1)])
    with pytest.raises(WrongParams):
        await asked.answers.ask("trades.list", params, 1.0)


async def test_more_rows_may_come_as_arrow():
    asked = await asking([trade(1)])
    await asked.ask("trades.list", symbol="ETH/USDT", limit=100_000, accept="arrow")
    with pytest.raises(WrongParams, match=r"limit: expected `int` <= 10000; more only with `accept: arrow`"):
        await asked.ask("trades.list", symbol="ETH/USDT", limit=10_001)


@pytest.mark.parametrize(
    "method", ["", "trades", "trades.list ", "subscribers.report", "__init__", "x" * 1_000]
)
async def test_there_is_no_other_method(method):
    with pytest.raises(NoSuchMethod, match=r"rpc\.discover lists"):
        await (await asking([])).ask(method)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2024-08-09T00:00:00Z", MIDNIGHT),
        ("2024-08-09 00:00Z", MIDNIGHT),
        ("2024-08-09T02:00:00+02:00", MIDNIGHT),
        ("2024-08-09T00:00:00.123456789Z", MIDNIGHT + 123_456_789),
        ("2024-08-09T00:00:00.1Z", MIDNIGHT + 100_000_000),
    ],
)
def test_times_as_text_are_exact_to_the_nanosecond(text, ns):
    assert time_of("start", text) == ns


WORDS = ["ETH/USDT", "1m", "1mo", "9999w", "buy", "trades", "arrow", MIDNIGHT, END_OF_TIME, 0, 1, "1"]
KNOWN = [value for values in WRONG_VALUES.values() for value in values if isinstance(value, int | str)]
SINGLE = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=8)
)
PLAIN = st.recursive(
    SINGLE | st.sampled_from(KNOWN) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(sorted(WRONG_VALUES)) | st.text(max_size=8)


@given(st.sampled_from(sorted(METHODS)), st.dictionaries(NAMES, PLAIN, max_size=6), st.booleans())
async def test_whatever_is_asked_is_answered_or_refused_on_purpose(method, params, completed):
    asked = await asking([trade(1), trade(2, 90_000), snapshot(5, 1), quote(6, 7, 2)])
    asked.live.books[ETH.name] = snapshot(1)
    if completed:
        params = needed(method) | params
    try:
        msgspec.json.encode(await asked.answers.ask(method, params, 1.0))
    except Exception as error:
        failure = failure_of(error)
        if failure is None or failure.code == OURS:
            raise
