"""Kill a process at a chosen system call, or let the call fail, and look at what it leaves behind."""

import asyncio
import sys
from pathlib import Path

import traced
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.domain.tick import TradeTick
from contract.market_store import scan

HERE = Path(__file__).parent
sys.path.append(str(HERE))
from append_batches import BATCHES, EACH, batch  # noqa: E402  the same batches as the process appends

CALLS = ("fdatasync", "pwrite64")


def run(folder: Path, *inject: str) -> tuple[int, dict[str, set[int]]]:
    """Run the process under strace; return its exit status and what it said, by word."""
    done = traced.run(HERE / "append_batches.py", [str(folder)], CALLS, *inject)
    said: dict[str, set[int]] = {"kept": set(), "stored": set(), "full": set(), "end": set()}
    for told in done.stdout.decode().splitlines(keepends=True):
        if told.endswith("\n"):
            word, number = told.split()
            said[word].add(int(number))
    return done.returncode, said


def count(folder: Path) -> dict[str, int]:
    """Return how often an undisturbed process makes each call, in the thread that makes most."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.parent / f"{folder.name}.strace"
    done = traced.run(HERE / "append_batches.py", [str(folder)], CALLS, log=log)
    assert done.returncode == 0, done.stderr.decode()
    return traced.counted(log, CALLS)


def made(folder: Path) -> Path:
    """Return a folder with a spool in which nothing waits, so that opening it writes nothing."""

    async def make() -> None:
        async with open_spool(folder, SpoolSettings(), "a test"):
            pass

    asyncio.run(make())
    return folder


def check(folder: Path, said: dict[str, set[int]]) -> int:
    """Drain what was left; return how many batches there are, each of them once and whole.

    Every batch that was accepted must be there.
    """

    async def drained() -> list[int]:
        behind = MemoryStore()
        for number in said["stored"]:
            await behind.append(batch(number))
        settings = SpoolSettings()
        async with open_spool(folder, settings, "a test") as file:
            store = SpooledStore(behind, file, settings)
            async with store.running():
                await store.drained()
                assert store.depth().aside == 0
        return [one.trade_id for one in await scan(behind, TradeTick)]

    ids = asyncio.run(drained())
    assert len(ids) == len(set(ids))
    there = {number for number in range(BATCHES) if number * EACH in set(ids)}
    assert set(ids) == {one for number in there for one in range(number * EACH, (number + 1) * EACH)}
    assert said["kept"] <= there, f"accepted and gone: {said['kept'] - there}"
    return len(there)
