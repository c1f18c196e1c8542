"""Weight by address and window, and allowances, on a clock of the test's own."""

from binance_proxy.sandbox.weight import Allowance, Verdict, WeightMeter


class Time:
    def __init__(self) -> None:
        self.now = 120.0

    def __call__(self) -> float:
        return self.now


def meter(time: Time) -> WeightMeter:
    return WeightMeter(100, 60.0, 2, 500.0, time)


def test_weight_adds_up_within_a_window_and_by_address():
    time = Time()
    weights = meter(time)
    assert weights.charge("a", 60) == Verdict(60, 200)
    assert weights.charge("b", 60) == Verdict(60, 200)
    assert weights.charge("a", 40) == Verdict(100, 200)
    time.now = 179.9
    assert weights.charge("a", 1).status == 429
    time.now = 180.0
    assert weights.charge("a", 1) == Verdict(1, 200)


def test_a_refusal_says_when_the_window_ends():
    time = Time()
    weights = meter(time)
    time.now = 150.5
    assert weights.charge("a", 101) == Verdict(101, 429, 30)


def test_going_on_earns_a_ban_that_outlasts_the_window():
    time = Time()
    weights = meter(time)
    statuses = [weights.charge("a", 101).status for _ in range(4)]
    assert statuses == [429, 429, 418, 418]
    time.now += 499
    assert weights.charge("a", 1) == Verdict(1, 418, 1)
    time.now += 1
    assert weights.charge("a", 1).status == 200


def test_a_ban_is_of_one_address():
    weights = meter(Time())
    for _ in range(4):
        weights.charge("a", 101)
    assert weights.charge("b", 1).status == 200


def test_an_allowance_is_of_any_so_many_seconds():
    time = Time()
    allowance = Allowance(5, 1.0, time)
    assert [allowance.take() for _ in range(6)] == [True] * 5 + [False]
    time.now += 0.999
    assert not allowance.take()
    time.now += 0.001
    assert [allowance.take() for _ in range(6)] == [True] * 5 + [False]
