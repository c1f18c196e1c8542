"""The venue's book is right, or it is not there."""

from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.sandbox.book import Checksums, VenueBook
from sandboxed import BTC, quote, snapshot


def test_there_is_no_book_before_the_first_snapshot():
    book = VenueBook()
    assert not book.update(quote(1))
    assert book.now is None
    assert book.needs_snapshot
    book.update(quote(2))
    assert not book.needs_snapshot  # it was asked for


def test_updates_that_came_before_the_snapshot_and_follow_it_are_in_the_book():
    book = VenueBook()
    for number in range(1, 6):
        book.update(quote(number, bids=[(number, 1)]))
    assert book.snapshot(snapshot(3))
    assert book.now is not None
    assert book.now.last_update_id == 5
    assert [price // 10**8 for price, _ in book.now.bids()] == [59_000, 5, 4]


def test_older_updates_leave_the_book_alone():
    book = VenueBook()
    book.snapshot(snapshot(10))
    assert not book.update(quote(9, bids=[(5, 1)]))
    assert book.update(quote(10, 11))


def test_a_snapshot_that_came_early_mends_a_hole_at_once():
    book = VenueBook()
    book.snapshot(snapshot(10))
    book.snapshot(snapshot(14))
    assert book.now is not None
    assert book.now.last_update_id == 10  # it is right, and stays
    assert book.update(quote(15))
    assert book.now.last_update_id == 15


def test_an_older_book_is_kept_for_those_who_are_to_be_misled():
    book = VenueBook()
    book.snapshot(snapshot(0))
    for number in range(1, 2_001):
        book.update(quote(number))
    assert book.older is not None
    assert 250 <= 2_000 - book.older.last_update_id <= 500


def test_every_update_that_the_book_took_has_a_checksum_those_that_waited_too():
    book = VenueBook(Checksums(BTC))
    for number in range(1, 6):
        book.update(quote(number, bids=[(number, 1)]))
    book.snapshot(snapshot(3))
    book.update(quote(6, bids=[(5, 0), (4, 0)]))
    assert book.checksums is not None
    sums = book.checksums.page(0, 100)
    assert list(sums) == [3, 4, 5, 6]
    assert sums[6] == sums[3]  # the same levels
    assert len(set(sums.values())) == 3


@given(st.lists(st.sampled_from(["next", "skip", "old", "snapshot"]), max_size=60))
def test_whatever_comes_a_book_has_every_update_up_to_its_id(steps):
    book, number = VenueBook(), 0
    for step in steps:
        number += {"next": 1, "skip": 2, "old": 0, "snapshot": 0}[step]
        if step == "snapshot":
            book.snapshot(snapshot(number))
        elif number:
            book.update(quote(number))
        if book.now is not None:
            assert book.now.last_update_id == number
