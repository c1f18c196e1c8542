"""The live feed of Binance against a sandbox in this process, by either way of transport."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from binance_proxy.adapters.binance.direct import open_direct
from binance_proxy.adapters.binance.feed import BinanceFeed
from binance_proxy.adapters.binance.history import BinanceHistory
from binance_proxy.adapters.binance.rest import BinanceRest
from binance_proxy.adapters.binance.settings import Care, Direct
from binance_proxy.adapters.binance.transport import Answer, Listing, Transport
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.adapters.ccxt.transport import open_ccxt
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.application.ports import TrackedPair
from binance_proxy.domain.instrument import MICROSECOND_NS, MILLISECOND_NS
from binance_proxy.sandbox.serve import Sandbox, serve
from binance_proxy.sandbox.settings import Faults, SandboxSettings

WAYS = ("direct", "ccxt")
PAIRS = (TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT"))
CARE = Care(silence_s=20.0, settle_s=0.2, longest_pause_s=0.1, snapshot_levels=1_000)
"""Patient with a slow machine; quick to try again."""
PATIENCE_S = 60.0
"""No test waits that long unless it fails."""


async def until(condition: Callable[[], Any]) -> None:
    """Return once something holds that others bring about."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what changes is another task's
            await asyncio.sleep(0.01)


class Venue:
    """A sandbox of simulated pairs, and a look into it."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.rest_url, self.stream_url = sandbox.rest_url, sandbox.stream_url
        self._http = http

    async def fault(self, fault: str, **how: object) -> dict[str, Any]:
        """Have something go wrong."""
        async with self._http.post(f"{self.rest_url}/sandbox/faults", json={"fault": fault, **how}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def no_more_faults(self) -> None:
        """End every fault."""
        async with self._http.delete(f"{self.rest_url}/sandbox/faults") as answer:
            assert answer.status == 200

    async def fired(self, fault: str) -> int:
        """Return how often a fault has really happened."""
        return (await self._get("faults"))[fault]

    async def has_fired(self, fault: str, times: int = 1) -> None:
        """Return once a fault has happened so often."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.fired(fault) < times:  # noqa: ASYNC110  it is the venue that knows
                await asyncio.sleep(0.02)

    async def has_connections(self, count: int) -> None:
        """Return once so many clients are connected."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self._get("status"))["connections"] != count:  # noqa: ASYNC110  it is the venue that knows
                await asyncio.sleep(0.01)

    async def checksums(self, symbol: str, from_update_id: int = 0) -> dict[int, int]:
        """Return the checksum of the book at each update id."""
        found: dict[int, int] = {}
        while page := await self._get("checksums", symbol=symbol, from_update_id=from_update_id):
            found |= {int(update_id): checksum for update_id, checksum in page.items()}
            if len(page) < 100_000:
                break
            from_update_id = max(found) + 1
        return found

    async def _get(self, what: str, **parameters: object) -> Any:
        url = f"{self.rest_url}/sandbox/{what}"
        async with self._http.get(
            url, params={name: str(value) for name, value in parameters.items()}
        ) as answer:
            return await answer.json()


@asynccontextmanager
async def open_venue(
    *, rate: float = 300.0, faults: Faults | None = None, pairs: Sequence[TrackedPair] = PAIRS, **changed: Any
) -> AsyncIterator[Venue]:
    """Run a sandbox in which simulated pairs trade in real time."""
    simulated = SimulatedFeed(Simulation(rate=rate, levels=20), SystemClock())
    settings = SandboxSettings(
        **({"port": 0, "shutdown_notice_s": 5.0, "faults": faults or Faults()} | changed)
    )
    async with (
        serve(simulated, await simulated.instruments(pairs), settings) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        yield Venue(sandbox, http)


class Live(NamedTuple):
    """A live feed, and what it is made of."""

    feed: BinanceFeed
    history: BinanceHistory
    rest: BinanceRest
    transport: Transport


@asynccontextmanager
async def open_live(
    way: str, venue: Any, care: Care = CARE, *, wrap: Callable[[Any], Any] = lambda one: one, **changed: Any
) -> AsyncIterator[Live]:
    """Go to a venue by a way; ``wrap`` may put something between the way and the feed."""
    where = {"rest_url": venue.rest_url, "stream_url": venue.stream_url}
    async with AsyncExitStack() as stack:
        opening = (
            open_direct(Direct(**(where | changed)))
            if way == "direct"
            else open_ccxt(Ccxt(**(where | changed)), Answer, Listing)
        )
        transport = wrap(await stack.enter_async_context(opening))
        rest = BinanceRest(transport, WeightLimiter(share=care.weight_share))
        clock = SystemClock()
        resolution_ns = MICROSECOND_NS if way == "direct" else MILLISECOND_NS
        feed = BinanceFeed(transport, rest, clock, care, time_resolution_ns=resolution_ns)
        yield Live(feed, BinanceHistory(rest, clock), rest, transport)
