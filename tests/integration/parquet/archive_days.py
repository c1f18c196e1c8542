"""Archive the days of a database that are over, into a folder, and say what came of it.

One thread does the work on files, so that its calls have the same numbers in every run; and row groups are
small, so that a few hundred ticks are several of them.
"""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

from msgspec import structs

from binance_proxy.adapters.parquet.columns import COLUMNS
from binance_proxy.adapters.parquet.store import open_parquet
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.application.archive import Archiving
from binance_proxy.application.ports import StoreError

GROUP = 50
"""Rows in a row group."""


async def archive(url: str, folder: str, before: int) -> None:
    """Archive the days before a day."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    for kind, columns in COLUMNS.items():
        COLUMNS[kind] = structs.replace(columns, rows=GROUP)
    try:
        async with open_timescale(url) as store:
            to = open_parquet(folder)
            report = await Archiving(store, store.closed_days, to, to).run(before)
    except StoreError as error:
        say(f"error {type(error).__name__} {error}")
        return
    said = [f"refused {one.held.kind.__name__} {one.why}" for one in report.refused]
    said += [f"refused {name} {why}" for name, why in report.gaps_refused.items()]
    say(*said, f"archived {len(report.archived)}")


def say(*lines: str) -> None:
    """Print everything in one call, as the calls of each thread are counted."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    logging.disable()
    asyncio.run(archive(sys.argv[1], sys.argv[2], int(sys.argv[3])))
