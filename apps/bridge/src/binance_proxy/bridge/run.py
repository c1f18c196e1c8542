"""``bridge run``: open everything in order, record until there is an end, say what was done."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TypeVar

import backoff
from rich.markup import escape
from rich.status import Status

from binance_proxy.adapters.spool.store import SpooledStore
from binance_proxy.application.ports import FeedRejected, FeedUnavailable, StoreUnavailable
from binance_proxy.application.record import Recording
from binance_proxy.application.report import Report
from binance_proxy.bridge.beside import Running, announce, open_beside
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container, Kept, place_of, spool_folder
from binance_proxy.bridge.load import environment
from binance_proxy.bridge.terminal import count, err, out, print_json, size
from binance_proxy.domain.instrument import Instrument, Market

log = logging.getLogger(__name__)

REFRESH_S = 0.25
NOTHING_IN_CAPTURE = (
    "there is nothing to record in feed.capture.paths: no frame of a known pair at their beginning"
)
LONGEST_PAUSE_S = 30.0
"""Between two attempts to reach an exchange or a database that is away."""

Opened = TypeVar("Opened")


async def run(config: Config, *, duration_s: float | None, json: bool, typed_url: str | None = None) -> int:
    """Record until the feed ends, the time is over, or a signal comes; return the exit status.

    SIGINT and SIGTERM stop cleanly: everything that was accepted is stored first. A second one gives up.

    Args:
        config: The effective configuration.
        duration_s: Stop by itself after so many seconds.
        json: Print what was done as JSON.
        typed_url: Where the store is, if that was said on the command line; without a password.
    """
    began = asyncio.get_running_loop().time()
    started, stop = asyncio.Event(), asyncio.Event()
    with stopping_on_signals(started, stop) as received:
        async with AsyncExitStack() as stack:
            running = await _open(config, stack)
            recording = running.recording
            await stack.enter_async_context(open_beside(config, running))
            _announce(config, recording, typed_url)
            if duration_s is not None:
                asyncio.get_running_loop().call_later(duration_s, stop.set)
            started.set()
            try:
                with _progress(recording):
                    await recording.run(stop)
            finally:
                _conclude(recording, config, asyncio.get_running_loop().time() - began, json=json)
    report = recording.report
    if report.unstored or report.untold or report.set_aside:
        return 1
    return 130 if signal.SIGINT in received else 0


async def _open(config: Config, stack: AsyncExitStack) -> Running:
    """Open the parts in order: first what can fail at once, last what takes longest."""
    container = Container(config=config, owner="bridge run", attach=False)
    clock = container.clock()
    # Bound first, so that subscribers who wait for the bridge are there before the first tick.
    publisher = await stack.enter_async_context(container.publisher(epoch=f"{clock.now():x}"))

    async def open_store() -> Kept:
        return await stack.enter_async_context(container.store())

    # A server of our own that cannot be started will not come by itself; any other may.
    away = StoreUnavailable if config.store.timescale.url != "embedded" else ()
    where = place_of(config.store.timescale.url)
    kept = await _patient(open_store, away, where)()
    err.print(f"storing in    {escape(kept.where)}")
    if kept.spool is not None:
        err.print(f"spool         up to {size(config.spool.limit_bytes)} in {escape(_spool_of(config))}")
        await _drain(kept.spool)
    source = await stack.enter_async_context(container.source())

    async def prepare() -> Recording:
        recording = Recording(
            feed=source.feed,
            history=source.history,
            repair=config.repair,
            store=kept.store,
            pairs=kept.pairs,
            registry=kept.registry,
            publisher=publisher,
            clock=clock,
            settings=config.record,
            publish_snapshot_s=config.publish.snapshot_interval_s,
            spool=kept.spool,
            past=kept.past,
        )
        found = await _patient(recording.prepare, FeedUnavailable, "the exchange")()
        if not found and config.feed.use == "capture":
            raise FeedRejected(NOTHING_IN_CAPTURE)
        return recording

    # Each time anew, for what has been looked up may be out of date.
    recording = await _patient(prepare, away, where)()
    return Running(recording, publisher, kept, source, container)


async def _drain(spool: SpooledStore) -> None:
    """Store what an earlier run has left: a recording goes on behind what is in the store."""
    waiting = spool.depth().waiting
    if waiting:
        err.print(f"spooled       {count(waiting, 'event')} of an earlier run go to the database first")
        await spool.drained()


def _spool_of(config: Config) -> str:
    return str(spool_folder(config.data_dir))


def _patient(
    act: Callable[[], Awaitable[Opened]], away: type[Exception] | tuple[()], what: str
) -> Callable[[], Awaitable[Opened]]:
    """Wait for what is away, as a bridge must that starts before the network or the database does."""
    return backoff.on_exception(
        backoff.expo,
        away,
        factor=0.5,
        max_value=LONGEST_PAUSE_S,
        jitter=backoff.full_jitter,
        on_backoff=lambda details: log.warning(
            "waiting for %s: %s; trying again in %.1f s",
            what,
            str(details["exception"]).rstrip("."),
            details["wait"],
        ),
        logger=None,
    )(act)


def _announce(config: Config, recording: Recording, typed_url: str | None) -> None:
    names = ", ".join(f"{one.symbol} ({one.market})" for one in recording.instruments) or "nothing yet"
    venues = {one.venue for one in recording.instruments} - {config.feed.use}
    source = config.feed.use + (f" ({', '.join(sorted(venues))})" if venues else "")
    err.print(f"recording     [bold]{escape(names)}[/] from [bold]{escape(source)}[/]")
    err.print(f"publishing    {config.publish.json.bind} (JSON), {config.publish.msgpack.bind} (MessagePack)")
    announce(config)
    if recording.instruments:
        ways = _ways_to_look(config, recording.instruments[0], typed_url)
        for title, way in zip(("look", "", ""), ways, strict=True):
            err.print(f"[dim]{title:13} {escape(way)}[/]")
    else:
        err.print(
            f"waiting       [bold]until a pair is tracked[/]: {escape(_way_to_track(config, typed_url))}"
        )
    err.print("[dim]stop          Ctrl-C[/]")


def _way_to_track(config: Config, typed_url: str | None) -> str:
    return f"{_bridge()} pairs add BTC/USDT{_store(config, typed_url)}"


def _ways_to_look(config: Config, instrument: Instrument, typed_url: str | None) -> list[str]:
    """Return commands that show what is being recorded, with the options that they need to find it."""
    which = instrument.symbol
    if config.feed.use in {"ccxt", "binance"}:  # beside a simulated market of the same name, perhaps
        which += f" --venue {instrument.venue}"
    if instrument.market is not Market.SPOT:
        which += f" --market {instrument.market}"
    default = Config()
    where = _store(config, typed_url)
    address = config.publish.json.bind
    listen = "" if address == default.publish.json.bind else f" --address {address}"
    bridge = _bridge()
    return [
        f"{bridge} watch {which}{listen}",
        f"{bridge} trades {which}{where}",
        f"{bridge} candles {which}{where}",
    ]


def _bridge() -> str:
    """Return the program as it was typed."""
    return "uv run bridge" if "UV" in environment() else "bridge"


def _store(config: Config, typed_url: str | None) -> str:
    """Return the option that leads to the store; a server that a file or the environment names needs none."""
    if config.store.timescale.url != "embedded":
        return f" -o store.timescale.url={typed_url}" if typed_url else ""
    return "" if config.data_dir == Config().data_dir else f" -o data_dir={config.data_dir}"


@contextmanager
def _progress(recording: Recording) -> Iterator[None]:
    """Keep one line about the progress on a terminal; elsewhere the log has to do."""
    if not err.is_terminal:
        yield
        return
    with err.status("waiting for the first tick") as status:
        showing = asyncio.create_task(_show(recording, status))
        try:
            yield
        finally:
            showing.cancel()


async def _show(recording: Recording, status: Status) -> None:
    while True:
        await asyncio.sleep(REFRESH_S)
        report = recording.report
        line = (
            f"{count(report.trades, 'trade')}, {count(report.quotes, 'quote')},"
            f" {count(report.stored, 'row')} stored, {recording.waiting:,} waiting"
        )
        keeping = recording.keeping
        if report.in_spool:
            line += f", {report.in_spool:,} in the spool"
        if keeping.oldest_s >= 1:
            line += f", the oldest for {keeping.oldest_s:,.0f} s"
        if keeping.state == "stopped":
            line += f", [bold red]RECORDING IS STOPPED[/], {report.dropped:,} dropped"
        status.update(line)


def _conclude(recording: Recording, config: Config, seconds: float, *, json: bool) -> None:
    report = recording.report
    if json:
        print_json(report)
        return
    quotes = f"{count(report.quotes, 'quote')} ({report.applied:,} applied to books)"
    lines = [
        f"recorded      {count(report.trades, 'trade')}, {quotes}, {count(report.snapshots, 'snapshot')}",
        f"stored        {count(report.stored, 'row')}, {report.new:,} of them new, in {seconds:.1f} s",
    ]
    if report.duplicates:
        lines.append(f"seen before   {count(report.duplicates, 'tick')}, not passed on again")
    if report.gaps:
        became = f"{report.repaired:,} repaired, {report.lost:,} lost"
        lines.append(f"[yellow]gaps          {report.gaps:,} found, {became}[/]")
    if report.fetched:
        lines.append(f"fetched       {count(report.fetched, 'missing trade')} from the exchange")
    if report.resyncs or report.disconnects:
        interrupted = f"{count(report.disconnects, 'disconnect')}, {count(report.resyncs, 'book resync')}"
        lines.append(f"[yellow]interrupted   {interrupted}[/]")
    waiting = (f"the book of {instrument.name} waits for a snapshot" for instrument in recording.stale)
    lines += [f"[yellow]stale         {escape(line)}[/]" for line in waiting]
    if report.late_for_candles:
        late = count(report.late_for_candles, "trade")
        lines.append(
            f"[yellow]late          {late} came too late for a published candle; stored ones have them[/]"
        )
    for kind, frames in report.bad.most_common():
        lines.append(f"[yellow]skipped       {count(frames, 'frame')}: {escape(kind)}[/]")
    lines += _not_stored(report, config)
    if report.unstored:
        lines.append(
            f"[bold red]NOT stored    {count(report.unstored, 'event')}: the store did not take them[/]"
        )
    for line in lines:
        out.print(line)


def _not_stored(report: Report, config: Config) -> Iterator[str]:
    """Say what is not in the store, and where it is."""
    where = escape(_spool_of(config))
    if report.in_spool:
        yield (
            f"[yellow]spooled       {count(report.in_spool, 'event')} in {where} for the database, which is"
            " away; the next run stores them[/]"
        )
    if report.set_aside:
        yield f"[bold red]set aside     {count(report.set_aside, 'event')} in {where}; the log says why[/]"
    if report.dropped:
        dropped = count(report.dropped, "event")
        yield f"[yellow]dropped       {dropped} for which there was no room; gaps tell of them[/]"
    if report.untold:
        yield (
            f"[bold red]NOT told      {count(report.untold, 'range')} of ticks were dropped, and no gap tells"
            " of them[/]"
        )


@contextmanager
def stopping_on_signals(recording: asyncio.Event, stop: asyncio.Event) -> Iterator[list[signal.Signals]]:
    """Set ``stop`` at the first SIGINT, SIGTERM or SIGHUP; cancel this task at the second.

    Before ``recording`` is set there is nothing to store, and the first one cancels. Yields the list of the
    signals that came.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    received: list[signal.Signals] = []

    def hear(sign: signal.Signals) -> Callable[[], None]:
        def act() -> None:
            received.append(sign)
            if task is not None and (stop.is_set() or not recording.is_set()):
                task.cancel()
                return
            stop.set()
            err.print(f"[dim]{sign.name}: storing what is on its way; once more to give up[/]")

        return act

    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for sign in signs:
        loop.add_signal_handler(sign, hear(sign))
    try:
        yield received
    finally:
        for sign in signs:
            loop.remove_signal_handler(sign)
