"""Whatever dies in the middle of an append: the same events again, and each is stored once."""

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from msgspec import structs

from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from binance_proxy.application.ports import EventsRejected, StoredEvent, StoreRejected, StoreUnavailable
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import ETH, MS, T0, gap, quote, snapshot, trade
from tcp_proxy import Proxy

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
sys.path.append(str(HERE))
from append_forever import BATCHES, batch  # noqa: E402  the same batches as the process appends

MIXED = [trade(1), trade(2, 2_000), quote(1), quote(2), snapshot(1), gap(1)]


async def counts(store: TimescaleStore) -> list[int]:
    """Count what is stored of each kind."""
    found = []
    for kind in (TradeTick, QuoteTick, BookSnapshot, Gap):
        async with contextlib.aclosing(store.scan(kind, ETH, 0, 2**63 - 1)) as events:
            found.append(len([event async for event in events]))
    return found


async def test_a_writer_killed_in_the_middle_leaves_whole_batches(database_url: str) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "append_forever.py"),
        database_url,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert writer.stdout is not None
    kept = {int(await writer.stdout.readline()) for _ in range(40)}
    writer.kill()
    kept |= {
        int(line) for line in (await writer.stdout.read()).splitlines(keepends=True) if line.endswith(b"\n")
    }
    await writer.wait()
    assert len(kept) < BATCHES
    async with open_timescale(database_url) as store:
        found = await counts(store)
        whole = found[2]
        assert found == [200 * whole, 200 * whole, whole, whole]
        assert whole >= len(kept)
        for number in range(BATCHES):
            new = await store.append(batch(number))
            assert new in ((0,) if number in kept else (0, 402))
        assert await counts(store) == [200 * BATCHES, 200 * BATCHES, BATCHES, BATCHES]


async def test_a_server_stopped_in_the_middle_is_unavailable_and_loses_nothing(
    tmp_path: Path,
) -> None:
    appended = 0
    enough = asyncio.Event()

    async def append_until_it_fails(store: TimescaleStore) -> int:
        nonlocal appended
        while True:
            await store.append(batch(appended))
            appended += 1
            if appended == 3:
                enough.set()

    async with contextlib.AsyncExitStack() as stores:
        async with open_postgres(tmp_path / "postgres", owner="pytest") as server:
            store = await stores.enter_async_context(open_timescale(server.url))
            writing = asyncio.create_task(append_until_it_fails(store))
            async with asyncio.timeout(60):
                await enough.wait()
        with pytest.raises(StoreUnavailable):
            await writing
        with pytest.raises(StoreUnavailable):
            await store.candles(ETH, Timeframe("1m"), 0, T0)
        with pytest.raises(StoreUnavailable):
            await counts(store)
        async with open_postgres(tmp_path / "postgres", owner="pytest") as again:
            assert again.url == server.url
            assert await store.append(batch(appended)) in {0, 402}  # its commit may have come through
            assert await store.append(batch(appended)) == 0
            assert await counts(store) == [200 * (appended + 1)] * 2 + [appended + 1] * 2


async def test_a_server_that_does_not_answer_is_unavailable(database_url: str) -> None:
    proxy = Proxy(database_url)
    async with proxy.run() as url, open_timescale(url, connect_s=3, limit_s=3) as store:
        assert await store.append(MIXED[:1]) == 1
        proxy.open.clear()
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                await store.append(MIXED)
            with pytest.raises(StoreUnavailable):
                await counts(store)
            with pytest.raises(StoreUnavailable):
                async with open_timescale(url, connect_s=1):
                    pass
        assert proxy.swallowed
        proxy.open.set()
        assert await store.append(MIXED) in {0, 5}
        assert await counts(store) == [2, 2, 1, 1]


async def test_a_cancelled_append_leaves_the_store_usable(database_url: str) -> None:
    async with open_timescale(database_url, connections=2) as store:
        await store.append(MIXED[:1])
        for turns in range(30):
            appending = asyncio.create_task(store.append(MIXED))
            for _ in range(turns):
                await asyncio.sleep(0)
            appending.cancel()
            await asyncio.gather(appending, return_exceptions=True)
        assert await store.append(MIXED) in {0, 5}
        assert await counts(store) == [2, 2, 1, 1]


async def test_writers_of_the_same_events_all_succeed(database_url: str) -> None:
    rng = random.Random(1)
    events: list[StoredEvent] = [
        one for number in range(300) for one in (trade(number, number * 300_000), quote(number), gap(number))
    ]
    async with open_timescale(database_url) as here, open_timescale(database_url) as there:
        calls = []
        for turn in range(24):
            some = rng.sample(events, 400)
            calls.append((here, there)[turn % 2].append(some))
        new = await asyncio.gather(*calls)
        new.append(await here.append(events))
        assert sum(new) == len(events)
        assert await counts(there) == [300, 300, 0, 300]


async def test_writers_of_the_same_batch_count_it_once(database_url: str) -> None:
    async with open_timescale(database_url) as here, open_timescale(database_url) as there:
        for round_ in range(10):
            new = await asyncio.gather(*(one.append(batch(round_)) for one in (here, there, here, there)))
            assert sorted(new) == [0, 0, 0, 402]


async def test_a_partition_that_somebody_dropped_is_made_again(database_url: str) -> None:
    async with open_timescale(database_url) as store:
        await store.append([trade(1), trade(2, 2_000)])
        admin = await asyncpg.connect(database_url)
        await admin.execute("DROP TABLE trades_p20240807")
        await admin.close()
        assert await store.append([trade(1), trade(2, 2_000), trade(3, 3_000)]) == 2
        assert await counts(store) == [3, 0, 0, 0]


@pytest.mark.parametrize(
    "event",
    [
        trade(1, price=2**63),
        quote(1, bids=((1, 2**63),)),
        gap(1, last_id=2**63),
        trade(1, ts_event=MS * 10**20),
    ],
    ids=["price", "level", "gap", "time"],
)
async def test_a_number_over_64_bits_is_rejected(database_url: str, event: StoredEvent) -> None:
    async with open_timescale(database_url) as store:
        with pytest.raises(StoreRejected):
            await store.append([trade(5), event])
        assert await counts(store) == [0, 0, 0, 0]


async def test_times_finer_than_a_microsecond_are_rejected(database_url: str) -> None:
    async with open_timescale(database_url) as store:
        with pytest.raises(EventsRejected, match="microseconds"):
            await store.registry.register(structs.replace(ETH, time_resolution_ns=1))
        assert await store.registry.instruments() == []


async def test_a_wrong_password_is_rejected_without_being_told(database_url: str) -> None:
    parts = urlsplit(database_url)
    url = f"postgresql://bridge:s3cret@127.0.0.1:{parts.port}{parts.path}"
    with pytest.raises(StoreRejected) as refusal:
        async with open_timescale(url):
            pass
    assert str(refusal.value) == (
        'PostgreSQL refuses (password authentication failed for user "bridge"): check user and password in'
        " the store's url, and the server's pg_hba.conf."
    )
    assert isinstance(refusal.value.__cause__, Exception)


async def test_a_database_that_is_not_there_is_rejected(database_url: str) -> None:
    with pytest.raises(StoreRejected, match="create the database"):
        async with open_timescale(f"{database_url}_not"):
            pass


async def test_a_url_that_is_none_is_rejected() -> None:
    with pytest.raises(StoreRejected, match="url"):
        async with open_timescale("mysql://nobody@127.0.0.1/x"):
            pass


async def test_a_right_that_lacks_is_rejected(empty_database_url: str) -> None:
    admin = await asyncpg.connect(empty_database_url)
    await admin.execute("DROP ROLE IF EXISTS visitor; CREATE ROLE visitor LOGIN PASSWORD 'v'")
    await admin.close()
    parts = urlsplit(empty_database_url)
    with pytest.raises(StoreRejected, match="grant the right"):
        async with open_timescale(f"postgresql://visitor:v@127.0.0.1:{parts.port}{parts.path}"):
            pass


async def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        async with open_timescale("postgresql://bridge:x@127.0.0.1:1/bridge", connect_s=5):
            pass
