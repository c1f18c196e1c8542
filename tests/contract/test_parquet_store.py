"""The archive keeps the store's promises, in a local folder and elsewhere."""

from pathlib import Path
from uuid import uuid4

import pytest

from binance_proxy.adapters.parquet.store import ParquetStore, open_parquet
from contract.market_store import MarketStoreContract


class TestParquetStore(MarketStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ParquetStore:
        return open_parquet(str(tmp_path / "archive"))


class TestParquetStoreElsewhere(MarketStoreContract):
    @pytest.fixture
    def store(self) -> ParquetStore:
        return open_parquet(f"memory://archives/{uuid4()}")
