"""What Binance's answers are turned into, and which answers are not believed."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from binance_proxy.adapters.binance.history import INTERVALS, REFUSED_S, BinanceHistory
from binance_proxy.adapters.binance.rest import PAGE, BinanceRest
from binance_proxy.adapters.binance.transport import Answer
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.application.ports import HistoryRejected, HistoryUnavailable
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.instrument import Market
from contract.exchange_history import FOREVER, candles_of, past, plain, trades_of
from contract.market_store import ETH, MS
from rest_venue import RestVenue
from scripted import ETH as LISTED
from scripted import ScriptedTransport, answer, ok
from warp import warp

US = 1_000
IN_US = replace(ETH, time_resolution_ns=US)
ROW = {"id": 7, "price": "1.50", "qty": "2", "time": 1_700_000_000_123, "isBuyerMaker": True}


def history_of(say: Any, **listed: object) -> tuple[BinanceHistory, ScriptedTransport]:
    listing = LISTED if not listed else type(LISTED)(symbol=LISTED.symbol, code=LISTED.code, trading=True,
                                                     tick_size=None, step_size=None, **listed)  # fmt: skip
    transport = ScriptedTransport(say, listings=[[listing]])
    return BinanceHistory(BinanceRest(transport, WeightLimiter(limit=10**9)), ManualClock(99)), transport


async def test_a_single_trade_is_what_the_streams_say_of_it() -> None:
    history, _ = history_of([ok([ROW])])
    (pages,) = [page async for page in history.trades(ETH, 7, 7)]
    (trade,) = pages
    assert (trade.trade_id, trade.price, trade.size) == (7, 150_000_000, 200_000_000)
    assert (trade.ts_event, trade.ts_recv, trade.aggressor.value) == (1_700_000_000_123 * MS, 99, "sell")
    assert trade.first_match_id is None


@pytest.mark.parametrize(
    ("time", "instrument", "ts_event"),
    [
        (1_700_000_000_123, ETH, 1_700_000_000_123 * MS),
        (1_700_000_000_123_456, ETH, 1_700_000_000_123 * MS),
        (1_700_000_000_123_456, IN_US, 1_700_000_000_123_456 * US),
        (1_700_000_000_123, IN_US, None),
    ],
)
async def test_times_are_told_by_magnitude_and_never_stored_too_coarse(
    time: int, instrument: Any, ts_event: int | None
) -> None:
    history, _ = history_of([ok([ROW | {"time": time}])])
    if ts_event is None:
        with pytest.raises(HistoryRejected, match="recorded in µs, and a trade with a time in ms"):
            await trades_of(history, 7, 7, instrument)
    else:
        assert [one.ts_event for one in await trades_of(history, 7, 7, instrument)] == [ts_event]


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([ROW | {"id": 8}, ROW | {"id": 7}], HistoryUnavailable),
        ([ROW, ROW], HistoryUnavailable),
        ([ROW | {"price": "0"}], HistoryUnavailable),
        ([ROW | {"qty": "0.0"}], HistoryUnavailable),
        ([ROW | {"qty": "0.123456789"}], HistoryRejected),
        ([ROW | {"price": "abc"}], HistoryRejected),
        ([ROW | {"id": "7"}], HistoryUnavailable),
        ([ROW | {"id": 1_700}, ROW | {"id": 1_699}], HistoryUnavailable),
        ({"some": "object"}, HistoryUnavailable),
    ],
)
async def test_nothing_of_a_page_is_used_that_cannot_be_true(rows: Any, kind: type[Exception]) -> None:
    history, _ = history_of([ok(rows)])
    with pytest.raises(kind):
        await trades_of(history, 7, 2_000)


async def test_a_page_from_before_what_was_asked_for_is_not_believed() -> None:
    history, _ = history_of([ok([ROW | {"id": 999}])])
    with pytest.raises(HistoryUnavailable, match="from 1000 on and began at 999"):
        await trades_of(history, 1_500, 1_600)


@pytest.mark.parametrize(
    "row",
    [{"f": 7, "l": 6}, {"a": 2}, {"p": "0"}, {"T": 0}],
    ids=str,
)
async def test_an_aggregated_trade_that_cannot_be_true_is_not_believed(row: Mapping[str, object]) -> None:
    good = {"a": 5, "p": "1", "q": "2", "f": 5, "l": 6, "T": 1_700_000_000_000, "m": True}
    venue = RestVenue([], gives_single_trades=False)

    def say(path: str, parameters: Mapping[str, str]) -> Answer:
        if path != "/api/v3/aggTrades":
            return venue(path, parameters)
        return ok([good, good | {"a": 6, "f": 7, "l": 9} | row])

    with pytest.raises(HistoryUnavailable):
        await trades_of(history_of(say)[0], 7, 8)


async def test_holes_near_each_other_are_filled_from_one_page() -> None:
    everything = past(*range(900, 4_000))
    history, transport = history_of(RestVenue(everything))
    for first, last in ((1_001, 1_002), (1_500, 1_501), (1_990, 1_999)):
        assert await trades_of(history, first, last) == plain(everything[first - 900 : last - 899])
    assert [parameters["fromId"] for _, parameters in transport.asked] == ["1000"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/v3/historicalTrades", lambda one: trades_of(one, 1_500, 1_502)),
        ("/api/v3/aggTrades", lambda one: trades_of(one, 1_500, 1_502)),
        ("/api/v3/klines", lambda one: candles_of(one, timeframe="1s")),
    ],
    ids=["single", "aggregated", "candles"],
)
async def test_a_page_that_was_wrong_once_is_asked_for_again(path: str, method: Any) -> None:
    """A full page is kept; one that is wrong would else be given again for ever."""
    venue = RestVenue(past(*range(9_000)), gives_single_trades="agg" not in path)
    spoiled = []

    def say(asked: str, parameters: Mapping[str, str]) -> Answer:
        said = venue(asked, parameters)
        if asked != path or spoiled or parameters["limit"] == "1":
            return said
        rows = json.loads(said.body)
        spoiled.append(rows)
        for row in rows:
            if isinstance(row, dict):
                row |= {"qty": "0", "q": "0"}
            else:
                row[5] = "-1"
        return ok(rows)

    history, _ = history_of(say)
    with pytest.raises((HistoryUnavailable, HistoryRejected)):
        await method(history)
    assert len(spoiled) == 1
    assert await method(history)


@pytest.mark.parametrize("gives_single_trades", [True, False])
async def test_rows_that_nobody_wants_may_be_impossible(gives_single_trades: bool) -> None:
    everything = past(*range(900, 4_000))
    venue = RestVenue(everything, gives_single_trades=gives_single_trades)

    def say(path: str, parameters: Mapping[str, str]) -> Answer:
        said = venue(path, parameters)
        if said.status != 200:
            return said
        rows = json.loads(said.body)
        for row in rows:
            if row.get("id", row.get("f")) not in range(1_400, 1_600):
                row |= {"qty": "0", "q": "0"}
        return ok(rows)

    found = await trades_of(history_of(say)[0], 1_500, 1_510)
    assert found
    if gives_single_trades:
        assert found == plain(everything[600:611])


def test_single_trades_that_were_refused_are_asked_for_again_after_an_hour() -> None:
    async def work() -> None:
        venue = RestVenue(past(*range(900, 9_000)), gives_single_trades=False)
        history, transport = history_of(venue)
        await trades_of(history, 5_000, 5_002)
        await asyncio.sleep(REFUSED_S - 10)
        venue.gives_single_trades = True
        assert plain(await trades_of(history, 5_000, 5_002)) != plain(past(5_000, 5_001, 5_002))
        await asyncio.sleep(20)
        assert await trades_of(history, 5_000, 5_002) == plain(past(5_000, 5_001, 5_002))
        singles = [path for path, _ in transport.asked if path.endswith("historicalTrades")]
        assert len(singles) == 2

    warp(work())


async def test_the_way_to_aggregated_trades_is_remembered() -> None:
    history, transport = history_of(RestVenue(past(*range(900, 9_000)), gives_single_trades=False))
    await trades_of(history, 5_000, 5_000)
    asked = len(transport.asked)
    await trades_of(history, 5_001, 5_002)
    singles = [path for path, _ in transport.asked if path.endswith("historicalTrades")]
    assert len(singles) == 1  # the refusal holds for a while
    assert len(transport.asked) - asked <= 2


async def test_single_trades_that_are_refused_halfway_are_not_counted_twice() -> None:
    everything = past(*range(3_000))
    singles, aggregates = RestVenue(everything), RestVenue(everything, gives_single_trades=False)

    def say(path: str, parameters: Mapping[str, str]) -> Answer:
        return (singles if parameters.get("fromId") == "0" else aggregates)(path, parameters)

    found = await trades_of(history_of(say)[0], 0, 2_999)
    assert found[:PAGE] == plain(everything[:PAGE])
    # 999, 1000 and 1001 are of one moment; the first came by itself.
    assert found[PAGE].first_match_id == 1_002


async def test_ids_of_the_newest_trades_need_one_question() -> None:
    history, transport = history_of(RestVenue(past(*range(5_000, 9_000))))
    at = past(8_500)[0].ts_event
    assert await history.ids(ETH, at, 2**62) == (8_499, 8_999)
    assert [path for path, _ in transport.asked] == ["/api/v3/trades"]


async def test_nothing_is_asked_about_times_to_come() -> None:
    history, transport = history_of(RestVenue(past(*range(5_000, 9_000))))
    assert await history.ids(ETH, 2**61, 2**62) is None
    assert await history.ids(ETH, 0, 2**62) == (5_000, 8_999)
    assert all(int(parameters.get("startTime", 0)) < 10**13 for _, parameters in transport.asked)


async def test_an_answer_to_ids_that_is_empty() -> None:
    assert await history_of(RestVenue([]))[0].ids(ETH, *FOREVER) is None


async def test_another_market_or_venue_is_refused() -> None:
    history, transport = history_of(RestVenue(past(7)))
    with pytest.raises(HistoryRejected, match="only the past of spot pairs"):
        await history.ids(replace(ETH, market=Market.USDM), *FOREVER)
    made_up, _ = history_of(RestVenue(past(7)), venue="simulated")
    with pytest.raises(HistoryRejected, match="what is listed here is of simulated"):
        await made_up.ids(ETH, *FOREVER)
    assert transport.asked == []


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (answer(503, b""), HistoryUnavailable, "out of order"),
        (answer(429, b""), HistoryUnavailable, "left alone"),
        (answer(451, b""), HistoryRejected, r"data-api\.binance\.vision"),
        (answer(400, {"code": -1121, "msg": "Invalid symbol."}), HistoryRejected, "no pair ETHUSDT"),
    ],
    ids=["503", "429", "451", "-1121"],
)
async def test_refusals_are_passed_on_as_those_of_a_history(said: Answer, kind: type, words: str) -> None:
    for work in (
        lambda one: one.ids(ETH, *FOREVER),
        lambda one: trades_of(one, 7, 8),
        candles_of,
    ):
        with pytest.raises(kind, match=words) as caught:
            await work(history_of([said])[0])
        assert caught.value.__cause__ is not None


# Candles


@pytest.mark.parametrize("name", INTERVALS)
async def test_every_interval_is_a_timeframe(name: str) -> None:
    Timeframe(name)
    history, transport = history_of([ok([])])
    assert await candles_of(history, timeframe=name) == []
    assert transport.asked[0][1]["interval"] == name.replace("mo", "M")


async def test_sums_that_64_bits_do_not_hold() -> None:
    start = 1_700_000_040_000
    row = [
        start,
        "1",
        "1",
        "1",
        "1",
        "1" + "0" * 15,
        start + 59_999,
        "9" * 20 + ".12345678",
        5,
        "0",
        "0",
        "0",
    ]
    later = [start + 60_000, *row[1:6], start + 119_999, *row[7:]]
    (candle,) = await candles_of(history_of([ok([row, later])])[0])
    assert candle.volume == 10**23
    assert candle.quote_volume == int("9" * 20 + "12345678" + "0" * 8)


@pytest.mark.parametrize(
    "rows",
    [
        lambda row: [row, row],
        lambda row: [row, [row[0] - 60_000, *row[1:]]],
        lambda row: [[row[0] + 1, *row[1:]]],
        lambda row: [[*row[:5], "-1", *row[6:]]],
        lambda row: [row[:6]],
    ],
    ids=["twice", "backwards", "between two periods", "negative", "short"],
)
async def test_candles_that_cannot_be_true_are_not_believed(rows: Any) -> None:
    start = 1_700_000_040_000
    row = [start, "1", "1", "1", "1", "1", start + 59_999, "1", 5, "0", "0", "0"]
    with pytest.raises((HistoryUnavailable, HistoryRejected)):
        await candles_of(history_of([ok(rows(row))])[0], start * MS)
