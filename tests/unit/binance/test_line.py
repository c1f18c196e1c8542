"""One line: it says all at the pace that Binance allows, and a dead line is told from a quiet one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from binance_proxy.adapters.binance.inbox import Inbox
from binance_proxy.adapters.binance.line import Line
from binance_proxy.adapters.binance.settings import Care
from scripted_lines import LoopClock, ScriptedLink, ScriptedVenue, framed, most_in_a_second, trade
from warp import warp

CARE = Care(silence_s=10.0, quiet_s=60.0)
STREAMS = ["ethusdt@trade", "ethusdt@depth@100ms"]


class Opened:
    """A line, its venue, and what it put into its inbox."""

    def __init__(self, limit: int = 100_000) -> None:
        self.venue = ScriptedVenue()
        self.inbox = Inbox(limit)
        self.line = Line("owner", self.venue, CARE, self.inbox, LoopClock(), CARE.quiet_s)

    @property
    def link(self) -> ScriptedLink:
        return self.venue.links[-1]

    def raws(self) -> list[bytes]:
        raws = []
        with suppress(IndexError):
            while True:
                owner, line, raw, _ = self.inbox.take()
                assert owner == "owner"
                assert line is self.line
                raws.append(raw)
        return raws


@asynccontextmanager
async def opened(one: Opened, streams: list[str] = STREAMS) -> AsyncIterator[Opened]:
    await one.line.open(streams)
    try:
        yield one
    finally:
        one.line.close()


def on_a_line(
    work: Callable[[Opened], Awaitable[None]], prepare: Callable[[Opened], None] = lambda _: None
) -> None:
    async def run() -> None:
        one = Opened()
        prepare(one)
        async with opened(one):
            await work(one)

    warp(run())


async def keep_printing(one: Opened, every_s: float = 1.0) -> None:
    number = 0
    while True:
        await asyncio.sleep(every_s)
        number += 1
        one.venue.say(trade(number))


def test_it_is_ready_once_everything_is_acknowledged_and_not_before() -> None:
    async def work(one: Opened) -> None:
        await asyncio.sleep(0.009)
        assert not one.line.ready.is_set()
        await asyncio.sleep(1)
        assert one.line.ready.is_set()
        assert one.link.names == set(STREAMS)
        one.line.subscribe(["solusdt@trade"])
        assert not one.line.ready.is_set()
        await asyncio.sleep(1)
        assert one.line.ready.is_set()
        one.venue.say(trade(1))
        await asyncio.sleep(1)
        assert one.raws() == [trade(1)[1]]

    on_a_line(work)


@pytest.mark.parametrize("lost", ["loses_message", "loses_answer"])
def test_what_was_not_acknowledged_is_said_again(lost: str) -> None:
    async def work(one: Opened) -> None:
        printing = asyncio.create_task(keep_printing(one))  # the line is alive all the time
        await asyncio.sleep(CARE.silence_s - 1)
        assert not one.line.ready.is_set()
        await asyncio.sleep(1.5 * CARE.silence_s)
        assert one.line.ready.is_set()
        assert [method for _, method, _ in one.link.said].count("SUBSCRIBE") == 2
        assert one.link.names == set(STREAMS)
        assert not one.line.troubled.is_set()
        printing.cancel()

    def prepare(one: Opened) -> None:
        getattr(one.venue, lost)["SUBSCRIBE"] = 1

    on_a_line(work, prepare)


@pytest.mark.parametrize("wants_it", [True, False])
def test_what_does_not_hold_any_more_is_not_said_again(wants_it: bool) -> None:
    """A late UNSUBSCRIBE would silence for ever a stream that was asked for again, unnoticed."""

    async def work(one: Opened) -> None:
        printing = asyncio.create_task(keep_printing(one))
        await asyncio.sleep(1)
        if wants_it:
            one.venue.loses_answer["UNSUBSCRIBE"] = 1
            one.line.unsubscribe(["ethusdt@depth@100ms"])
            one.line.subscribe(["ethusdt@depth@100ms"])
        else:
            one.venue.loses_answer["SUBSCRIBE"] = 1
            one.line.subscribe(["solusdt@trade"])
            one.line.unsubscribe(["solusdt@trade"])
        await asyncio.sleep(3 * CARE.silence_s)
        assert one.link.names == set(STREAMS)
        assert one.line.ready.is_set()
        printing.cancel()

    on_a_line(work)


def test_what_changes_while_it_connects_is_part_of_the_first_subscription() -> None:
    async def work() -> None:
        one = Opened()
        opening = asyncio.create_task(one.line.open(["a@trade", "b@trade"]))
        await asyncio.sleep(0)
        one.line.unsubscribe(["a@trade"])
        one.line.subscribe(["c@trade"])
        await opening
        await asyncio.sleep(1)
        assert one.link.names == {"b@trade", "c@trade"}
        one.line.close()

    warp(work())


def test_a_refusal_ends_it_with_the_words_of_the_venue() -> None:
    async def work(one: Opened) -> None:
        one.venue.answers = [{"error": {"code": 2, "msg": "Invalid request: no such thing"}}]
        await asyncio.sleep(1)
        assert one.line.ended is not None
        assert "SUBSCRIBE" in one.line.ended
        assert "no such thing" in one.line.ended
        assert one.link.is_closed

    on_a_line(work)


def test_four_messages_in_any_second_whatever_is_asked() -> None:
    async def work() -> None:
        one = Opened()
        async with opened(one, [f"coin{number}usdt@trade" for number in range(1_000)]):
            for number in range(40):
                one.line.subscribe([f"more{number}usdt@trade"])
                one.line.unsubscribe([f"coin{number}usdt@trade"])
                if number % 7 == 0:
                    await asyncio.sleep(0.3)
            await asyncio.sleep(60)
            assert most_in_a_second(at for at, _, _ in one.link.said) == 4
            assert one.link.names == {f"coin{number}usdt@trade" for number in range(40, 1_000)} | {
                f"more{number}usdt@trade" for number in range(40)
            }
            assert one.line.ready.is_set()

    warp(work())


def test_a_silent_line_is_asked_and_is_dead_within_silence_s() -> None:
    async def work(one: Opened) -> None:
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        one.link.is_mute, since = True, loop.time()
        async with asyncio.timeout(10 * CARE.silence_s):
            await one.line.gone.wait()
        assert loop.time() - since <= CARE.silence_s * 1.25
        assert one.line.ended
        assert "nothing was heard" in one.line.ended
        asked = [at for at, method, _ in one.link.said if method == "LIST_SUBSCRIPTIONS"]
        assert len(asked) == 1
        assert asked[0] - since <= 0.75 * CARE.silence_s
        assert one.link.is_closed

    on_a_line(work)


def test_a_line_that_answers_lives_and_is_left_when_it_brings_nothing() -> None:
    async def work(one: Opened) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time()
        async with asyncio.timeout(10 * CARE.quiet_s):
            await one.line.troubled.wait()
        assert one.line.ended is None
        assert one.line.leaving
        assert "no market data" in one.line.leaving
        assert CARE.quiet_s <= loop.time() - since <= CARE.quiet_s + CARE.silence_s

    on_a_line(work)


def test_market_data_keep_it() -> None:
    async def work(one: Opened) -> None:
        printing = asyncio.create_task(keep_printing(one, 0.9 * CARE.silence_s))
        await asyncio.sleep(10 * CARE.quiet_s)
        assert not one.line.troubled.is_set()
        assert "LIST_SUBSCRIPTIONS" in {method for _, method, _ in one.link.said}
        printing.cancel()

    on_a_line(work)


def test_our_own_pause_is_not_taken_for_silence() -> None:
    async def work() -> None:
        one = Opened(limit=4)
        async with opened(one):
            await asyncio.sleep(1)
            one.venue.loses_answer["SUBSCRIBE"] = 1
            one.line.subscribe(["solusdt@trade"])
            one.venue.say(*(trade(number) for number in range(6)))
            await asyncio.sleep(20 * CARE.quiet_s)
            assert one.link.is_paused
            assert not one.line.troubled.is_set()
            assert len(one.link.said) == 2  # nothing is repeated whose answer may wait for us
            assert one.raws() == [trade(number)[1] for number in range(4)]
            one.inbox.make_room()
            assert one.raws() == [trade(number)[1] for number in range(4, 6)]
            await asyncio.sleep(0.9 * CARE.silence_s)
            assert not one.line.troubled.is_set()

    warp(work())


def test_a_loop_that_stood_still_is_not_taken_for_silence() -> None:
    async def work(one: Opened) -> None:
        await asyncio.sleep(3)
        one.link.delay_s = 0.5
        asyncio.get_running_loop()._warping.now += 5 * CARE.silence_s  # type: ignore[attr-defined]
        await asyncio.sleep(CARE.silence_s)
        assert one.line.ended is None

    on_a_line(work)


@pytest.mark.parametrize(
    "notice",
    [
        b'{"e":"serverShutdown","E":1770123456789}',
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
    ],
)
def test_an_announced_end_makes_it_leave_and_work_on(notice: bytes) -> None:
    async def work(one: Opened) -> None:
        await asyncio.sleep(1)
        one.link.push(notice)
        await asyncio.sleep(1)
        assert one.line.leaving
        assert one.line.troubled.is_set()
        assert one.line.ended is None
        one.venue.say(trade(1))
        await asyncio.sleep(1)
        assert one.raws() == [trade(1)[1]]

    on_a_line(work)


WHOLE = framed("ethusdt@trade", {"e": "trade"})[1]


@pytest.mark.parametrize(
    "raw",
    [WHOLE[:length] for length in range(1, len(WHOLE))] + [b"", b"[]", b"\xff", b'{"id":"x"}', b"[" * 5_000],
)
def test_whatever_comes_reaches_the_reader_who_says_what_is_wrong(raw: bytes) -> None:
    async def work(one: Opened) -> None:
        await asyncio.sleep(1)
        one.link.push(raw)
        await asyncio.sleep(1)
        assert one.raws() == [raw]
        assert not one.line.troubled.is_set()

    on_a_line(work)


def test_the_end_of_a_link_is_told_once_and_nothing_comes_behind_it() -> None:
    async def work(one: Opened) -> None:
        await asyncio.sleep(1)
        one.link.end("cut")
        one.link.end("cut again")
        assert one.line.gone.is_set()
        assert one.line.ended == "cut"
        before = len(one.link.said)
        one.line.subscribe(["solusdt@trade"])
        await asyncio.sleep(10 * CARE.quiet_s)
        assert len(one.link.said) == before

    on_a_line(work)


def test_a_mistake_of_our_own_ends_it_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A line that says nothing any more, or is not watched any more, would look alive."""

    async def work(one: Opened) -> None:
        await asyncio.sleep(1)

        def send(_text: str) -> None:
            raise RuntimeError("a mistake")

        one.link.send = send  # type: ignore[method-assign]
        one.line.subscribe(["solusdt@trade"])
        await asyncio.sleep(1)
        assert one.line.gone.is_set()
        assert "a mistake" in str(one.line.ended)
        assert one.link.is_closed

    on_a_line(work)
    (said,) = caplog.records
    assert said.exc_info
