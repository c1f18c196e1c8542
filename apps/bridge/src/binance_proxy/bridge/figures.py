"""Numbers as a terminal shows them: exact, in columns that line up, and counted by the second."""

from collections import deque
from decimal import Decimal

MOST_DECIMALS = 18
"""No instrument has more."""
RATE_WINDOW_S = 5


class Figures:
    """Writes numbers with as many decimals as any of them so far had: columns line up."""

    def __init__(self) -> None:
        self.decimals = 0

    def read(self, number: Decimal) -> Decimal:
        """Learn how many decimals a number has, and return it."""
        exponent = number.as_tuple().exponent
        if isinstance(exponent, int):
            self.decimals = max(self.decimals, min(-exponent, MOST_DECIMALS))
        return number

    def show(self, number: Decimal) -> str:
        """Write a number."""
        return f"{number:.{self.decimals}f}"


class Rate:
    """Messages a second, over the last few seconds."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque()
        self._since: float | None = None

    def add(self, now: float, messages: int = 1) -> None:
        """Count some messages."""
        if self._since is None:
            self._since = now
        second = int(now)
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1] = (second, self._counts[-1][1] + messages)
        else:
            self._counts.append((second, messages))
        self._forget(second)

    def per_s(self, now: float) -> float:
        """Return messages a second."""
        if self._since is None:
            return 0.0
        self._forget(int(now))
        seconds = min(RATE_WINDOW_S - 1 + now % 1, now - self._since)
        return sum(count for _, count in self._counts) / max(1.0, seconds)

    def _forget(self, second: int) -> None:
        while self._counts and self._counts[0][0] <= second - RATE_WINDOW_S:
            self._counts.popleft()
