"""Faults by order and by chance, on a clock of the test's own."""

import random

import pytest

from binance_proxy.domain.errors import ConfigError
from binance_proxy.sandbox.faults import Fault, FaultPlan
from binance_proxy.sandbox.settings import Faults


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plan(time: Time | None = None, **faults: float) -> FaultPlan:
    return FaultPlan(Faults(**faults), 77.0, time or Time())


def frames(faults: FaultPlan, count: int, stream: str = "a@trade") -> list[Fault | None]:
    chance = random.Random(1)
    return [faults.frame(stream, chance) for _ in range(count)]


def test_an_order_is_carried_out_so_many_times():
    faults = plan()
    faults.order(Fault.DROP, count=2)
    assert frames(faults, 3) == [Fault.DROP, Fault.DROP, None]


def test_orders_wait_for_each_other():
    faults = plan()
    faults.order(Fault.CORRUPT)
    faults.order(Fault.DROP)
    assert frames(faults, 3) == [Fault.DROP, Fault.CORRUPT, None]


def test_an_order_of_one_stream_leaves_others_alone():
    faults = plan()
    faults.order(Fault.DROP, only="b@trade")
    assert frames(faults, 1) == [None]
    assert frames(faults, 1, "b@trade") == [Fault.DROP]


def test_an_order_of_seconds_ends_with_them():
    time = Time()
    faults = plan(time)
    faults.order(Fault.THROTTLE, seconds=10)
    assert faults.request("ping") == (Fault.THROTTLE, 10)
    time.now = 9.9
    assert faults.request("ping")[0] is Fault.THROTTLE
    time.now = 10
    assert faults.request("ping")[0] is None
    assert faults.fired[Fault.THROTTLE] == 2


def test_a_ban_lasts_as_long_as_bans_do_and_says_how_long():
    time = Time()
    faults = plan(time)
    faults.order(Fault.BAN)
    time.now = 7
    assert faults.request("ping") == (Fault.BAN, 70)


def test_only_books_are_stale():
    faults = plan(stale_snapshot=1.0)
    assert faults.request("trades")[0] is None
    assert faults.request("depth")[0] is Fault.STALE_SNAPSHOT


def test_frames_are_asked_about_only_while_something_may_hit_them():
    faults = plan()
    assert not faults.touches_frames
    faults.order(Fault.DROP)
    assert faults.touches_frames
    frames(faults, 1)
    assert not faults.touches_frames
    assert plan(drop=0.1).touches_frames
    assert not plan(throttle=0.1).touches_frames


def test_clearing_ends_everything():
    faults = plan(drop=1.0, throttle=1.0)
    faults.order(Fault.REFUSE)
    faults.clear()
    assert frames(faults, 1) == [None]
    assert faults.request("ping")[0] is None
    assert not faults.refuses()


@pytest.mark.parametrize(
    ("name", "value"), [("drop", 1.5), ("slow", -0.1), ("cut_s", -1.0), ("delay_s", float("nan"))]
)
def test_what_is_no_chance_and_no_time_is_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        Faults(**{name: value})
