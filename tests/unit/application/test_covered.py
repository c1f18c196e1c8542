"""Which ids are there, day by day."""

from binance_proxy.application.covered import Covered, IdDay
from binance_proxy.domain.instrument import Instrument, Market, Stream
from ticks_made import DAY_NS, MIDNIGHT, MS, quote, trade

DAY = MIDNIGHT // DAY_NS
HOUR = 3_600_000


def counted(ticks, start=MIDNIGHT - 10 * DAY_NS, end=MIDNIGHT + 10 * DAY_NS, stream=Stream.TRADES):
    covered = Covered(ticks[0].instrument, stream, start, end)
    for tick in ticks:
        covered.take(tick)
    return covered.finish()


def test_nothing_is_missing_of_ids_without_a_hole():
    assert counted([trade(number, number) for number in range(5, 15)]) == {DAY: IdDay(there=10)}


def test_a_hole_within_a_day_counts_on_that_day():
    assert counted([trade(1), trade(2, 1), trade(6, 2), trade(9, 3)]) == {
        DAY: IdDay(there=4, missing=5, holes=2)
    }


def test_what_comes_later_in_time_with_an_earlier_id_fills_the_hole():
    days = counted([trade(1), trade(4, 1), trade(3, 2), trade(2, 3)])
    assert days == {DAY: IdDay(there=4)}


def test_a_hole_over_midnight_is_shared_out_by_time_and_says_so():
    days = counted([trade(1, -2 * HOUR), trade(102, 8 * HOUR)])
    assert days == {
        DAY - 1: IdDay(there=1, missing=20, holes=1, estimated=True),
        DAY: IdDay(there=1, missing=80, holes=1, estimated=True),
    }


def test_a_day_that_lies_whole_in_a_hole_has_nothing():
    days = counted([trade(1, -12 * HOUR), trade(42, 36 * HOUR)])
    assert (days[DAY].there, days[DAY].missing, days[DAY].share) == (0, 20, 0.0)
    assert sum(day.missing for day in days.values()) == 40


def test_ticks_beside_the_range_show_what_is_missing_at_its_ends():
    start, end = MIDNIGHT + 10 * MS, MIDNIGHT + 20 * MS
    days = counted([trade(1, 0), trade(12, 20 - 1), trade(13, 29)], start, end)
    assert days[DAY].there == 1
    assert 0 < days[DAY].missing < 10  # the share of the hole that lies in the range
    assert days[DAY].estimated


def test_updates_count_by_all_the_ids_they_account_for():
    days = counted([quote(1, 5), quote(6, 9, 1), quote(12, 12, 2)], stream=Stream.ORDERBOOK)
    assert days == {DAY: IdDay(there=10, missing=2, holes=1)}


def test_updates_that_name_the_one_before_miss_no_ids_between():
    ticks = [quote(1, 5), quote(8, 9, 1, previous_update_id=5)]
    assert counted(ticks, stream=Stream.ORDERBOOK) == {DAY: IdDay(there=9)}


def test_the_same_ids_count_once():
    ticks = [trade(1, first_match_id=1, last_match_id=4), trade(3, 1), trade(5, 2)]
    assert counted(ticks) == {DAY: IdDay(there=5)}


def test_a_venue_that_begins_to_number_anew_misses_nothing_by_that():
    ticks = [trade(1_000, 0), trade(1_001, 1), trade(5, 5_000), trade(6, 5_001), trade(8, 5_002)]
    assert counted(ticks) == {DAY: IdDay(there=5, missing=1, holes=1)}


def test_another_run_of_a_simulated_venue_misses_nothing_of_the_time_between():
    made_up = Instrument(venue="simulated", market=Market.SPOT, symbol="ETH/USDT")
    ids = (10**15, 10**15 + 2, 2 * 10**15, 2 * 10**15 + 1)
    days = counted([trade(number, at, instrument=made_up) for at, number in enumerate(ids)])
    assert days == {DAY: IdDay(there=4, missing=1, holes=1)}


def test_ids_of_a_venue_that_does_not_count_by_one_say_nothing():
    kraken = Instrument(venue="kraken", market=Market.SPOT, symbol="ETH/USDT")
    assert counted([trade(1, instrument=kraken), trade(77, 1, instrument=kraken)]) == {}


def test_of_any_number_of_holes_none_is_lost():
    holes = 3 * Covered.MAX_HOLES + 7
    days = counted([trade(2 * number, number) for number in range(holes + 1)])
    assert days == {DAY: IdDay(there=holes + 1, missing=holes, holes=holes)}
