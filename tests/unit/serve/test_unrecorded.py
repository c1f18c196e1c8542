"""What was not recorded is named: before the first tick, between two runs, behind the end, or all of it."""

import pytest
from msgspec.structs import replace

from asking import NOW, Asking, asking, told, unrecorded
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Stream
from ticks_made import ETH, MIDNIGHT, MS, trade

SIMULATED = replace(ETH, venue="simulated")
OTHER = replace(ETH, venue="kraken")
FIRST, SECOND = MIDNIGHT // 1_000, MIDNIGHT // 1_000 + 3_600_000_000
S, MINUTE = 1_000, 60_000
"""In ms."""


def at(ms: int) -> int:
    return MIDNIGHT + ms * MS


async def two_runs() -> Asking:
    """Answers over a run from 1 to 2 minutes behind midnight, and another from 10 to 11."""
    return await asking(
        [
            trade(first + number, begun + number * 10 * S, instrument=SIMULATED)
            for first, begun in ((FIRST, MINUTE), (SECOND, 10 * MINUTE))
            for number in range(7)
        ]
    )


WITH_START = [
    ("trades.list", {}),
    ("candles.list", {"timeframe": "1m"}),
    ("candles.list", {"timeframe": "1s"}),
]
BETWEEN = (at(2 * MINUTE), at(10 * MINUTE))


@pytest.mark.parametrize("limit", [1, 2, 7, 8, 100])
@pytest.mark.parametrize(("method", "params"), WITH_START)
async def test_each_time_is_told_once_over_all_pages(method, params, limit):
    asked = await two_runs()
    pages = await asked.pages(method, symbol="ETH/USDT", start=MIDNIGHT, limit=limit, **params)
    assert unrecorded(pages) == [(MIDNIGHT, at(MINUTE)), BETWEEN]
    pages = await asked.pages(method, symbol="ETH/USDT", start=at(MINUTE), limit=limit, **params)
    assert unrecorded(pages) == [BETWEEN]


async def test_it_lies_on_the_page_that_has_the_tick_behind_it():
    asked = await two_runs()
    pages = await asked.pages("trades.list", symbol="ETH/USDT", start=MIDNIGHT, limit=7)
    assert [unrecorded([page]) for page in pages] == [[(MIDNIGHT, at(MINUTE))], [BETWEEN]]


@pytest.mark.parametrize(("method", "params"), [*WITH_START, ("stats.vwap", {})])
@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, MINUTE, [(0, MINUTE)]),
        (3 * MINUTE, 4 * MINUTE, [(3 * MINUTE, 4 * MINUTE)]),
        (90 * S, 9 * MINUTE, [(2 * MINUTE, 9 * MINUTE)]),
        (9 * MINUTE, 11 * MINUTE, [(9 * MINUTE, 10 * MINUTE)]),
        (MINUTE, 2 * MINUTE, []),
        (10 * MINUTE, 30 * MINUTE, []),
    ],
)
async def test_a_range_that_was_not_recorded_is_not_answered_as_whole(method, params, start, end, expected):
    asked = await two_runs()
    found = await asked.ask(method, symbol="ETH/USDT", start=at(start), end=at(end), **params)
    assert unrecorded([found]) == [(at(first), at(last)) for first, last in expected]


@pytest.mark.parametrize(("method", "params"), WITH_START[:2])
async def test_the_newest_have_nothing_unrecorded_before_the_first(method, params):
    asked = await two_runs()
    for limit, expected in ((1, []), (3, []), (1_000, [BETWEEN])):
        found = await asked.ask(method, symbol="ETH/USDT", limit=limit, **params)
        if method == "trades.list" or limit != 3:
            assert unrecorded([found]) == expected


@pytest.mark.parametrize(("method", "params"), [*WITH_START, ("stats.vwap", {})])
async def test_what_is_not_recorded_any_more_has_an_end(method, params):
    asked = await two_runs()
    end = at(11 * MINUTE)
    for newest, expected in ((None, [(end, NOW)]), (end, [])):
        asked.live.newest = lambda newest=newest: newest
        start = at(10 * MINUTE)
        found = await asked.ask(method, symbol="ETH/USDT", start=start, **params | {"fresh": True})
        assert unrecorded([found]) == expected
    asked.live.is_away = True  # nobody can say
    assert unrecorded([await asked.ask(method, symbol="ETH/USDT", start=start, fresh=True, **params)]) == []


async def test_what_is_numbered_through_is_named_by_ids_alone():
    asked = await asking([trade(1, 0), trade(9, MINUTE)])
    pages = await asked.pages("trades.list", symbol="ETH/USDT", start=MIDNIGHT, limit=1)
    assert (told(pages), unrecorded(pages)) == ([(2, 8)], [])


async def test_where_trades_have_no_numbers_a_hole_in_the_book_tells():
    def gap(first: int, last: int) -> Gap:
        return Gap(
            instrument=OTHER, ts_event=at(last), ts_recv=at(last), stream=Stream.ORDERBOOK,
            first_id=first + 1, last_id=last, start=at(first), end=at(last), state=GapState.LOST,
        )  # fmt: skip

    events = [trade(number * 7, number * 10 * S, instrument=OTHER) for number in range(10)]
    asked = await asking([*events, gap(31 * S, 38 * S), gap(41 * S, 62 * S)])
    pages = await asked.pages("trades.list", symbol="ETH/USDT", start=MIDNIGHT, limit=2)
    assert unrecorded(pages) == [(at(31 * S), at(38 * S))]
    found = await asked.ask("stats.vwap", symbol="ETH/USDT", start=at(35 * S), end=at(37 * S))
    assert unrecorded([found]) == [(at(35 * S), at(37 * S))]


async def test_what_is_fetched_is_not_called_unrecorded_any_more():
    asked = await two_runs()
    question = {"symbol": "ETH/USDT", "timeframe": "1m", "start": at(MINUTE)}
    await asked.ask("candles.list", **question)
    step = (SECOND - FIRST - 7) // 5_000
    asked.live.at_venue = [
        trade(FIRST + 7 + number * step, 2 * MINUTE + number * 90, instrument=SIMULATED)
        for number in range(5_001)
    ]
    found = await asked.ask("candles.list", fetch=True, **question)
    assert (found["fetched"], unrecorded([found])) == (5_001, [])
