"""Are the stored candles those of the stored trades, and those that the exchange has?"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec import Struct

from binance_proxy.application.audit_ids import StoredHole
from binance_proxy.application.certificate import Fault, Findings
from binance_proxy.application.ports import HistoryError, MarketStore
from binance_proxy.domain.candle import Candle, CandleFold, Timeframe
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import TradeTick

PAGE = 1_000
"""Candles that are compared at once."""
FIELDS = ("end", "open", "high", "low", "close", "volume", "quote_volume", "trades", "ts_event", "ts_recv")
PRINTED = ("open", "high", "low", "close", "volume", "quote_volume", "trades")


class TheirCandle(Struct, frozen=True, gc=False, kw_only=True):
    """A candle as the exchange printed it, in the units of the instrument; `None` is what it does not say."""

    start: int
    end: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int | None = None
    trades: int | None = None


class TheirCandles(Struct, frozen=True):
    """Candles of the exchange, from somewhere."""

    name: str
    """Where they come from, for people."""
    timeframe: Timeframe
    pages: AsyncGenerator[Sequence[TheirCandle]]
    """Oldest first."""


class Recorded(Struct, frozen=True):
    """From the first to the last trade that was ever stored, and what is missing between them."""

    start: int
    end: int
    holes: Sequence[StoredHole]


class CandleAudit:
    """Folds trades as they come, and compares the candles of whole periods with those of the store."""

    def __init__(
        self, store: MarketStore, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> None:
        self._store = store
        self._instrument = instrument
        self._timeframe = timeframe
        self._fold = CandleFold(instrument, timeframe)
        self._check = f"candles {timeframe}"
        first, behind = timeframe.period(start)
        self._reached = first if first == start else behind
        self._end = timeframe.period(end)[0]
        self._folded: list[Candle] = []
        self._first_trade: int | None = None
        self._unpreceded: int | None = None
        """Where the first of all periods starts, if no trade before it is stored."""
        self._highest_id: int | None = None
        self._rises = True

    @property
    def is_empty(self) -> bool:
        """Whether no whole period lies in the range."""
        return self._reached >= self._end

    def begin(self, before: TradeTick | None) -> None:
        """Take the trade before the range: its id says whether the first candle is complete."""
        if before is not None:
            self._highest_id = before.trade_id
            self._fold.precede(before)

    def feed(self, trade: TradeTick) -> bool:
        """Take a trade; return whether it is time to `compare`."""
        self._first_trade = self._first_trade or trade.ts_event
        if self._highest_id is None:
            self._unpreceded = self._timeframe.period(trade.ts_event)[0]
        elif trade.trade_id < self._highest_id:
            self._rises = False
        self._highest_id = max(self._highest_id or 0, trade.trade_id)
        self._folded += self._fold.feed(trade)
        return len(self._folded) >= PAGE

    async def compare(self, findings: Findings) -> None:
        """Compare the candles that have closed."""
        await self._compare(findings, self._folded[-1].end if self._folded else self._reached)

    async def finish(self, findings: Findings, following: TradeTick | None) -> None:
        """Take the trade behind the range, and compare the rest."""
        self._folded += () if following is None else self._fold.feed(following)
        newest = self._fold.current()
        self._folded += [newest] if newest is not None else []
        await self._compare(findings, self._end)

    async def _compare(self, findings: Findings, until: int) -> None:
        start, self._reached = self._reached, max(self._reached, min(until, self._end))
        ours = {one.start: one for one in self._folded if start <= one.start < self._reached}
        self._folded.clear()
        if start >= self._reached:
            return
        stored = await self._store.candles(self._instrument, self._timeframe, start, self._reached)
        kept = {one.start: one for one in stored}
        for at in sorted(ours.keys() | kept.keys()):
            one, other = kept.get(at), ours.get(at)
            if other is None and one is not None and one.end <= (self._first_trade or one.end):
                findings.cannot(self._check, "the trades of the candle are not stored", at, one.end)
                continue
            findings.compared(self._check, 1, "candles")
            wrong = _different(one, other, self._fields(other))
            if wrong:
                what = f"stored {_shown(one, wrong)}, its trades make {_shown(other, wrong)}"
                findings.fault(Fault(check=self._check, what=what, start=at))

    def _fields(self, folded: Candle | None) -> Sequence[str]:
        """Return what is known of a candle here as it is in the store.

        The newest one may be closed by a trade that is not read here. What is complete need not be the same
        where ids do not rise with time, nor where what came before was dropped.
        """
        if folded is None or not folded.closed:
            return FIELDS
        is_known = self._rises and folded.start != self._unpreceded
        return (*FIELDS, "closed", "complete") if is_known else (*FIELDS, "closed")


async def compare_theirs(
    store: MarketStore,
    instrument: Instrument,
    theirs: TheirCandles,
    bounds: tuple[int, int],
    recorded: Recorded,
    findings: Findings,
) -> None:
    """Compare stored candles of a range with the exchange's own, as far as all their trades were recorded."""
    check = f"{theirs.name} {theirs.timeframe}"
    start, end = bounds
    any_inside = False
    try:
        async with aclosing(theirs.pages) as pages:
            async for page in pages:
                inside = [one for one in page if one.end > start and one.start < end]
                if not inside:
                    continue
                any_inside = True
                stored = await store.candles(instrument, theirs.timeframe, inside[0].start, inside[-1].end)
                kept = {one.start: one for one in stored}
                for one in inside:
                    why = _why_not(one, bounds, recorded)
                    if why is not None:
                        findings.cannot(check, why, one.start, one.end)
                        continue
                    findings.compared(check, 1, "candles")
                    _compare_one(check, instrument, kept.get(one.start), one, findings)
    except HistoryError as error:
        findings.cannot(check, str(error))
        return
    if not any_inside:
        findings.cannot(check, "it has no candle in this range")


def _why_not(one: TheirCandle, bounds: tuple[int, int], recorded: Recorded) -> str | None:
    if one.start < bounds[0] or one.end > bounds[1]:
        return "the candle lies only partly in the range"
    if one.start <= recorded.start:
        return "recording begins inside the candle, or behind it"
    if one.end > recorded.end:
        return "recording ends inside the candle, or before it"
    if any(hole.start < one.end and hole.end >= one.start for hole in recorded.holes):
        return "trades of the candle are missing"
    return None


def _compare_one(
    check: str, instrument: Instrument, ours: Candle | None, theirs: TheirCandle, findings: Findings
) -> None:
    if ours is None and not theirs.volume:
        return
    said = tuple(name for name in PRINTED if getattr(theirs, name) is not None)
    wrong = _different(ours, theirs, said)
    if wrong:
        what = (
            f"stored {_shown(ours, wrong, instrument)}, the exchange has {_shown(theirs, wrong, instrument)}"
        )
        findings.fault(Fault(check=check, what=what, start=theirs.start))


def _different(
    one: Candle | TheirCandle | None, other: Candle | TheirCandle | None, names: Sequence[str]
) -> list[str]:
    """Return the names of the fields that are not the same."""
    if one is None or other is None:
        return list(names) if one is not other else []
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def _shown(
    candle: Candle | TheirCandle | None, names: Sequence[str], instrument: Instrument | None = None
) -> str:
    """Write some fields for people."""
    if candle is None:
        return "nothing"
    if instrument is None and isinstance(candle, Candle):
        instrument = candle.instrument
    assert instrument is not None  # noqa: S101  a candle of the exchange comes with one
    price, size = instrument.price_precision, instrument.size_precision
    precisions = {"volume": size, "quote_volume": price + size} | dict.fromkeys(PRINTED[:4], price)
    return " ".join(
        f"{name} {to_text(getattr(candle, name), precisions[name])}"
        if name in precisions
        else f"{name} {getattr(candle, name)}"
        for name in names
    )
