"""One WebSocket connection: what it is subscribed to, what waits for it, and how it ends.

Source: Binance Spot, "WebSocket Streams": general information, live subscribing, error messages.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec
from aiohttp import WSMsgType, web

from binance_proxy.domain.instrument import MILLISECOND_NS
from binance_proxy.sandbox import printing
from binance_proxy.sandbox.faults import FaultPlan
from binance_proxy.sandbox.frames import ping_frame, pong_frame, text_frame
from binance_proxy.sandbox.hold import Hold
from binance_proxy.sandbox.line import FaultyLine
from binance_proxy.sandbox.settings import SandboxSettings
from binance_proxy.sandbox.streams import BadName, Manner, Streams, combined
from binance_proxy.sandbox.weight import Allowance

GOING_AWAY, TOO_MUCH = 1001, 1008
LOOK_S = 0.2
"""How often a silent connection is looked at, whether the client has left."""
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_RESET = struct.pack("ii", 1, 0)
_ENDS = {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}


class _BadRequest(Exception):
    """What a client sent is answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Session:
    """A client on a WebSocket.

    At most ``outbox`` messages wait for it; of one that does not read, the connection is cut.
    """

    def __init__(
        self,
        connection: tuple[web.WebSocketResponse, asyncio.Transport, Callable[[], Awaitable[None]]],
        streams: Streams,
        hold: Hold,
        settings: SandboxSettings,
        faults: FaultPlan,
        manner: Manner,
    ) -> None:
        """Take an open connection: its socket, its transport, and what waits while too much is on its way."""
        self._socket, self._transport, self._drain = connection
        self._streams = streams
        self._hold = hold
        self._settings = settings
        self._faults = faults
        self._line = FaultyLine(faults, self._queue)
        self._allowance = Allowance(settings.messages_per_second, 1.0, time.monotonic)
        self._manner = manner
        self._names: dict[str, None] = {}
        self._waiting: list[bytes] = []
        self._due = asyncio.Event()
        self._drained = asyncio.Event()
        self._is_frozen = False
        self._is_stalled = False
        self._pinged_at: dict[bytes, float] = {}

    @property
    def is_behind(self) -> bool:
        """True if half of what may wait does, and the client is still reading."""
        return len(self._waiting) > self._settings.outbox // 2 and not (self._is_stalled or self._is_frozen)

    @property
    def names(self) -> Sequence[str]:
        """The streams that it is subscribed to."""
        return tuple(self._names)

    async def catch_up(self, patience_s: float) -> None:
        """Return once the client has read something, or was given up."""
        self._drained.clear()
        try:
            async with asyncio.timeout(patience_s):
                await self._drained.wait()
        except TimeoutError:
            self._is_stalled = True

    def push(self, stream: str, frame: bytes) -> None:
        """Take a frame of a stream. Never waits."""
        if self._faults.touches_frames or self._line.held_back:
            self._line.carry(stream, frame)
        else:
            self._queue(frame)

    @property
    def is_open(self) -> bool:
        """False once the connection is being closed, by whomever."""
        return not self._transport.is_closing()

    def cut(self) -> None:
        """Reset the connection, as a broken line would."""
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError, ValueError):  # the client may have closed it, and then it has no number
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()
        self._drained.set()

    def freeze(self) -> None:
        """Stay open and say nothing more."""
        self._is_frozen = True
        self._waiting.clear()
        self._drained.set()

    async def shut_down(self, notice_s: float) -> None:
        """Say that the connection will be closed, and close it."""
        event = printing.shutdown_event(time.time_ns(), self._manner.unit_ns)
        text = combined("!serverShutdown", event) if self._manner.is_combined else event
        self._queue(text_frame(text.encode()))
        await asyncio.sleep(notice_s)
        await self.close(GOING_AWAY)

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection properly, behind everything that waits."""
        if self._is_frozen:
            return
        self._write_waiting()
        await self._socket.close(code=code, message=reason.encode())

    async def talk(self, names: Sequence[str]) -> None:
        """Subscribe to the streams of the address, and serve the client until one of us ends it."""
        work = [asyncio.create_task(one) for one in (self._write(), self._ping(), self._grow_old())]
        try:
            if len(set(names)) > self._settings.streams_per_connection:
                await self.close(TOO_MUCH, "Too many streams")
                return
            if names:
                self._subscribe(names)
            await self._listen()
            while self._is_frozen and not self._transport.is_closing():  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(LOOK_S)
        finally:
            for one in work:
                one.cancel()
            self._unsubscribe(tuple(self._names))
            if self._is_frozen:
                self._transport.abort()

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type in _ENDS:
                if message.type is WSMsgType.CLOSE:
                    await self.close(message.data or 1000)
                return
            if self._is_frozen:
                continue
            if not self._allowance.take():
                await self.close(TOO_MUCH, "Too many requests")
                return
            if message.type is WSMsgType.PING:
                self._queue(pong_frame(bytes(message.data)))
            elif message.type is WSMsgType.PONG:
                self._pinged_at.pop(bytes(message.data), None)
            else:
                self._queue(text_frame(printing.encode(self._answer(message.data))))

    async def _write(self) -> None:
        """Write all that waits at once, whenever the connection takes more."""
        with suppress(ConnectionError):
            while True:
                await self._due.wait()
                self._due.clear()
                self._write_waiting()
                await self._drain()
                self._is_stalled = False
                self._drained.set()

    def _write_waiting(self) -> None:
        frames, self._waiting = self._waiting, []
        if frames and not self._transport.is_closing():
            self._transport.write(b"".join(frames))

    def _queue(self, frame: bytes) -> None:
        if self._is_frozen:
            return
        waiting = self._waiting
        if not waiting:
            self._due.set()
        elif len(waiting) >= self._settings.outbox:
            waiting.clear()
            self.cut()
            return
        waiting.append(frame)

    async def _ping(self) -> None:
        """Ping every so often; close the connection when a ping was not answered in time."""
        loop = asyncio.get_running_loop()
        next_ping = loop.time() + self._settings.ping_s
        while True:
            oldest = min(self._pinged_at.values(), default=float("inf"))
            await asyncio.sleep(max(0.0, min(next_ping, oldest + self._settings.pong_s) - loop.time()))
            now = loop.time()
            if min(self._pinged_at.values(), default=now) + self._settings.pong_s <= now:
                await self.close(TOO_MUCH, "Pong timeout")
                return
            if now >= next_ping:
                payload = str(time.time_ns() // MILLISECOND_NS).encode()
                self._pinged_at[payload] = now
                self._queue(ping_frame(payload))
                next_ping += self._settings.ping_s

    async def _grow_old(self) -> None:
        """Close the connection at the end of its life, after notice."""
        notice_s = min(self._settings.shutdown_notice_s, self._settings.lifetime_s)
        await asyncio.sleep(self._settings.lifetime_s - notice_s)
        await self.shut_down(notice_s)

    def _answer(self, text: str | bytes) -> dict[str, object]:
        """Do what a message asks; return what is answered."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _error(3, f"Invalid JSON: {error}", None)
        if not isinstance(request, dict):
            return _error(2, "Invalid request: expected an object", None)
        request_id = request.get("id")
        if not (request_id is None or isinstance(request_id, str) or _is_unsigned(request_id)):
            return _error(2, "Invalid request: request ID must be an unsigned integer or a string", None)
        try:
            return {"result": self._do(request), "id": request_id}
        except _BadRequest as bad:
            return _error(bad.code, bad.message, request_id)

    def _do(self, request: dict[str, object]) -> object:
        if "method" not in request:
            raise _BadRequest(2, "Invalid request: missing field `method`")
        method, params = request["method"], request.get("params", [])
        if method not in _METHODS:
            expected = ", ".join(f"`{one}`" for one in _METHODS)
            raise _BadRequest(2, f"Invalid request: unknown variant `{method}`, expected one of {expected}")
        if not isinstance(params, list):
            raise _BadRequest(2, "Invalid request: params must be an array")
        if method == "LIST_SUBSCRIPTIONS":
            return list(self._names)
        if method in {"SUBSCRIBE", "UNSUBSCRIBE"}:
            names = self._checked(params)
            (self._subscribe if method == "SUBSCRIBE" else self._unsubscribe)(names)
            return None
        if not params or params[0] != "combined":
            raise _BadRequest(0, f"Unknown property: {params[0] if params else ''}")
        if method == "GET_PROPERTY":
            return self._manner.is_combined
        if len(params) != 2 or not isinstance(params[1], bool):
            raise _BadRequest(1, "Invalid value type: expected Boolean")
        self._change_manner(self._manner._replace(is_combined=params[1]))
        return None

    def _checked(self, params: list[object]) -> list[str]:
        """Return the names of streams, all of them good, none too many."""
        names = [name for name in params if isinstance(name, str)]
        if not names or len(names) != len(params):
            raise _BadRequest(2, "Invalid request: params must be names of streams")
        for name in names:
            try:
                self._streams.check(name)
            except BadName as error:
                raise _BadRequest(2, f"Invalid request: {error}") from error
        if len({*self._names, *names}) > self._settings.streams_per_connection:
            raise _BadRequest(
                2, f"Invalid request: more than {self._settings.streams_per_connection} streams"
            )
        return names

    def _subscribe(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._names:
                self._names[name] = None
                self._streams.join(name, self, self._manner)
        self._hold.subscribed(self._streams.followed(names))

    def _unsubscribe(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._names:
                del self._names[name]
                self._streams.leave(name, self, self._manner)

    def _change_manner(self, manner: Manner) -> None:
        before, self._manner = self._manner, manner
        for name in self._names:  # joined before it is left, so that the stream lives on
            self._streams.join(name, self, manner)
            self._streams.leave(name, self, before)


def _is_unsigned(number: object) -> bool:
    return isinstance(number, int) and 0 <= number < 2**64


def _error(code: int, message: str, request_id: object) -> dict[str, object]:
    return {"error": {"code": code, "msg": message}, "id": request_id}
