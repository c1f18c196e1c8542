"""How bytes reach Binance and come back. What is in them is nobody's business here.

`binance_proxy.adapters.binance.direct` speaks to Binance itself; `binance_proxy.adapters.ccxt.transport` goes
by way of ccxt. What is made of the answers is the same for both.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

OnFrame: TypeAlias = Callable[[bytes], None]
"""Is handed each text message, whole and raw, in order, as soon as it came."""
OnClose: TypeAlias = Callable[[str], None]
"""Is told once why a link has ended, unless we closed it ourselves. Nothing comes after it."""


class Answer(Struct, frozen=True):
    """What a REST request came back with, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Listing(Struct, frozen=True, kw_only=True):
    """How one pair trades."""

    symbol: str
    """As people write it: ``BTC/USDT``."""
    code: str
    """As Binance writes it: ``BTCUSDT``."""
    trading: bool
    """False while it is halted, and once it is delisted."""
    tick_size: str | None
    """Smallest price step, as decimal text."""
    step_size: str | None
    """Smallest size step, as decimal text."""
    venue: str = "binance"
    """Another name if the venue says that its data are made up."""


class Link(Protocol):
    """One open WebSocket."""

    def send(self, text: str) -> None:
        """Send a text message. Never waits; does nothing once the link has ended."""
        ...

    def pause(self) -> None:
        """Stop reading, so that the venue has to wait. A few messages may still come."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def close(self) -> None:
        """End the link at once. Neither callback is called after this."""
        ...


class Weighed(Protocol):
    """Whoever keeps count of what may be asked."""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer, whatever its status; names of headers are in lower case."""
        ...

    def limit_is(self, limit: int) -> None:
        """Learn how much request weight the venue allows in a minute."""
        ...


class Transport(Protocol):
    """The way to one venue."""

    async def connect(self, path: str, on_frame: OnFrame, on_close: OnClose) -> Link:
        """Open a WebSocket at a path of the venue's stream host, such as ``/stream``.

        Server pings are answered by the link.

        Raises:
            FeedUnavailable: Nobody answers, or not as a WebSocket. Try again later.
            FeedRejected: The venue does not serve this place (451), or refuses for good.
        """
        ...

    async def get(self, path: str, parameters: Mapping[str, str]) -> Answer:
        """Ask the venue's REST host, such as ``/api/v3/depth``; any status is an answer.

        Raises:
            FeedUnavailable: There was no answer.
        """
        ...

    async def listings(self, weighed: Weighed) -> Sequence[Listing]:
        """Return every pair of the venue; tell of the answer, and of the weight limit that it states.

        Raises:
            FeedUnavailable: There was no usable answer.
            FeedRejected: The venue refuses for good. The message says what to change.
        """
        ...
