"""Trades are kept by id, the newest of them, and are joined as Binance joins them."""

from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.domain.tick import Side
from binance_proxy.sandbox.prints import Aggregation, Prints, printed
from sandboxed import MS, START, trade


def kept(ids, keep: int = 1_000) -> Prints:
    prints = Prints(keep)
    for number in ids:
        prints.add(printed(trade(number, number)))
    return prints


def ids(rows) -> list[int]:
    return [row.id for row in rows]


def test_a_print_comes_back_as_it_was():
    prints = Prints(10)
    told = printed(trade(5, 7, price=1.25, size=3, aggressor=Side.SELL, first_match_id=50, last_match_id=52))
    assert prints.add(told)
    assert prints.newest(1) == [told]
    assert (told.first_id, told.last_id, told.sold) == (50, 52, True)


@given(st.lists(st.integers(1, 60), max_size=120))
def test_each_id_is_kept_once_and_in_order_whatever_the_order_it_came_in(numbers):
    assert ids(kept(numbers).newest(1_000)) == sorted(set(numbers))


@given(st.integers(1, 50), st.integers(0, 300))
def test_the_newest_are_kept(keep, count):
    prints = kept(range(1, count + 1), keep)
    assert ids(prints.newest(1_000)) == list(range(1, count + 1))[-keep:]
    assert ids(prints.from_id(0, 1_000)) == ids(prints.newest(1_000))
    assert len(prints) == min(keep, count)


def test_an_id_that_was_forgotten_does_not_come_back():
    prints = kept(range(100, 200), 50)
    assert not prints.add(printed(trade(7)))
    assert ids(prints.from_id(0, 1)) == [150]


def test_by_time_both_ends_are_in():
    prints = kept(range(1, 11))
    start, end = START + 3 * MS, START + 6 * MS
    assert ids(prints.between(start, end, 100)) == [3, 4, 5, 6]
    assert ids(prints.between(start, None, 2)) == [3, 4]
    assert ids(prints.between(None, end, 2)) == [5, 6]
    assert ids(prints.between(None, None, 100)) == list(range(1, 11))


def joined(*trades) -> list[tuple[int, int]]:
    aggregation = Aggregation()
    done = [one for each in trades for one in aggregation.feed(each)]
    return [(one.first_match_id, one.last_match_id) for one in (*done, *aggregation.close())]


def test_trades_of_one_ms_price_and_side_are_one():
    assert joined(trade(1), trade(2), trade(3)) == [(1, 3)]


def test_another_ms_price_side_or_a_missing_id_begins_another():
    assert joined(trade(1), trade(2, 1)) == [(1, 1), (2, 2)]
    assert joined(trade(1), trade(2, price=1)) == [(1, 1), (2, 2)]
    assert joined(trade(1), trade(2, aggressor=Side.SELL)) == [(1, 1), (2, 2)]
    assert joined(trade(1), trade(3)) == [(1, 1), (3, 3)]


def test_sizes_add_up_and_ids_rise_by_one_from_half_of_the_first():
    aggregation = Aggregation()
    first = (
        *aggregation.feed(trade(101, size=1)),
        *aggregation.feed(trade(102, size=2)),
        *aggregation.close(),
    )
    second = (*aggregation.feed(trade(103)), *aggregation.close())
    assert [one.trade_id for one in (*first, *second)] == [51, 52]
    assert first[0].size == 3 * 10**8


def test_time_completes_an_aggregate():
    aggregation = Aggregation()
    aggregation.feed(trade(1))
    assert aggregation.advance(START + MS - 1) == ()
    assert len(aggregation.advance(START + MS)) == 1
    assert aggregation.advance(START + 2 * MS) == ()
