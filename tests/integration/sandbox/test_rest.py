"""The REST side of the sandbox answers as Binance does."""

import pytest

from binance_proxy.domain.tick import Side
from sandboxed import MS, START, opened, quote, snapshot, trade

START_MS = START // MS


async def test_ping_and_time():
    async with opened() as client:
        assert await client.get("ping") == {}
        ms = (await client.get("time"))["serverTime"]
        _, _, body = await client.ask("time", headers={"X-MBX-TIME-UNIT": "MICROSECOND"})
        assert 0 <= body["serverTime"] - ms * 1_000 < 60_000_000


async def test_exchange_info_lists_the_symbols_with_their_filters_and_the_limit():
    async with opened(weight_limit=1_200) as client:
        info = await client.get("exchangeInfo")
        (symbol,) = info["symbols"]
        filters = {one["filterType"]: one for one in symbol["filters"]}
        assert (symbol["symbol"], symbol["baseAsset"], symbol["quoteAsset"]) == ("BTCUSDT", "BTC", "USDT")
        assert symbol["status"] == "TRADING"
        assert symbol["isSpotTradingAllowed"]
        assert filters["PRICE_FILTER"]["tickSize"] == filters["LOT_SIZE"]["stepSize"] == "0.00000001"
        assert info["rateLimits"] == [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1_200}
        ]
        assert "venue" not in symbol
        assert (await client.get("exchangeInfo", symbol="BTCUSDT"))["symbols"] == [symbol]
        assert (await client.get("exchangeInfo", symbols='["BTCUSDT"]'))["symbols"] == [symbol]


async def test_depth_is_the_book_best_first():
    bids, asks = [(59_000, 1), (58_000, 2), (57_000, 3)], [(61_000, 4), (62_000, 5), (63_000, 6)]
    async with opened(snapshot(7, bids, asks), quote(8, 9, bids=[(59_000, 0), (59_500, 1.25)])) as client:
        assert await client.get("depth", symbol="BTCUSDT", limit=2) == {
            "lastUpdateId": 9,
            "bids": [["59500.00000000", "1.25000000"], ["58000.00000000", "2.00000000"]],
            "asks": [["61000.00000000", "4.00000000"], ["62000.00000000", "5.00000000"]],
        }
        assert len((await client.get("depth", symbol="BTCUSDT", limit=9_999))["asks"]) == 3


async def test_depth_is_503_from_a_hole_to_the_next_snapshot():
    async with opened(snapshot(7), quote(9)) as client:
        assert await client.refusal("depth", symbol="BTCUSDT") == (503, -1001)
        assert client.feed.resyncs
        await client.feed.tell(snapshot(9))
        assert (await client.get("depth", symbol="BTCUSDT"))["lastUpdateId"] == 9


async def test_a_snapshot_does_not_replace_a_book_that_is_right():
    async with opened(snapshot(7), snapshot(20)) as client:
        assert (await client.get("depth", symbol="BTCUSDT"))["lastUpdateId"] == 7


async def test_trades_are_the_newest_oldest_first():
    async with opened(*(trade(number, number) for number in range(1, 601))) as client:
        rows = await client.get("trades", symbol="BTCUSDT")
        assert [row["id"] for row in rows] == list(range(101, 601))
        assert (await client.get("trades", symbol="BTCUSDT", limit=1)) == [
            {
                "id": 600,
                "price": "60000.00000000",
                "qty": "0.50000000",
                "quoteQty": "30000.00000000",
                "time": START_MS + 600,
                "isBuyerMaker": False,
                "isBestMatch": True,
            }
        ]


async def test_historical_trades_begin_at_an_id():
    async with opened(*(trade(number) for number in range(1, 21))) as client:
        rows = await client.get("historicalTrades", symbol="BTCUSDT", fromId=5, limit=3)
        assert [row["id"] for row in rows] == [5, 6, 7]
        newest = await client.get("historicalTrades", symbol="BTCUSDT", limit=2)
        assert [row["id"] for row in newest] == [19, 20]


async def test_a_list_begins_at_the_oldest_trade_that_is_kept():
    async with opened(*(trade(number) for number in range(1, 1_001)), history=100) as client:
        rows = await client.get("historicalTrades", symbol="BTCUSDT", fromId=1, limit=2)
        assert [row["id"] for row in rows] == [901, 902]
        assert len(await client.get("trades", symbol="BTCUSDT", limit=1_000)) == 100


async def test_historical_trades_can_be_missing_as_on_the_data_only_host():
    async with opened(historical_trades=False) as client:
        status, _, _ = await client.ask("historicalTrades", symbol="BTCUSDT")
        assert status == 404


async def test_api_keys():
    async with opened(api_keys=("good",), api_key_required=True) as client:
        key = "X-MBX-APIKEY"
        for headers, expected in (({}, -2014), ({key: "bad"}, -2015)):
            status, _, body = await client.ask("historicalTrades", symbol="BTCUSDT", headers=headers)
            assert (status, body["code"]) == (401, expected)
        status, _, _ = await client.ask("historicalTrades", symbol="BTCUSDT", headers={key: "good"})
        assert status == 200


async def test_aggregates_join_trades_of_one_ms_price_and_side():
    events = [
        trade(11, 0, size=1), trade(12, 0, size=2), trade(13, 0, price=60_001), trade(14, 1, price=60_001),
        trade(15, 1, price=60_001, aggressor=Side.SELL), trade(16, 2),
    ]  # fmt: skip
    async with opened(*events) as client:
        rows = await client.get("aggTrades", symbol="BTCUSDT")
        assert [(row["f"], row["l"], row["q"]) for row in rows] == [
            (11, 12, "3.00000000"), (13, 13, "0.50000000"), (14, 14, "0.50000000"), (15, 15, "0.50000000"),
        ]  # fmt: skip
        assert [row["a"] for row in rows] == [6, 7, 8, 9]  # ids of their own
        assert [row["m"] for row in rows] == [False, False, False, True]
        client.feed.end()
        await client.sandbox.playing
        assert len(await client.get("aggTrades", symbol="BTCUSDT")) == 5


async def test_aggregates_by_id_and_by_time():
    async with opened(*(trade(number, 10 * number) for number in range(100, 120))) as client:
        ids = [row["a"] for row in await client.get("aggTrades", symbol="BTCUSDT", fromId=55, limit=2)]
        assert ids == [55, 56]
        rows = await client.get(
            "aggTrades", symbol="BTCUSDT", startTime=START_MS + 1_050, endTime=START_MS + 1_070
        )
        assert [row["f"] for row in rows] == [105, 106, 107]
        assert await client.get("aggTrades", symbol="BTCUSDT", startTime=START_MS, endTime=1) == []
        assert (await client.refusal("aggTrades", symbol="BTCUSDT", fromId=1, startTime=1)) == (400, -1128)


async def test_prints_that_the_feed_has_aggregated_are_served_as_they_are():
    async with opened(trade(5, first_match_id=50, last_match_id=52)) as client:
        (row,) = await client.get("aggTrades", symbol="BTCUSDT")
        assert (row["a"], row["f"], row["l"]) == (5, 50, 52)
        assert await client.get("trades", symbol="BTCUSDT") == []
        (kline,) = await client.get("klines", symbol="BTCUSDT", interval="1m")
        assert kline[8] == 3


async def test_klines_have_12_columns_and_no_hole():
    second = 1_000
    events = [
        trade(1, 0, 60_000, 1), trade(2, second, 60_010, 2, aggressor=Side.SELL),
        trade(3, 2 * second, 59_990, 1), trade(4, 150 * second, 60_005, 1),
    ]  # fmt: skip
    async with opened(*events) as client:
        minutes = await client.get("klines", symbol="BTCUSDT", interval="1m")
        first = START_MS // 60_000 * 60_000
        assert minutes[0] == [
            first, "60000.00000000", "60010.00000000", "59990.00000000", "59990.00000000", "4.00000000",
            first + 59_999, "240010.00000000", 3, "2.00000000", "119990.00000000", "0",
        ]  # fmt: skip
        assert [row[0] for row in minutes] == [first + 60_000 * number for number in range(len(minutes))]
        assert minutes[1][1:6] == ["59990.00000000"] * 4 + ["0.00000000"]  # nobody traded
        seconds = await client.get("klines", symbol="BTCUSDT", interval="1s", startTime=START_MS, limit=3)
        assert [row[8] for row in seconds] == [1, 1, 1]
        (month,) = await client.get("klines", symbol="BTCUSDT", interval="1M")
        assert month[8] == 4


@pytest.mark.parametrize(
    "interval",
    ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"],
)
async def test_every_interval_of_binance_is_there(interval):
    async with opened(trade(1)) as client:
        (row,) = await client.get("klines", symbol="BTCUSDT", interval=interval)
        assert row[0] <= START_MS <= row[6]


async def test_best_prices_of_one_or_of_all():
    async with opened(snapshot(7)) as client:
        best = {
            "symbol": "BTCUSDT", "bidPrice": "59000.00000000", "bidQty": "1.50000000",
            "askPrice": "61000.00000000", "askQty": "2.00000000",
        }  # fmt: skip
        assert await client.get("ticker/bookTicker", symbol="BTCUSDT") == best
        assert await client.get("ticker/bookTicker") == [best]
        assert await client.get("ticker/bookTicker", symbols='["BTCUSDT"]') == [best]


async def test_times_in_microseconds():
    async with opened(trade(1, 5)) as client:
        headers = {"X-MBX-TIME-UNIT": "MICROSECOND"}
        _, _, trades = await client.ask("trades", symbol="BTCUSDT", headers=headers)
        assert trades[0]["time"] == (START_MS + 5) * 1_000
        _, _, klines = await client.ask("klines", symbol="BTCUSDT", interval="1s", headers=headers)
        assert klines[0][6] - klines[0][0] == 999_999


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("depth", {"symbol": "XXXUSDT"}, -1121),
        ("depth", {"symbol": "btc/usdt"}, -1100),
        ("depth", {}, -1102),
        ("depth", {"symbol": ""}, -1102),
        ("depth", {"symbol": "BTCUSDT", "limit": ""}, -1105),
        ("depth", {"symbol": "BTCUSDT", "limit": "ten"}, -1100),
        ("depth", {"symbol": "BTCUSDT", "limit": 0}, -1130),
        ("trades", {"symbol": "BTCUSDT", "colour": "red"}, -1104),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "2m"}, -1120),
        ("exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
        ("historicalTrades", {"symbol": "BTCUSDT", "fromId": -1}, -1100),
    ],
)
async def test_a_mistake_is_answered_with_its_code(path, params, code):
    async with opened(snapshot(7), trade(1)) as client:
        assert await client.refusal(path, **params) == (400, code)


async def test_an_unknown_path_is_404():
    async with opened() as client:
        status, _, _ = await client.ask("account")
        assert status == 404


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("ping", {}, 1), ("time", {}, 1), ("exchangeInfo", {}, 20),
        ("depth", {}, 5), ("depth", {"limit": 100}, 5), ("depth", {"limit": 500}, 25),
        ("depth", {"limit": 1_000}, 50), ("depth", {"limit": 5_000}, 250), ("trades", {}, 25),
        ("historicalTrades", {}, 25), ("aggTrades", {}, 4), ("klines", {"interval": "1m"}, 2),
        ("ticker/bookTicker", {}, 2), ("ticker/bookTicker", {"symbols": '["BTCUSDT"]'}, 4),
    ],
)  # fmt: skip
async def test_every_answer_says_what_was_used(path, params, weight):
    async with opened(snapshot(7)) as client:
        if path not in {"ping", "time", "exchangeInfo"} and "symbols" not in params:
            params = {"symbol": "BTCUSDT"} | params
        status, headers, _ = await client.ask(path, **params)
        assert status == 200
        assert headers["X-MBX-USED-WEIGHT"] == headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


async def test_too_much_weight_is_429_and_going_on_is_a_ban():
    # A window of a day: the test does not end in another one than it began in, but for once a day.
    async with opened(weight_limit=50, weight_window_s=86_400, patience=2, ban_s=77) as client:
        answers = [await client.ask("exchangeInfo") for _ in range(6)]
        assert [status for status, _, _ in answers] == [200, 200, 429, 429, 418, 418]
        assert all(body["code"] == -1003 for _, _, body in answers[2:])
        assert int(answers[2][1]["Retry-After"]) <= 86_400
        assert int(answers[4][1]["Retry-After"]) == 77
        assert (await client.ask("/sandbox/status"))[0] == 200  # nobody is kept from looking
