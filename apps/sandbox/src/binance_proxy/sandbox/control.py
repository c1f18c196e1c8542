"""What no venue has: ``/sandbox`` for those who test against it. It weighs nothing and obeys no fault.

- ``POST /sandbox/faults`` with ``{"fault": "cut"}``, and ``count``, ``seconds``, ``stream`` or ``endpoint``:
  have something go wrong. ``GET``: how often each thing really has. ``DELETE``: no more of it.
- ``GET /sandbox/status``: where each symbol stands.
- ``GET /sandbox/trades?symbol=&fromId=&limit=``: the trades as the venue has them.
- ``GET /sandbox/checksums?symbol=&from_update_id=``: a checksum of the whole book at each update.
"""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import Side
from binance_proxy.sandbox.asked import Asked, Refusal
from binance_proxy.sandbox.door import Door
from binance_proxy.sandbox.faults import CONNECTION_FAULTS, Fault, FaultPlan
from binance_proxy.sandbox.play import Player
from binance_proxy.sandbox.rest import json, refused
from binance_proxy.sandbox.venue import Symbol, Venue

TRADES_A_PAGE, CHECKSUMS_A_PAGE = 100_000, 100_000


class FaultOrder(Struct, forbid_unknown_fields=True):
    """What ``POST /sandbox/faults`` takes."""

    fault: Fault
    count: Annotated[int, Meta(ge=1)] | None = None
    """How many times; of connections, at most how many of them."""
    seconds: Annotated[float, Meta(gt=0)] | None = None
    """How long, in place of how often."""
    stream: str | None = None
    """Only frames of this stream, or connections that have it."""
    endpoint: str | None = None
    """Only requests to this endpoint, such as ``depth``."""


_decode_order = msgspec.json.Decoder(FaultOrder).decode


class Control:
    """Lets tests look into the venue and break things."""

    def __init__(self, venue: Venue, door: Door, faults: FaultPlan, player: Player) -> None:
        self._venue = venue
        self._door = door
        self._faults = faults
        self._player = player

    def routes(self) -> list[web.RouteDef]:
        """Return what is answered."""
        return [
            web.post("/sandbox/faults", self._order),
            web.get("/sandbox/faults", self._fired),
            web.delete("/sandbox/faults", self._clear),
            web.get("/sandbox/status", self._status),
            web.get("/sandbox/trades", self._trades),
            web.get("/sandbox/checksums", self._checksums),
        ]

    async def _order(self, request: web.Request) -> web.StreamResponse:
        try:
            order = _decode_order(await request.read())
        except msgspec.MsgspecError as error:
            return json({"error": str(error)}, status=400)
        if order.fault in CONNECTION_FAULTS:
            return json({"connections": self._hit_connections(order)})
        self._faults.order(
            order.fault, only=order.stream or order.endpoint, count=order.count, seconds=order.seconds
        )
        return json({})

    def _hit_connections(self, order: FaultOrder) -> int:
        """Have it happen to connections that are open now; return to how many."""
        here = [one for one in self._door.sessions if one.is_open]
        hit = [one for one in here if order.stream is None or order.stream in one.names]
        hit = hit[: order.count]
        for session in hit:
            self._door.hit(order.fault, session)
        return len(hit)

    async def _fired(self, _: web.Request) -> web.StreamResponse:
        return json({fault.value: self._faults.fired[fault] for fault in Fault})

    async def _clear(self, _: web.Request) -> web.StreamResponse:
        self._faults.clear()
        return json({})

    async def _status(self, _: web.Request) -> web.StreamResponse:
        return json(
            {
                "held": self._player.is_held,
                "ended": self._venue.has_ended,
                "connections": len(self._door.sessions),
                "symbols": {name: self._where(symbol) for name, symbol in self._venue.symbols.items()},
            }
        )

    def _where(self, symbol: Symbol) -> dict[str, object]:
        book = symbol.book.now
        return {
            "events": symbol.events,
            "trades": len(symbol.trades),
            "last_trade_id": symbol.trades.last_id,
            "aggregates": len(symbol.aggregates),
            "last_aggregate_id": symbol.aggregates.last_id,
            "last_update_id": symbol.last_update_id,
            "book_update_id": None if book is None else book.last_update_id,
            "subscribers": self._door.streams.readers(symbol.name),
        }

    async def _trades(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = Asked(request.query)
            symbol = self._symbol(asked)
            from_id, limit = asked.number("fromId") or 0, asked.limit(TRADES_A_PAGE, TRADES_A_PAGE)
        except Refusal as refusal:
            return refused(refusal, {})
        instrument = symbol.instrument
        return json(
            [
                [
                    trade.id,
                    trade.ts_event,
                    to_text(trade.price, instrument.price_precision),
                    to_text(trade.size, instrument.size_precision),
                    Side.SELL if trade.sold else Side.BUY,
                ]
                for trade in symbol.trades.from_id(from_id, limit)
            ]
        )

    async def _checksums(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = Asked(request.query)
            checksums = self._symbol(asked).book.checksums
            from_update_id = asked.number("from_update_id") or 0
        except Refusal as refusal:
            return refused(refusal, {})
        if checksums is None:
            return json({"error": "the setting checksums is false"}, status=404)
        return json(checksums.page(from_update_id, CHECKSUMS_A_PAGE))

    def _symbol(self, asked: Asked) -> Symbol:
        symbol = self._venue.symbols.get(asked.symbol())
        if symbol is None:
            raise Refusal(-1121, "Invalid symbol.")
        return symbol
