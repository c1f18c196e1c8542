"""What PostgreSQL and its driver raise, as the two errors of the store's port."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from binance_proxy.application.ports import EventsRejected, StoreError, StoreRejected, StoreUnavailable


class AlreadyStored(StoreRejected):
    """A row with the same key is there. Only the writer meets it, and takes the careful way."""


class PartitionMissing(StoreRejected):
    """There is no partition for a row. Only the writer meets it, and makes one."""


VENDOR = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError is one
)
"""Everything that the driver and the network raise."""

AWAY = (
    "08",  # connection lost
    "25006",  # read-only, or a standby that has not taken over yet
    "40",  # deadlock, serialization
    "53",  # no disk, memory or connection left
    "55P03",  # lock not to be had in time
    "57",  # shut down, starting up, cancelled
    "58",  # the server's own input and output
)
"""SQLSTATEs, or their first digits, that may be gone at the next try."""

AT_FAULT = (
    "22",  # a value that the column cannot hold
    "23",  # a row that breaks a rule of the table
)
"""SQLSTATEs, by their first digits, that are about the rows which were sent and no others."""

ADVICE = {
    "28": "check user and password in the store's url, and the server's pg_hba.conf",
    "3D": "create the database, or name another one in the store's url",
    "42501": "grant the right to the user in the store's url, or name another user there",
}
"""What to change, by SQLSTATE or its first digits."""


@contextmanager
def port_errors() -> Iterator[None]:
    """Raise `StoreUnavailable` or `StoreRejected` for what goes wrong inside, the vendor's error chained."""
    try:
        yield
    except VENDOR as error:
        raise as_port_error(error) from error


def as_port_error(error: BaseException) -> StoreError:
    """Put an error into one sentence, under the class that says whether to try again."""
    said = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
    if isinstance(error, asyncpg.PostgresError):
        return _refused(error, said)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return StoreRejected(f"The store's url cannot be used: {said}.")
    if isinstance(error, TimeoutError):
        return StoreUnavailable("PostgreSQL did not answer in time.")
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return StoreUnavailable("The connection to PostgreSQL was lost in the middle of work.")
    return StoreUnavailable(f"PostgreSQL cannot be reached: {said}.")


def _refused(error: asyncpg.PostgresError, said: str) -> StoreError:
    """Tell by the server's own code what it refuses, and whether it may think again."""
    state = error.sqlstate or ""
    if isinstance(error, asyncpg.UniqueViolationError):
        return AlreadyStored(f"PostgreSQL has this already: {said}.")
    if isinstance(error, asyncpg.CheckViolationError) and error.constraint_name is None:
        return PartitionMissing(f"PostgreSQL refuses: {said}.")
    if state.startswith(AWAY):
        return StoreUnavailable(f"PostgreSQL cannot do it now: {said}.")
    if state.startswith(AT_FAULT):
        return EventsRejected(f"PostgreSQL cannot keep this: {said}.")
    advice = next((advice for prefix, advice in ADVICE.items() if state.startswith(prefix)), None)
    return StoreRejected(
        f"PostgreSQL refuses ({said}): {advice}." if advice else f"PostgreSQL refuses: {said}."
    )
