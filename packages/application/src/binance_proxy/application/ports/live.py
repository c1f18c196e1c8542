"""A recording that goes on, as others see it."""

from typing import Protocol

from msgspec import Struct

from binance_proxy.application.ports.publisher import Recalled
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot


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
    """Whether everything that was asked for, and was recorded before, is in the store now."""
    newest: int | None = None
    """``ts_event`` of what was recorded last of the instrument, in ns, by the venue's clock; 0 if nothing was
    yet; `None` if it is not being recorded."""
    fetched: int = 0
    """Trades that the venue gave."""
    not_fetched: str | None = None
    """Why nothing, or not everything, could be fetched."""


RECALLED = 1_000
"""Messages that `Live.since` returns at most; the next ones are asked for behind the last of them."""


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
        self,
        instrument: Instrument,
        fetch: tuple[int, int] | None = None,
        *,
        before: int | None = None,
        limit_s: float,
    ) -> CaughtUp:
        """Wait until everything that was recorded so far is in the store, but no longer than ``limit_s``.

        With ``before``, only what there is of the instrument with ``ts_event < before`` is waited for, or a
        gap that began before; if nothing of that waits, the answer comes at once. A store that is away is not
        waited for. With ``fetch``, a range of ``ts_event``, the trades of it that are not stored are fetched
        from the venue and stored as well. Many who ask for the same at once are answered by one fetch.

        Raises:
            LiveUnavailable: The recording does not answer.
        """
        ...
