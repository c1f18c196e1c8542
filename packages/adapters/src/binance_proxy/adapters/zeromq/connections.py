"""Who is connected to a PUB socket, and who of them does not keep up, as far as the sockets tell.

ZeroMQ counts nothing of what it drops. It does tell of connections that come and go, and on Linux the
kernel tells how many bytes wait in each of them: a subscriber that reads too slowly has a send queue that
stays full, and behind it ZeroMQ's own queue fills, up to the high water.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import zmq
from zmq.utils.monitor import parse_monitor_message

LOOK_S = 1.0
"""How often send queues are looked at."""
LOOKS = 3
"""A queue that was full at so many looks in a row stays full."""
FULL_BYTES = 65_536
MOST_SHOWN = 20
LARGEST_TABLE = 4 * 2**20
"""Bytes of the kernel's table of connections that are read."""
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

ReadTables: TypeAlias = Callable[[], Sequence[bytes]]


@dataclass
class Door:
    """One bound address, and the comings and goings there."""

    address: str
    monitor: "zmq.Socket[bytes]"
    accepted: int = 0
    disconnected: int = 0
    full_since: dict[str, int] = field(default_factory=dict)
    """Of each peer whose queue is full, at how many looks in a row it was."""
    queued: dict[str, int] = field(default_factory=dict)
    """Bytes that wait for each peer, if any do."""

    def hear(self) -> None:
        """Count who came and who went since the last time."""
        while True:
            try:
                message = self.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event = parse_monitor_message(message)["event"]
            self.accepted += event == zmq.EVENT_ACCEPTED
            self.disconnected += event == zmq.EVENT_DISCONNECTED

    def look(self, tables: Sequence[bytes]) -> None:
        """Take in how much waits for whom."""
        port = urlsplit(self.address).port if self.address.startswith("tcp:") else None
        self.queued = {} if port is None else queues(tables, port)
        self.full_since = {
            peer: self.full_since.get(peer, 0) + 1
            for peer, waiting in self.queued.items()
            if waiting >= FULL_BYTES
        }


class Connections:
    """The connections of all PUB addresses of a bridge."""

    def __init__(self, doors: Sequence[Door], read: ReadTables | None = None) -> None:
        """Take the addresses; ``read`` gives the kernel's tables of connections."""
        self._doors = doors
        self._read = read or read_tables

    def hear(self) -> None:
        """Count who came and who went. Whoever is not heard would hold up ZeroMQ, so do it often."""
        for door in self._doors:
            door.hear()

    async def watch(self) -> None:
        """Look at the send queues without end."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look at the send queues once. The kernel takes its time over a long table, so a thread asks it."""
        tables = await asyncio.to_thread(self._read)
        for door in self._doors:
            door.look(tables)

    def status(self) -> list[dict[str, object]]:
        """Return how things are at each address, as ``bridge.status`` tells it."""
        return [
            {
                "bind": door.address,
                "connected": door.accepted - door.disconnected,
                "accepted": door.accepted,
                "disconnected": door.disconnected,
                "lagging": sum(looks >= LOOKS for looks in door.full_since.values()),
                "queued": [
                    {"peer": peer, "bytes": waiting, "lagging": door.full_since.get(peer, 0) >= LOOKS}
                    for peer, waiting in sorted(door.queued.items(), key=lambda one: -one[1])[:MOST_SHOWN]
                ],
            }
            for door in self._doors
        ]


def open_door(context: "zmq.Context[zmq.Socket[bytes]]", pub: "zmq.Socket[bytes]", address: str) -> Door:
    """Have a socket watched that is not bound yet."""
    place = f"inproc://door-{id(pub)}"
    pub.monitor(place, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
    monitor = context.socket(zmq.PAIR)
    monitor.setsockopt(zmq.RCVHWM, 0)  # a full one would hold up ZeroMQ; it is emptied all the time
    monitor.connect(place)
    return Door(address, monitor)


def read_tables() -> Sequence[bytes]:
    """Return what the kernel tells of TCP connections; nothing where it does not."""
    tables = []
    for table in TABLES:
        try:
            with table.open("rb") as lines:
                tables.append(lines.read(LARGEST_TABLE))
        except OSError:
            continue
    return tables


def queues(tables: Sequence[bytes], port: int) -> dict[str, int]:
    """Return by peer how many bytes wait in the established connections of a local port, if any do.

    Source: proc(5), "/proc/net/tcp": addresses and ports in hexadecimal, state 01 is established, and the
    size of the send queue.
    """
    line = re.compile(rb" [0-9A-F]+:%04X ([0-9A-F]+):([0-9A-F]{4}) 01 ([0-9A-F]{8}):" % port)
    return {
        f"{_host(peer)}:{int(peer_port, 16)}": waiting
        for table in tables
        for peer, peer_port, queued in line.findall(table)
        if (waiting := int(queued, 16))
    }


def _host(text: bytes) -> str:
    """Return an address that the kernel has written as words of four bytes, each in the machine's order."""
    words = bytes.fromhex(text.decode())
    packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]"
