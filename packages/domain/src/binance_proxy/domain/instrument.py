"""What is traded where, and in which units it is counted."""

import re
from enum import StrEnum

from msgspec import Struct

from binance_proxy.domain.errors import TickRejected

MILLISECOND_NS = 1_000_000
MICROSECOND_NS = 1_000

_SYMBOL = re.compile(r"[A-Z0-9]+/[A-Z0-9]+")


class Market(StrEnum):
    """The kind of market; each has its own ids and sequence rules, also within one venue."""

    SPOT = "spot"
    USDM = "usdm"
    """Futures that are margined in a dollar coin (Binance USD-M)."""


class Stream(StrEnum):
    """What can be recorded of an instrument."""

    TRADES = "trades"
    ORDERBOOK = "orderbook"
    """Snapshots of the book and the updates between them."""


def is_symbol(text: str) -> bool:
    """Return true for base and quote asset, upper case: ``ETH/USDT``."""
    return _SYMBOL.fullmatch(text) is not None


class Instrument(Struct, frozen=True, gc=False, kw_only=True, cache_hash=True):
    """One pair on one market of one venue, with the units that its numbers are held in.

    Precisions and time resolution are fixed when the instrument is first recorded and never change after:
    stored integers would mean something else.
    """

    venue: str
    """Lower case: ``binance``; ``simulated`` for everything that was made up."""
    market: Market
    symbol: str
    """Base and quote asset, upper case: ``ETH/USDT``."""
    price_precision: int = 8
    """Prices are held in units of ``10**-price_precision`` of the quote asset."""
    size_precision: int = 8
    """Sizes are held in units of ``10**-size_precision`` of the base asset."""
    tick_size: int | None = None
    """The venue's smallest price step, in price units; `None` if it was not said."""
    step_size: int | None = None
    """The venue's smallest size step, in size units; `None` if it was not said."""
    time_resolution_ns: int = MILLISECOND_NS
    """Event times are whole multiples of this; finer ones are truncated to it."""

    def __post_init__(self) -> None:
        """Refuse a symbol that could not be told apart, or a precision that no number would fit."""
        if not is_symbol(self.symbol):
            raise TickRejected(f"{self.symbol!r} is not a symbol such as ETH/USDT")
        if not (0 <= self.price_precision <= 18 and 0 <= self.size_precision <= 18):
            raise TickRejected(f"{self.symbol}: precisions lie between 0 and 18")

    @property
    def base(self) -> str:
        """The asset that sizes count."""
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        """The asset that prices count."""
        return self.symbol.partition("/")[2]

    @property
    def units(self) -> tuple[int, int, int]:
        """What stored numbers are counted in: price precision, size precision, time resolution in ns."""
        return self.price_precision, self.size_precision, self.time_resolution_ns

    @property
    def name(self) -> str:
        """``binance.spot.ethusdt``: the first three words of every topic about the instrument."""
        return f"{self.venue}.{self.market}.{self.symbol.replace('/', '')}".lower()
