"""The way to a Valkey server that may be away: nobody waits for it, and what it kept before is forgotten."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

from valkey.asyncio import ConnectionPool, Valkey
from valkey.asyncio.connection import AbstractConnection
from valkey.exceptions import ConnectionError as ConnectionLost
from valkey.exceptions import ResponseError

logger = logging.getLogger(__name__)

SEATS = 16
"""Commands that are under way at the same time; each has a connection."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
"""Between two attempts to reach a server that is away; pauses double from the first to this."""
SAID_AGAIN_S = 60.0
"""The same trouble is logged once in so many seconds."""

Answer = TypeVar("Answer")


class Away(Exception):
    """The server is away, or did not answer in time. The cache does without it; no caller sees this."""


class Link:
    """Commands to a server, each within ``patience_s`` or not at all.

    The first command that fails makes the server count as away: from then on every other one fails at once.
    Meanwhile the link tries to reach it again. Nobody knows which of the last commands it has done, or will
    still do, and what was written since never reached it. So the first thing that it is told when it is back
    is to remove ``mark``, without which nothing is good that was kept before. A server that was started again
    in between counts as having been away, noticed or not: it may have come up with what it held long ago.
    """

    def __init__(self, url: str, mark: str, patience_s: float) -> None:
        # No timeouts of the library's own: one for the whole command, by `_in_time`, is enough.
        pool = ConnectionPool.from_url(url, socket_timeout=None, max_connections=SEATS + 1)
        pool.connection_kwargs["valkey_connect_func"] = self._greet
        self.client = Valkey(connection_pool=pool)
        self.reachable = True
        self._where = place_of(url)
        self._mark = mark
        self._patience_s = patience_s
        self._seats = asyncio.Semaphore(SEATS)
        self._server_run: bytes | None = None
        self._outages = 0
        self._returning: asyncio.Task[None] | None = None
        self._said: tuple[str, float] = ("", 0.0)

    async def run(self, command: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run a command.

        Raises:
            Away: It failed, or had no chance.
        """
        if not self.reachable:
            raise Away
        async with self._seats:
            if not self.reachable:
                raise Away
            outages = self._outages
            try:
                answer = await self._in_time(command())
            except Exception as error:  # of a stranger's bytes the library makes errors of any kind
                self._lost(error)
                raise Away from error
            if outages != self._outages:
                raise Away  # it may have read what is to be forgotten
            return answer

    async def forget(self) -> None:
        """Make everything that is kept worthless, for every process.

        Raises:
            Away: The server is away; it will be done before anything else once it is back.
        """
        await self.run(lambda: self.client.delete(self._mark))

    async def close(self) -> None:
        """Close all connections."""
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait({self._returning})
        self.reachable = False
        with contextlib.suppress(Exception):
            await self._in_time(self.client.aclose(close_connection_pool=True))

    async def _in_time(self, command: Awaitable[Answer]) -> Answer:
        """Await a command for `patience_s`, in two steps.

        If this process itself stood still, an answer may lie there that nobody has read yet: the last fifth
        of the time begins only when the loop turns again.
        """
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(None)
        step = loop.call_later(
            self._patience_s * 0.8, lambda: limit.reschedule(loop.time() + self._patience_s * 0.2)
        )
        try:
            async with limit:
                return await command
        finally:
            step.cancel()

    async def _greet(self, connection: AbstractConnection) -> None:
        """Make a new connection ready, and see whether the server is still the same run of it."""
        await connection.on_connect()
        await connection.send_command("INFO", "server", check_health=False)
        try:
            told = await connection.read_response()
        except ResponseError:  # it may not be asked: then it cannot be told
            return
        if not isinstance(told, bytes):
            raise ConnectionLost("what answers there is no Valkey")
        _, _, rest = told.partition(b"run_id:")
        run = rest.split(b"\r", 1)[0]
        if self._server_run not in {None, run}:
            # At once, and not only when the error arrives: other commands are on their way to it too.
            error = ConnectionLost("the server was started again")
            self._lost(error)
            raise error
        self._server_run = run

    def _lost(self, error: BaseException) -> None:
        if not self.reachable:
            return
        self.reachable = False
        self._outages += 1
        self._server_run = None
        why = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or repr(error)
        now_s = asyncio.get_running_loop().time()
        said, at_s = self._said
        if why != said or now_s - at_s > SAID_AGAIN_S:
            self._said = why, now_s
            logger.warning("the cache, %s, is away (%s): everything is worked out anew", self._where, why)
        self._returning = asyncio.create_task(self._return())

    async def _return(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            with contextlib.suppress(Exception):
                await self._in_time(self.client.delete(self._mark))
                break
        self.reachable = True
        logger.info("the cache, %s, is back", self._where)


def place_of(url: str) -> str:
    """Say for people where a Valkey is, without a password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"Valkey at {parts.path}"
    return f"Valkey {parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path}"
