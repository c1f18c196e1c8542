"""The store in PostgreSQL keeps the store's promises."""

from collections.abc import AsyncIterator

import pytest

from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from contract.market_store import MarketStoreContract
from servers import both


@both
class TestTimescaleStore(MarketStoreContract):
    @pytest.fixture
    async def store(self, database_url: str) -> AsyncIterator[TimescaleStore]:
        async with open_timescale(database_url) as store:
            yield store
