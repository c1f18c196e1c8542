"""The part of `just kill-points` that kills an archive run at every call by which it writes or tells.

The run archives two days of trades, updates and snapshots of a real database: into an empty archive, into
one that has half of every day, and into one that has everything, as a run leaves it that was killed before it
said so. After every other kill retention drops what it may, before the second run.
"""

import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]
import archive_killing as killing  # noqa: E402  beside this file

import traced  # noqa: E402  in the folder of tests
from binance_proxy.adapters.embedded.postgres import open_postgres  # noqa: E402
from binance_proxy.adapters.timescale.schema import migrate  # noqa: E402


async def every_point(place: Path) -> int:
    """Try every point; return how many were tried."""
    tried = killed = drops = 0
    since = time.monotonic()
    async with open_postgres(place / "postgres", owner="kill points") as server:
        admin = await asyncpg.connect(server.url)
        await admin.execute("CREATE DATABASE migrated")
        await admin.execute("ALTER SYSTEM SET fsync = off")  # nobody kills the server
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()
        await migrate(f"{server.url.rpartition('/')[0]}/migrated")
        for start, meaning in killing.STARTS.items():
            made = await killing.prepared(server.url, "migrated", place, start)
            folder, log = place / "archive", place / "strace"
            async with killing.copied(made, folder) as url:
                ran = await killing.run(url, folder, made.days.today, log=log)
                assert ran.status == 0, ran
            for call, most in traced.counted(log, killing.CALLS).items():
                if call == "sendto" and start != "new":
                    continue  # what is said to the database is the same
                for number in range(1, most + 1):
                    inject = ("-e", f"inject={call}:signal=SIGKILL:when={number}")
                    async with killing.copied(made, folder) as url:
                        ran = await killing.run(url, folder, made.days.today, *inject)
                        drops += await killing.check(url, folder, made.days, drop=tried % 2 == 0)
                    tried += 1
                    killed += ran.status != 0
                print(f"{call} with {meaning}: {most} points, {time.monotonic() - since:.0f} s", flush=True)
    assert killed > 0.9 * tried, "strace did not kill"
    print(
        f"{tried} runs, {killed} of them killed, in {time.monotonic() - since:.0f} s; every tick was there"
        f" after each, also when retention had dropped {drops} days at once, and the archive was right after"
        " the next run"
    )
    return tried


def main() -> int:
    """Try every point, where that can be done."""
    if not traced.can_trace():
        print("kill points: skipped, strace is not here or may not trace")
        return 0
    logging.disable(logging.WARNING)  # retention says of each day that waits that it does
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(every_point(Path(name)))


if __name__ == "__main__":
    main()
