"""What every `InstrumentRegistry` promises: one test for each sentence of the port."""

from msgspec import structs

from binance_proxy.application.ports import InstrumentRegistry
from binance_proxy.domain.instrument import MICROSECOND_NS, Instrument, Market

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT", tick_size=10**6, step_size=10_000)


class InstrumentRegistryContract:
    """Subclass it with a fixture `registry` that gives a fresh registry."""

    async def test_knows_no_instrument_at_first(self, registry: InstrumentRegistry) -> None:
        assert list(await registry.instruments()) == []

    async def test_returns_every_instrument_by_name(self, registry: InstrumentRegistry) -> None:
        perpetual = structs.replace(ETH, market=Market.USDM, tick_size=None, step_size=None)
        simulated = structs.replace(ETH, venue="simulated", symbol="A/B")
        for instrument in (simulated, perpetual, ETH):
            await registry.register(instrument)
        assert list(await registry.instruments()) == [ETH, perpetual, simulated]

    async def test_returns_an_instrument_as_it_is_recorded(self, registry: InstrumentRegistry) -> None:
        assert await registry.register(ETH) == ETH

    async def test_the_first_registration_fixes_the_units(self, registry: InstrumentRegistry) -> None:
        await registry.register(ETH)
        finer = structs.replace(
            ETH, price_precision=10, size_precision=0, time_resolution_ns=MICROSECOND_NS, tick_size=1
        )
        assert await registry.register(finer) == ETH
        assert list(await registry.instruments()) == [ETH]

    async def test_venue_market_and_symbol_tell_instruments_apart(self, registry: InstrumentRegistry) -> None:
        others = [
            structs.replace(ETH, venue="simulated", price_precision=1),
            structs.replace(ETH, market=Market.USDM, price_precision=2),
            structs.replace(ETH, symbol="ETH/BTC", price_precision=3),
        ]
        for instrument in (ETH, *others):
            assert await registry.register(instrument) == instrument
