"""A frame becomes exactly what it says, or it is refused with a reason that can be counted."""

import gzip
import json
import re
from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.application.ports import FrameRejected
from binance_proxy.domain.errors import ScaleError
from binance_proxy.domain.instrument import MICROSECOND_NS, MILLISECOND_NS, Instrument, Market
from binance_proxy.domain.scale import INT64_MAX, to_units
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick
from recorded import captures

BTC = Instrument(venue="binance", market=Market.SPOT, symbol="BTC/USDT")
FUTURE = Instrument(
    venue="binance", market=Market.USDM, symbol="BTC/USDT", price_precision=2, size_precision=3
)
NOW = 1_723_161_254_087_896_568
MS = 1_000_000

TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,'
    b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
)
AGG_TRADE = (
    b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1617566591986,"s":"BTCUSDT","a":291477091,'
    b'"p":"2064.74000000","q":"1.27218000","f":346711088,"l":346711090,"T":1617566591985,"m":false,"M":true}}'
)
DEPTH = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255408,"s":"BTCUSDT",'
    b'"U":50093239208,"u":50093239224,"b":[["61837.63000000","3.78826000"],["61820.99000000","0.00000000"]],'
    b'"a":[["61837.64000000","1.60520000"]]}}'
)
USDM_DEPTH = (
    b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1721347022557,"T":1721347022553,'
    b'"s":"BTCUSDT","U":4984028370826,"u":4984028373334,"pu":4984028370730,'
    b'"b":[["1000.00","569.567"]],"a":[["63943.90","0.000"]]}}'
)
USDM_TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1721347022956,"T":1721347022956,"s":"BTCUSDT",'
    b'"t":5182005737,"p":"63943.90","q":"0.003","X":"MARKET","m":true}}'
)
SNAPSHOT = (
    b'{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"],["61837.62000000","0.61700000"]],'
    b'"asks":[["61837.64000000","1.54698000"]]}'
)
USDM_SNAPSHOT = (
    b'{"lastUpdateId":4984028384061,"E":1721347022759,"T":1721347022750,"bids":[["63943.90","46.372"]],'
    b'"asks":[["63944.00","0.097"]]}'
)


def spot() -> BinanceFrames:
    return BinanceFrames(Market.SPOT, [BTC])


def refused(raw, frames=None, home=BTC):
    with pytest.raises(FrameRejected) as caught:
        (frames or spot()).decode(raw, NOW, home)
    return caught.value


def of(instrument, raw):
    return BinanceFrames(instrument.market, [instrument]).decode(raw, NOW, instrument)


class TestWhatAFrameSays:
    def test_a_trade(self):
        assert of(BTC, TRADE) == TradeTick(
            instrument=BTC,
            ts_event=1_723_161_255_342 * MS,
            ts_recv=NOW,
            trade_id=3_735_683_259,
            price=6_183_763_000_000,
            size=2_000_000,
            aggressor=Side.SELL,
        )
        assert of(BTC, TRADE.replace(b'"m":true', b'"m":false')).aggressor is Side.BUY

    def test_an_aggregated_trade(self):
        tick = of(BTC, AGG_TRADE)
        assert tick == TradeTick(
            instrument=BTC,
            ts_event=1_617_566_591_985 * MS,
            ts_recv=NOW,
            trade_id=291_477_091,
            price=206_474_000_000,
            size=127_218_000,
            aggressor=Side.BUY,
            first_match_id=346_711_088,
            last_match_id=346_711_090,
        )
        assert tick.matches == 3

    def test_an_update_of_the_book(self):
        assert of(BTC, DEPTH) == QuoteTick(
            instrument=BTC,
            ts_event=1_723_161_255_408 * MS,
            ts_recv=NOW,
            first_update_id=50_093_239_208,
            last_update_id=50_093_239_224,
            bids=((6_183_763_000_000, 378_826_000), (6_182_099_000_000, 0)),
            asks=((6_183_764_000_000, 160_520_000),),
        )

    def test_an_update_of_a_futures_book_has_its_predecessor_and_the_time_of_the_engine(self):
        assert of(FUTURE, USDM_DEPTH) == QuoteTick(
            instrument=FUTURE,
            ts_event=1_721_347_022_553 * MS,
            ts_recv=NOW,
            first_update_id=4_984_028_370_826,
            last_update_id=4_984_028_373_334,
            previous_update_id=4_984_028_370_730,
            bids=((100_000, 569_567),),
            asks=((6_394_390, 0),),
        )

    @pytest.mark.parametrize(
        ("kind", "off_book"), [(b"MARKET", False), (b"INSURANCE_FUND", True), (b"NA", True)]
    )
    def test_a_futures_trade_that_hit_no_order_is_off_the_book(self, kind, off_book):
        assert of(FUTURE, USDM_TRADE.replace(b"MARKET", kind)).off_book is off_book

    def test_a_snapshot_takes_its_time_from_the_venues_clock_as_last_heard(self):
        frames = spot()
        frames.decode(DEPTH, NOW)
        assert frames.decode(SNAPSHOT, NOW, BTC) == BookSnapshot(
            instrument=BTC,
            ts_event=1_723_161_255_408 * MS,
            ts_recv=NOW,
            last_update_id=50_093_239_218,
            bids=((6_183_763_000_000, 378_826_000), (6_183_762_000_000, 61_700_000)),
            asks=((6_183_764_000_000, 154_698_000),),
        )

    @pytest.mark.parametrize("resolution_ns", [MILLISECOND_NS, MICROSECOND_NS])
    def test_a_snapshot_before_anything_else_has_the_receipt_time_at_the_resolution(self, resolution_ns):
        one = Instrument(
            venue="binance", market=Market.SPOT, symbol="BTC/USDT", time_resolution_ns=resolution_ns
        )
        assert of(one, SNAPSHOT).ts_event == NOW - NOW % resolution_ns

    def test_a_refused_frame_does_not_move_the_venues_clock(self):
        frames = spot()
        frames.decode(DEPTH, NOW)
        refused(TRADE.replace(b"1723161255342", b"1823161255342").replace(b"61837.63", b"-61837.63"), frames)
        assert frames.decode(SNAPSHOT, NOW, BTC).ts_event == 1_723_161_255_408 * MS

    def test_a_futures_snapshot_says_its_own_time(self):
        assert of(FUTURE, USDM_SNAPSHOT).ts_event == 1_721_347_022_750 * MS

    @pytest.mark.parametrize(
        ("time", "resolution_ns", "ts_event"),
        [
            (b"1723161255342", MILLISECOND_NS, 1_723_161_255_342 * MS),
            (b"1723161255342987", MICROSECOND_NS, 1_723_161_255_342_987_000),
            (b"1723161255342987", MILLISECOND_NS, 1_723_161_255_342 * MS),
        ],
    )
    def test_a_time_in_ms_or_us_is_truncated_to_the_resolution_of_the_instrument(
        self, time, resolution_ns, ts_event
    ):
        one = Instrument(
            venue="binance", market=Market.SPOT, symbol="BTC/USDT", time_resolution_ns=resolution_ns
        )
        assert of(one, TRADE.replace(b"1723161255342", time)).ts_event == ts_event
        assert of(one, DEPTH.replace(b"1723161255408", time)).ts_event == ts_event

    @pytest.mark.parametrize(
        "stream", [b"bookTicker", b"kline_1m", b"depth20@100ms", b"depth5", b"miniTicker", b""]
    )
    def test_a_stream_that_is_not_recorded_is_nothing(self, stream):
        assert spot().decode(b'{"stream":"btcusdt@%s","data":{"u":1}}' % stream, NOW) is None

    def test_spaces_and_the_case_of_the_stream_do_not_matter(self):
        spaced = json.dumps(json.loads(DEPTH), indent=1).encode() + b"\n"
        assert of(BTC, spaced) == of(BTC, DEPTH) == of(BTC, DEPTH.replace(b"btcusdt@", b"BTCUSDT@"))

    def test_fields_that_are_not_known_are_left_alone(self):
        for raw in (TRADE, AGG_TRADE, DEPTH):
            more = raw[:-2] + b',"st":[["9","9"]],"type":{"e":1e9}}}'
            assert of(BTC, more) == of(BTC, raw)

    @pytest.mark.parametrize(
        "level", [b'["1.5" ,"2.25"]', b'["1.5", "2.25"]', b'["1.5","2.25" ]', b'[ "1.5" , "2.25" ]\n']
    )
    @pytest.mark.parametrize("more", [b"", b'"x":["y"],', b'"x":"y","z":["w"],'])
    def test_a_level_is_the_same_however_it_is_spaced(self, level, more):
        raw = re.sub(rb'"b":.*\]\]', b'"b":[%s],%s"a":[]' % (level, more), DEPTH)
        assert of(BTC, raw).bids == ((150_000_000, 225_000_000),)

    def test_an_empty_update_changes_nothing_but_the_ids(self):
        raw = re.sub(rb'"b":.*', b'"b":[],"a":[]}}', DEPTH)
        assert (of(BTC, raw).bids, of(BTC, raw).asks) == ((), ())


class TestDescribe:
    def test_a_frame_names_its_instrument(self):
        assert spot().describe(TRADE) == BTC
        assert BinanceFrames(Market.USDM).describe(USDM_DEPTH) == Instrument(
            venue="binance", market=Market.USDM, symbol="BTC/USDT"
        )

    def test_times_are_recorded_in_ms_however_fine_they_come(self):
        fine = spot().describe(TRADE.replace(b"1723161255342", b"1723161255342987"))
        assert fine is not None
        assert fine.time_resolution_ns == MILLISECOND_NS

    @pytest.mark.parametrize(
        ("raw", "market"),
        [(TRADE, Market.SPOT), (DEPTH, Market.SPOT), (USDM_TRADE, Market.USDM), (USDM_DEPTH, Market.USDM)],
    )
    def test_a_frame_shows_its_market(self, raw, market):
        assert spot().market_of(raw) is market

    def test_an_aggregated_trade_does_not_show_its_market(self):
        assert spot().market_of(AGG_TRADE) is None

    @pytest.mark.parametrize(
        "raw",
        [
            SNAPSHOT, b"", b"{", b"\xff", b'{"channel":"trades"}', b'{"stream":"nonsense@trade","data":{}}',
            b'{"stream":"btcusdt_240628@trade"}', b'{"stream":"\xe5\xb8\x81usdt@trade"}', b"[" * 9_999,
        ],
    )  # fmt: skip
    def test_a_frame_that_names_none_is_of_none(self, raw):
        assert spot().describe(raw) is None

    @given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda name: b'{"stream":"%s@trade"' % name))
    def test_any_bytes_name_one_or_none(self, raw):
        described = spot().describe(raw)
        assert described is None or described.venue == "binance"


def with_level(price, size):
    """A depth frame with one more bid, whose price and size are these JSON texts."""
    return DEPTH.replace(b'"b":[', b'"b":[[%s,%s],' % (price, size))


IMPOSSIBLE_NUMBERS = [
    b"0", b"0.00000000", b"-1", b"-0.5", b"NaN", b"nan", b"Infinity", b"-Infinity", b"inf", b"1e5", b"1E2",
    b"1e-5", b"1.5e3", b"1e+2", b"0.123456789", b"99999999999.123456789", b"92233720369", b"9" * 400, b"1,5",
    b"0x10", b"1_0", b" 1", b"1 ", b".5", b"+1", b"", b"one", b"1.2.3", b"\xc2\xb2", b"\\u0031e1",
    b"1.0000000\\u00301",
]  # fmt: skip


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("raw", "kind"),
        [
            (b"", "broken JSON"),
            (b"\n", "broken JSON"),
            (b"{", "broken JSON"),
            (b"nonsense", "broken JSON"),
            (b"\xff\xfe", "broken JSON"),
            (b"\x00" * 10, "broken JSON"),
            (TRADE[:-1], "broken JSON"),
            (TRADE[:60], "broken JSON"),
            (DEPTH[:-1], "broken JSON"),
            (DEPTH[:-40], "broken JSON"),
            (DEPTH + b"}", "broken JSON"),
            (TRADE * 2, "broken JSON"),
            (SNAPSHOT[:-1], "broken JSON"),
            (SNAPSHOT * 2, "broken JSON"),
            (TRADE.replace(b'"BTCUSDT"', b'"\xff"'), "broken JSON"),
            (with_level(b'"\xff"', b'"1"'), "broken JSON"),
            (with_level(b"NaN", b'"1"'), "broken JSON"),
            (SNAPSHOT.replace(b"61837.63", b"\xff"), "broken JSON"),
            (TRADE.replace(b'"M":true', b'"M":' + b"[" * 100_000), "broken JSON"),
            (DEPTH[:-2] + b',"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "broken JSON"),
            (DEPTH[:-2] + b',"z":' + b'{"z":' * 100_000 + b"1" + b"}" * 100_000 + b"}}", "broken JSON"),
            (SNAPSHOT[:-1] + b',"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "broken JSON"),
            (b"null", "not a frame of Binance"),
            (b"[]", "not a frame of Binance"),
            (b"[" * 100_000, "not a frame of Binance"),
            (b'{"data":{}}', "not a frame of Binance"),
            (b'{"result":null,"id":1}', "not a frame of Binance"),
            (b'{"channel":"trades","data":[{"coin":"BTC","px":"1","sz":"1"}]}', "not a frame of Binance"),
            (b'{"topic":"orderbook.50.BTCUSDT","type":"snapshot","data":{}}', "not a frame of Binance"),
            (b'{"e":"serverShutdown","E":1770123456789}', "not a frame of Binance"),
            (SNAPSHOT.replace(b"50093239218", b"-1"), "not a frame of Binance"),
            (SNAPSHOT.replace(b"50093239218", b"9" * 30), "not a frame of Binance"),
            (SNAPSHOT.replace(b"50093239218", b"true"), "not a frame of Binance"),
            (SNAPSHOT.replace(b'"asks"', b'"sells"'), "not a frame of Binance"),
            (TRADE.replace(b"btcusdt", b"ethusdt").replace(b"BTC", b"ETH"), "unknown symbol"),
            (b'{"stream":"\xff@trade","data":{}}', "unknown symbol"),
            (b'{"stream":"!ticker@arr","data":[]}', "unknown symbol"),
            (TRADE.replace(b'"BTCUSDT"', b'"ETHUSDT"'), "impossible number"),
            (AGG_TRADE.replace(b'"BTCUSDT"', b'"btcusdt"'), "impossible number"),
            (DEPTH.replace(b'"BTCUSDT"', b'"BTCUSDC"'), "impossible number"),
        ],
    )  # fmt: skip
    def test_each_fault_has_a_kind(self, raw, kind):
        error = refused(raw)
        assert error.kind == kind
        assert len(str(error)) < 300

    @pytest.mark.parametrize(
        ("raw", "optional"),
        [
            (TRADE, ["E", "M"]),
            (AGG_TRADE, ["E", "M"]),
            (DEPTH, []),
            (USDM_TRADE, ["E", "X"]),
            (USDM_DEPTH, ["T", "pu"]),
        ],
        ids=["trade", "aggTrade", "depth", "USD-M trade", "USD-M depth"],
    )
    def test_every_field_that_is_needed_is_missed(self, raw, optional):
        whole = json.loads(raw)
        frames = BinanceFrames(Market.USDM if raw in (USDM_TRADE, USDM_DEPTH) else Market.SPOT, [BTC])
        for field in whole["data"].keys() - set(optional):
            rest = {key: value for key, value in whole["data"].items() if key != field}
            without = json.dumps({"stream": whole["stream"], "data": rest}).encode()
            error = refused(without, frames)
            assert error.kind == "missing or wrong field", field
            assert f"`{field}`" in error.detail

    @pytest.mark.parametrize(
        ("raw", "market"),
        [(USDM_TRADE, Market.SPOT), (USDM_DEPTH, Market.SPOT), (DEPTH, Market.USDM)],
    )
    def test_a_frame_of_another_market_is_refused(self, raw, market):
        error = refused(raw, BinanceFrames(market, [BTC]))
        assert error.kind == "frame of another market"

    def test_a_time_that_is_coarser_than_what_is_recorded_is_refused(self):
        fine = Instrument(
            venue="binance", market=Market.SPOT, symbol="BTC/USDT", time_resolution_ns=MICROSECOND_NS
        )
        assert refused(TRADE, BinanceFrames(Market.SPOT, [fine])).kind == "time too coarse"

    @pytest.mark.parametrize("value", [True, None, [], {}, "text", 1.5])
    @pytest.mark.parametrize("raw", [TRADE, AGG_TRADE, DEPTH], ids=["trade", "aggTrade", "depth"])
    def test_a_field_of_another_type_is_refused(self, raw, value):
        whole = json.loads(raw)
        for field in whole["data"].keys() - {"E", "M"}:
            if (field, value) == ("m", True) or (field in "ab" and value == []):
                continue
            changed = {"stream": whole["stream"], "data": whole["data"] | {field: value}}
            assert refused(json.dumps(changed).encode()).kind in {
                "missing or wrong field",
                "impossible number",
            }

    @pytest.mark.parametrize("text", IMPOSSIBLE_NUMBERS)
    def test_a_price_that_cannot_be_is_refused_wherever_it_stands(self, text):
        quoted = b'"%s"' % text
        for raw in (
            TRADE.replace(b'"61837.63000000"', quoted),
            AGG_TRADE.replace(b'"2064.74000000"', quoted),
            with_level(quoted, b'"1"'),
            DEPTH.replace(b'"61837.64000000"', quoted),
            SNAPSHOT.replace(b'"61837.64000000"', quoted),
        ):
            assert refused(raw).kind == "impossible number"

    @pytest.mark.parametrize(
        "text", [text for text in IMPOSSIBLE_NUMBERS if text not in (b"0", b"0.00000000")]
    )
    def test_a_size_that_cannot_be_is_refused_wherever_it_stands(self, text):
        quoted = b'"%s"' % text
        for raw in (
            TRADE.replace(b'"0.02000000"', quoted),
            AGG_TRADE.replace(b'"1.27218000"', quoted),
            with_level(b'"1"', quoted),
            DEPTH.replace(b'"1.60520000"', quoted),
            SNAPSHOT.replace(b'"1.54698000"', quoted),
        ):
            assert refused(raw).kind == "impossible number"

    def test_a_trade_of_size_zero_is_refused_and_a_level_of_size_zero_is_not(self):
        assert refused(TRADE.replace(b"0.02000000", b"0.00000000")).kind == "impossible number"
        assert of(BTC, with_level(b'"1"', b'"0"')).bids[0] == (100_000_000, 0)

    @pytest.mark.parametrize("number", [b"1.5", b"1", b"true", b"null", b"[]", b"1e5"])
    def test_a_level_must_be_text_however_the_frame_is_read(self, number):
        for raw in (
            with_level(number, b'"1"'),
            with_level(b'"1"', number),
            with_level(number, b'"0.123456789"'),
            SNAPSHOT.replace(b'"61837.64000000"', number),
        ):
            assert refused(raw).kind in {"missing or wrong field", "not a frame of Binance"}

    @pytest.mark.parametrize("more", [b'"x":["y"]', b'"x":"y","z":"w"', b'"x":[["1","2"]]', b'"x":{"1":"2"}'])
    @pytest.mark.parametrize("level", [b'[1,"2"]', b'["1",2]', b"[1,2]"])
    def test_a_level_must_be_text_whatever_else_a_frame_says(self, level, more):
        for raw in (
            DEPTH.replace(b'"b":[', b'"b":[%s,' % level).replace(b"]]}}", b"]],%s}}" % more),
            DEPTH.replace(b'"b":[', b'%s,"b":[%s,' % (more, level)),
            DEPTH.replace(b'"a":[', b'%s,"a":[%s,' % (more, level)),
        ):
            assert refused(raw).kind == "missing or wrong field"

    @pytest.mark.parametrize("levels", [b'["1"]', b'["1","2","3"]', b'"12"', b"{}", b"[[]]"])
    def test_a_level_is_a_price_and_a_size(self, levels):
        assert refused(DEPTH.replace(b'"b":[', b'"b":[%s,' % levels)).kind == "missing or wrong field"

    @pytest.mark.parametrize(
        "raw",
        [
            DEPTH.replace(b'"u":50093239224', b'"u":50093239207'),
            USDM_DEPTH.replace(b'"pu":4984028370730', b'"pu":4984028370826'),
            AGG_TRADE.replace(b'"l":346711090', b'"l":346711087'),
        ],
    )
    def test_ids_that_run_backwards_are_refused(self, raw):
        assert refused(raw).kind == "impossible number"

    @pytest.mark.parametrize("number", [b"-1", b"9223372036854775808", b"9" * 40, b"9" * 5_000])
    @pytest.mark.parametrize(
        ("raw", "id_"),
        [
            (TRADE, b"3735683259"),
            (AGG_TRADE, b"291477091"),
            (AGG_TRADE, b"346711088"),
            (AGG_TRADE, b"346711090"),
            (DEPTH, b"50093239208"),
            (DEPTH, b"50093239224"),
            (USDM_DEPTH, b"4984028370730"),
        ],
    )
    def test_an_id_that_no_store_could_hold_is_refused(self, raw, id_, number):
        assert refused(raw.replace(id_, number)).kind in {"missing or wrong field", "impossible number"}

    @pytest.mark.parametrize("id_", [b"50093239224.0", b"50093239224.5", b"5009323912345678.1"])
    def test_an_id_with_a_fraction_is_refused(self, id_):
        assert refused(DEPTH.replace(b"50093239224", id_)).kind == "missing or wrong field"

    @pytest.mark.parametrize(
        "time", [b"0", b"-1723161255342", b"9223372036855", b"99999999999999", b"9223372036854776", b"9" * 30]
    )
    def test_a_time_that_no_store_could_hold_is_refused(self, time):
        for raw, own in ((TRADE, b"1723161255342"), (AGG_TRADE, b"1617566591985"), (DEPTH, b"1723161255408")):
            assert refused(raw.replace(own, time)).kind in {"missing or wrong field", "impossible number"}

    def test_a_snapshot_of_no_pair_is_refused(self):
        assert refused(SNAPSHOT, home=None).kind == "snapshot of no pair"
        other = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
        assert refused(SNAPSHOT, home=other).kind == "snapshot of no pair"

    def test_nothing_is_known_without_instruments(self):
        frames = BinanceFrames(Market.SPOT)
        assert refused(TRADE, frames).kind == "unknown symbol"
        assert frames.with_instruments([BTC]).decode(TRADE, NOW) == of(BTC, TRADE)


# Properties: what the float path accepts is what the text says.

PRECISIONS = st.integers(0, 18)
PLAIN = st.decimals(min_value=0, max_value=10**7, places=8).map(lambda number: f"{number:f}")
ANY_DECIMAL = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{0,20})?", fullmatch=True)
ODD = st.from_regex(r"[-+]?[0-9]{0,4}\.?[0-9]{0,9}([eE][-+]?[0-9]{1,3})?", fullmatch=True)
WORDS = st.sampled_from(
    ["NaN", "inf", "-inf", "Infinity", "1e400", "0x1", "1_0", " 1", "1\u0660", "\u0661", "true"]
)
TEXTS = PLAIN | ANY_DECIMAL | ODD | WORDS
SIDES = st.lists(st.tuples(TEXTS, TEXTS), max_size=4) | st.lists(st.tuples(PLAIN, PLAIN), max_size=30)


def depth_frame(bids, asks, *, escape=False):
    whole = json.loads(DEPTH)
    whole["data"] |= {"b": bids, "a": asks}
    raw = json.dumps(whole, separators=(",", ":"), ensure_ascii=False)
    if escape:  # the same text, written with one escaped digit
        head, _, tail = raw.partition('"b":')
        raw = head + '"b":' + re.sub(r"[0-9]", lambda digit: f"\\u00{ord(digit[0]):x}", tail, count=1)
    return raw.encode()


def exact(texts, instrument):
    """Return levels read number by number; raise `ScaleError` if one cannot be."""
    levels = tuple(
        (to_units(price, instrument.price_precision), to_units(size, instrument.size_precision))
        for price, size in texts
    )
    if any(price <= 0 or size < 0 for price, size in levels):
        raise ScaleError("a price that is not above zero or a size below zero")
    return levels


@given(
    bids=SIDES,
    asks=SIDES,
    price_precision=PRECISIONS,
    size_precision=PRECISIONS,
    escape=st.booleans(),
)
@settings(max_examples=500)
@example(bids=[("1e2", "1")], asks=[], price_precision=8, size_precision=8, escape=False)
@example(bids=[("1.5e3", "1")], asks=[], price_precision=8, size_precision=8, escape=False)
@example(bids=[("1.0000000001", "1")], asks=[], price_precision=8, size_precision=8, escape=True)
@example(bids=[("007.50", "1.")], asks=[], price_precision=8, size_precision=8, escape=False)
@example(bids=[("0.1", "0.000001")], asks=[], price_precision=1, size_precision=6, escape=False)
@example(
    bids=[("999999999999999", "9007199254740993")], asks=[], price_precision=0, size_precision=0, escape=False
)
@example(
    bids=[("9007199.25474099", "0")],
    asks=[("9999999.99999999", "0.00000001")],
    price_precision=8,
    size_precision=8,
    escape=False,
)
@example(
    bids=[("1", "NaN"), ("1", "1")], asks=[("1", "inf")], price_precision=2, size_precision=2, escape=False
)
def test_levels_equal_their_text_or_the_frame_is_refused(bids, asks, price_precision, size_precision, escape):
    one = Instrument(
        venue="binance",
        market=Market.SPOT,
        symbol="BTC/USDT",
        price_precision=price_precision,
        size_precision=size_precision,
    )
    raw = depth_frame(bids, asks, escape=escape)
    try:
        expected = exact(bids, one), exact(asks, one)
    except ScaleError:
        with pytest.raises(FrameRejected) as caught:
            of(one, raw)
        assert caught.value.kind == "impossible number"
        return
    tick = of(one, raw)
    assert (tick.bids, tick.asks) == expected


KINDS = {
    "broken JSON",
    "not a frame of Binance",
    "unknown symbol",
    "missing or wrong field",
    "impossible number",
    "frame of another market",
}


def says(raw):
    """Read a frame by the json module and `Decimal`; `None` if that cannot be done."""
    try:
        whole = json.loads(raw.decode(errors="replace"), parse_float=Decimal)
        if "lastUpdateId" in whole:
            return ("snapshot", whole["lastUpdateId"], plain(whole["bids"]), plain(whole["asks"]))
        event = whole["data"]
        if event["e"] == "depthUpdate":
            ids = [event["U"], event["u"], event.get("pu"), event.get("T") or event["E"]]
            return ("depth", *(None if one is None else Decimal(one) for one in ids),
                    plain(event["b"]), plain(event["a"]))  # fmt: skip
        ids = [event.get(key) for key in ("t", "a", "f", "l", "T")]
        return ("trade", ids, Decimal(event["p"]), Decimal(event["q"]), event["m"])
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation, RecursionError):
        return None


def plain(levels):
    return [(Decimal(price), Decimal(size)) for price, size in levels]


def decoded(tick):
    """Bring a tick into the form of `says`."""

    def levels(side):
        return [(Decimal(price).scaleb(-8), Decimal(size).scaleb(-8)) for price, size in side]

    time = Decimal(tick.ts_event) / MS
    if isinstance(tick, BookSnapshot):
        return ("snapshot", tick.last_update_id, levels(tick.bids), levels(tick.asks))
    if isinstance(tick, QuoteTick):
        ids = (tick.first_update_id, tick.last_update_id, tick.previous_update_id)
        return ("depth", *ids, time, levels(tick.bids), levels(tick.asks))
    single = tick.first_match_id is None
    ids = [tick.trade_id if single else None, None if single else tick.trade_id]
    ids += [tick.first_match_id, tick.last_match_id, time]
    price, size = Decimal(tick.price).scaleb(-8), Decimal(tick.size).scaleb(-8)
    return ("trade", ids, price, size, tick.aggressor is Side.SELL)


@st.composite
def mutated(draw):
    """A frame as recorded, with bytes flipped, replaced, cut out or doubled."""
    raw = bytearray(draw(st.sampled_from([TRADE, AGG_TRADE, DEPTH, USDM_DEPTH, USDM_TRADE, SNAPSHOT])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        length = draw(st.integers(1, 8))
        how = draw(st.sampled_from(["flip", "byte", "cut", "double", "end", "digit"]))
        if how == "flip" and raw:
            raw[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "byte" and raw:
            raw[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del raw[at : at + length]
        elif how == "double":
            raw[at:at] = raw[at : at + length]
        elif how == "end":
            del raw[at:]
        elif how == "digit":
            raw[at:at] = draw(st.sampled_from([b"0", b"9", b".", b"-", b"e", b"E5", b'"', b"\\u0030", b" "]))
    return bytes(raw)


def milliseconds(said):
    """Bring the time in what a frame says to ms, whatever it was given in."""
    if said is None or said[0] == "snapshot":
        return said
    parts = [list(part) if isinstance(part, list) else part for part in said]
    holder, at = (parts[1], 4) if said[0] == "trade" else (parts, 4)
    if holder[at] is not None and holder[at] >= 10**14:
        holder[at] = holder[at] // 1000
    return tuple(parts)


@given(mutated())
@settings(max_examples=3_000)
def test_a_damaged_frame_is_refused_or_gives_exactly_what_it_says(raw):
    try:
        tick = spot().decode(raw, NOW, BTC)
    except FrameRejected as error:
        refusal: str | None = error.kind
    else:
        refusal = None
        if tick is not None:
            assert decoded(tick) == milliseconds(says(raw))
    assert refusal in {None, *KINDS}


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_of_no_interest(raw):
    with pytest.raises(FrameRejected):
        spot().decode(raw, NOW, BTC)


@given(st.integers(-(10**30), 10**30), st.sampled_from([b"3735683259", b"1723161255342"]))
@example(INT64_MAX, b"3735683259")
@example(INT64_MAX + 1, b"3735683259")
def test_every_whole_number_that_comes_through_fits_64_bits(number, at):
    raw = TRADE.replace(at, str(number).encode())
    try:
        tick = spot().decode(raw, NOW)
    except FrameRejected:
        assume(not (at == b"3735683259" and 0 <= number <= INT64_MAX))
        return
    assert 0 <= tick.trade_id <= INT64_MAX
    assert 0 < tick.ts_event <= INT64_MAX


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "market"),
    [("spot_ethusdt_20210404.gz", Market.SPOT), ("usdm_btcusdt_20240719.gz", Market.USDM)],
)
def test_a_recorded_session_is_decoded_as_the_slow_model_reads_it(name, market):
    [path] = captures(name)
    with gzip.open(path) as lines:
        raws = [line.partition(b" ")[2] for _, line in zip(range(4_000), lines, strict=False)]
    one = next(filter(None, map(BinanceFrames(market).describe, raws)))
    frames = BinanceFrames(market, [one])
    compared = 0
    for raw in raws:
        tick = frames.decode(raw, NOW, one)
        if tick is not None:
            compared += 1
            assert decoded(tick) == says(raw)
    assert compared > 300
