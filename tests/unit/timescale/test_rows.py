"""Rows as COPY wants them, and what a batch says of itself."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from binance_proxy.adapters.timescale.rows import FILE_END, FILE_HEADER, TRADES
from binance_proxy.adapters.timescale.writer import MINUTE_NS, _copy
from binance_proxy.application.ports import EventsRejected
from binance_proxy.domain.tick import Side, TradeTick
from contract.market_store import ETH, MS, SOL, trade

BIGINTS = st.integers(-(2**63), 2**63 - 1)
MATCHES = st.none() | BIGINTS
TICKS = st.builds(
    TradeTick,
    instrument=st.just(ETH),
    ts_event=BIGINTS,
    ts_recv=BIGINTS,
    trade_id=BIGINTS,
    price=BIGINTS,
    size=BIGINTS,
    aggressor=st.sampled_from(Side),
    off_book=st.booleans(),
)
AGGREGATED = st.builds(lambda one, first, last: replace(one, first_match_id=first, last_match_id=last),
                       TICKS, MATCHES, MATCHES)  # fmt: skip
NUMBERS = ("ts_recv", "trade_id", "price", "size")
TWO_COLUMNS_OF_NULL = struct.pack(">ii", -1, -1)


@given(st.lists(TICKS | AGGREGATED, min_size=1))
def test_many_trades_are_packed_as_each_alone(trades: list[TradeTick]) -> None:
    assert TRADES.pack(trades, 7) == b"".join(TRADES.pack([one], 7) for one in trades)


@given(TICKS)
def test_each_value_lies_behind_its_length(one: TradeTick) -> None:
    row = TRADES.pack([one], 7)
    since_2000_us = one.ts_event // 1000 - 946_684_800_000_000
    values = (since_2000_us, one.ts_recv, one.trade_id, one.price, one.size)
    expected = struct.pack(">h", 10) + b"".join(struct.pack(">iq", 8, value) for value in values)
    expected += struct.pack(">ii", 4, 7) + struct.pack(">ih", 2, 1 if one.aggressor is Side.BUY else -1)
    expected += struct.pack(">i?", 1, one.off_book) + TWO_COLUMNS_OF_NULL
    assert row == expected


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("beyond", [2**63, -(2**63) - 1])
def test_a_number_over_64_bits_is_refused(number: str, beyond: int) -> None:
    with pytest.raises(EventsRejected, match="64 bits"):
        _copy(TRADES, [trade(1), replace(trade(2), **{number: beyond})], {ETH: 1})


def test_rows_are_in_the_order_of_the_key_whatever_order_ticks_come_in() -> None:
    ids = {ETH: 2, SOL: 1}
    ordered = [
        trade(5, 1, instrument=SOL), trade(3, 2, instrument=SOL), trade(4, 2, instrument=SOL),
        trade(2, 1), trade(1, 3),
    ]  # fmt: skip
    rows = [bytes(TRADES.pack([one], ids[one.instrument])) for one in ordered]
    for mixed in (ordered, ordered[::-1], ordered[2:] + ordered[:2]):
        copy = _copy(TRADES, mixed, ids)
        assert copy.file == FILE_HEADER + b"".join(rows) + FILE_END
        assert copy.rows == len(ordered)


def test_an_instrument_that_is_described_in_two_ways_is_one() -> None:
    described = replace(ETH, tick_size=None)
    both = [trade(1), trade(2, instrument=described), trade(3)]
    copy = _copy(TRADES, both, {ETH: 1, described: 1})
    assert copy.file == _copy(TRADES, [trade(1), trade(2), trade(3)], {ETH: 1}).file


@given(st.lists(st.tuples(st.sampled_from((ETH, SOL)), st.integers(0, 200 * 60_000)), min_size=1))
def test_exactly_the_minutes_and_days_of_the_trades_are_touched(at: list) -> None:
    trades = [trade(number, ts_ms, instrument=one) for number, (one, ts_ms) in enumerate(at)]
    ids = {ETH: 1, SOL: 2}
    copy = _copy(TRADES, trades, ids)
    assert copy.touched
    touched = [
        (number, minute)
        for number, start_us, end_us in zip(*copy.touched, strict=True)
        for minute in range(start_us // 60_000_000, end_us // 60_000_000)
    ]
    assert len(touched) == len(set(touched))
    assert set(touched) == {(ids[one.instrument], one.ts_event // MINUTE_NS) for one in trades}
    assert copy.days == {one.ts_event // (86_400_000 * MS) for one in trades}
