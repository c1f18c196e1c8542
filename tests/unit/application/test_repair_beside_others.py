"""Repair while others write, while the exchange lags or refuses, and while nothing comes at all."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from binance_proxy.application.ports import HistoryRejected, HistoryUnavailable
from binance_proxy.domain.gap import GapState
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import Side, TradeTick
from contract.market_store import ETH, MS, T0, quote, snapshot, trade
from unit.application.test_repair import HOLE, Bench, Venue, closed, joined, some, turns, until

SECOND = 1_000 * MS
OPEN, LOST, REPAIRED = GapState.OPEN, GapState.LOST, GapState.REPAIRED


@pytest.mark.parametrize(
    ("stored_by_others", "becomes"),
    [
        ((3, 4), [(3, 5, REPAIRED)]),
        ((3, 4, 5), [(3, 5, REPAIRED)]),
        ((4,), [(3, 3, LOST), (5, 5, LOST)]),  # how its size is shared among 3 and 5 nobody can tell
    ],
)
async def test_what_another_process_has_stored_meanwhile_is_not_counted_twice(
    stored_by_others: tuple[int, ...], becomes: list[tuple[int, int, GapState]]
) -> None:
    truth = some(*range(1, 8), price=300_000, size=7, ts_event=T0, aggressor=Side.BUY)
    venue = Venue(joined(truth))  # one aggregated trade stands in for all, also for those of the others

    async def others() -> None:
        await bench.store.append([one for one in truth if one.trade_id in stored_by_others])

    bench = Bench([*truth[:2], others, *truth[5:]], venue)
    async with bench.running():
        await until(closed(bench))
    assert await bench.gaps() == becomes
    missing = sum(last - first + 1 for first, last, state in becomes if state is LOST)
    assert sum(one.size for one in await kept(bench)) == 7 * (7 - missing)


async def kept(bench: Bench) -> list[TradeTick]:
    return [one async for one in bench.store.scan(TradeTick, ETH, 0, 2**62)]


async def test_a_history_that_trails_the_stream_is_waited_for() -> None:
    class Trailing(Venue):
        async def trades(
            self, instrument: Instrument, first_id: int, last_id: int
        ) -> AsyncGenerator[Sequence[TradeTick]]:
            if len(self.asked) < 5:  # it has not heard of them yet
                self.asked.append((first_id, last_id))
                return
            async for page in super().trades(instrument, first_id, last_id):
                yield page

    venue = Trailing(some(*range(1, 8)))
    async with Bench(HOLE, venue).running() as bench:
        await until(closed(bench))
    assert await bench.gaps() == [(3, 5, REPAIRED)]
    assert len(venue.asked) == 6


async def test_a_gap_that_cannot_be_repaired_holds_up_no_other() -> None:
    class Choosy(Venue):
        async def trades(
            self, instrument: Instrument, first_id: int, last_id: int
        ) -> AsyncGenerator[Sequence[TradeTick]]:
            if first_id == 3:
                raise HistoryUnavailable("a page that nobody can read")
            async for page in super().trades(instrument, first_id, last_id):
                yield page

    venue = Choosy(some(*range(1, 12)))
    async with Bench([*HOLE, *some(10, 11)], venue).running() as bench:
        await until(lambda: (8, 9, "repaired") in bench.told())
        assert (3, 5, "repaired") not in bench.told()


async def test_a_refusal_is_not_for_ever() -> None:
    venue = Venue(some(*range(1, 8)))
    venue.errors = [HistoryRejected("not from here")] * 3
    async with Bench(HOLE, venue, longest_pause_s=0.001).running() as bench:
        await until(closed(bench))
    assert await bench.gaps() == [(3, 5, REPAIRED)]


async def test_a_stream_that_fell_silent_is_found_by_asking_the_exchange() -> None:
    venue = Venue(some(*range(1, 8)))
    async with Bench(some(1, 2, 3), venue, compare_s=0.001).running() as bench:
        await until(lambda: (4, 7, "repaired") in bench.told())
        await turns(200)
    assert await bench.ids() == [1, 2, 3, 4, 5, 6, 7]
    assert bench.told() == [(4, 7, "open"), (4, 7, "repaired")]


async def test_what_was_slept_through_is_found_before_the_first_trade_comes() -> None:
    first = Bench(some(1, 2), Venue(some(1, 2)))
    async with first.running():
        await until(lambda: first.report.stored >= 2)
    venue = Venue(some(*range(1, 6)))
    async with Bench([], venue, first.store, compare_s=0.001).running() as bench:
        await until(lambda: (3, 5, "repaired") in bench.told())
    assert await bench.ids() == [1, 2, 3, 4, 5]


async def test_updates_that_a_killed_run_has_not_stored_are_a_lost_gap() -> None:
    before = Bench([], Venue(some(1)))
    await before.store.append([quote(1), quote(2), quote(5), trade(1)])
    async with Bench([], Venue(some(1)), before.store).running() as bench:
        await until(lambda: len(bench.told()) == 2)
    first, last = quote(2).last_update_id + 1, quote(5).first_update_id - 1
    assert bench.told() == [(first, last, "open"), (first, last, "lost")]
    async with Bench([], Venue(some(1)), before.store).running() as again:
        await turns(200)
    assert again.told() == []


async def test_a_book_that_trades_go_on_without_is_stale() -> None:
    resyncs = []

    script = [snapshot(1), quote(2), *some(1)]
    late = [trade(number, ts_event=T0 + number * 5 * SECOND) for number in range(2, 9)]
    bench = Bench([*script, *late], Venue([*some(1), *late]))
    bench.recording._feed.resync = resyncs.append
    async with bench.running():
        await until(lambda: bench.report.trades == 8)
        await asyncio.sleep(0)
        assert [body["reason"] for body in bench.said("stale")] == [
            f"{ETH.name}: trades go on, and no update comes"
        ]
        assert len(resyncs) == 2, "it is asked for again while trades go on"
        assert bench.recording.status()["instruments"] == {ETH.name: "stale"}
