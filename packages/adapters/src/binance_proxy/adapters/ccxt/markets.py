"""Which instrument stands for a market of ccxt's, and in which units.

Source: ccxt manual, "Market structure", "Precision and limits".
"""

from collections.abc import Mapping
from typing import Any

from binance_proxy.adapters.ccxt.listing import plain
from binance_proxy.domain.errors import ScaleError, TickRejected
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.scale import to_units

PRECISION, FINEST = 8, 12
"""Decimals of the units: so many at least, so that there is headroom, and so many at most."""
MADE_UP = "simulated"

_TICK_SIZE, _DECIMAL_PLACES = 4, 2
"""ccxt's ``precisionMode``: a precision is a step, or a number of decimals. No other says a step."""


def instrument_of(market: Mapping[str, Any], venue: str, precision_mode: int) -> Instrument | None:
    """Return the instrument of a spot market, with units that its steps fit.

    ``venue`` is the exchange; what a sandbox marks as made up is of the venue ``simulated``. `None` if the
    market is not spot or is not traded, if its name is not of the form ``ETH/USDT``, or if its steps are too
    fine.
    """
    if not market.get("spot") or market.get("active") is False:  # some exchanges do not say
        return None
    info, precision = market.get("info"), market.get("precision") or {}
    if isinstance(info, Mapping) and info.get("venue") == MADE_UP:
        venue = MADE_UP
    price_step = _step(precision.get("price"), precision_mode)
    size_step = _step(precision.get("amount"), precision_mode)
    try:
        price_precision, size_precision = _decimals(price_step), _decimals(size_step)
        return Instrument(
            venue=venue,
            market=Market.SPOT,
            symbol=market["symbol"],
            price_precision=price_precision,
            size_precision=size_precision,
            tick_size=to_units(price_step, price_precision) if price_step else None,
            step_size=to_units(size_step, size_precision) if size_step else None,
        )
    except (ScaleError, TickRejected):
        return None


def _step(precision: float | str | None, precision_mode: int) -> str | None:
    """Return the smallest step as decimal text."""
    if precision is None:
        return None
    if precision_mode == _DECIMAL_PLACES:
        return plain(f"1e{-int(precision)}")
    return plain(precision) if precision_mode == _TICK_SIZE else None


def _decimals(step: str | None) -> int:
    decimals = len((step or "").partition(".")[2].rstrip("0"))
    return min(max(PRECISION, decimals), FINEST)
