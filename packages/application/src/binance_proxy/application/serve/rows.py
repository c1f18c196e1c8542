"""Rows and levels as people and programs read them: numbers as decimal text, the fields of the wire."""

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from binance_proxy.domain.candle import Candle
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.ledger import Absent, Coverage, CoverageState, Unrecorded
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import Levels, Side, TradeTick

Ns: TypeAlias = Annotated[int, Meta(description="ns since the epoch, UTC")]
Id: TypeAlias = Annotated[int, Meta(description="Assigned by the venue")]
Price: TypeAlias = Annotated[str, Meta(description="In the quote asset; decimal text, never rounded")]
Size: TypeAlias = Annotated[str, Meta(description="In the base asset; decimal text, never rounded")]
Value: TypeAlias = Annotated[
    str, Meta(description="In the quote asset; decimal text: a sum of price by size")
]
TextLevels: TypeAlias = list[tuple[Price, Size]]


class Row(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What every row begins with."""

    venue: str
    market: Market
    symbol: str


class TradeRow(Row, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A trade; the last three fields appear only on prints that need them."""

    ts_event: Ns
    ts_recv: Ns
    trade_id: Id
    price: Price
    size: Size
    aggressor: Side
    first_match_id: int | None = None
    last_match_id: int | None = None
    off_book: bool = False


class CandleRow(Row, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A candle; the open one is not `closed`."""

    timeframe: str
    start: Ns
    end: Ns
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Size
    quote_volume: Value
    vwap: Price
    trades: int
    closed: bool
    complete: bool


class GapRow(Row, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A hole that is known, or was."""

    ts_event: Ns
    ts_recv: Ns
    stream: Stream
    first_id: Id
    last_id: Id
    start: Ns
    end: Ns
    state: GapState


class CoverageRow(Row, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A range of the ledger."""

    stream: Stream
    first_id: Id
    last_id: Id
    ids: int
    start: Ns
    end: Ns
    state: CoverageState


class BookRow(Row, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A book, best prices first."""

    ts_event: Ns
    ts_recv: Ns
    last_update_id: Id
    bids: TextLevels
    asks: TextLevels


class Hole(Struct, frozen=True, gc=False, kw_only=True):
    """Ids that are missing in an answer, both ends included; or a time of which nothing was recorded."""

    stream: Stream
    first_id: Annotated[int | None, Meta(description="Assigned by the venue; null if `unrecorded`")]
    last_id: Annotated[int | None, Meta(description="Likewise")]
    start: Annotated[
        int, Meta(description="`ts_event` of the tick before, in ns; `start` of the range if it is later")
    ]
    end: Annotated[
        int, Meta(description="`ts_event` of the tick behind, in ns; or where the range, or time, ends")
    ]
    state: Annotated[
        CoverageState,
        Meta(description="`open` may still be filled, `lost` hardly; `unrecorded`: no ids are known"),
    ]


def trade_rows(trades: Iterable[TradeTick]) -> list[TradeRow]:
    """Return trades as rows."""
    return [
        TradeRow(
            venue=one.instrument.venue,
            market=one.instrument.market,
            symbol=one.instrument.symbol,
            ts_event=one.ts_event,
            ts_recv=one.ts_recv,
            trade_id=one.trade_id,
            price=to_text(one.price, one.instrument.price_precision),
            size=to_text(one.size, one.instrument.size_precision),
            aggressor=one.aggressor,
            first_match_id=one.first_match_id,
            last_match_id=one.last_match_id,
            off_book=one.off_book,
        )
        for one in trades
    ]


def candle_rows(candles: Iterable[Candle]) -> list[CandleRow]:
    """Return candles as rows."""
    return [_candle_row(one) for one in candles]


def _candle_row(candle: Candle) -> CandleRow:
    one = candle.instrument
    price, size = one.price_precision, one.size_precision
    return CandleRow(
        venue=one.venue,
        market=one.market,
        symbol=one.symbol,
        timeframe=candle.timeframe.name,
        start=candle.start,
        end=candle.end,
        open=to_text(candle.open, price),
        high=to_text(candle.high, price),
        low=to_text(candle.low, price),
        close=to_text(candle.close, price),
        volume=to_text(candle.volume, size),
        quote_volume=to_text(candle.quote_volume, price + size),
        vwap=to_text(candle.vwap, price),
        trades=candle.trades,
        closed=candle.closed,
        complete=candle.complete,
    )


def gap_rows(gaps: Iterable[Gap]) -> list[GapRow]:
    """Return gaps as rows."""
    return [
        GapRow(
            venue=gap.instrument.venue,
            market=gap.instrument.market,
            symbol=gap.instrument.symbol,
            ts_event=gap.ts_event,
            ts_recv=gap.ts_recv,
            stream=gap.stream,
            first_id=gap.first_id,
            last_id=gap.last_id,
            start=gap.start,
            end=gap.end,
            state=gap.state,
        )
        for gap in gaps
    ]


def coverage_row(instrument: Instrument, covered: Coverage) -> CoverageRow:
    """Return a range of the ledger as a row."""
    return CoverageRow(
        venue=instrument.venue,
        market=instrument.market,
        symbol=instrument.symbol,
        stream=covered.stream,
        first_id=covered.first_id,
        last_id=covered.last_id,
        ids=covered.ids,
        start=covered.start,
        end=covered.end,
        state=covered.state,
    )


def text_levels(levels: Levels, instrument: Instrument) -> TextLevels:
    """Return levels as prices and sizes in text."""
    return [
        (to_text(price, instrument.price_precision), to_text(size, instrument.size_precision))
        for price, size in levels
    ]


def holes_of(stream: Stream, absent: Sequence[Absent], unrecorded: Sequence[Unrecorded] = ()) -> list[Hole]:
    """Return what is missing as an answer names it: first the times of which nothing was recorded."""
    times = [
        Hole(
            stream=stream,
            first_id=None,
            last_id=None,
            start=one.start,
            end=one.end,
            state=CoverageState.UNRECORDED,
        )
        for one in unrecorded
        if not any(hole.start <= one.start and one.end <= hole.end for hole in absent)  # ids say more
    ]
    return times + [
        Hole(
            stream=stream,
            first_id=hole.first_id,
            last_id=hole.last_id,
            start=hole.start,
            end=hole.end,
            state=hole.state,
        )
        for hole in absent
    ]
