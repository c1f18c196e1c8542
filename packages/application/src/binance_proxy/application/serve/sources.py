"""Where answers come from: what is stored, the recording that goes on, and what was worked out before."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Protocol, TypeVar

import msgspec

from binance_proxy.application.ports import (
    Archive,
    Cache,
    CaughtUp,
    Clock,
    InstrumentRegistry,
    Live,
    LiveUnavailable,
    MarketStore,
    PairRegistry,
    StoreUnavailable,
)
from binance_proxy.application.serve.asked import MOST_ROWS, AskedOf, AskedRows
from binance_proxy.application.serve.meant import Pick, archived, instrument_of
from binance_proxy.application.serve.remembered import Remembered
from binance_proxy.application.unrecorded import trade_runs
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.ledger import Recorded

SLACK_NS = 60 * SECOND_NS
"""How far apart the venue's clock and ours may be, and how long a tick may be on its way."""
ARCHIVED_NS = 30 * SECOND_NS
"""How long it is remembered what the archive has: its footers take long to read."""
REMEMBERED = 16
"""Answers out of the cache that are remembered as they were read."""
REMEMBERED_BYTES = 2**19
"""Longer ones are not."""
KNOWN_NS = 5 * SECOND_NS
"""How long it is remembered which instruments are recorded, if one of them is meant."""
VERSION = b"2"
"""Of what is kept in the cache; what another version has put there is passed over."""


class _Dated(Protocol):
    """What is kept: an answer that says whether it had everything."""

    @property
    def stored(self) -> bool: ...


Kept = TypeVar("Kept", bound=_Dated)


@dataclass(frozen=True)
class Ages:
    """How old an answer may be that comes out of the cache."""

    present_s: float = 1.0
    """One whose range reaches the present."""
    past_s: float = 10.0
    """One whose range lies in the past. Late trades may still come for it."""


@dataclass
class Sources:
    """The ports that answers are made from."""

    store: MarketStore
    """Database and archive, read as one."""
    registry: InstrumentRegistry
    pairs: PairRegistry
    archive: Archive | None
    """For instruments that only the archive knows; `None` if there is none."""
    live: Live
    cache: Cache
    clock: Clock
    ages: Ages
    _newest: dict[str, int | None] = field(default_factory=dict)
    """What was recorded last of an instrument, as the recording said last: see `CaughtUp.newest`."""
    _read: Remembered[str, tuple[bytes, object]] = field(default_factory=lambda: Remembered(REMEMBERED))
    """What was read of the cache last, by key, with what it was read of."""
    _known: tuple[int, Sequence[Instrument]] = (0, ())
    """When the registry was last asked, and what it knew."""
    _archived: tuple[int, Sequence[Instrument]] | None = None
    _runs: Remembered[tuple[Instrument, int, int], tuple[int, Sequence[Recorded]]] = field(
        default_factory=lambda: Remembered(REMEMBERED)
    )
    """Runs of a range, and when they were read."""

    async def learn(self) -> Sequence[Instrument]:
        """Ask which instruments are recorded, and remember it for when the store is away.

        Raises:
            StoreUnavailable: It is away.
        """
        found = await self.registry.instruments()
        self._known = self.clock.now(), found
        return found

    async def instrument(self, asked: AskedOf) -> Instrument:
        """Return the recorded instrument that is asked about.

        Raises:
            NothingStored: It was never recorded.
            Ambiguous: It was recorded in several places.
            StoreUnavailable: The store is away.
        """
        pick, now = Pick(asked.symbol, asked.venue, asked.market), self.clock.now()
        then, known = self._known
        meant = [one for one in known if pick.means(one)]
        if len(meant) == 1 and 0 <= now - then < KNOWN_NS:
            return meant[0]
        try:
            found = await self.learn()
        except StoreUnavailable:
            if len(meant) == 1:  # a live book needs no store
                return meant[0]
            raise
        return await instrument_of(found, self.archive, pick)

    async def archived(self) -> Sequence[Instrument]:
        """Return the instruments that the archive has, as it was not long ago."""
        if self.archive is None:
            return ()
        now = self.clock.now()
        if self._archived is None or not 0 <= now - self._archived[0] < ARCHIVED_NS:
            self._archived = now, await archived(self.archive)
        return self._archived[1]

    async def caught_up(
        self, instrument: Instrument, end: int, deadline: int, fetch: tuple[int, int] | None = None
    ) -> CaughtUp:
        """Wait until what was recorded of a range is in the store, for half of the time that is left.

        It is asked each time, for the recording alone knows what of the range still waits, be it late trades
        or a feed whose time is not ours. A recording that does not answer is no error: the answer says then
        that the newest ticks may be missing.
        """
        limit_s = max(deadline - self.clock.now(), 0) / 2 / SECOND_NS
        try:
            found = await self.live.catch_up(instrument, fetch, before=end, limit_s=limit_s)
        except LiveUnavailable as error:
            return CaughtUp(stored=False, not_fetched=str(error) if fetch else None)
        self._newest[instrument.name] = found.newest
        if found.fetched:
            self._runs.forget(lambda key: key[0] == instrument)
        return found

    async def runs(
        self, store: MarketStore, instrument: Instrument, start: int, end: int
    ) -> Sequence[Recorded]:
        """Return the runs in which the trades of a range were recorded, as it was not long ago if many."""
        key, now = (instrument, start, end), self.clock.now()
        then, found = self._runs.get(key) or (0, ())
        if found and 0 <= now - then < KNOWN_NS:
            return found
        found = await trade_runs(store, instrument, start, end)
        if len(found) > 1:  # one is found quickly
            self._runs.put(key, (now, found))
        return found

    def _is_past(self, instrument: Instrument, end: int) -> bool:
        """Say whether a recording is well past the end of a range. Of one that does not go on time tells."""
        newest = self._newest.get(instrument.name, 0)
        return end + SLACK_NS <= (self.clock.now() if newest is None else newest)

    async def page(
        self,
        asked: AskedRows,
        instrument: Instrument,
        question: bytes,
        end: int,
        kind: type[Kept],
        make: Callable[[], Awaitable[Kept]],
    ) -> Kept:
        """Return a page of a question. Like `kept`, but what is too much to be kept is made each time."""
        if asked.limit > MOST_ROWS:
            return await make()
        which = msgspec.msgpack.encode((question, asked.limit, asked.cursor))
        return await self.kept(instrument, which, end, kind, make, fresh=asked.fresh)

    async def kept(
        self,
        instrument: Instrument,
        question: bytes,
        end: int,
        kind: type[Kept],
        make: Callable[[], Awaitable[Kept]],
        *,
        fresh: bool,
    ) -> Kept:
        """Return an answer that is kept, or make it and keep it; of many who ask at once one makes it.

        One of which something could not be fetched is for those who wait for it, and not kept: whoever asks
        again wants the rest.

        Args:
            instrument: What it is about.
            question: Everything that the answer depends on.
            end: Of its range, in ns: if the recording is past that, it is kept longer, once it is all stored.
            kind: What it is.
            make: Works it out.
            fresh: Whether it has to be made anew.
        """
        key = f"answer:{VERSION.decode()}:{blake2s(question).hexdigest()}"
        made: list[Kept] = []

        async def packed() -> bytes:
            made.append(await make())
            return VERSION + msgspec.msgpack.encode(made[-1])

        def ttl_s() -> float:
            is_whole = not made or made[-1].stored
            return self.ages.past_s if is_whole and self._is_past(instrument, end) else self.ages.present_s

        if not fresh:
            supposed_s = ttl_s()
            raw = await self.cache.once(key, supposed_s, packed)
            found = made[-1] if made else self._unpacked(key, raw, kind)
            if found is not None:
                if made and _lacks(found):
                    await self.cache.drop(key)
                elif made and ttl_s() != supposed_s:  # only now it is known how far the recording is
                    await self.cache.put(key, raw, ttl_s())
                return found
        raw = await packed()
        if not _lacks(made[-1]):
            await self.cache.put(key, raw, ttl_s())
        return made[-1]

    def _unpacked(self, key: str, raw: bytes, kind: type[Kept]) -> Kept | None:
        """Return what was kept; `None` if it is broken, or of another version.

        Reading takes longer than writing it down, so what was read last is remembered.
        """
        then, found = self._read.get(key) or (b"", None)
        if then == raw and isinstance(found, kind):
            return found
        if raw[:1] != VERSION:
            return None
        try:
            found = msgspec.msgpack.decode(raw[1:], type=kind)
        except msgspec.MsgspecError:
            return None
        if len(raw) <= REMEMBERED_BYTES:
            self._read.put(key, (raw, found))
        return found


def goes_on(caught: CaughtUp) -> bool:
    """Say whether an instrument is being recorded, or may be: a recording may be too slow to say so."""
    return caught.newest is not None or not caught.stored


def question_of(method: str, instrument: Instrument, *parts: str | float | None) -> bytes:
    """Return what tells a question from every other one."""
    return msgspec.msgpack.encode((method, instrument.name, instrument.units, *parts))


def _lacks(found: object) -> bool:
    """Say whether something that was to be fetched is not in an answer."""
    return getattr(found, "not_fetched", None) is not None
