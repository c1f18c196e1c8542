"""A TCP proxy in front of PostgreSQL that can be slow, or cut a connection between COMMIT and its answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

COMMIT = b"COMMIT\x00"
"""How a simple query ends that asks to commit."""


class CutProxy:
    """Forwards to a server; what it is told to do, it counts."""

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url)
        self.delay_s = 0.0
        """Before each piece of an answer is passed on."""
        self.cut_commits = 0
        """So many answers to COMMIT are still to be cut off. The server has committed."""
        self.cut_from_bytes = 0
        """Only transactions are cut off that have sent so much: of a batch, and not of housekeeping."""
        self.fired = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        """Yield the url by which the server is reached through the proxy."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        parts = self.target
        try:
            yield f"{parts.scheme}://{parts.username}:{parts.password}@127.0.0.1:{port}{parts.path}"
        finally:
            server.close()
            self.cut_all()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        """Cut every connection in the middle of whatever it does."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there = await asyncio.open_connection(self.target.hostname, self.target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there}
        committing = asyncio.Event()
        for work in (
            self._to_server(reader, there, committing),
            self._back(there_reader, writer, committing),
        ):
            self._tasks.add(asyncio.create_task(work))

    async def _to_server(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, committing: asyncio.Event
    ) -> None:
        sent = 0
        with contextlib.suppress(OSError), contextlib.closing(sink):
            while chunk := await source.read(65_536):
                sent += len(chunk)
                if chunk.endswith(COMMIT):
                    if self.cut_commits and sent >= self.cut_from_bytes:
                        self.cut_commits -= 1
                        committing.set()
                    sent = 0
                sink.write(chunk)
                await sink.drain()

    async def _back(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, committing: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sink):
            while chunk := await source.read(65_536):
                if committing.is_set():  # the answer is here, so the server has done it
                    self.fired += 1
                    sink.transport.abort()
                    return
                if self.delay_s:
                    self.fired += 1
                    await asyncio.sleep(self.delay_s)
                sink.write(chunk)
                await sink.drain()
