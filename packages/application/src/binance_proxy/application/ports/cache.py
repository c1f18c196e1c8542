"""What was worked out, kept for a while."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from binance_proxy.domain.errors import BridgeError


class CacheError(BridgeError):
    """A `Cache` could not be opened. Once it is, it raises nothing."""


class CacheUnavailable(CacheError):
    """Its server cannot be run for now. Trying again may help."""


class CacheRejected(CacheError):
    """Its server cannot be run here: no program for this machine, a folder it may not use."""


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
