"""Which ids no trade has covered, whatever the order that trades come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.missing import AggregatedRecording, MissingIds, matches_of, missing_ids
from contract.market_store import FOREVER, T0, trade

LAST = 60


@given(st.lists(st.tuples(st.integers(-3, LAST + 3), st.integers(0, 9))), st.booleans())
def test_is_what_a_set_would_say(taken: list[tuple[int, int]], by_id: bool) -> None:
    missing, model = MissingIds(1, LAST), set(range(1, LAST + 1))
    for first, more in sorted(taken) if by_id else taken:
        missing.take(trade(first, first_match_id=first, last_match_id=first + more))
        model -= set(range(first, first + more + 1))
    assert [id_ for first, last in missing.ranges for id_ in range(first, last + 1)] == sorted(model)
    assert missing.count == len(model)
    assert all(
        one.last_id + 1 < other.first_id
        for one, other in zip(missing.absences, missing.absences[1:], strict=False)
    )


@given(st.lists(st.integers(0, LAST + 1)))
def test_every_absence_knows_its_neighbours(taken: list[int]) -> None:
    missing = MissingIds(1, LAST)
    for id_ in taken:
        missing.take(trade(id_))
    for absence in missing.absences:
        before, behind = absence.first_id - 1, absence.last_id + 1
        assert (absence.before and absence.before.trade_id) == (before if before in taken else None)
        assert (absence.behind and absence.behind.trade_id) == (behind if behind in taken else None)


def test_nothing_is_missing_of_nothing() -> None:
    assert MissingIds(2, 1).ranges == []


async def test_stored_trades_of_the_range_are_looked_through() -> None:
    store = MemoryStore()
    await store.append([trade(id_) for id_ in (2, 3, 7)])
    await store.append([trade(9, first_match_id=9, last_match_id=11)])
    assert (await missing_ids(store, trade(1).instrument, *FOREVER, 1, 12)).ranges == [
        (1, 1),
        (4, 6),
        (8, 8),
        (12, 12),
    ]
    until_3 = await missing_ids(store, trade(1).instrument, 0, T0 + 3_000_000, 1, 4)
    assert until_3.ranges == [(1, 1), (3, 4)]


async def test_aggregated_trades_with_ids_of_their_own_cannot_tell_what_is_missing() -> None:
    store = MemoryStore()
    await store.append([trade(4, first_match_id=9, last_match_id=11)])
    with pytest.raises(AggregatedRecording, match=r"binance\.spot\.ethusdt"):
        await missing_ids(store, trade(1).instrument, *FOREVER, 1, 12)


def test_a_single_trade_stands_for_itself() -> None:
    assert matches_of(trade(5)) == (5, 5)
    assert matches_of(replace(trade(5), first_match_id=5, last_match_id=8)) == (5, 8)
