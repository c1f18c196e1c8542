"""Read the gap ledger of what is stored."""

from collections.abc import Sequence
from contextlib import aclosing

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.ports import MarketStore, Stored
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import Coverage, Recorded, coverage, ids_of, is_numbered
from binance_proxy.domain.sequence import is_another_run
from binance_proxy.domain.tick import QuoteTick, TradeTick


async def read_ledger(
    store: MarketStore, instrument: Instrument, stream: Stream, start: int = 0, end: int = END_OF_TIME
) -> Sequence[Coverage]:
    """Return the ledger of a stream, or of a range of time of it: ranges in the order of ids.

    Of a range of time it begins and ends with the ticks in it. A gap belongs to it if it lies between two
    moments of which one is in the range, or the range between them; it is shown as a whole. Between two runs
    of a simulated venue there is nothing, so no range either.

    Raises:
        StoreUnavailable: The store is away.
    """
    runs = await read_runs(store, instrument, stream, start, end)
    gaps = [gap for gap in await read_gaps(store, instrument, start, end) if gap.stream is stream]
    numbered = is_numbered(instrument, stream)
    found: list[Coverage] = []
    for run in runs[:-1]:
        within = [gap for gap in gaps if gap.first_id <= run.last_id]
        gaps = [gap for gap in gaps if gap.first_id > run.last_id]
        found += coverage(stream, run, within, numbered=numbered)
    return [*found, *coverage(stream, runs[-1] if runs else None, gaps, numbered=numbered)]


async def read_runs(
    store: MarketStore, instrument: Instrument, stream: Stream, start: int, end: int
) -> list[Recorded]:
    """Return what is stored of a range of time, each run of a simulated venue for itself, oldest first.

    Where there is one run it takes as long as `read_recorded`, else some readings more for each.

    Raises:
        StoreUnavailable: The store is away.
    """
    whole = await read_recorded(store, instrument, stream, start, end)
    if whole is None:
        return []
    ahead = is_another_run(instrument.venue, whole.first_id, whole.last_id)
    if not ahead or whole.start == whole.end:
        return [whole]  # there is no room for another run
    middle = (whole.start + whole.end) // 2 + 1
    *earlier, left = await read_runs(store, instrument, stream, start, middle)
    right, *later = await read_runs(store, instrument, stream, middle, end)
    if is_another_run(instrument.venue, left.last_id, right.first_id):
        return [*earlier, left, right, *later]
    return [*earlier, Recorded(left.first_id, left.start, right.last_id, right.end), *later]


async def read_recorded(
    store: MarketStore, instrument: Instrument, stream: Stream, start: int = 0, end: int = END_OF_TIME
) -> Recorded | None:
    """Return where the stored ticks of a stream begin and end; `None` without any.

    Raises:
        StoreUnavailable: The store is away.
    """
    first: TradeTick | QuoteTick | None
    last: TradeTick | QuoteTick | None
    if stream is Stream.TRADES:
        first, last = await _ends(store, TradeTick, instrument, start, end)
    else:
        first, last = await _ends(store, QuoteTick, instrument, start, end)
    if first is None or last is None:
        return None
    return Recorded(ids_of(first)[0], first.ts_event, ids_of(last)[1], last.ts_event)


async def read_gaps(
    store: MarketStore,
    instrument: Instrument,
    start: int = 0,
    end: int = END_OF_TIME,
    *,
    missing_only: bool = False,
) -> Sequence[Gap]:
    """Return the known gaps that touch a range of time, by the ticks around them; or only what is missing.

    Raises:
        StoreUnavailable: The store is away.
    """
    async with aclosing(store.scan(Gap, instrument, 0, END_OF_TIME)) as found:
        return [
            gap
            async for gap in found
            if gap.start < end and gap.end >= start and not (missing_only and gap.state is GapState.REPAIRED)
        ]


async def _ends(
    store: MarketStore, kind: type[Stored], instrument: Instrument, start: int, end: int
) -> tuple[Stored | None, Stored | None]:
    """Return the oldest and the newest tick of a range."""
    async with aclosing(store.scan(kind, instrument, start, end)) as oldest:
        first = await anext(oldest, None)
    async with aclosing(store.scan(kind, instrument, start, end, newest_first=True)) as newest:
        return first, await anext(newest, None)
