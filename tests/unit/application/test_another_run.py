"""Another run of a simulated venue numbers far ahead of the one before, and nothing is missing between."""

import pytest
from msgspec.structs import replace

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.ledger import read_ledger
from binance_proxy.application.seam import read_seams
from binance_proxy.application.stats import stats
from binance_proxy.application.verify import Verification
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Stream
from binance_proxy.domain.sequence import ANOTHER_RUN, is_another_run
from ticks_made import DAY_NS, ETH, MIDNIGHT, MS, quote, trade

MADE_UP = replace(ETH, venue="simulated")
HOUR = 3_600_000
"""In ms."""
FIRST = MIDNIGHT // 1_000
SECOND = FIRST + HOUR * 1_000


def run(first_id: int, at: int, count: int = 10) -> list:
    ids = range(first_id, first_id + count)
    return [
        *(trade(one, at + one - first_id, instrument=MADE_UP) for one in ids),
        *(quote(one, one, at + one - first_id, instrument=MADE_UP) for one in ids),
    ]


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.append([*run(FIRST, 0), *run(SECOND, HOUR)])
    return store


def test_only_a_simulated_venue_numbers_so():
    assert is_another_run("simulated", 5, 6 + ANOTHER_RUN)
    assert not is_another_run("simulated", 5, 5 + ANOTHER_RUN)
    assert not is_another_run("binance", 5, 6 + ANOTHER_RUN)


async def test_an_audit_of_two_runs_holds_and_says_that_the_ids_began_anew(store):
    audit = Verification(store, fillable=False)
    certificate = await audit.run(MADE_UP, MIDNIGHT, MIDNIGHT + DAY_NS, lambda *_: None)
    assert (certificate.holds, certificate.entered) == (True, ())
    assert {
        "the venue began 1 times to number its trades anew",
        "the venue began 1 times to number its updates anew",
    } <= set(certificate.notes)


async def test_a_hole_in_each_of_two_runs_is_found():
    store = MemoryStore()
    ticks = [*run(FIRST, 0), *run(SECOND, HOUR)]
    await store.append([one for at, one in enumerate(ticks) if at not in (4, 25)])
    audit = Verification(store, fillable=False)
    certificate = await audit.run(MADE_UP, MIDNIGHT, MIDNIGHT + DAY_NS, lambda *_: None)
    assert [(gap.first_id, gap.last_id) for gap in certificate.entered] == [
        (FIRST + 4, FIRST + 4),
        (SECOND + 5, SECOND + 5),
    ]


@pytest.mark.parametrize("stream", Stream)
async def test_the_ledger_tells_each_run_for_itself(store, stream):
    hole = Gap(
        instrument=MADE_UP, ts_event=MIDNIGHT + 5 * MS, ts_recv=0, stream=stream, first_id=FIRST + 4,
        last_id=FIRST + 4, start=MIDNIGHT + 3 * MS, end=MIDNIGHT + 5 * MS, state=GapState.LOST,
    )  # fmt: skip
    await store.append([hole, *run(SECOND + HOUR * 1_000, 2 * HOUR, count=1)])
    assert [
        (one.first_id, one.last_id, str(one.state)) for one in await read_ledger(store, MADE_UP, stream)
    ] == [
        (FIRST, FIRST + 3, "complete"),
        (FIRST + 4, FIRST + 4, "lost"),
        (FIRST + 5, FIRST + 9, "complete"),
        (SECOND, SECOND + 9, "complete"),
        (SECOND + HOUR * 1_000, SECOND + HOUR * 1_000, "complete"),
    ]


async def test_a_long_run_is_one_range_of_the_ledger():
    store, step = MemoryStore(), ANOTHER_RUN // 2
    await store.append(
        [
            trade(FIRST + step * at, at, instrument=MADE_UP, first_match_id=FIRST + step * at,
                  last_match_id=FIRST + step * (at + 1) - 1)
            for at in range(7)
        ]
    )  # fmt: skip
    (one,) = await read_ledger(store, MADE_UP, Stream.TRADES)
    assert (one.ids, str(one.state)) == (7 * step, "complete")
    assert (one.start, one.end) == (MIDNIGHT, MIDNIGHT + 6 * MS)


async def test_a_run_joins_an_earlier_or_a_later_one_without_a_gap():
    store = MemoryStore()
    await store.append(run(SECOND, HOUR))
    seams = await read_seams(store, MADE_UP, Stream)
    behind, before = trade(SECOND + HOUR * 1_000, 2 * HOUR, instrument=MADE_UP), run(FIRST, 0)[9]
    assert seams[Stream.TRADES].before(Stream.TRADES, behind.trade_id, behind) is None
    assert seams[Stream.TRADES].behind(Stream.TRADES, [(FIRST, FIRST + 9)], before) == []
    soon = trade(SECOND + 20, HOUR + 20, instrument=MADE_UP)
    gap = seams[Stream.TRADES].before(Stream.TRADES, soon.trade_id, soon)
    assert gap is not None
    assert (gap.first_id, gap.last_id) == (SECOND + 10, SECOND + 19)


async def test_the_days_count_nothing_as_missing_between_two_runs(store):
    (day,) = await stats(store, MADE_UP, MIDNIGHT, MIDNIGHT + DAY_NS)
    assert [(ids.there, ids.missing) for ids in (day.trade_ids, day.update_ids)] == [(20, 0), (20, 0)]
