"""Who lags is told by what subscribers say of themselves; whatever they say, it stays small."""

import msgspec
import pytest

from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.zeromq import subscribers as subscribers_module
from binance_proxy.adapters.zeromq.subscribers import FORGET_S, FRESH_S, LAGGING, Place, Report, Subscribers
from contract.publisher import quote, trade

TRADES = "binance.spot.ethusdt.trades"
BOOK = "binance.spot.ethusdt.orderbook"


class Wired:
    """Subscribers of a publisher, on a clock of their own."""

    def __init__(self) -> None:
        self.publisher = MemoryPublisher("e1")
        self.now_s = 100.0
        self.subscribers = Subscribers(self.publisher, now_s=lambda: self.now_s)

    def report(self, client: str = "bot", missed: int = 0, **topics: tuple[str, int]) -> None:
        names = {"trades": TRADES, "book": BOOK, "unknown": "binance.spot.ethusdt.nothing"}
        places = {names[topic]: Place(*place) for topic, place in topics.items()}
        self.subscribers.report(Report(client=client, topics=places, missed=missed))

    @property
    def status(self) -> dict:
        """What is told once the last is old."""
        self.now_s += FRESH_S
        return self.subscribers.status()

    @property
    def clients(self) -> list[dict]:
        return self.status["clients"]


@pytest.fixture
def wired() -> Wired:
    return Wired()


def test_nobody_has_reported_at_first(wired: Wired) -> None:
    assert wired.status == {"reporting": 0, "lagging": 0, "clients": [], "connections": []}


def test_a_subscriber_is_behind_by_what_it_has_not_dealt_with(wired: Wired) -> None:
    for number in range(10):
        wired.publisher.publish(trade(number))
        wired.publisher.publish(quote(number))
    wired.report(missed=2, trades=("e1", 7), book=("e1", 10))
    wired.now_s += 1.5
    assert wired.clients == [
        {
            "client": "bot",
            "lag": 3,
            "lagging": False,
            "missed": 2,
            "age_s": 1.75,
            "topics": {TRADES: 3, BOOK: 0},
        }
    ]


def test_a_later_report_of_the_same_client_counts(wired: Wired) -> None:
    for number in range(10):
        wired.publisher.publish(trade(number))
    wired.report(trades=("e1", 1))
    wired.report(trades=("e1", 10))
    assert [one["lag"] for one in wired.clients] == [0]


def test_who_is_far_behind_or_in_another_run_lags_and_comes_first(wired: Wired) -> None:
    for number in range(LAGGING + 5):
        wired.publisher.publish(trade(number))
    wired.report("keen", trades=("e1", LAGGING + 5))
    wired.report("slow", trades=("e1", 5))
    wired.report("behind", trades=("e1", 6))
    wired.report("old", trades=("e0", LAGGING + 5))
    assert [(one["client"], one["lag"], one["lagging"]) for one in wired.clients] == [
        ("slow", LAGGING, True),
        ("old", 0, True),
        ("behind", LAGGING - 1, False),
        ("keen", 0, False),
    ]
    assert wired.status["lagging"] == 2
    assert next(one for one in wired.clients if one["client"] == "old")["topics"] == {TRADES: None}


def test_a_topic_that_is_none_is_left_out(wired: Wired) -> None:
    wired.publisher.publish(trade())
    wired.report(unknown=("e1", 3), trades=("e1", 1))
    assert wired.clients[0]["topics"] == {TRADES: 0}


def test_who_claims_to_be_ahead_is_not_behind(wired: Wired) -> None:
    wired.publisher.publish(trade())
    wired.report(trades=("e1", 2**62))
    assert wired.clients[0]["lag"] == 0


def test_who_does_not_report_any_more_is_forgotten(wired: Wired) -> None:
    wired.report("first")
    wired.now_s += FORGET_S - 1
    wired.report("second")
    assert wired.status["reporting"] == 2
    wired.now_s += 2
    assert [one["client"] for one in wired.clients] == ["second"]


def test_only_so_many_are_remembered_and_shown(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers_module, "MOST_CLIENTS", 30)
    for number in range(50):
        wired.report(f"bot {number}")
    wired.report("bot 20")
    wired.report("one more")
    status = wired.status
    assert status["reporting"] == 30
    assert len(status["clients"]) == subscribers_module.MOST_SHOWN


def test_of_many_topics_those_are_told_that_it_is_furthest_behind_in(wired: Wired) -> None:
    topics = {}
    for number in range(50):
        topic = f"binance.spot.pair{number}.trades"
        wired.publisher._sequences[topic] = 10 * number + 1
        topics[topic] = Place("e1", 1)
    wired.subscribers.report(Report(client="bot", topics=topics))
    [told] = wired.clients
    assert told["lag"] == 490
    assert list(told["topics"].values()) == list(range(490, 390, -10))


def test_is_worked_out_now_and_then_however_many_ask(wired: Wired) -> None:
    wired.report("first")
    told = wired.status
    wired.report("second")
    wired.now_s += FRESH_S / 2
    assert wired.subscribers.status() is told
    assert wired.status["reporting"] == 2


@pytest.mark.parametrize(
    "said",
    [
        {}, {"client": ""}, {"client": "x" * 101, "topics": {}}, {"client": 7, "topics": {}},
        {"client": "x", "topics": []}, {"client": "x", "topics": {"t": 5}},
        {"client": "x", "topics": {"t" * 201: {"epoch": "e", "sequence": 1}}},
        {"client": "x", "topics": {"t": {"epoch": "e", "sequence": -1}}},
        {"client": "x", "topics": {"t": {"epoch": "e", "sequence": 2**63}}},
        {"client": "x", "topics": {"t": {"epoch": "e" * 101, "sequence": 1}}},
        {"client": "x", "topics": {str(number): {"epoch": "e", "sequence": 1} for number in range(101)}},
        {"client": "x", "topics": {}, "missed": -1}, {"client": "x", "topics": {}, "other": 1},
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(said: dict) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(said, Report)
