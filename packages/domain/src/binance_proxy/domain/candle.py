"""Candles: the timeframe, the candle, and the fold that makes candles of trades."""

import re
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct

from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.succession import Key, Succession
from binance_proxy.domain.tick import Event, TradeTick

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
_UNITS_NS = {
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3_600 * SECOND_NS,
    "d": DAY_NS,
    "w": 7 * DAY_NS,
}
_MONDAY_NS = 4 * DAY_NS  # the epoch was a Thursday; weeks begin on Mondays
_MOST_MONTHS = 1_200
_BEFORE_ALL = -(2**63)
_TIMEFRAME = re.compile(r"([1-9][0-9]{0,3})(mo|[smhdw])")


class Timeframe(Struct, frozen=True, gc=False, cache_hash=True):
    """How long a candle is, such as ``1m``, ``15m``, ``4h``, ``1d``, ``1w`` or ``1mo``.

    Periods are half-open, ``[start, end)``, in UTC. They are counted from the epoch, weeks from a Monday and
    months from January 1970, as exchanges do. At most 9999 of a unit, and 1200 months, which is a century: so
    every period of a time between 1970 and 2116 begins and ends at times that 64 bits can hold.
    """

    name: str

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a timeframe that nobody could read."""
        if not _TIMEFRAME.fullmatch(self.name):
            raise ConfigError(f"{self.name!r} is no timeframe; write 1s, 1m, 5m, 1h, 1d, 1w or 1mo, say")
        count, unit = _split(self.name)
        if unit == "mo" and count > _MOST_MONTHS:
            raise ConfigError(f"{self.name!r} is longer than a century, {_MOST_MONTHS}mo")

    def period(self, ts_event: int) -> tuple[int, int]:
        """Return start and end of the period that a time lies in, in ns."""
        count, unit = _split(self.name)
        if unit == "mo":
            first = _first_month(ts_event, count)
            return _month_start(first), _month_start(first + count)
        length = count * _UNITS_NS[unit]
        origin = _MONDAY_NS if unit == "w" else 0
        start = ts_event - (ts_event - origin) % length
        return start, start + length

    def back(self, ts_event: int, periods: int) -> int:
        """Return where the period starts that is so many before that of a time since 1970.

        If there are not so many, it is the period that 1970 begins in.
        """
        count, unit = _split(self.name)
        if unit == "mo":
            return _month_start(max(_first_month(ts_event, count) - periods * count, 0))
        start, end = self.period(ts_event)
        return max(start - periods * (end - start), self.period(0)[0])

    @property
    def part_ns(self) -> int:
        """The length of the parts that a period is made of: a minute; 0 if it is not made of minutes."""
        if self.name.endswith("mo"):
            return _UNITS_NS["m"]
        start, end = self.period(0)
        return 0 if (end - start) % _UNITS_NS["m"] else _UNITS_NS["m"]

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=256)
def _split(name: str) -> tuple[int, str]:
    match = _TIMEFRAME.fullmatch(name)
    assert match  # noqa: S101  checked when the timeframe was made
    return int(match[1]), match[2]


def _first_month(ts_event: int, count: int) -> int:
    """Return the first month of the period that a time lies in, counted from January 1970."""
    at = datetime.fromtimestamp(ts_event // SECOND_NS, UTC)
    months = (at.year - 1970) * 12 + at.month - 1
    return months - months % count


def _month_start(months: int) -> int:
    return int(datetime(1970 + months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp()) * SECOND_NS


class Candle(Event, frozen=True, gc=False, kw_only=True):
    """Open, high, low, close and volume of the trades of one period.

    A trade belongs to the period of its own ``ts_event``. The candle's ``ts_event`` and ``ts_recv`` are those
    of the latest trade in it. A period without a trade has no candle.
    """

    timeframe: Timeframe
    start: int
    """First ns of the period."""
    end: int
    """First ns behind the period."""
    open: int
    high: int
    low: int
    close: int
    """Prices, in price units. Open and close are those of the lowest and highest (ts_event, trade_id)."""
    volume: int
    """Sum of sizes, in size units."""
    quote_volume: int
    """Sum of price times size, in units of ``10**-(price_precision + size_precision)`` of the quote asset."""
    trades: int
    """Number of matches; an aggregated print counts all of its own."""
    closed: bool
    """False while trades of the period may still come."""
    complete: bool = False
    """True if it is closed and the trades themselves prove that none is missing, off-book ones included.

    That is: their ids rise by one, the trade before the period has the id before, and the trade behind it the
    id behind. False says that nothing is proven: where ids do not rise by one with time it never is, nor is
    the first candle of all.
    """

    @property
    def vwap(self) -> int:
        """Average price weighted by size, in price units, rounded half up."""
        return (2 * self.quote_volume + self.volume) // (2 * self.volume)


class _Sums:
    """A candle in the making."""

    __slots__ = (
        "before", "behind", "close", "end", "first", "high", "ids", "last", "low", "open", "quote_volume",
        "start", "told", "trades", "ts_event", "ts_recv", "volume",
    )  # fmt: skip

    def __init__(self, trade: TradeTick, start: int, end: int, part_ns: int) -> None:
        self.start, self.end = start, end
        self.open = self.high = self.low = self.close = trade.price
        self.first = self.last = (trade.ts_event, trade.trade_id)
        self.ts_event, self.ts_recv = trade.ts_event, trade.ts_recv
        self.volume = self.quote_volume = self.trades = 0
        self.ids = Succession(trade.ts_event, trade.trade_id, part_ns)  # off-book ones too
        self.before: Key | None = None
        """The latest trade before the period."""
        self.behind: Key | None = None
        """The earliest trade behind it."""
        self.told: bool | None = None
        """What the closed candle was last said to be: complete or not."""

    @property
    def complete(self) -> bool:
        """True if the ids prove that no trade is missing."""
        ids, before, behind = self.ids, self.before, self.behind
        return (
            before is not None
            and behind is not None
            and ids.dense
            and before[1] == ids.first_id - 1
            and behind[1] == ids.last_id + 1
        )

    def see(self, key: Key) -> None:
        """Learn of a trade of another period."""
        if key[0] < self.start:
            if self.before is None or key > self.before:
                self.before = key
        elif key[0] >= self.end and (self.behind is None or key < self.behind):
            self.behind = key

    def add(self, trade: TradeTick) -> None:
        price, size = trade.price, trade.size
        key = (trade.ts_event, trade.trade_id)
        if key >= self.last:
            self.last, self.close = key, price
            self.ts_event, self.ts_recv = trade.ts_event, trade.ts_recv
        elif key < self.first:
            self.first, self.open = key, price
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.volume += size
        self.quote_volume += price * size
        self.trades += 1 if trade.first_match_id is None else trade.matches


class CandleFold:
    """Candles of one timeframe out of the trades of one instrument, as they come.

    Feed each trade once. A candle closes when a trade of a later period comes, or when `advance` is told that
    the venue's time has passed. A trade that comes after its candle closed corrects that candle as long as
    it is among the last `AMENDABLE` ones; older ones are counted in `too_late`. Prints that were off the
    book are left out, as venues do; only whether a candle is complete goes by their ids too.

    A candle that the clock closed is not complete, as nothing proves that its last trade was the last one.
    Once a trade does, it is told again.
    """

    AMENDABLE = 3
    KEPT_ASIDE = 1_000
    """Off-book prints behind the newest candle; of more the oldest are forgotten, and nothing is proven."""

    def __init__(self, instrument: Instrument, timeframe: Timeframe) -> None:
        self.instrument = instrument
        self.timeframe = timeframe
        self.too_late = 0
        """Trades that came after their candle could be corrected. The store still has them."""
        self._part_ns = timeframe.part_ns
        self._open: _Sums | None = None
        self._closed: list[_Sums] = []  # oldest first
        self._passed: Key | None = None  # the latest trade that is in none of these
        self._aside: list[Key] = []  # off-book prints behind the newest of these

    def precede(self, trade: TradeTick) -> None:
        """Learn of a trade before all that are fed: only the next one's id is of interest."""
        self._pass((trade.ts_event, trade.trade_id))

    def feed(self, trade: TradeTick) -> tuple[Candle, ...]:
        """Take one trade; return the candles that it closed, corrected or proved, all of them closed ones."""
        sums = self._open
        ts_event = trade.ts_event
        if sums is None or not sums.start <= ts_event < sums.end:
            return self._outside(trade)
        if not trade.off_book:
            sums.add(trade)
        run = sums.ids.run
        if run is not None and trade.trade_id == run.last_id + 1 and ts_event >= run.last_ts:
            run.last_id, run.last_ts = trade.trade_id, ts_event
            return ()
        key = (ts_event, trade.trade_id)
        sums.ids.take(*key)
        return self._see(key)

    def _outside(self, trade: TradeTick) -> tuple[Candle, ...]:
        """Take a trade of another period than the open one."""
        key = (trade.ts_event, trade.trade_id)
        start, end = self.timeframe.period(trade.ts_event)
        sums = next((one for one in self._closed if one.start == start), None)
        if trade.off_book:
            if sums is not None:
                sums.ids.take(*key)
            elif start > self._newest_start:
                self._aside = [*self._aside, key][-self.KEPT_ASIDE :]
            else:
                self._pass(key)
            return self._see(key)
        done = self._see(key, but=sums) + self.advance(trade.ts_event)
        if sums is not None:
            sums.add(trade)
            sums.ids.take(*key)
            return (*done, self._closed_candle(sums))
        if self._open is None and start >= self._newest_start:
            self._open = self._begin(trade, start, end)
            return done
        if len(self._closed) >= self.AMENDABLE and start < self._closed[0].start:
            self.too_late += 1
            self._pass(key)
            return done
        sums = self._begin(trade, start, end)
        self._keep(sums)
        return (*done, self._closed_candle(sums))

    def advance(self, ts_event: int) -> tuple[Candle, ...]:
        """Learn that the venue's clock has reached a time; return the candle that this closed, if any."""
        sums = self._open
        if sums is None or ts_event < sums.end:
            return ()
        self._keep(sums)
        self._open = None
        return (self._closed_candle(sums),)

    def current(self) -> Candle | None:
        """Return the candle that is still open, if there is one."""
        return None if self._open is None else self._candle(self._open, closed=False)

    @property
    def _newest_start(self) -> int:
        if self._open is not None:
            return self._open.start
        return self._closed[-1].start if self._closed else _BEFORE_ALL

    def _begin(self, trade: TradeTick, start: int, end: int) -> _Sums:
        """Return the sums of a period that has none yet, with its first trade."""
        sums = _Sums(trade, start, end, self._part_ns)
        sums.add(trade)
        for other in self._closed if self._open is None else (*self._closed, self._open):
            sums.see(other.ids.latest if other.start < start else other.ids.earliest)
        if self._passed is not None and self._passed[0] < start:
            sums.see(self._passed)
        aside, self._aside = self._aside, []
        for key in aside:
            sums.see(key)
            if start <= key[0] < end:
                sums.ids.take(*key)
            elif key[0] >= end:
                self._aside.append(key)
            else:
                self._pass(key)
        return sums

    def _keep(self, sums: _Sums) -> None:
        """Put sums among the last closed ones."""
        closed = sorted([*self._closed, sums], key=lambda one: one.start)
        for dropped in closed[: -self.AMENDABLE]:
            self._pass(dropped.ids.latest)
        self._closed = closed[-self.AMENDABLE :]

    def _pass(self, key: Key) -> None:
        self._passed = key if self._passed is None else max(self._passed, key)

    def _see(self, key: Key, but: _Sums | None = None) -> tuple[Candle, ...]:
        """Let every candle know of a trade; return those, ``but`` one, that it has proved to be complete."""
        if self._open is not None:
            self._open.see(key)
        for sums in self._closed:
            sums.see(key)
        return tuple(
            self._closed_candle(sums)
            for sums in self._closed
            if sums is not but and sums.complete and not sums.told
        )

    def _closed_candle(self, sums: _Sums) -> Candle:
        sums.told = sums.complete
        return self._candle(sums, closed=True)

    def _candle(self, sums: _Sums, *, closed: bool) -> Candle:
        return Candle(
            instrument=self.instrument,
            timeframe=self.timeframe,
            ts_event=sums.ts_event,
            ts_recv=sums.ts_recv,
            start=sums.start,
            end=sums.end,
            open=sums.open,
            high=sums.high,
            low=sums.low,
            close=sums.close,
            volume=sums.volume,
            quote_volume=sums.quote_volume,
            trades=sums.trades,
            closed=closed,
            complete=closed and sums.complete,
        )
