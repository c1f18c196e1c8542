"""One WebSocket from its opening to its end: what it carries, whether it is alive."""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from binance_proxy.adapters.binance.inbox import Inbox
from binance_proxy.adapters.binance.settings import MESSAGES_PER_SECOND, Care
from binance_proxy.adapters.binance.transport import Link, Transport
from binance_proxy.application.ports import Clock

log = logging.getLogger(__name__)

PATH = "/stream"
STREAMS_PER_MESSAGE = 200
LOOKS = 8
"""How often the line is looked at within the time that silence is allowed to last."""
_STREAM = b'{"stream":"'
_OF_THE_LINE = b'{"stream":"!'  # streams such as !serverShutdown are about the connection


class _Control(Struct):
    """Anything that is not market data. Source: Binance Spot, "WebSocket Streams"."""

    id: int | None = None
    result: Any = None
    error: Any = None
    code: int | None = None
    msg: str | None = None
    e: str | None = None
    stream: str | None = None


class _Request(Struct):
    """Something that was said and waits for its answer."""

    method: str
    streams: Sequence[str]
    asked_at: float


_decode = msgspec.json.Decoder(_Control).decode


class Line:
    """One link that carries streams.

    Messages of ours go out at `MESSAGES_PER_SECOND` at most. When nothing comes for half of
    ``care.silence_s``, the venue is asked to list our subscriptions, and if nothing comes then either, the
    line is dead: an open socket proves nothing.
    """

    _numbers = itertools.count(1)

    def __init__(
        self, owner: object, transport: Transport, care: Care, inbox: Inbox, clock: Clock, quiet_s: float
    ) -> None:
        """Take what is needed; nothing happens before `open`.

        ``owner`` stands in every entry of the inbox: ``(owner, line, raw, ts_recv)``.
        """
        self.name = f"connection {next(Line._numbers)}"
        self.ready = asyncio.Event()
        """Everything that was asked for has been acknowledged."""
        self.troubled = asyncio.Event()
        """The line has ended, or should be replaced while it still works."""
        self.gone = asyncio.Event()
        """The line has ended."""
        self.ended: str | None = None
        """Why the line has ended."""
        self.leaving: str | None = None
        """Why the line should be replaced while it still works."""
        self.opened_at = 0.0
        self.ready_at = 0.0
        self.data = 0
        """Messages with market data so far."""
        self._owner = owner
        self._transport = transport
        self._care = care
        self._quiet_s = quiet_s
        self._inbox = inbox
        self._now = clock.now
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._heard = 0  # messages of any kind so far
        self._outgoing: deque[tuple[str, Sequence[str]]] = deque()
        self._asked: dict[int, _Request] = {}
        self._wanted: set[str] = set()
        self._ids = itertools.count(1)
        self._spoken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, streams: Iterable[str]) -> None:
        """Connect, and begin to subscribe.

        Raises:
            FeedUnavailable: Nobody answers.
            FeedRejected: The venue refuses for good.
        """
        self._wanted.update(streams)
        self._link = await self._transport.connect(PATH, self._on_frame, self._end)
        self._inbox.attach(self._link)
        self.opened_at = self._loop.time()
        self._ask("SUBSCRIBE", sorted(self._wanted))  # which may have changed meanwhile
        self._tasks = [asyncio.create_task(self._speak()), asyncio.create_task(self._watch())]
        for task in self._tasks:
            task.add_done_callback(self._end_if_broken)

    def subscribe(self, streams: Iterable[str]) -> None:
        """Ask for more streams."""
        new = list(streams)
        self._wanted.update(new)
        if self._link is not None:
            self._ask("SUBSCRIBE", new)

    def unsubscribe(self, streams: Iterable[str]) -> None:
        """Ask for streams no more."""
        old = list(streams)
        self._wanted.difference_update(old)
        if self._link is not None:
            self._ask("UNSUBSCRIBE", old)

    def leave(self, why: str) -> None:
        """Have the line replaced, while it goes on working."""
        self.leaving = self.leaving or why
        self.troubled.set()

    def close(self) -> None:
        """End the line; nothing comes over it any more."""
        for task in self._tasks:
            task.cancel()
        if self._link is not None:
            self._inbox.detach(self._link)
            self._link.close()

    def _ask(self, method: str, streams: Sequence[str]) -> None:
        for start in range(0, len(streams), STREAMS_PER_MESSAGE):
            self._outgoing.append((method, streams[start : start + STREAMS_PER_MESSAGE]))
        if streams:
            self.ready.clear()
        self._spoken.set()

    def _on_frame(self, raw: bytes) -> None:
        self._heard += 1
        if raw.startswith(_STREAM) and not raw.startswith(_OF_THE_LINE):
            self.data += 1
            self._inbox.put((self._owner, self, raw, self._now()))
        else:
            self._control(raw)

    def _control(self, raw: bytes) -> None:
        """Take an answer or a notice; what is neither is left to the reader, who says what is wrong."""
        try:
            control = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._inbox.put((self._owner, self, raw, self._now()))
            return
        request = self._asked.pop(control.id, None) if control.id is not None else None
        if control.e == "serverShutdown" or control.stream == "!serverShutdown":
            self.leave("the venue is about to shut the connection down")
        elif control.error is not None or control.code is not None:
            self._end(f"the venue refuses {request.method if request else 'something'}: {raw[:200]!r}")
        elif request is None and control.id is None:
            self._inbox.put((self._owner, self, raw, self._now()))
        elif not (self._asked or self._outgoing or self.ready.is_set()):
            self.ready_at = self._loop.time()
            self.ready.set()

    async def _speak(self) -> None:
        while True:
            while self._outgoing:
                method, streams = self._outgoing.popleft()
                self._say(method, streams)
                await asyncio.sleep(1 / MESSAGES_PER_SECOND)
            self._spoken.clear()
            await self._spoken.wait()

    def _say(self, method: str, streams: Sequence[str]) -> None:
        number = next(self._ids)
        self._asked[number] = _Request(method, streams, self._loop.time())
        message: dict[str, object] = {"method": method, "id": number}
        if streams:
            message["params"] = streams
        if self._link is not None:
            self._link.send(msgspec.json.encode(message).decode())

    async def _watch(self) -> None:
        """Ask when it is silent, end the line when it stays so, leave it when it brings nothing."""
        care = self._care
        look_s = care.silence_s / LOOKS
        heard, data = self._heard, self.data
        heard_at = data_at = looked_at = self._loop.time()
        while True:
            await asyncio.sleep(look_s)
            now = self._loop.time()
            if self._inbox.is_paused or now - looked_at > 3 * look_s:  # it was us who did not listen
                heard_at = data_at = now
                for request in self._asked.values():
                    request.asked_at = now
            looked_at = now
            if self._heard != heard:
                heard, heard_at = self._heard, now
            if self.data != data:
                data, data_at = self.data, now
            self._repeat_unanswered(now)
            if now - heard_at > care.silence_s:
                self._end(f"nothing was heard for {now - heard_at:.1f} s")
            elif now - heard_at > care.silence_s / 2:
                said = (
                    *(request.method for request in self._asked.values()),
                    *(each[0] for each in self._outgoing),
                )
                if "LIST_SUBSCRIPTIONS" not in said:
                    self._outgoing.append(("LIST_SUBSCRIPTIONS", ()))
                    self._spoken.set()
            elif now - data_at > self._quiet_s:
                self.leave(f"it brought no market data for {now - data_at:.0f} s")

    def _repeat_unanswered(self, now: float) -> None:
        """Say again what was not answered: the answer was lost, or it never arrived.

        As far as it still holds, for what was said later may have been answered. If nothing of it holds any
        more, any answer shows that the line is ready.
        """
        for number, request in list(self._asked.items()):
            if now - request.asked_at > self._care.silence_s:
                del self._asked[number]
                subscribes = request.method == "SUBSCRIBE"
                streams = [one for one in request.streams if (one in self._wanted) is subscribes]
                self._outgoing.append((request.method if streams else "LIST_SUBSCRIPTIONS", streams))
                self._spoken.set()

    def _end_if_broken(self, task: "asyncio.Task[None]") -> None:
        """End the line after our own mistake: half of it would work on and look alive."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s is ended by a mistake of ours", self.name, exc_info=error)
            self._end(f"a mistake of ours: {error!r}")

    def _end(self, reason: str) -> None:
        if self.ended is None:
            self.ended = reason
            self.close()
            self.gone.set()
            self.troubled.set()
