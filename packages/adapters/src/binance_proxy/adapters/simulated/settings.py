"""What can be set about a simulation."""

from dataclasses import dataclass, field
from typing import Literal

from binance_proxy.domain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often the line misbehaves: the chance of each fault at each trade or update, from 0 to 1.

    Snapshots are never hit: with a real venue they come by another connection.
    """

    gap: float = 0.0
    """It vanishes."""
    duplicate: float = 0.0
    """It comes twice."""
    reorder: float = 0.0
    """It comes behind the next one of its own kind and instrument."""
    disconnect: float = 0.0
    """It is lost with the connection, and so is what follows until the line is back."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a chance that is none."""
        for name, chance in vars(self).items():
            if not 0 <= chance <= 1:
                raise ConfigError(f"{name} = {chance} is not a chance from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A simulated venue. The same settings and instruments give the same events, if ``start`` is set too."""

    seed: int = 1
    """Another seed, another history."""
    rate: float = 20.0
    """Trades and updates together, per second of market time and instrument, on average."""
    volatility: float = 0.6
    """Standard deviation of the log return over one year of 365 days: 0.6 is 60 % a year."""
    levels: int = 200
    """Price levels on each side of a book, about; never more than a quarter above that."""
    events: int | None = None
    """After so many events of all kinds the feed has no more; `None`: it never ends."""
    speed: Literal["1x", "max"] = "1x"
    """``1x``: a second of market time takes a second. ``max``: nobody waits."""
    start: int | None = None
    """Market time of the beginning, in ns since the epoch, UTC; `None`: the clock's time."""
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting that no market could follow."""
        if not 0 < self.rate <= 100_000:
            raise ConfigError(f"rate = {self.rate} is not above 0 and at most 100000 events a second")
        if not 0 <= self.volatility <= 100:
            raise ConfigError(f"volatility = {self.volatility} is not from 0 to 100 (0.6 is 60 % a year)")
        if not 1 <= self.levels <= 10_000:
            raise ConfigError(f"levels = {self.levels} is not from 1 to 10000")
        if self.events is not None and self.events < 0:
            raise ConfigError(f"events = {self.events} is below 0")
        if self.speed not in ("1x", "max"):
            raise ConfigError(f'speed = "{self.speed}" is neither "1x" nor "max"')
        if self.start is not None and self.start < 0:
            raise ConfigError(f"start = {self.start} lies before 1970")
