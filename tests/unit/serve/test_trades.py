"""Trades by pages: every row once, every hole once, whatever the pages are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asking import NOW, asking, told
from binance_proxy.application.serve.failures import Ambiguous, NothingStored, WrongParams
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from ticks_made import ETH, MIDNIGHT, MS, trade

SOON = MIDNIGHT + 10_000 * MS


def gap(first_id: int, last_id: int, start: int, end: int, state: GapState = GapState.LOST) -> Gap:
    at = [MIDNIGHT + ms * MS for ms in (start, end)]
    return Gap(
        instrument=ETH, ts_event=at[1], ts_recv=at[1], stream=Stream.TRADES, first_id=first_id,
        last_id=last_id, start=at[0], end=at[1], state=state,
    )  # fmt: skip


def ids(*pages: dict) -> list[int]:
    return [row["trade_id"] for page in pages for row in page["rows"]]


async def test_a_row_has_the_fields_of_the_wire():
    asked = await asking([trade(1, price=305_012, size=150_000)])
    page = await asked.ask("trades.list", symbol="ETH/USDT")
    assert page == {
        "rows": [
            {
                "venue": "binance", "market": "spot", "symbol": "ETH/USDT", "ts_event": MIDNIGHT,
                "ts_recv": MIDNIGHT + 7, "trade_id": 1, "price": "3050.12", "size": "1.5", "aggressor": "buy",
            }
        ],
        "next": None, "holes": [], "as_of": NOW, "stored": True,
    }  # fmt: skip


async def test_aggregated_and_off_book_prints_say_so():
    asked = await asking([trade(1, first_match_id=1, last_match_id=4, off_book=True)])
    (row,) = (await asked.ask("trades.list", symbol="ETH/USDT"))["rows"]
    assert (row["first_match_id"], row["last_match_id"], row["off_book"]) == (1, 4, True)


async def test_without_a_start_the_newest_come_oldest_first_and_no_page_follows():
    asked = await asking([trade(number, number) for number in range(1, 11)])
    page = await asked.ask("trades.list", symbol="ETH/USDT", limit=3)
    assert (ids(page), page["next"]) == ([8, 9, 10], None)
    earlier = await asked.ask("trades.list", symbol="ETH/USDT", limit=3, end=page["rows"][0]["ts_event"])
    assert ids(earlier) == [5, 6, 7]


async def test_a_range_is_half_open():
    asked = await asking([trade(number, number) for number in range(1, 11)])
    page = await asked.ask("trades.list", symbol="ETH/USDT", start=MIDNIGHT + 3 * MS, end=MIDNIGHT + 6 * MS)
    assert ids(page) == [3, 4, 5]


async def test_times_may_be_text():
    asked = await asking([trade(number, number * 500) for number in range(1, 11)])
    page = await asked.ask(
        "trades.list", symbol="ETH/USDT", start="2024-08-09T00:00:01.5Z", end="2024-08-09T02:00:03+02:00"
    )
    assert ids(page) == [3, 4, 5]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 100])
async def test_pages_have_every_row_once_also_where_many_have_the_same_time(limit):
    rng = random.Random(limit)
    at, events = 0, []
    for number in range(1, 51):
        at += rng.choice((0, 0, 0, 3))
        events.append(trade(number, at))
    asked = await asking(events)
    pages = await asked.pages("trades.list", symbol="ETH/USDT", start=MIDNIGHT, limit=limit)
    assert ids(*pages) == list(range(1, 51))
    assert all(len(page["rows"]) == limit for page in pages[:-1])
    assert pages[-1]["rows"]


async def test_a_cursor_stays_good_while_rows_come():
    asked = await asking([trade(number, number) for number in range(1, 6)])
    first = await asked.ask("trades.list", symbol="ETH/USDT", start=MIDNIGHT, limit=2)
    await asked.store.append([trade(number, number) for number in range(6, 9)])
    rest = await asked.pages("trades.list", symbol="ETH/USDT", start=MIDNIGHT, limit=2, cursor=first["next"])
    assert ids(first, *rest) == list(range(1, 9))


@given(
    there=st.lists(st.booleans(), min_size=2, max_size=40),
    shuffled=st.randoms(use_true_random=False),
    limit=st.integers(1, 12),
    at_once=st.booleans(),
)
async def test_pages_name_what_one_answer_names_each_hole_once(there, shuffled, limit, at_once):
    numbers = [number for number, is_there in enumerate(there, 1) if is_there]
    times = {number: number // 3 if at_once else number for number in numbers}
    for number in numbers:  # within a few ms, times do not rise with ids
        times[number] += shuffled.choice((0, 0, 0, 4)) if number != min(numbers) else 0
    missing = [
        number for number in range(min(numbers, default=1), max(numbers, default=0)) if not there[number - 1]
    ]
    asked = await asking([trade(1_000, 5_000), *(trade(number, at) for number, at in times.items())])
    params = {"symbol": "ETH/USDT", "start": MIDNIGHT, "end": MIDNIGHT + 4_000 * MS}
    pages = await asked.pages("trades.list", **params, limit=limit)
    assert sorted(ids(*pages)) == numbers
    named = [number for first, last in told(pages) for number in range(first, last + 1)]
    assert sorted(named) == missing
    (whole,) = await asked.pages("trades.list", **params)
    assert told([whole]) == sorted(told([whole]))
    assert sorted(number for first, last in told([whole]) for number in range(first, last + 1)) == missing


async def test_a_hole_between_two_pages_is_told_with_the_second():
    asked = await asking([trade(1, 1), trade(2, 2), trade(5, 5), trade(6, 6)])
    pages = await asked.pages("trades.list", symbol="ETH/USDT", start=MIDNIGHT, limit=2)
    assert [told([page]) for page in pages] == [[], [(3, 4)]]
    assert pages[1]["holes"][0] == {
        "stream": "trades", "first_id": 3, "last_id": 4, "start": MIDNIGHT + 2 * MS,
        "end": MIDNIGHT + 5 * MS, "state": "open",
    }  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9])
async def test_known_gaps_are_told_once_at_the_ends_too(limit):
    events = [
        trade(3, 3), trade(4, 4), trade(7, 7), trade(8, 8),
        gap(1, 2, 0, 3), gap(5, 6, 4, 7), gap(9, 12, 8, 20), gap(2, 2, 1, 2, GapState.REPAIRED),
    ]  # fmt: skip
    asked = await asking(events)
    pages = await asked.pages(
        "trades.list", symbol="ETH/USDT", start=MIDNIGHT + 2 * MS, end=MIDNIGHT + 15 * MS, limit=limit
    )
    assert sorted(told(pages)) == [(1, 2), (5, 6), (9, 12)]
    assert {hole["state"] for page in pages for hole in page["holes"]} == {"lost"}


async def test_an_empty_range_in_a_hole_says_so():
    asked = await asking([trade(1, 1), trade(9, 900), gap(2, 8, 1, 900, GapState.OPEN)])
    page = await asked.ask("trades.list", symbol="ETH/USDT", start=MIDNIGHT + 5 * MS, end=MIDNIGHT + 8 * MS)
    assert (page["rows"], told([page])) == ([], [(2, 8)])


async def test_an_id_that_stands_just_outside_is_not_missing():
    asked = await asking([trade(1, 1), trade(4, 2), trade(3, 3), trade(5, 4)])
    page = await asked.ask("trades.list", symbol="ETH/USDT", start=MIDNIGHT + 3 * MS)
    assert (ids(page), page["holes"]) == ([3, 5], [])
    page = await asked.ask("trades.list", symbol="ETH/USDT", start=MIDNIGHT, end=MIDNIGHT + 3 * MS)
    assert told([page]) == [(2, 2)]


async def test_venues_that_do_not_number_by_one_have_no_holes():
    kraken = Instrument(venue="kraken", market=Market.SPOT, symbol="ETH/USDT")
    asked = await asking([trade(1, 1, instrument=kraken), trade(90, 2, instrument=kraken)])
    assert (await asked.ask("trades.list", symbol="ETH/USDT"))["holes"] == []


@pytest.mark.parametrize("cursor", ["x", "AAAA", "*", "ä", "A" * 300, " "])
async def test_a_broken_cursor_is_refused(cursor):
    asked = await asking([trade(1)])
    with pytest.raises(WrongParams, match="cursor: it is broken or belongs to another question"):
        await asked.ask("trades.list", symbol="ETH/USDT", start=MIDNIGHT, cursor=cursor)


async def test_a_cursor_with_any_letter_changed_is_refused():
    asked = await asking([trade(number, number) for number in range(1, 6)])
    params = {"symbol": "ETH/USDT", "start": MIDNIGHT, "limit": 2}
    cursor = (await asked.ask("trades.list", **params))["next"]
    for at in range(len(cursor)):
        changed = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        with pytest.raises(WrongParams, match="cursor"):
            await asked.ask("trades.list", **params, cursor=changed)


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("trades.list", {"start": MIDNIGHT + 1}),
        ("trades.list", {"end": SOON}),
        ("trades.list", {"start": None}),
        ("trades.list", {"symbol": "SOL/USDT"}),
        ("gaps.list", {}),
        ("candles.list", {"timeframe": "1m"}),
    ],
)
async def test_a_cursor_of_another_question_is_refused(method, changed):
    sol = Instrument(venue="binance", market=Market.SPOT, symbol="SOL/USDT")
    asked = await asking([trade(number, number) for number in range(1, 6)] + [trade(1, instrument=sol)])
    params = {"symbol": "ETH/USDT", "start": MIDNIGHT, "limit": 2}
    cursor = (await asked.ask("trades.list", **params))["next"]
    with pytest.raises(WrongParams, match="cursor"):
        await asked.ask(method, **(params | changed), cursor=cursor)


async def test_what_was_never_recorded_is_named_with_what_is_there():
    asked = await asking([trade(1)])
    with pytest.raises(
        NothingStored, match=r"BTC/USDT was never recorded here; recorded: ETH/USDT \(binance"
    ):
        await asked.ask("trades.list", symbol="BTC/USDT")


async def test_a_pair_on_two_venues_has_to_be_told_apart():
    other = Instrument(venue="simulated", market=Market.SPOT, symbol="ETH/USDT")
    asked = await asking([trade(1), trade(2, instrument=other)])
    with pytest.raises(Ambiguous, match=r"recorded in 2 places.*: binance spot, simulated spot"):
        await asked.ask("trades.list", symbol="ETH/USDT")
    assert ids(await asked.ask("trades.list", symbol="ETH/USDT", venue="simulated")) == [2]
