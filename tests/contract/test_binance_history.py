"""Binance's REST interface keeps the history's promises, asked of a model and of the sandbox."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from binance_proxy.adapters.binance.direct import open_direct
from binance_proxy.adapters.binance.history import BinanceHistory
from binance_proxy.adapters.binance.rest import BinanceRest
from binance_proxy.adapters.binance.settings import Direct
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.domain.tick import TradeTick
from binance_proxy.sandbox.serve import serve
from binance_proxy.sandbox.settings import SandboxSettings
from contract.exchange_history import ExchangeHistoryContract, History
from contract.market_store import ETH
from rest_venue import RestVenue
from sandboxed import Past
from scripted import ScriptedTransport

UNHURRIED = 10**9


@pytest.mark.parametrize("unit_ns", [10**6, 10**3], ids=["ms", "us"])
class TestBinanceHistory(ExchangeHistoryContract):
    @pytest.fixture
    def history(self, unit_ns: int) -> History:
        async def has(trades: Sequence[TradeTick], *, aggregated: bool) -> BinanceHistory:
            venue = RestVenue(trades, gives_single_trades=not aggregated, unit_ns=unit_ns)
            rest = BinanceRest(ScriptedTransport(venue), WeightLimiter(limit=UNHURRIED))
            return BinanceHistory(rest, ManualClock(1))

        return has


class TestBinanceHistoryOverHttp(ExchangeHistoryContract):
    @pytest.fixture
    async def history(self) -> AsyncIterator[History]:
        async with AsyncExitStack() as stack:

            async def has(trades: Sequence[TradeTick], *, aggregated: bool) -> BinanceHistory:
                settings = SandboxSettings(port=0, hold=False, historical_trades=not aggregated)
                sandbox = await stack.enter_async_context(serve(Past(trades), [ETH], settings))
                await sandbox.playing
                direct = Direct(rest_url=sandbox.rest_url, stream_url=sandbox.stream_url, time_unit="ms")
                transport = await stack.enter_async_context(open_direct(direct))
                return BinanceHistory(BinanceRest(transport, WeightLimiter()), ManualClock(1))

            yield has
