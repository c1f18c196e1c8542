"""The tables of the spool, and how SQLite is spoken to about them."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryFile
from typing import Any

from binance_proxy.adapters.spool.packing import FORMAT
from binance_proxy.application.ports import StoreFull

PAGE_BYTES = 16_384
BUSY_S = 5.0
"""How long another program, such as a person's `sqlite3`, may be in the way."""
JOURNAL_BYTES = 64 * 1024**2

BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

SCHEMA = f"""
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    ts INTEGER NOT NULL, -- when it was spooled, in ns since the epoch
    events INTEGER NOT NULL, -- how many
    checksum BLOB NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE damaged (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    ts INTEGER NOT NULL, -- when it was set aside, or spooled, in ns since the epoch
    events INTEGER NOT NULL,
    reason TEXT NOT NULL,
    payload BLOB
);
PRAGMA user_version = {FORMAT}
"""
OWNER_TABLE = "CREATE TABLE IF NOT EXISTS owner (database TEXT NOT NULL) -- whose events wait here"
OWNER = "SELECT database FROM owner"
INSERT = "INSERT INTO batches (number, ts, events, checksum, payload) VALUES (?, ?, ?, ?, ?)"
ASIDE = "INSERT INTO damaged (ts, events, reason, payload) VALUES (?, ?, ?, ?)"
NEXT = "SELECT number, ts, events, checksum, payload FROM batches WHERE number > ? ORDER BY number LIMIT 1"
TOTALS = "SELECT count(*), coalesce(sum(events), 0), coalesce(sum(length(payload)), 0), min(ts) FROM batches"
DAMAGED_TOTALS = "SELECT coalesce(sum(events), 0), coalesce(sum(length(payload)), 0) FROM damaged"
LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'batches'"


def current_file(folder: Path) -> Path:
    """Return the file that is in use: the one with the highest number. Damaged ones lie beside it."""
    number = _current(folder)
    return folder / ("ticks.sqlite" if number == 1 else f"ticks-{number}.sqlite")


def next_file(folder: Path) -> Path:
    """Return the file that is to follow the current one."""
    return folder / f"ticks-{_current(folder) + 1}.sqlite"


def _current(folder: Path) -> int:
    found = (re.fullmatch(r"ticks(?:-(\d+))?\.sqlite", path.name) for path in folder.glob("ticks*.sqlite"))
    return max((int(match[1] or 1) for match in found if match), default=1)


def look(folder: Path) -> tuple[int, int, int]:
    """Return how many events wait in a spool, their bytes, and how many events are set aside; change nothing.

    Raises:
        StoreFull: It cannot be read.
    """
    path = current_file(folder)
    if not path.exists():
        return 0, 0, 0
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        ) as connection:
            _, events, size, _ = connection.execute(TOTALS).fetchone()
            aside, aside_bytes = connection.execute(DAMAGED_TOTALS).fetchone()
            return events, size + aside_bytes, aside
    except sqlite3.Error as error:
        raise StoreFull(in_plain_words(folder, error)) from error


def check_room(folder: Path) -> int:
    """Return how many bytes are free where the spool is or would be made.

    Raises:
        StoreFull: Nothing can be written there.
    """
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    try:
        with TemporaryFile(dir=there) as probe:
            probe.write(b"x" * PAGE_BYTES)
            probe.flush()
            os.fsync(probe.fileno())
        return disk_usage(there).free
    except OSError as error:
        raise StoreFull(f"Nothing can be written in {there} for the spool: {error.strerror}.") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open a file, and have each commit on the disk before it returns."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
    try:
        path.chmod(0o600)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError("the disk cannot hold a write-ahead log")  # noqa: TRY301  closes it
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def make(connection: sqlite3.Connection) -> None:
    """Make the tables."""
    with transaction(connection):
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(OWNER_TABLE)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all that is done inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def readable(path: Path) -> Iterator[tuple[Any, ...]]:
    """Yield each batch of a damaged file that can still be read, as far as they can be found."""
    with suppress(sqlite3.Error), closing(connect(path)) as there:
        numbers: set[int] = set()
        for order in ("", "DESC"):  # from both ends, as far as there is a way
            with suppress(sqlite3.Error):
                rows = there.execute(f"SELECT number FROM batches ORDER BY number {order}")  # noqa: S608  our own words
                for (number,) in rows:
                    numbers.add(number)
        for number in sorted(numbers):
            with suppress(sqlite3.Error):
                row = there.execute(NEXT, (number - 1,)).fetchone()
                if row is not None and row[0] == number:
                    yield row


def owner_of(path: Path) -> str | None:
    """Return which database a damaged file belonged to; `None` if that cannot be read."""
    with suppress(sqlite3.Error), closing(connect(path)) as there:
        row = there.execute(OWNER).fetchone()
        return None if row is None else str(row[0])
    return None


def write_owner(connection: sqlite3.Connection, database: str) -> None:
    """Write down which database the events are for, within a transaction."""
    connection.execute("DELETE FROM owner")
    connection.execute("INSERT INTO owner (database) VALUES (?)", (database,))


def primary(error: BaseException) -> int:
    """Return SQLite's primary code of an error; 0 if it is none of SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def in_plain_words(folder: Path, error: BaseException) -> str:
    """Say what is wrong with the disk, and what to do."""
    code = primary(error)
    if code == sqlite3.SQLITE_FULL:
        return f"The disk of the spool {folder} is full: free some space, or choose another data_dir."
    if code in LOCKED:
        return f"The spool {folder} is held by another program: end that."
    return f"The spool {folder} cannot be written: {error}."


def sync_folder(folder: Path) -> None:
    """Have on the disk which files there are."""
    there = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(there)
    finally:
        os.close(there)
