"""What a bridge answers, as values. Numbers are as in `binance_proxy.client.messages`."""

from decimal import Decimal
from typing import Any, Generic, TypeVar

from msgspec import Struct

from binance_proxy.client.messages import Levels, OfTopic

Row = TypeVar("Row")


class Pair(Struct, kw_only=True):
    """A pair as it is tracked."""

    symbol: str
    market: str = "spot"
    enabled: bool = True
    streams: tuple[str, ...] = ()
    """``trades`` and ``orderbook``, or one of them."""


class Pairs(Struct, kw_only=True):
    """All pairs that are tracked."""

    pairs: list[Pair]


class Removed(Struct, kw_only=True):
    """Whether a pair was tracked until now."""

    removed: bool


class Instrument(Struct, kw_only=True):
    """What was recorded of a pair in one place, and in which units."""

    venue: str
    market: str
    symbol: str
    name: str
    """As topics begin: ``binance.spot.ethusdt``."""
    price_precision: int
    """Decimals of a price."""
    size_precision: int
    """Decimals of a size."""


class Instruments(Struct, kw_only=True):
    """All that was ever recorded."""

    instruments: list[Instrument]


class Hole(Struct, kw_only=True):
    """Ids that are missing in an answered range, both ends included; or a time that was not recorded."""

    stream: str = ""
    first_id: int | None
    """`None` if nothing was recorded then, so that no ids are known."""
    last_id: int | None
    start: int | None = None
    """``ts_event`` of the last tick before the hole; ns since the epoch, UTC."""
    end: int | None = None
    """``ts_event`` of the first tick behind it."""
    state: str = ""
    """``open``, ``lost`` or ``unrecorded``."""


class Page(Struct, Generic[Row], kw_only=True):
    """A part of an answer that has many rows."""

    rows: tuple[Row, ...] | None = None
    """`None` if they came as Arrow."""
    next: str | None = None
    """Ask with this ``cursor`` for the rows behind these; `None` if there are no more."""
    holes: tuple[Hole, ...] = ()
    """What is missing in the range."""
    as_of: int = 0
    """When it was answered; ns since the epoch, UTC."""
    stored: bool = True
    """False if the newest recorded ticks are not in the store yet, and so not in the answer."""


class BookAnswer(Struct, kw_only=True):
    """A book, as it is or as it was."""

    venue: str = ""
    market: str = ""
    symbol: str = ""
    epoch: str = ""
    """Of the topic, if it is the book of now."""
    sequence: int = 0
    """Of the newest message of the topic that is in it, if it is the book of now."""
    last_update_id: int
    ts_event: int
    ts_recv: int = 0
    bids: Levels
    asks: Levels


class Spread(Struct, kw_only=True):
    """The best prices, and what lies between them."""

    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal
    mid: Decimal
    spread: Decimal
    spread_bps: float
    """In basis points of the mid."""


class Depth(Struct, kw_only=True):
    """The best levels of each side: price, size, and the size of all levels up to this one."""

    ts_event: int = 0
    last_update_id: int = 0
    bids: tuple[tuple[Decimal, Decimal, Decimal], ...]
    """Best first."""
    asks: tuple[tuple[Decimal, Decimal, Decimal], ...]
    """Best first."""


class Liquidity(Struct, kw_only=True):
    """What rests within a distance of the mid."""

    bid_size: Decimal
    ask_size: Decimal
    bid_value: Decimal
    """In the quote asset."""
    ask_value: Decimal
    """In the quote asset."""
    mid: Decimal | None = None


class Vwap(Struct, kw_only=True):
    """The average price of a range, weighted by size."""

    vwap: Decimal | None
    """`None` if there was no trade."""
    volume: Decimal
    quote_volume: Decimal
    trades: int
    holes: tuple[Hole, ...] = ()


class Slippage(Struct, kw_only=True):
    """What a market order of a size would meet on a book."""

    filled: Decimal
    unfilled: Decimal
    """What the book does not have."""
    vwap: Decimal | None = None
    """`None` if nothing is filled."""
    slippage_mid_bps: float | None = None
    """In basis points of the mid; positive is worse."""
    slippage_touch_bps: float | None = None
    """Likewise, of the best price."""
    fills: tuple[Any, ...] = ()
    """Prices and sizes, best first."""


class Recalled(Struct, kw_only=True):
    """What was published on a topic behind a sequence."""

    epoch: str
    """Of this run of the bridge."""
    sequence: int
    """Of the newest message of the topic."""
    messages: tuple[OfTopic, ...] | None = None
    """Oldest first; `None` if some are gone: start over."""
    more: bool = False
    """True if there are more behind these."""
