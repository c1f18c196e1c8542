"""Two connections that bring the same streams, made into one: nothing lost, nothing doubled, all in order."""

from typing import TypeAlias

from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.sequence import covered_ids
from binance_proxy.domain.tick import QuoteTick, Tick, TradeTick

Lane: TypeAlias = tuple[Instrument, type]
"""One stream: the trades of an instrument, or its updates."""


class Handover:
    """Takes the ticks of an old and a new connection while both are open, and then those of the one left.

    In each stream the old connection is believed until both agree: until it has brought everything up to
    where the new one began. What the new one brings before that waits. From then on the next tick is taken
    from whichever brings it first, and its double is dropped.

    With `finish` or `give_up` one connection is left. It may be behind the other, so its ticks go through
    `rest` until `is_over`.
    """

    HELD = 10_000
    """Ticks of one stream that may wait; then they are passed on without agreement."""

    def __init__(self) -> None:
        self.has_ended = False
        """True once only one of the connections is left."""
        self._reached: dict[Lane, int] = {}  # the last id that was passed on; at the end: not reached again
        self._held: dict[Lane, list[Tick]] = {}
        self._agreed: set[Lane] = set()

    @property
    def agreed(self) -> bool:
        """True while nothing waits for the old connection to catch up."""
        return not self._held

    @property
    def is_over(self) -> bool:
        """True once the connection that is left has caught up in every stream."""
        return self.has_ended and not self._reached

    def follow(self, before: "Handover") -> None:
        """Begin where another handover has ended, before the connection that it left has caught up."""
        self._reached.update(before._reached)  # noqa: SLF001  the same class

    def old(self, tick: Tick) -> tuple[Tick, ...]:
        """Take a tick of the old connection; return what may be passed on now."""
        lane = tick.instrument, type(tick)
        passed = self._pass(lane, tick)
        waiting = self._held.get(lane)
        if waiting and _ids(waiting[0])[0] <= self._reached[lane] + 1:
            return (*passed, *self._release(lane))
        return passed

    def new(self, tick: Tick) -> tuple[Tick, ...]:
        """Take a tick of the new connection; return what may be passed on now."""
        lane = tick.instrument, type(tick)
        if lane in self._agreed:
            return self._pass(lane, tick)
        reached = self._reached.get(lane)
        held = self._held.setdefault(lane, [])
        held.append(tick)
        if (reached is not None and _ids(held[0])[0] <= reached + 1) or len(held) > self.HELD:
            return self._release(lane)
        return ()

    def finish(self) -> tuple[Tick, ...]:
        """Go on with the new connection alone; return what has waited."""
        self.has_ended = True
        return tuple(tick for lane in list(self._held) for tick in self._release(lane))

    def give_up(self) -> None:
        """Go on with the old connection alone, and forget what has waited."""
        self.has_ended = True
        self._held.clear()

    def rest(self, tick: Tick) -> tuple[Tick, ...]:
        """Take a tick of the connection that is left; return it unless the other one has brought it."""
        lane = tick.instrument, type(tick)
        last_id = _ids(tick)[1]
        reached = self._reached.get(lane, -1)
        if last_id >= reached:
            self._reached.pop(lane, None)
        return (tick,) if last_id > reached else ()

    def _release(self, lane: Lane) -> tuple[Tick, ...]:
        self._agreed.add(lane)
        return tuple(passed for tick in self._held.pop(lane) for passed in self._pass(lane, tick))

    def _pass(self, lane: Lane, tick: Tick) -> tuple[Tick, ...]:
        last_id = _ids(tick)[1]
        if last_id <= self._reached.get(lane, -1):
            return ()
        self._reached[lane] = last_id
        return (tick,)


def _ids(tick: Tick) -> tuple[int, int]:
    if isinstance(tick, TradeTick):
        return tick.trade_id, tick.trade_id
    assert isinstance(tick, QuoteTick)  # noqa: S101  there are two kinds of ticks
    return covered_ids(tick)
