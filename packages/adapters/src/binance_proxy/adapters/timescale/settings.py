"""How the tables are looked after."""

from dataclasses import dataclass

from binance_proxy.domain.errors import ConfigError

LEAST_KEPT_DAYS = 4
"""TimescaleDB wants two whole buckets in every refresh window, and the longest bucket is a day."""


@dataclass(frozen=True)
class Upkeep:
    """What is kept how long, and in which form. A day is one in UTC."""

    keep_trades_days: int = 0
    """How many days trades are kept, at least 4; 0 for ever. Candles stay when their trades go."""
    keep_books_days: int = 0
    """How many days updates and snapshots of order books are kept, at least 4; 0 for ever."""
    columnstore_days: int = 7
    """After so many days TimescaleDB packs ticks into its columnstore; 0 never."""
    partitions_ahead: int = 3
    """For so many days to come partitions are made ahead, on a PostgreSQL without TimescaleDB."""
    pause_s: float = 1.0
    """Between two looks for candles that have to be summed up anew, because trades came late."""

    def __post_init__(self) -> None:
        """Refuse to keep less than what is summed up needs."""
        for name in ("keep_trades_days", "keep_books_days"):
            days = getattr(self, name)
            if 0 < days < LEAST_KEPT_DAYS:
                raise ConfigError(
                    f"{name} = {days} is too short: keep {LEAST_KEPT_DAYS} days at least, or 0 for ever"
                )
