"""The market of one instrument: a price that wanders, a book around it, and trades that hit the book."""

import random
from math import ceil, exp, floor, sqrt

from binance_proxy.adapters.simulated.ladder import Ladder
from binance_proxy.adapters.simulated.listing import beginning, listing_of, typical_size
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, Side, Tick, TradeTick

YEAR_NS = 365 * 86_400 * 1_000_000_000
TRADE_SHARE = 0.4
"""The share of rounds in which somebody sends a market order."""
MAX_SWEEP = 20
"""The most levels that one market order hits."""
HALF_SPREAD = 1e-6
"""Half of the spread that makers want, as a share of the price; half a tick at least."""
REACH = 2e-3
"""How far behind the best price a patient order is placed on average, as a share of the price."""
NEAR = 0.05
"""How much nearer the other half of the orders is placed."""


class SimulatedMarket:
    """A limit order book under a seeded crowd, in whole numbers.

    A fair value follows a random walk that nobody is told of. In each round somebody may send a market
    order, drawn towards the fair value, which sweeps the best levels. Then makers cancel what the fair value
    has passed, quote around it, and place and cancel orders behind. All of a round goes into one update; so
    a reader of the updates has this very book between rounds, and each trade hit what the reader had.

    Ids begin at the start time in µs: a later run goes on above an earlier one, as a venue's ids do.
    """

    def __init__(self, instrument: Instrument, simulation: Simulation, start: int) -> None:
        self.instrument = instrument
        self.due = start
        """When the next round takes place, in ns since the epoch."""
        self.last_update_id = start // 1_000
        self.last_trade_id = start // 1_000
        self.ts_event = start - start % instrument.time_resolution_ns
        """When the last round took place, as the venue prints it."""
        self._random = random.Random(f"{simulation.seed}/{instrument.name}")  # noqa: S311  a simulation
        self._rate_ns = simulation.rate / 1e9
        self._volatility = simulation.volatility / sqrt(YEAR_NS)  # per square root of a ns
        self._levels = simulation.levels
        self._tick = listing_of(instrument.symbol).tick_size(instrument)
        self._step = listing_of(instrument.symbol).step_size(instrument)
        self._fair = max(beginning(instrument), 100.0 * self._tick)
        # A random walk leaves every range some day, but prices must go on fitting their integers.
        self._lowest, self._highest = max(self._fair / 16, 10.0 * self._tick), self._fair * 16
        self._reach = max(REACH * self._fair / self._tick, float(self._levels))  # in ticks
        self._typical = max(typical_size(instrument) / self._step, 1.0)  # in steps
        self._at = start  # of the last round
        self.bids = Ladder(1)
        self.asks = Ladder(-1)
        for ladder in (self.bids, self.asks):
            self._fill(ladder, self._levels, 4 * self._levels)
            ladder.changes()
        self._wait(1)

    def round(self, ts_recv: int) -> list[Tick]:
        """Play the round that is due, and return its trades, if any, and its update."""
        self._wander(self.due - self._at)
        self._at = self.due
        self.ts_event = self.due - self.due % self.instrument.time_resolution_ns
        ticks: list[Tick] = []
        if self._random.random() < TRADE_SHARE:
            self._market_order(ticks, ts_recv)
        self._requote()
        ticks.append(self._update(ts_recv))
        self._wait(len(ticks))
        return ticks

    def snapshot(self, ts_recv: int) -> BookSnapshot:
        """Return the whole book as the last update left it."""
        return BookSnapshot(
            instrument=self.instrument,
            ts_event=self.ts_event,
            ts_recv=ts_recv,
            last_update_id=self.last_update_id,
            bids=self.bids.levels(),
            asks=self.asks.levels(),
        )

    def skip_to(self, ts: int) -> None:
        """Let nothing happen before a time."""
        self.due = max(self.due, ts)

    def _wait(self, events: int) -> None:
        """Put the next round off by the time that so many events take."""
        self.due += 1 + int(events * self._random.expovariate(self._rate_ns))

    def _wander(self, duration_ns: int) -> None:
        """Move the fair value along a geometric Brownian motion without drift."""
        deviation = self._volatility * sqrt(duration_ns)
        moved = self._fair * exp(deviation * self._random.gauss(0.0, 1.0) - deviation * deviation / 2)
        self._fair = min(max(moved, self._lowest), self._highest)

    def _market_order(self, ticks: list[Tick], ts_recv: int) -> None:
        """Sweep the side that is too cheap or too dear, or either; one trade for each level hit."""
        buys = self._buys()
        ladder = self.asks if buys else self.bids
        left = int(self._typical * 0.3 * self._random.paretovariate(1.3)) * self._step or self._step
        for _ in range(min(MAX_SWEEP, len(ladder))):
            rank, resting = ladder.best()
            size = min(left, resting)
            ladder.take(rank, size)
            self.last_trade_id += 1
            ticks.append(
                TradeTick(
                    instrument=self.instrument,
                    ts_event=self.ts_event,
                    ts_recv=ts_recv,
                    trade_id=self.last_trade_id,
                    price=rank * ladder.sign,
                    size=size,
                    aggressor=Side.BUY if buys else Side.SELL,
                )
            )
            left -= size
            if not left:
                break

    def _buys(self) -> bool:
        """Decide who takes: a buyer if asks are below the fair value, a seller if bids are above it."""
        if self._fair >= -self.asks.best()[0]:
            return True
        if self._fair <= self.bids.best()[0]:
            return False
        return self._random.random() < 0.5

    def _requote(self) -> None:
        """Cancel what the fair value has passed, quote around it, and place and cancel orders behind."""
        for ladder in (self.bids, self.asks):
            touch = self._touch(ladder)
            ladder.pull(touch)
            if not ladder or (ladder.best()[0] < touch and self._random.random() < 0.7):
                ladder.place(touch, self._size(0))
            self._fill(ladder, self._levels * 3 // 4, self._levels)
            for _ in range(int(self._random.expovariate(0.7))):
                if self._random.random() * 2 * self._levels > len(ladder):
                    self._place(ladder, touch)
                elif len(ladder) > 1:
                    self._cancel(ladder)
            ladder.prune(self._levels * 5 // 4)

    def _touch(self, ladder: Ladder) -> int:
        """Return the best rank that a maker quotes at: half a spread behind the fair value, on the grid."""
        tick = self._tick
        half = max(HALF_SPREAD * self._fair, tick / 2)
        if ladder.sign > 0:
            return floor((self._fair - half) / tick) * tick
        return -ceil((self._fair + half) / tick) * tick

    def _fill(self, ladder: Ladder, levels: int, attempts: int) -> None:
        """Place orders until there are so many levels; give up where the grid is too coarse for that."""
        touch = self._touch(ladder)
        while len(ladder) < levels and attempts:
            self._place(ladder, touch)
            attempts -= 1

    def _place(self, ladder: Ladder, touch: int) -> None:
        """Place an order somewhere behind the touch, larger if it is far away."""
        near = self._random.random() < 0.5
        offset = int(self._random.expovariate(1.0) * (self._reach * NEAR if near else self._reach))
        rank = touch - offset * self._tick
        if rank * ladder.sign > 0:
            ladder.place(rank, self._size(offset))

    def _cancel(self, ladder: Ladder) -> None:
        """Cancel one level, or a part of it."""
        rank = ladder.rank(int(self._random.random() * len(ladder)))
        steps = ladder.size(rank) // self._step
        ladder.take(rank, (1 + int(self._random.random() * 2 * steps)) * self._step)

    def _size(self, offset: int) -> int:
        """Return the size of a maker's order so many ticks behind the touch."""
        mean = self._typical * (1 + offset / self._reach)
        return (1 + int(self._random.expovariate(1.0) * mean)) * self._step

    def _update(self, ts_recv: int) -> QuoteTick:
        """Print what changed since the last update, with an id for each change."""
        bids, asks = self.bids.changes(), self.asks.changes()
        if not bids and not asks:
            self.bids.place(self.bids.best()[0], self._step)  # a round without any change has no ids
            bids = self.bids.changes()
        return self._numbered(bids, asks, ts_recv)

    def _numbered(self, bids: Levels, asks: Levels, ts_recv: int) -> QuoteTick:
        previous = self.last_update_id
        usdm = self.instrument.market is Market.USDM
        # On USD-M the ids count the changes of all instruments, so those of one have holes.
        first = previous + 1 + (int(self._random.expovariate(0.1)) if usdm else 0)
        self.last_update_id = first + len(bids) + len(asks) - 1
        return QuoteTick(
            instrument=self.instrument,
            ts_event=self.ts_event,
            ts_recv=ts_recv,
            first_update_id=first,
            last_update_id=self.last_update_id,
            previous_update_id=previous if usdm else None,
            bids=bids,
            asks=asks,
        )
