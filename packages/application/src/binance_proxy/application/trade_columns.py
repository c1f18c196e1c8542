"""Many trades at once, column by column: a day of them is moved without an object for each."""

from array import array
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import Side, TradeTick

Bigints: TypeAlias = "array[int]"
"""Whole numbers of 64 bits: an ``array('q')``."""


class TradeColumns(Struct, frozen=True, kw_only=True):
    """Trades of one instrument by time and then by id; each field as in `TradeTick`, one value a trade.

    What is true or false is one byte a trade.
    """

    instrument: Instrument
    ts_event: Bigints
    ts_recv: Bigints
    trade_id: Bigints
    price: Bigints
    size: Bigints
    is_buy: bytes
    """Whether the aggressor bought."""
    first_match_id: Bigints
    """0 where there is none."""
    last_match_id: Bigints
    """0 where there is none."""
    has_first_match: bytes
    has_last_match: bytes
    off_book: bytes

    def __len__(self) -> int:
        """How many trades there are."""
        return len(self.trade_id)

    def trades(self) -> list[TradeTick]:
        """Return the same as ticks."""
        rows = zip(
            self.ts_event,
            self.ts_recv,
            self.trade_id,
            self.price,
            self.size,
            self.is_buy,
            self.first_match_id,
            self.last_match_id,
            self.has_first_match,
            self.has_last_match,
            self.off_book,
            strict=True,
        )
        return [
            TradeTick(
                instrument=self.instrument,
                ts_event=ts_event,
                ts_recv=ts_recv,
                trade_id=trade_id,
                price=price,
                size=size,
                aggressor=Side.BUY if is_buy else Side.SELL,
                first_match_id=first if has_first else None,
                last_match_id=last if has_last else None,
                off_book=bool(off_book),
            )
            for (
                ts_event,
                ts_recv,
                trade_id,
                price,
                size,
                is_buy,
                first,
                last,
                has_first,
                has_last,
                off_book,
            ) in rows
        ]


def columns_of(trades: Sequence[TradeTick]) -> TradeColumns:
    """Turn trades of one instrument, at least one, into columns.

    Raises:
        OverflowError: A number has more than 64 bits.
    """
    return TradeColumns(
        instrument=trades[0].instrument,
        ts_event=array("q", [one.ts_event for one in trades]),
        ts_recv=array("q", [one.ts_recv for one in trades]),
        trade_id=array("q", [one.trade_id for one in trades]),
        price=array("q", [one.price for one in trades]),
        size=array("q", [one.size for one in trades]),
        is_buy=bytes([one.aggressor is Side.BUY for one in trades]),
        first_match_id=array("q", [one.first_match_id or 0 for one in trades]),
        last_match_id=array("q", [one.last_match_id or 0 for one in trades]),
        has_first_match=bytes([one.first_match_id is not None for one in trades]),
        has_last_match=bytes([one.last_match_id is not None for one in trades]),
        off_book=bytes([one.off_book for one in trades]),
    )
