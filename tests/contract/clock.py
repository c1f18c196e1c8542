"""What every clock promises: one test for each sentence of the `Clock` port."""

import asyncio

import pytest

from binance_proxy.application.ports import Clock

MILLISECOND_NS = 1_000_000


class ClockContract:
    @pytest.fixture
    def clock(self) -> Clock:
        raise NotImplementedError

    async def test_now_is_ns_since_the_epoch(self, clock: Clock) -> None:
        assert isinstance(clock.now(), int)
        assert 10**18 < clock.now() < 10**19  # between 2001 and 2286

    async def test_sleep_until_returns_once_now_has_reached_the_time(self, clock: Clock) -> None:
        for sleep_ns in (1, MILLISECOND_NS, 20 * MILLISECOND_NS):
            goal = clock.now() + sleep_ns
            await asyncio.wait_for(clock.sleep_until(goal), 5)
            assert clock.now() >= goal

    async def test_sleep_until_returns_at_once_if_the_time_has_been_reached(self, clock: Clock) -> None:
        for goal in (0, clock.now() - 1, clock.now()):
            sleeper = clock.sleep_until(goal).__await__()
            with pytest.raises(StopIteration):
                next(sleeper)

    async def test_sleepers_wake_in_the_order_of_their_times(self, clock: Clock) -> None:
        now = clock.now()
        woken: list[int] = []

        async def sleep(sleep_ns: int) -> None:
            await clock.sleep_until(now + sleep_ns)
            woken.append(sleep_ns)

        early, late = 5 * MILLISECOND_NS, 60 * MILLISECOND_NS
        await asyncio.wait_for(asyncio.gather(sleep(early), sleep(late)), 5)
        assert woken == [early, late]

    async def test_a_sleeper_can_be_cancelled(self, clock: Clock) -> None:
        sleeper = asyncio.ensure_future(clock.sleep_until(clock.now() + 10**15))
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper
