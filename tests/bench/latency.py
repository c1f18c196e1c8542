"""From a frame that comes in to its message at a subscriber, while others ask: against a bare PUB."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.asked import PATIENCE_S, Asked, begin, clients, heard, open_asked, program, question
from bench.candles import CANDLES, TRADES_A_CANDLE, open_filled
from bench.databases import embedded
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.application.ports import TrackedPair
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import MarketEvent
from bridge_process import free_port
from contract.market_store import ETH

RATES = (1_000, 10_000)
"""Ticks a second."""
SECONDS = 3
"""Of a turn."""
ASKING = 16
QUESTIONS = (
    question("stats.spread", {"symbol": "ETH/USDT"}),
    question("orderbook.depth", {"symbol": "ETH/USDT"}),
    question("candles.list", {"symbol": "ETH/USDT", "timeframe": "1m"}),
    question("trades.list", {"symbol": "ETH/USDT", "limit": 100}),
    question("stats.vwap", {"symbol": "ETH/USDT", "window_s": 60}),
)
"""All of them about the present, so that the recording is asked as well."""
EVERY = 5
"""One frame in so many is an update of the book, the others are trades."""

VENUE = """
import socket, sys, time
port, rate, count, trade_id, update_id, zero = map(int, sys.argv[1:])
while True:
    try:
        line = socket.create_connection(("127.0.0.1", port))
        break
    except ConnectionRefusedError:  # it will listen soon
        time.sleep(0.05)
line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
clock = time.monotonic_ns
if update_id == 1:
    bids = b",".join(b'["%d.00000000","5.00000000"]' % (3000 - n) for n in range(1000))
    asks = b",".join(b'["%d.00000000","5.00000000"]' % (3001 + n) for n in range(1000))
    line.sendall(b'%d {"lastUpdateId":1,"bids":[%s],"asks":[%s]}\\n' % (clock() + zero, bids, asks))
TRADE = (b'%d {"stream":"ethusdt@trade","data":{"e":"trade","E":%d,"s":"ETHUSDT","t":%d,'
    b'"p":"3000.%02d000000","q":"0.%04d0000","T":%d,"m":true,"M":true}}\\n')
DEPTH = (b'%d {"stream":"ethusdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"s":"ETHUSDT",'
    b'"U":%d,"u":%d,"b":['
    + b",".join(b'["%d.00000000","%%d.50000000"]' % (3000 - n) for n in range(5)) + b'],"a":['
    + b",".join(b'["%d.00000000","%%d.50000000"]' % (3001 + n) for n in range(5)) + b"]}}\\n")
began = time.monotonic()
for at in range(count):
    wait = began + (at - at % max(1, rate // 1000)) / rate - time.monotonic()  # once a ms, all of that ms
    if wait > 0:
        time.sleep(wait)
    now = clock() + zero
    ms = now // 1_000_000
    if at % 5:
        trade_id += 1
        line.sendall(TRADE % (now, ms, trade_id, at % 100, at % 9000 + 1, ms))
    else:
        update_id += 1
        line.sendall(DEPTH % (now, ms, update_id, update_id, *[at % 7 + 1] * 10))
line.close()
print("sent", flush=True)
"""
"""Sends frames, each behind the time at which it is sent, by a clock that all processes share."""

BARE = """
import socket, sys, zmq
pub = zmq.Context().socket(zmq.PUB)
pub.setsockopt(zmq.SNDHWM, 0)
pub.bind(sys.argv[1])
door = socket.create_server(("127.0.0.1", int(sys.argv[2])))
print("here", flush=True)
while True:
    line, _ = door.accept()
    rest = b""
    while got := line.recv(65_536):
        *frames, rest = (rest + got).split(b"\\n")
        for frame in frames:
            stamp, _, raw = frame.partition(b" ")
            pub.send_multipart((b"binance.spot.ethusdt.trades", b'{"ts_recv":%s,"data":%s}' % (stamp, raw)))
"""

SUBSCRIBER = """
import json, msgspec, sys, time, zmq
address, skip, count, zero = sys.argv[1], *map(int, sys.argv[2:])
class Body(msgspec.Struct):
    ts_recv: int
decode = msgspec.json.Decoder(Body).decode
sub = zmq.Context().socket(zmq.SUB)
sub.setsockopt(zmq.RCVHWM, 0)
sub.subscribe(b"binance.spot.ethusdt.trades")
sub.subscribe(b"binance.spot.ethusdt.orderbook")
sub.connect(address)
print("here", flush=True)
clock, recv, took, had = time.monotonic_ns, sub.recv_multipart, [], 0
while had < count:
    _, body = recv()
    now = clock() + zero
    had += 1
    if had > skip:
        took.append(now - decode(body).ts_recv)
took.sort()
print(json.dumps({"p50": took[len(took) // 2] / 1e9, "p99": took[len(took) * 99 // 100] / 1e9}), flush=True)
"""


class Latency(NamedTuple):
    """From frame in to subscriber out, in seconds."""

    p50: float
    p99: float


class _Line:
    """A feed of ETH/USDT: the frames of whoever connects to a port."""

    def __init__(self) -> None:
        self.port = free_port()

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        return [ETH]

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        lines: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
        decode = BinanceFrames(Market.SPOT, instruments).decode
        async with await asyncio.start_server(
            lambda reader, _: lines.put_nowait(reader), "127.0.0.1", self.port
        ):
            while True:
                line, rest = await lines.get(), b""
                while got := await line.read(65_536):
                    *frames, rest = (rest + got).split(b"\n")
                    for frame in frames:
                        stamp, _, raw = frame.partition(b" ")
                        event = decode(raw, int(stamp), instruments[0])
                        assert event
                        yield event

    def resync(self, instrument: Instrument) -> None:
        raise AssertionError("the venue of this bench has no holes")


class _Sent:
    """What has been sent to one address so far."""

    def __init__(self) -> None:
        self.trades = CANDLES * TRADES_A_CANDLE
        self.updates = 1
        self.zero = time.time_ns() - time.monotonic_ns()

    @asynccontextmanager
    async def more(self, port: int, rate: int) -> AsyncIterator[None]:
        """Have a port get the frames of a turn, all of them by the end."""
        count = rate * SECONDS
        given = (port, rate, count, self.trades, self.updates, self.zero)
        self.updates += count // EVERY
        self.trades += count - count // EVERY
        async with program(VENUE, *given) as venue:
            yield
            await heard(venue)


async def bench(rounds: int) -> None:
    """Print the ratios."""
    print(f"latency: from frame in to subscriber out, {SECONDS} s a turn; p50 and p99, the less the better")
    feed, to_feed, to_bare = _Line(), _Sent(), _Sent()
    with TemporaryDirectory(prefix="bench-") as folder:
        async with embedded(Path(folder)) as database:
            async with open_filled(database.url):
                pass
            async with open_asked(database, feed) as asked, _bare() as (bare, bare_port):
                await _first_frames(feed, to_feed, asked)
                for rate in RATES:
                    best: dict[tuple[str, bool], Latency] = {}
                    for _ in range(rounds):
                        for is_asked in (False, True):
                            for side, address, port, sent in (
                                ("bridge", asked.json, feed.port, to_feed),
                                ("bare", bare, bare_port, to_bare),
                            ):
                                found = await _turn(asked, sent, rate, address, port, is_asked=is_asked)
                                before = best.get((side, is_asked), found)
                                best[side, is_asked] = Latency(*map(min, found, before))
                    _show(rate, best)


def _show(rate: int, best: dict[tuple[str, bool], Latency]) -> None:
    print(f"  {rate:,} ticks/s")
    quiet, loud = best["bridge", False], best["bridge", True]
    for what, one, other in (
        ("nobody asks, of the bare PUB", quiet, best["bare", False]),
        (f"{ASKING} clients ask, of the bare PUB beside them", loud, best["bare", True]),
        (f"{ASKING} clients ask, of nobody asks", loud, quiet),
        ("the bare PUB: clients ask, of nobody asks", best["bare", True], best["bare", False]),
    ):
        print(f"    {what:46} {one.p50 / other.p50:6.1f} {one.p99 / other.p99:6.1f}")


async def _first_frames(feed: _Line, sent: _Sent, asked: Asked) -> None:
    """Have the book and the first trades recorded."""
    async with sent.more(feed.port, 100):
        async with asyncio.timeout(PATIENCE_S):
            while asked.recording.report.trades < 100 * SECONDS * (EVERY - 1) // EVERY:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def _turn(asked: Asked, sent: _Sent, rate: int, address: str, port: int, *, is_asked: bool) -> Latency:
    count = rate * SECONDS
    async with AsyncExitStack() as stack:
        if is_asked:
            asking = await stack.enter_async_context(clients(asked.serve, ASKING, 10**9, *QUESTIONS))
            await begin(asking)
        sub = await stack.enter_async_context(
            program(SUBSCRIBER, address, count // 5, count * 9 // 10, sent.zero)
        )
        await heard(sub)
        await asyncio.sleep(0.5)  # so that it is subscribed
        await stack.enter_async_context(sent.more(port, rate))
        found = Latency(**json.loads(await heard(sub)))
        if is_asked:
            asking.stdin.close()
            await heard(asking)  # none of them was refused
    return found


@asynccontextmanager
async def _bare() -> AsyncIterator[tuple[str, int]]:
    address, port = f"tcp://127.0.0.1:{free_port()}", free_port()
    async with program(BARE, address, port) as process:
        await heard(process)
        yield address, port
