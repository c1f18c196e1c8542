"""The REST side: ``/api/v3``.

Source: Binance Spot, "Market Data endpoints".
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import TypeAlias

from aiohttp import web

from binance_proxy.domain.tick import Levels
from binance_proxy.sandbox import printing
from binance_proxy.sandbox.asked import UNKNOWN, Asked, Refusal
from binance_proxy.sandbox.faults import Fault, FaultPlan
from binance_proxy.sandbox.hold import Hold
from binance_proxy.sandbox.klines import INTERVALS
from binance_proxy.sandbox.prints import Print
from binance_proxy.sandbox.settings import SandboxSettings
from binance_proxy.sandbox.venue import Symbol, Venue
from binance_proxy.sandbox.weight import Verdict, WeightMeter

Answer: TypeAlias = object | str
"""Something to encode, or JSON that is text already."""
Endpoint: TypeAlias = Callable[[Asked, web.Request], Answer]

MOST_LEVELS, MOST_ROWS = 5_000, 1_000
UNIT_HEADER = "X-MBX-TIME-UNIT"
TOO_MUCH = "Please use WebSocket Streams for live updates to avoid"
PLACE = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in"
    " https://www.binance.com/en/terms. Please contact customer service if you believe you received this"
    " message in error."
)


class Rest:
    """Answers requests about a venue, by weight, and with the faults that are planned."""

    def __init__(
        self, venue: Venue, settings: SandboxSettings, faults: FaultPlan, hold: Hold, meter: WeightMeter
    ) -> None:
        self._venue = venue
        self._settings = settings
        self._faults = faults
        self._hold = hold
        self._meter = meter

    def routes(self) -> list[web.RouteDef]:
        """Return what is answered, with what each weighs."""
        return [
            self._route("ping", 1, self._ping),
            self._route("time", 1, self._time),
            self._route("exchangeInfo", 20, self._exchange_info),
            self._route("depth", depth_weight, self._depth),
            self._route("trades", 25, self._trades),
            self._route("historicalTrades", 25, self._historical_trades),
            self._route("aggTrades", 4, self._agg_trades),
            self._route("klines", 2, self._klines),
            self._route("ticker/bookTicker", book_ticker_weight, self._book_ticker),
        ]

    def _route(
        self, name: str, weight: int | Callable[[Mapping[str, str]], int], endpoint: Endpoint
    ) -> web.RouteDef:
        async def answer(request: web.Request) -> web.StreamResponse:
            fault, lasts_s = self._faults.request(name)
            if fault is Fault.OFFLINE:
                return hang_up(request)
            weighs = weight if isinstance(weight, int) else weight(request.query)
            verdict = self._meter.charge(request.remote or "", weighs)
            headers = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
            if fault is Fault.SLOW:
                await asyncio.sleep(self._faults.faults.slow_s)
            try:
                self._refuse_too_much(verdict)
                self._refuse_by_fault(fault, lasts_s)
                asked = Asked(request.query)
                body = self._old_depth(asked) if fault is Fault.STALE_SNAPSHOT else endpoint(asked, request)
            except Refusal as refusal:
                return refused(refusal, headers)
            return json(body, headers=headers)

        return web.get(f"/api/v3/{name}", answer)

    def _refuse_too_much(self, verdict: Verdict) -> None:
        headers = {"Retry-After": str(verdict.retry_after_s)}
        if verdict.status == 418:
            raise banned(verdict.retry_after_s)
        if verdict.status == 429:
            count, interval = printing.window(self._settings.weight_window_s)
            limit = f"{self._settings.weight_limit} request weight per {count} {interval}"
            raise Refusal(
                -1003,
                f"Too much request weight used; current limit is {limit}. {TOO_MUCH} polling the API.",
                status=429,
                headers=headers,
            )

    def _refuse_by_fault(self, fault: Fault | None, lasts_s: float) -> None:
        if fault is Fault.BAN:
            raise banned(ceil(lasts_s))
        if fault is Fault.THROTTLE:
            raise Refusal(-1003, "Too many requests.", status=429, headers={"Retry-After": "1"})
        if fault is Fault.PLACE:
            raise Refusal(0, PLACE, status=451)
        if fault is Fault.SERVER_ERROR:
            raise Refusal(*UNKNOWN, status=500)

    def _symbol(self, name: str) -> Symbol:
        symbol = self._venue.symbols.get(name)
        if symbol is None:
            raise Refusal(-1121, "Invalid symbol.")
        return symbol

    def _ping(self, asked: Asked, _: web.Request) -> Answer:
        asked.nothing_more()
        return {}

    def _time(self, asked: Asked, request: web.Request) -> Answer:
        asked.nothing_more()
        return {"serverTime": time.time_ns() // unit(request)}

    def _exchange_info(self, asked: Asked, request: web.Request) -> Answer:
        names = asked.symbols()
        symbols = self._venue.symbols.values() if names is None else map(self._symbol, names)
        limit = self._settings.weight_limit, self._settings.weight_window_s
        return printing.exchange_info(
            [symbol.instrument for symbol in symbols], time.time_ns(), limit, unit(request)
        )

    def _depth(self, asked: Asked, _: web.Request) -> Answer:
        symbol, levels = self._symbol(asked.symbol()), asked.limit(100, MOST_LEVELS)
        asked.nothing_more()
        book = symbol.book.now
        if book is None:
            raise Refusal(
                -1001, "Internal error; unable to process your request. Please try again.", status=503
            )
        self._hold.asked(symbol.name)
        return printing.partial_depth(book.last_update_id, *book.depth(levels), symbol.instrument)

    def _old_depth(self, asked: Asked) -> Answer:
        symbol, levels = self._symbol(asked.symbol()), asked.limit(100, MOST_LEVELS)
        older = symbol.book.older
        if older is None:
            raise Refusal(*UNKNOWN, status=503)
        return printing.partial_depth(
            older.last_update_id, older.bids[:levels], older.asks[:levels], symbol.instrument
        )

    def _trades(self, asked: Asked, request: web.Request) -> Answer:
        symbol, limit = self._symbol(asked.symbol()), asked.limit(500, MOST_ROWS)
        asked.nothing_more()
        return self._trade_rows(symbol, symbol.trades.newest(limit), request)

    def _historical_trades(self, asked: Asked, request: web.Request) -> Answer:
        if not self._settings.historical_trades:
            raise Refusal(0, "Not Found", status=404)
        self._check_key(request.headers.get("X-MBX-APIKEY"))
        symbol, limit = self._symbol(asked.symbol()), asked.limit(500, MOST_ROWS)
        from_id = asked.number("fromId")
        asked.nothing_more()
        kept = symbol.trades
        trades = kept.newest(limit) if from_id is None else kept.from_id(min(from_id, 2**63 - 1), limit)
        return self._trade_rows(symbol, trades, request)

    def _check_key(self, key: str | None) -> None:
        if key is None and self._settings.api_key_required:
            raise Refusal(-2014, "API-key format invalid.", status=401)
        if key is not None and self._settings.api_keys and key not in self._settings.api_keys:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", status=401)

    def _trade_rows(self, symbol: Symbol, trades: list[Print], request: web.Request) -> Answer:
        unit_ns = unit(request)
        return [printing.trade_row(trade, symbol.instrument, unit_ns) for trade in trades]

    def _agg_trades(self, asked: Asked, request: web.Request) -> Answer:
        unit_ns = unit(request)
        symbol, limit = self._symbol(asked.symbol()), asked.limit(500, MOST_ROWS)
        from_id = asked.number("fromId")
        start, end = asked.times()
        asked.nothing_more()
        kept = symbol.aggregates
        if from_id is not None:
            if start is not None or end is not None:
                raise Refusal(-1128, "Combination of optional parameters invalid.")
            trades = kept.from_id(min(from_id, 2**63 - 1), limit)
        else:
            trades = kept.between(start, end, limit)
        return [printing.aggregate_row(trade, symbol.instrument, unit_ns) for trade in trades]

    def _klines(self, asked: Asked, request: web.Request) -> Answer:
        unit_ns = unit(request)
        symbol, interval = self._symbol(asked.symbol()), asked.mandatory("interval")
        if interval not in INTERVALS:
            raise Refusal(-1120, "Invalid interval.")
        start, end = asked.times()
        limit = asked.limit(500, MOST_ROWS)
        asked.text("timeZone")  # periods are those of UTC
        asked.nothing_more()
        klines = symbol.klines(interval, start, end, limit)
        return [printing.kline_row(kline, symbol.instrument, unit_ns) for kline in klines]

    def _book_ticker(self, asked: Asked, request: web.Request) -> Answer:
        names = asked.symbols()
        asked.nothing_more()
        symbols = self._venue.symbols.values() if names is None else map(self._symbol, names)
        rows = [self._best(symbol) for symbol in symbols]
        return rows[0] if "symbol" in request.query else rows

    def _best(self, symbol: Symbol) -> dict[str, str]:
        book = symbol.book.now
        depth: tuple[Levels, Levels] = ((), ()) if book is None else book.depth(1)
        bid, bid_size, ask, ask_size = printing.best_texts(*depth, symbol.instrument)
        return {
            "symbol": symbol.name, "bidPrice": bid, "bidQty": bid_size, "askPrice": ask, "askQty": ask_size,
        }  # fmt: skip


def depth_weight(query: Mapping[str, str]) -> int:
    """Return what a request for a book weighs, by its limit."""
    text = query.get("limit", "")
    limit = int(text) if text.isdecimal() and len(text) < 10 else 100
    return next((weight for most, weight in ((100, 5), (500, 25), (1_000, 50)) if limit <= most), 250)


def book_ticker_weight(query: Mapping[str, str]) -> int:
    """Return what a request for best prices weighs: 2 for one symbol, 4 for more."""
    return 2 if "symbol" in query else 4


def unit(request: web.Request) -> int:
    """Return the ns of the unit that a request wants times in."""
    return printing.unit_of(request.headers.get(UNIT_HEADER))


def json(body: Answer, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer in JSON; a text is JSON already."""
    text = body.encode() if isinstance(body, str) else printing.encode(body)
    return web.Response(body=text, status=status, headers=headers, content_type="application/json")


def refused(refusal: Refusal, headers: Mapping[str, str]) -> web.Response:
    """Answer with Binance's code and sentence."""
    return json(
        {"code": refusal.code, "msg": refusal.message},
        status=refusal.status,
        headers={**headers, **refusal.headers},
    )


def banned(seconds: int) -> Refusal:
    """Return the answer to an address that is banned."""
    until = int((time.time() + seconds) * 1_000)
    return Refusal(
        -1003,
        f"Way too much request weight used; IP banned until {until}. {TOO_MUCH} bans.",
        status=418,
        headers={"Retry-After": str(seconds)},
    )


def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection of a request without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def not_found() -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return what answers every other path."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="Not Found")

    return answer
