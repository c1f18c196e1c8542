"""The one place that knows which adapter serves which port. It builds; it opens nothing."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from dependency_injector import containers, providers

from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.adapters.system.patience import PatientStore
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.adapters.zeromq.publisher import open_publisher
from binance_proxy.application.ports import MarketStore, PairRegistry
from binance_proxy.bridge.config import CaptureConfig, Config
from binance_proxy.bridge.load import speed_of


class Server(NamedTuple):
    """A PostgreSQL server."""

    url: str
    where: str
    """For people: without a password."""
    programs: Path | None
    """The folder of its programs, such as psql, if it is our own."""


class Kept(NamedTuple):
    """A store, the registry beside it, and where they are."""

    store: MarketStore
    registry: PairRegistry
    where: str
    """For people."""


def server_kind(url: str) -> str:
    """Say whether the server is our own."""
    return "embedded" if url == "embedded" else "other"


def server_folder(data_dir: str) -> Path:
    """Return where the embedded server keeps everything."""
    return Path(data_dir).expanduser() / "postgres"


@asynccontextmanager
async def open_own_server(folder: Path, owner: str, *, attach: bool) -> AsyncIterator[Server]:
    """Run the embedded PostgreSQL."""
    async with open_postgres(folder, owner=owner, attach=attach) as server:
        yield Server(server.url, f"PostgreSQL of its own in {folder}, port {server.port}", server.bin)


def another_server(url: str) -> AbstractAsyncContextManager[Server]:
    """Use a PostgreSQL that somebody else runs."""
    parts = urlsplit(url)
    where = f"PostgreSQL {parts.hostname or 'on a socket'}:{parts.port or 5432}{parts.path}"
    return nullcontext(Server(url, where, None))


@asynccontextmanager
async def open_database(server: AbstractAsyncContextManager[Server]) -> AsyncIterator[Kept]:
    """Open the store and the registry in a PostgreSQL, at the newest schema."""
    async with server as opened, open_timescale(opened.url) as store:
        yield Kept(PatientStore(store), store.registry, opened.where)


def open_memory() -> AbstractAsyncContextManager[Kept]:
    """Keep everything in memory, and nothing after the end."""
    return nullcontext(Kept(MemoryStore(), MemoryRegistry(), "memory only, nothing is kept"))


def capture_feed(capture: CaptureConfig, clock: SystemClock) -> CaptureFeed:
    """Play capture files of Binance."""
    return CaptureFeed(
        [Path(path).expanduser() for path in capture.paths],
        BinanceFrames(capture.market),
        clock,
        speed=speed_of(capture.speed),
        pairs=capture.pairs,
    )


class Container(containers.DeclarativeContainer):
    """What the bridge is made of, by configuration."""

    config = providers.Dependency(instance_of=Config)
    owner = providers.Dependency(instance_of=str)
    """Which command this is, for messages to others."""
    attach = providers.Dependency(instance_of=bool)
    """Whether another process' embedded server will do."""

    clock = providers.Singleton(SystemClock)
    feed = providers.Selector(
        config.provided.feed.use,
        simulated=providers.Factory(SimulatedFeed, config.provided.feed.simulated, clock),
        capture=providers.Factory(capture_feed, config.provided.feed.capture, clock),
    )
    server = providers.Selector(
        providers.Callable(server_kind, config.provided.store.timescale.url),
        embedded=providers.Factory(
            open_own_server,
            providers.Callable(
                lambda data_dir: Path(data_dir).expanduser() / "postgres", config.provided.data_dir
            ),
            owner,
            attach=attach,
        ),
        other=providers.Factory(another_server, config.provided.store.timescale.url),
    )
    store = providers.Selector(
        config.provided.store.use,
        timescale=providers.Factory(open_database, server),
        memory=providers.Factory(open_memory),
    )
    publisher = providers.Factory(
        open_publisher,
        json=config.provided.publish.json.bind,
        msgpack=config.provided.publish.msgpack.bind,
        high_water=config.provided.publish.high_water,
        linger_s=config.provided.publish.linger_s,
        cloudevents=config.provided.publish.cloudevents,
    )
