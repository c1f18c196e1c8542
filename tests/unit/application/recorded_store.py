"""What a recording leaves in a store, of a capture or of a made-up market."""

import asyncio

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Faults, Simulation
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.ports import MarketFeed, TrackedPair
from binance_proxy.application.record import Recording
from binance_proxy.domain.instrument import Market

NOW = 1_760_000_000_000_000_000
PAIRS = (TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT", market=Market.USDM))


async def recorded_store(feed: MarketFeed, *, snapshot_interval_s: float) -> MemoryStore:
    """Record a feed to its end, and return the store."""
    registry = MemoryRegistry(PAIRS)
    store = MemoryStore(registry)
    recording = Recording(
        feed=feed,
        store=store,
        pairs=registry,
        registry=registry,
        publisher=MemoryPublisher(),
        clock=ManualClock(NOW, auto=False),
        settings=RecordSettings(batch=2_000, timeframes=("1m",), snapshot_interval_s=snapshot_interval_s),
        publish_snapshot_s=3_600.0,
    )
    await recording.prepare()
    async with asyncio.timeout(300):
        await recording.run(asyncio.Event())
    return store


async def simulated_store(events: int, seed: int, faults: Faults | None = None) -> MemoryStore:
    """Record a made-up market with a spot and a USD-M pair."""
    simulation = Simulation(
        seed=seed, events=events, levels=15, speed="max", start=NOW, faults=faults or Faults()
    )
    return await recorded_store(
        SimulatedFeed(simulation, ManualClock(NOW, auto=False)), snapshot_interval_s=20.0
    )
