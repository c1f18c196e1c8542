"""The spooled store keeps the promises of a store, and loses nothing however its store fails."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.spool.file import SpoolFile
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.application.ports import (
    EventsRejected,
    MarketStore,
    StoredEvent,
    StoreFull,
    StoreRejected,
    StoreUnavailable,
)
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import ETH, FOREVER, MarketStoreContract, gap, quote, scan, snapshot, trade

PATIENT = SpoolSettings(patience_s=30.0)
QUICK = SpoolSettings(patience_s=0.05)
PATIENCE_S = 60.0


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def spooled(
    behind: MarketStore, folder: Path, settings: SpoolSettings = PATIENT
) -> AsyncIterator[SpooledStore]:
    async with open_spool(folder, settings, "a test") as file:
        store = SpooledStore(behind, file, settings, sleep=no_pause)
        async with store.running():
            yield store


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  nothing says when
            await asyncio.sleep(0.002)


class TestSpooledMemory(MarketStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SpooledStore]:
        async with spooled(MemoryStore(), tmp_path / "spool") as store:
            yield store
            assert store.depth().spooled == 0


class TestSpooledTimescale(MarketStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path, database_url: str) -> AsyncIterator[SpooledStore]:
        async with (
            open_timescale(database_url) as behind,
            spooled(behind, tmp_path / "spool") as store,
        ):
            yield store


class Moody(MemoryStore):
    """A store that is away before or behind an append, hangs, or refuses everything, as it is told to."""

    def __init__(self, moods: Sequence[str] = (), mood: str = "well") -> None:
        super().__init__()
        self.moods = list(moods)
        self.mood = mood
        """What it is like behind the list."""
        self.given: list[list[StoredEvent]] = []
        self.seen: set[str] = set()

    async def append(self, events: Sequence[StoredEvent]) -> int:
        mood = self.moods.pop(0) if self.moods else self.mood
        self.seen.add(mood)
        self.given.append(list(events))
        await asyncio.sleep(0)
        if mood == "before":
            raise StoreUnavailable("the database is away")
        if mood == "refuses":
            raise StoreRejected("the password is wrong: change it")
        if mood == "hangs":
            await asyncio.Event().wait()
        new = await super().append(events)
        if mood == "after":
            raise StoreUnavailable("the answer was lost")
        if mood == "slow":
            await asyncio.Event().wait()
        return new


@pytest.mark.parametrize("seed", range(20))
async def test_each_event_is_kept_once_whatever_the_store_does(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    moods = rng.choices(["before", "after", "refuses", "well"], k=60)
    moods[:3] = rng.sample(["hangs", "slow", "before"], 3)
    behind = Moody(moods)
    trades = [trade(number) for number in range(200)]
    batches = [trades[at : at + 10] for at in range(0, 200, 10)]
    async with spooled(behind, tmp_path, QUICK) as store:

        async def write() -> int:
            new = 0
            while batches:
                new += await store.append(batches.pop(0))
            return new

        # A drain waits for a store that hangs for as long as that takes: only what comes straight does not.
        behind.moods = [mood for at, mood in enumerate(moods) if at < 2 or mood not in {"hangs", "slow"}]
        direct = sum(await asyncio.gather(write(), write()))
        async with asyncio.timeout(PATIENCE_S):
            await store.drained()
        depth = store.depth()
    assert await scan(behind, TradeTick) == trades
    assert depth.spooled == depth.drained > 0
    assert depth.waiting == depth.set_aside == 0
    assert direct + depth.drained_new <= 200, "those whose answer was lost are not counted"


async def test_a_batch_for_a_store_that_is_away_is_accepted_and_handed_on_once_it_is_back(
    tmp_path: Path,
) -> None:
    behind = Moody(mood="before")
    async with spooled(behind, tmp_path) as store:
        assert await store.append([trade(1), trade(2)]) == 0
        await until(lambda: store.depth().is_away)
        assert store.depth().waiting == 2
        assert store.depth().oldest is not None
        behind.mood = "well"
        await store.drained()
        assert await scan(store, TradeTick) == [trade(1), trade(2)]
        assert await store.append([trade(3)]) == 1, "straight again"
        assert store.depth().spooled == 2


async def test_while_anything_waits_further_batches_wait_behind_it(tmp_path: Path) -> None:
    behind = Moody(mood="before")
    async with spooled(behind, tmp_path) as store:
        for number in range(5):
            await store.append([trade(number)])
        tried = len(behind.given)
        await until(lambda: len(behind.given) > tried + 3)
        assert all(batch[0] == trade(0) for batch in behind.given), "the first is tried, again and again"
        behind.mood = "well"
        await store.drained()
        told = [one.trade_id for batch in behind.given[tried:] for one in batch]
        assert told[-5:] == [0, 1, 2, 3, 4]


async def test_a_store_that_takes_too_long_is_not_waited_for(tmp_path: Path) -> None:
    behind = Moody(["hangs"])
    async with spooled(behind, tmp_path, QUICK) as store:
        assert await store.append([trade(1)]) == 0
        await store.drained()
        assert await scan(store, TradeTick) == [trade(1)]


async def test_what_an_earlier_run_left_is_handed_on_first(tmp_path: Path) -> None:
    behind = Moody(mood="before")
    async with spooled(behind, tmp_path) as store:
        await store.append([trade(1)])
        await store.append([trade(2)])
    behind = Moody()
    async with spooled(behind, tmp_path) as store:
        assert store.depth().waiting == 2
        await store.append([trade(3)])
        await store.drained()
    assert [one.trade_id for batch in behind.given for one in batch] == [1, 2, 3]


async def test_a_gap_keeps_its_newest_state_through_the_spool(tmp_path: Path) -> None:
    behind = Moody(mood="before")
    async with spooled(behind, tmp_path) as store:
        await store.append([gap(1)])
        await store.append([gap(1, state=GapState.LOST, last_id=3)])
        await store.append([gap(1, state=GapState.REPAIRED, last_id=3)])
        behind.mood = "well"
        await store.drained()
        assert await scan(store, Gap) == [gap(1, state=GapState.REPAIRED, last_id=3)]


async def test_refused_events_are_set_aside_and_all_others_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    behind = Moody(["before"])
    bad = [trade(50, ts_event=1), trade(51, instrument=structs.replace(ETH, price_precision=2))]
    events = [*map(trade, range(40)), bad[0], quote(1), bad[1], snapshot(1), gap(1)]
    async with spooled(behind, tmp_path) as store:
        await store.append(events)
        await store.drained()
        assert await scan(store, TradeTick) == list(map(trade, range(40)))
        assert await scan(store, QuoteTick) == [quote(1)]
        assert await scan(store, BookSnapshot) == [snapshot(1)]
        told = [one for one in await scan(store, Gap) if one != gap(1)]
        assert [(one.first_id, one.last_id, one.state) for one in told] == [(50, 50, GapState.LOST)]
        assert "no gap tells of trades 51 to 51" in caplog.text, "the store has other units for it"
        depth = store.depth()
        assert (depth.set_aside, depth.aside, depth.drained, depth.waiting) == (2, 2, 43, 0)
    assert "refuses 2 of 45 events" in caplog.text
    async with spooled(behind, tmp_path) as store:
        assert (store.depth().set_aside, store.depth().aside) == (0, 2), "kept, and not counted anew"


async def test_events_that_the_store_refused_at_once_can_be_sifted(tmp_path: Path) -> None:
    events = [trade(1), trade(2, ts_event=1), trade(3)]
    async with spooled(MemoryStore(), tmp_path) as store:
        with pytest.raises(EventsRejected):
            await store.append(events)
        assert await scan(store, TradeTick) == []
        await store.sift(events)
        await store.drained()
        assert await scan(store, TradeTick) == [trade(1), trade(3)]
        assert store.depth().set_aside == 1


async def test_a_gap_is_not_called_repaired_whose_filler_was_set_aside(tmp_path: Path) -> None:
    class Picky(Moody):
        async def append(self, events: Sequence[StoredEvent]) -> int:
            if any(isinstance(one, TradeTick) and one.trade_id == 3 for one in events):
                raise EventsRejected("no 3")
            return await super().append(events)

    behind = Picky()
    repaired = gap(1, state=GapState.REPAIRED)
    async with spooled(behind, tmp_path) as store:
        await store.append([trade(0), gap(1), gap(7), trade(6)])
        filler = [*map(trade, range(1, 6))]
        await store.sift([*filler, repaired])  # in one batch, and once more on their own
        await store.append([repaired, gap(7, state=GapState.REPAIRED)])
        await store.drained()
        await store.append([repaired])
        assert [one.trade_id for one in await scan(behind, TradeTick)] == [0, 1, 2, 4, 5, 6]
        assert [(one.first_id, one.state) for one in await scan(behind, Gap)] == [
            (1, GapState.LOST),
            (3, GapState.LOST),
            (7, GapState.REPAIRED),
        ]


async def test_a_store_that_refuses_everything_counts_as_away_and_the_log_says_what_to_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    behind = Moody(mood="refuses")
    async with spooled(behind, tmp_path) as store:
        await store.append([trade(1)])
        await until(lambda: len(behind.given) > 5)
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert len(errors) == 1, "once, not at every try"
        assert "the password is wrong: change it" in errors[0].getMessage()
        behind.mood = "well"
        await store.drained()
        assert await scan(store, TradeTick) == [trade(1)]
        assert store.depth().set_aside == 0


async def test_beyond_its_limit_nothing_is_accepted_and_what_was_stays(tmp_path: Path) -> None:
    behind = Moody(mood="before")
    small = SpoolSettings(limit_bytes=1_500)
    async with spooled(behind, tmp_path, small) as store:
        accepted = []
        with pytest.raises(StoreFull, match=r"spool\.limit_bytes is 1,500"):  # noqa: PT012  which one, is the question
            for number in range(1_000):
                await store.append([trade(number)])
                accepted.append(trade(number))
        assert len(accepted) > 2
        assert store.depth().size_bytes <= 1_500
        behind.mood = "well"
        await store.drained()
        assert await scan(store, TradeTick) == accepted
        assert await store.append([trade(1_001)]) == 1


async def test_pauses_grow_with_jitter_up_to_the_longest(tmp_path: Path) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    settings = SpoolSettings(longest_pause_s=2.0)
    async with open_spool(tmp_path, settings, "a test") as file:
        store = SpooledStore(Moody(mood="before"), file, settings, sleep=pause)
        async with store.running():
            await store.append([trade(1)])
            await until(lambda: len(pauses) >= 300)
    assert all(0 <= one <= 2.0 for one in pauses)
    assert max(pauses[:3]) <= 0.4
    assert max(pauses) > 1.5
    assert len(set(pauses)) > 250


async def test_questions_go_to_the_store_behind(tmp_path: Path) -> None:
    class Away(MemoryStore):
        async def scan(self, *_: object, **__: object) -> AsyncIterator[StoredEvent]:
            raise StoreUnavailable("away")
            yield

        async def candles(self, *_: object) -> list[object]:
            raise StoreUnavailable("away")

    async with spooled(Away(), tmp_path) as store:
        with pytest.raises(StoreUnavailable):
            await scan(store, TradeTick)
        with pytest.raises(StoreUnavailable):
            await store.candles(ETH, None, *FOREVER)  # type: ignore[arg-type]


async def test_a_second_process_is_refused_and_told_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binance_proxy.adapters.spool.store.LOCK_WAIT_S", 0.05)
    async with spooled(MemoryStore(), tmp_path):
        with pytest.raises(StoreRejected, match=r"is in use by a test \(pid \d+\)"):
            async with open_spool(tmp_path, PATIENT, "another test"):
                pass
    async with open_spool(tmp_path, PATIENT, "another test"):
        pass


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreRejected, match=r"file/spool cannot be used"):
        async with open_spool(tmp_path / "file" / "spool", PATIENT, "a test"):
            pass


async def test_a_mistake_in_the_drain_is_not_kept_quiet(tmp_path: Path) -> None:
    class Wrong(Moody):
        async def append(self, events: Sequence[StoredEvent]) -> int:
            if self.given:
                raise ZeroDivisionError
            return await super().append(events)

    async with open_spool(tmp_path, PATIENT, "a test") as file:
        store = SpooledStore(Wrong(mood="before"), file, PATIENT, sleep=no_pause)
        running = store.running()
        await running.__aenter__()
        await store.append([trade(1)])
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(PATIENCE_S):
                await store.drained()
        with pytest.raises(ZeroDivisionError):
            await running.__aexit__(None, None, None)


def test_the_file_needs_no_loop(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path, limit_bytes=10**6)
    file.open()
    file.put([trade(1)], 5)
    file.close()
    again = SpoolFile(tmp_path, limit_bytes=10**6)
    again.open()
    portion = again.take()
    assert portion is not None
    assert portion.events == [trade(1)]
    again.close()
