"""Two connections that bring the same streams, made into one: nothing lost, nothing doubled, all in order."""

from typing import TypeAlias

from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.sequence import Arrival, IdSequence, covered_ids
from binance_proxy.domain.tick import QuoteTick, Tick, TradeTick

Lane: TypeAlias = tuple[Instrument, type]
"""One stream: the trades of an instrument, or its updates."""


class Handover:
    """Takes the ticks of an old and a new connection while both are open, and then those of the one left.

    In each stream the old connection is believed until both agree: until it has brought everything up to
    where the new one began. What the new one brings before that waits. From then on the next tick is taken
    from whichever brings it first, and its double is dropped. What one of them has skipped is taken from the
    other, however late.

    With `finish` or `give_up` one connection is left. It may be behind the other, so its ticks go through
    `rest` until `is_over`.
    """

    HELD = 10_000
    """Ticks of one stream that may wait; then they are passed on without agreement."""
    FAR = 10_000
    """No connection is so many ids behind: the venue numbers anew."""

    def __init__(self) -> None:
        self.has_ended = False
        """True once only one of the connections is left."""
        self._passed: dict[Lane, IdSequence] = {}  # at the end: of lanes whose last id was not reached again
        self._held: dict[Lane, list[Tick]] = {}
        self._agreed: set[Lane] = set()

    @property
    def agreed(self) -> bool:
        """True while nothing waits for the old connection to catch up."""
        return not self._held

    @property
    def is_over(self) -> bool:
        """True once the connection that is left has caught up in every stream."""
        return self.has_ended and not self._passed

    def follow(self, before: "Handover") -> None:
        """Begin where another handover has ended, before the connection that it left has caught up."""
        self._passed.update(before._passed)  # noqa: SLF001  the same class

    def old(self, tick: Tick) -> tuple[Tick, ...]:
        """Take a tick of the old connection; return what may be passed on now."""
        lane = tick.instrument, type(tick)
        passed = self._pass(lane, tick)
        waiting = self._held.get(lane)
        if waiting and self._follows(waiting[0], lane):
            return (*passed, *self._release(lane))
        return passed

    def new(self, tick: Tick) -> tuple[Tick, ...]:
        """Take a tick of the new connection; return what may be passed on now."""
        lane = tick.instrument, type(tick)
        if lane in self._agreed:
            return self._pass(lane, tick)
        held = self._held.setdefault(lane, [])
        held.append(tick)
        if self._follows(held[0], lane) or len(held) > self.HELD:
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
        passed = self._passed.get(lane)
        if passed is None or passed.first_id is None or passed.last_id is None:
            return (tick,)
        last_id = _ids(tick)[1]
        if last_id < passed.first_id - self.FAR:
            del self._passed[lane]
            return (tick,)
        has_caught_up = last_id >= passed.last_id
        rest = self._pass(lane, tick)
        if has_caught_up:
            del self._passed[lane]
        return rest

    def _release(self, lane: Lane) -> tuple[Tick, ...]:
        self._agreed.add(lane)
        return tuple(passed for tick in self._held.pop(lane) for passed in self._pass(lane, tick))

    def _follows(self, tick: Tick, lane: Lane) -> bool:
        """Say whether nothing is missing between what was passed on and a tick."""
        passed = self._passed.get(lane)
        return passed is not None and passed.last_id is not None and _ids(tick)[0] <= passed.last_id + 1

    def _pass(self, lane: Lane, tick: Tick) -> tuple[Tick, ...]:
        """Return the tick if any of it is new.

        What lies before the first was passed on before there were two connections.
        """
        first_id, last_id = _ids(tick)
        passed = self._passed.setdefault(lane, IdSequence())
        if passed.first_id is not None:
            if last_id < passed.first_id:
                return ()
            first_id = max(first_id, passed.first_id)
        return () if passed.feed(first_id, last_id) is Arrival.SEEN else (tick,)


def _ids(tick: Tick) -> tuple[int, int]:
    if isinstance(tick, TradeTick):
        return tick.trade_id, tick.trade_id
    assert isinstance(tick, QuoteTick)  # noqa: S101  there are two kinds of ticks
    return covered_ids(tick)
