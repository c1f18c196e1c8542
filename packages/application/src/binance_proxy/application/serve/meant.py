"""Which of the recorded instruments somebody means."""

from collections.abc import Sequence

from msgspec import Struct

from binance_proxy.application.ports import Archive
from binance_proxy.application.serve.failures import Ambiguous, NothingStored
from binance_proxy.domain.instrument import Instrument


class Pick(Struct, frozen=True):
    """Which instrument is meant; venue and market only where the pair alone does not say it."""

    pair: str
    venue: str | None = None
    market: str | None = None

    def means(self, one: Instrument) -> bool:
        """Say whether it may be this one."""
        return (
            one.symbol.replace("/", "") == self.pair.replace("/", "").upper()
            and self.venue in {None, one.venue}
            and self.market in {None, one.market}
        )


async def instrument_of(recorded: Sequence[Instrument], archive: Archive | None, pick: Pick) -> Instrument:
    """Return the instrument, recorded or archived, that somebody means by ``ETH/USDT`` or ``ethusdt``.

    Raises:
        NothingStored: It was never recorded.
        Ambiguous: It was recorded more than once, in different places.
        StoreUnavailable: The store is away.
    """
    if archive is not None and not any(pick.means(one) for one in recorded):
        # The archive may be older than the database; its footers are read only if that may matter.
        recorded = [*recorded, *(one for one in await archived(archive) if pick.means(one))]
    return chosen(recorded, pick)


async def archived(archive: Archive) -> Sequence[Instrument]:
    """Return the instruments that an archive has days of."""
    return list({day.instrument.name: day.instrument for day in await archive.days()}.values())


def chosen(recorded: Sequence[Instrument], pick: Pick, how: str = "recorded") -> Instrument:
    """Return the one that somebody means. Raises like `instrument_of`."""
    meant = [one for one in recorded if pick.means(one)]
    if not meant:
        there = ", ".join(f"{one.symbol} ({one.venue} {one.market})" for one in recorded) or "nothing yet"
        where = " ".join(word for word in (pick.venue, pick.market) if word) or "here"
        raise NothingStored(f"{pick.pair} was never {how} {where}; {how}: {there}")
    if len(meant) > 1:
        raise Ambiguous(pick.pair, how, meant)
    return meant[0]
