"""Archive the days of a database that are over, into a folder, and say what came of it.

One thread does the work on files, so that its calls have the same numbers in every run; and row groups are
small, so that a few hundred ticks are several of them.
"""

import asyncio
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
        print("error", type(error).__name__, error)
        return
    for one in report.refused:
        print("refused", one.held.kind.__name__, one.why)
    for name, why in report.gaps_refused.items():
        print("refused", name, why)
    print("archived", len(report.archived))


if __name__ == "__main__":
    asyncio.run(archive(sys.argv[1], sys.argv[2], int(sys.argv[3])))
