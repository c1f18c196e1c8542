"""Ticks for another program."""

from collections.abc import AsyncIterable
from typing import Protocol

from binance_proxy.application.ports.days import StoredTick
from binance_proxy.domain.errors import BridgeError
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import StaleBook


class ExportError(BridgeError):
    """A `TickWriter` could not do what was asked."""


class ExportRejected(ExportError):
    """It will not do it: something is there already, or a value does not fit. The message says what to do."""


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
