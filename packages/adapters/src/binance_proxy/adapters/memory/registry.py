"""Tracked pairs and instruments, in memory."""

from collections.abc import Sequence

from binance_proxy.application.ports import TrackedPair
from binance_proxy.domain.instrument import Instrument, Market

DEFAULT_PAIRS = (TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT"))


class MemoryRegistry:
    """A `PairRegistry` that lasts as long as the object."""

    def __init__(self, pairs: Sequence[TrackedPair] = DEFAULT_PAIRS) -> None:
        self._pairs = list(pairs)
        self._instruments: dict[tuple[str, Market, str], Instrument] = {}

    async def pairs(self) -> Sequence[TrackedPair]:
        """Return the tracked pairs by symbol: at first ETH/USDT and SOL/USDT."""
        return sorted(self._pairs, key=lambda pair: (pair.symbol, pair.market))

    async def instruments(self) -> Sequence[Instrument]:
        """Return every instrument that was ever registered, by name."""
        return sorted(self._instruments.values(), key=lambda instrument: instrument.name)

    async def register(self, instrument: Instrument) -> Instrument:
        """Make an instrument known, and return it as it is recorded."""
        return self._instruments.setdefault(
            (instrument.venue, instrument.market, instrument.symbol), instrument
        )
