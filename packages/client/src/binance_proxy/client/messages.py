"""What a bridge publishes, as values. Field by field: ``docs/reference/wire.md``.

Prices and sizes are `decimal.Decimal`, exactly as they were sent; times are int nanoseconds since the epoch,
UTC. The rows of answers are the same values; they come from no topic, so their ``epoch`` is empty and their
``sequence`` is 0.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

Level: TypeAlias = tuple[Decimal, Decimal]
"""A price, in the quote asset, and the size that rests there, in the base asset."""
Levels: TypeAlias = tuple[Level, ...]

STATUS = "bridge.status"
WELCOME = "bridge.welcome"


class Message(Struct, frozen=True, gc=False, kw_only=True, tag_field="type"):
    """What every message about an instrument has."""

    venue: str
    """Such as ``binance`` or ``simulated``."""
    market: str
    """``spot`` or ``usdm``."""
    symbol: str
    """Base and quote asset: ``ETH/USDT``."""
    epoch: str = ""
    """Id of the publisher's run."""
    sequence: int = 0
    """Position in its topic: 1, 2, 3, ..."""
    ts_event: int
    """When it happened, by the venue's clock; ns since the epoch, UTC."""
    ts_recv: int
    """When it reached the bridge, by the bridge's clock; ns since the epoch, UTC."""


class Trade(Message, frozen=True, gc=False, kw_only=True, tag="trade"):
    """One match, as the venue printed it."""

    trade_id: int
    """Assigned by the venue; rises by one within an instrument."""
    price: Decimal
    size: Decimal
    aggressor: str
    """Who took liquidity: ``buy`` or ``sell``."""
    first_match_id: int | None = None
    """On an aggregated print: its first match."""
    last_match_id: int | None = None
    """On an aggregated print: its last match."""
    off_book: bool = False
    """True if no resting order was hit; such a print is in no candle."""


class Quote(Message, frozen=True, gc=False, kw_only=True, tag="quote"):
    """One update of the book: levels with their new size; a size of 0 removes the level."""

    first_update_id: int
    last_update_id: int
    bids: Levels
    asks: Levels
    previous_update_id: int | None = None
    """``last_update_id`` of the update before, on markets that say it (``usdm``)."""


class Snapshot(Message, frozen=True, gc=False, kw_only=True, tag="snapshot"):
    """The whole book, best prices first."""

    last_update_id: int
    """Every change up to and including this id is in it."""
    bids: Levels
    asks: Levels


class Stale(Message, frozen=True, gc=False, kw_only=True, tag="stale"):
    """The bridge's own book fell out of step; nothing of it holds until the next snapshot."""

    reason: str
    """Why, for a person."""


class Candle(Message, frozen=True, gc=False, kw_only=True, tag="candle"):
    """Open, high, low, close and volume of the half-open period ``[start, end)``."""

    ts_event: int = 0
    """Of the newest trade in it; 0 in an answer, which does not say."""
    ts_recv: int = 0
    """Likewise."""
    timeframe: str
    """``1m``, ``5m``, ``1h``, ..."""
    start: int
    """Ns since the epoch, UTC."""
    end: int
    """Ns since the epoch, UTC."""
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    """Sum of sizes, in the base asset."""
    quote_volume: Decimal
    """Sum of price times size, in the quote asset."""
    vwap: Decimal
    trades: int
    closed: bool
    """False while trades of the period may still come."""
    complete: bool
    """True if it is proven that no trade is missing in it."""


class Gap(Message, frozen=True, gc=False, kw_only=True, tag="gap"):
    """A hole between the venue and the bridge; it comes again when its state changes."""

    stream: str
    """``trades`` or ``orderbook``."""
    first_id: int
    last_id: int
    start: int
    """``ts_event`` of the last tick before the hole."""
    end: int
    """``ts_event`` of the first tick behind it."""
    state: str
    """``open``, ``repaired`` or ``lost``."""


class Status(Struct, kw_only=True, tag_field="type", tag="status"):
    """How the bridge is; it says so once a second. ``docs/reference/wire.md`` has every field."""

    epoch: str = ""
    sequence: int = 0
    protocol: str = ""
    """Version of the wire."""
    ts_recv: int = 0
    """When it was said, by the bridge's clock; ns since the epoch, UTC."""
    instruments: dict[str, str] = {}
    """``in step``, ``stale`` or ``not tracked`` by name, such as ``binance.spot.ethusdt``."""
    recording: str = ""
    """``storing``, ``spooling`` or ``stopped``."""
    trades: int = 0
    quotes: int = 0
    gaps: int = 0
    open_gaps: int = 0
    repaired: int = 0
    lost: int = 0
    stored: int = 0
    waiting: int = 0
    serve: dict[str, Any] = {}
    """The request side: workers, waiting, answered, ... Empty if there is none."""
    subscribers: Any = None
    """Who listens, and how far each is, by its own reports."""
    cache: dict[str, Any] = {}
    """What is kept of answers, and how often that helped. Empty where no requests are answered."""


class Welcome(Struct, kw_only=True, tag_field="type", tag="welcome"):
    """Everything that was subscribed to before counts from now on."""

    epoch: str = ""
    sequence: int = 0
    protocol: str = ""


class Missed(Struct, frozen=True, kw_only=True):
    """Something was published that this stream does not have and cannot get. It is never silent about it."""

    topic: str
    reason: str
    """Why it could not be had, for a person."""
    messages: int | None = None
    """How many messages; `None` if nobody can tell."""
    ids: tuple[tuple[int, int], ...] = ()
    """Of trades: the ranges of trade ids among which they are, both ends included. Late trades with these ids
    may still come. Empty if nobody can tell."""


OfTopic: TypeAlias = Trade | Quote | Snapshot | Stale | Candle | Gap
"""A message with a place in the topic of an instrument."""


class _Envelope(Struct):
    """A CloudEvents 1.0 event; its data is the body."""

    data: Raw


_json_topic: Callable[[bytes | Raw], OfTopic] = msgspec.json.Decoder(OfTopic).decode
_msgpack_topic: Callable[[bytes], OfTopic] = msgspec.msgpack.Decoder(OfTopic).decode
_json_own: Callable[[bytes | Raw], Status | Welcome] = msgspec.json.Decoder(Status | Welcome).decode
_msgpack_own: Callable[[bytes], Status | Welcome] = msgspec.msgpack.Decoder(Status | Welcome).decode
_open = msgspec.json.Decoder(_Envelope).decode
_ENVELOPE = b'{"specversion"'


def read_message(body: bytes) -> OfTopic:
    """Decode a body in MessagePack or JSON, told apart by its first byte, in an envelope or without one.

    Raises:
        msgspec.MsgspecError: It is none of these, or no message of the wire.
    """
    if body[:1] != b"{":
        return _msgpack_topic(body)
    return _json_topic(_open(body).data if body.startswith(_ENVELOPE) else body)


def read_own(body: bytes) -> Status | Welcome:
    """Decode what a bridge says of itself. Raises like `read_message`."""
    if body[:1] != b"{":
        return _msgpack_own(body)
    return _json_own(_open(body).data if body.startswith(_ENVELOPE) else body)


def read_fields(body: bytes) -> dict[str, Any]:
    """Decode a body with all the fields that it has, also those that no class here names."""
    if body[:1] != b"{":
        fields: dict[str, Any] = msgspec.msgpack.decode(body, type=dict[str, Any])
    else:
        bare = _open(body).data if body.startswith(_ENVELOPE) else body
        fields = msgspec.json.decode(bare, type=dict[str, Any])
    return fields
