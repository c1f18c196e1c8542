"""A live tape and ladder in the terminal, from a running bridge."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live

from binance_proxy.bridge.ladder import Screen, line_of
from binance_proxy.bridge.listening import ANSWER_S, NoAnswer, Place, reached
from binance_proxy.bridge.watched import Watched, missed
from binance_proxy.client import Bridge, Missed, Status
from binance_proxy.domain.errors import ConfigError

log = logging.getLogger(__name__)

FRAME_S = 0.1
IDLE_FRAME_S = 1.0
"""Between two frames when nothing has come: what tells silence from a frozen screen."""
ON_SCREEN = ("trades", "candles.1m", "gaps")
_NAME = re.compile(r"[a-z0-9_-]+\.[a-z0-9_-]+\.[a-z0-9_-]+")


class NothingToWatch(NoAnswer):
    """The bridge has no such instrument. The message says what it has."""


@dataclass(frozen=True)
class Wanted:
    """Which instrument is looked for; what is `None` may be anything."""

    pair: str | None
    venue: str | None
    market: str | None

    def first_of(self, status: Status) -> str | None:
        """Return the name of the first instrument of a bridge that fits, such as ``binance.spot.ethusdt``."""
        symbol = None if self.pair is None else self.pair.replace("/", "")
        for name in filter(_NAME.fullmatch, status.instruments):
            words = zip((self.venue, self.market, symbol), name.split("."), strict=True)
            if all(wanted is None or wanted.lower() == word for wanted, word in words):
                return name
        return None

    def __str__(self) -> str:
        return " ".join(word for word in (self.venue, self.market, self.pair) if word)


async def watch(*, place: Place, wanted: Wanted, levels: int, console: Console, stop: asyncio.Event) -> None:
    """Show one instrument until ``stop`` is set: a live screen on a terminal, else one plain line a trade.

    Args:
        place: Where the bridge is. Without its request side, what is lost on the way cannot be had again.
        wanted: Which instrument.
        levels: How many levels of each side to show at most.
        console: Where to; its file decides whether it is a terminal.
        stop: Set it to end.

    Raises:
        NoAnswer: Nothing answers there within a few seconds, or it has no such instrument.
        ConfigError: An address is none, or so is the number of levels.
    """
    if levels < 1:
        raise ConfigError(f"levels = {levels} is below 1")
    await _first_of(stop.wait(), _watch(place, wanted, levels, console))


async def _watch(place: Place, wanted: Wanted, levels: int, console: Console) -> None:
    on_terminal = console.is_terminal and console.file.isatty() and not console.is_dumb_terminal
    async with AsyncExitStack() as stack:
        with console.status(f"listening on {place}") if on_terminal else nullcontext():
            bridge = await stack.enter_async_context(reached(place))
            name = await _find(bridge, place, wanted)
        if on_terminal:
            await _on_screen(bridge, Watched(name), levels, console)
        else:
            await _in_lines(bridge, name, console)


async def _find(bridge: Bridge, place: Place, wanted: Wanted) -> str:
    """Return the name of the instrument, as the bridge lists it."""
    clock = asyncio.get_running_loop().time
    start = clock()
    while True:
        status = bridge.status
        if name := wanted.first_of(status):
            return name
        if status.instruments or clock() - start > ANSWER_S:
            raise NothingToWatch(complaint(place, wanted, status))
        await asyncio.sleep(FRAME_S)


def complaint(place: Place, wanted: Wanted, heard: Status) -> str:
    """Say in one sentence why there is nothing to watch."""
    if not heard.instruments:
        return f"the bridge on {place} records no pair yet; add one with `bridge pairs`"
    return f"the bridge on {place} has no {wanted}; it has {', '.join(heard.instruments)}"


def _batches(bridge: Bridge, name: str, stream: str) -> AsyncGenerator[list[Any]]:
    venue, market, symbol = name.split(".")
    return bridge.batches(stream, [symbol], venue, market)


async def _on_screen(bridge: Bridge, watched: Watched, levels: int, console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        await _first_of(
            *(_take(bridge, watched, stream) for stream in ON_SCREEN),
            _keep_book(bridge, watched),
            _draw(bridge, watched, levels, live),
        )


async def _take(bridge: Bridge, watched: Watched, stream: str) -> None:
    async with aclosing(_batches(bridge, watched.name, stream)) as batches:
        async for batch in batches:
            for event in batch:
                watched.take(event)


async def _keep_book(bridge: Bridge, watched: Watched) -> None:
    venue, market, symbol = watched.name.split(".")
    async with aclosing(bridge.books(symbol, venue=venue, market=market)) as books:
        async for book in books:
            watched.book = book
            watched.book_changed()


async def _draw(bridge: Bridge, watched: Watched, levels: int, live: Live) -> None:
    clock, console = asyncio.get_running_loop().time, live.console
    drawn = (0.0, watched.traffic, console.size)  # when, what had come, and how large the terminal was
    while True:
        now = clock()
        watched.hear(bridge.status, bridge.traffic, bridge.silence, now)
        at, traffic, size = drawn
        is_news = traffic != watched.traffic or size != console.size
        if now - at >= (FRAME_S if is_news else IDLE_FRAME_S):
            drawn = (now, watched.traffic, console.size)
            live.update(Screen(watched, levels, now), refresh=True)
        await asyncio.sleep(FRAME_S)


async def _in_lines(bridge: Bridge, name: str, console: Console) -> None:
    async with aclosing(_batches(bridge, name, "trades")) as batches:
        async for batch in batches:
            lines = []
            for event in batch:
                if isinstance(event, Missed):
                    log.warning("%s: %s", name, missed(event))  # beside the lines, for they may be parsed
                else:
                    lines.append(line_of(event))
            if lines:
                console.out("\n".join(lines), highlight=False)


async def _first_of(*work: Coroutine[Any, Any, object]) -> None:
    """Do all of it until one has ended or failed; end the others."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
