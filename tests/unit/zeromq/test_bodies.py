"""A body says each number as the shortest exact decimal, the same in both encodings."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from binance_proxy.adapters.memory.publisher import body_of
from binance_proxy.adapters.zeromq.bodies import (
    BodyOf,
    json_of,
    levels_in_json,
    levels_in_msgpack,
    msgpack_of,
)
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.scale import INT64_MAX, to_text
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, StaleBook, TradeTick

EDGES = st.sampled_from(
    [0, 1, 9, 10, 10**8, 10**15 - 1, 10**15, 10**15 + 1, 2**53, 2**53 + 1, 10**17, INT64_MAX]
)
UNITS = st.integers(0, INT64_MAX) | st.integers(0, 10**6) | st.integers(0, 10**15 + 9) | EDGES
LEVELS = st.lists(st.tuples(UNITS, UNITS), max_size=6).map(tuple)
SHORT = st.integers(0, 10**15 - 1) | st.integers(0, 15).map(lambda power: 10**power - (power == 15))
SHORT_LEVELS = st.lists(st.tuples(SHORT, SHORT), max_size=30).map(tuple)
PRECISIONS = st.integers(0, 18)


def instrument(price_precision: int, size_precision: int) -> Instrument:
    return Instrument(
        venue="binance",
        market=Market.SPOT,
        symbol="ETH/USDT",
        price_precision=price_precision,
        size_precision=size_precision,
    )


def said(event):
    """Return what JSON and MessagePack say about an event; they must agree."""
    bodies = BodyOf(event.instrument, "e1")
    in_json = msgspec.json.decode(json_of(bodies.make(event, 5, levels_in_json)))
    in_msgpack = msgspec.msgpack.decode(msgpack_of(bodies.make(event, 5, levels_in_msgpack)))
    assert in_json == in_msgpack
    return in_json


def expected(event):
    return body_of(event) | {"epoch": "e1", "sequence": 5}


@given(LEVELS | SHORT_LEVELS, LEVELS | SHORT_LEVELS, PRECISIONS, PRECISIONS)
@example(((1, 1),), ((10**15 - 1, 10**15),), 8, 8)
@example(((1, 0), (10**14, 10**8)), (), 18, 0)
@example(((305_010_000_000, 150_000_000), (305_000_000_000, 0)), (), 8, 8)
@example(((10, 100),), ((10**16, 10**17),), 0, 0)
def test_levels_are_the_shortest_text_of_their_units(bids, asks, price_precision, size_precision):
    one = instrument(price_precision, size_precision)
    quote = QuoteTick(
        instrument=one,
        ts_event=1,
        ts_recv=2,
        first_update_id=3,
        last_update_id=4,
        bids=bids,
        asks=asks,
    )
    body = said(quote)
    for levels, texts in ((bids, body["bids"]), (asks, body["asks"])):
        assert texts == [
            [to_text(price, price_precision), to_text(size, size_precision)] for price, size in levels
        ]
    assert body == expected(quote)


@given(LEVELS, PRECISIONS, PRECISIONS)
def test_a_snapshot_says_its_levels_as_an_update_does(levels, price_precision, size_precision):
    snapshot = BookSnapshot(
        instrument=instrument(price_precision, size_precision),
        ts_event=1,
        ts_recv=2,
        last_update_id=INT64_MAX,
        bids=levels,
        asks=levels[::-1],
    )
    assert said(snapshot) == expected(snapshot)


@given(
    UNITS,
    UNITS,
    PRECISIONS,
    PRECISIONS,
    st.none() | st.integers(0, INT64_MAX),
    st.booleans(),
    st.sampled_from(Side),
)
def test_a_trade_says_what_it_is(price, size, price_precision, size_precision, match, off_book, side):
    trade = TradeTick(
        instrument=instrument(price_precision, size_precision),
        ts_event=INT64_MAX,
        ts_recv=0,
        trade_id=INT64_MAX,
        price=price,
        size=size,
        aggressor=side,
        first_match_id=match,
        last_match_id=match,
        off_book=off_book,
    )
    assert said(trade) == expected(trade)


@given(UNITS, UNITS, st.integers(1, 10**21), st.integers(0, 10**40), PRECISIONS, PRECISIONS, st.booleans())
def test_a_candle_of_any_volume_says_its_sums_exactly(
    low, high, volume, quote_volume, price_precision, size_precision, closed
):
    candle = Candle(
        instrument=instrument(price_precision, size_precision),
        ts_event=1,
        ts_recv=2,
        timeframe=Timeframe("1mo"),
        start=0,
        end=10,
        open=low,
        high=high,
        low=low,
        close=high,
        volume=volume,
        quote_volume=quote_volume,
        trades=7,
        closed=closed,
    )
    body = said(candle)
    assert body == expected(candle)
    assert body["quote_volume"] == to_text(quote_volume, price_precision + size_precision)


@pytest.mark.parametrize("state", GapState)
@pytest.mark.parametrize("stream", Stream)
def test_a_gap_says_what_is_missing(state, stream):
    gap = Gap(
        instrument=instrument(8, 8),
        ts_event=1,
        ts_recv=2,
        stream=stream,
        first_id=5,
        last_id=9,
        start=0,
        end=1,
        state=state,
    )
    assert said(gap) == expected(gap)


@given(st.text())
def test_a_stale_book_says_why(reason):
    stale = StaleBook(instrument=instrument(8, 8), ts_event=1, ts_recv=2, reason=reason)
    assert said(stale) == expected(stale)
    assert said(stale) == {
        "type": "stale", "venue": "binance", "market": "spot", "symbol": "ETH/USDT", "epoch": "e1",
        "sequence": 5, "ts_event": 1, "ts_recv": 2, "reason": reason,
    }  # fmt: skip


def test_no_number_of_a_body_is_a_float():
    quote = QuoteTick(
        instrument=instrument(8, 8),
        ts_event=1,
        ts_recv=2,
        first_update_id=3,
        last_update_id=4,
        bids=((1, 1), (10**8, 10**9)),
        asks=((10**14, 0),),
    )
    raw = json_of(BodyOf(quote.instrument, "e1").make(quote, 5, levels_in_json))
    assert b'"bids":[["0.00000001","0.00000001"],["1","10"]],"asks":[["1000000","0"]]' in raw
