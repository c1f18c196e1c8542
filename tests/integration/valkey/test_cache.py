"""The cache in Valkey with real processes and real outages: nothing old comes back, and nobody is told."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from binance_proxy.adapters.valkey import cache as cache_module
from binance_proxy.adapters.valkey.cache import ValkeyCache, open_valkey_cache
from binance_proxy.adapters.valkey.link import place_of
from contract.cache import Maker, at_once, never_asked
from valkeys import PATIENCE_S, Running, running_valkey, until

LONG_S = 3_600.0
QUICK_S = 0.25
"""The patience of a cache that shall take a frozen server for one that is away."""
LEASE = "bridge:1:test:lease:k"
VALUE = "bridge:1:test:value:k"
MARK = "bridge:1:test:mark"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_valkey(tmp_path / "valkey") as server:
        yield server


def reachable(cache: ValkeyCache) -> object:
    return cache.status()["reachable"]


async def away(server: Running, cache: ValkeyCache) -> None:
    """Freeze the server, and see that the cache knows."""
    server.freeze()
    assert await cache.get("anything") is None
    assert not reachable(cache)


async def back(server: Running, cache: ValkeyCache) -> None:
    server.thaw()
    await until(lambda: reachable(cache))


@contextlib.contextmanager
def making(server: Running, lease_s: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that makes the value of `k`, and never ends."""
    program = Path(__file__).parent / "make_forever.py"
    child = subprocess.Popen(
        [sys.executable, program, server.url, str(lease_s)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "making\n"
        yield child
    finally:
        child.kill()
        child.communicate()


async def test_a_maker_whose_process_is_killed_is_followed_by_another_within_the_lease(
    server: Running,
) -> None:
    with making(server, lease_s=3) as child:
        async with server.cache() as cache:
            asked = asyncio.create_task(cache.once("k", LONG_S, at_once(b"ours")))
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert not asked.done()
            child.send_signal(signal.SIGKILL)
            child.wait()
            assert server.raw.pttl(LEASE) <= 3_000
            assert await asyncio.wait_for(asked, PATIENCE_S) == b"ours"


async def test_a_maker_that_takes_longer_than_its_lease_keeps_it(server: Running) -> None:
    with making(server, lease_s=6):
        rises, before = 0, server.raw.pttl(LEASE)
        async with asyncio.timeout(PATIENCE_S):
            while rises < 2:
                await asyncio.sleep(0.01)
                left = server.raw.pttl(LEASE)
                assert left > 0
                rises += left > before
                before = left


async def test_when_its_maker_is_cancelled_a_key_is_free_at_once(server: Running) -> None:
    async with server.cache(lease_s=3_600) as cache:
        maker = Maker()
        asked = asyncio.create_task(cache.once("k", LONG_S, maker))
        await maker.began.wait()
        assert server.raw.exists(LEASE)
        asked.cancel()
        await until(lambda: not server.raw.exists(LEASE))


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_at_any_moment_it_leaves_no_lease(server: Running, turns: int) -> None:
    async with server.cache(lease_s=3_600) as cache:
        for pause_s in (0, 0.0002):
            asked = asyncio.create_task(cache.once("k", LONG_S, Maker()))
            for _ in range(turns):
                await asyncio.sleep(pause_s)
            asked.cancel()
            await asyncio.wait({asked})
    assert not server.raw.exists(LEASE)


@pytest.mark.parametrize("write", ["put", "drop", "made"])
async def test_what_was_kept_before_an_outage_does_not_come_back(server: Running, write: str) -> None:
    async with server.cache(patience_s=QUICK_S) as cache:
        await until(lambda: reachable(cache))
        await cache.put("k", b"old", LONG_S)
        await away(server, cache)
        if write == "put":
            await cache.put("k", b"new", LONG_S)
        elif write == "drop":
            await cache.drop("k")
        else:
            assert await cache.once("k", LONG_S, at_once(b"new")) == b"new"
        await back(server, cache)
        assert await cache.get("k") is None
        assert await cache.once("k", LONG_S, at_once(b"newest")) == b"newest"
        async with server.cache() as other:
            assert await other.get("k") == b"newest"


async def test_what_a_slow_server_does_late_does_not_come_back(server: Running) -> None:
    async with server.cache(patience_s=QUICK_S) as cache:
        await cache.put("k", b"old", LONG_S)
        server.freeze()
        await cache.put("k", b"late", LONG_S)  # it lies in the server's socket, and will be done
        assert not reachable(cache)
        await back(server, cache)
        for _ in range(200):
            assert await cache.get("k") is None
        await cache.put("k", b"new", LONG_S)
        for _ in range(200):
            assert await cache.get("k") == b"new"


async def test_what_was_being_made_when_everything_was_forgotten_is_not_kept(server: Running) -> None:
    async with server.cache() as cache, server.cache() as other:
        maker = Maker(b"old")
        asked = asyncio.create_task(cache.once("k", LONG_S, maker))
        await maker.began.wait()
        await other.forget()
        assert await cache.get("another") is None  # so that it knows the new mark
        await cache.put("another", b"1", LONG_S)
        maker.may_end.set()
        assert await asked == b"old"
        assert await cache.get("k") is None
        assert await other.once("k", LONG_S, at_once(b"new")) == b"new"


async def test_a_new_run_of_the_bridge_forgets_what_earlier_ones_kept(server: Running) -> None:
    async with server.cache() as cache:
        await cache.put("k", b"old", LONG_S)
        async with server.cache(fresh=True) as new:
            assert await new.get("k") is None
        assert await cache.get("k") is None


async def test_a_server_that_comes_up_with_what_it_held_long_ago_is_not_believed(server: Running) -> None:
    async with server.cache() as cache:
        await cache.put("k", b"old", LONG_S)
        await asyncio.gather(*(cache.get("k") for _ in range(50)))  # so that all connections are open
        saved = {name: server.raw.get(name) for name in (MARK, VALUE)}
        await cache.put("k", b"new", LONG_S)
        await server.kill()
        for name, value in saved.items():
            server.raw.set(name, value)
        assert set(await asyncio.gather(*(cache.get("k") for _ in range(50)))) == {None}
        await until(lambda: reachable(cache))
        assert await cache.get("k") is None


async def test_a_server_that_has_no_room_for_what_is_new_does_not_answer_with_what_is_old(
    server: Running,
) -> None:
    async with server.cache() as cache:
        await cache.put("k", b"old", LONG_S)
        server.raw.config_set("maxmemory-policy", "noeviction")
        server.raw.config_set("maxmemory", 1)
        await cache.put("k", b"new", LONG_S)
        assert await cache.get("k") in {b"new", None}
        assert await cache.once("another", LONG_S, at_once(b"1")) == b"1"
        server.raw.config_set("maxmemory", 64 * 1024**2)
        await until(lambda: reachable(cache))
        assert await cache.get("k") in {b"new", None}


async def test_it_is_used_again_when_it_is_back(server: Running) -> None:
    async with server.cache(patience_s=QUICK_S) as cache:
        await cache.put("k", b"1", LONG_S)
        await away(server, cache)
        await back(server, cache)
        await cache.put("k", b"2", LONG_S)
        assert server.raw.exists(VALUE)
        assert await cache.once("k", LONG_S, never_asked) == b"2"


async def test_a_server_that_dies_while_one_makes_and_others_wait(server: Running) -> None:
    async with server.cache() as cache, server.cache() as other:
        maker, second = Maker(b"1"), Maker(b"2")
        first = asyncio.create_task(cache.once("k", LONG_S, maker))
        await maker.began.wait()
        waits = asyncio.create_task(other.once("k", LONG_S, second))
        await server.kill()
        await asyncio.wait_for(second.began.wait(), PATIENCE_S)  # it has noticed, and makes its own
        maker.may_end.set()
        second.may_end.set()
        assert await asyncio.wait_for(asyncio.gather(first, waits), PATIENCE_S) == [b"1", b"2"]


async def test_other_bridges_and_other_versions_read_nothing_of_ours(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server.cache("one") as one, server.cache("two") as two:
        await one.put("k", b"1", LONG_S)
        assert await two.get("k") is None
        await two.forget()
        await two.drop("k")
        assert await one.get("k") == b"1"
        monkeypatch.setattr(cache_module, "VERSION", 2)
        async with server.cache("one") as newer:
            assert await newer.get("k") is None
    assert all(name.startswith(b"bridge:") for name in server.raw.scan_iter())


@pytest.mark.parametrize("name", [MARK, VALUE, LEASE])
async def test_what_others_put_under_our_keys_does_no_harm(server: Running, name: str) -> None:
    server.raw.rpush(name, "not ours")
    async with server.cache() as cache:
        async with asyncio.timeout(PATIENCE_S):
            assert await cache.get("k") is None
            assert await cache.once("k", LONG_S, at_once(b"1")) == b"1"
            await cache.put("k", b"2", LONG_S)
            await cache.drop("k")
        await until(lambda: reachable(cache))
        await cache.put("other", b"3", LONG_S)
        await until(lambda: reachable(cache))
        assert await cache.get("other") in {b"3", None}


async def test_a_value_that_is_too_large_is_not_kept(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LARGEST_BYTES", 10)
    async with server.cache(lease_s=3_600) as cache:
        await cache.put("k", b"old", LONG_S)
        await cache.put("k", bytes(11), LONG_S)
        assert await cache.get("k") is None
        assert await cache.once("k", LONG_S, at_once(bytes(12))) == bytes(12)
        assert not server.raw.exists(LEASE)
        assert await cache.get("k") is None


async def test_it_counts_and_says_whether_the_server_is_there(server: Running) -> None:
    async with server.cache(patience_s=QUICK_S) as cache, server.cache() as other:
        maker = Maker()
        asked = [asyncio.create_task(cache.once("k", LONG_S, maker)) for _ in range(3)]
        await maker.began.wait()
        elsewhere = asyncio.create_task(other.once("k", LONG_S, never_asked))
        await until(lambda: other.status()["misses"])
        maker.may_end.set()
        await asyncio.gather(*asked, elsewhere)
        await cache.get("k")
        told = {"use": "valkey", "reachable": True, "hits": 1, "misses": 1, "made": 1, "waited": 2, "away": 0}
        assert cache.status() == told
        assert other.status() == told | {"hits": 0, "made": 0, "waited": 1}
        await away(server, cache)
        assert cache.status() == told | {"reachable": False, "away": 1}


async def test_a_server_that_wants_a_password_that_is_not_ours_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_valkey(tmp_path / "valkey") as server:
        server.raw.config_set("requirepass", "secret")
        async with server.cache() as cache:
            assert await cache.get("k") is None
            assert await cache.once("k", LONG_S, at_once(b"1")) == b"1"
        assert "Authentication required" in caplog.text
        where = server.url.removeprefix("unix://")
        good = f"unix://:secret@{where}"
        async with open_valkey_cache(good, "test", patience_s=10, lease_s=2, fresh=True) as cache:
            await cache.put("k", b"1", LONG_S)
            assert await cache.get("k") == b"1"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b":abc\r\n", b"$abc\r\n", b"$-5\r\n", b"*2\r\n:1\r\n",
        b"*-1\r\n", b"+OK\r\n", b":1\r\n", b"\x00\xff\r\n", b"-ERR no\r\n", b"*1\r\n$1\r\nx\r\n", b"$5\r\nab",
        b"*99999999999\r\n", b"$99999999999999\r\n", b"x" * 200_000,
    ],
)  # fmt: skip
async def test_a_stranger_at_the_address_is_a_server_that_is_away(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65_536):
                writer.write(said)
                if not said:
                    break
        writer.close()

    stranger = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = stranger.sockets[0].getsockname()[1]
    async with open_valkey_cache(
        f"valkey://127.0.0.1:{port}/0", "test", patience_s=QUICK_S, lease_s=2, fresh=True
    ) as cache:
        async with asyncio.timeout(PATIENCE_S):
            for number in range(20):
                await cache.put("k", b"1", LONG_S)
                assert await cache.get("k") is None
                assert await cache.once(str(number), LONG_S, at_once(b"2")) == b"2"
                await cache.drop("k")
    stranger.close()


def test_a_place_is_told_without_a_password() -> None:
    assert place_of("valkey://me:secret@10.0.0.7:6380/2") == "Valkey 10.0.0.7:6380/2"
    assert place_of("valkeys://h") == "Valkey h:6379"
    assert place_of("unix://:secret@/run/valkey.sock") == "Valkey at /run/valkey.sock"


class Truth:
    """What is true about each key: a number that grows. A cache may never answer less than it was told."""

    def __init__(self) -> None:
        self.numbers = dict.fromkeys("abcdef", 0)

    def make(self, key: str) -> bytes:
        return b"%s:%d" % (key.encode(), self.numbers[key])


async def test_killed_and_frozen_again_and_again_under_load(server: Running) -> None:
    """No error to any caller, no wrong answer, and it is used in between."""
    truth = Truth()
    kept = dict.fromkeys(truth.numbers, 0)
    over = asyncio.Event()
    answers = 0

    async def ask(cache: ValkeyCache, key: str, *, strict: bool) -> None:
        nonlocal answers
        while not over.is_set():
            least = kept[key]

            async def make() -> bytes:
                value = truth.make(key)
                await asyncio.sleep(0.001)
                return value

            answer = await cache.once(key, LONG_S, make)
            about, _, number = answer.partition(b":")
            assert about.decode() == key
            if strict:
                assert least <= int(number) <= truth.numbers[key]
            answers += 1

    async def write(cache: ValkeyCache, key: str) -> None:
        while not over.is_set():
            truth.numbers[key] += 1
            now = truth.numbers[key]
            if now % 2:
                await cache.put(key, truth.make(key), LONG_S)
            else:
                await cache.drop(key)
            kept[key] = now
            await asyncio.sleep(0.002)

    async with (
        server.cache(patience_s=QUICK_S) as cache,
        server.cache(patience_s=QUICK_S) as other,
        asyncio.TaskGroup() as group,
    ):
        for key in truth.numbers:
            group.create_task(write(cache, key))
            for _ in range(3):
                group.create_task(ask(cache, key, strict=True))
            group.create_task(ask(other, key, strict=False))
        for number in range(12):
            before = answers
            await until(lambda before=before: answers > before + 200)
            if number % 2:
                server.freeze()
                await until(lambda: not reachable(cache))
                server.thaw()
            else:
                await server.kill()
                await until(lambda: cache.counts.away)
                cache.counts.away = 0
            await until(lambda: reachable(cache) and reachable(other))
            hits = cache.counts.hits
            await until(lambda hits=hits: cache.counts.hits > hits)
        over.set()
