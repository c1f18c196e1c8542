"""Files are played in receipt order, at the speed that was asked for, and everything else is told."""

import asyncio
import gzip
from contextlib import aclosing

import pytest
from msgspec import structs

from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.application.ports import FeedRejected
from binance_proxy.domain.instrument import Market
from binance_proxy.domain.tick import BadFrame, BookSnapshot, QuoteTick, TradeTick
from captured import START, STEP_NS, depth, instrument, session, snapshot, trade, write

BTC, ETH = instrument(), instrument("ETH/USDT")
SECOND_NS = 1_000_000_000


def feed_of(*paths, speed=None, clock=None, pairs=(), market=Market.SPOT):
    return CaptureFeed(paths, BinanceFrames(market), clock or ManualClock(), speed=speed, pairs=pairs)


async def played(feed, instruments=None):
    """Return every event of a feed."""
    if instruments is None:
        instruments = await feed.instruments([])
    async with aclosing(feed.stream(instruments)) as stream:
        return [event async for event in stream]


def kinds(events):
    return [event.kind for event in events if isinstance(event, BadFrame)]


def good(events):
    return [event for event in events if not isinstance(event, BadFrame)]


async def test_a_file_is_played_as_it_was_received(tmp_path):
    frames = session(100)
    feed = feed_of(write(tmp_path / "a.gz", frames))
    assert await feed.instruments([]) == [BTC]
    decoder = BinanceFrames(Market.SPOT, [BTC])
    expected = [decoder.decode(frame.encode(), stamp, BTC) for stamp, frame in frames]
    events = await played(feed)
    assert events == expected
    assert {type(event) for event in events} == {TradeTick, QuoteTick, BookSnapshot}


async def test_several_files_are_played_at_once_in_receipt_order(tmp_path):
    btc, eth = session(100), session(100, "ETHUSDT")
    late = session(50, first=100)
    feed = feed_of(
        write(tmp_path / "late.gz", late), write(tmp_path / "b.gz", btc), write(tmp_path / "e.txt", eth)
    )
    assert await feed.instruments([]) == [BTC, ETH]
    events = await played(feed)
    stamps = [event.ts_recv for event in events]
    assert stamps == sorted(stamps)
    assert len(events) == len(btc) + len(eth) + len(late)
    assert {event.instrument for event in events if isinstance(event, BookSnapshot)} == {BTC, ETH}
    trades = [event.trade_id for event in events if isinstance(event, TradeTick) and event.instrument == BTC]
    assert trades == list(range(100, 100 + len(trades)))


async def test_a_file_is_played_in_its_own_order_even_if_its_clock_ran_backwards(tmp_path):
    frames = [(START + at * SECOND_NS, trade(number)) for number, at in enumerate([5, 3, 4, 1, 9])]
    events = await played(feed_of(write(tmp_path / "a.gz", frames)))
    assert [event.trade_id for event in events] == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
async def test_recorded_time_passes_at_a_multiple_of_real_time(tmp_path, speed):
    clock = ManualClock(77 * SECOND_NS)
    feed = feed_of(write(tmp_path / "a.gz", session(200)), speed=speed, clock=clock)
    instruments = await feed.instruments([])
    async with aclosing(feed.stream(instruments)) as stream:
        async for event in stream:
            passed = clock.now() - 77 * SECOND_NS
            assert passed == int((event.ts_recv - START) / speed)
    assert clock.now() - 77 * SECOND_NS == int(199 * STEP_NS / speed)


async def test_nothing_comes_before_its_time(tmp_path):
    clock = ManualClock(0, auto=False)
    feed = feed_of(write(tmp_path / "a.gz", session(10)), speed=10.0, clock=clock)
    instruments = await feed.instruments([])
    async with aclosing(feed.stream(instruments)) as stream:
        assert (await anext(stream)).ts_recv == START
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert clock.sleeping_until == STEP_NS // 10
        clock.advance(STEP_NS // 10 - 1)
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.advance(1)
        assert (await waiting).ts_recv == START + STEP_NS


async def test_a_late_reader_catches_up(tmp_path):
    clock = ManualClock(0, auto=False)
    feed = feed_of(write(tmp_path / "a.gz", session(10)), speed=1.0, clock=clock)
    instruments = await feed.instruments([])
    async with aclosing(feed.stream(instruments)) as stream:
        await anext(stream)
        clock.advance(100 * STEP_NS)
        assert len([event async for event in stream]) == 10


async def test_as_fast_as_can_be_waits_for_no_clock(tmp_path):
    clock = ManualClock(0, auto=False)
    events = await played(feed_of(write(tmp_path / "a.gz", session(100)), clock=clock))
    assert len(events) == 101
    assert clock.now() == 0


async def test_a_bad_frame_names_its_file_and_line_and_everything_else_still_comes(tmp_path):
    frames = session(100)
    whole = await played(feed_of(write(tmp_path / "whole.gz", frames)))
    faults = {
        10: '{"stream":"btcusdt@trade"',
        20: trade(500, "DOGEUSDT"),
        30: trade(501, p="-1.00"),
        40: trade(502, p="0"),
        50: depth(503, b=[["1.123456789", "1"]]),
        60: trade(504).replace('"q"', '"quantity"'),
        70: '{"channel":"trades","data":[]}',
        80: depth(505).replace('"s":"BTCUSDT"', '"s":"ETHUSDT"'),
    }
    broken = list(frames)
    for at in sorted(faults, reverse=True):
        broken.insert(at, (frames[at][0], faults[at]))
    events = await played(feed_of(write(tmp_path / "broken.gz", broken)))
    assert good(events) == whole
    bad = [event for event in events if isinstance(event, BadFrame)]
    lines = [at + 1 + before for before, at in enumerate(faults)]
    assert [event.where for event in bad] == [f"broken.gz line {line}" for line in lines]
    assert [event.ts_recv for event in bad] == [frames[at][0] for at in faults]
    assert kinds(bad) == [
        "broken JSON", "unknown symbol", "impossible number", "impossible number", "impossible number",
        "missing or wrong field", "not a frame of Binance", "impossible number",
    ]  # fmt: skip
    assert all(event.detail for event in bad)


async def test_a_line_without_receipt_time_is_told_and_the_rest_comes(tmp_path):
    frames = session(20)
    content = "".join(f"{stamp} {frame}\n" for stamp, frame in frames).splitlines(keepends=True)
    content.insert(5, trade(7) + "\n")
    path = tmp_path / "a.txt"
    path.write_text("".join(content))
    events = await played(feed_of(path))
    assert len(good(events)) == 21
    assert [(event.kind, event.where) for event in events if isinstance(event, BadFrame)] == [
        ("broken line", "a.txt line 6")
    ]


@pytest.mark.parametrize("speed", [None, 1.0])
@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda packed: packed[: len(packed) // 2], "truncated gzip"),
        (lambda packed: packed + b"garbage", "broken gzip"),
        (lambda packed: packed + packed[:-8] + b"\x00" * 8, "damaged gzip"),
    ],
)
async def test_a_broken_gzip_is_told_once_and_the_other_files_still_come(tmp_path, spoil, kind, speed):
    broken = write(tmp_path / "broken.gz", session(1_000))
    broken.write_bytes(spoil(broken.read_bytes()))
    other = write(tmp_path / "other.gz", session(100, "ETHUSDT"))
    events = await played(feed_of(broken, other, speed=speed))
    assert kinds(events) == [kind]
    stamps = [event.ts_recv for event in events]
    assert stamps == sorted(stamps)
    assert len([event for event in good(events) if event.instrument == ETH]) == 101
    assert len([event for event in good(events) if event.instrument == BTC]) > 300


@pytest.mark.parametrize("speed", [None, 1.0])
@pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["no bytes", "an empty gzip"])
async def test_an_empty_file_is_told_and_the_others_still_come(tmp_path, content, speed):
    empty = tmp_path / "empty.gz"
    empty.write_bytes(content)
    clock = ManualClock(5)
    events = await played(feed_of(empty, write(tmp_path / "a.gz", session(10)), speed=speed, clock=clock))
    assert kinds(events) == ["empty file"]
    assert len(good(events)) == 11
    assert clock.now() == 5 + (9 * STEP_NS if speed else 0)


async def test_nothing_is_in_an_empty_file(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    feed = feed_of(empty)
    assert await feed.instruments([]) == []
    assert kinds(await played(feed, [])) == ["empty file"]


@pytest.mark.parametrize("name", ["missing.gz", "folder"])
async def test_a_file_that_cannot_be_opened_is_refused_before_anything_is_played(tmp_path, name):
    (tmp_path / "folder").mkdir()
    feed = feed_of(write(tmp_path / "a.gz", session(10)), tmp_path / name)
    with pytest.raises(FeedRejected, match=f"cannot read the capture .*{name}"):
        await feed.instruments([])


async def test_no_file_at_all_is_refused_and_names_the_setting():
    with pytest.raises(FeedRejected, match=r"feed\.capture\.paths"):
        await feed_of().instruments([])


async def test_a_stray_frame_of_another_pair_does_not_make_it_a_pair_of_the_file(tmp_path):
    frames = session(100)
    frames.insert(0, (START, trade(1, "ETHUSDT")))
    feed = feed_of(write(tmp_path / "a.gz", frames))
    assert await feed.instruments([]) == [BTC]
    events = await played(feed)
    assert kinds(events) == ["unknown symbol"]
    assert len([event for event in events if isinstance(event, BookSnapshot)]) == 1


async def test_a_snapshot_in_a_file_of_two_pairs_is_refused_and_both_are_played(tmp_path):
    frames = sorted(session(100) + session(100, "ETHUSDT"), key=lambda one: one[0])
    feed = feed_of(write(tmp_path / "a.gz", frames))
    assert await feed.instruments([]) == [BTC, ETH]
    events = await played(feed)
    assert kinds(events) == ["snapshot of no pair"] * 2
    assert len(good(events)) == 200
    assert not any(isinstance(event, BookSnapshot) for event in events)


async def test_a_snapshot_belongs_to_the_pair_of_its_own_file(tmp_path):
    btc, eth = session(100), session(100, "ETHUSDT")
    feed = feed_of(write(tmp_path / "b.gz", btc), write(tmp_path / "e.gz", eth))
    snapshots = [event for event in await played(feed) if isinstance(event, BookSnapshot)]
    assert [event.instrument for event in snapshots] == [BTC, ETH]


async def test_pairs_names_what_is_played(tmp_path):
    paths = write(tmp_path / "b.gz", session(100)), write(tmp_path / "e.gz", session(100, "ETHUSDT"))
    feed = feed_of(*paths, pairs=["ETH/USDT"])
    assert await feed.instruments([]) == [ETH]
    events = await played(feed)
    assert {event.instrument for event in good(events)} == {ETH}
    assert set(kinds(events)) == {"unknown symbol", "snapshot of no pair"}
    assert len(good(events)) == 101


async def test_pairs_chooses_among_the_pairs_of_one_file(tmp_path):
    frames = sorted(session(100) + session(100, "ETHUSDT"), key=lambda one: one[0])
    feed = feed_of(write(tmp_path / "a.gz", frames), pairs=["BTC/USDT"])
    assert await feed.instruments([]) == [BTC]
    assert len(good(await played(feed))) == 100


async def test_streams_that_are_not_recorded_are_passed_over_in_silence(tmp_path):
    frames = [(START, '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT"}}')] * 50
    frames += [(START + 1, trade(1)), (START + 2, '{"stream":"btcusdt@kline_1m","data":{}}')]
    assert len(await played(feed_of(write(tmp_path / "a.gz", frames)))) == 1


async def test_a_snapshot_before_anything_else_has_a_time_that_a_store_can_keep(tmp_path):
    frames = [(START + 123_456_789, snapshot()), *session(10, first=2)]
    feed = feed_of(write(tmp_path / "a.gz", frames))
    first = (await played(feed))[0]
    assert isinstance(first, BookSnapshot)
    assert first.ts_event == START + 123_000_000


async def test_events_are_in_the_units_of_the_instruments_that_are_given(tmp_path):
    feed = feed_of(write(tmp_path / "a.gz", session(10)))
    [described] = await feed.instruments([])
    recorded = structs.replace(described, price_precision=2)
    events = await played(feed, [recorded])
    assert {event.instrument for event in events} == {recorded}
    assert next(event for event in events if isinstance(event, TradeTick)).price == 6_000_050


async def test_it_can_be_played_again(tmp_path):
    feed = feed_of(write(tmp_path / "a.gz", session(50)))
    assert await played(feed) == await played(feed)


async def test_a_reader_that_stops_leaves_no_file_open(tmp_path, recwarn):
    feed = feed_of(write(tmp_path / "a.gz", session(500)), write(tmp_path / "b.gz", session(500)))
    async with aclosing(feed.stream(await feed.instruments([]))) as stream:
        for _ in range(10):
            await anext(stream)
    assert [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)] == []


async def test_other_tasks_get_their_turn_while_there_is_nothing_to_record(tmp_path):
    frames = [(START, trade(1))] * 3
    frames += [(START, '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT"}}')] * 20_000
    feed = feed_of(write(tmp_path / "a.gz", frames))
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count_turns())
    await played(feed)
    counting.cancel()
    assert turns > 10
