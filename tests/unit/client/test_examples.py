"""Single cases of following, and the small parts that it is made of."""

import ast
import decimal
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import binance_proxy.client
from binance_proxy.client.book import OrderBook
from binance_proxy.client.calls import Calls
from binance_proxy.client.errors import RequestFailed
from binance_proxy.client.follow import Ask, Failure
from binance_proxy.client.follow_book import BookFollower
from binance_proxy.client.follow_events import EventFollower, TradeFollower
from binance_proxy.client.ids import SeenIds
from binance_proxy.client.messages import Missed, Quote, Trade, read_message
from unit.client.model import BOOK, TRADES, Model

SOURCES = sorted(Path(binance_proxy.client.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_client_imports_the_standard_library_zmq_and_msgspec_and_nothing_else(source: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    own = {
        name
        for name in imported
        if name == "binance_proxy.client" or name.startswith("binance_proxy.client.")
    }
    assert {name.partition(".")[0] for name in imported - own} <= sys.stdlib_module_names | {"zmq", "msgspec"}


def follow(model: Model, follower: EventFollower | BookFollower) -> None:
    """Deliver everything, and answer everything that is asked."""
    for _ in range(50):
        while model.on_its_way:
            topic, body = model.on_its_way.popleft()
            if topic == follower.topic:
                follower.feed(body)
        for ask in follower.to_send():
            assert isinstance(ask, Ask)
            result = model.answer(ask.method, ask.params)
            assert result is not None
            follower.answer(ask, result)


def taken(follower: EventFollower) -> list[object]:
    events = []
    while (event := follower.next()) is not None:
        events.append(event.trade_id if isinstance(event, Trade) else event)
    return events


def joined(model: Model, **more: int) -> TradeFollower:
    follower = TradeFollower(TRADES, "ETH/USDT", **more)
    follower.joined()
    follow(model, follower)
    return follower


def test_a_trade_that_a_new_run_publishes_again_comes_once() -> None:
    model = Model()
    follower = joined(model)
    for _ in range(3):
        model.trade()
    follow(model, follower)
    model.forgetful_restart()
    model.link_is_up = True
    follower.joined()
    model.trade()
    model.late_trade()
    follow(model, follower)
    assert taken(follower) == [1_000, 1_001, 1_002, 1_003]


def test_a_hole_of_the_venue_that_was_filled_meanwhile_is_looked_into() -> None:
    model = Model()
    follower = joined(model)
    model.trade()
    model.skip()
    model.trade()
    follow(model, follower)
    model.late_trade()
    for _ in range(20):  # more than is remembered
        model.trade()
    model.on_its_way.clear()
    model.trade()
    follow(model, follower)
    assert taken(follower) == [1_000, 1_002, 1_001, *range(1_003, 1_024)]


def test_an_answer_to_what_was_asked_before_the_link_broke_proves_nothing() -> None:
    model = Model()
    model.snapshot()
    follower = BookFollower(BOOK, "ETH/USDT")
    follower.joined()
    follow(model, follower)
    assert follower.book.in_step
    follower.doubt("a test")
    follower.joined()
    [asked] = follower.to_send()
    early = model.answer(asked.method, asked.params)
    follower.doubt("a test")
    model.quote((45, 1), (55, 1))
    model.on_its_way.clear()
    follower.joined()
    follower.answer(asked, early)
    assert not follower.book.in_step
    follow(model, follower)
    assert follower.book.in_step
    assert follower.book.last_update_id == model.update_id


def test_a_book_out_of_step_says_why_the_bridge_does_not_give_one() -> None:
    follower = BookFollower(BOOK, "ETH/USDT")
    assert follower.book.reason == "no snapshot has come yet"
    follower.joined()
    [asked] = follower.to_send()
    follower.failed(asked, Failure(reason="orderbook.get: it was never recorded", retry=False))
    assert follower.book.reason == "orderbook.get: it was never recorded; waiting for a snapshot"


def test_trades_that_are_not_stored_yet_are_asked_for_again_and_then_told() -> None:
    model = Model()
    follower = joined(model)
    model.trade()
    follow(model, follower)
    for _ in range(20):
        model.trade()
    model.on_its_way.clear()
    model.trade()
    while model.on_its_way:
        follower.feed(model.on_its_way.popleft()[1])
    asks = 0
    for _ in range(100):
        for ask in follower.to_send():
            if ask.method == "trades.list":
                asks += 1
                follower.answer(ask, msgspec.msgpack.encode({"rows": [], "next": None, "stored": False}))
            else:
                follower.answer(ask, model.answer(ask.method, ask.params))
    first, missed, last = taken(follower)
    assert (first, last) == (1_000, 1_021)
    assert isinstance(missed, Missed)
    assert missed.ids == ((1_001, 1_020),)
    assert "not in the bridge's store yet" in missed.reason
    assert asks > 3


def test_missed_candles_are_counted() -> None:
    model = Model()
    follower = EventFollower(TRADES, can_ask=False)  # any topic will do
    follower.joined()
    model.trade()
    follow(model, follower)
    model.trade()
    model.trade()
    model.on_its_way.clear()
    model.trade()
    follow(model, follower)
    first, missed, last = taken(follower)
    assert (first, last) == (1_000, 1_003)
    assert missed == Missed(topic=TRADES, reason="there is no request side to ask", messages=2)


@given(st.lists(st.integers(0, 60), max_size=60))
def test_seen_ids_are_a_set_with_its_holes(ids: list[int]) -> None:
    seen, model = SeenIds(), set[int]()
    for one in ids:
        assert seen.add(one, one * 10) == (one not in model)
        model.add(one)
    assert {one for one in range(61) if one in seen} == model
    missing = {one for first, last in seen.missing("binance", 0, 60) for one in range(first, last + 1)}
    assert missing == set(range(61)) - model
    assert seen.missing("elsewhere", 0, 60) == []
    for before, behind in seen.holes("binance", 100):
        assert (before.end, behind.start) == (before.last_id * 10, behind.first_id * 10)
        assert not any(one in seen for one in range(before.last_id + 1, behind.first_id))


def test_a_new_run_of_a_simulated_venue_is_no_hole() -> None:
    seen = SeenIds()
    seen.add(5, 5)
    assert seen.missing("simulated", 6, 9) == [(6, 9)]
    assert seen.missing("simulated", 6, 5_000_000) == []


def quote(first: int, last: int, bids=(), asks=(), previous=None) -> Quote:
    return Quote(
        venue="binance", market="spot", symbol="ETH/USDT", ts_event=last, ts_recv=last, first_update_id=first,
        last_update_id=last, previous_update_id=previous,
        bids=tuple((Decimal(price), Decimal(size)) for price, size in bids),
        asks=tuple((Decimal(price), Decimal(size)) for price, size in asks),
    )  # fmt: skip


def book(**more: object) -> OrderBook:
    made = OrderBook("ETH/USDT")
    levels = {
        "bids": ((Decimal("99.5"), Decimal(1)), (Decimal(99), Decimal(2))),
        "asks": ((Decimal(101), Decimal(3)),),
    }  # fmt: skip
    assert made.begin(last_update_id=10, ts_event=1, ts_recv=1, **(levels | more)) is None
    made.regain()
    return made


def test_a_book_answers_what_a_person_asks_first() -> None:
    one = book()
    assert one.best_bid == (Decimal("99.5"), Decimal(1))
    assert one.best_ask == (101, 3)
    assert (one.spread, one.mid) == (Decimal("1.5"), Decimal("100.25"))
    assert one.spread_bps == pytest.approx(149.6259)
    assert one.bids(1) == ((Decimal("99.5"), 1),)
    empty = book(bids=(), asks=())
    assert (empty.best_bid, empty.best_ask, empty.spread, empty.mid, empty.spread_bps) == (None,) * 5


def test_a_book_is_exact_whatever_precision_the_program_has_set() -> None:
    with decimal.localcontext() as context:
        context.prec = 3
        one = book(asks=((Decimal("101.00000000000000001"), Decimal("1.23456789")),))
        assert one.apply(quote(11, 11, asks=[("101.00000000000000002", "7.0000001")])) is None
        assert one.asks() == (
            (Decimal("101.00000000000000001"), Decimal("1.23456789")),
            (Decimal("101.00000000000000002"), Decimal("7.0000001")),
        )
        assert one.apply(quote(12, 12, asks=[("101.00000000000000001", "0")])) is None
        assert [str(price) for price, _ in one.asks()] == ["101.00000000000000002"]


@pytest.mark.parametrize(
    ("update", "wrong"),
    [
        (quote(12, 13), "update 12 does not follow 10"),
        (quote(11, 12, bids=[("101", "1")]), "bids and asks cross at update 12"),
        (quote(20, 21, previous=11), "update 20 does not follow 10"),
    ],
)
def test_an_update_that_cannot_be_right_is_refused(update: Quote, wrong: str) -> None:
    assert book().apply(update) == wrong


def test_an_old_update_changes_nothing_and_one_that_overlaps_is_applied() -> None:
    one = book()
    assert one.apply(quote(5, 10, bids=[("1", "1")])) is None
    assert len(one.bids()) == 2
    assert one.apply(quote(5, 11, bids=[("1", "1")])) is None
    assert one.last_update_id == 11
    assert one.apply(quote(30, 31, previous=11)) is None
    assert one.apply(quote(40, 41, previous=30)) == "update 40 does not follow 31"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    try:
        read_message(body)
    except (msgspec.MsgspecError, ValueError):
        return


@given(st.binary(max_size=60))
def test_any_bytes_as_a_message_or_an_answer_harm_no_follower(body: bytes) -> None:
    for follower in (BookFollower(BOOK, "ETH/USDT"), TradeFollower(TRADES, "ETH/USDT")):
        follower.joined()
        [asked] = follower.to_send()
        follower.feed(body)
        follower.answer(asked, body)
        if isinstance(follower, BookFollower):
            assert not follower.book.in_step


def test_answers_find_their_requests_by_number_alone() -> None:
    calls = Calls()
    first, body = calls.begin("pairs.list", {"timeout_ms": 5})
    second, _ = calls.begin("trades.list", {})
    assert msgspec.msgpack.decode(body) == {
        "jsonrpc": "2.0", "id": first, "method": "pairs.list", "params": {"timeout_ms": 5},
    }  # fmt: skip
    error = {"code": -32001, "message": "too late", "data": {"kind": "Deadline", "retry": True}}
    number, failed = calls.take([b"", msgspec.msgpack.encode({"id": second, "error": error})])
    assert number == second
    assert isinstance(failed, RequestFailed)
    assert (failed.method, failed.code, failed.kind, failed.retry) == (
        "trades.list",
        -32001,
        "Deadline",
        True,
    )
    number, answer = calls.take([msgspec.msgpack.encode({"id": first, "result": [1]}), b"ARROW"])
    assert (number, answer.read(list[int]), answer.arrow) == (first, [1], b"ARROW")
    assert calls.under_way == 0
    assert calls.take([msgspec.msgpack.encode({"id": first, "result": [1]})]) is None
