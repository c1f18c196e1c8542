"""Commands that only look: at what is stored, and at a running bridge."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.bridge import questions
from binance_proxy.bridge.ask import ask as ask_bridge
from binance_proxy.bridge.asked import ANYWHERE, Where, range_of
from binance_proxy.bridge.listening import Place
from binance_proxy.bridge.options import COMMON, Common, Json
from binance_proxy.bridge.options import finish as _run
from binance_proxy.bridge.stats import Shown
from binance_proxy.bridge.stats import stats as show_stats
from binance_proxy.bridge.status import status as ask_status
from binance_proxy.bridge.terminal import ns, screen
from binance_proxy.bridge.watch import Wanted
from binance_proxy.bridge.watch import watch as watch_bridge
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.errors import ConfigError

INTERRUPTED = 130


def trades(
    pair: str,
    /,
    *,
    start: str | None = None,
    end: str | None = None,
    limit: int | None = None,
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Show recorded trades: the newest 20, or all of a range.

    Example: bridge trades ETH/USDT --start 2024-08-08T23:55:00Z --end 2024-08-09T00:00:00Z

    Args:
        pair: Such as ETH/USDT.
        start: First moment, such as 2024-08-08T23:55:00Z.
        end: The moment behind the last.
        limit: At most so many, the newest of the range; 0 for all.
        where: Which instrument.
        json: Print JSON, with times in ns since the epoch.
        common: Settings.
    """
    first, behind = range_of(start, end)
    most = _limit(limit, 20 if start is None else 0)
    _run(
        questions.trades(
            common.load().config,
            where.pick(pair),
            start=first or 0,
            end=behind,
            limit=most,
            json=json,
        )
    )


def candles(
    pair: str,
    timeframe: str = "1m",
    /,
    *,
    start: str | None = None,
    end: str | None = None,
    limit: int | None = None,
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Show candles of the recorded trades: the newest 100, or all of a range.

    Example: bridge candles ETH/USDT 5m --json

    Args:
        pair: Such as ETH/USDT.
        timeframe: Such as 1s, 1m, 5m, 15m, 1h, 4h, 1d, 1w or 1mo.
        start: First moment, such as 2024-08-08T23:55:00Z.
        end: The moment behind the last.
        limit: At most so many, the newest of the range; 0 for all.
        where: Which instrument.
        json: Print JSON, with times in ns since the epoch.
        common: Settings.
    """
    first, behind = range_of(start, end)
    most = _limit(limit, 100 if start is None else 0)
    _run(
        questions.candles(
            common.load().config,
            where.pick(pair),
            Timeframe(timeframe),
            start=first,
            end=behind,
            limit=most,
            json=json,
        )
    )


def book(
    pair: str,
    /,
    *,
    at: str | None = None,
    levels: int = 10,
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Show the order book as it was at the newest stored update, or at any moment that was recorded.

    Example: bridge book ETH/USDT --at 2024-08-08T23:57:30.250Z --levels 20

    Args:
        pair: Such as ETH/USDT.
        at: A moment, such as 2024-08-08T23:57:30Z: every update up to it is in.
        levels: How many price levels of each side; 0 for all.
        where: Which instrument.
        json: Print JSON.
        common: Settings.
    """
    _run(
        questions.book(
            common.load().config,
            where.pick(pair),
            at=END_OF_TIME if at is None else min(max(ns(at, "--at"), 0), END_OF_TIME - 1),
            levels=_limit(levels, 0),
            json=json,
        )
    )


def gaps(
    pair: str | None = None,
    /,
    *,
    all_ranges: Annotated[bool, Parameter(name="--all", negative=())] = False,
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Show the known holes in what was recorded; or, with --all, all that was recorded, range by range.

    Example: bridge gaps ETH/USDT --all

    Args:
        pair: Only of this pair.
        all_ranges: Show every range of ids: complete, repaired, lost or open.
        where: Which instrument.
        json: Print JSON.
        common: Settings.
    """
    picked = where.pick(pair) if pair else None
    _run(questions.gaps(common.load().config, picked, whole=all_ranges, json=json))


def stats(
    pair: str | None = None,
    /,
    *,
    start: str | None = None,
    end: str | None = None,
    calendar: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    html: Path | None = None,
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Show what is stored, day by day: ticks, bytes, and how much of it is there.

    Every tick of the range is read. Without a range it is the 30 days up to the newest one.

    Example: bridge stats ETH/USDT --calendar

    Args:
        pair: Only of this pair.
        start: First moment, such as 2024-08-08T00:00:00Z.
        end: The moment behind the last.
        calendar: Draw a calendar in place of the table.
        html: Write a page with both to this file.
        where: Which instrument.
        json: Print JSON, with times in ns since the epoch.
        common: Settings.
    """
    first, behind = range_of(start, end)
    _run(
        show_stats(
            common.load().config,
            where.pick(pair) if pair else None,
            first,
            behind if end else None,
            Shown(calendar=calendar, html=html, json=json),
        )
    )


def watch(
    pair: str | None = None,
    /,
    *,
    levels: int = 10,
    address: str | None = None,
    where: Where = ANYWHERE,
    common: Common = COMMON,
) -> int:
    """Watch the tape and the book of a running bridge, live. Ctrl-C ends it.

    Example: bridge watch ETH/USDT

    Args:
        pair: Such as ETH/USDT; the first that is published if left out.
        levels: How many price levels of each side.
        address: Where the bridge publishes, if not where the settings say. Nothing but that is used then.
        where: Which instrument.
        common: Settings.
    """
    place = Place(publish=address) if address else Place.of(common.load().config)
    return _run(_watch(place, Wanted(pair, where.venue, where.market), levels))


async def _watch(place: Place, wanted: Wanted, levels: int) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    await watch_bridge(place=place, wanted=wanted, levels=levels, console=screen, stop=stop)
    return INTERRUPTED if stop.is_set() else 0


def status(*, address: str | None = None, json: Json = False, common: Common = COMMON) -> int:
    """Show how a running bridge is: its books, its gaps, what it has done. Exit status 1 if it is not well.

    Example: bridge status --json

    Args:
        address: Where the bridge publishes, if not where the settings say. It is heard there, and not asked.
        json: Print JSON, with the fields of the topic bridge.status.
        common: Settings.
    """
    place = Place(publish=address) if address else Place.of(common.load().config)
    return _run(ask_status(place, json=json))


def ask(
    method: str | None = None,
    /,
    *params: str,
    address: str | None = None,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Send one request to a running bridge, and show the answer. Without a method, list what can be asked.

    Example: bridge ask stats.vwap symbol=ETH/USDT window_s=60

    Args:
        method: Such as trades.list or stats.spread.
        params: Its parameters, such as symbol=ETH/USDT limit=5.
        address: Where the bridge answers requests, if not where the settings say.
        json: Print the answer as JSON, with times in ns since the epoch.
        common: Settings.
    """
    place = Place(requests=address or common.load().config.serve.bind)
    _run(ask_bridge(place, method, params, json=json))


def _limit(given: int | None, default: int) -> int:
    if given is not None and given < 0:
        raise ConfigError(f"--limit or --levels {given} is below zero")
    return default if given is None else given
