"""Runs of a feed that cannot be asked: what lies between two is lost, and nothing else is called so."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.ledger import read_ledger
from binance_proxy.application.record import Recording
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import BookSnapshot, MarketEvent, QuoteTick, Side, TradeTick
from captured import instrument

BTC = instrument()
T0 = 1_723_161_240_000_000_000
MS = 1_000_000


class Script:
    """A feed with a fixed content and no history."""

    def __init__(self, events: Sequence[MarketEvent]) -> None:
        self.events = events

    async def instruments(self, wanted: object) -> Sequence[Instrument]:
        return [BTC]

    async def stream(self, instruments: object) -> AsyncGenerator[MarketEvent]:
        for event in self.events:
            yield event

    def resync(self, instrument: Instrument) -> None: ...

    def follow(self, instruments: object) -> None: ...


def trades(*ids: int) -> list[MarketEvent]:
    return [
        TradeTick(
            instrument=BTC, ts_event=T0 + one * MS, ts_recv=T0 + one * MS, trade_id=one, price=5, size=1,
            aggressor=Side.BUY,
        )
        for one in ids
    ]  # fmt: skip


def aggregated(*ids: int) -> list[MarketEvent]:
    return [
        TradeTick(
            instrument=BTC, ts_event=T0 + one * MS, ts_recv=T0 + one * MS, trade_id=one, price=5, size=1,
            aggressor=Side.BUY, first_match_id=10 * one, last_match_id=10 * one + 9,
        )
        for one in ids
    ]  # fmt: skip


def book(*ids: int) -> list[MarketEvent]:
    """Return a snapshot that ends before the first update, and updates of two ids each."""
    at = T0 + ids[0] * MS
    updates: list[MarketEvent] = [
        QuoteTick(
            instrument=BTC, ts_event=T0 + one * MS, ts_recv=T0 + one * MS, first_update_id=2 * one,
            last_update_id=2 * one + 1, bids=((5, 1),), asks=(),
        )
        for one in ids
    ]  # fmt: skip
    snapshot = BookSnapshot(
        instrument=BTC, ts_event=at, ts_recv=at, last_update_id=2 * ids[0] - 1, bids=((4, 1),), asks=((9, 1),)
    )
    return [snapshot, *updates]


async def play(store: MemoryStore, events: Sequence[MarketEvent]) -> Recording:
    recording = Recording(
        feed=Script(events),
        store=store,
        pairs=MemoryRegistry(()),
        registry=store.registry,
        publisher=MemoryPublisher(),
        clock=ManualClock(T0),
        settings=RecordSettings(batch_age_s=0.0),
        publish_snapshot_s=1e6,
    )
    await recording.prepare()
    await asyncio.wait_for(recording.run(asyncio.Event()), 30)
    return recording


async def ledger(store: MemoryStore, stream: Stream = Stream.TRADES) -> list[tuple[int, int, str]]:
    found = await read_ledger(store, BTC, stream)
    return [(one.first_id, one.last_id, one.state.value) for one in found]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_between_two_sessions_trades_are_lost(store: MemoryStore) -> None:
    await play(store, trades(*range(1, 11)))
    second = await play(store, trades(*range(31, 41)))
    assert await ledger(store) == [(1, 10, "complete"), (11, 30, "lost"), (31, 40, "complete")]
    assert (second.report.gaps, second.report.lost) == (1, 1)
    found = await read_ledger(store, BTC, Stream.TRADES)
    assert [(one.start, one.end) for one in found] == [
        (T0 + 1 * MS, T0 + 10 * MS),
        (T0 + 10 * MS, T0 + 31 * MS),
        (T0 + 31 * MS, T0 + 40 * MS),
    ]


async def test_between_two_sessions_updates_are_lost_up_to_the_first_that_came(
    store: MemoryStore,
) -> None:
    await play(store, book(*range(1, 11)))
    await play(store, book(*range(31, 41)))
    assert await ledger(store, Stream.ORDERBOOK) == [
        (2, 21, "complete"),
        (22, 61, "lost"),
        (62, 81, "complete"),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (range(1, 11), range(1, 11)),
        (range(1, 11), range(11, 21)),
        (range(1, 11), range(5, 21)),
        (range(5, 11), range(1, 11)),
        (range(5, 11), range(1, 5)),
        (range(5, 11), range(6, 8)),
        (range(5, 11), range(1, 21)),
    ],
)
@pytest.mark.parametrize("make", [trades, book, aggregated])
async def test_sessions_that_touch_or_overlap_leave_no_gap(store: MemoryStore, first, second, make) -> None:
    for ids in (first, second, first, second):
        await play(store, make(*ids))
    stream = Stream.ORDERBOOK if make is book else Stream.TRADES
    assert [state for _, _, state in await ledger(store, stream)] == ["complete"]


async def test_an_older_session_played_afterwards_leaves_a_gap_before_the_newer(store: MemoryStore) -> None:
    await play(store, trades(*range(31, 41)))
    await play(store, trades(*range(1, 11)))
    await play(store, trades(*range(1, 11)))
    assert await ledger(store) == [(1, 10, "complete"), (11, 30, "lost"), (31, 40, "complete")]


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (range(15, 21), [(1, 10, "complete"), (11, 14, "lost"), (15, 20, "complete"), (21, 30, "lost"),
                         (31, 40, "complete")]),
        (range(11, 21), [(1, 10, "complete"), (11, 20, "repaired"), (21, 30, "lost"), (31, 40, "complete")]),
        (range(21, 31), [(1, 10, "complete"), (11, 20, "lost"), (21, 40, "complete")]),
        (range(5, 36), [(1, 10, "complete"), (11, 30, "repaired"), (31, 40, "complete")]),
    ],
)  # fmt: skip
async def test_a_session_in_a_gap_leaves_of_it_what_is_still_missing(
    store: MemoryStore, middle: range, expected: list
) -> None:
    await play(store, trades(*range(1, 11)))
    await play(store, trades(*range(31, 41)))
    for _ in range(2):
        await play(store, trades(*middle))
        assert await ledger(store) == expected


async def test_what_a_session_misses_itself_is_told_beside(store: MemoryStore) -> None:
    await play(store, trades(1, 2, 3))
    await play(store, trades(10, 11, 14))
    assert await ledger(store) == [
        (1, 3, "complete"),
        (4, 9, "lost"),
        (10, 11, "complete"),
        (12, 13, "open"),
        (14, 14, "complete"),
    ]


async def test_ids_that_fall_back_while_time_goes_on_show_no_hole(store: MemoryStore) -> None:
    """A venue that numbers anew."""
    await play(store, trades(*range(1_000, 1_011)))
    later = trades(2_000, 2_001)
    anew = [
        TradeTick(
            instrument=BTC, ts_event=one.ts_event, ts_recv=one.ts_recv, trade_id=one.trade_id - 1_999,
            price=1, size=1, aggressor=Side.BUY,
        )
        for one in later
    ]  # fmt: skip
    recording = await play(store, anew)
    assert recording.report.gaps == 0
    assert await ledger(store) == [(2, 1_000, "unknown")]


async def test_a_newcomer_on_the_topic_of_gaps_is_told_of_those_that_lack(store: MemoryStore) -> None:
    await play(store, trades(*range(1, 11)))
    recording = await play(store, trades(31, 32, 35))
    (track,) = recording._tracks.values()
    heard = recording._publisher.listen("")
    heard.clear()
    track.publish_gaps()
    told = [(body["first_id"], body["last_id"], body["state"]) for _, body in heard]
    assert told == [(11, 30, "lost"), (33, 34, "open")]


async def test_stored_ids_whose_times_run_backwards_show_no_hole_beside_the_next_run(
    store: MemoryStore,
) -> None:
    def at(ms: int, one: int) -> MarketEvent:
        ts = T0 + ms * MS
        return TradeTick(
            instrument=BTC, ts_event=ts, ts_recv=ts, trade_id=one, price=5, size=1, aggressor=Side.BUY
        )

    await store.append([at(100, 22), at(101, 21), at(102, 23), at(105, 25), at(106, 24)])
    await play(store, trades(*range(15, 21)))
    await play(store, [at(110, 26)])
    assert await ledger(store) == [(15, 26, "complete")]
