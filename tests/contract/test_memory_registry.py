"""The registry in memory keeps the promises of both of its ports."""

import pytest

from binance_proxy.adapters.memory.registry import MemoryRegistry
from contract.instrument_registry import InstrumentRegistryContract
from contract.pair_registry import PairRegistryContract


class TestMemoryRegistry(PairRegistryContract, InstrumentRegistryContract):
    @pytest.fixture
    def registry(self) -> MemoryRegistry:
        return MemoryRegistry()
