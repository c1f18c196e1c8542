"""Audit what is stored of an instrument: ids, the book, candles, the gap ledger; and certify it."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from binance_proxy.application.audit_book import BookAudit
from binance_proxy.application.audit_candles import CandleAudit, Recorded, TheirCandles, compare_theirs
from binance_proxy.application.audit_ids import IdAudit, StoredHole
from binance_proxy.application.certificate import Certificate, Fault, Findings
from binance_proxy.application.ends import END_OF_TIME, newest, oldest
from binance_proxy.application.missing import outside
from binance_proxy.application.ports import MarketStore
from binance_proxy.application.rebuild import LATE_NS, BookUnknown, book_at
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import ids_of
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Tick, TradeTick

TIMEFRAMES = ("1m", "5m", "15m", "1h", "1d")
STEP = 5_000
"""Ticks between two reports of progress."""

OnProgress = Callable[[str, int, int], None]
"""Is given what is read, how many of it so far, and the ``ts_event`` that was reached."""


class NothingToVerify(BridgeError):
    """Nothing is stored of the instrument in this range."""


class Verification:
    """Reads a range once, tick by tick, and finds what is not as it should be.

    Memory grows with the number of holes, and not with the range. Holes that the ledger does not have are
    entered there; nothing else is changed.
    """

    def __init__(self, store: MarketStore, *, fillable: bool) -> None:
        """Audit a store. ``fillable`` says whether an exchange may still give trades that are missing.

        Then a hole in them is entered as open, so that the next recording or backfill asks for it, and
        otherwise as lost. One in updates is lost in any case: no venue gives old updates again.
        """
        self._store = store
        self._fillable = fillable

    async def run(
        self,
        instrument: Instrument,
        start: int,
        end: int,
        on_progress: OnProgress,
        theirs: Sequence[TheirCandles] = (),
    ) -> Certificate:
        """Audit ``[start, end)``, and compare candles with the exchange's own where there are any.

        Raises:
            NothingToVerify: There is no trade and no update in the range.
            StoreUnavailable: The store is away.
        """
        findings = Findings()
        trades = IdAudit(instrument, Stream.TRADES, findings)
        updates = IdAudit(instrument, Stream.ORDERBOOK, findings)
        trade_holes = await self._read_trades(trades, instrument, start, end, findings, on_progress)
        update_holes, snapshots, note = await self._read_book(
            updates, instrument, start, end, findings, on_progress
        )
        if not trades.span.count and not updates.span.count:
            raise NothingToVerify(f"nothing of {instrument.name} is stored in this range")
        entered = [
            *await self._check_ledger(trades, trade_holes, instrument, findings),
            *await self._check_ledger(updates, update_holes, instrument, findings),
        ]
        recorded = await self._recorded(trades, trade_holes, instrument, start, end, findings)
        for one in theirs:
            if recorded is None:
                findings.cannot(f"{one.name} {one.timeframe}", "no trade is stored")
            else:
                await compare_theirs(self._store, instrument, one, (start, end), recorded, findings)
        return Certificate(
            instrument=instrument,
            start=start,
            end=end,
            trades=trades.span,
            updates=updates.span,
            snapshots=snapshots,
            checks=findings.checks,
            faults=findings.faults,
            unverifiable=findings.unverifiable,
            notes=(*findings.notes, *note),
            entered=tuple(entered),
        )

    async def _read_trades(
        self,
        audit: IdAudit,
        instrument: Instrument,
        start: int,
        end: int,
        findings: Findings,
        on_progress: OnProgress,
    ) -> list[StoredHole]:
        folds = [CandleAudit(self._store, instrument, Timeframe(name), start, end) for name in TIMEFRAMES]
        folds = [fold for fold in folds if not fold.is_empty]
        before = await newest(self._store, TradeTick, instrument, start)
        audit.begin(before)
        for fold in folds:
            fold.begin(before)
        count = 0
        async with aclosing(self._store.scan(TradeTick, instrument, start, end)) as trades:
            async for trade in trades:
                audit.feed(trade)
                for fold in folds:
                    if fold.feed(trade):
                        await fold.compare(findings)
                count += 1
                if count % STEP == 0:
                    on_progress("trades", count, trade.ts_event)
        following = await oldest(self._store, TradeTick, instrument, end)
        holes = audit.finish(following)
        for fold in folds:
            await fold.finish(findings, following)
        if not folds:
            findings.cannot("candles", "no whole minute lies in the range")
        return holes

    async def _read_book(
        self,
        audit: IdAudit,
        instrument: Instrument,
        start: int,
        end: int,
        findings: Findings,
        on_progress: OnProgress,
    ) -> tuple[list[StoredHole], int, Sequence[str]]:
        """Return the holes, how many snapshots there are, and what is worth knowing about them."""
        book = BookAudit(findings, await self._book_before(instrument, start))
        audit.begin(await newest(self._store, QuoteTick, instrument, start))
        snapshots = count = 0
        scan = self._store.scan
        async with (
            aclosing(scan(QuoteTick, instrument, start, end)) as quotes,
            aclosing(scan(BookSnapshot, instrument, start, end)) as whole,
        ):
            ahead = await _next(whole)
            async for quote in quotes:
                # Ids tell which update a snapshot belongs to; its time may be late.
                while ahead is not None and ahead.ts_event <= quote.ts_event + LATE_NS:
                    book.snapshot(ahead)
                    snapshots += 1
                    ahead = await _next(whole)
                audit.feed(quote)
                book.update(quote)
                count += 1
                if count % STEP == 0:
                    on_progress("updates", count, quote.ts_event)
            while ahead is not None:
                snapshots += 1
                ahead = await _next(whole)
        book.finish()
        holes = audit.finish(await oldest(self._store, QuoteTick, instrument, end))
        note = [f"snapshots that equal the rebuilt book: {book.equal:,}"] if snapshots else []
        return holes, snapshots, note

    async def _book_before(self, instrument: Instrument, start: int) -> OrderBook | None:
        try:
            return await book_at(self._store, instrument, start - 1) if start else None
        except BookUnknown:
            return None

    async def _recorded(
        self,
        audit: IdAudit,
        holes: Sequence[StoredHole],
        instrument: Instrument,
        start: int,
        end: int,
        findings: Findings,
    ) -> Recorded | None:
        """Return from when to when trades were recorded at all, and say what of the range lies outside."""
        first = await oldest(self._store, TradeTick, instrument)
        last = await newest(self._store, TradeTick, instrument)
        if first is None or last is None:
            findings.cannot("trade ids", "no trade is stored")
            return None
        if first.ts_event > start:
            findings.cannot("trade ids", "recording begins inside the range", start, first.ts_event)
        if last.ts_event < end:
            findings.cannot("trade ids", "recording ends inside the range", last.ts_event, end)
        return Recorded(first.ts_event, last.ts_event, holes if audit.numbered_by_one else ())

    async def _check_ledger(
        self, audit: IdAudit, holes: Sequence[StoredHole], instrument: Instrument, findings: Findings
    ) -> list[Gap]:
        """Compare holes and ledger, enter what it does not have, and return that."""
        word = "trades" if audit.stream is Stream.TRADES else "updates"
        known = await self._ledger(audit.stream, instrument)
        if audit.numbered_by_one:
            findings.compared(f"ledger of {word}", len(known), "gaps")
        entered: list[Gap] = []
        for hole in holes:
            ids = await self._still_missing(audit.stream, instrument, hole)
            for first_id, last_id in ids:
                told = [gap for gap in known if gap.first_id <= last_id and gap.last_id >= first_id]
                fresh = self._unknown(instrument, audit.stream, hole, (first_id, last_id), told)
                entered += fresh
                self._tell_hole(word, hole, (first_id, last_id), told, fresh, findings)
        if entered:
            await self._store.append(entered)
        span = audit.span
        if not audit.anew and span.first_id is not None and span.last_id is not None:
            for gap in known:
                inside = span.first_id < gap.first_id and gap.last_id < span.last_id
                missing = any(one.first_id <= gap.last_id and one.last_id >= gap.first_id for one in holes)
                if inside and not missing and gap.state is not GapState.REPAIRED:
                    findings.notes.append(
                        f"the gap in {word} {gap.first_id} to {gap.last_id} is called {gap.state}, and all of"
                        " it is stored"
                    )
        return entered

    def _tell_hole(
        self,
        word: str,
        hole: StoredHole,
        ids: tuple[int, int],
        told: Sequence[Gap],
        fresh: Sequence[Gap],
        findings: Findings,
    ) -> None:
        states = sorted({str(gap.state) for gap in told})
        parts = [f"in the ledger as {' and '.join(states)}"] if told else []
        if fresh:
            parts.append(f"now entered as {fresh[0].state}")
        findings.fault(
            Fault(
                check=f"{word[:-1]} ids",
                what=f"{word} are missing; {'; '.join(parts)}",
                first_id=ids[0],
                last_id=ids[1],
                start=hole.start,
                end=hole.end,
            )
        )
        for gap in told:
            if gap.state is GapState.REPAIRED:
                findings.fault(
                    Fault(
                        check=f"ledger of {word}",
                        what=f"a gap is called repaired, and {word} of it are missing",
                        first_id=gap.first_id,
                        last_id=gap.last_id,
                        start=gap.start,
                        end=gap.end,
                    )
                )

    def _unknown(
        self,
        instrument: Instrument,
        stream: Stream,
        hole: StoredHole,
        ids: tuple[int, int],
        told: Sequence[Gap],
    ) -> list[Gap]:
        """Return gaps for what of the ids no open or lost gap covers.

        What begins where a repaired one does cannot be entered: a gap's state does not go back.
        """
        admitted = sorted((gap.first_id, gap.last_id) for gap in told if gap.state is not GapState.REPAIRED)
        taken = {gap.first_id for gap in told if gap.state is GapState.REPAIRED}
        is_open = self._fillable and stream is Stream.TRADES
        return [
            Gap(
                instrument=instrument,
                ts_event=hole.end,
                ts_recv=hole.ts_recv,
                stream=stream,
                first_id=first_id,
                last_id=last_id,
                start=hole.start,
                end=hole.end,
                state=GapState.OPEN if is_open else GapState.LOST,
            )
            for first_id, last_id in outside(admitted, *ids)
            if first_id not in taken
        ]

    async def _still_missing(
        self, stream: Stream, instrument: Instrument, hole: StoredHole
    ) -> Sequence[tuple[int, int]]:
        """Return what of a hole is missing still: a bridge may have stored some of it meanwhile."""
        came: list[tuple[int, int]] = []
        if stream is Stream.TRADES:
            async with aclosing(self._store.scan(TradeTick, instrument, hole.start, hole.end + 1)) as trades:
                came.extend([ids_of(trade) async for trade in trades if _is_in(trade, hole)])
        else:
            async with aclosing(self._store.scan(QuoteTick, instrument, hole.start, hole.end + 1)) as quotes:
                came.extend([ids_of(quote) async for quote in quotes if _is_in(quote, hole)])
        return outside(sorted(came), hole.first_id, hole.last_id)

    async def _ledger(self, stream: Stream, instrument: Instrument) -> list[Gap]:
        async with aclosing(self._store.scan(Gap, instrument, 0, END_OF_TIME)) as gaps:
            return [gap async for gap in gaps if gap.stream is stream]


def _is_in(tick: Tick, hole: StoredHole) -> bool:
    first, last = ids_of(tick)
    return first <= hole.last_id and last >= hole.first_id


async def _next(snapshots: AsyncGenerator[BookSnapshot]) -> BookSnapshot | None:
    return await anext(snapshots, None)
