"""What is printed of the past comes out as the live streams say it, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.errors import ScaleError, TickRejected
from binance_proxy.domain.instrument import MICROSECOND_NS, MILLISECOND_NS, Instrument, Market
from binance_proxy.domain.printed import printed_candle, printed_time, printed_trade
from binance_proxy.domain.tick import Side

IN_MS = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
IN_US = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT", time_resolution_ns=MICROSECOND_NS)


@given(st.integers(1_500_000_000_000_000, 4_000_000_000_000_000))
def test_a_time_in_us_and_the_same_in_ms_are_one_at_the_resolution_of_ms(time_us: int) -> None:
    assert (
        printed_time(IN_MS, time_us)
        == printed_time(IN_MS, time_us // 1_000)
        == time_us // 1_000 * MILLISECOND_NS
    )
    assert printed_time(IN_US, time_us) == time_us * MICROSECOND_NS


def test_a_time_in_ms_is_too_coarse_for_what_is_recorded_in_us() -> None:
    with pytest.raises(ScaleError, match="could be stored twice"):
        printed_time(IN_US, 1_700_000_000_000)


@pytest.mark.parametrize("time", [0, -1, 2**63 - 1, 2**62])
def test_a_time_before_or_behind_all_trading(time: int) -> None:
    with pytest.raises(TickRejected):
        printed_time(IN_MS, time)


def test_a_trade() -> None:
    trade = printed_trade(
        IN_MS, (7, None), "1.5", "0.00000002", 1_700_000_000_000, buyer_is_maker=False, ts_recv=3
    )
    assert (trade.trade_id, trade.first_match_id, trade.last_match_id) == (7, None, None)
    assert (trade.price, trade.size, trade.aggressor, trade.ts_recv) == (150_000_000, 2, Side.BUY, 3)


def test_an_aggregated_trade_has_the_id_of_its_first_match() -> None:
    trade = printed_trade(IN_MS, (7, 9), "1", "2", 1_700_000_000_000, buyer_is_maker=True, ts_recv=3)
    assert (trade.trade_id, trade.first_match_id, trade.last_match_id) == (7, 7, 9)
    assert (trade.matches, trade.aggressor) == (3, Side.SELL)


@pytest.mark.parametrize(
    ("ids", "price", "size"), [((9, 7), "1", "1"), ((7, None), "0", "1"), ((7, None), "1", "-1")]
)
def test_a_trade_that_cannot_be_true(ids: tuple[int, int | None], price: str, size: str) -> None:
    with pytest.raises(TickRejected):
        printed_trade(IN_MS, ids, price, size, 1_700_000_000_000, buyer_is_maker=True, ts_recv=3)


@given(st.integers(0, 10**33))
def test_the_sums_of_a_candle_are_exact_however_large(units: int) -> None:
    printed = f"{units // 10**8}.{units % 10**8:08d}"
    candle = printed_candle(
        IN_MS, Timeframe("1m"), 1_700_000_040_000, ("1", "3", "0.5", "2"), (printed, printed), 4, ts_recv=3
    )
    assert candle.volume == units
    assert candle.quote_volume == units * 10**8
    assert (candle.open, candle.high, candle.low, candle.close) == (10**8, 3 * 10**8, 5 * 10**7, 2 * 10**8)
    assert (candle.end - candle.start, candle.ts_event) == (60 * 10**9, candle.end - MILLISECOND_NS)
    assert candle.closed


@pytest.mark.parametrize("volume", ["", "-1", "1e5", "nan", "\u0661", "1" * 40, "1.5.5", "0.1234567891"])
def test_a_sum_that_is_none(volume: str) -> None:
    with pytest.raises(ScaleError):
        printed_candle(IN_MS, Timeframe("1m"), 1_700_000_040_000, ("1",) * 4, (volume, "1"), 4, ts_recv=3)


def test_a_candle_that_begins_between_two_periods() -> None:
    with pytest.raises(TickRejected, match="no 1m candle begins at 1700000040001"):
        printed_candle(IN_MS, Timeframe("1m"), 1_700_000_040_001, ("1",) * 4, ("1", "1"), 4, ts_recv=3)
