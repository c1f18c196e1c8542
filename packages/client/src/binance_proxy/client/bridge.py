"""A bridge, as a program of yours sees it."""

import asyncio
import os
import socket as system_socket
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, TypeVar, Unpack, cast

import zmq.asyncio

from binance_proxy.client.book import OrderBook
from binance_proxy.client.calls import Answer
from binance_proxy.client.errors import BookStale, BridgeAway, UnknownPair, WrongAddress
from binance_proxy.client.follow import position
from binance_proxy.client.follow_book import BookFollower
from binance_proxy.client.follow_events import QUEUE, EventFollower, TradeFollower
from binance_proxy.client.frames import Frame, Library, candles_frame, trades_frame
from binance_proxy.client.messages import (
    Candle,
    Gap,
    Missed,
    Quote,
    Snapshot,
    Stale,
    Status,
    Trade,
    read_fields,
)
from binance_proxy.client.methods import Methods, Place, Time
from binance_proxy.client.requests import Requests, open_requests
from binance_proxy.client.wire import Followed, Traffic, Wire, open_wire

LONGEST_NAME = 100
"""Characters of what the bridge calls us."""
MOST_REPORTED, LONGEST_TOPIC, LARGEST_REPORT = 100, 200, 12_000
"""Topics of which the bridge is told how far we are, their characters, and about the bytes of all of it. The
bridge refuses a report with more, and cuts off who sends a much larger one."""
TURN = 256
"""Events that are handed on before other tasks get a turn."""

Handed = TypeVar("Handed")


class Bridge(Methods):
    """A connection to a running bridge: live streams, books that are right or say so, and every question.

    ```python
    async with Bridge() as bridge:
        async for trade in bridge.trades("ETH/USDT"):
            print(trade)
    ```

    ZeroMQ connects again by itself after a broken link; what was missed meanwhile is repaired or told. Use it
    in one event loop. `SyncBridge` is the same without ``async``.
    """

    def __init__(  # noqa: PLR0913  each by its name
        self,
        host: str = "127.0.0.1",
        *,
        publish: str | None = None,
        requests: str | None = None,
        control: str | None = None,
        name: str | None = None,
        timeout_s: float = 10.0,
        silence_s: float = 3.0,
        queue: int = QUEUE,
        report_s: float = 5.0,
    ) -> None:
        """Say where the bridge is; nothing is opened before the block is entered.

        Args:
            host: Where all three sockets are, at their usual ports.
            publish: Its publishing endpoint, MessagePack or JSON; ``tcp://{host}:5556`` if left out, and
                ``""`` to ask only, and follow nothing.
            requests: Its request side; ``tcp://{host}:5557`` if left out, and ``""`` if it has none.
            control: Its control socket; ``tcp://{host}:5558`` if left out, and ``""`` if it has none.
            name: What the bridge calls us in its status; host, process and a number if left out.
            timeout_s: How long an answer, the bridge's first word, or a book may take.
            silence_s: After so long without a word of the bridge no book is in step; it speaks once a second.
            queue: Events of one stream that may wait to be read. When it is full nothing is lost: the stream
                stops taking from the topic, and once half of it is read asks the bridge for what it missed.
            report_s: How often the bridge is told how far we are, for its status.
        """
        own = f"{system_socket.gethostname()[-60:]}-{os.getpid()}-{id(self):x}"
        self.name = (name or own)[:LONGEST_NAME]
        self._publish = f"tcp://{host}:5556" if publish is None else publish
        self._requests_at = f"tcp://{host}:5557" if requests is None else requests
        self._control_at = f"tcp://{host}:5558" if control is None else control
        self._timeout_s, self._silence_s = timeout_s, silence_s
        self._queue, self._report_s = queue, report_s
        self._stack = AsyncExitStack()
        self._opened: tuple[Wire | None, Requests | None, Requests | None] | None = None
        self._books: dict[str, Followed[BookFollower]] = {}
        self._readers: Counter[str] = Counter()
        """By topic, how many read a book; who was given one to keep reads it until the end."""

    async def __aenter__(self) -> "Bridge":
        """Connect, and wait until the bridge has said how it is, if it is to be followed.

        Raises:
            BridgeAway: It says nothing within ``timeout_s``.
            WrongAddress: An address is none, or what is published there cannot be read.
        """
        async with AsyncExitStack() as stack:
            context = zmq.asyncio.Context()
            stack.callback(context.destroy, linger=0)
            requests = await self._connect(stack, context, self._requests_at)
            control = await self._connect(stack, context, self._control_at)
            wire = await self._listen(stack, context, requests) if self._publish else None
            self._opened = wire, requests, control
            if control is not None and wire is not None:
                reporting = asyncio.create_task(self._report(control))
                stack.push_async_callback(_ended, reporting)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything. Books are out of step from now on."""
        for followed in self._books.values():
            followed.follower.doubt("the connection was closed")
        self._books.clear()
        self._opened = None
        await self._stack.aclose()

    async def _listen(
        self, stack: AsyncExitStack, context: zmq.asyncio.Context, requests: Requests | None
    ) -> Wire:
        wire = await stack.enter_async_context(open_wire(context, self._publish, requests, self._silence_s))
        try:
            async with asyncio.timeout(self._timeout_s):
                await wire.news.wait()
        except TimeoutError:
            if wire.traffic().unreadable:
                raise WrongAddress(f"what is published on {self._publish} is not that of a bridge") from None
            raise BridgeAway(f"no bridge is heard on {self._publish} within {self._timeout_s:g} s") from None
        return wire

    async def _connect(
        self, stack: AsyncExitStack, context: zmq.asyncio.Context, address: str
    ) -> Requests | None:
        if not address:
            return None
        return await stack.enter_async_context(open_requests(context, address))

    @property
    def status(self) -> Status:
        """What the bridge said of itself last; it does so once a second."""
        return self._wire.status or Status()

    @property
    def said(self) -> dict[str, Any]:
        """What `status` was made of, field by field as the bridge said it."""
        return read_fields(self._wire.said)

    @property
    def traffic(self) -> Traffic:
        """What has come so far of what is followed, and what was missing in it."""
        return self._wire.traffic()

    @property
    def silence(self) -> str | None:
        """Why nobody knows how the bridge is: nothing was heard of it for too long. `None` if it is heard."""
        return self._wire.silence()

    def trades(
        self, *symbols: str, venue: str | None = None, market: str | None = None
    ) -> AsyncGenerator[Trade | Missed]:
        """Yield each trade of these pairs once, from now on, as it is published.

        Trades that the bridge fetched late come late, with their old ``ts_event``. After a broken link, a
        full queue, or a restart of the bridge, what was missed is fetched and comes first. What cannot be had
        is told by a `Missed`, which names the ids. Read it under `contextlib.aclosing`.

        Raises:
            UnknownPair: The bridge does not record it.
        """
        return cast(
            "AsyncGenerator[Trade | Missed]", self._flat(self.batches("trades", symbols, venue, market))
        )

    def candles(
        self, symbol: str, timeframe: str = "1m", *, venue: str | None = None, market: str | None = None
    ) -> AsyncGenerator[Candle | Missed]:
        """Yield candles of a pair as they are published: open ones as they grow, closed and corrected ones.

        The newest about a period is the right one. Otherwise like `trades`; a `Missed` says how many messages
        could not be had. The bridge publishes the timeframes of its ``record.timeframes``.
        """
        stream = f"candles.{timeframe}"
        return cast(
            "AsyncGenerator[Candle | Missed]", self._flat(self.batches(stream, (symbol,), venue, market))
        )

    def gaps(
        self, *symbols: str, venue: str | None = None, market: str | None = None
    ) -> AsyncGenerator[Gap | Missed]:
        """Yield the known holes in what the bridge records: first those open or lost, then each change.

        Of these pairs; without any, of all that are recorded now. Otherwise like `trades`.
        """
        return cast("AsyncGenerator[Gap | Missed]", self._flat(self.batches("gaps", symbols, venue, market)))

    def quotes(
        self, symbol: str, *, venue: str | None = None, market: str | None = None
    ) -> AsyncGenerator[Quote | Snapshot | Stale | Missed]:
        """Yield what is published of a book, as it is. `book` and `books` make a book of it."""
        return cast(
            "AsyncGenerator[Quote | Snapshot | Stale | Missed]",
            self._flat(self.batches("orderbook", (symbol,), venue, market)),
        )

    async def book(self, symbol: str, *, venue: str | None = None, market: str | None = None) -> OrderBook:
        """Return the live book of a pair once it is in step; it is kept up to date from then on.

        While it is not in step, reading it raises `BookStale`; it gets back into step by itself.

        Raises:
            UnknownPair: The bridge does not record it.
            BookStale: It is not in step within ``timeout_s``. The message says why.
        """
        followed = await self._book(symbol, venue, market)
        book = followed.follower.book
        self._readers[followed.follower.topic] += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                while not book.in_step:
                    followed.wake.clear()
                    await followed.wake.wait()
        except TimeoutError:
            raise BookStale(f"{symbol}: {book.reason or 'it was not in step in time'}") from None
        return book

    async def books(
        self, symbol: str, *, venue: str | None = None, market: str | None = None
    ) -> AsyncGenerator[OrderBook]:
        """Yield the live book of a pair, the same object each time, whenever it has changed.

        Also when it falls out of step: then ``book.in_step`` is false, and reading prices raises `BookStale`.
        Nothing queues up: who is slow gets the newest book, and not each update of it. The book is kept up to
        date as long as this is open, and out of step once nobody reads it any more. Read it under
        `contextlib.aclosing`.
        """
        followed = await self._book(symbol, venue, market)
        follower, wire = followed.follower, self._wire
        book, changed = follower.book, asyncio.Event()
        seen: object = None
        self._readers[follower.topic] += 1
        followed.wakes.append(changed)
        try:
            while not wire.is_closed:
                changed.clear()
                state = follower.epoch, book.state
                if state == seen:
                    await changed.wait()
                    continue
                seen = state
                yield book
                await asyncio.sleep(0)
        finally:
            followed.wakes.remove(changed)
            self._leave_book(followed)

    def _leave_book(self, followed: Followed[BookFollower]) -> None:
        """Follow a book no more if this was its last reader."""
        follower = followed.follower
        name = follower.topic.removesuffix(".orderbook")
        self._readers[follower.topic] -= 1
        if not self._readers[follower.topic] and self._books.get(name) is followed:
            del self._books[name]
            self._wire.leave(followed)
            follower.doubt("nobody follows it any more")

    async def _book(self, symbol: str, venue: str | None, market: str | None) -> Followed[BookFollower]:
        name = await self._name_of(symbol, venue, market)
        followed = self._books.get(name)
        if followed is None:
            follower = BookFollower(f"{name}.orderbook", symbol, can_ask=bool(self._requests_at))
            wire = self._wire
            follower.book.doubt = wire.silence
            followed = self._books[name] = Followed(follower)
            wire.join(followed)
        return followed

    async def candles_frame(
        self,
        symbol: str,
        timeframe: str = "1m",
        *,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        to: Library = "pandas",
        **place: Unpack[Place],
    ) -> Frame:
        """Return candles as a frame of pandas or Polars, the open one too.

        Columns ``open high low close volume quote_volume vwap`` are floats; ``trades``, ``closed`` and
        ``complete`` are there too. In pandas ``start`` is the index, a `DatetimeIndex` in UTC; in Polars it
        is a column. It goes by Arrow if pyarrow is installed. ``place`` is ``venue`` and ``market``.

        Args:
            symbol: Such as ``ETH/USDT``.
            timeframe: Such as ``1m``.
            start: The first moment; without it the newest ``limit`` candles, 1,000 if that is left out too.
            end: The moment behind the last.
            limit: At most so many; all of a range with ``start`` if left out.
            to: ``pandas`` or ``polars``.
            **place: ``venue`` and ``market``.

        Raises:
            Unavailable: The library is not installed.
            RequestFailed: The bridge refuses.
        """
        limit = 1_000 if limit is None and start is None else limit
        params = {"symbol": symbol, "timeframe": timeframe, "start": start, "end": end, **place}
        return await candles_frame(self, to, limit, params)

    async def trades_frame(
        self,
        symbol: str,
        *,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        to: Library = "pandas",
        **place: Unpack[Place],
    ) -> Frame:
        """Return trades as a frame, like `candles_frame`: ``ts_event trade_id price size aggressor``."""
        limit = 1_000 if limit is None and start is None else limit
        params = {"symbol": symbol, "start": start, "end": end, **place}
        return await trades_frame(self, to, limit, params)

    async def ask(self, method: str, params: Mapping[str, object], timeout_s: float | None = None) -> Answer:
        """Ask, and return the answer as it came. Parameters that are `None` are left out.

        Raises:
            RequestFailed: The bridge refuses.
            RequestTimedOut: There was no answer in time.
            BridgeAway: Nothing was there to ask.
        """
        _, requests, control = self._parts
        if method == "bridge.status" and control is not None:
            requests = control  # so that it never waits behind a query
        if requests is None:
            raise BridgeAway(f"{method}: this bridge is used without its request side")
        given = {key: value for key, value in params.items() if value is not None}
        return await requests.call(method, given, timeout_s=timeout_s or self._timeout_s)

    async def batches(
        self, stream: str, symbols: Sequence[str], venue: str | None = None, market: str | None = None
    ) -> AsyncGenerator[list[Any]]:
        """Yield what a stream has, as lists of what has come; the streams above are made of it."""
        wire = self._wire
        can_ask = bool(self._requests_at)
        followed: list[Followed[EventFollower]] = []
        wake = asyncio.Event()
        try:
            for name, symbol in await self._names_of(symbols, venue, market):
                topic = f"{name}.{stream}"
                follower = (
                    TradeFollower(topic, symbol, can_ask=can_ask, queue=self._queue)
                    if stream == "trades"
                    else EventFollower(topic, can_ask=can_ask, queue=self._queue)
                )
                followed.append(Followed(follower, wake))
                wire.join(followed[-1])
            while not wire.is_closed:
                wake.clear()
                events = [event for one in followed for event in _taken(one.follower)]
                for one in followed:
                    wire.send(one)
                if events:
                    yield events
                    await asyncio.sleep(0)
                else:
                    await wake.wait()
        finally:
            for one in followed:
                wire.leave(one)

    async def _flat(self, batches: AsyncGenerator[list[Handed]]) -> AsyncGenerator[Handed]:
        try:
            async for batch in batches:
                for event in batch:
                    yield event
        finally:
            await batches.aclose()

    @property
    def _parts(self) -> tuple[Wire | None, Requests | None, Requests | None]:
        if self._opened is None:
            raise BridgeAway("the connection is not open: use `async with Bridge(...) as bridge`")
        return self._opened

    @property
    def _wire(self) -> Wire:
        wire = self._parts[0]
        if wire is None:
            raise BridgeAway("this bridge is used without its publishing side")
        return wire

    async def _names_of(
        self, symbols: Sequence[str], venue: str | None, market: str | None
    ) -> list[tuple[str, str]]:
        if symbols:
            return [(await self._name_of(symbol, venue, market), symbol) for symbol in symbols]
        return [(name, name.rpartition(".")[2].upper()) for name in self.status.instruments]

    async def _name_of(self, symbol: str, venue: str | None, market: str | None) -> str:
        """Return how the topics of a pair begin; wait a while for one that the bridge does not name yet."""
        wire = self._wire
        try:
            async with asyncio.timeout(self._timeout_s):
                while not (found := _matching(self.status, symbol, venue, market)):
                    wire.news.clear()
                    await wire.news.wait()
        except TimeoutError:
            there = ", ".join(self.status.instruments) or "nothing yet"
            raise UnknownPair(f"the bridge does not record {symbol}; it records {there}") from None
        if len(found) > 1:
            raise UnknownPair(
                f"{symbol} is recorded in several places: {', '.join(found)}; name venue or market"
            )
        return found[0]

    async def _report(self, control: Requests) -> None:
        """Tell the bridge how far we are, for its status."""
        while True:
            await asyncio.sleep(self._report_s)
            if self._opened is None:
                return
            followers = self._wire.followers()
            places = {one.topic: place for one in followers if (place := position(one)) is not None}
            topics = _reported(places)
            missed = sum(one.lost for one in followers)
            control.tell("subscribers.report", {"client": self.name, "topics": topics, "missed": missed})


def _reported(places: Mapping[str, Any]) -> dict[str, Any]:
    """Return as many of the places as a report may have."""
    found: dict[str, Any] = {}
    left = LARGEST_REPORT
    for topic, place in places.items():
        left -= len(topic.encode()) + len(place["epoch"].encode()) + 40
        if left < 0 or len(found) == MOST_REPORTED:
            break
        if len(topic) <= LONGEST_TOPIC:
            found[topic] = place
    return found


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _taken(follower: EventFollower) -> list[Any]:
    """Take what waits, at most one turn of it."""
    events: list[Any] = []
    while len(events) < TURN and (event := follower.next()) is not None:
        events.append(event)
    return events


def _matching(status: Status, symbol: str, venue: str | None, market: str | None) -> list[str]:
    """Return the names of the instruments that are meant."""
    wanted = (venue, market, symbol.replace("/", ""))
    return [
        name
        for name in status.instruments
        if len(words := name.split(".")) == len(wanted)
        and all(want is None or want.lower() == word for want, word in zip(wanted, words, strict=True))
    ]
