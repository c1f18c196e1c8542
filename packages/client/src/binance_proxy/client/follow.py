"""How one topic is followed: nothing twice, nothing out of order, and no hole that is not repaired or told.

Pure objects: they are fed bytes, and asked for what to send. They open no socket and know no clock.
"""

from collections import deque
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from binance_proxy.client.answers import Recalled
from binance_proxy.client.messages import OfTopic, read_message

WAITING = 50_000
"""Messages that wait while a hole is repaired; beyond that they are let go, and are a hole themselves."""
ATTEMPTS = 20
"""So often a repair is tried that may still succeed."""
HOPELESS_ATTEMPTS = 2
"""So often where nothing ever answered."""
PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


class Ask(Struct, frozen=True, kw_only=True):
    """A request to send; its answer goes to `Follower.answer`, its failure to `Follower.failed`."""

    method: str
    params: dict[str, object]
    pause_s: float = 0.0
    """Wait so long before it is sent."""


class Resubscribe(Struct, frozen=True, kw_only=True):
    """Subscribe to the topic once more, and say so by `Follower.resubscribed`.

    Whoever subscribes is sent the whole book.
    """

    topic: str
    pause_s: float = 0.0


ToSend: TypeAlias = Ask | Resubscribe


class Failure(Struct, frozen=True, kw_only=True):
    """Why there is no answer."""

    reason: str
    retry: bool = True
    """Asking again may help."""
    hopeless: bool = False
    """Nothing ever answered there."""


class Follower:
    """Follows the epoch and the sequence of one topic, and repairs what was missed.

    A subclass says what a message does (`_advance`), how to begin (`_begin`), and what to do when the bridge
    does not have what was missed any more (`_start_over`) or does not answer (`_give_up`).
    """

    def __init__(self, topic: str, *, can_ask: bool = True) -> None:
        """Begin outside of the topic; call `joined` once the subscription counts.

        Args:
            topic: Such as ``binance.spot.ethusdt.trades``.
            can_ask: Whether there is a request side at all.
        """
        self.topic = topic
        self.epoch: str | None = None
        """Of the run that is followed; `None` before the first message."""
        self.sequence = 0
        """Everything up to this message was taken."""
        self.holes = 0
        """How often messages of a run were missing, repaired or not."""
        self.lost = 0
        """Messages of a run that did not come by themselves, repaired or not."""
        self.unreadable = 0
        self._can_ask = can_ask
        self._is_live = False
        self._waiting: deque[OfTopic] = deque()
        self._asked: Ask | None = None
        self._attempts = 0
        self._to_send: deque[ToSend] = deque()

    def to_send(self) -> list[ToSend]:
        """Return what is to be sent now, each once."""
        found = list(self._to_send)
        self._to_send.clear()
        return found

    def joined(self) -> None:
        """Learn that the subscription counts from now on, for the first time or after a broken link."""
        self._is_live = True
        self._asked = None  # an answer to what was asked over the old link proves nothing about the new one
        if self.epoch is None:
            self._begin()
        else:
            self._recall()

    def resubscribed(self) -> None:
        """Learn that the topic was subscribed to once more."""

    def doubt(self, reason: str) -> None:
        """Learn that something may be missed: the link broke, or nothing is heard. `joined` ends it."""
        self._is_live = False

    def is_at(self, epoch: str, sequence: int) -> None:
        """Learn where the topic is by now: what should have come by itself and has not is asked for."""
        lost = sequence - self.sequence
        if lost > 0 and epoch == self.epoch and self._is_live and self._asked is None and not self._is_held():
            self.lost += lost
            self.holes += 1
            self._missed(f"missed {lost} messages")
            self._recall()

    def feed(self, body: bytes) -> None:
        """Take the body of a message of this very topic."""
        try:
            message = read_message(body)
        except (msgspec.MsgspecError, ValueError):
            self.unreadable += 1
            self._missed("a message cannot be read")
            self._recall()
            return
        self._take(message)

    def _take(self, message: OfTopic) -> None:
        if len(self._waiting) >= WAITING:
            self._overflow()
        self._waiting.append(message)
        self._drain()

    def answer(self, ask: Ask, result: bytes) -> None:
        """Take the answer to a request, as MessagePack. One that is no longer wanted changes nothing."""
        if ask is not self._asked:
            return
        self._asked = None
        try:
            self._answered(ask, result)
        except (msgspec.MsgspecError, ValueError) as error:
            reason = f"the answer to {ask.method} cannot be read: {error}"
            if ask.method == "topics.since" and self.epoch is not None:
                self._recalled_end = None
                self._start_over(reason)
            else:
                self._failed(ask, Failure(reason=reason, retry=False))

    def failed(self, ask: Ask, failure: Failure) -> None:
        """Learn that a request was refused, or not answered."""
        if ask is self._asked:
            self._asked = None
            self._failed(ask, failure)

    # What a subclass says.

    def _begin(self) -> None:
        """Find the place to begin at."""
        raise NotImplementedError

    def _advance(self, message: OfTopic) -> None:
        """Take the next message of the topic."""
        raise NotImplementedError

    def _start_over(self, reason: str) -> None:
        """Go on although the bridge does not have all messages that were missed."""
        raise NotImplementedError

    def _give_up(self, reason: str) -> None:
        """Go on although nobody answers."""
        raise NotImplementedError

    def _missed(self, reason: str) -> None:
        """Learn that something was missed, before it is repaired."""

    def _proven(self) -> None:
        """Learn that nothing is missing up to the place."""

    def _may_begin(self) -> bool:
        """Say whether following may begin with the first that waits, where there is no place yet.

        The last that waits is the one that came now.
        """
        return True

    # The machine.

    def _place(self, epoch: str, sequence: int) -> None:
        self.epoch, self.sequence = epoch, sequence

    def _drain(self) -> None:
        """Take what waits, as far as it follows."""
        waiting = self._waiting
        while waiting and not self._is_held():
            message = waiting[0]
            if self.epoch is None:
                if not self._may_begin():
                    return
                message = waiting[0]
                self._place(message.epoch, message.sequence - 1)
                self._asked = None
            elif message.epoch != self.epoch:
                if self._asked is None:
                    self._missed("the bridge was restarted")
                    self._start_over("the bridge was restarted")
                return
            if message.sequence > self.sequence + 1:
                if self._asked is None:
                    lost = message.sequence - self.sequence - 1
                    self.lost += lost
                    self.holes += 1
                    self._missed(f"missed {lost} messages")
                    self._recall()
                return
            waiting.popleft()
            if message.sequence == self.sequence + 1:
                self.sequence += 1
                self._advance(message)
                if self._is_live:
                    self._proven()

    def _is_held(self) -> bool:
        """Say whether nothing can be taken at the moment."""
        return False

    def _overflow(self) -> None:
        """Let go what waits: it is behind the place, so it is asked for again."""
        self._waiting.clear()

    def _ask(self, method: str, **params: object) -> None:
        """Have a request sent, in place of the one before."""
        self._attempts = 0
        self._send(Ask(method=method, params=params))

    def _send(self, ask: Ask) -> None:
        if not self._can_ask:
            self._give_up("there is no request side to ask")
            return
        self._asked = ask
        self._to_send.append(ask)

    def _recall(self) -> None:
        """Ask for what was missed behind the place."""
        if self._asked is None and self.epoch is not None:
            self._recalled_end = None
            self._ask("topics.since", topic=self.topic, epoch=self.epoch, sequence=self.sequence)

    def _answered(self, ask: Ask, result: bytes) -> None:
        if ask.method == "topics.since":
            self._recalled(msgspec.msgpack.decode(result, type=Recalled))

    def _recalled(self, recalled: Recalled) -> None:
        if self.epoch is None:  # asked without a place, to learn where the topic is
            if recalled.epoch:
                self._place(recalled.epoch, recalled.sequence)
                self._proven()
            self._drain()
            return
        if recalled.messages is None or recalled.epoch != self.epoch:
            self._recalled_end = (recalled.epoch, recalled.sequence)
            self._start_over("the bridge does not keep all messages that were missed")
            return
        before = self.sequence
        for message in recalled.messages:
            if message.epoch == self.epoch and message.sequence == self.sequence + 1:
                self.sequence += 1
                self._advance(message)
        if self.epoch is None:  # one of them could not be right, and everything begins anew
            return
        if recalled.more and self.sequence > before:
            self._recall()
            return
        if self.sequence < recalled.sequence:
            self._recalled_end = (recalled.epoch, recalled.sequence)
            self._start_over("the bridge does not have all messages that were missed")
            return
        if self._is_live and self._asked is None:
            self._proven()
        self._drain()

    _recalled_end: tuple[str, int] | None = None
    """Where the topic was when the bridge said that it does not have everything."""

    def _failed(self, ask: Ask, failure: Failure) -> None:
        attempts = HOPELESS_ATTEMPTS if failure.hopeless else ATTEMPTS
        self._attempts += 1
        if failure.retry and self._attempts < attempts:
            pause_s = min(LONGEST_PAUSE_S, PAUSE_S * 2**self._attempts)
            self._send(Ask(method=ask.method, params=ask.params, pause_s=pause_s))
            return
        self._give_up(failure.reason)


def position(follower: Follower) -> dict[str, Any] | None:
    """Return where a follower is, as it is reported to the bridge; `None` before it is anywhere."""
    if follower.epoch is None:
        return None
    return {"epoch": follower.epoch, "sequence": follower.sequence}
