"""The days of a store in memory keep the promises of their port."""

import pytest

from binance_proxy.adapters.memory.store import MemoryStore
from contract.closed_days import ClosedDaysContract


class TestMemoryDays(ClosedDaysContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
