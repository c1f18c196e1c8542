"""Answers of 1,000 candles: against a bare ROUTER that sends the same bytes, and the same SQL by asyncpg."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.asked import Asked, Figures, answered, begin, heard, open_asked, program, question
from bench.candles import MINUTE_NS, START, open_filled
from bench.databases import Database, embedded
from bench.ticks import EPOCH
from binance_proxy.adapters.timescale.candles import candles_query
from binance_proxy.adapters.zeromq.crew import NICER
from binance_proxy.application.ports import TrackedPair
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import MarketEvent
from contract.market_store import ETH

ROWS = 1_000
CLIENTS = (1, 4, 16)
REQUESTS = 200
"""That a side answers in one turn, of all clients together."""
FROM = START + 5 * 24 * 60 * MINUTE_NS
UNTIL = FROM + ROWS * MINUTE_NS
MOST_CONNECTIONS = 16

ECHO = """
import sys, zmq
answer = sys.stdin.buffer.read()
router = zmq.Context().socket(zmq.ROUTER)
print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)
while True:
    client, _ = router.recv_multipart()
    router.send_multipart((client, answer))
"""

SQL = """
import asyncio, asyncpg, datetime, json, sys, time
url, query, count, total, number = *sys.argv[1:3], *map(int, sys.argv[3:6])
times = [datetime.datetime.fromisoformat(one) for one in sys.argv[6:8]]
took, left = [], total
async def ask(connection):
    global left
    while left > 0:
        left -= 1
        began = time.perf_counter()
        assert len(await connection.fetch(query, number, *times)) == 1_000
        took.append(time.perf_counter() - began)
async def main():
    settings = {"timezone": "UTC", "jit": "off"}
    all_ = [await asyncpg.connect(url, server_settings=settings) for _ in range(count)]
    for one in all_:
        await one.fetch(query, number, *times)
    print("here", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    await asyncio.gather(*map(ask, all_))
    seconds = time.perf_counter() - began
    took.sort()
    print(json.dumps({
        "each_s": seconds / len(took), "p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100],
    }), flush=True)
asyncio.run(main())
"""


class _Silence:
    """A feed of ETH/USDT in which nothing happens."""

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        return [ETH]

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        await asyncio.Event().wait()
        for nothing in ():
            yield nothing

    def resync(self, instrument: Instrument) -> None:
        pass


async def bench(rounds: int) -> None:
    """Print the ratios."""
    with TemporaryDirectory(prefix="bench-") as folder:
        async with embedded(Path(folder)) as database:
            async with open_filled(database.url) as (_, sql):
                number = await sql.fetchval("SELECT instrument_id FROM instruments WHERE symbol = 'ETH/USDT'")
            async with open_asked(database, _Silence()) as asked:
                await _compare(rounds, asked, database, number)


async def _compare(rounds: int, asked: Asked, database: Database, number: int) -> None:
    questions, sizes = {}, {}
    for encoding in ("JSON", "MessagePack"):
        for how in ("uncached", "cached"):
            params = {"symbol": "ETH/USDT", "timeframe": "1m", "start": FROM, "end": UNTIL, "limit": ROWS}
            params["fresh"] = how == "uncached"
            one = question("candles.list", params, as_json=encoding == "JSON")
            questions[encoding, how] = one
            sizes[encoding] = (await answered(asked.serve, 1, 1, [one])).size
    print(
        f"requests: {ROWS:,} candles of 1m of the past, {sizes['JSON'] // 1000} kB of JSON,"
        f" {sizes['MessagePack'] // 1000} kB of MessagePack, by two workers"
    )
    print("  requests/s, the more the better; p50 and p99, the less the better;")
    print("  of a ROUTER that sends the same bytes, and of the same SQL by asyncpg, rows merely fetched")
    for count in CLIENTS:
        sides: dict[object, Callable[[], Awaitable[Figures]]] = {
            "SQL": partial(_sql, database, number, min(count, MOST_CONNECTIONS)),
            **{encoding: partial(_echo, count, size) for encoding, size in sizes.items()},
            **{
                which: partial(answered, asked.serve, count, REQUESTS, [one])
                for which, one in questions.items()
            },
        }
        best = await _best(rounds, sides)
        print(f"    {count:>2} client{'s' if count > 1 else ' '}              of the ROUTER      of the SQL")
        for encoding, how in questions:
            figures = best[encoding, how]
            ratios = "    ".join(_ratios(figures, best[other]) for other in (encoding, "SQL"))
            print(f"      {encoding:11} {how:9} {ratios}")
        for encoding in sizes:
            ratio = best[encoding, "uncached"].each_s / best[encoding, "cached"].each_s
            print(f"      {encoding:11} cached against uncached: requests/s {ratio:.1f}")


def _ratios(ours: Figures, other: Figures) -> str:
    return f"{other.each_s / ours.each_s:5.2f} {ours.p50 / other.p50:6.1f} {ours.p99 / other.p99:6.1f}"


async def _best(rounds: int, sides: dict[object, Callable[[], Awaitable[Figures]]]) -> dict[object, Figures]:
    """Let all sides take turns; return the best figures of each."""
    best: dict[object, Figures] = {}
    for _ in range(rounds):
        for name, side in sides.items():
            best[name] = (await side()).better(best.get(name))
    return best


async def _echo(count: int, size: int) -> Figures:
    async with program(ECHO, nice=NICER) as router:
        router.stdin.write(bytes(size))
        router.stdin.close()
        address = f"tcp://127.0.0.1:{await heard(router)}"
        return await answered(address, count, REQUESTS, [question("candles.list", {})])


async def _sql(database: Database, number: int, count: int) -> Figures:
    times = (EPOCH + timedelta(microseconds=ts // 1000) for ts in (FROM, UNTIL))
    given = (database.url, candles_query(Timeframe("1m")), count, REQUESTS, number, *times)
    async with program(SQL, *given, nice=NICER) as asking:
        await heard(asking)
        await begin(asking)
        return Figures(**json.loads(await heard(asking)))
