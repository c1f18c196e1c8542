"""Days of ticks: those of a store that are over, and those in an archive."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from msgspec import Struct

from binance_proxy.application.trade_columns import TradeColumns
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick

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
