"""A change of the tracked pairs is heard, whatever becomes of the connection that it is listened on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.adapters.timescale import listen
from binance_proxy.adapters.timescale.registry import TimescaleRegistry
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.application.ports import StoreUnavailable, TrackedPair
from binance_proxy.domain.instrument import Stream
from tcp_proxy import Proxy

PATIENCE_S = 60.0
LISTENERS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'binance-proxy-alone'
"""


class Follower:
    """Reads the tracked pairs at each change, as a recording does."""

    def __init__(self, registry: TimescaleRegistry) -> None:
        self.registry = registry
        self.pairs: dict[str, TrackedPair] = {}
        self.told = 0
        self.stirred = asyncio.Event()

    async def run(self) -> None:
        async with aclosing(self.registry.changes()) as changes:
            async for _ in changes:
                self.told += 1
                self.pairs = await self._tracked()
                self.stirred.set()

    async def _tracked(self) -> dict[str, TrackedPair]:
        while True:
            try:
                return {pair.symbol: pair for pair in await self.registry.pairs()}
            except StoreUnavailable:
                await asyncio.sleep(0.05)

    async def until(self, holds: Callable[[dict[str, TrackedPair]], bool]) -> None:
        """Wait for what was read at a change; how many changes that took is nobody's promise."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds(self.pairs):
                self.stirred.clear()
                await self.stirred.wait()

    async def until_tracked(self, symbol: str) -> None:
        await self.until(lambda pairs: symbol in pairs)


@asynccontextmanager
async def following(url: str) -> AsyncIterator[Follower]:
    async with open_timescale(url, connect_s=3, limit_s=3) as store:
        follower = Follower(store.registry)
        running = asyncio.create_task(follower.run())
        try:
            await follower.until_tracked("ETH/USDT")
            yield follower
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def admin(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until_one_listens(sql: asyncpg.Connection, *, after: int | None = None) -> int:
    """Return the only listener's process; a slow machine's may be replaced at any time."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            listeners = [row["pid"] for row in await sql.fetch(LISTENERS)]
            if len(listeners) == 1 and listeners != [after]:
                return listeners[0]
            await asyncio.sleep(0.01)


async def until_nobody_listens(sql: asyncpg.Connection) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await sql.fetch(LISTENERS):  # noqa: ASYNC110  it is the server that knows
            await asyncio.sleep(0.01)


async def track(connection: asyncpg.Connection, symbol: str) -> None:
    await connection.execute("INSERT INTO tracked_pairs (symbol) VALUES ($1)", symbol)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "HEARTBEAT_S", 0.5)


async def test_plain_sql_on_either_table_is_heard(database_url: str) -> None:
    async with admin(database_url) as sql, following(database_url) as follower:
        await track(sql, "BTC/USDT")
        await follower.until_tracked("BTC/USDT")
        await sql.execute("DELETE FROM tracked_pair_streams WHERE symbol = 'BTC/USDT' AND stream = 'trades'")
        await follower.until(lambda pairs: Stream.TRADES not in pairs["BTC/USDT"].streams)
        await sql.execute("UPDATE tracked_pairs SET enabled = false WHERE symbol = 'BTC/USDT'")
        await follower.until(lambda pairs: not pairs["BTC/USDT"].enabled)
        await sql.execute("TRUNCATE tracked_pairs CASCADE")
        await follower.until(lambda pairs: not pairs)


async def test_a_terminated_listener_comes_back_and_misses_nothing(database_url: str) -> None:
    async with admin(database_url) as sql, following(database_url) as follower:
        for number in range(5):
            killed = False
            while not killed:
                listener = await until_one_listens(sql)
                killed = await sql.fetchval("SELECT pg_terminate_backend($1)", listener)
            await track(sql, f"C{number}/USDT")  # while nobody listens
            await follower.until_tracked(f"C{number}/USDT")
            await until_one_listens(sql, after=listener)


async def test_a_change_during_a_black_hole_is_followed(database_url: str) -> None:
    proxy = Proxy(database_url)
    async with admin(database_url) as sql, proxy.run() as url, following(url) as follower:
        proxy.open.clear()
        await track(sql, "BTC/USDT")
        async with asyncio.timeout(PATIENCE_S):
            while not proxy.swallowed:  # noqa: ASYNC110  the proxy only counts
                await asyncio.sleep(0.01)
        assert "BTC/USDT" not in follower.pairs
        proxy.forget()  # the notice never comes, as when a router has forgotten the connection
        await follower.until_tracked("BTC/USDT")
        await track(sql, "DOGE/USDT")
        await follower.until_tracked("DOGE/USDT")


async def test_a_server_that_was_stopped_is_waited_for(tmp_path: Path) -> None:
    async with open_postgres(tmp_path / "postgres", owner="pytest") as server:
        url = server.url
        opened = following(url)
        follower = await opened.__aenter__()
    try:
        await asyncio.sleep(1)
        async with open_postgres(tmp_path / "postgres", owner="pytest") as again, admin(again.url) as sql:
            assert again.url == url
            await track(sql, "BTC/USDT")
            await follower.until_tracked("BTC/USDT")
    finally:
        await opened.__aexit__(None, None, None)


async def test_a_burst_is_told_less_often_than_it_has_changes(database_url: str) -> None:
    async with admin(database_url) as sql, following(database_url) as follower:
        told = follower.told
        async with sql.transaction():
            for number in range(200):
                await track(sql, f"C{number}/USDT")
        await follower.until_tracked("C199/USDT")
        assert follower.told - told < 20


async def test_leaving_ends_the_connection(database_url: str) -> None:
    async with admin(database_url) as sql:
        async with following(database_url):
            await until_one_listens(sql)
        await until_nobody_listens(sql)
