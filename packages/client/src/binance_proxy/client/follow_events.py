"""How topics are followed whose messages are handed on: trades, candles, gaps."""

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from binance_proxy.client.answers import Page
from binance_proxy.client.follow import Ask, Failure, Follower
from binance_proxy.client.ids import NUMBERED_BY_ONE, SeenIds
from binance_proxy.client.messages import Missed, OfTopic, Trade

Event: TypeAlias = OfTopic | Missed

QUEUE = 10_000
"""Events that may wait to be taken."""
PAGE = 10_000
"""Trades that are asked for at once."""
HOLES = 20
"""The newest holes in the ids that are looked into again when messages were missed."""
NOT_STORED = "the newest trades are not in the bridge's store yet"
NOT_THERE = "the bridge does not have them"
NOT_REACHED = "its store does not reach back to the newest trade before"
NOT_NUMBERED = "the ids of this venue do not rise by one, so that nothing proves that none is missing"


class EventFollower(Follower):
    """Hands on each message of a topic once, in order, and a `Missed` for what cannot be had.

    Of more than ``queue`` events that wait to be taken no further one is taken from the topic. Once half of
    them are taken, what was published meanwhile is asked for, like everything else that was missed.
    """

    def __init__(self, topic: str, *, can_ask: bool = True, queue: int = QUEUE) -> None:
        super().__init__(topic, can_ask=can_ask)
        self._events: deque[Event] = deque()
        self._queue = queue
        self._is_behind = False
        self._resume: Callable[[], None] | None = None

    def next(self) -> Event | None:
        """Take the oldest event that waits; `None` if none does."""
        event = self._events.popleft() if self._events else None
        if len(self._events) <= self._queue // 2:
            self._catch_up()
        return event

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return len(self._events)

    def _catch_up(self) -> None:
        """Go on with what was put off until there was room."""
        if self._asked is not None:
            return
        if self._resume is not None:
            resume, self._resume = self._resume, None
            resume()
        elif self._is_behind:
            self._is_behind = False
            self._recall()

    def is_at(self, epoch: str, sequence: int) -> None:
        """Learn where the topic is by now, unless that was put off until there is room."""
        if not self._is_behind:
            super().is_at(epoch, sequence)

    def _take(self, message: OfTopic) -> None:
        if len(self._events) >= self._queue and self.epoch is not None and not self._is_behind:
            self._is_behind = True
            self.holes += 1
        if not self._is_behind:
            super()._take(message)

    def _recall(self) -> None:
        if len(self._events) >= self._queue:
            self._is_behind = True
        else:
            super()._recall()

    def _begin(self) -> None:
        """Learn where the topic is: an epoch that is none is answered with the place alone."""
        if self._can_ask:
            self._ask("topics.since", topic=self.topic, epoch="none", sequence=0)

    def _advance(self, message: OfTopic) -> None:
        self._events.append(message)

    def _start_over(self, reason: str) -> None:
        """Say what is missed, and go on with what there is."""
        before, end = (self.epoch, self.sequence), self._end()
        if end is None:
            return
        messages = end[1] - before[1] if end[0] == before[0] else None
        self._events.append(Missed(topic=self.topic, reason=reason, messages=messages))
        self._go_on(end)

    def _give_up(self, reason: str) -> None:
        if self.epoch is not None and (self._waiting or self._recalled_end):
            EventFollower._start_over(self, reason)
        # Without a place, or where nothing shows yet that anything was missed, the next message will tell.

    def _end(self) -> tuple[str, int] | None:
        """Return up to where everything was published by now, as far as is known."""
        if self._waiting:
            return self._waiting[0].epoch, self._waiting[0].sequence - 1
        return self._recalled_end

    def _go_on(self, end: tuple[str, int]) -> None:
        self._recalled_end = None
        self._place(*end)
        self._drain()


class TradeFollower(EventFollower):
    """Hands on each trade once, by its id.

    What the bridge has no messages of any more is fetched by time and id from ``trades.list``: the trades
    since the newest one, and those of the newest holes in the ids, which may have been filled meanwhile.
    """

    def __init__(self, topic: str, symbol: str, *, can_ask: bool = True, queue: int = QUEUE) -> None:
        super().__init__(topic, can_ask=can_ask, queue=queue)
        self.seen = SeenIds()
        self._venue, self._market, _ = topic.split(".", 2)
        self._symbol = symbol
        self._ranges: deque[dict[str, Any]] = deque()
        self._cover: tuple[str, int] | None = None
        """Up to where the trades that are being fetched reach in the topic."""
        self._known: tuple[int, int] | None = None
        """The highest id before the fetching began, and its ``ts_event``."""
        self._overlaps = False
        self._reason = ""

    def joined(self) -> None:
        """Begin, or go on: what was being fetched is asked for again."""
        self._ranges.clear()
        self._cover = self._resume = None
        super().joined()

    def _advance(self, message: OfTopic) -> None:
        if isinstance(message, Trade) and self.seen.add(message.trade_id, message.ts_event):
            self._events.append(message)

    def _is_held(self) -> bool:
        return self._cover is not None

    def _start_over(self, reason: str) -> None:
        newest, end = self.seen.newest, self._end()
        if end is None:
            return  # the next message tells where the topic is
        if newest is None or not self._can_ask:
            self._miss(reason, end, is_fetched=False)
            self._go_on(end)
            return
        self._cover, self._reason, self._overlaps = end, reason, False
        if self._known is None:  # else an earlier fetch was broken off, and this one is in its place
            self._known = (newest.last_id, newest.end)
        for before, behind in self.seen.holes(self._venue, HOLES):
            self._ranges.append({"start": before.end, "end": behind.start + 1})
        self._ranges.append({"start": self._known[1]})
        self._fetch()

    def _fetch(self, cursor: str | None = None) -> None:
        """Ask for the next page of the first range, once there is room for it."""
        if len(self._events) >= self._queue:
            self._resume = lambda: self._fetch(cursor)
            return
        params: dict[str, Any] = {
            "symbol": self._symbol,
            "venue": self._venue,
            "market": self._market,
            "limit": PAGE,
            "fresh": True,
        }
        if cursor is not None:
            params["cursor"] = cursor
        self._ask("trades.list", **params, **self._ranges[0])

    def _answered(self, ask: Ask, result: bytes) -> None:
        if ask.method != "trades.list":
            super()._answered(ask, result)
            return
        page = msgspec.msgpack.decode(result, type=Page[Trade])
        for trade in page.rows or ():
            if self._known is not None and trade.trade_id == self._known[0]:
                self._overlaps = True
            if self.seen.add(trade.trade_id, trade.ts_event):
                self._events.append(trade)
        if page.next is not None:
            self._fetch(page.next)
        elif not page.stored and len(self._ranges) == 1:
            self._failed(ask, Failure(reason=NOT_STORED))
        else:
            self._ranges.popleft()
            if self._ranges:
                self._fetch()
            else:
                self._fetched()

    def _fetched(self) -> None:
        """Go on with what waits; tell what was not there."""
        end = self._cover or ("", 0)
        if self._venue not in NUMBERED_BY_ONE:
            self._miss(f"{self._reason}; {NOT_NUMBERED}", end, is_fetched=True)
        elif self._missing(is_fetched=True):
            self._miss(f"{self._reason}; {NOT_THERE}", end, is_fetched=True)
        elif not self._overlaps:
            self._miss(f"{self._reason}; {NOT_REACHED}", end, is_fetched=True)
        self._end_fetch()

    def _give_up(self, reason: str) -> None:
        end = self._cover or self._end()
        if self.epoch is None or end is None:
            return
        self._miss(f"{self._reason}; {reason}" if self._cover else reason, end, is_fetched=False)
        if self._cover:
            self._end_fetch()
        else:
            self._go_on(end)

    def _end_fetch(self) -> None:
        cover, self._cover, self._known = self._cover, None, None
        self._ranges.clear()
        if cover is not None:
            self._go_on(cover)

    def _miss(self, reason: str, end: tuple[str, int], *, is_fetched: bool) -> None:
        """Tell what is missed up to a place in the topic."""
        known = end[1] - self.sequence if end[0] == self.epoch and not is_fetched else None
        ids = tuple(self._missing(is_fetched=is_fetched))
        self._events.append(Missed(topic=self.topic, reason=reason, messages=known, ids=ids))

    def _missing(self, *, is_fetched: bool) -> list[tuple[int, int]]:
        """Return the ids that have not come since the last known one; if none could be fetched, since ever.

        Also an old hole may have been filled by a message that was missed.
        """
        newest = self.seen.newest
        if newest is None:
            return []
        first = self._known[0] if self._known is not None else newest.last_id
        waiting = (one.trade_id for one in self._waiting if isinstance(one, Trade))
        last = min((one for one in waiting if one > newest.last_id), default=newest.last_id + 1)
        found = self.seen.missing(self._venue, first + 1, last - 1)
        if not is_fetched:
            holes = self.seen.holes(self._venue, HOLES)
            old = [(one.last_id + 1, other.first_id - 1) for one, other in holes if other.first_id <= first]
            found = [*old, *found]
        return found
