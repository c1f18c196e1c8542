"""A market order gets the best prices there are, level by level, and pays for what it takes."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.domain.errors import BookStale, NotEnoughLiquidity, TickRejected
from binance_proxy.domain.execution import Fill, slippage_bps, sweep, vwap
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")


def book_of(bids=((99, 5), (98, 6)), asks=((101, 7), (103, 8))):
    return OrderBook(
        BookSnapshot(instrument=ETH, ts_event=1, ts_recv=1, last_update_id=1, bids=bids, asks=asks)
    )


def fills(*parts):
    return tuple(Fill(price=price, size=size) for price, size in parts)


class TestSweep:
    def test_a_buy_takes_asks_from_the_lowest_up(self):
        done = sweep(book_of(), Side.BUY, 10)
        assert done.fills == fills((101, 7), (103, 3))
        assert (done.side, done.filled, done.unfilled) == (Side.BUY, 10, 0)
        assert (done.mid, done.touch) == (100, 101)
        assert done.vwap == (7 * 101 + 3 * 103) / 10

    def test_a_sell_takes_bids_from_the_highest_down(self):
        done = sweep(book_of(), Side.SELL, 6)
        assert done.fills == fills((99, 5), (98, 1))
        assert (done.mid, done.touch) == (100, 99)

    def test_worse_is_positive_for_either_side(self):
        assert sweep(book_of(), Side.BUY, 7).slippage_mid_bps == 100
        assert sweep(book_of(), Side.SELL, 5).slippage_mid_bps == 100
        assert sweep(book_of(), Side.BUY, 8).slippage_touch_bps > 0
        assert sweep(book_of(), Side.SELL, 6).slippage_touch_bps > 0

    @pytest.mark.parametrize(("side", "size"), [(Side.BUY, 7), (Side.SELL, 5)])
    def test_an_order_that_one_level_fills_does_not_slip_from_the_touch(self, side, size):
        done = sweep(book_of(), side, size)
        assert len(done.fills) == 1
        assert done.slippage_touch_bps == 0

    def test_what_the_book_cannot_fill_is_said(self):
        done = sweep(book_of(), Side.BUY, 100)
        assert (done.filled, done.unfilled) == (15, 85)

    def test_the_book_is_not_changed(self):
        book = book_of()
        before = book.snapshot()
        sweep(book, Side.BUY, 10)
        sweep(book, Side.SELL, 1000)
        assert book.snapshot() == before

    @pytest.mark.parametrize("size", [0, -1])
    def test_an_order_of_nothing_is_rejected(self, size):
        with pytest.raises(TickRejected, match="above zero"):
            sweep(book_of(), Side.BUY, size)

    @pytest.mark.parametrize("side", Side)
    @pytest.mark.parametrize("empty", [{"bids": ()}, {"asks": ()}, {"bids": (), "asks": ()}])
    def test_a_book_with_an_empty_side_has_no_mid_to_compare_with(self, side, empty):
        with pytest.raises(NotEnoughLiquidity):
            sweep(book_of(**empty), side, 1)

    @pytest.mark.parametrize("side", Side)
    def test_a_stale_book_fills_nothing(self, side):
        book = book_of()
        with pytest.raises(BookStale):
            book.apply(
                QuoteTick(
                    instrument=ETH,
                    ts_event=2,
                    ts_recv=2,
                    first_update_id=5,
                    last_update_id=5,
                    bids=(),
                    asks=(),
                )
            )
        with pytest.raises(BookStale):
            sweep(book, side, 1)

    @given(
        bids=st.dictionaries(st.integers(1, 49), st.integers(1, 6), min_size=1, max_size=6),
        asks=st.dictionaries(st.integers(50, 99), st.integers(1, 6), min_size=1, max_size=6),
        side=st.sampled_from(Side),
        size=st.integers(1, 40),
    )
    def test_equals_filling_one_unit_at_a_time(self, bids, asks, side, size):
        done = sweep(book_of(tuple(bids.items()), tuple(asks.items())), side, size)

        units = [
            price for price, resting in (asks if side is Side.BUY else bids).items() for _ in range(resting)
        ]
        paid = sorted(units, reverse=side is Side.SELL)[:size]
        assert [fill.price for fill in done.fills for _ in range(fill.size)] == paid
        assert len({fill.price for fill in done.fills}) == len(done.fills)
        assert (done.filled, done.unfilled) == (len(paid), size - len(paid))
        assert done.touch == paid[0]

        average, mid = Fraction(sum(paid), len(paid)), Fraction(max(bids) + min(asks), 2)
        sign = 1 if side is Side.BUY else -1
        assert done.mid == mid
        assert done.vwap == float(average)
        assert done.slippage_mid_bps == pytest.approx(float(sign * (average - mid) / mid * 10_000))
        assert done.slippage_touch_bps == pytest.approx(
            float(sign * (average - paid[0]) / paid[0] * 10_000), abs=1e-9
        )
        assert done.slippage_mid_bps > 0
        assert done.slippage_touch_bps >= 0


class TestVwap:
    def test_is_weighted_by_size(self):
        assert vwap(fills((100, 1), (200, 3))) == 175

    def test_works_on_trades_alike(self):
        trades = [
            TradeTick(
                instrument=ETH,
                ts_event=1,
                ts_recv=1,
                trade_id=number,
                price=price,
                size=size,
                aggressor=Side.BUY,
            )
            for number, (price, size) in enumerate([(100, 1), (200, 3)])
        ]
        assert vwap(trades) == 175
        assert vwap(iter(trades)) == 175

    def test_of_nothing_there_is_none(self):
        with pytest.raises(NotEnoughLiquidity):
            vwap([])

    @given(st.lists(st.tuples(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1)), min_size=1, max_size=20))
    def test_only_the_last_division_is_inexact(self, parts):
        exact = Fraction(sum(price * size for price, size in parts), sum(size for _, size in parts))
        assert vwap(fills(*parts)) == float(exact)


class TestSlippage:
    @pytest.mark.parametrize(
        ("side", "price", "bps"),
        [
            (Side.BUY, 101, 100),
            (Side.BUY, 99, -100),
            (Side.SELL, 99, 100),
            (Side.SELL, 101, -100),
            (Side.BUY, 100, 0),
        ],
    )
    def test_paying_more_or_getting_less_is_worse(self, side, price, bps):
        assert slippage_bps(side, price, 100) == bps
