"""How much the cache in memory holds, and what it counts."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.memory.cache import OVERHEAD_BYTES, MemoryCache

LONG_S = 3_600.0


def held(cache: MemoryCache) -> object:
    return cache.status()["bytes"]


async def made() -> bytes:
    return b"made"


async def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    cache = MemoryCache(3 * (OVERHEAD_BYTES + 2))
    for key in "abc":
        await cache.put(key, b"1", LONG_S)
    assert await cache.get("a") == b"1"
    await cache.put("d", b"1", LONG_S)
    assert [await cache.get(key) for key in "abcd"] == [b"1", None, b"1", b"1"]


async def test_a_value_that_does_not_fit_is_not_kept_and_throws_nothing_out() -> None:
    cache = MemoryCache(1_000)
    await cache.put("a", b"1", LONG_S)
    await cache.put("b", bytes(1_000), LONG_S)
    assert await cache.get("a") == b"1"
    assert await cache.get("b") is None
    await cache.put("a", bytes(1_000), LONG_S)
    assert await cache.get("a") is None, "what was there is not true any more"


async def test_with_a_limit_of_0_nothing_is_kept_and_those_who_ask_at_once_wait_for_one() -> None:
    cache = MemoryCache(0)
    asked = 0

    async def make() -> bytes:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return b"made"

    assert await asyncio.gather(*(cache.once("k", LONG_S, make) for _ in range(10))) == [b"made"] * 10
    assert asked == 1
    assert await cache.get("k") is None
    await cache.once("k", LONG_S, make)
    assert asked == 2


async def test_it_counts() -> None:
    cache = MemoryCache(10_000)
    await cache.get("k")
    await asyncio.gather(*(cache.once("k", LONG_S, made) for _ in range(3)))
    await cache.get("k")
    assert cache.status() == {
        "use": "memory",
        "bytes": OVERHEAD_BYTES + len("k") + len(b"made"),
        "hits": 3,
        "misses": 2,
        "made": 1,
        "waited": 0,
        "away": 0,
    }


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "drop", "get", "wait"]), st.sampled_from("abcdef"), st.integers(0, 400)
        ),
        max_size=60,
    )
)
def test_it_never_holds_more_than_its_limit_nor_anything_that_was_not_put_last(
    steps: list[tuple[str, str, int]],
) -> None:
    now_s = 0.0
    limit = 4 * OVERHEAD_BYTES
    cache = MemoryCache(limit, lambda: now_s)
    truth: dict[str, tuple[bytes, float]] = {}

    async def play() -> None:
        nonlocal now_s
        for number, (step, key, size) in enumerate(steps):
            if step == "put":
                value = number.to_bytes(2, "big") + bytes(size)
                await cache.put(key, value, size)
                truth[key] = value, now_s + size
            elif step == "drop":
                await cache.drop(key)
                truth.pop(key, None)
            elif step == "wait":
                now_s += size
            else:
                value, until_s = truth.get(key, (None, 0.0))
                assert await cache.get(key) in ({None, value} if until_s > now_s else {None})
            assert 0 <= cache.status()["bytes"] <= limit

    asyncio.run(play())
