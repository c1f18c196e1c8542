"""The simulated venue as a market feed."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from heapq import heapify, heapreplace
from itertools import count

from binance_proxy.adapters.simulated.faults import Fault, FaultyLine
from binance_proxy.adapters.simulated.listing import VENUE, simulated_instrument
from binance_proxy.adapters.simulated.market import SimulatedMarket
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.application.ports import Clock, FeedRejected, TrackedPair
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.errors import TickRejected
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BadFrame, Disconnect, MarketEvent

log = logging.getLogger(__name__)

SNAPSHOT_AFTER = 3
"""A snapshot comes behind so many updates of its instrument, counted from when it was asked for."""
LATENCY_FLOOR_NS = 2_000_000
LATENCY_MEAN_NS = 6_000_000
"""On top of the floor; exponential."""
NAP_NS = SECOND_NS // 5
"""The longest sleep between two looks at what is to be followed."""
BREATH = 64
"""After so many rounds the other tasks of the loop get a turn, also if nobody waits."""


class SimulatedFeed:
    """Made-up markets behind one made-up connection.

    One stream is read at a time. A later stream of the same feed goes on with the same markets, where the
    earlier one left them. ``settings.events`` counts over all streams.
    """

    def __init__(self, settings: Simulation, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._left = settings.events
        self._markets: dict[Instrument, SimulatedMarket] = {}
        self._queue: list[tuple[int, int, SimulatedMarket]] = []  # of those that are streamed: due, turn
        self._turns = count()
        self._followed: dict[Instrument, SimulatedMarket] | None = None  # none while no stream is read
        self._changed = asyncio.Event()
        self._ahead_ns = 0  # how far the markets' time is ahead of the clock
        self._snapshot_in: dict[Instrument, int] = {}
        self._latency = random.Random(f"{settings.seed}/latency")  # noqa: S311  a simulation
        self._line = FaultyLine(settings.faults, settings.seed)
        self._ts_recv = 0  # of the last round

    @property
    def fired(self) -> Counter[Fault]:
        """How often each fault has really happened, over all streams."""
        return self._line.fired

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        """Describe the instruments of the wanted pairs: all that are enabled and look like ``ETH/USDT``."""
        described: dict[Instrument, None] = {}
        for pair in wanted:
            if not pair.enabled:
                continue
            try:
                described[simulated_instrument(pair.symbol, pair.market)] = None
            except TickRejected as error:
                log.warning("left out: %s", error)
        return tuple(described)

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        """Yield events in arrival order: each instrument's trades, updates and, soon, a snapshot.

        Raises:
            FeedRejected: An instrument belongs to another venue. What is made up must not be taken for it.
        """
        followed = self._open(instruments)
        rounds = 0
        try:
            while self._left != 0:
                market = await self._next()
                if market is None:
                    continue
                events = self._round(market)
                if self._is_paced:
                    await self._clock.sleep_until(self._ts_recv - self._ahead_ns)
                rounds += 1
                if rounds % BREATH == 0:
                    await asyncio.sleep(0)
                for event in events:
                    if not isinstance(event, Disconnect | BadFrame) and event.instrument not in followed:
                        continue
                    if self._left is not None:
                        if self._left == 0:
                            return
                        self._left -= 1
                    yield event
        finally:
            self._followed = None

    def resync(self, instrument: Instrument) -> None:
        """Ask for a `BookSnapshot` of the instrument, to come behind a few more updates.

        Returns at once. Does nothing if the instrument is not being streamed.
        """
        if self._followed and instrument in self._followed:
            self._snapshot_in.setdefault(instrument, SNAPSHOT_AFTER)

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Stream these from now on, and no others. Returns at once. Does nothing if no stream is being read.

        A market that is new goes on where an earlier stream left it; one that is gone stands still.

        Raises:
            FeedRejected: An instrument belongs to another venue.
        """
        if self._followed is None:
            return
        _refuse_others(instruments)
        now = self._clock.now() + self._ahead_ns if self._is_paced else self._ts_recv
        start = max(now, self._ts_recv)
        for instrument in set(self._followed) - set(instruments):
            del self._followed[instrument]
            self._snapshot_in.pop(instrument, None)
        self._queue = [entry for entry in self._queue if entry[2].instrument in self._followed]
        for instrument in instruments:
            if instrument not in self._followed:
                self._enter(instrument, start)
        heapify(self._queue)
        self._line.follow(instruments)
        self._changed.set()

    @property
    def _is_paced(self) -> bool:
        return self._settings.speed == "1x"

    def _open(self, instruments: Sequence[Instrument]) -> dict[Instrument, SimulatedMarket]:
        """Connect to the markets; return those that are streamed, as they come and go."""
        _refuse_others(instruments)
        now = self._clock.now()
        start = now if self._settings.start is None else self._settings.start
        start = max(
            SECOND_NS, start, *(market.due for market in self._markets.values())
        )  # a time of 0 is none
        self._ahead_ns = start - now
        self._ts_recv = max(self._ts_recv, start)
        self._followed, self._queue, self._snapshot_in = {}, [], {}
        for instrument in instruments:
            self._enter(instrument, start)
        heapify(self._queue)
        self._line.connect(instruments)
        return self._followed

    def _enter(self, instrument: Instrument, start: int) -> None:
        """Let a market go on from a time."""
        assert self._followed is not None  # noqa: S101  a stream is read
        market = self._markets.get(instrument)
        if market is None:
            market = self._markets[instrument] = SimulatedMarket(instrument, self._settings, start)
        else:
            market.skip_to(start)
        self._followed[instrument] = market
        self._queue.append((market.due, next(self._turns), market))
        self._snapshot_in[instrument] = SNAPSHOT_AFTER

    async def _next(self) -> SimulatedMarket | None:
        """Return the market whose turn it is; `None` if one may have come before it meanwhile."""
        self._changed.clear()
        if not self._queue:
            await self._changed.wait()
            return None
        if self._is_paced:
            now, due = self._clock.now(), self._queue[0][0] - self._ahead_ns
            if now < due:
                await self._clock.sleep_until(min(due, now + NAP_NS))
                return None
        return self._queue[0][2]

    def _round(self, market: SimulatedMarket) -> list[MarketEvent]:
        """Play one round of a market; return what arrives of it, and the snapshots that are due."""
        latency = LATENCY_FLOOR_NS + int(self._latency.expovariate(1 / LATENCY_MEAN_NS))
        self._ts_recv = max(self._ts_recv, market.due + latency)
        events: list[MarketEvent] = [*self._line.carry(market.round(self._ts_recv))]
        heapreplace(self._queue, (market.due, self._queue[0][1], market))
        if self._line.is_down:
            return events
        if self._line.came_back:
            self._snapshot_in.clear()
            return [*events, *(each.snapshot(self._ts_recv) for each in (self._followed or {}).values())]
        if market.instrument in self._snapshot_in:
            self._snapshot_in[market.instrument] -= 1
            if not self._snapshot_in[market.instrument]:
                del self._snapshot_in[market.instrument]
                events.append(market.snapshot(self._ts_recv))
        return events


def _refuse_others(instruments: Sequence[Instrument]) -> None:
    for instrument in instruments:
        if instrument.venue != VENUE:
            raise FeedRejected(f"{instrument.name} is not of the venue {VENUE!r}: use its own instruments")
