"""The whole path of a raw frame: decoded, checked, into book and candles, encoded, sent on PUB."""

import asyncio
import gzip
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import zmq

from bench.bare import Frames, float_loop, text_loop
from bench.turns import best_of
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.adapters.zeromq.publisher import ZmqPublisher, open_publisher
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.ports import StoredEvent, TrackedPair
from binance_proxy.application.record import TURN, Recording
from binance_proxy.application.track import Plan, Report, Track
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, MarketEvent, QuoteTick, TradeTick
from recorded import FOLDER

CAPTURES = ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")
TIMEFRAMES = ("1m", "5m")

SUBSCRIBER = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.setsockopt(zmq.RCVHWM, 0)
socket.subscribe(b"")
socket.connect(sys.argv[1])
while True:
    socket.recv_multipart()
"""


class _Frames:
    """A feed of raw frames that are in memory already."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._decoder = BinanceFrames(Market.SPOT)

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        described = self._decoder.describe(self._frames[0][1])
        assert described
        return [described]

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        decode = self._decoder.with_instruments(instruments).decode
        for ts_recv, raw in self._frames:
            event = decode(raw, ts_recv, instruments[0])
            if event is not None:
                yield event

    def resync(self, instrument: Instrument) -> None:
        pass


class _Nowhere:
    """A store that takes everything and keeps nothing: storing is another bench."""

    async def append(self, events: Sequence[StoredEvent]) -> int:
        return len(events)

    async def scan(self, *_: object, **__: object) -> AsyncGenerator[StoredEvent]:
        for nothing in ():
            yield nothing


class _Unheard:
    """A publisher without subscribers."""

    def publish(self, event: object) -> None:
        pass


class _NoStore:
    """A buffer that lets go of everything at once."""

    def put(self, event: StoredEvent) -> None:
        pass


async def bench(rounds: int) -> None:
    """Print the ratio, and what each step costs."""
    if not available():
        print("path: skipped, the recorded captures are not beside the checkout")
        return
    frames = captured_frames()
    ticks = [raw for _, raw in frames if b"@" in raw[:40]]
    sides: dict[str, Callable] = {
        "text": lambda: _bare(text_loop, frames),
        "float": lambda: _bare(float_loop, frames),
        "path": lambda: _published(frames),
        "bridge": lambda: _recorded(frames),
    }
    best = await best_of(rounds, sides)
    fastest = min(best["text"], best["float"])
    candles = " and ".join(TIMEFRAMES)
    print(f"path: {len(ticks):,} frames, raw -> tick -> book -> candles {candles} -> JSON -> PUB")
    print("  speed, of the faster bare loop, which sends the same bytes without checks and candles:")
    print(f"    bare loop, numbers kept as text         {fastest / best['text']:.2f}")
    print(f"    bare loop, numbers through floats       {fastest / best['float']:.2f}")
    print(f"    the path                                {fastest / best['path']:.2f} (aim: 0.8)")
    print("    the path, in the loop of `bridge run`,")
    print(f"    every event kept until a store has it   {fastest / best['bridge']:.2f}")
    steps = await best_of(rounds, _steps(frames))
    total = steps["encode and send"]
    print("  what each step costs, of the path:")
    before = 0.0
    for name, took in steps.items():
        print(f"    {name:39} {(took - before) / total:4.0%}")
        before = took


def available() -> bool:
    """Return whether the recorded captures are there."""
    return all((FOLDER / "captures" / name).exists() for name in CAPTURES)


def captured_frames() -> list[tuple[int, bytes]]:
    """Return receipt time and raw frame of all captured lines but the bookTicker's."""
    frames = []
    for name in CAPTURES:
        with gzip.open(FOLDER / "captures" / name) as lines:
            for line in lines:
                stamp, _, raw = line.partition(b" ")
                if b"@bookTicker" not in raw[:60]:
                    frames.append((int(stamp), raw))
    return frames


@contextmanager
def _subscriber(address: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", SUBSCRIBER, address])
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def _bare(loop: Callable[[Frames, zmq.Socket], None], frames: Frames) -> float:
    with zmq.Context() as context, context.socket(zmq.XPUB) as xpub:
        xpub.setsockopt(zmq.SNDHWM, 0)
        xpub.setsockopt(zmq.LINGER, 0)
        port = xpub.bind_to_random_port("tcp://127.0.0.1")
        with _subscriber(f"tcp://127.0.0.1:{port}"):
            xpub.recv()
            began = time.perf_counter()
            loop(frames, xpub)
            return time.perf_counter() - began


@asynccontextmanager
async def _heard_publisher() -> AsyncIterator[ZmqPublisher]:
    """A publisher with one subscriber to everything, on JSON."""
    json, msgpack = _free_address(), _free_address()
    async with open_publisher(
        json=json, msgpack=msgpack, epoch="epoch", high_water=10**7, linger_s=0
    ) as publisher:
        with _subscriber(json):
            while not publisher.newcomers():  # noqa: ASYNC110  a socket has no event to wait for
                await asyncio.sleep(0.01)
            yield publisher


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


async def _recorded(frames: Frames) -> float:
    async with _heard_publisher() as publisher:
        recording = Recording(
            feed=_Frames(frames),
            store=_Nowhere(),
            pairs=MemoryRegistry(),
            registry=MemoryRegistry(),
            publisher=publisher,
            clock=SystemClock(),
            settings=RecordSettings(timeframes=TIMEFRAMES),
            publish_snapshot_s=60,
        )
        await recording.prepare()
        began = time.perf_counter()
        await recording.run(asyncio.Event())
        return time.perf_counter() - began


async def _published(frames: Frames) -> float:
    async with _heard_publisher() as publisher:
        return await _tracked(frames, publisher, TIMEFRAMES)


async def _tracked(frames: Frames, publisher: object, timeframes: tuple[str, ...]) -> float:
    decoder = BinanceFrames(Market.SPOT)
    instrument = decoder.describe(frames[0][1])
    assert instrument
    decode = decoder.with_instruments([instrument]).decode
    track = Track(
        instrument,
        _Frames(frames),
        publisher,
        _NoStore(),
        Report(),
        plan=Plan(
            streams=frozenset(Stream),
            timeframes=tuple(map(Timeframe, timeframes)),
            candle_s=1,
            publish_snapshot_s=60,
            store_snapshot_s=300,
        ),
        on_step=lambda: None,
    )
    began = time.perf_counter()
    for number, (ts_recv, raw) in enumerate(frames):
        event = decode(raw, ts_recv, instrument)
        if isinstance(event, TradeTick):
            track.trade(event)
        elif isinstance(event, QuoteTick):
            track.quote(event)
        elif isinstance(event, BookSnapshot):
            track.snapshot(event)
        if number % TURN == 0:
            await asyncio.sleep(0)
    return time.perf_counter() - began


async def _decoded(frames: Frames) -> float:
    decoder = BinanceFrames(Market.SPOT)
    instrument = decoder.describe(frames[0][1])
    assert instrument
    decode = decoder.with_instruments([instrument]).decode
    began = time.perf_counter()
    for ts_recv, raw in frames:
        decode(raw, ts_recv, instrument)
    return time.perf_counter() - began


def _steps(frames: Frames) -> dict[str, Callable]:
    """Each step does everything of the one before it and one thing more."""
    return {
        "decode into ticks": lambda: _decoded(frames),
        "sequence check and book": lambda: _tracked(frames, _Unheard(), ()),
        "candles": lambda: _tracked(frames, _Unheard(), TIMEFRAMES),
        "encode and send": lambda: _published(frames),
    }
