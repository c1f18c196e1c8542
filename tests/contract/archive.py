"""What every `Archive` promises: one test for each sentence of the port."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
from msgspec import structs

from binance_proxy.application.ports import (
    Archive,
    ArchivedDay,
    EventsRejected,
    HeldDay,
    StoredTick,
    StoreRejected,
)
from binance_proxy.application.trade_columns import TradeColumns, columns_of
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick
from contract.market_store import DAY, ETH, SOL, T0, quote, scan, snapshot, trade

TODAY = T0 // DAY
TOMORROW_MS = 1_000
"""`T0` is the last second of its day."""


def held(ticks: Sequence[StoredTick | TradeColumns]) -> HeldDay:
    one = ticks[0].trades()[0] if isinstance(ticks[0], TradeColumns) else ticks[0]
    return HeldDay(kind=type(one), instrument=one.instrument, day=one.ts_event // DAY, rows=len(ticks))


async def stream(
    ticks: Sequence[StoredTick | TradeColumns],
) -> AsyncGenerator[StoredTick | TradeColumns]:
    for tick in ticks:
        yield tick


async def keep(archive: Archive, *ticks: StoredTick | TradeColumns) -> ArchivedDay:
    return await archive.keep(held(ticks), stream(ticks))


class ArchiveContract:
    """Subclass it with a fixture `archive` that gives an empty archive, which is a store too."""

    async def test_keeps_the_ticks_of_a_day(self, archive) -> None:
        trades = [trade(number) for number in range(1, 900)]
        day = await keep(archive, *trades)
        assert (day.rows, day.day, day.kind, day.instrument) == (899, TODAY, TradeTick, ETH)
        assert (day.first, day.last) == (trades[0].ts_event, trades[-1].ts_event)
        assert await scan(archive, TradeTick) == trades

    async def test_keeps_each_kind_apart(self, archive) -> None:
        for one in (trade(1), quote(2), snapshot(3)):
            await keep(archive, one)
        assert await scan(archive, QuoteTick) == [quote(2)]
        assert await scan(archive, BookSnapshot) == [snapshot(3)]

    async def test_keeps_late_ticks_beside_those_that_are_there_each_once(self, archive) -> None:
        await keep(archive, *map(trade, (1, 2, 4, 7)))
        day = await keep(archive, *map(trade, (2, 3, 5, 7, 9)))
        assert day.rows == 7
        assert await scan(archive, TradeTick) == list(map(trade, (1, 2, 3, 4, 5, 7, 9)))

    async def test_a_day_given_again_is_the_same(self, archive) -> None:
        trades = [trade(number) for number in range(1, 50)]
        assert await keep(archive, *trades) == await keep(archive, *trades)

    async def test_the_checksum_is_that_of_the_values_however_they_came(self, archive) -> None:
        together = await keep(archive, *map(trade, range(1, 40)))
        other = structs.replace(ETH, symbol="BTC/USDT")
        for number in (5, *range(39, 0, -1)):
            apart = await keep(archive, trade(number, instrument=other))
        assert apart.checksum == together.checksum
        changed = structs.replace(ETH, symbol="DOT/USDT")
        one_off = [trade(number, instrument=changed, size=7 + (number == 20)) for number in range(1, 40)]
        same = [trade(number, instrument=changed, size=7) for number in range(1, 40)]
        first = await keep(archive, *one_off)
        assert first.checksum != together.checksum
        assert len({first.checksum, together.checksum}) == 2
        assert same != one_off

    async def test_columns_of_trades_make_the_same_day_as_the_ticks(self, archive) -> None:
        trades = [
            *(trade(number) for number in range(1, 200)),
            trade(200, first_match_id=10, last_match_id=14, aggressor=Side.BUY),
            trade(201, off_book=True, first_match_id=15, last_match_id=15),
            trade(202, first_match_id=16),
            trade(203, price=2**62, size=2**62),
        ]
        other = structs.replace(ETH, symbol="BTC/USDT")
        others = [structs.replace(one, instrument=other) for one in trades]
        of_ticks = await keep(archive, *trades)
        of_columns = await keep(archive, columns_of(others[:150]), *others[150:170], columns_of(others[170:]))
        assert structs.replace(of_columns, instrument=ETH, size_bytes=of_ticks.size_bytes) == of_ticks
        assert await scan(archive, TradeTick, other) == others

    async def test_columns_join_what_is_there_each_trade_once(self, archive) -> None:
        await keep(archive, *map(trade, (1, 2, 4, 7)))
        late, again = columns_of([*map(trade, (2, 3, 5))]), columns_of([*map(trade, (5, 7, 9))])
        day = await keep(archive, late, again)
        assert (day.rows, await scan(archive, TradeTick)) == (7, [*map(trade, (1, 2, 3, 4, 5, 7, 9))])

    async def test_columns_of_another_precision_are_exact_too(self, archive) -> None:
        fine = structs.replace(ETH, symbol="PEPE/USDT", price_precision=14, size_precision=0)
        trades = [trade(number, instrument=fine, price=number * 100, size=number) for number in range(1, 9)]
        day = await keep(archive, columns_of(trades))
        assert (day.volume, await scan(archive, TradeTick, fine)) == (36, trades)

    async def test_an_error_while_ticks_are_read_leaves_what_was_there(self, archive) -> None:
        await keep(archive, trade(1))

        async def broken() -> AsyncGenerator[StoredTick]:
            yield trade(2)
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await archive.keep(held([trade(2)]), broken())
        assert await scan(archive, TradeTick) == [trade(1)]
        assert [day.rows for day in await archive.days()] == [1]

    async def test_refuses_any_day_in_other_units(self, archive) -> None:
        await keep(archive, trade(1))
        other = structs.replace(ETH, price_precision=4)
        for one in (trade(2, instrument=other), trade(2, TOMORROW_MS, instrument=other)):
            with pytest.raises(EventsRejected, match="precisions"):
                await keep(archive, one)
        assert await scan(archive, TradeTick) == [trade(1)]

    async def test_refuses_a_day_without_ticks(self, archive) -> None:
        with pytest.raises(StoreRejected, match="nothing to keep"):
            await archive.keep(held([trade(1)]), stream([]))
        assert await archive.days() == []

    async def test_days_are_told_by_instrument_kind_and_day(self, archive) -> None:
        later = trade(2, TOMORROW_MS)
        other = trade(1, instrument=SOL, ts_event=T0)
        for one in (later, trade(1), quote(1), snapshot(1), other):
            await keep(archive, one)
        assert {(day.instrument.symbol, day.kind, day.day) for day in await archive.days()} == {
            ("ETH/USDT", TradeTick, TODAY),
            ("ETH/USDT", TradeTick, TODAY + 1),
            ("ETH/USDT", QuoteTick, TODAY),
            ("ETH/USDT", BookSnapshot, TODAY),
            ("SOL/USDT", TradeTick, TODAY),
        }
        assert [day.day for day in await archive.days(ETH, TradeTick)] == [TODAY, TODAY + 1]
        assert [day.kind for day in await archive.days(SOL)] == [TradeTick]

    async def test_matches_are_counted_as_candles_count_them(self, archive) -> None:
        day = await keep(
            archive,
            trade(1),
            trade(2, first_match_id=10, last_match_id=14),
            trade(3, off_book=True),
        )
        assert (day.rows, day.matches) == (3, 6)
        assert day.volume == trade(1).size + trade(2).size

    async def test_an_audit_tells_every_day_and_finds_nothing_wrong(self, archive) -> None:
        for one in (trade(1), trade(2, TOMORROW_MS), quote(1)):
            await keep(archive, one)
        async with aclosing(archive.audit()) as audited:
            found = [one async for one in audited]
        assert [one.fault for one in found] == [None] * 3
        assert {one.day for one in found} == set(await archive.days())
