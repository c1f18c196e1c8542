"""Two connections are made into one: whatever their delays, nothing is lost, doubled, or out of order."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.binance.handover import Handover, Lane
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.sequence import covered_ids
from binance_proxy.domain.tick import QuoteTick, Side, Tick, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
SOL = Instrument(venue="binance", market=Market.SPOT, symbol="SOL/USDT")
SOURCES = ("old", "new")


def trade(number: int, instrument: Instrument = ETH) -> TradeTick:
    return TradeTick(
        instrument=instrument, ts_event=1, ts_recv=1, trade_id=number, price=1, size=1, aggressor=Side.BUY
    )


def quote(first: int, last: int, instrument: Instrument = ETH) -> QuoteTick:
    return QuoteTick(
        instrument=instrument,
        ts_event=1,
        ts_recv=1,
        first_update_id=first,
        last_update_id=last,
        bids=(),
        asks=(),
    )


def lane_of(tick: Tick) -> Lane:
    return tick.instrument, type(tick)


def last_id(tick: Tick) -> int:
    return tick.trade_id if isinstance(tick, TradeTick) else covered_ids(tick)[1]


def ids(ticks: Sequence[Tick]) -> list[int]:
    return [last_id(tick) for tick in ticks]


def by_lane(ticks: Sequence[Tick]) -> dict[Lane, list[int]]:
    lanes: dict[Lane, list[int]] = defaultdict(list)
    for tick in ticks:
        lanes[lane_of(tick)].append(last_id(tick))
    return lanes


@st.composite
def truths(draw: st.DrawFn) -> list[Tick]:
    """Draw what happened, over several lanes; the ids of each lane run without holes."""
    reached = {"trade": 0, "sol trade": 0, "quote": 0, "sol quote": 0}
    ticks: list[Tick] = []
    for kind in draw(st.lists(st.sampled_from(sorted(reached)), min_size=1, max_size=40)):
        first = reached[kind] + 1
        reached[kind] += draw(st.integers(1, 3)) if "quote" in kind else 1
        instrument = SOL if "sol" in kind else ETH
        is_quote = "quote" in kind
        ticks.append(quote(first, reached[kind], instrument) if is_quote else trade(first, instrument))
    return ticks


@st.composite
def overlaps(draw: st.DrawFn) -> tuple[list[Tick], list[tuple[str, Tick]], int, int]:
    """Draw a truth, the arrivals of both connections, and where the new one began and the old one ended.

    The old connection brings a beginning of the truth, the new one all behind some point that the old one
    has still brought; each in order, interleaved in any way.
    """
    truth = draw(truths())
    begins = draw(st.integers(0, len(truth)))
    ends = draw(st.integers(begins, len(truth)))
    left = {"old": list(truth[:ends]), "new": list(truth[begins:])}
    arrivals: list[tuple[str, Tick]] = []
    while left["old"] or left["new"]:
        source = draw(st.sampled_from([one for one in SOURCES if left[one]]))
        burst = draw(st.integers(1, 8))
        arrivals += [(source, tick) for tick in left[source][:burst]]
        del left[source][:burst]
    return truth, arrivals, begins, ends


def take(handover: Handover, source: str, tick: Tick) -> tuple[Tick, ...]:
    return handover.old(tick) if source == "old" else handover.new(tick)


def check_in_order(out: Sequence[Tick]) -> None:
    for lane in by_lane(out).values():
        assert all(earlier < later for earlier, later in pairwise(lane)), "doubled or out of order"


@given(overlaps())
def test_all_that_happened_comes_out_once_and_in_order(overlap) -> None:
    truth, arrivals, _, _ = overlap
    handover = Handover()
    out = [passed for source, tick in arrivals for passed in take(handover, source, tick)]
    out += handover.finish()
    assert by_lane(out) == by_lane(truth)


@given(overlaps(), st.data())
def test_the_new_one_goes_on_alone(overlap, data: st.DataObject) -> None:
    """At any moment, also early: all comes out that the old one had brought, or that the new one brings."""
    truth, arrivals, begins, _ = overlap
    at = data.draw(st.integers(0, len(arrivals)))
    handover, out = Handover(), []
    for source, tick in arrivals[:at]:
        out += take(handover, source, tick)
    was_agreed, waited = handover.agreed, handover.finish()
    assert not (was_agreed and waited)
    out += waited
    for source, tick in arrivals[at:]:
        if source == "new":
            out += handover.rest(tick)
    check_in_order(out)
    assert set(map(key_of, truth[begins:])) <= set(map(key_of, out))
    old_before = [tick for source, tick in arrivals[:at] if source == "old"]
    assert set(map(key_of, old_before)) <= set(map(key_of, out))


@given(overlaps(), st.data())
def test_the_old_one_goes_on_alone_after_the_new_one_has_failed(overlap, data: st.DataObject) -> None:
    _, arrivals, _, _ = overlap
    at = data.draw(st.integers(0, len(arrivals)))
    handover, out = Handover(), []
    for source, tick in arrivals[:at]:
        out += take(handover, source, tick)
    handover.give_up()
    for source, tick in arrivals[at:]:
        if source == "old":
            out += handover.rest(tick)
    check_in_order(out)
    assert {key_of(tick) for source, tick in arrivals if source == "old"} <= set(map(key_of, out))


@given(overlaps(), st.data())
def test_a_handover_may_follow_before_the_last_one_is_over(overlap, data: st.DataObject) -> None:
    """The connection that is left may be behind, and is itself replaced."""
    truth, arrivals, begins, _ = overlap
    at = data.draw(st.integers(0, len(arrivals)))
    first, second, out = Handover(), Handover(), []
    for source, tick in arrivals[:at]:
        out += take(first, source, tick)
    out += first.finish()
    second.follow(first)
    rest = [tick for source, tick in arrivals[at:] if source == "new"]
    third_begins = data.draw(st.integers(0, len(rest)))
    for tick in rest[:third_begins]:
        out += second.old(tick)
    for tick in rest[third_begins:]:
        out += second.new(tick)
        out += second.old(tick)
    out += second.finish()
    check_in_order(out)
    assert set(map(key_of, truth[begins:])) <= set(map(key_of, out))


def key_of(tick: Tick) -> tuple[Lane, int]:
    return lane_of(tick), last_id(tick)


def test_the_new_connection_is_not_believed_before_the_old_one_has_come_to_where_it_began() -> None:
    handover = Handover()
    assert handover.new(trade(12)) == ()
    assert not handover.agreed
    assert ids(handover.old(trade(10))) == [10]
    assert ids(handover.new(trade(13))) == []
    assert ids(handover.old(trade(11))) == [11, 12, 13]
    assert handover.agreed
    assert handover.old(trade(12)) == ()
    assert ids(handover.new(trade(14))) == [14]
    assert ids(handover.old(trade(15))) == [15]


def test_an_old_connection_that_died_leaves_what_the_new_one_has_brought() -> None:
    handover = Handover()
    handover.old(trade(10))
    handover.new(trade(12))
    handover.new(quote(5, 7))
    assert sorted(ids(handover.finish())) == [7, 12]
    assert handover.agreed


def test_it_is_over_once_the_one_that_is_left_has_caught_up_everywhere() -> None:
    handover = Handover()
    for tick in (trade(10), quote(1, 4), trade(11)):
        handover.old(tick)
    handover.new(trade(10))
    assert not handover.is_over
    assert handover.finish() == ()
    assert not handover.is_over
    assert handover.rest(trade(11)) == ()
    assert ids(handover.rest(trade(12))) == [12]
    assert ids(handover.rest(trade(3, SOL))) == [3]
    assert not handover.is_over
    assert ids(handover.rest(quote(5, 6))) == [6]
    assert handover.is_over


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handover, "HELD", 100)
    handover = Handover()
    out = [passed for number in range(1, 200) for passed in handover.new(trade(number))]
    assert ids(out) == list(range(1, 200))
    assert handover.agreed


def test_what_one_connection_skips_is_taken_from_the_other_however_late() -> None:
    handover, out = Handover(), []
    for source, number in (
        ("old", 100), ("old", 101), ("new", 101), ("new", 102), ("old", 102), ("old", 103), ("new", 103),
        ("new", 105), ("old", 104), ("old", 105), ("new", 104), ("old", 107), ("new", 106), ("new", 107),
    ):  # fmt: skip
        out += take(handover, source, trade(number))
    assert ids(out) == [100, 101, 102, 103, 105, 104, 107, 106]


@pytest.mark.parametrize("left", ["old", "new"])
def test_what_was_skipped_is_taken_from_the_one_that_is_left(left: str) -> None:
    handover, out = Handover(), []
    other = "new" if left == "old" else "old"
    for source, number in (("old", 1), ("new", 1), (other, 2), (other, 4), (other, 5)):
        out += take(handover, source, trade(number))
    if left == "old":
        handover.give_up()
    else:
        assert handover.finish() == ()
    out += [passed for number in (2, 3, 4, 5, 6) for passed in handover.rest(trade(number))]
    assert ids(out) == [1, 2, 4, 5, 3, 6]
    assert handover.is_over


@given(overlaps(), st.data())
def test_messages_that_one_of_them_drops_are_not_lost(overlap, data: st.DataObject) -> None:
    """Once both agree; before that the old one alone is believed."""
    truth, arrivals, _, _ = overlap
    old = [key_of(tick) for source, tick in arrivals if source == "old"]
    both = [key_of(tick) for source, tick in arrivals if source == "new" and key_of(tick) in old]
    dropped = set(data.draw(st.lists(st.sampled_from(both), max_size=5))) if both else set()
    first: dict[Lane, int] = {}
    for lane, number in both:
        first.setdefault(lane, number)
    dropped -= set(first.items())  # the new one has to begin with what the old one has brought
    handover = Handover()
    out = [
        passed
        for source, tick in arrivals
        if source == "old" or key_of(tick) not in dropped
        for passed in take(handover, source, tick)
    ]
    out += handover.finish()
    found = list(map(key_of, out))
    assert len(found) == len(set(found))
    assert set(found) == set(map(key_of, truth))


def test_what_was_passed_on_before_there_were_two_is_a_double() -> None:
    handover = Handover()
    assert ids(handover.old(quote(10, 12))) == [12]
    assert [handover.new(tick) for tick in (quote(7, 9), quote(8, 11), quote(10, 12))] == [(), (), ()]
    assert ids(handover.new(quote(12, 14))) == [14]


def test_a_venue_that_numbers_anew_ends_the_wait_for_the_other_one() -> None:
    handover = Handover()
    for number in (1_000_000, 1_000_001):
        handover.old(trade(number))
    handover.finish()
    assert handover.rest(trade(999_999)) == ()
    assert not handover.is_over
    assert ids([*handover.rest(trade(1)), *handover.rest(trade(2))]) == [1, 2]
    assert handover.is_over
