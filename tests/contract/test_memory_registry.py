"""The registry in memory keeps the registry's promises."""

import pytest

from binance_proxy.adapters.memory.registry import MemoryRegistry
from contract.pair_registry import PairRegistryContract


class TestMemoryRegistry(PairRegistryContract):
    @pytest.fixture
    def registry(self) -> MemoryRegistry:
        return MemoryRegistry()
