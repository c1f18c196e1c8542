"""What a recording answers costs it little: in short turns, and no more than so much."""

import asyncio

import pytest

from binance_proxy.application import live as live_module
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.live import FetchSettings
from contract.live import (
    ETH,
    FOREVER_S,
    MS,
    NOW,
    TRADES,
    SlowHistory,
    World,
    recorded,
    trade,
    until,
)

EVERYTHING = (NOW, NOW + 1_000 * MS)
PAST = [trade(number) for number in range(1, 101)]


async def test_a_feed_without_history_says_so() -> None:
    async with recorded(World()) as live:
        found = await live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S)
    assert (found.stored, found.fetched) == (True, 0)
    assert found.not_fetched == "the feed has no history to fetch from"


async def test_no_more_is_fetched_for_one_question_than_it_may_and_the_next_goes_on() -> None:
    world = World(SlowHistory(PAST))
    async with recorded(world, FetchSettings(most_trades=30)) as live:
        for stored in (30, 60, 90):
            found = await live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S)
            assert found.fetched == 30
            assert found.not_fetched == "30 trades are enough for one question; ask again for more"
            assert len(await world.kept()) == stored
        found = await live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S)
        assert (found.fetched, found.not_fetched) == (10, None)
        assert [one.trade_id for one in await world.kept()] == list(range(1, 101))


async def test_a_fetch_takes_no_longer_than_it_may() -> None:
    world = World(SlowHistory(PAST))
    world.history.gate.clear()
    async with recorded(world, FetchSettings(most_s=0.1)) as live:
        found = await live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S)
        assert found.not_fetched == "it took longer than 0.1 s; ask again for the rest"
        world.history.gate.set()
        assert (await live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S)).fetched == 100


async def test_only_so_many_ranges_wait_and_they_are_fetched_one_after_the_other() -> None:
    world = World(SlowHistory(PAST))
    world.history.gate.clear()
    async with recorded(world, FetchSettings(waiting=3)) as live:
        asking = [
            asyncio.create_task(live.catch_up(ETH, (NOW, NOW + last * MS), limit_s=FOREVER_S))
            for last in (20, 40, 60)
        ]
        await until(lambda: world.history.asked)
        refused = await live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S)
        assert refused.not_fetched == "too many ranges are being fetched; try again later"
        assert world.history.asked == 1
        world.history.gate.set()
        answers = await asyncio.gather(*asking)
        assert [one.fetched for one in answers] == [19, 20, 20]
        assert (await live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S)).fetched == 41


async def test_the_end_does_not_wait_for_what_is_being_fetched() -> None:
    world = World(SlowHistory(PAST))
    world.history.gate.clear()
    async with recorded(world) as live:
        asking = asyncio.create_task(live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S))
        await until(lambda: world.history.asked)
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_an_unexpected_error_of_a_fetch_is_told_and_the_recording_goes_on() -> None:
    world = World(SlowHistory(PAST))

    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    world.history.ids = broken
    async with recorded(world) as live:
        found = await live.catch_up(ETH, EVERYTHING, limit_s=FOREVER_S)
        assert found.not_fetched == "the fetch failed: RuntimeError"
        await world.give(trade(1))
        assert (await live.catch_up(ETH, limit_s=FOREVER_S)).stored


async def test_others_get_their_turns_while_lost_messages_are_made_again() -> None:
    world = World()
    async with recorded(world) as live:
        await world.give(*(trade(number) for number in range(1, 501)))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        found = await live.since(TRADES, "e1", 0)
        counting.cancel()
    assert len(found.messages or ()) == 500
    assert turns >= 500 // live_module.PIECE - 1


async def test_messages_that_are_let_go_meanwhile_are_left_out_without_a_hole() -> None:
    world = World()
    async with recorded(world) as live:
        await world.give(*(trade(number) for number in range(1, 201)))
        asking = asyncio.create_task(live.since(TRADES, "e1", 0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number in range(201, 5_501):
            world.publisher.publish(trade(number))
        found = await asking
    assert 0 < len(found.messages or ()) < 200
    assert [body["sequence"] for body in found.messages or ()] == list(
        range(1, len(found.messages or ()) + 1)
    )


async def test_who_waits_for_the_store_does_not_wait_for_a_batch_to_fill() -> None:
    world = World(settings=RecordSettings(batch_age_s=1_000.0))
    async with recorded(world) as live:
        for number in range(1, 4):
            await world.give(trade(number))
            assert (await live.catch_up(ETH, limit_s=FOREVER_S / 2)).stored
        assert len(await world.kept()) == 3
