"""The file that batches wait in: SQLite, each batch on the disk before it counts as accepted.

Everything here blocks; one thread does all of it.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from binance_proxy.adapters.spool.packing import FORMAT, checksum, pack, unpack
from binance_proxy.adapters.spool.tables import (
    ASIDE,
    BROKEN,
    DAMAGED_TOTALS,
    INSERT,
    LAST,
    NEXT,
    OWNER,
    OWNER_TABLE,
    TOTALS,
    connect,
    current_file,
    in_plain_words,
    make,
    next_file,
    owner_of,
    primary,
    readable,
    sync_folder,
    transaction,
    write_owner,
)
from binance_proxy.application.ports import SpoolDepth, StoredEvent, StoreFull, StoreRejected

log = logging.getLogger(__name__)

PORTION_BYTES = 2 * 1024**2
"""How much is taken out at a time: many small batches, or one."""
SHRINK_FROM_BYTES = 64 * 1024**2
"""An empty file that has grown so large gives its space back."""
Done = TypeVar("Done")


class Portion(Struct, frozen=True):
    """Some batches that wait, in the order in which they came."""

    numbers: Sequence[int]
    events: Sequence[StoredEvent]
    size_bytes: int


class FileDamaged(StoreFull):
    """The file itself is damaged, and another one has been begun with what is left of it: try once more."""


class SpoolFile:
    """Batches on disk, first in, first out.

    What `put` has returned from is on the disk, through a crash of the process or of the machine. The
    connection is not trusted after an error of input or output: it is closed, and the file opened again.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Take a folder that is there and that nobody else works in; nothing is opened before `open`."""
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._connection: sqlite3.Connection | None = None
        self._after = 0  # all batches up to this number have been taken out
        self._undeleted: list[int] = []  # taken out, and could not be deleted
        self._last = 0
        self._batches = self._waiting = self._waiting_bytes = self._aside = self._aside_bytes = 0
        self._oldest: int | None = None
        self._spooled = self._drained = self._drained_new = self._set_aside = 0

    @property
    def path(self) -> Path:
        """The file itself."""
        return current_file(self._folder)

    @property
    def is_empty(self) -> bool:
        """True if nothing waits."""
        return not self._batches

    def depth(self, *, is_away: bool = False) -> SpoolDepth:
        """Return what waits, without looking at the file."""
        return SpoolDepth(
            waiting=self._waiting,
            size_bytes=self._waiting_bytes + self._aside_bytes,
            oldest=self._oldest if self._batches else None,
            spooled=self._spooled,
            drained=self._drained,
            drained_new=self._drained_new,
            set_aside=self._set_aside,
            aside=self._aside,
            is_away=is_away,
        )

    def open(self) -> None:
        """Open the file, or make it, and find out what waits in it.

        Raises:
            StoreFull: The disk is full, or does not work.
            StoreRejected: A later version of the bridge has made the file.
        """
        self._once_more(self._look_in)

    def belong_to(self, database: str) -> None:
        """Have what is put in be for one database, by its id. An empty spool changes to another one.

        Raises:
            StoreRejected: Events of another database wait here.
            StoreFull: The disk is full, or does not work.
        """
        self._once_more(lambda: self._belong_to(database))

    def _belong_to(self, database: str) -> None:
        with self._connected() as connection:
            owner = connection.execute(OWNER).fetchone()
            if owner is not None and owner[0] == database:
                return
            if owner is not None and not self.is_empty:
                raise StoreRejected(
                    f"{self._waiting:,} events wait in the spool {self._folder} for another database: run the"
                    " bridge with its store.timescale.url until they are stored, or move the folder away."
                )
            with transaction(connection):
                write_owner(connection, database)

    def close(self) -> None:
        """Close the file. What waits stays there."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def put(self, events: Sequence[StoredEvent], ts: int) -> None:
        """Keep a batch, on the disk when this returns. ``ts`` is now, in ns since the epoch.

        An event that cannot even be written down, as a number in it is too long, is set aside as text.

        Raises:
            StoreFull: The limit is reached, the disk is full or does not work. Nothing is kept.
        """
        payload, events, unfit = _pack_what_fits(events)
        self._check_room(len(payload))
        self._once_more(lambda: self._insert(payload, events, unfit, ts))

    def _insert(
        self, payload: bytes, events: Sequence[StoredEvent], unfit: Sequence[StoredEvent], ts: int
    ) -> None:
        text = "\n".join(map(repr, unfit)).encode()
        with self._connected() as connection, transaction(connection):
            number = self._last + 1
            if events:
                proof = checksum(number, ts, len(events), payload)
                connection.execute(INSERT, (number, ts, len(events), proof, payload))
            if unfit:
                connection.execute(ASIDE, (ts, len(unfit), "a number is over 64 bits long", text))
        if unfit:
            self._note_aside(len(unfit), len(text))
            log.error("%d events cannot be spooled, a number is over 64 bits long: %r", len(unfit), unfit[0])
        if events:
            self._last = number
            self._oldest = self._oldest if self._batches else ts
            self._batches += 1
            self._waiting += len(events)
            self._waiting_bytes += len(payload)
            self._spooled += len(events)

    def take(self) -> Portion | None:
        """Return what came first, or `None` if nothing waits. It stays in the file until it is `done`.

        A batch that is damaged is set aside on the way.

        Raises:
            StoreFull: The disk does not work.
        """
        return self._once_more(self._take)

    def _take(self) -> Portion | None:
        numbers: list[int] = []
        events: list[StoredEvent] = []
        size = 0
        after = self._after
        while size < PORTION_BYTES:
            with self._connected() as connection:
                row = connection.execute(NEXT, (after,)).fetchone()
            if row is None:
                break
            number, ts, count, proof, payload = row
            after = number
            try:
                found = _unpack_checked(number, ts, count, proof, payload)
            except ValueError as error:
                reason = f"{error} (batch {number} of {count} events, spooled at {ts} ns)"
                log.error("the spool holds a damaged batch, it is set aside in %s: %s", self.path, reason)  # noqa: TRY400  a plain sentence
                self._leave([number], ts, count, reason, payload, count, len(payload))
                if not numbers:
                    self._after = number
                continue
            if not numbers:
                self._oldest = ts
            numbers.append(number)
            events += found
            size += len(payload)
        if not numbers:
            self._batches = self._waiting = self._waiting_bytes = 0  # the rest is for the next run
            return None
        return Portion(numbers, events, size)

    def done(
        self, portion: Portion, ts: int, new: int, refused: Sequence[StoredEvent] = (), why: str = ""
    ) -> None:
        """Let go of what the store has taken. What it ``refused`` of it is set aside. ``ts`` is now.

        Never raises for a disk that does not work: what cannot be deleted now is later, and at worst is
        handed to the store again by the next run.
        """
        self._after = portion.numbers[-1]
        self._drained += len(portion.events) - len(refused)
        self._drained_new += new
        count = len(portion.events)
        payload = _pack_what_fits(refused)[0] if refused else b""
        self._leave(portion.numbers, ts, len(refused), why, payload, count, portion.size_bytes)
        if self.is_empty:
            self._shrink()

    def _leave(
        self,
        numbers: Sequence[int],
        ts: int,
        aside: int,
        why: str,
        payload: bytes,
        events: int,
        size: int,
    ) -> None:
        """Take batches out of the count and of the file, and set ``aside`` events of them aside."""
        self._batches -= len(numbers)
        self._waiting -= events
        self._waiting_bytes -= size
        try:
            with self._connected() as connection, transaction(connection):
                if aside:
                    connection.execute(ASIDE, (ts, aside, why, payload))
                for number in (*self._undeleted, *numbers):
                    connection.execute("DELETE FROM batches WHERE number = ?", (number,))
        except StoreFull as error:
            log.warning("the spool cannot let go of what is stored: %s", error)
            if not aside:  # else the next run meets them again, and sets them aside
                self._undeleted += numbers
        else:
            self._undeleted.clear()
        if aside:
            self._note_aside(aside, len(payload))

    def _note_aside(self, events: int, size: int) -> None:
        self._set_aside += events
        self._aside += events
        self._aside_bytes += size

    def _check_room(self, size: int) -> None:
        if self._waiting_bytes + self._aside_bytes + size > self._limit_bytes:
            raise StoreFull(
                f"The spool in {self._folder} holds {self._waiting_bytes + self._aside_bytes:,} bytes, and"
                f" spool.limit_bytes is {self._limit_bytes:,}: bring the database back, or allow more."
            )

    def _shrink(self) -> None:
        with suppress(OSError, StoreFull):
            if self.path.stat().st_size > SHRINK_FROM_BYTES:
                with self._connected() as connection:
                    connection.execute("VACUUM")
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection, open it if need be, and say in the words of the port what goes wrong."""
        try:
            if self._connection is None:
                self._open()
            assert self._connection is not None  # noqa: S101  it was just opened
            yield self._connection
        except (sqlite3.Error, OSError) as error:
            self.close()
            if primary(error) in BROKEN:
                self._begin_anew(error)
                raise FileDamaged(f"The spool {self._folder} was damaged, and begins anew.") from error
            raise StoreFull(in_plain_words(self._folder, error)) from error

    def _once_more(self, act: Callable[[], Done]) -> Done:
        """Act, and once more if the file turned out to be damaged."""
        try:
            return act()
        except FileDamaged:
            return act()

    def _look_in(self) -> None:
        with self._connected():
            pass

    def _open(self) -> None:
        path = self.path
        self._connection = connection = connect(path)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            self.close()
            raise StoreRejected(
                f"The spool {path} was made by a newer bridge: run that one until it is empty, or choose"
                " another data_dir."
            )
        if version == 0:
            make(connection)
        connection.execute(OWNER_TABLE)  # not there in a file of an earlier bridge
        for folder in (self._folder, self._folder.parent):  # or the file could be gone after a power cut
            sync_folder(folder)
        self._last = max(self._last, connection.execute(LAST).fetchone()[0])
        for number in self._undeleted:
            connection.execute("DELETE FROM batches WHERE number = ?", (number,))
        self._undeleted.clear()
        self._batches, self._waiting, self._waiting_bytes, self._oldest = connection.execute(
            TOTALS
        ).fetchone()
        self._aside, self._aside_bytes = connection.execute(DAMAGED_TOTALS).fetchone()

    def _begin_anew(self, error: BaseException) -> None:
        """Leave a damaged file as it is, and bring what can be read of it into another one."""
        old = self.path
        new = next_file(self._folder)
        part = new.with_suffix(".part")
        batches, waiting = self._batches, self._waiting
        copied = 0
        owner = owner_of(old)
        try:
            part.unlink(missing_ok=True)
            with closing(connect(part)) as there:
                make(there)
                with transaction(there):
                    there.execute(
                        "INSERT INTO sqlite_sequence (name, seq) VALUES ('batches', ?)", (self._last,)
                    )
                    if owner is not None:
                        write_owner(there, owner)
                    for row in readable(old):
                        there.execute(INSERT, row)
                        copied += 1
                there.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            part.rename(new)
            self._open()
        except (sqlite3.Error, OSError) as failure:
            self.close()
            raise StoreFull(in_plain_words(self._folder, failure)) from failure
        self._set_aside += max(0, waiting - self._waiting)
        log.error("the spool %s is damaged (%s) and left as it is; %d of its %s batches were saved into %s",
                  old, error, copied, batches or "unknown number of", new.name)  # fmt: skip


def _pack_what_fits(
    events: Sequence[StoredEvent],
) -> tuple[bytes, Sequence[StoredEvent], Sequence[StoredEvent]]:
    """Pack events; return the bytes, what is in them, and what could not be."""
    try:
        return pack(events), events, ()
    except OverflowError:
        fit, unfit = [], []
        for event in events:
            try:
                pack([event])
            except OverflowError:
                unfit.append(event)
            else:
                fit.append(event)
        return pack(fit), fit, unfit


def _unpack_checked(number: int, ts: int, count: int, proof: bytes, payload: bytes) -> list[StoredEvent]:
    if checksum(number, ts, count, payload) != proof:
        raise ValueError("its checksum does not match")
    return unpack(payload)
