"""The newest of every instrument is in the cache, seldom put there, and no book that does not hold."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from binance_proxy.adapters.memory.publisher import body_of
from binance_proxy.application.latest import (
    LatestSettings,
    book_key,
    candle_key,
    open_latest,
    trade_key,
)
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.tick import Disconnect
from contract.live import BOOK, ETH, NOW, SOL, World, quote, recorded, snapshot, trade, until

QUICK = LatestSettings(interval_s=0.01, ttl_s=7.0)


class Kept:
    """A cache that counts what is put, and may take its time."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.puts: Counter[str] = Counter()
        self.ttls: set[float] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun: Counter[str] = Counter()

    async def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        self.begun[key] += 1
        await self.gate.wait()
        self.puts[key] += 1
        self.ttls.add(ttl_s)
        self.values[key] = value

    async def drop(self, key: str) -> None:
        self.values.pop(key, None)

    async def once(self, key: str, ttl_s: float, make: Callable[[], Awaitable[bytes]]) -> bytes:
        raise NotImplementedError

    def read(self, key: str) -> dict:
        return json.loads(self.values[key])


@asynccontextmanager
async def kept(world: World, settings: LatestSettings = QUICK) -> AsyncIterator[Kept]:
    cache = Kept()
    async with recorded(world), open_latest(world.recording, world.publisher, cache, settings):
        yield cache


async def test_the_last_trade_is_there_as_the_wire_says_it() -> None:
    world = World()
    async with kept(world) as cache:
        await world.give(trade(1), trade(2))
        await until(lambda: trade_key(ETH) in cache.values and cache.read(trade_key(ETH))["trade_id"] == 2)
        expected = body_of(trade(2))
        del expected["type"]
        assert cache.read(trade_key(ETH)) == expected
        assert trade_key(ETH) == "latest:binance.spot.ethusdt:trade"
        await world.give(trade(5), trade(4))  # late, so not the last
        await until(lambda: cache.read(trade_key(ETH))["trade_id"] == 5)
        await asyncio.sleep(0.05)
        assert cache.read(trade_key(ETH))["trade_id"] == 5
        assert trade_key(SOL) not in cache.values


async def test_the_top_of_the_book_is_there_and_where_its_topic_is() -> None:
    world = World()
    async with kept(world) as cache:
        await world.give(snapshot(10), quote(11))
        await until(lambda: book_key(ETH) in cache.values)
        assert cache.read(book_key(ETH)) == {
            "venue": "binance", "market": "spot", "symbol": "ETH/USDT", "epoch": "e1", "sequence": 2,
            "ts_event": quote(11).ts_event, "ts_recv": quote(11).ts_recv, "last_update_id": 11,
            "bids": [["0.00001", "0.00000111"]], "asks": [["0.00001001", "0.0000002"]],
        }  # fmt: skip
        assert world.publisher.recall(BOOK, 0).sequence == 2


async def test_the_open_candles_are_there() -> None:
    world = World()
    async with kept(world) as cache:
        await world.give(trade(1), trade(2), trade(3))
        keys = [candle_key(ETH, Timeframe(name)) for name in ("1m", "5m")]
        await until(lambda: all(key in cache.values and cache.read(key)["trades"] == 3 for key in keys))
        messages = world.publisher.recall(f"{ETH.name}.candles.1m", 0).messages
        assert set(messages[-1]) - set(cache.read(keys[0])) == {"type", "epoch", "sequence"}
        assert cache.read(keys[0])["closed"] is False
        assert keys[0] == "latest:binance.spot.ethusdt:candle:1m"


async def test_nothing_is_put_that_has_not_changed_and_it_does_not_stay_for_long() -> None:
    world = World()
    async with kept(world) as cache:
        await world.give(snapshot(10), quote(11), trade(1))
        await until(lambda: len(cache.values) == 4)
        before = cache.puts.copy()
        await asyncio.sleep(0.1)
        assert cache.puts == before
        assert cache.ttls == {7.0}


async def test_much_that_changes_is_put_seldom() -> None:
    world = World()
    async with kept(world, LatestSettings(interval_s=0.2)) as cache:
        await world.give(snapshot(10), quote(11))
        began = asyncio.get_running_loop().time()
        for number in range(12, 300):
            await world.give(quote(number), trade(number))
        took_s = asyncio.get_running_loop().time() - began
        assert cache.puts[book_key(ETH)] <= 2 + took_s / 0.2
        await until(lambda: cache.read(book_key(ETH))["last_update_id"] == 299)


@pytest.mark.parametrize(
    "breaking", [quote(20), Disconnect(instruments=(ETH,), ts_recv=NOW, reason="the cable broke")]
)
async def test_a_book_that_falls_out_of_step_is_dropped_at_once(breaking: object) -> None:
    world = World()
    async with kept(world, LatestSettings(interval_s=0.05)) as cache:
        await world.give(snapshot(10), quote(11))
        await until(lambda: book_key(ETH) in cache.values)
        await world.give(breaking)
        await until(lambda: book_key(ETH) not in cache.values)
        await asyncio.sleep(0.15)
        assert book_key(ETH) not in cache.values
        await world.give(snapshot(21), quote(22))
        await until(lambda: book_key(ETH) in cache.values)
        assert cache.read(book_key(ETH))["last_update_id"] == 22


async def test_a_book_that_falls_out_of_step_while_it_is_put_does_not_stay() -> None:
    world = World()
    async with kept(world) as cache:
        cache.gate.clear()
        await world.give(snapshot(10), quote(11))
        await until(lambda: cache.begun[book_key(ETH)])
        await world.give(quote(20))
        cache.gate.set()
        await until(lambda: cache.puts[book_key(ETH)])
        await until(lambda: book_key(ETH) not in cache.values)
        await asyncio.sleep(0.05)
        assert book_key(ETH) not in cache.values


async def test_of_a_pair_that_is_removed_nothing_stays() -> None:
    world = World()
    async with kept(world) as cache:
        await world.give(snapshot(10), quote(11), trade(1), trade(1, SOL))
        candles = [candle_key(one, Timeframe(name)) for one in (ETH, SOL) for name in ("1m", "5m")]
        await until(lambda: {book_key(ETH), trade_key(ETH), trade_key(SOL), *candles} <= set(cache.values))
        del world.recording._tracks[ETH]
        await until(lambda: {trade_key(SOL), *candles[2:]} == set(cache.values))


async def test_nothing_stays_when_the_bridge_ends() -> None:
    world = World()
    async with kept(world) as cache:
        await world.give(snapshot(10), quote(11), trade(1))
        await until(lambda: len(cache.values) == 4)
    assert cache.values == {}
