"""The live feeds, from the socket to the event, against the bare client library and ccxt's own calls.

Every reader is a process of its own, and reads simulated pairs from a sandbox in another process. What is
compared is frames per CPU second of the reader alone, between two of its frames: neither how it connects nor
how fast the sandbox is has a part in it.
"""

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.request import urlopen

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from binance_proxy.application.ports import TrackedPair
from binance_proxy.bridge.config import Config, FeedConfig
from binance_proxy.bridge.container import Container
from binance_proxy.domain.tick import BookSnapshot
from bridge_process import Bridge, eventually, free_port

FRAMES = 12_000
"""What a reader reads in one turn, with the clock running."""
WARM = 2_000
"""What it reads before, while it may still be at its books."""
FEW, MORE, MANY = 2, 50, 500
"""How many pairs are read."""
PATIENCE_S = 60.0
STREAMS = ("trade", "depth@100ms")
READ = {
    FEW: ("text", "floats", "binance", "ccxt", "watch"),
    MORE: ("binance", "ccxt"),
    MANY: ("binance", "ccxt"),
}
"""Who takes turns at how many pairs."""


class Turn(NamedTuple):
    """What a reader is told to do."""

    url: str
    pairs: list[str]
    frames: int


class _Stopwatch:
    """Counts frames; runs from frame `WARM` on, or from when all books are there, for so many frames."""

    def __init__(self, turn: Turn, *, books: int) -> None:
        self._frames = turn.frames
        self._left = WARM
        self._books = books
        self._began: float | None = None
        self.took: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        """The CPU seconds of this process."""

    def book(self) -> None:
        """Take a whole book."""
        self._books -= 1

    def tick(self) -> bool:
        """Take a frame; return whether there are enough."""
        self._left -= 1
        if self._left > 0 or self._books > 0:
            return False
        if self._began is None:
            self._left, self._began = self._frames, time.process_time()
            return False
        if not self.took.done():
            self.took.set_result(time.process_time() - self._began)
        return True


# The bare client library: decode, count, forget.


class _Trade(msgspec.Struct, tag_field="e", tag="trade", gc=False):
    E: int
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool


class _Depth(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    E: int
    s: str
    U: int
    u: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class _Frame(msgspec.Struct, gc=False):
    stream: str
    data: _Trade | _Depth


class _FloatTrade(msgspec.Struct, tag_field="e", tag="trade", gc=False):
    E: int
    s: str
    t: int
    p: float
    q: float
    T: int
    m: bool


class _FloatDepth(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    E: int
    s: str
    U: int
    u: int
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class _FloatFrame(msgspec.Struct, gc=False):
    stream: str
    data: _FloatTrade | _FloatDepth


class _Listener(WSListener):
    def __init__(self, decode: Callable[[memoryview], object], stopwatch: _Stopwatch) -> None:
        super().__init__()
        self._decode = decode
        self._tick = stopwatch.tick
        self._is_subscribed = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        if not self._is_subscribed:  # the first message is the answer
            self._is_subscribed = True
            return
        self._decode(frame.get_payload_as_memoryview())
        if self._tick():
            transport.disconnect(graceful=False)


def _ask_for_books(url: str, codes: Sequence[str]) -> None:
    """The sandbox holds its feed until somebody has."""
    for code in codes:
        with urlopen(f"{url}/api/v3/depth?symbol={code}&limit=100") as answer:
            answer.read()


async def _bare(turn: Turn, decode: Callable[[memoryview], object]) -> float:
    codes = [pair.replace("/", "") for pair in turn.pairs]
    await asyncio.to_thread(_ask_for_books, turn.url, codes)
    names = [f"{code.lower()}@{stream}" for code in codes for stream in STREAMS]
    stopwatch = _Stopwatch(turn, books=0)
    url = turn.url.replace("http", "ws", 1)
    transport, _ = await ws_connect(lambda: _Listener(decode, stopwatch), f"{url}/stream")
    transport.send(WSMsgType.TEXT, json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}).encode())
    return await stopwatch.took


async def text(turn: Turn) -> float:
    """Decode numbers as text."""
    return await _bare(turn, msgspec.json.Decoder(_Frame).decode)


async def floats(turn: Turn) -> float:
    """Decode numbers as floats."""
    return await _bare(turn, msgspec.json.Decoder(_FloatFrame, strict=False).decode)


# The feeds, as the bridge has them.


async def _feed(turn: Turn, use: str) -> float:
    feed = FeedConfig(use=use)
    way = replace(getattr(feed, use), rest_url=turn.url, stream_url=turn.url.replace("http", "ws", 1))
    care = replace(feed.care, snapshot_levels=100, weight_share=1.0)
    config = Config(feed=replace(feed, care=care, **{use: way}))
    stopwatch = _Stopwatch(turn, books=len(turn.pairs))
    async with AsyncExitStack() as stack:
        container = Container(config=config, owner="just bench", attach=False)
        source = await stack.enter_async_context(container.source())
        instruments = await source.feed.instruments([TrackedPair(symbol=pair) for pair in turn.pairs])
        async with aclosing(source.feed.stream(instruments)) as events:
            async for event in events:
                if type(event) is BookSnapshot:
                    stopwatch.book()
                elif stopwatch.tick():
                    break
    return stopwatch.took.result()


async def binance(turn: Turn) -> float:
    """Read the feed `binance`."""
    return await _feed(turn, "binance")


async def ccxt(turn: Turn) -> float:
    """Read the feed `ccxt`."""
    return await _feed(turn, "ccxt")


async def watch(turn: Turn) -> float:
    """Poll the watch calls of ccxt, and count the frames that it takes in: the calls do not return all."""
    import ccxt.pro  # noqa: PLC0415  it takes a second, and is for this reader only

    exchange = ccxt.pro.binance(
        {"options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}}
    )
    exchange.urls["api"]["public"] = f"{turn.url}/api/v3"
    exchange.urls["api"]["ws"]["spot"] = turn.url.replace("http", "ws", 1) + "/stream"
    stopwatch = _Stopwatch(turn, books=len(turn.pairs))
    take = exchange.handle_message

    def counted(client: object, message: object) -> None:
        take(client, message)
        if isinstance(message, dict) and "stream" in message:
            stopwatch.tick()

    async def watch_trades() -> None:
        while True:
            await exchange.watch_trades_for_symbols(turn.pairs)

    async def watch_books() -> None:
        missing = set(turn.pairs)
        while True:
            book = await exchange.watch_order_book_for_symbols(turn.pairs)
            if book["symbol"] in missing:
                missing.remove(book["symbol"])
                stopwatch.book()

    exchange.handle_message = counted
    await exchange.load_markets()
    polls = [asyncio.create_task(poll()) for poll in (watch_trades, watch_books)]
    try:
        await asyncio.wait({stopwatch.took, *polls}, return_when=asyncio.FIRST_COMPLETED)
        for one in polls:
            if one.done():
                one.result()
        return stopwatch.took.result()
    finally:
        for one in polls:
            one.cancel()
        await exchange.close()
        await asyncio.gather(*polls, return_exceptions=True)


SIDES = {one.__name__: one for one in (text, floats, binance, ccxt, watch)}


def read(side: str) -> None:
    """Take turns, one a line of standard input, until it ends; say what each took."""
    for line in sys.stdin:
        gc.collect()
        print(json.dumps(asyncio.run(_patiently(SIDES[side](Turn(*json.loads(line)))))), flush=True)


async def _patiently(turn: Awaitable[float]) -> float:
    async with asyncio.timeout(PATIENCE_S):
        return await turn


# The parent: sandboxes, readers, ratios.


@contextmanager
def _reader(side: str) -> Iterator[Callable[[Turn], float]]:
    """Keep a reader for all rounds; it ends with its standard input, whatever happens to us."""
    command = [sys.executable, __file__, side]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout

    def take(turn: Turn) -> float:
        print(json.dumps(turn), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            raise SystemExit(f"feeds: the reader {side!r} has failed")
        return float(answer)

    try:
        yield take
    finally:
        process.kill()
        process.wait()


@contextmanager
def _sandbox(pairs: Sequence[str], folder: Path) -> Iterator[str]:
    """Run a sandbox that plays as fast as it is read, from when it is first subscribed; yield its address."""
    port = free_port()
    log = folder / "sandbox.log"
    log.unlink(missing_ok=True)
    settings = (
        f"sandbox.port={port}", f"sandbox.pairs={json.dumps(pairs)}", "sandbox.hold=true",
        f"sandbox.hold_s={PATIENCE_S}", "sandbox.history=1000", "sandbox.weight_limit=1000000",
        "feed.simulated.speed=max",
    )  # fmt: skip
    sandbox = Bridge(folder, *settings).start("sandbox", "--duration", str(5 * PATIENCE_S), log=log)
    try:
        eventually(lambda: "stop" in log.read_text() or sandbox.poll() is not None, "the sandbox is up")
        yield f"http://127.0.0.1:{port}"
    finally:
        sandbox.kill()
        sandbox.wait()


async def bench(rounds: int) -> None:
    """Print the ratios."""
    rates: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        readers = {side: stack.enter_context(_reader(side)) for side in SIDES}
        for _ in range(rounds):
            for many, sides in READ.items():
                pairs = [f"P{number:03}/USDT" for number in range(many)]
                with _sandbox(pairs, Path(folder)) as url:
                    for side in sides:
                        rate = FRAMES / readers[side](Turn(url, pairs, FRAMES))
                        rates.setdefault((side, many), []).append(rate)
    few = {side: rates[side, FEW] for side in SIDES}
    bare = max(few["text"], few["floats"], key=median)
    print(f"feeds: {FRAMES:,} frames a turn of {FEW} simulated pairs, trades and books, socket -> event")
    print("  frames per CPU second of the reading process: median of all rounds, and range")
    _print("feed `binance`, of picows and msgspec alone", few["binance"], bare, "aim: 0.6")
    _print("feed `ccxt`, of ccxt's own watch calls", few["ccxt"], few["watch"], "aim: 2")
    _print("feed `ccxt`, of feed `binance`", few["ccxt"], few["binance"])
    print(f"  CPU time of a frame, of that with {FEW} pairs (aim: 1)")
    for feed in ("binance", "ccxt"):
        for many in (MORE, MANY):
            _print(f"feed `{feed}`, {many} pairs", few[feed], rates[feed, many])


def _print(what: str, rates: Sequence[float], others: Sequence[float], aim: str = "") -> None:
    """Print the ratio of two that took turns, round by round."""
    ratios = [rate / other for rate, other in zip(rates, others, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"    {what:45} {median(ratios):.2f} ({spread}{f'; {aim}' if aim else ''})")


if __name__ == "__main__":
    read(sys.argv[1])
