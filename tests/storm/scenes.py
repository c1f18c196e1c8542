"""What a storm over the requests and the client is made of: scenes, as long as told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from storm import following, serving
from storm.asking import BROKEN
from storm.database import Database
from storm.following import follow
from storm.ordeal import CARE, REPAIR, Venue, _stop
from storm.serving import serve

FAULTS = ("feed.simulated.faults.gap=0.0005", "feed.simulated.faults.duplicate=0.005",
          "feed.simulated.faults.reorder=0.0005", "feed.simulated.faults.disconnect=0.0002")  # fmt: skip
LEVELS = "feed.simulated.levels=50"


async def cut(folder: Path, seconds: float, times: int, seed: int, rate: float = 3_000) -> following.Outcome:
    """Cut the link of a client, drop messages, and let one of its readers be slow."""
    options = [f"feed.simulated.rate={rate}", LEVELS]
    return await follow(
        folder, options=options, seconds=seconds, cuts=times, seed=seed, loss=0.002, slow_s=0.2, queue=500
    )


async def full_speed(folder: Path, seconds: float, times: int, seed: int) -> following.Outcome:
    """Cut the link while the simulated market waits for nobody."""
    options = ["feed.simulated.speed=max", "feed.simulated.rate=1000", LEVELS]
    return await follow(folder, options=options, seconds=seconds, cuts=times, seed=seed, loss=0.001)


async def stale(folder: Path, seconds: float, times: int, seed: int, rate: float = 800) -> following.Outcome:
    """Cut the link while the bridge's own books fall out of step, and little is kept to be asked for."""
    options = [f"feed.simulated.rate={rate}", LEVELS, "serve.recall=200", *FAULTS]
    return await follow(folder, options=options, seconds=seconds, cuts=times, seed=seed, loss=0.002)


async def without_requests(folder: Path, seconds: float, times: int, seed: int) -> following.Outcome:
    """Cut the link where nobody can be asked for what was missed."""
    options = ["feed.simulated.rate=500", LEVELS]
    return await follow(
        folder, options=options, seconds=seconds, cuts=times, seed=seed, loss=0.002, serve=False
    )


async def restarts(
    folder: Path, seconds: float, times: int, seed: int, rate: float = 200, kills: int = 0
) -> following.Outcome:
    """Kill the bridge and start it again; without a number, once for each five cuts."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  before anything runs
    venue = Venue(folder, rate=rate, seed=seed, faults={}, history=1_000_000)
    options = [
        "feed.use=binance", f"feed.binance.rest_url={venue.url}",
        f"feed.binance.stream_url={venue.url.replace('http', 'ws')}", *CARE, *REPAIR,
    ]  # fmt: skip
    try:
        return await follow(
            folder, options=options, seconds=seconds, cuts=times, seed=seed, loss=0.002,
            kills=kills or max(times // 5, 1),
        )  # fmt: skip
    finally:
        _stop(venue.process)


async def workers(folder: Path, seconds: float, times: int, seed: int, **more: int) -> serving.Outcome:
    """Kill workers, several at once, and freeze them: nobody but them is hurt."""
    kinds = (serving.worker_killed, serving.worker_killed, serving.all_workers_killed, serving.worker_frozen)
    return await serve(
        folder, kinds, times=times, seconds=seconds, seed=seed, allowed=[serving.DIED], calm_s=4, **more
    )


async def fronts(folder: Path, seconds: float, times: int, seed: int) -> serving.Outcome:
    """Kill the front and the process that forks it too: who was connected sees the connection break."""
    kinds = (serving.front_killed, serving.worker_killed, serving.crew_killed, serving.worker_killed)
    allowed = [serving.DIED, BROKEN, serving.AWAY, serving.DEADLINE]
    return await serve(folder, kinds, times=times, seconds=seconds, seed=seed, allowed=allowed, calm_s=8)


async def cache(folder: Path, seconds: float, times: int, seed: int) -> serving.Outcome:
    """Kill, freeze and fill the Valkey: nobody notices."""
    kinds = (serving.cache_killed, serving.cache_filled, serving.cache_frozen)
    options = ["cache.limit_bytes=8388608"]
    return await serve(folder, kinds, times=times, seconds=seconds, seed=seed, options=options, calm_s=2)


@asynccontextmanager
async def database_at(folder: Path) -> AsyncIterator[Database]:
    folder.mkdir(parents=True)  # noqa: ASYNC240  before anything runs
    database = Database(folder)
    await database.make()
    try:
        yield database
    finally:
        await database.stop(immediate=True)


async def database(
    folder: Path, seconds: float, times: int, seed: int, longest_s: float = 12.0, clients: int = 24
) -> serving.Outcome:
    """Stop the database for a while: the live book is answered, the rest is to be asked for later."""
    async with database_at(folder / "server") as server:
        return await serve(
            folder, [serving.database_stopped(server, longest_s)], times=times, seconds=seconds, seed=seed,
            allowed=[serving.AWAY, serving.DEADLINE], spared=serving.LIVE, clients=clients, timeout_s=6.0,
            calm_s=16, url=server.url,
        )  # fmt: skip


Scene = Callable[[Path, float, int, int], Awaitable[following.Outcome | serving.Outcome]]
SCENES: dict[str, Scene] = {
    one.__name__: one
    for one in (cut, full_speed, stale, without_requests, restarts, workers, fronts, cache, database)
}
