"""Follow the tracked pairs: what is recorded is what somebody wants recorded, also while the recording runs.

Only what changes is touched: the tracks and the streams of all other pairs go on as they are.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TypeAlias

from binance_proxy.application.ports import (
    Clock,
    EventsRejected,
    FeedRejected,
    FeedUnavailable,
    InstrumentRegistry,
    MarketFeed,
    PairRegistry,
    StoreRejected,
    StoreUnavailable,
    TrackedPair,
)
from binance_proxy.application.track import Track
from binance_proxy.domain.instrument import Instrument, Market, Stream

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
"""Between two attempts to reach a store or an exchange that is away. The limits double; each pause is drawn
at random below its limit."""

Begin: TypeAlias = Callable[[Instrument, frozenset[Stream]], Awaitable[None]]
_Name: TypeAlias = tuple[str, Market]


class Following:
    """Keeps the tracks of a recording equal to the tracked pairs.

    A pair is recorded while it is tracked, enabled, and has a stream. Its track is kept when that ends, so
    that it goes on where it was, should the pair come again: there is one for each pair of a run at most.
    """

    def __init__(
        self,
        *,
        pairs: PairRegistry,
        registry: InstrumentRegistry,
        feed: MarketFeed,
        clock: Clock,
        tracks: dict[Instrument, Track],
        begin: Begin,
        changed: Callable[[], None],
    ) -> None:
        """Take the ports; nothing is read before `begin`.

        Args:
            pairs: What somebody wants recorded.
            registry: Where the units of what is new are fixed.
            feed: Where it comes from.
            clock: When it is now.
            tracks: What is recorded at the moment; changed here, and read by others.
            begin: Puts the track of an instrument that this run has not recorded yet among ``tracks``, behind
                what is stored of it. May raise `StoreUnavailable` or `StoreRejected`, and has then done
                nothing. All but `EventsRejected` is tried again.
            changed: Called when something is recorded that was not, or the other way round.
        """
        self.left: dict[Instrument, Track] = {}
        """The tracks of what is recorded no more."""
        self._pairs = pairs
        self._registry = registry
        self._feed = feed
        self._clock = clock
        self._tracks = tracks
        self._begin = begin
        self._changed = changed
        self._is_fixed = False
        self._wanted: dict[_Name, TrackedPair] = {}
        self._in_vain: dict[_Name, TrackedPair] = {}  # not to be had, as they were when that was found out
        self._read = asyncio.Event()  # the pairs were read since somebody looked

    async def begin(self) -> None:
        """Read the pairs for the first time, and begin with all that the feed has of them.

        Of a pair that a source with a fixed content holds, and nobody tracks, everything is recorded.

        Raises:
            FeedUnavailable: The source is away for now.
            FeedRejected: The source cannot be read.
            StoreUnavailable: The store is away.
        """
        pairs = await self._pairs.pairs()
        self._wanted = _recordable(pairs)
        fixed = await self._feed.instruments(())
        self._is_fixed = bool(fixed)
        described = fixed or await self._feed.instruments(tuple(self._wanted.values()))
        streams = {_name(pair): frozenset(pair.streams) for pair in pairs}
        for one in described:
            instrument = await self._registry.register(one)
            await self._begin(instrument, streams.get(_name(one), frozenset(Stream)))
        self._note_in_vain(self._missing())

    async def run(self) -> None:
        """Follow every change without end; do nothing for a source with a fixed content."""
        if self._is_fixed:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._begin_new())

    async def _listen(self) -> None:
        """Read the pairs at each change, and end at once what is not wanted any more."""
        async with aclosing(self._pairs.changes()) as changes:
            async for _ in changes:
                attempt = 0
                while (pairs := await self._ask_for_pairs(attempt)) is None:
                    attempt += 1
                self._wanted = _recordable(pairs)
                self._in_vain = {
                    name: pair for name, pair in self._in_vain.items() if self._wanted.get(name) == pair
                }
                self._adjust()
                self._read.set()

    async def _ask_for_pairs(self, attempt: int) -> Sequence[TrackedPair] | None:
        try:
            return await self._pairs.pairs()
        except (StoreUnavailable, StoreRejected) as error:
            pause_s = _pause_s(attempt)
            log.warning("the tracked pairs cannot be read, trying again in %.1f s: %s", pause_s, error)
            await asyncio.sleep(pause_s)
            return None

    async def _begin_new(self) -> None:
        """Begin what is wanted and not recorded yet; try again for as long as it cannot be had."""
        attempt = 0
        while True:
            self._read.clear()
            pause_s = None
            if missing := self._missing():
                try:
                    await self._begin_with(missing)
                    attempt = 0
                except (FeedUnavailable, StoreUnavailable, StoreRejected) as error:
                    pause_s = _pause_s(attempt)
                    attempt += 1
                    names = _said(self._missing() or missing)
                    log.warning("%s: not recorded yet, trying again in %.1f s: %s", names, pause_s, error)
                except FeedRejected as error:
                    self._give_up(missing, error)
            try:
                async with asyncio.timeout(pause_s):
                    await self._read.wait()
            except TimeoutError:
                continue

    def _missing(self) -> Sequence[TrackedPair]:
        recorded = {_name(instrument) for instrument in self._tracks}
        return [
            pair
            for name, pair in self._wanted.items()
            if name not in recorded and self._in_vain.get(name) != pair
        ]

    async def _begin_with(self, pairs: Sequence[TrackedPair]) -> None:
        """Begin with some pairs, and follow those of them that the feed has.

        Raises:
            FeedUnavailable: The source is away for now.
            FeedRejected: The source cannot be read.
            StoreUnavailable: The store is away.
            StoreRejected: The store refuses one of them, perhaps not for long. All others are begun with.
        """
        refusal: StoreRejected | None = None
        described = {_name(one): one for one in await self._feed.instruments(pairs)}
        self._note_in_vain(pair for pair in pairs if _name(pair) not in described)
        try:
            for name, instrument in described.items():
                if name in self._wanted:  # still, and perhaps otherwise than when the feed was asked
                    try:
                        await self._enter(instrument, self._wanted[name])
                    except StoreRejected as error:
                        refusal = error
        finally:
            self._adjust()  # also to what was changed meanwhile
        if refusal:
            raise refusal

    async def _enter(self, described: Instrument, pair: TrackedPair) -> None:
        """Put the track of a pair among those that are recorded, or give it up if it cannot be kept."""
        streams = frozenset(pair.streams)
        try:
            instrument = await self._registry.register(described)
            if instrument in self.left:
                self._tracks[instrument] = self.left.pop(instrument)
                self._tracks[instrument].take_only(streams, self._clock.now())
            else:
                await self._begin(instrument, streams)
        except EventsRejected as error:
            self._give_up([pair], error)
            return
        log.info("now recording %s", _said([pair]))
        self._changed()

    def _adjust(self) -> None:
        """End what is not wanted any more, change the streams of what is, and let the feed know."""
        for instrument, track in list(self._tracks.items()):
            pair = self._wanted.get(_name(instrument))
            before, after = track.streams, frozenset(pair.streams if pair else ())
            if before == after:
                continue
            track.take_only(after, self._clock.now())
            if pair is None:
                self.left[instrument] = self._tracks.pop(instrument)
                log.info("no longer recording %s", _said([instrument]))
            for stream in sorted(before - after) if pair else ():
                log.info("no longer recording %s of %s", stream, _said([instrument]))
            for stream in sorted(after - before):
                log.info("now recording %s of %s", stream, _said([instrument]))
            self._changed()
        self._feed.follow(tuple(self._tracks))

    def _give_up(self, pairs: Sequence[TrackedPair], error: Exception) -> None:
        log.error("%s: not recorded: %s", _said(pairs), error)
        self._note_in_vain(pairs)

    def _note_in_vain(self, pairs: Iterable[TrackedPair]) -> None:
        """Do not ask for these again before they are changed. The feed has said why it does not give them."""
        self._in_vain.update((_name(pair), pair) for pair in pairs)


def _recordable(pairs: Iterable[TrackedPair]) -> dict[_Name, TrackedPair]:
    return {_name(pair): pair for pair in pairs if pair.enabled and pair.streams}


def _name(one: TrackedPair | Instrument) -> _Name:
    return one.symbol, one.market


def _said(some: Iterable[TrackedPair | Instrument]) -> str:
    return ", ".join(f"{one.symbol} ({one.market})" for one in some)


def _pause_s(attempt: int) -> float:
    limit_s = min(FIRST_PAUSE_S * 2.0 ** min(attempt, 20), LONGEST_PAUSE_S)
    return random.uniform(0.0, limit_s)  # noqa: S311  it keeps no secret
