"""What several commands are asked with: which instrument, and from when until when."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.serve.meant import Pick
from binance_proxy.bridge.terminal import ns
from binance_proxy.domain.errors import ConfigError


@dataclass
class Whereabouts:
    """Which of several instruments of the same name."""

    venue: str | None = None
    """Only this venue, such as binance or simulated."""
    market: str | None = None
    """Only this market, spot or usdm."""

    def pick(self, pair: str) -> Pick:
        """Say which instrument is meant."""
        return Pick(pair, self.venue, self.market)


Where = Annotated[Whereabouts, Parameter(name="*")]

ANYWHERE = Whereabouts()


def range_of(start: str | None, end: str | None) -> tuple[int | None, int]:
    """Read both ends of a range; what lies outside 1970 to `END_OF_TIME` is cut off, for nothing is there."""
    first = ns(start, "--start") if start else None
    behind = ns(end, "--end") if end else END_OF_TIME
    if first is not None and first >= END_OF_TIME:
        raise ConfigError(f"--start {start} lies behind all that can be stored, which ends in 2116")
    if first is not None and first >= behind:
        raise ConfigError(f"--start {start} does not lie before --end {end}")
    return None if first is None else max(first, 0), min(max(behind, 0), END_OF_TIME)
