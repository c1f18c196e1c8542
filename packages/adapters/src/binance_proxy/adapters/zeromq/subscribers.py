"""Which subscribers lag, by their own reports and by the sockets."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from binance_proxy.adapters.zeromq.connections import Connections
from binance_proxy.application.ports import Publisher

FORGET_S = 15.0
"""Who has not reported for so long is forgotten."""
MOST_CLIENTS = 1_000
"""Of more, whoever has not reported for the longest is forgotten."""
MOST_SHOWN = 20
LAGGING = 1_000
"""Who is behind by so many messages of one topic lags."""

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Name = Annotated[str, Meta(min_length=1, max_length=100)]


class Place(Struct, frozen=True):
    """Where a subscriber is in a topic: the newest message that it has dealt with."""

    epoch: Annotated[str, Meta(max_length=100)]
    sequence: _Count


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a subscriber says of itself: the params of ``subscribers.report``."""

    client: _Name
    topics: Annotated[dict[_Name, Place], Meta(max_length=100)]
    missed: _Count = 0
    """Messages that never reached it, since it began."""
    timeout_ms: int | None = None
    """Every request may say it."""


class _Heard(Struct, frozen=True):
    """A report, and how far behind it was when it came."""

    at_s: float
    missed: int
    behind: dict[str, int | None]
    """By topic, in messages; `None` if it is still in another run."""

    @property
    def lag(self) -> int:
        return max((one for one in self.behind.values() if one is not None), default=0)

    @property
    def lagging(self) -> bool:
        return self.lag >= LAGGING or None in self.behind.values()


class Subscribers:
    """Takes the reports of subscribers, and tells who lags."""

    def __init__(
        self,
        publisher: Publisher,
        connections: Connections | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the publisher that they listen to, and its connections."""
        self._publisher = publisher
        self._connections = connections
        self._now_s = now_s
        self._heard: OrderedDict[str, _Heard] = OrderedDict()

    def report(self, report: Report) -> None:
        """Take a report, in place of an earlier one of the same client."""
        behind: dict[str, int | None] = {}
        for topic, place in report.topics.items():
            now = self._publisher.recall(topic, 0, most=0)
            if now.sequence:  # else there is no such topic
                behind[topic] = max(0, now.sequence - place.sequence) if place.epoch == now.epoch else None
        self._heard[report.client] = _Heard(self._now_s(), report.missed, behind)
        self._heard.move_to_end(report.client)
        if len(self._heard) > MOST_CLIENTS:
            self._heard.popitem(last=False)

    def status(self) -> dict[str, object]:
        """Return who listens and who lags, as ``bridge.status`` tells it."""
        now_s = self._now_s()
        while self._heard and next(iter(self._heard.values())).at_s < now_s - FORGET_S:
            self._heard.popitem(last=False)
        worst = sorted(self._heard.items(), key=lambda one: (not one[1].lagging, -one[1].lag))
        return {
            "reporting": len(self._heard),
            "lagging": sum(heard.lagging for heard in self._heard.values()),
            "clients": [
                {
                    "client": client,
                    "lag": heard.lag,
                    "lagging": heard.lagging,
                    "missed": heard.missed,
                    "age_s": round(now_s - heard.at_s, 3),
                    "topics": heard.behind,
                }
                for client, heard in worst[:MOST_SHOWN]
            ],
            "connections": self._connections.status() if self._connections else [],
        }
