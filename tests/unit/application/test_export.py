"""Ticks on their way out: as stored, and as a book that is right at every moment."""

from contextlib import aclosing

import pytest

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.export import Tally, in_step, recorded
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, StaleBook
from ticks_made import ETH, MIDNIGHT, MS, quote, snapshot, trade


async def read(how, ticks, start=0, end=2**62):
    store, tally = MemoryStore(), Tally()
    await store.append(ticks)
    async with aclosing(how(store, ETH, start, end, tally)) as events:
        return [event async for event in events], tally


async def test_what_is_recorded_comes_as_it_is_kind_after_kind():
    trades, quotes = [trade(1, 5), trade(2, 6)], [quote(1, 2, 1), quote(3, 3, 8)]
    events, tally = await read(recorded, [snapshot(2, 2), *quotes, *trades])
    assert events == [*trades, *quotes, snapshot(2, 2)]
    assert (tally.trades, tally.quotes, tally.snapshots) == (2, 2, 1)
    assert (tally.missing_trade_ids, tally.missing_update_ids) == (0, 0)


@pytest.mark.parametrize("how", [recorded, in_step])
async def test_ids_that_lack_are_counted(how):
    _, tally = await read(how, [trade(1), trade(5, 1), quote(1, 1), quote(4, 4, 1)])
    assert (tally.missing_trade_ids, tally.missing_update_ids) == (3, 2)


async def test_a_book_begins_with_a_snapshot_and_leaves_out_what_it_holds_already():
    events, tally = await read(in_step, [quote(1, 2, 0), quote(3, 4, 1), quote(5, 6, 2), snapshot(3, 1)])
    assert events == [snapshot(3, 1), quote(3, 4, 1), quote(5, 6, 2)]
    assert (tally.without_book, tally.stale) == (1, 0)


async def test_a_snapshot_on_the_way_is_left_out_where_the_updates_lead_there():
    ticks = [snapshot(2, 0), quote(3, 4, 1), snapshot(4, 1), quote(5, 5, 2)]
    events, _ = await read(in_step, ticks)
    assert events == [snapshot(2, 0), quote(3, 4, 1), quote(5, 5, 2)]


async def test_where_an_update_lacks_the_book_is_stale_until_the_next_snapshot():
    ticks = [snapshot(2), quote(3, 4, 1), quote(7, 8, 2), quote(9, 9, 3), snapshot(9, 4), quote(10, 11, 5)]
    events, tally = await read(in_step, ticks)
    assert [type(event) for event in events][2] is StaleBook
    assert (events[:2], events[3:]) == (ticks[:2], ticks[4:])
    assert (tally.stale, tally.without_book) == (1, 2)


async def test_a_snapshot_that_lies_in_the_hole_closes_it():
    ticks = [snapshot(2), quote(3, 4, 1), snapshot(6, 2), quote(7, 8, 3)]
    events, tally = await read(in_step, ticks)
    assert events == ticks
    assert (tally.stale, tally.missing_update_ids) == (0, 2)


async def test_a_snapshot_behind_all_updates_ends_the_book():
    events, _ = await read(in_step, [snapshot(2), quote(3, 4, 1), snapshot(6, 2)])
    assert events[-1] == snapshot(6, 2)


async def test_a_range_begins_with_the_book_as_it_was_then():
    ticks = [snapshot(2, 0), quote(3, 4, 1), quote(5, 6, 2), quote(7, 7, 9)]
    start = MIDNIGHT + 5 * MS
    (begin, *rest), tally = await read(in_step, ticks, start)
    book = OrderBook(ticks[0])
    book.apply(ticks[1])
    book.apply(ticks[2])
    assert isinstance(begin, BookSnapshot)
    assert (begin.ts_event, begin.last_update_id) == (start, 6)
    assert (begin.bids, begin.asks) == (book.bids(), book.asks())
    assert rest == [ticks[3]]
    assert tally.quotes == 1


async def test_a_book_without_any_change_in_the_range_is_there_still():
    events, _ = await read(in_step, [snapshot(2, 0), quote(3, 4, 1)], MIDNIGHT + 5 * MS)
    assert [(event.ts_event, event.last_update_id) for event in events] == [(MIDNIGHT + 5 * MS, 4)]


async def test_a_book_that_was_stale_before_the_range_does_not_begin_it():
    ticks = [snapshot(2, 0), quote(5, 6, 1), quote(7, 7, 9), snapshot(7, 10)]
    events, tally = await read(in_step, ticks, MIDNIGHT + 5 * MS)
    assert events == [snapshot(7, 10)]
    assert tally.without_book == 1


async def test_once_a_range_has_begun_nothing_is_left_out_for_an_earlier_time():
    late, before, behind = snapshot(4, 6), quote(5, 6, 3), quote(9, 9, 7)
    ticks = [snapshot(1), quote(3, 3, 1), quote(4, 4, 2), late, before, quote(8, 8, 4), behind]
    events, tally = await read(in_step, ticks, MIDNIGHT + 5 * MS)
    assert events[:2] == [late, before]
    assert [type(event) for event in events[2:]] == [StaleBook]
    assert (tally.quotes, tally.stale) == (1, 1)


async def test_a_range_begins_with_the_book_also_if_the_snapshot_of_before_came_late():
    late, start = snapshot(4, 3_500), MIDNIGHT + 5_000 * MS
    ticks = [*(quote(number, number, number) for number in range(1, 9)), late, quote(9, 9, 6_000)]
    events, tally = await read(in_step, ticks, start)
    assert [event.last_update_id for event in events] == [8, 9]
    assert (type(events[0]), events[0].ts_event) == (BookSnapshot, start)
    assert (tally.quotes, tally.without_book) == (1, 0)


async def test_a_venue_that_numbers_anew_begins_another_book():
    ticks = [snapshot(1_000), quote(1_001, 1_002, 1), snapshot(5, 9_000), quote(6, 7, 9_001)]
    events, _ = await read(in_step, ticks)
    assert events == ticks


async def test_trades_that_hit_no_order_are_no_part_of_a_market():
    events, tally = await read(in_step, [trade(1), trade(2, 1, off_book=True), trade(3, 2)])
    assert [event.trade_id for event in events] == [1, 3]
    assert (tally.trades, tally.off_book, tally.missing_trade_ids) == (2, 1, 0)
    events, _ = await read(recorded, [trade(1), trade(2, 1, off_book=True)])
    assert [event.trade_id for event in events] == [1, 2]
