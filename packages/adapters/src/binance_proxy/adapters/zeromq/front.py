"""The front: a socket for clients, a socket for workers, and a `Dispatch` between them."""

import contextlib
import logging
import os
import resource
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import msgspec
import zmq

from binance_proxy.adapters.zeromq.asks import Cancel, Deed, Dismiss, Frame, Hand, Reply
from binance_proxy.adapters.zeromq.dispatch import Dispatch
from binance_proxy.adapters.zeromq.keepalive import keep_alive
from binance_proxy.adapters.zeromq.outbox import HIGH_WATER, LARGE, Outbox
from binance_proxy.adapters.zeromq.rpc import Fault, Request, away, read
from binance_proxy.adapters.zeromq.settings import ServeSettings
from binance_proxy.adapters.zeromq.worker import ANSWER, ASK, CANCEL, ERROR, HELLO, STOPPED

log = logging.getLogger(__name__)

LARGEST_FRAME = 2**20
"""Bytes of a client's frame; who sends a larger one is cut off by ZeroMQ."""
HANDSHAKE_MS = 3_000
"""A connection that has not said what it is in this time is closed."""
BACKLOG = 1_024
"""Connections that may wait to be taken."""
BATCH = 500
"""Messages that are taken from a socket before the other one has its turn."""
REPORT_S = 1.0
"""How often the front says how it is; at once when a worker comes or goes."""
RETRY_S = 0.005
"""How often a client that does not take its answers is tried again."""
REBIND_S = 0.1
"""Between two tries to have an address that is in use, by a front that has just died perhaps."""
GOODBYE_MS = 500
"""So long the last answers may take."""
MEMORY = 3 * 2**30
"""Bytes that the front may use at most. All that it keeps is bounded far below, but a message of endlessly
many frames is ZeroMQ's to keep. When it gets no more memory it closes that connection; or this front ends,
and another begins."""
INSIDE = b"inside"
"""The worker that is a task in the bridge itself."""


class Ticket(NamedTuple):
    """How an answer gets back."""

    request: Request
    envelope: Sequence[bytes]
    """The empty frame that was before the body, or none."""


def run_front(
    settings: ServeSettings, workers_address: str, control: socket.socket, report_to: int, restarts: int = 0
) -> None:
    """Take requests until the other end of ``control`` is closed.

    Args:
        settings: Where and how.
        workers_address: Where workers connect to.
        control: Lines ``known NAME`` and ``died NAME`` about workers come in, ``ready NAME`` and
            ``kill NAME`` go out.
        report_to: A file descriptor that gets a line of JSON every second; a full one does not get it.
        restarts: How many fronts have died before this one.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # each client is one
    for kind, most in ((resource.RLIMIT_NOFILE, files), (resource.RLIMIT_DATA, MEMORY)):
        with contextlib.suppress(OSError, ValueError):  # macOS says more than it gives
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
    os.set_blocking(report_to, False)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 64)
    clients = _router(context, HIGH_WATER)
    workers = _router(context, 0)
    clients.setsockopt(zmq.MAXMSGSIZE, LARGEST_FRAME)
    clients.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    keep_alive(clients)
    clients.setsockopt(zmq.BACKLOG, BACKLOG)
    clients.setsockopt(zmq.IPV6, int("[" in settings.bind))
    try:
        _bind(workers, workers_address, control)
        _bind(clients, settings.bind, control)
        Front(settings, clients, workers, control, report_to, restarts).run()
    except ParentGone:
        pass
    finally:
        clients.close(linger=GOODBYE_MS)
        workers.close(linger=0)
        context.term()


class ParentGone(Exception):
    """There is nobody to work for any more."""


def _router(context: "zmq.Context[zmq.Socket[bytes]]", high_water: int) -> "zmq.Socket[bytes]":
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.SNDHWM, high_water)
    return router


def _bind(router: "zmq.Socket[bytes]", address: str, control: socket.socket) -> None:
    """Have an address, as soon as nobody else has it."""
    warned = False
    while True:
        try:
            router.bind(address)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                raise
            if not warned:
                log.warning("%s is in use; requests are taken as soon as it is free", address)
                warned = True
            if zmq.select([control], [], [], REBIND_S)[0] and control.recv(1, socket.MSG_PEEK) == b"":
                raise ParentGone from None
            time.sleep(REBIND_S)
        else:
            return


class Front:
    """Hands over what comes in, and sends what comes out."""

    def __init__(
        self,
        settings: ServeSettings,
        clients: "zmq.Socket[bytes]",
        workers: "zmq.Socket[bytes]",
        control: socket.socket,
        report_to: int,
        restarts: int,
    ) -> None:
        """Take bound sockets; `run_front` makes them."""
        self._settings = settings
        self._clients = clients
        self._workers = workers
        self._control = control
        self._report_to = report_to
        # Another front's numbers are not ours: a worker inside the bridge may outlive a front.
        self._dispatch = Dispatch(settings.queue, secrets.randbits(31) << 32)
        self._outbox = Outbox(clients)
        self._known = set() if settings.workers else {INSIDE}
        self._heard = b""
        self._unreadable = self._misshapen = self._died = 0
        self._restarts = restarts
        self._reported: int | None = None
        """Workers, in the last report."""

    def run(self) -> None:
        """Work until there is nobody to work for.

        Raises:
            ParentGone: The other end of ``control`` is closed. Everybody who waits has been told so.
        """
        poller = zmq.Poller()
        for source in (self._control, self._workers, self._clients):
            poller.register(source, zmq.POLLIN)
        report_at = time.monotonic()
        while True:
            ready = dict(poller.poll(self._pause_ms(report_at)))
            try:
                if self._control.fileno() in ready:
                    self._hear_parent()
            except ParentGone:
                self._say_goodbye()
                raise
            # Workers first: what they have said counts before the time that has passed meanwhile.
            if self._workers in ready:
                self._hear_workers()
            if self._clients in ready:
                self._hear_clients()
            now = time.monotonic()
            self._dispatch.tick(now)
            self._outbox.again(now)
            self._act(now)
            if now >= report_at or self._dispatch.workers != self._reported:
                self._report()
                report_at = now + REPORT_S

    def _pause_ms(self, report_at: float) -> int:
        now = time.monotonic()
        wake_at = self._dispatch.wake_at()
        until = report_at if wake_at is None else min(report_at, wake_at)
        if len(self._outbox):
            until = min(until, now + RETRY_S)
        return max(0, int((until - now) * 1_000) + 1)

    def _hear_parent(self) -> None:
        heard = self._control.recv(65_536)
        if not heard:
            raise ParentGone
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            word, name = line.split(b" ")
            if word == b"known":
                self._known.add(name)
            elif word == b"died":
                self._known.discard(name)
                self._died += 1
                self._dispatch.died(time.monotonic(), name)

    def _hear_workers(self) -> None:
        for _ in range(BATCH):
            try:
                heard = self._workers.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            name, kind, number = (one.bytes for one in heard[:3])
            frames: list[Frame] = [one.bytes if len(one) < LARGE else one.buffer for one in heard[3:]]
            if name not in self._known:
                continue
            now = time.monotonic()
            if kind == HELLO:
                if self._dispatch.hello(now, name, int(number)):
                    self._ask_crew(b"ready", name)
            elif kind in {ANSWER, ERROR}:
                self._dispatch.answered(now, name, int(number), frames, failed=kind == ERROR)
            elif kind == STOPPED:
                self._dispatch.answered(now, name, int(number), ())

    def _hear_clients(self) -> None:
        for _ in range(BATCH):
            try:
                client = self._clients.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            frames: list[bytes] = []
            while self._clients.getsockopt(zmq.RCVMORE):
                frame = self._clients.recv()
                if len(frames) < 3:  # of more, none is kept
                    frames.append(frame)
            if len(frames) == 1 and frames[0]:
                self._read(client, frames[0], ())
            elif len(frames) == 2 and not frames[0]:
                self._read(client, frames[1], (b"",))
            else:
                self._misshapen += 1

    def _read(self, client: bytes, body: bytes, envelope: Sequence[bytes]) -> None:
        found = read(body, self._settings.timeout_ms, self._settings.max_timeout_ms)
        now = time.monotonic()
        if isinstance(found, Request):
            ticket = Ticket(found, envelope)
            self._dispatch.ask(now, client, ticket, body, found.timeout_ms, wants_answer=found.wants_answer)
        else:
            self._unreadable += 1
            if found is not None:
                self._outbox.send(now, client, [*envelope, found])

    def _act(self, now: float) -> None:
        """Do what is to be done, until doing it brings nothing new."""
        while True:
            deeds = self._dispatch.take()
            for deed in deeds:
                self._do(now, deed)
            change = self._outbox.changes()
            for client in change.stuck:
                self._dispatch.pause(client)
            for client in change.flowing:
                self._dispatch.resume(now, client)
            for client in change.gone:
                self._dispatch.left(now, client)
            if not (deeds or change.stuck or change.flowing or change.gone):
                return

    def _do(self, now: float, deed: Deed) -> None:
        if isinstance(deed, Reply):
            request, envelope = deed.ticket
            answer = [request.error(deed.answer)] if isinstance(deed.answer, Fault) else deed.answer
            self._outbox.send(now, deed.client, [*envelope, *answer])
        elif isinstance(deed, Hand):
            self._tell(now, deed.worker, [ASK, b"%d" % deed.number, b"%.6f" % deed.left_s, deed.body])
        elif isinstance(deed, Cancel):
            self._tell(now, deed.worker, [CANCEL, b"%d" % deed.number])
        elif isinstance(deed, Dismiss):
            log.warning("worker %s does not answer any more, and is ended", deed.worker.decode())
            self._kill(deed.worker)

    def _tell(self, now: float, worker: bytes, message: list[bytes]) -> None:
        try:
            self._workers.send_multipart([worker, *message], zmq.NOBLOCK)
        except zmq.ZMQError:  # its connection is gone, and it soon will be
            self._kill(worker)
            self._dispatch.died(now, worker)

    def _kill(self, worker: bytes) -> None:
        if worker != INSIDE:
            self._known.discard(worker)
            self._ask_crew(b"kill", worker)

    def _ask_crew(self, word: bytes, worker: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone; that comes up next
            self._control.sendall(b"%s %s\n" % (word, worker))

    def _say_goodbye(self) -> None:
        now = time.monotonic()
        self._dispatch.close(away("the bridge ends"))
        for deed in self._dispatch.take():
            if isinstance(deed, Reply):
                self._do(now, deed)

    def _report(self) -> None:
        dispatch = self._dispatch
        self._reported = dispatch.workers
        status = {
            "pid": os.getpid(),
            "workers": dispatch.workers,
            "waiting": dispatch.waiting,
            "in_progress": dispatch.in_progress,
            **asdict(dispatch.counts),
            "unreadable": self._unreadable,
            "misshapen": self._misshapen,
            "clients": dispatch.clients,
            "stuck": len(self._outbox),
            "workers_replaced": self._died,
            "fronts_replaced": self._restarts,
        }
        # Nobody reads just now, or ever again; then `control` says so too.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._report_to, msgspec.json.encode(status) + b"\n")
