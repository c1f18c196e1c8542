"""``bridge pairs``: which pairs are tracked, and changes of that. A running bridge follows them."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeAlias

from cyclopts import App, Parameter
from msgspec.structs import replace

from binance_proxy.application.ports import PairRegistry, TrackedPair
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.options import COMMON, Common, Json, finish
from binance_proxy.bridge.questions import open_kept, table_of
from binance_proxy.bridge.terminal import out, print_json
from binance_proxy.domain.errors import BridgeError, ConfigError
from binance_proxy.domain.instrument import Market, Stream, is_symbol

pairs = App(
    name="pairs",
    help="Show which pairs are tracked, or change that; a running bridge follows.\n\n"
    "Example: bridge pairs add BTC/USDT",
)

_Change: TypeAlias = Callable[[TrackedPair], TrackedPair]
Where = Annotated[str | None, Parameter(name="--market")]


class NotTracked(BridgeError):
    """The pair is not tracked."""


@pairs.default
def show(*, json: Json = False, common: Common = COMMON) -> None:
    """Show which pairs are tracked, and what was recorded so far.

    Example: bridge pairs --json

    Args:
        json: Print JSON.
        common: Settings.
    """
    finish(_show(common.load().config, json=json))


@pairs.command
def add(
    pair: str,
    /,
    *,
    market: str = "spot",
    streams: str | None = None,
    json: Json = False,
    common: Common = COMMON,
) -> None:
    """Track a pair, or change which streams of it are recorded.

    Example: bridge pairs add BTC/USDT --streams trades

    Args:
        pair: Such as BTC/USDT.
        market: Its market, spot or usdm.
        streams: What to record of it, such as trades,orderbook; everything if left out.
        json: Print the pair as JSON.
        common: Settings.
    """
    symbol = pair.upper()
    if not is_symbol(symbol):
        raise ConfigError(f"{pair!r} is not a pair such as BTC/USDT: base and quote asset, with a slash")
    named = None if streams is None else tuple(_stream(name) for name in streams.split(","))
    finish(_add(common.load().config, symbol, _market(market), named, json=json))


@pairs.command
def remove(pair: str, /, *, market: Where = None, json: Json = False, common: Common = COMMON) -> None:
    """Track a pair no more. What was recorded of it stays.

    Example: bridge pairs remove BTC/USDT

    Args:
        pair: Such as BTC/USDT.
        market: Its market, if it is tracked on both.
        json: Print the pair that was tracked as JSON.
        common: Settings.
    """
    finish(_remove(common.load().config, pair, _market_or_none(market), json=json))


@pairs.command
def enable(pair: str, /, *, market: Where = None, json: Json = False, common: Common = COMMON) -> None:
    """Record a tracked pair again.

    Example: bridge pairs enable SOL/USDT

    Args:
        pair: Such as SOL/USDT.
        market: Its market, if it is tracked on both.
        json: Print the pair as JSON.
        common: Settings.
    """
    _change(common, pair, market, lambda one: replace(one, enabled=True), json=json)


@pairs.command
def disable(pair: str, /, *, market: Where = None, json: Json = False, common: Common = COMMON) -> None:
    """Record nothing of a tracked pair, until it is enabled.

    Example: bridge pairs disable SOL/USDT

    Args:
        pair: Such as SOL/USDT.
        market: Its market, if it is tracked on both.
        json: Print the pair as JSON.
        common: Settings.
    """
    _change(common, pair, market, lambda one: replace(one, enabled=False), json=json)


@pairs.command
def pause(
    pair: str, stream: str, /, *, market: Where = None, json: Json = False, common: Common = COMMON
) -> None:
    """Record one stream of a tracked pair no more, until it is resumed. The other goes on.

    Example: bridge pairs pause SOL/USDT orderbook

    Args:
        pair: Such as SOL/USDT.
        stream: One of trades and orderbook.
        market: Its market, if it is tracked on both.
        json: Print the pair as JSON.
        common: Settings.
    """
    _change(common, pair, market, _switch(_stream(stream), on=False), json=json)


@pairs.command
def resume(
    pair: str, stream: str, /, *, market: Where = None, json: Json = False, common: Common = COMMON
) -> None:
    """Record a stream of a tracked pair again.

    Example: bridge pairs resume SOL/USDT orderbook

    Args:
        pair: Such as SOL/USDT.
        stream: One of trades and orderbook.
        market: Its market, if it is tracked on both.
        json: Print the pair as JSON.
        common: Settings.
    """
    _change(common, pair, market, _switch(_stream(stream), on=True), json=json)


async def _show(config: Config, *, json: bool) -> None:
    async with open_kept(config, "bridge pairs") as kept:
        tracked = await kept.pairs.pairs()
        recorded = await kept.registry.instruments()
    if json:
        print_json({"tracked": tracked, "recorded": recorded})
        return
    _print_pairs(tracked)
    out.print()
    table = table_of("recorded", "venue", "market", "decimals of price", "of size", "of time")
    for one in recorded:
        resolution = "ms" if one.time_resolution_ns >= 1_000_000 else "µs"
        table.add_row(
            one.symbol, one.venue, one.market, str(one.price_precision), str(one.size_precision), resolution
        )
    out.print(table if recorded else "nothing was recorded yet: `bridge run` does")


async def _add(
    config: Config, symbol: str, market: Market, streams: tuple[Stream, ...] | None, *, json: bool
) -> None:
    _refuse_memory(config)
    async with open_kept(config, "bridge pairs add") as kept:
        pair = TrackedPair(
            symbol=symbol, market=market, streams=tuple(Stream) if streams is None else streams
        )
        await kept.pairs.put(pair)
    _print(pair, json=json)


async def _remove(config: Config, pair: str, market: Market | None, *, json: bool) -> None:
    _refuse_memory(config)
    async with open_kept(config, "bridge pairs remove") as kept:
        found = _meant(await kept.pairs.pairs(), pair, market)
        while not await kept.pairs.remove(found.symbol, found.market):  # somebody else was quicker
            found = _meant(await kept.pairs.pairs(), pair, market)
    if json:
        print_json(found)
    else:
        out.print(f"{found.symbol} ({found.market}) is not tracked any more; what was recorded of it stays")


def _switch(stream: Stream, *, on: bool) -> _Change:
    """Return the change that has a stream recorded, or not, and leaves the others as they are."""

    def change(one: TrackedPair) -> TrackedPair:
        wanted = {*one.streams, stream} if on else {*one.streams} - {stream}
        return replace(one, streams=tuple(each for each in Stream if each in wanted))

    return change


def _change(common: Common, pair: str, market: str | None, change: _Change, *, json: bool) -> None:
    finish(_put_changed(common.load().config, pair, _market_or_none(market), change, json=json))


async def _put_changed(
    config: Config, pair: str, market: Market | None, change: _Change, *, json: bool
) -> None:
    _refuse_memory(config)
    async with open_kept(config, "bridge pairs") as kept:
        changed = await change_in(kept.pairs, pair, market, change)
    _print(changed, json=json)


async def change_in(registry: PairRegistry, pair: str, market: Market | None, change: _Change) -> TrackedPair:
    """Change what is wanted of a tracked pair, also while others change it; return what it is now.

    Raises:
        NotTracked: There is none, or not any more.
        ConfigError: It is tracked on both markets.
        StoreUnavailable: The store is away.
    """
    while True:
        found = _meant(await registry.pairs(), pair, market)
        changed = change(found)
        if await registry.put(changed, instead_of=found):
            return changed


def _meant(tracked: Sequence[TrackedPair], pair: str, market: Market | None) -> TrackedPair:
    """Return the tracked pair that somebody means by ``ETH/USDT`` or ``ethusdt``.

    Raises:
        NotTracked: There is none.
        ConfigError: It is tracked on both markets.
    """
    meant = [
        one
        for one in tracked
        if one.symbol.replace("/", "") == pair.replace("/", "").upper() and market in {None, one.market}
    ]
    if not meant:
        there = ", ".join(f"{one.symbol} ({one.market})" for one in tracked) or "nothing"
        where = f"{pair} ({market})" if market else pair
        raise NotTracked(f"{where} is not tracked; tracked: {there}")
    if len(meant) > 1:
        raise ConfigError(f"{pair} is tracked on two markets; say which: --market spot or --market usdm")
    return meant[0]


def _stream(name: str) -> Stream:
    try:
        return Stream(name.strip())
    except ValueError:
        raise ConfigError(f"{name!r} is no stream: it is one of {', '.join(Stream)}") from None


def _market(name: str) -> Market:
    try:
        return Market(name)
    except ValueError:
        raise ConfigError(f"--market {name!r} is no market: it is one of {', '.join(Market)}") from None


def _market_or_none(name: str | None) -> Market | None:
    return None if name is None else _market(name)


def _refuse_memory(config: Config) -> None:
    if config.store.use == "memory":
        raise ConfigError("store.use = 'memory' keeps no pairs after the end; set store.use = 'timescale'")


def _print(pair: TrackedPair, *, json: bool) -> None:
    if json:
        print_json(pair)
    else:
        _print_pairs([pair])


def _print_pairs(tracked: Sequence[TrackedPair]) -> None:
    table = table_of("tracked pair", "market", "streams", "enabled")
    for pair in tracked:
        table.add_row(
            pair.symbol, pair.market, ", ".join(pair.streams) or "none", "yes" if pair.enabled else "no"
        )
    out.print(table)
