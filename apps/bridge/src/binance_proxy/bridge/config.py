"""Every setting there is, with its default. No behaviour here; `load` fills these in and checks them."""

from dataclasses import dataclass, field
from typing import Literal

from binance_proxy.adapters.binance.settings import Care, Direct
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.timescale.settings import Upkeep
from binance_proxy.adapters.zeromq.settings import ServeSettings
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.repair import RepairSettings
from binance_proxy.domain.instrument import Market
from binance_proxy.sandbox.settings import SandboxSettings


@dataclass(frozen=True)
class CaptureConfig:
    """``feed.capture``: recorded raw frames, played as a feed."""

    paths: tuple[str, ...] = ()
    """Capture files; several are played together, in receipt order."""
    market: Market = Market.SPOT
    """The market that they were recorded on."""
    speed: str = "1x"
    """``1x`` as it happened, ``10x`` ten times as fast, ``max`` as fast as it goes."""
    pairs: tuple[str, ...] = ()
    """Which pairs to play, such as ``BTC/USDT``; none means what the files are about."""


@dataclass(frozen=True)
class FeedConfig:
    """``feed``: where ticks come from."""

    use: Literal["simulated", "capture", "ccxt", "binance"] = "simulated"
    simulated: Simulation = field(default_factory=Simulation)
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    ccxt: Ccxt = field(default_factory=Ccxt)
    binance: Direct = field(default_factory=Direct)
    care: Care = field(default_factory=Care)


@dataclass(frozen=True)
class TimescaleConfig:
    """``store.timescale``: PostgreSQL, with TimescaleDB or without."""

    url: str = "embedded"
    """``embedded`` for a server of the bridge's own in ``data_dir``, or ``postgresql://user:password@host/db``."""
    upkeep: Upkeep = field(default_factory=Upkeep)


@dataclass(frozen=True)
class StoreConfig:
    """``store``: where ticks are kept."""

    use: Literal["timescale", "memory"] = "timescale"
    """``memory`` forgets everything at the end."""
    timescale: TimescaleConfig = field(default_factory=TimescaleConfig)


@dataclass(frozen=True)
class ArchiveConfig:
    """``archive``: days that are over, in Parquet files."""

    url: str = ""
    """A folder, or a URL such as s3://bucket/ticks; empty for the folder archive in ``data_dir``."""


@dataclass(frozen=True)
class EndpointConfig:
    """Where one encoding is published."""

    bind: str


@dataclass(frozen=True)
class PublishConfig:
    """``publish``: ticks, books and candles to whoever subscribes."""

    json: EndpointConfig = field(default_factory=lambda: EndpointConfig("tcp://127.0.0.1:5555"))
    msgpack: EndpointConfig = field(default_factory=lambda: EndpointConfig("tcp://127.0.0.1:5556"))
    snapshot_interval_s: float = 10.0
    """How often a whole book is published, in the time of the feed."""
    high_water: int = 100_000
    """Messages that may wait for one subscriber; a slower one loses the rest and sees it by the sequence."""
    linger_s: float = 5.0
    """How long messages that are on their way may take after the end."""
    cloudevents: bool = False
    """Send each JSON body as the data of a CloudEvents 1.0 event."""
    insecure: bool = False
    """Allow addresses beyond this machine, for anyone to read."""


@dataclass(frozen=True)
class ControlConfig:
    """``control``: what the recorder itself answers, beside all queries."""

    bind: str = "tcp://127.0.0.1:5558"
    """Where control requests are taken; empty to take none."""
    insecure: bool = False
    """Allow an address beyond this machine, for anyone to ask."""


@dataclass(frozen=True)
class CacheConfig:
    """``cache``: answers that were worked out, kept for a while for all processes of the bridge."""

    use: Literal["valkey", "memory", "none"] = "valkey"
    """``memory``: each process keeps its own; ``none``: everything is worked out anew."""
    url: str = "embedded"
    """``embedded`` for a server of the bridge's own, or ``valkey://user:password@host:port/0``."""
    namespace: str = ""
    """What keys begin with, behind ``bridge:1:``; empty: made of this machine, ``data_dir`` and the store."""
    limit_bytes: int = 64 * 1024**2
    """How much the embedded server, or each process' memory, may hold; what is asked for least goes first."""
    ttl_s: float = 1.0
    """How long an answer about the present is kept at most."""
    past_ttl_s: float = 10.0
    """How long an answer about a range that is over is kept at most."""
    patience_s: float = 0.25
    """How long the server may take for one command. Then it counts as away."""
    lease_s: float = 2.0
    """How long others wait for a process that died while it made an answer."""


@dataclass(frozen=True)
class Config:
    """All of it."""

    data_dir: str = "./var"
    """Holds everything that the embedded servers write, the spool, and the archive by default."""
    feed: FeedConfig = field(default_factory=FeedConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    serve: ServeSettings = field(default_factory=ServeSettings)
    control: ControlConfig = field(default_factory=ControlConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    record: RecordSettings = field(default_factory=RecordSettings)
    repair: RepairSettings = field(default_factory=RepairSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
