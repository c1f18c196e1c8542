"""The command line: what can be typed, and what an end means.

Exit status: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted.
"""

import asyncio
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.markup import escape

from binance_proxy.bridge import look, upkeep
from binance_proxy.bridge.archive import archive
from binance_proxy.bridge.asked import ANYWHERE, Where, range_of
from binance_proxy.bridge.backfill import Files, Task
from binance_proxy.bridge.backfill import backfill as fill_back
from binance_proxy.bridge.options import COMMON, Common, Json
from binance_proxy.bridge.options import finish as _run
from binance_proxy.bridge.pairs import pairs
from binance_proxy.bridge.run import run as run_bridge
from binance_proxy.bridge.sandbox import sandbox as run_sandbox
from binance_proxy.bridge.terminal import err
from binance_proxy.bridge.verify import Range
from binance_proxy.bridge.verify import verify as verify_stored
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
for question in (
    look.trades,
    look.candles,
    look.book,
    look.gaps,
    look.stats,
    look.watch,
    look.status,
    look.ask,
):
    app.command(question)


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
