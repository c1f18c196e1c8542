"""``bridge trades``, ``candles``, ``book`` and ``gaps``: what is in the store."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rich.table import Table

from binance_proxy.application.ledger import read_gaps, read_ledger
from binance_proxy.application.moments import utc
from binance_proxy.application.rebuild import BookUnknown, book_at
from binance_proxy.application.serve import meant
from binance_proxy.application.serve.books import unknown_text
from binance_proxy.application.serve.candles import missing_trades, newest_candles
from binance_proxy.application.serve.failures import Ambiguous, NothingStored
from binance_proxy.application.serve.gaps import newest_gaps
from binance_proxy.application.serve.meant import Pick
from binance_proxy.application.serve.rows import (
    BookRow,
    CandleRow,
    candle_rows,
    coverage_row,
    gap_rows,
    text_levels,
    trade_rows,
)
from binance_proxy.application.serve.trades import newest_trades, unrecorded_trades
from binance_proxy.application.unrecorded import Part, read_unrecorded
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container, Kept
from binance_proxy.bridge.terminal import count, err, out, print_json
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import MISSING, Absent, Coverage, CoverageState, Unrecorded, absent
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import Levels

MOST_TOLD = 5
"""Ranges that are named of what is missing."""


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
        found = await newest_trades(kept.store, instrument, start, end, limit)
        is_cut = limit and len(found.trades) == limit
        part = _part(None if is_cut else start, end)
        unrecorded = await unrecorded_trades(kept.store, instrument, part, found.trades)
    _tell_unrecorded(unrecorded)
    rows = trade_rows(found.trades)
    if json:
        print_json(rows)
        _tell_missing(found.missing, "trade")
        return
    states = {hole.first_id: hole.state for hole in found.missing}
    table = table_of("time (UTC)", "trade id", "price", "size", "aggressor")
    before = {hole.last_id + 1: hole for hole in found.skipped}
    for trade in rows:
        hole = before.get(trade.trade_id)
        if hole is not None:
            ids = str(hole.first_id) if hole.ids == 1 else f"{hole.first_id} to {hole.last_id}"
            missing = f"{count(hole.ids, 'trade')} missing, {states.get(hole.first_id, hole.state)}"
            table.add_row(f"[yellow]{missing}[/]", f"[yellow]{ids}[/]")
        table.add_row(utc(trade.ts_event), str(trade.trade_id), trade.price, trade.size, trade.aggressor)
    out.print(table)
    _tell_missing(found.missing, "trade")


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
            found = await newest_candles(kept.store, instrument, timeframe, end, limit)
        else:
            found = await kept.store.candles(instrument, timeframe, start, end)
        found = found[-limit:] if limit else found
        if limit and len(found) == limit:
            start = found[0].start
        holes = await missing_trades(kept.store, instrument, start or 0, end)
        unrecorded = await read_unrecorded(kept.store, instrument, _part(start, end))
    _tell_unrecorded(unrecorded)
    rows = candle_rows(found)
    if json:
        print_json(rows)
        _tell_missing(holes, "trade")
        return
    table = table_of("start (UTC)", "open", "high", "low", "close", "volume", "vwap", "trades", "")
    for candle in rows:
        prices = (candle.open, candle.high, candle.low, candle.close)
        sums = (candle.volume, candle.vwap, str(candle.trades))
        table.add_row(utc(candle.start, parts="seconds"), *prices, *sums, _mark(candle))
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
            raise NothingStored(unknown_text(error, at)) from error
    bids, asks = found.depth(levels or None)
    behind = [
        gap
        for gap in ledger
        if gap.stream is Stream.ORDERBOOK and gap.first_id > found.last_update_id and gap.start <= at
    ]
    _tell_missing(absent([], behind), "update")
    if json:
        print_json(
            BookRow(
                venue=instrument.venue,
                market=instrument.market,
                symbol=instrument.symbol,
                ts_event=found.ts_event,
                ts_recv=found.ts_recv,
                last_update_id=found.last_update_id,
                bids=text_levels(bids, instrument),
                asks=text_levels(asks, instrument),
            )
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
            found = [gap for one in instruments for gap in await newest_gaps(kept.store, one, None)]
    if whole:
        _show_ledger(ledger, json=json)
    elif json:
        print_json(gap_rows(found))
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
        print_json([coverage_row(instrument, covered) for instrument, covered in ledger])
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
    try:
        return await meant.instrument_of(await kept.registry.instruments(), kept.archive, pick)
    except Ambiguous as error:
        raise _say_which(error) from error


def chosen(recorded: Sequence[Instrument], pick: Pick, how: str = "recorded") -> Instrument:
    """Return the one that somebody means. Raises like `instrument_of`."""
    try:
        return meant.chosen(recorded, pick, how)
    except Ambiguous as error:
        raise _say_which(error) from error


def _say_which(error: Ambiguous) -> ConfigError:
    places = ", ".join(f"--venue {one.venue} --market {one.market}" for one in error.meant)
    count_places = f"{error.pair} was {error.how} in {len(error.meant)} places"
    return ConfigError(f"{count_places}; say which: {places}")


def _mark(candle: CandleRow) -> str:
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


def _part(start: int | None, end: int) -> Part:
    """Return a range of which is told when it was not recorded; what comes behind it may still come."""
    return Part(start=start or None, end=end, now=end, goes_on=True)


def _tell_unrecorded(times: Sequence[Unrecorded]) -> None:
    """Say on standard error of which times nothing is there at all."""
    told = [f"{utc(one.start)} to {utc(one.end)}" for one in times[:MOST_TOLD]]
    more = f", and {count(len(times) - MOST_TOLD, 'more time')}" if len(times) > MOST_TOLD else ""
    if told:
        err.print(f"[yellow]no trades were recorded from {', '.join(told)}{more}[/]")


def _print_book(found: OrderBook, bids: Levels, asks: Levels) -> None:
    one = found.instrument
    out.print(f"[bold]{one.symbol}[/] on {one.venue} {one.market}, {utc(found.ts_event)} UTC")
    table = table_of("bid size", "bid", "ask", "ask size")
    for bid, ask in itertools.zip_longest(text_levels(bids, one), text_levels(asks, one), fillvalue=("", "")):
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
