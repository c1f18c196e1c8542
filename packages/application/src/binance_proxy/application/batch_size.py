"""How many events go to the store at once."""

SMALLER, SAME_TIME = 0.75, 0.9
"""A batch of so much of another's size that takes so much of its time shows that the size does not matter."""


class BatchSize:
    """Follows what the store shows: it grows while batches wait, and shrinks when a batch takes too long.

    Growth is by addition and shrinking by half, so that the size settles where a batch takes about as long as
    it may. Where a smaller batch costs as much time as a larger one did, it is not the size that takes the
    time, as over a slow network; then it is taken back, or the store would get less and less.
    """

    STEPS = 16
    """Steps from nothing to the largest batch."""

    def __init__(self, *, least: int, most: int, target_s: float) -> None:
        """Begin with the largest batch. ``target_s`` is how long one may take."""
        self.least = min(least, most)
        self.most = most
        self.now = most
        """The weight of a batch, as `weight` counts it."""
        self._target_s = target_s
        self._slow: tuple[int, float] | None = None  # of the last batch that took too long

    def took(self, heavy: int, seconds: float, *, waiting: int) -> None:
        """Learn how long a batch took, and how much waits now."""
        if seconds <= self._target_s:
            if waiting >= self.now:
                self._grow()
            return
        before, self._slow = self._slow, (heavy, seconds)
        if before is not None and heavy <= SMALLER * before[0] and seconds >= SAME_TIME * before[1]:
            self._slow = before
            self.now = max(self.now, min(self.most, before[0]))
        elif 2 * heavy >= self.now:  # else it was taken before it was full, or the size has shrunk since
            self.now = max(self.least, self.now // 2)

    def _grow(self) -> None:
        self.now = min(self.most, self.now + max(1, self.most // self.STEPS))
