"""A method for each question that a bridge answers. Field by field: ``rpc.discover``, or the docs."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack

from binance_proxy.client.answers import (
    BookAnswer,
    Depth,
    Instrument,
    Instruments,
    Liquidity,
    Page,
    Pair,
    Pairs,
    Recalled,
    Removed,
    Slippage,
    Spread,
    Vwap,
)
from binance_proxy.client.calls import Answer
from binance_proxy.client.messages import Candle, Gap, Status, Trade

Time: TypeAlias = int | str
"""Ns since the epoch, or text with a zone such as ``2024-08-09T00:00:00Z``."""
Json: TypeAlias = Any
"""Maps, lists, text and numbers."""
Row = TypeVar("Row", Trade, Candle, Gap)

PAGE = 10_000
"""Rows that are asked for at once where all are wanted."""


class Place(TypedDict, total=False):
    """Where a pair was recorded; needed only if it was recorded in several places."""

    venue: str | None
    """Such as ``binance``."""
    market: str | None
    """``spot`` or ``usdm``."""


class Methods:
    """What can be asked. Each method raises `RequestFailed`, `RequestTimedOut` or `BridgeAway`.

    Wherever a pair is named, ``venue`` and ``market`` are needed only if it was recorded in several places.
    Ranges are half-open, ``[start, end)``.
    """

    async def ask(self, method: str, params: Mapping[str, object], timeout_s: float | None = None) -> Answer:
        """Ask, and return the answer as it came. Parameters that are `None` are left out."""
        raise NotImplementedError

    async def _ask(self, method: str, **params: object) -> Answer:
        return await self.ask(method, params)

    async def request(self, /, method: str, timeout_s: float | None = None, **params: object) -> Json:
        """Ask any method by its name, and return what it answers, as maps, lists, text and numbers.

        ``await bridge.request("trades.list", symbol="ETH/USDT", limit=100)``. What changes nothing is asked
        again if the connection breaks or the bridge says that it may help, until ``timeout_s`` are over.

        Raises:
            RequestFailed: The bridge refuses; the error has its code, its kind, and whether a retry may help.
            RequestTimedOut: There was no answer in time.
            BridgeAway: Nothing was there to ask.
        """
        return (await self.ask(method, params, timeout_s)).read(object)

    async def pairs_list(self) -> list[Pair]:
        """Return the pairs that are tracked."""
        return (await self._ask("pairs.list")).read(Pairs).pairs

    async def pairs_add(
        self,
        symbol: str,
        market: str = "spot",
        *,
        streams: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> Pair:
        """Track a pair, or change how it is tracked; return it as it is tracked now. Asked once only."""
        given = None if streams is None else list(streams)
        answer = await self._ask("pairs.add", symbol=symbol, market=market, streams=given, enabled=enabled)
        return answer.read(Pair)

    async def pairs_remove(self, symbol: str, market: str = "spot") -> bool:
        """Track a pair no more; return whether it was tracked. Asked once only."""
        return (await self._ask("pairs.remove", symbol=symbol, market=market)).read(Removed).removed

    async def instruments_list(self) -> list[Instrument]:
        """Return what was ever recorded, and where."""
        return (await self._ask("instruments.list")).read(Instruments).instruments

    async def instruments_get(
        self, symbol: str, *, venue: str | None = None, market: str | None = None
    ) -> Instrument:
        """Return how a pair was recorded."""
        answer = await self._ask("instruments.get", symbol=symbol, venue=venue, market=market)
        return answer.read(Instrument)

    async def trades_list(
        self,
        symbol: str,
        *,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        fetch: bool | None = None,
        **place: Unpack[Place],
    ) -> Page[Trade]:
        """Return a page of trades, oldest first; without ``start`` the newest ``limit`` before ``end``.

        With ``fetch`` the bridge gets what it has not stored from the exchange first. ``place`` is ``venue``
        and ``market``.
        """
        answer = await self._ask(
            "trades.list",
            symbol=symbol,
            start=start,
            end=end,
            limit=limit,
            cursor=cursor,
            fetch=fetch,
            **place,
        )
        return answer.read(Page[Trade])

    async def candles_list(
        self,
        symbol: str,
        timeframe: str = "1m",
        *,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        **place: Unpack[Place],
    ) -> Page[Candle]:
        """Return a page of candles, oldest first, the open one too (``closed`` is false).

        Without ``start`` the newest ``limit`` before ``end``. ``place`` is ``venue`` and ``market``.
        """
        answer = await self._ask(
            "candles.list",
            symbol=symbol,
            timeframe=timeframe,
            start=start,
            end=end,
            limit=limit,
            cursor=cursor,
            **place,
        )
        return answer.read(Page[Candle])

    async def gaps_list(
        self,
        symbol: str,
        *,
        stream: Literal["trades", "orderbook"] | None = None,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        **place: Unpack[Place],
    ) -> Page[Gap]:
        """Return a page of the known holes. ``place`` is ``venue`` and ``market``."""
        answer = await self._ask(
            "gaps.list",
            symbol=symbol,
            stream=stream,
            start=start,
            end=end,
            limit=limit,
            cursor=cursor,
            **place,
        )
        return answer.read(Page[Gap])

    def trade_history(
        self, /, symbol: str, start: Time, end: Time | None = None, **params: object
    ) -> AsyncGenerator[Trade]:
        """Yield every stored trade of a range, oldest first, page after page. Parameters as `trades_list`."""
        return self._rows(Trade, "trades.list", symbol=symbol, start=start, end=end, **params)

    def candle_history(
        self, /, symbol: str, timeframe: str, start: Time, end: Time | None = None, **params: object
    ) -> AsyncGenerator[Candle]:
        """Yield every candle of a range, oldest first, page after page. Parameters as `candles_list`."""
        return self._rows(
            Candle, "candles.list", symbol=symbol, timeframe=timeframe, start=start, end=end, **params
        )

    def gap_history(
        self, /, symbol: str, start: Time, end: Time | None = None, **params: object
    ) -> AsyncGenerator[Gap]:
        """Yield every known hole of a range, page after page. Parameters as `gaps_list`."""
        return self._rows(Gap, "gaps.list", symbol=symbol, start=start, end=end, **params)

    async def pages(self, method: str, **params: object) -> AsyncGenerator[Answer]:
        """Yield every page of a method that has pages, as it came."""
        cursor: str | None = None
        while True:
            answer = await self.ask(method, {**params, "cursor": cursor})
            yield answer
            cursor = answer.read(dict[str, Any]).get("next")
            if cursor is None:
                return

    async def _rows(self, kind: type[Row], method: str, **params: object) -> AsyncGenerator[Row]:
        cursor: str | None = None
        while True:
            answer = await self.ask(method, {"limit": PAGE, **params, "cursor": cursor})
            page: Page[Row] = answer.read(Page[kind])  # type: ignore[valid-type]
            for row in page.rows or ():
                yield row
            cursor = page.next
            if cursor is None:
                return

    async def orderbook_get(
        self, symbol: str, *, at: Time | None = None, levels: int | None = None, **place: Unpack[Place]
    ) -> BookAnswer:
        """Return the book of now, or as it was at a moment; all of it, or the best levels."""
        answer = await self._ask("orderbook.get", symbol=symbol, at=at, levels=levels, **place)
        return answer.read(BookAnswer)

    async def orderbook_depth(
        self, symbol: str, *, levels: int | None = None, at: Time | None = None, **place: Unpack[Place]
    ) -> Depth:
        """Return the best levels with their cumulated sizes, now or at a moment."""
        answer = await self._ask("orderbook.depth", symbol=symbol, levels=levels, at=at, **place)
        return answer.read(Depth)

    async def stats_spread(self, symbol: str, *, at: Time | None = None, **place: Unpack[Place]) -> Spread:
        """Return the best prices and what lies between them, now or at a moment."""
        return (await self._ask("stats.spread", symbol=symbol, at=at, **place)).read(Spread)

    async def stats_vwap(
        self,
        symbol: str,
        *,
        start: Time | None = None,
        end: Time | None = None,
        window_s: float | None = None,
        **place: Unpack[Place],
    ) -> Vwap:
        """Return the average price weighted by size of a range, or of the last ``window_s`` seconds."""
        answer = await self._ask(
            "stats.vwap", symbol=symbol, start=start, end=end, window_s=window_s, **place
        )
        return answer.read(Vwap)

    async def stats_slippage(
        self,
        symbol: str,
        side: Literal["buy", "sell"],
        size: Decimal | str | int,
        *,
        at: Time | None = None,
        **place: Unpack[Place],
    ) -> Slippage:
        """Return what a market order of a size, in the base asset, would meet on the book."""
        text = format(size, "f") if isinstance(size, Decimal) else str(size)
        answer = await self._ask("stats.slippage", symbol=symbol, side=side, size=text, at=at, **place)
        return answer.read(Slippage)

    async def stats_liquidity(
        self, symbol: str, bps: float, *, at: Time | None = None, **place: Unpack[Place]
    ) -> Liquidity:
        """Return how much rests within so many basis points of the mid, now or at a moment."""
        answer = await self._ask("stats.liquidity", symbol=symbol, bps=bps, at=at, **place)
        return answer.read(Liquidity)

    async def bridge_status(self) -> Status:
        """Return how the bridge is, with its request side, its subscribers and its cache."""
        return (await self._ask("bridge.status")).read(Status)

    async def topics_since(self, topic: str, epoch: str, sequence: int) -> Recalled:
        """Return what was published on a topic behind a sequence of a run. Streams do it by themselves."""
        answer = await self._ask("topics.since", topic=topic, epoch=epoch, sequence=sequence)
        return answer.read(Recalled)

    async def rpc_discover(self) -> dict[str, Any]:
        """Return the OpenRPC document: every method, its parameters and its result."""
        return (await self._ask("rpc.discover")).read(dict[str, Any])
