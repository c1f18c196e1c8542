"""What goes wrong, when, and how often it has."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from binance_proxy.sandbox.settings import CHANCES, MEANS, Faults

REFUSED_S = 5.0
"""How long new connections are refused, if nobody says."""


class Fault(StrEnum):
    """Everything that can go wrong."""

    DROP = "drop"
    DUPLICATE = "duplicate"
    DELAY = "delay"
    REORDER = "reorder"
    CORRUPT = "corrupt"
    CUT = "cut"
    FREEZE = "freeze"
    SHUTDOWN = "shutdown"
    REFUSE = "refuse"
    STALE_SNAPSHOT = "stale_snapshot"
    SERVER_ERROR = "server_error"
    SLOW = "slow"
    BAN = "ban"
    THROTTLE = "throttle"
    PLACE = "place"
    OFFLINE = "offline"


FRAME_FAULTS = (Fault.DROP, Fault.DUPLICATE, Fault.DELAY, Fault.REORDER, Fault.CORRUPT)
CONNECTION_FAULTS = (Fault.CUT, Fault.FREEZE, Fault.SHUTDOWN)
REQUEST_FAULTS = (
    Fault.OFFLINE, Fault.BAN, Fault.PLACE, Fault.THROTTLE, Fault.SERVER_ERROR, Fault.SLOW,
    Fault.STALE_SNAPSHOT,
)  # fmt: skip
"""The first that applies hits."""


@dataclass
class Order:
    """A fault that somebody asked for: the next so many times, or for so long."""

    fault: Fault
    only: str | None = None
    """Only in this stream, or at this endpoint, such as ``depth``."""
    count: int = 0
    until: float | None = None

    def holds(self, where: str, now: float) -> bool:
        """Return whether the next thing there is hit."""
        if self.only not in {None, where}:
            return False
        return self.count > 0 if self.until is None else now < self.until


class FaultPlan:
    """Faults by chance and by order, and a count of those that have really happened."""

    def __init__(self, faults: Faults, ban_s: float, now: Callable[[], float]) -> None:
        self.faults = faults
        self.ban_s = ban_s
        self.fired: Counter[Fault] = Counter()
        self._now = now
        self._orders: list[Order] = []
        self._request_random = random.Random(f"{faults.seed}/requests")  # noqa: S311  a simulation
        self._sessions = 0
        self.touches_frames = False
        """Whether frames have to be asked about at all."""
        self._note()

    def frame_random(self) -> random.Random:
        """Return the randomness of the next connection."""
        self._sessions += 1
        return random.Random(f"{self.faults.seed}/connection {self._sessions}")  # noqa: S311  a simulation

    def timer_random(self, fault: Fault) -> random.Random:
        """Return the randomness of a fault that comes every so often."""
        return random.Random(f"{self.faults.seed}/{fault}")  # noqa: S311  a simulation

    def order(
        self, fault: Fault, *, only: str | None = None, count: int | None = None, seconds: float | None = None
    ) -> None:
        """Have a fault happen for so many seconds, or the next so many times, once if neither is said."""
        if seconds is None and fault is Fault.BAN:
            seconds = self.ban_s
        if seconds is None and fault is Fault.REFUSE:
            seconds = REFUSED_S
        until = None if seconds is None else self._now() + seconds
        self._orders.append(Order(fault, only, 1 if count is None else count, until))
        self._note()

    def clear(self) -> None:
        """End every fault: those ordered, those that last, and those by chance and by time."""
        self._orders.clear()
        nothing: dict[str, float] = dict.fromkeys((*CHANCES, *MEANS), 0.0)
        self.faults = replace(self.faults, **nothing)  # type: ignore[arg-type]  # the seed is not among them
        self._note()

    def frame(self, stream: str, chance: random.Random) -> Fault | None:
        """Return the fault that hits the next frame of a stream on some connection."""
        return self._hit(FRAME_FAULTS, stream, chance)

    def request(self, endpoint: str) -> tuple[Fault | None, float]:
        """Return the fault that hits a request, and count it; and how many seconds it still lasts."""
        faults = REQUEST_FAULTS if endpoint == "depth" else REQUEST_FAULTS[:-1]
        fault = self._hit(faults, endpoint, self._request_random)
        if fault is not None:
            self.fired[fault] += 1
        return fault, self._left(fault)

    def refuses(self) -> bool:
        """Return whether a new connection is refused, and count it."""
        order = self._find(Fault.REFUSE, "")
        if order is not None:
            self.fired[Fault.REFUSE] += 1
        return order is not None

    def _hit(self, faults: tuple[Fault, ...], where: str, chance: random.Random) -> Fault | None:
        for fault in faults:
            order = self._find(fault, where)
            if order is not None:
                order.count -= 1
                self._note()
                return fault
            likely = getattr(self.faults, fault) if fault in CHANCES else 0.0
            if likely and chance.random() < likely:
                return fault
        return None

    def _find(self, fault: Fault, where: str) -> Order | None:
        if not self._orders:
            return None
        now = self._now()
        return next((one for one in self._orders if one.fault is fault and one.holds(where, now)), None)

    def _left(self, fault: Fault | None) -> float:
        untils = [one.until for one in self._orders if one.fault is fault and one.until is not None]
        return max(0.0, max(untils) - self._now()) if untils else self.ban_s

    def _note(self) -> None:
        now = self._now()
        self._orders = [
            one for one in self._orders if (one.count > 0 if one.until is None else now < one.until)
        ]
        self.touches_frames = any(getattr(self.faults, fault) for fault in FRAME_FAULTS) or any(
            one.fault in FRAME_FAULTS for one in self._orders
        )
