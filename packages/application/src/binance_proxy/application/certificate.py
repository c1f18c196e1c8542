"""What an audit of stored ticks found: the certificate, and how it is collected."""

from collections import Counter

from msgspec import Struct

from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument

LISTED = 1_000
"""Faults of one check that are listed one by one; further ones are only counted."""


class Span(Struct, frozen=True, kw_only=True):
    """What was read of one kind of tick."""

    count: int
    first_id: int | None
    last_id: int | None
    start: int | None
    """``ts_event`` of the first, in ns."""
    end: int | None
    """``ts_event`` of the last, in ns."""
    sha256: str
    """Over what the venue said of each, in their order, and the units: the same for the same ticks."""


class Check(Struct, frozen=True, kw_only=True):
    """Something that was looked at."""

    name: str
    compared: int
    what: str
    """What was counted, such as ``trades``."""
    faults: int

    @property
    def holds(self) -> bool:
        """Whether no fault was found."""
        return self.faults == 0


class Fault(Struct, frozen=True, kw_only=True):
    """Something that is not as it should be."""

    check: str
    what: str
    first_id: int | None = None
    last_id: int | None = None
    start: int | None = None
    """When, in ns; of a hole the last tick before it."""
    end: int | None = None
    """Of a hole the first tick behind it."""


class Unverifiable(Struct, frozen=True, kw_only=True):
    """Something that could not be checked, and why."""

    check: str
    why: str
    count: int = 1
    """Of how many things this is true."""
    start: int | None = None
    end: int | None = None


class Certificate(Struct, frozen=True, kw_only=True):
    """What was checked of one instrument in one range, and what came out."""

    instrument: Instrument
    start: int
    """First ns."""
    end: int
    """The ns behind the last."""
    trades: Span
    updates: Span
    snapshots: int
    checks: tuple[Check, ...]
    faults: tuple[Fault, ...]
    unverifiable: tuple[Unverifiable, ...]
    notes: tuple[str, ...]
    """What is no fault and worth knowing."""
    entered: tuple[Gap, ...]
    """Gaps that the ledger did not have."""

    @property
    def holds(self) -> bool:
        """Whether everything that could be checked is right, and nothing is missing."""
        return all(check.holds for check in self.checks)


class Findings:
    """Collects what checks find. Memory grows with what is wrong only, and not beyond `LISTED` a check."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._compared: dict[str, tuple[int, str]] = {}
        self._faults: list[Fault] = []
        self._counts: Counter[str] = Counter()
        self._cannot: dict[tuple[str, str, int | None], Unverifiable] = {}

    def compared(self, check: str, count: int, what: str) -> None:
        """Count what a check has looked at."""
        before, _ = self._compared.get(check, (0, what))
        self._compared[check] = (before + count, what)

    def fault(self, fault: Fault) -> None:
        """Take a fault."""
        self._compared.setdefault(fault.check, (0, ""))
        self._counts[fault.check] += 1
        if self._counts[fault.check] <= LISTED:
            self._faults.append(fault)

    def cannot(
        self, check: str, why: str, start: int | None = None, end: int | None = None, *, apart: bool = False
    ) -> None:
        """Take something that cannot be checked.

        With the same reason it is counted, and its time widened; unless each has to stand ``apart``.
        """
        key = (check, why, start if apart and len(self._cannot) < LISTED else None)
        known = self._cannot.get(key)
        if known is None:
            self._cannot[key] = Unverifiable(check=check, why=why, start=start, end=end)
            return
        self._cannot[key] = Unverifiable(
            check=check,
            why=why,
            count=known.count + 1,
            start=min(filter(None, (known.start, start)), default=None),
            end=max(filter(None, (known.end, end)), default=None),
        )

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was looked at, in the order in which it began."""
        return tuple(
            Check(name=name, compared=count, what=what, faults=self._counts[name])
            for name, (count, what) in self._compared.items()
        )

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong."""
        return tuple(self._faults)

    @property
    def unverifiable(self) -> tuple[Unverifiable, ...]:
        """What could not be checked."""
        return tuple(self._cannot.values())
