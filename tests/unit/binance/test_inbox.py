"""The inbox is bounded by making its sources wait, and drops nothing."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.binance.inbox import Inbox
from warp import warp


class Source:
    def __init__(self) -> None:
        self.is_paused = False
        self.changes = 0

    def pause(self) -> None:
        self.is_paused = True
        self.changes += 1

    def resume(self) -> None:
        self.is_paused = False
        self.changes += 1


def take(inbox: Inbox, count: int) -> list[object]:
    return [inbox.take() for _ in range(count)]


def test_a_full_inbox_makes_its_sources_wait_until_half_of_it_is_read() -> None:
    inbox, first, second = Inbox(10), Source(), Source()
    inbox.attach(first)
    inbox.attach(second)
    for number in range(9):
        inbox.put(number)
    assert not first.is_paused
    inbox.put(9)
    assert first.is_paused
    assert second.is_paused
    assert inbox.is_paused
    take(inbox, 4)
    inbox.make_room()
    assert first.is_paused
    take(inbox, 1)
    inbox.make_room()
    assert [first.is_paused, second.is_paused, inbox.is_paused] == [False] * 3


def test_what_still_comes_while_the_sources_wait_is_kept_and_pauses_nobody_twice() -> None:
    inbox, source = Inbox(3), Source()
    inbox.attach(source)
    for number in range(8):
        inbox.put(number)
    assert source.changes == 1
    assert take(inbox, 8) == list(range(8))


def test_a_source_that_comes_while_the_others_wait_waits_too() -> None:
    inbox, late, gone = Inbox(1), Source(), Source()
    inbox.attach(gone)
    inbox.put("one")
    inbox.attach(late)
    assert late.is_paused
    inbox.detach(gone)
    inbox.detach(gone)
    inbox.take()
    inbox.make_room()
    assert not late.is_paused
    assert gone.changes == 1


def test_an_entry_may_come_in_the_moment_in_which_the_reader_is_cancelled() -> None:
    async def work() -> None:
        inbox = Inbox(10)
        waiting = asyncio.create_task(inbox.filled())
        await asyncio.sleep(0)
        waiting.cancel()
        inbox.put("one")
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        await inbox.filled()
        assert inbox.take() == "one"

    warp(work())


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 20))
def test_everything_comes_out_once_and_in_order(bursts: list[int], limit: int) -> None:
    async def work() -> None:
        inbox, source, read, put = Inbox(limit), Source(), [], 0
        inbox.attach(source)

        async def reader() -> None:
            while True:
                await inbox.filled()
                read.append(inbox.take())

        reading = asyncio.create_task(reader())
        for burst in bursts:
            for _ in range(burst):
                inbox.put(put)
                put += 1
            assert inbox.brought == put
            await asyncio.sleep(1)
            assert not source.is_paused  # all was read
        reading.cancel()
        assert read == list(range(put))

    warp(work())
