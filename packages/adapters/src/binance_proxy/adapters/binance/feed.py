"""Binance spot, live, as a market feed."""

import asyncio
import difflib
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from binance_proxy.adapters.binance.connection import Broken, Connection, Lost, Moved, Moving
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.binance.inbox import Inbox
from binance_proxy.adapters.binance.line import Line
from binance_proxy.adapters.binance.rest import BinanceRest
from binance_proxy.adapters.binance.settings import Care
from binance_proxy.adapters.binance.snapshots import Snapshots, levels_for
from binance_proxy.adapters.binance.transport import Listing, Transport
from binance_proxy.application.ports import Clock, FeedRejected, FrameRejected, TrackedPair
from binance_proxy.domain.errors import ScaleError
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.scale import to_units
from binance_proxy.domain.tick import (
    BadFrame,
    BookSnapshot,
    Disconnect,
    MarketEvent,
    QuoteTick,
    Tick,
    TradeTick,
)

log = logging.getLogger(__name__)

STREAMS = ("trade", "depth@100ms")
BOOK_PAUSE_S = 5.0
"""The longest pause before a book is asked for again; the request weight bounds how often that is."""
BREATH = 256
"""Entries after which the other tasks of the loop get a turn, however much waits."""


class BinanceFeed:
    """Trades and books of Binance spot.

    One stream is read at a time. It loses no connection for good: it connects again, says so by a
    `Disconnect`, and fetches whole books anew. Books are fetched when a stream begins, after a `Disconnect`,
    and when `resync` asks for one.
    """

    def __init__(
        self, transport: Transport, rest: BinanceRest, clock: Clock, care: Care, *, time_resolution_ns: int
    ) -> None:
        """Take the way to the venue; nothing is asked yet.

        ``time_resolution_ns`` is the unit that the venue prints times in on this way.
        """
        self._transport = transport
        self._rest = rest
        self._clock = clock
        self._care = care
        self._resolution_ns = time_resolution_ns
        self._session: _Session | None = None

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        """Describe the instruments of the wanted pairs that are traded on Binance spot.

        For a pair that is not, a warning says why.

        Raises:
            FeedUnavailable: Binance cannot be reached. Trying again may help.
            FeedRejected: Binance refuses to answer. The message says what to change.
        """
        pairs = [pair for pair in wanted if pair.enabled]
        if not pairs:
            return ()
        listings = await self._rest.listings()
        described: dict[str, Instrument] = {}
        for pair in pairs:
            listing = listings.get(pair.symbol)
            if pair.market is not Market.SPOT:
                log.warning("%s (%s) is left out: this feed gives spot only", pair.symbol, pair.market)
            elif listing is None:
                near = difflib.get_close_matches(pair.symbol, listings, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                log.warning("%s is left out: there is no such pair on Binance spot%s", pair.symbol, hint)
            elif not listing.trading:
                log.warning("%s is left out: Binance has halted or delisted it", pair.symbol)
            else:
                described[pair.symbol] = _instrument(listing, self._resolution_ns)
        return tuple(described.values())

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        """Yield events in arrival order. Never ends by itself.

        Raises:
            FeedRejected: None of the instruments can be carried, for their times are finer than this way is.
        """
        carried = [one for one in instruments if self._can_carry(one)]
        if instruments and not carried:
            raise FeedRejected("no pair can be recorded this way: all are recorded in µs, and it prints ms")
        session = _Session(self._transport, self._rest, self._clock, self._care)
        self._session = session
        try:
            session.follow(carried)
            async with aclosing(session.events()) as events:
                async for event in events:
                    yield event
        finally:
            self._session = None
            await session.close()

    def resync(self, instrument: Instrument) -> None:
        """Ask for a `BookSnapshot` of the instrument to come along the stream soon.

        Returns at once. Does nothing if the instrument is not being streamed.
        """
        if self._session is not None:
            self._session.resync(instrument)

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Give these from now on, and no others; the connections stay. Returns at once.

        Does nothing if no stream is being read.
        """
        if self._session is not None:
            self._session.follow([one for one in instruments if self._can_carry(one)])

    def _can_carry(self, instrument: Instrument) -> bool:
        if instrument.time_resolution_ns >= self._resolution_ns:
            return True
        log.error(
            "%s is left out: it is recorded in µs, and a trade that comes in ms could be stored twice;"
            " record it with feed.use = binance and feed.binance.time_unit = us",
            instrument.name,
        )
        return False


class _Session:
    """One stream while it is read."""

    def __init__(self, transport: Transport, rest: BinanceRest, clock: Clock, care: Care) -> None:
        self._transport = transport
        self._rest = rest
        self._clock = clock
        self._care = care
        self._inbox = Inbox(care.inbox)
        self._connections: list[Connection] = []
        self._carrier: dict[Instrument, Connection] = {}
        self._frames = BinanceFrames(Market.SPOT)
        self._left: set[Instrument] = set()  # followed no more, though frames may still be on their way
        self._snapshots: Snapshots | None = None
        self._losses: dict[Instrument, int] = {}  # of its connection, when its book was asked for

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Carry exactly these from now on."""
        known = {*self._carrier, *self._left, *instruments}
        self._frames = BinanceFrames(Market.SPOT, known)
        levels = levels_for(self._care.snapshot_levels, len(instruments), self._care.weight_share)
        if self._snapshots is None:
            pause_s = min(self._care.longest_pause_s, BOOK_PAUSE_S)
            self._snapshots = Snapshots(self._rest, levels, pause_s, self)
        self._snapshots.levels = levels
        gone = set(self._carrier) - set(instruments)
        self._snapshots.forget(gone)
        for instrument in gone:
            self._carrier.pop(instrument).remove(_streams(instrument))
        self._left = (self._left | gone) - set(instruments)
        for instrument in instruments:
            if instrument not in self._carrier:
                self._carrier[instrument] = self._with_room()
                self._carrier[instrument].add(_streams(instrument))
                self._snapshots.want(instrument)

    def resync(self, instrument: Instrument) -> None:
        """Fetch a whole book, if the instrument is carried."""
        if instrument in self._carrier and self._snapshots is not None:
            self._snapshots.want(instrument)

    async def close(self) -> None:
        """End every connection."""
        if self._snapshots is not None:
            await self._snapshots.close()
        for connection in self._connections:
            await connection.close()

    async def events(self) -> AsyncGenerator[MarketEvent]:
        """Yield what comes, in order, for as long as anybody reads."""
        inbox, take = self._inbox, self._inbox.take
        assert self._snapshots is not None  # noqa: S101  `follow` was called before
        awaited = self._snapshots.awaited
        while True:
            await inbox.filled()
            for _ in range(BREATH):
                try:
                    entry = take()
                except IndexError:
                    break
                if type(entry) is not tuple:
                    for turned in self._turn(entry):
                        if self._is_followed(turned):
                            yield turned
                    continue
                connection, line, raw, ts_recv = entry
                event = self._decode(raw, ts_recv, line)
                if event is None:
                    continue
                if awaited and isinstance(event, QuoteTick) and event.instrument in awaited:
                    awaited[event.instrument].set()
                if line is not connection.line or connection.moving is not None:
                    for moved in self._while_moving(connection, line, event):
                        if self._is_followed(moved):
                            yield moved
                    continue
                yield event
            else:
                inbox.make_room()
                await asyncio.sleep(0)

    def _decode(self, raw: bytes, ts_recv: int, line: Line) -> MarketEvent | None:
        try:
            event = self._frames.decode(raw, ts_recv)
        except FrameRejected as error:
            return BadFrame(kind=error.kind, where=line.name, detail=error.detail, ts_recv=ts_recv)
        if self._left and event is not None and event.instrument in self._left:
            return None
        return event

    def _is_followed(self, event: MarketEvent) -> bool:
        """Say whether an event that has waited is still wanted."""
        return isinstance(event, Disconnect | BadFrame) or event.instrument not in self._left

    def _turn(self, entry: Any) -> Sequence[MarketEvent]:  # noqa: ANN401  one of three kinds of entries
        """Take an entry that is no frame."""
        if isinstance(entry, Moving):
            if entry.connection.moving is not None:
                entry.handover.follow(entry.connection.moving.handover)
            entry.connection.moving = entry
            return ()
        if isinstance(entry, Moved):
            return self._moved(entry)
        if isinstance(entry, Lost):
            carried = tuple(one for one, carrier in self._carrier.items() if carrier is entry.connection)
            assert self._snapshots is not None  # noqa: S101  `follow` was called before
            self._snapshots.forget(carried)  # those under way are of before
            for instrument in carried:
                self.resync(instrument)
            return (Disconnect(instruments=carried, ts_recv=entry.ts_recv, reason=entry.reason),)
        if isinstance(entry, Broken):
            raise entry.error
        instrument, body, ts_recv = entry.instrument, entry.body, entry.ts_recv
        try:
            snapshot = self._frames.decode(body, ts_recv, instrument)
        except FrameRejected as error:
            self.resync(instrument)
            where = f"the book of {instrument.name}"
            return (BadFrame(kind=error.kind, where=where, detail=error.detail, ts_recv=ts_recv),)
        return (snapshot,) if isinstance(snapshot, BookSnapshot) and instrument in self._carrier else ()

    @staticmethod
    def _moved(entry: Moved) -> Sequence[MarketEvent]:
        """Go on with one line; pass on what has waited for it."""
        connection, moving = entry.connection, entry.connection.moving
        connection.line = entry.line
        if moving is None or moving.handover.has_ended:  # a fresh line, behind one that was lost
            connection.moving = None
            return ()
        if moving.line is entry.line:
            return moving.handover.finish()
        moving.handover.give_up()
        return ()

    @staticmethod
    def _while_moving(connection: Connection, line: Line, event: MarketEvent) -> Sequence[MarketEvent]:
        """Pass on what is neither lost nor doubled while a connection has two lines, or had until lately."""
        if isinstance(event, BadFrame):
            return (event,)
        moving = connection.moving
        if moving is None or not isinstance(event, TradeTick | QuoteTick):
            return ()
        handover = moving.handover
        passed: Sequence[Tick] = ()
        if line is connection.line:
            if handover.has_ended:
                passed = handover.rest(event)
                if handover.is_over:
                    connection.moving = None
            else:
                passed = handover.old(event)
        elif line is moving.line and not handover.has_ended:
            passed = handover.new(event)
        return passed

    def _with_room(self) -> Connection:
        for connection in self._connections:
            if connection.room >= len(STREAMS):
                return connection
        self._connections.append(Connection(self._transport, self._care, self._inbox, self._clock))
        return self._connections[-1]

    async def until_ready(self, instrument: Instrument) -> None:
        """Return once the updates of an instrument are subscribed."""
        connection = self._carrier[instrument]
        await connection.ready.wait()
        self._losses[instrument] = connection.losses

    def deliver(self, instrument: Instrument, body: bytes) -> None:
        """Take a book, unless its connection was lost since it was asked for: then another one will come."""
        connection = self._carrier.get(instrument)
        if connection is not None and connection.losses == self._losses[instrument]:
            self._inbox.put(_Book(instrument, body, self._clock.now()))

    def mute(self, instrument: Instrument) -> None:
        """Have a line replaced that brings no updates of an instrument."""
        connection = self._carrier.get(instrument)
        if connection is not None and connection.line is not None:
            connection.line.leave(f"no update of {instrument.name} comes")

    def broken(self, error: BaseException) -> None:
        """Let the reader meet our own mistake."""
        self._inbox.put(Broken(error))


class _Book:
    """An entry of the inbox: a whole book as REST gave it."""

    def __init__(self, instrument: Instrument, body: bytes, ts_recv: int) -> None:
        self.instrument = instrument
        self.body = body
        self.ts_recv = ts_recv


def _instrument(listing: Listing, resolution_ns: int) -> Instrument:
    return Instrument(
        venue=listing.venue,
        market=Market.SPOT,
        symbol=listing.symbol,
        tick_size=_step(listing.tick_size),
        step_size=_step(listing.step_size),
        time_resolution_ns=resolution_ns,
    )


def _step(text: str | None) -> int | None:
    """Return a smallest step in units of ``10**-8``; `None` if there is none, as for a filter of zero."""
    if text is None:
        return None
    try:
        return to_units(text, 8) or None
    except ScaleError:
        return None


def _streams(instrument: Instrument) -> Sequence[str]:
    code = instrument.symbol.replace("/", "").lower()
    return [f"{code}@{stream}" for stream in STREAMS]
