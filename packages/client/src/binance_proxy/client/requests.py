"""The request side: many requests at once over one DEALER socket."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import zmq
import zmq.asyncio

from binance_proxy.client.calls import IDEMPOTENT, Answer, Calls, notification
from binance_proxy.client.errors import BridgeAway, RequestFailed, RequestTimedOut
from binance_proxy.client.link import arrivals, watched

AT_ONCE = 100
"""Requests that may be under way; more wait for their turn."""
MARGIN_S = 1.0
"""An answer that says why there is none in time may be so much later."""
MOST_TIMEOUT_MS = 60_000
"""A bridge takes no longer over an answer."""
SILENT_S = 3.0
"""A connection over which a question had no answer in time is let go, if nothing was heard for so long."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


class _LinkBroke(Exception):
    """The connection broke, so that the answer will not come."""


class Requests:
    """Sends requests to one address, and hands each answer to the one who asked."""

    def __init__(self, socket: zmq.asyncio.Socket, address: str) -> None:
        """Take a DEALER; `open_requests` makes it."""
        self.was_up = False
        """Whether anything ever answered the handshake."""
        self._socket = socket
        self._address = address
        self._calls = Calls()
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._sent: set[int] = set()
        """Those that have left by the connection there is; the others wait for the next one."""
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._heard = 0.0
        """When anything was last heard."""
        self.connect_again: Callable[[], None] = lambda: None
        """Makes another connection; `open_requests` says how."""

    async def call(
        self, method: str, params: dict[str, Any], *, timeout_s: float, again: bool = True
    ) -> Answer:
        """Ask, and return the answer.

        What changes nothing is asked again, after a pause that grows, when the connection broke or the bridge
        says that it may help; until ``timeout_s`` are over. With ``again=False`` it is asked once.

        Raises:
            RequestFailed: The bridge refuses.
            RequestTimedOut: There was no answer in time.
            BridgeAway: Nothing was there to ask, all the time.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        may_repeat = again and method in IDEMPOTENT
        attempt = 0
        while True:
            try:
                async with self._turns:
                    answer = await self._once(method, params, timeout_s, end)
            except RequestFailed as error:
                if not (may_repeat and error.retry) or isinstance(error, RequestTimedOut):
                    raise
                last: Exception = error
            except _LinkBroke:
                last = RequestFailed(
                    method,
                    "the connection broke before an answer came",
                    code=-32003,
                    kind="LinkBroke",
                    retry=True,
                )
                if not may_repeat:
                    raise last from None
            else:
                return answer
            attempt += 1
            pause_s = random.uniform(0.5, 1) * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)  # noqa: S311
            if loop.time() + pause_s >= end:
                raise last
            await asyncio.sleep(pause_s)

    async def _once(self, method: str, params: dict[str, Any], timeout_s: float, end: float) -> Answer:
        loop = asyncio.get_running_loop()
        left_s = end - loop.time()
        if left_s <= 0:
            raise RequestTimedOut(method, timeout_s)
        number, body = self._calls.begin(method, {"timeout_ms": _timeout_ms(left_s), **params})
        answered: asyncio.Future[Answer] = loop.create_future()
        self._answers[number] = answered
        try:
            try:
                async with asyncio.timeout_at(end):
                    await self._socket.send(body)
                self._sent.add(number)
                sent = loop.time()
            except TimeoutError:
                raise BridgeAway(f"no bridge answers requests on {self._address}") from None
            try:
                async with asyncio.timeout_at(end + MARGIN_S):
                    found = await answered
            except TimeoutError:
                self._doubt_since(sent)
                raise RequestTimedOut(method, timeout_s) from None
        finally:
            self._calls.forget(number)
            self._sent.discard(number)
            del self._answers[number]
        return found

    def _doubt_since(self, sent: float) -> None:
        """Let the connection go if nothing at all was heard over it since: it is dead, and looks alive.

        A bridge says within the time that was set why it has no answer.
        """
        if self._sent and self._heard < sent and asyncio.get_running_loop().time() - sent >= SILENT_S:
            self.connect_again()
            self.down()

    def tell(self, method: str, params: dict[str, Any]) -> bool:
        """Send what is never answered, if that is possible at once; return whether it was."""
        plain: zmq.Socket[bytes] = zmq.Socket.shadow(self._socket.underlying)
        try:
            plain.send(notification(method, params), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def take(self, frames: list[bytes]) -> None:
        """Hand an answer to the one who asked; what is none of ours changes nothing."""
        self._heard = asyncio.get_running_loop().time()
        found = self._calls.take(frames)
        if found is None:
            return
        number, answer = found
        waiting = self._answers.get(number)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, Answer):
            waiting.set_result(answer)
        else:
            waiting.set_exception(answer)

    def up(self) -> None:
        """Learn that there is a connection."""
        self.was_up = True

    def down(self) -> None:
        """Learn that the connection broke: no answer to what was sent over it will come."""
        for number, waiting in self._answers.items():
            if number in self._sent and not waiting.done():
                waiting.set_exception(_LinkBroke())


def _timeout_ms(left_s: float) -> int:
    return max(1, min(MOST_TIMEOUT_MS, int(left_s * 1000)))


@asynccontextmanager
async def open_requests(context: zmq.asyncio.Context, address: str) -> AsyncIterator[Requests]:
    """Connect to a request side until the block is left. It need not be there yet.

    Raises:
        WrongAddress: It is none.
    """
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing is sent to where nobody is
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
    requests = Requests(socket, address)
    try:
        async with watched(socket, address, requests.up, requests.down) as requests.connect_again:
            reading = asyncio.create_task(arrivals(socket, requests.take))
            try:
                yield requests
            finally:
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading
                requests.down()
    finally:
        socket.close(linger=0)
