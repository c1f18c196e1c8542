"""Where events come from."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from binance_proxy.application.ports.registry import TrackedPair
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import MarketEvent


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
