"""What is on its way to the store gets there in an order that can be cut off anywhere, or into the spool."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.application.keeping import Keeping, RecordSettings
from binance_proxy.application.ports import StoredEvent
from binance_proxy.application.report import Report
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.tick import TradeTick
from contract.market_store import gap, scan, trade
from unit.application.test_record import NOW, PATIENCE_S, Bench, settle, simulation, until


@asynccontextmanager
async def spooled(behind: MemoryStore, folder: Path, settings: SpoolSettings) -> AsyncIterator[SpooledStore]:
    async with open_spool(folder, settings, "a test") as file:
        store = SpooledStore(behind, file, settings)
        async with store.running():
            yield store


class Sleepy(MemoryStore):
    """A store that takes long for each batch, and not too long."""

    async def append(self, events: Sequence[StoredEvent]) -> int:
        await asyncio.sleep(0.2)
        return await super().append(events)


async def test_what_a_slow_store_has_no_time_for_at_a_stop_goes_to_the_spool(tmp_path: Path) -> None:
    behind = Sleepy()
    async with spooled(behind, tmp_path, SpoolSettings(patience_s=PATIENCE_S)) as store:
        bench = Bench(SimulatedFeed(simulation(3_000), ManualClock(NOW)), store, batch=100, writers=2,
                      flush_timeout_s=0.1)  # fmt: skip
        bench.recording.keeping._spool = store
        await bench.run()
        report = bench.report
        accepted = report.trades + report.quotes + report.snapshots + report.gaps
        assert report.unstored == 0
        assert report.in_spool > 0
        assert report.stored + report.in_spool == accepted
    async with spooled(behind, tmp_path, SpoolSettings()) as store:  # the next run
        await asyncio.wait_for(store.drained(), PATIENCE_S)
    assert len(await bench.kept(TradeTick)) == report.trades


async def test_a_stop_without_time_and_without_room_ends_and_says_what_is_not_stored(tmp_path: Path) -> None:
    async with spooled(Sleepy(), tmp_path, SpoolSettings(patience_s=0.01, limit_bytes=0)) as store:
        bench = Bench(SimulatedFeed(simulation(1_000), ManualClock(NOW)), store, flush_timeout_s=0.1)
        bench.recording.keeping._spool = store
        await bench.run()
        report = bench.report
        assert report.stored == 0
        assert report.unstored == report.trades + report.quotes + report.snapshots > 0


class HeldGaps(MemoryStore):
    """A store that takes batches with a gap only once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()
        self.asked = 0

    async def append(self, events: Sequence[StoredEvent]) -> int:
        self.asked += 1
        if any(isinstance(event, Gap) for event in events):
            await self.released.wait()
        return await super().append(events)


@asynccontextmanager
async def writing(store: MemoryStore, events: Sequence[StoredEvent]) -> AsyncIterator[Keeping]:
    """Have three writers keep events, ten in a batch."""
    keeping = Keeping(
        store=store,
        spool=None,
        settings=RecordSettings(batch=10, batch_least=10, batch_age_s=0.0),
        report=Report(),
        now=lambda: NOW,
        on_change=lambda: None,
        on_dropped=lambda *_: None,
    )
    for event in events:
        keeping.buffer.put(event)
    keeping.buffer.close()
    writers = [asyncio.create_task(keeping.write()) for _ in range(3)]
    try:
        yield keeping
        async with asyncio.timeout(PATIENCE_S):
            await keeping.flushed(writers)
    finally:
        for one in writers:
            one.cancel()
        await asyncio.gather(*writers, return_exceptions=True)


@pytest.mark.parametrize("state", [GapState.OPEN, GapState.LOST])
async def test_nothing_behind_a_hole_is_stored_before_the_gap_that_tells_of_it(state: GapState) -> None:
    store = HeldGaps()
    behind = [trade(number) for number in range(1_000, 1_050)]
    async with writing(store, [*map(trade, range(9)), gap(10, state=state), *behind]) as keeping:
        await until(lambda: len(keeping._in_flight) == 3)
        await settle()
        await asyncio.sleep(0.1)  # a writer that does not wait would have stored all by now
        assert await scan(store, TradeTick) == []
        assert store.asked == 1
        store.released.set()
    assert len(await scan(store, TradeTick)) == 59


async def test_what_was_taken_before_a_gap_does_not_wait_for_it() -> None:
    store = HeldGaps()
    async with writing(store, [*map(trade, range(10)), gap(10), *map(trade, range(16, 25))]):
        async with asyncio.timeout(PATIENCE_S):
            while len(await scan(store, TradeTick)) < 10:  # noqa: ASYNC110  nothing says when
                await asyncio.sleep(0.001)
        store.released.set()
    assert len(await scan(store, TradeTick)) == 19
