"""A page: so many rows of a range, what is missing in it, and where the next one begins."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from binance_proxy.application.serve.rows import CandleRow, GapRow, Hole, Ns, TradeRow
from binance_proxy.domain.tick import TradeTick


class ArrowFrame(Struct, frozen=True, kw_only=True):
    """Where the rows are, if they were asked for as Arrow."""

    frame: Annotated[int, Meta(description="Behind the first frame of the answer; always 1")] = 1
    rows: int


class Page(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every page has beside its rows."""

    next: Annotated[str | None, Meta(description="The `cursor` of the next page; null if there is none")]
    holes: Annotated[list[Hole], Meta(description="What is missing in this page and before it, each once")]
    as_of: Annotated[Ns, Meta(description="When this was worked out, in ns: answers are kept a moment")]
    stored: Annotated[
        bool, Meta(description="False if the newest ticks that were recorded may not be in the store yet")
    ]
    fetched: Annotated[
        int | None, Meta(description="With `fetch`: trades that the venue gave, for all who asked at once")
    ] = None
    not_fetched: Annotated[
        str | None, Meta(description="With `fetch`: why nothing, or not everything, could be fetched")
    ] = None
    arrow: Annotated[ArrowFrame | None, Meta(description="Where the rows are, with `accept: arrow`")] = None


class TradesPage(Page, frozen=True, kw_only=True, omit_defaults=True):
    """Trades, oldest first."""

    rows: Annotated[list[TradeRow] | None, Meta(description="Null with `accept: arrow`")]


class CandlesPage(Page, frozen=True, kw_only=True, omit_defaults=True):
    """Candles, oldest first."""

    rows: Annotated[list[CandleRow] | None, Meta(description="Null with `accept: arrow`")]


class GapsPage(Page, frozen=True, kw_only=True, omit_defaults=True):
    """Known holes, in the order in which they showed."""

    rows: Annotated[list[GapRow] | None, Meta(description="Null with `accept: arrow`")]


class LongTrades(NamedTuple):
    """More trades than are ever written as text: their page, and what goes into its Arrow frame."""

    page: TradesPage
    """Without rows."""
    trades: Sequence[TradeTick]
