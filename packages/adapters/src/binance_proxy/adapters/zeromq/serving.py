"""The crew that answers requests, as the bridge has it: started, told, heard, started again, and ended."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import zmq

from binance_proxy.adapters.zeromq.addresses import why_not
from binance_proxy.adapters.zeromq.crew import GRACE_S, LENGTH, Told
from binance_proxy.adapters.zeromq.settings import ServeSettings
from binance_proxy.domain.errors import BridgeError

log = logging.getLogger(__name__)

LONGEST_PATH = 100
"""Bytes of the path of a Unix socket that every system takes."""
FOLDER = "bridge-sockets-"
"""How the name of a folder begins in which sockets are."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
"""Before a crew that has died is started again; twice as long each time, until one has reported."""

Tell = Callable[[dict[str, object]], None]


class ServeRejected(BridgeError):
    """Requests cannot be taken where the settings say. The message says what to change."""


def private_folder() -> str:
    """Make a folder that only we can enter, with a path that is short enough for sockets in it.

    Our process is in its name, so that those are removed here whose process was killed.
    """
    prefix = f"{FOLDER}{os.getpid()}-"
    for above in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private folder there
        if len(os.fsencode(above)) + len(f"/{prefix}12345678/workers") <= LONGEST_PATH:
            break
    remove_left_folders(Path(above))
    return tempfile.mkdtemp(prefix=prefix, dir=above)


def remove_left_folders(above: Path) -> None:
    """Remove the folders of our own user whose process is no more; one that cannot be removed stays."""
    for folder in above.glob(f"{FOLDER}*-*"):
        pid = folder.name.removeprefix(FOLDER).partition("-")[0]
        with contextlib.suppress(OSError):
            is_ours = not folder.is_symlink() and folder.is_dir() and folder.stat().st_uid == os.getuid()
            if is_ours and pid.isdecimal() and not _is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it is there, and not ours to signal; or no process can have that number
    return True


def try_address(address: str) -> None:
    """Find out whether requests can be taken at an address.

    Raises:
        ServeRejected: They cannot.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    try:
        router.setsockopt(zmq.IPV6, int("[" in address))
        router.bind(address)
    except zmq.ZMQError as error:
        why = why_not(error, "serve.bind sets another address")
        raise ServeRejected(f"cannot take requests on {address}: {why}") from error
    finally:
        context.destroy(linger=0)


class Serving:
    """A crew that is kept alive."""

    def __init__(self, told: Told, program: Sequence[str], tell: Tell) -> None:
        """Take what the crew is told. `open_serving` keeps it alive."""
        self._told = told
        self._program = program
        self._tell = tell
        self.pid: int | None = None
        """Of the crew's first process."""

    @property
    def workers_address(self) -> str:
        """Where a worker connects that is a task of this process."""
        return self._told.workers_address

    async def keep(self) -> None:
        """Start the crew, again and again, until cancelled. Then it is ended."""
        pause_s = 0.0
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            try:
                crew = await asyncio.create_subprocess_exec(
                    *self._program, stdin=PIPE, stdout=PIPE, start_new_session=True
                )
            except OSError as error:
                log.warning("those who answer requests cannot be started: %s", error)
                continue
            self.pid = crew.pid
            try:
                if await self._hear(crew):
                    pause_s = 0.0
            except Exception:
                log.exception("what those who answer requests report cannot be taken; others start")
            finally:
                await _end(crew)
            log.warning("those who answer requests have ended with status %s; others start", crew.returncode)

    async def _hear(self, crew: Process) -> bool:
        """Pass on what the crew reports until it has died; return whether it was alive at all."""
        told = msgspec.msgpack.encode(self._told)
        reported = False
        if crew.stdin is None or crew.stdout is None:
            return reported
        with contextlib.suppress(ConnectionError):
            crew.stdin.write(LENGTH.pack(len(told)) + told)
            await crew.stdin.drain()
        died = asyncio.create_task(crew.wait())
        try:
            while not died.done():
                line = asyncio.create_task(crew.stdout.readline())
                try:
                    await asyncio.wait({line, died}, return_when=asyncio.FIRST_COMPLETED)
                    if not line.done() or not line.result():
                        break
                    reported = True
                    self._tell(msgspec.json.decode(line.result(), type=dict[str, object]))
                finally:
                    line.cancel()
        finally:
            died.cancel()
        return reported


async def _end(crew: Process) -> None:
    """Have a crew end, by itself if it can. Nobody of it is left afterwards."""
    if crew.stdin is not None:
        crew.stdin.close()
    try:
        async with asyncio.timeout(GRACE_S + 2):
            await crew.wait()
    except TimeoutError:
        pass
    finally:
        if crew.returncode != 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(crew.pid, signal.SIGKILL)
            await crew.wait()


def python(call: str) -> list[str]:
    """Return a program that calls a function, such as ``package.module:function``, in a new Python."""
    module, function = call.split(":")
    # `-P` keeps modules of the folder that the bridge was started in from being taken for ours.
    return [sys.executable, "-P", "-c", f"from {module} import {function}; {function}()"]


@asynccontextmanager
async def open_serving(
    settings: ServeSettings, program: Sequence[str], more: bytes, tell: Tell, folder: str | None = None
) -> AsyncIterator[Serving]:
    """Answer requests in other processes, as long as this is open.

    Args:
        settings: Where and how.
        program: What the crew's process runs: it calls `crew.hear`, and then `crew.Crew.run`. `python` makes
            one.
        more: What its workers must know beside the settings.
        tell: Is called with the front's report, once a second.
        folder: From `private_folder`, for sockets between processes; without it one is made. It is removed at
            the end, by the crew if this process is killed.

    Raises:
        ServeRejected: The address is in use, or is none.
    """
    try_address(settings.bind)
    folder = folder or private_folder()
    serving = Serving(Told(settings=settings, folder=folder, more=more), program, tell)
    keeping = asyncio.create_task(serving.keep())
    try:
        yield serving
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        shutil.rmtree(folder, ignore_errors=True)
