"""A real PostgreSQL inside the bridge: a child process, in a folder of its own, for this machine only."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from binance_proxy.adapters.embedded import cluster, process
from binance_proxy.adapters.embedded.cluster import Place
from binance_proxy.application.ports import StoreRejected, StoreUnavailable

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
POLL_S = 0.05
START_LIMIT_S = 300.0
"""How long a start may take: after a crash it replays up to `max_wal_size` of its journal."""
CRASH_SETTLES_S = 20.0
"""How long the processes of a crashed server may take to leave."""
LOG_LIMIT_BYTES = 16 * 1024 * 1024
STOP: process.Ladder = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))
"""Fast shutdown: clients are cut off, all is on disk. Then without a checkpoint. Then by the kernel."""

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "50",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Never lose what was acknowledged. Said here, on the command line, so that no ALTER SYSTEM undoes it.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # After a crash, one call for the whole file system in place of a thousand files': seconds less.
    "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",
    # A recorder on a laptop: small batches all day, few readers, a disk to be spared.
    "shared_buffers": "128MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    "wal_compression": "on",
    "jit": "off",
    # The log is for what went wrong.
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class EmbeddedPostgres:
    """How to reach a running server."""

    port: int
    password: str = field(repr=False)
    bin: Path
    """The folder of `psql`, `pg_dump` and their kind."""
    host: str = HOST
    user: str = cluster.USER
    database: str = cluster.DATABASE

    @property
    def url(self) -> str:
        """The address as libpq and asyncpg take it, password included: not for a log."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"


@asynccontextmanager
async def open_postgres(
    folder: Path, *, owner: str, wait_s: float = 10.0, attach: bool = True
) -> AsyncIterator[EmbeddedPostgres]:
    """Run the server of `folder` for as long as the context lasts, or join the one that another process runs.

    When nobody runs it, it is made (at the first time), started and, at the end, stopped; a crash of the
    bridge, of the server or of both costs nothing that was committed. When another process runs it, its
    address is yielded as soon as it accepts connections, and it is left running. A server that dies while in
    use is only logged: its clients' connections say the rest.

    Args:
        folder: Holds everything: cluster, password, port, log, lock. Made if missing. On a local disk.
        owner: What to call this process in messages to others, such as `bridge run`.
        wait_s: Seconds to wait for another process: until its server is ready, or until it ends.
        attach: Whether another process' server will do. If not, wait until that process ends and run our own.

    Raises:
        StoreUnavailable: Another process holds the folder, the disk is full, no port is to be had, or the
            server takes too long. Trying again may help.
        StoreRejected: The folder cannot be used, its cluster is of another PostgreSQL, or the server
            refuses to start. Trying again changes nothing.
    """
    async with AsyncExitStack() as stack:
        with cluster.in_plain_words(folder):
            server = await _enter(stack, folder, owner=owner, wait_s=wait_s, attach=attach)
        yield server


async def _enter(
    stack: AsyncExitStack, folder: Path, *, owner: str, wait_s: float, attach: bool
) -> EmbeddedPostgres:
    program = cluster.postgres_program()
    place = cluster.prepare(folder)
    deadline = time.monotonic() + wait_s
    while True:
        async with AsyncExitStack() as attempt:
            held = attempt.enter_context(cluster.lock(place, owner))
            if held is not None:
                port = await attempt.enter_async_context(_own(place, program, held))
                await stack.enter_async_context(attempt.pop_all())
                return EmbeddedPostgres(port=port, password=place.password.read_text(), bin=program.parent)
        if attach and (others := await _port_of_another(place)):
            return EmbeddedPostgres(port=others, password=place.password.read_text(), bin=program.parent)
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"The embedded PostgreSQL in {place.folder} is in use by {cluster.holder(place)}:"
                " end that first, or choose another data_dir."
            )
        await asyncio.sleep(POLL_S)


async def _port_of_another(place: Place) -> int | None:
    """Return the port of the other's server once it answers: `postmaster.pid` may be of an earlier run."""
    running = cluster.read_postmaster(place)
    if running is None or running.status != cluster.READY or not cluster.is_ours(running.pid, place):
        return None
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(HOST, running.port)
        writer.close()
        return running.port
    return None


@asynccontextmanager
async def _own(place: Place, program: Path, lock_held: int) -> AsyncIterator[int]:
    """Run the server, and yield its port. The caller holds the lock."""
    account = process.account_for(place.cluster)
    program = await process.within_reach(program, place.folder, account, place.binaries)
    await _end_orphan(place)
    cluster.sweep(place)
    if not cluster.check_version(place):
        await cluster.create(place, program, account, lock_held)
    child, port = await _start(place, program, account)
    watch = asyncio.create_task(_watch(child, place))
    try:
        yield port
    finally:
        watch.cancel()
        await _stop(child)


async def _start(
    place: Place, program: Path, account: process.Account | None
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server and wait until it accepts connections; nothing is left of it when this raises."""
    crash_settles = time.monotonic() + CRASH_SETTLES_S
    ports = [*_last_port(place), 0, 0, 0, 0]
    while True:
        while not (port := _free_port(ports[0])) and len(ports) > 1:
            ports.pop(0)
        if not port:
            raise _no_port()
        if place.log.exists():
            place.log.replace(place.log.with_suffix(".log.1"))
        with cluster.opened(place.log, os.O_WRONLY | os.O_APPEND) as log:
            settings = SETTINGS | {"port": str(port)}
            child = process.start(
                [program, "-D", place.cluster, *(f"--{name}={value}" for name, value in settings.items())],
                account=account,
                reach=[program, place.folder],
                output=log,
                # Immediate shutdown: its children leave with it, and the next start replays the journal.
                on_parent_death=signal.SIGQUIT,
            )
        try:
            if await _ready(child, place):
                cluster.write(place.port, str(port))
                return child, port
        except BaseException:
            await _stop(child)
            raise
        said = place.log.read_text(errors="replace")
        if "Address already in use" in said and len(ports) > 1:
            ports.pop(0)  # another process was quicker
        elif "is still in use" in said and time.monotonic() < crash_settles:
            await asyncio.sleep(POLL_S)  # processes of a crashed server hold its shared memory for a moment
        elif "Address already in use" in said:
            raise _no_port()
        else:
            raise cluster.refusal(said, place)


async def _ready(child: subprocess.Popen[bytes], place: Place) -> bool:
    """Wait until the server accepts connections. False when it ended instead."""
    deadline = time.monotonic() + START_LIMIT_S
    while child.poll() is None:
        running = cluster.read_postmaster(place)
        if running is not None and running.pid == child.pid and running.status == cluster.READY:
            return True
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"The embedded PostgreSQL in {place.folder} was not ready after {START_LIMIT_S:.0f} s:"
                f" {place.log} says what it is doing."
            )
        await asyncio.sleep(process.POLL_S)
    return False


async def _stop(child: subprocess.Popen[bytes]) -> None:
    await process.stop(child.send_signal, lambda: child.poll() is None, STOP)


async def _end_orphan(place: Place) -> None:
    """End a server that outlived its owner: the lock is ours, so it is nobody's."""
    running = cluster.read_postmaster(place)
    if running is None:
        return
    if cluster.is_ours(running.pid, place):
        logger.warning("stopping the PostgreSQL that an earlier bridge left behind in %s", place.folder)

        def send(sign: signal.Signals) -> None:
            with contextlib.suppress(ProcessLookupError):
                if cluster.is_ours(running.pid, place):
                    os.kill(running.pid, sign)

        if not await process.stop(send, lambda: cluster.is_ours(running.pid, place), STOP):
            raise StoreRejected(
                f"A PostgreSQL (pid {running.pid}) that an earlier bridge left behind in {place.folder}"
                " cannot be stopped: end it by hand."
            )
    elif _exists(running.pid):
        # A stranger has the pid of our dead server, for which PostgreSQL would refuse to start.
        (place.cluster / "postmaster.pid").unlink(missing_ok=True)


async def _watch(child: subprocess.Popen[bytes], place: Place) -> None:
    """Keep the log within its bounds, and say it when the server dies."""
    while child.poll() is None:
        with contextlib.suppress(OSError):
            if place.log.stat().st_size > LOG_LIMIT_BYTES:
                _turn(place.log)
        await asyncio.sleep(1)
    logger.error(
        "the embedded PostgreSQL ended by itself with status %s; %s says more", child.returncode, place.log
    )


def _turn(log: Path) -> None:
    """Move the log's content to `.1`. The server appends to the open file, so it is emptied, not renamed."""
    with (
        cluster.opened(log, os.O_RDWR) as there,
        cluster.opened(log.with_suffix(".log.1"), os.O_WRONLY | os.O_TRUNC) as before,
    ):
        os.write(before, os.read(there, 2 * LOG_LIMIT_BYTES))
        os.ftruncate(there, 0)


def _last_port(place: Place) -> list[int]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        return [int(place.port.read_text())]
    return []


def _free_port(wanted: int) -> int | None:
    """Return the port if it is free, any free one for 0. Another process may still be quicker."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        try:
            probe.bind((HOST, wanted))
        except (OSError, OverflowError):
            return None
        return int(probe.getsockname()[1])


def _no_port() -> StoreUnavailable:
    return StoreUnavailable(
        f"The embedded PostgreSQL found no free port on {HOST}: free some, and try again."
    )


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
