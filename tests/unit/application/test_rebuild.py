"""The book of any moment is the one that a straightforward replay has then, or there is none."""

import random
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.settings import Faults
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.rebuild import BEHIND_NS, BookUnknown, book_at
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.sequence import covered_ids
from binance_proxy.domain.tick import BookSnapshot, QuoteTick
from contract.market_store import ETH, FOREVER, MS, T0, quote, snapshot
from recorded import captures
from unit.application.recorded_store import recorded_store, simulated_store

CAPTURES = [
    pytest.param(("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"), Market.SPOT, id="spot"),
    pytest.param(("usdm_btcusdt_20240718.gz", "usdm_btcusdt_20240719.gz"), Market.USDM, id="usdm"),
]


async def kept(store: MemoryStore, kind: type, instrument: Instrument = ETH) -> list:
    async with aclosing(store.scan(kind, instrument, *FOREVER)) as events:
        return [event async for event in events]


def replay(first: BookSnapshot, quotes: Sequence[QuoteTick], moments: Sequence[int]) -> list[tuple]:
    """Return the levels at each of some rising moments."""
    book, shown, reached = OrderBook(first), [], 0
    in_order = sorted(quotes, key=lambda one: one.last_update_id)
    for ts in moments:
        while reached < len(in_order) and in_order[reached].ts_event <= ts:
            book.apply(in_order[reached])
            reached += 1
        shown.append((book.last_update_id, book.depth()))
    return shown


@pytest.mark.shared_data
@pytest.mark.parametrize(("names", "market"), CAPTURES)
async def test_the_book_of_a_recorded_moment_is_that_of_a_replay(names, market):
    feed = CaptureFeed(captures(*names), BinanceFrames(market), SystemClock(), speed=None)
    store = await recorded_store(feed, snapshot_interval_s=60.0)
    (instrument,) = await store.registry.instruments()
    quotes, snapshots = await kept(store, QuoteTick, instrument), await kept(store, BookSnapshot, instrument)
    venues = min(snapshots, key=lambda one: one.last_update_id)
    assert len(snapshots) >= 8
    first = next(one.ts_event for one in quotes if one.last_update_id >= venues.last_update_id)
    assert quotes[0].ts_event < first  # it came behind updates that it contains
    rng = random.Random(1)
    moments = sorted(rng.randrange(first, quotes[-1].ts_event + 1) for _ in range(60))
    # Times at which something happened are where one off shows.
    moments = sorted([*moments, first, *(rng.choice(quotes[20:]).ts_event for _ in range(20))])
    for ts, (last_id, depth) in zip(moments, replay(venues, quotes, moments), strict=True):
        book = await book_at(store, instrument, ts)
        assert (book.last_update_id, book.depth()) == (last_id, depth)

    with pytest.raises(BookUnknown) as early:
        await book_at(store, instrument, first - 1)
    assert early.value.again == first
    with pytest.raises(BookUnknown) as late:
        await book_at(store, instrument, quotes[-1].ts_event + 1)
    assert late.value.since == quotes[-1].ts_event
    assert (await book_at(store, instrument, END_OF_TIME)).last_update_id == quotes[-1].last_update_id


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["eth", "sol"])
async def test_the_book_of_a_moment_is_the_true_one_or_none(seed, name):
    """SOL is a USD-M pair here, whose updates name the one before."""
    faults = Faults(gap=0.01, reorder=0.01, duplicate=0.01, disconnect=0.001)
    truth = await simulated_store(8_000, seed)  # it goes on behind the end of the faulty one
    store = await simulated_store(4_000, seed, faults)
    instrument = next(one for one in await store.registry.instruments() if name in one.name)
    happened = await kept(truth, QuoteTick, instrument)
    quotes = await kept(store, QuoteTick, instrument)
    missed = len([one for one in happened if one.ts_event <= quotes[-1].ts_event]) - len(quotes)
    assert missed > 3
    begin = min(await kept(truth, BookSnapshot, instrument), key=lambda one: one.last_update_id)
    snapshots = [one.last_update_id for one in await kept(store, BookSnapshot, instrument)]
    rng = random.Random(seed)
    moments = sorted(rng.randrange(quotes[0].ts_event, quotes[-1].ts_event) for _ in range(150))
    served = refused = 0
    for ts, right in zip(moments, replay(begin, happened, moments), strict=True):
        reachable = is_reachable(quotes, snapshots, ts)
        try:
            book = await book_at(store, instrument, ts)
        except BookUnknown as error:
            refused += 1
            assert not reachable
            assert error.again is None or error.again > ts  # noqa: PT017  others are served
        else:
            served += 1
            assert (book.last_update_id, book.depth()) == right
    assert served > 20
    assert refused > 5


def is_reachable(quotes: Sequence[QuoteTick], snapshots: Sequence[int], ts: int) -> bool:
    """Say whether all updates from a snapshot to a moment, and the next one, are there."""
    at = bisect_right(quotes, ts, key=lambda one: one.ts_event)
    if at == 0:
        return False
    reached = covered_ids(quotes[at])[0]
    if reached > quotes[at - 1].last_update_id + 1:
        return False
    for one in reversed(quotes[:at]):
        first, last = covered_ids(one)
        if last + 1 < reached:
            return False
        reached = first
        if any(first - 1 <= known <= last for known in snapshots):
            return True
    return False


async def filled(*events) -> MemoryStore:
    store = MemoryStore()
    await store.append(events)
    return store


def at(update: int) -> int:
    return T0 + update * MS


async def test_a_missing_update_is_named_with_its_times():
    later = snapshot(8, ts_event=at(9))
    store = await filled(snapshot(1), *(quote(number) for number in (1, 2, 3, 6, 7, 8, 9)), later)
    for ts in (at(3), at(5), at(6), at(7)):  # what is missing may have been at the same time as the third
        with pytest.raises(BookUnknown, match="31 to 50") as unknown:
            await book_at(store, ETH, ts)
        assert unknown.value.missing == (31, 50)
        assert (unknown.value.since, unknown.value.again) == (at(3), at(8))
    assert (await book_at(store, ETH, at(3) - 1)).last_update_id == 20
    assert (await book_at(store, ETH, at(8))).last_update_id == 80


async def test_updates_whose_times_run_backwards_are_applied_by_id():
    turned = [quote(2, ts_event=at(4)), quote(3, ts_event=at(3))]
    store = await filled(snapshot(1), quote(1), *turned, quote(5, first_update_id=31))
    assert (await book_at(store, ETH, at(5))).last_update_id == 50
    with pytest.raises(BookUnknown, match="11 to 20"):
        await book_at(store, ETH, at(3))


async def test_a_snapshot_that_contradicts_itself_is_passed_over():
    crossed = snapshot(3, bids=((300_009, 1),))
    store = await filled(snapshot(1), *(quote(number) for number in range(1, 6)), crossed)
    assert (await book_at(store, ETH, END_OF_TIME)).last_update_id == 50


async def test_numbers_that_begin_anew_do_not_mix_with_the_old_ones():
    day = 86_400_000
    old = [snapshot(50), *(quote(number) for number in range(48, 53))]
    anew = [replace(quote(number), ts_event=at(number + day)) for number in range(1, 90)]
    store = await filled(*old, *anew)
    assert (await book_at(store, ETH, at(51))).last_update_id == 510
    for ts in (at(53), at(day + 1), at(day + 60), END_OF_TIME):
        with pytest.raises(BookUnknown):
            await book_at(store, ETH, ts)
    await store.append([snapshot(60, ts_event=at(day + 60))])
    assert (await book_at(store, ETH, at(day + 80))).last_update_id == 800
    assert (await book_at(store, ETH, END_OF_TIME)).last_update_id == 890


async def test_a_snapshot_behind_a_gap_holds_once_its_time_is_sure():
    behind = quote(10_000, first_update_id=61)
    received = snapshot(6, ts_event=at(6))  # by a clock that may be behind the venue's
    store = await filled(snapshot(1), quote(1), quote(2), received, behind)
    with pytest.raises(BookUnknown, match="21 to 60"):
        await book_at(store, ETH, at(6))
    book = await book_at(store, ETH, at(6) + BEHIND_NS)
    assert book.last_update_id == 60


async def test_without_a_snapshot_there_is_no_book():
    with pytest.raises(BookUnknown, match="no snapshot"):
        await book_at(await filled(quote(1)), ETH, END_OF_TIME)


async def test_a_snapshot_alone_says_nothing_of_a_later_moment():
    only = snapshot(1)
    store = await filled(only)
    sure = only.ts_event + BEHIND_NS
    assert (await book_at(store, ETH, sure)).last_update_id == only.last_update_id
    assert (await book_at(store, ETH, END_OF_TIME)).last_update_id == only.last_update_id
    for ts in (sure + 1, sure + 5 * 86_400_000 * MS):
        with pytest.raises(BookUnknown, match="is not recorded") as unknown:
            await book_at(store, ETH, ts)
        assert unknown.value.since == only.ts_event
