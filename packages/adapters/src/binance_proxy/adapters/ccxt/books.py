"""What changed in a book that ccxt keeps, found by comparing it with what it was before."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from binance_proxy.application.ports import FrameRejected
from binance_proxy.domain.errors import ScaleError, TickRejected
from binance_proxy.domain.instrument import MICROSECOND_NS, MILLISECOND_NS, Instrument
from binance_proxy.domain.scale import from_float
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, check_quote

_Side: TypeAlias = dict[float, float]


class WatchedBook:
    """Turns the states of one book into a snapshot and the updates that follow it.

    ccxt hands over one object and goes on changing it, without any id that could be relied on. So each state
    is copied, and the update ids are ours: each is one above the one before. The first is the time of
    receipt in µs, which is above all that an earlier run or an earlier connection has given.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.is_refused = False
        """True once the exchange has refused the book or the trades, until it gives both after all."""
        self._bids: _Side | None = None  # until there is a whole book
        self._asks: _Side = {}
        self._last_update_id = 0
        self._asked = False

    @property
    def is_in_step(self) -> bool:
        """Whether the next state will be compared with one before."""
        return self._bids is not None

    def lose_step(self) -> None:
        """Take the next state for a new book, because something was or may have been missed."""
        self._bids = None

    def ask(self) -> None:
        """Let a snapshot come with the next state."""
        self._asked = True

    def feed(self, raw: Mapping[str, Any], ts_recv: int) -> Sequence[QuoteTick | BookSnapshot]:
        """Return what a state says that the one before did not; a snapshot if there is none before.

        Raises:
            FrameRejected: A number cannot be told exactly, or cannot be true. The state is left out: what was
                given so far is out of step until a later one.
        """
        try:
            bids, asks = _side(raw["bids"]), _side(raw["asks"])
            ts_event = self._ts_event(raw.get("timestamp"), ts_recv)
            if self._bids is None:
                update_id = max(self._last_update_id + 2, ts_recv // MICROSECOND_NS)
                events: list[QuoteTick | BookSnapshot] = [
                    self._snapshot(bids, asks, update_id, ts_event, ts_recv)
                ]
            else:
                update_id = self._last_update_id
                changed = changes(self._bids, bids), changes(self._asks, asks)
                events = []
                if changed != ({}, {}):
                    update_id += 1
                    events.append(self._quote(*changed, update_id, ts_event, ts_recv))
                if self._asked:
                    events.append(self._snapshot(bids, asks, update_id, ts_event, ts_recv))
        except (ScaleError, TickRejected) as error:
            raise FrameRejected("impossible number", str(error)) from error
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FrameRejected(
                "missing or wrong field", f"{error!r} in a book of {self.instrument.symbol}"
            ) from error
        self._bids, self._asks, self._last_update_id, self._asked = bids, asks, update_id, False
        return events

    def _ts_event(self, timestamp: float | None, ts_recv: int) -> int:
        """Return the venue's time of a state; where it says none, ours."""
        ts = int(timestamp) * MILLISECOND_NS if timestamp else ts_recv
        return ts - ts % self.instrument.time_resolution_ns

    def _quote(self, bids: _Side, asks: _Side, update_id: int, ts_event: int, ts_recv: int) -> QuoteTick:
        return check_quote(
            QuoteTick(
                instrument=self.instrument,
                ts_event=ts_event,
                ts_recv=ts_recv,
                first_update_id=update_id,
                last_update_id=update_id,
                bids=self._levels(bids),
                asks=self._levels(asks),
            )
        )

    def _snapshot(
        self, bids: _Side, asks: _Side, update_id: int, ts_event: int, ts_recv: int
    ) -> BookSnapshot:
        return BookSnapshot(
            instrument=self.instrument,
            ts_event=ts_event,
            ts_recv=ts_recv,
            last_update_id=update_id,
            bids=tuple(sorted(self._levels(bids), reverse=True)),
            asks=tuple(sorted(self._levels(asks))),
        )

    def _levels(self, side: _Side) -> Levels:
        price_precision, size_precision = self.instrument.price_precision, self.instrument.size_precision
        return tuple(
            [
                (from_float(price, price_precision), from_float(size, size_precision))
                for price, size in side.items()
            ]
        )


def changes(before: _Side, after: _Side) -> _Side:
    """Return the prices whose size is not what it was, with their new size; 0 where nothing is left."""
    changed = {price: size for price, size in after.items() if before.get(price) != size}
    changed.update((price, 0.0) for price in before if price not in after)
    return changed


def _side(levels: Sequence[Sequence[float]]) -> _Side:
    """Copy one side of a book; ccxt's levels may have a third value, which is no size."""
    return {float(level[0]): float(level[1]) for level in levels if level[1] != 0}
