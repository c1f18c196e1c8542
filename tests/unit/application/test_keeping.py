"""What is on its way to the store gets there in an order that can be cut off anywhere, or into the spool."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.tick import TradeTick
from unit.application.test_record import NOW, PATIENCE_S, Bench, simulation


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
