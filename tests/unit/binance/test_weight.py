"""Never more weight than is ours, in any minute of the venue's; and silence when it wants silence."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.binance.weight import LONGEST_PAUSE_S, WINDOW_S, WeightLimiter, WeightWindow
from warp import warp

START = 1_000.0


def waits(window: WeightWindow, weight: int, now: float) -> float:
    """Return how long it takes until so much is used, step by step as the limiter does."""
    begun = now
    while wait_s := window.wait_s(weight, now):
        now += wait_s
    window.use(weight, now)
    return now - begun


# The window


def test_uses_its_share_and_then_waits_until_the_first_is_a_minute_old() -> None:
    window = WeightWindow(share=0.5, limit=100)
    assert waits(window, 20, START) == 0
    assert waits(window, 30, START + 5) == 0
    assert window.wait_s(1, START + 6) == WINDOW_S - 6
    assert window.wait_s(21, START + WINDOW_S) == 5
    assert window.wait_s(20, START + WINDOW_S) == 0


@given(
    st.floats(0.01, 1),
    st.lists(st.tuples(st.integers(1, 300), st.floats(0, 100)), max_size=60),
)
def test_no_minute_ever_sees_more_than_the_share(share: float, steps: list[tuple[int, float]]) -> None:
    window = WeightWindow(share, limit=500)
    budget = int(500 * share)
    now, used = START, []
    for weight, pause_s in steps:
        now += pause_s + waits(window, weight, now + pause_s)
        used.append((now, weight))
    for begin, _ in used:
        inside = [weight for at, weight in used if begin <= at < begin + 60]
        assert sum(inside) <= budget or len(inside) == 1


def test_a_weight_above_the_budget_passes_once_the_window_is_empty() -> None:
    window = WeightWindow(share=0.5, limit=100)
    assert waits(window, 250, START) == 0
    assert waits(window, 1, START) == WINDOW_S
    assert waits(window, 250, START + WINDOW_S) == WINDOW_S


@pytest.mark.parametrize(("used", "free"), [(0, True), (94, True), (95, False), (99, False), (10_000, False)])
def test_uses_nothing_while_the_venue_has_counted_nearly_all(used: int, free: bool) -> None:
    window = WeightWindow(share=0.5, limit=100)
    window.report(used, START)
    assert window.wait_s(1, START + 1) == (0 if free else WINDOW_S - 1)
    assert window.wait_s(1, START + WINDOW_S) == 0


def test_what_others_use_leaves_less_for_us() -> None:
    window = WeightWindow(share=0.5, limit=100)
    window.report(80, START)
    assert waits(window, 10, START + 1) == 0
    assert window.wait_s(10, START + 1) == WINDOW_S - 1
    assert window.wait_s(5, START + 1) == 0


def test_a_lower_report_does_not_undo_a_higher_one_of_the_same_minute() -> None:
    window = WeightWindow(share=0.5, limit=100)
    window.report(99, START)
    window.report(3, START + 10)
    assert window.wait_s(1, START + 11) > 0
    assert window.wait_s(1, START + WINDOW_S) == 0


def test_a_closed_window_opens_when_it_was_said() -> None:
    window = WeightWindow(share=0.5)
    window.close(30, START)
    window.close(10, START + 5)  # a shorter pause does not cut a longer one
    assert window.wait_s(1, START + 6) == 24
    assert window.wait_s(1, START + 30) == 0


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_refuses_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        WeightWindow(share)


def test_refuses_a_limit_of_nothing() -> None:
    with pytest.raises(ValueError, match="limit"):
        WeightWindow(0.5).limit = 0


# The limiter


@pytest.mark.parametrize(("limit", "urgent"), [(100, True), (132, False)])
def test_lets_through_in_the_order_that_they_came(limit: int, urgent: bool) -> None:
    """A quarter of the budget is for urgent ones only, so that the others have 50 of 66."""

    async def work() -> list[tuple[int, float]]:
        limiter, done = WeightLimiter(share=0.5, limit=limit), []
        loop = asyncio.get_running_loop()

        async def one(number: int, weight: int) -> None:
            await limiter.take(weight, urgent=urgent)
            done.append((number, loop.time() - START))

        await asyncio.gather(one(0, 50), one(1, 50), one(2, 1), one(3, 49), one(4, 1))
        return done

    assert warp(work()) == [(0, 0), (1, WINDOW_S), (2, 2 * WINDOW_S), (3, 2 * WINDOW_S), (4, 3 * WINDOW_S)]


def test_one_who_is_cancelled_uses_nothing_and_holds_up_nobody() -> None:
    async def work() -> float:
        limiter = WeightLimiter(share=0.5, limit=100)
        await limiter.take(50, urgent=True)
        waiting = [asyncio.create_task(limiter.take(weight, urgent=True)) for weight in (50, 40)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        await waiting[1]
        await limiter.take(10, urgent=True)
        return asyncio.get_running_loop().time() - START

    assert warp(work()) == pytest.approx(WINDOW_S)


@pytest.mark.parametrize(
    ("status", "headers", "pause_s"),
    [
        (429, {"retry-after": "7"}, 7),
        (418, {"retry-after": "500"}, 500),
        (429, {}, 60),
        (418, {}, 120),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 60),
        (418, {"retry-after": "-3"}, 120),
        (429, {"retry-after": "0"}, 1),
        (418, {"retry-after": "99999999999"}, LONGEST_PAUSE_S),
        (418, {"retry-after": "9" * 5_000}, 120),
        (200, {"retry-after": "7"}, 0),
        (503, {"retry-after": "7"}, 0),
        (200, {"x-mbx-used-weight-1m": "5999"}, WINDOW_S),
        (200, {"x-mbx-used-weight-1m": "many"}, 0),
        (200, {"x-mbx-used-weight-1m": "12"}, 0),
    ],
)
def test_an_answer_may_close_it(status: int, headers: dict[str, str], pause_s: float) -> None:
    async def work() -> float:
        limiter = WeightLimiter()
        limiter.answered(status, headers)
        await limiter.take(1)
        return asyncio.get_running_loop().time() - START

    assert warp(work()) == pytest.approx(pause_s)


def test_a_ban_that_comes_while_somebody_waits_keeps_them_waiting() -> None:
    async def work() -> float:
        limiter = WeightLimiter(share=0.5, limit=100)
        await limiter.take(50, urgent=True)
        waiting = asyncio.create_task(limiter.take(1, urgent=True))
        await asyncio.sleep(10)
        limiter.answered(418, {"retry-after": "300"})
        await waiting
        return asyncio.get_running_loop().time() - START

    assert warp(work()) == pytest.approx(310)


def test_takes_the_limit_that_the_venue_states() -> None:
    async def work() -> float:
        limiter = WeightLimiter(share=0.5)
        limiter.limit_is(100)
        await limiter.take(50, urgent=True)
        await limiter.take(1, urgent=True)
        return asyncio.get_running_loop().time() - START

    assert warp(work()) == pytest.approx(WINDOW_S)


# Urgent ones


async def asking(limiter: WeightLimiter, weight: int, *, urgent: bool = False) -> float:
    """Ask without end; return the longest wait once cancelled."""
    loop, longest = asyncio.get_running_loop(), 0.0
    try:
        while True:
            began = loop.time()
            await limiter.take(weight, urgent=urgent)
            longest = max(longest, loop.time() - began)
            await asyncio.sleep(0.15)
    except asyncio.CancelledError:
        return longest


def test_whoever_asks_without_end_leaves_urgent_requests_their_reserve() -> None:
    async def work() -> list[float]:
        limiter, loop, waits = WeightLimiter(share=0.5), asyncio.get_running_loop(), []
        repair = asyncio.create_task(asking(limiter, 25))
        for _ in range(20):
            await asyncio.sleep(40)
            began = loop.time()
            await limiter.take(250, urgent=True)
            waits.append(loop.time() - began)
        repair.cancel()
        assert await repair < 2 * WINDOW_S
        return waits

    assert warp(work()) == [0] * 20


def test_an_urgent_request_above_the_reserve_is_not_overtaken_for_ever() -> None:
    """The reserve of a small budget is small; what waits already is reserved too."""

    async def work() -> float:
        limiter, loop = WeightLimiter(share=0.1), asyncio.get_running_loop()
        repair = asyncio.create_task(asking(limiter, 25))
        await asyncio.sleep(300)
        began = loop.time()
        async with asyncio.timeout(10 * WINDOW_S):
            await limiter.take(250, urgent=True)
        waited = loop.time() - began
        repair.cancel()
        return waited

    assert warp(work()) <= WINDOW_S


def test_a_reserve_is_kept_of_what_others_on_this_address_leave_too() -> None:
    window = WeightWindow(share=0.5, limit=100)
    window.report(80, START)
    assert window.wait_s(5, START, reserve=10) == 0
    assert window.wait_s(6, START, reserve=10) == WINDOW_S
    assert window.wait_s(6, START) == 0


def test_one_who_gives_up_does_not_reserve_any_more() -> None:
    async def work() -> float:
        limiter, loop = WeightLimiter(share=0.5, limit=100), asyncio.get_running_loop()
        await limiter.take(30, urgent=True)
        urgent = asyncio.create_task(limiter.take(50, urgent=True))
        await asyncio.sleep(1)
        urgent.cancel()
        await asyncio.wait({urgent})
        began = loop.time()
        await limiter.take(8)
        return loop.time() - began

    assert warp(work()) == 0


def test_a_long_wait_is_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        limiter = WeightLimiter(share=0.5, limit=100)
        await limiter.take(10, urgent=True)
        await asyncio.sleep(WINDOW_S - 4)
        await limiter.take(40, urgent=True)
        await limiter.take(10, urgent=True)
        assert caplog.records == []  # 4 s are not long
        await asyncio.gather(*(limiter.take(25, urgent=True) for _ in range(4)))

    warp(work())
    assert [record.getMessage() for record in caplog.records] == [
        "a request waits 57 s for request weight",
        "a request waits 118 s for request weight",
    ]
