"""What a venue still has of the past."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick


class HistoryError(BridgeError):
    """An `ExchangeHistory` could not do what was asked."""


class HistoryUnavailable(HistoryError):
    """The exchange is away, or wants to be left alone for a while. Trying again may help."""


class HistoryRejected(HistoryError):
    """The exchange refuses, and will refuse again: no such pair, a file that is damaged."""


class ExchangeHistory(Protocol):
    """What a venue still has of the past."""

    async def ids(self, instrument: Instrument, start: int, end: int) -> tuple[int, int] | None:
        """Return the lowest and highest id of the single trades with ``start <= ts_event < end``.

        `None` if the venue has none.

        Raises:
            HistoryUnavailable: The venue is away for now.
            HistoryRejected: The venue does not have the instrument at all. The message says what to change.
        """
        ...

    def trades(
        self, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        """Yield what the venue has of the single trades with these ids, both included, by id, in pages.

        Where it gives aggregated trades only, those stand in that hold a match of the range. Each then has
        ``first_match_id`` and ``last_match_id``, with the former as its ``trade_id`` too, and may reach
        beyond the range. What the venue does not have is left out. Times are truncated to the resolution of
        the instrument. Read it under `contextlib.aclosing`.

        Raises:
            HistoryUnavailable: The venue is away for now. What was yielded stays good.
            HistoryRejected: The venue refuses. The message says what to change.
        """
        ...

    def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> AsyncGenerator[Sequence[Candle]]:
        """Yield the venue's own candles whose period starts in ``[start, end)``, oldest first, in pages.

        Only those that have closed, and none without a trade.

        Raises:
            HistoryUnavailable: The venue is away for now.
            HistoryRejected: The venue refuses, or has no such timeframe.
        """
        ...
