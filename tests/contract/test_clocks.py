"""Both clocks keep the promises of their port, and what each promises beyond it."""

import asyncio
import time

import pytest

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.system.clock import NAP_NS, SystemClock
from binance_proxy.application.ports import Clock
from contract.clock import ClockContract

NOW = 1_760_000_000_000_000_000


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()


class TestManualClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return ManualClock(NOW)


class Wall:
    """A wall clock that moves with the naps of a sleeper, and is set by so much at its third nap."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step_ns: int) -> None:
        self.ts, self.step_ns = NOW, step_ns
        self.naps: list[int] = []
        monkeypatch.setattr(time, "time_ns", lambda: self.ts)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.naps.append(round(seconds * 1e9))
        self.ts += self.naps[-1] + (self.step_ns if len(self.naps) == 3 else 0)


@pytest.mark.parametrize("step_ns", [0, 10**12, -(10**10)])
async def test_the_system_clock_keeps_its_word_when_the_wall_clock_is_set(
    monkeypatch: pytest.MonkeyPatch, step_ns: int
) -> None:
    wall = Wall(monkeypatch, step_ns)
    goal = NOW + 10 * NAP_NS
    await SystemClock().sleep_until(goal)
    assert wall.ts >= goal
    assert max(wall.naps) <= NAP_NS
    assert sum(wall.naps) == (3 * NAP_NS if step_ns > 0 else 10 * NAP_NS - step_ns)


async def test_the_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(NOW, auto=False)
    late, early = (asyncio.ensure_future(clock.sleep_until(NOW + ns)) for ns in (100, 50))
    await asyncio.sleep(0)
    assert clock.sleeping_until == NOW + 50
    clock.advance(49)
    await asyncio.sleep(0)
    assert not early.done()
    clock.advance(1)
    await early
    assert not late.done()
    clock.set(NOW + 1_000)
    await late
    assert clock.sleeping_until is None


async def test_the_manual_clock_can_be_set_back_before_a_sleeper_runs() -> None:
    clock = ManualClock(NOW, auto=False)
    sleeper = asyncio.ensure_future(clock.sleep_until(NOW + 10))
    await asyncio.sleep(0)
    clock.advance(10)
    clock.set(NOW)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not sleeper.done()
    clock.advance(10)
    await sleeper
