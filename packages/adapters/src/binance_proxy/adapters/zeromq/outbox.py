"""Answers on their way to clients, of whom some do not take them."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import zmq

from binance_proxy.adapters.zeromq.asks import Frame

STUCK_S = 10.0
"""A client that takes nothing for so long loses what waits for it."""
BOX_BYTES = 96 * 2**20
"""What may wait here for one client; more, and it loses all of it."""
BOX_MESSAGES = 5_000
"""Likewise, in answers."""
ALL_BYTES = 512 * 2**20
"""What may wait for all clients; who is to get one more answer then, loses what waits for it."""
LARGE = 64 * 2**10
"""Frames of so many bytes are sent without copying them, and counted until they have left."""
ON_THE_WAY = 8 * 2**20
"""While so much in large frames has not left for a client, no more is handed to its socket."""
HIGH_WATER = 250
"""Answers that a socket holds for a client; with the large ones counted, about 20 MB at most."""


@dataclass(slots=True)
class Box:
    """What waits for one client, oldest first."""

    since: float
    """When it last took something."""
    messages: deque[Sequence[Frame]] = field(default_factory=deque)
    bytes: int = 0


@dataclass(slots=True)
class Change:
    """What was found out about clients while sending."""

    stuck: list[bytes] = field(default_factory=list)
    """They take nothing for now."""
    flowing: list[bytes] = field(default_factory=list)
    """They have taken everything."""
    gone: list[bytes] = field(default_factory=list)
    """They are away, or have taken nothing for too long. Nothing waits for them any more."""


class Outbox:
    """Sends on a ROUTER without ever waiting, and keeps what a client does not take yet."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        """Take a socket with ``ROUTER_MANDATORY``, which says when a client is away or full."""
        self._socket = socket
        self._boxes: dict[bytes, Box] = {}
        self._on_the_way: dict[bytes, list[tuple[int, zmq.MessageTracker]]] = {}
        """Large frames that have not left yet, as far as was looked."""
        self._change = Change()
        self._bytes = 0

    def __len__(self) -> int:
        """Return for how many clients something waits."""
        return len(self._boxes)

    def send(self, now: float, client: bytes, message: Sequence[Frame]) -> None:
        """Send a message, or keep it until the client takes it."""
        box = self._boxes.get(client)
        if box is None:
            sent = self._try(client, message)
            if sent is None:
                self._change.gone.append(client)
            if sent is not False:
                return
            box = self._boxes[client] = Box(now)
            self._change.stuck.append(client)
        size = sum(map(len, message))
        box.messages.append(message)
        box.bytes += size
        self._bytes += size
        too_much = box.bytes > BOX_BYTES or self._bytes > ALL_BYTES
        if len(box.messages) > BOX_MESSAGES or (too_much and len(box.messages) > 1):
            self._drop(client)

    def again(self, now: float) -> None:
        """Try once more to send what waits."""
        for client, box in list(self._boxes.items()):
            while box.messages:
                sent = self._try(client, box.messages[0])
                if sent is None or (sent is False and box.since + STUCK_S <= now):
                    self._drop(client)
                    break
                if sent is False:
                    break
                box.since = now
                size = sum(map(len, box.messages.popleft()))
                box.bytes -= size
                self._bytes -= size
            else:
                del self._boxes[client]
                self._change.flowing.append(client)
        for client in list(self._on_the_way):
            self._not_left(client)

    def changes(self) -> Change:
        """Return what was found out since the last time."""
        change, self._change = self._change, Change()
        return change

    def _drop(self, client: bytes) -> None:
        self._bytes -= self._boxes.pop(client).bytes
        self._change.gone.append(client)

    def _not_left(self, client: bytes) -> int:
        """Return how much in large frames is still on the way to a client."""
        frames = [one for one in self._on_the_way.get(client, ()) if not one[1].done]
        if frames:
            self._on_the_way[client] = frames
        else:
            self._on_the_way.pop(client, None)
        return sum(size for size, _ in frames)

    def _try(self, client: bytes, message: Sequence[Frame]) -> bool | None:
        """Return whether a message could be sent; `None` if the client is away."""
        if client in self._on_the_way and self._not_left(client) >= ON_THE_WAY:
            return False
        try:
            # With the first frame it is settled: the others go where it went.
            self._socket.send(client, zmq.SNDMORE | zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return None
            raise
        last = len(message) - 1
        for at, frame in enumerate(message):
            more = zmq.SNDMORE if at < last else 0
            if len(frame) < LARGE:
                self._socket.send(frame, more)
            else:
                tracker = self._socket.send(frame, more, copy=False, track=True)
                self._on_the_way.setdefault(client, []).append((len(frame), tracker))
        return True
