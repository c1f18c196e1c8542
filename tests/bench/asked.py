"""A bridge with a front and workers on a filled database, and clients that ask it, or something else."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import msgspec

from bench.databases import Database
from binance_proxy.adapters.zeromq.publisher import ZmqPublisher
from binance_proxy.adapters.zeromq.settings import ServeSettings
from binance_proxy.application.ports import MarketFeed
from binance_proxy.application.record import Recording
from binance_proxy.bridge.beside import Running, open_beside
from binance_proxy.bridge.config import (
    Config,
    ControlConfig,
    EndpointConfig,
    PublishConfig,
    StoreConfig,
    TimescaleConfig,
)
from binance_proxy.bridge.container import Container, Source
from bridge_process import free_port

PATIENCE_S = 120
LOSSLESS = 10**7
"""Messages that may wait for a subscriber: more than a bench publishes."""

CLIENTS = """
import json, sys, time, zmq
address, count, total = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
questions = [bytes.fromhex(one) for one in sys.argv[4:]]
context, poller, asked_at = zmq.Context(), zmq.Poller(), {}
for number in range(count):
    client = context.socket(zmq.DEALER)
    client.connect(address)
    poller.register(client, zmq.POLLIN)
    asked_at[client] = 0.0
clock, asked, size = time.perf_counter, 0, 0
def ask(client):
    global asked
    asked_at[client] = clock()
    client.send(questions[asked % len(questions)])
    asked += 1
def take(client):
    global size
    frame = client.recv(copy=False)
    took = clock() - asked_at[client]
    size = len(frame)
    if b"error" in bytes(frame.buffer[:60]):
        sys.exit(bytes(frame.buffer[:500]).decode(errors="replace"))
    return took
for client in asked_at:  # everybody has had an answer before it begins
    for _ in questions:
        ask(client)
        take(client)
print("here", flush=True)
sys.stdin.readline()
poller.register(sys.stdin.fileno(), zmq.POLLIN)  # it is closed when it is enough
took, began, asked = [], clock(), 0
for client in asked_at:
    ask(client)
while len(took) < total:
    ready = dict(poller.poll())
    if sys.stdin.fileno() in ready:
        break
    for client in ready:
        took.append(take(client))
        if asked < total:
            ask(client)
seconds = clock() - began
took.sort()
print(json.dumps({
    "each_s": seconds / len(took), "p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100],
    "size": size,
}), flush=True)
"""


class Figures(NamedTuple):
    """How fast something answered; in seconds."""

    each_s: float
    """From one answer to the next, of all clients together."""
    p50: float
    """From question to answer."""
    p99: float
    size: int = 0
    """Bytes of the last answer."""

    def better(self, other: "Figures | None") -> "Figures":
        """Return the best of both in everything: what else the machine had to do makes it only worse."""
        return self if other is None else Figures(*map(min, self, other))


class Asked(NamedTuple):
    """A bridge that answers."""

    serve: str
    json: str
    recording: Recording
    publisher: ZmqPublisher


@asynccontextmanager
async def open_asked(database: Database, feed: MarketFeed) -> AsyncIterator[Asked]:
    """Run a bridge, as `bridge run` does: its recording in this loop, its front and two workers beside it."""
    json_at, msgpack_at, serve_at = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
    config = Config(
        data_dir=str(database.folder / "var"),
        store=StoreConfig(timescale=TimescaleConfig(url=database.url)),
        publish=PublishConfig(
            json=EndpointConfig(bind=json_at), msgpack=EndpointConfig(bind=msgpack_at), high_water=LOSSLESS
        ),
        serve=ServeSettings(bind=serve_at),
        control=ControlConfig(bind=""),
    )
    container = Container(config=config, owner="just bench", attach=False)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(container.publisher(epoch="bench"))
        kept = await stack.enter_async_context(container.store())
        recording = Recording(
            feed=feed,
            store=kept.store,
            pairs=kept.pairs,
            registry=kept.registry,
            publisher=publisher,
            clock=container.clock(),
            settings=config.record,
            publish_snapshot_s=config.publish.snapshot_interval_s,
            spool=kept.spool,
        )
        await recording.prepare()
        running = Running(recording, publisher, kept, Source(feed, None), container)
        await stack.enter_async_context(open_beside(config, running))
        stop = asyncio.Event()
        recorded = asyncio.create_task(recording.run(stop))
        try:
            yield Asked(serve_at, json_at, recording, publisher)
        finally:
            stop.set()
            await recorded


@asynccontextmanager
async def program(code: str, *arguments: object, nice: int = 0) -> AsyncIterator[Process]:
    """Run a program in a Python of its own, which stands so far back behind others; see ``nice(1)``."""
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", str(nice), sys.executable, "-c", code, *map(str, arguments)), stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def heard(process: Process) -> str:
    """Return the next line of a program.

    Raises:
        RuntimeError: It has ended instead.
    """
    async with asyncio.timeout(PATIENCE_S):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a program of the bench has ended too early; it has said why")
    return line.decode().strip()


@asynccontextmanager
async def clients(address: str, count: int, total: int, *questions: bytes) -> AsyncIterator[Process]:
    """Have so many clients ask, each the next question as soon as it has an answer; they wait for a line."""
    async with program(CLIENTS, address, count, total, *(one.hex() for one in questions)) as process:
        await heard(process)
        yield process


async def begin(process: Process) -> None:
    """Let a program begin that waits for it."""
    process.stdin.write(b"go\n")
    await process.stdin.drain()


async def answered(address: str, count: int, total: int, questions: Sequence[bytes]) -> Figures:
    """Return how fast an address answers so many clients."""
    async with clients(address, count, total, *questions) as process:
        await begin(process)
        return Figures(**json.loads(await heard(process)))


def question(method: str, params: dict[str, object], *, as_json: bool = True) -> bytes:
    """Write a request down."""
    encode = msgspec.json.encode if as_json else msgspec.msgpack.encode
    return encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
