"""Archive and database together keep a store's promises, wherever each tick lies."""

import random
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec import structs

from binance_proxy.adapters.memory.archive import MemoryArchive
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.parquet.store import open_parquet
from binance_proxy.application.long_term import LongTermStore
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import (
    ETH,
    FOREVER,
    MS,
    T0,
    MarketStoreContract,
    folded,
    gap,
    quote,
    random_trades,
    scan,
    snapshot,
    trade,
)


class TestLongTermStore(MarketStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LongTermStore:
        archive = open_parquet(str(tmp_path / "archive"))
        return LongTermStore(MemoryStore(), archive, archive)


class TestLongTermStoreOverItself(MarketStoreContract):
    """Both hold everything, as between an archive run and the drop."""

    @pytest.fixture
    def store(self) -> LongTermStore:
        both = MemoryArchive()
        return LongTermStore(both, both, both)


async def spread(seed: int, events: list) -> LongTermStore:
    """Put each event into the database, into the archive, or into both."""
    rng = random.Random(seed)
    recent, archive = MemoryStore(), MemoryArchive()
    where = [rng.choice(((recent,), (archive,), (recent, archive))) for _ in events]
    for store in (recent, archive):
        await store.append([event for event, there in zip(events, where, strict=True) if store in there])
    return LongTermStore(recent, archive, archive)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_reader_sees_no_seam_and_no_double(seed: int, newest_first) -> None:
    trades = random_trades(seed, 300, spread_ms=5 * 86_400_000)
    quotes = [quote(number) for number in range(1, 100)]
    snapshots = [snapshot(number) for number in range(1, 100, 10)]
    store = await spread(seed, [*trades, *quotes, *snapshots])
    model = MemoryStore()
    await model.append([*trades, *quotes, *snapshots])
    rng = random.Random(seed)
    for kind in (TradeTick, QuoteTick, BookSnapshot):
        assert await scan(store, kind, newest_first=newest_first) == await scan(
            model, kind, newest_first=newest_first
        )
        start, end = sorted(T0 + rng.randrange(5 * 86_400_000) * MS for _ in range(2))
        assert await scan(store, kind, start=start, end=end, newest_first=newest_first) == await scan(
            model, kind, start=start, end=end, newest_first=newest_first
        )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["1s", "7s", "1m", "1h", "7h", "1d", "1w", "1mo"])
async def test_candles_are_those_of_all_trades(seed: int, name: str) -> None:
    trades = random_trades(seed, 200, spread_ms=9 * 86_400_000)
    store = await spread(seed, trades)
    timeframe = Timeframe(name)
    every = folded(trades, timeframe)
    assert await store.candles(trades[0].instrument, timeframe, *FOREVER) == every
    rng = random.Random(seed)
    start, end = sorted(T0 + rng.randrange(9 * 86_400_000) * MS for _ in range(2))
    assert await store.candles(trades[0].instrument, timeframe, start, end) == [
        one for one in every if start <= one.start < end
    ]


async def test_a_gap_that_both_know_has_got_as_far_as_in_either() -> None:
    recent, archive = MemoryStore(), MemoryArchive()
    await recent.append([gap(1, state=GapState.REPAIRED), gap(9)])
    await archive.append([gap(1, last_id=3), gap(9, state=GapState.LOST), gap(20)])
    store = LongTermStore(recent, archive, archive)
    assert await scan(store, Gap) == [
        structs.replace(gap(1), state=GapState.REPAIRED, last_id=3),
        gap(9, state=GapState.LOST),
        gap(20),
    ]


async def test_what_is_appended_goes_to_the_database() -> None:
    recent, archive = MemoryStore(), MemoryArchive()
    assert await LongTermStore(recent, archive, archive).append([trade(1)]) == 1
    assert await scan(recent, TradeTick) == [trade(1)]
    assert await scan(archive, TradeTick) == []


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("after", [0, 1, 7, 15, 25])
async def test_a_slow_reader_misses_nothing_that_is_archived_and_dropped_meanwhile(
    after: int, newest_first
) -> None:
    """Whole days go from the database into the archive between two ticks that it reads."""
    recent, archive = MemoryStore(), MemoryArchive()
    trades = [trade(number, (number - 1) * 8_640_000) for number in range(1, 41)]  # ten a day
    await recent.append(trades)
    store = LongTermStore(recent, archive, archive)
    read = []
    async with aclosing(store.scan(TradeTick, ETH, *FOREVER, newest_first=newest_first)) as ticks:
        async for one in ticks:
            read.append(one)
            if len(read) == after + 1:
                moved = trades[:30] if not newest_first else trades[10:]
                await archive.append(moved)
                forget(recent, moved)
    assert read == (trades[::-1] if newest_first else trades)


def forget(store: MemoryStore, ticks: list[TradeTick]) -> None:
    """Drop ticks as retention does."""
    gone = set(map(id, ticks))
    for key in [key for key, one in store._kept.items() if id(one) in gone or one in ticks]:
        del store._kept[key]


class Summed(MemoryStore):
    """A database that drops days of trades, and keeps what it has summed up."""

    def __init__(self) -> None:
        super().__init__()
        self.sums = MemoryStore()

    async def drop(self, trades: list[TradeTick]) -> None:
        await self.sums.append(trades)
        forget(self, trades)

    async def candles(self, instrument, timeframe, start, end):
        if timeframe.name.endswith("s"):
            return await super().candles(instrument, timeframe, start, end)
        return await self.sums.candles(instrument, timeframe, start, end)


@pytest.mark.parametrize("late", [3, 0, 11, 25])
async def test_candles_contain_a_trade_that_came_after_its_day_was_dropped(late: int) -> None:
    recent, archive = Summed(), MemoryArchive()
    trades = [trade(number, number * 8_000_000) for number in range(20) if number != late]
    await archive.append(trades)
    await recent.append(trades)
    await recent.drop(trades)
    store = LongTermStore(recent, archive, archive)
    for name in ("1m", "1h", "1d", "1mo", "7s"):
        assert await store.candles(ETH, Timeframe(name), *FOREVER) == folded(trades, Timeframe(name))
    more = [*trades, trade(late, late * 8_000_000)]
    await recent.append(more[-1:])
    if late in {0, 25}:  # of a day that was never dropped
        await recent.sums.append(more[-1:])
    for name in ("1m", "1h", "1d", "1mo", "7s"):
        assert await store.candles(ETH, Timeframe(name), *FOREVER) == folded(more, Timeframe(name))


async def test_the_first_candle_of_a_range_is_complete_though_what_is_before_lies_in_the_archive_alone():
    recent, archive = MemoryStore(), MemoryArchive()
    trades = [trade(number) for number in range(990, 1_020)]  # midnight is at 1,000
    await archive.append(trades)
    await recent.append([one for one in trades if one.trade_id >= 1_000])
    store = LongTermStore(recent, archive, archive)
    midnight = trades[10].ts_event
    await store.append([trade(1_020, 70_000)])
    (first,) = await store.candles(ETH, Timeframe("1m"), midnight, midnight + 1)
    assert (first.start, first.complete) == (midnight, True)
