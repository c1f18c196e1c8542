"""Which instruments are there, and which one is meant."""

from typing import Annotated

from msgspec import Meta, Struct

from binance_proxy.application.serve.asked import Asked, AskedOf
from binance_proxy.application.serve.sources import Sources
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.scale import to_text


class InstrumentRow(Struct, frozen=True, kw_only=True):
    """An instrument, and the units that it is recorded in."""

    venue: str
    market: Market
    symbol: str
    name: Annotated[str, Meta(description="The first three words of its topics")]
    price_precision: Annotated[int, Meta(description="Decimals that a price may have")]
    size_precision: Annotated[int, Meta(description="Decimals that a size may have")]
    tick_size: Annotated[str | None, Meta(description="The venue's smallest step of a price, if it said it")]
    step_size: Annotated[str | None, Meta(description="The venue's smallest step of a size, if it said it")]
    time_resolution_ns: Annotated[int, Meta(description="Times are whole multiples of this")]


class InstrumentsListed(Struct, frozen=True, kw_only=True):
    """Every instrument that was recorded, by name."""

    instruments: list[InstrumentRow]


class AskedInstruments(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List every instrument that was ever recorded, also those that only the archive knows."""


class AskedInstrument(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get one instrument and its units."""


async def list_instruments(sources: Sources, asked: AskedInstruments, deadline: int) -> InstrumentsListed:
    """Answer ``instruments.list``."""
    known = {one.name: one for one in await sources.archived()}
    known |= {one.name: one for one in await sources.registry.instruments()}
    return InstrumentsListed(instruments=[_row(known[name]) for name in sorted(known)])


async def get_instrument(sources: Sources, asked: AskedInstrument, deadline: int) -> InstrumentRow:
    """Answer ``instruments.get``."""
    return _row(await sources.instrument(asked))


def _row(one: Instrument) -> InstrumentRow:
    return InstrumentRow(
        venue=one.venue,
        market=one.market,
        symbol=one.symbol,
        name=one.name,
        price_precision=one.price_precision,
        size_precision=one.size_precision,
        tick_size=None if one.tick_size is None else to_text(one.tick_size, one.price_precision),
        step_size=None if one.step_size is None else to_text(one.step_size, one.size_precision),
        time_resolution_ns=one.time_resolution_ns,
    )
