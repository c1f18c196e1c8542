"""How a book is got into step with the bridge's, and back into step after a hole (zguide's Clone pattern)."""

import msgspec

from binance_proxy.client.answers import BookAnswer
from binance_proxy.client.book import OrderBook
from binance_proxy.client.follow import Ask, Failure, Follower, Resubscribe
from binance_proxy.client.messages import OfTopic, Quote, Snapshot, Stale

RESUBSCRIBE_S = 2.0
"""Between two subscriptions that ask for the book where no request side does."""


class BookFollower(Follower):
    """Keeps an `OrderBook` equal to the bridge's, or out of step.

    It begins with the answer to ``orderbook.get``, or with a snapshot on the topic, whichever comes first.
    """

    def __init__(self, topic: str, symbol: str, *, can_ask: bool = True) -> None:
        super().__init__(topic, can_ask=can_ask)
        self.book = OrderBook(symbol)
        self.changes = 0
        """Rises with each change of the book, and when it falls out of step or gets back."""
        self._symbol = symbol
        self._has_book = False
        self._is_resubscribing = False
        self._why = ""
        """What began the search for a new book; empty before the first one, and while there is one."""

    def doubt(self, reason: str) -> None:
        """Have the book out of step until `joined`, and until it is proven that nothing was missed."""
        super().doubt(reason)
        self._lose(reason)

    def _begin(self) -> None:
        self._ask("orderbook.get", **self._instrument())

    def _instrument(self) -> dict[str, str]:
        venue, market, _ = self.topic.split(".", 2)
        return {"symbol": self._symbol, "venue": venue, "market": market}

    def _may_begin(self) -> bool:
        """Begin with a snapshot, or with what says that there is none. What came before it is in it."""
        newest = self._waiting[-1]
        if not isinstance(newest, Quote):
            self._waiting.clear()
            self._waiting.append(newest)
            return True
        if self._asked is None:
            self._waiting.clear()
            self._resubscribe(RESUBSCRIBE_S)  # the last one was answered before this, or its answer was lost
        return False

    def resubscribed(self) -> None:
        """Learn that the topic was subscribed to once more. Its next message is the book, or it was lost."""
        self._is_resubscribing = False

    def _resubscribe(self, pause_s: float) -> None:
        if not self._is_resubscribing:
            self._is_resubscribing = True
            self._to_send.append(Resubscribe(topic=self.topic, pause_s=pause_s))

    def _missed(self, reason: str) -> None:
        super()._missed(reason)
        self._why = reason
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        self.book.lose(reason)
        self.changes += 1

    def _proven(self) -> None:
        if self._has_book and not self.book.in_step:
            self.book.regain()
            self._why = ""
            self.changes += 1

    def _advance(self, message: OfTopic) -> None:
        wrong: str | None = None
        if isinstance(message, Quote) and self._has_book:
            wrong = self.book.apply(message)
        elif isinstance(message, Snapshot):
            wrong = self._whole(message)
        elif isinstance(message, Stale):
            self._has_book = False
            self.book.lose(f"the bridge's own book is out of step: {message.reason}")
        if wrong is not None:
            self._start_over(wrong)
            return
        self.changes += 1

    def _whole(self, whole: Snapshot | BookAnswer) -> str | None:
        self._has_book = True
        return self.book.begin(
            last_update_id=whole.last_update_id,
            ts_event=whole.ts_event,
            ts_recv=whole.ts_recv,
            bids=whole.bids,
            asks=whole.asks,
        )

    def _start_over(self, reason: str) -> None:
        """Throw the book away and ask for the whole of it."""
        self._lose(reason)
        self._has_book, self.epoch = False, None
        if not self._waiting or isinstance(self._waiting[-1], Quote):
            self._begin()
        else:
            self._drain()

    def _send(self, ask: Ask) -> None:
        """Send a request; a whole book has everything in it that was heard before it was asked for."""
        if ask.method == "orderbook.get":
            self._waiting.clear()
        super()._send(ask)

    def _answered(self, ask: Ask, result: bytes) -> None:
        if ask.method != "orderbook.get":
            super()._answered(ask, result)
            return
        whole = msgspec.msgpack.decode(result, type=BookAnswer)
        if self._waiting and self._waiting[-1].epoch != whole.epoch:
            # One of the two is of a run that has ended; soon both will be of the same.
            self._failed(ask, Failure(reason="the answer is of another run of the bridge"))
            return
        self._place(whole.epoch, whole.sequence)
        wrong = self._whole(whole)
        if wrong is not None:
            self._has_book, self.epoch = False, None
            self._failed(ask, Failure(reason=wrong))
            return
        self.changes += 1
        if self._is_live:
            self._proven()
        self._drain()

    def _failed(self, ask: Ask, failure: Failure) -> None:
        if self.epoch is None and not self.book.in_step:
            self.book.lose(failure.reason)
        super()._failed(ask, failure)

    def _give_up(self, reason: str) -> None:
        """Wait for a snapshot on the topic: each subscription is answered with one."""
        began = f"{self._why}; " if self._why else ""
        self._lose(f"{began}{reason}; waiting for a snapshot")
        self._has_book, self.epoch = False, None
        self._resubscribe(0.0)
