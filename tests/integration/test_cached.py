"""The cache as the configuration asks for it: opened by the bridge, and by the processes beside it."""

import asyncio
import dataclasses
import logging
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from binance_proxy.bridge.config import CacheConfig, Config
from binance_proxy.bridge.container import Cached, Container, cache_namespace
from binance_proxy.bridge.load import load_config
from contract.cache import at_once, never_asked

LONG_S = 3_600.0


def configured(tmp_path: Path, *options: str) -> Config:
    return load_config(None, {}, [f"data_dir={tmp_path}/var", *options]).config


def opened(config: Config, *, attach: bool = False) -> AbstractAsyncContextManager[Cached]:
    return Container(config=config, owner="test", attach=attach).cache()


async def test_without_any_setting_it_is_a_valkey_of_the_bridges_own_which_its_workers_share(
    tmp_path: Path,
) -> None:
    config = configured(tmp_path)
    async with opened(config) as kept:
        assert kept.where == "Valkey of its own"
        assert kept.settings.url.startswith("unix:///")
        worker_config = dataclasses.replace(config, cache=kept.settings)
        async with opened(worker_config, attach=True) as worker:
            await kept.cache.put("k", b"1", LONG_S)
            assert await worker.cache.get("k") == b"1"
            assert await worker.cache.once("k", LONG_S, never_asked) == b"1"
            assert worker.status()["hits"] == 2
            assert kept.status()["use"] == "valkey"


async def test_a_new_run_forgets_and_a_worker_does_not(tmp_path: Path) -> None:
    async with opened(configured(tmp_path)) as server:
        other = configured(tmp_path / "other", f"cache.url={server.settings.url}")
        async with opened(other) as kept:
            await kept.cache.put("k", b"1", LONG_S)
        async with opened(other, attach=True) as worker:
            assert await worker.cache.get("k") == b"1"
        async with opened(other) as again:
            assert await again.cache.get("k") is None


async def test_two_bridges_at_one_server_do_not_read_each_others(tmp_path: Path) -> None:
    async with opened(configured(tmp_path)) as server:
        url = f"cache.url={server.settings.url}"
        async with (
            opened(configured(tmp_path / "one", url)) as one,
            opened(configured(tmp_path / "two", url)) as two,
        ):
            await one.cache.put("k", b"1", LONG_S)
            assert await two.cache.get("k") is None
            assert await server.cache.get("k") is None


async def test_a_valkey_that_cannot_be_run_is_replaced_by_memory_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "valkey").write_text("a file in the way")
    config = configured(tmp_path)
    with caplog.at_level(logging.WARNING):
        async with opened(config) as kept:
            assert await kept.cache.once("k", LONG_S, at_once(b"1")) == b"1"
            assert kept.status()["use"] == "memory"
            assert kept.settings.use == "memory"
            async with opened(dataclasses.replace(config, cache=kept.settings), attach=True) as worker:
                assert worker.status()["use"] == "memory"
    [warning] = caplog.records
    assert "answers are kept in the memory of each process instead" in warning.message
    assert str(tmp_path / "var" / "valkey") in warning.message


async def test_a_command_that_is_not_the_bridge_starts_no_server(tmp_path: Path) -> None:
    async with opened(configured(tmp_path), attach=True) as kept:
        assert kept.status()["use"] == "memory"
    assert not (tmp_path / "var" / "valkey").exists()


async def test_an_external_server_that_is_away_is_no_reason_not_to_start(tmp_path: Path) -> None:
    async with opened(configured(tmp_path, f"cache.url=unix://{tmp_path}/nothing")) as kept:
        assert kept.where == f"Valkey at {tmp_path}/nothing"
        assert await kept.cache.once("k", LONG_S, at_once(b"1")) == b"1"
        assert kept.status()["reachable"] is False


async def test_in_memory(tmp_path: Path) -> None:
    async with opened(configured(tmp_path, "cache.use=memory")) as kept:
        await kept.cache.put("k", b"1", LONG_S)
        assert await kept.cache.get("k") == b"1"
        assert kept.where == "in the memory of each process"
    assert not (tmp_path / "var").exists()


async def test_none(tmp_path: Path) -> None:
    async with opened(configured(tmp_path, "cache.use=none")) as kept:
        await kept.cache.put("k", b"1", LONG_S)
        assert await kept.cache.get("k") is None
        asked = await asyncio.gather(*(kept.cache.once("k", LONG_S, at_once(b"1")) for _ in range(3)))
        assert asked == [b"1"] * 3
        assert kept.where == "none"


def test_a_namespace_is_of_the_folder_and_the_store_unless_it_is_said(tmp_path: Path) -> None:
    configs = [
        configured(tmp_path),
        configured(tmp_path / "other"),
        configured(tmp_path, "store.timescale.url=postgresql://me:secret@h/db"),
        configured(tmp_path, "store.timescale.url=postgresql://me:secret@h/db2"),
        configured(tmp_path, "store.use=memory"),
    ]
    names = [cache_namespace(config) for config in configs]
    assert len(set(names)) == len(configs)
    assert names == [cache_namespace(config) for config in configs]
    said = Config(cache=CacheConfig(namespace="mine"))
    assert cache_namespace(said) == "mine"
