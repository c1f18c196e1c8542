"""The bridge as a user has it: a process of its own, with its own folder and ports."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import msgspec
import zmq

from warm_command import complete

BRIDGE = Path(sys.executable).parent / "bridge"
PATIENCE_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bridge:
    """Runs `bridge` commands on one data folder and ports of its own; it answers control requests only."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.json = f"tcp://127.0.0.1:{free_port()}"
        self.msgpack = f"tcp://127.0.0.1:{free_port()}"
        self.control = f"tcp://127.0.0.1:{free_port()}"
        settings = (
            f"data_dir={data_dir}", f"publish.json.bind={self.json}", f"publish.msgpack.bind={self.msgpack}",
            "serve.bind=", f"control.bind={self.control}", *options,
        )  # fmt: skip
        self.options = [part for setting in settings for part in ("-o", setting)]

    @classmethod
    def ready(cls, data_dir: Path, *options: str) -> "Bridge":
        """Return one whose database is there already, at the newest revision: a first start takes seconds."""
        data_dir.mkdir(parents=True)
        # With its owner, which is not ours if we are root. Each copy has a port of its own.
        subprocess.run(["cp", "-a", str(_made_database()), str(data_dir / "postgres")], check=True)
        return cls(data_dir, *options)

    def __call__(self, command: str, *arguments: str, status: int = 0, **more: object) -> str:
        """Run a command to its end, check its exit status, and return what it printed."""
        if more:
            done = subprocess.run(
                self._line(command, arguments), capture_output=True, text=True, timeout=PATIENCE_S, **more
            )
        else:
            done = self.complete(command, *arguments)
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if status else done.stdout

    def complete(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return complete(self._line(command, arguments)[1:], PATIENCE_S)

    def ask(self, command: str, *arguments: str) -> object:
        """Run a command with --json and return what it answers."""
        return json.loads(self(command, *arguments, "--json"))

    def start(self, command: str, *arguments: str, log: Path | None = None) -> subprocess.Popen[str]:
        """Start a command; what it says on standard error goes to the end of ``log``, if there is one."""
        with log.open("a") if log else nullcontext(subprocess.PIPE) as errors:
            return subprocess.Popen(
                self._line(command, arguments), stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def query(self, sql: str) -> list[list[str]]:
        """Ask the store by `bridge psql`."""
        rows = self("psql", "--", "-X", "-A", "-t", "-F", "|", "-c", sql)
        return [line.split("|") for line in rows.splitlines()]

    def processes(self) -> list[str]:
        """Return the command lines of all processes that name the data folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                if str(self.data_dir) in line:
                    found.append(line)
        return found

    def _line(self, command: str, arguments: tuple[str, ...]) -> list[str]:
        if "--" in arguments:
            at = arguments.index("--")
            return [str(BRIDGE), command, *arguments[:at], *self.options, *arguments[at:]]
        return [str(BRIDGE), command, *arguments, *self.options]


@cache
def _made_database() -> Path:
    """Make a database at the newest revision, to copy from."""
    place = Path(tempfile.mkdtemp(prefix="bridge-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    Bridge(place)("migrate")
    (place / "postgres" / "port").unlink()
    return place / "postgres"


def capture_options(*paths: Path, market: str = "spot", speed: str = "max") -> tuple[str, ...]:
    return (
        "feed.use=capture", f"feed.capture.paths={json.dumps([str(path) for path in paths])}",
        f"feed.capture.market={market}", f"feed.capture.speed={speed}",
    )  # fmt: skip


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


class Subscriber:
    """Everything that came on one endpoint, in order, read as fast as it comes."""

    def __init__(self, address: str, decode: Callable[[bytes], object]) -> None:
        self.messages: list[tuple[str, dict]] = []
        self._decode = decode
        self._socket = zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, 100)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.subscribe(b"")
        self._socket.connect(address)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def of_type(self, kind: str) -> list[dict]:
        return [body for _, body in self.messages if body["type"] == kind]

    def end(self) -> None:
        """Stop once nothing more comes."""
        self._ended.set()
        self._thread.join(PATIENCE_S)
        self._socket.close(linger=0)

    def _read(self) -> None:
        while True:
            try:
                topic, body = self._socket.recv_multipart()
            except zmq.Again:
                if self._ended.is_set():
                    return
                continue
            self.messages.append((topic.decode(), self._decode(body)))


@contextmanager
def subscribed(bridge: Bridge, encoding: str = "json") -> Iterator[Subscriber]:
    address = bridge.json if encoding == "json" else bridge.msgpack
    subscriber = Subscriber(address, json.loads if encoding == "json" else msgspec.msgpack.decode)
    try:
        yield subscriber
    finally:
        subscriber.end()
