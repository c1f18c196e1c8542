"""What every test folder shares."""

import os
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import settings

from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.adapters.timescale.schema import migrate
from servers import timescale_url

# A worker of pytest-xdist ignores SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no fault of the code, and a stopwatch would make a property fail now and then.
settings.register_profile("steady", deadline=None, print_blob=True)
settings.load_profile("steady")

_NUMBER = count(1)
_DEAREST_FIRST = ("e2e", "docs", "integration", "contract")


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: a test of real servers and real time often waits."""
    return (3 * (os.cpu_count() or 1) + 1) // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is left alone with it at the end."""
    places = {name: place for place, name in enumerate(_DEAREST_FIRST)}
    tests = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(tests).parts[0], len(places)))


def named(url: str, database: str) -> str:
    """Return the address of another database on the same server."""
    return f"{url.rpartition('/')[0]}/{database}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A real PostgreSQL for the whole session, with a database `migrated` to copy from."""
    async with open_postgres(tmp_path_factory.mktemp("postgres"), owner="pytest") as server:
        admin = await asyncpg.connect(server.url)
        await admin.execute("CREATE DATABASE migrated")
        await migrate(named(server.url, "migrated"))
        await admin.close()
        yield server.url


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    """Which server a test's databases are on: `plain`, unless the test asks for others by `servers.both`."""
    return getattr(request, "param", "plain")


@pytest.fixture
async def database_url(server: str, postgres_url: str) -> AsyncIterator[str]:
    """A database of its own, at the newest revision."""
    if server == "timescale":
        async for url in _fresh(timescale_url(), "template0"):
            await migrate(url)
            yield url
        return
    async for url in _fresh(postgres_url, "migrated"):
        yield url


@pytest.fixture
async def empty_database_url(server: str, postgres_url: str) -> AsyncIterator[str]:
    """A database of its own, without a schema."""
    admin_url = timescale_url() if server == "timescale" else postgres_url
    async for url in _fresh(admin_url, "template0"):
        yield url


async def _fresh(postgres_url: str, template: str) -> AsyncIterator[str]:
    name = f"test_{os.getpid()}_{next(_NUMBER)}"
    admin = await asyncpg.connect(postgres_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield named(postgres_url, name)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()
