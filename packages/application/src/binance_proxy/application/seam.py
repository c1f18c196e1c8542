"""Where what a run gives joins what earlier runs have stored, of a feed that cannot be asked for the rest."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from msgspec import Struct
from msgspec.structs import replace

from binance_proxy.application.covered import ANEW_NS
from binance_proxy.application.ledger import read_gaps, read_recorded
from binance_proxy.application.missing import outside
from binance_proxy.application.ports import MarketStore
from binance_proxy.domain.gap import Gap, GapState, settle
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import Recorded, ids_of, is_numbered
from binance_proxy.domain.sequence import is_another_run
from binance_proxy.domain.tick import QuoteTick, Tick, TradeTick


class Seam(Struct, frozen=True):
    """What was stored of a stream before a run, and the holes that the run leaves beside it.

    Such a feed may give anything: what comes next, what is stored already, or what lies long before. A hole
    is only where ids and times agree that there is one.
    """

    recorded: Recorded | None = None
    gaps: Sequence[Gap] = ()
    """What is known to be missing."""

    def before(self, stream: Stream, first_id: int, tick: Tick) -> Gap | None:
        """Return what is lost between all that is stored and the first tick of the run, if anything is."""
        stored = self.recorded
        if stored is None or tick.ts_event <= stored.end:
            return None
        reached = max([stored.last_id, *(gap.last_id for gap in self.gaps)])
        if first_id <= reached + 1 or is_another_run(tick.instrument.venue, reached, first_id):
            return None
        return _lost(stream, tick, (reached + 1, first_id - 1), (stored.end, tick.ts_event))

    def behind(self, stream: Stream, came: Sequence[tuple[int, int]], last: Tick) -> Sequence[Gap]:
        """Return what has become of the gaps by the end of a run, those first that are lost.

        Args:
            stream: Which one.
            came: The id ranges that the run gave, lowest first.
            last: Its newest tick. If all that is stored lies behind it, what is between them is lost.
        """
        told: list[Gap] = []
        if not came:
            return told
        for gap in self.gaps:
            missing = outside(came, gap.first_id, gap.last_id)
            if missing != [(gap.first_id, gap.last_id)]:
                told += settle(gap, missing)
        stored, last_id = self.recorded, came[-1][1]
        if (
            stored is not None
            and last_id < stored.first_id - 1
            and last.ts_event < stored.start
            and not is_another_run(last.instrument.venue, last_id, stored.first_id)
        ):
            ids = outside(
                sorted((gap.first_id, gap.last_id) for gap in self.gaps), last_id + 1, stored.first_id - 1
            )
            told += [_lost(stream, last, one, (last.ts_event, stored.start)) for one in ids]
        return sorted(told, key=lambda gap: gap.state is not GapState.LOST)


def _lost(stream: Stream, tick: Tick, ids: tuple[int, int], times: tuple[int, int]) -> Gap:
    return Gap(
        instrument=tick.instrument,
        ts_event=tick.ts_event,
        ts_recv=tick.ts_recv,
        stream=stream,
        first_id=ids[0],
        last_id=ids[1],
        start=times[0],
        end=times[1],
        state=GapState.LOST,
    )


async def _widened(
    store: MarketStore, instrument: Instrument, stream: Stream, recorded: Recorded
) -> Recorded:
    """Return what is recorded with the lowest and the highest id at its ends: times may run backwards."""
    ids = [(recorded.first_id, recorded.last_id)]
    for start in (recorded.start, max(recorded.end - ANEW_NS, 0)):
        ticks: AsyncGenerator[Tick] = (
            store.scan(TradeTick, instrument, start, start + ANEW_NS + 1)
            if stream is Stream.TRADES
            else store.scan(QuoteTick, instrument, start, start + ANEW_NS + 1)
        )
        async with aclosing(ticks):
            ids += [ids_of(tick) async for tick in ticks]
    return replace(recorded, first_id=min(ids)[0], last_id=max(last_id for _, last_id in ids))


async def read_seams(
    store: MarketStore, instrument: Instrument, streams: Iterable[Stream]
) -> dict[Stream, Seam]:
    """Return where a run is to join what is stored. Nothing is told of a stream without numbers.

    Raises:
        StoreUnavailable: The store is away.
    """
    gaps = await read_gaps(store, instrument, missing_only=True)
    seams = {}
    for stream in streams:
        recorded = await read_recorded(store, instrument, stream)
        numbered = is_numbered(instrument, stream)
        if recorded is not None and numbered and recorded.first_id <= recorded.last_id:
            recorded = await _widened(store, instrument, stream, recorded)
            seams[stream] = Seam(recorded, [gap for gap in gaps if gap.stream is stream])
    return seams
