"""Candles that are summed up ahead of time: the same numbers before, after, and after late trades."""

import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from binance_proxy.adapters.timescale.rollups import locked, refresh
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.tick import TradeTick
from contract.market_store import MS, SOL, folded, random_trades, trade
from integration_kept import Kept, open_kept
from servers import both

pytestmark = both

TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d", "3m", "1w")
HOUR_MS = 3_600_000


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    async with open_kept(database_url) as kept:
        yield kept


async def test_candles_are_the_same_before_and_after_they_are_summed_up(kept: Kept) -> None:
    trades = random_trades(1, 600, spread_ms=3 * 86_400_000)
    await kept.store.append(trades)
    before = {name: (await kept.candles(name)) for name in TIMEFRAMES}
    shown = {name: (await kept.shown(name)) for name in TIMEFRAMES[:6]}
    assert await kept.summed_up() == 0
    assert await kept.stale() > 0
    assert await kept.refresh() > 0
    assert await kept.stale() == 0
    assert await kept.summed_up() >= len(before["1m"])
    for name in TIMEFRAMES:
        assert before[name] == folded(trades, Timeframe(name))
        assert await kept.candles(name) == before[name]
    for name, rows in shown.items():
        assert await kept.shown(name) == rows


@pytest.mark.parametrize("seed", range(4))
async def test_late_trades_are_in_every_candle_at_once(kept: Kept, seed: int) -> None:
    """Whatever order trades come in, and whenever the sums are made, no reader sees an old sum."""
    rng = random.Random(seed)
    trades = random_trades(seed, 400, spread_ms=3 * 86_400_000)
    other = random_trades(seed + 10, 100, SOL, spread_ms=86_400_000)
    rest = rng.sample(trades, len(trades))
    stored: list[TradeTick] = []
    while rest:
        batch, rest = rest[:70], rest[70:]
        await kept.store.append([*batch, *rng.sample(batch, 5), *other[:20]])
        stored += batch
        other = other[20:]
        for name in TIMEFRAMES:
            assert await kept.candles(name) == folded(stored, Timeframe(name)), name
        if rng.random() < 0.6:
            await kept.refresh()
            for name in TIMEFRAMES:
                assert await kept.candles(name) == folded(stored, Timeframe(name)), name


async def test_a_late_trade_makes_a_candle_complete(kept: Kept) -> None:
    trades = [trade(number, number * 20_000) for number in range(12)]
    await kept.store.append([one for one in trades if one.trade_id != 5])
    await kept.refresh()
    assert [row[-1] for row in await kept.shown("1m")] == [False, True, False, True, False]
    await kept.store.append([trades[5]])
    for _ in range(2):
        assert [row[-1] for row in await kept.shown("1m")] == [False, True, True, True, False]
        await kept.refresh()


async def test_only_what_was_touched_is_summed_up_again(kept: Kept) -> None:
    await kept.store.append([trade(number, number * HOUR_MS) for number in range(60)])
    await kept.refresh()
    await kept.store.append([trade(1_000, 5 * HOUR_MS + 1), trade(1_001, 40 * HOUR_MS + 1)])
    rows = await kept.sql.fetch('SELECT start, "end" FROM stale_candles ORDER BY start')
    assert [(row["end"] - row["start"]).total_seconds() for row in rows] == [60, 60]


async def test_what_is_stored_twice_makes_nothing_stale(kept: Kept) -> None:
    trades = [trade(number) for number in range(10)]
    await kept.store.append(trades)
    await kept.refresh()
    assert await kept.store.append(trades) == 0
    assert await kept.stale() == 0


async def test_the_newest_minutes_are_not_summed_up_yet(kept: Kept) -> None:
    """A transaction may still bring more of them, and what was summed up would not know."""
    now = await kept.sql.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
    fresh = [trade(number, ts_event=(now - 1_000 * number) * MS) for number in range(100)]
    await kept.store.append(fresh)
    assert await kept.stale() == 0
    await kept.refresh()
    async with locked(kept.session) as connection:
        assert connection is not None
        await kept.rollups.advance(connection)
    assert await kept.summed_up() == 0
    assert await kept.candles("1m") == folded(fresh, Timeframe("1m"))
    await kept.store.append([trade(200, ts_event=(now - 50_000) * MS, price=1)])
    assert await kept.candles("1m") == folded(
        [*fresh, trade(200, ts_event=(now - 50_000) * MS, price=1)], Timeframe("1m")
    )


async def test_a_day_that_is_not_over_stays_open_for_its_next_trades(kept: Kept) -> None:
    """Some of its minutes may be summed up, and yet what comes now is in its candle."""
    now = await kept.sql.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
    stored = [trade(number, ts_event=(now - 15 * 60_000 + number) * MS) for number in range(10)]
    await kept.store.append(stored)
    assert await kept.stale() > 0
    await kept.refresh()
    assert await kept.stale() == 0
    stored.append(trade(50, ts_event=now * MS))
    await kept.store.append(stored[-1:])
    assert await kept.stale() == 0
    for name in TIMEFRAMES:
        assert await kept.candles(name) == folded(stored, Timeframe(name)), name


async def test_sums_are_made_by_one_process_at_a_time(kept: Kept) -> None:
    await kept.store.append([trade(1)])
    async with locked(kept.session) as connection:
        assert connection is not None
        assert await kept.refresh() == 0
    assert await kept.refresh() == 1


async def test_a_refresh_that_was_killed_is_made_up_for(kept: Kept) -> None:
    """Its connection dies in the middle: what is not marked as done is done again."""
    trades = [trade(number, number * HOUR_MS) for number in range(100)]
    await kept.store.append(trades)

    class Dying(type(kept.rollups)):
        done = 0

        async def sum_up(self, connection: asyncpg.Connection, one: object) -> None:
            Dying.done += 1
            if Dying.done == 3:
                connection.terminate()
            await super().sum_up(connection, one)

    with pytest.raises(Exception, match="PostgreSQL"):
        await refresh(kept.session, Dying())
    assert await kept.stale() > 0
    assert await kept.candles("1m") == folded(trades, Timeframe("1m"))
    await kept.refresh()
    assert await kept.stale() == 0
    assert await kept.candles("1d") == folded(trades, Timeframe("1d"))
