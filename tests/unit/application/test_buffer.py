"""What is put in comes out once, in order, in batches, and a full queue asks its reader to wait."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_proxy.application.buffer import StoreBuffer, weight
from contract.market_store import gap, quote, snapshot, trade

LONG_S = 3_600.0
"""No test waits so long: what it takes to fill a batch must not be waited for."""


async def settle() -> None:
    """Let every other task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("event", "heavy"), [(trade(1), 1), (gap(1), 1), (quote(1), 4), (snapshot(1), 5), (quote(1, bids=()), 2)]
)
async def test_an_event_weighs_one_and_each_of_its_levels_too(event, heavy):
    assert weight(event) == heavy
    for limit, full in ((heavy, True), (heavy + 1, False)):
        buffer = StoreBuffer(limit=limit, batch=100)
        buffer.put(event)
        assert (len(buffer), buffer.is_full) == (1, full)
        assert list(await buffer.take(0)) == [event]
        assert (len(buffer), buffer.is_full) == (0, False)


async def test_a_batch_is_as_heavy_as_asked_for_or_a_little_more():
    buffer = StoreBuffer(limit=1_000, batch=8)  # a quote weighs 4
    for number in range(5):
        buffer.put(quote(number))
    buffer.put(snapshot(5))
    assert [len(await buffer.take(LONG_S)) for _ in range(3)] == [2, 2, 2]


async def test_a_full_batch_does_not_wait():
    buffer = StoreBuffer(limit=1_000, batch=10)
    for number in range(15):
        buffer.put(trade(number))
    assert len(await asyncio.wait_for(buffer.take(LONG_S), 5)) == 10


async def test_a_batch_that_is_not_full_waits_for_more_until_it_is_old_enough():
    buffer = StoreBuffer(limit=1_000, batch=10)
    buffer.put(trade(1))
    taking = asyncio.ensure_future(buffer.take(0.02))
    await settle()
    buffer.put(trade(2))
    assert not taking.done()
    assert list(await taking) == [trade(1), trade(2)]


async def test_a_batch_that_gets_full_does_not_wait_any_longer():
    buffer = StoreBuffer(limit=1_000, batch=3)
    taking = asyncio.ensure_future(buffer.take(LONG_S))
    for number in range(3):
        await settle()
        assert not taking.done()
        buffer.put(trade(number))
    assert len(await asyncio.wait_for(taking, 5)) == 3


async def test_a_batch_that_is_asked_for_does_not_wait_any_longer():
    buffer = StoreBuffer(limit=100, batch=10)
    buffer.put(trade(1))
    taking = asyncio.ensure_future(buffer.take(LONG_S))
    await settle()
    assert not taking.done()
    buffer.release()
    assert list(await asyncio.wait_for(taking, 5)) == [trade(1)]


async def test_to_ask_for_a_batch_gives_none_that_is_empty():
    buffer = StoreBuffer(limit=100, batch=10)
    taking = asyncio.ensure_future(buffer.take(0))
    await settle()
    buffer.release()
    await settle()
    assert not taking.done()
    buffer.put(trade(1))
    assert list(await asyncio.wait_for(taking, 5)) == [trade(1)]


async def test_a_taker_waits_for_the_first_event():
    buffer = StoreBuffer(limit=1_000, batch=1)
    taking = asyncio.ensure_future(buffer.take(LONG_S))
    await settle()
    assert not taking.done()
    buffer.put(trade(1))
    assert list(await asyncio.wait_for(taking, 5)) == [trade(1)]


async def test_a_full_queue_still_takes_what_is_put_and_asks_to_wait():
    buffer = StoreBuffer(limit=3, batch=1)
    for number in range(3):
        assert not buffer.is_full
        buffer.put(trade(number))
    assert buffer.is_full
    buffer.put(trade(3))
    waiting = asyncio.ensure_future(buffer.room())
    await settle()
    assert not waiting.done()
    await buffer.take(0)
    await settle()
    assert not waiting.done()  # 3 of 3 is full
    await buffer.take(0)
    await asyncio.wait_for(waiting, 5)
    assert not buffer.is_full


async def test_a_queue_that_is_smaller_than_a_batch_is_emptied_all_the_same():
    buffer = StoreBuffer(limit=2, batch=100)
    buffer.put(trade(1))
    buffer.put(trade(2))
    waiting = asyncio.ensure_future(buffer.room())
    assert len(await buffer.take(0)) == 2
    await asyncio.wait_for(waiting, 5)


async def test_room_is_there_at_once_if_it_is():
    await asyncio.wait_for(StoreBuffer(limit=1, batch=1).room(), 5)


async def test_after_the_end_takers_get_the_rest_and_then_nothing():
    buffer = StoreBuffer(limit=100, batch=3)
    for number in range(5):
        buffer.put(trade(number))
    buffer.close()
    assert [event.trade_id for event in await buffer.take(LONG_S)] == [0, 1, 2]
    assert [event.trade_id for event in await buffer.take(LONG_S)] == [3, 4]
    for _ in range(3):
        assert list(await buffer.take(LONG_S)) == []


async def test_the_end_wakes_every_taker_that_waits():
    buffer = StoreBuffer(limit=100, batch=3)
    takers = [asyncio.ensure_future(buffer.take(LONG_S)) for _ in range(3)]
    await settle()
    buffer.put(trade(1))
    await settle()  # now they wait for a batch to fill
    buffer.close()
    batches = await asyncio.wait_for(asyncio.gather(*takers), 5)
    assert sorted(map(len, batches)) == [0, 0, 1]


async def test_a_taker_that_is_never_first_waits_on():
    buffer = StoreBuffer(limit=100, batch=1)
    slow = asyncio.ensure_future(buffer.take(LONG_S))
    for number in range(3_000):
        await asyncio.sleep(0)
        buffer.put(trade(number))
        await buffer.take(LONG_S)  # takes it before the other one has woken up
    assert not slow.done()
    buffer.put(trade(1))
    assert list(await asyncio.wait_for(slow, 5)) == [trade(1)]


async def test_a_taker_that_comes_away_with_nothing_waits_on():
    buffer = StoreBuffer(limit=100, batch=3)
    buffer.put(trade(0))
    fast, slow = (asyncio.ensure_future(buffer.take(LONG_S)) for _ in range(2))
    await settle()
    for number in (1, 2):
        buffer.put(trade(number))
    await settle()
    assert len(await fast) == 3
    assert not slow.done()
    buffer.close()
    assert list(await asyncio.wait_for(slow, 5)) == []


async def test_a_taker_that_is_cancelled_takes_nothing_with_it():
    buffer = StoreBuffer(limit=100, batch=10)
    buffer.put(trade(1))
    taking = asyncio.ensure_future(buffer.take(LONG_S))
    await settle()
    taking.cancel()
    await settle()
    assert taking.cancelled()
    assert list(await buffer.take(0)) == [trade(1)]


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=20),
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(1, 4),
)
@settings(max_examples=60)
def test_everything_comes_out_once_and_in_order_whoever_takes_it(bursts, batch, limit, takers):
    async def play() -> None:
        buffer = StoreBuffer(limit=limit, batch=batch)
        taken: list[int] = []

        async def take() -> None:
            while events := await buffer.take(0.0):
                taken.extend(event.trade_id for event in events)
                assert len(events) <= batch
                await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(take()) for _ in range(takers)]
        number = 0
        for burst in bursts:
            for _ in range(burst):
                buffer.put(trade(number))
                number += 1
                if buffer.is_full:
                    await buffer.room()
                    assert len(buffer) < limit
            await asyncio.sleep(0)
        buffer.close()
        await asyncio.gather(*tasks)
        assert taken == list(range(number))
        assert (len(buffer), buffer.is_full) == (0, False)

    asyncio.run(play())
