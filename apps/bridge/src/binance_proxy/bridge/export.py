"""``bridge archive export``: ticks in the form of another program."""

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from rich.markup import escape
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task
from rich.text import Text

from binance_proxy.application.export import Tally, in_step, recorded
from binance_proxy.application.moments import utc
from binance_proxy.application.serve.meant import Pick
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container
from binance_proxy.bridge.questions import instrument_of, open_kept
from binance_proxy.bridge.terminal import count, err, out, print_json

Format: TypeAlias = Literal["csv", "parquet", "hftbacktest", "nautilus"]

IN_STEP = frozenset({"hftbacktest", "nautilus"})
"""Forms that hold a book that is right at every moment; others hold what is stored."""


@dataclass(frozen=True)
class Wanted:
    """What is to be written, and where to."""

    pick: Pick
    start: int
    end: int
    form: Format
    to: Path
    replace: bool
    """Whether what is there may be replaced."""


async def export(config: Config, wanted: Wanted, *, json: bool) -> None:
    """Write a range of one pair, and say what of it is not there."""
    container = Container(config=config, owner="bridge archive export", attach=True)
    writer = container.tick_writer(wanted.form, wanted.to, replace=wanted.replace)
    tally = Tally()
    async with open_kept(config, "bridge archive export") as kept:
        instrument = await instrument_of(kept, wanted.pick)
        read = in_step if wanted.form in IN_STEP else recorded
        async with aclosing(read(kept.store, instrument, wanted.start, wanted.end, tally)) as events:
            with _progress(tally):
                await writer.write(instrument, events)
    for line in _left_out(tally):
        err.print(f"[yellow]{line}[/]")
    if json:
        print_json(
            {
                "venue": instrument.venue,
                "market": instrument.market,
                "symbol": instrument.symbol,
                "format": wanted.form,
                "to": str(wanted.to),
                "trades": tally.trades,
                "updates": tally.quotes,
                "snapshots": tally.snapshots,
                "missing_trade_ids": tally.missing_trade_ids,
                "missing_update_ids": tally.missing_update_ids,
                "off_book": tally.off_book,
                "without_book": tally.without_book,
                "stale": tally.stale,
            }
        )
        return
    out.print(
        f"exported      {count(tally.trades, 'trade')}, {count(tally.quotes, 'update')},"
        f" {count(tally.snapshots, 'snapshot')} to {escape(str(wanted.to))} for {wanted.form}"
    )


def _left_out(tally: Tally) -> Iterator[str]:
    """Say what is not in the files."""
    if tally.missing_trade_ids:
        yield f"missing       {count(tally.missing_trade_ids, 'trade id')} of this range: not stored"
    if tally.missing_update_ids:
        yield f"missing       {count(tally.missing_update_ids, 'update id')} of this range: not stored"
    if tally.stale:
        yield f"stale         {count(tally.stale, 'time')}: the book is empty there, until its next snapshot"
    if tally.without_book:
        yield f"left out      {count(tally.without_book, 'update')}, as no book was there to apply them to"
    if tally.off_book:
        yield f"left out      {count(tally.off_book, 'trade')} that hit no resting order"


class _Read(ProgressColumn):
    """How much was read, and up to when."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        super().__init__()

    def render(self, task: Task) -> Text:
        tally = self._tally
        return Text(
            f"{tally.read:,} read, at {utc(tally.reached, parts='seconds')}" if tally.read else "reading"
        )


@contextmanager
def _progress(tally: Tally) -> Iterator[None]:
    """Show on a terminal how far it is, and nothing elsewhere."""
    columns = (SpinnerColumn(), _Read(tally))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        progress.add_task("", total=None)
        yield
