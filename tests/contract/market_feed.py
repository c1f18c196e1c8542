"""What every market feed promises: one test for each sentence of the `MarketFeed` port.

A feed's own test file subclasses `MarketFeedContract` and gives `feed` and `wanted`. The other fixtures are
feeds in special states; whoever can bring one about gives it, and the test of that sentence runs.
"""

import asyncio
import inspect
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest

from binance_proxy.application.ports import FeedRejected, MarketFeed, TrackedPair
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import BadFrame, BookSnapshot, Disconnect, MarketEvent, QuoteTick, TradeTick

PATIENCE_S = 60.0
UNKNOWN = Instrument(venue="nowhere", market=Market.SPOT, symbol="NO/SUCH")


async def read(feed: MarketFeed, instruments: Sequence[Instrument], most: int) -> list[MarketEvent]:
    """Return the first events of a stream, fewer if it ends before."""
    events: list[MarketEvent] = []
    if most <= 0:
        return events
    async with aclosing(feed.stream(instruments)) as stream:
        async for event in stream:
            events.append(event)
            if len(events) == most:
                break
    return events


class MarketFeedContract:
    fixed_content = False
    """True for a source that answers with all that it holds, whatever is wanted."""
    gives_snapshots = True
    """False for a source that has none to give when it is asked."""
    enough = 300
    """So many events show what there is to see, and the feed has more than that."""
    loses = False
    """True for a source whose line is so bad that ticks are missing anyway."""

    @pytest.fixture
    def feed(self) -> MarketFeed:
        raise NotImplementedError

    @pytest.fixture
    def wanted(self) -> Sequence[TrackedPair]:
        raise NotImplementedError

    @pytest.fixture
    def absent(self) -> TrackedPair:
        """Give a pair that the source does not have."""
        return TrackedPair(symbol="no such pair")

    @pytest.fixture
    def unreadable(self) -> MarketFeed:
        """Give a feed whose source cannot be read at all."""
        pytest.skip("this source can always be read")

    @pytest.fixture
    def ending(self) -> MarketFeed:
        """Give a feed whose source has no more than ``enough`` events."""
        pytest.skip("this source never ends")

    @pytest.fixture
    def interrupted(self) -> MarketFeed:
        """Give a feed that loses its connection within ``enough`` events."""
        pytest.skip("this source has no connection")

    @pytest.fixture
    def garbled(self) -> MarketFeed:
        """Give a feed that meets a frame which cannot be used within ``enough`` events."""
        pytest.skip("this source has no frames")

    @pytest.fixture
    def breaking(self) -> MarketFeed:
        """Give a feed whose source cannot be read to its end."""
        pytest.skip("this source can always be read to its end")

    async def test_describes_the_instruments_of_the_wanted_pairs(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        described = await feed.instruments(wanted)
        assert {(pair.market, pair.symbol) for pair in wanted} <= {
            (instrument.market, instrument.symbol) for instrument in described
        }
        assert len({instrument.name for instrument in described}) == len(described)

    async def test_only_a_source_with_a_fixed_content_answers_with_more_than_is_wanted(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        unasked = await feed.instruments([])
        if self.fixed_content:
            assert set(unasked) == set(await feed.instruments(wanted))
        else:
            assert list(unasked) == []

    async def test_a_pair_that_the_source_does_not_have_is_left_out(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair], absent: TrackedPair
    ) -> None:
        described = await feed.instruments([absent, *wanted])
        assert absent.symbol not in {instrument.symbol for instrument in described}
        assert set(described) == set(await feed.instruments(wanted))

    async def test_a_source_that_could_have_had_a_pair_warns_and_names_it(
        self, feed: MarketFeed, absent: TrackedPair, caplog: pytest.LogCaptureFixture
    ) -> None:
        await feed.instruments([absent])
        assert self.fixed_content or absent.symbol in caplog.text

    async def test_a_source_that_cannot_be_read_at_all_is_rejected_with_a_reason(
        self, unreadable: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        with pytest.raises(FeedRejected, match=r"\w+ \w+"):
            await unreadable.instruments(wanted)

    async def test_yields_events_in_arrival_order(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        events = await read(feed, await feed.instruments(wanted), self.enough)
        assert len(events) == self.enough
        assert all(earlier.ts_recv <= later.ts_recv for earlier, later in pairwise(events))

    async def test_yields_in_the_units_of_the_given_instruments(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        instruments = await feed.instruments(wanted)
        ticks = [
            event
            for event in await read(feed, instruments, self.enough)
            if isinstance(event, TradeTick | QuoteTick | BookSnapshot)
        ]
        assert ticks
        for tick in ticks:
            assert tick.instrument in instruments
            assert tick.ts_event % tick.instrument.time_resolution_ns == 0
            levels = [(tick.price, tick.size)] if isinstance(tick, TradeTick) else [*tick.bids, *tick.asks]
            for price, size in levels:
                assert price % (tick.instrument.tick_size or 1) == 0
                assert size % (tick.instrument.step_size or 1) == 0

    async def test_a_lost_connection_is_an_event_and_the_stream_goes_on(
        self, interrupted: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        instruments = await interrupted.instruments(wanted)
        events = await read(interrupted, instruments, self.enough)
        lost = [at for at, event in enumerate(events) if isinstance(event, Disconnect)]
        assert lost
        assert events[lost[0] + 1 :]
        for at in lost:
            event = events[at]
            assert isinstance(event, Disconnect)
            assert set(event.instruments) <= set(instruments)
            assert event.reason

    async def test_what_cannot_be_used_is_a_bad_frame_and_the_stream_goes_on(
        self, garbled: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        events = await read(garbled, await garbled.instruments(wanted), self.enough)
        bad = [at for at, event in enumerate(events) if isinstance(event, BadFrame)]
        assert bad
        assert events[bad[0] + 1 :]

    async def test_the_generator_ends_when_the_source_has_no_more(
        self, ending: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        events = await read(ending, await ending.instruments(wanted), self.enough + 1)
        assert 0 < len(events) <= self.enough

    async def test_the_stream_can_be_left_early(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        instruments = await feed.instruments(wanted)
        async with aclosing(feed.stream(instruments)) as stream:
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert len(await read(feed, instruments, 10)) == 10

    async def test_a_source_that_cannot_be_read_further_is_rejected_with_a_reason(
        self, breaking: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        instruments = await breaking.instruments(wanted)
        with pytest.raises(FeedRejected, match=r"\w+ \w+"):
            await read(breaking, instruments, self.enough)

    async def test_resync_brings_a_snapshot_of_that_instrument_soon(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        if not self.gives_snapshots:
            pytest.skip("this source has no snapshots to give")
        instruments = await feed.instruments(wanted)
        instrument = instruments[-1]
        asked = seen = 0
        async with aclosing(feed.stream(instruments)) as stream:
            async for event in stream:
                seen += 1
                assert seen <= self.enough, "no snapshot came"
                if not isinstance(event, BookSnapshot) or event.instrument != instrument:
                    continue
                if asked == 3:
                    break
                asked += 1
                feed.resync(instrument)
        assert asked == 3

    async def test_resync_returns_at_once(self, feed: MarketFeed, wanted: Sequence[TrackedPair]) -> None:
        instruments = await feed.instruments(wanted)
        assert not inspect.iscoroutinefunction(feed.resync)
        async with aclosing(feed.stream(instruments)) as stream:
            await anext(stream)
            feed.resync(instruments[0])

    async def test_resync_does_nothing_if_the_source_has_no_snapshot_to_give(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        instruments = await feed.instruments(wanted)
        feed.resync(UNKNOWN)
        async with aclosing(feed.stream(instruments)) as stream:
            await anext(stream)
            feed.resync(UNKNOWN)
            for _ in range(self.enough // 2):
                event = await anext(stream)
                assert not isinstance(event, BookSnapshot) or event.instrument != UNKNOWN

    async def test_follow_lets_the_stream_give_these_and_no_others(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        if self.fixed_content:
            pytest.skip("this source gives what it holds")
        instruments = await feed.instruments(wanted)
        gone, *kept = instruments
        seen: set[Instrument] = set()
        async with asyncio.timeout(PATIENCE_S), aclosing(feed.stream(instruments)) as stream:
            while seen != set(instruments):
                seen |= about(await anext(stream))
            feed.follow(kept)
            for _ in range(self.enough // 2):
                assert gone not in about(await anext(stream))

    async def test_follow_brings_a_snapshot_of_what_is_new_soon_and_disturbs_nobody(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        if self.fixed_content:
            pytest.skip("this source gives what it holds")
        first, new, *_ = await feed.instruments(wanted)
        ids: list[int] = []
        for_good: list[MarketEvent] = []
        async with asyncio.timeout(PATIENCE_S), aclosing(feed.stream([first])) as stream:
            for followed in ([first], [first, new], [first], [new, first]):
                feed.follow(followed)
                awaited = set(followed)
                trades = 0
                while awaited or trades < 5:
                    event = await anext(stream)
                    for_good.append(event)
                    if isinstance(event, BookSnapshot) or (first in about(event) and ids):
                        awaited -= about(event)
                    if isinstance(event, TradeTick) and event.instrument == first:
                        trades += 1
                        ids.append(event.trade_id)
        if not self.loses:
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert not any(isinstance(event, Disconnect) for event in for_good)

    async def test_a_stream_that_is_to_give_none_waits_until_it_is_to_give_some(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        if self.fixed_content:
            pytest.skip("this source gives what it holds")
        instruments = await feed.instruments(wanted)
        async with asyncio.timeout(PATIENCE_S), aclosing(feed.stream([])) as stream:
            for _ in range(2):
                coming = asyncio.ensure_future(anext(stream))
                await asyncio.wait({coming}, timeout=0.05)
                assert not coming.done()
                feed.follow(instruments[:1])
                event = await coming
                while not isinstance(event, TradeTick | QuoteTick):
                    event = await anext(stream)
                assert event.instrument == instruments[0]
                feed.follow([])

    async def test_follow_returns_at_once_and_does_nothing_if_no_stream_is_being_read(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        assert not inspect.iscoroutinefunction(feed.follow)
        first, other, *_ = await feed.instruments(wanted)
        feed.follow([other])
        await read(feed, [first], 5)
        feed.follow([other])
        if not self.fixed_content:
            given = set().union(*map(about, await read(feed, [first], 50)))
            assert given == {first}

    async def test_follow_does_nothing_if_the_source_has_a_fixed_content(
        self, feed: MarketFeed, wanted: Sequence[TrackedPair]
    ) -> None:
        if not self.fixed_content:
            pytest.skip("this source gives what is wanted")
        instruments = await feed.instruments(wanted)
        untouched = await read(feed, instruments, self.enough)
        touched: list[MarketEvent] = []
        async with aclosing(feed.stream(instruments)) as stream:
            while len(touched) < self.enough:
                touched.append(await anext(stream))
                feed.follow([])
        assert touched == untouched


def about(event: MarketEvent) -> set[Instrument]:
    """Return the instruments that an event is about."""
    if isinstance(event, BadFrame):
        return set()
    return set(event.instruments) if isinstance(event, Disconnect) else {event.instrument}
