"""The table of methods: what each is asked with, what it answers, and what can go wrong."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from binance_proxy.application.serve import books, candles, gaps, instruments, status, tracked, trades, vwap
from binance_proxy.application.serve.asked import Asked
from binance_proxy.application.serve.failures import (
    AWAY,
    DEADLINE,
    LARGE,
    NOTHING,
    OURS,
    STALE,
    UNKNOWN,
    WRONG,
)
from binance_proxy.application.serve.page import CandlesPage, GapsPage, TradesPage
from binance_proxy.application.serve.sources import Sources

_ALWAYS = (WRONG, DEADLINE, AWAY, OURS)
_OF_RANGE = (*_ALWAYS, NOTHING, LARGE)
_OF_BOOK = (*_ALWAYS, NOTHING, STALE, UNKNOWN)


class Method(Struct, frozen=True):
    """One method."""

    name: str
    asked: type[Asked]
    """Its params; the docstring is the summary."""
    result: Any
    """The type of its result."""
    answer: Callable[[Sources, Any, int], Awaitable[object]]
    """Answers it, with a deadline in ns."""
    errors: Sequence[int]
    """Codes that it may fail with."""


_TABLE = (
    Method("pairs.list", tracked.AskedPairs, tracked.PairsListed, tracked.list_pairs, _ALWAYS),
    Method("pairs.add", tracked.AskedAdd, tracked.PairRow, tracked.add_pair, _ALWAYS),
    Method("pairs.remove", tracked.AskedRemove, tracked.PairRemoved, tracked.remove_pair, _ALWAYS),
    Method(
        "instruments.list",
        instruments.AskedInstruments,
        instruments.InstrumentsListed,
        instruments.list_instruments,
        _ALWAYS,
    ),
    Method(
        "instruments.get",
        instruments.AskedInstrument,
        instruments.InstrumentRow,
        instruments.get_instrument,
        (*_ALWAYS, NOTHING),
    ),
    Method("trades.list", trades.AskedTrades, TradesPage, trades.list_trades, _OF_RANGE),
    Method("candles.list", candles.AskedCandles, CandlesPage, candles.list_candles, _OF_RANGE),
    Method("orderbook.get", books.AskedBook, books.BookNow, books.get_book, (*_OF_BOOK, LARGE)),
    Method("orderbook.depth", books.AskedDepth, books.Depth, books.get_depth, (*_OF_BOOK, LARGE)),
    Method("stats.spread", books.AskedSpread, books.Spread, books.get_spread, _OF_BOOK),
    Method("stats.vwap", vwap.AskedVwap, vwap.Vwap, vwap.get_vwap, (*_ALWAYS, NOTHING)),
    Method("stats.slippage", books.AskedSlippage, books.Slippage, books.get_slippage, _OF_BOOK),
    Method("stats.liquidity", books.AskedLiquidity, books.Liquidity, books.get_liquidity, _OF_BOOK),
    Method("gaps.list", gaps.AskedGaps, GapsPage, gaps.list_gaps, _OF_RANGE),
    Method("bridge.status", status.AskedStatus, dict[str, Any], status.get_status, _ALWAYS),
    Method("topics.since", status.AskedSince, status.Since, status.get_since, (*_ALWAYS, LARGE)),
)
METHODS: Mapping[str, Method] = {one.name: one for one in _TABLE}
"""By name."""
