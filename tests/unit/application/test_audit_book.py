"""Which levels a rebuilt book and a snapshot have to agree on: those that both can know."""

import pytest

from binance_proxy.application.audit_book import BookAudit
from binance_proxy.application.certificate import Findings
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick
from contract.market_store import ETH

FAR = ((70, 1),)
"""A bid behind the end of the venue's snapshots below."""
BIDS: Levels = ((100, 1), (99, 2), (90, 3))
ASKS: Levels = ((101, 1), (110, 2))


def update(number: int, bids: Levels = (), asks: Levels = ()) -> QuoteTick:
    return QuoteTick(
        instrument=ETH, ts_event=number, ts_recv=number, first_update_id=number, last_update_id=number,
        bids=bids, asks=asks,
    )  # fmt: skip


def venues(number: int, bids: Levels = BIDS, asks: Levels = ASKS) -> BookSnapshot:
    """Return a snapshot with the time of its receipt."""
    return BookSnapshot(
        instrument=ETH, ts_event=number, ts_recv=number + 500, last_update_id=number, bids=bids, asks=asks
    )


def own(number: int, bids: Levels = BIDS, asks: Levels = ASKS) -> BookSnapshot:
    """Return a snapshot that has both times of the update that it was taken at."""
    return BookSnapshot(
        instrument=ETH, ts_event=number, ts_recv=number, last_update_id=number, bids=bids, asks=asks
    )


def audited(*events: QuoteTick | BookSnapshot) -> list[str]:
    """Return the faults; the first snapshot begins the book."""
    findings = Findings()
    audit = BookAudit(findings, None)
    for event in events:
        if isinstance(event, BookSnapshot):
            audit.snapshot(event)
        else:
            audit.update(event)
    audit.finish()
    return [fault.what for fault in findings.faults]


@pytest.mark.parametrize("later", [own, venues])
def test_what_both_know_has_to_be_equal(later):
    begin = (venues(1), update(1))
    changed = update(2, ((99, 5),))
    right = ((100, 1), (99, 5), (90, 3))
    assert audited(*begin, later(2, right), changed) == []
    assert len(audited(*begin, later(2, BIDS), changed)) == 1
    assert len(audited(*begin, later(2, right[1:]), changed)) == 1
    assert len(audited(*begin, later(2, ((100, 1), (99, 5), (95, 1), (90, 3))), changed)) == 1
    assert len(audited(*begin, later(2, right, ((101, 1), (105, 1), (110, 2))), changed)) == 1


def test_a_level_behind_the_end_of_the_older_snapshot_is_unknown_until_it_changes():
    begin = (venues(1), update(1))
    assert audited(*begin, venues(2, (*BIDS, *FAR)), update(2)) == []
    seen = update(2, ((70, 4),))  # from now on it is known
    assert audited(*begin, seen, venues(3, (*BIDS, (70, 4))), update(3)) == []
    assert audited(*begin, seen, venues(3, (*BIDS, (70, 9))), update(3)) == [
        "bid 0.0000007 of a snapshot: rebuilt 0.00000004, stored 0.00000009"
    ]


def test_a_level_behind_the_end_of_the_newer_snapshot_says_nothing():
    assert audited(venues(1, (*BIDS, *FAR)), update(1), venues(2), update(2)) == []
    assert len(audited(venues(1, (*BIDS, *FAR)), update(1), own(2), update(2))) == 1


def test_the_own_snapshots_between_two_of_the_venue_do_not_move_the_end():
    seen = update(2, ((50, 4),))
    far = own(2, (*BIDS, (50, 4)))
    assert audited(venues(1), update(1), far, seen, venues(3, (*BIDS, *FAR, (50, 4))), update(3)) == []


def test_a_snapshot_in_the_middle_of_an_update_is_compared_behind_it():
    wide = QuoteTick(
        instrument=ETH, ts_event=2, ts_recv=2, first_update_id=2, last_update_id=5, bids=((99, 7),), asks=()
    )
    halfway = venues(3, ((100, 1), (99, 6), (90, 3)))
    assert audited(venues(1), update(1), halfway, wide) == []
    assert len(audited(venues(1), update(1), venues(3, ((100, 8), (99, 6), (90, 3))), wide)) == 1
