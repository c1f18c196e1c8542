"""The one place that knows which adapter serves which port. It builds; it opens nothing."""

import dataclasses
import hashlib
import logging
import os
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from dependency_injector import containers, providers

from binance_proxy.adapters.binance.feed import BinanceFeed
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.binance.history import BinanceHistory
from binance_proxy.adapters.binance.rest import BinanceRest
from binance_proxy.adapters.binance.settings import Care, Direct
from binance_proxy.adapters.binance.transport import Answer, Listing, Transport
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.adapters.embedded.valkey import open_valkey
from binance_proxy.adapters.export.csv import CsvFiles
from binance_proxy.adapters.files.history import FileHistory
from binance_proxy.adapters.files.klines import kline_file
from binance_proxy.adapters.memory.cache import MemoryCache
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.adapters.system.patience import PatientStore
from binance_proxy.adapters.system.patient_history import PatientHistory
from binance_proxy.adapters.timescale.settings import Upkeep
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.adapters.zeromq.publisher import open_publisher
from binance_proxy.application.long_term import LongTermStore
from binance_proxy.application.ports import (
    Archive,
    Cache,
    CacheError,
    ClosedDays,
    ExchangeHistory,
    InstrumentRegistry,
    MarketFeed,
    MarketStore,
    PairRegistry,
    TickWriter,
)
from binance_proxy.bridge.bounds import speed_of
from binance_proxy.bridge.config import CacheConfig, CaptureConfig, Config
from binance_proxy.domain.instrument import MICROSECOND_NS, MILLISECOND_NS

if TYPE_CHECKING:
    from binance_proxy.adapters.parquet.store import ParquetStore


logger = logging.getLogger(__name__)


class Server(NamedTuple):
    """A PostgreSQL server."""

    url: str
    where: str
    """For people: without a password."""
    programs: Path | None
    """The folder of its programs, such as psql, if it is our own."""


class Source(NamedTuple):
    """A feed, and what its venue still has of the past."""

    feed: MarketFeed
    history: ExchangeHistory | None
    """`None` if there is no venue that could be asked."""


class Kept(NamedTuple):
    """A store, what is registered beside it, and where they are."""

    store: MarketStore
    pairs: PairRegistry
    registry: InstrumentRegistry
    where: str
    """For people."""
    spool: SpooledStore | None = None
    """The store once more, if it has a spool."""
    recent: MarketStore | None = None
    """What of the store lies in the database alone, if there is an archive too."""
    days: ClosedDays | None = None
    """The days of the database, if there is one."""
    archive: Archive | None = None
    """The archive, if the store reads one too."""
    past: MarketStore | None = None
    """Database and archive read as one, if the store is the database alone."""


class Cached(NamedTuple):
    """A cache, and how another process of the same bridge opens it too."""

    cache: Cache
    status: Callable[[], dict[str, object]]
    """What ``bridge.status`` tells of it."""
    where: str
    """For people: without a password."""
    settings: CacheConfig
    """``cache`` in the configuration of the other process."""


class Use(NamedTuple):
    """What a command does with the store that it opens."""

    owner: str
    """Which command this is, for messages to others."""
    attach: bool
    """Whether another process records."""
    fills: bool
    """Whether it writes ticks beside that one, perhaps."""
    stays: bool
    """Whether it lives so long that an archive may begin meanwhile, of which it must know."""


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


def place_of(url: str) -> str:
    """Say for people where a PostgreSQL is, without a password."""
    parts = urlsplit(url)
    return f"PostgreSQL {parts.hostname or 'on a socket'}:{parts.port or 5432}{parts.path}"


def kind_of(where: str, timescaledb: str | None) -> str:
    """Say for people where a store is, and what it is beside a plain PostgreSQL."""
    return f"{where}, with TimescaleDB {timescaledb}" if timescaledb else where


def another_server(url: str) -> AbstractAsyncContextManager[Server]:
    """Use a PostgreSQL that somebody else runs."""
    return nullcontext(Server(url, place_of(url), None))


def archive_url(data_dir: str, url: str) -> str:
    """Return where the archive lies."""
    return url or str(Path(data_dir).expanduser() / "archive")


def open_archive(url: str) -> "ParquetStore":
    """Return the archive; nothing of it is opened yet."""
    from binance_proxy.adapters.parquet.store import open_parquet  # noqa: PLC0415  pyarrow is slow to import

    return open_parquet(url)


def is_archived(url: str) -> bool:
    """Say whether there may be an archive: of a folder on this machine that can be seen."""
    return "://" in url or Path(url).expanduser().is_dir()


def spool_folder(data_dir: str) -> Path:
    """Return where the spool lies."""
    return Path(data_dir).expanduser() / "spool"


@asynccontextmanager
async def open_database(
    server: AbstractAsyncContextManager[Server],
    upkeep: Upkeep,
    folder: Path,
    settings: SpoolSettings,
    archive: str,
    use: Use,
) -> AsyncIterator[Kept]:
    """Open the store and the registry in a PostgreSQL, at the newest schema.

    The one process that records has a spool before its store. Others wait while the database is away, and
    read the archive as well. Who writes looks after the tables too.
    """
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(server)
        if use.attach:
            kept = open_timescale(opened.url, upkeep=upkeep if use.fills else None)
            store = await stack.enter_async_context(kept)
            where = kind_of(opened.where, store.timescaledb)
            recent = PatientStore(store)
            whole: MarketStore = recent
            days: ParquetStore | None = None
            if use.stays or is_archived(archive):
                days = open_archive(archive)
                whole = LongTermStore(recent, days, days)
            yield Kept(whole, store.registry, store.registry, where, None, recent, store.closed_days, days)
            return
        file = await stack.enter_async_context(open_spool(folder, settings, use.owner))
        store = await stack.enter_async_context(open_timescale(opened.url, upkeep=upkeep))
        file.belong_to(await store.identity())
        spooled = SpooledStore(store, file, settings)
        await stack.enter_async_context(spooled.running())
        where = kind_of(opened.where, store.timescaledb)
        past: MarketStore | None = None
        if is_archived(archive):
            days = open_archive(archive)
            past = LongTermStore(spooled, days, days)
        yield Kept(spooled, store.registry, store.registry, where, spooled, past=past)


def cache_folder(data_dir: str) -> Path:
    """Return where the embedded Valkey has its lock and its log."""
    return Path(data_dir).expanduser() / "valkey"


def cache_namespace(config: Config) -> str:
    """Return what the keys of a bridge begin with: no two bridges have the same, unless they are told to.

    Of a store in memory only its own process knows what is in it.
    """
    if config.cache.namespace:
        return config.cache.namespace
    store = config.store
    what = store.timescale.url if store.use == "timescale" else f"process {os.getpid()}"
    words = (platform.node(), str(Path(config.data_dir).expanduser().resolve()), store.use, what)
    return hashlib.blake2s("\n".join(words).encode(), digest_size=6).hexdigest()


def keep_in_memory(settings: CacheConfig, limit_bytes: int) -> Cached:
    """Keep answers in this process alone; none at all with a limit of 0."""
    cache = MemoryCache(limit_bytes)
    where = "in the memory of each process" if limit_bytes else "none"
    return Cached(cache, cache.status, where, settings)


def open_memory_cache(settings: CacheConfig) -> AbstractAsyncContextManager[Cached]:
    """Keep answers in the memory of each process."""
    return nullcontext(keep_in_memory(settings, settings.limit_bytes))


def open_no_cache(settings: CacheConfig) -> AbstractAsyncContextManager[Cached]:
    """Keep no answers; those who ask for the same at the same time still wait for one."""
    return nullcontext(keep_in_memory(settings, 0))


@asynccontextmanager
async def open_shared_cache(
    settings: CacheConfig, namespace: str, folder: Path, owner: str, attach: bool
) -> AsyncIterator[Cached]:
    """Keep answers in a Valkey, for all processes of the bridge.

    Only the bridge itself runs one of its own, and forgets what was kept before. Where it cannot be run,
    each process keeps its own.
    """
    from binance_proxy.adapters.valkey.cache import open_valkey_cache  # noqa: PLC0415  valkey is slow to import
    from binance_proxy.adapters.valkey.link import place_of as valkey_place  # noqa: PLC0415  likewise

    async with AsyncExitStack() as stack:
        url, where = settings.url, ""
        instead = dataclasses.replace(settings, use="memory")
        if url == "embedded":
            if attach:
                yield keep_in_memory(instead, settings.limit_bytes)
                return
            try:
                server = await stack.enter_async_context(
                    open_valkey(folder, limit_bytes=settings.limit_bytes, owner=owner)
                )
            except CacheError as error:
                logger.warning("answers are kept in the memory of each process instead: %s", error)
                yield keep_in_memory(instead, settings.limit_bytes)
                return
            url, where = server.url, "Valkey of its own"
        cache = await stack.enter_async_context(
            open_valkey_cache(
                url,
                namespace,
                patience_s=settings.patience_s,
                lease_s=settings.lease_s,
                fresh=not attach,
            )
        )
        same = dataclasses.replace(settings, url=url, namespace=namespace)
        yield Cached(cache, cache.status, where or valkey_place(url), same)


def open_memory() -> AbstractAsyncContextManager[Kept]:
    """Keep everything in memory, and nothing after the end."""
    registry = MemoryRegistry()
    return nullcontext(Kept(MemoryStore(), registry, registry, "memory only, nothing is kept"))


def simulate(simulation: Simulation, clock: SystemClock) -> AbstractAsyncContextManager[Source]:
    """Make a market up."""
    return nullcontext(Source(SimulatedFeed(simulation, clock), None))


def play(capture: CaptureConfig, clock: SystemClock) -> AbstractAsyncContextManager[Source]:
    """Play capture files of Binance."""
    feed = CaptureFeed(
        [Path(path).expanduser() for path in capture.paths],
        BinanceFrames(capture.market),
        clock,
        speed=speed_of(capture.speed),
        pairs=capture.pairs,
    )
    return nullcontext(Source(feed, None))


def binance(
    transport: Transport, section: str, care: Care, clock: SystemClock, time_resolution_ns: int
) -> Source:
    """Read Binance by a way that is open, with one limiter for all that is asked."""
    rest = BinanceRest(transport, WeightLimiter(share=care.weight_share), section)
    feed = BinanceFeed(transport, rest, clock, care, time_resolution_ns=time_resolution_ns)
    return Source(feed, BinanceHistory(rest, clock))


@asynccontextmanager
async def open_binance(direct: Direct, care: Care, clock: SystemClock) -> AsyncIterator[Source]:
    """Go to Binance directly."""
    from binance_proxy.adapters.binance.direct import open_direct  # noqa: PLC0415  aiohttp is slow to import

    async with open_direct(direct) as transport:
        resolution_ns = MICROSECOND_NS if direct.time_unit == "us" else MILLISECOND_NS
        yield binance(transport, "feed.binance", care, clock, resolution_ns)


@asynccontextmanager
async def open_by_ccxt(ccxt: Ccxt, care: Care, clock: SystemClock) -> AsyncIterator[Source]:
    """Go to an exchange by way of ccxt; to Binance by its own frames, to others by ccxt's unified calls."""
    from binance_proxy.adapters.ccxt.feed import UnifiedFeed  # noqa: PLC0415  aiohttp is slow to import
    from binance_proxy.adapters.ccxt.transport import open_ccxt  # noqa: PLC0415  likewise

    if ccxt.exchange == "binance":
        async with open_ccxt(ccxt, Answer, Listing) as transport:
            yield binance(transport, "feed.ccxt", care, clock, MILLISECOND_NS)
    else:
        yield Source(UnifiedFeed(ccxt, clock), None)


def tick_writer(form: str, to: Path, *, replace: bool) -> TickWriter:
    """Write ticks in a form of another program."""
    if form == "csv":
        return CsvFiles(to, replace=replace)
    if form == "parquet":
        from binance_proxy.adapters.export.parquet import ParquetFiles  # noqa: PLC0415  pyarrow is slow to import

        return ParquetFiles(to, replace=replace)
    if form == "hftbacktest":
        from binance_proxy.adapters.export.hftbacktest import HftbacktestFile  # noqa: PLC0415  likewise numpy

        return HftbacktestFile(to, replace=replace)
    from binance_proxy.adapters.export.nautilus import NautilusCatalog  # noqa: PLC0415  likewise both

    return NautilusCatalog(to, replace=replace)


class Container(containers.DeclarativeContainer):
    """What the bridge is made of, by configuration."""

    config = providers.Dependency(instance_of=Config)
    owner = providers.Dependency(instance_of=str)
    """Which command this is, for messages to others."""
    attach = providers.Dependency(instance_of=bool)
    """Whether another process' embedded server will do."""
    fills = providers.Dependency(instance_of=bool, default=False)
    """Whether this command writes ticks beside a bridge that runs, perhaps."""
    stays = providers.Dependency(instance_of=bool, default=False)
    """Whether it lives so long that an archive may begin meanwhile, of which it must know."""

    clock = providers.Singleton(SystemClock)
    source = providers.Selector(
        config.provided.feed.use,
        simulated=providers.Factory(simulate, config.provided.feed.simulated, clock),
        capture=providers.Factory(play, config.provided.feed.capture, clock),
        binance=providers.Factory(
            open_binance, config.provided.feed.binance, config.provided.feed.care, clock
        ),
        ccxt=providers.Factory(open_by_ccxt, config.provided.feed.ccxt, config.provided.feed.care, clock),
    )
    file_history = providers.Factory(FileHistory, clock=clock)
    kline_file = providers.Callable(kline_file)
    patient = providers.Factory(PatientHistory)
    tick_writer = providers.Factory(tick_writer)
    server = providers.Selector(
        providers.Callable(server_kind, config.provided.store.timescale.url),
        embedded=providers.Factory(
            open_own_server,
            providers.Callable(server_folder, config.provided.data_dir),
            owner,
            attach=attach,
        ),
        other=providers.Factory(another_server, config.provided.store.timescale.url),
    )
    archive_url = providers.Callable(archive_url, config.provided.data_dir, config.provided.archive.url)
    archive = providers.Factory(open_archive, archive_url)
    store = providers.Selector(
        config.provided.store.use,
        timescale=providers.Factory(
            open_database,
            server,
            config.provided.store.timescale.upkeep,
            providers.Callable(spool_folder, config.provided.data_dir),
            config.provided.spool,
            archive_url,
            providers.Factory(Use, owner, attach, fills, stays),
        ),
        memory=providers.Factory(open_memory),
    )
    cache = providers.Selector(
        config.provided.cache.use,
        valkey=providers.Factory(
            open_shared_cache,
            config.provided.cache,
            providers.Callable(cache_namespace, config),
            providers.Callable(cache_folder, config.provided.data_dir),
            owner,
            attach,
        ),
        memory=providers.Factory(open_memory_cache, config.provided.cache),
        none=providers.Factory(open_no_cache, config.provided.cache),
    )
    publisher = providers.Factory(
        open_publisher,
        json=config.provided.publish.json.bind,
        msgpack=config.provided.publish.msgpack.bind,
        high_water=config.provided.publish.high_water,
        linger_s=config.provided.publish.linger_s,
        kept=config.provided.serve.recall,
        cloudevents=config.provided.publish.cloudevents,
    )
