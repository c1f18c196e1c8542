"""``bridge trades``, ``candles``, ``book`` and ``gaps``: what is in the store."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from rich.table import Table

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.ledger import read_gaps, read_ledger
from binance_proxy.application.ports import Stored
from binance_proxy.application.rebuild import BookUnknown, book_at
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container, Kept
from binance_proxy.bridge.terminal import count, err, out, print_json, utc
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import BridgeError, ConfigError
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import MISSING, Absent, Coverage, CoverageState, Skipped, absent, is_numbered
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import Levels, TradeTick

MOST_TOLD = 5
"""Ranges that are named of what is missing."""


@dataclass(frozen=True)
class Pick:
    """Which instrument is meant; venue and market only where the pair alone does not say it."""

    pair: str
    venue: str | None = None
    market: str | None = None


class NothingStored(BridgeError):
    """There is nothing in the store that could answer."""


async def trades(
    config: Config,
    pick: Pick,
    *,
    start: int,
    end: int,
    limit: int,
    json: bool,
) -> None:
    """Show the newest trades of a range, oldest first."""
    async with open_kept(config, "bridge trades") as kept:
        instrument = await instrument_of(kept, pick)
        found = await _newest(kept, TradeTick, instrument, start, end, limit)
        is_cut = bool(limit) and len(found) == limit
        gaps = await read_gaps(
            kept.store, instrument, found[0].ts_event if is_cut else start, end, missing_only=True
        )
    skipped = Skipped()
    for trade in found if is_numbered(instrument, Stream.TRADES) else ():
        skipped.take(trade)
    trade_gaps = [
        gap
        for gap in gaps
        if gap.stream is Stream.TRADES and not (is_cut and gap.last_id < found[0].trade_id)
    ]
    holes = absent(skipped.holes, trade_gaps)
    if json:
        print_json([_trade(trade) for trade in found])
        _tell_missing(holes, "trade")
        return
    states = {hole.first_id: hole.state for hole in holes}
    table = table_of("time (UTC)", "trade id", "price", "size", "aggressor")
    before = {hole.last_id + 1: hole for hole in skipped.holes}
    for trade in found:
        hole = before.get(trade.trade_id)
        if hole is not None:
            ids = str(hole.first_id) if hole.ids == 1 else f"{hole.first_id} to {hole.last_id}"
            missing = f"{count(hole.ids, 'trade')} missing, {states.get(hole.first_id, hole.state)}"
            table.add_row(f"[yellow]{missing}[/]", f"[yellow]{ids}[/]")
        shown = _trade(trade)
        table.add_row(
            utc(trade.ts_event), str(trade.trade_id), str(shown["price"]), str(shown["size"]), trade.aggressor
        )
    out.print(table)
    _tell_missing(holes, "trade")


async def candles(
    config: Config,
    pick: Pick,
    timeframe: Timeframe,
    *,
    start: int | None,
    end: int,
    limit: int,
    json: bool,
) -> None:
    """Show the newest candles of a range, oldest first."""
    async with open_kept(config, "bridge candles") as kept:
        instrument = await instrument_of(kept, pick)
        if start is None:
            found = await _newest_candles(kept, instrument, timeframe, end, limit)
        else:
            found = await kept.store.candles(instrument, timeframe, start, end)
        found = found[-limit:] if limit else found
        if limit and len(found) == limit:
            start = found[0].start
        gaps = await read_gaps(kept.store, instrument, start or 0, end, missing_only=True)
    holes = absent([], [gap for gap in gaps if gap.stream is Stream.TRADES])
    if json:
        print_json([_candle(candle) for candle in found])
        _tell_missing(holes, "trade")
        return
    table = table_of("start (UTC)", "open", "high", "low", "close", "volume", "vwap", "trades", "")
    for candle in found:
        shown = _candle(candle)
        numbers = (str(shown[name]) for name in ("open", "high", "low", "close", "volume", "vwap", "trades"))
        table.add_row(utc(candle.start, parts="seconds"), *numbers, _mark(candle))
    out.print(table)
    _tell_missing(holes, "trade")


async def book(config: Config, pick: Pick, *, at: int, levels: int, json: bool) -> None:
    """Show the order book as it was at a moment; with `END_OF_TIME`, at the newest stored update."""
    async with open_kept(config, "bridge book") as kept:
        instrument = await instrument_of(kept, pick)
        try:
            found = await book_at(kept.store, instrument, at)
            ledger = await read_gaps(kept.store, instrument, missing_only=True)
        except BookUnknown as error:
            raise NothingStored(_unknown(error, at)) from error
    bids, asks = found.depth(levels or None)
    behind = [
        gap
        for gap in ledger
        if gap.stream is Stream.ORDERBOOK and gap.first_id > found.last_update_id and gap.start <= at
    ]
    _tell_missing(absent([], behind), "update")
    if json:
        print_json(
            _of(instrument)
            | {
                "ts_event": found.ts_event,
                "ts_recv": found.ts_recv,
                "last_update_id": found.last_update_id,
                "bids": _levels(bids, instrument),
                "asks": _levels(asks, instrument),
            }
        )
        return
    _print_book(found, bids, asks)


async def gaps(config: Config, pick: Pick | None, *, whole: bool, json: bool) -> None:
    """Show the known holes in what was recorded, of one pair or of all; or the whole ledger."""
    async with open_kept(config, "bridge gaps") as kept:
        instruments = await kept.registry.instruments()
        if pick is not None:
            instruments = [await instrument_of(kept, pick)]
        if whole:
            ledger = [
                (one, covered)
                for one in instruments
                for stream in Stream
                for covered in await read_ledger(kept.store, one, stream)
            ]
        else:
            found = [gap for one in instruments for gap in await _newest(kept, Gap, one, 0, END_OF_TIME, 0)]
    if whole:
        _show_ledger(ledger, json=json)
    elif json:
        print_json([_gap(gap) for gap in found])
    else:
        _show_gaps(found)


def _show_gaps(found: Sequence[Gap]) -> None:
    if not found:
        out.print("no gaps")
        return
    table = table_of("found (UTC)", "instrument", "stream", "first id", "last id", "ids", "state")
    for gap in found:
        ids = f"{gap.last_id - gap.first_id + 1:,}"
        table.add_row(
            utc(gap.ts_event),
            gap.instrument.name,
            gap.stream,
            str(gap.first_id),
            str(gap.last_id),
            ids,
            gap.state,
        )
    out.print(table)


def _show_ledger(ledger: Sequence[tuple[Instrument, Coverage]], *, json: bool) -> None:
    if json:
        print_json([_coverage(instrument, covered) for instrument, covered in ledger])
        return
    if not ledger:
        out.print("nothing is recorded")
        return
    table = table_of(
        "instrument", "stream", "start (UTC)", "end (UTC)", "first id", "last id", "ids", "state"
    )
    for instrument, covered in ledger:
        style = "yellow" if covered.state in MISSING else ""
        table.add_row(
            instrument.name,
            covered.stream,
            utc(covered.start),
            utc(covered.end),
            str(covered.first_id),
            str(covered.last_id),
            f"{covered.ids:,}",
            covered.state,
            style=style,
        )
    out.print(table)
    if any(covered.state is CoverageState.UNKNOWN for _, covered in ledger):
        out.print("unknown: the ids do not rise by one there, so holes cannot be told by them")


@asynccontextmanager
async def open_kept(config: Config, owner: str) -> AsyncIterator[Kept]:
    """Open the store that is configured, beside a bridge that runs, perhaps."""
    container = Container(config=config, owner=owner, attach=True)
    async with container.store() as kept:
        yield kept


async def instrument_of(kept: Kept, pick: Pick) -> Instrument:
    """Return the recorded instrument that somebody means by ``ETH/USDT`` or ``ethusdt``.

    Raises:
        NothingStored: It was never recorded.
        ConfigError: It was recorded more than once, in different places.
    """
    recorded = await kept.registry.instruments()
    if kept.archive is not None and not any(_is_meant(one, pick) for one in recorded):
        # The archive may be older than the database; its footers are read only if that may matter.
        archived = {day.instrument.name: day.instrument for day in await kept.archive.days()}
        recorded = [*recorded, *(one for one in archived.values() if _is_meant(one, pick))]
    return chosen(recorded, pick)


def chosen(recorded: Sequence[Instrument], pick: Pick, how: str = "recorded") -> Instrument:
    """Return the one that somebody means. Raises like `instrument_of`."""
    meant = [one for one in recorded if _is_meant(one, pick)]
    if not meant:
        there = ", ".join(f"{one.symbol} ({one.venue} {one.market})" for one in recorded) or "nothing yet"
        where = " ".join(word for word in (pick.venue, pick.market) if word) or "here"
        raise NothingStored(f"{pick.pair} was never {how} {where}; {how}: {there}")
    if len(meant) > 1:
        places = ", ".join(f"--venue {one.venue} --market {one.market}" for one in meant)
        raise ConfigError(f"{pick.pair} was {how} in {len(meant)} places; say which: {places}")
    return meant[0]


def _is_meant(one: Instrument, pick: Pick) -> bool:
    return (
        one.symbol.replace("/", "") == pick.pair.replace("/", "").upper()
        and pick.venue in {None, one.venue}
        and pick.market in {None, one.market}
    )


async def _newest(
    kept: Kept, kind: type[Stored], instrument: Instrument, start: int, end: int, limit: int
) -> Sequence[Stored]:
    """Return the newest so many (0: all) of a range, oldest first."""
    newest: list[Stored] = []
    async with aclosing(kept.store.scan(kind, instrument, start, end, newest_first=True)) as found:
        async for one in found:
            newest.append(one)
            if len(newest) == limit:
                break
    return newest[::-1]


async def _newest_candles(
    kept: Kept, instrument: Instrument, timeframe: Timeframe, end: int, limit: int
) -> Sequence[Candle]:
    """Return at least the newest ``limit`` candles before ``end``, if there are so many; 0: all."""
    if not limit:
        return await kept.store.candles(instrument, timeframe, 0, end)
    found: list[Candle] = []
    before = end
    while len(found) < limit:  # each turn goes on behind a stretch without a trade, if there is one
        last = await _newest(kept, TradeTick, instrument, 0, before, 1)
        if not last:
            break
        start = timeframe.back(last[0].ts_event, limit - 1)
        found = [*await kept.store.candles(instrument, timeframe, start, before), *found]
        if start >= before:
            break
        before = start
    return found


def _mark(candle: Candle) -> str:
    """Say what a table of candles adds to one."""
    if not candle.closed:
        return "open"
    return "" if candle.complete else "not complete"


def _tell_missing(holes: Sequence[Absent], what: str) -> None:
    """Say on standard error what is missing in an answer."""
    if not holes:
        return
    missing = sum(hole.ids for hole in holes)
    told = [
        f"{hole.first_id} to {hole.last_id} ({hole.state})"
        if hole.ids > 1
        else f"{hole.first_id} ({hole.state})"
        for hole in holes[:MOST_TOLD]
    ]
    more = f", and {count(len(holes) - MOST_TOLD, 'more range')}" if len(holes) > MOST_TOLD else ""
    are = "is" if missing == 1 else "are"
    err.print(f"[yellow]{count(missing, what)} {are} missing in this range: {', '.join(told)}{more}[/]")


def _of(instrument: Instrument) -> dict[str, object]:
    return {"venue": instrument.venue, "market": instrument.market, "symbol": instrument.symbol}


def _trade(trade: TradeTick) -> dict[str, object]:
    one = trade.instrument
    shown = _of(one) | {
        "ts_event": trade.ts_event,
        "ts_recv": trade.ts_recv,
        "trade_id": trade.trade_id,
        "price": to_text(trade.price, one.price_precision),
        "size": to_text(trade.size, one.size_precision),
        "aggressor": trade.aggressor,
    }
    if trade.first_match_id is not None:
        shown |= {"first_match_id": trade.first_match_id, "last_match_id": trade.last_match_id}
    if trade.off_book:
        shown["off_book"] = True
    return shown


def _candle(candle: Candle) -> dict[str, object]:
    one = candle.instrument
    price, size = one.price_precision, one.size_precision
    return _of(one) | {
        "timeframe": candle.timeframe.name,
        "start": candle.start,
        "end": candle.end,
        "open": to_text(candle.open, price),
        "high": to_text(candle.high, price),
        "low": to_text(candle.low, price),
        "close": to_text(candle.close, price),
        "volume": to_text(candle.volume, size),
        "quote_volume": to_text(candle.quote_volume, price + size),
        "vwap": to_text(candle.vwap, price),
        "trades": candle.trades,
        "closed": candle.closed,
        "complete": candle.complete,
    }


def _gap(gap: Gap) -> dict[str, object]:
    return _of(gap.instrument) | {
        "ts_event": gap.ts_event,
        "ts_recv": gap.ts_recv,
        "stream": gap.stream,
        "first_id": gap.first_id,
        "last_id": gap.last_id,
        "start": gap.start,
        "end": gap.end,
        "state": gap.state,
    }


def _coverage(instrument: Instrument, covered: Coverage) -> dict[str, object]:
    return _of(instrument) | {
        "stream": covered.stream,
        "first_id": covered.first_id,
        "last_id": covered.last_id,
        "ids": covered.ids,
        "start": covered.start,
        "end": covered.end,
        "state": covered.state,
    }


def _levels(levels: Levels, instrument: Instrument) -> list[tuple[str, str]]:
    return [
        (to_text(price, instrument.price_precision), to_text(size, instrument.size_precision))
        for price, size in levels
    ]


def _unknown(error: BookUnknown, at: int) -> str:
    """Say what is not known of the book at a moment, and of which moment it is known."""
    if at >= END_OF_TIME:
        again = "" if error.since is None else "; it is right again with the next snapshot"
        return f"{error.why}{again}"
    since = "" if error.since is None else f" since {utc(error.since)}"
    if error.again is not None and error.again > at:
        again = f"; the book is known again from {utc(error.again)} on"
    elif error.missing is not None:
        again = "; no later snapshot is stored"
    else:
        again = ""
    return f"the book of {utc(at)} UTC is not known: {error.why}{since}{again}"


def _print_book(found: OrderBook, bids: Levels, asks: Levels) -> None:
    one = found.instrument
    out.print(f"[bold]{one.symbol}[/] on {one.venue} {one.market}, {utc(found.ts_event)} UTC")
    table = table_of("bid size", "bid", "ask", "ask size")
    for bid, ask in itertools.zip_longest(_levels(bids, one), _levels(asks, one), fillvalue=("", "")):
        table.add_row(bid[1], f"[green]{bid[0]}[/]", f"[red]{ask[0]}[/]", ask[1])
    out.print(table)
    if bids and asks:
        spread = to_text(found.spread(), one.price_precision)
        out.print(
            f"spread {spread} ({found.spread_bps():.3f} bps), imbalance {found.imbalance(len(bids)):+.2f},"
            f" update {found.last_update_id}"
        )


def table_of(*columns: str) -> Table:
    """Return an empty table. What is no number stands on the left."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column not in {"", "time (UTC)", "start (UTC)", "aggressor", "tracked pair", "recorded"}
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    return table
