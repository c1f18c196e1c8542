"""One ZeroMQ socket that says when it is connected and when the connection breaks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from binance_proxy.client.errors import WrongAddress

_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
PING_MS = 1_000
DEAD_MS = 5_000
"""A connection over which no ping is answered for so long is closed, and another one made."""
TURN = 256
"""Messages after which other tasks get a turn."""


@asynccontextmanager
async def watched(
    socket: zmq.asyncio.Socket, address: str, on_up: Callable[[], None], on_down: Callable[[], None]
) -> AsyncIterator[None]:
    """Connect a socket, and call back at each handshake that succeeds and each connection that is lost.

    ZeroMQ connects again by itself.

    Raises:
        WrongAddress: It is none.
    """
    monitor = socket.get_monitor_socket(_EVENTS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, PING_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, DEAD_MS)
    socket.setsockopt(zmq.IPV6, int("[" in address))
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.disable_monitor()
        raise WrongAddress(f"{address!r} is not an address such as tcp://127.0.0.1:5556") from error
    watching = asyncio.create_task(_watch(monitor, on_up, on_down))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        socket.disable_monitor()


async def _watch(monitor: zmq.asyncio.Socket, on_up: Callable[[], None], on_down: Callable[[], None]) -> None:
    while True:
        said = parse_monitor_message(await monitor.recv_multipart())
        if said["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            on_up()
        elif said["event"] == zmq.EVENT_DISCONNECTED:
            on_down()


async def arrivals(socket: zmq.asyncio.Socket, take: Callable[[list[bytes]], None]) -> None:
    """Hand on each message that comes, many in one turn of the loop, for ever."""
    plain: zmq.Socket[bytes] = zmq.Socket.shadow(socket.underlying)
    while True:
        await socket.poll()
        for _ in range(TURN):
            try:
                take(plain.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
        await asyncio.sleep(0)  # a busy socket is always ready, and then poll gives nobody else a turn
