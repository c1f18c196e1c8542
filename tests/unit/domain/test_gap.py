"""What becomes of a gap that could be filled only in part: exactly what is missing is lost, and no more."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from binance_proxy.domain.gap import Gap, GapState, settle
from binance_proxy.domain.instrument import Instrument, Market, Stream

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")


def gap(first: int, last: int, state: GapState = GapState.OPEN) -> Gap:
    return Gap(
        instrument=ETH, ts_event=9, ts_recv=10, stream=Stream.TRADES, first_id=first, last_id=last, start=3,
        end=9, state=state,
    )  # fmt: skip


def ranges(ids: set[int]) -> list[tuple[int, int]]:
    """Return ids as ranges, lowest first."""
    found: list[tuple[int, int]] = []
    for one in sorted(ids):
        if found and found[-1][1] == one - 1:
            found[-1] = (found[-1][0], one)
        else:
            found.append((one, one))
    return found


def settled(known: Gap, missing: list[tuple[int, int]]) -> list[tuple[int, int, GapState]]:
    return [(one.first_id, one.last_id, one.state) for one in settle(known, missing)]


def test_with_nothing_missing_it_is_repaired_as_it_is():
    assert settle(gap(5, 9), []) == [gap(5, 9, GapState.REPAIRED)]


def test_with_everything_missing_it_is_lost_as_it_is():
    assert settle(gap(5, 9), [(5, 9)]) == [gap(5, 9, GapState.LOST)]


def test_missing_at_its_beginning_it_is_lost_and_ends_where_that_ends():
    assert settled(gap(5, 9), [(5, 6)]) == [(5, 6, GapState.LOST)]


def test_missing_at_its_end_it_is_repaired_up_to_there_and_a_lost_one_follows():
    assert settled(gap(5, 9), [(8, 9)]) == [(5, 7, GapState.REPAIRED), (8, 9, GapState.LOST)]


def test_missing_in_places_each_place_is_a_lost_one():
    assert settled(gap(1, 20), [(1, 2), (5, 5), (19, 20)]) == [
        (1, 2, GapState.LOST), (5, 5, GapState.LOST), (19, 20, GapState.LOST),
    ]  # fmt: skip


@given(st.integers(1, 50), st.integers(0, 25), st.data())
def test_what_is_lost_is_exactly_what_is_missing(first: int, length: int, data: st.DataObject):
    known = gap(first, first + length)
    missing = data.draw(st.sets(st.integers(known.first_id, known.last_id)))
    after = settle(known, ranges(missing))
    lost = [(one.first_id, one.last_id) for one in after if one.state is GapState.LOST]
    assert lost == ranges(missing), "each range is one gap"
    assert after[0].first_id == known.first_id, "the first is the gap itself, as others know it"
    assert after[0].last_id <= known.last_id
    for one in after:
        ids = set(range(one.first_id, one.last_id + 1))
        if one.state is GapState.REPAIRED:
            assert one is after[0], "only the gap itself is called repaired"
            assert ids
            assert not ids & missing
        else:
            assert one.state is GapState.LOST
        same = replace(one, first_id=first, last_id=first + length, state=GapState.OPEN)
        assert same == known, "times and instrument stay"
    assert len({one.first_id for one in after}) == len(after), "each can be told from the others"
