"""Numbers of the wire as a terminal shows them: exact, in columns that line up, and counted by the second."""

from collections import deque

from binance_proxy.domain.errors import ScaleError

PRECISION = 18
"""Decimals that prices and sizes are held with here.

Bodies do not say the precisions of their instrument. No instrument has more than 18, so every number on the
wire is held exactly, and nothing ever has to be widened. It may need more than the 64 bits that storage has,
and Python does not mind.
"""
UNIT = 10**PRECISION
RATE_WINDOW_S = 5


class Figures:
    """Decimal text to units and back, with as many decimals as any number so far had: columns line up."""

    def __init__(self) -> None:
        self.decimals = 0

    def read(self, text: str) -> int:
        """Return units of ``10**-PRECISION``.

        Raises:
            ScaleError: The text is no plain decimal number above or at zero, or is finer than that.
        """
        whole, _, fraction = text.partition(".")
        digits = whole + fraction.ljust(PRECISION, "0")
        if not whole or len(digits) != len(whole) + PRECISION or not (digits.isascii() and digits.isdigit()):
            raise ScaleError(f"{text!r:.40} is not a price or a size")
        self.decimals = max(self.decimals, len(fraction))
        return int(digits)

    def show(self, units: int) -> str:
        """Write units that came from `read`."""
        digits = str(units).rjust(PRECISION + 1, "0")
        whole, fraction = digits[:-PRECISION], digits[-PRECISION:]
        return f"{whole}.{fraction[: self.decimals]}" if self.decimals else whole


class Rate:
    """Messages a second, over the last few seconds."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque()
        self._since: float | None = None

    def add(self, now: float) -> None:
        """Count one message."""
        if self._since is None:
            self._since = now
        second = int(now)
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1] = (second, self._counts[-1][1] + 1)
        else:
            self._counts.append((second, 1))
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
