"""The trades that the venue still knows, in columns, and the aggregates that it makes of them."""

from array import array
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from binance_proxy.domain.instrument import MILLISECOND_NS
from binance_proxy.domain.tick import Side, TradeTick


class Print(NamedTuple):
    """One trade, or one aggregate of trades."""

    id: int
    ts_event: int
    price: int
    size: int
    sold: bool
    """True if the aggressor sold, so that the buyer was the maker."""
    first_id: int
    last_id: int
    """The matches that an aggregate stands for; of a single trade both are its own id."""


def printed(trade: TradeTick) -> Print:
    """Return the print that a trade is."""
    first, last, own = trade.first_match_id, trade.last_match_id, trade.trade_id
    return Print(
        own,
        trade.ts_event,
        trade.price,
        trade.size,
        trade.aggressor is Side.SELL,
        own if first is None else first,
        own if last is None else last,
    )


class Prints:
    """The newest prints of one symbol, each id once, by id.

    Older ones than ``keep`` are forgotten, an eighth of it at a time.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._most = keep + keep // 8 + 1
        self._ids = array("q")
        self._others = tuple(array("q") for _ in range(5))  # ts_event, price, size, first, last
        self._sold = bytearray()

    def __len__(self) -> int:
        return min(len(self._ids), self._keep)

    @property
    def last_id(self) -> int | None:
        """The highest id, if there is one."""
        return self._ids[-1] if self._ids else None

    def add(self, trade: Print) -> bool:
        """Keep a print; return false if its id is kept already, or if it is older than all that is kept."""
        ids = self._ids
        id_, ts_event, price, size, sold, first, last = trade
        ts_events, prices, sizes, firsts, lasts = self._others
        if not ids or id_ > ids[-1]:
            ids.append(id_)
            ts_events.append(ts_event)
            prices.append(price)
            sizes.append(size)
            firsts.append(first)
            lasts.append(last)
            self._sold.append(sold)
        else:
            at = bisect_left(ids, id_)
            if ids[at] == id_ or (at == 0 and len(ids) >= self._keep):
                return False
            ids.insert(at, id_)
            for column, value in zip(self._others, (ts_event, price, size, first, last), strict=True):
                column.insert(at, value)
            self._sold.insert(at, sold)
        if len(ids) > self._most:
            excess = len(ids) - self._keep
            for column in (ids, *self._others):
                del column[:excess]
            del self._sold[:excess]
        return True

    def newest(self, limit: int) -> list[Print]:
        """Return the newest so many, oldest first."""
        return self._rows(len(self._ids) - limit, limit)

    def from_id(self, first_id: int, limit: int) -> list[Print]:
        """Return so many from an id on, or from the oldest that is kept."""
        return self._rows(bisect_left(self._ids, first_id), limit)

    def between(self, start: int | None, end: int | None, limit: int) -> list[Print]:
        """Return so many with ``start <= ts_event <= end``: the first ones, or the last if there is no start.

        Both are in ns, and open if `None`.
        """
        ts_events = self._others[0]
        behind = len(ts_events) if end is None else bisect_right(ts_events, end)
        if start is None:
            return self._rows(max(behind - limit, self._oldest), behind - max(behind - limit, self._oldest))
        first = max(bisect_left(ts_events, start), self._oldest)
        return self._rows(first, min(limit, behind - first))

    @property
    def _oldest(self) -> int:
        """The place of the oldest that is still told."""
        return len(self._ids) - len(self)

    def _rows(self, first: int, limit: int) -> list[Print]:
        first = max(first, self._oldest)
        rows = slice(first, first + max(limit, 0))
        ts_events, prices, sizes, firsts, lasts = (column[rows] for column in self._others)
        columns = (self._ids[rows], ts_events, prices, sizes, self._sold[rows], firsts, lasts)
        return [
            Print(id_, ts_event, price, size, bool(sold), first_id, last_id)
            for id_, ts_event, price, size, sold, first_id, last_id in zip(*columns, strict=True)
        ]


class Aggregation:
    """Joins consecutive trades of one moment, price and aggressor, as ``aggTrade`` does.

    A moment is a ms of the venue's. Ids of aggregates are another space than ids of trades: they count from
    half of the first trade id. A feed that gives aggregated prints has its own, which pass as they are.
    """

    def __init__(self) -> None:
        self._trades: list[TradeTick] = []
        self._next_id: int | None = None

    def feed(self, trade: TradeTick) -> tuple[TradeTick, ...]:
        """Take a trade; return the aggregates that are complete now."""
        if trade.first_match_id is not None:
            return (*self.close(), trade)
        if self._trades:
            last = self._trades[-1]
            if (
                trade.trade_id == last.trade_id + 1
                and trade.price == last.price
                and trade.aggressor is last.aggressor
                and trade.ts_event // MILLISECOND_NS == last.ts_event // MILLISECOND_NS
            ):
                self._trades.append(trade)
                return ()
        done = self.close()
        self._trades.append(trade)
        return done

    def advance(self, ts_event: int) -> tuple[TradeTick, ...]:
        """Learn that the venue's clock has come to a time; return the aggregate that this completed."""
        if self._trades and ts_event // MILLISECOND_NS > self._trades[-1].ts_event // MILLISECOND_NS:
            return self.close()
        return ()

    def close(self) -> tuple[TradeTick, ...]:
        """Return what was still open."""
        if not self._trades:
            return ()
        first, last = self._trades[0], self._trades[-1]
        size = sum(trade.size for trade in self._trades)
        self._trades.clear()
        if self._next_id is None:
            self._next_id = first.trade_id // 2 + 1
        aggregate = TradeTick(
            instrument=first.instrument,
            ts_event=first.ts_event,
            ts_recv=last.ts_recv,
            trade_id=self._next_id,
            price=first.price,
            size=size,
            aggressor=first.aggressor,
            first_match_id=first.trade_id,
            last_match_id=last.trade_id,
        )
        self._next_id += 1
        return (aggregate,)
