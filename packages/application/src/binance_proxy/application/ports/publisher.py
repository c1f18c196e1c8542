"""Events to whoever listens."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from binance_proxy.domain.candle import Candle
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, StaleBook, TradeTick


class PublisherError(BridgeError):
    """A `Publisher` could not do what was asked."""


class PublisherRejected(PublisherError):
    """The address cannot be used: it is taken, or not allowed."""


PublishedEvent: TypeAlias = TradeTick | QuoteTick | BookSnapshot | StaleBook | Candle | Gap
"""What a `Publisher` sends about an instrument."""


class Recalled(Struct, frozen=True, kw_only=True):
    """What a `Publisher` remembers of a topic."""

    epoch: str
    """Id of this run of the publisher."""
    sequence: int
    """Of the newest message of the topic; 0 if there was none."""
    messages: Sequence[dict[str, object]] | None
    """The bodies as they were published, oldest first, decoded; `None` if some of them are gone."""


class Publisher(Protocol):
    """Events to whoever listens, at once or never."""

    def publish(self, event: PublishedEvent) -> None:
        """Send an event on its topic, with the next sequence number of that topic.

        Never waits and never fails because of a listener: one that does not keep up loses messages, and sees
        that by the sequence. Nothing is encoded that nobody is subscribed to.
        """
        ...

    def publish_status(self, status: dict[str, object]) -> None:
        """Send the bridge's own state on ``bridge.status``. Never waits."""
        ...

    def newcomers(self) -> frozenset[str]:
        """Return the topic prefixes that were subscribed to since the last call; for very many, `""`."""
        ...

    def recall(self, topic: str, after: int, most: int | None = None) -> Recalled:
        """Return where a topic is now, and what was published on it behind the sequence ``after``.

        With ``most``, at most so many messages, the oldest of them. A bounded number of messages is kept for
        each topic; if any of those that were asked for is kept no more, or ``after`` lies ahead of the topic,
        `Recalled.messages` is `None`.
        """
        ...
