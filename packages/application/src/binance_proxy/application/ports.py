"""The ports: what the use cases need from the world, each named by its role.

Every sentence in a method's docstring is tested by the contract suite of its port, in ``tests/contract``,
which each adapter passes. An adapter raises the errors of its port and no others, and chains the vendor's
own.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, TypeVar

from msgspec import Struct

from binance_proxy.application.trade_columns import TradeColumns
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, MarketEvent, QuoteTick, StaleBook, TradeTick


class FeedError(BridgeError):
    """A `MarketFeed` could not do what was asked."""


class FeedUnavailable(FeedError):
    """The source is away for now. Trying again may help."""


class FeedRejected(FeedError):
    """The source refuses, and will refuse again: no such file, no such pair."""


class FrameRejected(FeedError):
    """One frame cannot be used. Skip it; the next one may be good."""

    def __init__(self, kind: str, detail: str) -> None:
        """Say what kind of fault it is, in words that are the same each time, and what is wrong here."""
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


class StoreError(BridgeError):
    """A `MarketStore`, `PairRegistry` or `InstrumentRegistry` could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store is away for now. Trying again may help."""


class StoreFull(StoreUnavailable):
    """There is no room for more: the disk is full, or a limit reached. Trying again helps once there is."""


class StoreRejected(StoreError):
    """The store refuses, and will refuse again: wrong password, newer schema, a folder it may not write."""


class EventsRejected(StoreRejected):
    """Some of these events cannot be kept, whoever tries; others can."""


class PublisherError(BridgeError):
    """A `Publisher` could not do what was asked."""


class PublisherRejected(PublisherError):
    """The address cannot be used: it is taken, or not allowed."""


class ExportError(BridgeError):
    """A `TickWriter` could not do what was asked."""


class ExportRejected(ExportError):
    """It will not do it: something is there already, or a value does not fit. The message says what to do."""


class HistoryError(BridgeError):
    """An `ExchangeHistory` could not do what was asked."""


class HistoryUnavailable(HistoryError):
    """The exchange is away, or wants to be left alone for a while. Trying again may help."""


class HistoryRejected(HistoryError):
    """The exchange refuses, and will refuse again: no such pair, a file that is damaged."""


class CacheError(BridgeError):
    """A `Cache` could not be opened. Once it is, it raises nothing."""


class CacheUnavailable(CacheError):
    """Its server cannot be run for now. Trying again may help."""


class CacheRejected(CacheError):
    """Its server cannot be run here: no program for this machine, a folder it may not use."""


StoredEvent: TypeAlias = TradeTick | QuoteTick | BookSnapshot | Gap
"""What a `MarketStore` keeps."""

PublishedEvent: TypeAlias = TradeTick | QuoteTick | BookSnapshot | StaleBook | Candle | Gap
"""What a `Publisher` sends about an instrument."""

Stored = TypeVar("Stored", TradeTick, QuoteTick, BookSnapshot, Gap)

BookEvent: TypeAlias = BookSnapshot | QuoteTick | StaleBook
"""What a book is made of, and where it ends to be one."""


class MarketFeed(Protocol):
    """Market events, as they happen or as they happened."""

    async def instruments(self, wanted: Sequence["TrackedPair"]) -> Sequence[Instrument]:
        """Describe the instruments that this source gives for the wanted pairs.

        A source with a fixed content (a capture) answers with all that it holds, whatever is wanted. A pair
        that the source does not have is left out; a source that could have had it warns, and names it.

        Raises:
            FeedUnavailable: The source is away for now. Trying again may help.
            FeedRejected: The source cannot be read at all. The message says what to change.
        """
        ...

    def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        """Yield events in arrival order, in the units of the given instruments.

        A lost connection is a `Disconnect` event, not an error, and what cannot be used is a `BadFrame`. The
        generator ends when the source has no more. Read it under `contextlib.aclosing`.

        Raises:
            FeedRejected: The source cannot be read any further. The message says what to change.
        """
        ...

    def resync(self, instrument: Instrument) -> None:
        """Ask for a `BookSnapshot` of the instrument to come along the stream soon.

        Returns at once. Does nothing if the source has none to give.
        """
        ...

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Have the stream that is being read give these instruments from now on, and no others.

        Returns at once. Of one that is new a `BookSnapshot` comes soon, and the others go on undisturbed. A
        stream that is to give none waits until it is to give some. Does nothing if no stream is being read,
        or if the source has a fixed content.
        """
        ...


class MarketStore(Protocol):
    """Ticks, kept for good."""

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events, each once, however often it is given; return how many were new.

        All of them are kept, or an error is raised and none is. A trade is the same if instrument,
        ``ts_event`` and ``trade_id`` are; an update or a snapshot if instrument, ``ts_event`` and
        ``last_update_id`` are. A gap is the same if instrument, stream and ``first_id`` are; given again it
        is not new, its state moves forward only (open, lost, repaired), and its ``last_id`` moves down only.

        Raises:
            StoreUnavailable: Try again with the same events; nothing is kept twice.
            EventsRejected: A time is finer than the instrument's resolution, or units are not those that it
                is recorded in.
            StoreRejected: The store will not take them.
        """
        ...

    def scan(
        self, kind: type[Stored], instrument: Instrument, start: int, end: int, *, newest_first: bool = False
    ) -> AsyncGenerator[Stored]:
        """Yield what is kept with ``start <= ts_event < end``, ordered by ``ts_event`` and then by id.

        The id is ``trade_id``, ``last_update_id`` or ``first_id``. Memory does not grow with the range. Read
        it under `contextlib.aclosing`.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Return the candles of all kept trades, oldest first, whose period starts in ``[start, end)``.

        They equal those of a `CandleFold` over the same trades, by time and then by id; also in what is
        complete, as long as ids rise with time. All are marked closed but one: the newest of the instrument,
        which is open until a trade of a later period is kept.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...


StoredTick: TypeAlias = TradeTick | QuoteTick | BookSnapshot
"""What is archived by days."""


class HeldDay(Struct, frozen=True, kw_only=True):
    """What a store holds of one kind of tick of one instrument on one day."""

    kind: type[StoredTick]
    instrument: Instrument
    day: int
    """Days since 1970, UTC; a tick lies on the day of its ``ts_event``."""
    rows: int


class ArchivedDay(HeldDay, frozen=True, kw_only=True):
    """A day as it lies in an archive."""

    first: int
    """``ts_event`` of its first tick, in ns."""
    last: int
    """``ts_event`` of its last one."""
    matches: int
    """Single trades that its trades stand for, off-book ones left out, as candles count them; 0 of others."""
    volume: int
    """Sum of their sizes, in size units; 0 of others."""
    checksum: str
    """Of the values of all rows in their order, however they are packed."""
    size_bytes: int


class ClosedDays(Protocol):
    """The days of ticks in a store that drops old ones, and whether an archive has them."""

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Be the only one who archives the store, in any process, until the context is left.

        While it lasts the store drops no day that is not archived. It ends with the process, however that
        ends, and holds nobody up who reads or writes.

        Raises:
            StoreUnavailable: The store is away.
            StoreRejected: Another run archives it. The message says so.
        """
        ...

    async def unarchived(self, before: int, there: Sequence[ArchivedDay] | None = None) -> Sequence[HeldDay]:
        """Return the days before a day of which a tick may not be archived, oldest first.

        With ``there``, what the archive has, a day that was said to be archived and is not among these with
        its checksum counts as unarchived from now on.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...

    async def dropped(self, there: Sequence[ArchivedDay]) -> Sequence[HeldDay]:
        """Return the days that were dropped because an archive had them, and that are not among these.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...

    def trades(self, held: HeldDay) -> AsyncGenerator[TradeColumns]:
        """Yield the trades of a day by time and then by id, as a `scan` of it, but many at a time.

        What has come since they were counted is among them. Read it under `contextlib.aclosing`.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...

    async def archived(self, held: HeldDay, checksum: str) -> None:
        """Learn that an archive has these rows of a day; only days that it has whole are dropped from now on.

        A day is whole in the archive as long as the store holds exactly so many rows of it, as rows are only
        ever added: with a late one it is `unarchived` again. Call it within the `alone` in which the rows
        were counted, or a day that was dropped and made anew meanwhile may pass for this one.

        Raises:
            StoreUnavailable: The store is away, or the `alone` was lost.
            StoreRejected: The store holds nothing of such an instrument.
        """
        ...


class AuditedDay(Struct, frozen=True, kw_only=True):
    """What was found when a file of an archive was read back."""

    path: str
    """For people."""
    day: ArchivedDay | None
    """What the file says that it is; `None` if it cannot be told."""
    fault: str | None
    """What is wrong with it; `None` if nothing is."""


class Archive(Protocol):
    """Days of ticks, kept for good."""

    async def days(
        self,
        instrument: Instrument | None = None,
        kind: type[StoredTick] | None = None,
        *,
        start: int = 0,
        end: int = 2**63 - 1,
    ) -> Sequence[ArchivedDay]:
        """Return what is archived, of all or of one instrument and kind; by instrument, kind and day.

        Only days that have a part in ``[start, end)``.

        Raises:
            StoreUnavailable: The archive is away.
            StoreRejected: A day is damaged, or something else lies in its place. The message names the file.
        """
        ...

    async def keep(self, held: HeldDay, ticks: AsyncGenerator[StoredTick | TradeColumns]) -> ArchivedDay:
        """Keep the ticks of a day, given in order, beside those that are there; return what is there now.

        Trades may come as columns too, many at once; that changes nothing but the time it takes. Each tick is
        kept once, however often it is given. The day is written whole, brought to the disk, read
        back, and put in its place in one step: if any of that fails an error is raised, and what was there
        before is there still. Memory does not grow with the day.

        Raises:
            StoreUnavailable: The archive is away. Trying again may help.
            StoreFull: There is no room for the day.
            EventsRejected: A value needs more than the 12 decimals of an archive, or the instrument is
                archived in other units, be it on another day.
            StoreRejected: There is nothing to keep, what is there is damaged or foreign, or what was read
                back is not what was written.
        """
        ...

    def audit(self) -> AsyncGenerator[AuditedDay]:
        """Read everything back, and compare rows, order and checksums with what was written.

        Whatever lies in the archive is told, also what does not belong there. Read it under
        `contextlib.aclosing`.

        Raises:
            StoreUnavailable: The archive is away.
        """
        ...


class TickWriter(Protocol):
    """Ticks for another program, in a form that it reads."""

    async def write(self, instrument: Instrument, events: AsyncIterable[StoredTick | StaleBook]) -> None:
        """Write the trades, which come first, and then what is known of the book, to where they are to be.

        Everything is brought to the disk under another name first: if anything fails, in the stream too, what
        was there before is there still, and nothing else. Without any event it is readable too, and empty.

        Raises:
            ExportRejected: Something is there already and may not be replaced, or a value does not fit.
            ExportError: It cannot be written there: no room, no right to.
        """
        ...


class SpoolDepth(Struct, frozen=True, kw_only=True):
    """What waits in a `Spool`, and what it has done in this run. Counts are of events."""

    waiting: int = 0
    """In the spool now, those of earlier runs too."""
    size_bytes: int = 0
    """What they take up, with all that was ever set aside."""
    oldest: int | None = None
    """When the oldest of them was spooled, in ns since the epoch; `None` if none waits."""
    spooled: int = 0
    """Were put into the spool."""
    drained: int = 0
    """Were handed on to the store, those of earlier runs too."""
    drained_new: int = 0
    """Of these, how many the store did not have."""
    set_aside: int = 0
    """Could not be read any more, or the store would not take them; they are kept beside."""
    aside: int = 0
    """Are set aside in all, those of earlier runs too."""
    is_away: bool = False
    """Whether the store was away when it was last tried."""


class Spool(Protocol):
    """Where events wait, on disk, for a store that is away."""

    def depth(self) -> SpoolDepth:
        """Return what waits. Answers at once."""
        ...

    async def sift(self, events: Sequence[StoredEvent]) -> None:
        """Keep events of which a store has refused some; it will get the others.

        Raises:
            StoreFull: There is no room for them.
        """
        ...


class TrackedPair(Struct, frozen=True, kw_only=True):
    """A pair that somebody wants recorded, and what of it."""

    symbol: str
    market: Market = Market.SPOT
    enabled: bool = True
    streams: tuple[Stream, ...] = (Stream.TRADES, Stream.ORDERBOOK)


class PairRegistry(Protocol):
    """Which pairs somebody wants recorded."""

    async def pairs(self) -> Sequence[TrackedPair]:
        """Return the tracked pairs by symbol: at first ETH/USDT and SOL/USDT.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...

    def changes(self) -> AsyncGenerator[None]:
        """Yield whenever the tracked pairs may have changed, whoever changed them.

        Yields once at the beginning, and once after whatever kept it from noticing a change: whoever reads
        the pairs each time misses none. Many changes may be told as one. Never ends, and never raises; a
        registry that is away is waited for. Read it under `contextlib.aclosing`.
        """
        ...

    async def put(self, pair: TrackedPair, *, instead_of: TrackedPair | None = None) -> bool:
        """Track a pair, or change what is wanted of it: exactly these streams, enabled or not; return true.

        With ``instead_of`` it does so only if that is what is tracked now, and otherwise returns false: then
        somebody else was quicker, and the pairs have to be read again.

        Raises:
            StoreUnavailable: The store is away.
            StoreRejected: The symbol is none such as ETH/USDT.
        """
        ...

    async def remove(self, symbol: str, market: Market) -> bool:
        """Track a pair no more; return whether it was tracked. What was recorded of it stays.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...


class InstrumentRegistry(Protocol):
    """In which units each instrument is recorded."""

    async def instruments(self) -> Sequence[Instrument]:
        """Return every instrument that was ever registered, by name."""
        ...

    async def register(self, instrument: Instrument) -> Instrument:
        """Make an instrument known, and return it as it is recorded.

        The first registration of a venue, market and symbol fixes precisions and time resolution; every
        later one gets those back.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...


class ExchangeHistory(Protocol):
    """What a venue still has of the past."""

    async def ids(self, instrument: Instrument, start: int, end: int) -> tuple[int, int] | None:
        """Return the lowest and highest id of the single trades with ``start <= ts_event < end``.

        `None` if the venue has none.

        Raises:
            HistoryUnavailable: The venue is away for now.
            HistoryRejected: The venue does not have the instrument at all. The message says what to change.
        """
        ...

    def trades(
        self, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        """Yield what the venue has of the single trades with these ids, both included, by id, in pages.

        Where it gives aggregated trades only, those stand in that hold a match of the range. Each then has
        ``first_match_id`` and ``last_match_id``, with the former as its ``trade_id`` too, and may reach
        beyond the range. What the venue does not have is left out. Times are truncated to the resolution of
        the instrument. Read it under `contextlib.aclosing`.

        Raises:
            HistoryUnavailable: The venue is away for now. What was yielded stays good.
            HistoryRejected: The venue refuses. The message says what to change.
        """
        ...

    def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> AsyncGenerator[Sequence[Candle]]:
        """Yield the venue's own candles whose period starts in ``[start, end)``, oldest first, in pages.

        Only those that have closed, and none without a trade.

        Raises:
            HistoryUnavailable: The venue is away for now.
            HistoryRejected: The venue refuses, or has no such timeframe.
        """
        ...


class Publisher(Protocol):
    """Events to whoever listens, at once or never."""

    def publish(self, event: PublishedEvent) -> None:
        """Send an event on its topic, with the next sequence number of that topic.

        Never waits and never fails because of a listener: one that does not keep up loses messages, and sees
        that by the sequence. Nothing is encoded that nobody is subscribed to.
        """
        ...

    def publish_status(self, status: dict[str, object]) -> None:
        """Send the bridge's own state on ``bridge.status``. Never waits."""
        ...

    def newcomers(self) -> frozenset[str]:
        """Return the topic prefixes that were subscribed to since the last call."""
        ...

    def recall(self, topic: str, after: int, most: int | None = None) -> "Recalled":
        """Return where a topic is now, and what was published on it behind the sequence ``after``.

        With ``most``, at most so many messages, the oldest of them. A bounded number of messages is kept for
        each topic; if any of those that were asked for is kept no more, or ``after`` lies ahead of the topic,
        `Recalled.messages` is `None`.
        """
        ...


class Recalled(Struct, frozen=True, kw_only=True):
    """What a `Publisher` remembers of a topic."""

    epoch: str
    """Id of this run of the publisher."""
    sequence: int
    """Of the newest message of the topic; 0 if there was none."""
    messages: Sequence[dict[str, object]] | None
    """The bodies as they were published, oldest first, decoded; `None` if some of them are gone."""


class LiveError(BridgeError):
    """A `Live` recording could not do what was asked."""


class LiveUnavailable(LiveError):
    """The recording does not answer for now. Trying again may help."""


class LiveBook(Struct, frozen=True, kw_only=True):
    """A book as it is at the moment, and where its topic is."""

    book: BookSnapshot
    """All of it, or the best levels."""
    epoch: str
    sequence: int
    """Of the newest message on the book's topic: every message up to it is in the book, none behind it is."""


class CaughtUp(Struct, frozen=True, kw_only=True):
    """How far the store is."""

    stored: bool
    """Whether everything that was recorded before is in the store now."""
    fetched: int = 0
    """Trades that the venue gave."""
    not_fetched: str | None = None
    """Why nothing, or not everything, could be fetched."""


class Live(Protocol):
    """A recording that goes on, as those see it who answer questions."""

    async def book(self, instrument: Instrument, levels: int | None = None) -> LiveBook:
        """Return the book as it is, with the best so many levels of each side.

        Raises:
            BookStale: The book is out of step, or the instrument is not recorded. The message says which.
            LiveUnavailable: The recording does not answer.
        """
        ...

    async def since(self, topic: str, epoch: str, sequence: int) -> Recalled:
        """Return what was published on a topic behind a sequence of a run, at most `RECALLED` messages.

        `Recalled.messages` is `None` if it was another run, or some of them are kept no more.

        Raises:
            LiveUnavailable: The recording does not answer.
        """
        ...

    async def status(self) -> dict[str, object]:
        """Return how the recording is, as ``bridge.status`` tells it.

        Raises:
            LiveUnavailable: The recording does not answer.
        """
        ...

    async def catch_up(
        self, instrument: Instrument, fetch: tuple[int, int] | None = None, *, limit_s: float
    ) -> CaughtUp:
        """Wait until everything that was recorded so far is in the store, but no longer than ``limit_s``.

        A store that is away is not waited for. With ``fetch``, a range of ``ts_event``, the trades of it that
        are not stored are fetched from the venue and stored as well. Many who ask for the same at once are
        answered by one fetch.

        Raises:
            LiveUnavailable: The recording does not answer.
        """
        ...


RECALLED = 1_000
"""Messages that `Live.since` returns at most; the next ones are asked for behind the last of them."""


class Cache(Protocol):
    """Bytes that were worked out, kept for a while, for all processes of a bridge.

    Nothing is lost with it: while it is away, everything is worked out anew, and no method raises for that.
    """

    async def get(self, key: str) -> bytes | None:
        """Return what is kept there; `None` if nothing is, or no more."""
        ...

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for so long at most, in place of what was there."""
        ...

    async def drop(self, key: str) -> None:
        """Keep nothing there any more."""
        ...

    async def once(self, key: str, ttl_s: float, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what is kept there, or make it and keep it.

        Of many who ask at the same time, in any process, one makes it and the others wait for it. If that
        one fails, its error is its own, and another makes it; so too if its process dies.
        """
        ...


class Clock(Protocol):
    """The time, real or not."""

    def now(self) -> int:
        """Return ns since the epoch, UTC."""
        ...

    async def sleep_until(self, ts: int) -> None:
        """Return once `now` has reached ``ts``; at once if it has already."""
        ...
