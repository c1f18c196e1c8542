"""Where WebSocket clients come in: addresses, attempts, and faults that come over connections."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from binance_proxy.sandbox.faults import CONNECTION_FAULTS, Fault, FaultPlan
from binance_proxy.sandbox.hold import Hold
from binance_proxy.sandbox.printing import unit_of
from binance_proxy.sandbox.rest import hang_up
from binance_proxy.sandbox.session import Session
from binance_proxy.sandbox.settings import SandboxSettings
from binance_proxy.sandbox.streams import Manner, Streams
from binance_proxy.sandbox.weight import Allowance

LONGEST_MESSAGE = 2**20
CLOSE_TIMEOUT_S = 1.0
"""How long a client may take to agree to a close."""


class Door:
    """Lets clients in, and knows who is there."""

    def __init__(self, streams: Streams, hold: Hold, settings: SandboxSettings, faults: FaultPlan) -> None:
        self.streams = streams
        self.sessions: list[Session] = []
        """Everybody who is connected, oldest first."""
        self._hold = hold
        self._settings = settings
        self._faults = faults
        self._attempts: dict[str, Allowance] = {}
        self._work: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses: ``/ws`` gives events as they are, ``/stream`` with their stream's name.

        What follows behind ``/ws/`` are names of streams. ccxt numbers its connections there; a number is no
        name. What follows behind ``/stream/`` is nothing at all.
        """
        return [
            web.get("/ws", self._raw),
            web.get("/ws/{names:.*}", self._raw),
            web.get("/stream", self._combined),
            web.get("/stream/{anything:.*}", self._combined),
        ]

    def hit(self, fault: Fault, session: Session) -> None:
        """Have something happen to a connection now."""
        self._faults.fired[fault] += 1
        if fault is Fault.CUT:
            session.cut()
        elif fault is Fault.FREEZE:
            session.freeze()
        else:
            self._start(session.shut_down(self._settings.shutdown_notice_s))

    def begin_faults(self) -> None:
        """Have the faults happen that come every so often, until `close`."""
        for fault in (*CONNECTION_FAULTS, Fault.REFUSE, Fault.BAN):
            if getattr(self._faults.faults, f"{fault}_s"):
                self._start(self._every_so_often(fault))

    async def close(self) -> None:
        """Announce the end to everybody, and close."""
        for task in self._work:
            task.cancel()
        closing = [asyncio.create_task(session.shut_down(0.0)) for session in self.sessions]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_TIMEOUT_S)
        for session in self.sessions:
            session.cut()
        for task in closing:
            task.cancel()

    async def _every_so_often(self, fault: Fault) -> None:
        chance = self._faults.timer_random(fault)
        while mean_s := getattr(self._faults.faults, f"{fault}_s"):
            await asyncio.sleep(chance.expovariate(1 / mean_s))
            if not getattr(self._faults.faults, f"{fault}_s"):
                return
            if fault in CONNECTION_FAULTS:
                hittable = [session for session in self.sessions if session.is_open]
                if hittable:
                    self.hit(fault, chance.choice(hittable))
            else:
                self._faults.order(fault)

    async def _raw(self, request: web.Request) -> web.StreamResponse:
        names = unquote(request.match_info.get("names", "")).split("/")
        return await self._let_in(request, [name for name in names if "@" in name], is_combined=False)

    async def _combined(self, request: web.Request) -> web.StreamResponse:
        names = request.query.get("streams", "").split("/")
        return await self._let_in(request, [name for name in names if name], is_combined=True)

    async def _let_in(
        self, request: web.Request, names: list[str], *, is_combined: bool
    ) -> web.StreamResponse:
        attempts = self._attempts.setdefault(
            request.remote or "",
            Allowance(self._settings.connection_attempts, self._settings.connection_window_s, time.monotonic),
        )
        if self._faults.refuses():
            return hang_up(request)
        if not attempts.take():
            return web.Response(status=429, text="Too many connection attempts")
        response = web.WebSocketResponse(
            autoping=False,
            autoclose=False,
            compress=False,
            timeout=CLOSE_TIMEOUT_S,
            max_msg_size=LONGEST_MESSAGE,
        )
        writer = await response.prepare(request)
        if request.transport is None:
            return response
        manner = Manner(is_combined, unit_of(request.query.get("timeUnit")))
        connection = response, request.transport, writer.drain
        session = Session(connection, self.streams, self._hold, self._settings, self._faults, manner)
        self.sessions.append(session)
        try:
            await session.talk(list(dict.fromkeys(names)))
        finally:
            self.sessions.remove(session)
        return response

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
