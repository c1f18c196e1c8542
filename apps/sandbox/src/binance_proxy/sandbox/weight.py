"""What the requests of one address weigh, and what becomes of those who ask too much.

Source: Binance Spot, "LIMITS": weight by IP and minute, 429 with ``Retry-After``, 418 for going on.
"""

from collections import deque
from collections.abc import Callable
from math import ceil
from typing import NamedTuple


class Verdict(NamedTuple):
    """What a request is answered as far as its weight goes."""

    used: int
    """What the address has used in this window, this request included."""
    status: int
    """200, 429 or 418."""
    retry_after_s: int = 0
    """Whole seconds until asking again may help."""


class _Account:
    """One address in one window."""

    __slots__ = ("banned_until", "refused", "used", "window")

    def __init__(self) -> None:
        self.window = self.used = self.refused = 0
        self.banned_until = 0.0


class WeightMeter:
    """Counts weight by address and window; the windows lie side by side, as minutes do."""

    def __init__(
        self, limit: int, window_s: float, patience: int, ban_s: float, now: Callable[[], float]
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._patience = patience
        self._ban_s = ban_s
        self._now = now
        self._accounts: dict[str, _Account] = {}

    def charge(self, address: str, weight: int) -> Verdict:
        """Count a request, and say whether it may be answered.

        Above the limit it may not, 429, until the window ends. After so many refusals as there is patience,
        the next request earns a ban, 418, whichever window it ends in.
        """
        now = self._now()
        account = self._accounts.setdefault(address, _Account())
        window = int(now // self._window_s)
        if account.window != window:
            account.window, account.used, account.refused = window, 0, 0
        account.used += weight
        if now < account.banned_until:
            return Verdict(account.used, 418, ceil(account.banned_until - now))
        if account.used <= self._limit:
            return Verdict(account.used, 200)
        account.refused += 1
        if account.refused > self._patience:
            account.banned_until = now + self._ban_s
            return Verdict(account.used, 418, ceil(self._ban_s))
        return Verdict(account.used, 429, ceil((window + 1) * self._window_s - now))


class Allowance:
    """At most so many of something in any so many seconds: messages, or attempts to connect."""

    def __init__(self, count: int, per_s: float, now: Callable[[], float]) -> None:
        self._per_s = per_s
        self._now = now
        self._times: deque[float] = deque(maxlen=count)

    def take(self) -> bool:
        """Count one; return whether it was still allowed. One that was not allowed is not counted."""
        now = self._now()
        if len(self._times) == self._times.maxlen and now - self._times[0] < self._per_s:
            return False
        self._times.append(now)
        return True
