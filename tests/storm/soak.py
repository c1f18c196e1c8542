"""`just soak`: both live feeds read five million messages, and their memory must stay flat.

Each feed runs in a process of its own, from a sandbox in another, and reads until it has enough. Its resident
memory is sampled on the way: what it takes in the last fifth may not exceed what it took in the middle one by
more than `GROWTH`.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from binance_proxy.application.ports import TrackedPair
from binance_proxy.bridge.config import Config, FeedConfig
from binance_proxy.bridge.container import Container
from bridge_process import Bridge, eventually, free_port

PAIRS = ("ETH/USDT", "SOL/USDT")
SAMPLES = 100
GROWTH = 1.02


def resident_kib() -> int:
    """Return the resident memory of this process in KiB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


async def read(feed: str, url: str, messages: int) -> list[int]:
    """Read so many events of a feed; return the memory on the way in KiB, in `SAMPLES` samples."""
    config = Config(feed=FeedConfig(use=feed))
    chosen = replace(getattr(config.feed, feed), rest_url=url, stream_url=url.replace("http", "ws"))
    config = replace(config, feed=replace(config.feed, **{feed: chosen}))
    samples, count = [], 0
    async with AsyncExitStack() as stack:
        container = Container(config=config, owner="soak", attach=False)
        source = await stack.enter_async_context(container.source())
        instruments = await source.feed.instruments([TrackedPair(symbol=pair) for pair in PAIRS])
        async with aclosing(source.feed.stream(instruments)) as events:
            async for _ in events:
                count += 1
                if count % (messages // SAMPLES) == 0:
                    samples.append(resident_kib())
                if count == messages:
                    break
    return samples


def soak(feed: str, messages: int, folder: Path) -> list[int]:
    """Run a sandbox and a reader of it, each in a process; return the reader's samples."""
    port = free_port()
    settings = (
        f"sandbox.port={port}", "sandbox.hold=true", "sandbox.hold_s=1", "sandbox.history=10000",
        f"sandbox.pairs={json.dumps(PAIRS)}", "feed.simulated.speed=max", "feed.simulated.levels=20",
        "sandbox.outbox=10000000",
    )  # fmt: skip
    sandbox = Bridge(folder, *settings).start("sandbox", log=folder / "sandbox.log")
    try:
        eventually(lambda: "stop" in (folder / "sandbox.log").read_text(), "the sandbox is up")
        reader = [sys.executable, __file__, "--read", feed, "--url", f"http://127.0.0.1:{port}",
                  "--messages", str(messages)]  # fmt: skip
        done = subprocess.run(reader, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)
    finally:
        sandbox.terminate()
        sandbox.wait(20)


def main() -> None:
    """Soak both feeds, and fail if the memory of one grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--feeds", nargs="*", default=["binance", "ccxt"])
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(json.dumps(asyncio.run(read(given.read, given.url, given.messages))))
        return
    grew = False
    for feed in given.feeds:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            samples = soak(feed, given.messages, Path(folder))
        fifth = len(samples) // 5
        fifths = [statistics.median(samples[at * fifth : (at + 1) * fifth]) for at in range(5)]
        shown = ", ".join(f"{one / 1024:.1f}" for one in fifths)
        print(f"{feed:8} {given.messages:,} messages; resident in each fifth: {shown} MiB")
        grew = grew or fifths[-1] > fifths[2] * GROWTH
    sys.exit(grew)


if __name__ == "__main__":
    main()
