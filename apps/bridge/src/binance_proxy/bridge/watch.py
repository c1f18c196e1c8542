"""A live tape and ladder in the terminal, from a bridge's PUB endpoint."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice

import msgspec
import zmq
import zmq.asyncio
from rich.console import Console
from rich.live import Live

from binance_proxy.adapters.zeromq.cloudevents import bare_json
from binance_proxy.adapters.zeromq.publisher import STATUS
from binance_proxy.bridge.ladder import Screen, line_of
from binance_proxy.bridge.listening import ANSWER_S, listening, no_answer, unreadable
from binance_proxy.bridge.watched import TAPE, Status, Watched, read_status
from binance_proxy.domain.errors import BridgeError, ConfigError
from binance_proxy.domain.tick import TradeTick

log = logging.getLogger(__name__)

FRAME_S = 0.1
IDLE_FRAME_S = 1.0
"""Between two frames when nothing has come: what tells silence from a frozen screen."""
ASK_S = 2.0
"""Between two requests for a snapshot."""
TURN = TAPE // 2
"""Messages that are taken at once; no more trades than the tape holds, or lines would be lost."""
ON_SCREEN = ("trades", "orderbook", "candles.1m", "gaps")
IN_LINES = ("trades",)
_NAME = re.compile(r"[a-z0-9_-]+\.[a-z0-9_-]+\.[a-z0-9_-]+")

Arrivals = Callable[[], Iterator[tuple[bytes, bytes]]]


class NothingToWatch(BridgeError):
    """No bridge answers, or it has no such instrument. The message says where, and what to do."""


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


async def watch(
    *,
    address: str,
    pair: str | None,
    venue: str | None,
    market: str | None,
    levels: int,
    console: Console,
    stop: asyncio.Event,
) -> None:
    """Show one instrument until ``stop`` is set: a live screen on a terminal, else one plain line a trade.

    Args:
        address: The JSON endpoint of a bridge, such as ``tcp://127.0.0.1:5555``.
        pair: Such as ``ETH/USDT`` or ``ethusdt``; `None` takes the first instrument that fits the rest.
        venue: Such as ``binance``; `None` takes any.
        market: Such as ``spot``; `None` takes any.
        levels: How many levels of each side to show at most.
        console: Where to; its file decides whether it is a terminal.
        stop: Set it to end.

    Raises:
        NothingToWatch: Nothing answers at the address within a few seconds, or it has no such instrument.
        ConfigError: The address is none, or so is the number of levels.
    """
    if levels < 1:
        raise ConfigError(f"levels = {levels} is below 1")
    on_terminal = console.is_terminal and console.file.isatty() and not console.is_dumb_terminal
    with listening(address) as socket:
        with console.status(f"listening on {address}") if on_terminal else nullcontext():
            name = await _find(socket, address, Wanted(pair, venue, market), stop)
        if name is None:
            return
        watched = Watched(name, ON_SCREEN if on_terminal else IN_LINES, asyncio.get_running_loop().time())
        for topic in watched.topics:
            socket.subscribe(topic)
        with _on_screen(console, watched, levels) if on_terminal else _in_lines(console, watched) as show:
            await _follow(socket, watched, show, stop)


async def _find(socket: zmq.asyncio.Socket, address: str, wanted: Wanted, stop: asyncio.Event) -> str | None:
    """Return the name of the instrument, as the bridge lists it; `None` if stopped meanwhile."""
    clock = asyncio.get_running_loop().time
    start = clock()
    heard: Status | None = None
    while not stop.is_set():
        if await socket.poll(int(FRAME_S * 1000)):
            topic, body = await socket.recv_multipart()
            heard = _status_in(topic, body, address) or heard
            if heard is not None and (name := wanted.first_of(heard)):
                return name
        if (heard is not None and heard.instruments) or clock() - start > ANSWER_S:
            raise NothingToWatch(complaint(address, wanted, heard))
    return None


def _status_in(topic: bytes, body: bytes, address: str) -> Status | None:
    if topic != STATUS.encode():
        return None
    try:
        return read_status(bare_json(body))
    except (msgspec.MsgspecError, ValueError) as error:
        raise NothingToWatch(unreadable(address)) from error


def complaint(address: str, wanted: Wanted, heard: Status | None) -> str:
    """Say in one sentence why there is nothing to watch."""
    if heard is None:
        return no_answer(address)
    if not heard.instruments:
        return f"the bridge on {address} records no pair yet; add one with `bridge pairs`"
    return f"the bridge on {address} has no {wanted}; it has {', '.join(heard.instruments)}"


async def _follow(
    socket: zmq.asyncio.Socket, watched: Watched, show: Callable[[float], None], stop: asyncio.Event
) -> None:
    clock = asyncio.get_running_loop().time
    waiting: zmq.Socket[bytes] = zmq.Socket.shadow(
        socket
    )  # a future for each message would cost more than the message
    ask_at = clock() + ASK_S
    while not stop.is_set():
        await socket.poll(int(FRAME_S * 1000))
        now = clock()
        for topic, body in _arrived(waiting):
            watched.take(topic, body, now)
        if watched.book is None and now >= ask_at:
            ask_at = now + ASK_S
            ask_for_snapshot(socket, watched)
        show(now)
        await asyncio.sleep(0)  # a busy socket is always ready, and then poll gives nobody else a turn


def _arrived(socket: zmq.Socket[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(TURN):
        try:
            topic, body = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        yield topic, body


def ask_for_snapshot(socket: zmq.asyncio.Socket, watched: Watched) -> None:
    """Subscribe to the order book once more: whoever does is sent the whole book.

    Subscriptions are counted, so that taking the second one back leaves the first, and nothing is missed.
    """
    topic = f"{watched.name}.orderbook".encode()
    if topic in watched.topics:
        socket.subscribe(topic)
        socket.unsubscribe(topic)


@contextmanager
def _on_screen(console: Console, watched: Watched, levels: int) -> Iterator[Callable[[float], None]]:
    drawn = (0.0, -1, console.size)  # when, how many messages there were, and how large the terminal was

    with Live(console=console, screen=True, auto_refresh=False) as live:

        def draw(now: float) -> None:
            nonlocal drawn
            at, messages, size = drawn
            is_news = messages != watched.messages or size != console.size
            if now - at >= (FRAME_S if is_news else IDLE_FRAME_S):
                drawn = (now, watched.messages, console.size)
                live.update(Screen(watched, levels, now), refresh=True)

        yield draw


@contextmanager
def _in_lines(console: Console, watched: Watched) -> Iterator[Callable[[float], None]]:
    printed = 0

    def write(_: float) -> None:
        nonlocal printed
        new = list(islice(reversed(watched.tape), watched.entries - printed))
        printed = watched.entries
        lines = []
        for entry in reversed(new):
            if isinstance(entry, TradeTick):
                lines.append(line_of(entry))
            else:
                log.warning("%s: %s", watched.name, entry.text)  # beside the lines, for they may be parsed
        if lines:
            console.out("\n".join(lines), highlight=False)

    yield write
