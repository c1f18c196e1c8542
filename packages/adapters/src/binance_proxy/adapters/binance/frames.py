"""Binance's combined-stream frames, turned into ticks of instruments.

Source: Binance Spot, "WebSocket Streams"; Binance USD-M Futures, "WebSocket Market Streams".
"""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from binance_proxy.adapters.binance.symbols import slashed
from binance_proxy.application.ports import FrameRejected
from binance_proxy.domain.errors import ScaleError, TickRejected, TimeTooCoarse
from binance_proxy.domain.instrument import MILLISECOND_NS, Instrument, Market
from binance_proxy.domain.printed import printed_time
from binance_proxy.domain.scale import INT64_MAX, to_units
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick, Side, TradeTick, check_trade

ROUTES = 10_000
"""How many beginnings of frames are remembered; there is one for each stream of each pair."""

_NAME_AT = len('{"stream":"')
_HEAD = re.compile(rb'\s*\{\s*"stream"\s*:\s*"([^"@]+)@([^"]*)"')
_ON_BOOK = {None, "MARKET"}
_BUY, _SELL = Side.BUY, Side.SELL  # to ask an enum for its member takes as long as to make a tick
_SHAPE = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=INT64_MAX)]
# A lax decoder reads 2e3 by way of a float, which is exact below 2**53.
_LaxPositive: TypeAlias = Annotated[int, Meta(gt=0, le=2**53 - 1)]
_LaxId: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_LaxLevels = tuple[tuple[_LaxPositive, _LaxId], ...]
_TextLevels = list[tuple[str, str]]


class _Trade(Struct, gc=False):
    e: Literal["trade"]
    s: str
    t: _Id
    p: str
    q: str
    T: int
    m: bool
    X: str | None = None


class _AggregatedTrade(Struct, gc=False):
    e: Literal["aggTrade"]
    s: str
    a: _Id
    p: str
    q: str
    f: _Id
    l: _Id  # noqa: E741  Binance's name
    T: int
    m: bool


class _Depth(Struct, gc=False):
    e: Literal["depthUpdate"]
    s: str
    E: _LaxId
    U: _LaxId
    u: _LaxId
    b: _LaxLevels
    a: _LaxLevels
    pu: _LaxId | None = None
    T: _LaxId | None = None


class _ExactDepth(Struct, gc=False):
    e: Literal["depthUpdate"]
    s: str
    E: int
    U: _Id
    u: _Id
    b: _TextLevels
    a: _TextLevels
    pu: _Id | None = None
    T: int | None = None


class _TradeFrame(Struct, gc=False):
    data: _Trade


class _AggregatedTradeFrame(Struct, gc=False):
    data: _AggregatedTrade


class _DepthFrame(Struct, gc=False):
    data: _Depth


class _ExactDepthFrame(Struct, gc=False):
    data: _ExactDepth


class _RestDepth(Struct, gc=False):
    lastUpdateId: _Id  # noqa: N815  Binance's name
    bids: _TextLevels
    asks: _TextLevels
    E: int | None = None
    T: int | None = None


_decode_trade = msgspec.json.Decoder(_TradeFrame).decode
_decode_aggregated_trade = msgspec.json.Decoder(_AggregatedTradeFrame).decode
_decode_depth = msgspec.json.Decoder(_DepthFrame, strict=False).decode
_decode_exact_depth = msgspec.json.Decoder(_ExactDepthFrame).decode
_decode_rest_depth = msgspec.json.Decoder(_RestDepth).decode


class _Known:
    """An instrument, and what its numbers are multiplied by."""

    __slots__ = ("instrument", "price_end", "size_end", "symbol", "too_fine", "ts_event")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.symbol = instrument.symbol.replace("/", "")
        self.price_end = b'e%d","' % instrument.price_precision
        self.size_end = b'e%d"]' % instrument.size_precision
        self.too_fine = b"." + b"0" * (min(instrument.price_precision, instrument.size_precision) + 1)
        self.ts_event = 0
        """The venue's clock when it was last heard."""


_Reader: TypeAlias = Callable[[bytes, _Known, int], TradeTick | QuoteTick]
_Route: TypeAlias = tuple[_Known, _Reader | None]
"""Whose a frame is, and what reads it; `None` if nobody does, for it is of a stream that is not recorded."""


class BinanceFrames:
    """Decodes raw frames of one market into ticks, exactly, or says what is wrong with them."""

    def __init__(self, market: Market, instruments: Iterable[Instrument] = ()) -> None:
        """Decode frames of these instruments; those of others are rejected."""
        self.market = market
        self._is_spot = market is Market.SPOT
        self._known = {known.symbol.lower().encode(): known for known in map(_Known, instruments)}
        self._routes: dict[bytes, _Route] = {}
        self._readers: dict[bytes, _Reader] = {
            b"trade": self._trade, b"depth": self._quote, b"aggTrade": self._aggregated_trade,
        }  # fmt: skip

    def with_instruments(self, instruments: Iterable[Instrument]) -> "BinanceFrames":
        """Return a decoder of the same market for these instruments."""
        return BinanceFrames(self.market, instruments)

    def describe(self, raw: bytes) -> Instrument | None:
        """Return the instrument that a frame is about, with units that fit all that Binance prints.

        `None` if the frame does not say it: a bare snapshot, another exchange's frame, broken JSON.
        """
        head = _HEAD.match(raw)
        symbol = head and slashed(head[1].decode("ascii", "replace").upper())
        if not symbol:
            return None
        # Always ms, as streams and REST say: a trade stored in µs would not be known again in ms.
        return Instrument(
            venue="binance",
            market=self.market,
            symbol=symbol,
            price_precision=8,
            size_precision=8,
            time_resolution_ns=MILLISECOND_NS,
        )

    def market_of(self, raw: bytes) -> Market | None:
        """Return the market that a frame shows itself to be of: ``pu`` and ``X`` are only on futures."""
        head = _HEAD.match(raw)
        stream = head[2].partition(b"@")[0] if head else b""
        if stream == b"depth":
            return Market.USDM if b'"pu"' in raw else Market.SPOT
        if stream == b"trade":
            return Market.USDM if b'"X"' in raw else Market.SPOT
        return None

    def decode(
        self, raw: bytes, ts_recv: int, home: Instrument | None = None
    ) -> TradeTick | QuoteTick | BookSnapshot | None:
        """Return what a frame says; `None` if it is of a stream that is not recorded (klines, bookTicker).

        ``home`` is the instrument that a bare REST snapshot belongs to, since it does not say so itself.

        Raises:
            FrameRejected: The frame is broken, of an unknown symbol, or says something impossible.
        """
        try:
            route = self._routes.get(raw[: raw.find(b'"', _NAME_AT)]) or self._route(raw)
            if route is None:
                return self._snapshot(raw, ts_recv, home)
            known, read = route
            tick = read(raw, known, ts_recv) if read else None
        except msgspec.ValidationError as error:
            raise FrameRejected("missing or wrong field", str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FrameRejected("broken JSON", f"{error}: {_begin(raw)}") from error
        except TimeTooCoarse as error:
            raise FrameRejected("time too coarse", str(error)) from error
        except (ScaleError, TickRejected) as error:
            raise FrameRejected("impossible number", str(error)) from error
        if tick is not None:
            known.ts_event = tick.ts_event
        return tick

    def _route(self, raw: bytes) -> _Route | None:
        """Return whose frame it is and what reads it, and remember how such frames begin."""
        head = _HEAD.match(raw)
        if head is None:
            return None
        known = self._known.get(head[1].lower())
        if known is None:
            raise FrameRejected("unknown symbol", f"{head[1].decode(errors='replace')} is not being recorded")
        route = known, self._readers.get(head[2].partition(b"@")[0])
        if len(self._routes) < ROUTES:
            self._routes[raw[: head.end() - 1]] = route
        return route

    def _trade(self, raw: bytes, known: _Known, ts_recv: int) -> TradeTick:
        trade = _decode_trade(raw).data
        instrument = _same_symbol(known, trade.s)
        if trade.X is not None and self._is_spot:
            raise FrameRejected("frame of another market", f"trade {trade.t} is not of spot")
        return check_trade(
            TradeTick(
                instrument=instrument,
                ts_event=printed_time(known.instrument, trade.T),
                ts_recv=ts_recv,
                trade_id=trade.t,
                price=to_units(trade.p, instrument.price_precision),
                size=to_units(trade.q, instrument.size_precision),
                aggressor=_SELL if trade.m else _BUY,
                off_book=trade.X not in _ON_BOOK,
            )
        )

    def _aggregated_trade(self, raw: bytes, known: _Known, ts_recv: int) -> TradeTick:
        trade = _decode_aggregated_trade(raw).data
        instrument = _same_symbol(known, trade.s)
        if trade.l < trade.f:
            raise TickRejected(
                f"aggregated trade {trade.a} ends at match {trade.l}, before its first, {trade.f}"
            )
        return check_trade(
            TradeTick(
                instrument=instrument,
                ts_event=printed_time(known.instrument, trade.T),
                ts_recv=ts_recv,
                trade_id=trade.a,
                price=to_units(trade.p, instrument.price_precision),
                size=to_units(trade.q, instrument.size_precision),
                aggressor=_SELL if trade.m else _BUY,
                first_match_id=trade.f,
                last_match_id=trade.l,
            )
        )

    def _quote(self, raw: bytes, known: _Known, ts_recv: int) -> QuoteTick:
        depth: _Depth | _ExactDepth
        plain = _plain_depth(raw, known)
        if plain is not None:
            depth, bids, asks = plain, plain.b, plain.a
        else:  # the exact decoder says what is wrong, if anything is
            depth = exact = _decode_exact_depth(raw).data
            bids, asks = _levels(exact.b, known.instrument), _levels(exact.a, known.instrument)
        if depth.u < depth.U or (depth.pu is not None and depth.pu >= depth.U):
            raise TickRejected(f"update {depth.u} has ids that run backwards")
        if (depth.pu is None) is not self._is_spot:
            raise FrameRejected("frame of another market", f"update {depth.u} is not of {self.market}")
        return QuoteTick(
            instrument=_same_symbol(known, depth.s),
            ts_event=printed_time(known.instrument, depth.T or depth.E),
            ts_recv=ts_recv,
            first_update_id=depth.U,
            last_update_id=depth.u,
            previous_update_id=depth.pu,
            bids=bids,
            asks=asks,
        )

    def _snapshot(self, raw: bytes, ts_recv: int, home: Instrument | None) -> BookSnapshot:
        try:
            depth = _decode_rest_depth(raw)
        except msgspec.ValidationError as error:
            raise FrameRejected("not a frame of Binance", f"{error}: {_begin(raw)}") from error
        known = self._known.get(home.symbol.replace("/", "").lower().encode()) if home else None
        if known is None:
            raise FrameRejected(
                "snapshot of no pair", "it cannot be told which of several pairs it belongs to"
            )
        bids, asks = _levels(depth.bids, known.instrument), _levels(depth.asks, known.instrument)
        # A spot snapshot has no time. The venue's clock, as last heard before it arrived, is the nearest
        # known time that is not ahead of it.
        said = depth.T or depth.E
        heard = known.ts_event or ts_recv - ts_recv % known.instrument.time_resolution_ns
        ts_event = heard if said is None else printed_time(known.instrument, said)
        return BookSnapshot(
            instrument=known.instrument,
            ts_event=ts_event,
            ts_recv=ts_recv,
            last_update_id=depth.lastUpdateId,
            bids=bids,
            asks=asks,
        )


def _plain_depth(raw: bytes, known: _Known) -> _Depth | None:
    """Return an update with its levels in units, all read in C; `None` if they have to be read one by one.

    With 8 decimals ``"61837.63"`` is made ``"61837.63e8"``, which a lax decoder takes for the int
    6183763000000. That is exact: it refuses what is not whole, or not below 2**53. Only digits that are too
    far behind for a float would be lost, so there may be none behind the last place of the precision.
    """
    start = raw.find(b"[")
    head, levels = raw[:start], raw[start:]
    if b"." in head or b"\\" in levels or known.too_fine in levels.translate(_SHAPE):
        return None
    scaled = levels.replace(b'","', known.price_end).replace(b'"]', known.size_end)
    try:
        depth = _decode_depth(head + scaled).data
    except msgspec.ValidationError:
        return None
    # Every number is text, and has its exponent.
    count = len(depth.b) + len(depth.a)
    ends = len(known.price_end) + len(known.size_end) - len(b'",""]')
    if len(scaled) - len(levels) != count * ends or levels.count(b'"') != 4 * count + 2:
        return None
    return depth


def _same_symbol(known: _Known, symbol: str) -> Instrument:
    if symbol != known.symbol:
        raise TickRejected(f"the stream is of {known.symbol}, the event of {symbol}")
    return known.instrument


def _levels(texts: _TextLevels, instrument: Instrument) -> Levels:
    levels = tuple(
        (to_units(price, instrument.price_precision), to_units(size, instrument.size_precision))
        for price, size in texts
    )
    if any(price <= 0 or size < 0 for price, size in levels):
        raise TickRejected("a level has a price that is not above zero, or a size below zero")
    return levels


def _begin(raw: bytes) -> str:
    text = raw[:80].decode(errors="replace").strip()
    return text + ("..." if len(raw) > 80 else "")
