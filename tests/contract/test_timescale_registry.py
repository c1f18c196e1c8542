"""The registry in PostgreSQL keeps the promises of both of its ports."""

from collections.abc import AsyncIterator

import pytest

from binance_proxy.adapters.timescale.registry import TimescaleRegistry
from binance_proxy.adapters.timescale.store import open_timescale
from contract.instrument_registry import InstrumentRegistryContract
from contract.pair_registry import PairRegistryContract


class TestTimescaleRegistry(PairRegistryContract, InstrumentRegistryContract):
    @pytest.fixture
    async def registry(self, database_url: str) -> AsyncIterator[TimescaleRegistry]:
        async with open_timescale(database_url) as store:
            yield store.registry

    @pytest.fixture
    async def elsewhere(self, database_url: str) -> AsyncIterator[TimescaleRegistry]:
        async with open_timescale(database_url) as store:
            yield store.registry
