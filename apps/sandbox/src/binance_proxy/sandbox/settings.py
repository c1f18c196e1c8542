"""What can be set about the sandbox."""

from dataclasses import dataclass, field

from binance_proxy.domain.errors import ConfigError

CHANCES = (
    "drop", "duplicate", "delay", "reorder", "corrupt",
    "stale_snapshot", "server_error", "slow", "throttle", "place", "offline",
)  # fmt: skip
"""Faults that happen by chance, each time that they could."""
MEANS = ("cut_s", "freeze_s", "shutdown_s", "refuse_s", "ban_s")
"""Faults that happen every so often, whatever goes on."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often the sandbox misbehaves, by a seed.

    Of a frame or a request it is the chance, from 0 to 1, that it is hit. Of a connection, of new connections
    and of a ban it is how many seconds lie between two on average, and 0 means never.
    """

    seed: int = 1
    """Another seed, other faults."""
    drop: float = 0.0
    """A frame never comes."""
    duplicate: float = 0.0
    """A frame comes twice."""
    delay: float = 0.0
    """A frame comes late, and others overtake it."""
    delay_s: float = 1.0
    """A delayed frame comes so many seconds late at most."""
    reorder: float = 0.0
    """A frame comes behind the next one of its stream."""
    corrupt: float = 0.0
    """A frame is broken JSON, or ends too early."""
    cut_s: float = 0.0
    """A connection is reset."""
    freeze_s: float = 0.0
    """A connection stays open and says nothing more, not even a pong."""
    shutdown_s: float = 0.0
    """A connection is announced to be closed, and is closed."""
    refuse_s: float = 0.0
    """New connections are refused for a while."""
    stale_snapshot: float = 0.0
    """A book is answered that is older than it should be."""
    server_error: float = 0.0
    """A request is answered 500."""
    slow: float = 0.0
    """A request is answered late."""
    slow_s: float = 2.0
    """How many seconds late a slow answer comes."""
    throttle: float = 0.0
    """A request is answered 429."""
    place: float = 0.0
    """A request is answered 451, as from a country that is not served."""
    offline: float = 0.0
    """A request is not answered: its connection is closed."""
    ban_s: float = 0.0
    """All requests are answered 418 for a while."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a chance or a number of seconds that is none."""
        for name in CHANCES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is not a chance from 0 to 1")
        for name in (*MEANS, "delay_s", "slow_s"):
            if not 0 <= getattr(self, name) <= 31_536_000:
                raise ConfigError(f"{name} = {getattr(self, name)} is not a number of seconds up to a year")


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """How the sandbox behaves. The defaults are what Binance does."""

    port: int = 9080
    """Where it listens on this machine; 0 for any port that is free."""
    pairs: tuple[str, ...] = ("ETH/USDT", "SOL/USDT", "BTC/USDT")
    """What it lists. A feed of fixed content, such as a capture, lists all that it holds instead."""
    hold: bool | None = None
    """Whether the feed waits for the first client; `None`: a capture does."""
    hold_s: float = 5.0
    """How long a held feed waits for the books of the first client to be asked for."""
    history: int = 1_000_000
    """Trades that are kept of each symbol, about 100 bytes each with what is made of them."""
    historical_trades: bool = True
    """Whether older trades can be asked for by id."""
    api_keys: tuple[str, ...] = ()
    """The only keys that are good; none means that every key is."""
    api_key_required: bool = False
    """Whether older trades are told only to those who send a key."""
    checksums: bool = False
    """Whether a checksum of the whole book is kept for every update."""
    weight_limit: int = 6_000
    """What the requests of one address may weigh in one window."""
    weight_window_s: float = 60.0
    patience: int = 3
    """Requests that are only refused once the limit is passed; the next one earns a ban."""
    ban_s: float = 120.0
    """How long a ban lasts."""
    ping_s: float = 20.0
    """Time between two pings to a client."""
    pong_s: float = 60.0
    """A client that has not answered a ping by then is closed."""
    messages_per_second: int = 5
    """What a client may send; pings and pongs count."""
    streams_per_connection: int = 1_024
    connection_attempts: int = 300
    """Connections that one address may open in one window."""
    connection_window_s: float = 300.0
    lifetime_s: float = 86_400.0
    """How long a connection lives."""
    shutdown_notice_s: float = 10.0
    """How long before its end a connection is told."""
    outbox: int = 100_000
    """Messages that may wait for one client; a slower one is closed."""
    faults: Faults = field(default_factory=Faults)
