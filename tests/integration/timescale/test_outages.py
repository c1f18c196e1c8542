"""The database is stopped, cut, slow, read-only or forbidden in mid-run: afterwards all is stored once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from binance_proxy.application.ports import StoredEvent, StoreUnavailable
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import gap, quote, scan, snapshot, trade
from cut_proxy import CutProxy

QUICK = SpoolSettings(patience_s=1.0, longest_pause_s=0.2)
PATIENCE_S = 120.0


def batch(number: int) -> list[StoredEvent]:
    ids = range(number * 100, number * 100 + 100)
    return [*map(trade, ids), *map(quote, ids), snapshot(number), gap(number)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  nothing says when
            await asyncio.sleep(0.01)


class Writing:
    """Two writers that append batch after batch to a spooled store."""

    def __init__(self, behind: TimescaleStore, spool: SpooledStore) -> None:
        self.behind = behind
        self.spool = spool
        self.sent = 0
        self._ended = False
        self._tasks = [asyncio.create_task(self._write()) for _ in range(2)]

    async def _write(self) -> None:
        while not self._ended:
            number, self.sent = self.sent, self.sent + 1
            await self.spool.append(batch(number))
            await asyncio.sleep(0.005)

    async def more(self, batches: int = 10) -> None:
        goal = self.sent + batches
        await until(lambda: self.sent >= goal or any(task.done() for task in self._tasks))

    async def end(self) -> None:
        """Stop, let everything be stored, and compare it with what was sent; the second time do nothing."""
        if self._ended:
            return
        self._ended = True
        await asyncio.gather(*self._tasks)
        async with asyncio.timeout(PATIENCE_S):
            await self.spool.drained()
        sent = [event for number in range(self.sent) for event in batch(number)]
        for kind in (TradeTick, QuoteTick, BookSnapshot, Gap):
            stored = await scan(self.behind, kind)
            assert len(stored) == len(set(stored))
            assert set(stored) == {event for event in sent if type(event) is kind}
        assert self.spool.depth().set_aside == 0


@contextlib.asynccontextmanager
async def writing(url: str, folder: Path, *, limit_s: float = 20.0) -> AsyncIterator[Writing]:
    async with (
        open_timescale(url, connect_s=5, limit_s=limit_s) as behind,
        open_spool(folder, QUICK, "a test") as file,
    ):
        spool = SpooledStore(behind, file, QUICK)
        async with spool.running():
            work = Writing(behind, spool)
            await work.more()
            yield work
            await work.end()


async def test_a_server_that_is_stopped_and_started_again(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as later:
        async with open_postgres(tmp_path / "postgres", owner="pytest") as server:
            work = await later.enter_async_context(writing(server.url, tmp_path / "spool"))
        await until(lambda: work.spool.depth().is_away)
        await work.more(20)
        waiting = work.spool.depth().waiting
        assert waiting >= 20
        restarted = await later.enter_async_context(open_postgres(tmp_path / "postgres", owner="pytest"))
        assert restarted.url == server.url
        await until(lambda: not work.spool.depth().waiting)
        spooled = work.spool.depth().spooled
        await work.more(20)
        assert work.spool.depth().spooled < spooled + 20 * 202, "straight to the database again"
        await work.end()


async def test_a_server_that_is_restarted_in_mid_batch_three_times(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as later:
        async with contextlib.AsyncExitStack() as first:
            server = await first.enter_async_context(open_postgres(tmp_path / "postgres", owner="pytest"))
            work = await later.enter_async_context(writing(server.url, tmp_path / "spool"))
        for _ in range(2):
            async with open_postgres(tmp_path / "postgres", owner="pytest"):
                await work.more(5)
        await later.enter_async_context(open_postgres(tmp_path / "postgres", owner="pytest"))
        assert work.spool.depth().spooled
        await work.end()


async def test_connections_cut_between_a_commit_and_its_answer(database_url: str, tmp_path: Path) -> None:
    proxy = CutProxy(database_url)
    async with proxy.run() as url, writing(url, tmp_path / "spool") as work:
        for number in range(1, 11):
            proxy.cut_commits = 1
            await until(lambda number=number: proxy.fired == number)
            await work.more(2)
        assert work.spool.depth().spooled


async def test_connections_that_are_cut_and_killed_at_any_moment(database_url: str, tmp_path: Path) -> None:
    proxy = CutProxy(database_url)
    admin = await asyncpg.connect(database_url)
    async with proxy.run() as url, writing(url, tmp_path / "spool") as work:
        for _ in range(5):
            await work.more(2)
            proxy.cut_all()
            await work.more(2)
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert work.spool.depth().spooled
    await admin.close()


async def test_a_database_that_is_read_only_for_a_while(tmp_path: Path) -> None:
    async with (
        open_postgres(tmp_path / "postgres", owner="pytest") as server,
        writing(server.url, tmp_path / "spool") as work,
    ):
        admin = await asyncpg.connect(server.url)
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        await until(lambda: work.spool.depth().is_away)
        await work.more(10)
        assert work.spool.depth().waiting
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        await work.end()
        await admin.close()


async def test_a_database_that_is_slow_for_a_while(database_url: str, tmp_path: Path) -> None:
    proxy = CutProxy(database_url)
    async with proxy.run() as url, writing(url, tmp_path / "spool", limit_s=60) as work:
        proxy.delay_s = 0.6
        await until(lambda: work.spool.depth().spooled)
        await work.more(10)
        proxy.delay_s = 0.0
        await work.end()
        assert proxy.fired


async def test_a_right_that_is_taken_away_and_given_again(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = urlsplit(database_url)
    admin = await asyncpg.connect(database_url)
    await admin.execute(
        "DROP ROLE IF EXISTS recorder; CREATE ROLE recorder LOGIN PASSWORD 'r';"
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO recorder;"
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO recorder"
    )
    async with open_timescale(database_url) as owner:
        await owner.append([event for number in (0, 2_000) for event in batch(number)])  # makes partitions
    url = f"postgresql://recorder:r@127.0.0.1:{parts.port}{parts.path}"
    await admin.execute("TRUNCATE trades, quotes, book_snapshots, gaps")
    async with writing(url, tmp_path / "spool") as work:
        await admin.execute("REVOKE INSERT ON trades FROM recorder")
        await until(lambda: work.spool.depth().is_away)
        await work.more(10)
        said = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
        assert any("grant the right to the user in the store's url" in text for text in said)
        await admin.execute("GRANT INSERT ON trades TO recorder")
        await work.end()
    await admin.execute("DROP OWNED BY recorder; DROP ROLE recorder")
    await admin.close()


async def test_events_that_postgresql_refuses_are_set_aside_and_the_others_stored(
    database_url: str, tmp_path: Path
) -> None:
    async with open_timescale(database_url) as behind, open_spool(tmp_path, QUICK, "a test") as file:
        store = SpooledStore(behind, file, QUICK)
        async with store.running():
            await store.sift([*map(trade, range(50)), trade(60, price=2**63), quote(1)])
            await store.drained()
            assert await scan(behind, TradeTick) == list(map(trade, range(50)))
            assert await scan(behind, QuoteTick) == [quote(1)]
            assert (store.depth().set_aside, store.depth().drained) == (1, 51)


@pytest.mark.parametrize("sqlstate", ["25006", "53100", "57P01", "08006"])
def test_read_only_and_full_and_going_down_count_as_away(sqlstate: str) -> None:
    from binance_proxy.adapters.timescale.errors import as_port_error  # noqa: PLC0415

    error = asyncpg.PostgresError.new({"C": sqlstate, "M": "no"})
    assert isinstance(as_port_error(error), StoreUnavailable)
