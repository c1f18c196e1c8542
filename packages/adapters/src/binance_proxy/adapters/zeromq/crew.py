"""The process that forks the front and the workers, and forks them anew when they die.

It has loaded everything that they need, and does nothing but wait; so a new one is there in some ms. It uses
no socket of ZeroMQ and no thread, for neither can be forked.

All of them end with the bridge, however that ends: this process sees its standard input closed and closes the
pipe by which the others live; on Linux the kernel also kills the others when this one is gone. The bridge has
signals for itself: this process has a session of its own, so Ctrl-C in a terminal reaches the bridge alone.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import secrets
import select
import shutil
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from binance_proxy.adapters.zeromq.front import run_front
from binance_proxy.adapters.zeromq.settings import ServeSettings

log = logging.getLogger(__name__)

NICER = 5
"""How much the whole crew stands back behind the recorder; see ``nice(1)``."""
FIRST_TO_GO = 500
"""When memory runs out, Linux ends one of the crew before the recorder; see ``proc_pid_oom_score_adj(5)``."""
SHORT_LIFE_S = 10.0
"""Who dies sooner is replaced later and later."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 3.0
"""Before the second replacement after short lives, and at most. The first one comes at once."""
LONGEST_PAUSE_OF_READY_S = 0.2
"""At most, if the one that died had been ready to answer: then it was not its start that failed."""
GRACE_S = 3.0
"""So long those who are told to end may take."""
PR_SET_PDEATHSIG = 1
LENGTH = struct.Struct("!I")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the bridge tells the crew first."""

    settings: ServeSettings
    folder: str
    """Private; sockets between processes are in it. The crew removes it when the bridge is gone."""
    more: bytes
    """Whatever the workers must know."""

    @property
    def workers_address(self) -> str:
        """Where workers meet the front."""
        return f"ipc://{self.folder}/workers"


def hear() -> Told:
    """Return what the bridge tells on standard input, which stays open as long as the bridge lives."""
    return msgspec.msgpack.decode(_read(_read_length()), type=Told)


def _read_length() -> int:
    (length,) = LENGTH.unpack(_read(LENGTH.size))
    return int(length)


def _read(length: int) -> bytes:
    read = b""
    while len(read) < length:
        part = os.read(sys.stdin.fileno(), length - len(read))
        if not part:
            sys.exit(0)  # the bridge is gone already
        read += part
    return read


@dataclass(frozen=True)
class Life:
    """What ends a worker."""

    name: bytes
    """By which the front knows it."""
    pipe: int
    """Can be read when it is time to end."""

    @contextmanager
    def ends(self) -> Iterator[asyncio.Event]:
        """Give the running loop an event that is set when it is time to end.

        Who has not ended some seconds later is ended, even if its loop is stuck.
        """
        loop, end = asyncio.get_running_loop(), asyncio.Event()

        def wait() -> None:
            select.select([self.pipe], [], [])
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(end.set)
            time.sleep(GRACE_S)
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()
        yield end


@dataclass
class Place:
    """One of the crew, and those who had the place before."""

    act: Callable[["Place"], None]
    name: bytes = b""
    pid: int = 0
    born: float = 0.0
    was_ready: bool = False
    short_lives: int = 0
    due: float = 0.0
    """When the next one is to be born."""


class Crew:
    """The front and the workers."""

    def __init__(self, told: Told, work: Callable[[Life], None]) -> None:
        """Take what the bridge told, and what a worker does. Nobody is born before `run`."""
        self._told = told
        self._work = work
        self._bridge = os.dup(sys.stdin.fileno())
        self._report_to = os.dup(sys.stdout.fileno())
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what anybody prints is no report
        self._front = Place(self._be_front)
        self._workers = [Place(self._be_worker) for _ in range(told.settings.workers)]
        self._control: socket.socket | None = None
        self._heard = b""
        self._born = 0
        self._fronts = 0

    def run(self) -> None:
        """Keep everybody alive until the bridge is gone."""
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, signal.SIG_IGN)  # the bridge's end is the only reason to end
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        os.nice(NICER)
        with contextlib.suppress(OSError):  # where there is such a thing
            Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO))
        self._lifeline, self._alive = os.pipe()
        self._woken, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # so that the forked ones share this memory
        try:
            while self._turn():
                pass
            shutil.rmtree(self._told.folder, ignore_errors=True)
        finally:
            self._end()

    def _turn(self) -> bool:
        """Bear who is due, wait for something, and see to it; return false when the bridge is gone."""
        now = time.monotonic()
        pauses = []
        for place in (self._front, *self._workers):
            if not place.pid and place.due <= now:
                self._bear(place)
            elif not place.pid:
                pauses.append(place.due - now)
        sources = [self._bridge, self._woken]
        if self._control is not None:
            sources.append(self._control.fileno())
        ready = select.select(sources, [], [], min(pauses, default=None))[0]
        if self._control is not None and self._control.fileno() in ready:
            self._hear_front(self._control)
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4_096)
            self._bury()
        return not (self._bridge in ready and not os.read(self._bridge, 4_096))

    def _bear(self, place: Place) -> None:
        self._born += 1
        place.name = b"%d-%s" % (self._born, secrets.token_hex(4).encode())
        place.born = time.monotonic()
        place.was_ready = False
        theirs: socket.socket | None = None
        if place is self._front:
            self._control, theirs = socket.socketpair()
            self._heard = b""
            self._fronts += 1
        else:
            self._say(b"known", place.name)
        crew = os.getpid()
        place.pid = os.fork()
        if place.pid:
            if theirs is not None:
                theirs.close()
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._alive, self._bridge):
                os.close(fd)
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == crew:
                if self._control is not None:
                    self._control.close()
                self._control = theirs
                place.act(place)
            status = 0
        except BaseException:  # noqa: BLE001 - nothing may go up from here into the crew's own code
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _be_front(self, _: Place) -> None:
        if self._control is not None:
            told = self._told
            run_front(told.settings, told.workers_address, self._control, self._report_to, self._fronts - 1)

    def _be_worker(self, place: Place) -> None:
        os.close(self._report_to)
        self._work(Life(place.name, self._lifeline))

    def _say(self, word: bytes, name: bytes) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):  # it is dying; that comes up next
                self._control.sendall(b"%s %s\n" % (word, name))

    def _hear_front(self, control: socket.socket) -> None:
        try:
            heard = control.recv(4_096)
        except OSError:
            heard = b""
        if not heard:
            control.close()
            self._control = None
            return
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            word, name = line.split(b" ")
            for place in self._workers:
                if place.pid and place.name == name and word == b"kill":
                    os.kill(place.pid, signal.SIGKILL)
                elif place.name == name:
                    place.was_ready = True

    def _bury(self) -> None:
        """See who has died. With the front its workers go: nobody waits for what they are at."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for place in (self._front, *self._workers):
                if place.pid == pid:
                    self._mourn(place, os.waitstatus_to_exitcode(status))

    def _mourn(self, place: Place, status: int) -> None:
        now = time.monotonic()
        place.pid = 0
        who = "the front" if place is self._front else f"worker {place.name.decode()}"
        place.short_lives = place.short_lives + 1 if now - place.born < SHORT_LIFE_S else 0
        pause_s = 0.0
        if place.short_lives > 1:
            longest_s = LONGEST_PAUSE_OF_READY_S if place.was_ready else LONGEST_PAUSE_S
            pause_s = min(FIRST_PAUSE_S * 2 ** min(place.short_lives - 2, 16), longest_s)
        place.due = now + pause_s
        log.warning("%s has ended with status %d; another one starts in %.1f s", who, status, pause_s)
        if place is not self._front:
            self._say(b"died", place.name)
            return
        if self._control is not None:
            self._control.close()
            self._control = None
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
                worker.pid = 0
            worker.due = max(worker.due, place.due)

    def _end(self) -> None:
        """End everybody, first by asking."""
        if self._control is not None:
            self._control.close()
        os.close(self._alive)
        deadline = time.monotonic() + GRACE_S
        places = [place for place in (self._front, *self._workers) if place.pid]
        while places:
            for place in list(places):
                if time.monotonic() > deadline:
                    os.kill(place.pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    if os.waitpid(place.pid, os.WNOHANG)[0] == 0:
                        continue
                places.remove(place)
            time.sleep(0.005)
