"""What can be set about a live feed of Binance."""

from dataclasses import dataclass
from typing import Literal

STREAMS_PER_CONNECTION = 1_024
"""Source: Binance Spot, "WebSocket Streams", general information."""
MESSAGES_PER_SECOND = 4.0
"""Messages that we send over one connection. Binance allows 5, and counts our pongs."""


@dataclass(frozen=True, kw_only=True)
class Direct:
    """``feed.binance``: where Binance is."""

    rest_url: str = "https://api.binance.com"
    """Where REST requests go; https://data-api.binance.vision has market data only."""
    stream_url: str = "wss://stream.binance.com:9443"
    """Where streams come from; wss://data-stream.binance.vision has market data only."""
    time_unit: Literal["us", "ms"] = "us"
    """In which unit Binance is asked to print times."""
    api_key: str = ""
    """Sent along if there is one. Market data need none."""
    timeout_s: float = 10.0
    """How long a connection may take to open, and a request to be answered."""


@dataclass(frozen=True, kw_only=True)
class Care:
    """``feed.care``: how a connection to Binance is looked after, whichever way it takes."""

    silence_s: float = 10.0
    """A connection over which nothing at all comes for so long, though it was asked something, is dead."""
    quiet_s: float = 60.0
    """A connection that answers, but brought no market data for so long, is replaced by a new one."""
    rotate_s: float = 82_800.0
    """A connection of this age is replaced by a new one; Binance cuts it after 24 hours."""
    settle_s: float = 2.0
    """How long an old and a new connection are both open at least, once the new one is subscribed."""
    agree_s: float = 30.0
    """How long they are both open at most; then what only the new one has brought is passed on."""
    longest_pause_s: float = 30.0
    """The longest pause between two attempts; pauses grow up to it, each drawn at random."""
    snapshot_levels: int = 5_000
    """Price levels on each side of a whole book, at most. Fewer are asked for where many pairs are recorded,
    so that all books together cost a minute's worth of request weight."""
    weight_share: float = 0.5
    """The share of Binance's request weight that this process uses at most; the rest is left to others."""
    inbox: int = 100_000
    """Messages that may wait to be read. Then the connections are not read any further for a while."""
