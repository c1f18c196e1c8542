"""Messages to many subscribers: our publisher against a bare PUB socket that sends the very same frames."""

import asyncio
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import zmq

from bench.turns import best_of
from binance_proxy.adapters.zeromq.bodies import BodyOf, json_of, levels_in_json
from binance_proxy.adapters.zeromq.publisher import open_publisher
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import Side, TradeTick

INSTRUMENT = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
TOPIC = f"{INSTRUMENT.name}.trades".encode()
EPOCH = "bench"
MESSAGES = {1: 40_000, 10: 10_000, 100: 2_000}
"""By the number of subscribers: all of it fits into their queues, so that nothing is lost."""
TURN = 128
"""Trades that are published in one turn of the loop, as `bridge run` does at full speed."""

SUBSCRIBERS = """
import sys, zmq
address, count, messages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
context = zmq.Context()
sockets = []
for _ in range(count):
    one = context.socket(zmq.SUB)
    one.setsockopt(zmq.RCVHWM, 0)
    one.subscribe(b"")
    one.connect(address)
    sockets.append(one)
for one in sockets:
    one.recv_multipart()  # the first message comes again and again until everybody has it
print("here", flush=True)
sys.stdin.readline()
for one in sockets:
    had = 0
    while had < messages:
        topic, _ = one.recv_multipart()
        had += topic.endswith(b".trades")
print("done", flush=True)
"""


async def bench(rounds: int) -> None:
    """Print the ratio for each number of subscribers."""
    print("fanout: trades on PUB until every subscriber has each; speed, of a bare PUB of the same frames")
    for count, messages in MESSAGES.items():
        trades = _trades(messages)
        best = await best_of(
            rounds,
            {
                "bare": lambda count=count, trades=trades: asyncio.to_thread(_bare, trades, count),
                "bridge": lambda count=count, trades=trades: _published(trades, count),
            },
        )
        print(f"    {count:>3} subscribers  {best['bare'] / best['bridge']:.2f} (aim: 0.8)")


def _trades(count: int) -> Sequence[TradeTick]:
    return [
        TradeTick(
            instrument=INSTRUMENT,
            ts_event=1_723_161_255_342_000_000 + number,
            ts_recv=1_723_161_255_342_000_000 + number,
            trade_id=3_735_683_259 + number,
            price=6_160_201_000_000 + number % 1000,
            size=1_000_000 + number,
            aggressor=Side.BUY,
        )
        for number in range(count)
    ]


def _bare(trades: Sequence[TradeTick], count: int) -> float:
    body = BodyOf(INSTRUMENT, EPOCH).make
    bodies = [json_of(body(trade, number, levels_in_json)) for number, trade in enumerate(trades, 1)]
    with zmq.Context() as context, context.socket(zmq.PUB) as pub:
        pub.setsockopt(zmq.SNDHWM, 0)
        pub.setsockopt(zmq.LINGER, 0)
        port = pub.bind_to_random_port("tcp://127.0.0.1")
        with _subscribers(f"tcp://127.0.0.1:{port}", count, len(bodies)) as theirs:
            while not theirs.here():
                pub.send_multipart((b"hello", b"-"))
                time.sleep(0.02)
            began = time.perf_counter()
            for one in bodies:
                pub.send_multipart((TOPIC, one))
            theirs.until_done()
            return time.perf_counter() - began


async def _published(trades: Sequence[TradeTick], count: int) -> float:
    json, msgpack = _free_address(), _free_address()
    async with open_publisher(
        json=json, msgpack=msgpack, epoch=EPOCH, high_water=10**7, linger_s=0
    ) as publisher:
        with _subscribers(json, count, len(trades)) as theirs:
            while not theirs.here():
                publisher.publish_status({})
                await asyncio.sleep(0.02)
            began = time.perf_counter()
            for number, trade in enumerate(trades):
                publisher.publish(trade)
                if number % TURN == 0:
                    await asyncio.sleep(0)
            publisher.flush()
            await asyncio.to_thread(theirs.until_done)
            return time.perf_counter() - began


class _Subscribers:
    """A process with so many subscribers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._said = selectors.DefaultSelector()
        self._said.register(process.stdout, selectors.EVENT_READ)

    def here(self) -> bool:
        """Return whether each has had a message, and tell them to count from now on if so."""
        if not self._said.select(0):
            return False
        self._process.stdout.readline()
        self._process.stdin.write("count\n")
        self._process.stdin.flush()
        return True

    def until_done(self) -> None:
        """Wait until each has had every trade."""
        self._process.stdout.readline()


@contextmanager
def _subscribers(address: str, count: int, messages: int) -> Iterator[_Subscribers]:
    command = [sys.executable, "-c", SUBSCRIBERS, address, str(count), str(messages)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _Subscribers(process)
        finally:
            process.kill()


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
