"""Clients that ask a bridge at random, in either encoding and by the library, while things happen to it."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from binance_proxy.client import Bridge as Client
from binance_proxy.client import BridgeAway, RequestFailed, Trade
from binance_proxy.client.link import watched
from storm.following import until
from storm.questions import SYMBOLS, Asked, Question, question

SILENT, BROKEN = 0, 1
STEP_S = 0.05
LATE_S = 2.0
"""So much later than its deadline an answer may come, on a machine that has more to do."""


class Plain:
    """A socket of one's own, in JSON or in MessagePack; it sees when its connection breaks."""

    def __init__(self, address: str, kind: int, is_json: bool) -> None:
        self._address, self._kind, self._is_json = address, kind, is_json
        self._number = 0

    async def ask(self, asked: Question, timeout_s: float) -> tuple[Any, dict[str, Any] | None]:
        """Return result or error. Each has a socket of its own, as that of a script has."""
        self._number += 1
        params = asked.params | {"timeout_ms": int(timeout_s * 1_000)}
        body = {"jsonrpc": "2.0", "id": self._number, "method": asked.method, "params": params}
        context = zmq.asyncio.Context()
        socket = context.socket(self._kind)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        broke = asyncio.get_running_loop().create_future()
        up = asyncio.Event()

        def down() -> None:
            if up.is_set() and not broke.done():
                broke.set_result(None)

        try:
            async with watched(socket, self._address, up.set, down):
                encode = json.dumps(body).encode() if self._is_json else msgspec.msgpack.encode(body)
                await socket.send(encode)
                answer = asyncio.ensure_future(socket.recv_multipart())
                await asyncio.wait(
                    {answer, broke}, timeout=timeout_s + LATE_S, return_when=asyncio.FIRST_COMPLETED
                )
                if not answer.done():
                    answer.cancel()
                    return None, {"code": BROKEN if broke.done() else SILENT, "message": "no answer"}
                raw = answer.result()[-1]
                assert (raw[:1] == b"{") == self._is_json, "answered in another encoding"
                found = json.loads(raw) if self._is_json else msgspec.msgpack.decode(raw)
                assert found["id"] == self._number
                return found.get("result"), found.get("error")
        finally:
            context.destroy(linger=0)


class ByLibrary:
    """The client library."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, asked: Question, timeout_s: float) -> tuple[Any, dict[str, Any] | None]:
        try:
            return await self._client.request(asked.method, timeout_s=timeout_s, **asked.params), None
        except RequestFailed as error:
            return None, {"code": error.code, "message": str(error)}
        except BridgeAway as error:
            return None, {"code": BROKEN, "message": str(error)}


class Crowd:
    """Many who ask at the same time, and a reader who knows what was published."""

    def __init__(self, seed: int) -> None:
        self.asked: list[Asked] = []
        self.seen = dict.fromkeys(SYMBOLS, 0)
        self.under_way = 0
        self.stalled_s = 0.0
        self._seed = seed
        self._first_ns = 0
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def asking(
        self, publish: str, serve: str, control: str, *, clients: int, timeout_s: float = 10.0
    ) -> AsyncIterator["Crowd"]:
        """Have so many ask until the block is left; then wait until each has its last answer."""
        async with AsyncExitStack() as stack:
            library = await stack.enter_async_context(
                Client(publish=publish, requests=serve, control=control, timeout_s=60.0)
            )
            reading = [asyncio.create_task(self._read(library, symbol)) for symbol in SYMBOLS]
            reading.append(asyncio.create_task(self._look_for_stalls()))
            await until(lambda: all(self.seen.values()), "trades of each pair")
            self._first_ns = time.time_ns()
            await asyncio.sleep(2.6)  # so that there is something to ask about
            ways: list[Callable[[], Any]] = [
                lambda: Plain(serve, zmq.REQ, is_json=True),
                lambda: Plain(serve, zmq.DEALER, is_json=False),
                lambda: ByLibrary(library),
            ]
            tasks = [
                asyncio.create_task(self._ask(ways[number % 3](), number, timeout_s))
                for number in range(clients)
            ]
            try:
                yield self
                self._ended.set()
                async with asyncio.timeout(timeout_s + 30):
                    await asyncio.gather(*tasks)
            finally:
                for task in (*tasks, *reading):
                    task.cancel()
                await asyncio.gather(*tasks, *reading, return_exceptions=True)

    async def _look_for_stalls(self) -> None:
        """Count the time in which this very process did not get on: nobody else is to blame for it."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(STEP_S)
            self.stalled_s += max(time.monotonic() - began - 2 * STEP_S, 0.0)

    async def _read(self, library: Client, symbol: str) -> None:
        async with aclosing(library.trades(symbol)) as trades:
            async for one in trades:
                if isinstance(one, Trade):
                    self.seen[symbol] = max(self.seen[symbol], one.trade_id)

    async def _ask(self, way: Any, number: int, longest_s: float) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        while not self._ended.is_set():
            asked = question(chance, self._first_ns, time.time_ns())
            timeout_s = chance.uniform(longest_s / 2, longest_s)
            began_ns, began, seen = time.time_ns(), time.monotonic(), dict(self.seen)
            stalled_s = self.stalled_s
            self.under_way += 1
            result, error = await way.ask(asked, timeout_s)
            self.under_way -= 1
            await asyncio.sleep(0)
            stalled_s = self.stalled_s - stalled_s
            took_s = time.monotonic() - began - stalled_s
            self.asked.append(Asked(asked, began_ns, took_s, stalled_s, timeout_s, seen, result, error))
            await asyncio.sleep(chance.uniform(0, 0.02))
