"""The command line: what can be typed, and what an end means.

Exit status: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted.
"""

import asyncio
import signal
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.markup import escape

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.bridge import questions, upkeep
from binance_proxy.bridge.archive import archive
from binance_proxy.bridge.asked import ANYWHERE, Where, Whereabouts, range_of
from binance_proxy.bridge.backfill import Files, Task
from binance_proxy.bridge.backfill import backfill as fill_back
from binance_proxy.bridge.options import COMMON, Common, Json
from binance_proxy.bridge.options import finish as _run
from binance_proxy.bridge.pairs import pairs
from binance_proxy.bridge.run import run as run_bridge
from binance_proxy.bridge.sandbox import sandbox as run_sandbox
from binance_proxy.bridge.stats import Shown
from binance_proxy.bridge.stats import stats as show_stats
from binance_proxy.bridge.status import status as ask_status
from binance_proxy.bridge.terminal import err, ns, screen
from binance_proxy.bridge.verify import Range
from binance_proxy.bridge.verify import verify as verify_stored
from binance_proxy.bridge.watch import watch as watch_bridge
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.errors import BridgeError, ConfigError

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130

app = App(
    name="bridge",
    help="Record, check, store and publish exchange market data. Everything has a default: try `bridge run`.",
    version=version("binance-proxy-bridge"),
    version_flags=["--version"],
)


@dataclass
class _FromFiles:
    """Files in place of the exchange."""

    from_files: Annotated[
        tuple[Path, ...], Parameter(consume_multiple=True, negative=(), show_default=False)
    ] = ()
    """Fill from files that the exchange published, such as ETHUSDT-trades-2024-08-08.zip."""
    without_checksum: Annotated[bool, Parameter(negative=(), show_default=False)] = False
    """Take files that have no .CHECKSUM beside them."""

    def chosen(self) -> Files | None:
        """Return the files, if there are any."""
        return Files(self.from_files, by_checksum=not self.without_checksum) if self.from_files else None


Feed = Literal["simulated", "capture", "ccxt", "binance"]

NO_FILES = _FromFiles()


@app.command
def run(
    *,
    feed: Feed | None = None,
    duration: float | None = None,
    json: Json = False,
    common: Common = COMMON,
) -> int:
    """Record the feed: check, store, publish. Ctrl-C stops; what was accepted is stored first.

    Without any configuration the simulated feed is recorded into a PostgreSQL that the bridge brings along.

    Example: bridge run -o feed.use=capture -o 'feed.capture.paths=["a.gz"]' -o feed.capture.speed=max

    Args:
        feed: Where ticks come from; short for -o feed.use=...
        duration: Stop by itself after so many seconds.
        json: Print what was done as JSON.
        common: Settings.
    """
    loaded = common.load(*([f"feed.use={feed}"] if feed else []))
    _check_duration(duration)
    typed = {one.key: str(one.value) for one in loaded.settings if one.origin == "-o"}
    url = typed.get("store.timescale.url")
    return _run(run_bridge(loaded.config, duration_s=duration, json=json, typed_url=url))


@app.command
def check(*, common: Common = COMMON) -> int:
    """Try everything that a run needs, and say what is wrong.

    Example: bridge check -o store.timescale.url=postgresql://me:secret@localhost/ticks
    """
    return _run(upkeep.check(common.load().config))


@app.command
def migrate(*, to: str | None = None, common: Common = COMMON) -> None:
    """Bring the database to the newest schema. `bridge run` does it too.

    Example: bridge migrate

    Args:
        to: Another revision than the newest, for an older bridge. Refused if that would lose something.
        common: Settings.
    """
    _run(upkeep.migrate(common.load().config, to))


@app.command
def psql(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)], common: Common = COMMON) -> int:
    """Open psql on the store, or hand it arguments that stand behind --.

    The embedded server is started for as long as it is needed, if no bridge is running.

    Example: bridge psql -- -c "select * from candles_1m order by start desc limit 5"

    Args:
        arguments: What psql gets.
        common: Settings.
    """
    return _run(upkeep.psql(common.load().config, arguments))


app.command(pairs)
app.command(archive)


@app.command
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


@app.command
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


@app.command
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


@app.command
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


@app.command
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


@app.command
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
        address: Where the bridge publishes JSON, if not where the settings say.
        where: Which instrument.
        common: Settings.
    """
    config = common.load().config
    return _run(_watch(address or config.publish.json.bind, pair, where, levels))


async def _watch(address: str, pair: str | None, where: Whereabouts, levels: int) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    await watch_bridge(
        address=address,
        pair=pair,
        venue=where.venue,
        market=where.market,
        levels=levels,
        console=screen,
        stop=stop,
    )
    return INTERRUPTED if stop.is_set() else 0


@app.command
def sandbox(*, pairs: str | None = None, duration: float | None = None, common: Common = COMMON) -> int:
    """Be a venue on this machine that talks like Binance, over the feed that is set. Ctrl-C ends it.

    Without any configuration it makes up ETH/USDT, SOL/USDT and BTC/USDT. A capture waits for a client.

    Example: bridge sandbox --pairs ETH/USDT,BTC/USDT

    Args:
        pairs: What it lists, such as ETH/USDT,BTC/USDT; a capture lists what is in its files.
        duration: Stop by itself after so many seconds.
        common: Settings.
    """
    config = common.load(*([f"sandbox.pairs={pairs.split(',')}"] if pairs else [])).config
    _check_duration(duration)
    return _run(run_sandbox(config, duration_s=duration))


@app.command
def backfill(
    pair: str,
    /,
    *,
    start: str,
    end: str,
    candles: str | None = None,
    files: Annotated[_FromFiles, Parameter(name="*")] = NO_FILES,
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Fill holes in recorded trades with what the exchange still has. It can be stopped and run again.

    Example: bridge backfill ETH/USDT --start 2026-07-20T00:00:00Z --end 2026-07-21T00:00:00Z --candles 1m

    Args:
        pair: Such as ETH/USDT.
        start: First moment, such as 2024-08-08T23:55:00Z.
        end: The moment behind the last.
        candles: Compare candles of this length with the exchange's own afterwards, such as 1m.
        files: Files in place of the exchange.
        where: Which instrument.
        json: Print JSON.
        common: Settings.
    """
    first, behind = range_of(start, end)
    task = Task(
        where.pick(pair),
        first or 0,
        behind,
        Timeframe(candles) if candles else None,
        files.chosen(),
    )
    _run(fill_back(common.load().config, task, json=json))


@app.command
def verify(
    pair: str,
    /,
    *,
    start: str,
    end: str,
    klines: Annotated[
        tuple[Path, ...], Parameter(consume_multiple=True, negative=(), show_default=False)
    ] = (),
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> int:
    """Audit what is stored of a pair, and print a certificate. Exit status 1 if anything does not hold.

    Holes that the gap ledger does not have are entered there.

    Example: bridge verify ETH/USDT --start 2024-08-08T00:00:00Z --end 2024-08-09T00:00:00Z

    Args:
        pair: Such as ETH/USDT.
        start: First moment, such as 2024-08-08T23:55:00Z.
        end: The moment behind the last.
        klines: Files of the exchange's own candles to compare with: csv, or gz or zip of it.
        where: Which instrument.
        json: Print JSON, with times in ns since the epoch.
        common: Settings.
    """
    first, behind = range_of(start, end)
    wanted = Range(where.pick(pair), first or 0, behind, klines)
    return _run(verify_stored(common.load().config, wanted, json=json))


@app.command
def status(*, address: str | None = None, json: Json = False, common: Common = COMMON) -> int:
    """Show how a running bridge is: its books, its gaps, what it has done. Exit status 1 if it is not well.

    Example: bridge status --json

    Args:
        address: Where the bridge publishes JSON, if not where the settings say.
        json: Print JSON, as it is on the topic bridge.status.
        common: Settings.
    """
    return _run(ask_status(address or common.load().config.publish.json.bind, json=json))


@app.command(name="config")
def show_config(*, json: Json = False, common: Common = COMMON) -> None:
    """Show every setting, its value, and where the value came from.

    Example: bridge config -o feed.use=capture

    Args:
        json: Print JSON.
        common: Settings.
    """
    upkeep.show_config(common.load(), json=json)


def main() -> None:
    """Run the command that was typed, and exit with its status."""
    try:
        status = app(exit_on_error=False, print_error=False, result_action="return_value")
    except ConfigError as error:
        status = _fail(error, BAD_USAGE)
    except BridgeError as error:
        status = _fail(error, FAILED)
    except CycloptsError as error:
        status = _fail(error, BAD_USAGE)
    except (KeyboardInterrupt, asyncio.CancelledError):
        status = INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, had enough
        sys.stderr.close()
        status = 0
    sys.exit(status or 0)


def _fail(error: Exception, status: int) -> int:
    err.print(f"[bold red]bridge:[/] {escape(str(error))}")
    return status


def _check_duration(seconds: float | None) -> None:
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ConfigError(f"--duration {seconds} is not a number of seconds above zero")


def _limit(given: int | None, default: int) -> int:
    if given is not None and given < 0:
        raise ConfigError(f"--limit or --levels {given} is below zero")
    return default if given is None else given
