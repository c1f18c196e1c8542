"""The store in memory keeps the store's promises."""

import pytest

from binance_proxy.adapters.memory.store import MemoryStore
from contract.market_store import MarketStoreContract


class TestMemoryStore(MarketStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
