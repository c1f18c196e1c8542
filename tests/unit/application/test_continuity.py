"""Every hole in the ids of a stream is told, once, with what becomes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from binance_proxy.application.continuity import ANEW_NS, Continuity, OpenGap
from binance_proxy.application.report import Report
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Stream
from binance_proxy.domain.sequence import IdSequence
from contract.market_store import ETH, MS, T0, gap, trade

OPEN, LOST, REPAIRED = GapState.OPEN, GapState.LOST, GapState.REPAIRED
SECOND_MS = 1_000


class Told:
    """A continuity, and what it told."""

    def __init__(self, stream: Stream = Stream.TRADES, venue: str = "binance") -> None:
        self.report = Report()
        self.gaps: list[Gap] = []
        self.of = Continuity(replace(ETH, venue=venue), stream, self.report, self.gaps.append)

    def take(self, first: int, last: int | None = None, at_ms: int = 0) -> bool:
        new = self.of.take(first, first if last is None else last, trade(first, at_ms))
        self.of.tell_repaired()
        return new

    @property
    def told(self) -> list[tuple[int, int, GapState]]:
        return [(one.first_id, one.last_id, one.state) for one in self.gaps]


class TestTelling:
    def test_a_hole_is_told_with_the_times_around_it_and_again_when_it_is_filled(self) -> None:
        one = Told()
        assert [one.take(id_, at_ms=id_) for id_ in (1, 4, 2, 3, 3)] == [True, True, True, True, False]
        assert one.told == [(2, 3, OPEN), (2, 3, REPAIRED)]
        assert (one.gaps[0].start, one.gaps[0].end) == (T0 + MS, T0 + 4 * MS)
        assert (one.report.gaps, one.report.repaired, one.report.duplicates) == (1, 1, 1)

    def test_a_gap_is_told_to_be_filled_only_once_its_ticks_were_handed_on(self) -> None:
        one = Told()
        one.take(1)
        one.take(3)
        one.of.take(2, 2, trade(2, 0))
        assert one.told == [(2, 2, OPEN)]
        one.of.tell_repaired()
        one.of.tell_repaired()
        assert one.told == [(2, 2, OPEN), (2, 2, REPAIRED)]

    def test_what_is_given_up_is_lost_in_exact_ranges_and_each_may_still_turn_up(self) -> None:
        one = Told()
        one.take(1)
        one.take(10)
        one.take(4)
        one.take(7, 8)
        assert one.of.missing_of(one.gaps[0]) == [(2, 3), (5, 6), (9, 9)]
        one.of.give_up(one.gaps[0])
        assert one.told[1:] == [(2, 3, LOST), (5, 6, LOST), (9, 9, LOST)]
        one.of.give_up(one.gaps[0])
        one.of.give_up_all()
        assert len(one.told) == 4, "told once"
        one.take(5, 6)
        assert one.told[4:] == [(5, 6, REPAIRED)]

    def test_a_hole_that_was_forgotten_is_never_called_repaired(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(IdSequence, "MAX_HOLES", 3)
        one = Told()
        for id_ in (1, 3, 5, 7, 9, 11):
            one.take(id_)
        one.take(10)
        one.of.give_up_all()
        last = {first: state for first, _, state in one.told}
        assert last == {2: LOST, 4: LOST, 6: LOST, 8: LOST, 10: REPAIRED}

    def test_where_ids_say_nothing_no_hole_is_ever_told(self) -> None:
        one = Told(venue="kraken")
        assert [one.take(id_) for id_ in (5, 900, 7, 900, 5)] == [True, True, True, False, False]
        assert one.told == []
        assert one.of.missing_of(gap(6)) == []


class TestNumberingAnew:
    @pytest.mark.parametrize("begins_at", [1, 50, 99, 100, 150])
    def test_an_id_that_has_been_so_much_later_than_all_before_begins_anew(self, begins_at: int) -> None:
        one = Told()
        for id_ in range(100, 201):
            one.take(id_, at_ms=id_)
        assert one.take(begins_at, at_ms=200 + SECOND_MS + 1)
        assert one.take(begins_at + 1, at_ms=200 + SECOND_MS + 2)
        assert (one.of.numbering, one.told, one.report.duplicates) == (1, [], 0)
        one.take(begins_at + 3, at_ms=5_000)
        assert one.told == [(begins_at + 2, begins_at + 2, OPEN)]

    def test_one_that_is_not_so_much_later_came_twice(self) -> None:
        one = Told()
        one.take(7, at_ms=0)
        assert not one.take(7, at_ms=ANEW_NS // MS)
        assert (one.of.numbering, one.report.duplicates) == (0, 1)

    def test_where_ids_say_nothing_it_begins_anew_with_an_id_that_is_known(self) -> None:
        one = Told(venue="kraken")
        for id_ in (7, 900, 3):
            one.take(id_, at_ms=id_)
        assert one.take(5, at_ms=60_000)
        assert one.of.numbering == 0
        assert one.take(900, at_ms=120_000)
        assert one.of.numbering == 1

    def test_gaps_of_the_old_numbering_are_lost_and_not_filled_by_the_new(self) -> None:
        one = Told()
        for id_ in (1, 5, 9):
            one.take(id_, at_ms=id_)
        for id_ in (1, 2, 3, 4, 5, 6, 7, 8):
            one.take(id_, at_ms=10_000 + id_)
        assert one.told == [(2, 4, OPEN), (6, 8, OPEN), (2, 4, LOST), (6, 8, LOST)]

    def test_a_tick_that_was_asked_for_says_nothing_about_the_numbering(self) -> None:
        one = Told()
        for id_ in (1, 5, 9):
            one.take(id_, at_ms=id_)
        assert one.of.take(3, 3, trade(3, 60_000), is_past=True)
        assert one.of.numbering == 0
        assert one.of.open_gaps == 2

    @given(
        st.lists(
            st.tuples(st.integers(1, 4), st.integers(0, 2), st.integers(0, 5_000)), min_size=1, max_size=30
        ),
        st.lists(st.integers(0, 29)),
        st.randoms(),
        st.sampled_from(["binance", "kraken"]),
    )
    def test_neither_a_duplicate_nor_a_late_tick_is_taken_for_it(self, steps, again, rng, venue) -> None:
        """Ticks in any disorder and doubled at will: the venue's ids and times rise together."""
        ticks, id_, ts_ms = [], 0, 0
        for skip, length, pause_ms in steps:
            id_, ts_ms = id_ + skip, ts_ms + pause_ms
            ticks.append((id_, id_ + length, ts_ms))
            id_ += length
        order = [*ticks, *(ticks[at % len(ticks)] for at in again)]
        rng.shuffle(order)
        one = Told(venue=venue)
        taken = [tick for tick in order if one.take(*tick)]
        assert one.of.numbering == 0
        assert sorted(taken) == ticks, "each once"
        here = {id_ for first, last, _ in ticks for id_ in range(first, last + 1)}
        state = {first: (last, state) for first, last, state in one.told}
        for first, (last, is_now) in state.items():
            assert (set(range(first, last + 1)) <= here) is (is_now is REPAIRED)
        if venue == "binance":
            missing = set(range(min(here), max(here) + 1)) - here
            told = {
                id_ for first, (last, now) in state.items() if now is OPEN for id_ in range(first, last + 1)
            }
            assert missing <= told

    def test_a_tick_that_fills_a_hole_and_goes_beyond_tells_the_time_too(self) -> None:
        one = Told(Stream.ORDERBOOK)
        one.take(1, at_ms=0)
        one.take(4, at_ms=1)
        assert one.take(3, 9, at_ms=9_000)
        assert not one.take(3, 9, at_ms=9_000), "came twice"
        assert one.of.numbering == 0


class TestGoingOn:
    def test_what_was_missed_since_is_found_at_the_first_tick(self) -> None:
        one = Told()
        one.of.resume(100, T0)
        one.take(150, at_ms=60_000)
        assert one.told == [(101, 149, OPEN)]
        assert (one.gaps[0].start, one.gaps[0].end) == (T0, T0 + 60_000 * MS)

    def test_what_was_stored_before_came_twice(self) -> None:
        one = Told()
        one.of.resume(100, T0 + 100 * MS)
        assert not one.take(90, at_ms=90)
        assert not one.take(100, at_ms=100)
        assert one.take(101, at_ms=101)
        assert one.told == []

    def test_a_venue_that_numbers_anew_meanwhile_is_believed(self) -> None:
        one = Told()
        one.of.resume(1_000_000, T0)
        assert one.take(1, at_ms=60_000)
        assert one.take(2, at_ms=60_001)
        assert (one.of.numbering, one.told) == (1, [])

    def test_a_gap_that_was_left_open_is_told_when_it_closes(self) -> None:
        one = Told()
        known = gap(50, last_id=52)
        one.of.resume(100, T0 + 100 * MS, [OpenGap(known, [(50, 52)])])
        assert one.of.missing_of(known) == [(50, 52)]
        one.take(50, 51, at_ms=50)
        assert one.told == []
        one.take(52, at_ms=50)
        assert one.gaps == [replace(known, state=REPAIRED)]

    def test_of_such_a_gap_only_what_is_not_stored_is_missing(self) -> None:
        one = Told()
        known = gap(50, last_id=59)
        one.of.resume(100, T0 + 100 * MS, [OpenGap(known, [(51, 53), (58, 58)])])
        assert one.of.missing_of(known) == [(51, 53), (58, 58)]
        assert one.told == []

    def test_one_of_which_all_is_stored_is_repaired(self) -> None:
        one = Told()
        one.of.resume(100, T0 + 100 * MS, [OpenGap(gap(50, last_id=52), [])])
        assert one.told == [(50, 52, REPAIRED)]

    def test_behind_a_gap_that_was_told_and_nothing_behind_it_stored_the_rest_is_found(self) -> None:
        one = Told()
        known = gap(101, last_id=120, start=T0 + 100 * MS, end=T0 + 90_000 * MS)
        one.of.resume(100, T0 + 100 * MS, [OpenGap(known, [(101, 120)])])
        one.take(131, at_ms=120_000)
        assert one.told == [(121, 130, OPEN)]
        assert one.take(110, at_ms=60_000), "the exchange was asked"
        assert one.of.numbering == 0

    def test_of_two_that_overlap_the_second_waits_and_neither_is_closed_too_early(self) -> None:
        one = Told()
        first, second = gap(50, last_id=59), gap(55, last_id=64)
        known = [OpenGap(first, [(50, 59)]), OpenGap(second, [(55, 64)])]
        one.of.resume(100, T0 + 100 * MS, known)
        for id_ in range(50, 56):
            one.take(id_, at_ms=id_)
        assert one.told == []
        for id_ in range(56, 60):
            one.take(id_, at_ms=id_)
        assert one.gaps == [replace(first, state=REPAIRED)]

    def test_a_gap_of_another_numbering_is_left_alone(self) -> None:
        one = Told()
        one.of.resume(5, T0, [OpenGap(gap(90), [(90, 94)])])
        assert one.take(6, at_ms=1)
        assert one.told == []

    def test_a_hole_in_what_is_stored_that_nobody_told_is_told(self) -> None:
        one = Told()
        recent = [trade(id_) for id_ in (10, 11, 15, 20, 30)]
        known = [OpenGap(gap(16, last_id=19), [(16, 19)]), OpenGap(gap(21, last_id=25, state=LOST), [])]
        one.of.resume(30, T0 + 30 * MS, known, recent)
        assert one.told == [(12, 14, OPEN), (26, 29, OPEN)]
        assert (one.gaps[0].start, one.gaps[0].end) == (T0 + 11 * MS, T0 + 15 * MS)
        assert one.of.missing_of(one.gaps[0]) == [(12, 14)]
        assert one.of.missing_of(known[0].gap) == [(16, 19)]
        one.take(12, 14, at_ms=13)
        assert one.told[2:] == [(12, 14, REPAIRED)]

    def test_nothing_is_told_of_what_lies_before_the_newest_stored(self) -> None:
        one = Told()
        recent = [trade(50, first_match_id=50, last_match_id=54), trade(55)]
        one.of.resume(55, T0 + 55 * MS, [OpenGap(gap(5, last_id=9), [(5, 9)])], recent)
        assert one.told == []
