"""A set of streams that is kept coming: connected, connected again, and moved to a new line in time."""

import asyncio
import logging
import random
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from binance_proxy.adapters.binance.handover import Handover
from binance_proxy.adapters.binance.inbox import Inbox
from binance_proxy.adapters.binance.line import Line
from binance_proxy.adapters.binance.pauses import growing_pauses
from binance_proxy.adapters.binance.settings import STREAMS_PER_CONNECTION, Care
from binance_proxy.adapters.binance.transport import Transport
from binance_proxy.application.ports import Clock, FeedError

log = logging.getLogger(__name__)

STEADY_S = 10.0
"""A line that lived for so long was a good one, and the next pause is a short one again."""
EARLY = 0.05
"""The share of ``care.rotate_s`` by which a rotation may come early, so that not all move at once."""
LONGEST_QUIET_S = 3_600.0
GLANCE_S = 0.05


class Moving(NamedTuple):
    """An entry of the inbox: from here on two lines are open, and the reader is to make one of them."""

    connection: "Connection"
    line: Line
    """The new one."""
    handover: Handover


class Lost(NamedTuple):
    """An entry of the inbox: the line is gone, and what comes next may not follow what came before."""

    connection: "Connection"
    reason: str
    ts_recv: int


class Moved(NamedTuple):
    """An entry of the inbox: from here on this line alone counts."""

    connection: "Connection"
    line: Line


class Broken(NamedTuple):
    """An entry of the inbox: our own mistake has ended what keeps a connection, or fetches a book.

    Nothing more would come.
    """

    error: BaseException


class Connection:
    """Keeps up to `STREAMS_PER_CONNECTION` streams coming.

    What comes goes into the inbox as ``(connection, line, raw, ts_recv)``, with `Lost`, `Moving` and `Moved`
    between. `line` and `moving` are the reader's, who changes them when it comes to a `Moving` or `Moved`: so
    they fit the entry that it is at, however many wait behind it.
    """

    def __init__(self, transport: Transport, care: Care, inbox: Inbox, clock: Clock) -> None:
        """Begin to connect at once."""
        self.line: Line | None = None
        """The line that counts; what comes over others is dropped, unless `moving` says otherwise."""
        self.moving: Moving | None = None
        self.ready = asyncio.Event()
        """Set while every stream is subscribed."""
        self.streams: set[str] = set()
        self.losses = 0
        """How often it was `Lost` so far."""
        self._transport = transport
        self._care = care
        self._inbox = inbox
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._quiet_s = care.quiet_s
        self._open_lines: list[Line] = []
        self._keeper = asyncio.create_task(self._keep())
        self._keeper.add_done_callback(self._tell_if_broken)

    @property
    def room(self) -> int:
        """How many more streams it can carry."""
        return STREAMS_PER_CONNECTION - len(self.streams)

    def add(self, streams: Iterable[str]) -> None:
        """Carry more streams from now on."""
        new = [stream for stream in streams if stream not in self.streams]
        self.streams.update(new)
        if new:
            self.ready.clear()
        for line in self._open_lines:
            line.subscribe(new)

    def remove(self, streams: Iterable[str]) -> None:
        """Carry streams no more."""
        old = [stream for stream in streams if stream in self.streams]
        self.streams.difference_update(old)
        for line in self._open_lines:
            line.unsubscribe(old)

    async def close(self) -> None:
        """End it; nothing comes any more."""
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        for line in self._open_lines:
            line.close()

    async def _keep(self) -> None:
        """Open a line, follow it to its end, and open the next, without end."""
        pauses = growing_pauses(self._care.longest_pause_s)
        while True:
            try:
                line = await self._open()
            except FeedError as error:
                pause = next(pauses)
                log.warning("%s; trying again in %.1f s", error, pause)
                await asyncio.sleep(pause)
                continue
            began = self._loop.time()
            self._inbox.put(Moved(self, line))
            reason = await self._tend(line)
            self._lose(reason)
            if self._loop.time() - began > STEADY_S:
                pauses = growing_pauses(self._care.longest_pause_s)
            await asyncio.sleep(next(pauses))

    def _lose(self, reason: str) -> None:
        self.ready.clear()
        self.losses += 1
        self._inbox.put(Lost(self, reason, self._clock.now()))

    def _tell_if_broken(self, keeper: "asyncio.Task[None]") -> None:
        error = None if keeper.cancelled() else keeper.exception()
        if error is not None:
            self._inbox.put(Broken(error))

    async def _open(self) -> Line:
        """Open a line with all streams. Raises `FeedError`."""
        line = Line(self, self._transport, self._care, self._inbox, self._clock, self._quiet_s)
        self._open_lines.append(line)
        try:
            await line.open(sorted(self.streams))
        except BaseException:
            self._close(line)
            raise
        return line

    def _close(self, line: Line) -> None:
        line.close()
        self._open_lines.remove(line)

    async def _tend(self, line: Line) -> str:
        """Follow a line, and those that follow it, until one is lost; return why."""
        pauses = growing_pauses(self._care.longest_pause_s)
        while True:
            await self._wait_until_leaving(line)
            follower = await self._replace(line) if line.ended is None else None
            if follower is not None:
                line, pauses = follower, growing_pauses(self._care.longest_pause_s)
            elif line.ended is not None:
                self._close(line)
                return line.ended
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(next(pauses)):
                        await line.gone.wait()

    async def _wait_until_leaving(self, line: Line) -> None:
        """Return once the line has ended, or should be replaced."""
        rotate_s = self._care.rotate_s * (1 - EARLY * random.random())  # noqa: S311  it keeps no secret
        while not line.troubled.is_set():
            self._note_ready(line)
            if self._loop.time() - line.opened_at > rotate_s:
                line.leave("it is old")
            with suppress(TimeoutError):
                async with asyncio.timeout(GLANCE_S):
                    await line.troubled.wait()

    def _note_ready(self, line: Line) -> None:
        if line.ready.is_set():
            self.ready.set()

    async def _replace(self, line: Line) -> Line | None:
        """Open a second line and hand over to it; return it, or `None` if there is none to go on with."""
        log.info("%s is replaced: %s", line.name, line.leaving)
        self._quiet_s = self._care.quiet_s if line.data else min(2 * self._quiet_s, LONGEST_QUIET_S)
        try:
            follower = await self._open()
        except FeedError as error:
            log.warning("there is no new connection yet: %s", error)
            return None
        # Before anything was subscribed, so that all that the new line brings comes behind it.
        handover = Handover()
        self._inbox.put(Moving(self, follower, handover))
        good = await self._agree(line, follower, handover)
        kept, other = (follower, line) if good else (line, follower)
        self._close(other)
        self._inbox.put(Moved(self, kept))
        if good and not follower.ready.is_set():  # the old one ended too early
            self._lose(line.ended or "")
        return follower if good else None

    async def _agree(self, line: Line, follower: Line, handover: Handover) -> bool:
        """Wait until both lines have brought the same, or one has ended; say whether to take the new one.

        It is taken too if the old one has ended before the new one was subscribed, but then something may be
        missing between them.
        """
        gives_up = self._loop.time() + self._care.agree_s
        enough: int | None = None
        while follower.ended is None:
            if line.ended is not None or self._loop.time() > gives_up:
                break
            await asyncio.sleep(GLANCE_S)
            self._note_ready(line)
            if self._inbox.is_paused:  # nobody is heard, and what the old one still has would be lost
                gives_up = self._loop.time() + self._care.agree_s
            if not follower.ready.is_set():
                continue
            if enough is None and self._loop.time() - follower.ready_at >= self._care.settle_s:
                enough = self._inbox.brought
            if enough is not None and self._inbox.taken >= enough and handover.agreed:
                break
        return follower.ended is None and (follower.ready.is_set() or line.ended is not None)
