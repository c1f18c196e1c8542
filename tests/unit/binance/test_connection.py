"""Connections are kept, replaced and shared out; seen from the feed, in virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace

import backoff
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_proxy.adapters.binance import pauses as module
from binance_proxy.adapters.binance.feed import BinanceFeed
from binance_proxy.adapters.binance.rest import BinanceRest
from binance_proxy.adapters.binance.settings import Care
from binance_proxy.adapters.binance.transport import Listing
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.application.ports import FeedRejected, FeedUnavailable
from binance_proxy.domain.instrument import MILLISECOND_NS, Instrument, Market
from binance_proxy.domain.tick import BookSnapshot, Disconnect, MarketEvent, QuoteTick, TradeTick
from scripted_lines import LoopClock, ScriptedVenue, most_in_a_second, trade, update
from warp import warp

AWAY = FeedUnavailable("nobody answers")
CARE = Care(
    silence_s=10.0, quiet_s=60.0, rotate_s=100_000.0, settle_s=2.0, agree_s=30.0, longest_pause_s=30.0
)
EVERY_S = 0.1
SHUTDOWN = b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'


def instrument(symbol: str) -> Instrument:
    return Instrument(venue="binance", market=Market.SPOT, symbol=symbol, time_resolution_ns=MILLISECOND_NS)


ETH, SOL = instrument("ETH/USDT"), instrument("SOL/USDT")


class Reading:
    """A feed over a scripted venue, and all that came out of it."""

    def __init__(self, venue: ScriptedVenue, care: Care) -> None:
        self.venue = venue
        self.events: list[MarketEvent] = []
        self.printed = 0
        self.is_stalled = False
        rest = BinanceRest(venue, WeightLimiter(share=1.0))
        self.feed = BinanceFeed(venue, rest, LoopClock(), care, time_resolution_ns=MILLISECOND_NS)

    async def read(self, instruments: Sequence[Instrument]) -> None:
        async with aclosing(self.feed.stream(instruments)) as stream:
            async for event in stream:
                self.events.append(event)
                while self.is_stalled:  # noqa: ASYNC110  a reader that does something else
                    await asyncio.sleep(0.1)

    async def print_on(self) -> None:
        """Print a trade and an update of ETH/USDT and of SOL/USDT every `EVERY_S`."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.printed += 1
            self.venue.last_update_id = self.printed
            for code in ("ETHUSDT", "SOLUSDT"):
                self.venue.say(trade(self.printed, code), update(self.printed, code))

    def of(self, kind: type, instrument: Instrument = ETH) -> list:
        return [event for event in self.events if isinstance(event, kind) and event.instrument == instrument]

    @property
    def disconnects(self) -> list[Disconnect]:
        return [event for event in self.events if isinstance(event, Disconnect)]

    def ids(self, instrument: Instrument = ETH) -> list[int]:
        return [event.trade_id for event in self.of(TradeTick, instrument)]

    def check_unbroken(self) -> None:
        """Check that every tick since the first one came once and in order."""
        assert self.disconnects == []
        for one in (ETH, SOL):
            for ids in (self.ids(one), [event.last_update_id for event in self.of(QuoteTick, one)]):
                assert ids == list(range(ids[0], ids[0] + len(ids)))
                assert ids[-1] >= self.printed - 40, "nothing comes any more"


@asynccontextmanager
async def reading(
    venue: ScriptedVenue,
    care: Care = CARE,
    instruments: Sequence[Instrument] = (ETH, SOL),
    *,
    prints: bool = True,
) -> AsyncIterator[Reading]:
    one = Reading(venue, care)
    tasks = [asyncio.create_task(one.read(instruments))]
    if prints:
        tasks.append(asyncio.create_task(one.print_on()))
    try:
        yield one
        assert not tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  time costs nothing here
        await asyncio.sleep(0.01)


def run(work: Callable[[ScriptedVenue], Awaitable[None]]) -> None:
    async def inside() -> None:
        venue = ScriptedVenue()
        venue._listings = [
            [
                Listing(symbol=name, code=name.replace("/", ""), trading=True, tick_size=None, step_size=None)
                for name in ("ETH/USDT", "SOL/USDT")
            ]
        ]
        await work(venue)

    warp(inside())


def test_ticks_and_a_book_come_and_everything_is_asked_for() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue) as one:
            await asyncio.sleep(20)
            one.check_unbroken()
            assert len(one.of(BookSnapshot)) == len(one.of(BookSnapshot, SOL)) == 1
            assert len(venue.links) == 1

    run(work)


def test_a_lost_line_is_a_disconnect_and_the_next_one_brings_everything_and_new_books() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue) as one:
            await asyncio.sleep(20)
            venue.links[0].end("cut")
            await asyncio.sleep(20)
            (lost,) = one.disconnects
            assert lost.reason == "cut"
            assert set(lost.instruments) == {ETH, SOL}
            behind = one.events[one.events.index(lost) :]
            assert {event.instrument for event in behind if isinstance(event, BookSnapshot)} == {ETH, SOL}
            assert one.ids()[-1] >= one.printed - 1
            assert all(earlier.ts_recv <= later.ts_recv for earlier, later in pairwise(one.events))

    run(work)


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_book_that_was_asked_for_before_the_line_was_lost_is_not_believed(is_behind: bool) -> None:
    """However late its answer comes, and however late the reader hears of the loss."""

    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue, prints=False) as one:
            await asyncio.sleep(5)
            venue.hold.clear()
            one.feed.resync(ETH)
            await asyncio.sleep(5)
            books = len(one.of(BookSnapshot))
            one.is_stalled = is_behind
            venue.say(trade(1))
            await asyncio.sleep(1)
            venue.is_refusing = AWAY
            venue.links[0].end("cut")
            await asyncio.sleep(1)
            venue.hold.set()
            await asyncio.sleep(100)
            one.is_stalled = False
            await asyncio.sleep(100)
            assert len(one.disconnects) == 1
            assert len(one.of(BookSnapshot)) == books
            venue.is_refusing = None
            await asyncio.sleep(100)
            assert len(one.of(BookSnapshot)) == books + 1

    run(work)


def test_a_line_that_brings_no_updates_of_one_pair_is_replaced_without_a_word() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue) as one:
            await asyncio.sleep(20)
            venue.links[0].names.remove("ethusdt@depth@100ms")  # all else goes on
            for _ in range(6):
                one.feed.resync(ETH)
                await asyncio.sleep(10)
            assert len(venue.links) == 2
            assert venue.links[0].is_closed
            assert one.disconnects == []
            assert one.of(QuoteTick)[-1].last_update_id >= one.printed - 1
            for ids in (one.ids(), one.ids(SOL)):
                assert ids == list(range(ids[0], ids[0] + len(ids)))

    run(work)


def test_pauses_grow_at_random_up_to_the_longest_and_begin_short_after_a_steady_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[float] = []

    def full_jitter(limit: float) -> float:
        drawn.append(limit)
        return random.uniform(0, limit)

    monkeypatch.setattr(module, "backoff", SimpleNamespace(expo=backoff.expo, full_jitter=full_jitter))

    async def work(venue: ScriptedVenue) -> None:
        venue.is_refusing = AWAY
        async with reading(venue) as one:
            await asyncio.sleep(600)
            first = [limit for limit in drawn if limit >= module.FIRST_PAUSE_S][:10]
            assert first == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
            pauses = [later - earlier for earlier, later in pairwise(venue.attempts)]
            assert max(pauses) > 10
            assert all(pause <= 30.02 for pause in pauses)
            assert len({round(pause, 3) for pause in pauses}) > 0.8 * len(pauses)
            venue.is_refusing = None
            await asyncio.sleep(60)  # the longest pause, and long enough to be steady
            assert one.ids()[-1] >= one.printed - 1
            drawn.clear()
            venue.links[-1].end("cut")  # it was steady
            await asyncio.sleep(0.01)
            assert drawn[0] == 0.25
            await asyncio.sleep(5)
            drawn.clear()
            venue.links[-1].end("cut")  # it was not
            await asyncio.sleep(0.01)
            assert drawn[0] == 0.5
            assert one.ids()[-1] >= one.printed - 60

    run(work)


def test_lines_that_end_at_once_are_not_opened_in_a_rush() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async def cut() -> None:
            while True:
                await asyncio.sleep(0.02)
                for link in venue.open_links:
                    link.end("cut")

        cutting = asyncio.create_task(cut())
        async with reading(venue):
            await asyncio.sleep(300)
            assert len(venue.attempts) < 60  # Binance allows 300
            assert len(venue.attempts) > 10
        cutting.cancel()

    run(work)


def test_an_old_line_is_replaced_and_nothing_is_lost_or_doubled() -> None:
    async def work(venue: ScriptedVenue) -> None:
        venue.delays = [0.01, 0.5, 0.01, 0.5, 0.01, 0.5]
        async with reading(venue, Care(rotate_s=20.0)) as one:
            await asyncio.sleep(110)
            assert len(venue.links) == 6
            assert len(venue.open_links) == 1
            one.check_unbroken()

    run(work)


def test_an_announced_end_that_comes_is_not_noticed() -> None:
    async def work(venue: ScriptedVenue) -> None:
        venue.delays = [0.01, 0.3]
        async with reading(venue) as one:
            await asyncio.sleep(20)
            venue.links[0].push(SHUTDOWN)
            await asyncio.sleep(10)
            assert venue.links[0].is_closed  # by us
            one.check_unbroken()

    run(work)


def test_an_announced_end_that_comes_too_early_is_a_disconnect_and_the_new_line_goes_on() -> None:
    async def work(venue: ScriptedVenue) -> None:
        venue.delays = [0.01, 0.4]
        async with reading(venue) as one:
            await asyncio.sleep(20)
            venue.links[0].push(SHUTDOWN)
            await asyncio.sleep(0.2)
            venue.links[0].end("closed")
            await asyncio.sleep(10)
            assert len(one.disconnects) == 1
            assert len(venue.links) == 2  # and is not opened a third time
            behind = one.events[one.events.index(one.disconnects[0]) :]
            assert {event.instrument for event in behind if isinstance(event, BookSnapshot)} == {ETH, SOL}
            ids = one.ids()
            assert ids == sorted(set(ids))
            assert ids[-1] >= one.printed - 10

    run(work)


def test_a_quiet_line_is_replaced_without_a_word() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue) as one:
            await asyncio.sleep(20)
            venue.links[0].names.clear()  # the venue has forgotten us
            await asyncio.sleep(CARE.quiet_s + CARE.silence_s + CARE.agree_s + 5)
            assert one.disconnects == []
            assert len(venue.links) == 2
            assert venue.links[0].is_closed
            assert one.ids()[-1] >= one.printed - 1

    run(work)


def test_where_nothing_is_traded_lines_are_replaced_less_and_less_often() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue, instruments=[instrument("NO/NE")], prints=False) as one:
            await asyncio.sleep(3_600)
            assert 4 < len(venue.links) < 9
            assert one.disconnects == []

    run(work)


def test_a_replacement_that_fails_leaves_the_old_line_alone() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue) as one:
            await asyncio.sleep(20)
            venue.is_refusing = AWAY
            venue.links[0].push(SHUTDOWN)
            await asyncio.sleep(100)
            assert len(venue.attempts) > 5
            one.check_unbroken()
            venue.is_refusing = None
            await asyncio.sleep(60)
            assert len(venue.open_links) == 1
            assert venue.links[0].is_closed
            one.check_unbroken()

    run(work)


@pytest.mark.parametrize("delays", [[0.01, 0.5], [0.5, 0.01]])
def test_a_new_line_that_dies_during_the_handover_doubles_nothing(delays: list[float]) -> None:
    """The faster of the two has brought ticks first; the other one brings them again."""

    async def work(venue: ScriptedVenue) -> None:
        venue.delays = list(delays)
        async with reading(venue) as one:
            await asyncio.sleep(20)
            venue.links[0].push(SHUTDOWN)
            await asyncio.sleep(2.5)
            assert len(venue.open_links) == 2
            venue.links[1].end("cut")
            await asyncio.sleep(0.8)
            one.check_unbroken()
            await asyncio.sleep(20)
            one.check_unbroken()

    run(work)


def test_a_new_line_that_is_never_acknowledged_is_not_taken() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue) as one:
            await asyncio.sleep(20)
            venue.loses_message["SUBSCRIBE"] = 100
            venue.links[0].push(SHUTDOWN)
            await asyncio.sleep(100)
            assert not venue.links[0].is_closed
            one.check_unbroken()

    run(work)


def test_a_reader_that_stands_still_while_lines_are_replaced_misses_nothing() -> None:
    async def work(venue: ScriptedVenue) -> None:
        venue.delays = [0.01, 0.3, 0.01, 0.3] * 10
        async with reading(venue, Care(rotate_s=10.0, agree_s=3.0)) as one:
            for _ in range(5):
                await asyncio.sleep(7)
                one.is_stalled = True
                await asyncio.sleep(14)
                one.is_stalled = False
            await asyncio.sleep(5)
            assert len(venue.links) > 6
            one.check_unbroken()

    run(work)


def test_a_reader_that_stands_still_from_the_first_tick_on_misses_nothing() -> None:
    """The first line is replaced before the reader has come to where it began."""

    async def work(venue: ScriptedVenue) -> None:
        venue.delays = [0.01, 0.3, 0.01]
        async with reading(venue, Care(rotate_s=10.0, agree_s=3.0)) as one:
            one.is_stalled = True
            await asyncio.sleep(25)
            one.is_stalled = False
            await asyncio.sleep(4)
            one.check_unbroken()

    run(work)


def test_a_full_inbox_makes_the_venue_wait_and_nothing_is_lost() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue, Care(inbox=20)) as one:
            await asyncio.sleep(5)
            one.is_stalled = True
            await asyncio.sleep(300)
            assert venue.links[0].is_paused
            one.is_stalled = False
            await asyncio.sleep(5)
            assert len(venue.links) == 1
            one.check_unbroken()

    run(work)


def test_a_full_inbox_during_a_handover_loses_nothing() -> None:
    """Nobody is heard meanwhile, so nobody can agree; what still waits in the old line must not be cut."""

    async def work(venue: ScriptedVenue) -> None:
        venue.delays = [0.01, 1.0]
        async with reading(venue, Care(inbox=20, agree_s=3.0, settle_s=0.2)) as one:
            await asyncio.sleep(5)
            venue.links[0].delay_s = 3.0  # it is far behind
            await asyncio.sleep(5)
            venue.links[0].push(SHUTDOWN)
            await until(lambda: len(venue.links) == 2 and bool(venue.links[1].names))
            await asyncio.sleep(
                1.2
            )  # the new one is acknowledged, the old one has not come to where it began
            one.is_stalled = True
            await asyncio.sleep(60)
            one.is_stalled = False
            await asyncio.sleep(15)
            assert len(venue.open_links) == 1
            one.check_unbroken()

    run(work)


@settings(max_examples=30)
@given(
    delays=st.lists(st.floats(0.001, 1.5), min_size=20, max_size=20),
    rotate_s=st.floats(3.0, 20.0),
    settle_s=st.floats(0.1, 3.0),
    stalls=st.lists(st.tuples(st.floats(0.1, 12.0), st.floats(0.1, 12.0)), max_size=4),
    notices=st.lists(st.floats(0.1, 10.0), max_size=3),
)
def test_whatever_the_delays_replacing_lines_loses_and_doubles_nothing(
    delays: list[float],
    rotate_s: float,
    settle_s: float,
    stalls: list[tuple[float, float]],
    notices: list[float],
) -> None:
    async def work(venue: ScriptedVenue) -> None:
        async def stall(one: Reading) -> None:
            for pause, length in stalls:
                await asyncio.sleep(pause)
                one.is_stalled = True
                await asyncio.sleep(length)
                one.is_stalled = False

        async def notify() -> None:
            for pause in notices:
                await asyncio.sleep(pause)
                for link in venue.open_links:
                    link.push(SHUTDOWN)

        venue.delays = list(delays)
        async with reading(venue, Care(rotate_s=rotate_s, settle_s=settle_s)) as one:
            await asyncio.gather(stall(one), notify(), asyncio.sleep(40))
            await asyncio.sleep(4)
            assert len(venue.links) > 1
            one.check_unbroken()

    run(work)


def many(first: int, last: int) -> list[Instrument]:
    return [instrument(f"C{number}/USDT") for number in range(first, last)]


def streams_of(instruments: Sequence[Instrument]) -> set[str]:
    codes = [one.symbol.replace("/", "").lower() for one in instruments]
    return {f"{code}@{kind}" for code in codes for kind in ("trade", "depth@100ms")}


def test_1100_streams_take_two_connections_and_four_messages_a_second_each() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue, instruments=many(0, 550)):
            await asyncio.sleep(30)
            assert len(venue.links) == 2
            assert sorted(len(link.names) for link in venue.links) == [76, 1_024]
            assert set().union(*(link.names for link in venue.links)) == streams_of(many(0, 550))
            for link in venue.links:
                assert most_in_a_second(at for at, _, _ in link.said) <= 4

    run(work)


def test_what_is_followed_can_be_changed_without_a_new_connection() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue) as one:
            await asyncio.sleep(10)
            for step in range(1, 30):
                one.feed.follow([ETH, *many(step, step + 100)])
                await asyncio.sleep(0.1)
            await asyncio.sleep(60)
            assert len(venue.links) == 1
            (link,) = venue.links
            assert link.names == streams_of([ETH, *many(29, 129)])
            assert most_in_a_second(at for at, _, _ in link.said) <= 4
            assert one.ids()[-1] >= one.printed - 1
            sol = len(one.events)
            one.feed.follow([ETH, SOL])
            await asyncio.sleep(30)
            later = one.events[sol:]
            assert {event.instrument for event in later if isinstance(event, BookSnapshot)} == {SOL}
            assert one.ids(SOL)[-1] >= one.printed - 1
            assert one.disconnects == []

    run(work)


def test_what_is_followed_can_be_changed_while_there_is_no_connection() -> None:
    async def work(venue: ScriptedVenue) -> None:
        venue.is_refusing = AWAY
        async with reading(venue, instruments=[ETH]) as one:
            await asyncio.sleep(5)
            one.feed.follow([SOL])
            venue.is_refusing = None
            await asyncio.sleep(60)
            assert venue.links[0].names == streams_of([SOL])
            assert one.ids() == []
            assert one.ids(SOL)[-1] >= one.printed - 1

    run(work)


def test_a_refused_place_is_tried_again_for_the_stream_never_ends() -> None:
    async def work(venue: ScriptedVenue) -> None:
        venue.is_refusing = FeedRejected("not here")
        async with reading(venue) as one:
            await asyncio.sleep(60)
            venue.is_refusing = None
            await asyncio.sleep(60)
            assert one.ids()[-1] >= one.printed - 1

    run(work)


def test_a_mistake_of_our_own_ends_the_stream_loudly() -> None:
    """A keeper that died in silence would leave a stream that never says anything again."""

    async def work(venue: ScriptedVenue) -> None:
        venue.is_refusing = ZeroDivisionError("a mistake")  # type: ignore[assignment]
        one = Reading(venue, CARE)
        with pytest.raises(ZeroDivisionError):
            await one.read([ETH])

    run(work)


def test_a_mistake_while_a_book_is_fetched_ends_the_stream_loudly() -> None:
    async def work(venue: ScriptedVenue) -> None:
        venue._say = lambda _path, _parameters: ZeroDivisionError("a mistake")
        one = Reading(venue, CARE)
        with pytest.raises(ZeroDivisionError):
            await one.read([ETH])

    run(work)


def test_leaving_a_stream_closes_its_connections() -> None:
    async def work(venue: ScriptedVenue) -> None:
        async with reading(venue):
            await asyncio.sleep(10)
        assert venue.open_links == []
        assert len(asyncio.all_tasks()) == 1

    run(work)
