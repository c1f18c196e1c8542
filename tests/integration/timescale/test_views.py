"""The views: exact decimal numbers, the same candles as the fold, and `complete`."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from msgspec import structs

from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.scale import to_decimal
from binance_proxy.domain.tick import TradeTick
from contract.market_store import ETH, MS, SOL, T0, folded, random_trades, trade
from servers import both

pytestmark = both

VIEWS = ("1m", "5m", "15m", "1h", "4h", "1d")
FINE = structs.replace(ETH, symbol="PEPE/USDT", price_precision=18, size_precision=0)
SMALL = structs.replace(ETH, symbol="BTC/EUR", price_precision=0, size_precision=18)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = 60_000


@pytest.fixture
async def sql(database_url: str):
    # Another time zone than UTC, one that has summer time, must not move a period.
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "America/New_York"})
    yield connection
    await connection.close()


def at(ts: int) -> datetime:
    return EPOCH + timedelta(microseconds=ts // 1000)


def shown(candle: Candle) -> dict[str, object]:
    """Say what a view shows of a candle, but for `complete`."""
    instrument = candle.instrument
    price, size = instrument.price_precision, instrument.size_precision
    return {
        "venue": instrument.venue,
        "market": instrument.market.value,
        "symbol": instrument.symbol,
        "start": at(candle.start),
        **{name: to_decimal(getattr(candle, name), price) for name in ("open", "high", "low", "close")},
        "volume": to_decimal(candle.volume, size),
        "quote_volume": to_decimal(candle.quote_volume, price + size),
        "vwap": to_decimal(candle.vwap, price),
        "trades": candle.trades,
    }


async def in_view(sql: asyncpg.Connection, name: str) -> list[dict[str, object]]:
    rows = await sql.fetch(f"SELECT * FROM candles_{name} ORDER BY symbol, start")
    found = [dict(row) for row in rows]
    for row in found:
        row.pop("complete")
        decimals = [f"{value:f}" for value in row.values() if isinstance(value, Decimal)]
        assert not any("." in text and text.endswith("0") for text in decimals)
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_candles_equal_the_fold(database_url: str, sql: asyncpg.Connection, seed: int) -> None:
    trades: dict[str, list[TradeTick]] = {}
    async with open_timescale(database_url) as store:
        for number, instrument in enumerate((SOL, FINE, SMALL, ETH)):
            made = random_trades(seed * 4 + number, 250, instrument, spread_ms=3 * 86_400_000)
            trades[instrument.symbol] = made
            late = random.Random(seed).sample(made, len(made))
            await store.append(late[:150])
            await store.append(late[100:])
        for name in VIEWS:
            by_symbol = [trades[symbol] for symbol in sorted(trades)]
            expected = [shown(candle) for made in by_symbol for candle in folded(made, Timeframe(name))]
            assert await in_view(sql, name) == expected
            for instrument in (SOL, ETH):
                found = await store.candles(instrument, Timeframe(name), 0, 2**63 - 1)
                assert list(found) == folded(trades[instrument.symbol], Timeframe(name))


async def test_price_times_size_may_be_over_64_bits(database_url: str, sql: asyncpg.Connection) -> None:
    most = 2**63 - 1
    trades = [trade(number, 0, price=most - number, size=most) for number in range(3)]
    async with open_timescale(database_url) as store:
        await store.append(trades)
        assert list(await store.candles(ETH, Timeframe("1m"), 0, most)) == folded(trades, Timeframe("1m"))
    assert await in_view(sql, "1m") == [shown(folded(trades, Timeframe("1m"))[0])]


async def test_trades_decimal_is_exact(database_url: str, sql: asyncpg.Connection) -> None:
    trades = random_trades(2, 50, ETH, spread_ms=100) + random_trades(3, 50, FINE, spread_ms=100)
    async with open_timescale(database_url) as store:
        await store.append(trades)
    rows = await sql.fetch("SELECT * FROM trades_decimal ORDER BY symbol, ts_event, trade_id")
    assert [tuple(row) for row in rows] == [
        (
            "binance",
            "spot",
            one.instrument.symbol,
            one.trade_id,
            at(one.ts_event),
            at(one.ts_recv),
            to_decimal(one.price, one.instrument.price_precision),
            to_decimal(one.size, one.instrument.size_precision),
            one.aggressor.value,
        )
        for one in trades
    ]


async def completeness(sql: asyncpg.Connection, name: str = "1m") -> list[bool]:
    rows = await sql.fetch(f"SELECT complete FROM candles_{name} WHERE symbol = 'ETH/USDT' ORDER BY start")
    return [row["complete"] for row in rows]


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ([], [False, True, True, True, False]),
        ([4], [False, False, True, True, False]),  # in the middle of the second minute
        ([3], [False, False, True, True, False]),  # its first: what is left does not follow the trade before
        ([5], [False, False, False, True, False]),  # its last, which is also the one before the third
        ([2], [False, False, True, True, False]),  # the one before it
        ([0, 1, 2], [False, True, True, False]),  # the recording begins a minute later
        ([6, 7, 8], [False, False, False, False]),  # a minute of which nothing is stored makes no candle
    ],
)
async def test_complete_is_proven_by_the_stored_trades(
    database_url: str, sql: asyncpg.Connection, missing: list[int], expected: list[bool]
) -> None:
    # Three trades a minute, five minutes, the first of them the last before midnight.
    trades = [trade(100 + number, number // 3 * MINUTE - 58_000 + number % 3) for number in range(15)]
    other = [trade(number, number, instrument=SOL) for number in range(90, 130)]
    async with open_timescale(database_url) as store:
        await store.append([one for number, one in enumerate(trades) if number not in missing] + other)
        assert await completeness(sql) == expected
        await store.append(trades)
        assert await completeness(sql) == [False, True, True, True, False]


async def test_an_off_book_print_counts_for_complete(database_url: str, sql: asyncpg.Connection) -> None:
    trades = [trade(number, number * MINUTE + 1_000, off_book=number in {2, 4}) for number in range(6)]
    trades.append(trade(6, 5 * MINUTE + 1_001, off_book=True))
    trades.append(trade(7, 6 * MINUTE + 1_000))
    async with open_timescale(database_url) as store:
        await store.append(trades)
        assert await completeness(sql) == [False, True, True, True, False]
        # Minutes 2 and 4 have nothing but an off-book print: no candle, and yet a proof for their neighbours.


async def test_a_quiet_hour_does_not_make_a_period_incomplete(
    database_url: str, sql: asyncpg.Connection
) -> None:
    trades = [trade(1, 0), trade(2, 86_400_000 * 3), trade(3, 86_400_000 * 9)]
    async with open_timescale(database_url) as store:
        await store.append(trades)
    for name in VIEWS:
        assert await completeness(sql, name) == [False, True, False]


async def test_views_of_an_empty_store_are_empty(sql: asyncpg.Connection) -> None:
    for view in (*(f"candles_{name}" for name in VIEWS), "trades_decimal"):
        assert await sql.fetch(f"SELECT * FROM {view}") == []


assert T0 % (MINUTE * MS) == 59_000 * MS  # what the times above rely on
