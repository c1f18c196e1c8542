"""``bridge backfill``: fill holes in recorded trades by hand, from the exchange or from its files."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.progress import Progress

from binance_proxy.application.backfill import Backfill, BackfillReport, Difference
from binance_proxy.application.moments import utc
from binance_proxy.application.ports import ExchangeHistory, FeedRejected, TrackedPair
from binance_proxy.application.serve.meant import Pick
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container
from binance_proxy.bridge.terminal import count, err, out, print_json
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.scale import to_text

SHOWN = 10
"""Ranges or candles that are listed for people; programs get all."""


@dataclass(frozen=True)
class Files:
    """Bulk files to fill from, in place of the exchange."""

    paths: tuple[Path, ...]
    by_checksum: bool


@dataclass(frozen=True)
class Task:
    """What is to be filled."""

    pick: Pick
    start: int
    end: int
    timeframe: Timeframe | None
    """Candles of this length are compared with the venue's own."""
    files: Files | None


async def backfill(config: Config, task: Task, *, json: bool) -> None:
    """Fill a range, and say what became of it."""
    container = Container(config=config, owner="bridge backfill", attach=True, fills=True)
    async with AsyncExitStack() as stack:
        described, history = await _source(config, container, task, stack)
        kept = await stack.enter_async_context(container.store())
        instrument = await kept.registry.register(described)
        origin = f"{count(len(task.files.paths), 'file')}" if task.files else config.feed.use
        err.print(f"filling       [bold]{instrument.symbol}[/] ({instrument.venue} {instrument.market}),"
                  f" {utc(task.start)} to {utc(task.end)}, from [bold]{origin}[/]")  # fmt: skip
        err.print(f"storing in    {escape(kept.where)}")
        try:
            with _progress() as on_progress:
                report = await Backfill(container.patient(history), kept.store).run(
                    instrument, task.start, task.end, on_progress, timeframe=task.timeframe
                )
        except asyncio.CancelledError:
            err.print("[dim]what was fetched is stored; the same command goes on from there[/]")
            raise
    if json:
        print_json(_for_programs(instrument, report))
        return
    for line in _for_people(instrument, report, task.timeframe):
        out.print(line)


async def _source(
    config: Config, container: Container, task: Task, stack: AsyncExitStack
) -> tuple[Instrument, ExchangeHistory]:
    """Return the instrument that is meant, as its source describes it, and the history to fill it from.

    Raises:
        ConfigError: The source has no history, or is of another venue or market than was asked for.
        FeedRejected: The exchange has no such pair.
        HistoryRejected: A file cannot be used.
    """
    symbol = task.pick.pair.upper()
    if "/" not in symbol:
        raise ConfigError(f"{task.pick.pair} does not say where its base asset ends: write ETH/USDT")
    if task.files is not None:
        files = container.file_history(task.files.paths, by_checksum=task.files.by_checksum)
        if task.timeframe is not None and not any(
            f"-{task.timeframe}-" in one.name for one in task.files.paths
        ):
            raise ConfigError(f"--candles {task.timeframe} needs a file of them beside those of trades")
        with err.status("looking through the files"):
            resolution_ns = await files.time_resolution_ns()
        described = Instrument(
            venue="binance", market=Market.SPOT, symbol=symbol, time_resolution_ns=resolution_ns
        )
        _check_place(task.pick, described, "the files are")
        return described, files
    no_past = ConfigError(
        f"feed.use = {config.feed.use} has no past to fill from: set feed.use to binance, or to ccxt with the"
        " exchange binance, or give --from-files"
    )
    if config.feed.use in {"simulated", "capture"}:
        raise no_past
    source = await stack.enter_async_context(container.source())
    if source.history is None:
        raise no_past
    found = await source.feed.instruments([TrackedPair(symbol=symbol)])
    if not found:
        raise FeedRejected(f"{symbol} cannot be filled: it is no pair that is traded on this exchange")
    _check_place(task.pick, found[0], f"feed.use = {config.feed.use} is")
    return found[0], source.history


def _check_place(pick: Pick, found: Instrument, subject: str) -> None:
    if pick.venue not in {None, found.venue} or pick.market not in {None, found.market}:
        raise ConfigError(f"{subject} of {found.venue} {found.market}, which --venue or --market rules out")


@contextmanager
def _progress() -> Iterator[Callable[[BackfillReport], None]]:
    """Show a bar on a terminal, and nothing elsewhere."""
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task("looking for holes", total=None)

        def show(report: BackfillReport) -> None:
            text = f"{count(report.fetched, 'trade')} fetched"
            progress.update(bar, description=text, total=report.missing, completed=report.done)

        yield show


def _for_people(instrument: Instrument, report: BackfillReport, timeframe: Timeframe | None) -> Iterator[str]:
    if report.ids is None:
        yield "filled        nothing: the source has no trade in this range"
    else:
        yield (
            f"filled        {count(report.missing, 'id')} missing, {count(report.fetched, 'trade')} fetched,"
            f" {report.new:,} of them new"
        )
    if report.repaired:
        yield f"gaps          {report.repaired:,} repaired"
    if report.still_missing:
        ids = sum(last - first + 1 for first, last in report.still_missing)
        yield (
            f"[yellow]lost          {count(ids, 'id')} in {count(len(report.still_missing), 'range')}, which"
            " the source does not have either; `bridge gaps` shows them[/]"
        )
        for first, last in report.still_missing[:SHOWN]:
            yield f"[yellow]              {first} to {last}[/]"
    if timeframe is not None:
        differ = len(report.candles_differ)
        compared = f"{report.candles_checked:,} of {timeframe} compared, {differ:,} differ"
        yield "candles       " + (compared if report.candles_checked else f"no whole {timeframe} to compare")
        for one in report.candles_differ[:SHOWN]:
            yield f"[yellow]differs       {escape(_difference(instrument, one))}[/]"


def _difference(instrument: Instrument, one: Difference) -> str:
    ours, theirs = (
        " ".join(f"{name} {value}" for name, value in (_candle(instrument, candle) or {}).items())
        or "nothing"
        for candle in (one.ours, one.theirs)
    )
    return f"{utc(one.start, parts='seconds')}: stored {ours}; the exchange has {theirs}"


def _for_programs(instrument: Instrument, report: BackfillReport) -> dict[str, object]:
    return {
        "venue": instrument.venue,
        "market": instrument.market,
        "symbol": instrument.symbol,
        "ids": report.ids,
        "missing": report.missing,
        "fetched": report.fetched,
        "new": report.new,
        "duplicates": report.duplicates,
        "gaps_repaired": report.repaired,
        "still_missing": report.still_missing,
        "candles_checked": report.candles_checked,
        "candles_differ": [
            {
                "start": one.start,
                "stored": _candle(instrument, one.ours),
                "exchange": _candle(instrument, one.theirs),
            }
            for one in report.candles_differ
        ],
    }


def _candle(instrument: Instrument, candle: Candle | None) -> dict[str, object] | None:
    if candle is None:
        return None
    price = instrument.price_precision
    return {
        "open": to_text(candle.open, price),
        "high": to_text(candle.high, price),
        "low": to_text(candle.low, price),
        "close": to_text(candle.close, price),
        "volume": to_text(candle.volume, instrument.size_precision),
        "trades": candle.trades,
    }
