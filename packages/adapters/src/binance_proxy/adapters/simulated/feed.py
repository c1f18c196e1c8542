"""The simulated venue as a market feed."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from heapq import heapify, heapreplace

from binance_proxy.adapters.simulated.faults import Fault, FaultyLine
from binance_proxy.adapters.simulated.listing import VENUE, simulated_instrument
from binance_proxy.adapters.simulated.market import SimulatedMarket
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.application.ports import Clock, FeedRejected, TrackedPair
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.errors import TickRejected
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import MarketEvent

SNAPSHOT_AFTER = 3
"""A snapshot comes behind so many updates of its instrument, counted from when it was asked for."""
LATENCY_FLOOR_NS = 2_000_000
LATENCY_MEAN_NS = 6_000_000
"""On top of the floor; exponential."""
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
            except TickRejected:
                continue
        return tuple(described)

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        """Yield events in arrival order: each instrument's trades, updates and, soon, a snapshot.

        Raises:
            FeedRejected: An instrument belongs to another venue. What is made up must not be taken for it.
        """
        markets, ahead_ns = self._open(instruments)
        queue = [(market.due, turn, market) for turn, market in enumerate(markets)]
        heapify(queue)
        rounds = 0
        while queue and self._left != 0:
            _, turn, market = queue[0]
            events = self._round(market, markets)
            heapreplace(queue, (market.due, turn, market))
            if self._settings.speed == "1x":
                await self._clock.sleep_until(self._ts_recv - ahead_ns)
            rounds += 1
            if rounds % BREATH == 0:
                await asyncio.sleep(0)
            for event in events:
                if self._left is not None:
                    if self._left == 0:
                        return
                    self._left -= 1
                yield event

    def resync(self, instrument: Instrument) -> None:
        """Ask for a `BookSnapshot` of the instrument, to come behind a few more updates.

        Returns at once. Does nothing if the instrument is not being streamed.
        """
        if instrument in self._markets:
            self._snapshot_in.setdefault(instrument, SNAPSHOT_AFTER)

    def _open(self, instruments: Sequence[Instrument]) -> tuple[list[SimulatedMarket], int]:
        """Connect to the markets; return them, and how far their time is ahead of the clock, in ns."""
        for instrument in instruments:
            if instrument.venue != VENUE:
                raise FeedRejected(
                    f"{instrument.name} is not of the venue {VENUE!r}: use its own instruments"
                )
        now = self._clock.now()
        start = now if self._settings.start is None else self._settings.start
        start = max(
            SECOND_NS, start, *(market.due for market in self._markets.values())
        )  # a time of 0 is none
        for instrument in instruments:
            if instrument in self._markets:
                self._markets[instrument].skip_to(start)
            else:
                self._markets[instrument] = SimulatedMarket(instrument, self._settings, start)
        self._line.connect(instruments)
        self._snapshot_in = dict.fromkeys(instruments, SNAPSHOT_AFTER)
        return [self._markets[instrument] for instrument in self._snapshot_in], start - now

    def _round(self, market: SimulatedMarket, markets: Sequence[SimulatedMarket]) -> list[MarketEvent]:
        """Play one round of a market; return what arrives of it, and the snapshots that are due."""
        latency = LATENCY_FLOOR_NS + int(self._latency.expovariate(1 / LATENCY_MEAN_NS))
        self._ts_recv = max(self._ts_recv, market.due + latency)
        events: list[MarketEvent] = [*self._line.carry(market.round(self._ts_recv))]
        if self._line.is_down:
            return events
        if self._line.came_back:
            self._snapshot_in.clear()
            return [*events, *(each.snapshot(self._ts_recv) for each in markets)]
        if market.instrument in self._snapshot_in:
            self._snapshot_in[market.instrument] -= 1
            if not self._snapshot_in[market.instrument]:
                del self._snapshot_in[market.instrument]
                events.append(market.snapshot(self._ts_recv))
        return events
