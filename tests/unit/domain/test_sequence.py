"""What was missed is found, and what comes late closes the hole that it left."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from binance_proxy.domain.errors import TickRejected
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.sequence import (
    Arrival,
    Hole,
    IdSequence,
    KnownIds,
    SpotSequence,
    Step,
    UsdmSequence,
    book_sequence,
    covered_ids,
)
from binance_proxy.domain.tick import QuoteTick

SPOT = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")


def update(first, last, previous=None):
    return QuoteTick(
        instrument=SPOT,
        ts_event=1,
        ts_recv=1,
        first_update_id=first,
        last_update_id=last,
        previous_update_id=previous,
        bids=(),
        asks=(),
    )


class TestSpotSequence:
    @pytest.mark.parametrize(
        ("first", "last", "step"),
        [
            (90, 95, Step.OLD),
            (90, 99, Step.OLD),
            (90, 100, Step.OLD),  # the snapshot ends exactly where this event does
            (100, 100, Step.OLD),
            (90, 101, Step.APPLY),
            (100, 101, Step.APPLY),
            (101, 101, Step.APPLY),  # the first one, if the snapshot was equal to an event's `u`
            (101, 110, Step.APPLY),
            (102, 102, Step.GAP),
            (102, 110, Step.GAP),
        ],
    )
    def test_the_first_update_behind_a_snapshot_of_100(self, first, last, step):
        sequence = SpotSequence(100)
        assert sequence.feed(update(first, last)) is step
        assert sequence.last_update_id == (last if step is Step.APPLY else 100)

    def test_each_update_starts_right_behind_the_one_before(self):
        sequence = SpotSequence(100)
        assert sequence.feed(update(95, 105)) is Step.APPLY
        assert sequence.feed(update(106, 106)) is Step.APPLY
        assert sequence.feed(update(108, 110)) is Step.GAP
        assert sequence.feed(update(107, 107)) is Step.APPLY
        assert sequence.feed(update(106, 106)) is Step.OLD
        assert sequence.feed(update(108, 110)) is Step.APPLY

    @given(
        st.integers(0, 50),
        st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)).map(lambda at: (at[0], at[0] + at[1]))),
    )
    def test_it_applies_exactly_what_leaves_no_id_out_and_brings_a_new_one(self, start, ranges):
        sequence, contained = SpotSequence(start), set(range(start + 1))
        for first, last in ranges:
            ids = set(range(first, last + 1))
            with_it = contained | ids
            if ids <= contained:
                expected = Step.OLD
            elif with_it == set(range(max(with_it) + 1)):
                expected, contained = Step.APPLY, with_it
            else:
                expected = Step.GAP
            assert sequence.feed(update(first, last)) is expected
            assert sequence.last_update_id == max(contained)


class TestUsdmSequence:
    @pytest.mark.parametrize(
        ("previous", "first", "last", "step"),
        [
            (80, 85, 95, Step.OLD),
            (80, 85, 100, Step.OLD),  # the snapshot ends exactly where this event does
            (80, 85, 110, Step.APPLY),
            (95, 98, 110, Step.APPLY),
            (95, 105, 110, Step.APPLY),  # the snapshot lies in the hole between two updates
            (100, 105, 110, Step.APPLY),  # the first one, if the snapshot was equal to an event's `u`
            (101, 105, 110, Step.GAP),
            (109, 110, 110, Step.GAP),
            (None, 101, 110, Step.GAP),  # without `pu` nobody can know
        ],
    )
    def test_the_first_update_behind_a_snapshot_of_100(self, previous, first, last, step):
        sequence = UsdmSequence(100)
        assert sequence.feed(update(first, last, previous)) is step
        assert sequence.last_update_id == (last if step is Step.APPLY else 100)

    def test_from_the_second_on_each_update_names_the_one_before(self):
        sequence = UsdmSequence(100)
        assert sequence.feed(update(95, 110, 90)) is Step.APPLY
        assert sequence.feed(update(115, 120, 110)) is Step.APPLY
        assert sequence.feed(update(130, 140, 125)) is Step.GAP
        assert sequence.feed(update(123, 125, 120)) is Step.APPLY
        assert sequence.feed(update(130, 140, 125)) is Step.APPLY

    def test_a_chain_that_names_an_id_before_the_last_one_is_broken(self):
        sequence = UsdmSequence(100)
        sequence.feed(update(95, 110, 90))
        assert sequence.feed(update(108, 120, 109)) is Step.GAP

    def test_ignoring_an_old_update_does_not_start_the_chain(self):
        sequence = UsdmSequence(100)
        assert sequence.feed(update(85, 95, 80)) is Step.OLD
        assert sequence.feed(update(98, 110, 95)) is Step.APPLY

    def test_a_chain_with_an_update_without_a_name_is_broken(self):
        sequence = UsdmSequence(100)
        sequence.feed(update(95, 110, 90))
        assert sequence.feed(update(111, 120)) is Step.GAP

    @given(
        steps=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=15),
        snapshot=st.integers(0, 60),
        lost=st.sets(st.integers(0, 14), max_size=3),
    )
    def test_a_chain_holds_until_the_first_update_that_is_missing_behind_the_snapshot(
        self, steps, snapshot, lost
    ):
        updates, previous = [], 0
        for hole, length in steps:
            first = previous + hole
            updates.append(update(first, first + length, previous))
            previous = first + length
        sequence, whole = UsdmSequence(snapshot), True
        for number, one in enumerate(updates):
            needed = one.last_update_id > snapshot
            if number in lost:
                whole = whole and not needed
            elif needed and whole:
                assert sequence.feed(one) is Step.APPLY
            elif needed:
                assert sequence.feed(one) is Step.GAP
            else:
                assert sequence.feed(one) is Step.OLD


def test_each_market_has_its_rule():
    assert isinstance(book_sequence(Market.SPOT, 7), SpotSequence)
    assert isinstance(book_sequence(Market.USDM, 7), UsdmSequence)
    assert book_sequence(Market.USDM, 7).last_update_id == 7


class TestCoveredIds:
    def test_on_spot_an_update_accounts_for_its_own_ids(self):
        assert covered_ids(update(101, 105)) == (101, 105)

    def test_on_usdm_also_for_those_between_it_and_the_one_before(self):
        assert covered_ids(update(110, 120, previous=100)) == (101, 120)


def fed(*ranges):
    sequence = IdSequence()
    for ids in ranges:
        first, last = ids if isinstance(ids, tuple) else (ids, ids)
        arrival = sequence.feed(first, last)
    return sequence, arrival


class TestIdSequence:
    def test_nothing_is_missing_before_anything_arrived(self):
        sequence = IdSequence()
        assert sequence.last_id is None
        assert sequence.missing == []

    def test_the_first_of_all_is_next_wherever_it_starts(self):
        assert IdSequence().feed(1_000_000, 1_000_005) is Arrival.NEXT

    def test_ids_in_a_row_leave_nothing_missing(self):
        sequence, arrival = fed(5, 6, (7, 9), 10)
        assert arrival is Arrival.NEXT
        assert (sequence.last_id, sequence.missing) == (10, [])

    def test_a_jump_opens_a_hole(self):
        sequence, arrival = fed(5, (9, 10))
        assert arrival is Arrival.SKIPPED
        assert sequence.opened == Hole(6, 8)
        assert (sequence.last_id, sequence.missing) == (10, [(6, 8)])

    def test_a_duplicate_is_seen(self):
        for again in (5, 6, (5, 6), (6, 7)):
            sequence, arrival = fed((5, 7), again)
            assert arrival is Arrival.SEEN
            assert (sequence.last_id, sequence.missing) == (7, [])

    def test_what_lies_right_before_the_first_came_late_and_is_new(self):
        sequence, arrival = fed(100, (90, 99))
        assert arrival is Arrival.LATE
        assert (sequence.first_id, sequence.last_id, sequence.missing) == (90, 100, [])
        assert sequence.feed(95, 95) is Arrival.SEEN

    def test_what_lies_further_before_the_first_shows_a_hole_between(self):
        sequence, arrival = fed(100, (90, 97))
        assert arrival is Arrival.SKIPPED
        assert sequence.opened == Hole(98, 99)
        assert sequence.feed(98, 99) is Arrival.LATE
        assert sequence.closed == [Hole(98, 99)]

    def test_a_late_arrival_closes_its_hole(self):
        sequence, arrival = fed(5, 9, (6, 8))
        assert arrival is Arrival.LATE
        assert sequence.closed == [Hole(6, 8)]
        assert (sequence.last_id, sequence.missing) == (9, [])

    @pytest.mark.parametrize("order", [(6, 7, 8), (8, 7, 6), (7, 6, 8), (7, 8, 6), (6, 8, 7), (8, 6, 7)])
    def test_a_hole_closes_with_its_last_missing_id_in_whatever_order(self, order):
        sequence, _ = fed(5, 9)
        for number, late in enumerate(order):
            assert sequence.feed(late, late) is Arrival.LATE
            assert sequence.closed == ([Hole(6, 8)] if number == 2 else [])
        assert sequence.missing == []

    def test_a_hole_can_be_split_and_each_part_is_still_missing(self):
        sequence, arrival = fed(1, 10, (4, 6))
        assert arrival is Arrival.LATE
        assert sequence.missing == [(2, 3), (7, 9)]
        assert sequence.closed == []

    def test_a_split_hole_closes_once_also_if_one_range_fills_both_parts(self):
        sequence, arrival = fed(1, 10, 5, (2, 9))
        assert arrival is Arrival.LATE
        assert sequence.closed == [Hole(2, 9)]
        assert sequence.missing == []

    def test_one_range_may_close_several_holes_and_leave_one_open(self):
        sequence, arrival = fed(1, 4, 7, 12, (2, 9))
        assert arrival is Arrival.LATE
        assert sequence.closed == [Hole(2, 3), Hole(5, 6)]
        assert sequence.missing == [(10, 11)]

    def test_a_range_may_fill_a_hole_and_go_beyond_the_last_id(self):
        sequence, arrival = fed(1, 5, (3, 9))
        assert arrival is Arrival.LATE
        assert (sequence.last_id, sequence.missing, sequence.closed) == (9, [(2, 2)], [])

    def test_a_range_that_begins_in_the_known_and_goes_beyond_it_is_next(self):
        sequence, arrival = fed((1, 5), (4, 9))
        assert arrival is Arrival.NEXT
        assert (sequence.last_id, sequence.missing) == (9, [])

    def test_a_range_that_runs_backwards_is_rejected_and_changes_nothing(self):
        sequence, _ = fed(1, 5)
        for first, last in ((6, 5), (8, 2), (3, 2)):
            with pytest.raises(TickRejected, match="run backwards"):
                sequence.feed(first, last)
        assert (sequence.last_id, sequence.missing) == (5, [(2, 4)])

    def test_consecutive_usdm_updates_leave_no_hole(self):
        sequence = IdSequence()
        for one in (update(95, 110, 90), update(115, 120, 110), update(140, 150, 120)):
            assert sequence.feed(*covered_ids(one)) is Arrival.NEXT


class ShortMemory(IdSequence):
    MAX_HOLES = 3


class TestTheOldestHolesAreForgotten:
    def test_it_remembers_ten_thousand(self):
        sequence = IdSequence()
        for number in range(10_002):
            sequence.feed(2 * number, 2 * number)
        assert len(sequence.missing) == IdSequence.MAX_HOLES == 10_000
        assert sequence.missing[0] == (3, 3)
        assert sequence.feed(1, 1) is Arrival.SEEN
        assert sequence.feed(3, 3) is Arrival.LATE

    def test_a_forgotten_hole_never_closes(self):
        sequence = ShortMemory()
        for number in (0, 2, 4, 6, 8):
            sequence.feed(number, number)
        assert sequence.missing == [(3, 3), (5, 5), (7, 7)]
        assert sequence.feed(1, 1) is Arrival.SEEN
        assert sequence.feed(3, 3) is Arrival.LATE
        assert sequence.closed == [Hole(3, 3)]

    def test_a_hole_of_which_a_part_was_forgotten_is_forgotten_whole(self):
        sequence = ShortMemory()
        sequence.feed(1, 1)
        sequence.feed(10, 10)
        sequence.feed(5, 5)  # the hole is in two pieces now
        sequence.feed(12, 12)
        sequence.feed(14, 14)
        assert sequence.missing == [(11, 11), (13, 13)]
        assert sequence.feed(6, 9) is Arrival.SEEN
        assert sequence.feed(2, 4) is Arrival.SEEN

    def test_pieces_of_a_split_hole_count_so_memory_is_bounded(self):
        sequence = ShortMemory()
        sequence.feed(0, 0)
        sequence.feed(100, 100)
        for number in range(2, 20, 2):
            sequence.feed(number, number)
            assert len(sequence.missing) <= 3


ranges = st.tuples(st.integers(1, 40), st.sampled_from([0, 0, 0, 1, 2, 5, 20])).map(
    lambda at: (at[0], at[0] + at[1])
)


@given(st.lists(ranges, max_size=30))
@example([(1, 1), (10, 10), (5, 5), (2, 9)])
def test_equals_a_set_of_all_ids(feeds):
    sequence = IdSequence()
    arrived: set[int] = set()
    holes: list[set[int]] = []
    for first, last in feeds:
        ids = set(range(first, last + 1))
        open_before = [hole for hole in holes if not hole <= arrived]
        lowest, highest = min(arrived, default=first), max(arrived, default=first - 1)
        fills = any(ids & (hole - arrived) for hole in holes)
        arrival = sequence.feed(first, last)
        arrived |= ids

        if first > highest + 1 or last < lowest - 1:
            assert arrival is Arrival.SKIPPED
            between = (highest + 1, first - 1) if first > highest else (last + 1, lowest - 1)
            holes.append(set(range(between[0], between[1] + 1)))
            assert sequence.opened == Hole(*between)
        elif fills or first < lowest:
            assert arrival is Arrival.LATE
            closed = sorted((hole for hole in open_before if hole <= arrived), key=min)
            assert sequence.closed == [Hole(min(hole), max(hole)) for hole in closed]
        else:
            assert arrival is (Arrival.NEXT if last > highest else Arrival.SEEN)

        assert (sequence.first_id, sequence.last_id) == (min(arrived), max(arrived))
        missing = [number for start, end in sequence.missing for number in range(start, end + 1)]
        assert missing == [number for number in range(min(arrived), max(arrived)) if number not in arrived]


@given(st.permutations(range(12)))
def test_whatever_the_order_everything_from_the_first_on_is_there_in_the_end(order):
    sequence = IdSequence()
    opened, closed = [], []
    for number in order:
        arrival = sequence.feed(number, number)
        if arrival is Arrival.SKIPPED:
            opened.append(sequence.opened)
        elif arrival is Arrival.LATE:
            closed += sequence.closed
    assert sequence.missing == []
    assert sequence.last_id == 11
    assert sorted(opened, key=lambda hole: hole.first_id) == sorted(closed, key=lambda hole: hole.first_id)


def ranges_of(ids):
    """Return ids as ranges, lowest first."""
    found = []
    for one in sorted(ids):
        if found and found[-1][1] == one - 1:
            found[-1] = (found[-1][0], one)
        else:
            found.append((one, one))
    return found


HOLES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=5)


def holes_of(steps):
    """Return holes with ids between them that have come."""
    holes, last = [], 0
    for between, length in steps:
        holes.append(Hole(last + between + 1, last + between + length))
        last = holes[-1].last_id
    return holes


class TestHolesOfBefore:
    @given(HOLES, st.randoms(), st.booleans(), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6))))
    def test_holes_that_are_learned_of_are_filled_and_split_as_any_other(self, steps, rng, begun, ranges):
        holes = holes_of(steps)
        end = holes[-1].last_id + 1
        sequence, here = IdSequence(), set(range(end + 1))
        if begun:
            sequence.feed(end, end)
        for hole in rng.sample(holes, len(holes)):
            assert sequence.expect(hole.first_id, hole.last_id) == hole
            here -= set(range(hole.first_id, hole.last_id + 1))
        assert sequence.last_id == (end if begun else holes[-1].last_id)
        assert sequence.missing == [(hole.first_id, hole.last_id) for hole in holes]

        def missing_of(hole):
            return ranges_of(set(range(hole.first_id, hole.last_id + 1)) - here)

        for first, length in ranges:
            ids = set(range(first, first + length + 1)) & set(range(holes[0].first_id, holes[-1].last_id + 1))
            if not ids:
                continue
            before = [hole for hole in holes if missing_of(hole)]
            news = ids - here
            arrival = sequence.feed(min(ids), max(ids))
            here |= ids
            assert arrival is (Arrival.LATE if news else Arrival.SEEN)
            if news:
                assert sequence.closed == [hole for hole in before if not missing_of(hole)]
            for hole in holes:
                assert sequence.missing_of(hole) == missing_of(hole)

        for hole in holes:
            parts = sequence.split(hole)
            assert [(part.first_id, part.last_id) for part in parts] == missing_of(hole)
            for part in parts:
                assert sequence.missing_of(part) == [(part.first_id, part.last_id)]
            if parts != [hole]:
                assert sequence.missing_of(hole) == []
        for first, last in list(sequence.missing):
            assert sequence.feed(first, last) is Arrival.LATE
            assert sequence.closed == [Hole(first, last)], "each part closes by itself"
        assert sequence.missing == []

    def test_a_hole_below_all_others_may_be_learned_of_later(self):
        sequence, _ = fed(100, 110)
        sequence.expect(20, 29)
        assert sequence.missing == [(20, 29), (101, 109)]
        assert (sequence.first_id, sequence.last_id) == (20, 110)
        assert sequence.feed(50, 50) is Arrival.SEEN, "what lies between has come"
        assert sequence.feed(20, 29) is Arrival.LATE
        assert sequence.closed == [Hole(20, 29)]

    def test_what_follows_a_hole_that_nothing_stood_behind_is_next(self):
        sequence = IdSequence()
        sequence.expect(5, 9)
        assert sequence.feed(10, 10) is Arrival.NEXT
        assert sequence.feed(12, 12) is Arrival.SKIPPED

    def test_a_hole_that_is_not_known_has_nothing_missing(self):
        sequence, _ = fed(1, 5)
        assert sequence.missing_of(Hole(2, 3)) == []
        assert sequence.split(Hole(2, 3)) == []
        assert sequence.missing == [(2, 4)]


class Forgetful(KnownIds):
    KEPT = 3


class TestKnownIds:
    @given(st.lists(st.integers(-5, 10)))
    def test_an_id_is_new_once_wherever_it_stands_and_nothing_is_ever_missing(self, ids):
        known, here = KnownIds(), set()
        for one in ids:
            assert known.feed(one, one) is (Arrival.SEEN if one in here else Arrival.NEXT)
            here.add(one)
            assert (known.opened, known.closed) == (None, [])

    def test_the_last_id_is_the_one_that_came_last(self):
        known = KnownIds()
        assert known.last_id is None
        for one in (5, 900, 7):
            known.feed(one, one)
        assert known.last_id == 7

    def test_a_range_has_been_seen_if_both_its_ends_have(self):
        known = KnownIds()
        known.feed(5, 9)
        assert known.knows(5, 9)
        assert known.feed(5, 9) is Arrival.SEEN
        assert known.feed(5, 10) is Arrival.NEXT

    def test_the_oldest_are_forgotten(self):
        known = Forgetful()
        for one in (1, 2, 3, 4):
            known.feed(one, one)
        assert known.feed(2, 2) is Arrival.SEEN
        assert known.feed(1, 1) is Arrival.NEXT
        assert KnownIds.KEPT == 100_000
