"""Known holes of a range, page by page."""

from contextlib import aclosing
from typing import Annotated

from msgspec import Meta

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.ports import MarketStore
from binance_proxy.application.serve.asked import AskedRows, limit_of, range_of
from binance_proxy.application.serve.cursor import Place, cursor_of, place_of
from binance_proxy.application.serve.page import GapsPage
from binance_proxy.application.serve.rows import gap_rows
from binance_proxy.application.serve.sources import Sources, question_of
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument, Stream


class AskedGaps(AskedRows, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List the holes that touch a range, those that were repaired too; without `start` the newest ones."""

    stream: Annotated[Stream | None, Meta(description="Only holes of this stream")] = None


async def list_gaps(sources: Sources, asked: AskedGaps, deadline: int) -> GapsPage:
    """Answer ``gaps.list``."""
    limit, (start, end) = limit_of(asked), range_of(asked.start, asked.end)
    instrument = await sources.instrument(asked)
    question = question_of("gaps.list", instrument, asked.stream, start, end)
    place = None if asked.cursor is None else place_of(asked.cursor, question)

    async def make() -> GapsPage:
        as_of = sources.clock.now()
        caught = await sources.caught_up(instrument, end, deadline)
        if start is None:
            found, following = await newest_gaps(sources.store, instrument, asked.stream, end, limit), None
        else:
            found, following = await _gaps_from(
                sources.store, instrument, asked.stream, (start, end), limit, place
            )
        return GapsPage(
            rows=gap_rows(found),
            next=None if following is None else cursor_of(following, question),
            holes=[],
            as_of=as_of,
            stored=caught.stored,
        )

    return await sources.page(asked, instrument, question, end, GapsPage, make)


async def newest_gaps(
    store: MarketStore, instrument: Instrument, stream: Stream | None, end: int = END_OF_TIME, limit: int = 0
) -> list[Gap]:
    """Return the newest so many gaps that begin before a time, oldest first; all with a limit of 0.

    Raises:
        StoreUnavailable: The store is away.
    """
    newest: list[Gap] = []
    async with aclosing(store.scan(Gap, instrument, 0, END_OF_TIME, newest_first=True)) as found:
        async for gap in found:
            if gap.start < end and stream in {None, gap.stream}:
                newest.append(gap)
                if len(newest) == limit:
                    break
    return newest[::-1]


async def _gaps_from(
    store: MarketStore,
    instrument: Instrument,
    stream: Stream | None,
    within: tuple[int, int],
    limit: int,
    place: Place | None,
) -> tuple[list[Gap], Place | None]:
    """Return the first so many gaps of a range, or the next ones behind a place, and where they go on."""
    start, end = within
    passed = None if place is None else (place.ts, place.id, place.stream)
    gaps: list[Gap] = []
    async with aclosing(store.scan(Gap, instrument, place.ts if place else 0, END_OF_TIME)) as found:
        async for gap in found:
            is_meant = gap.start < end and gap.end >= start and stream in {None, gap.stream}
            if not is_meant or (passed is not None and _order(gap) <= passed):
                continue
            if len(gaps) == limit:
                return gaps, Place(*_order(gaps[-1]))
            gaps.append(gap)
    return gaps, None


def _order(gap: Gap) -> tuple[int, int, str]:
    return gap.ts_event, gap.first_id, gap.stream.value
