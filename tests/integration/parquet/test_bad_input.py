"""Damaged and foreign files, a full disk, two writers: an error that names it, and nothing lost."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import structs

from binance_proxy.adapters.parquet.store import ParquetStore, open_parquet
from binance_proxy.application.ports import (
    AuditedDay,
    EventsRejected,
    StoreFull,
    StoreRejected,
    StoreUnavailable,
)
from binance_proxy.domain.tick import TradeTick
from contract.archive import held, keep, stream
from contract.market_store import ETH, scan, trade

TRADES = [trade(number) for number in range(1, 2_000)]
DAY = "venue=binance/market=spot/symbol=ETHUSDT/stream=trades/date=2024-08-07/ticks.parquet"


@pytest.fixture
async def archive(tmp_path: Path) -> ParquetStore:
    store = open_parquet(str(tmp_path))
    await keep(store, *TRADES[:900])
    return store


async def audit(store: ParquetStore) -> list[AuditedDay]:
    async with aclosing(store.audit()) as audited:
        return [one async for one in audited]


def halved(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def scribbled(path: Path) -> None:
    path.write_text("not a file of columns at all\n" * 50)


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"price": [1.5], "size": [2.0]}), path)


@pytest.mark.parametrize("harm", [halved, emptied, scribbled, foreign])
async def test_a_damaged_or_foreign_file_is_named_and_left_alone(
    archive: ParquetStore, tmp_path: Path, harm
) -> None:
    harm(tmp_path / DAY)
    left = (tmp_path / DAY).read_bytes()
    with pytest.raises(StoreRejected, match=r"date=2024-08-07/ticks\.parquet"):
        await scan(archive, TradeTick)
    with pytest.raises(StoreRejected, match=r"date=2024-08-07/ticks\.parquet"):
        await keep(archive, *TRADES)
    with pytest.raises(StoreRejected, match=r"date=2024-08-07/ticks\.parquet"):
        await archive.days()
    [found] = await audit(archive)
    assert found.path == DAY
    assert found.fault is not None
    assert (tmp_path / DAY).read_bytes() == left


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
async def test_a_changed_byte_is_found_by_an_audit(
    archive: ParquetStore, tmp_path: Path, position: float
) -> None:
    content = bytearray((tmp_path / DAY).read_bytes())
    content[int(len(content) * position)] ^= 0x10
    (tmp_path / DAY).write_bytes(content)
    [found] = await audit(archive)
    assert found.fault is not None


async def test_values_that_somebody_changed_in_a_sound_file_are_found_by_an_audit(
    archive: ParquetStore, tmp_path: Path
) -> None:
    table = pq.read_table(tmp_path / DAY, partitioning=None)
    ids = table["trade_id"].to_pylist()
    ids[5] += 1
    changed = table.set_column(2, table.schema.field(2), pa.array(ids))
    said = pq.read_metadata(tmp_path / DAY).metadata
    pq.write_table(changed.replace_schema_metadata(said), tmp_path / DAY)
    [found] = await audit(archive)
    assert "checksum" in (found.fault or "")


async def test_what_does_not_belong_there_is_told_and_does_no_harm(
    archive: ParquetStore, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    foreign((tmp_path / DAY).with_name("other.parquet"))
    assert await scan(archive, TradeTick) == TRADES[:900]
    assert {one.path.rpartition("/")[2]: one.fault is None for one in await audit(archive)} == {
        "notes.txt": False,
        "other.parquet": False,
        "ticks.parquet": True,
    }


async def test_a_file_that_was_moved_to_another_day_is_not_believed(
    archive: ParquetStore, tmp_path: Path
) -> None:
    other = tmp_path / DAY.replace("2024-08-07", "2024-08-09")
    other.parent.mkdir()
    shutil.copy(tmp_path / DAY, other)
    with pytest.raises(StoreRejected, match="somebody has moved it"):
        await archive.days()


async def test_a_value_that_has_no_place_among_12_decimals_is_refused(archive: ParquetStore) -> None:
    fine = structs.replace(ETH, symbol="SHIB/BTC", price_precision=15)
    await keep(archive, trade(1, instrument=fine, price=3_000))
    with pytest.raises(EventsRejected, match="12 decimals"):
        await keep(archive, trade(2, instrument=fine, price=3_001))
    assert await scan(archive, TradeTick, fine) == [trade(1, instrument=fine, price=3_000)]


async def test_numbers_of_64_bits_and_below_zero_come_back_exactly(tmp_path: Path) -> None:
    wide = structs.replace(ETH, symbol="WIDE/USDT", price_precision=0, size_precision=12)
    ticks = [
        trade(number, instrument=wide, price=price, size=size)
        for number, (price, size) in enumerate([(2**63 - 1, 1), (1, 2**63 - 1), (-5, -(2**63) + 1)], 1)
    ]
    store = open_parquet(str(tmp_path))
    await keep(store, *ticks)
    assert await scan(store, TradeTick, wide) == ticks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("a disk of a size cannot be made here: mount is not allowed")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def left_over(folder: Path) -> list[Path]:
    return list(folder.rglob("*.writing"))


async def test_a_full_disk_leaves_what_was_there(small_disk: Path) -> None:
    store = open_parquet(str(small_disk))
    await keep(store, *TRADES[:100])
    noise = random.Random(1)
    many = [trade(number, 1, size=noise.randrange(1, 2**62)) for number in range(1, 60_000)]
    with pytest.raises(StoreFull, match="there is no room for"):
        await keep(store, *many)
    assert await scan(store, TradeTick) == TRADES[:100]
    assert left_over(small_disk) == []
    assert all(one.fault is None for one in await audit(store))


async def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = open_parquet(str(tmp_path / "file" / "archive"))
    with pytest.raises(StoreRejected, match="file"):
        await keep(store, trade(1))


def test_an_address_that_nobody_knows_is_refused() -> None:
    with pytest.raises(StoreRejected, match=r"archive\.url = gopher://a"):
        open_parquet("gopher://a/b")


async def test_a_server_that_is_away_is_unavailable() -> None:
    store = open_parquet(
        "s3://key:secret@ticks/archive?endpoint_override=127.0.0.1:9&scheme=http&region=here"
    )
    assert "secret" not in store.where
    # Both at once: each is tried again for seconds.
    for away in await asyncio.gather(store.days(), store.probe(), return_exceptions=True):
        assert isinstance(away, StoreUnavailable)
        assert "the archive is away" in str(away)
        assert "secret" not in str(away)


WRITER = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from binance_proxy.adapters.parquet.store import open_parquet
from contract.archive import keep
from contract.market_store import trade
async def main():
    store = open_parquet({folder!r})
    for start in range(0, 200, 20):
        await keep(store, *[trade(number) for number in range(start + {first}, start + 20, 2)])
asyncio.run(main())
"""


async def test_two_processes_that_archive_the_same_day_lose_nothing(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[2])
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER.format(tests=tests, folder=str(tmp_path), first=first)
        )
        for first in (0, 1)
    ]
    assert [await one.wait() for one in writers] == [0, 0]
    assert await scan(open_parquet(str(tmp_path)), TradeTick) == [trade(number) for number in range(200)]


async def test_a_tick_of_another_day_is_refused(archive: ParquetStore) -> None:
    days = [trade(1), trade(2, 5_000)]
    with pytest.raises(StoreRejected, match="lies on another day"):
        await archive.keep(held(days[:1]), stream(days))


async def test_a_run_that_is_cancelled_leaves_what_was_there(archive: ParquetStore, tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncGenerator[TradeTick]:
        for number in range(1, 10**9):
            if number == 100_000:
                reached.set()
            yield trade(number, 1)

    keeping = asyncio.create_task(archive.keep(held(TRADES[:1]), endless()))
    await reached.wait()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert await scan(archive, TradeTick) == TRADES[:900]
    assert left_over(tmp_path) == []
    assert (await keep(archive, *TRADES[:901])).rows == 901, "the folder is not locked any more"


@pytest.mark.parametrize("where", ["{}/archive", "memory://probed/{}"])
async def test_a_look_whether_it_can_be_written_leaves_nothing(tmp_path: Path, where: str) -> None:
    store = open_parquet(where.format(tmp_path))
    await store.probe()
    assert os.listdir(tmp_path) == []  # noqa: PTH208  a Path would be no better, and ASYNC240
    assert [one async for one in store.audit()] == []
    await store.append([trade(1)])
    await store.probe()
    assert [one.fault async for one in store.audit()] == [None]


async def test_a_file_in_the_place_of_the_archive_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreRejected, match=r"cannot be used: .*file.*Not a directory"):
        await open_parquet(str(tmp_path / "file")).probe()
