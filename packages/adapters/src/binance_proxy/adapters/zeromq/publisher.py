"""The PUB side of the wire: one XPUB socket for each encoding."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
import zmq
from msgspec import Raw

from binance_proxy.adapters.zeromq.addresses import why_not
from binance_proxy.adapters.zeromq.bodies import (
    BodyOf,
    json_of,
    levels_in_json,
    levels_in_msgpack,
    msgpack_of,
)
from binance_proxy.adapters.zeromq.cloudevents import cloud_event_json
from binance_proxy.adapters.zeromq.connections import Connections, Door, open_door
from binance_proxy.adapters.zeromq.keepalive import keep_alive
from binance_proxy.application.ports import PublishedEvent, PublisherRejected, Recalled
from binance_proxy.domain.candle import Candle
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, StaleBook, TradeTick

PROTOCOL = "1"
_OF_THE_BOOK = (QuoteTick, BookSnapshot, StaleBook)
_send = zmq.backend.Socket.send  # without the arguments that `zmq.Socket.send` looks through each time
STATUS = "bridge.status"
WELCOME = "bridge.welcome"
LISTEN_S = 0.02
"""How often new subscriptions are looked at."""
KEPT_STATUS = 100
"""Messages about the bridge itself that are kept of each topic; they are large, and soon out of date."""
KEPT_LEVELS = 200_000
"""Levels that are kept of each topic of a book, in updates and whole books: about 20 MB."""
HEARD_AT_ONCE = 300
"""Subscriptions to an endpoint that are taken in at one look."""
MOST_PREFIXES = 10_000
"""Different prefixes that are counted at an endpoint."""
MOST_NEW = 200
"""Of more prefixes that are new at one time it is only said that somebody wants everything."""
LONGEST_PREFIX = 1_024
"""Bytes of a subscription; who sends a longer one is cut off by ZeroMQ."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass
class Endpoint:
    """One socket with one encoding, and what is subscribed to there."""

    socket: zmq.Socket[bytes]
    encode: Callable[[object], bytes]
    levels: Callable[[bytes], Raw]
    prefixes: set[bytes] = field(default_factory=set)
    has_changed: bool = False
    """Whether other prefixes are subscribed to than before the last `hear`."""
    is_full: bool = False
    """More prefixes were subscribed to than are counted. From then on each topic counts as wanted."""
    waiting: list[tuple[bytes, bytes]] = field(default_factory=list)

    def wants(self, topic: bytes) -> bool:
        """Return true if anyone is subscribed to the topic."""
        return self.is_full or any(topic[:size] in self.prefixes for size in range(len(topic) + 1))

    def send(self, topic: bytes, body: object) -> None:
        """Encode a message; it goes out with the next `flush`."""
        self.waiting.append((topic, self.encode(body)))

    def flush(self) -> None:
        """Send what waits, two frames each. XPUB never blocks: who has a full queue loses them."""
        socket = self.socket
        for topic, body in self.waiting:
            _send(socket, topic, zmq.SNDMORE)
            _send(socket, body)
        self.waiting.clear()

    def hear(self) -> list[bytes]:
        """Take in what subscribers said since the last time; return the prefixes that were subscribed to.

        Of what one says who never stops, only so much is taken in at once: the ticks have to go on.
        """
        new: list[bytes] = []
        before, was_full = len(self.prefixes), self.is_full
        self.has_changed = False
        for _ in range(HEARD_AT_ONCE):
            try:
                message = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            prefix = message[1:]
            if message[:1] == b"\x01":
                self._add(prefix)
                new.append(prefix)
            elif message[:1] == b"\x00" and prefix in self.prefixes:
                self.prefixes.discard(prefix)
                self.has_changed = True
        self.has_changed |= len(self.prefixes) != before or self.is_full != was_full
        return new

    def _add(self, prefix: bytes) -> None:
        if prefix not in self.prefixes:
            if len(self.prefixes) < MOST_PREFIXES:
                self.prefixes.add(prefix)
                self.has_changed = True
            else:
                self.is_full = True


class Topic:
    """One topic: its name, its count of messages, the newest of them, and where somebody listens."""

    __slots__ = ("_levels", "listeners", "name", "recent", "sequence")

    def __init__(self, name: str, endpoints: Sequence[Endpoint], kept: int) -> None:
        self.name = name.encode()
        self.sequence = 0
        self.recent: deque[PublishedEvent | dict[str, object]] = deque(maxlen=kept)
        """What was published last, as it was given: a body is made only if somebody asks for it again."""
        self._levels = 0
        self.hear(endpoints)

    def hear(self, endpoints: Sequence[Endpoint]) -> None:
        """Find out anew who listens."""
        self.listeners = [endpoint for endpoint in endpoints if endpoint.wants(self.name)]

    def keep(self, event: QuoteTick | BookSnapshot | StaleBook) -> None:
        """Keep what was published of a book; let go of the oldest if it is too many levels altogether."""
        recent = self.recent
        if not recent.maxlen:
            return
        if len(recent) == recent.maxlen:
            self._levels -= _levels_of(recent.popleft())
        recent.append(event)
        self._levels += _levels_of(event)
        while self._levels > KEPT_LEVELS and len(recent) > 1:
            self._levels -= _levels_of(recent.popleft())


def _levels_of(said: object) -> int:
    return len(said.bids) + len(said.asks) if isinstance(said, QuoteTick | BookSnapshot) else 0


class Outlet:
    """The topics of one instrument."""

    def __init__(self, instrument: Instrument, epoch: str, topic: Callable[[str], Topic]) -> None:
        self.body = BodyOf(instrument, epoch).make
        self.trades = topic(f"{instrument.name}.trades")
        self.orderbook = topic(f"{instrument.name}.orderbook")
        self.gaps = topic(f"{instrument.name}.gaps")
        self._candles = f"{instrument.name}.candles."
        self._topic = topic

    def topic_of(self, event: PublishedEvent) -> Topic:
        """Return where an event goes."""
        if isinstance(event, TradeTick):
            return self.trades
        if isinstance(event, _OF_THE_BOOK):
            return self.orderbook
        if isinstance(event, Candle):
            return self._topic(self._candles + event.timeframe.name)
        return self.gaps


class ZmqPublisher:
    """Sends events as ``topic, body`` on XPUB sockets. Use it in one thread, under a running loop.

    What is published in one turn of the loop goes out together at its end. Each message on its own would
    wake ZeroMQ's I/O thread on its own, which costs more than everything else that happens to a tick.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], epoch: str, kept: int = 10_000, doors: Sequence[Door] = ()
    ) -> None:
        """Take bound sockets; `open_publisher` makes them. ``epoch`` is the id of this run.

        Of each topic so many messages are ``kept``, for `recall`.
        """
        self.connections = Connections(doors)
        self._endpoints = endpoints
        self._epoch = epoch
        self._kept = kept
        self._topics: dict[str, Topic] = {}
        self._outlets: dict[Instrument, Outlet] = {}
        self._newcomers: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._flush_is_due = False

    def publish(self, event: PublishedEvent) -> None:
        """Send an event on its topic, with the next sequence number of that topic."""
        outlet = self._outlets.get(event.instrument)
        if outlet is None:
            outlet = Outlet(event.instrument, self._epoch, self._topic)
            self._outlets[event.instrument] = outlet
        topic = outlet.topic_of(event)
        topic.sequence += 1
        if isinstance(event, _OF_THE_BOOK):
            topic.keep(event)
        else:
            topic.recent.append(event)
        for endpoint in topic.listeners:
            endpoint.send(topic.name, outlet.body(event, topic.sequence, endpoint.levels))
        if topic.listeners:
            self._flush_soon()

    def publish_status(self, status: dict[str, object]) -> None:
        """Send the bridge's own state on ``bridge.status``."""
        self._send_own(STATUS, {"type": "status", "epoch": self._epoch, "protocol": PROTOCOL, **status})

    def flush(self) -> None:
        """Send what was published and has not gone out yet."""
        self._flush_is_due = False
        for endpoint in self._endpoints:
            endpoint.flush()

    def newcomers(self) -> frozenset[str]:
        """Return the topic prefixes that were subscribed to since the last call."""
        new = frozenset(self._newcomers)
        self._newcomers.clear()
        return new

    def recall(self, topic: str, after: int, most: int | None = None) -> Recalled:
        """Return where a topic is now, and what was published on it behind the sequence ``after``."""
        known = self._topics.get(topic)
        if known is None:
            return Recalled(epoch=self._epoch, sequence=0, messages=None if after else [])
        behind, recent = known.sequence - after, known.recent
        if not 0 <= behind <= len(recent):
            return Recalled(epoch=self._epoch, sequence=known.sequence, messages=None)
        first = len(recent) - behind
        wanted = islice(recent, first, None if most is None else first + max(0, most))
        bodies = [self._body(said, sequence) for sequence, said in enumerate(wanted, after + 1)]
        return Recalled(epoch=self._epoch, sequence=known.sequence, messages=bodies)

    def _body(self, said: PublishedEvent | dict[str, object], sequence: int) -> dict[str, object]:
        if isinstance(said, dict):
            return _decode(json_of(said | {"sequence": sequence}))
        return _decode(json_of(self._outlets[said.instrument].body(said, sequence, levels_in_json)))

    def hear(self) -> None:
        """Take in new subscriptions, and welcome those who asked to be."""
        heard = [prefix for endpoint in self._endpoints for prefix in endpoint.hear()]
        if any(endpoint.has_changed for endpoint in self._endpoints):
            for topic in self._topics.values():
                topic.hear(self._endpoints)
        self._newcomers.update(prefix.decode(errors="replace") for prefix in heard)
        if len(self._newcomers) > MOST_NEW:
            self._newcomers = {""}
        if any(WELCOME.encode().startswith(prefix) for prefix in heard):
            self._send_own(WELCOME, {"type": "welcome", "epoch": self._epoch, "protocol": PROTOCOL})

    def _send_own(self, name: str, body: dict[str, object]) -> None:
        topic = self._topic(name, KEPT_STATUS)
        topic.sequence += 1
        topic.recent.append(body)
        for endpoint in topic.listeners:
            endpoint.send(topic.name, body | {"sequence": topic.sequence})
        if topic.listeners:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self.flush)

    def _topic(self, name: str, most: int | None = None) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            kept = self._kept if most is None else min(most, self._kept)
            topic = self._topics[name] = Topic(name, self._endpoints, kept)
        return topic


@asynccontextmanager
async def open_publisher(
    *,
    json: str,
    msgpack: str,
    epoch: str,
    high_water: int,
    linger_s: float,
    kept: int = 10_000,
    cloudevents: bool = False,
) -> AsyncIterator[ZmqPublisher]:
    """Bind both endpoints and send on them until the block is left.

    Args:
        json: Address of the JSON endpoint, such as ``tcp://127.0.0.1:5555``.
        msgpack: Address of the MessagePack endpoint.
        epoch: Id of this run; it is in every body.
        high_water: Messages that may wait for one subscriber; more are lost to it.
        kept: Messages of each topic that can be recalled.
        cloudevents: Whether each JSON body is the data of a CloudEvent.
        linger_s: How long messages that are still on their way may take after the end.

    Raises:
        PublisherRejected: An address is taken or cannot be bound.
    """
    context = zmq.Context()
    try:
        json_socket, json_door = _bind(context, json, high_water)
        msgpack_socket, msgpack_door = _bind(context, msgpack, high_water)
        endpoints = [
            Endpoint(json_socket, cloud_event_json if cloudevents else json_of, levels_in_json),
            Endpoint(msgpack_socket, msgpack_of, levels_in_msgpack),
        ]
        publisher = ZmqPublisher(endpoints, epoch, kept, (json_door, msgpack_door))
        watching = asyncio.create_task(publisher.connections.watch())
        listening = asyncio.create_task(_listen(publisher))
        try:
            yield publisher
        finally:
            publisher.flush()
            for task in (listening, watching):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    finally:
        await asyncio.to_thread(context.destroy, linger=int(linger_s * 1000))


def _bind(
    context: zmq.Context[zmq.Socket[bytes]], address: str, high_water: int
) -> tuple[zmq.Socket[bytes], Door]:
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # each subscriber is heard, not only the first to a topic
    socket.setsockopt(zmq.SNDHWM, high_water)
    socket.setsockopt(zmq.MAXMSGSIZE, LONGEST_PREFIX)
    # Subscriptions go into a tree of ZeroMQ's at once, so what comes in is bounded by no high water anyway.
    # With one, ZeroMQ could stop to read, and then a reset connection might end the process: `keepalive`.
    socket.setsockopt(zmq.RCVHWM, 0)
    keep_alive(socket)
    door = open_door(context, socket, address)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        why = why_not(error, "publish.json.bind and publish.msgpack.bind set other addresses")
        raise PublisherRejected(f"cannot publish on {address}: {why}") from error
    return socket, door


async def _listen(publisher: ZmqPublisher) -> None:
    while True:
        publisher.hear()
        publisher.connections.hear()
        await asyncio.sleep(LISTEN_S)
