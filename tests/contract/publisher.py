"""What every publisher promises: one test for each sentence of the `Publisher` port.

A publisher's own test file subclasses `PublisherContract` and gives a `wire`: the publisher, and a way to
listen to it.
"""

import inspect
from typing import Any, Protocol

import pytest

from binance_proxy.application.ports import PublishedEvent, Publisher
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, StaleBook, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
SOL = Instrument(
    venue="simulated", market=Market.USDM, symbol="SOL/USDT", price_precision=2, size_precision=3
)
T0 = 1_723_161_255_342_000_000

Message = tuple[str, dict[str, Any]]


class Listener(Protocol):
    """Somebody who subscribed."""

    async def receive(self, count: int) -> list[Message]:
        """Return the next messages: topics and decoded bodies. Fail if they do not come."""
        ...

    async def received(self) -> list[Message]:
        """Return the messages that have come, at least one; fail if none does."""
        ...


class Wire(Protocol):
    """A publisher and those who listen to it."""

    publisher: Publisher
    epoch: str
    kept: int
    """Messages of each topic that the publisher remembers."""

    @property
    def made(self) -> int:
        """Return how many bodies were encoded."""
        ...

    async def listen(self, *prefixes: str, holds: int | None = None) -> Listener:
        """Return a listener that is subscribed, and heard; if it ``holds`` so many, it reads nothing yet."""
        ...


def trade(trade_id: int = 7, **other: object) -> TradeTick:
    known = {
        "instrument": ETH,
        "ts_event": T0,
        "ts_recv": T0 - 1_255_000_000,
        "trade_id": trade_id,
        "price": 305_012_000_000,
        "size": 150_000_000,
        "aggressor": Side.SELL,
    }
    return TradeTick(**(known | other))


def quote(update_id: int = 7, **other: object) -> QuoteTick:
    known = {
        "instrument": ETH,
        "ts_event": T0,
        "ts_recv": T0 + 5,
        "first_update_id": update_id,
        "last_update_id": update_id + 2,
        "bids": ((305_012_000_000, 150_000_000), (305_000_000_000, 0)),
        "asks": (),
    }
    return QuoteTick(**(known | other))


def snapshot(**other: object) -> BookSnapshot:
    known = {
        "instrument": ETH,
        "ts_event": T0,
        "ts_recv": T0 + 5,
        "last_update_id": 9,
        "bids": ((305_012_000_000, 1),),
        "asks": ((305_013_000_000, 10**17), (10**15, 10**8)),
    }
    return BookSnapshot(**(known | other))


def candle(timeframe: str = "1m", **other: object) -> Candle:
    start, end = Timeframe(timeframe).period(T0)
    known = {
        "instrument": ETH,
        "ts_event": T0,
        "ts_recv": T0 + 5,
        "timeframe": Timeframe(timeframe),
        "start": start,
        "end": end,
        "open": 305_012_000_000,
        "high": 305_112_000_000,
        "low": 304_900_000_001,
        "close": 305_000_000_000,
        "volume": 250_000_000,
        "quote_volume": 762_530_000_000 * 10**8,
        "trades": 12,
        "closed": True,
        "complete": True,
    }
    return Candle(**(known | other))


def gap(**other: object) -> Gap:
    known = {
        "instrument": ETH,
        "ts_event": T0,
        "ts_recv": T0 + 5,
        "stream": Stream.TRADES,
        "first_id": 8,
        "last_id": 9,
        "start": T0 - 1_000_000,
        "end": T0,
        "state": GapState.LOST,
    }
    return Gap(**(known | other))


def stale(**other: object) -> StaleBook:
    known = {"instrument": ETH, "ts_event": T0, "ts_recv": T0 + 5, "reason": "update 9 does not follow 7"}
    return StaleBook(**(known | other))


ABOUT_ETH = {"venue": "binance", "market": "spot", "symbol": "ETH/USDT"}
BODIES: list[tuple[PublishedEvent, str, dict[str, Any]]] = [
    (
        trade(),
        "binance.spot.ethusdt.trades",
        {
            "type": "trade", "ts_event": T0, "ts_recv": T0 - 1_255_000_000, "trade_id": 7,
            "price": "3050.12", "size": "1.5", "aggressor": "sell",
        },
    ),
    (
        trade(first_match_id=0, last_match_id=4, off_book=True),
        "binance.spot.ethusdt.trades",
        {
            "type": "trade", "ts_event": T0, "ts_recv": T0 - 1_255_000_000, "trade_id": 7,
            "price": "3050.12", "size": "1.5", "aggressor": "sell",
            "first_match_id": 0, "last_match_id": 4, "off_book": True,
        },
    ),
    (
        quote(),
        "binance.spot.ethusdt.orderbook",
        {
            "type": "quote", "ts_event": T0, "ts_recv": T0 + 5, "first_update_id": 7, "last_update_id": 9,
            "bids": [["3050.12", "1.5"], ["3050", "0"]], "asks": [],
        },
    ),
    (
        quote(previous_update_id=3, bids=()),
        "binance.spot.ethusdt.orderbook",
        {
            "type": "quote", "ts_event": T0, "ts_recv": T0 + 5, "first_update_id": 7, "last_update_id": 9,
            "previous_update_id": 3, "bids": [], "asks": [],
        },
    ),
    (
        snapshot(),
        "binance.spot.ethusdt.orderbook",
        {
            "type": "snapshot", "ts_event": T0, "ts_recv": T0 + 5, "last_update_id": 9,
            "bids": [["3050.12", "0.00000001"]],
            "asks": [["3050.13", "1000000000"], ["10000000", "1"]],
        },
    ),
    (
        candle(),
        "binance.spot.ethusdt.candles.1m",
        {
            "type": "candle", "ts_event": T0, "ts_recv": T0 + 5, "timeframe": "1m",
            "start": 1_723_161_240_000_000_000, "end": 1_723_161_300_000_000_000,
            "open": "3050.12", "high": "3051.12", "low": "3049.00000001", "close": "3050",
            "volume": "2.5", "quote_volume": "7625.3", "vwap": "3050.12", "trades": 12, "closed": True,
            "complete": True,
        },
    ),
    (
        gap(),
        "binance.spot.ethusdt.gaps",
        {
            "type": "gap", "ts_event": T0, "ts_recv": T0 + 5, "stream": "trades", "first_id": 8,
            "last_id": 9, "start": T0 - 1_000_000, "end": T0, "state": "lost",
        },
    ),
    (
        stale(),
        "binance.spot.ethusdt.orderbook",
        {
            "type": "stale", "ts_event": T0, "ts_recv": T0 + 5, "reason": "update 9 does not follow 7",
        },
    ),
]  # fmt: skip


class PublisherContract:
    @pytest.fixture
    async def wire(self) -> Wire:
        raise NotImplementedError

    @pytest.mark.parametrize(("event", "topic", "body"), BODIES, ids=lambda value: getattr(value, "type", ""))
    async def test_sends_an_event_on_its_topic(
        self, wire: Wire, event: PublishedEvent, topic: str, body: dict[str, Any]
    ) -> None:
        listener = await wire.listen("binance.")
        wire.publisher.publish(event)
        [(sent_on, sent)] = await listener.receive(1)
        assert sent_on == topic
        assert sent == {**ABOUT_ETH, **body, "epoch": wire.epoch, "sequence": 1}

    async def test_the_topic_names_venue_market_and_symbol(self, wire: Wire) -> None:
        listener = await wire.listen("simulated.")
        wire.publisher.publish(trade(instrument=SOL))
        [(topic, body)] = await listener.receive(1)
        assert topic == "simulated.usdm.solusdt.trades"
        assert (body["venue"], body["market"], body["symbol"]) == ("simulated", "usdm", "SOL/USDT")
        assert body["price"] == "3050120000"

    async def test_each_topic_is_numbered_from_1_without_holes(self, wire: Wire) -> None:
        listener = await wire.listen("binance.", "simulated.")
        events = [
            trade(1), quote(1), trade(2), trade(1, instrument=SOL), candle("1m"), candle("5m"), snapshot(),
            trade(3), gap(), candle("1m", closed=False), quote(2), gap(first_id=20), stale(),
        ]  # fmt: skip
        for event in events:
            wire.publisher.publish(event)
        messages = await listener.receive(len(events))
        numbered: dict[str, list[int]] = {}
        for topic, body in messages:
            numbered.setdefault(topic, []).append(body["sequence"])
        assert numbered == {
            "binance.spot.ethusdt.trades": [1, 2, 3],
            "binance.spot.ethusdt.orderbook": [1, 2, 3, 4],
            "binance.spot.ethusdt.candles.1m": [1, 2],
            "binance.spot.ethusdt.candles.5m": [1],
            "binance.spot.ethusdt.gaps": [1, 2],
            "simulated.usdm.solusdt.trades": [1],
        }

    async def test_messages_of_a_topic_come_in_the_order_they_were_sent(self, wire: Wire) -> None:
        listener = await wire.listen("binance.spot.ethusdt.trades")
        for number in range(500):
            wire.publisher.publish(trade(number))
        bodies = [body for _, body in await listener.receive(500)]
        assert [body["trade_id"] for body in bodies] == list(range(500))
        assert [body["sequence"] for body in bodies] == list(range(1, 501))

    async def test_a_topic_is_numbered_also_while_nobody_listens(self, wire: Wire) -> None:
        for number in range(5):
            wire.publisher.publish(trade(number))
        listener = await wire.listen("binance.spot.ethusdt.trades")
        wire.publisher.publish(trade(5))
        [(_, body)] = await listener.receive(1)
        assert body["sequence"] == 6

    async def test_a_listener_gets_what_it_subscribed_to(self, wire: Wire) -> None:
        wanted = ["binance.spot.ethusdt.candles.1m", "binance.spot.ethusdt.gaps", "bridge.status"]
        listener = await wire.listen(*wanted)
        for event in (trade(), quote(), candle("5m"), candle("1m"), snapshot(), gap()):
            wire.publisher.publish(event)
        wire.publisher.publish_status({})
        assert [topic for topic, _ in await listener.receive(3)] == wanted

    async def test_every_listener_gets_the_same(self, wire: Wire) -> None:
        listeners = [await wire.listen("binance.") for _ in range(3)]
        for number in range(10):
            wire.publisher.publish(trade(number))
        first, *others = [await listener.receive(10) for listener in listeners]
        assert all(other == first for other in others)

    async def test_never_waits_or_fails_because_of_a_listener_that_does_not_read(self, wire: Wire) -> None:
        assert not inspect.iscoroutinefunction(wire.publisher.publish)
        stuck = await wire.listen("binance.spot.ethusdt.trades", holds=10)
        keen = await wire.listen("binance.spot.ethusdt.candles.1m")
        for number in range(30_000):
            wire.publisher.publish(trade(number))
        wire.publisher.publish(candle())
        assert len(await keen.receive(1)) == 1
        received = [body["sequence"] for _, body in await stuck.received()]
        assert received == sorted(set(received))
        assert 0 < len(received) < 30_000, "a listener that does not read is not remembered for ever"

    async def test_a_listener_that_lost_messages_sees_it_by_the_sequence(self, wire: Wire) -> None:
        stuck = await wire.listen("binance.spot.ethusdt.trades", holds=10)
        for number in range(30_000):
            wire.publisher.publish(trade(number))
        bodies = [body for _, body in await stuck.received()]
        # The sequence names the message, so that a hole in what was received is a hole in the numbers.
        assert all(body["sequence"] == body["trade_id"] + 1 for body in bodies)
        assert len(bodies) < 30_000

    async def test_nothing_is_encoded_that_nobody_is_subscribed_to(self, wire: Wire) -> None:
        events = [trade(), quote(), snapshot(), stale(), candle(), gap()]
        for event in events:
            wire.publisher.publish(event)
        wire.publisher.publish_status({"waiting": 0})
        assert wire.made == 0
        listener = await wire.listen("binance.spot.ethusdt.candles.5m")
        for event in [*events, candle("5m")]:
            wire.publisher.publish(event)
        await listener.receive(1)
        assert wire.made == 1

    async def test_sends_its_state_on_bridge_status(self, wire: Wire) -> None:
        listener = await wire.listen("bridge.status")
        wire.publisher.publish_status({"waiting": 3, "instruments": {"binance.spot.ethusdt": "in step"}})
        wire.publisher.publish_status({"waiting": 4})
        first, second = await listener.receive(2)
        assert first == (
            "bridge.status",
            {
                "type": "status", "epoch": wire.epoch, "protocol": "1", "sequence": 1, "waiting": 3,
                "instruments": {"binance.spot.ethusdt": "in step"},
            },
        )  # fmt: skip
        assert (second[1]["sequence"], second[1]["waiting"]) == (2, 4)

    async def test_status_never_waits(self, wire: Wire) -> None:
        assert not inspect.iscoroutinefunction(wire.publisher.publish_status)
        await wire.listen("bridge.status", holds=10)
        for number in range(20_000):
            wire.publisher.publish_status({"waiting": number})

    async def test_tells_the_prefixes_that_were_subscribed_to_since_the_last_call(self, wire: Wire) -> None:
        assert wire.publisher.newcomers() == frozenset()
        await wire.listen("binance.spot.ethusdt.orderbook")
        await wire.listen("simulated.", "bridge.status")
        assert wire.publisher.newcomers() == {
            "binance.spot.ethusdt.orderbook",
            "simulated.",
            "bridge.status",
        }
        assert wire.publisher.newcomers() == frozenset()

    async def test_tells_of_a_newcomer_to_a_topic_that_others_listen_to_already(self, wire: Wire) -> None:
        await wire.listen("binance.")
        wire.publisher.newcomers()
        await wire.listen("binance.")
        assert wire.publisher.newcomers() == {"binance."}

    async def test_welcomes_whoever_asks_for_it(self, wire: Wire) -> None:
        listener = await wire.listen("bridge.welcome")
        [(topic, body)] = await listener.receive(1)
        assert topic == "bridge.welcome"
        assert body == {"type": "welcome", "epoch": wire.epoch, "protocol": "1", "sequence": 1}

    async def test_recalls_what_was_published_as_it_was_published(self, wire: Wire) -> None:
        listener = await wire.listen("binance.", "bridge.status")
        for event, _, _ in BODIES:
            wire.publisher.publish(event)
        wire.publisher.publish_status({"waiting": 3, "bad_frames": {"broken JSON": 1}})
        published: dict[str, list[dict[str, Any]]] = {}
        for topic, body in await listener.receive(len(BODIES) + 1):
            published.setdefault(topic, []).append(body)
        assert len(published) == 5
        for topic, bodies in published.items():
            recalled = wire.publisher.recall(topic, 0)
            assert (recalled.epoch, recalled.sequence) == (wire.epoch, len(bodies))
            assert recalled.messages == bodies

    async def test_recalls_also_what_nobody_listened_to(self, wire: Wire) -> None:
        for number in range(3):
            wire.publisher.publish(trade(number))
        recalled = wire.publisher.recall("binance.spot.ethusdt.trades", 0).messages
        assert recalled is not None
        assert [(body["sequence"], body["trade_id"]) for body in recalled] == [(1, 0), (2, 1), (3, 2)]
        assert {body["epoch"] for body in recalled} == {wire.epoch}

    @pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, [])])
    async def test_recalls_what_lies_behind_a_sequence(
        self, wire: Wire, after: int, expected: list[int]
    ) -> None:
        for number in range(3):
            wire.publisher.publish(trade(number))
        recalled = wire.publisher.recall("binance.spot.ethusdt.trades", after)
        assert recalled.sequence == 3
        assert [body["sequence"] for body in recalled.messages or ()] == expected
        assert recalled.messages is not None

    async def test_recalls_the_oldest_if_at_most_so_many_are_wanted(self, wire: Wire) -> None:
        for number in range(5):
            wire.publisher.publish(trade(number))
        for most, expected in ((0, []), (2, [2, 3]), (4, [2, 3, 4, 5]), (9, [2, 3, 4, 5])):
            recalled = wire.publisher.recall("binance.spot.ethusdt.trades", 1, most)
            assert [body["sequence"] for body in recalled.messages or ()] == expected
            assert recalled.sequence == 5
            assert recalled.messages is not None

    async def test_recalls_nothing_of_a_topic_without_messages(self, wire: Wire) -> None:
        recalled = wire.publisher.recall("binance.spot.ethusdt.trades", 0)
        assert (recalled.epoch, recalled.sequence, recalled.messages) == (wire.epoch, 0, [])
        wire.publisher.publish(trade())
        assert wire.publisher.recall("binance.spot.ethusdt.trade", 0).sequence == 0
        listener = await wire.listen("binance.")
        wire.publisher.publish(trade())
        assert [body["sequence"] for _, body in await listener.receive(1)] == [2]

    async def test_says_that_it_keeps_some_of_what_is_wanted_no_more(self, wire: Wire) -> None:
        for number in range(wire.kept + 10):
            wire.publisher.publish(trade(number))
        topic = "binance.spot.ethusdt.trades"
        recalled = wire.publisher.recall(topic, 10)
        assert [body["sequence"] for body in recalled.messages or ()] == list(range(11, wire.kept + 11))
        for after in (9, 0, -1):
            recalled = wire.publisher.recall(topic, after)
            assert (recalled.sequence, recalled.messages) == (wire.kept + 10, None)

    @pytest.mark.parametrize("ahead", [1, 2, 10**30])
    async def test_says_so_of_what_lies_ahead_of_the_topic(self, wire: Wire, ahead: int) -> None:
        assert wire.publisher.recall("binance.spot.ethusdt.trades", ahead).messages is None
        wire.publisher.publish(trade())
        assert wire.publisher.recall("binance.spot.ethusdt.trades", 1 + ahead).messages is None
