"""The real publisher over loopback sockets, and those who listen to it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from binance_proxy.adapters.zeromq.publisher import ZmqPublisher, open_publisher

PATIENCE_S = 30.0
QUIET_S = 0.3
"""When nothing has come for so long, nothing is on its way any more."""
EPOCH = "e1"
KEPT = 50

Message = tuple[str, dict[str, Any]]


def free_addresses(count: int) -> list[str]:
    """Return loopback addresses that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


class ZmqListener:
    """A SUB socket. It is read only when somebody asks."""

    def __init__(self, sub: "zmq.asyncio.Socket", decode: Any) -> None:
        self.sub = sub
        self._decode = decode

    async def frames(self) -> list[bytes]:
        """Return the next message as it is."""
        return await asyncio.wait_for(self.sub.recv_multipart(), PATIENCE_S)

    async def receive(self, count: int) -> list[Message]:
        messages = []
        for _ in range(count):
            topic, body = await self.frames()
            messages.append((topic.decode(), self._decode(body)))
        return messages

    async def received(self) -> list[Message]:
        messages = []
        while await self.sub.poll(int((QUIET_S if messages else PATIENCE_S) * 1_000)):
            messages += await self.receive(1)
        return messages


class ZmqWire:
    """A running publisher on two loopback ports."""

    epoch = EPOCH
    kept = KEPT

    def __init__(self, publisher: ZmqPublisher, addresses: dict[str, str]) -> None:
        self.publisher = publisher
        self.addresses = addresses
        self.made = 0
        self.heard = {"json": 0, "msgpack": 0}
        """Subscriptions that the publisher has taken in."""
        self._context = zmq.asyncio.Context()
        for encoding, endpoint in zip(self.heard, publisher._endpoints, strict=True):
            endpoint.encode = self._counted(endpoint.encode)
            endpoint.hear = self._heard(encoding, endpoint.hear)

    def _counted(self, encode: Any) -> Any:
        def counting(body: object) -> bytes:
            self.made += 1
            return encode(body)

        return counting

    def _heard(self, encoding: str, hear: Any) -> Any:
        def counting() -> list[bytes]:
            new: list[bytes] = hear()
            self.heard[encoding] += len(new)
            return new

        return counting

    async def listen(self, *prefixes: str, holds: int | None = None, encoding: str = "json") -> ZmqListener:
        sub = self._context.socket(zmq.SUB)
        if holds is not None:
            sub.setsockopt(zmq.RCVHWM, holds)
            sub.setsockopt(zmq.RCVBUF, 8_192)
        decode = {"json": msgspec.json.decode, "msgpack": msgspec.msgpack.decode}[encoding]
        sub.connect(self.addresses[encoding])
        for prefix in prefixes:
            sub.subscribe(prefix)
        goal = self.heard[encoding] + len(prefixes)
        await self.until(lambda: self.heard[encoding] >= goal)
        return ZmqListener(sub, decode)

    async def until(self, condition: Any) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110  nothing says when
                await asyncio.sleep(0.005)

    def close(self) -> None:
        self._context.destroy(linger=0)


@asynccontextmanager
async def open_wire(*, high_water: int = 1_000, linger_s: float = 1.0) -> AsyncIterator[ZmqWire]:
    """Open a publisher on free ports; its listeners end with it."""
    json, msgpack = free_addresses(2)
    wire = None
    try:
        async with open_publisher(
            json=json, msgpack=msgpack, epoch=EPOCH, high_water=high_water, linger_s=linger_s, kept=KEPT
        ) as publisher:
            wire = ZmqWire(publisher, {"json": json, "msgpack": msgpack})
            yield wire
    finally:
        if wire is not None:
            wire.close()
