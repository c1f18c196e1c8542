"""Take single messages out of a capture, one at a time: each ends in the ledger with exactly its ids.

A capture is decoded once. For each position the messages around it are recorded without it, into a store of
its own, and the ledger of that store is read. The whole capture, untouched, shows no gap. The first and the
last message of a stream cannot be told: nothing in the capture says that there was anything before or behind.
"""

import asyncio
import json
import random
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

import captured
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.ledger import read_ledger
from binance_proxy.application.record import Recording
from binance_proxy.application.report import Report
from binance_proxy.application.track import Plan, Track
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.ledger import MISSING, CoverageState, ids_of
from binance_proxy.domain.tick import BookSnapshot, MarketEvent, QuoteTick, TradeTick
from recorded import captures

BEFORE, BEHIND = 12, 12
"""Messages of the same stream that are recorded before and behind the one that is taken out."""
SEED = 20_240_808

CAPTURES = {
    "spot 2024": (("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"), Market.SPOT, 1_500),
    "USD-M 2024": (("usdm_btcusdt_20240718.gz", "usdm_btcusdt_20240719.gz"), Market.USDM, 1_500),
    "spot 2021, aggregated": (("spot_btcusdt_20210404.gz",), Market.SPOT, 1_500),
}
"""Files, market, and how many trades and how many updates are taken out, or all that there are."""
MADE_UP = 1_500
"""Messages of the capture that the test makes itself; every one of them is taken out but the ends."""

Ids = tuple[Stream, int, int]


class Nobody:
    """A feed that has no snapshot to give."""

    def resync(self, instrument: Instrument) -> None: ...


class Kept(list):
    """A buffer that is emptied into a store when all is done."""

    put = list.append


class Played:
    """A feed of events that were decoded before."""

    def __init__(self, instrument: Instrument, events: Sequence[MarketEvent]) -> None:
        self.instrument, self.events = instrument, events

    async def instruments(self, wanted: object) -> Sequence[Instrument]:
        return [self.instrument]

    async def stream(self, instruments: object) -> AsyncGenerator[MarketEvent]:
        for event in self.events:
            yield event

    def resync(self, instrument: Instrument) -> None: ...

    def follow(self, instruments: object) -> None: ...


async def decoded(paths: Sequence[Path], market: Market) -> list[MarketEvent]:
    feed = CaptureFeed(paths, BinanceFrames(market), ManualClock(0), speed=None)
    async with aclosing(feed.stream(await feed.instruments(()))) as events:
        return [event async for event in events]


def stream_of(event: MarketEvent) -> Stream | None:
    if isinstance(event, TradeTick):
        return Stream.TRADES
    return Stream.ORDERBOOK if isinstance(event, QuoteTick) else None


def places_of(events: Sequence[MarketEvent], stream: Stream) -> list[int]:
    return [at for at, event in enumerate(events) if stream_of(event) is stream]


def around(events: Sequence[MarketEvent], places: Sequence[int], at: int) -> list[MarketEvent]:
    """Return the messages around one, without it: a book before them, and all streams between the ends."""
    index = bisect_right(places, at) - 1
    start = places[max(index - BEFORE, 0)]
    end = places[min(index + BEHIND, len(places) - 1)]
    return [events[one] for one in range(start, end + 1) if one != at]


async def missing_in(store: MemoryStore, instrument: Instrument) -> list[Ids]:
    """Return what the ledger of a store calls missing."""
    found = []
    for stream in Stream:
        ledger = await read_ledger(store, instrument, stream)
        assert CoverageState.UNKNOWN not in {one.state for one in ledger}
        found += [(stream, one.first_id, one.last_id) for one in ledger if one.state in MISSING]
    return found


async def recorded_without(instrument: Instrument, events: Sequence[MarketEvent]) -> list[Ids]:
    """Record events by the track alone, as a recording does, and return what the ledger calls missing."""
    kept, store = Kept(), MemoryStore()
    track = Track(
        instrument,
        Nobody(),
        MemoryPublisher(),
        kept,
        Report(),
        plan=Plan(
            streams=frozenset(Stream),
            timeframes=(),
            candle_s=1e6,
            publish_snapshot_s=1e6,
            store_snapshot_s=1e6,
        ),
        on_step=lambda: None,
    )
    take = {TradeTick: track.trade, QuoteTick: track.quote, BookSnapshot: track.snapshot}
    for event in events:
        take[type(event)](event)
    await store.append(kept)
    return await missing_in(store, instrument)


async def check_each(events: Sequence[MarketEvent], most: int) -> int:
    """Take out messages of either stream, the ends excepted; return how many."""
    rng, tried = random.Random(SEED), 0
    instrument = events[0].instrument
    for stream in Stream:
        places = places_of(events, stream)
        inner = places[1:-1]
        chosen = inner if most >= len(inner) else rng.sample(inner, most)
        for at in chosen:
            one = events[at]
            ids = ids_of(one)
            missing = await recorded_without(instrument, around(events, places, at))
            assert missing == [(stream, *ids)], f"message {at}: {one}"
            tried += 1
    return tried


async def record_whole(events: Sequence[MarketEvent]) -> tuple[MemoryStore, Recording]:
    """Run a whole recording."""
    store, instrument = MemoryStore(), events[0].instrument
    recording = Recording(
        feed=Played(instrument, events),
        store=store,
        pairs=MemoryRegistry(()),
        registry=store.registry,
        publisher=MemoryPublisher(),
        clock=ManualClock(events[0].ts_recv),
        settings=RecordSettings(batch_age_s=0.0),
        publish_snapshot_s=1e6,
    )
    await recording.prepare()
    await asyncio.wait_for(recording.run(asyncio.Event()), 60)
    return store, recording


async def check_untouched(events: Sequence[MarketEvent]) -> None:
    store, recording = await record_whole(events)
    instrument = events[0].instrument
    assert await missing_in(store, instrument) == []
    assert recording.report.gaps == 0
    for stream in Stream:
        (one,) = await read_ledger(store, instrument, stream)
        assert one.state is CoverageState.COMPLETE
    kept = (one for one in events if stream_of(one) is Stream.TRADES)
    assert [one.trade_id for one in kept][-1] == (await read_ledger(store, instrument, Stream.TRADES))[
        0
    ].last_id


@pytest.mark.shared_data
@pytest.mark.parametrize("name", CAPTURES)
async def test_each_message_of_a_recorded_capture_is_missed(name: str) -> None:
    files, market, most = CAPTURES[name]
    events = await decoded(captures(*files), market)
    await check_untouched(events)
    expected = sum(min(most, len(places_of(events, stream)) - 2) for stream in Stream)
    assert await check_each(events, most) == expected > 2_000


@pytest.mark.parametrize("market", Market)
async def test_each_message_of_a_made_up_capture_is_missed(tmp_path: Path, market: Market) -> None:
    frames = captured.session(MADE_UP)
    if market is Market.USDM:
        frames = [(at, _with_previous(frame)) for at, frame in frames]
    events = await decoded([captured.write(tmp_path / "a.gz", frames)], market)
    await check_untouched(events)
    assert await check_each(events, MADE_UP) == MADE_UP - 4


@pytest.mark.parametrize("stream", Stream)
async def test_a_whole_recording_without_the_message_says_the_same(tmp_path: Path, stream: Stream) -> None:
    events = await decoded([captured.write(tmp_path / "a.gz", captured.session(400))], Market.SPOT)
    for at in random.Random(SEED).sample(places_of(events, stream)[1:-1], 10):
        one = events[at]
        store, _ = await record_whole(events[:at] + events[at + 1 :])
        assert await missing_in(store, one.instrument) == [(stream, *ids_of(one))]


async def test_the_first_and_the_last_message_cannot_be_told(tmp_path: Path) -> None:
    events = await decoded([captured.write(tmp_path / "a.gz", captured.session(100))], Market.SPOT)
    for stream in Stream:
        places = places_of(events, stream)
        for at in (places[0], places[-1]):
            store, _ = await record_whole(events[:at] + events[at + 1 :])
            assert await missing_in(store, events[at].instrument) == []


def _with_previous(frame: str) -> str:
    """Make an update one of USD-M: it says which id the one before ended with, and begins well behind it."""
    update = json.loads(frame)
    data = update.get("data", update)
    if data.get("e") == "depthUpdate":
        data["pu"] = data["U"] - 1
        data["T"] = data["E"]
        update["stream"] = update["stream"].replace("@100ms", "")
    if data.get("e") == "trade":
        data["X"] = "MARKET"
    return str(json.dumps(update, separators=(",", ":")))
