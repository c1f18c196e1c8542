"""What is reported of topics is never so much that the bridge refuses it."""

import msgspec

from binance_proxy.adapters.zeromq.control import LARGEST_FRAME
from binance_proxy.adapters.zeromq.subscribers import Report
from binance_proxy.client.bridge import MOST_REPORTED, _reported
from binance_proxy.client.calls import notification


def test_a_topic_that_is_too_long_is_left_out_and_the_others_are_not() -> None:
    place = {"epoch": "e1", "sequence": 5}
    places = {"x" * 201: place, "x" * 200: place, "binance.spot.ethusdt.trades": place}
    assert list(_reported(places)) == ["x" * 200, "binance.spot.ethusdt.trades"]


def test_of_many_topics_only_so_many_are_reported_as_the_bridge_takes() -> None:
    for size in (30, 200):
        places = {
            f"{number:0{size}}": {"epoch": "18ebdc29f29c5b15", "sequence": 2**63 - 1} for number in range(500)
        }
        topics = _reported(places)
        assert 40 < len(topics) <= MOST_REPORTED
        params = {"client": "x" * 100, "topics": topics, "missed": 2**62}
        assert msgspec.convert(params, Report).topics.keys() == topics.keys()
        assert len(notification("subscribers.report", params)) < LARGEST_FRAME
