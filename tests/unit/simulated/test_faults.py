"""Every fault that a line counts can be seen by a reader, and there are no others."""

from collections import Counter
from collections.abc import Iterable

import pytest

from binance_proxy.adapters.simulated.faults import Fault, FaultyLine
from binance_proxy.adapters.simulated.listing import simulated_instrument
from binance_proxy.adapters.simulated.market import SimulatedMarket
from binance_proxy.adapters.simulated.settings import Faults, Simulation
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.sequence import Arrival, IdSequence, covered_ids
from binance_proxy.domain.tick import Disconnect, QuoteTick, Tick, TradeTick

ETH = simulated_instrument("ETH/USDT", Market.SPOT)
START = 1_760_000_000_000_000_000
ALL = Faults(gap=0.02, duplicate=0.02, reorder=0.02, disconnect=0.005)


def played(count: int = 3_000) -> list[list[Tick]]:
    market = SimulatedMarket(ETH, Simulation(levels=20), START)
    return [market.round(market.due + 1) for _ in range(count)]


ROUNDS = played()
TICKS = [tick for ticks in ROUNDS for tick in ticks]


def carried(faults: Faults, seed: int = 1) -> tuple[list[Tick | Disconnect], FaultyLine]:
    line = FaultyLine(faults, seed)
    line.connect([ETH])
    return [event for ticks in ROUNDS for event in line.carry(ticks)], line


def arrivals(events: Iterable[Tick | Disconnect]) -> tuple[Counter[Arrival], list[IdSequence]]:
    """Count how the ids of trades and updates arrived."""
    trades, quotes = IdSequence(), IdSequence()
    counted: Counter[Arrival] = Counter()
    for event in events:
        if isinstance(event, TradeTick):
            counted[trades.feed(event.trade_id, event.trade_id)] += 1
        elif isinstance(event, QuoteTick):
            counted[quotes.feed(*covered_ids(event))] += 1
    return counted, [trades, quotes]


def test_a_good_line_carries_everything_as_it_is() -> None:
    events, line = carried(Faults())
    assert events == TICKS
    assert not line.fired


def test_a_gap_is_a_hole_in_the_ids() -> None:
    events, line = carried(Faults(gap=0.02))
    assert set(line.fired) == {Fault.GAP}
    assert line.fired[Fault.GAP] == len(TICKS) - len(events)
    assert line.fired[Fault.GAP] == pytest.approx(len(TICKS) * 0.02, rel=0.4)
    counted, sequences = arrivals(events)
    lost_trades = sum(last - first + 1 for first, last in sequences[0].missing)
    lost_updates = {tick for tick in TICKS if isinstance(tick, QuoteTick)} - set(events)
    assert lost_trades + len(lost_updates) == line.fired[Fault.GAP]
    assert counted[Arrival.SKIPPED] == sum(len(sequence.missing) for sequence in sequences)


def test_a_duplicate_has_been_seen() -> None:
    events, line = carried(Faults(duplicate=0.02))
    counted, _ = arrivals(events)
    assert set(line.fired) == {Fault.DUPLICATE}
    assert counted[Arrival.SEEN] == line.fired[Fault.DUPLICATE] == len(events) - len(TICKS) > 30
    assert list(dict.fromkeys(events)) == TICKS


def test_a_reordered_tick_comes_late_but_comes() -> None:
    events, line = carried(Faults(reorder=0.02))
    counted, sequences = arrivals(events)
    assert set(line.fired) == {Fault.REORDER}
    assert counted[Arrival.SKIPPED] == counted[Arrival.LATE] == line.fired[Fault.REORDER] > 30
    assert not any(sequence.missing for sequence in sequences)
    assert len(events) >= len(TICKS) - 2  # one late tick of each kind may still be on its way
    times = [event.ts_recv for event in events]
    assert times == sorted(times)


def test_a_disconnect_is_told_and_loses_what_follows() -> None:
    events, line = carried(Faults(disconnect=0.005))
    told = [event for event in events if isinstance(event, Disconnect)]
    assert set(line.fired) == {Fault.DISCONNECT}
    assert len(told) == line.fired[Fault.DISCONNECT] > 5
    assert all(event.instruments == (ETH,) for event in told)
    assert len(TICKS) - (len(events) - len(told)) > 5 * len(told)
    _, sequences = arrivals(events)
    assert len(sequences[1].missing) >= len(told) - 1  # the last may not have come back


def test_the_line_says_when_it_came_back() -> None:
    line = FaultyLine(Faults(disconnect=0.005), 1)
    line.connect([ETH])
    outages = 0
    was_down = False
    for ticks in ROUNDS:
        arrived = line.carry(ticks)
        if was_down:
            assert arrived == []
            assert line.came_back != line.is_down
        outages += line.came_back
        was_down = line.is_down
    assert outages == line.fired[Fault.DISCONNECT] - line.is_down


@pytest.mark.parametrize("faults", [Faults(gap=0.01), Faults(reorder=0.01), Faults(disconnect=0.003)])
def test_a_book_notices_every_missing_update(faults: Faults) -> None:
    market = SimulatedMarket(ETH, Simulation(levels=20), START)
    line = FaultyLine(faults, 7)
    line.connect([ETH])
    book = OrderBook(market.snapshot(START))
    stale = 0
    for _ in range(2_000):
        try:
            for event in line.carry(market.round(market.due + 1)):
                if isinstance(event, QuoteTick):
                    book.apply(event)
        except BookStale:
            stale += 1
            book = OrderBook(market.snapshot(market.due))
        if book.last_update_id == market.last_update_id:
            assert book.depth() == (market.bids.levels(), market.asks.levels())
    assert stale > 3


def test_faults_are_seeded_and_do_not_move_each_other() -> None:
    assert carried(ALL)[0] == carried(ALL)[0]
    assert carried(ALL)[0] != carried(ALL, seed=2)[0]
    gaps = set(TICKS) - set(carried(Faults(gap=0.02))[0])
    both = set(TICKS) - set(carried(Faults(gap=0.02, duplicate=0.5))[0])
    assert gaps == both


def test_a_new_connection_owes_nothing() -> None:
    line = FaultyLine(Faults(disconnect=1.0), 1)
    line.connect([ETH])
    assert len(line.carry(ROUNDS[0])) == 1
    assert line.is_down
    line.connect([ETH])
    assert not line.is_down


def test_a_late_tick_is_lost_with_its_connection() -> None:
    line = FaultyLine(Faults(reorder=1.0), 1)
    line.connect([ETH])
    assert ROUNDS[0][-1] not in line.carry(ROUNDS[0])
    line.connect([ETH])
    events = [event for ticks in ROUNDS[1:20] for event in line.carry(ticks)]
    late = ROUNDS[0][-1]
    assert isinstance(late, QuoteTick)
    assert line.fired[Fault.REORDER] > 5
    assert late.last_update_id not in {
        event.last_update_id for event in events if isinstance(event, QuoteTick)
    }
