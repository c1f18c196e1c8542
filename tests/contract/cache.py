"""What every cache promises: tests for each sentence of the `Cache` port.

A cache's own test file subclasses `CacheContract` and gives a `world`. A cache whose server is away keeps the
promises of `AwayContract`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from binance_proxy.application.ports import Cache

PATIENCE_S = 60.0
LONG_S = 3_600.0
"""So long that nothing kept for it is gone within a test."""

Make = Callable[[], Awaitable[bytes]]


class World(Protocol):
    """A cache as two processes of a bridge see it."""

    cache: Cache
    other: Cache
    """The same cache, opened by another process, if there can be one."""

    async def pass_time(self) -> None:
        """Let some time pass, at least a millisecond."""
        ...


class Maker:
    """Makes a value when it is told to, and counts how often it was asked."""

    def __init__(self, value: bytes = b"made") -> None:
        self.value = value
        self.asked = 0
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self) -> bytes:
        self.asked += 1
        self.began.set()
        await self.may_end.wait()
        return self.value


def at_once(value: bytes) -> Make:
    async def make() -> bytes:
        return value

    return make


async def failing() -> bytes:
    raise ZeroDivisionError


async def never_asked() -> bytes:
    raise AssertionError


async def a_few_turns() -> None:
    """Let what can run without the network run: who asked has asked."""
    for _ in range(20):
        await asyncio.sleep(0)


class OnceContract:
    """What holds whether the server is there or not."""

    @pytest.fixture
    async def world(self) -> World:
        raise NotImplementedError

    async def test_once_returns_what_it_made(self, world: World) -> None:
        assert await world.cache.once("k", LONG_S, at_once(b"\x00made\xff")) == b"\x00made\xff"

    async def test_of_many_who_ask_at_the_same_time_one_makes_it(self, world: World) -> None:
        maker = Maker()
        asked = [asyncio.create_task(world.cache.once("k", LONG_S, maker)) for _ in range(50)]
        await asyncio.wait_for(maker.began.wait(), PATIENCE_S)
        asked += [asyncio.create_task(world.cache.once("k", LONG_S, maker)) for _ in range(50)]
        await a_few_turns()
        maker.may_end.set()
        assert await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S) == [b"made"] * 100
        assert maker.asked == 1

    async def test_who_asks_for_something_else_does_not_wait(self, world: World) -> None:
        maker = Maker()
        asked = asyncio.create_task(world.cache.once("k", LONG_S, maker))
        await asyncio.wait_for(maker.began.wait(), PATIENCE_S)
        assert await world.cache.once("other", LONG_S, at_once(b"2")) == b"2"
        maker.may_end.set()
        assert await asked == b"made"

    async def test_the_error_of_a_maker_is_its_own_and_another_makes_it(self, world: World) -> None:
        may_fail, began = asyncio.Event(), asyncio.Event()

        async def fail() -> bytes:
            began.set()
            await may_fail.wait()
            raise ZeroDivisionError

        unlucky = asyncio.create_task(world.cache.once("k", LONG_S, fail))
        await asyncio.wait_for(began.wait(), PATIENCE_S)
        maker = Maker()
        maker.may_end.set()
        others = [asyncio.create_task(world.cache.once("k", LONG_S, maker)) for _ in range(10)]
        await a_few_turns()
        may_fail.set()
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(unlucky, PATIENCE_S)
        assert await asyncio.wait_for(asyncio.gather(*others), PATIENCE_S) == [b"made"] * 10
        assert maker.asked == 1

    async def test_everybody_who_fails_has_an_error_of_ones_own(self, world: World) -> None:
        asked = [world.cache.once("k", LONG_S, failing) for _ in range(5)]
        errors = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), PATIENCE_S)
        assert [type(error) for error in errors] == [ZeroDivisionError] * 5
        assert len(set(map(id, errors))) == 5
        assert await world.cache.once("k", LONG_S, at_once(b"2")) == b"2"

    async def test_a_maker_that_is_cancelled_hurts_nobody_else(self, world: World) -> None:
        cancelled, maker = Maker(), Maker()
        maker.may_end.set()
        first = asyncio.create_task(world.cache.once("k", LONG_S, cancelled))
        await asyncio.wait_for(cancelled.began.wait(), PATIENCE_S)
        others = [asyncio.create_task(world.cache.once("k", LONG_S, maker)) for _ in range(10)]
        await a_few_turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(asyncio.gather(*others), PATIENCE_S) == [b"made"] * 10
        assert maker.asked == 1

    async def test_one_who_waits_and_is_cancelled_hurts_nobody_else(self, world: World) -> None:
        maker = Maker()
        first = asyncio.create_task(world.cache.once("k", LONG_S, maker))
        await asyncio.wait_for(maker.began.wait(), PATIENCE_S)
        impatient, patient = (asyncio.create_task(world.cache.once("k", LONG_S, never_asked)) for _ in "12")
        await a_few_turns()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        maker.may_end.set()
        assert await asyncio.wait_for(asyncio.gather(first, patient), PATIENCE_S) == [b"made"] * 2

    async def test_cancelled_at_any_moment_it_goes_on_for_the_next(self, world: World) -> None:
        for turns in range(60):
            asked = asyncio.create_task(world.cache.once("k", LONG_S, Maker()))
            for _ in range(turns):
                await asyncio.sleep(0 if turns % 2 else 0.0001)
            asked.cancel()
            await asyncio.wait({asked})
        assert await asyncio.wait_for(world.cache.once("k", LONG_S, at_once(b"2")), PATIENCE_S) == b"2"

    async def test_who_asks_after_something_was_written_does_not_get_what_was_being_made(
        self, world: World
    ) -> None:
        for write in (world.cache.drop("k"), world.cache.put("k", b"written", LONG_S)):
            maker = Maker(b"old")
            before = asyncio.create_task(world.cache.once("k", LONG_S, maker))
            await asyncio.wait_for(maker.began.wait(), PATIENCE_S)
            await write
            after = await asyncio.wait_for(world.cache.once("k", LONG_S, at_once(b"new")), PATIENCE_S)
            assert after in {b"new", b"written"}
            maker.may_end.set()
            assert await asyncio.wait_for(before, PATIENCE_S) == b"old"
            assert await world.cache.get("k") in {after, None}
            await world.cache.drop("k")


class CacheContract(OnceContract):
    """What a cache does that is there."""

    async def test_get_returns_what_is_kept(self, world: World) -> None:
        for key, value in {"k": b"\x00\xff", "k:l m\n€": b"", "x" * 1_000: bytes(1_000_000)}.items():
            await world.cache.put(key, value, LONG_S)
            assert await world.cache.get(key) == value

    async def test_get_returns_none_if_nothing_is_kept(self, world: World) -> None:
        await world.cache.put("k", b"1", LONG_S)
        assert await world.cache.get("K") is None

    async def test_get_returns_none_if_nothing_is_kept_any_more(self, world: World) -> None:
        await world.cache.put("k", b"1", 0.05)
        async with asyncio.timeout(PATIENCE_S):
            while await world.cache.get("k") is not None:
                await world.pass_time()

    async def test_put_keeps_in_place_of_what_was_there(self, world: World) -> None:
        await world.cache.put("k", b"1", 0.05)
        await world.cache.put("k", b"2", LONG_S)
        for _ in range(100):
            await world.pass_time()
            assert await world.cache.get("k") == b"2"

    async def test_what_is_put_for_no_time_is_not_kept(self, world: World) -> None:
        await world.cache.put("k", b"1", LONG_S)
        await world.cache.put("k", b"2", 0)
        assert await world.cache.get("k") is None
        assert await world.cache.once("k", 0, at_once(b"3")) == b"3"
        assert await world.cache.get("k") is None

    async def test_drop_keeps_nothing_any_more(self, world: World) -> None:
        await world.cache.put("k", b"1", LONG_S)
        await world.cache.put("other", b"2", LONG_S)
        await world.cache.drop("k")
        await world.cache.drop("never there")
        assert await world.cache.get("k") is None
        assert await world.cache.get("other") == b"2"

    async def test_all_processes_see_the_same(self, world: World) -> None:
        await world.cache.put("k", b"1", LONG_S)
        assert await world.other.get("k") == b"1"
        assert await world.other.once("k", LONG_S, never_asked) == b"1"
        await world.other.put("k", b"2", LONG_S)
        assert await world.cache.get("k") == b"2"
        await world.other.drop("k")
        assert await world.cache.get("k") is None

    async def test_once_returns_what_is_kept(self, world: World) -> None:
        await world.cache.put("k", b"1", LONG_S)
        assert await world.cache.once("k", LONG_S, never_asked) == b"1"

    async def test_once_keeps_what_it_made_for_so_long_at_most(self, world: World) -> None:
        assert await world.cache.once("k", LONG_S, at_once(b"1")) == b"1"
        assert await world.cache.get("k") == b"1"
        assert await world.cache.once("short", 0.05, at_once(b"1")) == b"1"
        async with asyncio.timeout(PATIENCE_S):
            while await world.cache.once("short", 0.05, at_once(b"2")) != b"2":
                await world.pass_time()

    async def test_an_error_is_not_kept(self, world: World) -> None:
        with pytest.raises(ZeroDivisionError):
            await world.cache.once("k", LONG_S, failing)
        assert await world.cache.get("k") is None
        assert await asyncio.wait_for(world.other.once("k", LONG_S, at_once(b"2")), PATIENCE_S) == b"2"

    async def test_of_many_in_any_process_one_makes_it(self, world: World) -> None:
        maker = Maker()
        asked = [
            asyncio.create_task(cache.once("k", LONG_S, maker))
            for cache in (world.cache, world.other)
            for _ in range(20)
        ]
        await asyncio.wait_for(maker.began.wait(), PATIENCE_S)
        for _ in range(50):
            await world.pass_time()
        maker.may_end.set()
        assert await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S) == [b"made"] * 40
        assert maker.asked == 1

    @pytest.mark.parametrize("ending", ["fails", "is cancelled"])
    async def test_a_maker_that_ends_is_followed_by_one_of_another_process(
        self, world: World, ending: str
    ) -> None:
        may_fail, began = asyncio.Event(), asyncio.Event()

        async def fail() -> bytes:
            began.set()
            await may_fail.wait()
            raise ZeroDivisionError

        unlucky = asyncio.create_task(world.cache.once("k", LONG_S, fail))
        await asyncio.wait_for(began.wait(), PATIENCE_S)
        follower = asyncio.create_task(world.other.once("k", LONG_S, at_once(b"2")))
        for _ in range(20):
            await world.pass_time()
        assert not follower.done()
        if ending == "fails":
            may_fail.set()
        else:
            unlucky.cancel()
        with pytest.raises((ZeroDivisionError, asyncio.CancelledError)):
            await unlucky
        assert await asyncio.wait_for(follower, PATIENCE_S) == b"2"

    async def test_what_is_made_is_not_kept_over_what_another_process_wrote_meanwhile(
        self, world: World
    ) -> None:
        maker = Maker(b"old")
        asked = asyncio.create_task(world.cache.once("k", LONG_S, maker))
        await asyncio.wait_for(maker.began.wait(), PATIENCE_S)
        await world.other.put("k", b"new", LONG_S)
        maker.may_end.set()
        await asked
        assert await world.cache.get("k") == b"new"
        maker = Maker(b"old")
        asked = asyncio.create_task(world.cache.once("dropped", LONG_S, maker))
        await asyncio.wait_for(maker.began.wait(), PATIENCE_S)
        await world.other.drop("dropped")
        # It asks after the drop, and in the process that is still making what was right before.
        after = asyncio.create_task(world.cache.once("dropped", LONG_S, at_once(b"new")))
        await a_few_turns()
        maker.may_end.set()
        assert await asked == b"old"
        assert await asyncio.wait_for(after, PATIENCE_S) == b"new"
        assert await world.other.get("dropped") in {b"new", None}


class AwayContract(OnceContract):
    """What a cache does whose server is away: no method raises, and everything is worked out anew."""

    async def test_nothing_is_kept(self, world: World) -> None:
        await world.cache.put("k", b"1", LONG_S)
        assert await world.cache.get("k") is None
        await world.cache.drop("k")
        assert await world.cache.once("k", LONG_S, at_once(b"1")) == b"1"
        assert await world.cache.once("k", LONG_S, at_once(b"2")) == b"2"
        assert await world.cache.get("k") is None

    async def test_a_server_that_is_away_makes_nobody_wait(self, world: World) -> None:
        async with asyncio.timeout(PATIENCE_S):
            for number in range(2_000):  # each of them waiting as long as the first would take minutes
                await world.cache.put(str(number), b"1", LONG_S)
                assert await world.cache.get(str(number)) is None
                assert await world.cache.once(str(number), LONG_S, at_once(b"2")) == b"2"
