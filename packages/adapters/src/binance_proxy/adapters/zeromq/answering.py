"""From a request to its answer: params in, a result and perhaps a frame of rows out."""

import asyncio
from collections.abc import Mapping

from msgspec import Raw
from msgspec.structs import replace

from binance_proxy.adapters.zeromq.rpc import Encoding, Fault, Request, no_such_method
from binance_proxy.adapters.zeromq.worker import Answered
from binance_proxy.application.serve.answers import Answers, NoSuchMethod
from binance_proxy.application.serve.failures import failure_of
from binance_proxy.application.serve.page import (
    ArrowFrame,
    CandlesPage,
    GapsPage,
    LongTrades,
    Page,
    TradesPage,
)
from binance_proxy.application.serve.remembered import Remembered
from binance_proxy.application.serve.rows import CandleRow, GapRow, Row, TradeRow

_ROWS: Mapping[type[Page], type[Row]] = {TradesPage: TradeRow, CandlesPage: CandleRow, GapsPage: GapRow}

REMEMBERED = 16
"""Pages that are remembered as they were written down: those out of the cache are sent again and again."""
REMEMBERED_BYTES = 2**19
"""Longer ones are not."""


class Answering:
    """Answers requests by `Answers`. Give it to a worker together with `fault_of`."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._written = Remembered[tuple[int, Encoding], tuple[Page, Raw]](REMEMBERED)
        """By the page's identity, which nothing else can have as long as the page is kept here."""

    async def __call__(self, request: Request, left_s: float) -> Answered:
        """Answer a request within so many seconds.

        Raises:
            Fault: The params cannot be read, or there is no such method.
            BridgeError: `fault_of` makes a `Fault` of it.
        """
        params = request.mapped()
        try:
            result = await self._answers.ask(request.method, params, left_s)
        except NoSuchMethod as error:
            raise no_such_method(request.method) from error
        if isinstance(result, LongTrades):
            return await _trades_as_arrow(result)
        if not isinstance(result, (TradesPage, CandlesPage, GapsPage)):
            return Answered(result)
        if params.get("accept") == "arrow":
            return await _as_arrow(result)
        return Answered(self._as_written(result, request.encoding))

    def _as_written(self, page: Page, encoding: Encoding) -> Raw:
        """Return a page as it is written down. Who gets the same page again and again gets the same bytes."""
        key = id(page), encoding
        known = self._written.get(key)
        if known is not None:
            return known[1]
        raw = Raw(encoding.encode(page))
        if len(memoryview(raw)) <= REMEMBERED_BYTES:
            self._written.put(key, (page, raw))
        return raw


def fault_of(error: Exception) -> Fault | None:
    """Say which error a client gets; `None` for one that should not have happened."""
    failure = failure_of(error)
    if failure is None:
        return None
    return Fault(failure.code, failure.message, failure.kind, retry=failure.retry)


async def _as_arrow(page: TradesPage | CandlesPage | GapsPage) -> Answered:
    """Put the rows of a page into a frame of their own."""
    from binance_proxy.adapters.zeromq.arrow import stream_of  # noqa: PLC0415  pyarrow is slow to import

    rows = page.rows or []
    frame = await asyncio.to_thread(stream_of, _ROWS[type(page)], rows)
    return Answered(replace(page, rows=None, arrow=ArrowFrame(rows=len(rows))), (frame,))


async def _trades_as_arrow(found: LongTrades) -> Answered:
    """Put many trades into a frame, as the numbers that they are."""
    from binance_proxy.adapters.zeromq.arrow import stream_of_trades  # noqa: PLC0415  as above

    frame = await asyncio.to_thread(stream_of_trades, found.trades)
    return Answered(replace(found.page, arrow=ArrowFrame(rows=len(found.trades))), (frame,))
