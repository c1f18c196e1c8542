"""What every `ClosedDays` promises: one test for each sentence of the port."""

import asyncio
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

import pytest
from msgspec import structs

from binance_proxy.application.ports import (
    ArchivedDay,
    ClosedDays,
    HeldDay,
    MarketStore,
    StoredEvent,
    StoreRejected,
)
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick
from contract.market_store import DAY, ETH, MS, SOL, T0, gap, quote, random_trades, scan, snapshot, trade

FIRST = T0 // DAY
"""The day of `T0`, which is over a second later."""
ALL = FIRST + 1_000
SUM = "0123456789abcdef"


class StoreWithDays(MarketStore, Protocol):
    """A store that says which of its days are archived."""

    days: ClosedDays


def held(rows: int, day: int = FIRST, kind: type = TradeTick, instrument: object = ETH) -> HeldDay:
    return HeldDay(kind=kind, instrument=instrument, day=day, rows=rows)


def in_archive(held: HeldDay, checksum: str = SUM) -> ArchivedDay:
    start = held.day * DAY
    return ArchivedDay(
        **structs.asdict(held), first=start, last=start, matches=1, volume=1, checksum=checksum, size_bytes=1
    )


def of_each_kind(day: int) -> list[StoredEvent]:
    """Return six ticks of every kind, of ETH and SOL, on a day."""
    noon = day * DAY + DAY // 2
    return [
        structs.replace(make(number), instrument=instrument, ts_event=noon + number * MS)
        for make in (snapshot, quote, trade)
        for instrument in (SOL, ETH)
        for number in range(1, 4)
    ]


class ClosedDaysContract:
    """Subclass it with fixtures `store` and `elsewhere`: a fresh store, and the same seen by another run."""

    @pytest.fixture
    def elsewhere(self, store: StoreWithDays) -> StoreWithDays:
        return store

    async def test_a_store_without_ticks_has_no_day_to_archive(self, store: StoreWithDays) -> None:
        await store.append([gap(1)])
        assert list(await store.closed_days.unarchived(ALL)) == []

    async def test_the_days_of_every_kind_and_instrument_are_returned_oldest_first(
        self, store: StoreWithDays
    ) -> None:
        for day in (FIRST + 5, FIRST, FIRST + 2):
            await store.append(of_each_kind(day))
        assert list(await store.closed_days.unarchived(ALL)) == [
            held(3, day, kind, instrument)
            for day in (FIRST, FIRST + 2, FIRST + 5)
            for kind in (TradeTick, QuoteTick, BookSnapshot)
            for instrument in (ETH, SOL)
        ]

    async def test_a_tick_lies_on_the_utc_day_of_its_ts_event(self, store: StoreWithDays) -> None:
        await store.append([trade(1, 0), trade(2, 999), trade(3, 1_000), trade(4, 1_000 + DAY // MS - 1)])
        assert list(await store.closed_days.unarchived(ALL)) == [held(2), held(2, FIRST + 1)]

    async def test_ticks_before_1970_have_days_too(self, store: StoreWithDays) -> None:
        await store.append([trade(1, ts_event=-MS), trade(2, ts_event=0)])
        assert list(await store.closed_days.unarchived(ALL)) == [held(1, -1), held(1, 0)]

    async def test_only_days_before_the_given_one_are_returned(self, store: StoreWithDays) -> None:
        await store.append([trade(day, ts_event=(FIRST + day) * DAY) for day in range(3)])
        assert [one.day for one in await store.closed_days.unarchived(FIRST + 2)] == [FIRST, FIRST + 1]
        assert list(await store.closed_days.unarchived(FIRST)) == []

    async def test_a_day_that_is_archived_is_returned_no_more_and_the_others_are(
        self, store: StoreWithDays
    ) -> None:
        await store.append([*of_each_kind(FIRST), *of_each_kind(FIRST + 1)])
        days = list(await store.closed_days.unarchived(ALL))
        for done, one in enumerate(days, start=1):
            await store.closed_days.archived(one, SUM)
            assert list(await store.closed_days.unarchived(ALL)) == days[done:]

    async def test_with_a_late_tick_it_is_unarchived_again(self, store: StoreWithDays) -> None:
        await store.append([trade(number) for number in range(5)])
        await store.closed_days.archived(held(5), SUM)
        await store.append([trade(7)])
        assert list(await store.closed_days.unarchived(ALL)) == [held(6)]
        await store.closed_days.archived(held(6), SUM)
        assert list(await store.closed_days.unarchived(ALL)) == []

    async def test_what_is_stored_twice_is_archived_once(self, store: StoreWithDays) -> None:
        await store.append([trade(number) for number in range(5)])
        await store.closed_days.archived(held(5), SUM)
        await store.append([trade(number) for number in range(5)])
        assert list(await store.closed_days.unarchived(ALL)) == []

    @pytest.mark.parametrize("rows", [4, 6])
    async def test_another_number_of_rows_is_not_the_whole_day(self, store: StoreWithDays, rows: int) -> None:
        await store.append([trade(number) for number in range(5)])
        await store.closed_days.archived(held(rows), SUM)
        assert list(await store.closed_days.unarchived(ALL)) == [held(5)]

    async def test_a_day_that_is_in_the_archive_no_more_is_unarchived_from_now_on(
        self, store: StoreWithDays
    ) -> None:
        days = [held(1), held(1, FIRST + 1), held(1, FIRST + 2)]
        await store.append([trade(day, ts_event=(FIRST + day) * DAY) for day in range(3)])
        for one in days:
            await store.closed_days.archived(one, SUM)
        there = [in_archive(days[0]), in_archive(days[1], checksum="another")]
        assert list(await store.closed_days.unarchived(ALL, there)) == days[1:]
        assert list(await store.closed_days.unarchived(ALL)) == days[1:], "from now on"
        assert list(await store.closed_days.dropped(there)) == []
        await store.closed_days.archived(days[1], "another")
        assert list(await store.closed_days.unarchived(ALL, there)) == days[2:]

    async def test_the_trades_of_a_day_come_in_order_as_columns(self, store: StoreWithDays) -> None:
        trades = [
            trade(1, first_match_id=10, last_match_id=14),
            trade(2, off_book=True),
            trade(4, 3, first_match_id=0),
            trade(3, 4, last_match_id=20, aggressor=Side.BUY),
            trade(5, 4, price=2**62, size=1),
            trade(-6, 999, ts_recv=-5),
        ]
        others = [trade(7, 1_000), trade(8, -DAY // MS), quote(1), trade(1, instrument=SOL)]
        await store.append([*reversed(trades), *others])
        assert await trades_of(store.closed_days, held(6)) == trades
        assert await trades_of(store.closed_days, held(1, FIRST + 1)) == [trade(7, 1_000)]
        assert await trades_of(store.closed_days, held(1, FIRST + 2)) == []

    async def test_they_are_those_of_a_scan_also_if_they_were_not_counted(self, store: StoreWithDays) -> None:
        await store.append(random_trades(5, 2_500, spread_ms=60_000))
        start = (FIRST + 1) * DAY
        found = await scan(store, TradeTick, start=start, end=start + DAY)
        assert len(found) > 2_000
        assert await trades_of(store.closed_days, held(1, FIRST + 1)) == found

    async def test_trades_of_an_instrument_that_was_never_stored_are_none(self, store: StoreWithDays) -> None:
        assert await trades_of(store.closed_days, held(1)) == []

    async def test_telling_it_twice_changes_nothing(self, store: StoreWithDays) -> None:
        await store.append([trade(1)])
        for _ in range(2):
            await store.closed_days.archived(held(1), SUM)
        assert list(await store.closed_days.unarchived(ALL)) == []

    async def test_a_day_of_an_instrument_that_was_never_stored_is_refused(
        self, store: StoreWithDays
    ) -> None:
        with pytest.raises(StoreRejected, match=r"binance\.spot\.ethusdt is not in this"):
            await store.closed_days.archived(held(1), SUM)

    async def test_a_second_run_is_refused_while_the_first_is_alone(
        self, store: StoreWithDays, elsewhere: StoreWithDays
    ) -> None:
        async with store.closed_days.alone():
            for other in (elsewhere, store):
                with pytest.raises(StoreRejected, match="Another archive run is under way"):
                    await enter(other.closed_days.alone())
            await store.append([trade(1)])
            await store.closed_days.archived(held(1), SUM)
        async with elsewhere.closed_days.alone():
            assert list(await elsewhere.closed_days.unarchived(ALL)) == []

    @pytest.mark.parametrize(
        "error", [OSError("no space"), TimeoutError(), asyncio.CancelledError()], ids=repr
    )
    async def test_what_goes_wrong_within_is_raised_as_it_is_and_ends_it(
        self, store: StoreWithDays, elsewhere: StoreWithDays, error: BaseException
    ) -> None:
        with pytest.raises(type(error)) as raised:
            async with store.closed_days.alone():
                raise error
        assert raised.value is error
        async with elsewhere.closed_days.alone():
            pass

    async def test_nobody_waits_for_a_run_that_is_alone(
        self, store: StoreWithDays, elsewhere: StoreWithDays
    ) -> None:
        async with store.closed_days.alone():
            await store.closed_days.unarchived(ALL)
            assert await elsewhere.append([trade(1)]) == 1
            assert await scan(elsewhere, TradeTick) == [trade(1)]


async def trades_of(days: ClosedDays, day: HeldDay) -> list[TradeTick]:
    async with aclosing(days.trades(day)) as parts:
        return [one for columns in [part async for part in parts] for one in columns.trades()]


async def enter(context: AbstractAsyncContextManager[None]) -> None:
    async with context:
        pass
