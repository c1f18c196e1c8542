"""A history that waits for its venue instead of giving up at once."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import backoff

from binance_proxy.application.missing import matches_of
from binance_proxy.application.ports import ExchangeHistory, HistoryUnavailable
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick

log = logging.getLogger(__name__)


class PatientHistory:
    """An `ExchangeHistory` that asks again where the one behind it was unavailable, behind what it gave.

    The pauses grow exponentially up to ``longest_s``, with full jitter. After so many tries in a row that
    brought nothing the error is passed on.
    """

    def __init__(
        self,
        history: ExchangeHistory,
        *,
        tries: int = 8,
        longest_s: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._history = history
        self._tries = tries
        self._longest_s = longest_s
        self._sleep = sleep

    async def ids(self, instrument: Instrument, start: int, end: int) -> tuple[int, int] | None:
        """Return the lowest and highest id of a range of time."""
        failed = 0
        while True:
            try:
                return await self._history.ids(instrument, start, end)
            except HistoryUnavailable as error:
                failed += 1
                await self._pause(failed, error)

    async def trades(
        self, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        """Yield trades by id, in pages."""
        failed = 0
        while True:
            try:
                async with aclosing(self._history.trades(instrument, first_id, last_id)) as pages:
                    async for page in pages:
                        yield page
                        failed, first_id = 0, matches_of(page[-1])[1] + 1
            except HistoryUnavailable as error:
                failed += 1
                await self._pause(failed, error)
            else:
                return

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> AsyncGenerator[Sequence[Candle]]:
        """Yield candles, oldest first, in pages."""
        failed = 0
        while True:
            try:
                async with aclosing(self._history.candles(instrument, timeframe, start, end)) as pages:
                    async for page in pages:
                        yield page
                        failed, start = 0, page[-1].end
            except HistoryUnavailable as error:
                failed += 1
                await self._pause(failed, error)
            else:
                return

    async def _pause(self, failed: int, error: HistoryUnavailable) -> None:
        if failed >= self._tries:
            raise error
        pause_s = backoff.full_jitter(min(2.0 ** (failed - 1), self._longest_s))
        log.warning("trying again in %.1f s (%d of %d): %s", pause_s, failed, self._tries, error)
        await self._sleep(pause_s)
