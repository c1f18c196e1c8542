"""A network between the bridge and a server, that can be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Proxy:
    """Forwards to a server until it is told to swallow everything, as a network that is cut does."""

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url)
        self.open = asyncio.Event()
        self.open.set()
        self.swallowed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._generation = 0

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        parts = self.target
        yield f"{parts.scheme}://{parts.username}:{parts.password}@127.0.0.1:{port}{parts.path}"
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget(self) -> None:
        """Swallow everything of the connections there are, for ever, and tell neither end of them.

        New connections are forwarded, if the proxy is open.
        """
        self._generation += 1
        self.open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self.target.hostname, self.target.port)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            self._tasks.add(asyncio.create_task(self._forward(source, sink, self._generation)))

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, generation: int
    ) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sink):
            while chunk := await source.read(65_536):
                self.swallowed += not self.open.is_set()
                await self.open.wait()
                if generation != self._generation:
                    self.swallowed += 1
                    await asyncio.Event().wait()
                sink.write(chunk)
                await sink.drain()
