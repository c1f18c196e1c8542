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
MOST_CLIENTS = 200
"""Of more, whoever has not reported for the longest is forgotten."""
MOST_SHOWN = 20
MOST_TOPICS = 10
"""Of each of these, those that it is furthest behind in."""
FRESH_S = 0.25
"""What was worked out is told again for so long: how many ask costs nothing."""
LAGGING = 1_000
"""Who is behind by so many messages of one topic lags."""

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Name = Annotated[str, Meta(min_length=1, max_length=100)]
_Topic = Annotated[str, Meta(min_length=1, max_length=200)]


class Place(Struct, frozen=True):
    """Where a subscriber is in a topic: the newest message that it has dealt with."""

    epoch: Annotated[str, Meta(max_length=100)]
    sequence: _Count


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a subscriber says of itself: the params of ``subscribers.report``."""

    client: _Name
    topics: Annotated[dict[_Topic, Place], Meta(max_length=100)]
    missed: _Count = 0
    """Messages that never reached it, since it began."""
    timeout_ms: int | None = None
    """Every request may say it."""


class _Heard(Struct, frozen=True):
    """A report, and how far behind it was when it came."""

    at_s: float
    missed: int
    behind: dict[str, int | None]
    """By topic, in messages; `None` if it is still in another run. Of many, the worst."""
    lag: int
    lagging: bool


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
        self._told: dict[str, object] = {}
        self._told_s = -FRESH_S

    def report(self, report: Report) -> None:
        """Take a report, in place of an earlier one of the same client."""
        behind: dict[str, int | None] = {}
        for topic, place in report.topics.items():
            now = self._publisher.recall(topic, 0, most=0)
            if now.sequence:  # else there is no such topic
                behind[topic] = max(0, now.sequence - place.sequence) if place.epoch == now.epoch else None
        lag = max((one for one in behind.values() if one is not None), default=0)
        lagging = lag >= LAGGING or None in behind.values()
        if len(behind) > MOST_TOPICS:
            worst = sorted(behind.items(), key=lambda one: (one[1] is not None, -(one[1] or 0)))
            behind = dict(worst[:MOST_TOPICS])
        self._heard[report.client] = _Heard(self._now_s(), report.missed, behind, lag, lagging)
        self._heard.move_to_end(report.client)
        if len(self._heard) > MOST_CLIENTS:
            self._heard.popitem(last=False)

    def status(self) -> dict[str, object]:
        """Return who listens and who lags, as ``bridge.status`` tells it; worked out now and then only."""
        now_s = self._now_s()
        if not 0 <= now_s - self._told_s < FRESH_S:
            self._told, self._told_s = self._status(now_s), now_s
        return self._told

    def _status(self, now_s: float) -> dict[str, object]:
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
