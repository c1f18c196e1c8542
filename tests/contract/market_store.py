"""What every `MarketStore` promises: one test for each sentence of the port."""

import random
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from msgspec import structs

from binance_proxy.application.ports import MarketStore, StoredEvent, StoreRejected
from binance_proxy.domain.candle import Candle, CandleFold, Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import MICROSECOND_NS, Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick

MS = 1_000_000
DAY = 86_400 * 1000 * MS
T0 = 1_723_075_199_000 * MS  # 2024-08-07 23:59:59 UTC: a second later another day begins
FOREVER = (0, 2**63 - 1)

ETH = Instrument(
    venue="binance", market=Market.SPOT, symbol="ETH/USDT", tick_size=1_000_000, step_size=10_000
)
SOL = Instrument(
    venue="binance",
    market=Market.USDM,
    symbol="SOL/USDT",
    price_precision=4,
    size_precision=0,
    time_resolution_ns=MICROSECOND_NS,
)


def trade(trade_id: int, ts_ms: int | None = None, **other: object) -> TradeTick:
    known = {
        "instrument": ETH,
        "ts_event": T0 + (trade_id if ts_ms is None else ts_ms) * MS,
        "ts_recv": T0 + trade_id * MS + 123_456_789,
        "trade_id": trade_id,
        "price": 300_000_000_000 + trade_id,
        "size": 10_000 + trade_id,
        "aggressor": Side.SELL if trade_id % 3 else Side.BUY,
    }
    return TradeTick(**(known | other))


def quote(update_id: int, **other: object) -> QuoteTick:
    known = {
        "instrument": ETH,
        "ts_event": T0 + update_id * MS,
        "ts_recv": T0 + update_id * MS - 7,
        "first_update_id": update_id * 10 - 9,
        "last_update_id": update_id * 10,
        "bids": ((300_000, 5), (299_999, 0)),
        "asks": ((300_001, 7),),
    }
    return QuoteTick(**(known | other))


def snapshot(update_id: int, **other: object) -> BookSnapshot:
    known = {
        "instrument": ETH,
        "ts_event": T0 + update_id * MS,
        "ts_recv": T0 + update_id * MS + 1,
        "last_update_id": update_id * 10,
        "bids": ((300_000, 5), (299_999, 6)),
        "asks": ((300_001, 7), (300_005, 1)),
    }
    return BookSnapshot(**(known | other))


def gap(first_id: int, **other: object) -> Gap:
    known = {
        "instrument": ETH,
        "ts_event": T0 + first_id * MS,
        "ts_recv": T0 + first_id * MS + 99,
        "stream": Stream.TRADES,
        "first_id": first_id,
        "last_id": first_id + 4,
        "start": T0 + (first_id - 1) * MS,
        "end": T0 + first_id * MS,
    }
    return Gap(**(known | other))


async def scan(
    store: MarketStore,
    kind: type,
    instrument: Instrument = ETH,
    start: int = FOREVER[0],
    end: int = FOREVER[1],
    *,
    newest_first: bool = False,
) -> list[StoredEvent]:
    async with aclosing(store.scan(kind, instrument, start, end, newest_first=newest_first)) as events:
        return [event async for event in events]


def folded(trades: Sequence[TradeTick], timeframe: Timeframe) -> list[Candle]:
    """Fold trades in the order of time, as the port says that candles are made."""
    fold = CandleFold(trades[0].instrument, timeframe)
    ordered = sorted(trades, key=lambda one: (one.ts_event, one.trade_id))
    candles = [candle for one in ordered for candle in fold.feed(one)]
    newest = fold.current()
    return candles if newest is None else [*candles, newest]


def random_trades(seed: int, count: int, instrument: Instrument = ETH, *, spread_ms: int) -> list[TradeTick]:
    """Make trades with rising ids and times, many of the same millisecond, some off-book, some aggregated."""
    rng = random.Random(seed)
    # Times crowd on a few days, as each day costs a store a partition or a file.
    crowds = [rng.randrange(spread_ms) for _ in range(12)]
    times = sorted(rng.choice(crowds) + rng.randrange(min(spread_ms, 3_600_000)) for _ in range(count))
    first_match = 10_000
    trades = []
    for at, ts_ms in enumerate(times):
        matches = rng.choice((1, 1, 1, 5))
        aggregated = seed % 2 == 0
        trades.append(
            trade(
                1_000 + at,
                ts_ms,
                instrument=instrument,
                price=rng.randrange(1, 10**12),
                size=rng.randrange(1, 10**12),
                off_book=rng.random() < 0.1,
                first_match_id=first_match if aggregated else None,
                last_match_id=first_match + matches - 1 if aggregated else None,
            )
        )
        first_match += matches
    return trades


class MarketStoreContract:
    """Subclass it with a fixture `store` that gives an empty store."""

    # append

    async def test_keeps_what_is_appended(self, store: MarketStore) -> None:
        assert await store.append([trade(1), quote(2), snapshot(3), gap(4)]) == 4
        assert await scan(store, TradeTick) == [trade(1)]
        assert await scan(store, QuoteTick) == [quote(2)]
        assert await scan(store, BookSnapshot) == [snapshot(3)]
        assert await scan(store, Gap) == [gap(4)]

    @pytest.mark.parametrize(
        "event",
        [
            trade(1, aggressor=Side.SELL),
            trade(1, first_match_id=70, last_match_id=75),
            trade(1, off_book=True),
            trade(1, price=2**63 - 1, size=2**63 - 1, ts_recv=2**63 - 1),
            trade(1, ts_recv=T0 - 1),
            trade(1, instrument=SOL, ts_event=T0 + MICROSECOND_NS),
            quote(1, previous_update_id=0),
            quote(1, bids=(), asks=()),
            quote(1, bids=(), asks=tuple((price, price * 2) for price in range(1, 5_001))),
            snapshot(1, asks=()),
            gap(1, stream=Stream.ORDERBOOK, state=GapState.LOST),
        ],
        ids=repr,
    )
    async def test_an_event_comes_back_as_it_was(self, store: MarketStore, event: StoredEvent) -> None:
        await store.append([event])
        assert await scan(store, type(event), event.instrument) == [event]

    async def test_appending_nothing_keeps_nothing(self, store: MarketStore) -> None:
        assert await store.append([]) == 0

    async def test_each_is_kept_once_however_often_it_is_given(self, store: MarketStore) -> None:
        events = [trade(1), trade(2), quote(1), snapshot(1), gap(1)]
        assert await store.append(events) == 5
        assert await store.append(events) == 0
        assert await store.append([trade(3), *reversed(events)]) == 1
        assert await scan(store, TradeTick) == [trade(1), trade(2), trade(3)]
        assert await scan(store, QuoteTick) == [quote(1)]
        assert await scan(store, BookSnapshot) == [snapshot(1)]
        assert await scan(store, Gap) == [gap(1)]

    async def test_each_is_kept_once_within_one_call_too(self, store: MarketStore) -> None:
        assert await store.append([trade(1), quote(1), gap(1)] * 3) == 3
        assert await store.append([quote(2), trade(2), quote(2), trade(1)]) == 2
        assert await scan(store, TradeTick) == [trade(1), trade(2)]

    async def test_all_are_kept_or_none(self, store: MarketStore) -> None:
        await store.append([trade(1)])
        finer = quote(2, ts_event=T0 + 1)
        with pytest.raises(StoreRejected):
            await store.append([trade(2), gap(2), quote(1), finer, snapshot(1)])
        assert await scan(store, TradeTick) == [trade(1)]
        for kind in (QuoteTick, BookSnapshot, Gap):
            assert await scan(store, kind) == []

    async def test_refuses_a_time_finer_than_the_resolution(self, store: MarketStore) -> None:
        with pytest.raises(StoreRejected, match="multiple"):
            await store.append([trade(1, ts_event=T0 + MICROSECOND_NS)])

    async def test_refuses_units_other_than_the_recorded_ones(self, store: MarketStore) -> None:
        await store.append([trade(1)])
        with pytest.raises(StoreRejected, match="precisions"):
            await store.append([trade(2, instrument=structs.replace(ETH, price_precision=2))])

    async def test_the_same_trade_has_the_same_instrument_time_and_id(self, store: MarketStore) -> None:
        others = [trade(1, instrument=SOL), trade(1, 9), trade(2, 1)]
        assert await store.append([trade(1), *others]) == 4
        assert await store.append([trade(1, price=5, ts_recv=T0)]) == 0
        assert trade(1) in await scan(store, TradeTick)

    async def test_the_same_update_has_the_same_instrument_time_and_id(self, store: MarketStore) -> None:
        others = [quote(1, instrument=SOL), quote(1, ts_event=T0), quote(1, last_update_id=11)]
        assert await store.append([quote(1), *others]) == 4
        assert await store.append([quote(1, first_update_id=10, bids=())]) == 0
        assert quote(1) in await scan(store, QuoteTick)

    async def test_the_same_snapshot_has_the_same_instrument_time_and_id(self, store: MarketStore) -> None:
        others = [snapshot(1, instrument=SOL), snapshot(1, ts_event=T0), snapshot(1, last_update_id=11)]
        assert await store.append([snapshot(1), quote(1), *others]) == 5
        assert await store.append([snapshot(1, bids=())]) == 0
        assert snapshot(1) in await scan(store, BookSnapshot)

    async def test_the_same_gap_has_the_same_instrument_stream_and_first_id(self, store: MarketStore) -> None:
        others = [gap(1, instrument=SOL), gap(1, stream=Stream.ORDERBOOK), gap(2)]
        assert await store.append([gap(1), *others]) == 4
        assert await store.append([gap(1, ts_event=T0, start=T0)]) == 0
        assert gap(1) in await scan(store, Gap)

    @pytest.mark.parametrize("together", [True, False])
    async def test_a_gaps_state_moves_forward_only(self, store: MarketStore, *, together: bool) -> None:
        history = [
            (GapState.OPEN, GapState.OPEN),
            (GapState.LOST, GapState.LOST),
            (GapState.OPEN, GapState.LOST),
            (GapState.REPAIRED, GapState.REPAIRED),
            (GapState.LOST, GapState.REPAIRED),
            (GapState.OPEN, GapState.REPAIRED),
        ]
        if together:
            assert await store.append([gap(1, state=given) for given, _ in history]) == 1
            assert await scan(store, Gap) == [gap(1, state=GapState.REPAIRED)]
            return
        for at, (given, kept) in enumerate(history):
            assert await store.append([gap(1, state=given, last_id=5 + at)]) == (at == 0)
            assert await scan(store, Gap) == [gap(1, state=kept)]

    @pytest.mark.parametrize("together", [True, False])
    async def test_a_gaps_last_id_moves_down_only(self, store: MarketStore, *, together: bool) -> None:
        history = [(5, 5), (9, 5), (3, 3), (4, 3), (1, 1), (5, 1)]
        if together:
            assert await store.append([gap(1, last_id=given) for given, _ in history]) == 1
            assert await scan(store, Gap) == [gap(1, last_id=1)]
            return
        for at, (given, kept) in enumerate(history):
            assert await store.append([gap(1, last_id=given)]) == (at == 0)
            assert await scan(store, Gap) == [gap(1, last_id=kept)]

    async def test_a_gaps_state_and_last_id_move_each_by_itself(self, store: MarketStore) -> None:
        await store.append([gap(1, last_id=5, state=GapState.LOST)])
        await store.append([gap(1, last_id=3)])
        assert await scan(store, Gap) == [gap(1, last_id=3, state=GapState.LOST)]
        await store.append([gap(1, last_id=4, state=GapState.REPAIRED)])
        assert await scan(store, Gap) == [gap(1, last_id=3, state=GapState.REPAIRED)]

    # scan

    async def test_scans_from_start_to_before_end(self, store: MarketStore) -> None:
        await store.append([trade(number) for number in range(5)])
        found = await scan(store, TradeTick, start=T0 + MS, end=T0 + 3 * MS)
        assert found == [trade(1), trade(2)]
        assert await scan(store, TradeTick, start=T0 + MS + 1, end=T0 + 3 * MS + 1) == [trade(2), trade(3)]
        assert await scan(store, TradeTick, start=T0 + MS, end=T0 + MS) == []

    async def test_scans_by_time_and_then_by_id(self, store: MarketStore) -> None:
        late = [trade(9, 1), trade(7, 2), trade(8, 2), trade(1, 1_000)]  # the last one lies in another day
        await store.append([late[2], late[3]])
        await store.append([late[0], late[1]])
        assert await scan(store, TradeTick) == late
        updates = [quote(3, ts_event=T0), quote(4, ts_event=T0), quote(1)]
        await store.append(updates[::-1])
        assert await scan(store, QuoteTick) == updates
        gaps = [gap(3, ts_event=T0), gap(4, ts_event=T0), gap(1)]
        await store.append(gaps[::-1])
        assert await scan(store, Gap) == gaps

    async def test_scans_the_newest_first(self, store: MarketStore) -> None:
        trades = [trade(9, 1), trade(7, 2), trade(8, 2), trade(1, 1_000)]
        await store.append(trades)
        assert await scan(store, TradeTick, newest_first=True) == trades[::-1]
        some = await scan(store, TradeTick, start=T0 + MS, end=T0 + 1_000 * MS, newest_first=True)
        assert some == trades[2::-1]

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_scans_more_than_fits_a_page(self, store: MarketStore, *, newest_first: bool) -> None:
        trades = [trade(number, number // 1_500) for number in range(5_000)]
        await store.append(trades)
        snapshots = [snapshot(number) for number in range(50)]
        await store.append(snapshots)
        gaps = [gap(n // 2, ts_event=T0, stream=list(Stream)[n % 2]) for n in range(4_001)]
        await store.append(gaps)
        step = -1 if newest_first else 1
        assert await scan(store, TradeTick, newest_first=newest_first) == trades[::step]
        assert await scan(store, BookSnapshot, newest_first=newest_first) == snapshots[::step]
        found = await scan(store, Gap, newest_first=newest_first)
        assert len(found) == len(set(found)) == 4_001
        assert [one.first_id for one in found] == [one.first_id for one in gaps][::step]

    async def test_scans_one_instrument_only(self, store: MarketStore) -> None:
        perpetual = structs.replace(ETH, market=Market.USDM)
        simulated = structs.replace(ETH, venue="simulated")
        for number, instrument in enumerate((ETH, SOL, perpetual, simulated)):
            await store.append([trade(number, instrument=instrument)])
        assert await scan(store, TradeTick, perpetual) == [trade(2, instrument=perpetual)]

    async def test_nothing_is_kept_of_an_instrument_that_nobody_appended(self, store: MarketStore) -> None:
        assert await scan(store, TradeTick) == []
        assert list(await store.candles(ETH, Timeframe("1m"), *FOREVER)) == []

    async def test_a_scan_may_be_left(self, store: MarketStore) -> None:
        await store.append([trade(number) for number in range(3_000)])
        for _ in range(20):  # more often than a store has connections
            async with aclosing(store.scan(TradeTick, ETH, *FOREVER)) as trades:
                async for first in trades:
                    assert first == trade(0)
                    break

    async def test_many_scans_may_be_open_at_once(self, store: MarketStore) -> None:
        await store.append([trade(1), trade(2)])
        scans = [store.scan(TradeTick, ETH, *FOREVER) for _ in range(30)]
        for expected in (trade(1), trade(2)):
            assert [await anext(one) for one in scans] == [expected] * 30
        for one in scans:
            await one.aclose()

    # candles

    @pytest.mark.parametrize("name", ["1s", "7s", "1m", "4h", "1d", "3d", "1w", "2w", "1mo", "5mo"])
    @pytest.mark.parametrize("seed", [1, 2])
    async def test_candles_equal_a_fold(self, store: MarketStore, name: str, seed: int) -> None:
        length_ms = Timeframe(name).period(T0)[1] - Timeframe(name).period(T0)[0]
        trades = random_trades(seed, 300, spread_ms=max(60_000, 10 * length_ms // MS))
        shuffled = random.Random(seed).sample(trades, len(trades))
        await store.append(shuffled[:200])
        await store.append(shuffled[150:])
        timeframe = Timeframe(name)
        assert list(await store.candles(ETH, timeframe, *FOREVER)) == folded(trades, timeframe)

    @pytest.mark.parametrize("name", ["1s", "1m", "2m", "90s", "4h", "1d", "3d", "1mo"])
    async def test_candles_are_complete_as_those_of_a_fold_are(self, store: MarketStore, name: str) -> None:
        timeframe = Timeframe(name)
        length = timeframe.period(T0)[1] - timeframe.period(T0)[0]
        start = timeframe.period(T0)[0] + length
        missing = {3, 14, 15, 20}
        trades = [
            trade(
                number,
                ts_event=(start + number * length // 4) // MS * MS,
                off_book=number in {7, 24, 25, 26, 27},
            )
            for number in range(40)
            if number not in missing
        ]
        await store.append(trades[::-1])
        expected = folded(trades, timeframe)
        found = list(await store.candles(ETH, timeframe, *FOREVER))
        assert found == expected
        assert {candle.complete for candle in found} == {True, False}
        assert not found[0].complete
        assert not found[-1].complete
        assert found[-2].complete
        middle = expected[3:7]
        assert list(await store.candles(ETH, timeframe, middle[0].start, middle[-1].end)) == middle
        for candle in expected:  # what is around each has to be looked up
            assert list(await store.candles(ETH, timeframe, candle.start, candle.end)) == [candle]

    async def test_candles_start_in_the_range(self, store: MarketStore) -> None:
        minute = 60_000 * MS
        start = T0 // minute * minute
        trades = [trade(number, ts_event=start + number * minute // 2) for number in range(12)]
        await store.append(trades)
        for first, behind in [
            (0, 3 * minute),
            (1, minute),
            (1, minute + 1),
            (minute, minute),
            (-5, 7 * minute),
        ]:
            found = await store.candles(ETH, Timeframe("1m"), start + first, start + behind)
            expected = [c for c in folded(trades, Timeframe("1m")) if first <= c.start - start < behind]
            assert list(found) == expected

    async def test_the_newest_candle_is_open(self, store: MarketStore) -> None:
        await store.append([trade(1, 0), trade(2, 2_000)])
        candles = await store.candles(ETH, Timeframe("1s"), *FOREVER)
        assert [candle.closed for candle in candles] == [True, False]
        await store.append([trade(3, 5_000, off_book=True)])
        candles = await store.candles(ETH, Timeframe("1s"), *FOREVER)
        assert [candle.closed for candle in candles] == [True, False]
        await store.append([trade(4, 9_000)])
        candles = await store.candles(ETH, Timeframe("1s"), T0, T0 + 3_000 * MS)
        assert [candle.closed for candle in candles] == [True, True]

    async def test_only_off_book_prints_make_no_candle(self, store: MarketStore) -> None:
        await store.append([trade(1, off_book=True)])
        assert list(await store.candles(ETH, Timeframe("1m"), *FOREVER)) == []
