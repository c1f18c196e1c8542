"""Which ids a range of stored ticks lacks, has twice, or has out of order; and the sum over the ticks."""

import hashlib
from bisect import bisect_right

import msgspec
from msgspec import Struct

from binance_proxy.application.certificate import Fault, Findings, Span
from binance_proxy.application.continuity import ANEW_NS
from binance_proxy.domain.errors import TickRejected
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import ids_of
from binance_proxy.domain.sequence import (
    NUMBERED_BY_ONE,
    Arrival,
    EveryId,
    IdSequence,
    KnownIds,
    is_another_run,
)
from binance_proxy.domain.tick import Tick, TradeTick, check_quote, check_trade


class StoredHole(Struct, frozen=True):
    """Ids of which nothing is stored, both ends included, and what stands around them."""

    first_id: int
    last_id: int
    start: int
    """``ts_event`` of the tick before, in ns."""
    end: int
    """``ts_event`` of the tick behind, in ns."""
    ts_recv: int
    """Of the tick behind."""


class IdAudit:
    """Is fed the ticks of one stream in the order of a scan, and tells what is wrong with their ids."""

    def __init__(self, instrument: Instrument, stream: Stream, findings: Findings) -> None:
        self.stream = stream
        self.numbered_by_one = stream is Stream.ORDERBOOK or instrument.venue in NUMBERED_BY_ONE
        """Whether a missing number is a missing tick."""
        self.out_of_order = 0
        """Ticks whose time is after that of one with a higher id."""
        self.anew = 0
        """How often the venue has begun to number anew."""
        self._word = "trade" if stream is Stream.TRADES else "update"
        self._findings = findings
        self._ids = self._fresh()
        self._opened: list[StoredHole] = []
        self._holes: list[StoredHole] = []
        self._reached_ts = 0
        self._suspect: Tick | None = None
        self._count = 0
        self._first: Tick | None = None
        self._last: Tick | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._sum = hashlib.sha256(self._encode((instrument.name, *instrument.units)))

    def begin(self, tick: Tick | None) -> None:
        """Take the tick before the range, so that a hole at its beginning is found."""
        if tick is not None:
            self._take(tick)

    def feed(self, tick: Tick) -> None:
        """Take a tick of the range."""
        self._count += 1
        self._first = self._first or tick
        self._last = tick
        self._sum.update(self._encode(_values(tick)))
        try:
            if isinstance(tick, TradeTick):
                check_trade(tick)
            else:
                check_quote(tick)
        except TickRejected as error:
            self._fault("values", str(error), tick)
        self._take(tick)

    def finish(self, following: Tick | None) -> list[StoredHole]:
        """Take the tick behind the range, and return all holes, lowest first within each numbering."""
        if following is not None:
            self._take(following)
        self._settle_suspect(None)
        self._close()
        check = f"{self._word} ids"
        if self.numbered_by_one:
            self._findings.compared(check, self._count, f"{self._word}s")
        else:
            self._findings.cannot(check, "the ids of this venue do not rise by one: a hole cannot be seen")
        self._findings.compared(f"{self._word} values", self._count, f"{self._word}s")
        if self.out_of_order:
            self._findings.notes.append(
                f"{self.out_of_order:,} {self._word}s have a later time than one with a higher id"
            )
        if self.anew:
            self._findings.notes.append(
                f"the venue began {self.anew:,} times to number its {self._word}s anew"
            )
        return self._holes

    @property
    def span(self) -> Span:
        """What was read."""
        first, last = self._first, self._last
        return Span(
            count=self._count,
            first_id=None if first is None else ids_of(first)[0],
            last_id=None if last is None else ids_of(last)[1],
            start=None if first is None else first.ts_event,
            end=None if last is None else last.ts_event,
            sha256=self._sum.hexdigest(),
        )

    def _take(self, tick: Tick) -> None:
        self._settle_suspect(tick)
        last_id = self._ids.last_id
        if last_id is not None and is_another_run(tick.instrument.venue, last_id, ids_of(tick)[0]):
            self._begin_anew()
        late_by = tick.ts_event - self._reached_ts
        if last_id is not None and ids_of(tick)[1] <= last_id and late_by > ANEW_NS:
            # Stored twice, or numbered anew: the next tick tells.
            self._suspect = tick
            return
        self._number(tick)

    def _settle_suspect(self, behind: Tick | None) -> None:
        tick, self._suspect = self._suspect, None
        if tick is None:
            return
        if behind is not None and self.numbered_by_one and ids_of(behind)[0] == ids_of(tick)[1] + 1:
            self._begin_anew()
        self._number(tick)

    def _begin_anew(self) -> None:
        self._close()
        self._ids, self.anew = self._fresh(), self.anew + 1

    def _number(self, tick: Tick) -> None:
        first_id, last_id = ids_of(tick)
        arrival = self._ids.feed(first_id, last_id)
        if arrival is Arrival.SEEN:
            self._fault("ids", f"{self._word} {last_id} is stored twice", tick)
        elif arrival is Arrival.LATE:
            self.out_of_order += 1
        elif arrival is Arrival.SKIPPED and self._ids.opened is not None:
            hole = self._ids.opened
            start, end = sorted((self._reached_ts or tick.ts_event, tick.ts_event))
            self._opened.append(StoredHole(hole.first_id, hole.last_id, start, end, tick.ts_recv))
        self._reached_ts = max(self._reached_ts, tick.ts_event)

    def _close(self) -> None:
        """Keep the holes of one numbering."""
        self._opened.sort(key=lambda hole: hole.first_id)
        for first, last in self._ids.missing if isinstance(self._ids, IdSequence) else ():
            at = bisect_right(self._opened, first, key=lambda hole: hole.first_id) - 1
            around = self._opened[at]
            self._holes.append(StoredHole(first, last, around.start, around.end, around.ts_recv))
        self._opened.clear()

    def _fresh(self) -> IdSequence | KnownIds:
        return EveryId() if self.numbered_by_one else KnownIds()

    def _fault(self, kind: str, what: str, tick: Tick) -> None:
        first_id, last_id = ids_of(tick)
        self._findings.fault(
            Fault(
                check=f"{self._word} {kind}",
                what=what,
                first_id=first_id,
                last_id=last_id,
                start=tick.ts_event,
            )
        )


def _values(tick: Tick) -> tuple[object, ...]:
    """Return what the venue said, without when it reached us."""
    if isinstance(tick, TradeTick):
        return (
            *(tick.ts_event, tick.trade_id, tick.price, tick.size, tick.aggressor),
            *(tick.first_match_id, tick.last_match_id, tick.off_book),
        )
    return (
        *(tick.ts_event, tick.first_update_id, tick.last_update_id, tick.previous_update_id),
        *(tick.bids, tick.asks),
    )
