"""What `bridge ask` makes of the words that were typed, and how it shows an answer."""

import pytest

from binance_proxy.bridge.ask import ask, params_of, show
from binance_proxy.bridge.listening import Place
from binance_proxy.domain.errors import ConfigError

TEXT = {"type": "string"}
METHOD = {
    "params": [
        {"name": "symbol", "schema": TEXT},
        {"name": "size", "schema": {"anyOf": [TEXT, {"type": "null"}]}},
        {"name": "side", "schema": {"$ref": "#/components/schemas/Side"}},
        {"name": "start", "schema": {"anyOf": [{"type": "integer"}, TEXT, {"type": "null"}]}},
        {"name": "streams", "schema": {"anyOf": [{"type": "array", "items": TEXT}, {"type": "null"}]}},
        {"name": "fetch", "schema": {"type": "boolean"}},
    ]
}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("symbol", "ETH/USDT", "ETH/USDT"),
        ("symbol", "1", "1"),
        ("size", "2.5", "2.5"),
        ("size", "null", None),
        ("side", "buy", "buy"),
        ("start", "1723161240000000000", 1_723_161_240_000_000_000),
        ("start", "2024-08-09T00:00:00Z", "2024-08-09T00:00:00Z"),
        ("streams", '["trades"]', ["trades"]),
        ("streams", "trades", "trades"),
        ("fetch", "true", True),
        ("unheard_of", "x", "x"),
    ],
)
def test_a_word_becomes_what_the_method_takes(key: str, text: str, value: object) -> None:
    assert params_of(METHOD, {key: text}) == {key: value}


@pytest.mark.parametrize("word", ["symbol", "=ETH/USDT", ""])
async def test_a_word_without_a_name_is_a_mistake_of_the_user(word: str) -> None:
    with pytest.raises(ConfigError, match="is not a parameter such as symbol=ETH/USDT"):
        await ask(Place(requests="tcp://127.0.0.1:9"), "pairs.list", [word], json=False)


async def test_a_bridge_that_answers_no_requests_is_named() -> None:
    with pytest.raises(ConfigError, match=r"serve\.bind is empty"):
        await ask(Place(), None, [], json=False)


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ({"removed": True, "at": None}, ["removed  true", "at       -"]),
        ({"rows": [], "as_of": 1_760_000_000_123_000_000}, ["rows   none", "as_of  2025-10-09 08:53:20.123"]),
        (
            {
                "pairs": [
                    {"symbol": "ETH/USDT", "streams": ["trades", "orderbook"]},
                    {"symbol": "[red]", "n": 1},
                ]
            },
            [
                "symbol    streams            n",
                "ETH/USDT  trades, orderbook",
                "[red]                        1",
            ],
        ),
        (
            {"mid": "1.5", "bids": [["1", "2"]], "asks": [["2", "3"]]},
            ["mid  1.5", "bids", "1  2", "asks", "2  3"],
        ),
        ("text", ["text"]),
    ],
)
def test_an_answer_is_lines_and_tables(
    result: object, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    show(result)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines
