"""How a pair trades, out of ccxt's market dictionary.

Source: ccxt manual, "Market structure"; Binance Spot, "Filters".
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

_PLAIN = re.compile(r"[A-Z0-9]+/[A-Z0-9]+")


def listing_fields(market: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return symbol, code, trading, tick and step size and venue of a spot pair that talks like Binance.

    The symbol is made of the venue's own asset names, as it is in its frames; ccxt renames some of them.
    `None` for what is not spot, or has other letters in it than A to Z and digits.
    """
    symbol = f"{market['baseId']}/{market['quoteId']}"
    if not (market.get("spot") and _PLAIN.fullmatch(symbol)):
        return None
    info = market["info"]
    filters = {each["filterType"]: each for each in info.get("filters", ()) if "filterType" in each}
    precision = market.get("precision", {})
    return {
        "symbol": symbol,
        "code": market["id"],
        "trading": bool(market.get("active")),
        "tick_size": filters.get("PRICE_FILTER", {}).get("tickSize") or plain(precision.get("price")),
        "step_size": filters.get("LOT_SIZE", {}).get("stepSize") or plain(precision.get("amount")),
        "venue": info.get("venue", "binance"),
    }


def plain(number: float | str | None) -> str | None:
    """Return the shortest decimal text of a number, without an exponent; `None` if it is not above zero."""
    if number is None:
        return None
    try:
        exact = Decimal(str(number))
    except InvalidOperation:
        return None
    return f"{exact:f}" if exact.is_finite() and exact > 0 else None


def stated_limit(exchange_info: object) -> int | None:
    """Return the request weight a minute that an answer to ``exchangeInfo`` states; `None` if it does not."""
    limits = exchange_info.get("rateLimits") if isinstance(exchange_info, dict) else None
    for one in limits if isinstance(limits, list) else ():
        kind = one.get("rateLimitType"), one.get("interval"), str(one.get("intervalNum"))
        if kind == ("REQUEST_WEIGHT", "MINUTE", "1") and int(one["limit"]) > 0:
            return int(one["limit"])
    return None
