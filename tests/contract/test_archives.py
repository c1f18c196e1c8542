"""Archives keep their promises."""

from pathlib import Path
from uuid import uuid4

import pytest

from binance_proxy.adapters.memory.archive import MemoryArchive
from binance_proxy.adapters.parquet.store import ParquetStore, open_parquet
from contract.archive import ArchiveContract


class TestMemoryArchive(ArchiveContract):
    @pytest.fixture
    def archive(self) -> MemoryArchive:
        return MemoryArchive()


class TestParquetArchive(ArchiveContract):
    @pytest.fixture
    def archive(self, tmp_path: Path) -> ParquetStore:
        return open_parquet(str(tmp_path / "archive"))


class TestParquetArchiveElsewhere(ArchiveContract):
    @pytest.fixture
    def archive(self) -> ParquetStore:
        return open_parquet(f"memory://archives/{uuid4()}")
