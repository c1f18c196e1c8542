"""Which pairs Binance lists: its answer to ``exchangeInfo``.

Source: Binance Spot, "REST API", exchange information; "Filters".
"""

import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from binance_proxy.adapters.binance.refusals import refusal, unreadable
from binance_proxy.adapters.binance.transport import Answer, Listing

PATH = "/api/v3/exchangeInfo"
_PLAIN = re.compile(r"[A-Z0-9]+")


class _Filter(Struct):
    filterType: str  # noqa: N815  Binance's name
    tickSize: str | None = None  # noqa: N815  Binance's name
    stepSize: str | None = None  # noqa: N815  Binance's name


class _Symbol(Struct):
    symbol: str
    status: str
    baseAsset: str  # noqa: N815  Binance's name
    quoteAsset: str  # noqa: N815  Binance's name
    filters: list[_Filter] = []
    venue: str = "binance"
    """Not Binance's: our sandbox says so what it made up."""


class _RateLimit(Struct):
    rateLimitType: str  # noqa: N815  Binance's name
    interval: str
    intervalNum: int  # noqa: N815  Binance's name
    limit: int


class _ExchangeInfo(Struct):
    symbols: list[_Symbol]
    rateLimits: list[_RateLimit] = []  # noqa: N815  Binance's name


_decode = msgspec.json.Decoder(_ExchangeInfo).decode


def read_exchange_info(answer: Answer) -> tuple[Sequence[Listing], int | None]:
    """Return the pairs in an answer, and the request weight a minute if it is stated.

    Pairs whose assets are not plain letters and digits are left out.

    Raises:
        FeedUnavailable: The answer is of no use now.
        FeedRejected: The venue refuses for good. The message says what to change.
    """
    if answer.status != 200:
        raise refusal(PATH, {}, answer, "feed.binance")
    try:
        info = _decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(PATH, answer.body, error) from error
    limits = (
        one.limit
        for one in info.rateLimits
        if (one.rateLimitType, one.interval, one.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1)
    )
    pairs = [_listing(one) for one in info.symbols if _PLAIN.fullmatch(one.baseAsset + one.quoteAsset)]
    return pairs, next((limit for limit in limits if limit > 0), None)


def _listing(one: _Symbol) -> Listing:
    tick_sizes = [each.tickSize for each in one.filters if each.filterType == "PRICE_FILTER"]
    step_sizes = [each.stepSize for each in one.filters if each.filterType == "LOT_SIZE"]
    return Listing(
        symbol=f"{one.baseAsset}/{one.quoteAsset}",
        code=one.symbol,
        trading=one.status == "TRADING",
        tick_size=next(iter(tick_sizes), None),
        step_size=next(iter(step_sizes), None),
        venue=one.venue,
    )
