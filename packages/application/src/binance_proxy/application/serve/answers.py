"""Answers to whoever asks, by name of the method."""

from binance_proxy.application.ports import (
    Archive,
    Cache,
    Clock,
    InstrumentRegistry,
    Live,
    MarketStore,
    PairRegistry,
)
from binance_proxy.application.serve.asked import read_params
from binance_proxy.application.serve.methods import METHODS
from binance_proxy.application.serve.openrpc import DISCOVER, AskedDiscover, document
from binance_proxy.application.serve.sources import Ages, Sources
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.errors import BridgeError


class NoSuchMethod(BridgeError):
    """Nothing of that name can be asked for."""


class Answers:
    """Answers questions about what is stored and about the recording that goes on."""

    def __init__(
        self,
        *,
        store: MarketStore,
        registry: InstrumentRegistry,
        pairs: PairRegistry,
        archive: Archive | None,
        live: Live,
        cache: Cache,
        clock: Clock,
        ages: Ages | None = None,
    ) -> None:
        """Take what answers are made from.

        Args:
            store: Database and archive, read as one.
            registry: Which instruments are recorded.
            pairs: Which pairs are tracked.
            archive: For instruments that only it knows; `None` if there is none.
            live: The recording that goes on.
            cache: Keeps answers for a moment.
            clock: Ours, which deadlines are told by.
            ages: How old an answer of the cache may be.
        """
        self._sources = Sources(store, registry, pairs, archive, live, cache, clock, ages or Ages())

    async def prepare(self) -> None:
        """Learn what is recorded: should the store go away before the first question, live books are known.

        Raises:
            StoreUnavailable: It is away already.
        """
        await self._sources.learn()

    async def ask(self, method: str, params: object, left_s: float) -> object:
        """Answer one question, whatever the params are.

        Args:
            method: Its name, such as ``trades.list``.
            params: A map of names to plain values, of wherever it came from.
            left_s: Within so many seconds somebody waits for the answer. It is not enforced here.

        Raises:
            NoSuchMethod: There is none of that name.
            BridgeError: What `failure_of` makes an answer of.
        """
        if method == DISCOVER:
            read_params(AskedDiscover, params)
            return document()
        known = METHODS.get(method)
        if known is None:
            raise NoSuchMethod(f"there is no method {method[:64]!r}; rpc.discover lists those there are")
        asked = read_params(known.asked, params)
        deadline = self._sources.clock.now() + round(left_s * SECOND_NS)
        return await known.answer(self._sources, asked, deadline)
