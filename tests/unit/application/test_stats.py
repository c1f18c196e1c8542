"""What is stored, day by day, from a store in memory."""

from msgspec.structs import replace

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.ports import ArchivedDay
from binance_proxy.application.stats import stats
from binance_proxy.domain.tick import QuoteTick, TradeTick
from ticks_made import DAY_NS, ETH, MIDNIGHT, MS, quote, snapshot, trade

DAY = MIDNIGHT // DAY_NS
ALL = (0, 2**62)


async def kept(*ticks):
    store = MemoryStore()
    await store.append(ticks)
    return store


async def test_every_day_has_its_ticks_and_its_first_and_last_moment():
    store = await kept(trade(1, -5), trade(2, 3), trade(3, 4), quote(1, 4, -1), snapshot(4, 2))
    before, day = await stats(store, ETH, *ALL)
    assert (before.day, before.trades, before.quotes, before.snapshots) == (DAY - 1, 1, 1, 0)
    assert (before.first, before.last) == (MIDNIGHT - 5 * MS, MIDNIGHT - MS)
    assert (day.day, day.trades, day.quotes, day.snapshots) == (DAY, 2, 0, 1)
    assert (day.first, day.last) == (MIDNIGHT + 2 * MS, MIDNIGHT + 4 * MS)
    assert (day.share, day.holes) == (1.0, 0)


async def test_the_share_of_a_day_is_that_of_its_worse_stream():
    [day] = await stats(await kept(trade(1), trade(4, 1), quote(1, 1), quote(2, 2, 1)), ETH, *ALL)
    assert (day.trade_ids.share, day.update_ids.share, day.share) == (0.5, 1.0, 0.5)


async def test_only_the_range_is_counted_and_what_lacks_at_its_ends_is_found():
    store = await kept(trade(1, 0), trade(5, 10), trade(6, 11), trade(9, 20))
    [day] = await stats(store, ETH, MIDNIGHT + 5 * MS, MIDNIGHT + 15 * MS)
    assert (day.trades, day.trade_ids.there, day.trade_ids.estimated) == (2, 2, True)
    assert day.trade_ids.missing in {1, 2}  # half of the three before, less than half of the two behind


async def test_nothing_stored_is_no_day():
    assert await stats(MemoryStore(), ETH, *ALL) == []


async def test_the_size_is_known_where_the_archive_has_exactly_these_ticks():
    store = await kept(trade(1), trade(2, 1), quote(1, 1))
    known = {"instrument": ETH, "day": DAY, "first": 0, "last": 0, "matches": 0, "volume": 0, "checksum": ""}
    trades = ArchivedDay(kind=TradeTick, rows=2, size_bytes=100, **known)
    quotes = ArchivedDay(kind=QuoteTick, rows=1, size_bytes=11, **known)

    async def size(*archived):
        [day] = await stats(store, ETH, *ALL, archived=archived)
        return day.size_bytes

    assert await size(trades, quotes) == 111
    assert await size(trades) is None
    assert await size(trades, replace(quotes, rows=2)) is None
    assert await size(trades, replace(quotes, day=DAY + 1)) is None
    assert await size() is None
