"""A WebSocket and REST server on loopback whose every byte a test decides."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiohttp import WSMsgType, web

Talk: TypeAlias = Callable[["Caller"], Awaitable[None]]
Reply: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """Return the bytes of one WebSocket frame as a server sends it (RFC 6455, section 5.2)."""
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65_536:
        return head + bytes([126]) + struct.pack("!H", len(payload)) + payload
    return head + bytes([127]) + struct.pack("!Q", len(payload)) + payload


class Caller:
    """One client that has opened a WebSocket."""

    def __init__(self, request: web.Request, websocket: web.WebSocketResponse) -> None:
        self.path = request.path_qs
        self.headers = request.headers
        self.websocket = websocket
        self._request = request
        self.heard: list[tuple[WSMsgType, object]] = []
        self.gone = asyncio.Event()

    def write(self, raw: bytes) -> None:
        """Send bytes past the WebSocket writer."""
        transport = self._request.transport
        assert transport is not None
        transport.write(raw)

    def reset(self) -> None:
        """End the connection as a crash does: with a TCP reset."""
        transport = self._request.transport
        assert transport is not None
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        transport.abort()

    async def listen(self) -> None:
        """Note what the client says until it goes."""
        async for message in self.websocket:
            self.heard.append((message.type, message.data))
        self.gone.set()


class Venue:
    """What the server does; a test sets `talk` (WebSocket) and `reply` (REST)."""

    def __init__(self) -> None:
        self.rest_url = self.stream_url = ""
        self.callers: list[Caller] = []
        self.refuse: int | None = None
        """A status that answers every WebSocket handshake instead."""
        self.talk: Talk = self._silence
        self.reply: Reply = self._nothing

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if "upgrade" not in request.headers.get("connection", "").lower():
            return await self.reply(request)
        if self.refuse is not None:
            return web.Response(status=self.refuse, text="refused")
        websocket = web.WebSocketResponse(autoping=False)
        await websocket.prepare(request)
        caller = Caller(request, websocket)
        self.callers.append(caller)
        talking = asyncio.create_task(self._talk(caller))
        try:
            await caller.listen()
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
        return websocket

    async def _talk(self, caller: Caller) -> None:
        await self.talk(caller)

    async def _silence(self, _caller: Caller) -> None:
        return

    async def _nothing(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({})


@asynccontextmanager
async def open_venue() -> AsyncIterator[Venue]:
    """Serve on a free loopback port until the block is left."""
    venue = Venue()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        venue.rest_url, venue.stream_url = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
        yield venue
    finally:
        await runner.cleanup()
