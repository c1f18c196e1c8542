"""Questions to Binance: asked once, paid for, read strictly; and every refusal says what to do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from binance_proxy.adapters.binance.kept import KeptAnswers
from binance_proxy.adapters.binance.refusals import SingleTradesRefused
from binance_proxy.adapters.binance.rest import BinanceRest
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.application.ports import FeedRejected, FeedUnavailable
from scripted import ETH, ScriptedTransport, answer, ok
from warp import warp

TRADE = {"id": 7, "price": "1.50", "qty": "2", "quoteQty": "3", "time": 1_700_000_000_000,
         "isBuyerMaker": True, "isBestMatch": True}  # fmt: skip
KLINE = [1_700_000_000_000, "1", "2", "0.5", "1.5", "10", 1_700_000_059_999, "15", 3, "5", "7.5", "0"]

CALLS: dict[str, Callable[[BinanceRest], Awaitable[Any]]] = {
    "depth": lambda rest: rest.depth("ETHUSDT", 100),
    "newest": lambda rest: rest.newest_trades("ETHUSDT"),
    "historical": lambda rest: rest.historical_trades("ETHUSDT", 7),
    "aggregated": lambda rest: rest.aggregated_trades("ETHUSDT", from_id=7),
    "klines": lambda rest: rest.klines("ETHUSDT", "1m", 0, 1),
}


class Scale(WeightLimiter):
    """A limiter that writes down what it was asked and told."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []
        self.urgent: list[int] = []
        self.told: list[int] = []

    async def take(self, weight: int, *, urgent: bool = False) -> None:
        self.taken.append(weight)
        self.urgent += [weight] * urgent
        await super().take(weight, urgent=urgent)

    def answered(self, status: int, headers: Any) -> None:
        self.told.append(status)
        super().answered(status, headers)


def rest_of(*script: Any) -> tuple[BinanceRest, ScriptedTransport, Scale]:
    transport, scale = ScriptedTransport(script), Scale()
    return BinanceRest(transport, scale), transport, scale


# What is asked, and what it weighs


@pytest.mark.parametrize(
    ("limit", "weight"), [(5, 5), (100, 5), (101, 25), (500, 25), (1_000, 50), (1_001, 250), (5_000, 250)]
)
def test_depth_is_the_raw_answer_and_weighs_by_its_levels(limit: int, weight: int) -> None:
    rest, transport, scale = rest_of(ok({"lastUpdateId": 1, "bids": [], "asks": [["1", "2"]]}))
    assert warp(rest.depth("ETHUSDT", limit)) == b'{"lastUpdateId": 1, "bids": [], "asks": [["1", "2"]]}'
    assert transport.asked == [("/api/v3/depth", {"symbol": "ETHUSDT", "limit": str(limit)})]
    assert (scale.taken, scale.told) == ([weight], [200])
    assert scale.urgent == [weight]


def test_single_trades() -> None:
    rest, transport, scale = rest_of(ok([TRADE]), ok([TRADE]))

    async def work() -> None:
        (past,) = await rest.historical_trades("ETHUSDT", 7, limit=500)
        assert (past.id, past.price, past.qty, past.time) == (7, "1.50", "2", 1_700_000_000_000)
        assert past.isBuyerMaker
        assert await rest.newest_trades("ETHUSDT", 10) == [past]

    warp(work())
    assert transport.asked == [
        ("/api/v3/historicalTrades", {"symbol": "ETHUSDT", "fromId": "7", "limit": "500"}),
        ("/api/v3/trades", {"symbol": "ETHUSDT", "limit": "10"}),
    ]
    assert scale.taken == [25, 25]
    assert scale.urgent == []


def test_aggregated_trades() -> None:
    row = {"a": 3, "p": "1", "q": "2", "f": 7, "l": 9, "T": 1_700_000_000_000, "m": False, "M": True}
    rest, transport, scale = rest_of(ok([row]), ok([]))

    async def work() -> None:
        (past,) = await rest.aggregated_trades("ETHUSDT", start_ms=5, end_ms=6)
        assert (past.a, past.f, past.l) == (3, 7, 9)
        assert await rest.aggregated_trades("ETHUSDT", from_id=4, limit=1) == []

    warp(work())
    assert [parameters for _, parameters in transport.asked] == [
        {"symbol": "ETHUSDT", "startTime": "5", "endTime": "6", "limit": "1000"},
        {"symbol": "ETHUSDT", "fromId": "4", "limit": "1"},
    ]
    assert scale.taken == [4, 4]


def test_klines() -> None:
    rest, transport, scale = rest_of(ok([KLINE]))
    (past,) = warp(rest.klines("ETHUSDT", "1m", 5, 6))
    assert (past.open_time, past.close, past.trades) == (1_700_000_000_000, "1.5", 3)
    assert transport.asked[0][1] == {
        "symbol": "ETHUSDT", "interval": "1m", "startTime": "5", "endTime": "6", "limit": "1000",
    }  # fmt: skip
    assert scale.taken == [2]


# One request for all who ask the same


def test_the_same_question_is_asked_once_while_it_is_on_its_way() -> None:
    async def work() -> None:
        rest, transport, scale = rest_of(ok([TRADE]), ok([]))
        first, second, other = await asyncio.gather(
            rest.newest_trades("ETHUSDT"), rest.newest_trades("ETHUSDT"), rest.newest_trades("ETHUSDT", 5)
        )
        assert first == second
        assert len(first) == 1
        assert other == []
        assert len(transport.asked) == len(scale.taken) == 2

    warp(work())


def test_all_who_asked_get_the_error_and_the_next_asks_again() -> None:
    async def work() -> None:
        rest, transport, _ = rest_of(answer(503, {}), ok([]))
        outcomes = await asyncio.gather(
            *(rest.newest_trades("ETHUSDT") for _ in range(3)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [FeedUnavailable] * 3
        assert await rest.newest_trades("ETHUSDT") == []
        assert len(transport.asked) == 2

    warp(work())


def test_one_who_is_cancelled_does_not_take_the_answer_from_the_others() -> None:
    async def work() -> None:
        rest, transport, _ = rest_of(ok([TRADE]))
        transport.hold.clear()
        tasks = [asyncio.create_task(rest.newest_trades("ETHUSDT")) for _ in range(3)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()  # it was this one that began to ask
        await asyncio.sleep(0.01)
        transport.hold.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert len(outcomes[1]) == len(outcomes[2]) == 1
        assert len(transport.asked) == 1

    warp(work())


def test_a_question_that_nobody_waits_for_any_more_is_given_up() -> None:
    async def work() -> None:
        rest, transport, _ = rest_of(ok([TRADE]))
        transport.hold.clear()
        task = asyncio.create_task(rest.newest_trades("ETHUSDT"))
        await asyncio.sleep(0.01)
        task.cancel()
        again = asyncio.create_task(rest.newest_trades("ETHUSDT"))
        await asyncio.sleep(0.01)
        transport.hold.set()
        assert len(await again) == 1
        assert len(transport.asked) == 2
        assert len(asyncio.all_tasks()) == 1

    warp(work())


# What is kept


def test_full_pages_of_the_past_are_kept_and_others_are_not() -> None:
    async def work() -> None:
        rest, transport, _ = rest_of(ok([TRADE]), ok([TRADE]), ok([TRADE]))
        for _ in range(3):
            assert len(await rest.historical_trades("ETHUSDT", 7, limit=1)) == 1
        assert len(transport.asked) == 1
        for _ in range(2):
            assert len(await rest.historical_trades("ETHUSDT", 7, limit=2)) == 1
        assert len(transport.asked) == 3

    warp(work())


def test_full_pages_of_candles_are_kept() -> None:
    async def work() -> None:
        rest, transport, _ = rest_of(*[ok([KLINE])] * 3)
        for _ in range(2):
            assert len(await rest.klines("ETHUSDT", "1m", 0, limit=1)) == 1
        assert len(transport.asked) == 1
        for _ in range(2):
            assert len(await rest.klines("ETHUSDT", "1m", 0)) == 1
        assert len(transport.asked) == 3

    warp(work())


@pytest.mark.parametrize("first", [6, 8])
def test_a_page_that_is_not_what_was_asked_for_is_not_kept(first: int) -> None:
    async def work() -> None:
        wrong = [TRADE | {"id": first}, TRADE | {"id": first + 1}]
        right = [TRADE, TRADE | {"id": 8}]
        rest, transport, _ = rest_of(ok(wrong), ok(right))
        found = [await rest.historical_trades("ETHUSDT", 7, limit=2) for _ in range(3)]
        assert [page[0].id for page in found] == [first, 7, 7]
        assert len(transport.asked) == 2

    warp(work())


def test_what_is_forgotten_is_asked_again_and_nothing_else() -> None:
    async def work() -> None:
        rest, transport, _ = rest_of(*[ok([TRADE])] * 3)
        for code in ("ETHUSDT", "SOLUSDT"):
            await rest.historical_trades(code, 7, limit=1)
        rest.forget("ETHUSDT")
        for code in ("ETHUSDT", "SOLUSDT"):
            await rest.historical_trades(code, 7, limit=1)
        assert [parameters["symbol"] for _, parameters in transport.asked] == [
            "ETHUSDT",
            "SOLUSDT",
            "ETHUSDT",
        ]

    warp(work())


def test_answers_are_kept_up_to_so_many_bytes_the_last_used_ones() -> None:
    kept = KeptAnswers(10)
    for name in ("a", "b", "c"):
        kept.put((name, ()), b"xxxx")
        kept.get(("a", ()))
    assert [kept.get((name, ())) for name in ("a", "b", "c")] == [b"xxxx", None, b"xxxx"]
    kept.put(("a", ()), b"y")
    assert kept.size == 5
    kept.put(("d", ()), b"z" * 11)
    assert kept.get(("d", ())) is None
    assert kept.size == 5
    kept.put(("e", (("symbol", "ETH"), ("limit", "1"))), b"zz")
    kept.drop(("symbol", "ETH"))
    assert kept.size == 5


# Listings


def test_listings_are_asked_once_an_hour() -> None:
    async def work() -> None:
        halted = structs.replace(ETH, trading=False, code="OLDETH")
        transport, scale = ScriptedTransport(listings=[[ETH, halted], []]), Scale()
        rest = BinanceRest(transport, scale)
        both = await asyncio.gather(rest.listings(), rest.listings())
        assert both == [{"ETH/USDT": ETH}] * 2
        assert await rest.listing("ETH/USDT") == ETH
        await asyncio.sleep(3_599)
        assert await rest.listings() == {"ETH/USDT": ETH}
        assert (transport.listed, scale.taken) == (1, [20])
        await asyncio.sleep(2)
        assert await rest.listings() == {}
        with pytest.raises(FeedRejected, match="no pair ETH/USDT on Binance spot"):
            await rest.listing("ETH/USDT")

    warp(work())


def test_a_failed_listing_is_not_kept() -> None:
    async def work() -> None:
        rest = BinanceRest(ScriptedTransport(listings=[FeedUnavailable("away"), [ETH]]), Scale())
        with pytest.raises(FeedUnavailable):
            await rest.listings()
        assert await rest.listings() == {"ETH/USDT": ETH}

    warp(work())


def test_where_no_new_listing_can_be_had_the_old_one_does(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        away = FeedUnavailable("exchangeInfo is down")
        transport, scale = ScriptedTransport(listings=[[ETH], away, away, []]), Scale()
        rest = BinanceRest(transport, scale)
        for listed, pause_s in ((1, 3_601), (2, 59), (2, 2), (3, 61)):
            assert await rest.listings() == {"ETH/USDT": ETH}
            assert transport.listed == listed
            await asyncio.sleep(pause_s)
        assert await rest.listings() == {}
        assert scale.urgent == [20] * 4

    warp(work())
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "exchangeInfo is down"
    ] * 2


# Refusals


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (FeedUnavailable("no route"), FeedUnavailable, "no route"),
        (answer(500, b"oops"), FeedUnavailable, "out of order"),
        (answer(503, {"code": -1008, "msg": "overloaded"}), FeedUnavailable, "-1008: overloaded"),
        (answer(400, {"code": -1001, "msg": "Internal error"}), FeedUnavailable, "out of order"),
        (answer(429, {"code": -1003, "msg": "Too many"}), FeedUnavailable, "left alone"),
        (answer(418, b""), FeedUnavailable, "left alone"),
        (answer(403, b"<html>forbidden"), FeedUnavailable, "<html>forbidden"),
        (answer(302, b""), FeedUnavailable, "302"),
        (answer(200, b"<html>log in to the WLAN"), FeedUnavailable, "no answer of Binance"),
        (answer(200, {"code": 0}), FeedUnavailable, "no answer of Binance"),
        (answer(200, b"["), FeedUnavailable, "no answer of Binance"),
        (answer(200, b"[" * 100_000), FeedUnavailable, "no answer of Binance"),
        (answer(200, [{"id": 1}]), FeedUnavailable, "no answer of Binance"),
        (answer(200, [[1]]), FeedUnavailable, "no answer of Binance"),
        (answer(200, b"\xff\xfe"), FeedUnavailable, "no answer of Binance"),
        (answer(451, {"code": 0, "msg": "restricted"}), FeedRejected, "data-api.binance.vision"),
        (answer(400, {"code": -1121, "msg": "Invalid symbol."}), FeedRejected, "no pair ETHUSDT"),
        (answer(400, {"code": -1022, "msg": "bad"}), FeedRejected, ""),
        (answer(400, {"code": -1100, "msg": "Illegal char."}), FeedRejected, "-1100: Illegal"),
    ],
    ids=lambda value: value.body[:40].decode(errors="replace") if hasattr(value, "body") else str(value)[:20],
)
def test_every_refusal_says_what_to_do(
    call: Callable[[BinanceRest], Any], said: Any, kind: type[Exception], words: str
) -> None:
    rest, _, scale = rest_of(said)
    with pytest.raises(kind, match=words or None) as caught:
        warp(call(rest))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert scale.told == ([] if isinstance(said, Exception) else [said.status])


@pytest.mark.parametrize(
    "said",
    [
        answer(401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}),
        answer(400, {"code": -2014, "msg": "API-key format invalid."}),
        answer(401, b""),
        answer(403, {"code": -2015, "msg": "no"}),
        answer(404, b"<html>"),
    ],
    ids=str,
)
def test_single_trades_of_the_past_may_be_refused_alone(said: Any) -> None:
    rest, _, _ = rest_of(said)
    with pytest.raises(SingleTradesRefused, match="single trades"):
        warp(rest.historical_trades("ETHUSDT", 1))
    rest, _, _ = rest_of(said)
    with pytest.raises(FeedRejected, match=r"feed\.binance\.(api_key|rest_url)") as caught:
        warp(rest.newest_trades("ETHUSDT"))
    assert not isinstance(caught.value, SingleTradesRefused)


def test_a_refusal_that_asks_for_silence_gets_it() -> None:
    async def work() -> float:
        rest, transport, _ = rest_of(answer(429, b"", retry_after="33"), ok([]))
        with pytest.raises(FeedUnavailable):
            await rest.newest_trades("ETHUSDT")
        await rest.newest_trades("ETHUSDT")
        return transport.times[1] - transport.times[0]

    assert warp(work()) == pytest.approx(33)
