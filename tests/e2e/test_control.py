"""A running bridge answers on its control socket, and leaves nothing behind."""

import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import zmq

from bridge_process import PATIENCE_S, Bridge, eventually, free_port, subscribed

EPOCH_OF = "simulated.spot.ethusdt.trades"


def ask(address: str, method: str, **params: object) -> dict:
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.setsockopt(zmq.RCVTIMEO, PATIENCE_S * 1_000)
    socket.connect(address)
    try:
        socket.send_json({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return socket.recv_json()
    finally:
        socket.close(linger=0)


def status(bridge: Bridge) -> dict:
    return ask(bridge.control, "bridge.status")["result"]


def test_says_how_it_is_and_who_lags(tmp_path: Path) -> None:
    bridge = Bridge(tmp_path / "var", "feed.simulated.rate=200", "store.use=memory")
    with subscribed(bridge) as subscriber:
        process = bridge.start("run", log=tmp_path / "log")
        try:
            eventually(lambda: len(subscriber.of_type("trade")) > 20, "trades")
            told = status(bridge)
            assert told["trades"] > 20
            assert set(told["instruments"].values()) == {"in step"}
            eventually(
                lambda: status(bridge)["subscribers"]["connections"][0]["connected"], "the subscriber is seen"
            )
            [json_door, msgpack_door] = status(bridge)["subscribers"]["connections"]
            assert (json_door["bind"], json_door["connected"]) == (bridge.json, 1)
            assert (msgpack_door["bind"], msgpack_door["connected"]) == (bridge.msgpack, 0)
            newest = [body for topic, body in subscriber.messages if topic == EPOCH_OF][-1]
            place = {"epoch": newest["epoch"], "sequence": newest["sequence"]}
            answer = ask(
                bridge.control, "subscribers.report", client="bot", topics={EPOCH_OF: place}, missed=2
            )
            assert answer["result"] == {}
            eventually(lambda: status(bridge)["subscribers"]["clients"], "the report is told")
            [client] = status(bridge)["subscribers"]["clients"]
            assert (client["client"], client["missed"], client["lagging"]) == ("bot", 2, False)
            eventually(
                lambda: subscriber.of_type("status")[-1]["subscribers"]["reporting"], "told on the topic too"
            )
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)
    assert f"answering     control {bridge.control}\n" in (tmp_path / "log").read_text()


def test_a_subscriber_that_does_not_read_is_told_as_lagging(tmp_path: Path) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("this system does not tell of send queues")
    bridge = Bridge(
        tmp_path / "var", "feed.simulated.rate=20000", "store.use=memory", "feed.simulated.speed=1x"
    )
    process = bridge.start("run", log=tmp_path / "log")
    context = zmq.Context()
    stuck = context.socket(zmq.SUB)
    try:
        stuck.setsockopt(zmq.RCVHWM, 1)
        stuck.setsockopt(zmq.RCVBUF, 4_096)
        stuck.subscribe(b"")
        stuck.connect(bridge.json)
        eventually(lambda: "answering" in (tmp_path / "log").read_text(), "a start")
        eventually(lambda: status(bridge)["subscribers"]["connections"][0]["lagging"] == 1, "lagging")
        [queued] = status(bridge)["subscribers"]["connections"][0]["queued"]
        assert queued["lagging"]
        assert queued["peer"].startswith("127.0.0.1:")
        stuck.close(linger=0)
        eventually(lambda: status(bridge)["subscribers"]["connections"][0]["lagging"] == 0, "gone")
        assert status(bridge)["subscribers"]["connections"][0]["connected"] == 0
    finally:
        context.destroy(linger=0)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


def test_nobody_is_answered_if_nobody_is_to_be(tmp_path: Path) -> None:
    done = Bridge(tmp_path / "var", "store.use=memory", "control.bind=").complete("run", "--duration", "1")
    assert done.returncode == 0
    assert "answering" not in done.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_bridge_that_serves_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    places = Path(tempfile.mkdtemp(dir="/tmp"))  # a path that is short enough for sockets
    monkeypatch.setenv("TMPDIR", str(places))
    serve = f"tcp://127.0.0.1:{free_port()}"
    bridge = Bridge(tmp_path / "var", "store.use=memory", f"serve.bind={serve}")
    process = bridge.start("run", log=tmp_path / "log")
    eventually(lambda: "answering" in (tmp_path / "log").read_text(), "a start")
    assert f"answering     {serve}, control {bridge.control}\n" in (tmp_path / "log").read_text()
    eventually(lambda: "cache" in status(bridge), "a cache")
    assert status(bridge)["cache"]["use"] == "valkey"
    live = [folder / "live" for folder in places.glob("bridge-*") if (folder / "live").exists()]
    assert len(live) == 1
    assert live[0].parent.stat().st_mode & 0o777 == 0o700
    process.send_signal(end)
    process.communicate(timeout=PATIENCE_S)
    eventually(lambda: not children_in(places), "every process has ended")
    if end is signal.SIGINT:
        assert list(places.glob("bridge-*")) == []
    shutil.rmtree(places)


def children_in(places: Path) -> list[str]:
    """Return the processes that were started with this folder for temporary files."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"TMPDIR={places}".encode() in environment.split(b"\0") and line:
                found.append(line.decode())
    return found


@pytest.mark.parametrize("setting", ["control.bind", "serve.bind"])
def test_an_address_in_use_names_its_setting(tmp_path: Path, setting: str) -> None:
    context = zmq.Context()
    taken = context.socket(zmq.ROUTER)
    port = taken.bind_to_random_port("tcp://127.0.0.1")
    try:
        bridge = Bridge(tmp_path / "var", "store.use=memory", f"{setting}=tcp://127.0.0.1:{port}")
        done = bridge.complete("run")
    finally:
        context.destroy(linger=0)
    assert done.returncode == 1
    assert f"tcp://127.0.0.1:{port}: it is in use" in done.stderr
    assert f"{setting} sets another address" in done.stderr


def test_the_end_of_a_run_is_answered_to_the_last(tmp_path: Path) -> None:
    bridge = Bridge(tmp_path / "var", "store.use=memory")
    process = bridge.start("run", "--duration", "3", "--json", log=tmp_path / "log")
    eventually(lambda: "answering" in (tmp_path / "log").read_text(), "a start")
    began = time.monotonic()
    asked = 0
    while process.poll() is None and time.monotonic() < began + 2:
        asked += "result" in ask(bridge.control, "bridge.status")
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert asked > 10
    assert json.loads(printed)["unstored"] == 0
