"""One WebSocket of ccxt's, read below ccxt: messages are handed over as they came, unparsed."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

from aiohttp import ClientWebSocketResponse, WSMessage, WSMsgType

OnFrame: TypeAlias = Callable[[bytes], None]
OnClose: TypeAlias = Callable[[str], None]


class CcxtLink:
    """One open WebSocket. ccxt opened it; neither its reading loop nor its keep-alive is started.

    While it is paused aiohttp queues some hundred KiB and leaves the rest in the socket, so that the
    venue has to wait. Its pings and its close wait too: after a minute of pings Binance cuts the connection.
    """

    def __init__(self, websocket: ClientWebSocketResponse, on_frame: OnFrame, on_close: OnClose) -> None:
        """Begin to read."""
        self._websocket = websocket
        self._on_frame = on_frame
        self._on_close = on_close
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = self._spawn(self._run())

    @property
    def is_over(self) -> bool:
        """Whether the socket is closed and nothing of the link runs any more."""
        return not self._tasks

    def send(self, text: str) -> None:
        """Send a text message. Never waits; does nothing once the link has ended."""
        if not self._closed:
            self._spawn(self._write(self._websocket.send_str(text)))

    def pause(self) -> None:
        """Stop reading, so that the venue has to wait."""
        self._flowing.clear()

    def resume(self) -> None:
        """Read on."""
        self._flowing.set()

    def close(self) -> None:
        """End the link at once. Neither callback is called after this."""
        if not self._closed:
            self._closed = True
            self._reading.cancel()
            self._spawn(self._hang_up_unread())

    async def ended(self) -> None:
        """Return once the link `is_over`."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        reason = "reading broke off"
        try:
            reason = await self._read()
        finally:
            await self._hang_up()
            if not self._closed:
                self._closed = True
                self._on_close(reason)

    async def _read(self) -> str:
        """Hand over every message; return why there are no more."""
        receive, on_frame, flowing = self._websocket.receive, self._on_frame, self._flowing
        text = WSMsgType.TEXT
        while not self._closed:
            if not flowing.is_set():
                await flowing.wait()
            message = await receive()
            if message.type is text:
                on_frame(message.data.encode())
            elif message.type is WSMsgType.BINARY:
                on_frame(message.data)
            elif message.type is WSMsgType.PING:
                self._spawn(self._write(self._websocket.pong(message.data)))
            elif message.type is not WSMsgType.PONG:
                return _reason(message)
        return "closed"

    async def _hang_up_unread(self) -> None:
        await asyncio.wait({self._reading})  # which was cancelled, perhaps before it had begun
        await self._hang_up()

    async def _hang_up(self) -> None:
        # aiohttp would wait for the venue to answer the close; with no time to wait it only says goodbye.
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await self._websocket.close()

    @staticmethod
    async def _write(message: Coroutine[Any, Any, None]) -> None:
        with suppress(OSError):  # the connection is gone, which the reading side notices
            await message

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _reason(message: WSMessage) -> str:
    """Return why a link has ended, from the last message of aiohttp about it."""
    if message.type is WSMsgType.CLOSE:
        said = " ".join(str(part) for part in (message.data, message.extra) if part)
        return f"the venue closed the connection ({said or 'without a reason'})"
    if message.type is WSMsgType.ERROR:
        return f"the connection broke: {message.data!r}"
    return "the connection broke"
