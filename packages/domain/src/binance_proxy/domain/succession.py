"""Do the ids of a period follow each other? A pure object that is fed ids with their times."""

from bisect import bisect_right
from typing import TypeAlias

Key: TypeAlias = tuple[int, int]
"""``ts_event`` and id of a tick, by which ticks of a stream are ordered."""


class Run:
    """Ids that follow each other without a hole."""

    __slots__ = ("first_id", "first_ts", "last_id", "last_ts")

    def __init__(self, ts_event: int, first_id: int) -> None:
        self.first_id = self.last_id = first_id
        self.first_ts = self.last_ts = ts_event


class Succession:
    """Which ids of one period are here, whatever their order, and whether they are dense.

    They are dense if they rise by one without a double, and the later id does not lie in an earlier part of
    the period, such as a minute of an hour; within a part their times may be in any order. That is what the
    `dense` of the database means too. Of more than `MAX_RUNS` ranges nothing is known any more: they are
    never dense.
    """

    __slots__ = ("_broken", "_earliest", "_latest", "_part_ns", "_runs", "run")

    MAX_RUNS = 1_000

    def __init__(self, ts_event: int, first_id: int, part_ns: int) -> None:
        """Begin with one id. ``part_ns`` is the length of a part; 0 if the period is one."""
        self.run: Run | None = Run(ts_event, first_id)
        """The run that ends with the latest tick, if there is one: what follows may be added to its end."""
        self._runs = [self.run]
        self._earliest = self._latest = (ts_event, first_id)
        self._part_ns = part_ns
        self._broken = False

    @property
    def earliest(self) -> Key:
        """The first tick by time, then by id."""
        return self._earliest

    @property
    def latest(self) -> Key:
        """The last tick by time, then by id."""
        return self._latest if self.run is None else (self.run.last_ts, self.run.last_id)

    @property
    def dense(self) -> bool:
        """True if no id is missing between the lowest and the highest."""
        return len(self._runs) == 1 and not self._broken

    @property
    def first_id(self) -> int:
        """The lowest id, while they are dense."""
        return self._runs[0].first_id

    @property
    def last_id(self) -> int:
        """The highest id, while they are dense."""
        return self._runs[-1].last_id

    def take(self, ts_event: int, tick_id: int) -> None:
        """Take any tick of the period."""
        key = (ts_event, tick_id)
        latest = self.latest
        run = None if self._broken else self._join(ts_event, tick_id)
        if self._broken:
            del self._runs[1:]
        self._earliest = min(self._earliest, key)
        self._latest = max(latest, key)
        ends_latest = run is not None and (run.last_ts, run.last_id) == self._latest
        self.run = run if ends_latest else None

    def _join(self, ts_event: int, tick_id: int) -> Run | None:
        """Put an id beside those that are here, and return its run; `None` if they are never dense now."""
        runs = self._runs
        at = bisect_right(runs, tick_id, key=lambda run: run.first_id)
        left = runs[at - 1] if at else None
        right = runs[at] if at < len(runs) else None
        if left is not None and left.last_id >= tick_id:
            self._broken = True
            return None
        if left is not None and left.last_id == tick_id - 1:
            self._broken = self._lies_behind(left.last_ts, ts_event)
            left.last_id, left.last_ts = tick_id, ts_event
            run, at = left, at - 1
        else:
            run = Run(ts_event, tick_id)
            runs.insert(at, run)
        if right is not None and right.first_id == tick_id + 1:
            self._broken = self._broken or self._lies_behind(ts_event, right.first_ts)
            run.last_id, run.last_ts = right.last_id, right.last_ts
            del runs[at + 1]
        self._broken = self._broken or len(runs) > self.MAX_RUNS
        return None if self._broken else run

    def _lies_behind(self, ts_event: int, other: int) -> bool:
        return self._part_ns > 0 and ts_event // self._part_ns > other // self._part_ns
