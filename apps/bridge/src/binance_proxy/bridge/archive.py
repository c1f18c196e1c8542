"""``bridge archive``: days that are over, moved out of the database into Parquet files."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from msgspec import structs
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from binance_proxy.application.archive import KIND_NAMES, ArchiveReport, Archiving
from binance_proxy.application.moments import utc
from binance_proxy.application.ports import ArchivedDay, AuditedDay, HeldDay
from binance_proxy.application.serve.meant import Pick
from binance_proxy.bridge.asked import ANYWHERE, Where, range_of
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container
from binance_proxy.bridge.export import Format, Wanted
from binance_proxy.bridge.export import export as export_ticks
from binance_proxy.bridge.options import COMMON, Common, Json, finish
from binance_proxy.bridge.questions import chosen, instrument_of, table_of
from binance_proxy.bridge.terminal import count, err, ns, out, print_json, size
from binance_proxy.domain.candle import DAY_NS
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.instrument import Instrument

archive = App(
    name="archive",
    help="Move days that are over into Parquet files, and look after them.\n\nExample: bridge archive run",
)

NOTHING = "nothing is archived yet: `bridge archive run` archives the days that are over"


@dataclass
class _Target:
    """What an export becomes, and where."""

    to: Path
    """The file (hftbacktest) or the folder (csv, parquet, nautilus) to write."""
    form: Annotated[Format, Parameter(name="--format")]
    """Which form."""
    force: Annotated[bool, Parameter(negative=(), show_default=False)] = False
    """Replace what is there already."""


@archive.command
def run(
    pair: str | None = None,
    /,
    *,
    before: str | None = None,
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> int:
    """Archive the days that are over and not archived yet. It can be stopped at any time and run again.

    Once anything was archived, retention drops only days that are in the archive as a whole.

    Example: bridge archive run --before 2024-08-09

    Args:
        pair: Only this pair, such as ETH/USDT.
        before: Only the days before this one, such as 2024-08-09; today if left out, by UTC.
        where: Which instrument.
        json: Print JSON.
        common: Settings.
    """
    return finish(_run(common.load().config, where.pick(pair) if pair else None, before, json=json))


@archive.command(name="list")
def show(
    pair: str | None = None, /, *, where: Where = ANYWHERE, json: Json = False, common: Common = COMMON
) -> None:
    """Show what is archived.

    Example: bridge archive list ETH/USDT

    Args:
        pair: Only this pair, day by day.
        where: Which instrument.
        json: Print JSON, day by day.
        common: Settings.
    """
    picked = where.pick(pair) if pair else None
    finish(_show(common.load().config, picked, json=json))


@archive.command
def verify(*, json: Json = False, common: Common = COMMON) -> int:
    """Read the whole archive back, and compare it with the checksums that were taken when it was written.

    Exit status 1 if anything is damaged, or does not belong there.

    Example: bridge archive verify

    Args:
        json: Print JSON.
        common: Settings.
    """
    return finish(_verify(common.load().config, json=json))


@archive.command
def export(
    pair: str,
    /,
    *,
    target: Annotated[_Target, Parameter(name="*")],
    start: str | None = None,
    end: str | None = None,
    where: Where = ANYWHERE,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Write stored ticks in the form of another program: everything, or a range.

    Example: bridge archive export ETH/USDT --to eth.npz --format hftbacktest --start 2024-08-08T23:55:00Z

    Args:
        pair: Such as ETH/USDT.
        target: What it becomes, and where.
        start: First moment, such as 2024-08-08T23:55:00Z.
        end: The moment behind the last.
        where: Which instrument.
        json: Print what was written as JSON.
        common: Settings.
    """
    first, behind = range_of(start, end)
    place = target.to.expanduser()
    wanted = Wanted(where.pick(pair), first or 0, behind, target.form, place, replace=target.force)
    finish(export_ticks(common.load().config, wanted, json=json))


async def _run(config: Config, pick: Pick | None, before: str | None, *, json: bool) -> int:
    container = Container(config=config, owner="bridge archive", attach=True)
    today = container.clock().now() // DAY_NS
    last = today if before is None else _day(before)
    if last > today:
        raise ConfigError(
            f"--before {before} lies behind today: a day can be archived once it is over, by UTC"
        )
    async with container.store() as kept:
        if kept.recent is None or kept.days is None:
            raise ConfigError(
                f"store.use = {config.store.use!r} has nothing to archive: set it to 'timescale'"
            )
        meant = await instrument_of(kept, pick) if pick else None
        to = container.archive()
        err.print(f"archiving     from {escape(kept.where)}")
        err.print(f"to            {escape(to.where)}")

        def only(held: HeldDay) -> bool:
            return meant is None or held.instrument.name == meant.name

        with _progress() as on_progress:
            report = await Archiving(kept.recent, kept.days, to, to).run(last, on_progress, only=only)
    if json:
        print_json(
            {
                "archived": [_for_programs(day) for day in report.archived],
                "refused": [
                    _which(one.held) | {"rows": one.held.rows, "why": one.why} for one in report.refused
                ],
                "gaps_refused": report.gaps_refused,
                "lost": [_which(one) for one in report.lost],
            }
        )
    else:
        for line in _for_people(report):
            out.print(line)
    return 1 if report.refused or report.gaps_refused or report.lost else 0


def _day(text: str) -> int:
    try:
        return ns(f"{text}T00:00:00Z", "--before") // DAY_NS
    except ConfigError:
        raise ConfigError(f"--before {text!r} is not a day such as 2024-08-09") from None


def _for_people(report: ArchiveReport) -> Iterator[str]:
    for lost in report.lost:
        which = f"{KIND_NAMES[lost.kind]} of {lost.instrument.name} on {_date(lost.day)}"
        yield (
            f"[bold red]LOST          {escape(which)}: dropped from the database, and not in this archive as"
            " they were archived[/]"
        )
    if not report.days:
        yield "archived      nothing: no day that is over is missing in the archive"
        return
    rows, bytes_ = (sum(getattr(day, name) for day in report.archived) for name in ("rows", "size_bytes"))
    yield (
        f"archived      {count(rows, 'tick')} in {count(len(report.archived), 'file')}, {size(bytes_)};"
        " read back and compared"
    )
    for one in report.refused:
        which = f"{KIND_NAMES[one.held.kind]} of {one.held.instrument.name} on {_date(one.held.day)}"
        yield f"[bold red]refused       {escape(which)}: {escape(one.why)}[/]"
    for name, why in report.gaps_refused.items():
        yield f"[bold red]refused       gaps of {name}: {escape(why)}[/]"


async def _show(config: Config, pick: Pick | None, *, json: bool) -> None:
    container = Container(config=config, owner="bridge archive", attach=True)
    source = container.archive()
    days = await source.days()
    if pick is not None:
        meant = chosen(list({day.instrument.name: day.instrument for day in days}.values()), pick, "archived")
        days = [day for day in days if day.instrument.name == meant.name]
    if json:
        print_json([_for_programs(day) for day in days])
        return
    out.print(f"archive in {escape(source.where)}")
    if not days:
        out.print(NOTHING)
        return
    out.print(_by_kind(_sorted(days)) if pick is None else _by_day(_sorted(days)))


def _sorted(days: Sequence[ArchivedDay]) -> Sequence[ArchivedDay]:
    order = list(KIND_NAMES.values())
    return sorted(days, key=lambda day: (day.instrument.name, order.index(KIND_NAMES[day.kind]), day.day))


def _by_kind(days: Sequence[ArchivedDay]) -> Table:
    table = table_of("instrument", "ticks", "days", "first", "last", "rows", "bytes", "bytes a row")
    for (name, kind), found in itertools.groupby(days, lambda day: (day.instrument.name, day.kind)):
        group = list(found)
        ends = _date(group[0].day), _date(group[-1].day)
        table.add_row(name, KIND_NAMES[kind], f"{len(group):,}", *ends, *_sizes(group))
    return table


def _by_day(days: Sequence[ArchivedDay]) -> Table:
    table = table_of("ticks", "day", "first (UTC)", "last", "rows", "bytes", "bytes a row")
    for day in days:
        ends = utc(day.first)[11:], utc(day.last)[11:]
        table.add_row(KIND_NAMES[day.kind], _date(day.day), *ends, *_sizes([day]))
    return table


def _sizes(days: Sequence[ArchivedDay]) -> tuple[str, str, str]:
    rows, bytes_ = sum(day.rows for day in days), sum(day.size_bytes for day in days)
    return f"{rows:,}", size(bytes_), f"{bytes_ / rows:,.1f}"


async def _verify(config: Config, *, json: bool) -> int:
    container = Container(config=config, owner="bridge archive", attach=True)
    source = container.archive()
    found: list[AuditedDay] = []
    with err.status(f"reading {escape(source.where)}") as status:
        async with aclosing(source.audit()) as audited:
            async for one in audited:
                found.append(one)
                status.update(f"read {count(len(found), 'file')}, the last was {escape(one.path)}")
    faults = [one for one in found if one.fault is not None]
    if json:
        print_json(
            [
                {"path": one.path, "fault": one.fault, "day": _for_programs(one.day) if one.day else None}
                for one in found
            ]
        )
        return 1 if faults else 0
    sound = [one.day for one in found if one.day is not None and one.fault is None]
    rows = sum(day.rows for day in sound)
    out.print(f"archive in {escape(source.where)}")
    if not found:
        out.print(NOTHING)
        return 0
    out.print(f"sound         {count(len(sound), 'file')}, {count(rows, 'tick')}: as they were written")
    for one in faults:
        out.print(f"[bold red]wrong         {escape(_fault(one))}[/]")
    return 1 if faults else 0


def _fault(one: AuditedDay) -> str:
    """Name the file, which most faults do themselves."""
    fault = one.fault or ""
    return fault if fault.startswith(one.path) else f"{one.path} {fault}"


@contextmanager
def _progress() -> Iterator[Callable[[ArchiveReport], None]]:
    """Show a bar on a terminal, and nothing elsewhere."""
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task("looking for days that are over", total=None)

        def show(report: ArchiveReport) -> None:
            text = "done"
            if report.now is not None:
                text = (
                    f"{_date(report.now.day)} {KIND_NAMES[report.now.kind]} of {report.now.instrument.name}"
                )
            progress.update(bar, description=text, total=report.rows, completed=report.rows_done)

        yield show


def _date(day: int) -> str:
    return utc(day * DAY_NS)[:10]


def _which(day: HeldDay) -> dict[str, object]:
    one: Instrument = day.instrument
    return {
        "venue": one.venue,
        "market": one.market,
        "symbol": one.symbol,
        "ticks": KIND_NAMES[day.kind],
        "date": _date(day.day),
    }


def _for_programs(day: ArchivedDay) -> dict[str, object]:
    rest = structs.asdict(day)
    return _which(day) | {name: rest[name] for name in ("rows", "first", "last", "size_bytes", "checksum")}
