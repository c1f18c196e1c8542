"""Which pairs are tracked, and changes of that. A recording follows them."""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from binance_proxy.application.ports import TrackedPair
from binance_proxy.application.serve.asked import Asked
from binance_proxy.application.serve.failures import WrongParams
from binance_proxy.application.serve.sources import Sources
from binance_proxy.domain.instrument import Market, Stream, is_symbol

Symbol: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=64, description="Base and quote asset, with a slash: BTC/USDT")
]
Where: TypeAlias = Annotated[Market, Meta(description="Its market")]


class PairRow(Struct, frozen=True, kw_only=True):
    """A pair that is tracked, and what of it is recorded."""

    symbol: str
    market: Market
    enabled: Annotated[bool, Meta(description="False if nothing of it is recorded for now")]
    streams: list[Stream]


class PairsListed(Struct, frozen=True, kw_only=True):
    """The tracked pairs, by symbol."""

    pairs: list[PairRow]


class PairRemoved(Struct, frozen=True, kw_only=True):
    """What became of it."""

    removed: Annotated[bool, Meta(description="Whether it was tracked")]


class AskedPairs(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List the pairs that are tracked."""


class AskedAdd(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Track a pair, or change what is recorded of one: exactly what is said here."""

    symbol: Symbol
    market: Where
    streams: Annotated[
        Annotated[list[Stream], Meta(max_length=16)] | None,
        Meta(description="What to record; everything if left out"),
    ] = None
    enabled: Annotated[bool, Meta(description="False records nothing of it until it is enabled")] = True


class AskedRemove(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Track a pair no more. What was recorded of it stays."""

    symbol: Symbol
    market: Where


async def list_pairs(sources: Sources, asked: AskedPairs, deadline: int) -> PairsListed:
    """Answer ``pairs.list``."""
    return PairsListed(pairs=[_row(one) for one in await sources.pairs.pairs()])


async def add_pair(sources: Sources, asked: AskedAdd, deadline: int) -> PairRow:
    """Answer ``pairs.add``."""
    wanted = tuple(Stream) if asked.streams is None else tuple(one for one in Stream if one in asked.streams)
    pair = TrackedPair(
        symbol=_symbol(asked.symbol), market=asked.market, enabled=asked.enabled, streams=wanted
    )
    await sources.pairs.put(pair)
    return _row(pair)


async def remove_pair(sources: Sources, asked: AskedRemove, deadline: int) -> PairRemoved:
    """Answer ``pairs.remove``."""
    return PairRemoved(removed=await sources.pairs.remove(_symbol(asked.symbol), asked.market))


def _symbol(given: str) -> str:
    symbol = given.upper() if given.isascii() else given
    if not is_symbol(symbol):
        raise WrongParams("symbol", f"{given!r} is not a pair such as BTC/USDT: two assets, with a slash")
    return symbol


def _row(pair: TrackedPair) -> PairRow:
    return PairRow(symbol=pair.symbol, market=pair.market, enabled=pair.enabled, streams=list(pair.streams))
