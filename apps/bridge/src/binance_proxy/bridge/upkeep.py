"""``bridge check``, ``migrate``, ``psql`` and ``config``: what an operator needs around a run."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec
from rich.markup import escape
from rich.table import Table

from binance_proxy.adapters.spool.tables import check_room, look
from binance_proxy.adapters.timescale.schema import NEWEST, revision
from binance_proxy.adapters.timescale.schema import migrate as bring_to
from binance_proxy.application.ports import TrackedPair
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container, Server, spool_folder
from binance_proxy.bridge.load import Loaded, part_password
from binance_proxy.bridge.terminal import count, out, print_json, size
from binance_proxy.domain.errors import BridgeError, ConfigError


class PsqlMissing(BridgeError):
    """There is no psql program."""


async def check(config: Config) -> int:
    """Try everything that a run needs, one line each; return 1 if anything is wrong."""
    checks: list[tuple[str, Callable[[Config], Awaitable[str]]]] = [
        ("feed", _check_feed),
        ("store", _check_store),
        ("spool", _check_spool),
        ("archive", _check_archive),
        ("publish.json.bind", lambda config: _check_address(config.publish.json.bind)),
        ("publish.msgpack.bind", lambda config: _check_address(config.publish.msgpack.bind)),
        ("serve.bind", lambda config: _check_address(config.serve.bind)),
        ("control.bind", lambda config: _check_address(config.control.bind)),
    ]
    wrong = 0
    for name, test in checks:
        try:
            out.print(f"[green]ok[/]     {name}: {escape(await test(config))}")
        except BridgeError as error:
            wrong += 1
            out.print(f"[bold red]wrong[/]  {name}: {escape(str(error))}")
    return 1 if wrong else 0


async def _check_feed(config: Config) -> str:
    container = Container(config=config, owner="bridge check", attach=True)
    if config.feed.use == "simulated":
        return "simulated, no exchange is asked"
    async with container.source() as source:
        found = await source.feed.instruments(
            [TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT")]
        )
    return f"{config.feed.use}, " + (
        ", ".join(one.name for one in found) or "nothing in it that could be recorded"
    )


async def _check_store(config: Config) -> str:
    container = Container(config=config, owner="bridge check", attach=True)
    async with container.store() as kept:
        recorded = await kept.registry.instruments()
        return f"{kept.where}, {count(len(recorded), 'instrument')} recorded so far"


async def _check_spool(config: Config) -> str:
    if config.store.use != "timescale":
        return "none, the store is in memory"
    folder, limit_bytes = spool_folder(config.data_dir), config.spool.limit_bytes
    free_bytes = check_room(folder)
    waiting, size_bytes, aside = look(folder)
    said = f"{folder}, up to {size(limit_bytes)}, {count(waiting, 'event')} in {size(size_bytes)} wait in it"
    if aside:
        said += f", {count(aside, 'event')} set aside"
    if free_bytes < limit_bytes - size_bytes:
        said += f"; the disk has only {size(free_bytes)} free"
    return said


async def _check_archive(config: Config) -> str:
    if config.store.use != "timescale":
        return "none, the store is in memory"
    archive = Container(config=config, owner="bridge check", attach=True).archive()
    await archive.probe()
    found = await archive.days()
    files, size_bytes = count(len(found), "file"), sum(one.size_bytes for one in found)
    days = count(len({one.day for one in found}), "day")
    return f"{archive.where}, {days} in {files}, {size(size_bytes)}"


async def _check_address(address: str) -> str:
    if not address:
        return "none, nobody is answered"
    parts = urlsplit(address)
    if parts.scheme == "tcp":
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((parts.hostname, parts.port))
            except OSError as error:
                raise ConfigError(f"{address}: {error.strerror}; a running bridge may have it") from error
    return f"{address} is free"


async def migrate(config: Config, to: str | None) -> None:
    """Bring the schema of the store to a revision, the newest if none is named."""
    async with _server(config, "bridge migrate") as server:
        before = await revision(server.url)
        await bring_to(server.url, to=to or NEWEST)
        after = await revision(server.url)
    where = escape(server.where)
    out.print(
        f"{where}: already at {after}" if before == after else f"{where}: {before or 'empty'} -> {after}"
    )


async def psql(config: Config, arguments: tuple[str, ...]) -> int:
    """Run psql on the store and return its exit status."""
    async with _server(config, "bridge psql") as server:
        program = _psql_program(server)
        address, password = part_password(server.url)
        environ = dict(os.environ)
        if password:
            environ["PGPASSWORD"] = password  # not on the command line, where others could read it
        if "-c" in arguments:  # one answer is to be printed, not to be leafed through
            environ["PSQL_PAGER"] = "cat"
        process = await asyncio.create_subprocess_exec(program, address, *arguments, env=environ)
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


def _psql_program(server: Server) -> str:
    if server.programs is not None:
        return str(server.programs / "psql")
    program = shutil.which("psql")
    if program is None:
        raise PsqlMissing("there is no psql on this machine: install the PostgreSQL client")
    return program


@asynccontextmanager
async def _server(config: Config, owner: str) -> AsyncIterator[Server]:
    if config.store.use != "timescale":
        raise ConfigError(f"store.use = {config.store.use!r} has no database; set store.use = 'timescale'")
    container = Container(config=config, owner=owner, attach=True)
    async with container.server() as server:
        yield server


def show_config(loaded: Loaded, *, json: bool) -> None:
    """Print each setting, its value, and where the value came from."""
    if json:
        rows = {
            setting.key: {"value": setting.value, "origin": setting.origin} for setting in loaded.settings
        }
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("setting", "value", "from"):
        table.add_column(column, overflow="fold")
    for setting in loaded.settings:
        value = msgspec.json.encode(setting.value).decode()
        style = "dim" if setting.origin == "default" else "bold"
        table.add_row(setting.key, escape(value), escape(setting.origin), style=style)
    out.print(table)
