"""The list of pairs, and what an answer means that is none."""

import pytest

from binance_proxy.adapters.binance.exchange_info import read_exchange_info
from binance_proxy.application.ports import FeedRejected, FeedUnavailable
from scripted import answer, ok

ETH = {
    "symbol": "ETHUSDT", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "USDT",
    "filters": [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "stepSize": "0.0001"},
        {"filterType": "NOTIONAL"},
    ],
}  # fmt: skip


def test_pairs_are_listed_with_their_steps_and_whether_they_are_traded() -> None:
    halted = {**ETH, "symbol": "SOLUSDT", "baseAsset": "SOL", "status": "BREAK", "filters": []}
    eth, sol = read_exchange_info(ok({"symbols": [ETH, halted]}))[0]
    assert (eth.symbol, eth.code, eth.trading) == ("ETH/USDT", "ETHUSDT", True)
    assert (eth.tick_size, eth.step_size, eth.venue) == ("0.01", "0.0001", "binance")
    assert (sol.symbol, sol.trading, sol.tick_size, sol.step_size) == ("SOL/USDT", False, None, None)


def test_assets_that_are_no_plain_letters_and_digits_are_left_out() -> None:
    assert read_exchange_info(ok({"symbols": [{**ETH, "baseAsset": "币安"}]}))[0] == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (451, {"code": 0, "msg": "restricted location"}, FeedRejected, r"451.*data-api\.binance\.vision"),
        (401, {"code": -2014, "msg": "API-key format invalid."}, FeedRejected, r"feed\.binance\.api_key"),
        (400, {"code": -2014, "msg": "API-key format invalid."}, FeedRejected, r"feed\.binance\.api_key"),
        (404, b"Not Found", FeedRejected, r"feed\.binance\.rest_url"),
        (429, {"code": -1003, "msg": "Too many requests."}, FeedUnavailable, "429"),
        (503, b"down", FeedUnavailable, "503"),
        (403, b"<html>", FeedUnavailable, "403"),
        (200, b"<html>", FeedUnavailable, "html"),
        (200, b'{"symbols":[{"symbol":"\xff"}]}', FeedUnavailable, "no answer of Binance"),
        (200, {"symbols": [{"symbol": 1}]}, FeedUnavailable, "no answer of Binance"),
    ],
)
def test_what_is_no_list_says_whether_asking_again_helps(
    status: int, body: object, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        read_exchange_info(answer(status, body))[0]
