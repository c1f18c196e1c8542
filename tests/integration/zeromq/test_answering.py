"""A worker with the answers, on real sockets, and a recording that fetches what is missing."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import zmq
import zmq.asyncio

from binance_proxy.adapters.memory.cache import MemoryCache
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.adapters.zeromq.answering import Answering, fault_of
from binance_proxy.adapters.zeromq.worker import ANSWER, ASK, ERROR, HELLO, open_worker
from binance_proxy.application.serve.answers import Answers
from contract.live import ETH, MS, NOW, SlowHistory, World, quote, recorded, snapshot, trade

PATIENCE_S = 30.0
Ask = Callable[..., Awaitable[list[bytes]]]


@asynccontextmanager
async def worker(world: World) -> AsyncIterator[Ask]:
    """Run a worker that answers about a recording; yield what asks it as the front does."""
    await world.store.registry.register(ETH)
    async with recorded(world) as live:
        answers = Answers(
            store=world.store,
            registry=world.store.registry,
            pairs=world.store.registry,
            archive=None,
            live=live,
            cache=MemoryCache(2**20),
            clock=SystemClock(),
        )
        with TemporaryDirectory() as folder:
            address = f"ipc://{Path(folder) / 'front'}"
            context: Any = zmq.asyncio.Context()
            front = context.socket(zmq.ROUTER)
            front.bind(address)
            try:
                async with open_worker(address, b"w1", 4, Answering(answers), fault_of) as working:
                    running = asyncio.create_task(working.run())
                    yield lambda *asked, **params: ask(front, *asked, **params)
                    running.cancel()
                    await asyncio.wait([running])
            finally:
                context.destroy(linger=0)


async def ask(
    front: Any, method: str, encode: Callable[[object], bytes] = msgspec.json.encode, **params: Any
) -> list[bytes]:
    body = encode({"jsonrpc": "2.0", "id": 3, "method": method, "params": params})
    async with asyncio.timeout(PATIENCE_S):
        name, kind, *_ = await front.recv_multipart()
        assert kind == HELLO
        await front.send_multipart([name, ASK, b"9", b"20.0", body])
        while kind not in {ANSWER, ERROR}:
            _, kind, number, *frames = await front.recv_multipart()
    assert number == b"9"
    return frames


@pytest.fixture
def world() -> World:
    return World(SlowHistory([trade(number) for number in range(1, 101)]))


async def test_a_recording_is_asked_for_its_trades_in_both_encodings(world):
    async with worker(world) as ask:
        await world.give(trade(1), trade(2), snapshot(10), quote(11))
        for encode, decode in (
            (msgspec.json.encode, msgspec.json.decode),
            (msgspec.msgpack.encode, msgspec.msgpack.decode),
        ):
            (body,) = await ask("trades.list", encode, symbol="ETH/USDT")
            page = decode(body)["result"]
            assert ([row["trade_id"] for row in page["rows"]], page["stored"]) == ([1, 2], True)


async def test_rows_come_in_a_second_frame(world):
    async with worker(world) as ask:
        await world.give(trade(1), trade(2))
        body, frame = await ask("trades.list", symbol="ETH/USDT", accept="arrow")
        assert json.loads(body)["result"]["arrow"] == {"frame": 1, "rows": 2}
        assert pa.ipc.open_stream(frame).read_all().column("trade_id").to_pylist() == [1, 2]


async def test_an_error_is_told_with_its_code(world):
    async with worker(world) as ask:
        await world.give(trade(1))
        (body,) = await ask("stats.spread", symbol="ETH/USDT")
        error = json.loads(body)["error"]
        assert (error["code"], error["data"]) == (-32005, {"kind": "BookStale", "retry": True})


async def test_the_book_and_its_place_in_the_topic_come_together(world):
    async with worker(world) as ask:
        await world.give(snapshot(10), quote(11), trade(1))
        (body,) = await ask("orderbook.get", symbol="ETH/USDT", levels=1)
        book = json.loads(body)["result"]
        assert (book["last_update_id"], book["epoch"], book["sequence"]) == (11, "e1", 2)


async def test_what_is_missing_is_fetched_from_the_venue_and_answered(world):
    async with worker(world) as ask:
        await world.give(trade(1), trade(50))
        params = {"symbol": "ETH/USDT", "start": NOW, "end": NOW + 31 * MS, "fetch": True}
        (body,) = await ask("trades.list", **params)
        page = json.loads(body)["result"]
        assert [row["trade_id"] for row in page["rows"]] == list(range(1, 31))
        assert "not_fetched" not in page
        assert len(await world.kept()) >= 31
        assert ETH.symbol == page["rows"][0]["symbol"]
