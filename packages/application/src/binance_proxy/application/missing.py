"""Which single trades are not in the store."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from msgspec import Struct

from binance_proxy.application.ports import MarketStore
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick


def matches_of(trade: TradeTick) -> tuple[int, int]:
    """Return the first and last single trade that a trade stands for; of a single one both are itself."""
    if trade.first_match_id is None or trade.last_match_id is None:
        return trade.trade_id, trade.trade_id
    return trade.first_match_id, trade.last_match_id


def is_stand_in(trade: TradeTick) -> bool:
    """Return whether an aggregated trade is counted by the ids of its matches: it fills a hole in them.

    Others have ids of their own, and belong to a recording of aggregated trades.
    """
    return trade.first_match_id == trade.trade_id


def outside(ranges: Iterable[tuple[int, int]], first_id: int, last_id: int) -> Sequence[tuple[int, int]]:
    """Return which ids from first to last lie in none of the ranges, as ranges, both ends included.

    The given ranges are sorted; they may overlap, and reach beyond.
    """
    found, next_id = [], first_id
    for first, last in ranges:
        if first > last_id:
            break
        if first > next_id:
            found.append((next_id, first - 1))
        next_id = max(next_id, last + 1)
    return [*found, (next_id, last_id)] if next_id <= last_id else found


class AggregatedRecording(BridgeError):
    """What is stored are aggregated trades with ids of their own; what is missing cannot be told by them."""


class Absence(Struct, gc=False):
    """A range of ids of which nothing is here, both ends included, and what stands around it."""

    first_id: int
    last_id: int
    before: TradeTick | None = None
    behind: TradeTick | None = None


class MissingIds:
    """The ids of a range that no trade has covered yet.

    Feed it the trades in any order; it is fastest, and in memory smallest, if they come by id.
    """

    def __init__(self, first_id: int, last_id: int) -> None:
        """Begin with everything missing from the first to the last, both included."""
        self.absences: list[Absence] = [Absence(first_id, last_id)] if first_id <= last_id else []
        """What is missing, lowest first."""

    @property
    def ranges(self) -> Sequence[tuple[int, int]]:
        """The missing ids, lowest first, both ends included."""
        return [(one.first_id, one.last_id) for one in self.absences]

    @property
    def count(self) -> int:
        """How many ids are missing."""
        return sum(one.last_id - one.first_id + 1 for one in self.absences)

    def take(self, trade: TradeTick) -> None:
        """Learn that a trade is here."""
        first_id, last_id = matches_of(trade)
        newest = self.absences[-1] if self.absences else None
        if newest is not None and newest.first_id == first_id and last_id < newest.last_id:  # the next by id
            newest.first_id, newest.before = last_id + 1, trade
            return
        at = bisect_right(self.absences, first_id, key=lambda one: one.first_id)
        at -= at > 0 and self.absences[at - 1].last_id >= first_id
        end = bisect_right(self.absences, last_id, lo=at, key=lambda one: one.first_id)
        left: list[Absence] = []
        for one in self.absences[at:end]:
            if one.first_id < first_id:
                left.append(Absence(one.first_id, first_id - 1, one.before, trade))
            if one.last_id > last_id:
                left.append(Absence(last_id + 1, one.last_id, trade, one.behind))
        self.absences[at:end] = left
        if not left:
            self._stand_beside(trade, at, first_id, last_id)

    def _stand_beside(self, trade: TradeTick, at: int, first_id: int, last_id: int) -> None:
        """Let the ranges around the trade know their neighbour."""
        if at > 0 and self.absences[at - 1].last_id == first_id - 1:
            self.absences[at - 1].behind = trade
        if at < len(self.absences) and self.absences[at].first_id == last_id + 1:
            self.absences[at].before = trade


async def missing_ids(
    store: MarketStore, instrument: Instrument, start: int, end: int, first_id: int, last_id: int
) -> MissingIds:
    """Return the ids from first to last that no stored trade with ``start <= ts_event < end`` covers.

    Memory grows with the number of holes, not with the range.

    Raises:
        AggregatedRecording: There are trades that are not counted by the ids of single ones.
        StoreUnavailable: The store is away.
    """
    missing = MissingIds(first_id, last_id)
    async with aclosing(store.scan(TradeTick, instrument, start, end)) as trades:
        async for trade in trades:
            if trade.first_match_id is not None and not is_stand_in(trade):
                raise AggregatedRecording(
                    f"{instrument.name} was recorded as aggregated trades, which are numbered differently"
                    " from single ones: holes in them cannot be filled"
                )
            missing.take(trade)
    return missing
