"""Ticks into the spool and out of it: against bare sqlite3 and bare msgspec with the same bytes."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct

from bench.turns import best_of
from binance_proxy.adapters.spool.file import SpoolFile
from binance_proxy.adapters.spool.packing import pack, unpack
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.domain.tick import TradeTick
from contract.market_store import trade

BATCHES = 20
BATCH = RecordSettings().batch
LIMIT_BYTES = 10**10


class _Row(Struct, array_like=True, frozen=True, gc=False):
    instrument: int
    ts_event: int
    ts_recv: int
    trade_id: int
    price: int
    size: int
    is_buy: bool


async def bench(rounds: int) -> None:
    """Print the ratios."""
    batches = [[trade(number * BATCH + one) for one in range(BATCH)] for number in range(BATCHES)]
    payloads = [pack(events) for events in batches]
    rows = [
        [(0, one.ts_event, one.ts_recv, one.trade_id, one.price, one.size, True) for one in events]
        for events in batches
    ]
    ticks = BATCH * BATCHES
    with TemporaryDirectory() as name:
        sides: dict[str, Callable] = {
            "bare": partial(_bare, Path(name), payloads),
            "spool": partial(_spool, Path(name), batches),
            "bare codec": partial(_bare_codec, rows),
            "codec": partial(_codec, batches),
        }
        best = await best_of(rounds, sides)
    insert, codec = best["bare"] / best["spool"], best["bare codec"] / best["codec"]
    size_mb, rate = sum(map(len, payloads)) / 1e6, ticks / best["spool"] / 1e6
    print(f"spool: {ticks:,} trades in {BATCHES} batches, {size_mb:.0f} MB, each batch synced to the disk")
    print(f"    `put`, of the speed of a bare sqlite3 insert of ready bytes  {insert:.2f}")
    print(f"    `pack` and `unpack`, of the speed of bare msgspec on rows    {codec:.2f}")
    print(f"    `put`                                                        {rate:.1f} M ticks/s (aim: 0.9)")


async def _bare(folder: Path, payloads: list[bytes]) -> float:
    path = folder / "bare.sqlite"
    _clear(folder)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE batches (number INTEGER PRIMARY KEY, payload BLOB)")
        began = time.perf_counter()
        for payload in payloads:
            connection.execute("INSERT INTO batches (payload) VALUES (?)", (payload,))
        return time.perf_counter() - began


async def _spool(folder: Path, batches: list[list[TradeTick]]) -> float:
    _clear(folder)
    spool = SpoolFile(folder, limit_bytes=LIMIT_BYTES)
    spool.open()
    began = time.perf_counter()
    for events in batches:
        spool.put(events, 1)
    took = time.perf_counter() - began
    spool.close()
    return took


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


async def _bare_codec(rows: list[list[tuple]]) -> float:
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(list[_Row]).decode
    began = time.perf_counter()
    for some in rows:
        decode(encode(some))
    return time.perf_counter() - began


async def _codec(batches: list[list[TradeTick]]) -> float:
    began = time.perf_counter()
    for events in batches:
        unpack(pack(events))
    return time.perf_counter() - began
