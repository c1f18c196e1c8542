"""CloudEvents carry the same body, and name the same event the same way in every run."""

import json

from msgspec import Raw, Struct
from msgspec.json import Decoder

from binance_proxy.adapters.zeromq.bodies import BodyOf, json_of, levels_in_json
from binance_proxy.adapters.zeromq.cloudevents import cloud_event_json
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, StaleBook, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
AT = {"instrument": ETH, "ts_event": 1_723_161_255_342_000_000, "ts_recv": 1_723_161_254_000_000_001}
TRADE = TradeTick(**AT, trade_id=7, price=305_012_000_000, size=150_000_000, aggressor=Side.SELL)
QUOTE = QuoteTick(**AT, first_update_id=5, last_update_id=7, bids=((100, 1),), asks=())
SNAPSHOT = BookSnapshot(**AT, last_update_id=7, bids=((100, 1),), asks=())

STALE = StaleBook(**AT, reason="cut")
GAP = Gap(**AT, stream=Stream.TRADES, first_id=5, last_id=9, start=1, end=2)
SHORTER = Gap(**AT, stream=Stream.TRADES, first_id=5, last_id=7, start=1, end=2)
LOST = Gap(**AT, stream=Stream.TRADES, first_id=5, last_id=9, start=1, end=2, state=GapState.LOST)
EVENTS = (TRADE, QUOTE, SNAPSHOT, STALE, GAP, SHORTER, LOST)


def body_of(event, epoch="epoch", sequence=1):
    return BodyOf(ETH, epoch).make(event, sequence, levels_in_json)


def test_the_envelope_has_the_attributes_of_the_standard_and_the_body_as_data():
    event = json.loads(cloud_event_json(body_of(TRADE)))
    assert event == {
        "specversion": "1.0",
        "id": "1723161255342000000-7",
        "source": "/binance/spot/ethusdt/trades",
        "type": "binance-proxy.trade",
        "time": "2024-08-08T23:54:15.342000000Z",
        "datacontenttype": "application/json",
        "data": json.loads(json_of(body_of(TRADE))),
    }


def test_source_and_id_name_an_event_whatever_the_run():
    for event in EVENTS:
        first = json.loads(cloud_event_json(body_of(event)))
        again = json.loads(cloud_event_json(body_of(event, epoch="other", sequence=99)))
        assert (first["source"], first["id"]) == (again["source"], again["id"])


def test_different_events_have_different_names():
    names = [json.loads(cloud_event_json(body_of(event))) for event in EVENTS]
    assert len({(one["source"], one["id"]) for one in names}) == len(EVENTS)


def test_the_bridge_s_own_messages_have_no_time_of_an_event():
    own = json.loads(cloud_event_json({"type": "status", "epoch": "e", "sequence": 3}))
    assert (own["source"], own["id"], own["type"]) == ("/bridge", "e-3", "binance-proxy.status")
    assert "time" not in own


class Envelope(Struct):
    data: Raw


open_envelope = Decoder(Envelope).decode


def bare_json(message: bytes) -> bytes:
    """Return the JSON body of a message, in its envelope or without one, as a subscriber may."""
    return bytes(open_envelope(message).data) if message.startswith(b'{"specversion"') else message


def test_the_body_comes_out_of_its_envelope_as_it_went_in():
    assert bare_json(cloud_event_json(body_of(QUOTE))) == json_of(body_of(QUOTE))
    assert bare_json(json_of(body_of(QUOTE))) == json_of(body_of(QUOTE))
