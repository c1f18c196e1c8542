"""A publisher in memory: plain and slow, the model of what the wire says."""

from collections import Counter, defaultdict
from itertools import islice
from typing import Any, TypeAlias

from msgspec import structs

from binance_proxy.application.ports import PublishedEvent, Recalled
from binance_proxy.domain.candle import Candle
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, StaleBook, TradeTick

Message: TypeAlias = tuple[str, dict[str, Any]]
"""A topic and the decoded body."""

PROTOCOL = "1"
TYPES = {
    TradeTick: "trade", QuoteTick: "quote", BookSnapshot: "snapshot", StaleBook: "stale", Candle: "candle",
    Gap: "gap",
}  # fmt: skip
PRICES = {"price", "open", "high", "low", "close"}
SIZES = {"size", "volume"}


class Inbox:
    """What one listener has received. It holds so many messages at most; those behind are lost to it."""

    def __init__(self, prefixes: tuple[str, ...], holds: int | None) -> None:
        self.messages: list[Message] = []
        self._prefixes = prefixes
        self._holds = holds

    def wants(self, topic: str) -> bool:
        """Return true if the listener asked for the topic."""
        return topic.startswith(self._prefixes)

    def put(self, message: Message) -> None:
        """Receive a message, if there is room."""
        if self._holds is None or len(self.messages) < self._holds:
            self.messages.append(message)


class MemoryPublisher:
    """A `Publisher` whose listeners are lists."""

    def __init__(self, epoch: str = "memory", *, kept: int = 10_000) -> None:
        self.made = 0
        """How many bodies were made."""
        self._epoch = epoch
        self._kept = kept
        self._recent: dict[str, list[PublishedEvent | dict[str, object]]] = defaultdict(list)
        self._sequences: Counter[str] = Counter()
        self._inboxes: list[Inbox] = []
        self._newcomers: set[str] = set()

    def listen(self, *prefixes: str, holds: int | None = None) -> list[Message]:
        """Return the list that everything goes to, from now on, whose topic begins with one of these."""
        inbox = Inbox(prefixes or ("",), holds)
        self._inboxes.append(inbox)
        self._newcomers.update(prefixes or ("",))
        if inbox.wants("bridge.welcome"):
            self._send("bridge.welcome", {"type": "welcome", "epoch": self._epoch, "protocol": PROTOCOL})
        return inbox.messages

    def publish(self, event: PublishedEvent) -> None:
        """Send an event on its topic, with the next sequence number of that topic."""
        self._send(topic_of(event), event)

    def publish_status(self, status: dict[str, object]) -> None:
        """Send the bridge's own state on ``bridge.status``."""
        own = {"type": "status", "epoch": self._epoch, "protocol": PROTOCOL}
        self._send("bridge.status", own | status)

    def newcomers(self) -> frozenset[str]:
        """Return the topic prefixes that were subscribed to since the last call."""
        new = frozenset(self._newcomers)
        self._newcomers.clear()
        return new

    def recall(self, topic: str, after: int, most: int | None = None) -> Recalled:
        """Return where a topic is now, and what was published on it behind the sequence ``after``."""
        newest = self._sequences[topic]
        recent = self._recent.get(topic, [])
        if not 0 <= newest - after <= len(recent):
            return Recalled(epoch=self._epoch, sequence=newest, messages=None)
        wanted = islice(enumerate(recent[len(recent) - newest + after :], after + 1), most)
        bodies = [self._body(said, sequence) for sequence, said in wanted]
        return Recalled(epoch=self._epoch, sequence=newest, messages=bodies)

    def _send(self, topic: str, said: PublishedEvent | dict[str, object]) -> None:
        self._sequences[topic] += 1
        recent = self._recent[topic]
        recent.append(said)
        del recent[: -self._kept]
        for inbox in self._inboxes:
            if inbox.wants(topic):
                inbox.put((topic, self._body(said, self._sequences[topic])))

    def _body(self, said: PublishedEvent | dict[str, object], sequence: int) -> dict[str, Any]:
        self.made += 1
        body = said if isinstance(said, dict) else {**body_of(said), "epoch": self._epoch}
        return body | {"sequence": sequence}


def topic_of(event: PublishedEvent) -> str:
    """Return the topic of an event: ``binance.spot.ethusdt.candles.1m``."""
    if isinstance(event, TradeTick):
        return f"{event.instrument.name}.trades"
    if isinstance(event, Candle):
        return f"{event.instrument.name}.candles.{event.timeframe.name}"
    if isinstance(event, Gap):
        return f"{event.instrument.name}.gaps"
    return f"{event.instrument.name}.orderbook"


def body_of(event: PublishedEvent) -> dict[str, Any]:
    """Return the fields of an event as the wire says them; what is not said is left out."""
    instrument = event.instrument
    price, size = instrument.price_precision, instrument.size_precision
    body: dict[str, Any] = {
        "type": TYPES[type(event)],
        "venue": instrument.venue,
        "market": str(instrument.market),
        "symbol": instrument.symbol,
    }
    for name, value in structs.asdict(event).items():
        if name in PRICES:
            body[name] = to_text(value, price)
        elif name in SIZES:
            body[name] = to_text(value, size)
        elif name == "quote_volume":
            body[name] = to_text(value, price + size)
        elif name in {"bids", "asks"}:
            body[name] = [[to_text(at, price), to_text(resting, size)] for at, resting in value]
        elif name in {"aggressor", "stream", "state", "timeframe"}:
            body[name] = str(value)
        elif name != "instrument" and value is not None and (name, value) != ("off_book", False):
            body[name] = value
    if isinstance(event, Candle):
        body["vwap"] = to_text(event.vwap, price)
    return body
