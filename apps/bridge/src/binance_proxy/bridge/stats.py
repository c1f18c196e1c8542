"""``bridge stats``: what is stored, day by day."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from binance_proxy.application.covered import IdDay
from binance_proxy.application.ends import newest
from binance_proxy.application.moments import utc
from binance_proxy.application.ports import ExportError, MarketStore
from binance_proxy.application.serve.meant import Pick
from binance_proxy.application.stats import DayStats
from binance_proxy.application.stats import stats as stats_of
from binance_proxy.bridge.calendar import day_of, drawn, legend
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.page import page
from binance_proxy.bridge.questions import instrument_of, open_kept, table_of
from binance_proxy.bridge.terminal import err, out, print_json, size
from binance_proxy.domain.candle import DAY_NS
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick

DAYS = 30
"""How far back it goes if no range was given."""
COLUMNS = (
    "day", "trades", "updates", "snapshots", "trade ids", "update ids", "gaps", "first (UTC)", "last", "bytes"
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """How it is shown: as a table if nothing else is wanted."""

    calendar: bool = False
    html: Path | None = None
    json: bool = False


async def stats(
    config: Config,
    pick: Pick | None,
    start: int | None,
    end: int | None,
    shown: Shown,
) -> None:
    """Read a range of one pair or of all, and show what is there.

    Args:
        config: Where it is stored.
        pick: Of which instrument; of all if `None`.
        start: In ns; 30 days before the end if `None`.
        end: In ns; behind the newest tick of each instrument if `None`.
        shown: How.
    """
    found: dict[str, Sequence[DayStats]] = {}
    async with open_kept(config, "bridge stats") as kept:
        archived = await kept.archive.days() if kept.archive is not None else ()
        recorded = await kept.registry.instruments()
        chosen = [await instrument_of(kept, pick)] if pick else recorded
        with _progress() as on_progress:
            for one in chosen:
                behind = await _end(kept.store, one) if end is None else end
                since = max(0, (behind - 1) // DAY_NS - DAYS + 1) * DAY_NS if start is None else start
                if since < behind:
                    found[one.name] = await stats_of(
                        kept.store, one, since, behind, archived=archived, on_progress=on_progress(one)
                    )
    found = {name: days for name, days in found.items() if days}
    if shown.html is not None:
        _write(shown.html, page(found, COLUMNS, {name: [*map(_row, days)] for name, days in found.items()}))
    if shown.json:
        print_json([_for_programs(day) for days in found.values() for day in days])
    elif not found:
        out.print("nothing is stored in this range")
    elif shown.calendar:
        _print_calendars(found)
    else:
        _print_tables(found)


async def _end(store: MarketStore, instrument: Instrument) -> int:
    """Return the moment behind the newest tick."""
    newest_ones = [
        await newest(store, TradeTick, instrument),
        await newest(store, QuoteTick, instrument),
        await newest(store, BookSnapshot, instrument),
    ]
    return max((one.ts_event + 1 for one in newest_ones if one is not None), default=0)


@contextmanager
def _progress() -> Iterator[Callable[[Instrument], Callable[[int, int], None]]]:
    """Show on a terminal how far it is, and nothing elsewhere."""
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        line = progress.add_task("reading", total=None)

        def of(instrument: Instrument) -> Callable[[int, int], None]:
            def show(read: int, reached: int) -> None:
                at = utc(reached, parts="seconds")
                progress.update(line, description=f"{instrument.name}: {read:,} read, at {at}")

            return show

        yield of


def _print_tables(found: Mapping[str, Sequence[DayStats]]) -> None:
    for name, days in found.items():
        out.print(f"[bold]{name}[/]")
        table = table_of(*COLUMNS)
        for day in days:
            table.add_row(*_row(day))
        out.print(table)
        out.print()
    if any(ids.estimated for days in found.values() for day in days for ids in _ids(day)):
        out.print("~ a gap lies over midnight: how many of its ids belong to which day is shared out by time")


def _print_calendars(found: Mapping[str, Sequence[DayStats]]) -> None:
    for name, days in found.items():
        out.print(f"[bold]{name}[/]")
        for line in drawn({day_of(one.day): (one.share, True) for one in days}):
            out.print(line)
    out.print(legend([one.share for days in found.values() for one in days]))


def _row(day: DayStats) -> Sequence[str]:
    return (
        str(day_of(day.day)),
        f"{day.trades:,}",
        f"{day.quotes:,}",
        f"{day.snapshots:,}",
        _share(day.trade_ids),
        _share(day.update_ids),
        f"{day.holes:,}",
        "-" if day.first is None else utc(day.first)[11:],
        "-" if day.last is None else utc(day.last)[11:],
        "-" if day.size_bytes is None else size(day.size_bytes),
    )


def _share(ids: IdDay | None) -> str:
    """Write a share so that only what is whole reads as 100 %."""
    if ids is None or ids.share is None:
        return "-"
    text = "100 %" if not ids.missing else f"{int(ids.share * 100_000) / 1000:.3f} %"
    return f"~{text}" if ids.estimated else text


def _ids(day: DayStats) -> Sequence[IdDay]:
    return [ids for ids in (day.trade_ids, day.update_ids) if ids is not None]


def _for_programs(day: DayStats) -> dict[str, object]:
    one = day.instrument
    return {
        "venue": one.venue,
        "market": one.market,
        "symbol": one.symbol,
        "day": str(day_of(day.day)),
        "trades": day.trades,
        "updates": day.quotes,
        "snapshots": day.snapshots,
        "trade_ids": _ids_for_programs(day.trade_ids),
        "update_ids": _ids_for_programs(day.update_ids),
        "first": day.first,
        "last": day.last,
        "size_bytes": day.size_bytes,
    }


def _ids_for_programs(ids: IdDay | None) -> dict[str, object] | None:
    if ids is None:
        return None
    return {"there": ids.there, "missing": ids.missing, "gaps": ids.holes, "estimated": ids.estimated}


def _write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    part = path.with_name(f".{path.name}.partial")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ExportError(f"--html {path} cannot be written: {error.strerror or error}") from error
