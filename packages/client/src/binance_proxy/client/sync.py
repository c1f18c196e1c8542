"""The same bridge without ``async``: for scripts, notebooks and threads."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypedDict, TypeVar, Unpack

from binance_proxy.client.book import BookView, OrderBook
from binance_proxy.client.bridge import Bridge
from binance_proxy.client.messages import Candle, Gap, Missed, Status, Trade
from binance_proxy.client.methods import Place

Params = ParamSpec("Params")
Result = TypeVar("Result")


class Given(TypedDict, total=False):
    """What `Bridge` is given, by the same names."""

    publish: str | None
    requests: str | None
    control: str | None
    name: str | None
    timeout_s: float
    silence_s: float
    queue: int
    report_s: float


class SyncBook:
    """A live book that a background thread keeps up to date; each reading is of one update id.

    Raises `BookStale` while it is not in step, like `OrderBook`.
    """

    def __init__(self, book: OrderBook, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._book, self._run = book, run

    @property
    def in_step(self) -> bool:
        """True while the book equals the bridge's, as far as that was heard."""
        return self._book.in_step

    @property
    def reason(self) -> str | None:
        """Why the book is not in step, for a person; `None` if it is."""
        return self._book.reason

    def view(self, levels: int | None = None) -> BookView:
        """Return the book as it is now, or so many levels of each side. Raises `BookStale`."""
        found: BookView = self._run(self._view(levels))
        return found

    async def _view(self, levels: int | None) -> BookView:
        return self._book.view(levels)


def _waited(
    method: Callable[Concatenate[Bridge, Params], Coroutine[Any, Any, Result]],
) -> "Callable[Concatenate[SyncBridge, Params], Result]":
    """Make a method that waits for the answer of one that has to be awaited."""

    @wraps(method)
    def ask(self: "SyncBridge", /, *args: Params.args, **params: Params.kwargs) -> Result:
        return self.run(method(self.bridge, *args, **params))

    return ask


def _iterated(
    method: Callable[Concatenate[Bridge, Params], AsyncGenerator[Result]],
) -> "Callable[Concatenate[SyncBridge, Params], Iterator[Result]]":
    """Make an iterator of one that has to be awaited."""

    @wraps(method)
    def iterate(self: "SyncBridge", /, *args: Params.args, **params: Params.kwargs) -> Iterator[Result]:
        return self.iterate(lambda: method(self.bridge, *args, **params))

    return iterate


class SyncBridge:
    """A `Bridge` for programs without ``async``, with an event loop in a thread of its own.

    ```python
    with SyncBridge() as bridge:
        for trade in bridge.trades("ETH/USDT"):
            print(trade)
    ```

    Every method of `Bridge` that asks something is here by the same name and with the same parameters, and
    waits for the answer: ``bridge.trades_list("ETH/USDT", limit=10)``. It may be used by several threads.
    Ctrl-C interrupts whatever waits.
    """

    def __init__(self, host: str = "127.0.0.1", **given: Unpack[Given]) -> None:
        """Say where the bridge is: parameters as those of `Bridge`."""
        self.bridge = Bridge(host, **given)
        """What does it all, in the thread of its loop."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bridge client", daemon=True)

    def __enter__(self) -> "SyncBridge":
        """Connect. Raises `BridgeAway` if no bridge is heard in time."""
        self._thread.start()
        try:
            self.run(self.bridge.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        try:
            self.run(self.bridge.__aexit__(kind, error, trace))
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Have it done in the thread of the loop, and wait for it."""
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the connection is not open: use `with SyncBridge(...) as bridge`")
        doing: Future[Result] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return doing.result()
        except BaseException:
            doing.cancel()  # Ctrl-C ends the waiting, and so what was waited for
            raise

    def iterate(self, made: Callable[[], AsyncGenerator[Result]]) -> Iterator[Result]:
        """Yield what a stream of `bridge` yields."""
        stream = made()
        try:
            while True:
                try:
                    yield self.run(_next(stream))
                except StopAsyncIteration:
                    return
        finally:
            if self._thread.is_alive():
                self.run(stream.aclose())

    def _events(self, stream: str, symbols: tuple[str, ...], place: Place) -> Iterator[Any]:
        """Yield events one by one; they cross between the threads many at once."""
        for batch in self.iterate(lambda: self.bridge.batches(stream, symbols, **place)):
            yield from batch

    def trades(self, *symbols: str, **place: Unpack[Place]) -> Iterator[Trade | Missed]:
        """Yield each trade of these pairs once, from now on: see `Bridge.trades`."""
        return self._events("trades", symbols, place)

    def candles(
        self, symbol: str, timeframe: str = "1m", **place: Unpack[Place]
    ) -> Iterator[Candle | Missed]:
        """Yield candles of a pair as they are published: see `Bridge.candles`."""
        return self._events(f"candles.{timeframe}", (symbol,), place)

    def gaps(self, *symbols: str, **place: Unpack[Place]) -> Iterator[Gap | Missed]:
        """Yield the known holes in what the bridge records: see `Bridge.gaps`."""
        return self._events("gaps", symbols, place)

    def book(self, symbol: str, **place: Unpack[Place]) -> SyncBook:
        """Return the live book of a pair once it is in step: see `Bridge.book`."""
        return SyncBook(self.run(self.bridge.book(symbol, **place)), self.run)

    def books(self, symbol: str, levels: int | None = None, **place: Unpack[Place]) -> Iterator[BookView]:
        """Yield the book of a pair as it is, whenever it has changed and is in step.

        While it is out of step nothing comes; `book` says why. Who is slow gets the newest book.
        """
        return self.iterate(lambda: self._views(symbol, levels, place))

    async def _views(self, symbol: str, levels: int | None, place: Place) -> AsyncGenerator[BookView]:
        books = self.bridge.books(symbol, **place)
        try:
            async for book in books:
                if book.in_step:
                    yield book.view(levels)
        finally:
            await books.aclose()

    @property
    def status(self) -> Status:
        """What the bridge said of itself last; it does so once a second."""
        return self.bridge.status

    request = _waited(Bridge.request)
    pairs_list = _waited(Bridge.pairs_list)
    pairs_add = _waited(Bridge.pairs_add)
    pairs_remove = _waited(Bridge.pairs_remove)
    instruments_list = _waited(Bridge.instruments_list)
    instruments_get = _waited(Bridge.instruments_get)
    trades_list = _waited(Bridge.trades_list)
    candles_list = _waited(Bridge.candles_list)
    gaps_list = _waited(Bridge.gaps_list)
    orderbook_get = _waited(Bridge.orderbook_get)
    orderbook_depth = _waited(Bridge.orderbook_depth)
    stats_spread = _waited(Bridge.stats_spread)
    stats_vwap = _waited(Bridge.stats_vwap)
    stats_slippage = _waited(Bridge.stats_slippage)
    stats_liquidity = _waited(Bridge.stats_liquidity)
    bridge_status = _waited(Bridge.bridge_status)
    topics_since = _waited(Bridge.topics_since)
    rpc_discover = _waited(Bridge.rpc_discover)
    candles_frame = _waited(Bridge.candles_frame)
    trades_frame = _waited(Bridge.trades_frame)
    trade_history = _iterated(Bridge.trade_history)
    candle_history = _iterated(Bridge.candle_history)
    gap_history = _iterated(Bridge.gap_history)


async def _next(stream: AsyncGenerator[Result]) -> Result:
    return await anext(stream)
