"""Each thing that can go wrong on the way to Binance, against the real feed, and the defence that it meets.

Downstream is the real recording, over a store in memory: what it keeps and publishes is compared with what
the venue itself knows.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest
from aiohttp import web
from msgspec import structs

from binance_proxy.adapters.binance.settings import Care
from binance_proxy.adapters.binance.transport import Listing, Weighed
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.ports import FeedRejected, FeedUnavailable, TrackedPair
from binance_proxy.application.record import Recording
from binance_proxy.domain.scale import to_text, to_units
from binance_proxy.domain.tick import BookSnapshot, Disconnect, MarketEvent, QuoteTick, TradeTick
from binance_proxy.sandbox.settings import Faults
from live_feed import CARE, PAIRS, PATIENCE_S, WAYS, Live, Venue, open_live, open_venue, until
from loopback_venue import open_venue as open_loopback

both_ways = pytest.mark.parametrize("way", WAYS)


class Reading:
    """Reads a feed all the time, and keeps what comes."""

    def __init__(self) -> None:
        self.events: list[MarketEvent] = []

    @property
    def disconnects(self) -> list[Disconnect]:
        return [event for event in self.events if isinstance(event, Disconnect)]

    def books(self, symbol: str = "ETH/USDT") -> list[BookSnapshot]:
        return [
            one for one in self.events if isinstance(one, BookSnapshot) and one.instrument.symbol == symbol
        ]

    def trades(self, symbol: str = "ETH/USDT") -> list[int]:
        return [
            one.trade_id
            for one in self.events
            if isinstance(one, TradeTick) and one.instrument.symbol == symbol
        ]

    def quotes(self, symbol: str = "ETH/USDT") -> list[QuoteTick]:
        return [one for one in self.events if isinstance(one, QuoteTick) and one.instrument.symbol == symbol]

    async def more(self, count: int = 200) -> None:
        """Return once so many more events have come."""
        goal = len(self.events) + count
        await until(lambda: len(self.events) >= goal)

    def check_unbroken(self, symbols: Sequence[str] = ("ETH/USDT", "SOL/USDT")) -> None:
        """Check that no tick is missing, doubled or out of order."""
        assert self.disconnects == []
        for symbol in symbols:
            ids = self.trades(symbol)
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            quotes = self.quotes(symbol)
            assert all(
                later.first_update_id == earlier.last_update_id + 1 for earlier, later in pairwise(quotes)
            )


@asynccontextmanager
async def reading(live: Live, *, wanted: Sequence[TrackedPair] = PAIRS) -> AsyncIterator[Reading]:
    instruments = await live.feed.instruments(wanted)
    one = Reading()

    async def read() -> None:
        async with aclosing(live.feed.stream(instruments)) as stream:
            async for event in stream:
                one.events.append(event)

    task = asyncio.create_task(read())
    try:
        await one.more(50)
        yield one
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Recorded:
    """A recording that is under way."""

    def __init__(
        self, recording: Recording, store: MemoryStore, messages: list[tuple[str, dict[str, Any]]]
    ) -> None:
        self.recording = recording
        self.report = recording.report
        self.store = store
        self.messages = messages

    async def in_step(self) -> None:
        """Return once every book is right."""
        await until(lambda: not self.recording.stale)

    async def more(self, trades: int = 100) -> None:
        """Return once so many more trades and updates were applied, over all books."""
        applied, had = self.report.applied, self.report.trades
        await until(lambda: self.report.applied >= applied + trades and self.report.trades >= had + trades)

    async def follows(self, venue: Venue) -> int:
        """Check that every book that was served is the venue's at the same update; return how many were."""
        compared = 0
        for code in ("ethusdt", "solusdt"):
            true = await venue.checksums(code.upper())
            served = checksums_of(
                [body for topic, body in self.messages if topic.endswith(f"{code}.orderbook")]
            )
            assert served
            for update_id, checksum in served:
                assert true.get(update_id) == checksum, f"{code}: the book at {update_id} is wrong"
            compared += len(served)
        return compared


def checksums_of(bodies: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Follow messages as a reader does; return the checksum of the book at every update."""
    book: dict[tuple[str, int], int] = {}
    found: list[tuple[int, int]] = []
    total, is_right = 0, False

    def change(side: str, levels: Sequence[tuple[str, str]]) -> None:
        nonlocal total
        for price_text, size_text in levels:
            price, size = to_units(price_text, 8), to_units(size_text, 8)
            before = book.pop((side, price), 0)
            total -= crc(side, price, before) if before else 0
            if size:
                book[side, price] = size
                total += crc(side, price, size)

    for body in bodies:
        if body["type"] == "stale":
            is_right = False
        elif body["type"] == "snapshot":
            book.clear()
            total, is_right = 0, True
        if is_right and body["type"] in {"snapshot", "quote"}:
            change("b", body["bids"])
            change("a", body["asks"])
            found.append((body["last_update_id"], total % 2**64))
    return found


def crc(side: str, price: int, size: int) -> int:
    return crc32(f"{side}{to_text(price, 8)}:{to_text(size, 8)}".encode())


@asynccontextmanager
async def recorded(
    live: Live, *, repairs: bool = False, wanted: Sequence[TrackedPair] = PAIRS
) -> AsyncIterator[Recorded]:
    store, publisher = MemoryStore(), MemoryPublisher()
    pairs = {pair.symbol: pair for pair in wanted}

    async def tracked() -> Sequence[TrackedPair]:
        return list(pairs.values())

    store.registry.pairs = tracked  # type: ignore[method-assign]
    messages = publisher.listen()
    recording = Recording(
        feed=live.feed,
        store=store,
        pairs=store.registry,
        registry=store.registry,
        publisher=publisher,
        clock=SystemClock(),
        settings=RecordSettings(snapshot_interval_s=3_600.0),
        publish_snapshot_s=0.5,
        history=live.history if repairs else None,
    )
    await recording.prepare()
    stop = asyncio.Event()
    running = asyncio.create_task(recording.run(stop))
    one = Recorded(recording, store, messages)
    try:
        await one.in_step()
        await one.more()
        yield one
        stop.set()
        await asyncio.wait_for(running, PATIENCE_S)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# Frames


async def test_dropped_trades_are_gaps_that_the_venue_fills() -> None:
    """Defence: ids are counted, and what is missing is asked for."""
    async with open_venue() as venue, open_live("direct", venue) as live, recorded(live, repairs=True) as one:
        await venue.fault("drop", count=20, stream="ethusdt@trade")
        await venue.has_fired("drop", 20)
        await one.more()
        assert one.report.gaps > 0
        await until(lambda: one.report.repaired == one.report.gaps)
        assert one.report.fetched >= 20
        await until(lambda: one.recording.waiting == 0)
        (eth,) = [each for each in one.recording.instruments if each.symbol == "ETH/USDT"]
        ids = [each.trade_id async for each in one.store.scan(TradeTick, eth, 0, 2**62)]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_after_a_dropped_update_the_book_is_stale_until_it_is_the_venues_again() -> None:
    """Defence: a book is given up at a hole; another one is believed once updates follow it."""
    async with open_venue(checksums=True) as venue, open_live("direct", venue) as live, recorded(live) as one:
        for number in range(1, 5):
            await venue.fault("drop", stream="ethusdt@depth@100ms")
            await venue.has_fired("drop", number)
            await until(lambda number=number: one.report.resyncs >= number)
            await one.in_step()
        await one.more()
        assert one.report.gaps >= 4
        assert one.report.disconnects == 0
        stale = [
            body
            for topic, body in one.messages
            if topic.endswith("ethusdt.orderbook") and body["type"] == "stale"
        ]
        assert len(stale) >= 4
        assert await one.follows(venue) > 200


async def test_a_duplicate_is_passed_on_once() -> None:
    """Defence: ids that were seen are not passed on again."""
    faults = Faults(duplicate=0.2)
    async with (
        open_venue(checksums=True, faults=faults) as venue,
        open_live("direct", venue) as live,
        recorded(live) as one,
    ):
        await one.more(200)
        assert one.report.duplicates > 10
        assert one.report.gaps == one.report.resyncs == 0
        ids = [body["trade_id"] for topic, body in one.messages if topic.endswith("ethusdt.trades")]
        assert ids == sorted(set(ids))
        await one.follows(venue)
        assert await venue.fired("duplicate") > 10


@pytest.mark.parametrize("fault", ["delay", "reorder"])
async def test_what_comes_late_or_in_another_order_leaves_no_hole_and_no_wrong_book(fault: str) -> None:
    """Defence: late trades close their gaps; a book that was overtaken is fetched anew."""
    faults = Faults(delay_s=0.2, **{fault: 0.02})
    async with (
        open_venue(checksums=True, faults=faults) as venue,
        open_live("direct", venue) as live,
        recorded(live) as one,
    ):
        await venue.has_fired(fault, 20)
        await venue.no_more_faults()
        await one.more()
        await one.in_step()
        trades = [body["trade_id"] for topic, body in one.messages if topic.endswith("ethusdt.trades")]
        newest = max(trades)
        await until(
            lambda: (
                set(range(min(trades), newest))
                <= {body["trade_id"] for topic, body in one.messages if topic.endswith("ethusdt.trades")}
            )
        )
        assert one.report.gaps > 0
        assert one.report.repaired > 0
        await one.follows(venue)


async def test_a_corrupt_frame_is_counted_and_what_it_said_is_missed() -> None:
    """Defence: frames are read strictly; what cannot be used is a `BadFrame`, and ids show what it was."""
    faults = Faults(corrupt=0.05)
    async with (
        open_venue(checksums=True, faults=faults) as venue,
        open_live("direct", venue) as live,
        recorded(live, repairs=True) as one,
    ):
        await venue.has_fired("corrupt", 30)
        await venue.no_more_faults()
        await one.more()
        assert sum(one.report.bad.values()) >= 25
        assert one.report.disconnects == 0
        await one.in_step()
        await one.follows(venue)
        await until(lambda: one.report.repaired > 0)


# Connections


@both_ways
async def test_a_cut_is_a_disconnect_and_another_connection_takes_over(way: str) -> None:
    """Defence: the end of a link is noticed at once; the streams and the books come again."""
    async with open_venue(checksums=True) as venue, open_live(way, venue) as live, recorded(live) as one:
        for number in range(1, 6):
            await venue.fault("cut")
            await until(lambda number=number: one.report.disconnects == number)
            await one.in_step()
            await one.more(20)
        assert await one.follows(venue) > 200


@both_ways
async def test_a_frozen_connection_is_noticed_within_seconds(way: str) -> None:
    """Defence: a line that says nothing is asked, and is dead if it does not answer."""
    care = replace(CARE, silence_s=2.0)
    async with open_venue() as venue, open_live(way, venue, care) as live, reading(live) as one:
        loop = asyncio.get_running_loop()
        await venue.fault("freeze")
        since = loop.time()
        await until(lambda: one.disconnects)
        assert loop.time() - since < 10 * care.silence_s
        assert "nothing was heard" in one.disconnects[0].reason
        await one.more()


@both_ways
async def test_an_announced_shutdown_loses_and_doubles_nothing(way: str) -> None:
    """Defence: a second connection takes over before the first one ends."""
    async with (
        open_venue(rate=1_000.0) as venue,
        open_live(way, venue, wrap=Connecting) as live,
        reading(live) as one,
    ):
        connecting: Any = live.transport
        for number in range(1, 11):
            await venue.fault("shutdown", count=1)
            await until(lambda number=number: connecting.opened > number)
            await venue.has_connections(1)
        await one.more()
        one.check_unbroken()
        assert await venue.fired("shutdown") == 10


async def test_an_old_connection_is_replaced_before_the_venue_cuts_it() -> None:
    """Defence: rotation, well before the lifetime of a connection is over."""
    care = replace(CARE, rotate_s=0.5)
    async with (
        open_venue(lifetime_s=3.0, shutdown_notice_s=0.0) as venue,
        open_live("direct", venue, care) as live,
        reading(live) as one,
    ):
        begun = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > begun + 3.5)
        await one.more()
        one.check_unbroken()


async def test_a_connection_that_the_venue_cuts_for_its_age_is_a_disconnect() -> None:
    """Defence: what is not replaced in time is opened again."""
    async with (
        open_venue(lifetime_s=1.0, shutdown_notice_s=0.0) as venue,
        open_live("direct", venue) as live,
        reading(live) as one,
    ):
        await until(lambda: len(one.disconnects) >= 2)
        assert "closed the connection" in one.disconnects[0].reason
        await one.more()


@both_ways
async def test_refused_connections_are_tried_again(way: str) -> None:
    """Defence: attempts go on, with pauses."""
    async with open_venue() as venue, open_live(way, venue) as live, reading(live) as one:
        await venue.fault("refuse", seconds=1.0)
        await venue.fault("cut")
        await until(lambda: one.disconnects)
        await venue.has_fired("refuse", 3)
        before = len(one.books())
        await one.more()
        await until(lambda: len(one.books()) > before)
        assert len(one.disconnects) == 1


# Requests


async def test_a_stale_book_is_not_believed() -> None:
    """Defence: a book is believed only if the updates follow it, else another one is fetched."""
    async with (
        open_venue(checksums=True, rate=600.0) as venue,
        open_live("direct", venue) as live,
        recorded(live) as one,
    ):
        await until(lambda: one.report.applied > 1_000)  # so that there is a stale one
        await venue.fault("stale_snapshot", count=3, endpoint="depth")
        await venue.fault("cut")
        await venue.has_fired("stale_snapshot", 3)
        await one.in_step()
        await one.more()
        assert one.report.resyncs >= 2
        await one.follows(venue)


@both_ways
@pytest.mark.parametrize("fault", ["server_error", "offline"])
async def test_a_book_that_is_not_answered_is_asked_for_again(way: str, fault: str) -> None:
    """Defence: requests that fail are repeated, with pauses."""
    async with open_venue() as venue, open_live(way, venue) as live, reading(live) as one:
        (eth, _) = await live.feed.instruments(PAIRS)
        before = len(one.books())
        await venue.fault(fault, count=4)
        live.feed.resync(eth)
        await venue.has_fired(fault, 4)
        await until(lambda: len(one.books()) > before)
        assert one.disconnects == []


async def test_a_slow_answer_holds_up_nobody() -> None:
    """Defence: books are fetched beside the stream, which goes on meanwhile."""
    async with (
        open_venue(faults=Faults(slow_s=2.0)) as venue,
        open_live("direct", venue, wrap=Counting) as live,
        reading(live) as one,
    ):
        counting: Any = live.transport
        (eth, _) = await live.feed.instruments(PAIRS)
        await until(lambda: one.books() and one.books("SOL/USDT"))
        books, answers = len(one.books()), len(counting.answers)
        await venue.fault("slow", count=1)
        live.feed.resync(eth)
        await venue.has_fired("slow")
        await one.more(100)
        assert len(counting.answers) == answers
        await until(lambda: len(one.books()) > books)
        one.check_unbroken()


async def test_no_answer_at_all_is_given_up_and_asked_again() -> None:
    """Defence: a request has a timeout."""
    async with (
        open_venue(faults=Faults(slow_s=100 * PATIENCE_S)) as venue,
        open_live("direct", venue, timeout_s=1.0) as live,
        reading(live) as one,
    ):
        (eth, _) = await live.feed.instruments(PAIRS)
        before = len(one.books())
        await venue.fault("slow", count=1)
        live.feed.resync(eth)
        await venue.has_fired("slow")
        await until(lambda: len(one.books()) > before)


class Counting:
    """Counts the requests that go out, for what is asked meanwhile is what a ban is about."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.asked: list[float] = []
        self.answers: list[tuple[float, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def get(self, path: str, parameters: Any) -> Any:
        loop = asyncio.get_running_loop()
        self.asked.append(loop.time())
        answer = await self._transport.get(path, parameters)
        self.answers.append((loop.time(), answer.status))
        return answer


@pytest.mark.parametrize(
    ("way", "fault", "status", "pause_s"),
    [("direct", "throttle", 429, 1.0), ("ccxt", "throttle", 429, 1.0), ("direct", "ban", 418, 2.0)],
)
async def test_a_venue_that_wants_to_be_left_alone_is_left_alone(
    way: str, fault: str, status: int, pause_s: float
) -> None:
    """Defence: after 429 and 418 nothing is asked until ``Retry-After`` is over; the streams go on."""
    async with open_venue() as venue, open_live(way, venue, wrap=Counting) as live, reading(live) as one:
        counting: Any = live.transport
        instruments = await live.feed.instruments(PAIRS)
        await until(lambda: one.books() and one.books("SOL/USDT"))
        before = len(one.books()), len(one.books("SOL/USDT"))
        how = {"seconds": pause_s} if fault == "ban" else {"count": 1}
        await venue.fault(fault, endpoint="depth", **how)
        live.feed.resync(instruments[0])
        await venue.has_fired(fault)
        await until(lambda: counting.answers[-1][1] == status)
        refused_at, asked = counting.answers[-1][0], len(counting.asked)
        for instrument in instruments:
            live.feed.resync(instrument)
        while asyncio.get_running_loop().time() < refused_at + 0.9 * pause_s:
            assert len(counting.asked) == asked
            await one.more(5)
        await until(lambda: len(one.books()) > before[0] and len(one.books("SOL/USDT")) > before[1])
        assert min(counting.asked[asked:]) >= refused_at + pause_s
        assert await venue.fired(fault) == 1
        assert one.disconnects == []


@both_ways
async def test_a_place_that_is_not_served_is_said_at_the_start_with_what_to_do(way: str) -> None:
    """Defence: 451 is told from a failure that passes."""
    async with open_venue(faults=Faults(place=1.0)) as venue, open_live(way, venue) as live:
        with pytest.raises(FeedRejected, match=r"451.*rest_url.*data-api\.binance\.vision"):
            await live.feed.instruments(PAIRS)


async def test_a_place_that_is_not_served_any_more_is_said_once_and_the_streams_go_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defence: the book stays stale, visibly, and is asked for again later; nothing else suffers."""
    monkeypatch.setattr("binance_proxy.adapters.binance.snapshots.REJECTED_PAUSE_S", 0.3)
    async with open_venue() as venue, open_live("direct", venue) as live, reading(live) as one:
        (eth, _) = await live.feed.instruments(PAIRS)
        before = len(one.books())
        await venue.fault("place", seconds=1.0)
        live.feed.resync(eth)
        await venue.has_fired("place", 2)
        await one.more(50)
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(said) == 1
        assert "ETH/USDT" in said[0] or "ethusdt" in said[0]
        assert "451" in said[0]
        await until(lambda: len(one.books()) > before)
        assert one.disconnects == []


async def test_a_wrong_key_does_not_matter_to_market_data() -> None:
    """Defence: single trades of the past are refused, and aggregated ones fill the gap in their place."""
    async with (
        open_venue(api_keys=("right",)) as venue,
        open_live("direct", venue, api_key="wrong") as live,
        recorded(live, repairs=True) as one,
    ):
        await venue.fault("drop", count=5, stream="ethusdt@trade")
        await venue.has_fired("drop", 5)
        await until(lambda: one.report.gaps > 0)
        await until(lambda: one.report.repaired == one.report.gaps)


async def test_a_key_that_is_refused_for_everything_is_said_with_what_to_do() -> None:
    """Defence: the refusal of a key is told from a failure that passes."""

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"code": -2014, "msg": "API-key format invalid."}, status=401)

    async with open_loopback() as venue:
        venue.reply = refuse
        async with open_live("direct", venue, api_key="wrong") as live:
            with pytest.raises(FeedRejected, match=r"feed\.binance\.api_key"):
                await live.feed.instruments(PAIRS)


class Halting:
    """Lists one pair as halted."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def listings(self, weighed: Weighed) -> Sequence[Listing]:
        return [
            structs.replace(one, trading=one.symbol != "SOL/USDT")
            for one in await self._transport.listings(weighed)
        ]


@both_ways
async def test_unknown_and_halted_pairs_are_each_said_once_and_the_rest_goes_on(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Defence: pairs are looked up in the venue's own list before anything is asked of them."""
    wanted = [*PAIRS, TrackedPair(symbol="ETH/USDTT"), TrackedPair(symbol="ETH/USDT", market="usdm")]  # type: ignore[arg-type]
    async with (
        open_venue() as venue,
        open_live(way, venue, wrap=Halting) as live,
        reading(live, wanted=wanted) as one,
    ):
        await one.more()
        assert one.trades("SOL/USDT") == []
        one.check_unbroken(["ETH/USDT"])
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in said if "SOL/USDT" in line and "halted" in line]) == 1
    assert len([line for line in said if "ETH/USDTT" in line and "did you mean ETH/USDT?" in line]) == 1
    assert len([line for line in said if "spot only" in line]) == 1
    assert len(said) == 3


async def test_a_pair_that_is_delisted_while_it_is_recorded_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Defence: a book that is refused is said once; the other pairs share nothing with it but the line."""
    async with open_venue() as venue, open_live("direct", venue) as live:
        instruments = await live.feed.instruments(PAIRS)
        gone = structs.replace(instruments[0], symbol="GONE/USDT")
        one = Reading()

        async def read() -> None:
            async with aclosing(live.feed.stream([gone, *instruments])) as stream:
                async for event in stream:
                    one.events.append(event)

        task = asyncio.create_task(read())
        await until(lambda: one.books() and one.books("SOL/USDT"))
        await until(lambda: any(record.levelno >= logging.ERROR for record in caplog.records))
        await one.more()
        one.check_unbroken()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said) == 1
    assert said[0].startswith("there is no book of")
    assert "there is no pair GONE/USDT" in said[0]


class Network:
    """Nobody answers until it is up."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.is_up = False
        self.attempts = 0

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._transport, name)

        async def call(*given: Any) -> Any:
            self.attempts += 1
            if not self.is_up:
                raise FeedUnavailable("the network is unreachable")
            return await called(*given)

        return call


@both_ways
async def test_without_a_network_at_the_start_it_is_waited_for(way: str) -> None:
    """Defence: nobody to ask is a failure that passes, and a stream goes on trying."""
    async with open_venue() as venue, open_live(way, venue) as live:
        instruments = await live.feed.instruments(PAIRS)
        nowhere = structs_of("http://127.0.0.1:9", "ws://127.0.0.1:9")
        async with open_live(way, nowhere) as lost:
            with pytest.raises(FeedUnavailable):
                await lost.feed.instruments(PAIRS)
        async with open_live(way, venue, wrap=Network) as late:
            network: Any = late.transport
            with pytest.raises(FeedUnavailable):
                await late.feed.instruments(PAIRS)
            one = Reading()

            async def read() -> None:
                async with aclosing(late.feed.stream(instruments)) as stream:
                    async for event in stream:
                        one.events.append(event)

            task = asyncio.create_task(read())
            await until(lambda: network.attempts > 5)
            network.is_up = True
            await until(lambda: one.books() and one.books("SOL/USDT"))
            await one.more()
            one.check_unbroken()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def structs_of(rest_url: str, stream_url: str) -> Any:
    """Return the addresses of a venue that is not there."""

    class Nowhere:
        pass

    nowhere: Any = Nowhere()
    nowhere.rest_url, nowhere.stream_url = rest_url, stream_url
    return nowhere


# Replacing connections under load


async def test_ten_rotations_under_load_lose_and_double_nothing() -> None:
    """Defence: the handover. Neither a `Disconnect`, nor a gap, nor a duplicate comes out of the feed."""
    care = Care(rotate_s=0.5, settle_s=0.2, silence_s=20.0, longest_pause_s=0.1)

    async def rotate(venue: Venue, way: str) -> None:
        async with open_live(way, venue, care, wrap=Connecting) as live, reading(live) as one:
            connecting: Any = live.transport
            await until(lambda: connecting.opened > 10)
            await one.more()
            one.check_unbroken()

    async with open_venue(rate=1_000.0) as venue:
        await asyncio.gather(*(rotate(venue, way) for way in WAYS))


class Connecting:
    """Counts the connections that were opened."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.opened = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def connect(self, *given: Any) -> Any:
        link = await self._transport.connect(*given)
        self.opened += 1
        return link
