"""A bridge answers requests by processes of its own, which end with it and are replaced when they die."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from bridge_process import PATIENCE_S, Bridge, eventually, free_port, subscribed

TRADES = "simulated.spot.ethusdt.trades"
BOOK = "simulated.spot.ethusdt.orderbook"
ETH = {"symbol": "ETH/USDT"}


class Served:
    """A bridge that runs and serves."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.serve = f"tcp://127.0.0.1:{free_port()}"
        self.bridge = Bridge(folder / "var", "feed.simulated.rate=100", f"serve.bind={self.serve}", *options)
        self.log = folder / "log"
        self.process = self.bridge.start("run", log=self.log)
        eventually(self._has_begun, "a start")

    def _has_begun(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "answering" in self.log.read_text() and bool(self.status().get("trades"))

    def status(self) -> dict:
        return self.result("bridge.status")

    def result(self, method: str, **params: object) -> dict:
        answer = self.answer(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    def answer(self, method: str, **params: object) -> dict:
        socket = zmq.Context.instance().socket(zmq.REQ)
        socket.setsockopt(zmq.RCVTIMEO, PATIENCE_S * 1_000)
        socket.connect(self.serve)
        params = {"timeout_ms": 60_000, **params}
        try:
            socket.send_json({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            return socket.recv_json()
        finally:
            socket.close(linger=0)

    def crew(self) -> dict[int, str]:
        """Return all processes below the bridge that are Python, by their id."""
        parents, lines = {}, {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                    lines[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        found = {self.process.pid}
        for _ in range(4):
            found |= {pid for pid, parent in parents.items() if parent in found}
        return {pid: lines[pid] for pid in found if "bridge.serve" in lines.get(pid, "")}

    def workers(self) -> set[int]:
        """Return the workers: of the crew's children all but the front, which was born first."""
        crew = self.crew()
        parent = min(crew)
        return set(sorted(pid for pid in crew if pid != parent)[1:])


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Served]:
    running = Served(folder, *options)
    try:
        yield running
    finally:
        running.process.send_signal(signal.SIGINT)
        running.process.communicate(timeout=PATIENCE_S)


@pytest.mark.parametrize("store", ["timescale", "memory"])
def test_everything_can_be_asked_and_fits_what_is_published(tmp_path: Path, store: str) -> None:
    with served(tmp_path, f"store.use={store}") as running, subscribed(running.bridge) as subscriber:
        eventually(lambda: len(subscriber.of_type("trade")) > 50, "trades")
        heard = [body for topic, body in subscriber.messages if topic == TRADES]
        newest = running.result("trades.list", limit=10_000, **ETH)
        assert newest["stored"] is True
        ids = [row["trade_id"] for row in newest["rows"]]
        assert {body["trade_id"] for body in heard} <= set(ids), "all that was published can be asked for"

        since = running.result("topics.since", topic=TRADES, epoch=heard[0]["epoch"], sequence=0)
        by_sequence = {body["sequence"]: body for body in since["messages"]}
        assert all(by_sequence[body["sequence"]] == body for body in heard)

        book = running.result("orderbook.get", **ETH)
        eventually(
            lambda: any(t == BOOK and b["sequence"] == book["sequence"] for t, b in subscriber.messages),
            "the message that the book ends with",
        )
        [same] = [b for t, b in subscriber.messages if t == BOOK and b["sequence"] == book["sequence"]]
        assert (same["epoch"], same["last_update_id"]) == (book["epoch"], book["last_update_id"])

        workers = 2 if store == "timescale" else 1
        eventually(lambda: running.status()["serve"]["workers"] == workers, "all workers")
        assert running.status()["cache"]["use"] == "valkey"
        fetched = running.result("trades.list", start="2020-01-01T00:00:00Z", limit=1, fetch=True, **ETH)
        assert fetched["not_fetched"] == "the feed has no history to fetch from"
    assert "Traceback" not in running.log.read_text()


def test_workers_are_below_the_recorder_and_are_replaced_when_they_die(tmp_path: Path) -> None:
    with served(tmp_path) as running:
        eventually(lambda: len(running.workers()) == 2, "two workers")
        nice = [os.getpriority(os.PRIO_PROCESS, pid) for pid in running.crew()]
        assert min(nice) > os.getpriority(os.PRIO_PROCESS, running.process.pid)
        killed = running.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(running.workers() - killed) == 2, "two others")
        assert running.result("trades.list", limit=1, **ETH)["rows"]
        assert running.process.poll() is None


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_all_of_them_end_with_the_bridge(tmp_path: Path, end: signal.Signals) -> None:
    running = Served(tmp_path)
    crew = running.crew()
    assert len(crew) == 4
    running.process.send_signal(end)
    running.process.communicate(timeout=PATIENCE_S)

    def left() -> list[int]:
        return [pid for pid in crew if "bridge.serve" in command(pid)]

    eventually(lambda: not left(), "the end of all processes")


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return ""


def test_a_log_in_json_is_all_in_json(tmp_path: Path) -> None:
    serve = f"tcp://127.0.0.1:{free_port()}"
    bridge = Bridge(tmp_path / "var", f"serve.bind={serve}", "store.use=memory")
    process = bridge.start("run", "--log-format", "json", "--duration", "3", log=tmp_path / "log")
    process.communicate(timeout=PATIENCE_S)
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert all("event" in json.loads(line) for line in lines)
