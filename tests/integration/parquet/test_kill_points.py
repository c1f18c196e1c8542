"""An archive run killed at any call, or with a disk that fails at any: no tick is lost, no day half there."""

import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import traced
from binance_proxy.adapters.parquet.store import open_parquet
from integration_kept import open_kept

HERE = Path(__file__).parent
sys.path.append(str(HERE))
import archive_killing as killing  # noqa: E402  beside this file

pytestmark = pytest.mark.skipif(not traced.can_trace(), reason="strace is not here or may not trace")

POINTS = {
    ("new", "write"): 40,
    ("new", "fsync"): 79,
    ("new", "rename"): 8,
    ("new", "mkdir"): 15,
    ("new", "sendto"): 130,
    ("half", "write"): 30,
    ("half", "fsync"): 32,
    ("half", "rename"): 4,
    ("whole", "write"): 38,
    ("whole", "fsync"): 48,
    ("whole", "unlink"): 6,
}
"""Calls that a run makes, about; `just kill-points` takes all there are."""
rng = random.Random(5)
SOME = [(*key, rng.randrange(1, POINTS[key] + 1)) for key in rng.sample(list(POINTS), 6)] + [
    ("half", "rename", 1)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, killing.Prepared]]:
    place = tmp_path_factory.mktemp("archives")
    yield {start: await killing.prepared(postgres_url, "migrated", place, start) for start in killing.STARTS}


@pytest.mark.parametrize(("start", "call", "number"), SOME)
async def test_killed_at_a_system_call(made, tmp_path: Path, start: str, call: str, number: int) -> None:
    folder, one = tmp_path / "archive", made[start]
    async with killing.copied(one, folder) as url:
        inject = f"inject={call}:signal=SIGKILL:when={number}"
        ran = await killing.run(url, folder, one.days.today, "-e", inject)
        assert ran.status != 0, "it was killed"
        await killing.check(url, folder, one.days, drop=True)


@pytest.mark.parametrize(
    ("start", "call", "error", "number", "said"),
    [
        ("new", "write", "ENOSPC", 20, "error StoreFull there is no room for venue=binance"),
        ("new", "write", "EIO", 30, "error StoreUnavailable the archive is away"),
        ("new", "fsync", "ENOSPC", 50, "error StoreFull there is no room for"),
        ("new", "fsync", "EIO", 40, "error StoreUnavailable the archive is away"),
        ("half", "write", "ENOSPC", 12, "error StoreFull there is no room for venue=binance"),
        ("half", "fsync", "EIO", 1, "error StoreUnavailable the archive is away"),
        ("half", "rename", "EIO", 2, "error StoreUnavailable the archive is away"),
        ("whole", "fsync", "EIO", 12, "error StoreUnavailable the archive is away"),
    ],
)
async def test_a_disk_that_fails_at_a_system_call(
    made, tmp_path: Path, start: str, call: str, error: str, number: int, said: str
) -> None:
    """The call fails, and all later ones: the run says so, and leaves nothing half written."""
    folder, one = tmp_path / "archive", made[start]
    async with killing.copied(one, folder) as url:
        ran = await killing.run(
            url, folder, one.days.today, "-e", f"inject={call}:error={error}:when={number}+"
        )
        assert ran.status == 0
        assert ran.said.startswith(said)
        assert killing.unfinished(folder) == []
        await killing.check(url, folder, one.days, drop=True)


@pytest.mark.parametrize(("start", "number"), [("new", 20), ("half", 5)])
async def test_bytes_that_a_disk_says_it_has_and_has_not_are_found_by_reading_back(
    made, tmp_path: Path, start: str, number: int
) -> None:
    """The day is refused, the others are archived, and the day as it was is there still."""
    folder, one = tmp_path / "archive", made[start]
    async with killing.copied(one, folder) as url:
        ran = await killing.run(url, folder, one.days.today, "-e", f"inject=write:retval=4:when={number}")
        assert ran.status == 0
        refused, archived = ran.said.splitlines()
        assert refused.startswith("refused ")
        assert archived == f"archived {5 if start == 'new' else 3}"
        async with open_kept(url) as kept:
            assert len(await kept.store.closed_days.unarchived(one.days.today)) == 1
        assert await killing.faults(open_parquet(str(folder))) == []
        await killing.check(url, folder, one.days, drop=True)


async def test_a_day_counts_once_its_name_is_on_the_disk_whichever_run_put_it_there(
    made, tmp_path: Path
) -> None:
    """The first run renames a day, and the sync of its folder fails; the second finds it there."""
    folder, one = tmp_path / "archive", made["half"]
    async with killing.copied(one, folder) as url:
        for _ in range(2):
            ran = await killing.run(url, folder, one.days.today, "-e", "inject=fsync:error=EIO:when=2+")
            assert ran.said.startswith("error StoreUnavailable")
            async with open_kept(url) as kept:
                assert len(await kept.store.closed_days.unarchived(one.days.today)) == 4
        await killing.check(url, folder, one.days, drop=True)
