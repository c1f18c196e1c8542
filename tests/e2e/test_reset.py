"""Connections that are reset while their requests wait harm nobody, and do not end the bridge."""

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import zmq

from bridge_process import PATIENCE_S, eventually, free_port
from served_bridge import ServedBridge

CONNECTIONS = 200
PING_S = 17.0
"""Longer than any heartbeat that was ever set here: at the next one libzmq ended the process."""
GREETING = b"\xff" + b"\0" * 7 + b"\x01\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32
"""ZMTP 3.0 with the mechanism NULL, as a client."""


def frame(body: bytes, flags: int = 0) -> bytes:
    return bytes([flags, len(body)]) + body


def connected(address: str, kind: bytes) -> socket.socket:
    """Connect as ZeroMQ does, by hand."""
    place = urlsplit(address)
    client = socket.create_connection((place.hostname, place.port), timeout=PATIENCE_S)
    client.sendall(GREETING)
    while len(client.recv(64, socket.MSG_PEEK)) < 64:
        time.sleep(0.001)
    client.recv(64)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    client.sendall(frame(ready, 4))
    client.recv(1_024)
    return client


def reset(address: str, kind: bytes, message: bytes) -> None:
    """Send as much as is taken over many connections, and then reset them all."""
    clients = [connected(address, kind) for _ in range(CONNECTIONS)]
    for client in clients:
        client.settimeout(0)
        try:
            client.send(message * 10_000)
        except BlockingIOError:
            continue
    time.sleep(1)
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


def ask(address: str, method: str, **params: object) -> dict:
    client = zmq.Context.instance().socket(zmq.REQ)
    client.setsockopt(zmq.RCVTIMEO, PATIENCE_S * 1_000)
    client.connect(address)
    try:
        client.send_json({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return client.recv_json()
    finally:
        client.close(linger=0)


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[ServedBridge]:
    opened = ServedBridge(tmp_path / "var", "store.use=memory", "feed.simulated.rate=50")
    opened.serve = f"tcp://127.0.0.1:{free_port()}"
    opened.options += ["-o", f"serve.bind={opened.serve}"]
    with opened.running():
        eventually(lambda: status(opened).get("serve", {}).get("workers"), "a worker")
        yield opened


def status(bridge: ServedBridge) -> dict:
    return ask(bridge.control, "bridge.status")["result"]


def test_requests_that_wait_on_connections_that_are_reset(bridge: ServedBridge) -> None:
    reset(bridge.control, b"DEALER", frame(b'{"jsonrpc":"2.0","id":1,"method":"bridge.status"}'))
    reset(bridge.serve, b"DEALER", frame(b'{"jsonrpc":"2.0","id":1,"method":"pairs.list"}'))
    time.sleep(PING_S)
    told = status(bridge)
    assert told["serve"]["fronts_replaced"] == 0
    assert "result" in ask(bridge.serve, "pairs.list")


def test_subscriptions_and_heartbeats_on_connections_that_are_reset(bridge: ServedBridge) -> None:
    ping = frame(b"\x04PING\0\0", 4)
    for address in (bridge.json, bridge.msgpack):
        reset(address, b"SUB", frame(b"\x01topic") + ping)
    before = status(bridge)["trades"]
    eventually(lambda: status(bridge)["trades"] > before, "trades")
