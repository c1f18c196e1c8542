"""``bridge verify``: audit what is stored of a pair, and print a certificate."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import wrap

import msgspec
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn

from binance_proxy.application.audit_candles import PRINTED, TheirCandle, TheirCandles
from binance_proxy.application.certificate import Certificate, Fault, Span, Unverifiable
from binance_proxy.application.moments import utc
from binance_proxy.application.ports import ExchangeHistory, FeedError, TrackedPair
from binance_proxy.application.serve.meant import Pick
from binance_proxy.application.verify import Verification
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container
from binance_proxy.bridge.questions import instrument_of, open_kept
from binance_proxy.bridge.terminal import count, err, out, print_json
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.instrument import Instrument

WIDE = 96
"""Columns of a line about a fault."""
SHOWN = 5
"""Faults of one kind that are listed for people; programs get more."""
EXCHANGE_TIMEFRAME = Timeframe("1m")
NO_EXCHANGE = "the exchange's candles"


@dataclass(frozen=True)
class Range:
    """What is to be verified."""

    pick: Pick
    start: int
    end: int
    klines: tuple[Path, ...]


async def verify(config: Config, wanted: Range, *, json: bool) -> int:
    """Audit a range, and return the exit status: 0 if all that could be checked holds."""
    container = Container(config=config, owner="bridge verify", attach=True)
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(open_kept(config, "bridge verify"))
        instrument = await instrument_of(kept, wanted.pick)
        files = [await container.kline_file(path, instrument) for path in wanted.klines]
        theirs = [file.candles() for file in files]
        cannot: Unverifiable | None = None
        if not files:
            found = await _exchange(config, container, instrument, wanted, stack)
            if isinstance(found, TheirCandles):
                theirs.append(found)
            else:
                cannot = Unverifiable(check=NO_EXCHANGE, why=found)
        with _progress() as on_progress:
            certificate = await Verification(kept.store, fillable=_has_history(config, instrument)).run(
                instrument, wanted.start, wanted.end, on_progress, theirs
            )
    if cannot is not None:
        certificate = msgspec.structs.replace(certificate, unverifiable=(*certificate.unverifiable, cannot))
    if json:
        print_json(_for_programs(certificate))
    else:
        for line in _for_people(certificate):
            out.print(line)
    return 0 if certificate.holds else 1


def _has_history(config: Config, instrument: Instrument) -> bool:
    """Say whether missing trades can be asked for with the feed that is set."""
    use = config.feed.use
    is_binance = use == "binance" or (use == "ccxt" and config.feed.ccxt.exchange == "binance")
    return is_binance and instrument.market == "spot"


async def _exchange(
    config: Config, container: Container, instrument: Instrument, wanted: Range, stack: AsyncExitStack
) -> TheirCandles | str:
    """Return the exchange's own candles, or why there are none."""
    if not _has_history(config, instrument):
        return (
            f"feed.use = {config.feed.use} has none of {instrument.market}, and no file was given by --klines"
        )
    try:
        source = await stack.enter_async_context(container.source())
        found = await source.feed.instruments([TrackedPair(symbol=instrument.symbol)])
    except FeedError as error:
        return str(error)
    if source.history is None or not any(one.name == instrument.name for one in found):
        return f"feed.use = {config.feed.use} does not have {instrument.name}"
    first, behind = EXCHANGE_TIMEFRAME.period(wanted.start)
    start = first if first == wanted.start else behind
    pages = _pages(source.history, instrument, start, wanted.end)
    return TheirCandles("the exchange's candles", EXCHANGE_TIMEFRAME, pages)


async def _pages(
    history: ExchangeHistory, instrument: Instrument, start: int, end: int
) -> AsyncGenerator[Sequence[TheirCandle]]:
    async with aclosing(history.candles(instrument, EXCHANGE_TIMEFRAME, start, end)) as pages:
        async for page in pages:
            yield [
                TheirCandle(start=one.start, end=one.end, **{name: getattr(one, name) for name in PRINTED})
                for one in page
            ]


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show on a terminal how far the audit is, and nothing elsewhere."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task("reading", total=None)

        def show(what: str, number: int, ts: int) -> None:
            progress.update(bar, description=f"{number:,} {what} read, until {utc(ts)}")

        yield show


def _for_people(certificate: Certificate) -> Iterator[str]:
    one = certificate.instrument
    verdict = "[bold green]HOLDS[/]" if certificate.holds else "[bold red]DOES NOT HOLD[/]"
    yield f"[bold]Certificate of {one.symbol}[/] on {one.venue} {one.market}: {verdict}"
    yield f"from        {utc(certificate.start)} UTC"
    yield f"until       {utc(certificate.end)} UTC"
    yield from _span("trades", certificate.trades)
    yield from _span("updates", certificate.updates)
    yield f"snapshots   {certificate.snapshots:,}"
    yield ""
    yield "[bold]Checked[/]"
    width = max(len(check.name) for check in certificate.checks) + 1
    for check in certificate.checks:
        said = "[green]holds[/] " if check.holds else "[red]FAULTY[/]"
        faults = "" if check.holds else f", {count(check.faults, 'fault')}"
        compared = count(check.compared, check.what.removesuffix("s")) if check.what else "not compared"
        yield f"  {said}  {check.name + ':':<{width}} {compared}{faults}"
    for note in certificate.notes:
        yield f"  note    {note}"
    if certificate.faults:
        yield ""
        yield "[bold]Faults[/]"
    by_check = sorted(certificate.faults, key=lambda one: one.check)
    for name, found in groupby(by_check, lambda one: one.check):
        some = list(found)
        for fault in some[:SHOWN]:
            for line in wrap(f"{name}{_ids(fault)}: {fault.what}", WIDE, subsequent_indent="    "):
                yield f"  [red]{escape(line)}[/]"
            yield from _when(fault)
        if len(some) > SHOWN:
            yield f"  {name}: {len(some) - SHOWN:,} more; --json lists them"
    if certificate.entered:
        entered = count(len(certificate.entered), "hole")
        yield f"  now in the ledger, where `bridge gaps` shows them: {entered}"
    if certificate.unverifiable:
        yield ""
        yield "[bold]Cannot be verified[/]"
    for cannot in certificate.unverifiable:
        times = f" ({cannot.count:,} times)" if cannot.count > 1 else ""
        for line in wrap(f"{cannot.check}: {cannot.why}{times}", WIDE, subsequent_indent="    "):
            yield f"  {escape(line)}"
        yield from _when(cannot)


def _span(name: str, span: Span) -> Iterator[str]:
    ids = "" if span.first_id is None else f", ids {span.first_id} to {span.last_id}"
    yield f"{name:<12}{span.count:,}{ids}"
    if span.start is not None and span.end is not None:
        yield f"            {utc(span.start)} to {utc(span.end)}"
        yield f"            sha256 {span.sha256}"


def _ids(fault: Fault) -> str:
    if fault.first_id is None:
        return ""
    return (
        f" {fault.first_id}" if fault.first_id == fault.last_id else f" {fault.first_id} to {fault.last_id}"
    )


def _when(one: Fault | Unverifiable) -> Iterator[str]:
    if one.start is not None:
        yield f"      {utc(one.start)}" + ("" if one.end is None else f" to {utc(one.end)}")


def _for_programs(certificate: Certificate) -> dict[str, object]:
    one = certificate.instrument
    plain: dict[str, object] = msgspec.to_builtins(certificate)
    plain.pop("instrument")
    entered = msgspec.to_builtins(certificate.entered)
    for gap in entered:
        del gap["instrument"]
    checks = [msgspec.to_builtins(check) | {"holds": check.holds} for check in certificate.checks]
    place = {"venue": one.venue, "market": one.market, "symbol": one.symbol, "holds": certificate.holds}
    return place | plain | {"checks": checks, "entered": entered}
