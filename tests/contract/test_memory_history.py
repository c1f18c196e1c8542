"""The history in memory keeps the history's promises."""

from collections.abc import Sequence

import pytest

from binance_proxy.adapters.memory.history import MemoryHistory
from binance_proxy.domain.tick import TradeTick
from contract.exchange_history import ExchangeHistoryContract, History, joined
from rest_venue import aggregate


class TestMemoryHistory(ExchangeHistoryContract):
    @pytest.fixture
    def history(self) -> History:
        async def has(trades: Sequence[TradeTick], *, aggregated: bool) -> MemoryHistory:
            return MemoryHistory([joined(group) for group in aggregate(trades)] if aggregated else trades)

        return has
