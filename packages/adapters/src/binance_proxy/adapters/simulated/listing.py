"""Which instruments the simulated venue lists: roughly what they cost, and how finely they trade."""

import random
from dataclasses import dataclass
from math import floor

from binance_proxy.domain.instrument import Instrument, Market

VENUE = "simulated"


@dataclass(frozen=True)
class Listing:
    """How one pair trades."""

    mid: float
    """Where its price begins, in the quote asset."""
    price_decimals: int
    """The tick size is ``10**-price_decimals`` of the quote asset."""
    size_decimals: int
    """The step size is ``10**-size_decimals`` of the base asset."""

    def tick_size(self, instrument: Instrument) -> int:
        """Return the price step in the units of an instrument: its own, if it says one."""
        return instrument.tick_size or 10 ** max(0, instrument.price_precision - self.price_decimals)

    def step_size(self, instrument: Instrument) -> int:
        """Return the size step in the units of an instrument: its own, if it says one."""
        return instrument.step_size or 10 ** max(0, instrument.size_precision - self.size_decimals)


KNOWN = {
    "BTC/USDT": Listing(100_000.0, price_decimals=2, size_decimals=5),
    "ETH/USDT": Listing(3_000.0, price_decimals=2, size_decimals=4),
    "SOL/USDT": Listing(150.0, price_decimals=2, size_decimals=3),
}


def listing_of(symbol: str) -> Listing:
    """Return how a pair trades; for an unknown one a guess that is always the same."""
    if symbol in KNOWN:
        return KNOWN[symbol]
    # Seeded by the symbol alone: units are fixed when an instrument is first recorded, whatever the seed is.
    guess = random.Random(symbol).uniform(-2, 3)  # noqa: S311  a made-up price is no secret
    magnitude = floor(guess)
    return Listing(round(10**guess, 4 - magnitude), price_decimals=4 - magnitude, size_decimals=magnitude + 2)


def simulated_instrument(symbol: str, market: Market) -> Instrument:
    """Return the instrument that stands for a pair, with its tick and step size.

    Raises:
        TickRejected: The symbol is not of the form ``ETH/USDT``.
    """
    listing = listing_of(symbol)
    bare = Instrument(venue=VENUE, market=market, symbol=symbol)
    return Instrument(
        venue=VENUE,
        market=market,
        symbol=symbol,
        tick_size=listing.tick_size(bare),
        step_size=listing.step_size(bare),
    )


def beginning(instrument: Instrument) -> float:
    """Return where the price begins, in the price units of the instrument."""
    return listing_of(instrument.symbol).mid * 10.0**instrument.price_precision


def typical_size(instrument: Instrument, quote: float = 5_000.0) -> float:
    """Return what so much of the quote asset buys at the beginning, in the size units of the instrument."""
    return quote / listing_of(instrument.symbol).mid * 10.0**instrument.size_precision
