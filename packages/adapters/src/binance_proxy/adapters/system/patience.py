"""A store that waits for its database instead of giving up."""

import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import backoff

from binance_proxy.application.ports import MarketStore, Stored, StoredEvent, StoreUnavailable
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.instrument import Instrument

log = logging.getLogger(__name__)


class PatientStore:
    """A `MarketStore` that repeats each ``append`` until the store behind it is back.

    The pauses grow exponentially up to ``longest_s``, with full jitter. Events are given again as they were,
    and the store keeps each once. Questions are not repeated: whoever asks is told that the store is away.
    """

    def __init__(self, store: MarketStore, *, longest_s: float = 10.0) -> None:
        self._store = store
        self._append = backoff.on_exception(
            backoff.expo,
            StoreUnavailable,
            max_value=longest_s,
            base=2,
            factor=0.1,
            jitter=backoff.full_jitter,
            on_backoff=_say,
            logger=None,
        )(store.append)

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events, however long it takes; return how many were new."""
        return await self._append(events)

    def scan(
        self, kind: type[Stored], instrument: Instrument, start: int, end: int, *, newest_first: bool = False
    ) -> AsyncGenerator[Stored]:
        """Ask the store behind."""
        return self._store.scan(kind, instrument, start, end, newest_first=newest_first)

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Ask the store behind."""
        return await self._store.candles(instrument, timeframe, start, end)


def _say(details: Any) -> None:  # noqa: ANN401  backoff's own dictionary
    log.warning(
        "the store is away, trying again in %.1f s (try %d): %s",
        details["wait"],
        details["tries"],
        details["exception"],
    )
