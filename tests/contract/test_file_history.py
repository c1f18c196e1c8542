"""Bulk files keep the history's promises: zipped or not, of one day or of several, in ms or in µs."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from binance_proxy.adapters.files.history import FileHistory
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.domain.tick import TradeTick
from bulk_files import MS, US, aggregate_rows, candle_rows, trade_rows, write
from contract.exchange_history import ExchangeHistoryContract, History


@pytest.mark.parametrize(("ending", "unit_ns"), [("zip", MS), ("csv", MS), ("zip", US)], scope="class")
class TestFileHistory(ExchangeHistoryContract):
    @pytest.fixture
    def history(self, tmp_path: Path, ending: str, unit_ns: int) -> History:
        numbers = count()

        async def has(trades: Sequence[TradeTick], *, aggregated: bool) -> FileHistory:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            candles = write(folder / f"ETHUSDT-1m-2024-08.{ending}", candle_rows(trades, unit_ns=unit_ns))
            if aggregated:
                rows = aggregate_rows(trades, unit_ns)
                days = [("aggTrades-2024-08-07", rows[:1_000]), ("aggTrades-2024-08-08", rows[1_000:])]
            else:
                rows = trade_rows(trades, unit_ns)
                days = [("trades-2024-08-08", rows[3_000:]), ("trades-2024-08-07", rows[:3_000])]
            paths = [write(folder / f"ETHUSDT-{name}.{ending}", some) for name, some in days]
            return FileHistory([candles, *paths], ManualClock(1))

        return has
