"""The sandbox as a whole: a venue over a feed, on a port of this machine."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from aiohttp import web

from binance_proxy.application.ports import FeedRejected, MarketFeed
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.sandbox.control import Control
from binance_proxy.sandbox.door import Door
from binance_proxy.sandbox.faults import FaultPlan
from binance_proxy.sandbox.hold import HeldClock, Hold
from binance_proxy.sandbox.play import Player
from binance_proxy.sandbox.rest import Rest, not_found
from binance_proxy.sandbox.settings import SandboxSettings
from binance_proxy.sandbox.streams import Streams
from binance_proxy.sandbox.venue import Venue
from binance_proxy.sandbox.weight import WeightMeter

HOST = "127.0.0.1"
STOP_TIMEOUT_S = 1.0
DEFAULTS = SandboxSettings()


class Sandbox(NamedTuple):
    """A sandbox that is listening."""

    rest_url: str
    """Such as ``http://127.0.0.1:9080``, to be used in place of ``https://api.binance.com``."""
    stream_url: str
    """Such as ``ws://127.0.0.1:9080``, to be used in place of ``wss://stream.binance.com:9443``."""
    instruments: tuple[Instrument, ...]
    """What it lists."""
    playing: asyncio.Task[None]
    """Done once the feed has ended, and failed if the feed has; the sandbox goes on answering."""
    is_held: bool
    """Whether the feed waits for the first client."""


@asynccontextmanager
async def serve(
    feed: MarketFeed,
    instruments: Sequence[Instrument],
    settings: SandboxSettings = DEFAULTS,
    clock: HeldClock | None = None,
) -> AsyncIterator[Sandbox]:
    """Run a sandbox for as long as the context is open.

    Args:
        feed: What happens at the venue.
        instruments: What the venue lists, of spot, as the feed describes them.
        settings: How it behaves. ``hold = None`` is taken as false here: only the caller knows its feed.
        clock: The clock of the feed, if the feed is to be paced by it while and after it is held.

    Raises:
        FeedRejected: An instrument is not of spot, or the feed cannot be read.
        ConfigError: The port is taken.
    """
    for instrument in instruments:
        if instrument.market is not Market.SPOT:
            raise FeedRejected(f"{instrument.name} is not of spot, and the sandbox is a spot market only")
    venue = Venue(instruments, settings)
    streams = Streams(venue)
    venue.listener = streams
    faults = FaultPlan(settings.faults, settings.ban_s, time.monotonic)
    meter = WeightMeter(
        settings.weight_limit, settings.weight_window_s, settings.patience, settings.ban_s, time.time
    )
    hold = Hold(settings.hold_s)
    door = Door(streams, hold, settings, faults)
    player = Player(feed, instruments, venue, door)
    app = web.Application()
    app.add_routes(Rest(venue, settings, faults, hold, meter).routes())
    app.add_routes(Control(venue, door, faults, player).routes())
    app.add_routes(door.routes())
    app.router.add_route("*", "/{path:.*}", not_found())
    playing = asyncio.create_task(player.play(hold if settings.hold else None, clock))
    try:
        ready = asyncio.create_task(player.is_ready.wait())
        await asyncio.wait({playing, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if playing.done():
            playing.result()
        async with _listening(app, settings.port) as port:
            door.begin_faults()
            try:
                yield Sandbox(
                    f"http://{HOST}:{port}",
                    f"ws://{HOST}:{port}",
                    tuple(instruments),
                    playing,
                    bool(settings.hold),
                )
            finally:
                await door.close()
    finally:
        playing.cancel()
        with suppress(asyncio.CancelledError, FeedRejected):
            await playing


@asynccontextmanager
async def _listening(app: web.Application, port: int) -> AsyncIterator[int]:
    """Listen on a port, any free one for 0; yield which it is."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port, reuse_address=True).start()
        except OSError as error:
            raise ConfigError(f"sandbox.port = {port} cannot be used: {error.strerror}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
