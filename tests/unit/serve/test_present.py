"""Ranges that reach the present, what is fetched, and what is kept in the cache."""

import asyncio

import msgspec
import pytest

from asking import NOW, Asking, asking
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.application.ports import LiveUnavailable, StoreUnavailable
from binance_proxy.application.serve.failures import AWAY, CODES, failure_of
from binance_proxy.application.serve.sources import REMEMBERED, SLACK_NS, VERSION
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.instrument import Instrument, Market
from ticks_made import ETH, MIDNIGHT, MS, snapshot, trade
from unit.serve.test_trades import ids

METHODS = {
    "trades.list": {},
    "candles.list": {"timeframe": "1m"},
    "gaps.list": {},
    "stats.vwap": {"start": MIDNIGHT},
}
PRESENT = [pytest.param(method, params, id=method) for method, params in METHODS.items()]


def calls(asked: Asking, what: str = "catch_up") -> list:
    return [how for name, how in asked.live.asked if name == what]


@pytest.mark.parametrize(("method", "params"), PRESENT)
async def test_what_was_recorded_before_the_question_is_in_the_answer(method, params):
    asked = await asking([trade(1)])
    asked.live.waiting = [trade(2, 5)]
    found = await asked.ask(method, symbol="ETH/USDT", **params)
    assert found["stored"] is True
    assert len(calls(asked)) == 1
    if method == "trades.list":
        assert ids(found) == [1, 2]


@pytest.mark.parametrize(("method", "params"), PRESENT)
async def test_it_waits_for_half_of_the_time_that_is_left(method, params):
    asked = await asking([trade(1)])
    await asked.ask(method, 3.0, symbol="ETH/USDT", **params)
    ((_, limit_s),) = calls(asked)
    assert limit_s == pytest.approx(1.5)


@pytest.mark.parametrize(("method", "params"), PRESENT)
@pytest.mark.parametrize("how", ["is_slow", "is_away"])
async def test_an_answer_says_that_the_newest_may_be_missing(method, params, how):
    asked = await asking([trade(1)])
    setattr(asked.live, how, True)
    found = await asked.ask(method, symbol="ETH/USDT", **params)
    assert found["stored"] is False


PAST = {"symbol": "ETH/USDT", "start": MIDNIGHT, "end": MIDNIGHT + 60_000 * MS}


@pytest.mark.parametrize("hours", [-24, 0, 24 * 365])
async def test_nothing_that_waits_is_missing_whatever_time_it_is_here(hours):
    asked = await asking([trade(1)], clock=ManualClock(NOW + hours * 3_600 * SECOND_NS, auto=False))
    asked.live.newest = lambda: MIDNIGHT + 5 * MS
    for number in (2, 3):
        asked.live.waiting = [trade(number, number)]
        found = await asked.ask("trades.list", fresh=True, **PAST)
        assert (ids(found), found["stored"]) == ([*range(1, number + 1)], True)


async def test_a_late_trade_that_waits_is_not_missing_in_the_past():
    asked = await asking([trade(1), trade(3, 3)])
    await asked.ask("trades.list", **PAST)
    asked.live.waiting = [trade(2, 2)]
    assert ids(await asked.ask("trades.list", **PAST | {"limit": 5})) == [1, 2, 3]


@pytest.mark.parametrize("newest", [0, PAST["end"], PAST["end"] + SLACK_NS - 1])
async def test_what_the_recording_is_not_past_is_kept_for_a_moment_only(newest):
    asked = await asking([trade(1)], clock=ManualClock(NOW + 3_600 * SECOND_NS * 24 * 365, auto=False))
    asked.live.newest = lambda: newest
    first = await asked.ask("trades.list", **PAST)
    asked.clock.advance(SECOND_NS)
    asked.live.waiting = [trade(2, 2)]
    again = await asked.ask("trades.list", **PAST)
    assert (ids(first), ids(again)) == ([1], [1, 2])


async def test_what_is_not_recorded_any_more_is_past_by_our_clock():
    asked = await asking([trade(1)])
    asked.live.newest = lambda: None
    first = await asked.ask("trades.list", **PAST)
    asked.clock.advance(9 * SECOND_NS)
    assert await asked.ask("trades.list", **PAST) == first


async def test_the_average_of_the_last_seconds_has_what_the_venues_clock_has_reached():
    asked = await asking([trade(1)])
    ahead = trade(2, 3_600_000 + 700)
    asked.live.waiting, asked.live.newest = [ahead], lambda: ahead.ts_event
    for params in ({"window_s": 5}, {"start": NOW - SECOND_NS}):
        assert (await asked.ask("stats.vwap", symbol="ETH/USDT", **params))["trades"] == 1


async def test_what_was_not_stored_is_asked_for_until_it_is():
    asked = await asking([trade(1)])
    asked.live.is_slow = True
    past = {"symbol": "ETH/USDT", "start": MIDNIGHT, "end": NOW - SLACK_NS}
    assert (await asked.ask("trades.list", **past))["stored"] is False
    asked.live.is_slow = False
    asked.clock.advance(SECOND_NS)  # and not after half a minute
    assert (await asked.ask("trades.list", **past))["stored"] is True


async def test_trades_that_are_not_stored_are_fetched_and_the_answer_says_how_many():
    asked = await asking([trade(1), trade(4, 40)])
    asked.live.at_venue = [trade(2, 20), trade(3, 30), trade(9, 9_000)]
    end = MIDNIGHT + 1_000 * MS
    found = await asked.ask("trades.list", symbol="ETH/USDT", start=MIDNIGHT, end=end, fetch=True)
    assert (ids(found), found["fetched"], found["holes"]) == ([1, 2, 3, 4], 2, [])
    assert "not_fetched" not in found
    assert calls(asked)[0][0] == (MIDNIGHT, end)


@pytest.mark.parametrize(("method", "params"), PRESENT[:2])
async def test_whoever_asks_again_for_the_rest_gets_it(method, params):
    asked = await asking([trade(1)])
    question = {
        "symbol": "ETH/USDT",
        "start": MIDNIGHT,
        "end": MIDNIGHT + 60_000 * MS,
        "fetch": True,
        **params,
    }
    asked.live.fetch_ends = "enough for one question"
    for number in (2, 3):  # the venue gives a part each time
        asked.live.at_venue = [trade(number, number)]
        assert (await asked.ask(method, **question))["fetched"] == 1
    asked.live.fetch_ends = None
    asked.live.at_venue = [trade(4, 4)]
    whole = await asked.ask(method, **question)
    assert (whole["fetched"], await asked.ask(method, **question)) == (1, whole)  # and nobody fetches again


async def test_candles_are_made_of_fetched_trades_of_whole_periods():
    asked = await asking([trade(1, 60_000)])
    asked.live.at_venue = [trade(2, 61_000), trade(3, 119_000)]
    found = await asked.ask(
        "candles.list",
        symbol="ETH/USDT",
        timeframe="1m",
        start=MIDNIGHT,
        end=MIDNIGHT + 60_001 * MS,
        fetch=True,
    )
    assert [row["trades"] for row in found["rows"]] == [3]
    assert calls(asked)[0][0] == (MIDNIGHT, MIDNIGHT + 120_000 * MS)


@pytest.mark.parametrize(("how", "why"), [("is_slow", "it takes too long"), ("is_away", "does not answer")])
async def test_what_could_not_be_fetched_is_said(how, why):
    asked = await asking([trade(1)])
    setattr(asked.live, how, True)
    found = await asked.ask("trades.list", symbol="ETH/USDT", start=MIDNIGHT, fetch=True)
    assert (ids(found), found["fetched"], found["stored"]) == ([1], 0, False)
    assert why in found["not_fetched"]


@pytest.mark.parametrize(("method", "params"), PRESENT[:2])
async def test_of_the_future_nothing_is_fetched(method, params):
    asked = await asking([trade(1)])
    found = await asked.ask(method, symbol="ETH/USDT", start=NOW + 3_600 * SECOND_NS, fetch=True, **params)
    assert (found["rows"], found["fetched"], found["stored"]) == ([], 0, True)
    assert calls(asked)[0][0] is None


async def test_only_the_first_page_fetches():
    asked = await asking([trade(number, number) for number in range(5)])
    await asked.pages("trades.list", symbol="ETH/USDT", start=MIDNIGHT, limit=2, fetch=True)
    assert [fetch is not None for fetch, _ in calls(asked)] == [True, False, False]


@pytest.mark.parametrize(("method", "params"), PRESENT)
async def test_an_answer_is_kept_for_a_second_and_says_of_when_it_is(method, params):
    asked = await asking([trade(1)])
    first = await asked.ask(method, symbol="ETH/USDT", **params)
    asked.clock.advance(SECOND_NS - MS)
    assert await asked.ask(method, symbol="ETH/USDT", **params) == first
    asked.clock.advance(MS)
    again = await asked.ask(method, symbol="ETH/USDT", **params)
    assert (first["as_of"], again["as_of"]) == (NOW, NOW + SECOND_NS)


async def test_one_about_the_past_is_kept_longer():
    asked = await asking([trade(1)])
    past = {"symbol": "ETH/USDT", "start": MIDNIGHT, "end": NOW - SLACK_NS}
    for wait_s, as_of in ((9, NOW), (1, NOW + 10 * SECOND_NS)):
        await asked.ask("trades.list", **past)
        asked.clock.advance(wait_s * SECOND_NS)
        assert (await asked.ask("trades.list", **past))["as_of"] == as_of


async def test_a_fresh_one_goes_past_the_cache_and_is_kept_for_others():
    asked = await asking([trade(1)])
    await asked.ask("trades.list", symbol="ETH/USDT")
    await asked.store.append([trade(2, 2)])
    assert ids(await asked.ask("trades.list", symbol="ETH/USDT")) == [1]
    assert ids(await asked.ask("trades.list", symbol="ETH/USDT", fresh=True)) == [1, 2]
    assert ids(await asked.ask("trades.list", symbol="ETH/USDT")) == [1, 2]


async def test_many_who_ask_at_once_are_answered_by_one():
    asked = await asking([trade(1)])
    found = await asyncio.gather(*(asked.ask("trades.list", symbol="ethusdt") for _ in range(50)))
    assert len(calls(asked)) == 1
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\x00",
        VERSION,
        VERSION + b"\xc1",
        VERSION + msgspec.msgpack.encode({"rows": 1}),
        b"1\x80",
        b"{}",
    ],
)
@pytest.mark.parametrize(("method", "params"), PRESENT)
async def test_what_is_kept_and_cannot_be_read_is_passed_over(method, params, wrong):
    asked = await asking([trade(1)])
    right = await asked.ask(method, symbol="ETH/USDT", **params)
    (key,) = asked.cache._kept
    await asked.cache.put(key, wrong, 60.0)
    assert await asked.ask(method, symbol="ETH/USDT", **params) == right
    assert await asked.cache.get(key) != wrong


async def test_what_was_read_of_the_cache_is_remembered_until_something_else_is_kept():
    asked = await asking([trade(number, number) for number in range(40)])
    sources = asked.answers._sources
    questions = [{"symbol": "ETH/USDT", "limit": limit} for limit in range(1, 31)]
    first = [await asked.ask("trades.list", **one) for one in questions]
    for _ in range(2):
        assert [await asked.ask("trades.list", **one) for one in questions] == first
    assert len(sources._read) == REMEMBERED
    await asked.store.append([trade(99, 99)])
    await asked.ask("trades.list", **questions[29], fresh=True)
    assert ids(await asked.ask("trades.list", **questions[29]))[-1] == 99


async def test_more_rows_than_are_kept_are_worked_out_each_time():
    asked = await asking([trade(1)])
    await asked.ask("trades.list", symbol="ETH/USDT", limit=20_000, accept="arrow")
    assert not asked.cache._kept


@pytest.mark.parametrize("error", [StoreUnavailable("the store is away"), LiveUnavailable("it is away")])
async def test_what_is_away_may_be_asked_again(error):
    failure = failure_of(error)
    assert (failure.code, failure.retry, failure.kind) == (AWAY, True, type(error).__name__)


def test_every_class_has_one_code():
    for kind, code, _ in CODES:
        assert not [
            other for other, its, _ in CODES if other is not kind and issubclass(kind, other) and its != code
        ]


def test_what_was_not_raised_on_purpose_is_not_told():
    assert failure_of(KeyError("secret")) is None


async def test_a_live_book_needs_no_store_once_the_instrument_is_known():
    asked = await asking([trade(1)])
    asked.live.books[ETH.name] = snapshot(1)
    right = await asked.ask("stats.spread", symbol="ETH/USDT")

    async def away():
        raise StoreUnavailable("the store is away")

    asked.registry.instruments = away
    asked.clock.advance(3_600 * SECOND_NS)
    assert await asked.ask("stats.spread", symbol="ETH/USDT") == right
    with pytest.raises(StoreUnavailable):
        await asked.ask("stats.spread", symbol="BTC/USDT")


async def test_who_is_prepared_needs_no_store_for_the_first_live_book_either():
    asked = await asking([trade(1)])
    asked.live.books[ETH.name] = snapshot(1)
    await asked.answers.prepare()

    async def away():
        raise StoreUnavailable("the store is away")

    asked.registry.instruments = away
    asked.clock.advance(3_600 * SECOND_NS)
    assert (await asked.ask("stats.spread", symbol="ETH/USDT"))["bid"]
    with pytest.raises(StoreUnavailable):
        await asked.answers.prepare()


async def test_a_new_instrument_is_known_at_once():
    asked = await asking([trade(1)])
    await asked.ask("trades.list", symbol="ETH/USDT")
    sol = Instrument(venue="binance", market=Market.SPOT, symbol="SOL/USDT")
    await asked.store.append([trade(1, instrument=sol)])
    assert ids(await asked.ask("trades.list", symbol="SOL/USDT")) == [1]


async def test_the_recording_is_needed_for_its_status():
    asked = await asking([])
    assert (await asked.ask("bridge.status"))["protocol"] == "1"
    asked.live.is_away = True
    with pytest.raises(LiveUnavailable):
        await asked.ask("bridge.status")


async def test_what_was_published_since():
    asked = await asking([])
    for number in range(1, 1_203):
        asked.live.publisher.publish(trade(number))
    topic, first = "binance.spot.ethusdt.trades", {}
    first = await asked.ask("topics.since", topic=topic, epoch="e1", sequence=1)
    assert (first["epoch"], first["sequence"], first["more"], len(first["messages"])) == (
        "e1",
        1_202,
        True,
        1_000,
    )
    rest = await asked.ask(
        "topics.since", topic=topic, epoch="e1", sequence=first["messages"][-1]["sequence"]
    )
    assert (rest["more"], [body["trade_id"] for body in rest["messages"]]) == (
        False,
        list(range(1_002, 1_203)),
    )
    over = await asked.ask("topics.since", topic=topic, epoch="e0", sequence=1)
    assert (over["messages"], over["more"]) == (None, False)
