"""The patient store keeps the promises of a store, and waits for one that is away."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.system.patience import PatientStore
from binance_proxy.application.ports import StoredEvent, StoreRejected, StoreUnavailable
from binance_proxy.domain.tick import TradeTick
from contract.market_store import ETH, FOREVER, MarketStoreContract, scan, trade


class TestPatientStore(MarketStoreContract):
    @pytest.fixture
    def store(self) -> PatientStore:
        return PatientStore(MemoryStore())


class ShakyStore(MemoryStore):
    """A store that is away some times: before it kept a batch, or after it did and before it could say so."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__()
        self.failures = list(failures)
        self.given: list[Sequence[StoredEvent]] = []

    async def append(self, events: Sequence[StoredEvent]) -> int:
        self.given.append(list(events))
        failure = self.failures.pop(0) if self.failures else None
        if failure == "before":
            raise StoreUnavailable("the database is away")
        new = await super().append(events)
        if failure == "after":
            raise StoreUnavailable("the answer was lost")
        return new


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no pause take any time, and tell how long each would have been."""
    taken: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return taken


@pytest.mark.parametrize("seed", range(20))
async def test_each_batch_is_kept_once_however_often_the_store_is_away(
    seed: int, pauses: list[float]
) -> None:
    rng = random.Random(seed)
    behind = ShakyStore([rng.choice(["before", "after", "not"]) for _ in range(40)])
    store = PatientStore(behind)
    trades = [trade(number) for number in range(100)]
    batches = [trades[at : at + 10] for at in range(0, 100, 10)]
    await asyncio.gather(*(store.append(batch) for batch in batches))
    assert await scan(store, TradeTick) == trades
    assert len(behind.given) == len(batches) + len(pauses)
    assert pauses


async def test_events_are_given_again_as_they_were(pauses: list[float]) -> None:
    behind = ShakyStore(["before"] * 5)
    assert await PatientStore(behind).append([trade(1), trade(2)]) == 2
    assert behind.given == [[trade(1), trade(2)]] * 6
    assert len(pauses) == 5


async def test_pauses_grow_with_jitter_up_to_the_longest(pauses: list[float]) -> None:
    await PatientStore(ShakyStore(["before"] * 300), longest_s=2.0).append([trade(1)])
    assert len(pauses) == 300
    assert all(0 <= pause <= 2.0 for pause in pauses)
    assert max(pauses[:3]) <= 0.4
    assert max(pauses) > 1.5
    assert len(set(pauses)) > 250


async def test_a_store_that_refuses_is_not_asked_again(pauses: list[float]) -> None:
    behind = ShakyStore([])
    with pytest.raises(StoreRejected):
        await PatientStore(behind).append([trade(1, ts_event=1)])
    assert len(behind.given) == 1
    assert pauses == []


async def test_questions_are_not_repeated() -> None:
    class Away(MemoryStore):
        asked = 0

        async def scan(self, *_: object, **__: object):
            self.asked += 1
            raise StoreUnavailable("away")
            yield

        async def candles(self, *_: object) -> list[object]:
            self.asked += 1
            raise StoreUnavailable("away")

    behind = Away()
    store = PatientStore(behind)
    with pytest.raises(StoreUnavailable):
        await scan(store, TradeTick)
    with pytest.raises(StoreUnavailable):
        await store.candles(ETH, None, *FOREVER)  # type: ignore[arg-type]
    assert behind.asked == 2
