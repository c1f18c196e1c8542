"""Binance's REST interface: each question asked once, within the weight that is ours, and read strictly.

Source: Binance Spot, "REST API", market data endpoints.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from binance_proxy.adapters.binance.kept import KeptAnswers, Question
from binance_proxy.adapters.binance.refusals import HISTORICAL_TRADES, refusal, unreadable
from binance_proxy.adapters.binance.shared import SharedQuestions
from binance_proxy.adapters.binance.transport import Answer, Listing, Transport
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.application.ports import FeedRejected, FeedUnavailable
from binance_proxy.domain.scale import INT64_MAX

log = logging.getLogger(__name__)

PAGE = 1_000
"""The most rows that Binance gives at once."""
LISTINGS_AGE_S = 3_600.0
OLD_LISTINGS_AGE_S = 60.0
"""How long older ones do where no newer ones can be had."""
KEPT_BYTES = 32 * 2**20
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50), (5_000, 250))
"""Up to so many levels, so much weight."""
LISTINGS_WEIGHT = 20

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=INT64_MAX)]
_Time: TypeAlias = Annotated[int, Meta(gt=0, le=INT64_MAX)]

Content = TypeVar("Content")


class PastTrade(Struct, frozen=True, gc=False):
    """One match, as ``historicalTrades`` and ``trades`` print it."""

    id: _Id
    price: str
    qty: str
    time: _Time
    """In ms or µs."""
    isBuyerMaker: bool  # noqa: N815  Binance's name


class PastAggregate(Struct, frozen=True, gc=False):
    """The matches of one order at one price, as ``aggTrades`` prints them."""

    a: _Id
    """Its own id, of another id space than those of matches."""
    p: str
    q: str
    f: _Id
    l: _Id  # noqa: E741  Binance's name
    T: _Time
    """In ms or µs."""
    m: bool


class PastCandle(Struct, frozen=True, gc=False, array_like=True):
    """One candle, as ``klines`` prints it."""

    open_time: Annotated[int, Meta(ge=0, le=INT64_MAX)]
    """In ms or µs."""
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: _Time
    """The last ms or µs that belongs to it."""
    quote_volume: str
    trades: Annotated[int, Meta(ge=0)]


class _Depth(Struct, gc=False):
    """As much of a book as tells it from something else."""

    lastUpdateId: _Id  # noqa: N815  Binance's name
    bids: msgspec.Raw
    asks: msgspec.Raw


_decode_depth = msgspec.json.Decoder(_Depth)
_decode_trades = msgspec.json.Decoder(list[PastTrade])
_decode_aggregates = msgspec.json.Decoder(list[PastAggregate])
_decode_candles = msgspec.json.Decoder(list[PastCandle])


class BinanceRest:
    """What Binance answers over REST.

    Everybody who asks the same while it is being asked gets the same answer, or the same error. Answers that
    cannot change any more are kept, up to `KEPT_BYTES`; whoever finds one of them wrong calls `forget`.

    Every method raises `FeedUnavailable` where trying again may help, and `FeedRejected` where it does not.
    """

    def __init__(self, transport: Transport, limiter: WeightLimiter, section: str = "feed.binance") -> None:
        """Ask by this transport, within this limit.

        ``section`` names the settings of the transport, for errors that say what to change.
        """
        self._transport = transport
        self._section = section
        self._limiter = limiter
        self._answers = SharedQuestions[Answer]()
        self._kept = KeptAnswers(KEPT_BYTES)
        self._lists = SharedQuestions[Mapping[str, Listing]]()
        self._listings: Mapping[str, Listing] = {}
        self._listings_until = float("-inf")

    async def listings(self) -> Mapping[str, Listing]:
        """Return every pair of the venue by its name, such as ``BTC/USDT``; an hour old at most.

        While the venue does not list them, the pairs that it has listed before are better than none.
        """
        if asyncio.get_running_loop().time() < self._listings_until:
            return self._listings
        return await self._lists.ask("listings", self._list)

    async def listing(self, symbol: str) -> Listing:
        """Return how a pair such as ``BTC/USDT`` trades; `FeedRejected` if there is no such pair."""
        listing = (await self.listings()).get(symbol)
        if listing is None:
            raise FeedRejected(f"there is no pair {symbol} on Binance spot")
        return listing

    async def depth(self, code: str, limit: int) -> bytes:
        """Return the raw answer to ``/api/v3/depth``: up to so many levels of each side, at most 5000."""
        weight = next((weight for levels, weight in DEPTH_WEIGHTS if limit <= levels), DEPTH_WEIGHTS[-1][1])
        path = "/api/v3/depth"
        answer = await self._ask(path, _said(symbol=code, limit=limit), weight, urgent=True)
        _read(_decode_depth, path, answer.body)
        return answer.body

    async def newest_trades(self, code: str, limit: int = PAGE) -> list[PastTrade]:
        """Return the newest single trades, oldest first."""
        path = "/api/v3/trades"
        answer = await self._ask(path, _said(symbol=code, limit=limit), 25)
        return _read(_decode_trades, path, answer.body)

    async def historical_trades(self, code: str, from_id: int, limit: int = PAGE) -> list[PastTrade]:
        """Return single trades from an id on, oldest first.

        Raises:
            SingleTradesRefused: The venue gives them to nobody, or not to us.
        """
        parameters = _said(symbol=code, fromId=from_id, limit=limit)
        answer = await self._ask(HISTORICAL_TRADES, parameters, 25)
        rows = _read(_decode_trades, HISTORICAL_TRADES, answer.body)
        if len(rows) == limit and _without_holes([row.id for row in rows], from_id):
            self._keep(HISTORICAL_TRADES, parameters, answer)
        return rows

    async def aggregated_trades(
        self,
        code: str,
        *,
        from_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = PAGE,
    ) -> list[PastAggregate]:
        """Return aggregated trades, oldest first: from an id of theirs on, of a time, or the newest.

        ``end_ms`` belongs to the range.
        """
        path = "/api/v3/aggTrades"
        parameters = _said(symbol=code, fromId=from_id, startTime=start_ms, endTime=end_ms, limit=limit)
        answer = await self._ask(path, parameters, 4)
        rows = _read(_decode_aggregates, path, answer.body)
        if from_id is not None and len(rows) == limit and _without_holes([row.a for row in rows], from_id):
            self._keep(path, parameters, answer)
        return rows

    async def klines(
        self, code: str, interval: str, start_ms: int, end_ms: int | None = None, limit: int = PAGE
    ) -> list[PastCandle]:
        """Return candles that open from one ms to another, both included, oldest first.

        The last one may still have been open when it was asked for; a full page is kept with it.
        """
        path = "/api/v3/klines"
        parameters = _said(symbol=code, interval=interval, startTime=start_ms, endTime=end_ms, limit=limit)
        answer = await self._ask(path, parameters, 2)
        rows = _read(_decode_candles, path, answer.body)
        if len(rows) == limit:
            self._keep(path, parameters, answer)
        return rows

    def forget(self, code: str) -> None:
        """Ask anew for all that is kept of a pair, for something of it turned out to be wrong."""
        self._kept.drop(("symbol", code))

    async def _list(self) -> Mapping[str, Listing]:
        await self._limiter.take(LISTINGS_WEIGHT, urgent=True)
        try:
            found = await self._transport.listings(self._limiter)
        except FeedUnavailable as error:
            if not self._listings:
                raise
            log.warning(
                "the pairs of Binance cannot be listed, and those listed before have to do: %s", error
            )
            self._listings_until = asyncio.get_running_loop().time() + OLD_LISTINGS_AGE_S
            return self._listings
        # Of two of one name, the one that is traded.
        self._listings = {one.symbol: one for one in sorted(found, key=lambda one: one.trading)}
        self._listings_until = asyncio.get_running_loop().time() + LISTINGS_AGE_S
        return self._listings

    async def _ask(
        self, path: str, parameters: Mapping[str, str], weight: int, *, urgent: bool = False
    ) -> Answer:
        question = _question(path, parameters)
        kept = self._kept.get(question)
        if kept is not None:
            return Answer(200, {}, kept)

        async def ask() -> Answer:
            await self._limiter.take(weight, urgent=urgent)
            answer = await self._transport.get(path, parameters)
            self._limiter.answered(answer.status, answer.headers)
            if answer.status != 200:
                raise refusal(path, parameters, answer, self._section)
            return answer

        return await self._answers.ask(question, ask)

    def _keep(self, path: str, parameters: Mapping[str, str], answer: Answer) -> None:
        self._kept.put(_question(path, parameters), answer.body)


def _said(**parameters: str | int | None) -> dict[str, str]:
    """Return the parameters that have a value, as text."""
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _without_holes(ids: Sequence[int], first_id: int) -> bool:
    """Say whether a page is all that there can be: the ids from the first on, one by one."""
    return list(ids) == list(range(first_id, first_id + len(ids)))


def _question(path: str, parameters: Mapping[str, str]) -> Question:
    return path, tuple(sorted(parameters.items()))


def _read(decoder: msgspec.json.Decoder[Content], path: str, body: bytes) -> Content:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(path, body, error) from error
