"""The days of the store in PostgreSQL keep the promises of their port."""

from collections.abc import AsyncIterator

import pytest

from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from contract.closed_days import ClosedDaysContract
from servers import both


@both
class TestTimescaleDays(ClosedDaysContract):
    @pytest.fixture
    async def store(self, database_url: str) -> AsyncIterator[TimescaleStore]:
        async with open_timescale(database_url) as store:
            yield store

    @pytest.fixture
    async def elsewhere(self, database_url: str) -> AsyncIterator[TimescaleStore]:
        async with open_timescale(database_url) as store:
            yield store
