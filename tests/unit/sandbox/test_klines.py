"""Klines of every interval add up to the trades that they are made of."""

from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.domain.tick import Side
from binance_proxy.sandbox.klines import INTERVALS, Klines
from binance_proxy.sandbox.prints import Prints, printed
from sandboxed import START, trade

TRADES = st.lists(
    st.tuples(st.integers(0, 400_000), st.integers(1, 9), st.integers(1, 9), st.booleans()),
    min_size=1,
    max_size=60,
)


def made(rows) -> tuple[Klines, Prints]:
    klines, prints = Klines(), Prints(10_000)
    for number, (ms, price, size, sold) in enumerate(sorted(rows, key=lambda row: row[0]), 1):
        told = printed(trade(number, ms, price, size, aggressor=Side.SELL if sold else Side.BUY))
        klines.feed(told)
        prints.add(told)
    return klines, prints


@given(TRADES, st.sampled_from(sorted(INTERVALS)))
def test_every_interval_has_all_trades_and_no_hole(rows, interval):
    klines, prints = made(rows)
    found = klines.ask(interval, None, None, 1_000_000, prints)
    every = prints.newest(1_000_000)
    assert sum(kline.trades for kline in found) == len(rows)
    assert sum(kline.volume for kline in found) == sum(one.size for one in every)
    assert sum(kline.quote_volume for kline in found) == sum(one.size * one.price for one in every)
    assert sum(kline.bought for kline in found) == sum(one.size for one in every if not one.sold)
    assert (found[0].open, found[-1].close) == (every[0].price, every[-1].price)
    assert [kline.start for kline in found[1:]] == [kline.end for kline in found[:-1]]
    assert all(kline.low <= min(kline.open, kline.close) <= kline.high for kline in found)
    assert (found[0].first_id, found[-1].last_id) == (1, len(rows))


@given(TRADES)
def test_minutes_are_seconds_joined(rows):
    klines, prints = made(rows)
    seconds = klines.ask("1s", None, None, 1_000_000, prints)
    for minute in klines.ask("1m", None, None, 1_000_000, prints):
        within = [one for one in seconds if minute.start <= one.start < minute.end and one.trades]
        assert sum(one.volume for one in within) == minute.volume
        assert max((one.high for one in within), default=minute.high) == minute.high


def test_a_range_and_a_limit():
    klines, prints = made([(60_000 * number, 1, 1, False) for number in range(10)])
    first = INTERVALS["1m"].period(START)[0]
    minute = 60_000_000_000
    starts = [one.start for one in klines.ask("1m", first + minute, first + 4 * minute, 3, prints)]
    assert starts == [first + minute, first + 2 * minute, first + 3 * minute]
    assert [one.start for one in klines.ask("1m", None, None, 1, prints)] == [first + 9 * minute]
