"""A crew with toy answers, as a program of its own, and clients that ask it.

What can be asked for is in `answer`.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from binance_proxy.adapters.zeromq import dispatch, front
from binance_proxy.adapters.zeromq.crew import Crew, Life, hear
from binance_proxy.adapters.zeromq.rpc import Fault, Request, away, no_such_method
from binance_proxy.adapters.zeromq.serving import Serving, open_serving
from binance_proxy.adapters.zeromq.settings import ServeSettings
from binance_proxy.adapters.zeromq.worker import Answered, open_worker

PATIENCE_S = 60.0
NOT_YET_S = 0.3
PROGRAM = [sys.executable, __file__]


class Toy(msgspec.Struct):
    """Params of toy answers."""

    s: float = 0.0
    bytes: int = 0
    path: str = ""


async def echo(request: Request) -> Answered:
    return Answered(request.mapped())


async def pid(_: Request) -> Answered:
    return Answered(os.getpid())


async def sleep(request: Request) -> Answered:
    await asyncio.sleep(request.parse(Toy).s)
    return Answered(os.getpid())


async def note(request: Request) -> Answered:
    """Leave something to see, also for nobody."""
    with open(request.parse(Toy).path, "a") as file:  # noqa: ASYNC230, PTH123 - a toy
        file.write("done\n")
    return Answered(None)


async def until(request: Request) -> Answered:
    """Answer when a file is there."""
    path = Path(request.parse(Toy).path)
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - a toy
        await asyncio.sleep(0.005)
    return Answered(None)


async def die(_: Request) -> Answered:
    os.kill(os.getpid(), signal.SIGKILL)
    return Answered(None)


async def stop(_: Request) -> Answered:
    """Hear and say nothing any more, without being dead."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return Answered(None)


async def stubborn(_: Request) -> Answered:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE_S)


async def large(request: Request) -> Answered:
    return Answered("a" * request.parse(Toy).bytes)


async def arrow(request: Request) -> Answered:
    size = request.parse(Toy).bytes
    return Answered({"rows": None, "arrow": {"frame": 1, "rows": size}}, [b"A" * size])


async def half(_: Request) -> Answered:
    """Return what cannot be written down."""
    return Answered("\ud800")


async def fail(_: Request) -> Answered:
    raise RuntimeError("on purpose")


async def refuse(_: Request) -> Answered:
    raise KeyError("it is away")


TOYS = (echo, pid, sleep, until, note, die, stop, stubborn, large, arrow, half, fail, refuse)


async def answer(request: Request, left_s: float) -> Answered:
    if request.method == "left":
        return Answered(left_s)
    for toy in TOYS:
        if toy.__name__ == request.method:
            return await toy(request)
    raise no_such_method(request.method)


def fault_of(error: Exception) -> Fault | None:
    return away(str(error)) if isinstance(error, KeyError) else None


def main() -> None:
    told = hear()
    for name, value in json.loads(told.more).items():
        setattr({"MEMORY": front, "SILENT_S": dispatch}[name], name, value)
    at_once = told.settings.at_once

    def work(life: Life) -> None:
        async def run() -> None:
            with life.ends() as end:
                address = told.workers_address
                async with open_worker(address, life.name, at_once, answer, fault_of) as worker:
                    await worker.run_until(end)

        asyncio.run(run())

    Crew(told, work).run()


def free_address() -> str:
    from zeromq_wire import free_addresses  # noqa: PLC0415 - a crew needs no publisher

    return free_addresses(1)[0]


class Office:
    """A crew that serves, and what it reports."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.address = settings.bind
        self.reports: list[dict[str, Any]] = []
        self.serving: Serving
        self._context = zmq.asyncio.Context()

    @property
    def report(self) -> dict[str, Any]:
        return self.reports[-1] if self.reports else {}

    def client(self, kind: int = zmq.DEALER, **options: int) -> "Client":
        socket = self._context.socket(kind)
        for name, value in {"linger": 0, "sndhwm": 0, "rcvhwm": 0, **options}.items():
            socket.set(getattr(zmq, name.upper()), value)
        socket.connect(self.address)
        return Client(socket)

    async def reported(self, **figures: Any) -> dict[str, Any]:
        """Wait for a report, from now on, that says this."""
        seen = len(self.reports)

        def says() -> bool:
            return any(
                all(one.get(name) == value for name, value in figures.items()) for one in self.reports[seen:]
            )

        await eventually(says)
        return self.report

    def close(self) -> None:
        self._context.destroy(linger=0)


class Client:
    """A socket that asks. A DEALER sends the empty frame as a REQ does."""

    def __init__(self, socket: "zmq.asyncio.Socket") -> None:
        self.socket = socket
        self._is_req = socket.type == zmq.REQ

    async def send(self, body: bytes) -> None:
        await self.socket.send_multipart([body] if self._is_req else [b"", body])

    async def receive(self) -> list[bytes]:
        frames = await asyncio.wait_for(self.socket.recv_multipart(), PATIENCE_S)
        if not self._is_req:
            assert frames.pop(0) == b""
        return frames

    async def call(self, method: str, one: Any = 1, **params: Any) -> dict[str, Any]:
        """Ask in JSON, and return the whole answer."""
        await self.send(call(method, one, **params))
        return json.loads((await self.receive())[0])

    async def answers(self, count: int) -> dict[Any, dict[str, Any]]:
        """Return so many answers by id; each id has one."""
        found: dict[Any, dict[str, Any]] = {}
        for _ in range(count):
            answer = json.loads((await self.receive())[0])
            assert answer["id"] not in found
            found[answer["id"]] = answer
        return found

    async def hears_nothing(self) -> bool:
        return not await self.socket.poll(int(NOT_YET_S * 1_000))


def call(method: str, one: Any = 1, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": one, "method": method, "params": params}).encode()


def children(pid: int) -> set[int]:
    """Return the processes whose parent it is."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.add(int(entry.name))
    return found


async def eventually(condition: Any) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def open_files(pid: int) -> int:
    return len(list((Path("/proc") / str(pid) / "fd").iterdir()))


def resident_kib(pid: int) -> int:
    status = (Path("/proc") / str(pid) / "status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@asynccontextmanager
async def open_office(other: dict[str, float] | None = None, **settings: Any) -> AsyncIterator[Office]:
    """Open a crew on a free port; it has all its workers. Some constants of the front may be others."""
    office = Office(ServeSettings(bind=free_address(), **settings))
    more = json.dumps(other or {}).encode()
    try:
        async with open_serving(office.settings, PROGRAM, more, office.reports.append) as serving:
            office.serving = serving
            await eventually(lambda: office.report.get("workers") == office.settings.workers)
            yield office
    finally:
        office.close()


if __name__ == "__main__":
    main()
