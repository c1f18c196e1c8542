"""An untouched recording holds; whatever is done to one is found, named, and entered in the ledger once."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.files.klines import kline_file
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.settings import Faults
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.application.audit_candles import PRINTED, TheirCandle, TheirCandles
from binance_proxy.application.certificate import Certificate, Fault
from binance_proxy.application.ports import HistoryUnavailable, StoredEvent
from binance_proxy.application.verify import NothingToVerify, Verification
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import FOREVER, folded
from recorded import captures, recorded
from unit.application.recorded_store import recorded_store, simulated_store

END = 2**62
MINUTE = Timeframe("1m")
Change = Callable[[StoredEvent], Sequence[StoredEvent]]


async def everything(store: MemoryStore, instrument: Instrument) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    for kind in (TradeTick, QuoteTick, BookSnapshot, Gap):
        async with aclosing(store.scan(kind, instrument, *FOREVER)) as events:
            found += [event async for event in events]
    return found


class World:
    """A recording, one pair of it, and ways to spoil a copy."""

    def __init__(self, instrument: Instrument, events: list[StoredEvent]) -> None:
        self.instrument = instrument
        self.events = events

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    async def with_(self, change: Change, *more: StoredEvent) -> MemoryStore:
        store = MemoryStore()
        await store.append([one for event in self.events for one in change(event)])
        await store.append(more)
        return store

    async def without(self, *events: StoredEvent) -> MemoryStore:
        return await self.with_(lambda event: () if event in events else (event,))

    async def instead(self, event: StoredEvent, other: StoredEvent) -> MemoryStore:
        return await self.with_(lambda one: (other,) if one is event else (one,))

    def candles(self) -> TheirCandles:
        """Return the true candles, as an exchange would."""
        return theirs(folded(self.of(TradeTick), MINUTE))


def theirs(candles: Sequence, error: Exception | None = None) -> TheirCandles:
    async def pages() -> AsyncGenerator[Sequence[TheirCandle]]:
        if error is not None:
            raise error
        yield [
            TheirCandle(start=one.start, end=one.end, **{name: getattr(one, name) for name in PRINTED})
            for one in candles
        ]

    return TheirCandles("the exchange's", MINUTE, pages())


_WORLDS: dict[str, World] = {}


@pytest.fixture(params=["eth", "sol"])
async def world(request: pytest.FixtureRequest) -> World:
    """A spot pair, and one of USD-M whose updates name the one before."""
    if not _WORLDS:
        store = await simulated_store(6_000, 1)
        for instrument in await store.registry.instruments():
            _WORLDS[instrument.base.lower()] = World(instrument, await everything(store, instrument))
    return _WORLDS[request.param]


async def verify(
    store: MemoryStore, world: World, *, start: int = 0, end: int = END, fillable: bool = False, **more
) -> Certificate:
    return await Verification(store, fillable=fillable).run(
        world.instrument, start, end, lambda *_: None, **more
    )


def faults(certificate: Certificate) -> list[tuple[str, int | None, int | None]]:
    return [(one.check, one.first_id, one.last_id) for one in certificate.faults]


async def untouched(world: World) -> MemoryStore:
    return await world.with_(lambda event: (event,))


async def test_an_untouched_recording_holds(world):
    certificate = await verify(await untouched(world), world, theirs=[world.candles()])
    assert certificate.holds, certificate.faults
    assert certificate.entered == ()
    trades, quotes = world.of(TradeTick), world.of(QuoteTick)
    assert (certificate.trades.count, certificate.updates.count) == (len(trades), len(quotes))
    assert (certificate.trades.first_id, certificate.trades.last_id) == (
        trades[0].trade_id, trades[-1].trade_id,
    )  # fmt: skip
    checks = {check.name: check.compared for check in certificate.checks}
    assert checks["book"] > 5
    assert checks["candles 1m"] >= 3
    assert checks["the exchange's 1m"] >= 1
    assert {"trade ids", "trade values", "update ids", "crossed books", "candles 5m"} <= checks.keys()
    again = await verify(await untouched(world), world)
    assert again.trades == certificate.trades
    assert again.updates == certificate.updates


async def test_trades_that_are_missing_are_found_and_entered_once(world):
    trades = world.of(TradeTick)
    store = await world.without(*trades[100:103], trades[200])
    expected = [
        ("trade ids", trades[100].trade_id, trades[102].trade_id),
        ("trade ids", trades[200].trade_id, trades[200].trade_id),
    ]
    first = await verify(store, world, fillable=True)
    assert [one for one in faults(first) if one[0] == "trade ids"] == expected
    assert [(gap.first_id, gap.last_id, gap.state) for gap in first.entered] == [
        (one[1], one[2], GapState.OPEN) for one in expected
    ]
    assert (first.entered[0].start, first.entered[0].end) == (trades[99].ts_event, trades[103].ts_event)
    kept = [one for one in await everything(store, world.instrument) if isinstance(one, Gap)]
    assert [gap for gap in kept if gap not in world.of(Gap)] == list(first.entered)

    second = await verify(store, world, fillable=True)
    assert [one for one in faults(second) if one[0] == "trade ids"] == expected
    assert second.entered == ()
    assert all("in the ledger as open" in one.what for one in second.faults if one.check == "trade ids")


async def test_holes_at_both_ends_of_the_range_are_found(world):
    trades = world.of(TradeTick)
    store = await world.without(*trades[50:60], *trades[300:310])
    inside = (trades[55].ts_event, trades[305].ts_event)
    certificate = await verify(store, world, start=inside[0], end=inside[1])
    found = [one for one in faults(certificate) if one[0] == "trade ids"]
    assert found == [
        ("trade ids", trades[50].trade_id, trades[59].trade_id),
        ("trade ids", trades[300].trade_id, trades[309].trade_id),
    ]


async def test_an_update_that_is_missing_is_lost_for_good_and_hides_no_later_fault(world):
    quotes = world.of(QuoteTick)
    at = 700
    certificate = await verify(await world.without(quotes[at]), world, fillable=True)
    (hole,) = [one for one in certificate.faults if one.check == "update ids"]
    assert hole.first_id == quotes[at - 1].last_update_id + 1
    assert hole.last_id == quotes[at].last_update_id
    assert [gap.state for gap in certificate.entered] == [GapState.LOST]
    assert {one.check for one in certificate.faults} == {"update ids"}
    assert any(one.check == "book" for one in certificate.unverifiable)


async def test_a_level_of_a_snapshot_that_was_changed_is_named(world):
    shot = world.of(BookSnapshot)[4]
    price, size = shot.bids[3]
    changed = replace(shot, bids=(*shot.bids[:3], (price, size + 1), *shot.bids[4:]))
    certificate = await verify(await world.instead(shot, changed), world)
    assert faults(certificate)[0] == ("book", shot.last_update_id, shot.last_update_id)
    assert certificate.faults[0].what.startswith("bid ")


async def test_a_level_of_an_update_that_was_changed_shows_in_the_next_snapshot(world):
    shot = world.of(BookSnapshot)[4]
    quote = next(
        one
        for one in reversed(world.of(QuoteTick))
        if one.last_update_id <= shot.last_update_id and any(level in shot.asks for level in one.asks)
    )
    level = next(level for level in quote.asks if level in shot.asks)
    other = tuple((price, size + (price == level[0])) for price, size in quote.asks)
    certificate = await verify(await world.instead(quote, replace(quote, asks=other)), world)
    assert ("book", shot.last_update_id, shot.last_update_id) in faults(certificate)


async def test_a_size_that_was_changed_is_seen_by_the_exchanges_candles_and_by_the_sum(world):
    trade = world.of(TradeTick)[400]
    store = await world.instead(trade, replace(trade, size=trade.size + 1))
    certificate = await verify(store, world, theirs=[world.candles()])
    (fault,) = certificate.faults
    assert fault.check == "the exchange's 1m"
    assert fault.start == MINUTE.period(trade.ts_event)[0]
    assert "volume" in fault.what
    good = await verify(await untouched(world), world)
    assert good.trades.sha256 != certificate.trades.sha256
    assert good.updates.sha256 == certificate.updates.sha256


async def test_what_cannot_be_true_and_what_is_there_twice_is_named(world):
    trades = world.of(TradeTick)
    wrong = replace(trades[100], price=0)
    twice = replace(trades[200], ts_event=trades[200].ts_event + 5_000_000_000)
    near = replace(trades[300], ts_event=trades[300].ts_event + 1_000_000)
    store = await world.with_(lambda one: (wrong,) if one is trades[100] else (one,), twice, near)
    certificate = await verify(store, world)
    found = faults(certificate)
    for check, trade in (("trade values", wrong), ("trade ids", twice), ("trade ids", near)):
        assert (check, trade.trade_id, trade.trade_id) in found
    assert not [one for one in certificate.faults if "missing" in one.what]


@pytest.mark.parametrize("name", ["closed", "complete"])
async def test_a_candle_that_the_store_calls_otherwise_than_its_trades_do_is_named(world, name):
    class Wrong(MemoryStore):
        async def candles(self, *asked) -> Sequence[Candle]:
            found = list(await super().candles(*asked))
            if len(found) > 2:
                found[1] = replace(found[1], **{name: not getattr(found[1], name)})
            return found

    store = Wrong()
    await store.append(world.events)
    certificate = await verify(store, world)
    found = [one for one in certificate.faults if one.check == "candles 1m"]
    assert len(found) == 1
    assert f"stored {name} " in found[0].what


async def test_a_range_from_the_midst_of_a_recording_holds_too(world):
    store = await untouched(world)
    trades = world.of(TradeTick)
    end = MINUTE.period(trades[-1].ts_event)[0]
    start = MINUTE.back(end, 2)
    certificate = await Verification(store, fillable=False).run(world.instrument, start, end, lambda *_: None)
    (candles,) = [one for one in certificate.checks if one.name == "candles 1m"]
    assert (candles.compared, candles.faults) == (2, 0)


async def test_bids_and_asks_that_cross_are_named(world):
    quote = world.of(QuoteTick)[500]
    best = world.of(BookSnapshot)[0].asks[-1][0] * 2
    certificate = await verify(
        await world.instead(quote, replace(quote, bids=(*quote.bids, (best, 5)))), world
    )
    assert ("crossed books", quote.last_update_id, quote.last_update_id) in faults(certificate)


async def test_a_gap_that_is_called_repaired_and_is_not_is_a_fault(world):
    trades = world.of(TradeTick)
    store = await world.without(*trades[100:110])
    known = Gap(
        instrument=world.instrument, stream=Stream.TRADES, state=GapState.REPAIRED,
        first_id=trades[100].trade_id, last_id=trades[109].trade_id, ts_event=trades[110].ts_event,
        ts_recv=trades[110].ts_recv, start=trades[99].ts_event, end=trades[110].ts_event,
    )  # fmt: skip
    await store.append([known])
    certificate = await verify(store, world)
    assert ("ledger of trades", known.first_id, known.last_id) in faults(certificate)
    assert not certificate.holds


async def test_a_gap_that_is_called_lost_and_is_there_is_told(world):
    trades = world.of(TradeTick)
    known = Gap(
        instrument=world.instrument, stream=Stream.TRADES, state=GapState.LOST,
        first_id=trades[100].trade_id, last_id=trades[109].trade_id, ts_event=trades[110].ts_event,
        ts_recv=trades[110].ts_recv, start=trades[99].ts_event, end=trades[110].ts_event,
    )  # fmt: skip
    certificate = await verify(await world.with_(lambda one: (one,), known), world)
    assert certificate.holds
    assert any(f"{known.first_id} to {known.last_id} is called lost" in note for note in certificate.notes)


async def test_times_out_of_order_are_counted_and_no_fault(world):
    trades = world.of(TradeTick)
    late = replace(trades[100], ts_event=trades[103].ts_event + 1_000_000)
    certificate = await verify(await world.instead(trades[100], late), world)
    assert certificate.holds, certificate.faults
    assert any("have a later time" in note for note in certificate.notes)


async def test_an_exchange_that_is_away_is_no_fault(world):
    away = theirs([], HistoryUnavailable("it does not answer"))
    certificate = await verify(await untouched(world), world, theirs=[away])
    assert certificate.holds
    assert ("the exchange's 1m", "it does not answer") in [
        (one.check, one.why) for one in certificate.unverifiable
    ]


async def test_an_empty_range_is_an_error(world):
    with pytest.raises(NothingToVerify, match="nothing"):
        await verify(await untouched(world), world, start=1, end=2)


async def test_a_recording_with_faults_has_exactly_its_holes_in_the_ledger():
    faults = Faults(gap=0.005, reorder=0.005, duplicate=0.01, disconnect=0.0005)
    store = await simulated_store(8_000, 3, faults)
    for instrument in await store.registry.instruments():
        world = World(instrument, await everything(store, instrument))
        certificate = await verify(store, world)
        assert not certificate.holds
        assert {one.check for one in certificate.faults} <= {"trade ids", "update ids"}
        assert certificate.entered == ()
        told = [gap for gap in world.of(Gap) if gap.state is not GapState.REPAIRED]
        assert ids(certificate.faults) == ids(told)


def ids(ranges: Sequence[Fault | Gap]) -> list[int]:
    return sorted(one for hole in ranges for one in range(hole.first_id, hole.last_id + 1))


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("names", "market", "klines", "compared"),
    [
        (
            ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"),
            Market.SPOT,
            "spot_btcusdt_5m_20240808.csv",
            2,
        ),
        (
            ("usdm_btcusdt_20240718.gz", "usdm_btcusdt_20240719.gz"),
            Market.USDM,
            "usdm_btcusdt_1m_20240718.csv",
            7,
        ),
    ],
    ids=["spot", "usdm"],
)
async def test_a_recorded_session_holds_against_the_exchanges_own_candles(names, market, klines, compared):
    feed = CaptureFeed(captures(*names), BinanceFrames(market), SystemClock(), speed=None)
    store = await recorded_store(feed, snapshot_interval_s=60.0)
    (instrument,) = await store.registry.instruments()
    (path,) = recorded(f"klines/{klines}")
    file = await kline_file(path, instrument)
    certificate = await Verification(store, fillable=True).run(
        instrument, 0, END, lambda *_: None, [file.candles()]
    )
    assert certificate.holds, certificate.faults
    checks = {check.name: check.compared for check in certificate.checks}
    assert checks[f"{klines} {file.timeframe}"] == compared
    assert checks["book"] >= 7
    assert certificate.entered == ()
