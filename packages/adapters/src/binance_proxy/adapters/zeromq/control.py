"""The control socket: what the recorder itself answers to clients, in its own loop.

It never waits behind a query. Each request is answered at once, and only so many in a second: whoever asks
more has to wait, and the ticks have not.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio
from msgspec import Raw, Struct

from binance_proxy.adapters.zeromq.addresses import why_not
from binance_proxy.adapters.zeromq.keepalive import keep_alive
from binance_proxy.adapters.zeromq.publisher import PROTOCOL
from binance_proxy.adapters.zeromq.rpc import Encoding, Fault, Request, our_fault, read
from binance_proxy.adapters.zeromq.subscribers import Report, Subscribers
from binance_proxy.application.alongside import alongside
from binance_proxy.application.ports import Live
from binance_proxy.domain.errors import BridgeError

log = logging.getLogger(__name__)

LARGEST_FRAME = 16_384
"""Bytes of a client's frame; who sends a larger one is cut off by ZeroMQ."""
HANDSHAKE_MS = 3_000
"""A connection that has not said what it is in this time is closed."""
HIGH_WATER = 100
"""Answers that may wait for one client; the rest is lost to it."""
BATCH, PAUSE_S = 2, 0.002
"""After so many requests the recorder has so much time for itself: up to a thousand in a second are answered,
and no tick waits for more than so many of them."""
TIMEOUT_MS = 60_000
LINGER_MS = 200


class ControlRejected(BridgeError):
    """Control requests cannot be taken where the settings say. The message says what to change."""


class _Nothing(Struct, forbid_unknown_fields=True):
    timeout_ms: int | None = None


class Control:
    """Answers what comes on a socket."""

    def __init__(self, socket: "zmq.asyncio.Socket", live: Live, subscribers: Subscribers) -> None:
        """Take a bound ROUTER; `open_control` makes it."""
        self._socket = socket
        self._live = live
        self._subscribers = subscribers
        self._said: dict[str, object] | None = None
        self._written: dict[Encoding, Raw] = {}
        """The same, as it was written down for those who asked."""

    async def run(self) -> None:
        """Answer without end."""
        while True:
            for _ in range(BATCH):
                client, *frames = await self._socket.recv_multipart()
                await self._hear(client, frames)
            await asyncio.sleep(PAUSE_S)

    async def _hear(self, client: bytes, frames: Sequence[bytes]) -> None:
        """Answer a message in the envelope that it came in; what has another shape is no request."""
        *envelope, body = frames or [b""]
        if envelope not in ([], [b""]) or not body:
            return
        found = read(body, TIMEOUT_MS, TIMEOUT_MS)
        answer = await self._answer(found) if isinstance(found, Request) else found
        if answer is not None:
            await self._socket.send_multipart([client, *envelope, answer])

    async def _answer(self, request: Request) -> bytes | None:
        try:
            answer = request.result(await self._result(request))
        except Fault as fault:
            answer = request.error(fault)
        except Exception:
            log.exception("%s failed", request.method)
            answer = request.error(our_fault())
        return answer if request.wants_answer else None

    async def _result(self, request: Request) -> object:
        if request.method == "bridge.status":
            request.parse(_Nothing)
            said = await self._live.status()
            if said is not self._said:
                self._said = said
                self._written.clear()
            encoding = request.encoding
            if encoding not in self._written:
                whole = {"type": "status", "protocol": PROTOCOL, **said}
                self._written[encoding] = Raw(encoding.encode(whole))
            return self._written[encoding]
        if request.method == "subscribers.report":
            self._subscribers.report(request.parse(Report))
            return {}
        raise Fault(
            -32601,
            f"{request.method!r} is not answered here, only bridge.status and subscribers.report are;"
            " other requests go to serve.bind",
            "NoSuchMethod",
        )


@asynccontextmanager
async def open_control(address: str, live: Live, subscribers: Subscribers) -> AsyncIterator[Control]:
    """Answer control requests until the block is left.

    Args:
        address: Where, such as ``tcp://127.0.0.1:5558``.
        live: The recording that says how it is.
        subscribers: Gets what subscribers report.

    Raises:
        ControlRejected: The address is in use, or is none.
    """
    context = zmq.asyncio.Context()
    try:
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_FRAME)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        keep_alive(socket)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
        socket.setsockopt(zmq.IPV6, int("[" in address))
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            why = why_not(error, "control.bind sets another address")
            raise ControlRejected(f"cannot take control requests on {address}: {why}") from error
        control = Control(socket, live, subscribers)
        async with alongside(control.run()):
            yield control
    finally:
        context.destroy(linger=LINGER_MS)
