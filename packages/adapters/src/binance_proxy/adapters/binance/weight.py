"""Binance's request weight: how much may be asked in a minute, and when to leave the venue alone.

`WeightWindow` is handed the time and says how long to wait; `WeightLimiter` waits. There is one limiter for
the whole process, because Binance counts per address.

Source: Binance Spot, "LIMITS": 6000 weight a minute; 429 asks for a pause of ``Retry-After`` seconds, going
on regardless earns 418, a ban of two minutes to three days.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping

log = logging.getLogger(__name__)

LIMIT = 6_000
"""Weight a minute, until ``exchangeInfo`` says another figure."""
WINDOW_S = 61.0
"""Binance's minute, wherever it begins by its own clock, and a second for what is slow on its way."""
CEILING = 0.95
"""Of the limit: nothing is asked while everybody on this address together has used more."""
PAUSE_S = {429: 60.0, 418: 120.0}
"""After these statuses, if the venue does not say for how long."""
LONGEST_PAUSE_S = 3 * 86_400.0
"""The longest ban there is; a longer one is a slip of the pen."""
RESERVE = 500
"""Weight that is left to urgent requests; of a small budget a quarter."""
LONG_WAIT_S, WARN_EVERY_S = 5.0, 60.0
"""Whoever waits longer than the one is told of, but not more often than the other."""
USED = "x-mbx-used-weight-1m"


class WeightWindow:
    """What was used in the last minute, by us and by everybody on this address. Times are monotonic seconds.

    A sliding window: whenever the venue's minute begins, no more than the budget of ours falls into it.
    """

    def __init__(self, share: float, limit: int = LIMIT) -> None:
        """Use at most this share of the limit.

        Raises:
            ValueError: The share does not lie above 0 and up to 1, or the limit is not above zero.
        """
        if not 0 < share <= 1:
            raise ValueError(f"a share of {share} does not lie above 0 and up to 1")
        self._share = share
        self.limit = limit
        self._own: deque[tuple[float, int]] = deque()  # (when, weight), oldest first
        self._own_sum = 0
        self._reports: deque[tuple[float, int]] = deque()  # (when, used), oldest first, falling
        self._unreported = 0
        self._closed_until = float("-inf")

    @property
    def limit(self) -> int:
        """The venue's, for everybody on this address."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if limit <= 0:
            raise ValueError(f"a limit of {limit} is not above zero")
        self._limit = limit

    @property
    def budget(self) -> int:
        """What we may use of it in a minute."""
        return int(self._limit * self._share)

    def wait_s(self, weight: int, now: float, reserve: int = 0) -> float:
        """Return how long to wait before asking again; 0 if so much may be used now.

        ``reserve`` is what has to be left for others of ours.
        A weight above the whole budget may be used once nothing else of ours is in the window.
        """
        self._forget(now)
        if now < self._closed_until:
            return self._closed_until - now
        if self._own and self._own_sum + weight + reserve > self.budget:
            return self._own[0][0] + WINDOW_S - now
        expected = weight + reserve + self._unreported
        if self._reports and self._reports[0][1] + expected > self._limit * CEILING:
            return self._reports[0][0] + WINDOW_S - now
        return 0.0

    def use(self, weight: int, now: float) -> None:
        """Count a weight that is being used."""
        self._own.append((now, weight))
        self._own_sum += weight
        self._unreported += weight

    def report(self, used: int, now: float) -> None:
        """Learn what the venue has counted in its minute, for everybody on this address.

        The highest report counts for a window: a lower one may be of a new minute, or merely have been
        overtaken.
        """
        self._forget(now)
        while self._reports and self._reports[-1][1] <= used:
            self._reports.pop()
        self._reports.append((now, used))
        self._unreported = 0

    def close(self, pause_s: float, now: float) -> None:
        """Allow nothing for so long."""
        self._closed_until = max(self._closed_until, now + pause_s)

    def _forget(self, now: float) -> None:
        while self._own and self._own[0][0] + WINDOW_S <= now:
            self._own_sum -= self._own.popleft()[1]
        while self._reports and self._reports[0][0] + WINDOW_S <= now:
            self._reports.popleft()


class WeightLimiter:
    """Lets requests through no faster than Binance allows: the urgent ones first, else as they came."""

    def __init__(self, *, share: float = 0.5, limit: int = LIMIT) -> None:
        """Use at most this share of the limit; the rest is left to other programs on this address."""
        self._window = WeightWindow(share, limit)
        self._turn = asyncio.Lock()  # it wakes its waiters in the order they came
        self._urgent_turn = asyncio.Lock()
        self._urgent = 0  # weight that urgent ones wait for
        self._warned_at = float("-inf")

    async def take(self, weight: int, *, urgent: bool = False) -> None:
        """Return once so much weight may be used. It counts as used from then on.

        ``urgent`` is what books cannot do without. It waits for other urgent requests only, and all the
        others leave it a reserve.
        """
        began = asyncio.get_running_loop().time()
        if not urgent:
            async with self._turn:
                await self._use(weight, began, urgent=False)
            return
        self._urgent += weight
        try:
            async with self._urgent_turn:
                await self._use(weight, began, urgent=True)
        finally:
            self._urgent -= weight

    async def _use(self, weight: int, began: float, *, urgent: bool) -> None:
        loop = asyncio.get_running_loop()
        while wait_s := self._window.wait_s(weight, loop.time(), 0 if urgent else self._reserve):
            self._warn(loop.time() - began + wait_s, loop.time())
            await asyncio.sleep(wait_s)
        self._window.use(weight, loop.time())

    @property
    def _reserve(self) -> int:
        """What others leave: for the next urgent request, and for those that wait already."""
        return min(RESERVE, self._window.budget // 4) + self._urgent

    def _warn(self, wait_s: float, now: float) -> None:
        if wait_s > LONG_WAIT_S and now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            log.warning("a request waits %.0f s for request weight", wait_s)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer what the venue has counted, and whether it wants to be left alone.

        Args:
            status: The HTTP status.
            headers: Names in lower case.
        """
        now = asyncio.get_running_loop().time()
        used = _whole(headers.get(USED))
        if used is not None:
            self._window.report(used, now)
        if status in PAUSE_S:
            said = _whole(headers.get("retry-after"))
            pause_s = PAUSE_S[status] if said is None else min(max(float(said), 1.0), LONGEST_PAUSE_S)
            log.warning("Binance asks to be left alone for %.0f s (%d)", pause_s, status)
            self._window.close(pause_s, now)

    def limit_is(self, limit: int) -> None:
        """Take the limit that ``exchangeInfo`` states (``REQUEST_WEIGHT`` a minute)."""
        self._window.limit = limit


def _whole(text: str | None) -> int | None:
    """Read a header that is a whole number; `None` if it is missing or is not one."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 15):
        return None
    return int(text)
