"""`bridge watch` against a real publisher on loopback."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import zmq
import zmq.asyncio
from rich.console import Console

from binance_proxy.adapters.zeromq.publisher import ZmqPublisher, open_publisher
from binance_proxy.bridge.listening import NoAnswer, Place
from binance_proxy.bridge.watch import NothingToWatch, Wanted, watch
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick
from served import publishing, serving

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT", price_precision=2, size_precision=1)
SOL = Instrument(venue="binance", market=Market.SPOT, symbol="SOL/USDT", price_precision=2, size_precision=1)
TS = 1_760_000_000_123_000_000
DEADLINE_S = 60.0


class Terminal(io.StringIO):
    """Remembers what was written to it, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Venue:
    """Publishes one instrument, and its status in between."""

    def __init__(self, publisher: ZmqPublisher, address: str) -> None:
        self.publisher = publisher
        self.address = address
        self.trades = 0
        self.update_id = 100
        self.asked = 0

    def status(self) -> None:
        self.publisher.publish_status({"instruments": {ETH.name: "in step", SOL.name: "in step"}})

    def trade(self, instrument: Instrument = ETH) -> None:
        self.trades += 1
        self.publisher.publish(
            TradeTick(
                instrument=instrument, ts_event=TS, ts_recv=TS, trade_id=self.trades, price=305012,
                size=self.trades, aggressor=Side.BUY,
            )
        )  # fmt: skip

    def quote(self) -> None:
        self.update_id += 1
        self.publisher.publish(
            QuoteTick(
                instrument=ETH, ts_event=TS, ts_recv=TS, first_update_id=self.update_id,
                last_update_id=self.update_id, bids=((305000, self.update_id),), asks=(),
            )
        )  # fmt: skip

    def snapshot(self) -> None:
        self.publisher.publish(
            BookSnapshot(
                instrument=ETH, ts_event=TS, ts_recv=TS, last_update_id=self.update_id,
                bids=((305000, self.update_id),), asks=((305025, 70),),
            )
        )  # fmt: skip

    def answer(self) -> None:
        """Send a snapshot to whoever has subscribed to the book, as a recording does."""
        if any(prefix.startswith(f"{ETH.name}.orderbook") for prefix in self.publisher.newcomers()):
            self.asked += 1
            self.snapshot()

    async def until(self, done: Callable[[], bool], *turn: Callable[[], None]) -> None:
        """Repeat the turn until it is done, however slow the machine is."""
        async with asyncio.timeout(DEADLINE_S):
            while not done():
                for act in turn:
                    act()
                await asyncio.sleep(0.05)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    address = free_address()
    async with open_publisher(
        json=address, msgpack=free_address(), epoch="one", high_water=1000, linger_s=0
    ) as publisher:
        yield Venue(publisher, address)


class Watching:
    """A running `watch`, and what it has written."""

    def __init__(
        self, address: str, file: io.StringIO, pair: str | None = "ETH/USDT", requests: str = ""
    ) -> None:
        self.file = file
        self.stop = asyncio.Event()
        console = Console(file=file, force_terminal=file.isatty() or None, width=100, height=30, _environ={})
        self.task = asyncio.create_task(
            watch(
                place=Place(publish=address, requests=requests),
                wanted=Wanted(pair, None, None),
                levels=5,
                console=console,
                stop=self.stop,
            )
        )

    def shows(self, text: str) -> Callable[[], bool]:
        """Return a question: has it been written since now?"""
        start = len(self.file.getvalue())

        def is_there() -> bool:
            if self.task.done():
                self.task.result()
                pytest.fail("it ended by itself")
            return text in self.file.getvalue()[start:]

        return is_there

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await self.task


async def test_a_terminal_shows_ladder_and_tape_and_is_restored(venue: Venue) -> None:
    watching = Watching(venue.address, Terminal())
    await venue.until(watching.shows("3050.25"), venue.status, venue.answer)
    updated = watching.shows("10.3")
    for _ in range(3):
        venue.quote()
    await venue.until(updated, venue.status)
    await venue.until(watching.shows("3050.12"), venue.trade)
    await watching.end()
    written = watching.file.getvalue()
    assert written.count("\x1b[?1049h") == written.count("\x1b[?1049l") == 1
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert "out of step" not in written.split("3050.25", 1)[1]


async def test_after_a_hole_no_book_is_shown_until_the_snapshot_that_is_asked_for(venue: Venue) -> None:
    watching = Watching(venue.address, Terminal())
    await venue.until(watching.shows("3050.25"), venue.status, venue.answer)
    topic = venue.publisher._topics[f"{ETH.name}.orderbook"]
    topic.sequence += 3  # as if three messages had been dropped on the way
    lost, asked = watching.shows("out of step"), venue.asked
    venue.quote()
    await venue.until(lost, venue.status)
    await venue.until(watching.shows("missed 3 messages"), venue.status, venue.trade)
    await venue.until(lambda: venue.asked > asked, venue.status, venue.answer)
    await venue.until(watching.shows("3050.25"), venue.status, venue.quote)
    assert "1 hole" in watching.file.getvalue()
    await watching.end()


async def test_a_bridge_that_comes_back_is_taken_up_again() -> None:
    address = free_address()
    addresses = {"json": address, "msgpack": free_address()}
    async with open_publisher(**addresses, epoch="one", high_water=1000, linger_s=0) as publisher:
        venue = Venue(publisher, address)
        watching = Watching(address, Terminal())
        await venue.until(watching.shows("3050.25"), venue.status, venue.answer)
    async with open_publisher(**addresses, epoch="two", high_water=1000, linger_s=0) as publisher:
        venue = Venue(publisher, address)
        restarted = watching.shows("the bridge was restarted")
        await venue.until(restarted, venue.status, venue.trade)
        await venue.until(watching.shows("3050.25"), venue.status, venue.answer)
    await watching.end()


async def test_a_pipe_gets_one_plain_line_a_trade(venue: Venue) -> None:
    watching = Watching(venue.address, io.StringIO(), pair=None)
    line = "2025-10-09T08:53:20.123Z binance.spot.ethusdt buy 3050.12 "
    await venue.until(watching.shows(line), venue.status, venue.trade, lambda: venue.trade(SOL))
    start = venue.trades
    for _ in range(2_000):
        venue.trade()
        if venue.trades % 100 == 0:
            await asyncio.sleep(0.01)
    last = f"{line}{(start + 2_000) / 10:g}\n"
    await venue.until(lambda: last in watching.file.getvalue())
    await watching.end()
    lines = watching.file.getvalue().splitlines()
    assert all(one.startswith(line) for one in lines)
    assert [one.split()[-1] for one in lines[-2_000:]] == [
        f"{size / 10:g}" for size in range(start + 1, start + 2_001)
    ]
    assert "\x1b" not in watching.file.getvalue()


async def test_what_was_lost_on_the_way_is_had_from_the_request_side(
    caplog: pytest.LogCaptureFixture,
) -> None:
    json, front_at = free_address(), free_address()
    async with (
        serving(front_at) as front,
        publishing(json, free_address(), epoch="one") as served,
    ):
        front.venue = served
        watching = Watching(json, io.StringIO(), pair=None, requests=front_at)
        number = 0

        def publish() -> None:
            nonlocal number
            number += 1
            served.publish(made_trade(number))

        def speak() -> None:
            served.publish_status({"instruments": {SOL.name: "in step"}})

        venue = Venue(served.publisher, json)
        await venue.until(watching.shows(" buy "), speak, publish)
        served.dropped = 1.0
        for _ in range(3):
            publish()
        served.dropped = 0.0
        publish()
        last = len(served.trades)
        await venue.until(lambda: shown(watching)[-1:] == [str(last)], speak)
        await watching.end()
    ids = shown(watching)
    assert ids == [str(size) for size in range(last - len(ids) + 1, last + 1)]
    assert served.drops == 3
    assert "missed" not in caplog.text


def made_trade(number: int) -> TradeTick:
    """Return a trade whose size says its number."""
    return TradeTick(
        instrument=SOL, ts_event=TS, ts_recv=TS, trade_id=number, price=305012, size=number * 10,
        aggressor=Side.BUY,
    )  # fmt: skip


def shown(watching: Watching) -> list[str]:
    """Return the sizes of all lines."""
    return [line.split()[-1] for line in watching.file.getvalue().splitlines()]


async def test_nobody_there_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binance_proxy.bridge.listening.ANSWER_S", 0.3)
    address = free_address()
    with pytest.raises(NoAnswer, match=f"no bridge answers on {address}; start one with `bridge run`"):
        await Watching(address, io.StringIO()).task


async def test_a_pair_that_the_bridge_lacks_is_named(venue: Venue) -> None:
    watching = Watching(venue.address, io.StringIO(), pair="BTC/USDT")
    await venue.until(watching.task.done, venue.status)
    with pytest.raises(NothingToWatch, match=r"has no BTC/USDT; it has binance\.spot\.ethusdt"):
        watching.task.result()


async def test_the_messagepack_endpoint_does_as_well() -> None:
    address = free_address()
    async with open_publisher(
        json=free_address(), msgpack=address, epoch="one", high_water=1000, linger_s=0
    ) as publisher:
        venue = Venue(publisher, address)
        watching = Watching(address, Terminal())
        await venue.until(watching.shows("3050.25"), venue.status, venue.answer)
        await watching.end()


async def test_a_bridge_that_sends_cloudevents_is_watched_too() -> None:
    address = free_address()
    async with open_publisher(
        json=address, msgpack=free_address(), epoch="one", high_water=1000, linger_s=0, cloudevents=True
    ) as publisher:
        venue = Venue(publisher, address)
        watching = Watching(address, Terminal())
        await venue.until(watching.shows("3050.25"), venue.status, venue.answer)
        await venue.until(watching.shows("3050.12"), venue.status, venue.trade)
        await watching.end()


async def test_what_is_no_bridge_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binance_proxy.bridge.listening.ANSWER_S", 1.0)
    address = free_address()
    with zmq.asyncio.Context() as context, context.socket(zmq.PUB) as other:
        other.setsockopt(zmq.LINGER, 0)
        other.bind(address)
        watching = Watching(address, io.StringIO())
        async with asyncio.timeout(DEADLINE_S):
            while not watching.task.done():
                await other.send_multipart([b"bridge.status", b"\xff"])
                await asyncio.sleep(0.02)
        with pytest.raises(ConfigError, match=f"what is published on {address} is not that of a bridge"):
            watching.task.result()


async def test_no_levels_are_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="levels = 0 is below 1"):
        await watch(
            place=Place(publish=free_address()),
            wanted=Wanted(None, None, None),
            levels=0,
            console=Console(file=io.StringIO()),
            stop=asyncio.Event(),
        )


async def test_no_address_is_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="'localhost' is not an address"):
        await Watching("localhost", io.StringIO()).task


async def test_a_stop_ends_the_search(venue: Venue) -> None:
    watching = Watching(venue.address, Terminal())
    await asyncio.sleep(0)
    await watching.end()
