"""A simulated market against a slow reader, who knows nothing but what the market prints."""

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import log, sqrt

import pytest

from binance_proxy.adapters.simulated.listing import Listing, listing_of, simulated_instrument
from binance_proxy.adapters.simulated.market import YEAR_NS, SimulatedMarket
from binance_proxy.adapters.simulated.settings import Faults, Simulation
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.instrument import MICROSECOND_NS, Instrument, Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.sequence import Arrival, IdSequence, covered_ids
from binance_proxy.domain.tick import (
    Levels,
    QuoteTick,
    Side,
    Tick,
    TradeTick,
    check_quote,
    check_trade,
)

START = 1_760_000_000_123_456_789
ETH = simulated_instrument("ETH/USDT", Market.SPOT)
ETH_USDM = simulated_instrument("ETH/USDT", Market.USDM)
COARSE = Instrument(
    venue="simulated", market=Market.SPOT, symbol="ETH/USDT", price_precision=0, size_precision=0
)
FINE_TIME = Instrument(
    venue="simulated", market=Market.SPOT, symbol="SOL/USDT", time_resolution_ns=MICROSECOND_NS
)

LISTING_OF_ABC = Listing(mid=4.5756, price_decimals=4, size_decimals=2)
FIRST_UPDATE = (1760000000217000000, ((300010000000, 234500000),), ((300001000000, 0),))

CALM = Simulation()
WILD = Simulation(volatility=100.0, rate=0.01, levels=20)
STILL = Simulation(volatility=0.0, rate=1_000.0)
THIN = Simulation(levels=1)


def rounds(market: SimulatedMarket, count: int) -> Iterator[list[Tick]]:
    """Play so many rounds, each received as soon as it is due."""
    for _ in range(count):
        yield market.round(market.due + 1)


class SlowReader:
    """Follows a market by its snapshot and its ticks, with dictionaries and linear searches."""

    def __init__(self, bids: Levels, asks: Levels) -> None:
        self.bids, self.asks = dict(bids), dict(asks)

    def trade(self, trade: TradeTick) -> None:
        """Take what a trade took, which must rest at the best price."""
        side, best = (self.asks, min) if trade.aggressor is Side.BUY else (self.bids, max)
        assert trade.price == best(side)
        assert 0 < trade.size <= side[trade.price]
        side[trade.price] -= trade.size
        if not side[trade.price]:
            del side[trade.price]

    def quote(self, quote: QuoteTick) -> None:
        """Apply an update, which must say nothing twice and nothing that was so already."""
        for side, levels in ((self.bids, quote.bids), (self.asks, quote.asks)):
            assert len({price for price, _ in levels}) == len(levels)
            for price, size in levels:
                assert side.get(price, 0) != size
                side[price] = size
                if not size:
                    del side[price]

    def levels(self) -> tuple[Levels, Levels]:
        return tuple(sorted(self.bids.items(), reverse=True)), tuple(sorted(self.asks.items()))


@pytest.mark.parametrize("simulation", [CALM, WILD, STILL, THIN], ids=["calm", "wild", "still", "thin"])
@pytest.mark.parametrize(
    "instrument", [ETH, ETH_USDM, COARSE, FINE_TIME], ids=["spot", "usdm", "coarse", "us"]
)
def test_trades_hit_the_best_level_of_the_book_that_the_updates_tell(
    instrument: Instrument, simulation: Simulation
) -> None:
    market = SimulatedMarket(instrument, simulation, START)
    start = market.snapshot(START)
    reader, swept = SlowReader(start.bids, start.asks), 0
    for ticks in rounds(market, 1_500):
        *trades, quote = ticks
        assert isinstance(quote, QuoteTick)
        sweep = SlowReader(*reader.levels())  # a copy: the update says what is left, trades only why
        for trade in trades:
            assert isinstance(trade, TradeTick)
            sweep.trade(check_trade(trade))
        swept = max(swept, len(trades))
        reader.quote(check_quote(quote))
        assert reader.levels() == (market.bids.levels(), market.asks.levels())
        assert max(reader.bids) < min(reader.asks)
    assert swept > 1 or simulation in (THIN, WILD)


@pytest.mark.parametrize("instrument", [ETH, ETH_USDM], ids=["spot", "usdm"])
def test_the_domain_s_book_and_sequences_find_nothing_wrong(instrument: Instrument) -> None:
    market = SimulatedMarket(instrument, CALM, START)
    for _ in rounds(market, 10):
        pass
    book = OrderBook(market.snapshot(START))
    trades, quotes = IdSequence(), IdSequence()
    skipped_ids = 0
    for ticks in rounds(market, 3_000):
        for tick in ticks:
            if isinstance(tick, TradeTick):
                assert trades.feed(tick.trade_id, tick.trade_id) is Arrival.NEXT
            else:
                assert quotes.feed(*covered_ids(tick)) is Arrival.NEXT
                assert tick.last_update_id - tick.first_update_id + 1 == len(tick.bids) + len(tick.asks)
                assert (tick.previous_update_id is None) == (instrument.market is Market.SPOT)
                skipped_ids += tick.first_update_id - covered_ids(tick)[0]
                assert book.apply(tick)
                assert book.depth() == (market.bids.levels(), market.asks.levels())
    assert (skipped_ids > 0) == (instrument.market is Market.USDM)


@pytest.mark.parametrize("instrument", [ETH, FINE_TIME], ids=["ms", "us"])
def test_times_and_numbers_lie_on_their_grids(instrument: Instrument) -> None:
    listing = listing_of(instrument.symbol)
    tick_size, step_size = listing.tick_size(instrument), listing.step_size(instrument)
    market = SimulatedMarket(instrument, CALM, START)
    last = 0
    for ticks in rounds(market, 2_000):
        for tick in ticks:
            assert tick.ts_event % instrument.time_resolution_ns == 0
            assert last <= tick.ts_event < tick.ts_recv
            last = tick.ts_event
            levels = [(tick.price, tick.size)] if isinstance(tick, TradeTick) else [*tick.bids, *tick.asks]
            for price, size in levels:
                assert price % tick_size == 0
                assert size % step_size == 0


def test_the_same_seed_gives_the_same_ticks_and_another_one_others() -> None:
    def play(simulation: Simulation, instrument: Instrument = ETH) -> list[list[Tick]]:
        return list(rounds(SimulatedMarket(instrument, simulation, START), 300))

    assert play(CALM) == play(CALM)
    assert play(CALM) != play(replace(CALM, seed=2))
    usdm = [[tick.ts_event for tick in ticks] for ticks in play(CALM, ETH_USDM)]
    assert usdm != [[tick.ts_event for tick in ticks] for ticks in play(CALM)]


def test_a_market_begins_as_it_always_has() -> None:
    # Neither the interpreter's hash seed nor a refactoring may change what a seed means.
    market = SimulatedMarket(ETH, CALM, START)
    first = next(rounds(market, 1))[-1]
    assert isinstance(first, QuoteTick)
    assert listing_of("ABC/USDT") == LISTING_OF_ABC
    assert first.first_update_id == START // 1_000 + 1
    assert (first.ts_event, first.bids[:1], first.asks[:1]) == FIRST_UPDATE


def test_a_later_run_goes_on_above_the_ids_of_an_earlier_one() -> None:
    early = SimulatedMarket(ETH, replace(CALM, rate=10_000.0), START)
    for _ in rounds(early, 5_000):
        pass
    late = SimulatedMarket(ETH, CALM, early.due)
    assert late.last_update_id > early.last_update_id
    assert late.last_trade_id > early.last_trade_id


@pytest.mark.parametrize("rate", [0.5, 20.0, 5_000.0])
def test_events_come_at_the_rate(rate: float) -> None:
    market = SimulatedMarket(ETH, Simulation(rate=rate), START)
    events = sum(len(ticks) for ticks in rounds(market, 5_000))
    assert events / ((market.due - START) / 1e9) == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("volatility", [0.0, 0.3, 1.2])
def test_the_price_moves_as_much_as_the_volatility_says(volatility: float) -> None:
    market = SimulatedMarket(ETH, Simulation(volatility=volatility, rate=1.0), START)
    mids, times = [], []
    for at, _ in enumerate(rounds(market, 20_000)):
        if at % 50 == 0:
            mids.append((market.bids.best()[0] - market.asks.best()[0]) / 2)
            times.append(market.ts_event)
    moved = sum(log(later / earlier) ** 2 for earlier, later in pairwise(mids))
    realised = sqrt(moved / (times[-1] - times[0]) * YEAR_NS)
    assert realised == pytest.approx(volatility, rel=0.15, abs=0.02)


def test_a_book_is_plausible() -> None:
    market = SimulatedMarket(ETH, CALM, START)
    spreads, depths, trades = [], [], 0
    for ticks in rounds(market, 3_000):
        spreads.append(-market.asks.best()[0] - market.bids.best()[0])
        depths += [len(market.bids), len(market.asks)]
        trades += len(ticks) - 1
    spreads.sort()
    assert ETH.tick_size is not None
    assert spreads[0] >= ETH.tick_size
    assert spreads[1_500] <= 3_000 * 10**8 // 10_000  # half of the time at most one basis point
    assert min(depths) >= CALM.levels // 2
    assert max(depths) <= CALM.levels * 5 // 4
    assert 0.3 < trades / 3_000 < 1.5


def test_an_endless_run_stays_bounded() -> None:
    market = SimulatedMarket(ETH, replace(CALM, rate=1.0, levels=50), START)
    blocks: list[int] = []
    for _ in range(5):
        events = 0
        while events < 20_000:
            events += len(market.round(market.due + 1))
            assert max(len(market.bids), len(market.asks)) <= 50 * 5 // 4
        gc.collect()  # also empties the interpreter's own store of spare tuples
        blocks.append(sys.getallocatedblocks())
    assert blocks[-1] - blocks[0] < 500  # after 80,000 more events


@pytest.mark.parametrize("symbol", ["BTC/USDT", "SOL/USDT", "PEPE/USDT", "X/Y", "1000SATS/TRY"])
def test_every_symbol_gets_an_instrument_that_a_market_can_be_made_of(symbol: str) -> None:
    instrument = simulated_instrument(symbol, Market.SPOT)
    assert instrument == simulated_instrument(symbol, Market.SPOT)
    assert instrument.venue == "simulated"
    market = SimulatedMarket(instrument, CALM, START)
    bid, ask = market.bids.best()[0], -market.asks.best()[0]
    assert instrument.tick_size is not None
    assert instrument.step_size is not None
    assert ask - bid < 1e-3 * bid
    assert bid // instrument.tick_size > 1_000
    assert instrument.step_size * bid < 10 * 10**16  # a step is worth less than ten of the quote asset


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rate", 0.0), ("rate", float("nan")), ("volatility", -0.1), ("levels", 0), ("events", -1),
        ("speed", "2x"), ("start", -1),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        Simulation(**{key: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", ["gap", "duplicate", "reorder", "disconnect"])
@pytest.mark.parametrize("chance", [-0.1, 1.1, float("nan")])
def test_a_wrong_chance_is_named(fault: str, chance: float) -> None:
    with pytest.raises(ConfigError, match=fault):
        Faults(**{fault: chance})
