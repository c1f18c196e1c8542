"""The loop of one worker: takes requests from the front, answers several of them at the same time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, Protocol

import zmq

from binance_proxy.adapters.zeromq.rpc import Fault, Request, deadline_passed, our_fault, read, too_large

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
"""How often a worker says that it is there."""
LARGEST_ANSWER = 64 * 2**20
"""Bytes of an answer, all frames together."""
LATE_S = 1.0
"""So long after its deadline an answer is given up here, should the front not have said so."""

HELLO, ASK, CANCEL, ANSWER, ERROR, STOPPED = b"hello", b"ask", b"cancel", b"answer", b"error", b"stopped"


class Answered(NamedTuple):
    """What an answer is."""

    result: object
    """For the body; a `Raw` must be in the encoding of the request."""
    frames: Sequence[bytes] = ()
    """More frames, which follow the body as they are."""


class Answer(Protocol):
    """Whoever knows the answers."""

    async def __call__(self, request: Request, left_s: float) -> Answered:
        """Answer a request within so many seconds. It is cancelled when the client waits no more.

        Raises:
            Fault: The client gets this error. Any other exception becomes one by ``fault_of``.
        """
        ...


FaultOf = Callable[[Exception], Fault | None]
"""Says which error a client gets for an exception; `None` for one that should not have happened."""


def no_other(_: Exception) -> Fault | None:
    """Take every exception but a `Fault` for a mistake of ours."""
    return None


class Worker:
    """Answers what comes on a socket. `run` it as long as it shall work."""

    def __init__(
        self, socket: "zmq.Socket[bytes]", at_once: int, answer: Answer, fault_of: FaultOf = no_other
    ) -> None:
        """Take a connected socket; `open_worker` makes one."""
        self._socket = socket
        self._at_once = at_once
        self._answer = answer
        self._fault_of = fault_of
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        self._look_is_due = False

    async def run(self) -> None:
        """Work until cancelled."""
        # The socket itself and not that of `zmq.asyncio`, which takes twice the time for a small answer.
        readable = int(self._socket.getsockopt(zmq.FD))
        self._loop.add_reader(readable, self._receive)
        try:
            while True:
                self._send([HELLO, b"%d" % self._at_once])
                await asyncio.sleep(HEARTBEAT_S)
        finally:
            self._loop.remove_reader(readable)
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def run_until(self, end: asyncio.Event) -> None:
        """Work until an event is set."""
        running = asyncio.create_task(self.run())
        ending = asyncio.create_task(end.wait())
        try:
            await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
        finally:
            for task in (running, ending):
                task.cancel()
            await asyncio.gather(running, ending, return_exceptions=True)

    def _send(self, message: list[bytes]) -> None:
        """Send at once; what is on its way is bounded by the slots."""
        self._socket.send_multipart(message, zmq.NOBLOCK, copy=False)
        # ZeroMQ says only once that something has come, and may just have said it to this call.
        if not self._look_is_due:
            self._look_is_due = True
            self._loop.call_soon(self._receive)

    def _receive(self) -> None:
        """Take in everything that has come."""
        self._look_is_due = False
        while not self._socket.closed:
            try:
                kind, number, *rest = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if kind == ASK:
                left_s, body = rest
                task = self._loop.create_task(self._work(number, float(left_s), body))
                self._tasks[number] = task
                task.add_done_callback(partial(self._over, number))
            elif kind == CANCEL and number in self._tasks:
                self._tasks[number].cancel()

    def _over(self, number: bytes, task: "asyncio.Task[None]") -> None:
        del self._tasks[number]
        if task.cancelled():
            self._send([STOPPED, number])
        elif (error := task.exception()) is not None:  # none that `_work` would let through
            log.error("a worker's own mistake", exc_info=error)
            self._send([STOPPED, number])

    async def _work(self, number: bytes, left_s: float, body: bytes) -> None:
        # The front has read it before, so what it let through passes here too.
        request = read(body, timeout_ms=round(left_s * 1_000), max_timeout_ms=2**63)
        if not isinstance(request, Request):
            self._send([STOPPED, number])
            return
        try:
            async with asyncio.timeout(left_s + LATE_S) as limit:
                answered = await self._answer(request, left_s)
            frames = _frames(request, answered)
            kind = ANSWER
        except Exception as error:  # noqa: BLE001 - what is wrong with one request must not harm the others
            kind = ERROR
            frames = [request.error(self._fault(request, error, expired=limit.expired()))]
        self._send([kind, number, *frames] if request.wants_answer else [STOPPED, number])

    def _fault(self, request: Request, error: Exception, *, expired: bool) -> Fault:
        if isinstance(error, Fault):
            return error
        if expired and isinstance(error, TimeoutError):
            return deadline_passed(request.timeout_ms)
        fault = self._fault_of(error)
        if fault is None:
            log.error("%s failed", request.method, exc_info=error)
            return our_fault()
        return fault


def _frames(request: Request, answered: Answered) -> list[bytes]:
    """Return an answer as it is sent."""
    frames = [request.result(answered.result), *answered.frames]
    size = sum(map(len, frames))
    if size > LARGEST_ANSWER:
        raise too_large(
            f"the answer has {size:,} bytes, and {LARGEST_ANSWER:,} are sent at most; ask for less"
        )
    return frames


@asynccontextmanager
async def open_worker(
    address: str, name: bytes, at_once: int, answer: Answer, fault_of: FaultOf = no_other
) -> AsyncIterator[Worker]:
    """Connect to the front. When it starts anew, the socket finds it again."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.setsockopt(zmq.IDENTITY, name)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.SNDHWM, 0)  # bounded by the slots
        socket.connect(address)
        yield Worker(socket, at_once, answer, fault_of)
    finally:
        context.destroy(linger=0)
