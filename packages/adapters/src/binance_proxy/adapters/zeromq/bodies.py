"""The bodies of published messages: events whose numbers are decimal text.

Field by field they are described in ``docs/reference/wire.md``. The same body is sent as JSON and as
MessagePack.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from binance_proxy.application.ports import PublishedEvent
from binance_proxy.domain.candle import Candle
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.scale import FloatLevels, to_text
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, StaleBook, TradeTick

TextLevels: TypeAlias = list[tuple[str, str]]

json_of: Callable[[object], bytes] = msgspec.json.Encoder().encode
msgpack_of: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
_text_levels = msgspec.json.Decoder(TextLevels).decode


class Body(Struct, gc=False, omit_defaults=True, kw_only=True, tag_field="type"):
    """What every body begins with."""

    venue: str
    market: str
    symbol: str
    epoch: str
    sequence: int
    ts_event: int
    ts_recv: int


class TradeBody(Body, gc=False, omit_defaults=True, kw_only=True, tag="trade"):
    """A `TradeTick`; the last three fields appear only on prints that need them."""

    trade_id: int
    price: str
    size: str
    aggressor: str
    first_match_id: int | None = None
    last_match_id: int | None = None
    off_book: bool = False


class QuoteBody(Body, gc=False, omit_defaults=True, kw_only=True, tag="quote"):
    """A `QuoteTick`; ``previous_update_id`` appears on markets that have it."""

    first_update_id: int
    last_update_id: int
    bids: Raw
    asks: Raw
    previous_update_id: int | None = None


class SnapshotBody(Body, gc=False, omit_defaults=True, kw_only=True, tag="snapshot"):
    """A `BookSnapshot`."""

    last_update_id: int
    bids: Raw
    asks: Raw


class CandleBody(Body, gc=False, omit_defaults=True, kw_only=True, tag="candle"):
    """A `Candle`."""

    timeframe: str
    start: int
    end: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str
    vwap: str
    trades: int
    closed: bool
    complete: bool


class GapBody(Body, gc=False, omit_defaults=True, kw_only=True, tag="gap"):
    """A `Gap`."""

    stream: str
    first_id: int
    last_id: int
    start: int
    end: int
    state: str


class StaleBody(Body, gc=False, omit_defaults=True, kw_only=True, tag="stale"):
    """A `StaleBook`."""

    reason: str


class BodyOf:
    """Makes bodies of the events of one instrument."""

    def __init__(self, instrument: Instrument, epoch: str) -> None:
        """Fix what is the same in every body."""
        self._venue, self._market, self._symbol = instrument.venue, instrument.market.value, instrument.symbol
        self._epoch = epoch
        self._price = instrument.price_precision
        self._size = instrument.size_precision
        self._float_levels = FloatLevels(self._price, self._size)

    def make(self, event: PublishedEvent, sequence: int, levels: Callable[[bytes], Raw]) -> Body:
        """Return the body of an event; ``levels`` brings JSON levels into the encoding of the body."""
        if isinstance(event, TradeTick):
            return self._trade(event, sequence)
        if isinstance(event, QuoteTick):
            return self._quote(event, sequence, levels)
        if isinstance(event, Candle):
            return self._candle(event, sequence)
        if isinstance(event, BookSnapshot):
            return self._snapshot(event, sequence, levels)
        if isinstance(event, Gap):
            return self._gap(event, sequence)
        return self._stale(event, sequence)

    def _trade(self, trade: TradeTick, sequence: int) -> TradeBody:
        return TradeBody(
            venue=self._venue,
            market=self._market,
            symbol=self._symbol,
            epoch=self._epoch,
            sequence=sequence,
            ts_event=trade.ts_event,
            ts_recv=trade.ts_recv,
            trade_id=trade.trade_id,
            price=to_text(trade.price, self._price),
            size=to_text(trade.size, self._size),
            aggressor=trade.aggressor.value,
            first_match_id=trade.first_match_id,
            last_match_id=trade.last_match_id,
            off_book=trade.off_book,
        )

    def _quote(self, quote: QuoteTick, sequence: int, levels: Callable[[bytes], Raw]) -> QuoteBody:
        return QuoteBody(
            venue=self._venue,
            market=self._market,
            symbol=self._symbol,
            epoch=self._epoch,
            sequence=sequence,
            ts_event=quote.ts_event,
            ts_recv=quote.ts_recv,
            first_update_id=quote.first_update_id,
            last_update_id=quote.last_update_id,
            previous_update_id=quote.previous_update_id,
            bids=levels(self._json_levels(quote.bids)),
            asks=levels(self._json_levels(quote.asks)),
        )

    def _snapshot(
        self, snapshot: BookSnapshot, sequence: int, levels: Callable[[bytes], Raw]
    ) -> SnapshotBody:
        return SnapshotBody(
            venue=self._venue,
            market=self._market,
            symbol=self._symbol,
            epoch=self._epoch,
            sequence=sequence,
            ts_event=snapshot.ts_event,
            ts_recv=snapshot.ts_recv,
            last_update_id=snapshot.last_update_id,
            bids=levels(self._json_levels(snapshot.bids)),
            asks=levels(self._json_levels(snapshot.asks)),
        )

    def _candle(self, candle: Candle, sequence: int) -> CandleBody:
        price, size = self._price, self._size
        return CandleBody(
            venue=self._venue,
            market=self._market,
            symbol=self._symbol,
            epoch=self._epoch,
            sequence=sequence,
            ts_event=candle.ts_event,
            ts_recv=candle.ts_recv,
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

    def _gap(self, gap: Gap, sequence: int) -> GapBody:
        return GapBody(
            venue=self._venue,
            market=self._market,
            symbol=self._symbol,
            epoch=self._epoch,
            sequence=sequence,
            ts_event=gap.ts_event,
            ts_recv=gap.ts_recv,
            stream=gap.stream.value,
            first_id=gap.first_id,
            last_id=gap.last_id,
            start=gap.start,
            end=gap.end,
            state=gap.state.value,
        )

    def _stale(self, stale: StaleBook, sequence: int) -> StaleBody:
        return StaleBody(
            venue=self._venue,
            market=self._market,
            symbol=self._symbol,
            epoch=self._epoch,
            sequence=sequence,
            ts_event=stale.ts_event,
            ts_recv=stale.ts_recv,
            reason=stale.reason,
        )

    def _json_levels(self, levels: Levels) -> bytes:
        """Return levels as JSON text, ``[["3050.12","1.5"],...]``.

        The floats' own shortest text is the exact decimal, and C writes it in a third of the time that
        `to_text` takes. What remains is to put quotes around it and to drop the ``.0`` of whole numbers.
        """
        if not levels:
            return b"[]"
        floats = self._float_levels.to_floats(levels)
        if floats is not None:
            text = json_of(floats)
            if b"e" not in text:  # the shortest text of a very small number is 1e-7
                quoted = text[2:-2].replace(b",", b'","').replace(b']","[', b'"],["')
                return (b'[["' + quoted + b'"]]').replace(b'.0"', b'"')
        return json_of([(to_text(price, self._price), to_text(size, self._size)) for price, size in levels])


def levels_in_json(levels: bytes) -> Raw:
    """Put JSON levels into a JSON body."""
    return Raw(levels)


def levels_in_msgpack(levels: bytes) -> Raw:
    """Put JSON levels into a MessagePack body."""
    return Raw(msgpack_of(_text_levels(levels)))
