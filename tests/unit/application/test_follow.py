"""While a recording runs, what is recorded becomes what is tracked, and nobody else notices."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.history import MemoryHistory
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application import follow, keeping
from binance_proxy.application.ports import (
    EventsRejected,
    FeedRejected,
    FeedUnavailable,
    StoredEvent,
    StoreFull,
    StoreRejected,
    StoreUnavailable,
    TrackedPair,
)
from binance_proxy.application.record import Recording, RecordSettings
from binance_proxy.application.repair import RepairSettings
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, MarketEvent, QuoteTick, Side, TradeTick
from contract.market_store import T0, scan

MS = 1_000_000
PATIENCE_S = 30.0
SYMBOLS = ("ETH/USDT", "SOL/USDT", "BTC/USDT", "ABC/USDT")
ETH, SOL, BTC, ABC = (TrackedPair(symbol=symbol) for symbol in SYMBOLS)
NAMES = {symbol: f"binance.spot.{symbol.replace('/', '').lower()}" for symbol in SYMBOLS}
TRADES, BOOK = (Stream.TRADES,), (Stream.ORDERBOOK,)


class Venue:
    """A feed whose markets go on whether or not anybody looks; the test says when."""

    def __init__(self) -> None:
        self.listed = {
            symbol: Instrument(venue="binance", market=Market.SPOT, symbol=symbol) for symbol in SYMBOLS
        }
        self.errors: list[Exception] = []
        self.asked: list[list[str]] = []
        self.followed: list[Instrument] = []
        self.trades: list[TradeTick] = []
        self._queue: asyncio.Queue[MarketEvent] = asyncio.Queue()
        self._ids = Counter[Instrument]()
        self._wants_book: set[Instrument] = set()

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        if wanted:
            self.asked.append([pair.symbol for pair in wanted])
            await asyncio.sleep(0)
            if self.errors:
                raise self.errors.pop(0)
        return [self.listed[pair.symbol] for pair in wanted if pair.enabled and pair.symbol in self.listed]

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        self.follow(instruments)
        while True:
            event = await self._queue.get()
            if event.instrument in self.followed:
                yield event

    def resync(self, instrument: Instrument) -> None:
        self._wants_book.add(instrument)

    def follow(self, instruments: Sequence[Instrument]) -> None:
        self._wants_book |= set(instruments) - set(self.followed)
        self.followed = list(instruments)

    def go_on(self, rounds: int = 1) -> None:
        """Let a trade and an update happen to each listed instrument."""
        for _ in range(rounds):
            for instrument in self.listed.values():
                self._ids[instrument] += 1
                id_ = self._ids[instrument]
                at = {"instrument": instrument, "ts_event": T0 + id_ * 40 * MS, "ts_recv": T0 + id_ * 40 * MS}
                self.trades.append(TradeTick(**at, trade_id=id_, price=100, size=1, aggressor=Side.BUY))
                quote = QuoteTick(
                    **at, first_update_id=id_, last_update_id=id_, bids=((90, id_),), asks=((110, id_),)
                )
                if instrument in self.followed:
                    self._queue.put_nowait(self.trades[-1])
                    self._queue.put_nowait(quote)
                    if instrument in self._wants_book:
                        self._wants_book.remove(instrument)
                        levels = {"bids": quote.bids, "asks": quote.asks}
                        self._queue.put_nowait(BookSnapshot(**at, last_update_id=id_, **levels))


class Past(MemoryHistory):
    """The venue's past, as long as it is when it is asked."""

    def __init__(self, venue: Venue) -> None:
        super().__init__([])
        self._trades = venue.trades


class Bench:
    """A recording of the venue."""

    def __init__(
        self,
        *pairs: TrackedPair,
        history: bool = False,
        store: type[MemoryStore] = MemoryStore,
        **settings: int,
    ) -> None:
        self.venue = Venue()
        self.registry = MemoryRegistry(pairs)
        self.store = store(self.registry)
        self.publisher = MemoryPublisher()
        self.messages = self.publisher.listen("")
        self.recording = Recording(
            feed=self.venue,
            store=self.store,
            pairs=self.registry,
            registry=self.registry,
            publisher=self.publisher,
            clock=ManualClock(T0, auto=False),
            settings=RecordSettings(batch_age_s=0.0, timeframes=("1m",), **settings),
            publish_snapshot_s=1e9,
            history=Past(self.venue) if history else None,
            repair=RepairSettings(patience_s=0.0),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        await self.recording.prepare()
        stop = asyncio.Event()
        task = asyncio.ensure_future(self.recording.run(stop))
        try:
            await self.settle()
            yield self
            stop.set()
            await asyncio.wait_for(task, PATIENCE_S)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settle(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    async def go_on(self, rounds: int = 1) -> None:
        self.venue.go_on(rounds)
        await self.settle()

    async def put(self, pair: TrackedPair) -> None:
        await self.registry.put(pair)
        await self.settle()

    async def remove(self, symbol: str) -> None:
        await self.registry.remove(symbol, Market.SPOT)
        await self.settle()

    @property
    def states(self) -> dict[str, str]:
        shown = self.recording.status()["instruments"]
        assert isinstance(shown, dict)
        return {symbol: shown[name] for symbol, name in NAMES.items() if name in shown}

    async def ids(self, symbol: str) -> list[int]:
        await until(lambda: self.recording.waiting == 0)
        return [one.trade_id for one in await scan(self.store, TradeTick, self.venue.listed[symbol])]

    async def gaps(self, symbol: str) -> list[tuple[Stream, int, int, GapState]]:
        await until(lambda: self.recording.waiting == 0)
        found = await scan(self.store, Gap, self.venue.listed[symbol])
        return sorted((one.stream, one.first_id, one.last_id, one.state) for one in found)

    def book_types(self, symbol: str) -> list[str]:
        return [body["type"] for topic, body in self.messages if topic == f"{NAMES[symbol]}.orderbook"]

    def candles(self, symbol: str) -> list[dict]:
        return [body for topic, body in self.messages if topic == f"{NAMES[symbol]}.candles.1m"]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  nothing says when
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LONGEST_PAUSE_S", 0.01)


async def test_a_new_pair_is_recorded_and_the_others_miss_nothing() -> None:
    async with Bench(ETH).running() as bench:
        await bench.go_on(3)
        await bench.put(BTC)
        await bench.go_on(3)
        assert bench.states == {"ETH/USDT": "in step", "BTC/USDT": "in step"}
    assert await bench.ids("ETH/USDT") == [1, 2, 3, 4, 5, 6]
    assert await bench.ids("BTC/USDT") == [4, 5, 6]
    assert bench.book_types("ETH/USDT").count("snapshot") == 2, "at the start and at the end"
    assert bench.recording.report.gaps == 0


async def test_a_run_without_any_pair_waits_for_the_first() -> None:
    async with Bench().running() as bench:
        await bench.go_on(2)
        assert bench.states == {}
        await bench.put(ETH)
        await bench.go_on(2)
    assert await bench.ids("ETH/USDT") == [3, 4]


@pytest.mark.parametrize("how", ["removed", "disabled", "without a stream"])
async def test_what_is_not_wanted_any_more_ends_and_its_data_stay(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with Bench(ETH, SOL).running() as bench:
        await bench.go_on(3)
        if how == "removed":
            await bench.remove("SOL/USDT")
        else:
            await bench.put(
                replace(SOL, enabled=how != "disabled", streams=() if how[0] == "w" else (*TRADES,))
            )
        assert bench.book_types("SOL/USDT")[-1] == "stale"
        assert bench.candles("SOL/USDT")[-1]["trades"] == 3
        said = len(bench.messages)
        await bench.go_on(3)
        assert bench.states == {"ETH/USDT": "in step"}
        bench.publisher.listen("")  # a newcomer
        await bench.settle()
        assert not [topic for topic, _ in bench.messages[said:] if topic.startswith(NAMES["SOL/USDT"])]
    assert await bench.ids("SOL/USDT") == [1, 2, 3]
    assert await bench.ids("ETH/USDT") == [1, 2, 3, 4, 5, 6]
    assert "no longer recording SOL/USDT (spot)" in caplog.text


async def test_a_paused_book_is_stale_and_trades_go_on() -> None:
    async with Bench(ETH).running() as bench:
        await bench.go_on(3)
        await bench.put(replace(ETH, streams=TRADES))
        assert bench.states == {"ETH/USDT": "not tracked"}
        await bench.go_on(3)
        assert bench.book_types("ETH/USDT")[-1] == "stale"
        await bench.put(ETH)
        assert bench.states == {"ETH/USDT": "stale"}
        await bench.go_on(3)
        assert bench.states == {"ETH/USDT": "in step"}
        types = bench.book_types("ETH/USDT")
        assert types[types.index("stale") + 1] == "snapshot"
    assert await bench.ids("ETH/USDT") == list(range(1, 10))


async def test_paused_trades_leave_the_book_in_step() -> None:
    async with Bench(ETH).running() as bench:
        await bench.go_on(3)
        await bench.put(replace(ETH, streams=BOOK))
        await bench.go_on(3)
        assert bench.states == {"ETH/USDT": "in step"}
        await bench.put(ETH)
        await bench.go_on(3)
        assert bench.states == {"ETH/USDT": "in step"}
        assert "stale" not in bench.book_types("ETH/USDT")
    assert await bench.ids("ETH/USDT") == [1, 2, 3, 7, 8, 9]
    gaps = await bench.gaps("ETH/USDT")
    assert gaps == [(Stream.TRADES, 4, 6, GapState.LOST)], "nobody can be asked, as behind a restart"


@pytest.mark.parametrize(
    "pause", [replace(ETH, streams=BOOK), replace(ETH, enabled=False)], ids=["trades", "all"]
)
async def test_with_a_history_the_trades_of_a_pause_are_a_gap_that_is_repaired(pause: TrackedPair) -> None:
    async with Bench(ETH, history=True).running() as bench:
        await bench.go_on(3)
        await bench.put(pause)
        await bench.go_on(3)
        assert await bench.ids("ETH/USDT") == [1, 2, 3]
        await bench.put(ETH)
        await bench.go_on(3)
        await until(lambda: bench.recording.report.repaired)
        assert await bench.ids("ETH/USDT") == list(range(1, 10))
        trades = [gap for gap in await bench.gaps("ETH/USDT") if gap[0] is Stream.TRADES]
        assert trades == [(Stream.TRADES, 4, 6, GapState.REPAIRED)]
        assert bench.states == {"ETH/USDT": "in step"}
        assert bench.recording.status()["open_gaps"] == 0


@pytest.mark.parametrize("comes_back", [False, True])
async def test_what_was_dropped_of_a_pair_that_is_removed_meanwhile_is_told_and_repaired(
    *, comes_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(MemoryStore):
        is_full = False

        async def append(self, events: Sequence[StoredEvent]) -> int:
            if self.is_full:
                raise StoreFull("no room")
            return await super().append(events)

    monkeypatch.setattr(keeping, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(keeping, "SHORTEST_PAUSE_S", 0.01)
    bench = Bench(ETH, SOL, history=True, store=Full, buffer=8, batch=4, batch_least=1)
    async with bench.running():
        await bench.go_on()
        await until(lambda: bench.recording.waiting == 0)
        bench.store.is_full = True
        await bench.go_on()
        await until(lambda: bench.recording.keeping.state == "stopped")
        await bench.go_on(20)
        await bench.remove("SOL/USDT")
        dropped = bench.recording.keeping._dropped.ranges
        assert {instrument.symbol for instrument, _ in dropped} == {"ETH/USDT", "SOL/USDT"}
        bench.store.is_full = False
        if comes_back:
            await bench.put(SOL)
        await until(lambda: bench.recording.keeping.state == "storing")
        await bench.go_on(2)
        await until(lambda: bench.recording.report.repaired == 2)
        assert await bench.ids("ETH/USDT") == list(range(1, 25))
        assert await bench.ids("SOL/USDT") == list(range(1, 25 if comes_back else 23))
    for symbol in ("ETH/USDT", "SOL/USDT"):
        states = {(stream, state) for stream, _, _, state in await bench.gaps(symbol)}
        assert states == {(Stream.TRADES, GapState.REPAIRED), (Stream.ORDERBOOK, GapState.LOST)}


async def test_an_exchange_that_is_away_is_asked_again_while_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Bench(ETH, SOL).running() as bench:
        bench.venue.errors = [FeedUnavailable("the exchange is away")] * 3
        await bench.put(BTC)
        await bench.remove("SOL/USDT")
        assert "SOL/USDT" not in bench.states
        await until(lambda: "BTC/USDT" in bench.states)
        assert "BTC/USDT (spot): not recorded yet, trying again in" in caplog.text
        await bench.go_on(2)
    assert await bench.ids("ETH/USDT") == await bench.ids("BTC/USDT") == [1, 2]


@pytest.mark.parametrize("change", ["removed", "paused"])
@pytest.mark.parametrize("held", ["instruments", "register"])
async def test_what_changes_while_a_pair_is_looked_up_holds(held: str, change: str) -> None:
    asked, go = asyncio.Event(), asyncio.Event()
    bench = Bench(ETH)
    owner = bench.venue if held == "instruments" else bench.registry
    answer = getattr(owner, held)

    async def slowly(what: object) -> object:
        if what:
            asked.set()
            await go.wait()
        return await answer(what)

    go.set()
    setattr(owner, held, slowly)
    async with bench.running():
        go.clear()
        await bench.put(BTC)
        await asked.wait()
        if change == "removed":
            await bench.remove("BTC/USDT")
        else:
            await bench.put(replace(BTC, streams=TRADES))
        go.set()
        await bench.settle()
        await bench.go_on(2)
        books = {} if change == "removed" else {"BTC/USDT": "not tracked"}
        assert bench.states == {"ETH/USDT": "in step", **books}
        assert len(bench.venue.followed) == len(bench.states)


async def test_a_pair_that_the_venue_does_not_have_is_asked_for_once() -> None:
    unknown = TrackedPair(symbol="NO/SUCH")
    async with Bench(ETH).running() as bench:
        await bench.put(unknown)
        await bench.put(BTC)
        await bench.put(SOL)
        assert set(bench.states) == {"ETH/USDT", "BTC/USDT", "SOL/USDT"}
        assert sum("NO/SUCH" in asked for asked in bench.venue.asked) == 1
        await bench.put(replace(unknown, enabled=False))
        await bench.put(unknown)
        assert sum("NO/SUCH" in asked for asked in bench.venue.asked) == 2


async def test_a_source_that_refuses_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with Bench(ETH).running() as bench:
        bench.venue.errors = [FeedRejected("not from here")]
        await bench.put(BTC)
        assert "BTC/USDT (spot): not recorded: not from here" in caplog.text
        await bench.put(SOL)
        await bench.go_on(2)
        assert bench.states == {"ETH/USDT": "in step", "SOL/USDT": "in step"}


async def test_a_store_that_is_away_or_refuses_one_pair_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = Counter[str]()

    class Moody(MemoryRegistry):
        away = 0

        async def pairs(self) -> Sequence[TrackedPair]:
            self.away -= 1
            if self.away >= 0:
                raise StoreUnavailable("the store is away")
            return await super().pairs()

        async def register(self, instrument: Instrument) -> Instrument:
            asked[instrument.symbol] += 1
            if instrument.symbol == "ABC/USDT":
                raise EventsRejected("too fine")
            return await super().register(instrument)

    bench = Bench(ETH)
    moody = Moody([ETH])
    bench.registry = bench.recording._following._pairs = bench.recording._following._registry = moody
    async with bench.running():
        moody.away = 3
        await moody.put(ABC)
        await moody.put(BTC)
        await until(lambda: "BTC/USDT" in bench.states)
        assert "the tracked pairs cannot be read" in caplog.text
        assert "ABC/USDT (spot): not recorded: too fine" in caplog.text
        await bench.put(SOL)
        assert set(bench.states) == {"ETH/USDT", "BTC/USDT", "SOL/USDT"}
        assert asked["ABC/USDT"] == 1, "it will never be kept"


@pytest.mark.parametrize("what", ["register", "_begin"])
async def test_a_store_that_refuses_is_asked_again_while_others_are_begun_with(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench, refuses = Bench(ETH), True
    owner = bench.registry if what == "register" else bench.recording._following
    answer = getattr(owner, what)

    async def moody(instrument: Instrument, *more: frozenset[Stream]) -> object:
        if refuses and instrument.symbol == "ABC/USDT":
            raise StoreRejected("password authentication failed")
        return await answer(instrument, *more)

    monkeypatch.setattr(owner, what, moody)
    async with bench.running():
        await bench.put(ABC)
        await until(lambda: "ABC/USDT (spot): not recorded yet, trying again in" in caplog.text)
        await bench.put(BTC)
        await until(lambda: "BTC/USDT" in bench.states)
        assert "ABC/USDT" not in bench.states
        assert "password authentication failed" in caplog.text
        refuses = False
        await until(lambda: "ABC/USDT" in bench.states)
        await bench.go_on(2)
    assert await bench.ids("ETH/USDT") == await bench.ids("ABC/USDT") == [1, 2]


async def test_a_capture_ignores_every_change() -> None:
    class Capture(Venue):
        async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
            return [self.listed["ETH/USDT"]]

        def follow(self, instruments: Sequence[Instrument]) -> None:
            self.followed = [self.listed["ETH/USDT"]]

    bench = Bench(ETH)
    bench.venue.__class__ = Capture
    async with bench.running():
        await bench.put(BTC)
        await bench.remove("ETH/USDT")
        await bench.go_on(3)
        assert list(bench.states) == ["ETH/USDT"]
    assert await bench.ids("ETH/USDT") == [1, 2, 3]


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_is_changed_in_whatever_order_what_is_recorded_is_what_is_tracked(seed: int) -> None:
    rng = random.Random(seed)
    fired = Counter[str]()
    async with Bench(ETH, SOL, history=True).running() as bench:
        for _ in range(40):
            symbol = rng.choice(SYMBOLS[1:])  # ETH/USDT is nobody's business
            match rng.choice(["put", "remove", "go on", "away", "let pass"]):
                case "put":
                    streams = tuple(stream for stream in Stream if rng.random() < 0.7)
                    await bench.registry.put(
                        TrackedPair(symbol=symbol, enabled=rng.random() < 0.7, streams=streams)
                    )
                    fired["put"] += 1
                case "remove":
                    fired["removed"] += await bench.registry.remove(symbol, Market.SPOT)
                case "go on":
                    bench.venue.go_on(rng.randrange(4))
                case "away":
                    bench.venue.errors.append(FeedUnavailable("away"))
                    fired["away"] += 1
                case "let pass":
                    for _ in range(rng.randrange(30)):
                        await asyncio.sleep(0)
        tracked = {
            pair.symbol: pair.streams
            for pair in await bench.registry.pairs()
            if pair.enabled and pair.streams
        }
        await until(lambda: set(bench.states) == set(tracked))
        await bench.settle()
        await bench.go_on(3)
        expected = {
            symbol: "in step" if Stream.ORDERBOOK in streams else "not tracked"
            for symbol, streams in tracked.items()
        }
        await until(lambda: bench.states == expected)
        await until(lambda: not bench.recording.status()["open_gaps"])
        newest = bench.venue.trades[-1].trade_id
        assert await bench.ids("ETH/USDT") == list(range(1, newest + 1))
        for symbol, streams in tracked.items():
            ids = await bench.ids(symbol)
            if Stream.TRADES in streams:
                assert ids == list(range(ids[0], newest + 1)), "what a pause missed is here now"
    assert bench.recording.report.duplicates == 0
    assert fired["put"]
