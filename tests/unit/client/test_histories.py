"""Whatever happens: a book is right or says that it is not, and no trade is lost or doubled in silence."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_proxy.client.book import OrderBook
from binance_proxy.client.errors import BookStale
from binance_proxy.client.follow import Ask, Failure, Follower
from binance_proxy.client.follow_book import BookFollower
from binance_proxy.client.follow_events import TradeFollower
from binance_proxy.client.messages import Missed, Trade
from unit.client.model import BOOK, TRADES, Model

SMALL = st.integers(0, 3)
QUOTE = st.tuples(st.just("quote"), st.integers(41, 49), SMALL, st.integers(51, 59), SMALL)
HAPPENS = st.one_of(
    QUOTE,
    st.sampled_from(
        [
            ("trade",), ("trade",), ("skip",), ("late_trade",), ("snapshot",), ("stale",), ("restart",),
            ("cut",),
            ("join",), ("silence",), ("deliver",), ("deliver",), ("deliver all",), ("lose",), ("double",),
            ("answer",), ("answer",), ("answer late",), ("fail",), ("garbage",), ("burst",),
            ("lose all",), ("forgetful restart",), ("take",), ("take all",),
        ]
    ),
)  # fmt: skip


class World:
    """A model of a bridge, a client's followers, and the link between them."""

    def __init__(self, *, can_ask: bool, queue: int) -> None:
        self.model = Model()
        self.can_ask = can_ask
        self.book = BookFollower(BOOK, "ETH/USDT", can_ask=can_ask)
        self.trades = TradeFollower(TRADES, "ETH/USDT", can_ask=can_ask, queue=queue)
        self.queue = queue
        self.followers: dict[str, Follower] = {BOOK: self.book, TRADES: self.trades}
        self.asked: list[tuple[Follower, Ask]] = []
        self.held: tuple[Follower, Ask, bytes] | None = None
        """An answer that was given and is still on its way."""
        self.taken: list[Trade | Missed] = []
        self.in_step_at: set[int] = set()
        self.is_live = False
        self.join()

    def happen(self, what: str, *more: int) -> None:
        if what == "quote":
            self.model.quote(more[:2], more[2:])
        elif what in {"trade", "skip", "late_trade", "snapshot", "stale"}:
            getattr(self.model, what)()
        elif what == "burst":
            for _ in range(8):
                self.model.trade()
        elif what in {"restart", "forgetful restart", "cut", "silence"}:
            if what != "silence":
                getattr(self.model, what.replace(" ", "_"))()
            self.is_live = False
            for follower in self.followers.values():
                follower.doubt("a test")
        else:
            getattr(self, what.replace(" ", "_"))()
        self.look()

    def join(self) -> None:
        self.has_lost = False
        self.model.link_is_up = True
        self.deliver_all()  # what was on its way comes before the welcome
        self.is_live = True
        for follower in self.followers.values():
            follower.joined()
        self.model.tell_newcomer()

    def deliver(self) -> None:
        if self.model.on_its_way:
            topic, body = self.model.on_its_way.popleft()
            self.followers[topic].feed(body)

    def deliver_all(self) -> None:
        while self.model.on_its_way:
            self.deliver()
            self.look()

    def lose(self) -> None:
        if self.model.on_its_way:
            self.has_lost = True
            self.model.on_its_way.popleft()

    def lose_all(self) -> None:
        while self.model.on_its_way:
            self.lose()

    def double(self) -> None:
        if self.model.on_its_way:
            topic, body = self.model.on_its_way[0]
            self.followers[topic].feed(body)

    def garbage(self) -> None:
        if self.model.on_its_way:
            topic, body = self.model.on_its_way.popleft()
            self.has_lost = True
            self.followers[topic].feed(body[:-1])

    def _send(self) -> None:
        for follower in self.followers.values():
            for wanted in follower.to_send():
                if isinstance(wanted, Ask):
                    assert self.can_ask
                    self.asked.append((follower, wanted))
                    continue
                if self.model.link_is_up:
                    self.model.tell_newcomer()
                follower.resubscribed()

    def answer(self) -> None:
        if self.held is not None:
            follower, ask, result = self.held
            self.held = None
            follower.answer(ask, result)
        elif self.asked:
            follower, ask = self.asked.pop(0)
            result = self.model.answer(ask.method, ask.params)
            if result is None:
                follower.failed(ask, Failure(reason="out of step"))
            else:
                follower.answer(ask, result)

    def answer_late(self) -> None:
        """Give an answer that comes only after what happens next."""
        if self.held is None and self.asked:
            follower, ask = self.asked.pop(0)
            result = self.model.answer(ask.method, ask.params)
            if result is not None:
                self.held = follower, ask, result

    def fail(self) -> None:
        if self.asked:
            follower, ask = self.asked.pop(0)
            follower.failed(ask, Failure(reason="a test"))

    def take(self) -> None:
        if (event := self.trades.next()) is not None:
            self.taken.append(event)

    def take_all(self) -> None:
        while (event := self.trades.next()) is not None:
            self.taken.append(event)
            self._send()

    def look(self) -> None:
        """Whenever anybody looks, the book is right, or says that it is not."""
        self._send()
        book: OrderBook = self.book.book
        if book.in_step:
            assert self.is_live
            assert (book.bids(), book.asks()) == self.model.truth[book.last_update_id]
            self.in_step_at.add(book.last_update_id)
        else:
            with pytest.raises(BookStale, match=r"ETH/USDT: .+"):
                book.bids()
        assert self.trades.waiting <= self.queue + 6

    def settle(self) -> None:
        """Let everything come to rest, on a good link, and show by a trade and an update what is missing."""
        if not self.is_live:
            self.join()
        self._rest()
        if self.can_ask and self.model.has_book:
            assert self.book.book.in_step
            assert self.has_lost or self.book.book.last_update_id == self.model.update_id
        for _ in range(3):
            self.model.trade()
            self.happen("quote", 45, 2, 55, 2)
            self._rest()
        assert not self.model.on_its_way

    def _rest(self) -> None:
        for _ in range(100):
            self.deliver_all()
            while self.asked or self.held:
                self.answer()
                self.look()
            self.take_all()
            self.look()


@settings(max_examples=400, deadline=None)
@given(st.lists(HAPPENS, max_size=60), st.integers(1, 12))
def test_a_book_that_is_in_step_is_right_and_every_trade_comes_once(
    history: list[tuple[Any, ...]], queue: int
) -> None:
    world = World(can_ask=True, queue=queue)
    for happened in history:
        world.happen(*happened)
    world.settle()
    came = [event.trade_id for event in world.taken if isinstance(event, Trade)]
    assert max(Counter(came).values()) == 1
    if world.model.has_book:
        assert world.book.book.in_step
        assert world.book.book.last_update_id == world.model.update_id
    expected = {trade_id for trade_id in world.model.stored if trade_id >= came[0]}
    assert expected <= set(came)


@settings(max_examples=300, deadline=None)
@given(st.lists(HAPPENS, max_size=60), st.integers(1, 12))
def test_without_a_request_side_a_book_comes_back_and_what_is_missed_is_told(
    history: list[tuple[Any, ...]], queue: int
) -> None:
    world = World(can_ask=False, queue=queue)
    for happened in history:
        world.happen(*happened)
    world.settle()
    came = [event.trade_id for event in world.taken if isinstance(event, Trade)]
    missed = [event for event in world.taken if isinstance(event, Missed)]
    assert max(Counter(came).values(), default=1) == 1
    if world.model.has_book:
        assert world.book.book.in_step
        assert world.book.book.last_update_id == world.model.update_id
    if came:
        expected = {trade_id for trade_id in world.model.stored if trade_id >= came[0]}
        assert missed or expected <= set(came)
