"""The account at the end: is what is stored what was sent, and are the candles those of the sent trades?"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import asyncpg

from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import open_spool
from binance_proxy.adapters.timescale.rows import TABLES
from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.candle import Candle, CandleFold, Timeframe
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.scale import to_decimal
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from storm.sent import INSTRUMENTS, START, block, blocks, span

KINDS = {TradeTick: "trade_id", QuoteTick: "last_update_id", BookSnapshot: "last_update_id"}
TIMEFRAMES = ("1m", "1h", "1d")
EXAMPLES = 3


@dataclass
class Account:
    """What was found."""

    sent: Counter[str] = field(default_factory=Counter)
    """By kind of event."""
    stored: Counter[str] = field(default_factory=Counter)
    """Rows of each table, by kind of event."""
    equal: int = 0
    """Events that are stored as they were sent, field by field."""
    candles: int = 0
    """Candles that were compared, as the store and as the views give them."""
    wrong: list[str] = field(default_factory=list)
    """Everything that should not be."""


async def settle(url: str, seed: int, total: int, say: Callable[[str], None]) -> Account:
    """Compare everything that is stored with everything that was sent.

    Block by block, each kind and instrument is read back and compared in order, field by field. Whatever else
    there is, shows in the count of all rows; and whatever is there twice, in the count of different keys.
    """
    account = Account()
    folds = {(each, name): CandleFold(each, Timeframe(name)) for each in INSTRUMENTS for name in TIMEFRAMES}
    candles: dict[tuple[Instrument, str], list[Candle]] = {which: [] for which in folds}
    async with open_timescale(url, limit_s=600.0) as store:
        for number in range(blocks(total)):
            events = await block(seed, number, total)
            await _compare(store, number, events, account)
            for event in events:
                if isinstance(event, TradeTick):
                    for name in TIMEFRAMES:
                        which = event.instrument, name
                        candles[which] += folds[which].feed(event)
            if number % 200 == 199:
                say(f"compared {account.equal:,} events")
        for which, fold in folds.items():
            still_open = fold.current()
            candles[which] += (still_open,) if still_open else ()
            assert not fold.too_late
        await _count(url, account)
        say("counted")
        await _compare_candles(store, candles, span(blocks(total))[0], account)
        await _compare_views(url, candles, account)
    return account


async def look_into_spool(folder: Path) -> list[str]:
    """Return what is wrong with a spool after the end: nothing may wait in it, nothing be set aside."""
    async with open_spool(folder, SpoolSettings(), "a storm") as file:
        depth = file.depth()
    wrong = []
    if depth.waiting or depth.aside:
        wrong.append(f"{depth.waiting:,} events wait in the spool, {depth.aside:,} are set aside")
    if len(files := sorted(folder.glob("*.sqlite"))) != 1:  # noqa: ASYNC240  nothing else waits
        wrong.append(f"the spool has {len(files)} files: {files}")
    return wrong


async def _compare(
    store: TimescaleStore, number: int, events: Sequence[StoredEvent], account: Account
) -> None:
    start, end = span(number)
    for kind, id_name in KINDS.items():
        for instrument in INSTRUMENTS:
            sent = [event for event in events if type(event) is kind and event.instrument == instrument]
            sent.sort(key=lambda event, name=id_name: (event.ts_event, getattr(event, name)))
            async with aclosing(store.scan(kind, instrument, start, end)) as rows:
                stored = [row async for row in rows]
            account.sent[kind.__name__] += len(sent)
            if stored == sent:
                account.equal += len(sent)
                continue
            there, wanted = set(stored), set(sent)
            account.equal += len(there & wanted)
            for what, which in (("missing", wanted - there), ("not sent", there - wanted)):
                if which:
                    some = sorted(which, key=lambda event: event.ts_event)[:EXAMPLES]
                    account.wrong.append(f"block {number}: {len(which):,} {kind.__name__} {what}: {some}")
            if there == wanted:
                account.wrong.append(f"block {number}: {kind.__name__} in another order, or twice")


async def _count(url: str, account: Account) -> None:
    sql = await asyncpg.connect(url)
    for kind, table in TABLES.items():
        rows = await sql.fetchval(f"SELECT count(*) FROM {table.name}")
        keys = await sql.fetchval(
            f"SELECT count(*) FROM (SELECT DISTINCT instrument_id, ts_event, {table.id_column}"
            f" FROM {table.name}) AS keys"
        )
        account.stored[kind.__name__] = rows
        if not rows == keys == account.sent[kind.__name__]:
            account.wrong.append(
                f"{table.name}: {account.sent[kind.__name__]:,} sent, {rows:,} rows, {keys:,} keys"
            )
    if gaps := await sql.fetchval("SELECT count(*) FROM gaps"):
        account.wrong.append(f"{gaps} gaps, and none was sent")
    await sql.close()


async def _compare_candles(
    store: TimescaleStore, folded: dict[tuple[Instrument, str], list[Candle]], end: int, account: Account
) -> None:
    for (instrument, name), expected in folded.items():
        timeframe = Timeframe(name)
        start = timeframe.period(START)[0]
        found = list(await store.candles(instrument, timeframe, start, end))
        account.candles += len(found)
        _tell(f"candles {name} of {instrument.symbol}", found, expected, account)


async def _compare_views(
    url: str, folded: dict[tuple[Instrument, str], list[Candle]], account: Account
) -> None:
    sql = await asyncpg.connect(url)
    for (instrument, name), expected in folded.items():
        rows = await sql.fetch(
            "SELECT (extract(epoch FROM start) * 1000000)::bigint, open, high, low, close, volume,"
            f" quote_volume, vwap, trades FROM candles_{name} WHERE symbol = $1 ORDER BY start",
            instrument.symbol,
        )
        account.candles += len(rows)
        shown = [_as_shown(candle) for candle in expected]
        _tell(f"the view candles_{name} of {instrument.symbol}", [tuple(row) for row in rows], shown, account)
    await sql.close()


def _as_shown(candle: Candle) -> tuple[int | Decimal, ...]:
    price, size = candle.instrument.price_precision, candle.instrument.size_precision
    prices = (to_decimal(one, price) for one in (candle.open, candle.high, candle.low, candle.close))
    volumes = to_decimal(candle.volume, size), to_decimal(candle.quote_volume, price + size)
    return (candle.start // 1000, *prices, *volumes, to_decimal(candle.vwap, price), candle.trades)


def _tell(what: str, found: Sequence[object], expected: Sequence[object], account: Account) -> None:
    if found == expected:
        return
    pairs = zip(found, expected, strict=False)
    first = next(((one, other) for one, other in pairs if one != other), None)
    account.wrong.append(
        f"{what}: {len(found)} are there, {len(expected)} were expected; they differ first in {first}"
    )
