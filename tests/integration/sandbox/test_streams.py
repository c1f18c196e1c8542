"""The streams of the sandbox print what Binance's print."""

import pytest

from binance_proxy.domain.tick import Side
from sandboxed import MS, START, opened, quote, snapshot, trade

START_MS = START // MS


async def test_trade():
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@trade")
        await client.feed.tell(trade(1, 3, aggressor=Side.SELL))
        assert await socket.json() == {
            "e": "trade", "E": START_MS + 3, "s": "BTCUSDT", "t": 1, "p": "60000.00000000",
            "q": "0.50000000", "T": START_MS + 3, "m": True, "M": True,
        }  # fmt: skip


async def test_agg_trade_comes_once_it_is_complete():
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@aggTrade")
        await client.feed.tell(trade(10, 0), trade(11, 0), quote(1, ms=5))
        assert await socket.json() == {
            "e": "aggTrade", "E": START_MS, "s": "BTCUSDT", "a": 6, "p": "60000.00000000",
            "q": "1.00000000", "f": 10, "l": 11, "T": START_MS, "m": False, "M": True,
        }  # fmt: skip


async def test_aggregated_prints_of_the_feed_are_no_trades():
    async with opened() as client:
        socket = await client.connect("/stream?streams=btcusdt@trade/btcusdt@aggTrade")
        await client.feed.tell(
            trade(5, first_match_id=50, last_match_id=52), trade(6, first_match_id=53, last_match_id=53)
        )
        first, second = await socket.jsons(2)
        assert first["stream"] == second["stream"] == "btcusdt@aggTrade"
        assert (first["data"]["a"], first["data"]["f"], first["data"]["l"]) == (5, 50, 52)


async def test_every_update_of_the_feed_is_one_depth_event():
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@depth@100ms")
        await client.feed.tell(
            quote(1, 3, 0, bids=[(59_000, 0), (58_000, 1)]), quote(4, ms=1, asks=[(61_000, 2)])
        )
        assert await socket.jsons(2) == [
            {
                "e": "depthUpdate", "E": START_MS, "s": "BTCUSDT", "U": 1, "u": 3,
                "b": [["59000.00000000", "0.00000000"], ["58000.00000000", "1.00000000"]], "a": [],
            },
            {
                "e": "depthUpdate", "E": START_MS + 1, "s": "BTCUSDT", "U": 4, "u": 4,
                "b": [], "a": [["61000.00000000", "2.00000000"]],
            },
        ]  # fmt: skip


async def test_slow_depth_merges_the_updates_of_a_second():
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@depth")
        await client.feed.tell(
            quote(1, 2, 0, bids=[(59_000, 1)]),
            quote(3, 4, 100, bids=[(59_000, 0)], asks=[(61_000, 1)]),
            quote(5, 6, 1_000),
        )
        event = await socket.json()
        assert (event["U"], event["u"], event["E"]) == (1, 4, START_MS + 100)
        assert event["b"] == [["59000.00000000", "0.00000000"]]
        client.feed.end()
        assert (await socket.json())["u"] == 6  # what waited comes at the end


@pytest.mark.parametrize("levels", [5, 10, 20])
async def test_partial_depth_is_the_best_of_the_book(levels):
    bids = [(59_000 - number, 1) for number in range(30)]
    async with opened(snapshot(7, bids)) as client:
        fast = await client.connect(f"/ws/btcusdt@depth{levels}@100ms")
        slow = await client.connect(f"/ws/btcusdt@depth{levels}")
        await client.feed.tell(
            *(quote(8 + number, ms=50 * number, bids=[(59_500, 1)]) for number in range(30))
        )
        events = await fast.jsons(3)
        assert [event["lastUpdateId"] for event in events] == [8, 10, 12]  # at most every 100 ms
        assert [event["lastUpdateId"] for event in await slow.jsons(2)] == [8, 28]
        assert len(events[0]["bids"]) == levels
        assert events[0]["bids"][0] == ["59500.00000000", "1.00000000"]
        assert set(events[0]) == {"lastUpdateId", "bids", "asks"}


async def test_book_ticker_comes_when_the_best_prices_change():
    async with opened(snapshot(7)) as client:
        socket = await client.connect("/ws/btcusdt@bookTicker")
        await client.feed.tell(
            quote(8, bids=[(58_000, 1)]), quote(9, bids=[(57_000, 1)]), quote(10, bids=[(59_001, 3)])
        )
        first, second = await socket.jsons(2)
        assert (first["u"], first["b"]) == (8, "59000.00000000")
        assert second == {
            "u": 10, "s": "BTCUSDT", "b": "59001.00000000", "B": "3.00000000", "a": "61000.00000000",
            "A": "2.00000000",
        }  # fmt: skip


async def test_kline_comes_every_two_seconds_and_at_its_end():
    async with opened(trade(1, 0)) as client:
        socket = await client.connect("/ws/btcusdt@kline_1m")
        await client.feed.tell(*(trade(number, 1_000 * number) for number in range(2, 60)))
        klines = [event["k"] for event in await socket.jsons(24)]
        end = START_MS // 60_000 * 60_000 + 60_000
        (closed,) = [kline for kline in klines if kline["x"]]
        assert (closed["t"], closed["T"]) == (end - 60_000, end - 1)
        assert closed["f"] == 1
        assert closed["n"] == closed["L"]  # ids rise by one, and trade 1 was there before the subscription
        assert [kline["n"] for kline in klines[:3]] == [2, 4, 6]


async def test_an_update_closes_a_kline_too():
    async with opened(trade(1)) as client:
        socket = await client.connect("/ws/btcusdt@kline_1s")
        await client.feed.tell(quote(1, ms=2_000))
        assert (await socket.json())["k"]["x"]


async def test_names_in_the_address_or_by_message_raw_or_combined():
    event = {"e": "trade", "t": 1}
    async with opened() as client:
        raw = [
            await client.connect("/ws/btcusdt@bookTicker/btcusdt@trade"),
            await client.connect("/ws"),
            await client.connect("/ws/7"),
        ]
        named = [
            await client.connect("/stream?streams=btcusdt@trade/btcusdt@bookTicker"),
            await client.connect("/stream"),
            await client.connect("/stream/7"),
        ]
        for socket in (*raw[1:], *named[1:]):
            assert await socket.ask("SUBSCRIBE", ["btcusdt@trade"]) == {"result": None, "id": 1}
        await client.feed.tell(trade(1))
        for socket in raw:
            assert event.items() <= (await socket.json()).items()
        for socket in named:
            message = await socket.json()
            assert message["stream"] == "btcusdt@trade"
            assert event.items() <= message["data"].items()


async def test_times_in_microseconds():
    async with opened() as client:
        socket = await client.connect("/stream?streams=btcusdt@trade&timeUnit=MICROSECOND")
        await client.feed.tell(trade(1))
        assert (await socket.json())["data"]["T"] == START_MS * 1_000


async def test_requests_about_subscriptions():
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@trade")
        assert await socket.ask("SUBSCRIBE", ["btcusdt@depth", "nonesuch@trade"], "x") == {
            "result": None,
            "id": "x",
        }
        names = ["btcusdt@trade", "btcusdt@depth", "nonesuch@trade"]
        assert await socket.ask("LIST_SUBSCRIPTIONS") == {"result": names, "id": 1}
        assert (await socket.ask("UNSUBSCRIBE", ["btcusdt@trade"]))["result"] is None
        await client.feed.tell(trade(1), quote(1), quote(2, ms=1_000))
        assert (await socket.json())["e"] == "depthUpdate"


async def test_the_form_of_a_connection_can_be_changed():
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@trade")
        assert (await socket.ask("GET_PROPERTY", ["combined"]))["result"] is False
        assert (await socket.ask("SET_PROPERTY", ["combined", True])) == {"result": None, "id": 1}
        await client.feed.tell(trade(1))
        assert (await socket.json())["stream"] == "btcusdt@trade"
        assert (await socket.ask("GET_PROPERTY", ["combined"]))["result"] is True


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ('{"id":1}', 2),
        ('{"method":"DANCE","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[7],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@nonesuch"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@kline_2m"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":{}}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":-1}', 2),
        (f'{{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":{2**70}}}', 2),
        ("[" * 100_000, 3),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0),
    ],
)
async def test_a_bad_request_is_answered_with_an_error_and_harms_nothing(text, code):
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@trade")
        await socket.raw.send_str(text)
        assert (await socket.json())["error"]["code"] == code
        await client.feed.tell(trade(1))
        assert (await socket.json())["t"] == 1


async def test_all_subscribers_get_the_same_frames():
    async with opened() as client:
        sockets = [await client.connect("/ws/btcusdt@trade") for _ in range(5)]
        await client.feed.tell(*(trade(number) for number in range(100)))
        for socket in sockets:
            assert [event["t"] for event in await socket.jsons(100)] == list(range(100))


async def test_the_end_of_the_feed_leaves_sockets_and_rest_as_they_are():
    async with opened(snapshot(7)) as client:
        socket = await client.connect("/ws/btcusdt@trade")
        await client.feed.tell(trade(1))
        client.feed.end()
        await client.sandbox.playing
        assert (await socket.json())["t"] == 1
        assert (await socket.ask("LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@trade"]
        assert (await client.get("/sandbox/status"))["ended"]
        assert (await client.get("depth", symbol="BTCUSDT"))["lastUpdateId"] == 7
