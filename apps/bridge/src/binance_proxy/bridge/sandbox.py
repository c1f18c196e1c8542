"""``bridge sandbox``: a venue on this machine that talks like Binance, over the feed that is set."""

import asyncio
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.markup import escape

from binance_proxy.application.ports import FeedRejected, TrackedPair
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container
from binance_proxy.bridge.load import environment
from binance_proxy.bridge.terminal import err
from binance_proxy.sandbox.hold import HeldClock

if TYPE_CHECKING:
    from binance_proxy.sandbox.serve import Sandbox


async def sandbox(config: Config, *, duration_s: float | None) -> int:
    """Serve until a signal comes or the time is over; return the exit status.

    Raises:
        FeedRejected: The feed cannot be read, or has nothing to serve.
        ConfigError: The port is taken.
    """
    from binance_proxy.sandbox.serve import serve  # noqa: PLC0415  aiohttp takes a while to import

    stop = asyncio.Event()
    received = _stopping(stop)
    if duration_s is not None:
        asyncio.get_running_loop().call_later(duration_s, stop.set)
    container = Container(config=config, owner="bridge sandbox", attach=False)
    clock = HeldClock(container.clock())
    container.clock.override(clock)
    settings = config.sandbox
    if settings.hold is None:
        settings = replace(settings, hold=config.feed.use == "capture")
    async with container.source() as source:
        instruments = await source.feed.instruments([TrackedPair(symbol=pair) for pair in settings.pairs])
        if not instruments:
            raise FeedRejected(f"there is nothing to serve: {config.feed.use} gives none of the wanted pairs")
        async with serve(source.feed, instruments, settings, clock) as opened:
            _announce(config, opened)
            await _until_stopped(opened, stop)
    return 130 if signal.SIGINT in received else 0


def _stopping(stop: asyncio.Event) -> list[signal.Signals]:
    """Set ``stop`` at SIGINT, SIGTERM or SIGHUP; return the list of the signals that came."""
    received: list[signal.Signals] = []

    def hear(sign: signal.Signals) -> None:
        received.append(sign)
        stop.set()

    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, hear, sign)
    return received


async def _until_stopped(opened: "Sandbox", stop: asyncio.Event) -> None:
    """Return once it is time to stop; say when the feed has ended. Raises what the feed raised."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({opened.playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if opened.playing.done() and not stop.is_set():
        opened.playing.result()
        err.print("ended         the feed has no more; REST goes on answering, and the sockets stay open")
        await stopping
    stopping.cancel()


def _announce(config: Config, opened: "Sandbox") -> None:
    names = ", ".join(f"{one.symbol} ({one.venue})" for one in opened.instruments)
    rest, stream = opened.rest_url, opened.stream_url
    err.print(f"serving       [bold]{escape(names)}[/] from [bold]{config.feed.use}[/]")
    err.print(f"REST          {rest}/api/v3")
    err.print(f"WebSocket     {stream}/ws and {stream}/stream")
    err.print(f"control       {rest}/sandbox/status, {rest}/sandbox/faults")
    if opened.is_held:
        err.print("held          the feed begins with the first client that subscribes")
    bridge = "uv run bridge" if "UV" in environment() else "bridge"  # as it was typed
    symbol = opened.instruments[0].symbol.replace("/", "")
    for title, way in (
        ("try", f"curl '{rest}/api/v3/depth?symbol={symbol}&limit=5'"),
        ("bridge", f"{bridge} run --feed ccxt -o feed.ccxt.rest_url={rest} \\"),
        ("", f"    -o feed.ccxt.stream_url={stream}"),
        ("ccxt", f'urls.api.public = "{rest}/api/v3", urls.api.ws.spot = "{stream}/stream"'),
        ("others", f"{rest} for api.binance.com, {stream} for stream.binance.com:9443"),
        ("stop", "Ctrl-C"),
    ):
        err.print(f"[dim]{title:13} {escape(way)}[/]")
