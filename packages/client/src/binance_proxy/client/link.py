"""One ZeroMQ socket that says when it is connected and when the connection breaks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from binance_proxy.client.errors import WrongAddress

_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
KEEP_ALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 2,
    zmq.TCP_KEEPALIVE_INTVL: 1,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
"""The kernel asks each second over a connection that was quiet for two; after three questions without an
answer it is closed, and another one made. ZeroMQ's own heartbeats are not used: with libzmq 4.3.5 they may
abort the process when a connection is reset while messages wait to be read."""
HANDSHAKE_MS = 3_000
"""A connection that has not said what it is in this time is closed, and another one made."""
TURN = 256
"""Messages after which other tasks get a turn."""


@asynccontextmanager
async def watched(
    socket: zmq.asyncio.Socket, address: str, on_up: Callable[[], None], on_down: Callable[[], None]
) -> AsyncIterator[Callable[[], None]]:
    """Connect a socket, and call back at each handshake that succeeds and each connection that is lost.

    ZeroMQ connects again by itself when a connection is lost. What is yielded makes another connection in
    place of one that looks alive and is not; ``on_down`` is not called then.

    Raises:
        WrongAddress: It is none.
    """
    monitor = socket.get_monitor_socket(_EVENTS)
    for option, value in KEEP_ALIVE.items():
        socket.setsockopt(option, value)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.IPV6, int("[" in address))
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.disable_monitor()
        raise WrongAddress(f"{address!r} is not an address such as tcp://127.0.0.1:5556") from error
    watching = asyncio.create_task(_watch(monitor, on_up, on_down))

    def connect_again() -> None:
        with suppress(zmq.ZMQError):
            socket.disconnect(address)
        socket.connect(address)

    try:
        yield connect_again
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
