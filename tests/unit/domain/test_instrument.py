"""An instrument says what is traded where, and in which units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.domain.errors import BridgeError, TickRejected
from binance_proxy.domain.instrument import MILLISECOND_NS, Instrument, Market, Stream
from binance_proxy.domain.tick import QuoteTick, Side, TradeTick, check_quote, check_trade

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
assets = st.from_regex(r"[A-Z0-9]{1,10}", fullmatch=True)


def trade(**changes):
    fields = {"trade_id": 1, "price": 1, "size": 1, "aggressor": Side.BUY, "ts_event": 1, "ts_recv": 0}
    return TradeTick(instrument=ETH, **fields | changes)


def quote(**changes):
    fields = {
        "first_update_id": 5,
        "last_update_id": 7,
        "bids": ((10, 1),),
        "asks": ((11, 0),),
        "ts_event": 1,
        "ts_recv": 0,
    }
    return QuoteTick(instrument=ETH, **fields | changes)


class TestInstrument:
    def test_its_name_begins_every_topic_about_it(self):
        assert ETH.name == "binance.spot.ethusdt"
        assert Instrument(venue="simulated", market=Market.USDM, symbol="1000PEPE/USDC").name == (
            "simulated.usdm.1000pepeusdc"
        )

    def test_base_is_what_sizes_count_and_quote_what_prices_count(self):
        assert (ETH.base, ETH.quote) == ("ETH", "USDT")

    def test_defaults_hold_what_binance_prints(self):
        assert (ETH.price_precision, ETH.size_precision) == (8, 8)
        assert ETH.time_resolution_ns == MILLISECOND_NS
        assert ETH.tick_size is None
        assert ETH.step_size is None

    @pytest.mark.parametrize(
        "symbol",
        [
            "", "/", "ETHUSDT", "ETH/", "/USDT", "eth/usdt", "ETH/usdt", "ETH-USDT", "ETH / USDT",
            "ETH/USDT/X", "ETH/USDT:USDT", "ETH/USDT\n", " ETH/USDT", "ETH.X/USDT", "\u00c9TH/USDT",
            "ETH/USD\u0661",
        ],
    )  # fmt: skip
    def test_a_symbol_is_two_assets_in_capitals(self, symbol):
        with pytest.raises(TickRejected, match="not a symbol"):
            Instrument(venue="binance", market=Market.SPOT, symbol=symbol)

    @pytest.mark.parametrize("field", ["price_precision", "size_precision"])
    def test_precisions_lie_between_0_and_18(self, field):
        for precision in (0, 18):
            one = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT", **{field: precision})
            assert getattr(one, field) == precision
        for precision in (-1, 19):
            with pytest.raises(TickRejected, match="between 0 and 18"):
                Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT", **{field: precision})

    def test_a_value_is_equal_by_its_fields_and_cannot_be_changed(self):
        again = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
        assert again == ETH
        assert hash(again) == hash(ETH)
        assert Instrument(venue="binance", market=Market.USDM, symbol="ETH/USDT") != ETH
        assert Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT", price_precision=2) != ETH
        with pytest.raises(AttributeError):
            ETH.price_precision = 2

    def test_markets_and_streams_are_written_as_in_topics(self):
        assert [str(market) for market in Market] == ["spot", "usdm"]
        assert [str(stream) for stream in Stream] == ["trades", "orderbook"]

    @given(assets, assets)
    def test_a_name_has_three_words_and_no_capitals(self, base, quote_asset):
        one = Instrument(venue="binance", market=Market.SPOT, symbol=f"{base}/{quote_asset}")
        assert (one.base, one.quote) == (base, quote_asset)
        assert one.name.split(".") == ["binance", "spot", (base + quote_asset).lower()]


class TestTradeTick:
    def test_a_single_match_counts_once(self):
        assert trade().matches == 1

    def test_an_aggregated_print_counts_every_match_in_it(self):
        assert trade(first_match_id=745522877, last_match_id=745522877).matches == 1
        assert trade(first_match_id=10, last_match_id=14).matches == 5

    def test_a_trade_that_can_be_true_is_handed_back(self):
        one = trade()
        assert check_trade(one) is one

    @pytest.mark.parametrize(
        "changes",
        [
            {"price": 0},
            {"price": -1},
            {"size": 0},
            {"size": -1},
            {"ts_event": 0},
            {"ts_event": -1},
            {"first_match_id": 5, "last_match_id": 4},
        ],
    )
    def test_a_trade_that_cannot_be_true_is_rejected(self, changes):
        with pytest.raises(TickRejected, match="trade 1 "):
            check_trade(trade(**changes))

    def test_the_clock_of_the_receiver_may_run_behind_the_venue(self):
        assert check_trade(trade(ts_event=2, ts_recv=1)).ts_recv == 1


class TestQuoteTick:
    def test_an_update_that_can_be_true_is_handed_back(self):
        for one in (quote(), quote(bids=(), asks=()), quote(first_update_id=7)):
            assert check_quote(one) is one

    @pytest.mark.parametrize(
        "changes",
        [
            {"first_update_id": 8},
            {"ts_event": 0},
            {"bids": ((10, 1), (0, 1))},
            {"asks": ((10, 1), (-1, 1))},
            {"bids": ((10, -1),)},
            {"asks": ((10, -1),)},
        ],
    )
    def test_an_update_that_cannot_be_true_is_rejected(self, changes):
        with pytest.raises(TickRejected, match="update"):
            check_quote(quote(**changes))

    def test_its_error_is_one_of_ours_and_a_value_error(self):
        assert issubclass(TickRejected, BridgeError)
        assert issubclass(TickRejected, ValueError)
