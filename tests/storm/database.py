"""A PostgreSQL that is there to be stopped: a process of our own, in a folder of its own."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import asyncpg

from binance_proxy.adapters.embedded import process
from binance_proxy.adapters.embedded.cluster import postgres_program
from binance_proxy.adapters.embedded.postgres import SETTINGS

NAME = "storm"
PATIENCE_S = 300.0


class Database:
    """One server with one database. It is made, and then started and stopped as often as one likes."""

    def __init__(self, folder: Path, programs: Path | None = None) -> None:
        """Take a folder that is there, and the folder of PostgreSQL's programs; without it, our own."""
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._postgres = programs / "postgres" if programs else postgres_program()
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._settings = SETTINGS | {"port": str(self._port)}

    @property
    def url(self) -> str:
        return self._url(NAME)

    async def make(self) -> str:
        """Make the cluster, start it, make the database in it; return the version of the server."""
        self._folder.chmod(0o711)
        self._account = process.account_for(self._data)
        self._postgres = await process.within_reach(
            self._postgres, self._folder, self._account, self._folder / "programs"
        )
        self._data.mkdir(0o700)
        if self._account:
            os.chown(self._data, self._account.uid, self._account.gid)
        initdb = self._postgres.with_name("initdb")
        how = ["-D", self._data, "-U", NAME, "--auth=trust", "-E", "UTF8", "--locale=C"]
        reach = [self._postgres, self._folder]
        status, said = await process.run([initdb, *how], account=self._account, reach=reach)
        assert status == 0, said
        if self._has_timescaledb():
            self._settings["shared_preload_libraries"] = "timescaledb"
            self._settings["timescaledb.telemetry_level"] = "off"
        await self.start()
        admin = await asyncpg.connect(self._url("postgres"))
        await admin.execute(f"CREATE DATABASE {NAME}")
        version = (await admin.fetchval("SELECT version()")).split(" on ")[0]
        if "shared_preload_libraries" in self._settings:
            has = "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
            version += f", TimescaleDB {await admin.fetchval(has)}"
        await admin.close()
        return version

    async def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with (self._folder / "server.log").open("ab") as log:
                self._process = process.start(
                    [self._postgres, "-D", self._data, *(f"--{k}={v}" for k, v in self._settings.items())],
                    account=self._account,
                    reach=[self._postgres, self._folder],
                    output=log.fileno(),
                    on_parent_death=signal.SIGQUIT,
                )
            while self._process.poll() is None:
                assert time.monotonic() < deadline, "the server does not start"
                with suppress(OSError, asyncpg.PostgresError, TimeoutError):
                    await (await asyncpg.connect(self._url("postgres"), timeout=10)).close()
                    return
                await asyncio.sleep(0.02)
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()[-2_000:]
            await asyncio.sleep(0.1)  # what a crashed one has left is still in use for a moment

    async def stop(self, *, immediate: bool = False) -> None:
        """Stop the server: cut everybody off, and write all to disk; or not even that, as in a crash."""
        if self._process is None:
            return
        signs = (signal.SIGQUIT, signal.SIGKILL) if immediate else (signal.SIGINT, signal.SIGQUIT)
        running = self._process
        await process.stop(
            running.send_signal, lambda: running.poll() is None, [(sign, 60.0) for sign in signs]
        )
        self._process = None

    async def cut_off(self) -> int:
        """End every connection of the bridge, at the server; return how many there were."""
        admin = await asyncpg.connect(self.url)
        try:
            return await admin.fetchval(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'binance-proxy%'"
            )
        finally:
            await admin.close()

    def _url(self, database: str) -> str:
        return f"postgresql://{NAME}:{NAME}@127.0.0.1:{self._port}/{database}"

    def _has_timescaledb(self) -> bool:
        """Look for the extension where this PostgreSQL keeps its own."""
        config = self._postgres.with_name("pg_config")
        if not config.exists():
            return False
        told = subprocess.run([config, "--sharedir"], capture_output=True, text=True)
        share = re.sub(r"\s+$", "", told.stdout)
        return told.returncode == 0 and Path(share, "extension", "timescaledb.control").exists()
