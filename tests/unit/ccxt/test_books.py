"""What changed in a book that ccxt keeps; checked against books that are compared by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.ccxt.books import WatchedBook, changes
from binance_proxy.application.ports import FrameRejected
from binance_proxy.domain.book_sync import BookSync
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import BookSnapshot, QuoteTick

BTC = Instrument(venue="kraken", market=Market.SPOT, symbol="BTC/USDT", price_precision=2, size_precision=3)
RECV = 1_760_000_000_123_456_789
STEP = 1_000_000


def state(bids: Any, asks: Any, timestamp: int | None = 1_760_000_000_100) -> dict[str, Any]:
    return {"bids": bids, "asks": asks, "timestamp": timestamp, "nonce": 5}


def test_first_a_snapshot_then_exactly_what_changed() -> None:
    book = WatchedBook(BTC)
    (snapshot,) = book.feed(state([[100.5, 1.0], [100.0, 2.0]], [[101.0, 3.0]]), RECV)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.last_update_id == RECV // 1_000
    assert snapshot.bids == ((10_050, 1_000), (10_000, 2_000))
    assert snapshot.asks == ((10_100, 3_000),)
    assert snapshot.ts_event == 1_760_000_000_100_000_000
    (quote,) = book.feed(state([[100.6, 4.0], [100.5, 1.0]], [[101.0, 3.5]]), RECV + STEP)
    assert isinstance(quote, QuoteTick)
    assert quote.first_update_id == quote.last_update_id == snapshot.last_update_id + 1
    assert set(quote.bids) == {(10_060, 4_000), (10_000, 0)}
    assert quote.asks == ((10_100, 3_500),)


def test_what_ccxt_changes_in_place_later_is_not_noticed_too_early() -> None:
    book = WatchedBook(BTC)
    raw = state([[100.0, 1.0]], [[101.0, 1.0]])
    book.feed(raw, RECV)
    raw["bids"][0][1] = 7.0
    (quote,) = book.feed(raw, RECV + STEP)
    assert isinstance(quote, QuoteTick)
    assert quote.bids == ((10_000, 7_000),)


def test_a_state_that_is_the_same_says_nothing() -> None:
    book = WatchedBook(BTC)
    book.feed(state([[100.0, 1.0]], []), RECV)
    assert list(book.feed(state([[100.0, 1.0]], []), RECV + STEP)) == []
    (quote,) = book.feed(state([], []), RECV + STEP)
    assert isinstance(quote, QuoteTick)
    assert quote.last_update_id == RECV // 1_000 + 1


def test_a_third_value_and_empty_levels_are_no_matter() -> None:
    (snapshot,) = WatchedBook(BTC).feed(state([[100.0, 1.0, 5], [99.0, 0.0, 0]], []), RECV)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.bids == ((10_000, 1_000),)


def test_without_a_time_of_the_venue_ours_is_taken() -> None:
    (snapshot,) = WatchedBook(BTC).feed(state([], [], None), RECV)
    assert snapshot.ts_event == RECV - RECV % STEP


def test_after_a_loss_comes_a_snapshot_that_does_not_follow() -> None:
    book = WatchedBook(BTC)
    book.feed(state([[100.0, 1.0]], []), RECV)
    (quote,) = book.feed(state([[100.0, 2.0]], []), RECV)
    assert isinstance(quote, QuoteTick)
    book.lose_step()
    (snapshot,) = book.feed(state([[100.0, 2.0]], []), RECV)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.last_update_id > quote.last_update_id + 1
    book.lose_step()
    (later,) = book.feed(state([[100.0, 2.0]], []), RECV + 10 * STEP)
    assert isinstance(later, BookSnapshot)
    assert later.last_update_id == (RECV + 10 * STEP) // 1_000


def test_a_snapshot_that_was_asked_for_comes_once_behind_the_update() -> None:
    book = WatchedBook(BTC)
    book.feed(state([[100.0, 1.0]], []), RECV)
    book.ask()
    quote, snapshot = book.feed(state([[100.0, 2.0]], []), RECV)
    assert isinstance(quote, QuoteTick)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.last_update_id == quote.last_update_id
    assert snapshot.bids == ((10_000, 2_000),)
    assert len(book.feed(state([[100.0, 3.0]], []), RECV)) == 1


@pytest.mark.parametrize(
    "bad",
    [
        state([[100.001, 1.0]], []), state([[100.0, 0.1 + 0.2]], []), state([[100.0, -1.0]], []),
        state([[0.0, 1.0]], []), state([[None, 1.0]], []), state([[100.0]], []), state(None, []),
        {"bids": []},
        state([[float("nan"), 1.0]], []), state([["x", 1.0]], []), {"bids": [], "asks": [], "timestamp": "x"},
    ],
)  # fmt: skip
def test_a_state_that_cannot_be_told_exactly_is_refused_and_the_next_follows(bad: dict[str, Any]) -> None:
    book = WatchedBook(BTC)
    book.feed(state([[99.0, 1.0]], []), RECV)
    with pytest.raises(FrameRejected):
        book.feed(bad, RECV)
    (quote,) = book.feed(state([[98.0, 1.0]], []), RECV)
    assert isinstance(quote, QuoteTick)
    assert quote.last_update_id == RECV // 1_000 + 1
    assert set(quote.bids) == {(9_800, 1_000), (9_900, 0)}


Sides = st.dictionaries(st.integers(1, 20), st.integers(1, 5), max_size=8)


@given(st.lists(st.tuples(Sides, Sides, st.sampled_from(["", "ask", "lose"])), min_size=2, max_size=20))
def test_whoever_applies_the_updates_has_the_book(
    states: list[tuple[dict[int, int], dict[int, int], str]],
) -> None:
    book, sync = WatchedBook(BTC), BookSync()
    now = RECV
    for bids, asks, before in states:
        now += 1
        if before == "ask":
            book.ask()
        elif before == "lose":
            book.lose_step()
            sync.lose_step()
        raw = state(
            [[p / 100, s / 1_000] for p, s in bids.items()],
            [[(p + 100) / 100, s / 1_000] for p, s in asks.items()],
        )
        for event in book.feed(raw, now):
            if isinstance(event, QuoteTick):
                sync.update(event)
            else:
                sync.snapshot(event)
        if sync.book is not None:
            assert sync.book.depth() == (
                tuple(sorted(bids.items(), reverse=True)),
                tuple(sorted((p + 100, s) for p, s in asks.items())),
            )


@given(Sides, Sides)
def test_changes_lead_from_one_side_to_the_other(before: dict[int, int], after: dict[int, int]) -> None:
    changed = changes(before, after)
    assert {price: size for price, size in (before | changed).items() if size} == after
    assert all(before.get(price) != size for price, size in changed.items())
