"""Kill a process at a chosen system call, or let the call fail, and look at what it leaves behind."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.domain.tick import TradeTick
from contract.market_store import scan

HERE = Path(__file__).parent
sys.path.append(str(HERE))
from append_batches import BATCHES, EACH, batch  # noqa: E402  the same batches as the process appends

CALLS = ("fdatasync", "pwrite64")
LIMIT_S = 120


def can_trace() -> bool:
    """Return whether strace is here, and may do what it is for."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True)
    return tried.returncode == 0


def run(folder: Path, *inject: str) -> tuple[int, dict[str, set[int]]]:
    """Run the process under strace; return its exit status and what it said, by word."""
    line = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + ",".join(CALLS), *inject,
            sys.executable, str(HERE / "append_batches.py"), str(folder)]  # fmt: skip
    environ = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(line, capture_output=True, env=environ, timeout=LIMIT_S)
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
    line = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=" + ",".join(CALLS),
            sys.executable, str(HERE / "append_batches.py"), str(folder)]  # fmt: skip
    environ = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    subprocess.run(line, capture_output=True, env=environ, timeout=LIMIT_S, check=True)
    found: dict[str, dict[str, int]] = {call: {} for call in CALLS}
    for traced in log.read_text().splitlines():
        thread, _, rest = traced.partition(" ")
        call = rest.strip().partition("(")[0]
        if call in found:
            found[call][thread] = found[call].get(thread, 0) + 1
    return {call: max(threads.values(), default=0) for call, threads in found.items()}


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
