"""Fill holes in what was recorded with what the venue still has.

Nothing is remembered between two runs but what is in the store. A run that ended in the middle is continued
by the next one, which finds less missing.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from msgspec.structs import replace

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.missing import Absence, MissingIds, matches_of, missing_ids, outside
from binance_proxy.application.ports import ExchangeHistory, MarketStore
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.gap import Gap, GapState, settle
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import TradeTick

SAME_MOMENT_NS = 100_000_000
"""How far the times of the matches of one aggregated trade lie apart at most."""


@dataclass(frozen=True)
class Difference:
    """A candle that is not the venue's own."""

    start: int
    ours: Candle | None
    """`None` if nothing of the period is stored."""
    theirs: Candle | None
    """`None` if the venue has no trade in the period."""


@dataclass
class BackfillReport:
    """What a backfill has done so far."""

    ids: tuple[int, int] | None = None
    """Lowest and highest id that the venue has in the range."""
    missing: int = 0
    """Ids that were not stored before."""
    done: int = 0
    """Of these, how many were asked for by now."""
    fetched: int = 0
    """Trades that the venue gave for them. An aggregated one stands in for several ids."""
    new: int = 0
    """Trades that the store did not have."""
    repaired: int = 0
    """Known gaps that are closed now."""
    still_missing: list[tuple[int, int]] = field(default_factory=list)
    """Id ranges that the venue does not have either."""
    candles_checked: int = 0
    candles_differ: list[Difference] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """Trades that somebody else has stored meanwhile."""
        return self.fetched - self.new


OnProgress = Callable[[BackfillReport], None]


async def fill(
    history: ExchangeHistory, store: MarketStore, instrument: Instrument, first_id: int, last_id: int
) -> AsyncGenerator[Sequence[TradeTick]]:
    """Yield what fills a hole in single trades, ready to be stored, in pages by id.

    Nothing with an id from first to last may be stored yet. An aggregated trade that reaches beyond the hole
    is cut to it: the sizes of its stored matches are taken off. If that cannot be done exactly, it is left
    out. Read it under `contextlib.aclosing`.

    Raises:
        HistoryUnavailable: The venue is away for now. What was yielded stays good.
        HistoryRejected: The venue refuses.
        StoreUnavailable: The store is away.
    """
    async with aclosing(history.trades(instrument, first_id, last_id)) as pages:
        async for page in pages:
            ready = []
            for trade in page:
                first, last = matches_of(trade)
                inside = first_id <= first and last <= last_id
                fitting = trade if inside else await _cut(store, trade, first_id, last_id)
                if fitting is not None:
                    ready.append(fitting)
            if ready:
                yield ready


async def _cut(store: MarketStore, trade: TradeTick, first_id: int, last_id: int) -> TradeTick | None:
    """Return what an aggregated trade says about a hole that it reaches beyond; `None` if unknown."""
    first, last = matches_of(trade)
    hole = MissingIds(first, last)
    size = trade.size
    moment = (trade.ts_event - SAME_MOMENT_NS, trade.ts_event + SAME_MOMENT_NS + 1)
    async with aclosing(store.scan(TradeTick, trade.instrument, *moment)) as stored:
        async for one in stored:
            its_first, its_last = matches_of(one)
            if its_last < first or its_first > last:
                continue
            if its_first < first or its_last > last:
                return None
            if (one.price, one.aggressor) != (trade.price, trade.aggressor):
                return None
            hole.take(one)
            size -= one.size
    left = max(first, first_id), min(last, last_id)
    if size <= 0 or list(hole.ranges) != [left]:
        return None
    return replace(trade, trade_id=left[0], first_match_id=left[0], last_match_id=left[1], size=size)


class Backfill:
    """Brings the stored trades of an instrument to what its venue has."""

    def __init__(self, history: ExchangeHistory, store: MarketStore) -> None:
        """Take what is missing in the store from the history."""
        self._history = history
        self._store = store

    async def run(
        self,
        instrument: Instrument,
        start: int,
        end: int,
        on_progress: OnProgress,
        *,
        timeframe: Timeframe | None = None,
    ) -> BackfillReport:
        """Fill ``[start, end)``, settle its gaps, and compare candles if a timeframe is given.

        A gap that reaches beyond the range is settled within it, and stays as it was outside.

        Args:
            instrument: As it is recorded.
            start: First ns.
            end: The ns behind the last.
            on_progress: Is shown the report after every page.
            timeframe: Compare candles of this length with the venue's own.

        Raises:
            HistoryUnavailable: The venue is away for now. What was stored is good; run it again.
            HistoryRejected: The venue refuses.
            StoreUnavailable: The store is away.
            AggregatedRecording: What is stored are aggregated trades with ids of their own.
        """
        report = BackfillReport()
        report.ids = await self._history.ids(instrument, start, end)
        if report.ids is not None:
            missing = await missing_ids(self._store, instrument, start, end, *report.ids)
            report.missing = missing.count
            on_progress(report)
            for first_id, last_id in missing.ranges:
                await self._fill(instrument, first_id, last_id, missing, report, on_progress)
            await self._look_again(instrument, start, end, missing)
            report.still_missing = list(missing.ranges)
            await self._settle(instrument, (start, end), report, missing)
        if timeframe is not None:
            await self._check_candles(instrument, timeframe, start, end, report)
        on_progress(report)
        return report

    async def _fill(
        self,
        instrument: Instrument,
        first_id: int,
        last_id: int,
        missing: MissingIds,
        report: BackfillReport,
        on_progress: OnProgress,
    ) -> None:
        """Fill one hole, and take what came out of what is missing."""
        done = report.done
        async with aclosing(fill(self._history, self._store, instrument, first_id, last_id)) as pages:
            async for page in pages:
                report.new += await self._store.append(page)
                report.fetched += len(page)
                for trade in page:
                    missing.take(trade)
                report.done = done + matches_of(page[-1])[1] - first_id + 1
                on_progress(report)
        report.done = done + last_id - first_id + 1
        on_progress(report)

    async def _look_again(self, instrument: Instrument, start: int, end: int, missing: MissingIds) -> None:
        """Take out what somebody else, such as a bridge that is recording, has stored meanwhile."""
        for absence in list(missing.absences):
            first = start if absence.before is None else absence.before.ts_event
            behind = end if absence.behind is None else absence.behind.ts_event + 1
            async with aclosing(self._store.scan(TradeTick, instrument, first, behind)) as trades:
                async for trade in trades:
                    missing.take(trade)

    async def _settle(
        self, instrument: Instrument, when: tuple[int, int], report: BackfillReport, missing: MissingIds
    ) -> None:
        """Say of every gap among the ids what became of it, and of what is missing that it is lost."""
        assert report.ids is not None  # noqa: S101  otherwise there is nothing to settle
        first_id, last_id = report.ids
        known = []
        async with aclosing(self._store.scan(Gap, instrument, 0, END_OF_TIME)) as gaps:
            async for gap in gaps:
                open_still = gap.stream is Stream.TRADES and gap.state is not GapState.REPAIRED
                if open_still and gap.first_id <= last_id and gap.last_id >= first_id:
                    known.append(gap)
        changed: list[Gap] = []
        ranges = missing.ranges
        for gap in known:
            parts = _parts(gap, ranges, report.ids)
            settled = [
                # What lies outside of the ids was not asked for, so nothing is known about it.
                one
                if one.state is GapState.REPAIRED or first_id <= one.first_id <= last_id
                else replace(one, state=gap.state)
                for one in settle(gap, parts)
            ]
            report.repaired += not parts
            changed += [one for one in settled if one != gap]
        changed += [
            _lost(instrument, when, one, ids)
            for one in missing.absences
            for ids in _unknown(known, (one.first_id, one.last_id))
        ]
        if changed:
            await self._store.append(changed)

    async def _check_candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int, report: BackfillReport
    ) -> None:
        """Compare the candles of all whole periods, as far as the venue has closed ones."""
        reached = timeframe.period(start)[0]
        reached = reached if reached == start else timeframe.period(start)[1]
        behind = timeframe.period(end)[0]
        async with aclosing(self._history.candles(instrument, timeframe, reached, behind)) as pages:
            async for theirs in pages:
                ours = await self._store.candles(instrument, timeframe, reached, theirs[-1].end)
                reached = theirs[-1].end
                report.candles_checked += len(theirs)
                report.candles_differ += _differences(ours, theirs)


def _parts(gap: Gap, missing: Sequence[tuple[int, int]], ids: tuple[int, int]) -> Sequence[tuple[int, int]]:
    """Return what is left of a gap: what is still missing, and what was not asked for on either side."""
    left = [(gap.first_id, ids[0] - 1)] if gap.first_id < ids[0] else []
    right = [(ids[1] + 1, gap.last_id)] if gap.last_id > ids[1] else []
    return [*left, *_common(missing, (gap.first_id, gap.last_id)), *right]


def _common(ranges: Sequence[tuple[int, int]], bounds: tuple[int, int]) -> list[tuple[int, int]]:
    """Return what of some id ranges lies within another."""
    return [
        (max(first, bounds[0]), min(last, bounds[1]))
        for first, last in ranges
        if first <= bounds[1] and last >= bounds[0]
    ]


def _unknown(known: Sequence[Gap], ids: tuple[int, int]) -> Sequence[tuple[int, int]]:
    """Return what of some ids lies in no known gap."""
    return outside(sorted((gap.first_id, gap.last_id) for gap in known), *ids)


def _lost(instrument: Instrument, when: tuple[int, int], absence: Absence, ids: tuple[int, int]) -> Gap:
    """Return the gap that an absence is which nobody knew of; at the ends of the range it ends with it."""
    resolution = instrument.time_resolution_ns
    first, last = (ts - ts % resolution for ts in (when[0], when[1] - 1))
    before, behind = absence.before, absence.behind
    shown = last if behind is None else behind.ts_event
    start, end = sorted((first if before is None else before.ts_event, shown))
    return Gap(
        instrument=instrument,
        ts_event=shown,
        ts_recv=shown if behind is None else behind.ts_recv,
        stream=Stream.TRADES,
        first_id=ids[0],
        last_id=ids[1],
        start=start,
        end=end,
        state=GapState.LOST,
    )


def _differences(ours: Sequence[Candle], theirs: Sequence[Candle]) -> list[Difference]:
    """Return the periods in which prices, volume or the number of trades are not the same."""
    mine = {candle.start: candle for candle in ours}
    its = {candle.start: candle for candle in theirs}
    return [
        Difference(start, mine.get(start), its.get(start))
        for start in sorted(mine.keys() | its.keys())
        if _told(mine.get(start)) != _told(its.get(start))
    ]


def _told(candle: Candle | None) -> tuple[int, ...] | None:
    """Return what venues agree on. The quote volume follows from it, and is rounded by some of them."""
    if candle is None:
        return None
    return candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades
